/* SPDX-License-Identifier: MIT */
#include <argp.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "command.h"
#include "host.h"
#include "metrics.h"
#include "output.h"
#include "results.h"
#include "session.h"

struct options {
	struct guest guest;
	/* In the order in which they were given. */
	struct number_list modes;
	const char *phases;
	bool memfd;
	unsigned int repeat;
	bool json;
	const char *metrics;
	struct watch watch;
};

/* There is 1 GiB between the memory below 4 GiB and the rest. */
#define MOST_HOST_ONLY (UINT64_C(512) << 20)

static const char doc[] =
	"Start and stop the memory and devices of a guest: populate its memory, open its devices and "
	"map the memory for them; then unmap and close. Prints how long each phase took, with one "
	"column per mode."
	"\v"
	"Modes:\n"
	"  boost   everything in parallel, on all CPUs of the memory's node\n"
	"  vmm     as the best VMMs do: populate with several threads, then open each device, then "
	"map each range\n"
	"  serial  the same with one thread\n"
	"  alone   the phases of boost one after another, each of them in parallel\n"
	"  lazy    as serial, but without populating: the kernel does that during the map call\n"
	"\n"
	"The time of a phase is the time during which any of its steps was in progress, so "
	"overlapping phases add up to more than the start. Without a device, memory is only "
	"populated. With several runs the modes take turns, and the memory is touched once "
	"beforehand, so that no mode bears a cost that the others are spared.\n"
	"\n" DOC_SIZES DOC_EXIT;

/* From VFB_NUMA_BIND on. */
static const char *const policy_names[] = {"bind", "interleave", "preferred", NULL};

static const struct argument option_list[] = {
	{"memory", 'm', "SIZE", "Size of the guest's memory (required)", FIELD(SIZE, guest.bytes),
	 .is_required = true},
	{"page-size", 'p', "auto|4k|thp|2m|1g|mixed", "Its pages (auto)",
	 FIELD(CHOICE, guest.page_size), .names = page_size_names},
	ARGUMENT_FLAG(memfd, "memfd", "Use a memfd, which can be shared, not anonymous memory"),
	{"numa-node", 'n', "N", "Place the memory on this node; may be repeated",
	 FIELD(NUMBERS, guest.nodes), .high = UINT_MAX},
	{"numa-policy", 0, "bind|interleave|preferred", "How to place it on the nodes (bind)",
	 FIELD(CHOICE, guest.policy), .names = policy_names, .low = VFB_NUMA_BIND},
	ARGUMENT_FLAG(guest.grow_pool, "grow-pool",
		      "Grow the hugepage pool as needed, and shrink it at the end (root)"),
	{"host-only", 0, "SIZE",
	 "Add memory that no device needs, as ROMs and firmware are: it is populated, and left out "
	 "of the IOMMU",
	 FIELD(SIZE, guest.host_only_bytes)},
	{"populate-rate", 0, "SIZE", "Populate at most this much per second",
	 FIELD(SIZE, guest.populate_rate)},
	{"device", 'd', "BDF", "A PCI device bound to vfio-pci, 0000:01:00.0; may be repeated",
	 FIELD(DEVICE, guest.devices)},
	{"backend", 'b', "auto|type1|iommufd|spapr", "The kernel interface to use (auto)",
	 FIELD(CHOICE, guest.backend), .names = backend_names},
	{"mode", 'M', "boost|vmm|serial|alone|lazy[,...]", "How to start and stop (boost)",
	 FIELD(CHOICES, modes), .names = mode_names},
	{"threads", 't', "N", "Number of workers (one per usable CPU)",
	 FIELD(NUMBER, guest.threads), .low = 1, .high = UINT_MAX},
	ARGUMENT_FLAG(guest.reboot, "reboot",
		      "Reboot the guest before stopping it: its devices are reset, and its memory "
		      "stays mapped"),
	ARGUMENT_REPEAT("Run each mode N times and print medians (1)"),
	{"trace", 0, "FILE", "Write a trace to FILE, for `vfioboost report` and ui.perfetto.dev",
	 FIELD(TEXT, watch.trace_path)},
	ARGUMENT_FLAG(watch.statistics, "stats",
		      "Count the steps in the last run of each mode, by operation and order of "
		      "magnitude of size"),
	ARGUMENT_FLAG(watch.syscalls, "syscalls", "Trace and count system calls as well"),
	ARGUMENT_FLAG(
		watch.kernel, "kernel-trace",
		"Break down the kernel's time in the last run of each mode into clearing, "
		"faulting, pinning, mapping and resetting, with ftrace (root; slows down small "
		"pages)"),
	{"events", 0, "PHASE[,PHASE]...", "Trace and count only these phases (all)",
	 FIELD(TEXT, phases)},
	{"metrics", 0, "FILE",
	 "Write the results to FILE for Prometheus, whose textfile collector wants a name that ends "
	 "in .prom",
	 FIELD(TEXT, metrics)},
	ARGUMENT_JSON,
	ARGUMENTS_END,
};

static void check_options(struct argp_state *state, void *data)
{
	struct options *options = data;
	struct guest *guest = &options->guest;

	if (options->phases && vfb_phases_parse(options->phases, &options->watch.phases))
		argp_error(state, "--events: %s", vfb_last_error());
	if (guest->policy && !guest->nodes.count)
		argp_error(state, "--numa-policy needs --numa-node");
	if (guest->host_only_bytes % base_page_bytes() || guest->host_only_bytes > MOST_HOST_ONLY)
		argp_error(state, "--host-only must be whole pages of %ju KiB, of 512 MiB at most",
			   (uintmax_t)base_page_bytes() >> 10);
	if (guest->reboot && !guest->devices.count)
		argp_error(state, "--reboot needs --device");
	if (guest->nodes.count && !guest->policy)
		guest->policy = VFB_NUMA_BIND;
	guest->kind = options->memfd ? VFB_MEMORY_MEMFD : VFB_MEMORY_ANONYMOUS;
	if (!options->modes.count)
		options->modes.all[options->modes.count++] = MODE_BOOST;
}

static const struct arguments arguments = {.command = "vfioboost run",
					   .doc = doc,
					   .all = option_list,
					   .check = check_options};

/* Runs every mode, taking turns; the sessions of a mode stand one after another. */
static int run_all(struct options *options, struct session *sessions)
{
	int error = 0;

	if (options->modes.count > 1 || options->repeat > 1)
		error = session_warm_up(&options->guest);
	for (unsigned int round = 0; round < options->repeat && !error; round++)
		for (size_t i = 0; i < options->modes.count && !error; i++)
			error = session_run(&options->guest, options->modes.all[i], &options->watch,
					    &sessions[i * options->repeat + round]);
	return error;
}

/* For who reads the trace elsewhere. */
static void note_host(struct watch *watch)
{
	struct json_object *facts = json_object_new_object();

	json_object_object_add(facts, "findings", host_findings(NULL, 0));
	watch_facts(watch, "vfioboost_host", facts);
}

static int run_watched(struct options *options, struct session *sessions)
{
	int error, other;

	error = watch_open(&options->watch);
	if (error)
		return error;
	error = run_all(options, sessions);
	if (options->watch.trace)
		note_host(&options->watch);
	other = watch_close(&options->watch);
	return error ? error : other;
}

static void free_sessions(struct session *sessions, size_t count)
{
	for (size_t i = 0; sessions && i < count; i++) {
		json_object_put(sessions[i].statistics);
		json_object_put(sessions[i].kernel);
	}
	free(sessions);
}

int command_run(int argc, char **argv)
{
	struct options options = {.repeat = 1};
	struct results results = {.guest = &options.guest};
	size_t count;
	struct session *sessions;
	bool written;

	arguments_parse(&arguments, argc, argv, &options);
	results.repeat = options.repeat;
	count = options.modes.count * options.repeat;
	sessions = calloc(count, sizeof(*sessions));
	if (!sessions || run_watched(&options, sessions)) {
		free_sessions(sessions, count);
		return EXIT_FAILED;
	}
	for (size_t i = 0; i < options.modes.count; i++) {
		enum mode mode = options.modes.all[i];

		results.has[mode] = true;
		results.modes[mode] = results_median(&sessions[i * options.repeat], options.repeat);
	}
	written = options.json ? results_json(&results) : results_table(&results);
	if (options.metrics && !metrics_write(&results, options.metrics)) {
		free_sessions(sessions, count);
		return EXIT_FAILED;
	}
	free_sessions(sessions, count);
	return output_status(written);
}
