/* SPDX-License-Identifier: MIT */
/*
 * vfioboost bench plan: a guest is started and stopped on a model of a host, twice. Once the calls
 * of the kernel take no time, and what the library itself takes is measured; once they take what
 * they would take, by the clock of the model.
 */
#include <stdio.h>
#include <time.h>
#include <vfioboost.h>

#include "arguments.h"
#include "clock.h"
#include "command.h"
#include "guest.h"
#include "output.h"

#define GIB (1024.0 * 1024 * 1024)
/* What is populated here to find a rate. */
#define SAMPLE (UINT64_C(256) << 20)

struct options {
	unsigned int cpus, nodes, devices, reset_ms;
	uint64_t bytes, populate_rate, map_rate, unmap_rate;
	enum vfb_page_size page_size;
	enum vfb_backend backend;
	bool populates_first, json;
};

#define DOC                                                                                     \
	"What the library itself takes for the start and the stop of a guest on a host of any " \
	"size: CPU time, memory, locks, wake-ups; and an estimate of the whole start, and of "  \
	"what bounds it. The host is a model; nothing of it has to exist."                      \
	"\v"                                                                                    \
	"Without --populate-rate, one thread populates 256 MiB here, and the rate is that of "  \
	"all CPUs of the host. Memory is spread over all nodes, and a multiple of 1 GiB for "   \
	"each.\n"                                                                               \
	"\n" DOC_SIZES DOC_EXIT

static const struct argument option_list[] = {
	{"cpus", 'c', "N", "CPUs of the host, a multiple of the nodes (512)", FIELD(NUMBER, cpus),
	 .low = 1, .high = 1024},
	{"nodes", 'n', "N", "NUMA nodes (16)", FIELD(NUMBER, nodes), .low = 1, .high = FAKE_NODES},
	{"memory", 'm', "SIZE", "Memory of the guest (12T)", FIELD(SIZE, bytes)},
	{"page-size", 'p', "4k|thp|2m|1g", "Its pages (2m)", FIELD(CHOICE, page_size),
	 .names = page_size_names + VFB_PAGE_BASE, .low = VFB_PAGE_BASE},
	{"devices", 'd', "N", "Devices of the guest (32)", FIELD(NUMBER, devices), .low = 1,
	 .high = MAX_DEVICES},
	{"backend", 'b', "type1|iommufd", "The kernel interface to use (iommufd)",
	 FIELD(CHOICE, backend), .names = backend_names + VFB_BACKEND_TYPE1,
	 .low = VFB_BACKEND_TYPE1},
	ARGUMENT_FLAG(populates_first, "populate-first", "Populate the memory before it is mapped"),
	{"populate-rate", 0, "SIZE", "What all CPUs together populate in a second",
	 FIELD(SIZE, populate_rate)},
	{"map-rate", 0, "SIZE", "What one thread maps in a second (50G)", FIELD(SIZE, map_rate)},
	{"unmap-rate", 0, "SIZE", "What one thread unmaps in a second (100G)",
	 FIELD(SIZE, unmap_rate)},
	{"reset", 0, "MS", "How long the reset of a device takes, in milliseconds (100)",
	 FIELD(NUMBER, reset_ms), .low = 1, .high = 1000000},
	ARGUMENT_JSON,
	ARGUMENTS_END,
};

static void check(struct argp_state *state, void *data)
{
	const struct options *options = data;

	if (options->cpus % options->nodes)
		argp_error(state, "%u CPUs cannot be spread evenly over %u nodes", options->cpus,
			   options->nodes);
	if (options->bytes % (options->nodes * (UINT64_C(1) << 30)))
		argp_error(state, "the memory must be a multiple of 1 GiB for each of %u nodes",
			   options->nodes);
	if (options->bytes > UINT64_C(64) << 40)
		argp_error(state, "the model has room for 64 TiB at most");
	if (options->backend > VFB_BACKEND_IOMMUFD || options->page_size > VFB_PAGE_1G)
		argp_error(state, "the model needs a backend, and pages of one size");
}

static const struct arguments arguments = {.command = "vfioboost bench plan",
					   .doc = DOC,
					   .all = option_list,
					   .check = check};

/* What the estimate is of. */
struct plan {
	const struct options *options;
	/* CPU time of creating so many threads, on the machine that this runs on. */
	double threads_s;
	/* The rate was measured here. */
	bool measured;
	double populate_rate;
	struct scale_result own, whole;
	/* The parts of a start, each by itself. */
	double populate_s, map_s, open_s;
};

int complain(int error)
{
	if (error)
		fprintf(stderr, "vfioboost: %s\n", vfb_last_error());
	return error;
}

static int measure_threads(struct plan *plan)
{
	struct vfb_ctx_opts opts = VFB_CTX_OPTS_INIT;
	clock_t begin = clock();
	struct vfb_ctx *ctx;
	int error;

	opts.threads = plan->options->cpus;
	error = complain(vfb_ctx_create(&opts, &ctx));
	plan->threads_s = (double)(clock() - begin) / CLOCKS_PER_SEC;
	if (!error)
		vfb_ctx_destroy(ctx);
	return error;
}

/* The second time: the first touch of memory may be a cost of a hypervisor. */
static int measure_populating(struct plan *plan)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_ctx_opts ctx_opts = VFB_CTX_OPTS_INIT;
	struct vfb_memory *memory;
	struct vfb_ctx *ctx;
	double seconds = 0;
	int error;

	ctx_opts.threads = 1;
	opts.bytes = SAMPLE;
	/* There may be no pool of huge pages here. */
	opts.page_size = plan->options->page_size == VFB_PAGE_BASE ? VFB_PAGE_BASE : VFB_PAGE_THP;
	error = complain(vfb_ctx_create(&ctx_opts, &ctx));
	if (error)
		return error;
	for (int i = 0; i < 2 && !error; i++) {
		error = complain(vfb_memory_create(ctx, &opts, &memory));
		if (error)
			break;
		seconds = clock_seconds();
		error = complain(vfb_memory_populate(memory));
		seconds = clock_seconds() - seconds;
		vfb_memory_destroy(memory);
	}
	vfb_ctx_destroy(ctx);
	plan->measured = true;
	plan->populate_rate = SAMPLE / seconds * plan->options->cpus;
	return error;
}

static bool run_model(const struct scale_host *host, struct scale_result *result)
{
	const char *failed = scale_run(host, result);

	if (failed)
		fprintf(stderr, "vfioboost: %s on the model: %s\n", failed, vfb_last_error());
	return !failed;
}

static bool make_plan(struct plan *plan)
{
	const struct options *options = plan->options;
	struct scale_host host = {
		.cpus = options->cpus,
		.nodes = options->nodes,
		.devices = options->devices,
		.bytes = options->bytes,
		.page_size = options->page_size,
		.backend = options->backend,
		.populates_first = options->populates_first,
	};
	double gibs = options->bytes / GIB;

	if (!run_model(&host, &plan->own))
		return false;
	/* Steps of the model cost real time: large ones, as pieces are. */
	host.page_size = VFB_PAGE_1G;
	host.zero_ns = (uint64_t)(1e9 * GIB * options->cpus / plan->populate_rate);
	host.pin_ns = (uint64_t)(1e9 * GIB / options->map_rate);
	host.unmap_ns = (uint64_t)(1e9 * GIB / options->unmap_rate);
	host.reset_ns = options->reset_ms * UINT64_C(1000000);
	plan->populate_s = options->bytes / plan->populate_rate;
	plan->map_s = gibs * host.pin_ns / 1e9;
	if (options->backend == VFB_BACKEND_IOMMUFD)
		plan->map_s /= options->cpus;
	plan->open_s = options->reset_ms / 1e3;
	return run_model(&host, &plan->whole);
}

/* ---- Printing ---- */

static void add_number(struct output *output, const char *key, double value)
{
	output_add(output, key, json_object_new_double(value));
}

/* What bounds the start: its longest part. */
static const char *find_bound(const struct plan *plan)
{
	if (plan->open_s >= plan->populate_s && plan->open_s >= plan->map_s)
		return "opening";
	return plan->populate_s >= plan->map_s ? "populating" : "mapping";
}

static double own_cpu(const struct plan *plan)
{
	double ns = 0;

	for (int i = 0; i < SCALE_STEPS; i++)
		ns += plan->own.steps[i].cpu_ns;
	return ns / 1e9;
}

static void print_counts(struct output *output, const struct plan *plan)
{
	static const char *const names[] = {"context", "memory", "start", "stop", "end"};
	struct json_object *steps = json_object_new_object();

	output_text(output, "%-8s %11s %9s %9s %9s %9s %9s %11s\n", "", "CPU time", "calls",
		    "locks", "waited", "wake-ups", "threads", "populated");
	for (int i = 0; i < SCALE_STEPS; i++) {
		const struct meter_counts *step = &plan->own.steps[i];
		struct json_object *object = json_object_new_object();

		output_text(output, "%-8s %8.2f ms %9lu %9lu %9lu %9lu %9lu %11lu\n", names[i],
			    step->cpu_ns / 1e6, step->calls, step->locks, step->waits, step->wakes,
			    step->threads, step->steps);
		json_object_object_add(object, "cpu_s", json_object_new_double(step->cpu_ns / 1e9));
		json_object_object_add(object, "calls", json_object_new_uint64(step->calls));
		json_object_object_add(object, "locks", json_object_new_uint64(step->locks));
		json_object_object_add(object, "waits", json_object_new_uint64(step->waits));
		json_object_object_add(object, "wakeups", json_object_new_uint64(step->wakes));
		json_object_object_add(object, "threads", json_object_new_uint64(step->threads));
		json_object_object_add(object, "populate_calls",
				       json_object_new_uint64(step->steps));
		json_object_object_add(steps, names[i], object);
	}
	output_add(output, "steps", steps);
}

static void print_own(struct output *output, const struct plan *plan)
{
	double most = plan->own.steps[SCALE_END].most_bytes;

	output_text(output, "The library itself, without what the kernel takes:\n");
	print_counts(output, plan);
	output_text(output,
		    "in all   %8.2f ms, at most %.2f MiB; creating %u threads takes %.1f ms more\n",
		    own_cpu(plan) * 1e3, most / (1 << 20), plan->options->cpus,
		    plan->threads_s * 1e3);
	add_number(output, "own_cpu_s", own_cpu(plan));
	add_number(output, "own_bytes", most);
	add_number(output, "threads_s", plan->threads_s);
}

static void print_estimate(struct output *output, const struct plan *plan)
{
	const struct scale_result *whole = &plan->whole;

	output_text(output, "\nEstimate, with %.0f GiB/s populated by all CPUs%s:\n",
		    plan->populate_rate / GIB,
		    plan->measured ? " (one thread here, times the CPUs)" : "");
	output_text(output, "start    %8.2f s: populating %.2f s, mapping %.2f s, opening %.2f s\n",
		    whole->start_ns / 1e9, plan->populate_s, plan->map_s, plan->open_s);
	output_text(output, "stop     %8.2f s\n", whole->stop_ns / 1e9);
	output_text(output, "%s bounds the start\n", find_bound(plan));
	add_number(output, "populate_bytes_per_s", plan->populate_rate);
	add_number(output, "start_s", whole->start_ns / 1e9);
	add_number(output, "devices_open_s", whole->open_ns / 1e9);
	add_number(output, "stop_s", whole->stop_ns / 1e9);
	add_number(output, "populate_s", plan->populate_s);
	add_number(output, "map_s", plan->map_s);
	add_number(output, "open_s", plan->open_s);
	output_add(output, "bound", json_object_new_string(find_bound(plan)));
}

static int print(const struct plan *plan)
{
	const struct options *options = plan->options;
	struct output output;

	output_begin(&output, options->json);
	output_text(&output,
		    "A host with %u CPUs and %u nodes; a guest with %.0f GiB in pages of %s, "
		    "%u devices, %s\n\n",
		    options->cpus, options->nodes, options->bytes / GIB,
		    page_size_name(options->page_size), options->devices,
		    backend_names[options->backend]);
	output_add(&output, "cpus", json_object_new_uint64(options->cpus));
	output_add(&output, "nodes", json_object_new_uint64(options->nodes));
	output_add(&output, "devices", json_object_new_uint64(options->devices));
	output_add(&output, "memory_bytes", json_object_new_uint64(options->bytes));
	output_add(&output, "page_size",
		   json_object_new_string(page_size_name(options->page_size)));
	output_add(&output, "backend", json_object_new_string(backend_names[options->backend]));
	print_own(&output, plan);
	print_estimate(&output, plan);
	return output_end(&output);
}

int main(int argc, char **argv)
{
	struct options options = {
		.cpus = 512,
		.nodes = 16,
		.devices = 32,
		.reset_ms = 100,
		.bytes = UINT64_C(12) << 40,
		.map_rate = UINT64_C(50) << 30,
		.unmap_rate = UINT64_C(100) << 30,
		.page_size = VFB_PAGE_2M,
		.backend = VFB_BACKEND_IOMMUFD,
	};
	struct plan plan = {.options = &options};

	argp_err_exit_status = EXIT_USAGE;
	arguments_parse(&arguments, argc, argv, &options);
	plan.populate_rate = options.populate_rate;
	if (measure_threads(&plan) || (!plan.populate_rate && measure_populating(&plan)))
		return EXIT_FAILED;
	return make_plan(&plan) ? print(&plan) : EXIT_FAILED;
}
