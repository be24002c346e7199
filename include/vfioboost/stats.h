/* SPDX-License-Identifier: MIT */
/**
 * @file stats.h
 * How often, how long, how much: counters and histograms of a context's events.
 *
 * Durations are kept in log-linear histograms: a median or percentile is at most a sixteenth away
 * from the true one, count, total, minimum and maximum are exact.
 */
#ifndef VFIOBOOST_STATS_H
#define VFIOBOOST_STATS_H

#include <vfioboost/event.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Counts the events of one context. */
struct vfb_stats;

/**
 * Begins to count. May be called while work runs, and from a callback.
 *
 * @param ctx     the context
 * @param filter  which events, or NULL for all; see vfb_subscribe()
 * @param out     to be given to vfb_stats_destroy(), before the context is destroyed
 *
 * @return 0; the errors of vfb_subscribe().
 */
VFB_API int vfb_stats_create(struct vfb_ctx *ctx, const struct vfb_filter *filter,
			     struct vfb_stats **out);

/** Ends counting. @param stats NULL is allowed */
VFB_API void vfb_stats_destroy(struct vfb_stats *stats);

/** What was counted of one kind of step. */
struct vfb_stats_entry {
	enum vfb_phase phase;
	/** Its operation; NULL when those of a phase are counted together. Valid until
	 *  vfb_stats_destroy(). */
	const char *operation;
	/** The steps were about at least 10^decade and less than 10^(decade + 1) bytes; -1: about
	 *  none, or sizes are counted together. */
	int decade;
	/** How many there were, how many failed, and of how many bytes they were in all. */
	uint64_t count, errors, bytes;
	uint64_t total_ns, min_ns, median_ns, p99_ns, max_ns;
};

/** Tell operations of a phase apart. */
#define VFB_STATS_BY_OPERATION (1u << 0)
/** Tell sizes apart, by their decimal logarithm. */
#define VFB_STATS_BY_SIZE (1u << 1)

/**
 * Reads what was counted so far, phase by phase. Work goes on meanwhile; what is read
 * is consistent.
 *
 * @param stats    the counters
 * @param by       VFB_STATS_BY_..., what to tell apart
 * @param entries  is filled in
 * @param count    how many entries there is room for; 0 only asks
 *
 * @return how many entries there are, which may be more than @p count; -ENOMEM.
 */
VFB_API int vfb_stats_read(struct vfb_stats *stats, uint32_t flags, struct vfb_stats_entry *entries,
			   size_t count);

/** Begins again at zero, while work goes on. */
VFB_API void vfb_stats_reset(struct vfb_stats *stats);

/**
 * What was counted, as OpenMetrics text for a monitoring system to fetch: vfioboost_steps,
 * vfioboost_step_errors, vfioboost_step_bytes and the histogram vfioboost_step_seconds, with
 * labels phase and operation.
 *
 * @param stats  the counters
 * @param text   the text, to be freed with free()
 *
 * @return 0; -ENOMEM.
 */
VFB_API int vfb_stats_openmetrics(struct vfb_stats *stats, char **text);

#ifdef __cplusplus
}
#endif

#endif
