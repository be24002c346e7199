/* SPDX-License-Identifier: MIT */
/**
 * @file device.h
 * VFIO PCI devices: opening, closing and resetting many at once.
 *
 * Opening a device resets it, and so does closing it. A reset takes from 0.1 s to more than 1 s,
 * during which the kernel sleeps. Devices that do not share a reset are therefore opened and closed
 * in parallel. Devices below one bridge are opened and closed one after another, since the kernel
 * serializes their resets anyway, and Linux 7.0 and later skips the reset of a device while its
 * bridge is busy with another one.
 */
#ifndef VFIOBOOST_DEVICE_H
#define VFIOBOOST_DEVICE_H

#include <sys/types.h>
#include <vfioboost/context.h>
#include <vfioboost/job.h>
#include <vfioboost/space.h>

#ifdef __cplusplus
extern "C" {
#endif

/** An open VFIO device. */
struct vfb_device;

/** A device to open: one entry of a batch. Set unused fields to zero. */
struct vfb_device_request {
	/** The PCI address, "0000:01:00.0" or "01:00.0", or a path in sysfs that ends with it,
	 *  "/sys/bus/pci/devices/0000:01:00.0/". */
	const char *address;
	/** Output, valid when the job has ended, or once vfb_job_wait_entry() has reported that the
	 *  device is open: the device, or NULL if it was not opened. Release it with
	 *  vfb_devices_close() or vfb_device_close(), after the job has ended. */
	struct vfb_device *device;
	/** Output, valid when the job has ended: 0 or a negative errno. -ECANCELED: the entry was
	 *  undone, or not started, because another one failed. */
	int status;
	uint64_t reserved[2];
};

/** State of a device. */
struct vfb_device_info {
	size_t size;
	/** The PCI address including the domain; valid as long as the device. */
	const char *address;
	/** The VFIO device file descriptor. The library, or the caller that had it adopted, owns
	 *  it: do not close it. */
	int fd;
	/** The NUMA node of the device, -1 if the host does not report it. */
	int node;
	/** Number of regions and of interrupt types (VFIO_DEVICE_GET_INFO). */
	unsigned int regions, irqs;
	/** VFB_DEVICE_... */
	uint32_t flags;
	/** The group through which the device was opened, for KVM (KVM_DEV_VFIO_GROUP_ADD); -1: it
	 *  was opened by its node, or by the caller without VFB_DEVICE_ADOPT_HAS_GROUP_FD. Whoever
	 *  owns fd owns this as well. */
	int group_fd;
};

/** The device is in the state that a reset leaves: opening it has reset it, or the library has
 *  since, so that the caller need not. What the caller has done to it after that does not clear the
 *  flag. */
#define VFB_DEVICE_WAS_RESET (1u << 0)

#define VFB_DEVICE_INFO_INIT VFB_SIZED(struct vfb_device_info)

/**
 * Opens devices in a space: the kernel resets them, and they can access what is mapped there.
 *
 * Unless VFB_BATCH_BEST_EFFORT is set, the batch is all or nothing: if a device cannot be opened,
 * those that were opened are closed again. An invalid address, or a duplicate one, refuses the
 * batch in either case.
 *
 * If timeout_ns expires, devices that are not open then have the status -ETIMEDOUT. Each is closed
 * in the background as soon as it is open; until then vfb_space_destroy() returns -EBUSY. With
 * VFB_BATCH_BEST_EFFORT the devices that were opened in time are kept.
 *
 * A device that was just bound or plugged in is waited for: up to 1 s until its node exists, and up
 * to 5 s while the kernel has it locked.
 *
 * It uses /dev/vfio/devices/vfioN, VFIO_DEVICE_BIND_IOMMUFD and VFIO_DEVICE_ATTACH_IOMMUFD_PT
 * (Linux 6.6), or /dev/vfio/N, VFIO_GROUP_SET_CONTAINER and VFIO_GROUP_GET_DEVICE_FD.
 *
 * @param space     the space
 * @param requests  @p count devices; their device and status are written
 * @param count     number of devices; 0 does nothing
 * @param opts      settings, or NULL for the defaults
 *
 * @return 0, or the negative errno of the entry that failed first:
 * - -EINVAL: not a PCI address, or the same one twice;
 * - -ENODEV: there is no such device;
 * - -ENXIO: it is not bound to a VFIO driver (the error text names its driver, and the command that
 *   binds it to vfio-pci);
 * - -EOPNOTSUPP: it has no IOMMU group: enable the IOMMU in the firmware and on the kernel command
 *   line;
 * - -EPERM: its group is not viable, since another device of the group is bound to a host driver;
 *   or the IOMMU does not isolate interrupts; or the firmware requires a 1:1 mapping for it;
 * - -EACCES: no permission for its device node or group;
 * - -EBUSY: another process, which the error text names if /proc shows it, or another space of
 *   this process has opened it; the addresses of the space were released
 *   (vfb_space_release_addresses()); or see vfb_space_adopt();
 * - -EADDRINUSE: something is mapped at IOVAs that this device cannot use;
 * - -ETIMEDOUT: vfb_batch_opts.timeout_ns expired;
 * - or the error of the kernel.
 */
VFB_API int vfb_devices_open(struct vfb_space *space, struct vfb_device_request *requests,
			     size_t count, const struct vfb_batch_opts *opts);

/**
 * Starts vfb_devices_open().
 *
 * @param out  receives the job; release it with vfb_job_destroy(). @p requests must stay valid
 *             until the job has ended
 */
VFB_API int vfb_devices_open_start(struct vfb_space *space, struct vfb_device_request *requests,
				   size_t count, const struct vfb_batch_opts *opts,
				   struct vfb_job **out);

/**
 * Opens one device; otherwise as vfb_devices_open().
 *
 * @param space    the space
 * @param address  the PCI address
 * @param out      receives the device; release it with vfb_device_close()
 */
VFB_API int vfb_device_open(struct vfb_space *space, const char *address, struct vfb_device **out);

/** Settings for adopting a device. Zero is a good default for every field. */
struct vfb_device_adopt_opts {
	size_t size;
	/** The PCI address. NULL: derived from the file descriptor, which works for a device node
	 *  (/dev/vfio/devices/vfioN) but not for a file descriptor from
	 *  VFIO_GROUP_GET_DEVICE_FD. */
	const char *address;
	/** The space from vfb_space_adopt() that the caller has attached the device to. NULL: none;
	 *  the library then maps nothing for the device. */
	struct vfb_space *space;
	/** VFB_DEVICE_ADOPT_... */
	uint32_t flags;
	/** With VFB_DEVICE_ADOPT_HAS_GROUP_FD: the group through which the device was opened. It
	 *  remains the caller's and must stay open. The kernel requires it for bus resets only. */
	int group_fd;
};

#define VFB_DEVICE_ADOPT_OPTS_INIT VFB_SIZED(struct vfb_device_adopt_opts)

/** group_fd is set. */
#define VFB_DEVICE_ADOPT_HAS_GROUP_FD (1u << 0)

/**
 * Creates a device from a VFIO device file descriptor that the caller, or another process, has
 * opened: through its group, or by its node and then bound to an iommufd. The device is reset
 * neither now nor when it is closed, and it stays attached. Closing it undoes what the library has
 * done: it unmaps regions and disables the interrupts that the library has enabled. Mappings and
 * interrupts of the caller's own stay.
 *
 * @param ctx   the context
 * @param fd    the device file descriptor. It must stay open, and the device attached, until the
 *              device is closed, which does not close @p fd
 * @param opts  settings, or NULL for the defaults
 * @param out   receives the device; release it with vfb_device_close()
 *
 * @return 0, or:
 * - -EBADF: the file descriptor is not open;
 * - -ENOTTY: not a VFIO file descriptor;
 * - -EINVAL: a container, group or iommufd; a device node that is not bound; not the device with
 *   the given address; the address is invalid, or cannot be derived; unknown flag; a space that was
 *   not adopted;
 * - -ENOTSUP: not a PCI device;
 * - -ENODEV: there is no device with that address;
 * - -ENXIO: no device is attached to the space;
 * - -EBUSY: the space already has the device, or its addresses were released
 *   (vfb_space_release_addresses());
 * - or the error of the kernel.
 */
VFB_API int vfb_device_adopt(struct vfb_ctx *ctx, int fd, const struct vfb_device_adopt_opts *opts,
			     struct vfb_device **out);

/**
 * Closes devices: unmaps their regions, also for other devices (vfb_bars_map()), disables their
 * interrupts, releases them, upon which the kernel resets them, and frees them. The entries become
 * NULL, and NULL entries are skipped, so closing an array twice is safe. A VFB_PHASE_CLOSE event
 * reports that a device is released.
 *
 * A reset can be neither sped up nor interrupted. When vfb_batch_opts.timeout_ns expires, the
 * remaining devices continue to close in the background: their events are still to come, and until
 * then destroying their space or the context returns -EBUSY.
 *
 * @param devices  @p count devices of one context, or NULL entries; become NULL
 * @param count    number of entries
 * @param opts     settings, or NULL for the defaults
 *
 * @return 0, or:
 * - -EINVAL: a device occurs twice, or they are of different contexts; nothing was closed;
 * - -EALREADY: another job is closing one of them; nothing was closed;
 * - -ETIMEDOUT: timeout_ns expired (the error text says how many devices are still closing);
 * - -ENOMEM, -EMFILE, -EAGAIN: too few resources to close in parallel: the devices were closed one
 *   after another.
 */
VFB_API int vfb_devices_close(struct vfb_device **devices, size_t count,
			      const struct vfb_batch_opts *opts);

/**
 * Starts vfb_devices_close(). When it returns, the entries are NULL and the array may be freed.
 * vfb_job_wait_entry() waits for a single device; its index does not count NULL entries. When
 * timeout_ns expires, the job ends with -ETIMEDOUT and may be destroyed, while the devices continue
 * to close. To be able to wait again, pass a timeout to vfb_job_wait() instead.
 *
 * @param out  receives the job; release it with vfb_job_destroy()
 *
 * @return 0; -EINVAL: no device, a device occurs twice, or they are of different contexts;
 * -EALREADY: another job is closing one of them; -ENOMEM, -EMFILE, -EAGAIN: too few resources. On
 * failure nothing was closed.
 */
VFB_API int vfb_devices_close_start(struct vfb_device **devices, size_t count,
				    const struct vfb_batch_opts *opts, struct vfb_job **out);

/**
 * Closes one device; otherwise as vfb_devices_close().
 *
 * @param device  the device; NULL is allowed and does nothing
 *
 * @return 0; -EALREADY: a job is closing it.
 */
VFB_API int vfb_device_close(struct vfb_device *device);

/**
 * Reports the state of a device.
 *
 * @param device  the device
 * @param info    is filled in
 *
 * @return 0; -E2BIG.
 */
VFB_API int vfb_device_info(const struct vfb_device *device, struct vfb_device_info *info);

/** How a device is reset. */
enum vfb_reset_method {
	/** The fastest way: one bus reset if the batch contains all devices on the bus, else a
	 * reset of each function. A bus reset also for devices that support no other. */
	VFB_RESET_AUTO,
	/** Reset the function alone (VFIO_DEVICE_RESET). */
	VFB_RESET_FUNCTION,
	/** Reset the bus or slot, with all devices on it (VFIO_DEVICE_PCI_HOT_RESET). */
	VFB_RESET_BUS,
};

/** A device to reset: one entry of a batch. Set unused fields to zero. */
struct vfb_reset_request {
	struct vfb_device *device;
	/** The method to use; the one that was used is written here. Entries on one bus should
	 *  agree. */
	enum vfb_reset_method method;
	/** Output, valid when the job has ended: 0 or a negative errno. */
	int status;
	uint64_t reserved[2];
};

/**
 * Resets devices that remain open: they are in the state of a newly opened device, while their
 * mapped regions, their interrupts and the memory mapped for them stay. Devices that do not share a
 * bus are reset in parallel. If one fails, the others are reset nonetheless.
 *
 * BARs that other devices can access (vfb_bars_map()) remain accessible to them. If one of them
 * cannot be mapped again, the reset still succeeds, and vfb_last_error() reports it.
 *
 * A bus reset affects all devices on the bus (see vfb_pci_reset_set()). It is refused unless all of
 * them are open in the same space and are entries of the batch, so that no device is reset
 * unexpectedly.
 *
 * @param resets  @p count devices of one context; their method and status are written
 * @param count   number of devices; 0 does nothing
 * @param opts    settings, or NULL for the defaults; VFB_BATCH_BEST_EFFORT is implied, and
 *                timeout_ns is ignored
 *
 * @return 0, or the negative errno of the entry that failed first:
 * - -EINVAL: no device, the same one twice, different contexts, or an unknown method;
 * - -ENOTSUP: the device does not support this method;
 * - -EPERM: the bus reset would affect a device that is not in the batch (the error text names
 *   it);
 * - -EAGAIN, -EBUSY: something else held the device locked for 5 s;
 * - -EALREADY: the device is being closed;
 * - or the error of the kernel.
 */
VFB_API int vfb_devices_reset(struct vfb_reset_request *resets, size_t count,
			      const struct vfb_batch_opts *opts);

/**
 * Starts vfb_devices_reset(). Closing one of the devices waits for the job.
 *
 * @param out  receives the job; release it with vfb_job_destroy(). @p resets must stay valid until
 *             the job has ended
 */
VFB_API int vfb_devices_reset_start(struct vfb_reset_request *resets, size_t count,
				    const struct vfb_batch_opts *opts, struct vfb_job **out);

/** Resets one device with VFB_RESET_AUTO; otherwise as vfb_devices_reset(). */
VFB_API int vfb_device_reset(struct vfb_device *device);

/**
 * Measures how fast memory is populated, and mapped by each backend that the host has, with a
 * device that is not in use. The result serves spaces of VFB_BACKEND_AUTO that are created in this
 * context later, and the estimates of vfb_space_map_plan(). Call it once per page size. It uses
 * 64 MiB (one page for pages of 1 GiB) and two resets of the device per backend, about half a
 * second in all, which pays off for a program that starts many guests.
 *
 * @param ctx        the context
 * @param address    PCI address of the device, as for vfb_device_open()
 * @param page_size  pages of the memory that will be mapped, as in vfb_space_opts; neither auto nor
 *                   mixed
 * @param kind       kind of that memory
 *
 * @return 0; -EINVAL: unknown value, auto or mixed; or the errors of creating memory, opening the
 * device or mapping.
 */
VFB_API int vfb_backend_measure(struct vfb_ctx *ctx, const char *address,
				enum vfb_page_size page_size, enum vfb_memory_kind kind);

#ifdef __cplusplus
}
#endif

#endif
