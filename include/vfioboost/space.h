/* SPDX-License-Identifier: MIT */
/**
 * @file space.h
 * I/O address spaces: what devices see, and how memory gets into it.
 *
 * A space is a VFIO container with a type1 IOMMU, or an I/O address space (IOAS) of iommufd.
 * The IOMMU domain behind it exists once a device is open in it; ranges that are to be mapped
 * before that are populated first, and mapped as soon as a device has brought the domain.
 */
#ifndef VFIOBOOST_SPACE_H
#define VFIOBOOST_SPACE_H

#include <vfioboost/context.h>
#include <vfioboost/job.h>
#include <vfioboost/memory.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vfb_space;

/** The kernel interface behind a space. */
enum vfb_backend {
	/** type1 where the kernel has no iommufd (Linux 6.2). Where it has both, what
	 *  vfb_backend_measure() found faster for vfb_space_opts.page_size; without that iommufd,
	 *  but for large pages of private memory with few workers on Linux 6.18 and later, which
	 *  type1 pins as fast as it finds them. vfb_space_info.reason says why. */
	VFB_BACKEND_AUTO,
	/** /dev/vfio/vfio with VFIO_TYPE1v2_IOMMU, and device groups. Maps of one space are
	 *  serialised by the kernel, so they are few and large. */
	VFB_BACKEND_TYPE1,
	/** /dev/iommu. Maps of one space run in parallel. Devices are opened by their nodes,
	 *  /dev/vfio/devices/vfioN (Linux 6.6, CONFIG_VFIO_DEVICE_CDEV); one whose node is not
	 *  there or may not be opened is opened by its group, /dev/vfio/N, with the iommufd as the
	 *  container of that (VFIO_GROUP_SET_CONTAINER). All is the same for the caller then, but
	 *  for VFB_SPACE_KEEP_DOMAIN. */
	VFB_BACKEND_IOMMUFD,
	/** No IOMMU, and no devices: ranges are populated and can be translated
	 *  (vfioboost/translate.h). For programs that emulate devices themselves. */
	VFB_BACKEND_NONE,
};

/** How iommufd is told of memory that is a memfd, or a file of tmpfs or hugetlbfs. */
enum vfb_map_by {
	/** By file (IOMMU_IOAS_MAP_FILE, Linux 6.13) where that can be, else by address. By file
	 *  large pages are pinned as a whole, so that it is faster. */
	VFB_MAP_BY_BEST,
	/** By address, as all other memory. */
	VFB_MAP_BY_ADDRESS,
	/** By file, and an error where that cannot be: -ENOTSUP. What a new process is to take
	 *  over has to be mapped so. */
	VFB_MAP_BY_FILE,
};

struct vfb_space_opts {
	size_t size;
	enum vfb_backend backend;
	/** Of no meaning for type1. */
	enum vfb_map_by map_by;
	/** VFB_SPACE_... */
	uint32_t flags;
	/** For VFB_BACKEND_AUTO: what will be mapped, mostly. VFB_PAGE_AUTO: not known. */
	enum vfb_page_size page_size;
	enum vfb_memory_kind kind;
};

/**
 * iommufd: the domain is made apart from the devices (IOMMU_HWPT_ALLOC, Linux 6.7) and stays when
 * the last of them is closed. What is mapped stays pinned, so that opening a device again costs
 * nothing but its reset. type1 cannot do that: -ENOTSUP. Nor can a device that has to be opened by
 * its group: opening it fails.
 */
#define VFB_SPACE_KEEP_DOMAIN (1u << 0)

#define VFB_SPACE_OPTS_INIT VFB_SIZED(struct vfb_space_opts)

struct vfb_space_info {
	size_t size;
	/** Never VFB_BACKEND_AUTO. */
	enum vfb_backend backend;
	/** Devices open in the space. */
	size_t devices;
	/** Mapped ranges, as the caller asked for them, and their bytes. */
	size_t mappings;
	uint64_t mapped_bytes;
	/** Mappings that the kernel still admits (type1: dma_entry_limit); UINT64_MAX: no limit,
	 *  or not known before the first device. */
	uint64_t entries_left;
	/** Why it is this backend; valid while the space is. */
	const char *reason;
	/** The container, or the iommufd and the number of its I/O address space; -1 and 0 without
	 *  an IOMMU. They belong to the space, and are to be passed to a process that takes it
	 *  over. */
	int fd;
	uint32_t ioas;
};

#define VFB_SPACE_INFO_INIT VFB_SIZED(struct vfb_space_info)

/** A range of valid IOVAs, both ends included. */
struct vfb_iova_range {
	uint64_t first, last;
};

/** One range to map or unmap, an entry of a batch. Zero what is not set. */
struct vfb_range {
	/** The memory, and where in it the range begins. */
	struct vfb_memory *memory;
	uint64_t offset;
	uint64_t bytes;
	/** Where devices see it. With VFB_RANGE_ANY_IOVA it is set when the range is mapped. */
	uint64_t iova;
	/** VFB_RANGE_...; neither read nor write means both. */
	uint32_t flags;
	/** 0 or a negative errno, set when the job has ended: -ECANCELED for what was undone, or
	 *  not begun, because another entry failed. */
	int status;
	/** Ranges with a higher priority are populated and mapped first; among equals, in order of
	 *  IOVA. */
	int priority;
	uint32_t reserved[3];
};

/** Devices may read. */
#define VFB_RANGE_READ (1u << 0)
/** Devices may write. */
#define VFB_RANGE_WRITE (1u << 1)
/** The library chooses the IOVA, congruent to the address modulo the page size. */
#define VFB_RANGE_ANY_IOVA (1u << 2)
/**
 * Nobody waits for it: it is populated and mapped when all ranges of the batch without this flag
 * are mapped and the job is ready, see vfb_job_wait_ready().
 */
#define VFB_RANGE_BACKGROUND (1u << 3)

/**
 * Creates an empty space.
 *
 * @param ctx   the context
 * @param opts  the backend, or NULL for VFB_BACKEND_AUTO
 * @param out   the space, to be given to vfb_space_destroy()
 *
 * @return 0; -ENOTSUP: the kernel lacks the backend (the text names the version or module);
 * -EACCES: no permission for its device node; -EINVAL; -E2BIG; -EMFILE; -ENOMEM.
 */
VFB_API int vfb_space_create(struct vfb_ctx *ctx, const struct vfb_space_opts *opts,
			     struct vfb_space **out);

/**
 * Makes a space of what the caller has opened: a container of type1, an iommufd with an I/O
 * address space in it, or an iommufd that is the container of groups. The caller keeps it, and may
 * go on to attach devices and to map; nothing of that is touched. The library maps and unmaps
 * beside it, and opens devices into it if asked.
 *
 * When the caller attaches its first device only later, ranges that were mapped before are kept
 * until the next batch is mapped, or the library opens a device or adopts one.
 *
 * @param ctx   the context
 * @param fd    the container or iommufd; it must stay open until the space is destroyed, and is
 *              not closed then: what the library has mapped is unmapped
 * @param ioas  the number of the I/O address space (IOMMU_IOAS_ALLOC); 0 for a container of type1,
 *              and for an iommufd as the container of groups: the one that those use
 *              (IOMMU_VFIO_IOAS), which is made, and stays, if there is none yet
 * @param opts  as for vfb_space_create(), or NULL; VFB_BACKEND_AUTO: what @p fd is
 * @param out   the space
 *
 * Devices that the library has to open by their groups go into the address space of the iommufd's
 * groups: when the caller has set another than @p ioas, opening them fails with -EBUSY.
 *
 * @return 0; -EINVAL, -ENOTTY, -ENOENT: the file descriptor is not of that kind, or has no such
 * I/O address space; or as vfb_space_create().
 */
VFB_API int vfb_space_adopt(struct vfb_ctx *ctx, int fd, uint32_t ioas,
			    const struct vfb_space_opts *opts, struct vfb_space **out);

/** Tells what the space is and holds. @return 0, or -E2BIG. */
VFB_API int vfb_space_info(struct vfb_space *space, struct vfb_space_info *info);

/**
 * The ranges of IOVAs that all devices of the space can be given, in order. They are known once
 * a device is open; before that it is everything.
 *
 * @param ranges  gets up to @p count of them
 * @return how many there are, which may be more than @p count.
 */
VFB_API int vfb_space_iova_ranges(struct vfb_space *space, struct vfb_iova_range *ranges,
				  size_t count);

/** What mapping a batch takes. */
struct vfb_map_plan {
	size_t size;
	/** All that is to be mapped, and what of it the library has not populated yet. */
	uint64_t bytes, populate_bytes;
	/** Map calls, each of which takes one of the kernel's mappings. */
	uint64_t map_calls;
	/** Mappings that the kernel still admits, as in struct vfb_space_info. */
	uint64_t entries_left;
	/** VFB_MAP_PLAN_... */
	uint32_t flags;
	uint32_t reserved;
	/** How long populating populate_bytes will take, and mapping all of it, in nanoseconds:
	 *  as fast as vfb_backend_measure() was in this context, for each page size that the
	 *  memory has. UINT64_MAX: one of them was not measured. Both overlap on iommufd, and
	 *  type1 maps what is populated: the batch takes no less than the longer of them, and no
	 *  more than their sum. Memory in smaller physical runs than what was measured takes
	 *  longer to be mapped, and memory that the host has to give up elsewhere first longer to
	 *  be populated. */
	uint64_t populate_ns, map_ns;
};

#define VFB_MAP_PLAN_INIT VFB_SIZED(struct vfb_map_plan)

/** Neighbouring ranges become one mapping, see VFB_BATCH_COALESCE. */
#define VFB_MAP_PLAN_COALESCED (1u << 0)

/**
 * Tells what vfb_space_map() of a batch would take, and whether it would be refused, without
 * doing any of it.
 *
 * @param ranges  as for vfb_space_map(); only status is written, of the range that is wrong
 * @param plan    gets the plan
 *
 * @return 0, or what vfb_space_map() would return before it begins.
 */
VFB_API int vfb_space_map_plan(struct vfb_space *space, struct vfb_range *ranges, size_t count,
			       const struct vfb_batch_opts *opts, struct vfb_map_plan *plan);

/**
 * Populates and maps ranges, so that the devices of the space can reach them. Populating,
 * mapping and the opening of devices (vfb_devices_open_start()) overlap.
 *
 * All or nothing unless VFB_BATCH_BEST_EFFORT: when one entry fails, what the batch had mapped is
 * unmapped in reverse, and its IOVAs are free again. The whole batch is checked first: against
 * itself, what is mapped, the valid IOVAs, the kernel's limit of mappings and RLIMIT_MEMLOCK
 * (unless the process has CAP_IPC_LOCK); what is refused has not been populated.
 *
 * When no device is open in the space, nor being opened, the ranges are populated and kept: they
 * count as mapped, and the first device to be opened finds them mapped. Should it not be able to
 * use their IOVAs, opening it fails. VFB_RANGE_ANY_IOVA chooses IOVAs from 4 GiB on then.
 *
 * @param space   the space
 * @param ranges  @p count ranges; iova and status are written
 * @param count   how many; 0 is allowed
 * @param opts    settings, or NULL
 *
 * @return 0, or the negative errno of the entry that failed first:
 * -EINVAL: zero length, not aligned to the page size, end beyond the memory or the address space,
 *  unknown flags, IOVAs outside of the valid ranges;
 * -EEXIST: an IOVA is mapped already, or overlaps another entry of the batch;
 * -ENOSPC: the kernel's limit of mappings is reached (dma_entry_limit), or no IOVAs are free;
 * -ENOMEM: RLIMIT_MEMLOCK is too small, or populating found too few pages;
 * -ETIMEDOUT: it took longer than vfb_batch_opts.timeout_ns;
 * or what vfb_memory_populate() returns.
 */
VFB_API int vfb_space_map(struct vfb_space *space, struct vfb_range *ranges, size_t count,
			  const struct vfb_batch_opts *opts);

/**
 * Starts vfb_space_map(). Entries that can be seen to be wrong make it fail at once. Which ranges
 * are mapped can be asked, and waited for, by vfb_job_wait_entry(); that all but those in the
 * background are, by vfb_job_wait_ready().
 */
VFB_API int vfb_space_map_start(struct vfb_space *space, struct vfb_range *ranges, size_t count,
				const struct vfb_batch_opts *opts, struct vfb_job **out);

/**
 * Unmaps ranges, or parts of BARs (vfb_bars_map()). Each must be one that was mapped, or several
 * adjacent ones as a whole: the kernel does not split a mapping. What was joined
 * (VFB_BATCH_COALESCE) must be in one batch. Only iova and bytes of an entry are looked at. The
 * batch is checked before anything is unmapped.
 *
 * Devices must not use the ranges any more: a DMA to them is refused by the IOMMU.
 *
 * @return 0; -ENOENT: an entry is not mapped; -EINVAL: it covers a part of a mapping, or is
 * empty; or the kernel's errno, in which case the entry stays mapped.
 */
VFB_API int vfb_space_unmap(struct vfb_space *space, struct vfb_range *ranges, size_t count,
			    const struct vfb_batch_opts *opts);

/** Starts vfb_space_unmap(). */
VFB_API int vfb_space_unmap_start(struct vfb_space *space, struct vfb_range *ranges, size_t count,
				  const struct vfb_batch_opts *opts, struct vfb_job **out);

/**
 * Unmaps all that the library has mapped in the space; where the kernel unmaps in parallel, in
 * parallel.
 *
 * @return 0; -EBUSY: a job maps or unmaps just now; or the kernel's errno: what could not be
 * unmapped is still mapped.
 */
VFB_API int vfb_space_unmap_all(struct vfb_space *space);

/**
 * Lets go of the memory behind all that is mapped, for another process to take it over: devices
 * go on to reach it, and it stays pinned. For a program that is replaced by a new version of
 * itself while its guest keeps its devices. The memory must be shared (VFB_MEMORY_MEMFD), and
 * with iommufd be mapped by file.
 *
 * Afterwards nothing can be mapped or unmapped here; vfb_space_destroy() leaves everything to the
 * other process, which must have the file descriptors by then: the space's, the devices', and the
 * memory's.
 *
 * It rests on VFIO_DMA_UNMAP_FLAG_VADDR (Linux 5.12) for type1.
 *
 * @return 0; -EBUSY: jobs work on the space, BARs are mapped in it (vfb_bars_unmap()), or it was
 * done already; -EINVAL: something was mapped by address on iommufd; -ENOTSUP: there is no IOMMU;
 * or the kernel's errno. On failure all is as before.
 */
VFB_API int vfb_space_release_addresses(struct vfb_space *space);

/**
 * Takes over what another process has mapped and released.
 *
 * @param space   a space of vfb_space_adopt() in which the library has not mapped anything yet.
 *                Or, to change one's mind, the space whose addresses were released
 * @param ranges  what is mapped in it: IOVAs, bytes and flags as they are, and the memory in this
 *                process; with type1 each as it was mapped, and what was joined as one. None when
 *                the space takes its own back
 * @param count   how many
 *
 * It rests on VFIO_DMA_MAP_FLAG_VADDR (Linux 5.12) for type1 and IOMMU_IOAS_CHANGE_PROCESS
 * (Linux 6.13) for iommufd. RLIMIT_MEMLOCK of this process has to cover it.
 *
 * @return 0; -EINVAL: a range is not one that was mapped and released; -EBUSY: something is mapped
 * here already; -ENOMEM: RLIMIT_MEMLOCK; -ENOTSUP; or the kernel's errno.
 */
VFB_API int vfb_space_adopt_addresses(struct vfb_space *space, struct vfb_range *ranges,
				      size_t count);

/**
 * Unmaps what is still mapped and frees the space.
 *
 * @param space  the space; NULL is allowed
 *
 * @return 0; -EBUSY: a device is open in it, or a job works on it; of a space that was adopted,
 * also the errno of an unmap that failed, and the space is still there.
 */
VFB_API int vfb_space_destroy(struct vfb_space *space);

#ifdef __cplusplus
}
#endif

#endif
