/* SPDX-License-Identifier: MIT */
#ifndef VFB_MEMORY_H
#define VFB_MEMORY_H

#include <stdatomic.h>
#include <vfioboost/memory.h>

#include "context.h"
#include "engine/job.h"
#include "observe/lanes.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

struct vfb_iommu_region;

enum vfb_plainness {
	VFB_PLAIN_UNKNOWN,
	VFB_PLAIN,
	VFB_NOT_PLAIN,
};

struct vfb_memory {
	struct vfb_ctx *ctx;
	char *address;
	uint64_t bytes;
	/* The file whose pages these are, -1 for none. */
	int fd;
	/* Where in the file it begins. */
	uint64_t fd_offset;
	/* The caller owns the file, and the mapping unless there is a reservation. */
	bool adopted;
	enum vfb_page_size page_size;
	uint64_t page_bytes;
	/* Adopted memory: the pages of its file or mapping. If it is not aligned to them,
	 * page_bytes is that of a base page. Else 0. */
	uint64_t mapped_page_bytes;
	/* VFB_PAGE_MIXED: the first part, which has pages of 1 GiB; page_bytes is 2 MiB. */
	uint64_t bulk_bytes;
	/* Why larger pages were not used, or why adopted memory is not mapped by its file; NULL if
	 * there is no reason. */
	char *fallback;
	/* VFB_MEMORY_... of vfb_memory_create(). */
	uint32_t flags;
	struct vfb_pool_loan *loans;
	size_t loan_count;
	enum vfb_numa_policy policy;
	unsigned int *nodes;
	/* VFB_NUMA_SPLIT: the size of each node's part; otherwise NULL. */
	uint64_t *node_bytes;
	size_t node_count;
	/* The arguments of munmap(): larger than the memory if it had to be aligned. */
	void *reservation;
	uint64_t reservation_bytes;
	/* A region of an open device backs it: nothing is populated or pinned. NULL: pages do. */
	const struct vfb_iommu_region *region;
	/* VFB_MEMORY_ADOPT_POPULATED: believe it without asking the kernel. */
	bool trusted;
	/* Adopted memory: its pages are freed at the end. */
	bool frees;
	/* Whether adopted memory consists of nothing but memory: enum vfb_plainness. */
	atomic_int plain;
	/* One bit per granule that is completely populated. */
	atomic_ulong *populated;
	/* What precedes is read for each step. */
	char apart[VFB_CACHE_LINE];
	atomic_uint_fast64_t populated_bytes;
	/* Most of the part that was populated last was so by MADV_POPULATE_WRITE, which holds
	 * mmap_lock. */
	atomic_bool advised;
	/* Mapped ranges and running jobs; the memory cannot be destroyed before they end. */
	atomic_uint users;
};

/* The unit in which memory is populated and recorded as populated. */
static inline uint64_t vfb_memory_granule(const struct vfb_memory *memory)
{
	return memory->page_bytes > 2 * MIB ? memory->page_bytes : 2 * MIB;
}

/* The page size in bytes; not for VFB_PAGE_HUGE. */
uint64_t vfb_page_bytes(const struct vfb_sys *sys, enum vfb_page_size page_size);

/* The size of a transparent huge page that fills a page-table entry of the level above. */
uint64_t vfb_thp_bytes(const struct vfb_sys *sys);

static inline uint64_t vfb_memory_base_page(const struct vfb_memory *memory)
{
	return memory->ctx->sys->base_page(memory->ctx->sys);
}

/* The pages are those of hugetlb. */
static inline bool vfb_memory_is_hugetlb(const struct vfb_memory *memory)
{
	uint64_t base = vfb_memory_base_page(memory);

	return memory->page_bytes > base || memory->mapped_page_bytes > base;
}

/* The size of the page at @offset. */
static inline uint64_t vfb_memory_page_at(const struct vfb_memory *memory, uint64_t offset)
{
	return offset < memory->bulk_bytes ? GIB : memory->page_bytes;
}

/* The size of the page of the pool that the one at @offset comes from, or is a part of. */
static inline uint64_t vfb_memory_pool_page_at(const struct vfb_memory *memory, uint64_t offset)
{
	uint64_t page_bytes = vfb_memory_page_at(memory, offset);

	return memory->mapped_page_bytes > page_bytes ? memory->mapped_page_bytes : page_bytes;
}

/* Pages of 64 KiB in memfds, which populate nearly as fast as huge pages, and need no compaction.
 */
#define VFB_THP_SHARED_64K "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/shmem_enabled"

/* Whether such memory gets transparent huge pages of any size if it asks for them. */
bool vfb_thp_is_enabled(const struct vfb_sys *sys, enum vfb_memory_kind kind);

/*
 * Checks that the memory can get pages of its size, and grows the pools if VFB_MEMORY_GROW_POOL
 * allows it. Otherwise it reports -EINVAL, -ENOTSUP or -ENOMEM.
 */
int vfb_page_size_prepare(struct vfb_memory *memory, enum vfb_memory_kind kind);

/* Reports -ENOMEM if the cgroups do not let so many hugetlb pages be populated. */
int vfb_page_size_check_room(const struct vfb_memory *memory);

/* Appends this thread's last error to the fallback text, as the reason against the page size. */
int vfb_page_size_note(struct vfb_memory *memory);

/* Frees all pages, as far as that is possible. */
void vfb_memory_free_pages(const struct vfb_memory *memory);

/* Allocates the bitmap, with all bits set if @populated. Reports -ENOMEM. */
int vfb_memory_allocate_bitmap(struct vfb_memory *memory, bool populated);

/* Maps the memory with the page size that is set. */
int vfb_backing_make(struct vfb_memory *memory, enum vfb_memory_kind kind);
/* Unmaps the memory and closes its file. Reports errors; nothing has changed then. */
int vfb_backing_release(struct vfb_memory *memory);

/*
 * Drops the file of adopted memory unless the address shows its pages, and records the reason in
 * the fallback text. Reports -ENOMEM.
 */
int vfb_memory_check_file(struct vfb_memory *memory, const struct vfb_sys_file *file);

/* Checks and copies the policy and the nodes of @opts. */
int vfb_memory_set_policy(struct vfb_memory *memory, const struct vfb_memory_opts *opts);
/* Sets the policy in the kernel; must precede populating. */
int vfb_memory_apply_policy(struct vfb_memory *memory);
/* The node whose workers should populate the page at @offset; VFB_ANY_NODE: any. @piece: the number
 * of the piece, to distribute pieces over several nodes. */
int vfb_memory_node(const struct vfb_memory *memory, uint64_t offset, uint64_t piece);
/*
 * The policy of adopted memory is only known to the kernel, and may change at any time, so that a
 * worker asks (get_mempolicy(2)): the caller's filter of system calls may forbid it. Whether it
 * must, and what it gets.
 */
bool vfb_memory_must_ask_node(const struct vfb_memory *memory, uint64_t offset);
int vfb_memory_ask_node(const struct vfb_memory *memory, uint64_t offset, uint64_t piece);
/* For a task that any worker runs so far: whether it was submitted again, for those of *@node. */
bool vfb_memory_move_task(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes,
			  struct vfb_job *job, struct vfb_task *task, int *node);
/* Whether workers of one node should populate the page at @offset, as far as the caller knows. */
bool vfb_memory_wants_worker(const struct vfb_memory *memory, uint64_t offset);
/* Where the part from @offset ends that the policy places alike. */
uint64_t vfb_memory_policy_end(const struct vfb_memory *memory, uint64_t offset);
/* Whether the policy allows the page at @offset on @node. */
bool vfb_memory_belongs(const struct vfb_memory *memory, uint64_t offset, unsigned int node);

/*
 * Populates a page-aligned part in steps, within the rate of the context, and adds each step to the
 * bytes_done of the job. Returns -ECANCELED, without a text, when @job is stopped.
 */
int vfb_memory_populate_range(struct vfb_memory *memory, uint64_t offset, uint64_t bytes, int node,
			      struct vfb_job *job);

void vfb_memory_mark_populated(struct vfb_memory *memory, uint64_t granule, uint64_t count);
/* Marks the granules of a part that was populated, if the rest of them is present. */
void vfb_memory_note_present(struct vfb_memory *memory, uint64_t offset, uint64_t bytes);
void vfb_memory_mark_absent(struct vfb_memory *memory, uint64_t granule);

/* Returns the pages of a part, which no device may reach. */
int vfb_memory_return_range(struct vfb_memory *memory, uint64_t offset, uint64_t bytes);

/* How many bytes of the part are not present. */
uint64_t vfb_memory_absent_bytes(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes);

struct vfb_memory_part {
	struct vfb_memory *memory;
	uint64_t offset, bytes;
};

/*
 * Checks that the cgroups, the nodes and the host have enough memory for the missing pages, and
 * reports -ENOMEM if not. The parts may overlap; they are reordered.
 */
int vfb_memory_check_room(const struct vfb_sys *sys, struct vfb_memory_part *parts, size_t count);

/* The only node that the policy allows for the page at @offset; VFB_ROOM_ANYWHERE: several. */
int vfb_memory_strict_node(const struct vfb_memory *memory, uint64_t offset);

/* Whether the library has populated the whole part; a hint for planning. */
bool vfb_memory_was_populated(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes);

/* Where the part from @offset ends, at @end or before, of which all has been populated, or nothing.
 */
uint64_t vfb_memory_same_end(const struct vfb_memory *memory, uint64_t offset, uint64_t end,
			     bool *populated);

/*
 * Whether the whole part is populated now. Asks the kernel, since the owner may have released pages
 * (MADV_DONTNEED, a punched hole), which then have to be populated again.
 */
bool vfb_memory_is_populated(struct vfb_memory *memory, uint64_t offset, uint64_t bytes);

/*
 * The size of the pieces into which @bytes at @offset should be split for the workers: enough
 * pieces that all workers finish together, but none so small that it costs more than it gains.
 * @width: the maximum number of pieces, 0 for no limit.
 */
uint64_t vfb_memory_piece_bytes(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes,
				unsigned int width);

#endif
