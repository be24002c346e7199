/* SPDX-License-Identifier: MIT */
/*
 * Runs the scenarios for each backend that the kernel has, and for iommufd by groups. Each one is a
 * process of its own, so that what one leaves behind, or a crash, does not disturb the others.
 *
 * Arguments: -k runs them below seccomp filters that kill, except for those that no filter allows,
 * -f PATTERN only those whose name matches ("type1: *"); others are the machine's.
 */
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "scenario.h"

static const struct scenario *const subjects[] = {
	adopt_scenarios,  adopt_memory_scenarios, adopt_device_scenarios, start_scenarios,
	device_scenarios, region_scenarios,	  reset_scenarios,	  bar_scenarios,
	unplug_scenarios, dma_scenarios,	  iova_scenarios,	  batch_scenarios,
	memory_scenarios, placement_scenarios,	  doctor_scenarios,	  event_scenarios,
	limit_scenarios,  type1_scenarios,	  iommufd_scenarios,	  populate_scenarios,
	dirty_scenarios,  discard_scenarios,	  on_demand_scenarios,
};

/* Those that have to do with how devices are opened, and what follows from that. */
static const struct scenario *const group_subjects[] = {
	group_scenarios, adopt_scenarios, start_scenarios, device_scenarios,
	reset_scenarios, dma_scenarios,	  limit_scenarios, doctor_scenarios,
};

/* Those for which IOVAs and other limits of type1 do not matter. */
static const struct scenario *const spapr_subjects[] = {
	start_scenarios,    device_scenarios,  region_scenarios,    reset_scenarios,
	dma_scenarios,	    batch_scenarios,   memory_scenarios,    placement_scenarios,
	populate_scenarios, discard_scenarios, on_demand_scenarios, event_scenarios,
	limit_scenarios,
};

static struct machine machine;
static bool with_filters;

/* A way to make spaces and to open devices. */
struct way {
	const char *name;
	enum vfb_backend backend;
	bool by_group;
	const struct scenario *const *subjects;
	size_t subject_count;
};

static const struct way ways[] = {
	{"type1", VFB_BACKEND_TYPE1, false, subjects, COUNT(subjects)},
	{"iommufd", VFB_BACKEND_IOMMUFD, false, subjects, COUNT(subjects)},
	{"groups", VFB_BACKEND_IOMMUFD, true, group_subjects, COUNT(group_subjects)},
	{"spapr", VFB_BACKEND_SPAPR, false, spapr_subjects, COUNT(spapr_subjects)},
};

/* A scenario in a way: a test. */
struct trial {
	const struct scenario *scenario;
	const struct way *way;
	struct limits limits;
	char name[96];
};

static void missing_backend(struct fixture *f)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_space *space;

	opts.backend = f->backend;
	assert_error(vfb_space_create(f->ctx, &opts, &space), -ENOTSUP);
	assert_null(space);
	assert_says("CONFIG_IOMMUFD");
	assert_says("type1");
}

static const struct scenario missing = {.name = "is missing and says so", .run = missing_backend};

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

/* In the child. */
static void run_scenario(const struct trial *trial)
{
	struct fixture fixture = {
		.machine = &machine,
		.backend = trial->way->backend,
		.by_group = trial->way->by_group,
	};
	char text[4096];

	machine_begin(&trial->limits);
	if (with_filters && !trial->scenario->unfiltered)
		assert_ok(machine_ctx_create_filtered(&fixture.ctx));
	else
		assert_ok(machine_ctx_create(NULL, &fixture.ctx));
	trial->scenario->run(&fixture);
	assert_ok(vfb_ctx_destroy(fixture.ctx));
	if (machine_end(text, sizeof(text)))
		fail_msg("left behind:\n%s", text);
}

static void run_trial(void **state)
{
	const struct trial *trial = *state;
	double begin = seconds();
	int status = -1;
	pid_t child;

	machine_before(&trial->limits);
	fflush(NULL);
	child = fork();
	if (!child) {
		/* A failed assertion ends the child instead of returning to its copy of the
		 * loop over all tests. */
		setenv("CMOCKA_TEST_ABORT", "1", 1);
		run_scenario(trial);
		exit(0);
	}
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	machine_after();
	if (seconds() - begin > 1)
		print_message("%24.1f s\n", seconds() - begin);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail_msg("%s failed (status 0x%x)", trial->name, status);
}

static size_t add_trial(struct trial *trials, size_t count, const struct scenario *scenario,
			const struct way *way)
{
	struct trial *trial = &trials[count];

	trial->scenario = scenario;
	trial->way = way;
	trial->limits = scenario->limits;
	trial->limits.no_nodes = way->by_group;
	snprintf(trial->name, sizeof(trial->name), "%s: %s", way->name, scenario->name);
	return count + 1;
}

static size_t add_way(struct trial *trials, size_t count, const struct way *way)
{
	if ((way->backend == VFB_BACKEND_SPAPR) != machine.is_spapr)
		return count;
	if (way->backend == VFB_BACKEND_IOMMUFD && machine.no_iommufd[0])
		return way->by_group ? count : add_trial(trials, count, &missing, way);
	for (size_t i = 0; i < way->subject_count; i++)
		for (const struct scenario *s = way->subjects[i]; s->name; s++)
			if ((!s->only || s->only == way->backend) &&
			    !(s->counts_aliases && machine.is_spapr) &&
			    !(s->needs & machine.lacks) &&
			    (!s->no_space || way == &ways[0] || machine.is_spapr))
				count = add_trial(trials, count, s, way);
	return count;
}

static const struct {
	unsigned int lacks;
	const char *text;
} reasons[] = {
	{MACHINE_BRIDGE, "devices below one bridge: the driver of SMMUv3 takes one device for each "
			 "stream ID, and on sPAPR all devices of a host bridge are one group"},
	{MACHINE_BUSES, "resets of buses: the devices are on the root bus"},
	{MACHINE_GROUPS, "devices of several groups: the machine has one"},
	{MACHINE_FUNCTIONS, "devices of several functions: the machine has none"},
	{MACHINE_VFS, "virtual functions: the machine has none"},
	{MACHINE_MIXED, "a group that is not viable: the machine has none"},
	{MACHINE_THP, "transparent huge pages of 2 MiB: the machine's are larger"},
	{MACHINE_SMALL_PAGES, "BARs that are mapped: they are smaller than a page"},
};

int main(int argc, char **argv)
{
	static struct trial trials[512];
	static struct CMUnitTest tests[COUNT(trials)];
	size_t count = 0;
	double begin = seconds();
	int failed;

	if (argc > 1 && !strcmp(argv[1], "-k")) {
		with_filters = true;
		argc--;
		argv++;
	}
	if (argc > 2 && !strcmp(argv[1], "-f")) {
		cmocka_set_test_filter(argv[2]);
		argc -= 2;
		argv += 2;
	}
	if (!machine_describe(&machine, argc - 1, argv + 1))
		return 1;
	if (with_filters && !machine.has_filters) {
		print_message("%s: there are no system calls to filter\n", machine.name);
		return 2;
	}
	print_message("%s: %zu devices, %u nodes\n", machine.name, machine.device_count,
		      machine.nodes);
	if (machine.no_iommufd[0])
		print_message("no scenarios over iommufd: %s\n", machine.no_iommufd);
	if (machine.is_spapr)
		scenario_iova += UINT64_C(1) << 59;
	for (size_t i = 0; i < COUNT(reasons); i++)
		if (machine.lacks & reasons[i].lacks)
			print_message("no scenarios with %s\n", reasons[i].text);
	for (size_t i = 0; i < COUNT(ways); i++)
		count = add_way(trials, count, &ways[i]);
	for (size_t i = 0; i < count; i++) {
		tests[i].name = trials[i].name;
		tests[i].test_func = run_trial;
		tests[i].initial_state = &trials[i];
	}
	failed = _cmocka_run_group_tests("scenarios", tests, count, NULL, NULL);
	print_message("%.1f s\n", seconds() - begin);
	return failed ? 1 : 0;
}
