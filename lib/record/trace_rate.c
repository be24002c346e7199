/* SPDX-License-Identifier: MIT */
/*
 * Rates as counters of a trace. The rate at a time is known only when all steps that were in
 * progress then have ended, so rates are written when the trace ends.
 */
#include <inttypes.h>
#include <string.h>

#include "record/trace.h"

#define SHORTEST_NS UINT64_C(1000000)
/* The third group of tracks: those of nodes. */
#define NODES 2

static void rate_lengthen_bins(struct trace_rate *rate)
{
	for (size_t i = 0; i < TRACE_RATE_BINS / 2; i++)
		rate->bins[i] = rate->bins[2 * i] + rate->bins[2 * i + 1];
	memset(rate->bins + TRACE_RATE_BINS / 2, 0, sizeof(rate->bins) / 2);
	rate->bin_ns *= 2;
}

void vfb_trace_count_rate(struct trace_rate *rate, uint64_t begin_ns, uint64_t end_ns,
			  uint64_t bytes)
{
	uint64_t begin = begin_ns > rate->begin_ns ? begin_ns - rate->begin_ns : 0;
	uint64_t end = end_ns > rate->begin_ns ? end_ns - rate->begin_ns : 0;
	uint64_t counted = 0;

	if (!rate->bin_ns)
		rate->bin_ns = SHORTEST_NS;
	while (end / rate->bin_ns >= TRACE_RATE_BINS)
		rate_lengthen_bins(rate);
	for (uint64_t i = begin / rate->bin_ns; i <= end / rate->bin_ns; i++) {
		uint64_t until = (i + 1) * rate->bin_ns;
		uint64_t so_far = until < end ? (double)bytes * (until - begin) / (end - begin) :
						bytes;

		rate->bins[i] += so_far - counted;
		counted = so_far;
	}
}

static void rate_write(struct trace_source *source, const struct trace_rate *rate, const char *name)
{
	uint64_t before = 0;

	for (size_t i = 0; rate->bin_ns && i <= TRACE_RATE_BINS; i++) {
		uint64_t bytes = i < TRACE_RATE_BINS ? rate->bins[i] : 0;
		uint64_t when = rate->begin_ns + i * rate->bin_ns;

		if (bytes == before)
			continue;
		vfb_trace_add(source->trace,
			      "{\"name\":\"%s\",\"ph\":\"C\",\"pid\":%u,\"tid\":0,"
			      "\"ts\":%" PRIu64 ".%03u,\"args\":{\"bytes per second\":%.0f}}",
			      name, source->pid + NODES, when / 1000, (unsigned int)(when % 1000),
			      bytes * 1e9 / rate->bin_ns);
		before = bytes;
	}
}

void vfb_trace_write_rates(struct trace_source *source)
{
	rate_write(source, &source->populate_rate, "populate rate");
	rate_write(source, &source->map_rate, "map rate");
}
