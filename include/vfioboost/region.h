/* SPDX-License-Identifier: MIT */
/**
 * @file region.h
 * Regions of a device. Of a PCI device: 0 to 5 are the BARs, 6 is the ROM, 7 the configuration
 * space, 8 VGA.
 */
#ifndef VFIOBOOST_REGION_H
#define VFIOBOOST_REGION_H

#include <vfioboost/device.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Index of the PCI configuration space. */
#define VFB_REGION_CONFIG 7

/** Properties of a region. */
struct vfb_region_info {
	size_t size;
	/** Size of the region; 0: the device does not have it. */
	uint64_t bytes;
	/** VFB_REGION_... */
	uint32_t flags;
	/** While it is mapped with VFB_REGION_MAP_MEASURE: size of the pages in the process's page
	 *  table. 0 otherwise. */
	uint64_t page_bytes;
};

#define VFB_REGION_INFO_INIT VFB_SIZED(struct vfb_region_info)

/** It can be read. */
#define VFB_REGION_READ (1u << 0)
/** It can be written. */
#define VFB_REGION_WRITE (1u << 1)
/** At least part of it can be mapped with vfb_region_map(). */
#define VFB_REGION_MMAP (1u << 2)

/**
 * Reports the properties of a region (VFIO_DEVICE_GET_REGION_INFO).
 *
 * @param device  the device
 * @param index   0 to vfb_device_info.regions - 1
 * @param info    is filled in
 *
 * @return 0; -EINVAL: the device has no such region; -E2BIG.
 */
VFB_API int vfb_region_info(struct vfb_device *device, unsigned int index,
			    struct vfb_region_info *info);

/**
 * Reads from a region through the kernel (pread(2)). The kernel accesses a register in one piece if
 * offset and length are a multiple of its width (1, 2 or 4 bytes; on some kernels also 8).
 *
 * @param device  the device
 * @param index   the region
 * @param offset  where to begin in the region
 * @param buffer  receives the bytes
 * @param bytes   how many
 *
 * @return 0: all @p bytes were read; -EINVAL: no such region; -ERANGE: beyond its end; -ENOTSUP: it
 * cannot be read; or the error of the kernel.
 */
VFB_API int vfb_region_read(const struct vfb_device *device, unsigned int index, uint64_t offset,
			    void *buffer, size_t bytes);

/** Writes to a region (pwrite(2)); otherwise as vfb_region_read(). */
VFB_API int vfb_region_write(const struct vfb_device *device, unsigned int index, uint64_t offset,
			     const void *buffer, size_t bytes);

/**
 * Reads a register, converted from PCI's little endian byte order.
 *
 * @param device  the device
 * @param index   the region
 * @param offset  offset of the register, a multiple of @p width
 * @param width   its width in bytes: 1, 2, 4 or 8
 * @param value   receives its value
 *
 * @return 0; -EINVAL: another width, or the offset is not a multiple of it; or the errors of
 * vfb_region_read().
 */
VFB_API int vfb_region_load(const struct vfb_device *device, unsigned int index, uint64_t offset,
			    unsigned int width, uint64_t *value);

/** Writes a register; otherwise as vfb_region_load(). -ERANGE: the value does not fit into @p width
 *  bytes. */
VFB_API int vfb_region_store(const struct vfb_device *device, unsigned int index, uint64_t offset,
			     unsigned int width, uint64_t value);

/** Settings for mapping a region. Zero is a good default for every field. */
struct vfb_region_map_opts {
	size_t size;
	/** VFB_REGION_MAP_... */
	uint32_t flags;
	/** Where to map it: addresses that the caller has reserved for the whole region, a multiple
	 *  of the base page, which are replaced (MAP_FIXED). They remain the caller's: unmapping
	 * the region leaves them reserved, without access. NULL: the library chooses addresses that
	 * allow large pages, which is best. */
	void *address;
};

#define VFB_REGION_MAP_OPTS_INIT VFB_SIZED(struct vfb_region_map_opts)

/** Leave out the pages that hold the MSI-X table, for a VMM that emulates it. */
#define VFB_REGION_MAP_WITHOUT_MSIX (1u << 0)
/** Measure the page size of the mapping, for vfb_region_info.page_bytes, by reading up to three
 * bytes of the region. Do not use it for registers that change when they are read. Nothing is read,
 * and page_bytes is 0, if the device would not respond (memory disabled in its command register,
 *  D3hot). */
#define VFB_REGION_MAP_MEASURE (1u << 1)

/**
 * Maps a region into the process (mmap(2)). It stays mapped until vfb_region_unmap(), or until the
 * device is closed. Parts that cannot be mapped (VFIO's sparse areas) have addresses without
 * access.
 *
 * Since Linux 6.12 the kernel maps BARs with pages of 2 MiB and 1 GiB if the address and the offset
 * in the BAR are congruent modulo that size. The library chooses such addresses: a BAR of 32 GiB
 * then takes 32 page faults instead of 8 million.
 *
 * @param device  the device
 * @param index   the region
 * @param opts    settings, or NULL for the defaults
 * @param out     receives the address
 *
 * @return 0; -EINVAL: no such region, an address that is not a multiple of the base page, or an
 * unknown flag; -ENOTSUP: it cannot be mapped; -EEXIST: it is already mapped; -EPROTO: the kernel
 * reports mappable areas beyond the end of the region; -E2BIG; or the error of the kernel.
 */
VFB_API int vfb_region_map(struct vfb_device *device, unsigned int index,
			   const struct vfb_region_map_opts *opts, void **out);

/**
 * Unmaps a region from the process.
 *
 * @param device  the device
 * @param index   the region
 *
 * @return 0; -ENOENT: it is not mapped; -EBUSY: it is mapped for other devices: call
 * vfb_bars_unmap() first.
 */
VFB_API int vfb_region_unmap(struct vfb_device *device, unsigned int index);

#ifdef __cplusplus
}
#endif

#endif
