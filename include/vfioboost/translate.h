/* SPDX-License-Identifier: MIT */
/**
 * @file translate.h
 * Finding memory by the address that devices use, and the other way round.
 *
 * For code that reads what a guest or a driver has given to a device: rings, descriptors,
 * buffers. Any number of threads look addresses up while others map and unmap. They never wait,
 * nor allocate, nor make a system call: what is looked into is never changed, only replaced
 * (read-copy-update), and is freed when nobody looks into it any more. Nobody has to register;
 * the first lookup of a thread does that, and it alone takes a lock.
 */
#ifndef VFIOBOOST_TRANSLATE_H
#define VFIOBOOST_TRANSLATE_H

#include <vfioboost/space.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A part of a buffer that is in one piece, for devices and for the process. */
struct vfb_translation {
	void *address;
	uint64_t iova;
	uint64_t bytes;
	/** What devices may do: VFB_RANGE_READ, VFB_RANGE_WRITE. */
	uint32_t flags;
	uint32_t reserved;
};

/**
 * Finds the memory behind a buffer of IOVAs.
 *
 * A range can be found from the moment on in which vfb_space_map() returns, its job is ready, or
 * vfb_job_wait_entry() tells that it is mapped; and no more from the moment on in which unmapping
 * it begins. The library does not keep the memory from being unmapped after that: whoever unmaps
 * must know that nobody uses what was found.
 *
 * @param space   the space
 * @param iova    where the buffer begins
 * @param bytes   its length; 0 finds nothing, and no error
 * @param pieces  gets the first @p count pieces, in the order of the buffer; several where the
 *                buffer goes from one mapping to another whose memory is elsewhere
 * @param count   how many there is room for; 0 only counts
 *
 * @return how many pieces the buffer has, which may be more than @p count; -ENOENT: some of it
 * is not mapped.
 */
VFB_API int vfb_space_translate(const struct vfb_space *space, uint64_t iova, uint64_t bytes,
				struct vfb_translation *pieces, size_t count);

/**
 * Finds the IOVAs of a buffer in memory. Memory that is mapped several times has several: one of
 * them is found, and the same one until mappings change.
 *
 * @param address  where the buffer begins in this process
 *
 * The rest is as for vfb_space_translate().
 */
VFB_API int vfb_space_translate_address(const struct vfb_space *space, const void *address,
					uint64_t bytes, struct vfb_translation *pieces,
					size_t count);

#ifdef __cplusplus
}
#endif

#endif
