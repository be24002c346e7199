/* SPDX-License-Identifier: MIT */
#ifndef VFB_MEMORY_H
#define VFB_MEMORY_H

#include <stdatomic.h>
#include <vfioboost/memory.h>

#include "context.h"
#include "engine/job.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

struct vfb_iommu_region;

struct vfb_memory {
	struct vfb_ctx *ctx;
	char *address;
	uint64_t bytes;
	/* The file whose pages these are, -1 for none. */
	int fd;
	/* Where in the file it begins. */
	uint64_t fd_offset;
	/* The file is the caller's, and so is the address unless there is a reservation. */
	bool adopted;
	enum vfb_page_size page_size;
	uint64_t page_bytes;
	/* The part at the beginning that has pages of 1 GiB though page_bytes says 2 MiB. */
	uint64_t bulk_bytes;
	/* Why it has no larger pages, or why adopted memory is not mapped by its file; NULL without
	 * a reason. */
	char *fallback;
	/* VFB_MEMORY_... of vfb_memory_create(). */
	uint32_t flags;
	struct vfb_pool_loan *loans;
	size_t loan_count;
	enum vfb_numa_policy policy;
	unsigned int *nodes;
	/* With VFB_NUMA_SPLIT the part of each node, else NULL. */
	uint64_t *node_bytes;
	size_t node_count;
	/* What munmap() is to be given: more than the memory where that had to be aligned. */
	void *reservation;
	uint64_t reservation_bytes;
	/* A region of an open device backs it: nothing is populated or pinned. NULL: pages do. */
	const struct vfb_iommu_region *region;
	/* Ranges mapped in spaces, and jobs: while there are any the memory stays. */
	atomic_uint users;
	/* The caller has said that it is populated: the kernel is not asked. */
	bool trusted;
	/* One bit for each granule, the step of populating, that is populated as a whole. */
	atomic_ulong *populated;
	atomic_uint_fast64_t populated_bytes;
};

/* The step in which memory is populated and remembered as populated. */
static inline uint64_t vfb_memory_granule(const struct vfb_memory *memory)
{
	return memory->page_bytes > 2 * MIB ? memory->page_bytes : 2 * MIB;
}

/* Page size in bytes of what is not VFB_PAGE_AUTO. */
uint64_t vfb_page_bytes(enum vfb_page_size page_size);

/*
 * Makes sure that all of the memory can have such pages now, and grows pools if requested. Fails
 * with -EINVAL, -ENOTSUP or -ENOMEM.
 */
int vfb_page_size_prepare(struct vfb_memory *memory, enum vfb_memory_kind kind,
			  enum vfb_page_size page_size);

/* Adds this thread's last error to the memory's fallback, as the reason against a page size. */
int vfb_page_size_note(struct vfb_memory *memory, enum vfb_page_size page_size);

/* Allocates a bitmap of the populated granules. Fails with -ENOMEM. */
int vfb_memory_allocate_bitmap(struct vfb_memory *memory, bool populated);

/* Maps the memory, of the page size that is set. */
int vfb_backing_make(struct vfb_memory *memory, enum vfb_memory_kind kind);
/* Unmaps it and closes its file. After an error, which is reported, nothing has changed. */
int vfb_backing_release(struct vfb_memory *memory);

/*
 * Drops the file of adopted memory unless its pages are those at the address, and records the
 * reason in the memory's fallback. -ENOMEM, reported.
 */
int vfb_memory_check_file(struct vfb_memory *memory, const struct vfb_sys_file *file);

/* Checks and copies policy and nodes from @opts. */
int vfb_memory_set_policy(struct vfb_memory *memory, const struct vfb_memory_opts *opts);
/* Sets the policy in the kernel, before anything is populated. */
int vfb_memory_apply_policy(struct vfb_memory *memory);
/* The node whose workers should populate what is at @offset, VFB_ANY_NODE if it's all the same.
 * @piece: the number of the piece, to spread pieces over several nodes. */
int vfb_memory_node(const struct vfb_memory *memory, uint64_t offset, uint64_t piece);
/* Whether the policy admits that the page at @offset is on @node. */
bool vfb_memory_belongs(const struct vfb_memory *memory, uint64_t offset, unsigned int node);

/*
 * Populates a part, page aligned, in steps, each of which is added to the job's bytes_done, and no
 * faster than the context's pace. Ends early, with -ECANCELED and no text, when @job is stopped.
 */
int vfb_memory_populate_range(struct vfb_memory *memory, uint64_t offset, uint64_t bytes, int node,
			      struct vfb_job *job);

void vfb_memory_mark_populated(struct vfb_memory *memory, uint64_t granule);

/* How much of that part is not there. */
uint64_t vfb_memory_absent_bytes(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes);

struct vfb_memory_part {
	struct vfb_memory *memory;
	uint64_t offset, bytes;
};

/*
 * Whether cgroups, nodes and the host have the pages that are still missing: 0 or -ENOMEM,
 * reported. The parts may overlap, and are put in another order.
 */
int vfb_memory_check_room(const struct vfb_sys *sys, struct vfb_memory_part *parts, size_t count);

/* The only node that the page at @offset may be on; VFB_ROOM_ANYWHERE: there are others. */
int vfb_memory_strict_node(const struct vfb_memory *memory, uint64_t offset);

/* Whether all of that part is mapped in the process. */
bool vfb_memory_is_mapped(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes);

/* Whether the library has populated all of that part, for planning. */
bool vfb_memory_was_populated(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes);

/*
 * Whether all of that part is populated now. The kernel is asked, since the owner may have given
 * pages back (MADV_DONTNEED, a hole punched): what is missing is to be populated again.
 */
bool vfb_memory_is_populated(struct vfb_memory *memory, uint64_t offset, uint64_t bytes);

/*
 * How large the pieces of @bytes at @offset should be that workers take one after another:
 * enough of them that all finish together, none so small that it costs more than it gains.
 * @width: the most pieces, 0 for no limit.
 */
uint64_t vfb_memory_piece_bytes(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes,
				unsigned int width);

#endif
