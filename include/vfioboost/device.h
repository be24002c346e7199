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
	/** The VFIO file descriptor. It belongs to the device. */
	int fd;
	/** The NUMA node the device is on, -1 when the host does not tell. */
	int node;
	/** Regions and interrupt kinds that it has (VFIO_DEVICE_GET_INFO). */
	unsigned int regions, irqs;
};

#define VFB_DEVICE_INFO_INIT VFB_SIZED(struct vfb_device_info)

/** A part of a device: BARs 0 to 5, the ROM (6), configuration space (7), VGA (8). */
struct vfb_region_info {
	size_t size;
	/** 0: the device does not have it. */
	uint64_t bytes;
	/** VFB_REGION_... */
	uint32_t flags;
};

#define VFB_REGION_INFO_INIT VFB_SIZED(struct vfb_region_info)

#define VFB_REGION_CONFIG 7

#define VFB_REGION_READ	 (1u << 0)
#define VFB_REGION_WRITE (1u << 1)
/** It can be mapped with vfb_region_map(). */
#define VFB_REGION_MMAP (1u << 2)

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
 * -EPERM: its group is not viable, another device of it is bound to a host driver;
 * -EACCES: no permission for its device node;
 * -EBUSY: another process, or another space of this one, has it;
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

/**
 * Closes devices: unmaps their regions, lets the kernel reset them, and frees them. NULL entries
 * are passed over. The handles are gone when it returns, whatever it returns.
 *
 * @return 0; -ENOMEM, -EMFILE: out of resources, then the devices were closed all the same, one
 * after another.
 */
VFB_API int vfb_devices_close(struct vfb_device **devices, size_t count,
			      const struct vfb_batch_opts *opts);

/**
 * Starts vfb_devices_close(). The array may be freed when it returns.
 *
 * @return 0; -EINVAL: devices of different contexts; -ENOMEM, -EMFILE: nothing was begun.
 */
VFB_API int vfb_devices_close_start(struct vfb_device **devices, size_t count,
				    const struct vfb_batch_opts *opts, struct vfb_job **out);

/** Closes one device; NULL is allowed. */
VFB_API void vfb_device_close(struct vfb_device *device);

/** Tells what the device is. @return 0, or -E2BIG. */
VFB_API int vfb_device_info(const struct vfb_device *device, struct vfb_device_info *info);

/**
 * Tells size and abilities of a region (VFIO_DEVICE_GET_REGION_INFO).
 *
 * @param index  0 up to vfb_device_info.regions
 * @return 0; -EINVAL: the device has no such region; -E2BIG.
 */
VFB_API int vfb_region_info(const struct vfb_device *device, unsigned int index,
			    struct vfb_region_info *info);

/**
 * Reads from a region through the kernel. Registers wider than a byte are accessed as one when
 * offset and length are multiples of their width (1, 2, 4 bytes; 8 on some kernels).
 *
 * @return 0: all @p bytes were read; -EINVAL: no such region; -ERANGE: beyond its end; -ENOTSUP:
 * it cannot be read; or the kernel's errno.
 */
VFB_API int vfb_region_read(const struct vfb_device *device, unsigned int index, uint64_t offset,
			    void *buffer, size_t bytes);

/** Writes to a region; as vfb_region_read(). */
VFB_API int vfb_region_write(const struct vfb_device *device, unsigned int index, uint64_t offset,
			     const void *buffer, size_t bytes);

/**
 * Maps a whole region into the process. It is unmapped by vfb_region_unmap(), or when the device
 * is closed.
 *
 * @param out  its address
 * @return 0; -EINVAL: no such region; -ENOTSUP: it cannot be mapped; -EEXIST: it is mapped
 * already; or the kernel's errno.
 */
VFB_API int vfb_region_map(struct vfb_device *device, unsigned int index, void **out);

/** Unmaps a region. @return 0; -ENOENT: it is not mapped. */
VFB_API int vfb_region_unmap(struct vfb_device *device, unsigned int index);

#ifdef __cplusplus
}
#endif

#endif
