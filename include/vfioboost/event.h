/* SPDX-License-Identifier: MIT */
/**
 * @file event.h
 * What the library does, when, and how long it takes.
 *
 * Every step is told to the subscribers of its context. Without a subscriber no clock is read.
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
};

/** One thing that happened. Pointers are valid during the callback only. */
struct vfb_event {
	size_t size;
	enum vfb_phase phase;
	/** 0 or a negative errno. */
	int result;
	/** When it began (CLOCK_MONOTONIC), and how long it took. */
	uint64_t start_ns, duration_ns;
	/** The range it was about; 0 for devices. iova is set for map and unmap. */
	uint64_t address, bytes, iova;
	/** The PCI address of the device it was about, or NULL. */
	const char *device;
	/** The NUMA node that memory was populated for, -1 for any, and none of this. */
	int node;
	/** Where it ran: CPU at its end, and thread id. */
	int cpu, thread;
};

/**
 * Called for each event, in the thread in which it happened, from several threads at once. It
 * must not destroy the context. It holds up the work for as long as it takes.
 */
typedef void (*vfb_event_fn)(const struct vfb_event *event, void *data);

struct vfb_subscription;

/**
 * Subscribes to the events of a context. May be called while work runs, but not from a callback,
 * which would wait for itself.
 *
 * @return 0; -EINVAL: no function; -ENOMEM.
 */
VFB_API int vfb_subscribe(struct vfb_ctx *ctx, vfb_event_fn fn, void *data,
			  struct vfb_subscription **out);

/**
 * Ends a subscription. May be called while work runs, but not from a callback: when it returns,
 * the function runs no more.
 *
 * @param subscription  NULL is allowed
 */
VFB_API void vfb_unsubscribe(struct vfb_subscription *subscription);

/** The name of a phase, "populate" for instance; "unknown" for one of another version. */
VFB_API const char *vfb_phase_name(enum vfb_phase phase);

#ifdef __cplusplus
}
#endif

#endif
