/* SPDX-License-Identifier: MIT */
#include "observe/span.h"

#include <stdlib.h>

#ifdef VFB_HAVE_SDT
/* The kernel finds them through the ELF notes that sys/sdt.h emits. */
volatile unsigned short vfioboost_begin_semaphore __attribute__((section(".probes")));
volatile unsigned short vfioboost_end_semaphore __attribute__((section(".probes")));
#endif

/* What this thread is doing. */
static _Thread_local struct {
	struct vfb_span *innermost;
	/* Parent of the outermost span: the span of the job that the thread works for. */
	uint64_t adopted;
} thread;

uint64_t vfb_observe_adopt(uint64_t parent)
{
	uint64_t before = thread.adopted;

	thread.adopted = parent;
	return before;
}

uint64_t vfb_observe_adopted(void)
{
	return thread.adopted;
}

/* Spans of other contexts have other subscribers. */
static uint64_t find_parent(const struct vfb_observer *observer)
{
	for (struct vfb_span *span = thread.innermost; span; span = span->outer)
		if (span->observer == observer)
			return span->id;
	return thread.adopted;
}

void vfb_span_start(struct vfb_span *span, struct vfb_observer *observer, enum vfb_phase phase,
		    bool nested)
{
	if (vfb_observe_in_callback())
		return;
	span->observer = observer;
	span->phase = phase;
	span->id = vfb_observer_new_id(observer);
	span->parent = find_parent(observer);
	span->callback_ns = 0;
	span->nested = nested;
	span->outer = NULL;
	if (nested) {
		span->outer = thread.innermost;
		thread.innermost = span;
	}
	VFB_PROBE_BEGIN(span->id, span->parent, phase);
	span->start_ns = observer->sys->now(observer->sys);
}

/* Spans of a caller may end out of order. */
static void span_leave(const struct vfb_span *span)
{
	for (struct vfb_span **link = &thread.innermost; *link; link = &(*link)->outer) {
		if (*link != span)
			continue;
		*link = span->outer;
		return;
	}
}

void vfb_span_report(struct vfb_span *span, struct vfb_event event)
{
	struct vfb_observer *observer = span->observer;
	const struct vfb_sys *sys = observer->sys;
	uint64_t end = sys->now(sys);

	event.size = sizeof(event);
	event.phase = span->phase;
	event.id = span->id;
	event.parent = span->parent;
	event.start_ns = span->start_ns;
	event.duration_ns = end - span->start_ns - span->callback_ns;
	event.callback_ns = span->callback_ns;
	if (event.page_bytes)
		event.pages = event.bytes / event.page_bytes;
	event.cpu = sys->current_cpu(sys);
	event.thread = sys->current_thread(sys);
	if (span->nested)
		span_leave(span);
	VFB_PROBE_END(&event);
	vfb_observer_report(observer, &event);
	if (span->outer)
		span->outer->callback_ns += span->callback_ns + (sys->now(sys) - end);
}

struct vfb_span *vfb_observer_span_begin(struct vfb_observer *observer, const char *name)
{
	struct vfb_span *span;

	if (vfb_observe_in_callback())
		return NULL;
	span = malloc(sizeof(*span));
	if (!span)
		return NULL;
	span->name = name;
	vfb_observe_begin(span, observer, VFB_PHASE_USER);
	return span;
}

void vfb_span_end(struct vfb_span *span, int result)
{
	if (!span)
		return;
	vfb_observe_end(span, .operation = span->name, .result = result, .node = -1);
	free(span);
}
