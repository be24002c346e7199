/* SPDX-License-Identifier: MIT */
/**
 * @file layout.h
 * Which IOVAs devices can use, before they are opened, and laying out guest memory around the rest.
 *
 * An IOMMU has a width, 39 bits on many desktop hosts. Below that some ranges are reserved: the
 * window of interrupts (0xfee00000-0xfeefffff on x86), 0xfd00000000-0xffffffffff on AMD hosts,
 * which splits the memory of guests above 1011 GiB, and what the firmware uses. Mapping there
 * fails when a device is opened, or when the first range is mapped.
 */
#ifndef VFIOBOOST_LAYOUT_H
#define VFIOBOOST_LAYOUT_H

#include <vfioboost/space.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Lists the IOVAs that all of the devices can use, in ascending order. Reads the reserved regions
 * of their IOMMU groups and the width of their IOMMUs (VT-d and AMD-Vi report it) from sysfs. The
 * devices need not be bound to VFIO, and are not opened.
 *
 * @param ctx        the context
 * @param addresses  PCI addresses
 * @param count      number of addresses; without any all IOVAs are valid
 * @param ranges     receives the first @p capacity ranges
 * @param capacity   capacity of @p ranges
 *
 * @return the number of ranges, which may exceed @p capacity; -EINVAL: not a PCI address; -ENODEV:
 * there is no such device; -EOPNOTSUPP: it has no IOMMU group; -EPERM: the firmware requires a 1:1
 * mapping for it, so that the kernel does not let it be used (the error text says which, and what
 * can be done); -ENOMEM.
 */
VFB_API int vfb_pci_iova_ranges(struct vfb_ctx *ctx, const char *const *addresses, size_t count,
				struct vfb_iova_range *ranges, size_t capacity);

/**
 * Announces the devices that will be opened in a space. As long as the space has no domain, what
 * these devices cannot use is then refused when a range is mapped or planned
 * (vfb_space_map_plan()), avoided where the library chooses IOVAs, and left out by
 * vfb_space_iova_ranges() and vfb_layout(). Nothing is opened. The domain decides once there is
 * one. A later call replaces an earlier one.
 *
 * @param space      the space
 * @param addresses  PCI addresses
 * @param count      number of addresses; 0: nothing is known again
 *
 * @return 0, or the errors of vfb_pci_iova_ranges().
 */
VFB_API int vfb_space_expect_devices(struct vfb_space *space, const char *const *addresses,
				     size_t count);

/** Memory to lay out: one entry of a layout. Set unused fields to zero. */
struct vfb_layout_part {
	/** Its size in bytes, a multiple of the alignment. */
	uint64_t bytes;
	/** Every range of it begins and ends at a multiple of this, a power of two: at least the
	 *  size of its pages; 2 MiB or 1 GiB let the IOMMU use large pages. 0: 64 KiB. */
	uint64_t alignment;
	/** The lowest and the highest IOVA that it may have; last 0: no bound. */
	uint64_t first, last;
	/** Copied into the ranges; the library does not use it here. */
	struct vfb_memory *memory;
	uint64_t reserved[2];
};

/** Where memory may be laid out. Zero is a good default for every field. */
struct vfb_layout_opts {
	size_t size;
	/** The valid IOVAs, in any order; NULL and 0: all. */
	const struct vfb_iova_range *valid;
	size_t valid_count;
	/** If not NULL, only what is also valid in this space is used (vfb_space_iova_ranges()),
	 *  and what is mapped in it is left out. */
	struct vfb_space *space;
};

#define VFB_LAYOUT_OPTS_INIT VFB_SIZED(struct vfb_layout_opts)

/**
 * Lays out memory in valid IOVAs. Each part becomes as few ranges as possible, and among these
 * layouts gets the one with the lowest IOVAs. The parts are laid out one after another, and do not
 * overlap. For a PC, pass the memory below the hole for 32-bit devices as the first part, with
 * last set to 4 GiB - 1, and the rest as the second, with first set to 4 GiB.
 *
 * @param opts        the valid IOVAs, or NULL for all
 * @param parts       the memory, not empty
 * @param part_count  number of parts
 * @param ranges      receives the first @p capacity ranges, part by part in ascending order:
 *                    memory, offset in the part, bytes and iova, everything else zero, as
 *                    vfb_space_map() takes them
 * @param capacity    capacity of @p ranges
 *
 * @return the number of ranges, which may exceed @p capacity; -ENOSPC: the valid IOVAs are too few
 * (the error text says how many there are); -EINVAL: an alignment that is not a power of two, a
 * size that is 0 or not a multiple of it, a range or bound that ends before it begins; -E2BIG;
 * -ENOMEM.
 */
VFB_API int vfb_layout(const struct vfb_layout_opts *opts, const struct vfb_layout_part *parts,
		       size_t part_count, struct vfb_range *ranges, size_t capacity);

#ifdef __cplusplus
}
#endif

#endif
