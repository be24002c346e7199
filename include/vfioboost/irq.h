/* SPDX-License-Identifier: MIT */
/**
 * @file irq.h
 * Interrupts of a device, delivered to eventfds.
 *
 * INTx, MSI and MSI-X exclude each other: one of them is enabled at a time. All are disabled when
 * the device is closed. One thread at a time may change those of a device.
 */
#ifndef VFIOBOOST_IRQ_H
#define VFIOBOOST_IRQ_H

#include <vfioboost/device.h>

#ifdef __cplusplus
extern "C" {
#endif

enum vfb_irq {
	VFB_IRQ_INTX,
	VFB_IRQ_MSI,
	VFB_IRQ_MSIX,
	/** The device has reported an error that the bus could not correct. */
	VFB_IRQ_ERROR,
	/** The host wants the device back, since it is unplugged or its driver unbound: close it
	 *  (vfb_device_close()), and end its reaper. The host waits for that, and asks again every
	 *  10 s; the device works until then. What is mapped in its space stays, and opening the
	 *  device again gives -ENODEV until it is back. */
	VFB_IRQ_REQUEST,
};

struct vfb_irq_info {
	size_t size;
	/** 0: the device does not have it. */
	unsigned int vectors;
	/** VFB_IRQ_... */
	uint32_t flags;
};

#define VFB_IRQ_INFO_INIT VFB_SIZED(struct vfb_irq_info)

/** vfb_irq_mask() works. */
#define VFB_IRQ_MASKABLE (1u << 0)
/** It is masked when it is delivered, until vfb_irq_unmask(). */
#define VFB_IRQ_AUTOMASKED (1u << 1)
/** Vectors cannot be added while some are enabled: give all at once, or disable first. */
#define VFB_IRQ_NORESIZE (1u << 2)

/**
 * Tells how many vectors there are, and what they can (VFIO_DEVICE_GET_IRQ_INFO).
 *
 * @return 0; -EINVAL: an unknown kind; -E2BIG; or the kernel's errno.
 */
VFB_API int vfb_irq_info(const struct vfb_device *device, enum vfb_irq irq,
			 struct vfb_irq_info *info);

/**
 * Enables vectors: each adds 1 to its eventfd when it is delivered. One call of the kernel,
 * however many there are. Vectors that are enabled already get the new eventfds.
 *
 * @param device    the device
 * @param irq       the kind
 * @param first     the first vector
 * @param eventfds  for each vector its eventfd(2), which stays the caller's and may be closed; -1:
 *                  the vector is not delivered
 * @param count     how many vectors
 *
 * @return 0; -EINVAL: the kind is unknown, or there are no vectors; -ERANGE: vectors beyond the
 * last (the text tells how many there are); -EBUSY: another kind is enabled, or these cannot be
 * added to those that are; -EBADF: not an eventfd; -ENOSPC: the host has too few vectors left;
 * or the kernel's errno. Nothing has changed then.
 */
VFB_API int vfb_irq_enable(struct vfb_device *device, enum vfb_irq irq, unsigned int first,
			   const int *eventfds, unsigned int count);

/** Disables all vectors of a kind. @return 0, if none were enabled too; -EINVAL; or the kernel's
 *  errno. */
VFB_API int vfb_irq_disable(struct vfb_device *device, enum vfb_irq irq);

/**
 * Masks vectors that are enabled: what arrives is delivered when they are unmasked. Only for
 * kinds with VFB_IRQ_MASKABLE, which INTx is. The kernel does not mask vectors of MSI and MSI-X:
 * mask them at the device, or let vfb_irq_enable() give them -1.
 *
 * @return 0; -EINVAL; -ERANGE; -ENOTSUP: not maskable; or the kernel's errno.
 */
VFB_API int vfb_irq_mask(struct vfb_device *device, enum vfb_irq irq, unsigned int first,
			 unsigned int count);

/** Unmasks vectors; as vfb_irq_mask(). */
VFB_API int vfb_irq_unmask(struct vfb_device *device, enum vfb_irq irq, unsigned int first,
			   unsigned int count);

/** Delivers vectors as if the device had raised them, to try out who listens.
 *  @return as vfb_irq_mask(). */
VFB_API int vfb_irq_trigger(struct vfb_device *device, enum vfb_irq irq, unsigned int first,
			    unsigned int count);

#ifdef __cplusplus
}
#endif

#endif
