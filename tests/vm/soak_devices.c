/* SPDX-License-Identifier: MIT */
/*
 * Opens and closes all devices of $VFIO_DEVICES again and again on the running kernel, with faults
 * at random in between: a device that is busy, a batch that is cancelled, a close during a map, a
 * process that is killed. After each cycle the process has the descriptors, threads, children and
 * pinned memory that it had after the first.
 * Arguments: type1 or iommufd, how many cycles, and a number that chooses the faults.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <vfioboost.h>

#include "proc.h"

#define MAX_DEVICES 32
#define BYTES	    (UINT64_C(32) << 20)
#define IOVA	    (UINT64_C(4) << 30)
#define MS	    UINT64_C(1000000)

struct soak {
	struct vfb_ctx *ctx;
	struct vfb_space *space, *other;
	enum vfb_backend backend;
	char names[MAX_DEVICES][16];
	size_t count;
	unsigned int seed;
	/* The longest opening and closing without a fault, in seconds. */
	double longest_open, longest_close;
};

/* What the process holds. */
struct held {
	long fds, threads, pinned_kib, locked_kib;
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}

static int fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, vfb_last_error());
	return -1;
}

static unsigned int below(struct soak *soak, unsigned int limit)
{
	return rand_r(&soak->seed) % limit;
}

static int open_into(struct soak *soak, struct vfb_space *space, struct vfb_device **devices)
{
	struct vfb_device_request requests[MAX_DEVICES] = {0};
	int error;

	for (size_t i = 0; i < soak->count; i++)
		requests[i].address = soak->names[i];
	error = vfb_devices_open(space, requests, soak->count, NULL);
	for (size_t i = 0; i < soak->count; i++)
		devices[i] = requests[i].device;
	return error;
}

static void note_longest(double *longest, double begin)
{
	double seconds = now() - begin;

	if (seconds > *longest)
		*longest = seconds;
}

/* ---- A cycle, of each kind ---- */

/* What closing has to undo: mapped regions, and interrupts. */
static int use(struct vfb_device **devices, size_t count)
{
	int vectors[2], error = 0;
	void *registers;

	vectors[0] = vectors[1] = eventfd(0, EFD_CLOEXEC);
	for (size_t i = 0; i < count && !error; i++) {
		error = vfb_region_map(devices[i], 0, NULL, &registers);
		if (!error)
			error = vfb_irq_enable(devices[i], VFB_IRQ_MSIX, 0, vectors, 2);
	}
	close(vectors[0]);
	return error;
}

static int open_and_close(struct soak *soak)
{
	struct vfb_device *devices[MAX_DEVICES];
	double begin = now();

	if (open_into(soak, soak->space, devices))
		return fail("opening");
	note_longest(&soak->longest_open, begin);
	if (use(devices, soak->count))
		return fail("using them");
	begin = now();
	if (vfb_devices_close(devices, soak->count, NULL))
		return fail("closing");
	note_longest(&soak->longest_close, begin);
	return 0;
}

/* One of them is in another space: none is opened, and that one still works. */
static int busy(struct soak *soak)
{
	unsigned int number = below(soak, soak->count);
	struct vfb_device *devices[MAX_DEVICES], *held;
	uint16_t vendor = 0;
	int error;

	if (vfb_device_open(soak->other, soak->names[number], &held))
		return fail("opening one");
	error = open_into(soak, soak->space, devices);
	if (error != -EBUSY) {
		fprintf(stderr, "opening what is busy gives %d\n", error);
		return -1;
	}
	if (vfb_region_read(held, VFB_REGION_CONFIG, 0, &vendor, sizeof(vendor)) ||
	    vendor == 0xffff)
		return fail("reading from the busy device");
	vfb_device_close(held);
	return 0;
}

/* Opening ends somewhere on its way: with all of them, or with none. */
static int cancelled(struct soak *soak)
{
	struct vfb_device_request requests[MAX_DEVICES] = {0};
	struct vfb_device *devices[MAX_DEVICES];
	struct vfb_job *job;
	int error;

	for (size_t i = 0; i < soak->count; i++)
		requests[i].address = soak->names[i];
	if (vfb_devices_open_start(soak->space, requests, soak->count, NULL, &job))
		return fail("starting to open");
	vfb_job_wait(job, below(soak, 200) * MS);
	vfb_job_cancel(job);
	error = vfb_job_wait(job, UINT64_MAX);
	vfb_job_destroy(job);
	for (size_t i = 0; i < soak->count; i++) {
		devices[i] = requests[i].device;
		if (!devices[i] != !!error) {
			fprintf(stderr, "opening gives %d, and is half done\n", error);
			return -1;
		}
	}
	if (error && error != -ECANCELED)
		return fail("a cancelled opening");
	if (vfb_devices_close(devices, soak->count, NULL))
		return fail("closing after a cancel");
	return 0;
}

/* The devices go while memory is populated and mapped for them. */
static int close_during_map(struct soak *soak)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_range range = {.bytes = BYTES, .iova = IOVA};
	struct vfb_device *devices[MAX_DEVICES];
	struct vfb_job *map, *close;
	int error;

	opts.bytes = BYTES;
	opts.page_size = VFB_PAGE_4K;
	if (vfb_memory_create(soak->ctx, &opts, &range.memory) ||
	    open_into(soak, soak->space, devices))
		return fail("opening");
	if (vfb_space_map_start(soak->space, &range, 1, NULL, &map))
		return fail("starting to map");
	vfb_job_wait(map, below(soak, 200) * MS);
	if (vfb_devices_close_start(devices, soak->count, NULL, &close))
		return fail("starting to close");
	error = vfb_job_wait(map, UINT64_MAX);
	if (vfb_job_wait(close, UINT64_MAX))
		return fail("closing during a map");
	vfb_job_destroy(map);
	vfb_job_destroy(close);
	if (error)
		return fail("mapping during a close");
	if (vfb_space_unmap_all(soak->space) || vfb_memory_destroy(range.memory))
		return fail("unmapping");
	return 0;
}

/* In the process that will be killed. */
static void hold(struct soak *soak, int report)
{
	struct vfb_space_opts space_opts = VFB_SPACE_OPTS_INIT;
	struct vfb_reaper_opts opts = VFB_REAPER_OPTS_INIT;
	struct vfb_device *devices[MAX_DEVICES];
	struct vfb_reaper *reaper;

	space_opts.backend = soak->backend;
	opts.program = REAPER;
	opts.report_fd = report;
	opts.flags = VFB_REAPER_HAS_REPORT_FD;
	if (vfb_ctx_create(NULL, &soak->ctx) ||
	    vfb_space_create(soak->ctx, &space_opts, &soak->space) ||
	    open_into(soak, soak->space, devices) ||
	    vfb_reaper_start(devices, soak->count, &opts, &reaper))
		_exit(-fail("the process that is to be killed"));
	if (write(report, "ready\n", 6) != 6)
		_exit(1);
	for (;;)
		pause();
}

/* A process is killed on its way to open the devices, or when it has a reaper; the devices are free
 * when nobody has the other end of the pipe any more. */
static int killed(struct soak *soak)
{
	bool early = below(soak, 2);
	struct pollfd ready = {.events = POLLIN};
	int ends[2], status;
	char text[512];
	pid_t child;

	if (pipe(ends)) {
		perror("pipe");
		return -1;
	}
	child = fork();
	if (!child) {
		close(ends[0]);
		hold(soak, ends[1]);
	}
	close(ends[1]);
	ready.fd = ends[0];
	poll(&ready, 1, early ? below(soak, 300) : 60000);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	while (read(ends[0], text, sizeof(text)) > 0)
		;
	close(ends[0]);
	if (WIFSIGNALED(status))
		return 0;
	fprintf(stderr, "the process to be killed has ended with status %#x\n", status);
	return -1;
}

static const struct kind {
	const char *name;
	int (*run)(struct soak *soak);
	/* Of 20 cycles. */
	unsigned int share;
} kinds[] = {
	{"open and close", open_and_close, 12},
	{"a busy device", busy, 2},
	{"cancelled", cancelled, 2},
	{"closed during a map", close_during_map, 2},
	{"killed", killed, 2},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static size_t choose_kind(struct soak *soak)
{
	unsigned int number = below(soak, 20);
	size_t kind = 0;

	while (number >= kinds[kind].share)
		number -= kinds[kind++].share;
	return kind;
}

/* ---- What is left ---- */

static struct held look(void)
{
	return (struct held){
		.fds = proc_entries("/proc/self/fd"),
		.threads = proc_entries("/proc/self/task"),
		.pinned_kib = proc_number("/proc/self/status", "VmPin:"),
		.locked_kib = proc_number("/proc/self/status", "VmLck:"),
	};
}

static int compare(const struct held *before, const struct held *after)
{
	if (!memcmp(before, after, sizeof(*before)) && waitpid(-1, NULL, WNOHANG) < 0)
		return 0;
	fprintf(stderr,
		"left behind: descriptors %ld -> %ld, threads %ld -> %ld, pinned %ld -> %ld kB, "
		"locked %ld -> %ld kB, or a child\n",
		before->fds, after->fds, before->threads, after->threads, before->pinned_kib,
		after->pinned_kib, before->locked_kib, after->locked_kib);
	return -1;
}

/* ---- All of it ---- */

static int begin(struct soak *soak)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;

	opts.backend = soak->backend;
	if (vfb_ctx_create(NULL, &soak->ctx) || vfb_space_create(soak->ctx, &opts, &soak->space) ||
	    vfb_space_create(soak->ctx, &opts, &soak->other))
		return fail("setting up");
	return 0;
}

static int end(struct soak *soak)
{
	if (vfb_space_destroy(soak->space) || vfb_space_destroy(soak->other) ||
	    vfb_ctx_destroy(soak->ctx))
		return fail("destroying");
	return 0;
}

static int run_cycles(struct soak *soak, unsigned long cycles)
{
	unsigned long done[KINDS] = {0};
	struct held first;

	for (unsigned long cycle = 0; cycle < cycles; cycle++) {
		/* Threads start with the first opening. */
		size_t kind = cycle ? choose_kind(soak) : 0;
		struct held held;

		if (kinds[kind].run(soak)) {
			fprintf(stderr, "cycle %lu (%s) failed\n", cycle, kinds[kind].name);
			return -1;
		}
		done[kind]++;
		held = look();
		if (!cycle)
			first = held;
		if (compare(&first, &held)) {
			fprintf(stderr, "after cycle %lu (%s)\n", cycle, kinds[kind].name);
			return -1;
		}
	}
	for (size_t kind = 0; kind < KINDS; kind++)
		printf("%-20s %4lu cycles\n", kinds[kind].name, done[kind]);
	return 0;
}

static int read_arguments(int argc, char **argv, struct soak *soak, unsigned long *cycles)
{
	char *listed = getenv("VFIO_DEVICES"), *name;

	if (argc != 4 || !listed)
		return -1;
	soak->backend = strcmp(argv[1], "type1") ? VFB_BACKEND_IOMMUFD : VFB_BACKEND_TYPE1;
	*cycles = strtoul(argv[2], NULL, 10);
	soak->seed = strtoul(argv[3], NULL, 10);
	while ((name = strsep(&listed, " ")) && soak->count < MAX_DEVICES)
		snprintf(soak->names[soak->count++], sizeof(soak->names[0]), "%s", name);
	return 0;
}

int main(int argc, char **argv)
{
	struct held before = look(), after;
	struct soak soak = {0};
	unsigned long cycles;
	double started = now();

	if (read_arguments(argc, argv, &soak, &cycles)) {
		fprintf(stderr, "usage: soak_devices type1|iommufd CYCLES SEED, with "
				"$VFIO_DEVICES\n");
		return 2;
	}
	if (begin(&soak) || run_cycles(&soak, cycles) || end(&soak))
		return 1;
	after = look();
	printf("%zu devices, %.1f s; at most %.3f s to open, %.3f s to close\n", soak.count,
	       now() - started, soak.longest_open, soak.longest_close);
	printf("descriptors %ld before, %ld after; threads %ld before, %ld after\n", before.fds,
	       after.fds, before.threads, after.threads);
	return compare(&before, &after) ? 1 : 0;
}
