/* SPDX-License-Identifier: MIT */
/**
 * @file translate.h
 * Translation between IOVAs and addresses in the process.
 *
 * For code that reads what a guest or driver has passed to a device: rings, descriptors, buffers.
 * Any number of threads can translate while others map and unmap. Lookups never wait, allocate
 * memory or make a system call: the index is replaced, not modified (RCU). Threads need not
 * register: the first lookup of a thread does that and takes a lock. The first lookup in a space
 * builds its index: maps and unmaps of a space in which nobody translates do not pay for one.
 */
#ifndef VFIOBOOST_TRANSLATE_H
#define VFIOBOOST_TRANSLATE_H

#include <vfioboost/space.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A part of a buffer that is contiguous both for devices and in the process. */
struct vfb_translation {
	void *address;
	uint64_t iova;
	uint64_t bytes;
	/** Access of devices: VFB_RANGE_READ, VFB_RANGE_WRITE. */
	uint32_t flags;
	uint32_t reserved;
};

/**
 * Translates a buffer of IOVAs to addresses in the process. Ranges that are left out of the IOMMU
 * (VFB_RANGE_HOST_ONLY) are found as well: emulated devices see them.
 *
 * A range is found from the moment that vfb_space_map() returns, its job is ready, or
 * vfb_job_wait_entry() reports that it is mapped, until unmapping it begins. A translation does not
 * keep the memory mapped: the caller must make sure that no thread uses a translation of a range
 * that is being unmapped.
 *
 * @param space   the space
 * @param iova    where the buffer begins
 * @param bytes   its length; 0 finds nothing and is no error
 * @param pieces  receives the first @p count pieces in the order of the buffer. There are several
 *                if the buffer spans mappings whose memory is not adjacent in the process
 * @param count   capacity of @p pieces; 0 only counts
 *
 * @return the number of pieces, which may exceed @p count; -ENOENT: part of the buffer is not
 * mapped.
 */
VFB_API int vfb_space_translate(const struct vfb_space *space, uint64_t iova, uint64_t bytes,
				struct vfb_translation *pieces, size_t count);

/**
 * Translates a buffer in the process to IOVAs; otherwise as vfb_space_translate(). Memory that is
 * mapped at several IOVAs yields one of them, the same one until mappings change. Ranges that are
 * left out of the IOMMU (VFB_RANGE_HOST_ONLY) are not found: no device can use their IOVAs.
 *
 * @param space    the space
 * @param address  where the buffer begins in the process
 * @param bytes    its length
 * @param pieces   receives the first @p count pieces
 * @param count    capacity of @p pieces
 */
VFB_API int vfb_space_translate_address(const struct vfb_space *space, const void *address,
					uint64_t bytes, struct vfb_translation *pieces,
					size_t count);

#ifdef __cplusplus
}
#endif

#endif
