/* SPDX-License-Identifier: MIT */
/**
 * @file event.h
 * Events: what the library does, when, and how long it takes.
 *
 * Every step is reported to the subscribers of its context when it ends. Steps nest: a job is a
 * step, and each map call of the job is a step within it. If no subscriber wants a phase, the
 * library reads no clock for it. Times are from CLOCK_MONOTONIC, threads from gettid(2), CPUs from
 * getcpu(2).
 */
#ifndef VFIOBOOST_EVENT_H
#define VFIOBOOST_EVENT_H

#include <vfioboost/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The kind of a step. Later versions may add more. */
enum vfb_phase {
	/** Preparing to open a device. type1: attaching its group, the first of which creates the
	 *  IOMMU domain. iommufd attaches the device as a part of opening it. */
	VFB_PHASE_ATTACH,
	/** Opening a device, which resets it. */
	VFB_PHASE_OPEN,
	/** Populating one step of memory. */
	VFB_PHASE_POPULATE,
	/** One map call: pinning pages and filling the page table of the IOMMU. */
	VFB_PHASE_MAP,
	/** One unmap call. */
	VFB_PHASE_UNMAP,
	/** Closing a device, which resets it. */
	VFB_PHASE_CLOSE,
	/** Looking a device up in sysfs. */
	VFB_PHASE_DISCOVER,
	/** Resetting an open device. */
	VFB_PHASE_RESET,
	/** Reading the limits of a new domain, and restoring the mappings that the previous one
	 * had. */
	VFB_PHASE_DOMAIN,
	/** Publishing the mappings of a batch for address translation. */
	VFB_PHASE_PUBLISH,
	/** Detaching a closed device; the last one takes the domain with it. */
	VFB_PHASE_DETACH,
	/** Creating a space or memory. */
	VFB_PHASE_CREATE,
	/** Destroying a space or memory; for memory that includes freeing its pages. */
	VFB_PHASE_DESTROY,
	/** A thread of the caller waiting for a job. */
	VFB_PHASE_WAIT,
	/** A whole job, from start to end. It is the parent of the steps done for it. */
	VFB_PHASE_JOB,
	/** A system call, in a context created with VFB_CTX_SYSCALLS. It is reported where it is
	 *  made, possibly with a lock of the library held: a callback for this phase must not call
	 *  the library, except for vfb_unsubscribe(). */
	VFB_PHASE_SYSCALL,
	/** A span of the caller, see vfb_span_begin(). */
	VFB_PHASE_USER,
	/** Mapping a BAR for other devices, or mapping it again after a reset. It is the parent of
	 *  the map calls. */
	VFB_PHASE_BAR,
	/** Returning pages of memory to the system (vfb_memory_discard()). */
	VFB_PHASE_DISCARD,
	/** Populating and mapping windows that are touched (vfb_space_touch()), or waiting for
	 *  another thread that does. It is the parent of the map calls. */
	VFB_PHASE_TOUCH,
	/** Evicting windows (vfb_space_trim()). It is the parent of the unmap calls. */
	VFB_PHASE_TRIM,
	/** Handling faults of devices at a window (VFB_ON_DEMAND_FAULT): populating and mapping it,
	 *  and answering. It is the parent of the map calls. Also a fault that is denied
	 *  ("deny"), and a group of faults that the watchdog has answered ("expire", -ETIMEDOUT).
	 */
	VFB_PHASE_FAULT,
	/** Registering memory before it is mapped (VFB_BACKEND_SPAPR), which pins it. Waiting for
	 *  the kernel, which registers one piece of memory of a space at a time, counts as well. */
	VFB_PHASE_REGISTER,
};

/** Number of phases in this version; they are numbered from 0. */
#define VFB_PHASE_COUNT 23

/** The bit that stands for a phase in a set of phases. */
#define VFB_PHASE_BIT(phase) (UINT64_C(1) << (phase))

/** A step that has ended. Pointers are valid only during the callback. */
struct vfb_event {
	size_t size;
	enum vfb_phase phase;
	/** 0 or a negative errno. */
	int result;
	/** What was done: for a kernel call its name, such as "MADV_POPULATE_WRITE"; for a job its
	 *  kind; for a span its name. */
	const char *operation;
	/** ID of the step, which is unique in its context and never 0, and ID of its parent step, 0
	 *  if none. IDs are in no order. Parents end after their children and are therefore
	 *  reported later. */
	uint64_t id, parent;
	/** When it began (CLOCK_MONOTONIC), and its duration without callback_ns. */
	uint64_t start_ns, duration_ns;
	/** Time that callbacks for its children took in its thread. It is not part of duration_ns:
	 *  the step ended at start_ns + duration_ns + callback_ns. */
	uint64_t callback_ns;
	/** The range concerned; 0 for devices. iova is set for map and unmap. */
	uint64_t address, bytes, iova;
	/** Size in bytes and number of the pages in the range; 0 if not known. */
	uint64_t page_bytes, pages;
	/** PCI address of the device concerned, or NULL. */
	const char *device;
	/** NUMA node that the memory was populated for, or of the device; -1 if none. */
	int node;
	/** The CPU on which it ended, and the ID of its thread. */
	int cpu, thread;
};

/**
 * Callback for an event. It runs in the thread in which the step happened, and may run in several
 * threads at the same time. It delays the work by the time it takes, but that time counts for no
 * step. The threads of the library have stacks of 256 KiB.
 *
 * A callback may call the library, except for functions that wait: those return -EDEADLK, since
 * they might wait for the very thread that runs the callback. It may start jobs, but not destroy a
 * job before it has ended; it must close devices with vfb_devices_close_start(); and it must not
 * destroy the context. The steps that a callback causes in its own thread are not reported.
 */
typedef void (*vfb_event_fn)(const struct vfb_event *event, void *data);

/** A subscription to the events of a context. */
struct vfb_subscription;

/** Selects events. Zero in a field selects all. */
struct vfb_filter {
	size_t size;
	/** VFB_PHASE_BIT() of each wanted phase; 0: all. */
	uint64_t phases;
	/** Only steps of at least this duration. */
	uint64_t min_duration_ns;
	/** Only steps that concern at least this many bytes; any value but 0 excludes steps on
	 *  devices. */
	uint64_t min_bytes;
};

#define VFB_FILTER_INIT VFB_SIZED(struct vfb_filter)

/**
 * Subscribes to the events of a context. It may be called while work is in progress, and from a
 * callback.
 *
 * @param ctx     the context
 * @param filter  which events, or NULL for all
 * @param fn      called for each event
 * @param data    passed to @p fn
 * @param out     receives the subscription; release it with vfb_unsubscribe()
 *
 * @return 0; -EINVAL: no function, or an unknown phase; -ENOMEM; -E2BIG.
 */
VFB_API int vfb_subscribe(struct vfb_ctx *ctx, const struct vfb_filter *filter, vfb_event_fn fn,
			  void *data, struct vfb_subscription **out);

/**
 * Ends a subscription. It may be called while work is in progress: when it returns, the callback is
 * no longer running. Within a callback it does not wait: the callback may then still be running in
 * other threads.
 *
 * @param subscription  the subscription; NULL is allowed and does nothing
 */
VFB_API void vfb_unsubscribe(struct vfb_subscription *subscription);

/** Returns the name of a phase, such as "populate", or "unknown". The string is static. */
VFB_API const char *vfb_phase_name(enum vfb_phase phase);

/**
 * Converts a list of names to a set of phases.
 *
 * @param text    names separated by commas, such as "map,unmap", or "all"
 * @param phases  receives the set: VFB_PHASE_BIT() of each phase
 *
 * @return 0; -EINVAL: a name is unknown (the error text lists the known ones).
 */
VFB_API int vfb_phases_parse(const char *text, uint64_t *phases);

/** A step of the caller on the timeline of the library's steps. */
struct vfb_span;

/**
 * Begins a span of the caller's own, such as the boot of its firmware or guest, which is reported
 * like any other step. Steps of the library in the same thread become its children until the span
 * ends.
 *
 * @param ctx   the context whose subscribers receive the event
 * @param name  name of the span; the string must stay valid until the span has ended
 *
 * @return the span; end it with vfb_span_end() in the same thread. NULL if no subscriber wants
 * VFB_PHASE_USER, or memory is exhausted; vfb_span_end() accepts that.
 */
VFB_API struct vfb_span *vfb_span_begin(struct vfb_ctx *ctx, const char *name);

/**
 * Ends a span and reports it to the subscribers.
 *
 * @param span    the span; NULL is allowed and does nothing
 * @param result  result of the span: 0 or a negative errno
 */
VFB_API void vfb_span_end(struct vfb_span *span, int result);

#ifdef __cplusplus
}
#endif

#endif
