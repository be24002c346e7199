/* SPDX-License-Identifier: MIT */
/*
 * Runs the scenarios for each backend that the kernel has. Each one is a process of its own, so
 * that what one leaves behind, or a crash, does not disturb the others.
 *
 * Arguments: -f PATTERN runs only those whose name matches ("type1: *"); others are the machine's.
 */
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "scenario.h"

static const struct scenario *const subjects[] = {
	adopt_scenarios,   adopt_device_scenarios, start_scenarios,  device_scenarios,
	region_scenarios,  reset_scenarios,	   unplug_scenarios, dma_scenarios,
	iova_scenarios,	   batch_scenarios,	   memory_scenarios, placement_scenarios,
	doctor_scenarios,  event_scenarios,	   limit_scenarios,  type1_scenarios,
	iommufd_scenarios,
};

static struct machine machine;

/* A scenario over a backend: a test. */
struct trial {
	const struct scenario *scenario;
	enum vfb_backend backend;
	char name[96];
};

static void missing_backend(struct fixture *f)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_space *space;

	opts.backend = f->backend;
	assert_error(vfb_space_create(f->ctx, &opts, &space), -ENOTSUP);
	assert_null(space);
	assert_says("iommufd needs");
	assert_says("CONFIG_VFIO_DEVICE_CDEV");
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
	struct fixture fixture = {.machine = &machine, .backend = trial->backend};
	char text[4096];

	machine_begin(&trial->scenario->limits);
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

	machine_before(&trial->scenario->limits);
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
			enum vfb_backend backend)
{
	trials[count].scenario = scenario;
	trials[count].backend = backend;
	snprintf(trials[count].name, sizeof(trials[count].name), "%s: %s",
		 backend == VFB_BACKEND_TYPE1 ? "type1" : "iommufd", scenario->name);
	return count + 1;
}

static size_t add_backend(struct trial *trials, size_t count, enum vfb_backend backend)
{
	if (backend == VFB_BACKEND_IOMMUFD && machine.no_iommufd[0])
		return add_trial(trials, count, &missing, backend);
	for (size_t i = 0; i < COUNT(subjects); i++)
		for (const struct scenario *s = subjects[i]; s->name; s++)
			if (!s->only || s->only == backend)
				count = add_trial(trials, count, s, backend);
	return count;
}

int main(int argc, char **argv)
{
	static struct trial trials[512];
	static struct CMUnitTest tests[COUNT(trials)];
	size_t count = 0;
	double begin = seconds();
	int failed;

	if (argc > 2 && !strcmp(argv[1], "-f")) {
		cmocka_set_test_filter(argv[2]);
		argc -= 2;
		argv += 2;
	}
	if (!machine_describe(&machine, argc - 1, argv + 1))
		return 1;
	print_message("%s: %zu devices, %u nodes\n", machine.name, machine.device_count,
		      machine.nodes);
	if (machine.no_iommufd[0])
		print_message("no scenarios over iommufd: %s\n", machine.no_iommufd);
	count = add_backend(trials, count, VFB_BACKEND_TYPE1);
	count = add_backend(trials, count, VFB_BACKEND_IOMMUFD);
	for (size_t i = 0; i < count; i++) {
		tests[i].name = trials[i].name;
		tests[i].test_func = run_trial;
		tests[i].initial_state = &trials[i];
	}
	failed = _cmocka_run_group_tests("scenarios", tests, count, NULL, NULL);
	print_message("%.1f s\n", seconds() - begin);
	return failed ? 1 : 0;
}
