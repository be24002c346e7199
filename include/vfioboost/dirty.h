/* SPDX-License-Identifier: MIT */
/**
 * @file dirty.h
 * Which pages devices have written to, for live migration.
 *
 * The space is created with VFB_SPACE_DIRTY. vfb_space_track_dirty() begins tracking;
 * vfb_space_dirty() then reads and clears the bits of any number of areas, in parallel.
 *
 * With iommufd the IOMMU tracks pages by hardware (Linux 6.7; AMD since Zen 4, Intel VT-d in
 * scalable mode with second-stage dirty bits, SMMUv3 with HTTU): opening a device behind another
 * one fails. type1 knows no hardware for it: it reports every page as written that is mapped for a
 * device, unless the device tracks its own writes.
 *
 * An IOMMU has one bit for each of its pages, which may be large where memory is contiguous: all
 * base pages in it are then reported. What else writes to the memory, such as the VMM and the
 * guest's processors, is not reported.
 */
#ifndef VFIOBOOST_DIRTY_H
#define VFIOBOOST_DIRTY_H

#include <vfioboost/space.h>

#ifdef __cplusplus
extern "C" {
#endif

/** An area of a space, and the pages in it that devices have written to. Set unused fields to
 *  zero. */
struct vfb_dirty_area {
	/** Multiples of the base page (4 KiB on x86). Parts that are not mapped were not written
	 *  to. With type1 the area must not begin or end within a mapping. */
	uint64_t iova, bytes;
	/** Receives one bit per base page: bit N % 64 of word N / 64 is page N of the area. All
	 *  words that the area needs, one for 64 pages, are overwritten. They must be readable and
	 *  writable, and stay so until the job has ended. */
	uint64_t *bitmap;
	/** Output, valid when the job has ended: 0 or a negative errno; -ECANCELED if nothing was
	 *  read because another area is invalid. On any other failure the bits of the area may
	 *  have been cleared: assume that all of it was written to. */
	int status;
	uint32_t reserved;
};

/**
 * Begins or ends tracking which pages devices write to. Afterwards all pages are clean. Devices
 * that are opened later are tracked, too.
 *
 * It uses IOMMU_HWPT_SET_DIRTY_TRACKING or VFIO_IOMMU_DIRTY_PAGES.
 *
 * @param space  a space that was created or adopted with VFB_SPACE_DIRTY
 * @param on     1: begin; 0: end
 *
 * @return 0; -EINVAL: the space lacks VFB_SPACE_DIRTY; -ENXIO: there is no domain, because no
 * device is open, or only one of the caller's that vfb_space_opts.dirty_domain does not name; or
 * the error of the kernel.
 */
VFB_API int vfb_space_track_dirty(struct vfb_space *space, int on);

/**
 * Reads which pages of areas devices have written to since the last call, or since tracking began,
 * and marks them as clean. iommufd reads parts of areas in parallel. Do not unmap any of the areas
 * meanwhile.
 *
 * It uses IOMMU_HWPT_GET_DIRTY_BITMAP or VFIO_IOMMU_DIRTY_PAGES.
 *
 * @param space  a space that tracks, see vfb_space_track_dirty()
 * @param areas  @p count areas, which may overlap only if they are read in different calls; their
 *               bitmaps and status are written
 * @param count  number of areas; 0 does nothing
 *
 * @return 0, or the negative errno of the area that failed first: -EINVAL: an area is empty, not
 * aligned, ends beyond the address space, lacks a bitmap or (type1) contains part of a mapping, or
 * the space does not track; -ENXIO: there is no domain; or the error of the kernel.
 */
VFB_API int vfb_space_dirty(struct vfb_space *space, struct vfb_dirty_area *areas, size_t count);

/** Starts vfb_space_dirty(). */
VFB_API int vfb_space_dirty_start(struct vfb_space *space, struct vfb_dirty_area *areas,
				  size_t count, struct vfb_job **out);

#ifdef __cplusplus
}
#endif

#endif
