/* SPDX-License-Identifier: MIT */
#include "metrics.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

struct counter {
	const char *name, *help;
	size_t offset;
};

#define COUNTER(field, text)                                     \
	{                                                        \
#field, text, offsetof(struct pool_class, field) \
	}

static const struct counter counters[] = {
	COUNTER(takes, "Slots that were taken."),
	COUNTER(misses, "Requests that found no slot ready."),
	COUNTER(fills, "Slots that were filled."),
	COUNTER(failures, "Slots that could not be filled."),
	COUNTER(returns, "Slots that came back."),
};

static void print_counter(FILE *file, const struct pool *pool, const struct counter *counter)
{
	fprintf(file, "# TYPE vfioboost_slot_%s counter\n# HELP vfioboost_slot_%s %s\n",
		counter->name, counter->name, counter->help);
	for (size_t i = 0; i < pool->class_count; i++) {
		const char *field = (const char *)&pool->classes[i] + counter->offset;

		fprintf(file, "vfioboost_slot_%s_total{class=\"%s\"} %" PRIu64 "\n", counter->name,
			pool->classes[i].config.name, *(const uint64_t *)field);
	}
}

static void print_states(FILE *file, const struct pool *pool)
{
	fprintf(file, "# TYPE vfioboost_slots gauge\n"
		      "# HELP vfioboost_slots Slots in each state.\n");
	for (size_t i = 0; i < pool->class_count; i++) {
		unsigned int counts[VFB_WIRE_STATES] = {0};

		for (unsigned int k = 0; k < MAX_SLOTS; k++)
			counts[pool->classes[i].slots[k].state]++;
		/* Empty are those that are to be filled. */
		for (unsigned int state = VFB_WIRE_FILLING; state < VFB_WIRE_STATES; state++)
			fprintf(file, "vfioboost_slots{class=\"%s\",state=\"%s\"} %u\n",
				pool->classes[i].config.name, vfb_wire_state_name(state),
				counts[state]);
	}
}

static void print_times(FILE *file, const struct pool *pool)
{
	fprintf(file, "# TYPE vfioboost_slot_fill_seconds gauge\n"
		      "# UNIT vfioboost_slot_fill_seconds seconds\n"
		      "# HELP vfioboost_slot_fill_seconds How long filling the last slot took.\n");
	for (size_t i = 0; i < pool->class_count; i++)
		fprintf(file, "vfioboost_slot_fill_seconds{class=\"%s\"} %.6f\n",
			pool->classes[i].config.name, pool->classes[i].fill_ns / 1e9);
}

char *metrics_text(struct pool *pool)
{
	char *text = NULL;
	size_t bytes;
	FILE *file = open_memstream(&text, &bytes);

	if (!file)
		return NULL;
	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++)
		print_counter(file, pool, &counters[i]);
	print_states(file, pool);
	print_times(file, pool);
	fprintf(file, "# EOF\n");
	if (!fclose(file))
		return text;
	free(text);
	return NULL;
}
