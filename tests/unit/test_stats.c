/* SPDX-License-Identifier: MIT */
/* Counters and histograms of events. */
#include "host.h"
#include "record/histogram.h"

#define MAX 64

static int by_value(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

/* A quantile is at most a sixteenth above the true one, and never below. */
static void test_quantiles(void **state)
{
	static const unsigned int permilles[] = {1, 10, 250, 500, 900, 990, 999, 1000};
	static struct vfb_histogram histogram, half, sum;
	static uint64_t values[5000];
	uint64_t random = 1;

	(void)state;
	assert_int_equal(vfb_histogram_quantile(&histogram, 500), 0);
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		random = random * 6364136223846793005 + 1442695040888963407;
		values[i] = random >> (random % 61);
		vfb_histogram_add(i % 2 ? &half : &histogram, values[i]);
	}
	vfb_histogram_merge(&sum, &histogram);
	vfb_histogram_merge(&sum, &half);
	qsort(values, ARRAY_SIZE(values), sizeof(values[0]), by_value);
	assert_int_equal(sum.count, ARRAY_SIZE(values));
	assert_int_equal(sum.min, values[0]);
	assert_int_equal(sum.max, values[ARRAY_SIZE(values) - 1]);
	for (size_t i = 0; i < ARRAY_SIZE(permilles); i++) {
		uint64_t exact = values[(ARRAY_SIZE(values) * permilles[i] + 999) / 1000 - 1];
		uint64_t estimate = vfb_histogram_quantile(&sum, permilles[i]);

		assert_true(estimate >= exact);
		assert_true(estimate - exact <= exact / 16);
	}
	assert_int_equal(vfb_histogram_up_to(&sum, UINT64_MAX), sum.count);
}

static struct vfb_memory *populate(struct host *host, uint64_t bytes)
{
	struct vfb_memory *memory = make_memory(host, bytes, VFB_PAGE_4K);

	assert_ok(vfb_memory_populate(memory));
	return memory;
}

static void test_entries(void **state)
{
	struct vfb_filter filter = {sizeof(filter), VFB_PHASE_BIT(VFB_PHASE_POPULATE), 0, 0};
	struct vfb_stats_entry entries[MAX];
	struct vfb_memory *memories[3];
	struct vfb_stats *stats;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	assert_ok(vfb_stats_create(host.ctx, &filter, &stats));
	assert_int_equal(vfb_stats_read(stats, 0, entries, MAX), 0);
	assert_fails(vfb_stats_read(stats, 4, entries, MAX), -EINVAL, "0x4");
	memories[0] = populate(&host, 64 * KIB);
	memories[1] = populate(&host, 2 * MIB);
	memories[2] = populate(&host, 4 * MIB);

	assert_int_equal(vfb_stats_read(stats, 0, entries, MAX), 1);
	assert_int_equal(entries[0].phase, VFB_PHASE_POPULATE);
	assert_null(entries[0].operation);
	assert_int_equal(entries[0].decade, -1);
	assert_int_equal(entries[0].count, 3);
	assert_int_equal(entries[0].errors, 0);
	assert_int_equal(entries[0].bytes, 6 * MIB + 64 * KIB);
	assert_true(entries[0].min_ns > 0 && entries[0].min_ns <= entries[0].median_ns);
	assert_true(entries[0].median_ns <= entries[0].p99_ns);
	assert_true(entries[0].p99_ns <= entries[0].max_ns);
	assert_true(entries[0].total_ns > entries[0].max_ns);

	/* 65,536 bytes; 2,097,152 and 4,194,304. */
	assert_int_equal(vfb_stats_read(stats, VFB_STATS_BY_OPERATION | VFB_STATS_BY_SIZE, entries,
					MAX),
			 2);
	assert_string_equal(entries[0].operation, "MADV_POPULATE_WRITE");
	assert_int_equal(entries[0].decade, 4);
	assert_int_equal(entries[0].count, 1);
	assert_int_equal(entries[1].decade, 6);
	assert_int_equal(entries[1].count, 2);
	/* It says how many there are, and writes no more than there is room for. */
	entries[1].count = 1000;
	assert_int_equal(vfb_stats_read(stats, VFB_STATS_BY_SIZE, entries, 1), 2);
	assert_int_equal(entries[1].count, 1000);

	vfb_stats_reset(stats);
	assert_int_equal(vfb_stats_read(stats, 0, entries, MAX), 0);
	assert_ok(vfb_memory_destroy(memories[0]));
	memories[0] = make_memory(&host, 64 * KIB, VFB_PAGE_4K);
	fake_fail_call(host.fake, "madvise", 1, ENOMEM);
	assert_fails(vfb_memory_populate(memories[0]), -ENOMEM, "possible causes");
	assert_int_equal(vfb_stats_read(stats, 0, entries, MAX), 1);
	assert_int_equal(entries[0].errors, 1);
	vfb_stats_destroy(stats);
	vfb_stats_destroy(NULL);
	for (size_t i = 0; i < 3; i++)
		assert_ok(vfb_memory_destroy(memories[i]));
	host_close(&host);
}

static void assert_line(const char *text, const char *line)
{
	if (!strstr(text, line))
		fail_msg("\"%s\" is not in\n%s", line, text);
}

static void test_openmetrics(void **state)
{
	struct vfb_filter filter = {sizeof(filter),
				    VFB_PHASE_BIT(VFB_PHASE_POPULATE) |
					    VFB_PHASE_BIT(VFB_PHASE_USER),
				    0, 0};
	struct vfb_memory *memory;
	struct vfb_stats *stats;
	struct host host;
	char *text;

	(void)state;
	host_open(&host, NULL);
	assert_ok(vfb_stats_create(host.ctx, &filter, &stats));
	assert_ok(vfb_stats_openmetrics(stats, &text));
	assert_string_equal(strstr(text, "# EOF"), "# EOF\n");
	free(text);
	memory = populate(&host, 2 * MIB);
	vfb_span_end(vfb_span_begin(host.ctx, "a \"name\"\\"), -EIO);
	assert_ok(vfb_stats_openmetrics(stats, &text));
	assert_line(text, "# TYPE vfioboost_steps counter\n");
	assert_line(text, "\nvfioboost_steps_total{phase=\"populate\",operation="
			  "\"MADV_POPULATE_WRITE\"} 1\n");
	assert_line(text, "\nvfioboost_step_bytes_total{phase=\"populate\",operation="
			  "\"MADV_POPULATE_WRITE\"} 2097152\n");
	assert_line(text, "\nvfioboost_step_errors_total{phase=\"user\",operation="
			  "\"a \\\"name\\\"\\\\\"} 1\n");
	assert_line(text, "# TYPE vfioboost_step_seconds histogram\n# UNIT vfioboost_step_seconds "
			  "seconds\n");
	assert_line(text, "operation=\"MADV_POPULATE_WRITE\",le=\"+Inf\"} 1\n");
	assert_string_equal(strstr(text, "# EOF"), "# EOF\n");
	free(text);
	vfb_stats_destroy(stats);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

static void test_refused(void **state)
{
	struct vfb_filter filter = {sizeof(filter), UINT64_C(1) << 60, 0, 0};
	struct vfb_stats *stats = (void *)1;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	assert_fails(vfb_stats_create(host.ctx, &filter, &stats), -EINVAL, "phases");
	assert_null(stats);
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_quantiles),
		cmocka_unit_test(test_entries),
		cmocka_unit_test(test_openmetrics),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
