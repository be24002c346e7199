/* SPDX-License-Identifier: MIT */
/**
 * @file device.h
 * VFIO PCI devices: open, use, let go, many at once.
 *
 * Opening a device and closing it each reset it, which takes from 0.1 s to more than 1 s, spent
 * asleep in the kernel. Devices that do not share a reset are therefore opened and closed at the
 * same time; those below one bridge one after another, since the kernel resets them in turn
 * anyway, and Linux 7.0 and later skips the reset of a device whose bridge is busy with another.
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

struct vfb_device;

/** A device to open, an entry of a batch. Zero what is not set. */
struct vfb_device_request {
	/** The PCI address, as "0000:01:00.0" or "01:00.0". */
	const char *address;
	/** The device, set when the job has ended; NULL unless it was opened. */
	struct vfb_device *device;
	/** 0 or a negative errno, set when the job has ended: -ECANCELED for what was undone, or
	 *  not begun, because another entry failed. */
	int status;
	uint64_t reserved[2];
};

struct vfb_device_info {
	size_t size;
	/** The PCI address with its domain, valid as long as the device. */
	const char *address;
	/** The VFIO file descriptor. It belongs to the device, or to whoever had it adopted. */
	int fd;
	/** The NUMA node the device is on, -1 when the host does not tell. */
	int node;
	/** Regions and interrupt kinds that it has (VFIO_DEVICE_GET_INFO). */
	unsigned int regions, irqs;
};

#define VFB_DEVICE_INFO_INIT VFB_SIZED(struct vfb_device_info)

/**
 * Opens devices in a space: reset by the kernel, and able to reach what is mapped in the space.
 *
 * All or nothing unless VFB_BATCH_BEST_EFFORT: when one fails, those that were opened are closed
 * again. An address that is none, or there twice, refuses the batch either way.
 *
 * @param space     the space
 * @param requests  @p count devices; device and status are written
 * @param count     how many; 0 is allowed
 * @param opts      settings, or NULL
 *
 * @return 0, or the negative errno of the entry that failed first:
 * -EINVAL: not a PCI address, or the same one twice;
 * -ENODEV: there is no such device;
 * -ENXIO: it is not bound to a VFIO driver (the text tells what binds it, and how to change it);
 * -EOPNOTSUPP: it has no IOMMU group, because no IOMMU is switched on;
 * -EPERM: its group is not viable, another device of it is bound to a host driver; or the IOMMU
 * does not isolate interrupts; -EACCES: no permission for its device node, nor for its group;
 * -EBUSY: another process, or another space of this one, has it; or see vfb_space_adopt();
 * -EADDRINUSE: what is mapped in the space hits IOVAs that this device cannot use;
 * or the kernel's errno.
 */
VFB_API int vfb_devices_open(struct vfb_space *space, struct vfb_device_request *requests,
			     size_t count, const struct vfb_batch_opts *opts);

/** Starts vfb_devices_open(). */
VFB_API int vfb_devices_open_start(struct vfb_space *space, struct vfb_device_request *requests,
				   size_t count, const struct vfb_batch_opts *opts,
				   struct vfb_job **out);

/** Opens one device; as vfb_devices_open(). */
VFB_API int vfb_device_open(struct vfb_space *space, const char *address, struct vfb_device **out);

struct vfb_device_adopt_opts {
	size_t size;
	/** The PCI address. NULL: found by the file descriptor, which works for a device node
	 *  (/dev/vfio/devices/vfioN), and not for what VFIO_GROUP_GET_DEVICE_FD has returned. */
	const char *address;
	/** The space of vfb_space_adopt() that the caller has attached the device to: what is
	 * mapped there reaches the device. NULL: none, the library maps nothing for it. */
	struct vfb_space *space;
	/** VFB_DEVICE_... */
	uint32_t flags;
	/** With VFB_DEVICE_ADOPT_HAS_GROUP_FD: the group that the device was opened by. It stays
	 * the caller's. The kernel wants it for resets of a whole bus, and for nothing else. */
	int group_fd;
};

#define VFB_DEVICE_ADOPT_OPTS_INIT VFB_SIZED(struct vfb_device_adopt_opts)

/** group_fd is set. */
#define VFB_DEVICE_ADOPT_HAS_GROUP_FD (1u << 0)

/**
 * Makes a device of what the caller, or another process, has opened: by its group, or by its node
 * and bound to an iommufd. It is reset neither now nor when it is closed, and its attachment is
 * left alone. Closing it undoes what the library did: unmaps regions, disables interrupts that
 * it has enabled. What the caller has mapped and enabled by itself stays.
 *
 * @param ctx   the context
 * @param fd    the device's file descriptor; it must stay open, and attached, until the device is
 *              closed, and is not closed then
 * @param opts  settings, or NULL
 * @param out   the device, to be given to vfb_device_close()
 *
 * @return 0; -EBADF: the file descriptor is not open; -ENOTTY: it is none of VFIO; -EINVAL: it is
 * a container, an iommufd or a group, or a device node that is not bound, or not of the device with
 * that address, or the address cannot be found; or one that is no address, unknown flags, or a
 * space that was not adopted; -ENOTSUP: it is not a PCI device; -ENODEV: there is no device with
 * that address; -ENXIO: nothing is attached to the space; -EBUSY: the space has the device already;
 * or the kernel's errno.
 */
VFB_API int vfb_device_adopt(struct vfb_ctx *ctx, int fd, const struct vfb_device_adopt_opts *opts,
			     struct vfb_device **out);

/**
 * Closes devices: unmaps their regions, also for other devices (vfb_bars_map()), disables their
 * interrupts, lets the kernel reset them, and frees them. Entries become NULL, and those that are
 * NULL are passed over, so that closing an array again does nothing. An event of VFB_PHASE_CLOSE
 * tells that a device is released; that of VFB_PHASE_DESTROY for memory tells that its pages are
 * back.
 *
 * A reset cannot be hurried or broken off. When vfb_batch_opts.timeout_ns is over, the devices that
 * are not closed yet go on to be, and nobody waits for them: until they are, their events are still
 * to come, and destroying their space or the context gives -EBUSY.
 *
 * @return 0; -EINVAL: a device is there twice, or they are of different contexts; -EALREADY: one
 * is being closed by another job; nothing was closed then. -ETIMEDOUT: it takes longer than
 * timeout_ns (the text tells how many are not closed yet). -ENOMEM, -EMFILE, -EAGAIN: out of
 * resources, then the devices were closed all the same, one after another.
 */
VFB_API int vfb_devices_close(struct vfb_device **devices, size_t count,
			      const struct vfb_batch_opts *opts);

/**
 * Starts vfb_devices_close(). The entries are NULL when it returns, and the array may be freed.
 * vfb_job_wait_entry() tells which are closed; entries that were NULL don't count. The job ends
 * with -ETIMEDOUT when the time that it was given is over, and may be destroyed then; to wait once
 * more, give a timeout to vfb_job_wait() instead.
 *
 * @return 0; -EINVAL: no devices, one twice, or of different contexts; -EALREADY: one is being
 * closed by another job; -ENOMEM, -EMFILE, -EAGAIN. Nothing was begun then.
 */
VFB_API int vfb_devices_close_start(struct vfb_device **devices, size_t count,
				    const struct vfb_batch_opts *opts, struct vfb_job **out);

/** Closes one device; NULL is allowed. @return 0; -EALREADY: a job is closing it. */
VFB_API int vfb_device_close(struct vfb_device *device);

/** Tells what the device is. @return 0, or -E2BIG. */
VFB_API int vfb_device_info(const struct vfb_device *device, struct vfb_device_info *info);

/** How a device is reset. */
enum vfb_reset_method {
	/** The cheapest that cleans the device: with one bus reset when all that are on the bus are
	 *  to be reset, else each function by itself; and with a bus reset what has no other. */
	VFB_RESET_AUTO,
	/** The function by itself (VFIO_DEVICE_RESET). */
	VFB_RESET_FUNCTION,
	/** The bus or slot, with all devices on it (VFIO_DEVICE_PCI_HOT_RESET). */
	VFB_RESET_BUS,
};

/** A device to reset, an entry of a batch. Zero what is not set. */
struct vfb_reset_request {
	struct vfb_device *device;
	/** How; the way that was taken is written here. Entries on one bus should agree. */
	enum vfb_reset_method method;
	/** 0 or a negative errno, set when the job has ended. */
	int status;
	uint64_t reserved[2];
};

/**
 * Resets devices that stay open: as after opening, their mapped regions, interrupts and the
 * memory mapped for them stay. Devices that do not share a bus are reset at the same time. One
 * that fails does not keep the others from being reset.
 *
 * BARs that other devices reach (vfb_bars_map()) stay within their reach. Should one not be mapped
 * again, the reset succeeds all the same, and vfb_last_error() tells of it.
 *
 * A bus reset takes all devices of the bus, see vfb_pci_reset_set(): it is refused unless all of
 * them are open in the same space and entries of the batch, so that none is reset unawares.
 *
 * @param resets  @p count devices of one context; method and status are written
 * @param count   how many; 0 is allowed
 * @param opts    settings, or NULL; VFB_BATCH_BEST_EFFORT is meant either way
 *
 * @return 0, or the negative errno of the entry that failed first:
 * -EINVAL: no device, one twice, different contexts, or an unknown method;
 * -ENOTSUP: the device cannot be reset in this way;
 * -EPERM: the bus reset would hit a device that is not in the batch (the text names it);
 * -EAGAIN, -EBUSY: others kept the device locked for 5 s;
 * or the kernel's errno.
 */
VFB_API int vfb_devices_reset(struct vfb_reset_request *resets, size_t count,
			      const struct vfb_batch_opts *opts);

/** Starts vfb_devices_reset(). */
VFB_API int vfb_devices_reset_start(struct vfb_reset_request *resets, size_t count,
				    const struct vfb_batch_opts *opts, struct vfb_job **out);

/** Resets one device; as vfb_devices_reset(). */
VFB_API int vfb_device_reset(struct vfb_device *device);

/**
 * Measures how fast such memory is populated, and mapped by each backend that there is, with a
 * device that nobody uses yet: for spaces of VFB_BACKEND_AUTO that are created in this context from
 * now on, and for what vfb_space_map_plan() tells. It is done once for each page size, with 64 MiB
 * (of pages of 1 GiB: with one), and takes two resets of the device for each backend, half a second
 * or so: worth it for a program that starts guest after guest.
 *
 * @param ctx        the context
 * @param address    the device, as for vfb_device_open()
 * @param page_size  what will be mapped, as in vfb_space_opts; not auto or mixed
 * @param kind       likewise
 *
 * @return 0; -EINVAL; or what creating memory, opening the device or mapping returns.
 */
VFB_API int vfb_backend_measure(struct vfb_ctx *ctx, const char *address,
				enum vfb_page_size page_size, enum vfb_memory_kind kind);

#ifdef __cplusplus
}
#endif

#endif
