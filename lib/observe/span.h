/* SPDX-License-Identifier: MIT */
#ifndef VFB_SPAN_H
#define VFB_SPAN_H

#include "observe/observer.h"
#include "observe/sdt.h"

/*
 * A step that is being timed, on the stack of who takes it:
 *
 *	struct vfb_span span;
 *
 *	vfb_observe_begin(&span, observer, VFB_PHASE_MAP);
 *	error = ...;
 *	vfb_observe_end(&span, .result = error, .bytes = bytes, .node = VFB_ANY_NODE);
 *
 * Spans of a thread nest: what begins meanwhile is a part of this one. When nobody wants the
 * phase that is a load and a branch, and the fields of the event are not even computed. Never
 * end a span with a lock held: it calls the subscribers.
 */
struct vfb_span {
	/* NULL when nobody wants to know. */
	struct vfb_observer *observer;
	enum vfb_phase phase;
	/* It is one of this thread's, and which one it is inside of. */
	bool nested;
	struct vfb_span *outer;
	const char *name;
	uint64_t id, parent, start_ns;
	/* How long subscribers were told of its parts. */
	uint64_t callback_ns;
};

/* The slow part of vfb_observe_begin(). */
void vfb_span_start(struct vfb_span *span, struct vfb_observer *observer, enum vfb_phase phase,
		    bool nested);
/* The slow part of vfb_observe_end(): fills in what the span knows, and tells the subscribers. */
void vfb_span_tell(struct vfb_span *span, struct vfb_event event);

static inline bool vfb_observe_wants(struct vfb_observer *observer, enum vfb_phase phase)
{
	uint64_t wanted = atomic_load_explicit(&observer->wanted, memory_order_relaxed);

	return wanted & VFB_PHASE_BIT(phase) || vfb_probes_used();
}

static inline void vfb_observe_begin(struct vfb_span *span, struct vfb_observer *observer,
				     enum vfb_phase phase)
{
	span->observer = NULL;
	if (__builtin_expect(vfb_observe_wants(observer, phase), false))
		vfb_span_start(span, observer, phase, true);
}

/* A span that may end in another thread: nothing becomes a part of it by itself. */
static inline void vfb_observe_begin_apart(struct vfb_span *span, struct vfb_observer *observer,
					   enum vfb_phase phase)
{
	span->observer = NULL;
	span->id = 0;
	if (__builtin_expect(vfb_observe_wants(observer, phase), false))
		vfb_span_start(span, observer, phase, false);
}

/* Ends a span; the arguments are fields of the struct vfb_event, .node is one of them. */
#define vfb_observe_end(span, ...)                                              \
	do {                                                                    \
		if (__builtin_expect((span)->observer != NULL, false))          \
			vfb_span_tell((span), (struct vfb_event){__VA_ARGS__}); \
	} while (0)

/*
 * What begins in this thread from now on, inside of nothing else, is a part of span @parent.
 * Returns the one before.
 */
uint64_t vfb_observe_adopt(uint64_t parent);

/* As vfb_span_begin(). */
struct vfb_span *vfb_observer_span_begin(struct vfb_observer *observer, const char *name);

#endif
