/* SPDX-License-Identifier: MIT */
/**
 * @file event.h
 * What the library does, when, and how long it takes.
 *
 * Every step is told to the subscribers of its context when it ends. Steps nest: a job is one,
 * and so is each map call that it makes. Without a subscriber that wants a phase no clock is read
 * for it. Times come from CLOCK_MONOTONIC, the thread from gettid(2), the CPU from getcpu(2).
 */
#ifndef VFIOBOOST_EVENT_H
#define VFIOBOOST_EVENT_H

#include <vfioboost/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What a step belongs to. More may come. */
enum vfb_phase {
	/** What is done once before a device is opened: on type1 attaching its group, the first of
	 *  which makes the IOMMU domain. iommufd attaches as a part of opening. */
	VFB_PHASE_ATTACH,
	/** Opening a device, which resets it. */
	VFB_PHASE_OPEN,
	/** One step of populating memory. */
	VFB_PHASE_POPULATE,
	/** One map call: pinning, and filling the IOMMU's page table. */
	VFB_PHASE_MAP,
	/** One unmap call. */
	VFB_PHASE_UNMAP,
	/** Closing a device, which resets it. */
	VFB_PHASE_CLOSE,
	/** Looking a device up in sysfs. */
	VFB_PHASE_DISCOVER,
	/** Resetting a device by itself, apart from opening and closing it. */
	VFB_PHASE_RESET,
	/** Reading what a new domain admits, and mapping again what went with the last one. */
	VFB_PHASE_DOMAIN,
	/** Making the mappings of a batch known to those who translate addresses. */
	VFB_PHASE_PUBLISH,
	/** Detaching a device that was closed, with the domain when it was the last. */
	VFB_PHASE_DETACH,
	/** Creating a space or memory. */
	VFB_PHASE_CREATE,
	/** Destroying one; for memory that is giving its pages back. */
	VFB_PHASE_DESTROY,
	/** A thread of the caller that waits for a job. */
	VFB_PHASE_WAIT,
	/** A whole job, from its start to its end. What is done for it has it as parent. */
	VFB_PHASE_JOB,
	/** A system call, in a context that was created with VFB_CTX_SYSCALLS. It is told where it
	 *  happens, maybe with a lock of the library held: a callback for it may call nothing of
	 *  the library but vfb_unsubscribe(). */
	VFB_PHASE_SYSCALL,
	/** A span of the caller's, see vfb_span_begin(). */
	VFB_PHASE_USER,
	/** Mapping a BAR for other devices, or mapping it again after a reset; the map calls are
	 *  parts of it. */
	VFB_PHASE_BAR,
};

/** How many phases this version knows: they count from 0. */
#define VFB_PHASE_COUNT 18

/** The bit of a phase in a set of phases. */
#define VFB_PHASE_BIT(phase) (UINT64_C(1) << (phase))

/** One thing that happened. Pointers are valid during the callback only. */
struct vfb_event {
	size_t size;
	enum vfb_phase phase;
	/** 0 or a negative errno. */
	int result;
	/** What was done, by the kernel's name where it is one call: "MADV_POPULATE_WRITE"; for a
	 *  job its kind, for a user span its name. */
	const char *operation;
	/** Its number in the context, from 1 on, and that of the step it is a part of, 0 for none.
	 *  Parents end after their parts, so they are told later. */
	uint64_t id, parent;
	/** When it began (CLOCK_MONOTONIC), and how long it took. */
	uint64_t start_ns, duration_ns;
	/** How long subscribers held it up while its parts were told in its thread. It is no part
	 *  of duration_ns: the step ended at start_ns + duration_ns + callback_ns. */
	uint64_t callback_ns;
	/** The range it was about; 0 for devices. iova is set for map and unmap. */
	uint64_t address, bytes, iova;
	/** The size of the pages that the range is made of and their number; 0 when not known. */
	uint64_t page_bytes, pages;
	/** The PCI address of the device it was about, or NULL. */
	const char *device;
	/** The NUMA node that memory was populated for or that the device is at; -1 for none. */
	int node;
	/** Where it ran: CPU at its end, and thread id. */
	int cpu, thread;
};

/**
 * Called for each event, in the thread in which it happened, from several threads at once. It
 * holds up the work for as long as it takes, though that time counts for no step.
 *
 * It may call the library, but for what waits: that is refused with -EDEADLK, as it could wait
 * for the thread it is called in. Jobs may be started from it, but not be destroyed before they
 * have ended; devices must be closed in a job; nor may it destroy the context. What it does is
 * not told.
 */
typedef void (*vfb_event_fn)(const struct vfb_event *event, void *data);

struct vfb_subscription;

/** Which events a subscriber wants; zero is everything. */
struct vfb_filter {
	size_t size;
	/** VFB_PHASE_BIT() of each phase that is wanted, or 0 for all. */
	uint64_t phases;
	/** Only what took at least so long. */
	uint64_t min_duration_ns;
	/** Only what was about at least so many bytes: not devices, unless 0. */
	uint64_t min_bytes;
};

#define VFB_FILTER_INIT VFB_SIZED(struct vfb_filter)

/**
 * Subscribes to the events of a context. May be called while work runs, and from a callback.
 *
 * @param ctx     the context
 * @param filter  which events, or NULL for all
 * @param fn      is called for each
 * @param data    given to it
 * @param out     the subscription, to be given to vfb_unsubscribe()
 *
 * @return 0; -EINVAL: no function, or a phase that this version does not know; -ENOMEM; -E2BIG.
 */
VFB_API int vfb_subscribe(struct vfb_ctx *ctx, const struct vfb_filter *filter, vfb_event_fn fn,
			  void *data, struct vfb_subscription **out);

/**
 * Ends a subscription. May be called while work runs: when it returns, the function runs no more.
 * From a callback it does not wait: calls that have begun in other threads may still run then.
 *
 * @param subscription  NULL is allowed
 */
VFB_API void vfb_unsubscribe(struct vfb_subscription *subscription);

/** The name of a phase, "populate" for instance; "unknown" for one of another version. */
VFB_API const char *vfb_phase_name(enum vfb_phase phase);

/**
 * The set of phases that a text names: "map,unmap" for instance, or "all".
 *
 * @return 0; -EINVAL: a name is unknown; the error lists those that there are.
 */
VFB_API int vfb_phases_parse(const char *text, uint64_t *phases);

/** A span of the caller's on the timeline of the library's steps. */
struct vfb_span;

/**
 * Begins a span of the caller's own, its firmware's or its guest's boot for instance, to be told
 * like any other step. What the library does in this thread until the span ends is a part of it.
 *
 * @param ctx   the context whose subscribers are told
 * @param name  what it is called; it must stay until the span has ended
 *
 * @return the span, to be given to vfb_span_end() in the same thread; NULL when nobody wants to
 * know, or without memory.
 */
VFB_API struct vfb_span *vfb_span_begin(struct vfb_ctx *ctx, const char *name);

/**
 * Ends a span, and tells the subscribers.
 *
 * @param span    NULL is allowed
 * @param result  0 or a negative errno, as the span's result
 */
VFB_API void vfb_span_end(struct vfb_span *span, int result);

#ifdef __cplusplus
}
#endif

#endif
