/* SPDX-License-Identifier: MIT */
/**
 * @file memory.h
 * Host memory for a guest or a driver.
 *
 * Creating memory reserves addresses (and hugepages of the pool); populating it makes the kernel
 * allocate and zero every page, which is most of a guest's start. vfb_space_map() populates what
 * is not populated yet, overlapped with mapping, so a caller seldom populates by itself.
 */
#ifndef VFIOBOOST_MEMORY_H
#define VFIOBOOST_MEMORY_H

#include <vfioboost/context.h>
#include <vfioboost/job.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vfb_memory;

/** The pages that memory is made of. */
enum vfb_page_size {
	/** The largest that the size is a multiple of and the host can give now: 1g, then mixed
	 *  for anonymous memory, then 2m, then thp, then 4k. What kept it from larger ones is in
	 *  vfb_memory_info.fallback. */
	VFB_PAGE_AUTO,
	/** Base pages only. */
	VFB_PAGE_4K,
	/** Base pages, with transparent huge pages wherever the kernel finds them (madvise(2)
	 *  MADV_HUGEPAGE). */
	VFB_PAGE_THP,
	/** hugetlb pages of 2 MiB, from the pool (hugetlbpage in the kernel's documentation). */
	VFB_PAGE_2M,
	/** hugetlb pages of 1 GiB. */
	VFB_PAGE_1G,
	/** hugetlb pages of 1 GiB for as much of the size as they divide, of 2 MiB for the rest;
	 *  anonymous memory only, since a memfd has pages of one size. */
	VFB_PAGE_MIXED,
};

/** What backs memory. */
enum vfb_memory_kind {
	/** Private anonymous memory. */
	VFB_MEMORY_ANONYMOUS,
	/** memfd_create(2): can be shared with other processes (vhost-user, virtiofsd). */
	VFB_MEMORY_MEMFD,
};

/** On which NUMA nodes the pages lie; see set_mempolicy(2). */
enum vfb_numa_policy {
	/** As the process's policy has it; normally the node of the thread that populates. */
	VFB_NUMA_DEFAULT,
	/** On the given nodes only. */
	VFB_NUMA_BIND,
	/** Page after page over the given nodes. */
	VFB_NUMA_INTERLEAVE,
	/** On the given nodes, elsewhere when they are full. Several need Linux 5.15. */
	VFB_NUMA_PREFERRED,
	/** One part after another, each bound to its node, as the nodes of a guest are: the first
	 *  node_bytes[0] bytes on nodes[0], and so on. */
	VFB_NUMA_SPLIT,
};

/**
 * When the pool has too few free hugepages, make it larger, on the nodes of the policy where it
 * names any, and give back what was added when the memory is destroyed. Memory is compacted first.
 * It needs root, and can take seconds; what the kernel finds no room for is given back at once.
 * A process that is killed does not give back.
 */
#define VFB_MEMORY_GROW_POOL (1u << 0)

struct vfb_memory_opts {
	size_t size;
	/** How much; a multiple of the page size (of 4 KiB for auto and thp). */
	uint64_t bytes;
	enum vfb_page_size page_size;
	enum vfb_memory_kind kind;
	enum vfb_numa_policy policy;
	/** The nodes that the policy speaks of; NULL and 0 for VFB_NUMA_DEFAULT. */
	const unsigned int *nodes;
	size_t node_count;
	/** With VFB_NUMA_SPLIT how much is on each of the nodes: multiples of the page size, which
	 *  add up to bytes. NULL otherwise. */
	const uint64_t *node_bytes;
	/** VFB_MEMORY_... */
	uint32_t flags;
};

#define VFB_MEMORY_OPTS_INIT VFB_SIZED(struct vfb_memory_opts)

struct vfb_memory_info {
	size_t size;
	/** Where it is mapped in this process, readable and writable. */
	void *address;
	uint64_t bytes;
	/** The file whose pages are at the address: the memory's own memfd, or the caller's file;
	 *  -1: anonymous memory, or adopted memory whose file has other pages. */
	int fd;
	/** What it is made of; never VFB_PAGE_AUTO. */
	enum vfb_page_size page_size;
	/** The size of such a page; for thp that of a base page, for mixed that of the smaller. */
	uint64_t page_bytes;
	/** How much the library has populated. */
	uint64_t populated_bytes;
	/** Of VFB_PAGE_AUTO: a line for each larger page size that was not possible, with the
	 *  reason. Of adopted memory: why it is not mapped by its file. "" without a reason. Valid
	 *  as long as the memory. */
	const char *fallback;
};

#define VFB_MEMORY_INFO_INIT VFB_SIZED(struct vfb_memory_info)

/**
 * Creates memory. Nothing is populated; hugetlb pages are reserved in the pool, so that a pool
 * that is too small is found here. Addresses are aligned to 2 MiB at least, to 1 GiB for pages
 * of that size.
 *
 * @param ctx   the context
 * @param opts  size, pages and placement
 * @param out   the memory, to be given to vfb_memory_destroy()
 *
 * @return 0; -EINVAL: a size of 0 or not a multiple of the page size, nodes missing, not of
 * this machine or without memory, an unknown value; -ENOMEM: too few hugepages in the pool (the
 * text tells how many there are and how to get more), or no address space; -ENOTSUP: the kernel
 * has no such page size or policy, or transparent huge pages are switched off; -EACCES: the pool
 * cannot be made larger without root; -E2BIG.
 */
VFB_API int vfb_memory_create(struct vfb_ctx *ctx, const struct vfb_memory_opts *opts,
			      struct vfb_memory **out);

/** Memory that the caller has. Zero what is not set. */
struct vfb_memory_adopt_opts {
	size_t size;
	/** Where it is mapped in this process, readable and writable. NULL: the library maps the
	 *  file, shared, and unmaps it in the end. */
	void *address;
	uint64_t bytes;
	/** With VFB_MEMORY_ADOPT_HAS_FD: the file that it is of (a memfd, or a file of hugetlbfs or
	 *  tmpfs), and where in it the memory begins. It is never closed, and has to stay open and
	 *  as long as it is. */
	int fd;
	uint64_t fd_offset;
	/** What it is made of, for alignment; VFB_PAGE_AUTO: as the file, or not known. */
	enum vfb_page_size page_size;
	/** VFB_MEMORY_ADOPT_HAS_FD, VFB_MEMORY_ADOPT_POPULATED. */
	uint32_t flags;
};

#define VFB_MEMORY_ADOPT_OPTS_INIT VFB_SIZED(struct vfb_memory_adopt_opts)

/** There is a file: fd and fd_offset are set. */
#define VFB_MEMORY_ADOPT_HAS_FD (1u << 0)
/** All of it is populated: the library does not touch it. Memory that may not be written, or has
 *  no pages of its own (a device's region), is to be adopted so. */
#define VFB_MEMORY_ADOPT_POPULATED (1u << 1)

/**
 * Adopts memory of the caller, so that it can be populated and mapped. Nothing of it is changed,
 * and it stays when this is destroyed. Where the caller has bound it to NUMA nodes, or prefers
 * some (mbind(2)), the workers of those populate it.
 *
 * With an address and a file, iommufd maps by the file only if the whole range is a shared
 * mapping of that file at that offset, which is checked here (/proc/self/maps). Otherwise (a
 * private mapping, another file or offset, a hole) it maps by address: vfb_memory_info.fd is -1,
 * and vfb_memory_info.fallback says why. The check is not repeated: a caller that later maps
 * something else at the address (MAP_FIXED, mremap(2)) has to unmap the ranges, destroy this and
 * adopt the memory again, or devices go on using the pages that were there before.
 *
 * @param ctx   the context
 * @param opts  where it is
 * @param out   the memory, to be given to vfb_memory_destroy() before the caller unmaps its own
 *
 * @return 0; -EINVAL: neither address nor file, not aligned to pages of 4 KiB, beyond the end of
 * the file, an unknown value; what fstat(2) and mmap(2) return for the file; -ENOMEM; -E2BIG.
 */
VFB_API int vfb_memory_adopt(struct vfb_ctx *ctx, const struct vfb_memory_adopt_opts *opts,
			     struct vfb_memory **out);

/**
 * Populates memory: makes every page present, zeroed and on its node, by the workers of that
 * node in parallel, no faster than vfb_ctx_set_populate_rate() allows.
 *
 * It is done by madvise(2) MADV_POPULATE_WRITE, which holds the kernel's mmap_lock all the while:
 * so it goes in steps of 2 MiB, or one page of 1 GiB, and other threads of the process that
 * map or unmap wait no longer than for one of them. Before Linux 5.14 each page is touched by an
 * atomic futex(2) operation that changes nothing: that returns an error where a write from user
 * space would raise SIGBUS, and loses no byte that another thread writes at the same time.
 *
 * What is populated already is skipped. After a failure the pages that were populated stay:
 * they go with the memory.
 *
 * @param memory  the memory
 *
 * @return 0; -ENOMEM: the node, the pool or the cgroup has too few free pages; -EHWPOISON: a
 * page is damaged.
 */
VFB_API int vfb_memory_populate(struct vfb_memory *memory);

/**
 * Starts vfb_memory_populate() of several memories at once.
 *
 * @return 0; -EINVAL: no memory, or memories of different contexts; -ENOMEM; -EMFILE.
 */
VFB_API int vfb_memory_populate_start(struct vfb_memory *const *memories, size_t count,
				      struct vfb_job **out);

/** Tells what the memory is. @return 0, or -E2BIG. */
VFB_API int vfb_memory_info(const struct vfb_memory *memory, struct vfb_memory_info *info);

/**
 * Tells on which NUMA nodes the pages are that are present (move_pages(2)).
 *
 * @param memory  the memory
 * @param bytes   gets the bytes on node 0, 1, ... up to @p count nodes
 * @param count   how many nodes @p bytes has room for
 *
 * @return the number of nodes that the machine can have (the highest node + 1), which may be
 * more than @p count; -ENOMEM.
 */
VFB_API int vfb_memory_nodes(const struct vfb_memory *memory, uint64_t *bytes, size_t count);

/** Where pages are that are present, against what was asked for. */
struct vfb_placement {
	size_t size;
	/** Bytes that are present. */
	uint64_t bytes;
	/** Those that are on other nodes than the policy names, since there was no room: of
	 *  VFB_NUMA_DEFAULT none. */
	uint64_t misplaced_bytes;
	/** Where in the memory the first of them is; meaningless when there is none. */
	uint64_t first_misplaced;
};

#define VFB_PLACEMENT_INIT VFB_SIZED(struct vfb_placement)

/**
 * Checks that the pages are where the policy wants them (move_pages(2)), to be called once they
 * are populated. It looks at every page: that takes the kernel about 0.1 us each.
 *
 * @return 0; -ENOMEM; -E2BIG.
 */
VFB_API int vfb_memory_placement(const struct vfb_memory *memory, struct vfb_placement *placement);

/**
 * Tells how much is mapped by huge pages: hugetlb, or what of VFB_PAGE_THP the kernel found huge
 * pages for (/proc/self/smaps, which needs no privilege).
 *
 * @param bytes  gets the bytes in huge pages of 2 MiB or more
 * @return 0; or the errno of reading smaps.
 */
VFB_API int vfb_memory_huge(const struct vfb_memory *memory, uint64_t *bytes);

#define VFB_RUNS_LOG2  40
#define VFB_RUNS_LOG10 12

/**
 * How contiguous memory is physically. The kernel maps it for a device run by run: the time that
 * takes grows with their number, and an IOMMU's large pages need long ones.
 */
struct vfb_contiguity {
	size_t size;
	/** Bytes that are present, the runs that they form, and the longest one's bytes. */
	uint64_t bytes, runs, longest_bytes;
	/** How many runs are of 2^i to 2^(i+1) - 1 base pages of 4 KiB. */
	uint64_t runs_by_log2[VFB_RUNS_LOG2];
	/** How many runs are of 10^i to 10^(i+1) - 1 base pages. */
	uint64_t runs_by_log10[VFB_RUNS_LOG10];
};

#define VFB_CONTIGUITY_INIT VFB_SIZED(struct vfb_contiguity)

/**
 * Looks how contiguous a part of memory is (/proc/self/pagemap). Populate it first.
 *
 * @param offset, bytes  the part, multiples of 4 KiB
 *
 * @return 0; -EPERM: physical addresses are shown to CAP_SYS_ADMIN only, vfb_memory_huge() tells
 * something to everybody; -EINVAL: not a part of the memory; -E2BIG; or the errno of reading
 * pagemap.
 */
VFB_API int vfb_memory_contiguity(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes,
				  struct vfb_contiguity *contiguity);

/**
 * Gives the memory back to the system.
 *
 * @param memory  the memory; NULL is allowed
 *
 * @return 0; -EBUSY: some of it is still mapped in a space, or a job works on it; -ENOMEM: the
 * kernel could not unmap it (munmap(2)). After an error the memory is as it was.
 */
VFB_API int vfb_memory_destroy(struct vfb_memory *memory);

#ifdef __cplusplus
}
#endif

#endif
