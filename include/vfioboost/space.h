/* SPDX-License-Identifier: MIT */
/**
 * @file space.h
 * I/O address spaces: what devices see, and how memory is mapped into it.
 *
 * A space is a VFIO container with a type1 or sPAPR IOMMU, or an I/O address space (IOAS) of
 * iommufd. The IOMMU domain behind it exists only while a device is open in the space. Ranges that
 * are mapped before that are populated, kept, and mapped when the first device creates the domain.
 */
#ifndef VFIOBOOST_SPACE_H
#define VFIOBOOST_SPACE_H

#include <vfioboost/context.h>
#include <vfioboost/job.h>
#include <vfioboost/memory.h>

#ifdef __cplusplus
extern "C" {
#endif

/** An I/O address space. */
struct vfb_space;

/** The kernel interface behind a space. */
enum vfb_backend {
	/** sPAPR on POWER. type1 if the kernel has no iommufd (Linux 6.2). If it has both, the one
	 * that vfb_backend_measure() found faster for vfb_space_opts.page_size. Without a
	 * measurement iommufd, except for large pages of private memory with few workers on
	 * Linux 6.18 and later, which type1 pins faster. vfb_space_info.reason says why. */
	VFB_BACKEND_AUTO,
	/** /dev/vfio/vfio with VFIO_TYPE1v2_IOMMU, and device groups. The kernel serializes the
	 *  map calls of one container, so the library makes few and large ones: one for a range,
	 *  and up to 16 for one of small pages that is mapped while it is being populated. */
	VFB_BACKEND_TYPE1,
	/** /dev/iommu. Map calls of one IOAS run in parallel. Devices are opened by their nodes,
	 *  /dev/vfio/devices/vfioN (Linux 6.6, CONFIG_VFIO_DEVICE_CDEV). A device whose node is
	 *  missing or not accessible is opened through its group, /dev/vfio/N, with the iommufd as
	 *  the group's container (VFIO_GROUP_SET_CONTAINER). The only difference for the caller is
	 *  that VFB_SPACE_KEEP_DOMAIN does not work with groups. */
	VFB_BACKEND_IOMMUFD,
	/** No IOMMU and no devices: ranges are populated and can be translated
	 *  (vfioboost/translate.h). For programs that emulate devices. */
	VFB_BACKEND_NONE,
	/** The IOMMU of POWER: /dev/vfio/vfio with VFIO_SPAPR_TCE_v2_IOMMU, and device groups. What
	 *  is mapped is registered first (VFIO_IOMMU_SPAPR_REGISTER_MEMORY), which pins it and
	 *  takes longest: the kernel registers one piece of memory of a space at a time, while
	 *  others are populated and mapped. IOVAs lie in two DMA windows: the one that the platform
	 *  provides, from 0 on, and one that the library creates (VFIO_IOMMU_SPAPR_TCE_CREATE), see
	 *  vfb_space_opts.window_bytes; vfb_space_iova_ranges() returns both. Devices of several
	 *  groups can share a space only where the kernel allows it: on PowerNV, but not in a
	 *  pSeries guest. VFB_SPACE_KEEP_DOMAIN, VFB_SPACE_DIRTY, VFB_ON_DEMAND_FAULT,
	 *  vfb_bars_map() and vfb_space_release_addresses() fail with -ENOTSUP. */
	VFB_BACKEND_SPAPR,
};

/** How iommufd maps memory that is a memfd, or a file on tmpfs or hugetlbfs. type1 always maps by
 *  address. */
enum vfb_map_by {
	/** By file (IOMMU_IOAS_MAP_FILE, Linux 6.13) if possible, else by address. By file is
	 *  faster, since the kernel pins large pages as a whole. */
	VFB_MAP_BY_BEST,
	/** By address (IOMMU_IOAS_MAP), as all other memory. */
	VFB_MAP_BY_ADDRESS,
	/** By file, or fail with -ENOTSUP. Required for vfb_space_release_addresses(). */
	VFB_MAP_BY_FILE,
};

/** How ranges with VFB_RANGE_ON_DEMAND are mapped, see vfioboost/on_demand.h. */
enum vfb_on_demand {
	/** On fault if vfb_space_opts.fault_fd is set. Else statically: that the devices of a space
	 *  report faults is proved only when they are opened, and without VFB_ON_DEMAND_TOUCH
	 *  nobody has promised to touch what devices use. */
	VFB_ON_DEMAND_AUTO,
	/** When a device faults; iommufd only. -ENOTSUP for devices of which it is not proved that
	 *  their faults are reported, see vfioboost/on_demand.h. */
	VFB_ON_DEMAND_FAULT,
	/** When the caller touches them, which it must do before a device uses them. */
	VFB_ON_DEMAND_TOUCH,
	/** At once, as without the flag. */
	VFB_ON_DEMAND_STATIC,
};

/** Settings of a space. Zero is a good default for every field. */
struct vfb_space_opts {
	size_t size;
	enum vfb_backend backend;
	/** Ignored by type1. */
	enum vfb_map_by map_by;
	/** VFB_SPACE_... */
	uint32_t flags;
	/** For VFB_BACKEND_AUTO: the pages of most of the memory that will be mapped.
	 *  VFB_PAGE_AUTO: not known. VFB_BACKEND_SPAPR: the largest pages that the DMA window may
	 *  have; with VFB_PAGE_2M or VFB_PAGE_1G all memory that is mapped in the window must
	 *  have such pages. */
	enum vfb_page_size page_size;
	/** For VFB_BACKEND_AUTO: the kind of that memory. */
	enum vfb_memory_kind kind;
	/** Ignored: callers of earlier versions have padding here. */
	uint32_t reserved;
	/** For vfb_space_adopt() of an iommufd with VFB_SPACE_DIRTY: the ID of a domain of its IOAS
	 *  that the caller has created with IOMMU_HWPT_ALLOC_DIRTY_TRACKING, and that is tracked
	 *  along with those that the library creates. 0: none. */
	uint32_t dirty_domain;
	/** For what has to know a device before it is bound, such as KVM (KVM_DEV_VFIO_FILE_ADD):
	 *  called for each device that is being opened, with its node before
	 *  VFIO_DEVICE_BIND_IOMMUFD, or with its group before VFIO_GROUP_GET_DEVICE_FD; so once for
	 *  each device of a group, with the same file. A negative errno refuses the device: opening
	 *  it fails with that. NULL: nobody has to. */
	int (*add_file)(void *data, const char *device, int fd);
	/** Undoes add_file(): called before the device is closed, or if opening it failed. */
	void (*remove_file)(void *data, const char *device, int fd);
	/** Passed to both. They run in threads of the library, several at a time, must not call
	 *  its functions that wait, and leave the file open. */
	void *file_data;
	/** Map memory in blocks of at most this many bytes: no map call crosses a multiple of it in
	 *  the memory. A power of two from 2 MiB to 1 GiB; 0: as few calls as possible. The kernel
	 *  unmaps only what one call has mapped, so vfb_memory_discard() of a part of memory needs
	 *  blocks. Blocks are never smaller than the pages of the memory. Each takes a call, and
	 *  one of the mappings that the kernel allows (type1: 65535 by default, which are 128 GiB
	 * in blocks of 2 MiB); vfb_space_map_plan() reports both. */
	uint64_t block_bytes;
	/** How ranges with VFB_RANGE_ON_DEMAND are mapped. VFB_ON_DEMAND_TOUCH and
	 *  VFB_ON_DEMAND_FAULT are refused with -ENOTSUP together with VFB_SPACE_DIRTY: what the
	 *  IOMMU knows of a window ends when it is unmapped. */
	enum vfb_on_demand on_demand;
	/** Ignored: callers of earlier versions have padding here. */
	uint32_t reserved2;
	/** VFB_ON_DEMAND_FAULT: threads that handle faults, at most 64; 0: 2. Another one is the
	 *  watchdog. */
	uint32_t fault_threads;
	/** VFB_ON_DEMAND_FAULT: when a device faults at consecutive windows of a range, so many of
	 *  the following ones at most, 65536 or fewer, are mapped along: 1, 2, 4 and so on, until
	 *  it faults elsewhere. 0: none. */
	uint32_t fault_ahead;
	/** VFB_ON_DEMAND_FAULT: a group of faults that has not been handled after so many
	 *  milliseconds is answered with a failure, so that the device does not wait for it any
	 *  longer. 0: 10 seconds. */
	uint32_t fault_timeout_ms;
	/** For vfb_space_adopt() of an iommufd: the file of a queue of faults that the caller has
	 *  created there (IOMMU_FAULT_QUEUE_ALLOC), and whose domains (IOMMU_HWPT_ALLOC with
	 *  IOMMU_HWPT_FAULT_ID_VALID) the caller attaches devices to. The library reads it and
	 *  answers; the caller closes it after destroying the space, and has to know that the
	 *  kernel reports the faults of those devices. 0: none, the library creates one. */
	int32_t fault_fd;
	/** Ignored: padding. */
	uint32_t reserved3;
	/** VFB_BACKEND_SPAPR: the bytes of the DMA window that the library creates, a power of two
	 *  from 2 MiB on; or half, a quarter and so on if the platform or RLIMIT_MEMLOCK allows no
	 *  more. When the last device is closed the kernel clears the window page by page, whether
	 *  or not something is mapped there: make it no larger than needed. 0: as large as the
	 *  memory of the host. */
	uint64_t window_bytes;
};

/**
 * iommufd: create the IOMMU domain independently of the devices (IOMMU_HWPT_ALLOC, Linux 6.7), and
 * keep it when the last device is closed. The mapped memory stays pinned, so that reopening a
 * device costs only its reset. type1 refuses the flag with -ENOTSUP. Opening a device through its
 * group in such a space fails.
 */
#define VFB_SPACE_KEEP_DOMAIN (1u << 0)
/**
 * Devices can be tracked, see vfioboost/dirty.h. iommufd: the IOMMU domain is created with
 * IOMMU_HWPT_ALLOC_DIRTY_TRACKING (Linux 6.7) and kept like that of VFB_SPACE_KEEP_DOMAIN, with the
 * same restriction; opening a device whose IOMMU cannot track fails with -ENOTSUP.
 */
#define VFB_SPACE_DIRTY (1u << 1)

#define VFB_SPACE_OPTS_INIT VFB_SIZED(struct vfb_space_opts)

/** State of a space. */
struct vfb_space_info {
	size_t size;
	/** The backend in use; never VFB_BACKEND_AUTO. */
	enum vfb_backend backend;
	/** Number of devices that are open in the space. */
	size_t devices;
	/** Number of mapped ranges, as the caller passed them, and their total bytes without those
	 *  that are discarded, or on demand and not mapped now. */
	size_t mappings;
	uint64_t mapped_bytes;
	/** Number of mappings that the kernel still allows (type1: dma_entry_limit); UINT64_MAX: no
	 *  limit, or not known before the first device is open. */
	uint64_t entries_left;
	/** Why this backend was chosen; valid as long as the space. */
	const char *reason;
	/** The container; or the iommufd and the ID of the IOAS. -1 and 0 without an IOMMU. The
	 *  space owns them: do not close the file descriptor. A process that takes the space over
	 *  needs both. */
	int fd;
	uint32_t ioas;
	/** How many of the mapped_bytes are left out of the IOMMU (VFB_RANGE_HOST_ONLY). */
	uint64_t host_only_bytes;
	/** How many bytes of these ranges are discarded (vfb_memory_discard()). */
	uint64_t discarded_bytes;
};

#define VFB_SPACE_INFO_INIT VFB_SIZED(struct vfb_space_info)

/** A range of valid IOVAs, both ends inclusive. */
struct vfb_iova_range {
	uint64_t first, last;
};

/** A range to map or unmap: one entry of a batch. Set unused fields to zero. */
struct vfb_range {
	/** The memory, and the offset in it where the range begins. */
	struct vfb_memory *memory;
	uint64_t offset;
	/** Length of the range. Offset, length and IOVA are multiples of the base page. */
	uint64_t bytes;
	/** The IOVA where devices see the range. With VFB_RANGE_ANY_IOVA the library chooses it and
	 *  stores it here. */
	uint64_t iova;
	/** VFB_RANGE_...; neither read nor write means both. */
	uint32_t flags;
	/** Output, valid when the job has ended: 0 or a negative errno. -ECANCELED: the entry was
	 *  undone, or not started, because another one failed. */
	int status;
	/** Ranges with a higher priority are populated and mapped first, ranges of equal priority
	 *  in the order of their IOVAs. */
	int priority;
	/** With VFB_RANGE_ON_DEMAND: the unit of mapping and eviction, a power of two from the page
	 *  of the memory to 2 GiB, of which offset and length are multiples. 0: 2 MiB, or the page
	 *  of the memory if that is larger. */
	uint32_t window_bytes;
	uint32_t reserved[2];
};

/** Devices may read. */
#define VFB_RANGE_READ (1u << 0)
/** Devices may write. */
#define VFB_RANGE_WRITE (1u << 1)
/** The library chooses the IOVA, congruent to the address modulo the page size. */
#define VFB_RANGE_ANY_IOVA (1u << 2)
/**
 * Nobody waits for this range: it is populated and mapped after all ranges of the batch without
 * this flag are mapped and the job is ready (see vfb_job_wait_ready()).
 */
#define VFB_RANGE_BACKGROUND (1u << 3)
/**
 * No device needs this range, such as a ROM, firmware or a kernel image: it is left out of the
 * IOMMU. It takes no map call, none of the mappings that the kernel allows, and is not pinned, so
 * that RLIMIT_MEMLOCK does not count it; a device that accesses it faults. It may lie outside of
 * the IOVAs that devices can use. Otherwise it is a range as others: it occupies its IOVAs, it
 * counts in vfb_space_info.mappings and mapped_bytes, is unmapped by vfb_space_unmap(), and
 * translations find it (vfioboost/translate.h), since emulated devices and the guest see it. It is
 * not populated, unless VFB_RANGE_POPULATE is set as well.
 */
#define VFB_RANGE_HOST_ONLY (1u << 4)
/** Populate the range, even if it is left out of the IOMMU or mapped on demand. All other ranges
 * are populated anyway. */
#define VFB_RANGE_POPULATE (1u << 5)
/**
 * Map the range in windows when they are used, not now, as vfb_space_opts.on_demand says; see
 * vfioboost/on_demand.h. Until then the range takes no map call and is not populated, unless
 * VFB_RANGE_POPULATE is set as well. Not together with VFB_RANGE_HOST_ONLY.
 */
#define VFB_RANGE_ON_DEMAND (1u << 6)

/**
 * Creates an empty space.
 *
 * @param ctx   the context
 * @param opts  settings, or NULL for the defaults
 * @param out   receives the space; release it with vfb_space_destroy()
 *
 * @return 0; -ENOTSUP: the kernel lacks the backend (the error text names the Linux version or
 * module that is needed), or the backend cannot do what a flag demands; -EACCES: no permission for
 * /dev/vfio/vfio or /dev/iommu; -EINVAL: unknown value or flag; -E2BIG; -EMFILE; -ENOMEM.
 */
VFB_API int vfb_space_create(struct vfb_ctx *ctx, const struct vfb_space_opts *opts,
			     struct vfb_space **out);

/**
 * Creates a space from a file descriptor that the caller has opened: a container, an iommufd
 * with an IOAS in it, or an iommufd that serves as the container of groups. The caller remains its
 * owner and may continue to attach devices and to map memory; the library never touches those. It
 * maps and unmaps its own ranges beside them, and opens devices into the space on request.
 *
 * If the caller attaches its first device later, ranges that were mapped before that are kept until
 * the next batch is mapped, or the library opens or adopts a device.
 *
 * sPAPR: memory that the caller has registered can be mapped, and stays registered. Which windows
 * the caller has created is not known, so that the kernel is the first to refuse an IOVA.
 *
 * With type1 and sPAPR, detaching the last device removes all mappings in the kernel. Unmap them in
 * the space as well before attaching another device; until then mapping fails with -ENXIO.
 *
 * Devices that can only be opened through their groups go into the address space that the iommufd
 * uses for groups. If the caller has set that to an IOAS other than @p ioas, opening them fails
 * with -EBUSY.
 *
 * @param ctx   the context
 * @param fd    the container or iommufd. It must stay open until the space is destroyed, which
 *              unmaps what the library has mapped and does not close it
 * @param ioas  the ID of the IOAS (IOMMU_IOAS_ALLOC); 0 for a type1 container. 0 with an iommufd:
 *              the IOAS that it uses for groups (IOMMU_VFIO_IOAS), which is created if there is
 *              none yet, and then stays
 * @param opts  as for vfb_space_create(), or NULL; VFB_BACKEND_AUTO detects what @p fd is
 * @param out   receives the space; release it with vfb_space_destroy()
 *
 * @return 0; -EINVAL, -ENOTTY, -ENOENT: the file descriptor is not of that kind, or has no such
 * IOAS; or the errors of vfb_space_create().
 */
VFB_API int vfb_space_adopt(struct vfb_ctx *ctx, int fd, uint32_t ioas,
			    const struct vfb_space_opts *opts, struct vfb_space **out);

/**
 * Reports the state of a space.
 *
 * @param space  the space
 * @param info   is filled in
 *
 * @return 0; -E2BIG.
 */
VFB_API int vfb_space_info(struct vfb_space *space, struct vfb_space_info *info);

/**
 * Lists the IOVA ranges that all devices of the space can use, in ascending order
 * (VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, IOMMU_IOAS_IOVA_RANGES, VFIO_IOMMU_SPAPR_TCE_GET_INFO).
 * The ranges are known once a device is open; before that they are those of
 * vfb_space_expect_devices() (vfioboost/layout.h), or one range covers everything.
 *
 * @param space   the space
 * @param ranges  receives the first @p count ranges
 * @param count   capacity of @p ranges
 *
 * @return the number of ranges, which may exceed @p count.
 */
VFB_API int vfb_space_iova_ranges(struct vfb_space *space, struct vfb_iova_range *ranges,
				  size_t count);

/** What mapping a batch will take. */
struct vfb_map_plan {
	size_t size;
	/** Bytes to map, and how many of them the library has not populated yet. */
	uint64_t bytes, populate_bytes;
	/** Number of map calls, which grows with smaller vfb_space_opts.block_bytes. Each takes one
	 *  of the mappings that the kernel allows. */
	uint64_t map_calls;
	/** Number of mappings that the kernel still allows, as in struct vfb_space_info. */
	uint64_t entries_left;
	/** VFB_MAP_PLAN_... */
	uint32_t flags;
	uint32_t reserved;
	/** Estimated time to populate populate_bytes, and to map all bytes, in nanoseconds, at the
	 *  rates that vfb_backend_measure() found in this context for the page sizes of the memory.
	 *  UINT64_MAX: one of these page sizes was not measured. Populating and mapping overlap,
	 *  so the batch takes at least the longer of the two and at most their sum. Mapping takes
	 *  longer if the memory is less contiguous physically than the measured sample, and
	 *  populating if the host must reclaim memory first. */
	uint64_t populate_ns, map_ns;
	/** Bytes of ranges that are left out of the IOMMU (VFB_RANGE_HOST_ONLY). bytes does not
	 *  count them, populate_bytes does if they are to be populated. */
	uint64_t host_only_bytes;
};

#define VFB_MAP_PLAN_INIT VFB_SIZED(struct vfb_map_plan)

/** Adjacent ranges become one mapping, see VFB_BATCH_COALESCE. */
#define VFB_MAP_PLAN_COALESCED (1u << 0)

/**
 * Reports what vfb_space_map() of a batch would take, and whether it would be refused, without
 * populating or mapping anything.
 *
 * @param space   the space
 * @param ranges  as for vfb_space_map(); only the status of an invalid range is written
 * @param count   number of ranges
 * @param opts    as for vfb_space_map(), or NULL
 * @param plan    is filled in
 *
 * @return 0, or the error with which vfb_space_map() would refuse the batch.
 */
VFB_API int vfb_space_map_plan(struct vfb_space *space, struct vfb_range *ranges, size_t count,
			       const struct vfb_batch_opts *opts, struct vfb_map_plan *plan);

/**
 * Populates and maps ranges, so that the devices of the space can access them. Populating, mapping
 * and the opening of devices (vfb_devices_open_start()) overlap.
 *
 * Unless VFB_BATCH_BEST_EFFORT is set, the batch is all or nothing: when one entry fails, the
 * ranges that the batch has mapped are unmapped in reverse order and their IOVAs become free
 * again. The whole batch is checked before anything is populated: against itself, the existing
 * mappings, the valid IOVAs, the kernel's limit of mappings, and RLIMIT_MEMLOCK (unless the process
 * has CAP_IPC_LOCK). For up to 16 MiB the check of RLIMIT_MEMLOCK is left to the kernel.
 *
 * If no device is open or being opened in the space, the ranges are populated and kept: they count
 * as mapped, and are mapped when the first device is opened. If that device cannot use their IOVAs,
 * opening it fails. VFB_RANGE_ANY_IOVA then chooses IOVAs from 4 GiB upward.
 *
 * It uses VFIO_IOMMU_MAP_DMA, IOMMU_IOAS_MAP or IOMMU_IOAS_MAP_FILE; with sPAPR also
 * VFIO_IOMMU_SPAPR_REGISTER_MEMORY.
 *
 * @param space   the space
 * @param ranges  @p count ranges; their iova and status are written
 * @param count   number of ranges; 0 does nothing
 * @param opts    settings, or NULL for the defaults
 *
 * @return 0, or the negative errno of the entry that failed first:
 * - -EINVAL: the length is 0, a value is not a multiple of the page size, the range ends beyond
 *   the memory or the address space or lies outside the valid IOVAs, or a flag is unknown;
 * - -EEXIST: the IOVAs are already mapped, or overlap those of another entry;
 * - -ENOSPC: the kernel's limit of mappings is reached (raise dma_entry_limit of
 *   vfio_iommu_type1, use VFB_BATCH_COALESCE or larger blocks), or no IOVAs are free;
 * - -ENOMEM: RLIMIT_MEMLOCK is too low, or there are too few free pages;
 * - -ETIMEDOUT: vfb_batch_opts.timeout_ns expired;
 * - or an error of vfb_memory_populate().
 */
VFB_API int vfb_space_map(struct vfb_space *space, struct vfb_range *ranges, size_t count,
			  const struct vfb_batch_opts *opts);

/**
 * Starts vfb_space_map(). Errors that the check of the batch finds are returned at once.
 * vfb_job_wait_entry() waits for a single range, vfb_job_wait_ready() for all except the background
 * ranges.
 *
 * @param out  receives the job; release it with vfb_job_destroy(). @p ranges must stay valid until
 *             the job has ended
 */
VFB_API int vfb_space_map_start(struct vfb_space *space, struct vfb_range *ranges, size_t count,
				const struct vfb_batch_opts *opts, struct vfb_job **out);

/**
 * Unmaps ranges, or BARs (vfb_bars_map()). Each entry must cover one mapped range, or several
 * adjacent ones, exactly: the kernel does not split mappings. Ranges that were coalesced
 * (VFB_BATCH_COALESCE) must be in the same batch. Only iova and bytes of an entry are used. The
 * batch is checked before anything is unmapped.
 *
 * Devices must have stopped using the ranges: the IOMMU blocks any further DMA to them.
 *
 * It uses VFIO_IOMMU_UNMAP_DMA or IOMMU_IOAS_UNMAP; with sPAPR also
 * VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY.
 *
 * @param space   the space
 * @param ranges  @p count ranges; their status is written
 * @param count   number of ranges; 0 does nothing
 * @param opts    settings, or NULL for the defaults; timeout_ns is ignored
 *
 * @return 0; -ENOENT: an entry is not mapped; -EINVAL: an entry is empty, or covers part of a
 * mapping; or the error of the kernel, in which case the entry remains mapped.
 */
VFB_API int vfb_space_unmap(struct vfb_space *space, struct vfb_range *ranges, size_t count,
			    const struct vfb_batch_opts *opts);

/** Starts vfb_space_unmap(). */
VFB_API int vfb_space_unmap_start(struct vfb_space *space, struct vfb_range *ranges, size_t count,
				  const struct vfb_batch_opts *opts, struct vfb_job **out);

/**
 * Unmaps everything that the library has mapped in the space; in parallel if the kernel unmaps in
 * parallel.
 *
 * @param space  the space
 *
 * @return 0; -EBUSY: a job is mapping or unmapping: wait for it; or the error of the kernel: the
 * ranges that could not be unmapped remain mapped.
 */
VFB_API int vfb_space_unmap_all(struct vfb_space *space);

/**
 * Detaches the mappings of the space from this process's memory, for another process to take them
 * over: devices continue to access the memory, and it stays pinned. For a program that replaces
 * itself by a new version (live update) while its guest keeps its devices. The memory must be
 * shared (VFB_MEMORY_MEMFD) and, with iommufd, mapped by file.
 *
 * Afterwards nothing can be mapped or unmapped here, no device can be opened or adopted in the
 * space, and vfb_space_destroy() leaves all mappings to the other process. Send it the file
 * descriptors of the space, the devices and the memory first.
 *
 * type1 uses VFIO_DMA_UNMAP_FLAG_VADDR (Linux 5.12).
 *
 * @param space  the space
 *
 * @return 0; -EBUSY: a job works on the space, BARs are mapped in it (vfb_bars_unmap()), or the
 * addresses were already released; -EINVAL: iommufd, and a range was mapped by address; -ENOTSUP:
 * there is no IOMMU; or the error of the kernel. On failure nothing has changed.
 */
VFB_API int vfb_space_release_addresses(struct vfb_space *space);

/**
 * Takes over the mappings that another process has released with vfb_space_release_addresses(). A
 * process may also take back the mappings that it has released itself.
 *
 * type1 uses VFIO_DMA_MAP_FLAG_VADDR (Linux 5.12), iommufd IOMMU_IOAS_CHANGE_PROCESS (Linux 6.13).
 * RLIMIT_MEMLOCK of this process must cover the memory.
 *
 * @param space   a space from vfb_space_adopt() in which the library has mapped nothing yet; or the
 *                space whose addresses were released
 * @param ranges  what is mapped in it: the IOVAs, lengths and flags of the mappings, with the
 *                memory of this process. type1: each range as it was mapped, coalesced ranges as
 *                one, in a space with the same block_bytes. To take a space's own mappings back:
 * none
 * @param count   number of ranges
 *
 * @return 0; -EINVAL: a range is not one that was mapped and released; -EBUSY: the library has
 * already mapped something here; -ENOMEM: RLIMIT_MEMLOCK is too low; -ENOTSUP: the kernel is too
 * old, or there is no IOMMU; or the error of the kernel.
 */
VFB_API int vfb_space_adopt_addresses(struct vfb_space *space, struct vfb_range *ranges,
				      size_t count);

/**
 * Unmaps everything that the library has mapped, and frees the space.
 *
 * @param space  the space; NULL is allowed and does nothing
 *
 * @return 0; -EBUSY: a device is open in it, or a job works on it; for an adopted space also the
 * error of an unmap call. On failure the space still exists.
 */
VFB_API int vfb_space_destroy(struct vfb_space *space);

#ifdef __cplusplus
}
#endif

#endif
