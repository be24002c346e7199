/* SPDX-License-Identifier: MIT */
/**
 * @file on_demand.h
 * Memory that is mapped when it is used, and unmapped when it has not been used for long, so that
 * only what devices work with is pinned.
 *
 * A range with VFB_RANGE_ON_DEMAND consists of windows of vfb_range.window_bytes. A window is
 * mapped and unmapped as a whole. How the library learns that a device is about to use a window is
 * the way of the space, vfb_space_opts.on_demand:
 *
 * - VFB_ON_DEMAND_TOUCH: the driver, or the device model of a VMM, calls vfb_space_touch() or
 *   vfb_space_hold() before a device accesses the memory. It works with every device and kernel. A
 *   device that accesses a window which nobody has touched gets a fault of the IOMMU.
 * - VFB_ON_DEMAND_FAULT: a device that accesses a window which is not mapped faults; the IOMMU
 *   reports that to the library, which maps the window and answers, and the device repeats the
 *   access. Nobody has to touch anything, and windows may be evicted while devices use them. See
 *   below for the devices that can do that.
 * - VFB_ON_DEMAND_STATIC: the range is populated and mapped at once, as without the flag. Touching
 *   finds everything mapped.
 *
 * Unmapping a window unpins its pages. Their contents remain: the kernel may swap the pages out,
 * or the owner may return them (vfioboost/discard.h). vfb_space_translate() therefore finds the
 * whole range, whether its windows are mapped or not.
 *
 * Faults: an IOMMU reports faults only of devices that can request pages (PRI of PCIe), and Linux
 * only those of some IOMMUs. That attaching such a device succeeds proves nothing: some drivers
 * answer the requests by themselves, with a failure. In a space with VFB_ON_DEMAND_FAULT opening a
 * device therefore fails with -ENOTSUP unless it was proved: iommufd (Linux 6.13), VT-d with
 * scalable mode and page requests (bits 43 and 29 of intel-iommu/ecap in sysfs), a physical
 * function, opened by its node, and PRI enabled in its configuration space.
 *
 * Threads of the library handle the faults (vfb_space_opts.fault_threads). Faults at one window
 * cause one mapping. A device may send several requests as a group, which is answered as a whole. A
 * fault is denied, so that the access of the device fails, when nothing is mapped on demand there,
 * when the range does not allow the access, when populating or mapping fails, or when handling it
 * takes longer than vfb_space_opts.fault_timeout_ms. So the device never waits without end, as long
 * as the process runs.
 *
 * When the process ends, by SIGKILL for instance, the kernel detaches its devices, denies all their
 * faults and unpins the memory. That happens only when no other process has the files of the
 * devices: one that keeps them (a parent, a slot holder) must detach each device
 * (VFIO_DEVICE_DETACH_IOMMUFD_PT) when it learns that the process has died, which denies all faults
 * of the device, whether they had been read or not. A reaper (vfioboost/reaper.h) closes them, with
 * the same effect. The memory stays pinned as long as a process has the file of the iommufd or of
 * its queue of faults. A process that is stopped (SIGSTOP, a debugger) answers nothing, not even as
 * watchdog.
 *
 * All functions may be called from any thread at the same time. Touching what is mapped takes no
 * lock and makes no system call. Threads that touch the same window wait for the one of them that
 * maps it, and for no other. Steps that map windows are reported as VFB_PHASE_TOUCH, and those that
 * evict windows as VFB_PHASE_TRIM, and handling faults as VFB_PHASE_FAULT; vfioboost/stats.h counts
 * them, with median and p99 of their durations.
 */
#ifndef VFIOBOOST_ON_DEMAND_H
#define VFIOBOOST_ON_DEMAND_H

#include <vfioboost/space.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Populates and maps the windows of a part of the space that are not mapped yet, in the calling
 * thread. When it returns 0, every window that the part overlaps has been mapped. vfb_space_trim()
 * may evict them again at any time: use vfb_space_hold() unless the same thread trims, or nobody.
 *
 * Parts of the space that are mapped without VFB_RANGE_ON_DEMAND are mapped already, and may be
 * touched as well.
 *
 * A device must be open in the space, unless it has VFB_BACKEND_NONE. When the last device is
 * closed, type1 unmaps everything: windows must be touched again for the next one.
 *
 * @param space  the space
 * @param iova   where the part begins
 * @param bytes  its length; 0 does nothing
 *
 * @return 0; or an error, in which case part of the windows may have been mapped:
 * - -ENOENT: nothing is mapped at an IOVA of the part, or it is discarded or left out of the IOMMU;
 * - -ENXIO: no device is open in the space;
 * - -EBUSY: another job unmaps, discards or restores the window, or the addresses of the space were
 *   released;
 * - -EINVAL: the part ends beyond the address space;
 * - -EDEADLK: called from a callback, and a window has to be mapped;
 * - or an error of vfb_memory_populate() or vfb_space_map().
 */
VFB_API int vfb_space_touch(struct vfb_space *space, uint64_t iova, uint64_t bytes);

/**
 * Touches a part of the space, and keeps its windows mapped until vfb_space_unhold() is called with
 * the same part: vfb_space_trim() does not evict them, and unmapping or discarding them fails with
 * -EBUSY. Holds are counted: a window is evicted only after each hold has ended. Call it before a
 * device is given an IOVA of the part, and vfb_space_unhold() when the device has finished.
 *
 * On failure nothing is held.
 *
 * @param space  the space
 * @param iova   where the part begins
 * @param bytes  its length; 0 does nothing
 *
 * @return as vfb_space_touch(); -EOVERFLOW: a window is held 16777215 times.
 */
VFB_API int vfb_space_hold(struct vfb_space *space, uint64_t iova, uint64_t bytes);

/**
 * Ends a vfb_space_hold() of the same part. The windows remain mapped until they are evicted.
 *
 * @param space  the space
 * @param iova   as for vfb_space_hold()
 * @param bytes  as for vfb_space_hold()
 *
 * @return 0; -EINVAL: a window of the part is not held: nothing has changed; -ENOENT: nothing is
 * mapped at an IOVA of the part.
 */
VFB_API int vfb_space_unhold(struct vfb_space *space, uint64_t iova, uint64_t bytes);

/**
 * Unmaps windows until at most @p mapped_bytes of the on-demand ranges are mapped: those first that
 * were touched longest ago. Windows that are held are not evicted. The order of touches is recorded
 * each time that a window is mapped or windows are trimmed: of windows that were touched without
 * any of that in between, those at lower IOVAs are evicted first.
 *
 * Devices must not access windows that are not held, unless they fault (VFB_ON_DEMAND_FAULT). A
 * fault counts as a touch.
 *
 * @param space         the space
 * @param mapped_bytes  how many bytes may remain mapped; 0: evict all windows that are not held
 *
 * @return 0; -EBUSY: more than that is held, or the addresses of the space were released; all
 * windows that are not held were evicted in the first case; -EDEADLK: called from a callback;
 * -ENOMEM; or the error of an unmap call: that window remains mapped.
 */
VFB_API int vfb_space_trim(struct vfb_space *space, uint64_t mapped_bytes);

/** What a space maps on demand. */
struct vfb_on_demand_info {
	size_t size;
	/** The way that is in use; never VFB_ON_DEMAND_AUTO. */
	enum vfb_on_demand way;
	/** Why this way was chosen; valid as long as the space. */
	const char *reason;
	/** Calls of vfb_space_touch() and vfb_space_hold(). */
	uint64_t touches;
	/** Windows that were mapped; touches, and faults being handled, that have found one being
	 * mapped or evicted by another thread, and waited for that; windows that were evicted. */
	uint64_t mapped, coalesced, evicted;
	/** Bytes of the windows that are mapped now. */
	uint64_t mapped_bytes;
	/** Bytes that touches and faults have populated. */
	uint64_t populated_bytes;
	/** Faults of devices: requests for pages. */
	uint64_t faults;
	/** Those of them that have found the window waiting or being mapped for another one; that
	 *  have found it mapped; that were denied; and that took too long, and were answered by the
	 *  watchdog. */
	uint64_t faults_coalesced, faults_spurious, faults_denied, faults_expired;
	/** Windows that were to be mapped ahead of faults. */
	uint64_t mapped_ahead;
	/** From reading a group of faults to its answer: median and 99th percentile, in
	 *  nanoseconds, at most 1/16 too large. */
	uint64_t fault_median_ns, fault_p99_ns;
};

#define VFB_ON_DEMAND_INFO_INIT VFB_SIZED(struct vfb_on_demand_info)

/**
 * Reports what a space maps on demand.
 *
 * @param space  the space
 * @param info   is filled in
 *
 * @return 0; -E2BIG.
 */
VFB_API int vfb_space_on_demand_info(struct vfb_space *space, struct vfb_on_demand_info *info);

#ifdef __cplusplus
}
#endif

#endif
