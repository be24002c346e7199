/* SPDX-License-Identifier: MIT */
#ifndef VFB_SPAN_H
#define VFB_SPAN_H

#include "observe/observer.h"
#include "observe/sdt.h"

/*
 * A step that is being timed, on the stack of the function that performs it:
 *
 *	struct vfb_span span;
 *
 *	vfb_observe_begin(&span, observer, VFB_PHASE_MAP);
 *	error = ...;
 *	vfb_observe_end(&span, .result = error, .bytes = bytes, .node = VFB_ANY_NODE);
 *
 * Spans of a thread nest: those that begin before this one ends are its children. If nobody wants
 * the phase, a span costs a load and a branch, and the fields of the event are not computed. Never
 * end a span with a lock held, since that calls the subscribers.
 */
struct vfb_span {
	/* NULL if nobody wants the phase. */
	struct vfb_observer *observer;
	enum vfb_phase phase;
	/* Whether it is on the stack of this thread's spans, and the next outer one. */
	bool nested;
	struct vfb_span *outer;
	const char *name;
	uint64_t id, parent, start_ns;
	/* Time that callbacks for its children took. */
	uint64_t callback_ns;
};

/* The slow part of vfb_observe_begin(). */
void vfb_span_start(struct vfb_span *span, struct vfb_observer *observer, enum vfb_phase phase,
		    bool nested);
/* The slow part of vfb_observe_end(): completes the event and calls the subscribers. */
void vfb_span_report(struct vfb_span *span, struct vfb_event event);

static inline bool vfb_observe_wants(struct vfb_observer *observer, enum vfb_phase phase)
{
	uint64_t wanted = atomic_load_explicit(&observer->wanted, memory_order_relaxed);

	return wanted & VFB_PHASE_BIT(phase) || VFB_PROBES_USED;
}

static inline void vfb_observe_begin(struct vfb_span *span, struct vfb_observer *observer,
				     enum vfb_phase phase)
{
	span->observer = NULL;
	if (__builtin_expect(vfb_observe_wants(observer, phase), false))
		vfb_span_start(span, observer, phase, true);
}

/* A span that may end in another thread. It gets children only by vfb_observe_adopt(). */
static inline void vfb_observe_begin_apart(struct vfb_span *span, struct vfb_observer *observer,
					   enum vfb_phase phase)
{
	span->observer = NULL;
	span->id = 0;
	if (__builtin_expect(vfb_observe_wants(observer, phase), false))
		vfb_span_start(span, observer, phase, false);
}

/* Ends a span. The arguments are fields of struct vfb_event and must include .node. */
#define vfb_observe_end(span, ...)                                                \
	do {                                                                      \
		if (__builtin_expect((span)->observer != NULL, false))            \
			vfb_span_report((span), (struct vfb_event){__VA_ARGS__}); \
	} while (0)

/*
 * Makes @parent the parent of the outermost spans that begin in this thread from now on. Returns
 * the previous parent.
 */
uint64_t vfb_observe_adopt(uint64_t parent);

/* That parent: in a callback, whether the parent of the event is a job rather than an outer span.
 */
uint64_t vfb_observe_adopted(void);

/* As vfb_span_begin(). */
struct vfb_span *vfb_observer_span_begin(struct vfb_observer *observer, const char *name);

#endif
