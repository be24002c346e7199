/* SPDX-License-Identifier: MIT */
#include <argp.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "command.h"
#include "host.h"
#include "results.h"
#include "session.h"

struct options {
	struct guest guest;
	/* In the order in which they were given. */
	enum mode modes[MODE_COUNT];
	size_t mode_count;
	unsigned int repeat;
	bool json;
	struct watch watch;
};

static const char doc[] =
	"Start and stop what a guest would: populate its memory, open its devices, map the memory "
	"for them; then unmap and close. Prints how long each part took, mode beside mode."
	"\v"
	"Modes:\n"
	"  boost   everything at once, on all CPUs of the memory's node\n"
	"  vmm     as the best VMMs do: populate in threads, then open each device, then map each "
	"range, one after another\n"
	"  serial  the same with one thread\n"
	"  alone   the parts of boost, one after the other, each in parallel by itself\n"
	"  lazy    as serial, but nothing is populated: the kernel does that within the map call\n"
	"\n"
	"A part's time is that during which any of its steps was going on, so parts that overlap "
	"add up to more than the start. Without a device, memory is only populated. With several "
	"runs the modes take turns, and the memory is touched once beforehand, so that none pays "
	"for what another finds done.\n"
	"\n"
	"Sizes are bytes, or have K, M, G or T (powers of 1024) behind them.\n"
	"\n"
	"Exit status: 0 on success, 1 on failure, 2 on bad usage.";

enum {
	OPTION_MEMORY = 'm',
	OPTION_PAGE_SIZE = 'p',
	OPTION_DEVICE = 'd',
	OPTION_BACKEND = 'b',
	OPTION_MODE = 'M',
	OPTION_THREADS = 't',
	OPTION_NODE = 'n',
	OPTION_MEMFD = OPTION_OWN,
	OPTION_POLICY,
	OPTION_GROW_POOL,
	OPTION_RATE,
	OPTION_TRACE,
	OPTION_EVENTS,
	OPTION_STATS,
	OPTION_SYSCALLS,
	OPTION_KERNEL_TRACE,
};

static const struct argp_option argp_options[] = {
	{"memory", OPTION_MEMORY, "SIZE", 0, "How much memory the guest has (required)", 0},
	{"page-size", OPTION_PAGE_SIZE, "auto|4k|thp|2m|1g|mixed", 0, "What it is made of (auto)",
	 0},
	{"memfd", OPTION_MEMFD, NULL, 0, "Memory that can be shared, instead of anonymous", 0},
	{"numa-node", OPTION_NODE, "N", 0, "Place the memory on this node; may be repeated", 0},
	{"numa-policy", OPTION_POLICY, "bind|interleave|preferred", 0,
	 "How to place it on the nodes (bind)", 0},
	{"grow-pool", OPTION_GROW_POOL, NULL, 0,
	 "Make the pool of hugepages as large as needed, and give back in the end (root)", 0},
	{"populate-rate", OPTION_RATE, "SIZE", 0, "Populate no more than this in a second", 0},
	{"device", OPTION_DEVICE, "BDF", 0,
	 "A PCI device bound to vfio-pci, as 0000:01:00.0; may be repeated", 0},
	{"backend", OPTION_BACKEND, "auto|type1|iommufd", 0, "The kernel's interface (auto)", 0},
	{"mode", OPTION_MODE, "MODE[,MODE]...", 0, "How to go about it (boost)", 0},
	{"threads", OPTION_THREADS, "N", 0, "Workers (one for each CPU that may be used)", 0},
	{"repeat", 'r', "N", 0, "Run each mode N times and print medians (1)", 0},
	{"trace", OPTION_TRACE, "FILE", 0,
	 "Write what happens to FILE, for `vfioboost report` and ui.perfetto.dev", 0},
	{"stats", OPTION_STATS, NULL, 0,
	 "Count the steps of each mode's last run, by operation and decimal logarithm of size", 0},
	{"syscalls", OPTION_SYSCALLS, NULL, 0, "Trace and count system calls, too", 0},
	{"kernel-trace", OPTION_KERNEL_TRACE, NULL, 0,
	 "Split the kernel's work of each mode's last run into clearing, faulting, pinning, mapping "
	 "and resetting, with ftrace (root; it makes small pages slower)",
	 0},
	{"events", OPTION_EVENTS, "PHASE[,PHASE]...", 0, "Trace and count only these phases (all)",
	 0},
	{"json", OPTION_JSON, NULL, 0, "Print one JSON object", 0},
	{0},
};

static void add_modes(struct argp_state *state, struct options *options, char *text)
{
	char *rest = NULL;

	for (char *name = strtok_r(text, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
		enum mode mode = argument_choice(state, "mode", name, mode_names);
		bool known = false;

		for (size_t i = 0; i < options->mode_count; i++)
			known = known || options->modes[i] == mode;
		if (!known)
			options->modes[options->mode_count++] = mode;
	}
}

static void add_node(struct argp_state *state, struct guest *guest, const char *text)
{
	if (guest->node_count == MAX_NODES)
		argp_error(state, "more than %d nodes", MAX_NODES);
	guest->nodes[guest->node_count++] = argument_number(state, "numa-node", text, 0, UINT_MAX);
}

/* From VFB_NUMA_BIND on. */
static const char *const policy_names[] = {"bind", "interleave", "preferred", NULL};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;
	struct guest *guest = &options->guest;

	switch (key) {
	case OPTION_MEMORY:
		guest->bytes = argument_size(state, "memory", arg);
		return 0;
	case OPTION_PAGE_SIZE:
		guest->page_size = argument_choice(state, "page-size", arg, page_size_names);
		return 0;
	case OPTION_MEMFD:
		guest->kind = VFB_MEMORY_MEMFD;
		return 0;
	case OPTION_NODE:
		add_node(state, guest, arg);
		return 0;
	case OPTION_POLICY:
		guest->policy = VFB_NUMA_BIND +
				argument_choice(state, "numa-policy", arg, policy_names);
		return 0;
	case OPTION_GROW_POOL:
		guest->grow_pool = true;
		return 0;
	case OPTION_RATE:
		guest->populate_rate = argument_size(state, "populate-rate", arg);
		return 0;
	case OPTION_DEVICE:
		argument_device(state, guest->devices, &guest->device_count, arg);
		return 0;
	case OPTION_BACKEND:
		guest->backend = argument_choice(state, "backend", arg, backend_names);
		return 0;
	case OPTION_MODE:
		add_modes(state, options, arg);
		return 0;
	case OPTION_THREADS:
		guest->threads = argument_number(state, "threads", arg, 1, UINT_MAX);
		return 0;
	case OPTION_TRACE:
		options->watch.trace_path = arg;
		return 0;
	case OPTION_EVENTS:
		if (vfb_phases_parse(arg, &options->watch.phases))
			argp_error(state, "--events: %s", vfb_last_error());
		return 0;
	case OPTION_STATS:
		options->watch.statistics = true;
		return 0;
	case OPTION_KERNEL_TRACE:
		options->watch.kernel = true;
		return 0;
	case OPTION_SYSCALLS:
		options->watch.syscalls = true;
		return 0;
	case ARGP_KEY_END:
		if (!guest->bytes)
			argp_error(state, "--memory is missing");
		if (guest->policy && !guest->node_count)
			argp_error(state, "--numa-policy needs --numa-node");
		if (guest->node_count && !guest->policy)
			guest->policy = VFB_NUMA_BIND;
		return 0;
	default:
		return argument_bench(key, arg, state, &options->repeat, &options->json);
	}
}

/* Runs every mode, taking turns; the sessions of a mode stand one after another. */
static int run_all(struct options *options, struct session *sessions)
{
	int error = 0;

	if (options->mode_count > 1 || options->repeat > 1)
		error = session_warm_up(&options->guest);
	for (unsigned int round = 0; round < options->repeat && !error; round++)
		for (size_t i = 0; i < options->mode_count && !error; i++)
			error = session_run(&options->guest, options->modes[i], &options->watch,
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
	static const struct argp argp = {argp_options, parse_option, NULL, doc, NULL, NULL, NULL};
	static char name[] = "vfioboost run";
	struct options options = {.repeat = 1};
	struct results results = {.guest = &options.guest};
	struct session *sessions;
	bool written;

	argv[0] = name;
	argp_parse(&argp, argc, argv, 0, NULL, &options);
	if (!options.mode_count)
		options.modes[options.mode_count++] = MODE_BOOST;
	results.repeat = options.repeat;
	sessions = calloc(options.mode_count * options.repeat, sizeof(*sessions));
	if (!sessions || run_watched(&options, sessions)) {
		free_sessions(sessions, options.mode_count * options.repeat);
		return EXIT_FAILED;
	}
	for (size_t i = 0; i < options.mode_count; i++) {
		results.has[options.modes[i]] = true;
		results.modes[options.modes[i]] = results_median(&sessions[i * options.repeat],
								 options.repeat);
	}
	written = options.json ? results_json(&results) : results_table(&results);
	free_sessions(sessions, options.mode_count * options.repeat);
	if (!written)
		perror("vfioboost: cannot write the results");
	return written ? EXIT_OK : EXIT_FAILED;
}
