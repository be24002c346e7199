/* SPDX-License-Identifier: MIT */
#include "kernel_trace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel_share.h"

#define TRACEFS "/sys/kernel/tracing"
/* For each CPU; a 4 KiB page that is faulted in takes some 150 bytes. */
#define BUFFER_KIB "32768"

static bool write_file(struct kernel_trace *trace, const char *name, const char *text, int flags)
{
	char path[256];
	bool written;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", trace->path, name);
	fd = open(path, O_WRONLY | O_CLOEXEC | flags);
	if (fd < 0)
		return false;
	written = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	if (close(fd))
		written = false;
	return written;
}

/* The number behind a word in a file such as /proc/vmstat, -1 without it. */
static long number_in(const char *path, const char *word)
{
	FILE *file = fopen(path, "re");
	size_t length = strlen(word);
	char line[256];
	long number = -1;

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, word, length))
			number = strtol(line + length, NULL, 10);
	if (file)
		fclose(file);
	return number;
}

static long minor_faults(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_SELF, &usage) ? -1 : usage.ru_minflt;
}

/* The functions that this kernel has; those of modules only when these are loaded. */
static bool choose_functions(struct kernel_trace *trace)
{
	bool any = false;

	for (size_t i = 0; kernel_function(i); i++)
		any |= write_file(trace, "set_ftrace_filter", kernel_function(i),
				  any ? O_APPEND : O_TRUNC);
	return any;
}

static bool set_up(struct kernel_trace *trace)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", getpid());
	if (!write_file(trace, "tracing_on", "0", 0) ||
	    !write_file(trace, "buffer_size_kb", BUFFER_KIB, 0) ||
	    !write_file(trace, "set_ftrace_pid", pid, 0) ||
	    !write_file(trace, "options/function-fork", "1", 0) || !choose_functions(trace) ||
	    !write_file(trace, "current_tracer", "function_graph", 0))
		return false;
	/* Linux before 6.11 has the tracer for all of the system only. */
	write_file(trace, "options/funcgraph-proc", "1", 0);
	write_file(trace, "options/funcgraph-cpu", "0", 0);
	write_file(trace, "options/funcgraph-abstime", "1", 0);
	write_file(trace, "options/funcgraph-tail", "1", 0);
	write_file(trace, "options/funcgraph-irqs", "0", 0);
	write_file(trace, "options/sleep-time", "1", 0);
	write_file(trace, "set_event_pid", pid, 0);
	write_file(trace, "options/event-fork", "1", 0);
	if (!write_file(trace, "events/iommu/map/enable", "1", 0))
		snprintf(trace->reason, sizeof(trace->reason),
			 "the kernel has no tracepoint iommu:map: run lengths are not seen");
	return true;
}

void kernel_trace_open(struct kernel_trace *trace)
{
	memset(trace, 0, sizeof(*trace));
	snprintf(trace->path, sizeof(trace->path), TRACEFS "/instances/vfioboost-%d", getpid());
	if (mkdir(trace->path, 0700)) {
		snprintf(
			trace->reason, sizeof(trace->reason),
			"cannot make %s: %s: run as root, with tracefs (mount -t tracefs tracefs " TRACEFS
			")",
			trace->path, strerror(errno));
		trace->path[0] = '\0';
	} else if (!set_up(trace)) {
		snprintf(trace->reason, sizeof(trace->reason),
			 "cannot use the function_graph tracer in %s: %s: it needs "
			 "CONFIG_FUNCTION_GRAPH_TRACER, and Linux 6.11 or later",
			 trace->path, strerror(errno));
		rmdir(trace->path);
		trace->path[0] = '\0';
	}
}

/* Makes the counts what they are now, less what they were. */
static void count(struct kernel_trace *trace)
{
	trace->counts.faults = minor_faults() - trace->counts.faults;
	/* type1 counts what it pins as locked, iommufd as pinned, or for the user only. */
	trace->counts.locked_kib = number_in("/proc/self/status", "VmLck:") -
				   trace->counts.locked_kib;
	trace->counts.pinned_kib = number_in("/proc/self/status", "VmPin:") -
				   trace->counts.pinned_kib;
	trace->counts.table_pages = number_in("/proc/vmstat", "nr_iommu_pages ") -
				    trace->counts.table_pages;
}

void kernel_trace_start(struct kernel_trace *trace)
{
	memset(&trace->counts, 0, sizeof(trace->counts));
	count(trace);
	if (trace->path[0])
		write_file(trace, "tracing_on", "1", 0);
}

void kernel_trace_started(struct kernel_trace *trace)
{
	count(trace);
}

/* Events that did not fit in the buffers. */
static long lost_events(const struct kernel_trace *trace)
{
	long lost = 0, cpus = sysconf(_SC_NPROCESSORS_CONF);
	char path[256];

	for (long cpu = 0; cpu < cpus; cpu++) {
		snprintf(path, sizeof(path), "%s/per_cpu/cpu%ld/stats", trace->path, cpu);
		lost += number_in(path, "overrun: ") > 0 ? number_in(path, "overrun: ") : 0;
	}
	return lost;
}

static bool read_trace(struct kernel_trace *trace, struct kernel_share *share)
{
	struct kernel_parser *parser = kernel_parser_create(share);
	char path[192], line[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/trace", trace->path);
	file = fopen(path, "re");
	if (!file || !parser) {
		snprintf(trace->reason, sizeof(trace->reason), "cannot read %s: %s", path,
			 strerror(errno));
		kernel_parser_destroy(parser);
		if (file)
			fclose(file);
		return false;
	}
	while (fgets(line, sizeof(line), file))
		kernel_parser_line(parser, line);
	fclose(file);
	kernel_parser_destroy(parser);
	return true;
}

static void add_counts(struct json_object *seen, const struct kernel_trace *trace)
{
	json_object_object_add(seen, "minor_faults", json_object_new_int64(trace->counts.faults));
	json_object_object_add(seen, "locked_bytes",
			       json_object_new_int64(trace->counts.locked_kib * 1024));
	json_object_object_add(seen, "pinned_bytes",
			       json_object_new_int64(trace->counts.pinned_kib * 1024));
	json_object_object_add(seen, "iommu_table_pages",
			       json_object_new_int64(trace->counts.table_pages));
}

struct json_object *kernel_trace_close(struct kernel_trace *trace)
{
	struct kernel_share share;
	struct json_object *seen;
	long lost;

	if (trace->path[0])
		write_file(trace, "tracing_on", "0", 0);
	if (trace->path[0] && read_trace(trace, &share))
		seen = kernel_share_object(&share);
	else
		seen = json_object_new_object();
	add_counts(seen, trace);
	lost = trace->path[0] ? lost_events(trace) : 0;
	if (lost)
		snprintf(
			trace->reason, sizeof(trace->reason),
			"%ld events did not fit in the buffers, the parts are too small: take less "
			"memory, or larger pages",
			lost);
	if (trace->reason[0])
		json_object_object_add(seen, "not_seen", json_object_new_string(trace->reason));
	if (trace->path[0]) {
		write_file(trace, "current_tracer", "nop", 0);
		rmdir(trace->path);
	}
	return seen;
}

static void print_operation(struct json_object *operation, const char *name)
{
	double total = json_object_get_double(json_object_object_get(operation, "total_s"));

	printf("%-9s %6" PRIu64 " calls %9.3f s =", name,
	       json_object_get_uint64(json_object_object_get(operation, "count")), total);
	for (int part = 0; part < KERNEL_PARTS; part++) {
		char key[32];
		double seconds;

		snprintf(key, sizeof(key), "%s_s", kernel_part_name(part));
		seconds = json_object_get_double(json_object_object_get(operation, key));
		if (seconds > 0)
			printf(" %s %.3f (%.0f %%)", kernel_part_name(part), seconds,
			       100 * seconds / total);
	}
	printf("\n");
}

static void print_runs(struct json_object *runs)
{
	printf("physically contiguous runs:");
	for (size_t i = 0; i < json_object_array_length(runs); i++) {
		struct json_object *run = json_object_array_get_idx(runs, i);
		uint64_t kib = json_object_get_uint64(json_object_object_get(run, "bytes")) >> 10;
		uint64_t count = json_object_get_uint64(json_object_object_get(run, "count"));

		if (kib < 1024)
			printf(" %" PRIu64 "K: %" PRIu64, kib, count);
		else
			printf(" %" PRIu64 "M: %" PRIu64, kib >> 10, count);
	}
	printf("\n");
}

void kernel_trace_print(struct json_object *seen)
{
	static const struct {
		const char *name, *label, *unit;
		unsigned int shift;
	} counts[] = {
		{"minor_faults", "minor faults", "", 0},
		{"locked_bytes", "locked", " MiB", 20},
		{"pinned_bytes", "pinned", " MiB", 20},
		{"iommu_table_pages", "pages of IOMMU tables", "", 0},
	};
	struct json_object *runs = json_object_object_get(seen, "run_lengths");
	struct json_object *reason = json_object_object_get(seen, "not_seen");
	struct json_object *value;

	for (int operation = 0; operation < KERNEL_OPERATIONS; operation++) {
		const char *name = kernel_operation_name(operation);

		if (json_object_object_get_ex(seen, name, &value))
			print_operation(value, name);
	}
	if (runs && json_object_array_length(runs))
		print_runs(runs);
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		if (json_object_object_get_ex(seen, counts[i].name, &value))
			printf("%s%s: %" PRId64 "%s", i ? ", " : "", counts[i].label,
			       json_object_get_int64(value) >> counts[i].shift, counts[i].unit);
	printf("\n");
	if (reason)
		printf("not seen: %s\n", json_object_get_string(reason));
}
