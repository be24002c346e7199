/* SPDX-License-Identifier: MIT */
/**
 * @file trace.h
 * Events in a file that viewers open: https://ui.perfetto.dev, chrome://tracing, and
 * `vfioboost report`.
 *
 * The format is Chrome's JSON array of trace events. Each subscription has three groups of
 * tracks: its threads, with their steps nested; its devices; and its NUMA nodes, with counters of
 * the bytes that were populated and mapped. Jobs are asynchronous spans. Whatever a step is known
 * by, see struct vfb_event, is among its "args"; addresses are hexadecimal strings, for JSON's
 * numbers have 53 bits.
 *
 * The file is written while work runs, and is whole JSON after each flush: what was flushed stays
 * readable if the process dies.
 */
#ifndef VFIOBOOST_TRACE_H
#define VFIOBOOST_TRACE_H

#include <vfioboost/event.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A trace that is being written. */
struct vfb_trace;

/**
 * Begins a trace.
 *
 * @param fd   an empty file to write to, with pwrite(2); it stays the caller's, to be closed after
 *             vfb_trace_destroy()
 * @param out  the trace
 *
 * @return 0; -EAGAIN: the system refused a thread; -ENOMEM; -ESPIPE: a pipe cannot be written to in
 * such a way; what pwrite(2) gives.
 */
VFB_API int vfb_trace_create(int fd, struct vfb_trace **out);

/**
 * Writes what a context does to a trace, until vfb_unsubscribe(), which has to come before
 * vfb_trace_destroy().
 *
 * @param trace   the trace
 * @param ctx     the context
 * @param name    names its tracks
 * @param filter  which events, or NULL for all; see vfb_subscribe()
 * @param out     the subscription
 *
 * @return 0; the errors of vfb_subscribe().
 */
VFB_API int vfb_trace_subscribe(struct vfb_trace *trace, struct vfb_ctx *ctx, const char *name,
				const struct vfb_filter *filter, struct vfb_subscription **out);

/**
 * Adds a trace event of the caller's.
 *
 * @param trace  the trace
 * @param json   one JSON object, which is not checked: a trace event with "ph", "pid" and so on
 *
 * @return 0, or the error that the trace ended with.
 */
VFB_API int vfb_trace_append(struct vfb_trace *trace, const char *json);

/**
 * Waits until everything told so far is written. A thread of the trace does that by itself four
 * times a second.
 *
 * @return 0, or the error that the trace ended with: nothing is written after one.
 */
VFB_API int vfb_trace_flush(struct vfb_trace *trace);

/**
 * Writes what is buffered and ends the trace. There must be no subscription left that writes to
 * it.
 *
 * @return 0, or what went wrong in writing: the file has what was written before.
 */
VFB_API int vfb_trace_destroy(struct vfb_trace *trace);

#ifdef __cplusplus
}
#endif

#endif
