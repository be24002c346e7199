/* SPDX-License-Identifier: MIT */
/**
 * @file stats.h
 * Counters and histograms of the events of a context.
 *
 * Durations are kept in log-linear histograms: medians and percentiles are off by at most 1/16;
 * count, total, minimum and maximum are exact.
 */
#ifndef VFIOBOOST_STATS_H
#define VFIOBOOST_STATS_H

#include <vfioboost/event.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Counters of the events of one context. */
struct vfb_stats;

/**
 * Starts counting. It may be called while work is in progress, and from a callback.
 *
 * @param ctx     the context
 * @param filter  which events, or NULL for all; see vfb_subscribe()
 * @param out     receives the counters; release them with vfb_stats_destroy() before destroying
 *                the context
 *
 * @return 0; the errors of vfb_subscribe().
 */
VFB_API int vfb_stats_create(struct vfb_ctx *ctx, const struct vfb_filter *filter,
			     struct vfb_stats **out);

/** Stops counting and frees the counters; NULL is allowed and does nothing. */
VFB_API void vfb_stats_destroy(struct vfb_stats *stats);

/** Counters of one kind of step. */
struct vfb_stats_entry {
	enum vfb_phase phase;
	/** The operation; NULL unless VFB_STATS_BY_OPERATION. Valid until vfb_stats_destroy(). */
	const char *operation;
	/** The steps concerned at least 10^decade and less than 10^(decade + 1) bytes; -1: no
	 * bytes, or not VFB_STATS_BY_SIZE. */
	int decade;
	/** Number of steps, number of those that failed, and total bytes. */
	uint64_t count, errors, bytes;
	/** Durations in nanoseconds. */
	uint64_t total_ns, min_ns, median_ns, p99_ns, max_ns;
};

/** One entry per operation of a phase. */
#define VFB_STATS_BY_OPERATION (1u << 0)
/** One entry per decimal order of magnitude of the size. */
#define VFB_STATS_BY_SIZE (1u << 1)

/**
 * Reads the counters, ordered by phase. Work may be in progress; the result is consistent.
 *
 * @param stats    the counters
 * @param flags    VFB_STATS_BY_...: what to count separately; 0: only phases
 * @param entries  receives the first @p count entries
 * @param count    capacity of @p entries
 *
 * @return the number of entries, which may exceed @p count; -EINVAL: unknown flag; -ENOMEM.
 */
VFB_API int vfb_stats_read(struct vfb_stats *stats, uint32_t flags, struct vfb_stats_entry *entries,
			   size_t count);

/** Resets all counters to zero. Work may be in progress. */
VFB_API void vfb_stats_reset(struct vfb_stats *stats);

/**
 * Formats the counters as OpenMetrics text for a monitoring system: vfioboost_steps,
 * vfioboost_step_errors, vfioboost_step_bytes and the histogram vfioboost_step_seconds, each with
 * the labels phase and operation.
 *
 * @param stats  the counters
 * @param text   receives the text; release it with free()
 *
 * @return 0; -ENOMEM.
 */
VFB_API int vfb_stats_openmetrics(struct vfb_stats *stats, char **text);

#ifdef __cplusplus
}
#endif

#endif
