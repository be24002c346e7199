/* SPDX-License-Identifier: MIT */
/**
 * @file discard.h
 * Returning pages of memory to the system while devices use the rest, and getting them back: for
 * virtio-mem, a balloon, or free page reporting.
 *
 * Discarded pages are first unmapped from every space of the context, and then returned: base pages
 * to the system, hugetlb pages to their pool. The ranges keep their IOVAs, and other memory keeps
 * being mapped, so devices continue to work with it. Restoring populates pages again, zeroed and on
 * their nodes, and maps them where they were.
 *
 * The kernel unmaps only what one call has mapped. So memory of which parts are to be discarded is
 * mapped in blocks, vfb_space_opts.block_bytes, and discarded in multiples of a block.
 */
#ifndef VFIOBOOST_DISCARD_H
#define VFIOBOOST_DISCARD_H

#include <vfioboost/memory.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A part of memory to discard or restore: one entry of a batch. Set reserved to zero. */
struct vfb_memory_range {
	/** Offset and length of the part, multiples of the pages of the memory. */
	uint64_t offset, bytes;
	/** Output, valid when the job has ended: 0 or a negative errno. */
	int status;
	uint32_t reserved;
};

/**
 * Unmaps parts of memory from all spaces and then returns their pages; both in parallel. What was
 * in them is lost, also in the file of adopted memory. Parts that are discarded already may be
 * among them.
 *
 * Devices and threads must have stopped using the parts: DMA to them is blocked by the IOMMU, an
 * access by a thread gets a new page, and vfb_space_translate() finds nothing there.
 *
 * What devices have written there since vfioboost/dirty.h was asked last is forgotten.
 *
 * The whole batch is checked before anything changes. After that, an entry that fails remains
 * mapped, or is mapped again, and its contents may be lost; other entries are discarded. If the
 * kernel does not unmap an entry, its pages are not returned. Unless VFB_BATCH_BEST_EFFORT is set,
 * no entry is discarded then, and the others get -ECANCELED. If an entry that has failed cannot be
 * mapped again, it stays discarded and vfb_memory_restore() can map it later.
 *
 * Pages of hugetlb memfds return to the pool without a reservation, so restoring can fail when
 * others have used them. Private hugetlb pages (VFB_MEMORY_ANONYMOUS, Linux 5.18) may stay reserved
 * for the memory, so that nobody else can use them.
 *
 * Only mappings that the library has made in spaces of the same context, of the same addresses, are
 * unmapped. If the caller has mapped the pages elsewhere (another context or process, the same file
 * adopted at other addresses, its own calls in an adopted space), it must first unmap them there:
 * devices would continue to use the old pages.
 *
 * A batch of up to 16 ranges and 16 MiB without options is processed in the calling thread.
 *
 * @param memory  the memory
 * @param ranges  @p count parts that do not overlap; their status is written
 * @param count   number of parts; 0 does nothing
 * @param opts    settings, or NULL for the defaults; timeout_ns is ignored
 *
 * @return 0; or the error of the entry that failed first:
 * - -EINVAL: a part is empty, ends beyond the memory, is not aligned to pages, or overlaps another;
 *   or the kernel cannot return the pages: they are locked (mlock(2)), or private hugetlb pages
 *   before Linux 5.18;
 * - -EBUSY: the kernel has mapped a part together with memory outside of the batch: use blocks, or
 *   add that memory to the batch; or another job maps, unmaps, discards or restores it; or the
 *   addresses of the space were released;
 * - -EPERM: the file is sealed; -EOPNOTSUPP: its file system cannot punch holes;
 * - or the error of an unmap call; -ENOMEM.
 */
VFB_API int vfb_memory_discard(struct vfb_memory *memory, struct vfb_memory_range *ranges,
			       size_t count, const struct vfb_batch_opts *opts);

/** Starts vfb_memory_discard(), which cannot be cancelled. */
VFB_API int vfb_memory_discard_start(struct vfb_memory *memory, struct vfb_memory_range *ranges,
				     size_t count, const struct vfb_batch_opts *opts,
				     struct vfb_job **out);

/**
 * Populates parts of memory and maps what was discarded of them again: in the same spaces, at the
 * same IOVAs, with the same access. Workers of the memory's nodes populate. Parts that were not
 * discarded are only populated. Ranges of a space without a device are mapped when the first one is
 * opened.
 *
 * Unless VFB_BATCH_BEST_EFFORT is set, the batch is all or nothing: when an entry fails, or the job
 * is cancelled, everything is discarded again. An entry that failed is discarded in any case,
 * unless the kernel refuses to unmap it: then it remains populated and mapped as far as it was.
 *
 * @param memory  the memory
 * @param ranges  @p count parts that do not overlap, which need not be those that were discarded
 *                together; their status is written
 * @param count   number of parts; 0 does nothing
 * @param opts    settings, or NULL for the defaults
 *
 * @return 0; -ECANCELED; -ETIMEDOUT; or the error of the entry that failed first: those of
 * vfb_memory_discard(), vfb_memory_populate() and vfb_space_map().
 */
VFB_API int vfb_memory_restore(struct vfb_memory *memory, struct vfb_memory_range *ranges,
			       size_t count, const struct vfb_batch_opts *opts);

/** Starts vfb_memory_restore(). */
VFB_API int vfb_memory_restore_start(struct vfb_memory *memory, struct vfb_memory_range *ranges,
				     size_t count, const struct vfb_batch_opts *opts,
				     struct vfb_job **out);

#ifdef __cplusplus
}
#endif

#endif
