/* SPDX-License-Identifier: MIT */
/**
 * @file memory.h
 * Host memory for a guest or a driver.
 *
 * Creating memory reserves addresses, and hugepages in the pool. Populating it makes the kernel
 * allocate and zero every page, which takes most of the start time of a guest. vfb_space_map()
 * populates whatever is not populated yet, overlapped with mapping, so callers rarely need to
 * populate explicitly.
 */
#ifndef VFIOBOOST_MEMORY_H
#define VFIOBOOST_MEMORY_H

#include <vfioboost/context.h>
#include <vfioboost/job.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Memory of the process, created or adopted. */
struct vfb_memory;

/** The pages that back memory. */
enum vfb_page_size {
	/** The largest that divides the size and that the host has available now: hugetlb pages
	 *  of any size from 2 MiB on, and mixed after those of 1 GiB (anonymous memory only), then
	 *  thp, then base pages. vfb_memory_info.fallback says why larger ones were not used. */
	VFB_PAGE_AUTO,
	/** Base pages only: of 4 KiB on x86, of up to 64 KiB elsewhere (sysconf(3)). */
	VFB_PAGE_BASE,
	/** The former name of VFB_PAGE_BASE. */
	VFB_PAGE_4K = VFB_PAGE_BASE,
	/** Transparent huge pages wherever the kernel can allocate them (madvise(2)
	 *  MADV_HUGEPAGE), base pages elsewhere. What it can allocate for a memfd is set apart from
	 *  other memory, in shmem_enabled, and since Linux 6.11 for each size. */
	VFB_PAGE_THP,
	/** hugetlb pages of 2 MiB, from the pool (Documentation/admin-guide/mm/hugetlbpage.rst). */
	VFB_PAGE_2M,
	/** hugetlb pages of 1 GiB. */
	VFB_PAGE_1G,
	/** hugetlb pages of 1 GiB, and of 2 MiB for the remainder of the size. Anonymous memory
	 *  only, since a memfd has pages of one size. */
	VFB_PAGE_MIXED,
	/** hugetlb pages of vfb_memory_opts.page_bytes, which can be any size that the kernel has
	 *  a pool of (/sys/kernel/mm/hugepages): on arm64 also 64 KiB and 32 MiB, or 512 MiB and
	 *  16 GiB where base pages have 64 KiB. It is for vfb_memory_create() only; vfb_memory_info
	 *  reports it for adopted memory, too. */
	VFB_PAGE_HUGE,
};

/** What backs memory. */
enum vfb_memory_kind {
	/** Private anonymous memory. */
	VFB_MEMORY_ANONYMOUS,
	/** A memfd (memfd_create(2)), which can be shared with other processes (vhost-user,
	 *  virtiofsd). */
	VFB_MEMORY_MEMFD,
};

/** On which NUMA nodes the pages are allocated; see set_mempolicy(2). */
enum vfb_numa_policy {
	/** By the policy of the process: normally the node of the thread that populates. */
	VFB_NUMA_DEFAULT,
	/** On the given nodes only. */
	VFB_NUMA_BIND,
	/** Round robin over the given nodes, page by page. */
	VFB_NUMA_INTERLEAVE,
	/** On the given nodes, or elsewhere when they are full. More than one node needs Linux
	 *  5.15. */
	VFB_NUMA_PREFERRED,
	/** Consecutive parts, each bound to its own node, for a guest with NUMA nodes: the first
	 *  node_bytes[0] bytes on nodes[0], and so on. */
	VFB_NUMA_SPLIT,
};

/**
 * If the pool has too few free hugepages, compact memory and grow the pool (nr_hugepages), on the
 * nodes of the policy if it names any. Pages that the kernel cannot provide are returned at once,
 * the others when the memory is destroyed, but not by a process that is killed. Needs root and may
 * take seconds. Processes that do this at the same time wait for each other (flock(2) on a file in
 * /sys), so that the pool returns to its former size.
 */
#define VFB_MEMORY_GROW_POOL (1u << 0)
/** Exclude the memory from core dumps (MADV_DONTDUMP). */
#define VFB_MEMORY_NO_DUMP (1u << 1)
/**
 * Let children of fork() inherit the memory. Without this flag it is not mapped in them
 * (MADV_DONTFORK), since fork() would immediately copy all private memory that is mapped for a
 * device, which takes seconds and as much memory again. For adopted memory the caller decides: set
 * MADV_DONTFORK, as VMMs do.
 */
#define VFB_MEMORY_KEEP_ON_FORK (1u << 2)

/** Settings of memory. bytes must be set; zero is a good default for every other field. */
struct vfb_memory_opts {
	size_t size;
	/** Size of the memory, a multiple of the page size (of a base page for auto and thp). */
	uint64_t bytes;
	enum vfb_page_size page_size;
	enum vfb_memory_kind kind;
	enum vfb_numa_policy policy;
	/** The nodes of the policy; NULL and 0 for VFB_NUMA_DEFAULT. */
	const unsigned int *nodes;
	size_t node_count;
	/** VFB_NUMA_SPLIT: how many bytes to place on each of the nodes. Multiples of the page
	 *  size whose sum is bytes. NULL otherwise. */
	const uint64_t *node_bytes;
	/** VFB_MEMORY_... */
	uint32_t flags;
	/** VFB_PAGE_HUGE: the size of a page in bytes. 0 otherwise. */
	uint64_t page_bytes;
};

#define VFB_MEMORY_OPTS_INIT VFB_SIZED(struct vfb_memory_opts)

/** State of memory. */
struct vfb_memory_info {
	size_t size;
	/** Address of the mapping in this process, readable and writable, and its length. */
	void *address;
	uint64_t bytes;
	/** The file whose pages are at the address: the library's memfd, or the caller's file. -1:
	 *  anonymous memory, or adopted memory that does not show the pages of its file. Do not
	 *  close it. */
	int fd;
	/** The pages in use; never VFB_PAGE_AUTO for memory that the library created. */
	enum vfb_page_size page_size;
	/** Size of these pages in bytes: of a base page for thp, of the smaller ones for mixed. */
	uint64_t page_bytes;
	/** How many bytes the library has populated. Pages that were released since then count
	 *  until the library next populates or maps them. */
	uint64_t populated_bytes;
	/** With VFB_PAGE_AUTO: a line for each larger page size that was not used, with the reason.
	 *  For adopted memory: why it is not mapped by its file. "" if there is no reason. Valid as
	 *  long as the memory. */
	const char *fallback;
};

#define VFB_MEMORY_INFO_INIT VFB_SIZED(struct vfb_memory_info)

/**
 * Creates memory. Nothing is populated yet, but hugetlb pages are reserved, so that a pool that is
 * too small is reported here. Addresses are aligned to at least 2 MiB, and to 1 GiB for pages of
 * that size.
 *
 * @param ctx   the context
 * @param opts  size, pages and placement
 * @param out   receives the memory; release it with vfb_memory_destroy()
 *
 * @return 0, or:
 * - -EINVAL: the size is 0 or not a multiple of the page size; a node is missing, does not exist
 *   or has no memory; unknown value or flag;
 * - -ENOMEM: too few free hugepages in the pool (the error text says how many there are and how to
 *   get more), or no address space;
 * - -ENOTSUP: the kernel lacks the page size or policy, or transparent huge pages are disabled;
 * - -EACCES: growing the pool needs root;
 * - -E2BIG.
 */
VFB_API int vfb_memory_create(struct vfb_ctx *ctx, const struct vfb_memory_opts *opts,
			      struct vfb_memory **out);

/** Existing memory of the caller. */
struct vfb_memory_adopt_opts {
	size_t size;
	/** Address of its mapping in this process, readable and writable. NULL: the library maps
	 *  the file (MAP_SHARED), and unmaps it in vfb_memory_destroy(). */
	void *address;
	uint64_t bytes;
	/** With VFB_MEMORY_ADOPT_HAS_FD: the file behind the memory (a memfd, or a file on
	 *  hugetlbfs or tmpfs), and the offset in it where the memory begins. It must stay open and
	 *  keep its length until vfb_memory_destroy(), which does not close it. */
	int fd;
	uint64_t fd_offset;
	/** Its pages, for alignment; VFB_PAGE_AUTO: those of the file, or of the mapping at the
	 *  address. VFB_PAGE_BASE if the memory is not aligned to them. */
	enum vfb_page_size page_size;
	/** VFB_MEMORY_ADOPT_... */
	uint32_t flags;
};

#define VFB_MEMORY_ADOPT_OPTS_INIT VFB_SIZED(struct vfb_memory_adopt_opts)

/** The memory has a file: fd and fd_offset are set. */
#define VFB_MEMORY_ADOPT_HAS_FD (1u << 0)
/** All of the memory is populated and stays so: the library does not touch it, and does not ask
 *  the kernel. Required for memory that is not writable or has no pages of its own (a region of a
 *  device). Do not claim it for hugetlb pages of a file that are not populated: Linux 6.13 to 6.18
 *  maps those by file without zeroing them, so that devices see what their last owner left. */
#define VFB_MEMORY_ADOPT_POPULATED (1u << 1)
/**
 * The caller does not need the contents after vfb_memory_destroy(): that frees the pages, by all
 * workers (MADV_DONTNEED). munmap(2) of the caller, which would free them in one thread, then takes
 * no time. Only for private anonymous memory.
 */
#define VFB_MEMORY_ADOPT_FREE (1u << 2)

/**
 * Makes existing memory of the caller usable for populating and mapping. The memory remains the
 * caller's: nothing about it is changed, and vfb_memory_destroy() leaves it in place, and its
 * contents unless VFB_MEMORY_ADOPT_FREE is set. If the caller
 * has bound it to NUMA nodes, or prefers some (mbind(2)), workers on those nodes populate it.
 *
 * With an address and a file, iommufd maps by file only if the whole range is a shared mapping of
 * that file at that offset, which is checked here (/proc/self/maps). Otherwise (a private mapping,
 * another file or offset, a hole) it maps by address: vfb_memory_info.fd is -1, and
 * vfb_memory_info.fallback says why. The check is not repeated: if you later map something else at
 * the address (MAP_FIXED, mremap(2)), first unmap the ranges, destroy the memory and adopt it
 * again. Otherwise devices continue to use the previous pages.
 *
 * @param ctx   the context
 * @param opts  the memory
 * @param out   receives the memory; release it with vfb_memory_destroy() before unmapping the
 *              caller's mapping
 *
 * @return 0; -EINVAL: neither an address nor a file, not aligned to base pages, beyond the end of
 * the file, unknown value or flag; the errors of fstat(2) and mmap(2) on the file; -ENOMEM; -E2BIG.
 */
VFB_API int vfb_memory_adopt(struct vfb_ctx *ctx, const struct vfb_memory_adopt_opts *opts,
			     struct vfb_memory **out);

/**
 * Populates memory: makes every page present, zeroed and on its node. The workers of each node
 * populate its part in parallel, within the rate of vfb_ctx_set_populate_rate(). Pages that are
 * already populated are skipped. Waits until all is done.
 *
 * Here, and whenever a range is mapped, the library checks whether the pages that it has populated
 * are still present (mincore(2)). Pages that the caller has released with MADV_DONTNEED,
 * MADV_REMOVE or a hole punched into the file are populated again. Release only pages that are not
 * mapped in a space: devices would keep using the old ones.
 *
 * Where more base pages are used than a cgroup, a node or the host has, the kernel returns no
 * error: it kills a process. So the pages that are missing are first compared with what every limit
 * leaves (memory.max, memory.high, beyond which the kernel delays every step by seconds, and
 * hugetlb.*.max of the process's cgroup and those above it, versions 1 and 2; free memory of the
 * nodes that cpuset.mems allows, or that the policy is strict about; MemAvailable), memory that the
 * kernel can reclaim included, and again while they are populated, since others use memory too.
 * Mapping does the same.
 *
 * There are two ways to populate. MADV_POPULATE_WRITE (Linux 5.14) holds the kernel's mmap_lock for
 * reading, in steps of 2 MiB, or of one page of 1 GiB; threads of the process that map or unmap
 * wait for these steps, and the steps for them. Touching in user mode takes the lock of the one
 * mapping where the kernel has such locks, so that neither waits for the other, but each page costs
 * an exception. A context measures both with the first steps of each kind of memory, uses the one
 * that is faster (touching if they are about equal), and tries the other again from time to time.
 *
 * A touch is an atomic operation that changes nothing. It may raise SIGBUS or SIGSEGV, so workers
 * make it in a child process that shares the memory and files of this one, but no signal handlers,
 * while the worker waits. The child, named vfb-touch, lives for 32 MiB or a page of 1 GiB, and is
 * killed when the worker ends. wait(2) does not report it (except with __WALL or __WCLONE), nor
 * SIGCHLD. A page that cannot be touched is left to MADV_POPULATE_WRITE, for its error. What else
 * sees the children:
 * - ps(1) and top(1) list them, with the memory of this process as theirs.
 * - They count against RLIMIT_NPROC and pids.max, up to one for each worker. If one cannot be
 *   created, MADV_POPULATE_WRITE is used.
 * - They are in the worker's cgroup; pages are charged as if the worker had populated them.
 *   Their CPU time is that of waited-for children (RUSAGE_CHILDREN).
 * - Debuggers do not follow them; a breakpoint or a SIGKILL ends one, and its part is populated by
 *   the other way. They are not in core dumps, and do not dump core.
 * - When this process exits or is killed meanwhile, wait(2) may report its end before the last
 *   child has freed the memory and closed the files. If a successor needs the same devices or
 *   pages at once, wait until the cgroup is empty (cgroup.events).
 * - Threads that have a seccomp filter create none.
 * The calling thread, memory below 16 MiB, a limited rate (vfb_ctx_set_populate_rate()), and
 * adopted memory that is not anonymous or a file of tmpfs or hugetlbfs never use them.
 *
 * Kernels before 5.14 get each page touched by an atomic futex(2) operation that changes nothing,
 * and returns an error instead of raising SIGBUS.
 *
 * @param memory  the memory
 *
 * @return 0; -ENOMEM: the host, the node, the pool or the cgroup has too few free pages; the text
 * says which, how much is left, and of what limit; -EFAULT: the caller has unmapped some of it, or
 * its file is shorter than the memory, or it is a region of a device; -EACCES: it is mapped
 * read-only or without access; -EHWPOISON: a page is damaged. After a failure, the pages that were
 * populated remain until the memory is destroyed.
 */
VFB_API int vfb_memory_populate(struct vfb_memory *memory);

/**
 * Starts vfb_memory_populate() of several memories at once.
 *
 * @param memories  @p count memories of one context; the array may be freed on return
 * @param count     number of memories, at least 1
 * @param out       receives the job; release it with vfb_job_destroy()
 *
 * @return 0; -EINVAL: no memory, or memories of different contexts; -ENOMEM; -EMFILE.
 */
VFB_API int vfb_memory_populate_start(struct vfb_memory *const *memories, size_t count,
				      struct vfb_job **out);

/**
 * Reports the state of memory.
 *
 * @param memory  the memory
 * @param info    is filled in
 *
 * @return 0; -E2BIG.
 */
VFB_API int vfb_memory_info(const struct vfb_memory *memory, struct vfb_memory_info *info);

/**
 * Counts the present pages on each NUMA node (move_pages(2)).
 *
 * @param memory  the memory
 * @param bytes   receives the number of bytes on node 0, 1, ... for the first @p count nodes
 * @param count   capacity of @p bytes
 *
 * @return the number of possible nodes of the machine (the highest node + 1), which may exceed
 * @p count; -ENOMEM.
 */
VFB_API int vfb_memory_nodes(const struct vfb_memory *memory, uint64_t *bytes, size_t count);

/** Where the present pages are, compared with the policy. */
struct vfb_placement {
	size_t size;
	/** Number of bytes that are present. */
	uint64_t bytes;
	/** Those of them on nodes other than the policy names, because these were full; always 0
	 *  for VFB_NUMA_DEFAULT. */
	uint64_t misplaced_bytes;
	/** Offset of the first misplaced page; meaningless if there is none. */
	uint64_t first_misplaced;
};

#define VFB_PLACEMENT_INIT VFB_SIZED(struct vfb_placement)

/**
 * Checks that the present pages are on the nodes of the policy (move_pages(2)). Call it after
 * populating. It looks at every page, which takes the kernel about 0.1 us each.
 *
 * @param memory     the memory
 * @param placement  is filled in
 *
 * @return 0; -ENOMEM; -E2BIG.
 */
VFB_API int vfb_memory_placement(const struct vfb_memory *memory, struct vfb_placement *placement);

/**
 * Reports how much of the memory consists of huge pages: hugetlb pages, or with VFB_PAGE_THP what
 * the kernel could allocate as transparent huge pages (/proc/self/smaps; no privilege needed).
 *
 * @param memory  the memory
 * @param bytes   receives the number of bytes in huge pages of 2 MiB or more
 *
 * @return 0; or the error of reading smaps.
 */
VFB_API int vfb_memory_huge(const struct vfb_memory *memory, uint64_t *bytes);

/** Number of size classes in struct vfb_contiguity. */
#define VFB_RUNS_LOG2  40
#define VFB_RUNS_LOG10 12

/**
 * Physical contiguity of memory. The kernel maps memory for a device in runs of physically
 * contiguous pages: mapping takes longer the more runs there are, and the large pages of an IOMMU
 * need long runs.
 */
struct vfb_contiguity {
	size_t size;
	/** Number of bytes present, of the runs that they form, and of bytes in the longest run. */
	uint64_t bytes, runs, longest_bytes;
	/** Number of runs of 2^i to 2^(i+1) - 1 base pages. */
	uint64_t runs_by_log2[VFB_RUNS_LOG2];
	/** Number of runs of 10^i to 10^(i+1) - 1 base pages. */
	uint64_t runs_by_log10[VFB_RUNS_LOG10];
};

#define VFB_CONTIGUITY_INIT VFB_SIZED(struct vfb_contiguity)

/**
 * Measures the physical contiguity of a part of memory (/proc/self/pagemap). Populate it first.
 *
 * @param memory      the memory
 * @param offset      offset of the part, a multiple of the base page
 * @param bytes       its length, a multiple of the base page
 * @param contiguity  is filled in
 *
 * @return 0; -EPERM: the kernel shows physical addresses only with CAP_SYS_ADMIN; vfb_memory_huge()
 * works without; -EINVAL: not a part of the memory; -E2BIG; or the error of reading pagemap.
 */
VFB_API int vfb_memory_contiguity(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes,
				  struct vfb_contiguity *contiguity);

/**
 * Destroys memory: unmaps it and returns its pages to the system. Adopted memory remains with the
 * caller.
 *
 * @param memory  the memory; NULL is allowed and does nothing
 *
 * @return 0; -EBUSY: part of it is still mapped in a space, or a job works on it; -ENOMEM: the
 * kernel could not unmap it (munmap(2)). On failure the memory still exists.
 */
VFB_API int vfb_memory_destroy(struct vfb_memory *memory);

#ifdef __cplusplus
}
#endif

#endif
