/* SPDX-License-Identifier: MIT */
/**
 * @file trace.h
 * Trace files, for https://ui.perfetto.dev, chrome://tracing and `vfioboost report`.
 *
 * The format is Chrome's JSON array of trace events. Each subscription has three groups of tracks:
 * its threads, with nested steps; its devices; and its NUMA nodes, with counters of the bytes
 * populated and mapped and of the rates of both. Jobs are asynchronous spans, with a flow to each
 * of their steps. The fields of struct vfb_event are in the "args" of a step; addresses are
 * hexadecimal strings, since JSON numbers are exact only up to 53 bits.
 *
 * The file is written while work is in progress, and is complete JSON after each flush: whatever
 * was flushed remains readable if the process dies.
 */
#ifndef VFIOBOOST_TRACE_H
#define VFIOBOOST_TRACE_H

#include <vfioboost/event.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A trace in progress. */
struct vfb_trace;

/**
 * Starts a trace, and a thread that writes it.
 *
 * @param fd   an empty file, which is written with pwrite(2). It remains the caller's: close it
 *             after vfb_trace_destroy()
 * @param out  receives the trace; release it with vfb_trace_destroy()
 *
 * @return 0; -EAGAIN: the system refused to create a thread; -ENOMEM; -ESPIPE: the file is a pipe
 * or otherwise not seekable; or the errors of pwrite(2).
 */
VFB_API int vfb_trace_create(int fd, struct vfb_trace **out);

/**
 * Records the events of a context in a trace.
 *
 * @param trace   the trace
 * @param ctx     the context
 * @param name    name of its tracks
 * @param filter  which events, or NULL for all; see vfb_subscribe()
 * @param out     receives the subscription; end it with vfb_unsubscribe() before
 *                vfb_trace_destroy()
 *
 * @return 0; the errors of vfb_subscribe().
 */
VFB_API int vfb_trace_subscribe(struct vfb_trace *trace, struct vfb_ctx *ctx, const char *name,
				const struct vfb_filter *filter, struct vfb_subscription **out);

/**
 * Adds a trace event of the caller's own.
 *
 * @param trace  the trace
 * @param json   a JSON object: a trace event with "ph", "pid" and so on. It is not validated
 *
 * @return 0, or the error that ended the trace.
 */
VFB_API int vfb_trace_append(struct vfb_trace *trace, const char *json);

/**
 * Waits until all events so far are written. The thread of the trace also flushes four times a
 * second.
 *
 * @param trace  the trace
 *
 * @return 0, or the error that ended the trace: after an error nothing more is written.
 */
VFB_API int vfb_trace_flush(struct vfb_trace *trace);

/**
 * Writes what is buffered, and frees the trace. All of its subscriptions must have ended.
 *
 * @param trace  the trace
 *
 * @return 0, or the first error of writing: the file contains what was written before it.
 */
VFB_API int vfb_trace_destroy(struct vfb_trace *trace);

#ifdef __cplusplus
}
#endif

#endif
