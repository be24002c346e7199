/* SPDX-License-Identifier: MIT */
/**
 * @file region.h
 * Parts of a device: BARs 0 to 5, the ROM (6), configuration space (7), VGA (8).
 */
#ifndef VFIOBOOST_REGION_H
#define VFIOBOOST_REGION_H

#include <vfioboost/device.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VFB_REGION_CONFIG 7

struct vfb_region_info {
	size_t size;
	/** 0: the device does not have it. */
	uint64_t bytes;
	/** VFB_REGION_... */
	uint32_t flags;
	/** While it is mapped with VFB_REGION_MAP_MEASURE: the size of the pages that resulted. */
	uint64_t page_bytes;
};

#define VFB_REGION_INFO_INIT VFB_SIZED(struct vfb_region_info)

#define VFB_REGION_READ	 (1u << 0)
#define VFB_REGION_WRITE (1u << 1)
/** It can be mapped with vfb_region_map(), some of it at least. */
#define VFB_REGION_MMAP (1u << 2)

/**
 * Tells size and abilities of a region (VFIO_DEVICE_GET_REGION_INFO).
 *
 * @param index  0 up to vfb_device_info.regions
 * @return 0; -EINVAL: the device has no such region; -E2BIG.
 */
VFB_API int vfb_region_info(struct vfb_device *device, unsigned int index,
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
 * Reads a register: a number, which PCI stores with its lowest byte first.
 *
 * @param width  its bytes: 1, 2, 4 or 8
 * @param value  gets it
 * @return 0; -EINVAL: another width, or the offset is not a multiple of it; or as
 * vfb_region_read().
 */
VFB_API int vfb_region_load(const struct vfb_device *device, unsigned int index, uint64_t offset,
			    unsigned int width, uint64_t *value);

/** Writes a register; as vfb_region_load(), and -ERANGE: the value has more bytes than @p width. */
VFB_API int vfb_region_store(const struct vfb_device *device, unsigned int index, uint64_t offset,
			     unsigned int width, uint64_t value);

struct vfb_region_map_opts {
	size_t size;
	/** VFB_REGION_..., those below. */
	uint32_t flags;
	/** Where to map it: addresses that the caller has reserved for all of the region, which are
	 *  replaced. They stay his: unmapping leaves them reserved, without access. NULL: where
	 *  large pages are possible, which is best. */
	void *address;
};

#define VFB_REGION_MAP_OPTS_INIT VFB_SIZED(struct vfb_region_map_opts)

/** Leave the pages out that hold the MSI-X table, as a VMM does that emulates it. */
#define VFB_REGION_MAP_WITHOUT_MSIX (1u << 0)
/** Measure the page size, for vfb_region_info.page_bytes, by reading up to three bytes of the
 *  region: not for registers that change when they are read. Nothing is read, and page_bytes is 0,
 *  when the device would not answer (memory disabled in its command register, D3hot). */
#define VFB_REGION_MAP_MEASURE (1u << 1)

/**
 * Maps a region into the process. It is unmapped by vfb_region_unmap(), or when the device is
 * closed. What cannot be mapped of it (sparse areas of VFIO) has addresses without access.
 *
 * Since Linux 6.12 the kernel maps BARs with pages of 2 MiB and 1 GiB where addresses are
 * congruent to offsets in the BAR modulo that size. The library chooses such addresses: a BAR of
 * 32 GiB costs 32 page faults then, and 8 million otherwise.
 *
 * @param device  the device
 * @param index   the region
 * @param opts    settings, or NULL
 * @param out     its address
 * @return 0; -EINVAL: no such region, an address that is not a multiple of 4 KiB, unknown flags;
 * -ENOTSUP: it cannot be mapped; -EEXIST: it is mapped already; -EPROTO: the kernel's list of what
 * can be mapped reaches beyond the region; -E2BIG; or the kernel's errno.
 */
VFB_API int vfb_region_map(struct vfb_device *device, unsigned int index,
			   const struct vfb_region_map_opts *opts, void **out);

/**
 * Unmaps a region.
 *
 * @return 0; -ENOENT: it is not mapped; -EBUSY: other devices reach it, see vfb_bars_unmap().
 */
VFB_API int vfb_region_unmap(struct vfb_device *device, unsigned int index);

#ifdef __cplusplus
}
#endif

#endif
