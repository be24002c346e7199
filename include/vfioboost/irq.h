/* SPDX-License-Identifier: MIT */
/**
 * @file irq.h
 * Interrupts of a device, delivered to eventfds.
 *
 * INTx, MSI and MSI-X are mutually exclusive: only one of them can be enabled at a time. Closing
 * the device disables all interrupts. Not thread-safe: calls for one device must not overlap.
 */
#ifndef VFIOBOOST_IRQ_H
#define VFIOBOOST_IRQ_H

#include <vfioboost/device.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Types of interrupts. */
enum vfb_irq {
	VFB_IRQ_INTX,
	VFB_IRQ_MSI,
	VFB_IRQ_MSIX,
	/** The device has reported an uncorrectable error (AER). */
	VFB_IRQ_ERROR,
	/** The host requests the device, because it is being unplugged or unbound from its driver:
	 *  close it (vfb_device_close()) and stop its reaper. The host waits for that, and repeats
	 *  the request every 10 s; the device works until then. Mappings of its space stay.
	 *  Opening the device fails with -ENODEV until it is back. */
	VFB_IRQ_REQUEST,
};

/** Properties of an interrupt type. */
struct vfb_irq_info {
	size_t size;
	/** Number of vectors; 0: the device does not have this type. */
	unsigned int vectors;
	/** VFB_IRQ_... */
	uint32_t flags;
};

#define VFB_IRQ_INFO_INIT VFB_SIZED(struct vfb_irq_info)

/** vfb_irq_mask() is supported. */
#define VFB_IRQ_MASKABLE (1u << 0)
/** The kernel masks the interrupt when it delivers it, until vfb_irq_unmask(). */
#define VFB_IRQ_AUTOMASKED (1u << 1)
/** No vectors can be added while some are enabled: enable all in one call, or disable them first.
 */
#define VFB_IRQ_NORESIZE (1u << 2)

/**
 * Reports the number and properties of the vectors of a type (VFIO_DEVICE_GET_IRQ_INFO).
 *
 * @param device  the device
 * @param irq     the type
 * @param info    is filled in
 *
 * @return 0; -EINVAL: unknown type; -E2BIG; or the error of the kernel.
 */
VFB_API int vfb_irq_info(const struct vfb_device *device, enum vfb_irq irq,
			 struct vfb_irq_info *info);

/**
 * Enables vectors: the kernel adds 1 to the eventfd of a vector whenever it is raised. All vectors
 * are enabled by one system call (VFIO_DEVICE_SET_IRQS). Vectors that are already enabled get the
 * new eventfds.
 *
 * @param device    the device
 * @param irq       the type
 * @param first     the first vector
 * @param eventfds  an eventfd(2) for each vector. They remain the caller's and may be closed
 *                  afterwards. -1: the vector is not delivered
 * @param count     number of vectors
 *
 * @return 0; -EINVAL: unknown type, or no vectors; -ERANGE: beyond the last vector (the error text
 * says how many there are); -EBUSY: another type is enabled, or no vectors can be added to those
 * that are enabled (VFB_IRQ_NORESIZE); -EBADF: not an eventfd; -ENOSPC: the host has too few
 * vectors left; or the error of the kernel. On failure nothing has changed.
 */
VFB_API int vfb_irq_enable(struct vfb_device *device, enum vfb_irq irq, unsigned int first,
			   const int *eventfds, unsigned int count);

/**
 * Disables all vectors of a type. Does nothing if none is enabled.
 *
 * @param device  the device
 * @param irq     the type
 *
 * @return 0; -EINVAL: unknown type; or the error of the kernel.
 */
VFB_API int vfb_irq_disable(struct vfb_device *device, enum vfb_irq irq);

/**
 * Masks enabled vectors: interrupts that arrive are delivered when the vector is unmasked. Works
 * only for types with VFB_IRQ_MASKABLE, such as INTx. The kernel does not mask MSI and MSI-X: mask
 * those vectors in the device, or pass -1 for them to vfb_irq_enable().
 *
 * @param device  the device
 * @param irq     the type
 * @param first   the first vector
 * @param count   number of vectors
 *
 * @return 0; -EINVAL: unknown type; -ERANGE: beyond the last vector; -ENOTSUP: not maskable; or the
 * error of the kernel.
 */
VFB_API int vfb_irq_mask(struct vfb_device *device, enum vfb_irq irq, unsigned int first,
			 unsigned int count);

/** Unmasks vectors; otherwise as vfb_irq_mask(). */
VFB_API int vfb_irq_unmask(struct vfb_device *device, enum vfb_irq irq, unsigned int first,
			   unsigned int count);

/** Delivers vectors as if the device had raised them, for testing; otherwise as vfb_irq_mask(). */
VFB_API int vfb_irq_trigger(struct vfb_device *device, enum vfb_irq irq, unsigned int first,
			    unsigned int count);

#ifdef __cplusplus
}
#endif

#endif
