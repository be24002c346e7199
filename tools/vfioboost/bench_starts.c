/* SPDX-License-Identifier: MIT */
/* vfioboost bench starts: many guests that start at once, and one after another. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "arguments.h"
#include "children.h"
#include "clock.h"
#include "command.h"
#include "output.h"
#include "rounds.h"
#include "starts_guest.h"
#include "statistics.h"

#define MAX_GUESTS 1000
/* Calls that are printed: where most time is lost side by side. */
#define MOST_CALLS 8

/* The lines. */
enum way {
	SERIAL,
	BESIDE,
	WAYS,
};

static const char *const way_names[WAYS] = {"serial", "beside"};

/* What a round measures of each: all guests. */
enum {
	ALL_START,
	ALL_STOP,
	ALL_CPU,
	VALUES,
};

struct options {
	struct starts_options guest;
	unsigned int guests, repeat;
	struct device_list devices;
	bool json;
};

struct bench {
	struct options options;
	struct rounds rounds;
	struct starts_report *reports;
	/* By way: the times of each guest of each round, and the calls of all. */
	double *times[WAYS][STARTS_TIMES];
	size_t time_count[WAYS];
	struct starts_report sums[WAYS];
	unsigned int round;
};

static const char doc[] =
	"Start and stop many guests at once, each in a process of its own, and compare with one "
	"after another. Each guest has memory, and the first ones have a device each, as far as "
	"devices are given."
	"\v"
	"The two ways take turns, after an unmeasured run of each. Of the guests, the median, the "
	"99th percentile and the longest time are printed; of all of them the time from the first "
	"start to the last; and the system calls that take longer side by side, summed over the "
	"guests: that is where they wait for each other. A guest without a device populates its "
	"memory, and the kernel pins nothing.\n"
	"\n" DOC_SIZES DOC_EXIT;

static const struct argument option_list[] = {
	{"guests", 'g', "N", "Number of guests (10)", FIELD(NUMBER, guests), .low = 2,
	 .high = MAX_GUESTS},
	{"memory", 'm', "SIZE", "Memory of each (64M)", FIELD(SIZE, guest.bytes)},
	{"page-size", 'p', "auto|4k|thp|2m|1g|mixed", "Its pages (auto)",
	 FIELD(CHOICE, guest.page_size), .names = page_size_names},
	{"device", 'd', "BDF", "A PCI device bound to vfio-pci, for one guest; may be repeated",
	 FIELD(DEVICE, devices)},
	{"backend", 'b', "auto|type1|iommufd|none|spapr", "The kernel interface to use (auto)",
	 FIELD(CHOICE, guest.backend), .names = backend_names},
	{"threads", 't', "N", "Workers of each guest (one per CPU)", FIELD(NUMBER, guest.threads),
	 .low = 1, .high = MAX_THREADS},
	ARGUMENT_REPEAT("Runs of each (3)"),
	ARGUMENT_JSON,
	ARGUMENTS_END,
};

static const struct arguments arguments = {.command = "vfioboost bench starts",
					   .doc = doc,
					   .all = option_list};

/* ---- Guests ---- */

static int run_guest(void *data, unsigned int number, int fd)
{
	struct bench *bench = data;
	const struct device_list *devices = &bench->options.devices;

	return starts_guest(&bench->options.guest,
			    number < devices->count ? devices->all[number] : NULL, fd,
			    &bench->reports[number]);
}

/* Each guest goes on by one step: together, or each when the one before is done. */
static bool step_together(const struct child *children, unsigned int count, double *seconds)
{
	double begin = clock_seconds();
	bool done = true;

	for (unsigned int i = 0; i < count && done; i++)
		done = child_continue(&children[i]);
	for (unsigned int i = 0; i < count && done; i++)
		done = child_wait(&children[i]);
	*seconds += clock_seconds() - begin;
	return done;
}

static bool run_guests(const struct child *children, unsigned int count, enum way way,
		       double *values)
{
	unsigned int width = way == BESIDE ? count : 1;
	bool done = true;

	for (unsigned int i = 0; i < count && done; i += width)
		done = step_together(&children[i], width, &values[ALL_START]) &&
		       step_together(&children[i], width, &values[ALL_STOP]);
	return done;
}

/* The guest that fails says why, unless it was killed. */
static bool end_guest(const struct child *child, unsigned int number)
{
	int status = child_end(child);

	if (status >= 0 && WIFSIGNALED(status))
		fprintf(stderr, "vfioboost: guest %u was killed by signal %d (%s)\n", number,
			WTERMSIG(status), strsignal(WTERMSIG(status)));
	return status == 0;
}

/* The first round of each line warms up. */
static void keep_reports(struct bench *bench, enum way way, double *values)
{
	for (unsigned int i = 0; i < bench->options.guests; i++) {
		const struct starts_report *report = &bench->reports[i];

		values[ALL_CPU] += report->cpu_s;
		if (bench->round < WAYS)
			continue;
		for (int time = 0; time < STARTS_TIMES; time++)
			bench->times[way][time][bench->time_count[way]] = report->seconds[time];
		bench->time_count[way]++;
		for (size_t n = 0; n < report->call_count; n++)
			starts_add_call(&bench->sums[way], report->calls[n].name,
					report->calls[n].count, report->calls[n].seconds);
	}
	bench->round++;
}

static int measure(void *data, size_t way, double *values)
{
	struct bench *bench = data;
	unsigned int count = bench->options.guests, begun = 0;
	struct child *children = calloc(count, sizeof(*children));
	bool done = children != NULL;

	memset(bench->reports, 0, count * sizeof(*bench->reports));
	while (done && begun < count) {
		done = child_begin(children, begun, run_guest, bench);
		begun += done;
	}
	if (!done)
		perror("vfioboost: cannot start a process for each guest");
	done = done && run_guests(children, count, way, values);
	for (unsigned int i = 0; i < begun; i++)
		done &= end_guest(&children[i], i);
	free(children);
	if (done)
		keep_reports(bench, way, values);
	return done ? 0 : -1;
}

/* ---- Printing ---- */

static const char *const time_names[STARTS_TIMES] = {
	"context", "memory", "open", "map", "start", "unmap", "close", "destroy", "stop",
};

static double share(double *values, size_t count, double part)
{
	/* median() sorts. */
	median(values, count);
	return count ? values[(size_t)((count - 1) * part + 0.5)] : 0;
}

static void print_time(struct output *output, struct bench *bench, enum starts_time time)
{
	struct json_object *object = json_object_new_object();
	double medians[WAYS];

	output_text(output, "%-8s", time_names[time]);
	for (enum way way = 0; way < WAYS; way++) {
		double *values = bench->times[way][time];
		size_t count = bench->time_count[way];
		struct json_object *part = json_object_new_object();

		medians[way] = median(values, count);
		output_text(output, "  %8.4f %8.4f %8.4f", medians[way], share(values, count, 0.99),
			    share(values, count, 1));
		json_object_object_add(part, "median_s", json_object_new_double(medians[way]));
		json_object_object_add(part, "p99_s",
				       json_object_new_double(share(values, count, 0.99)));
		json_object_object_add(part, "longest_s",
				       json_object_new_double(share(values, count, 1)));
		json_object_object_add(object, way_names[way], part);
	}
	if (medians[SERIAL] > 0)
		output_text(output, "  %7.1f", medians[BESIDE] / medians[SERIAL]);
	output_text(output, "\n");
	output_add(output, time_names[time], object);
}

static void print_all(struct output *output, struct bench *bench)
{
	static const char *const names[VALUES] = {"all_start", "all_stop", "all_cpu"};
	static const char *const texts[VALUES] = {"All starts", "All stops", "CPU time"};

	for (int value = 0; value < VALUES; value++) {
		struct json_object *object = json_object_new_object();
		double seconds[WAYS];

		for (enum way way = 0; way < WAYS; way++) {
			seconds[way] = rounds_median(&bench->rounds, way, value);
			json_object_object_add(object, way_names[way],
					       json_object_new_double(seconds[way]));
		}
		output_text(output, "%-11s %8.3f s one after another, %8.3f s side by side: %.2f\n",
			    texts[value], seconds[SERIAL], seconds[BESIDE],
			    seconds[BESIDE] / seconds[SERIAL]);
		output_add(output, names[value], object);
	}
}

static const struct starts_call *find_call(const struct starts_report *sum, const char *name)
{
	for (size_t i = 0; i < sum->call_count; i++)
		if (!strcmp(sum->calls[i].name, name))
			return &sum->calls[i];
	return NULL;
}

/* What is lost most by being side by side comes first. */
static const struct starts_report *sorting_serial;

static double lost_in(const struct starts_call *call)
{
	const struct starts_call *serial = find_call(sorting_serial, call->name);

	return call->seconds - (serial ? serial->seconds : 0);
}

static int by_loss(const void *a, const void *b)
{
	double left = lost_in(a), right = lost_in(b);

	return (left < right) - (left > right);
}

/* In one round. */
static void print_calls(struct output *output, struct bench *bench)
{
	struct starts_report *beside = &bench->sums[BESIDE];
	struct json_object *calls = json_object_new_array();
	unsigned int rounds = bench->options.repeat;

	sorting_serial = &bench->sums[SERIAL];
	qsort(beside->calls, beside->call_count, sizeof(beside->calls[0]), by_loss);
	output_text(output,
		    "\nCalls that lose most side by side, of all guests:\n%-32s %8s %10s %10s\n",
		    "", "calls", "serial", "beside");
	for (size_t i = 0; i < beside->call_count && i < MOST_CALLS; i++) {
		const struct starts_call *call = &beside->calls[i];
		const struct starts_call *serial = find_call(sorting_serial, call->name);
		double alone = serial ? serial->seconds / rounds : 0;
		struct json_object *object = json_object_new_object();

		output_text(output, "%-32s %8lu %8.3f s %8.3f s\n", call->name,
			    call->count / rounds, alone, call->seconds / rounds);
		json_object_object_add(object, "name", json_object_new_string(call->name));
		json_object_object_add(object, "calls",
				       json_object_new_uint64(call->count / rounds));
		json_object_object_add(object, "serial_s", json_object_new_double(alone));
		json_object_object_add(object, "beside_s",
				       json_object_new_double(call->seconds / rounds));
		json_object_array_add(calls, object);
	}
	output_add(output, "calls", calls);
}

static int print(struct bench *bench)
{
	const struct options *options = &bench->options;
	size_t devices = options->devices.count;
	struct output output;

	if (devices > options->guests)
		devices = options->guests;
	output_begin(&output, options->json);
	output_text(&output, "%u guests, %zu of them with a device, medians of %u runs\n\n",
		    options->guests, devices, options->repeat);
	output_text(&output, "%-8s  %-26s  %-26s\n%-8s  %8s %8s %8s  %8s %8s %8s  %7s\n", "",
		    "one after another", "side by side", "seconds", "median", "p99", "longest",
		    "median", "p99", "longest", "ratio");
	output_add(&output, "guests", json_object_new_uint64(options->guests));
	output_add(&output, "devices", json_object_new_uint64(devices));
	output_add(&output, "memory_bytes", json_object_new_uint64(options->guest.bytes));
	output_add(&output, "repeat", json_object_new_uint64(options->repeat));
	for (int time = 0; time < STARTS_TIMES; time++)
		print_time(&output, bench, time);
	output_text(&output, "\n");
	print_all(&output, bench);
	print_calls(&output, bench);
	return output_end(&output);
}

static bool allocate(struct bench *bench)
{
	size_t guests = bench->options.guests;

	bench->reports = mmap(NULL, guests * sizeof(*bench->reports), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (bench->reports == MAP_FAILED)
		return false;
	for (int way = 0; way < WAYS; way++)
		for (int time = 0; time < STARTS_TIMES; time++) {
			bench->times[way][time] = calloc(guests * bench->options.repeat,
							 sizeof(double));
			if (!bench->times[way][time])
				return false;
		}
	return true;
}

int bench_starts(int argc, char **argv)
{
	static struct bench bench = {
		.options = {.guests = 10, .repeat = 3, .guest.bytes = UINT64_C(64) << 20}};
	struct rounds *rounds = &bench.rounds;
	int status = EXIT_FAILED;

	arguments_parse(&arguments, argc, argv, &bench.options);
	*rounds = (struct rounds){WAYS, VALUES, bench.options.repeat, measure, &bench, NULL};
	if (!allocate(&bench))
		perror("vfioboost: no memory for the results");
	else if (!rounds_run(rounds, 0, WAYS))
		status = print(&bench);
	rounds_free(rounds);
	for (int way = 0; way < WAYS; way++)
		for (int time = 0; time < STARTS_TIMES; time++)
			free(bench.times[way][time]);
	return status;
}
