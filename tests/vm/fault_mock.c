/* SPDX-License-Identifier: MIT */
/*
 * Faults of the kernel's mock device (CONFIG_IOMMUFD_TEST), since QEMU has no device that faults:
 * each is raised by a call, and what the device is answered is counted by a probe in the kernel.
 * Without arguments tests the handler. With "figures" compares it with a bare handler.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <vfioboost.h>

#include "mock.h"

#define MIB	UINT64_C(1048576)
#define TRACING "/sys/kernel/tracing/"
#define BOTH	(VFB_IOMMU_PGFAULT_PERM_READ | VFB_IOMMU_PGFAULT_PERM_WRITE)

/* A mock device with a queue of faults, which the library handles. */
struct bed {
	struct mock mock;
	int faults;
	uint32_t queue;
	struct vfb_ctx *ctx;
	struct vfb_space *space;
	struct vfb_memory *memory;
	struct vfb_range range;
	struct vfb_subscription *subscription;
	sem_t handled;
};

static void check_at(bool ok, const char *text, int line)
{
	if (ok)
		return;
	fprintf(stderr, "fault_mock: line %d: %s: %s; %s\n", line, text, strerror(errno),
		vfb_last_error());
	exit(1);
}
#define check(condition) check_at(condition, #condition, __LINE__)

static double now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

/* ---- What the device is answered ---- */

static bool put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY | O_APPEND);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

static void count_answers(void)
{
	mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL);
	check(put(TRACING "kprobe_events", "p:vfbanswer iopf_group_response status=%si:u32\n") &&
	      put(TRACING "events/kprobes/vfbanswer/enable", "1"));
}

/* Since the last call: how many were a success, and how many a failure. */
static void read_answers(unsigned int answers[2])
{
	FILE *file = fopen(TRACING "trace", "r");
	char line[512], *status;

	answers[0] = answers[1] = 0;
	check(file);
	while (fgets(line, sizeof(line), file)) {
		status = strstr(line, "status=");
		if (status && line[0] != '#')
			answers[strtoul(status + 7, NULL, 0) != 0]++;
	}
	fclose(file);
	close(open(TRACING "trace", O_WRONLY | O_TRUNC));
}

static void expect_answers(unsigned int success, unsigned int failure)
{
	unsigned int answers[2], sum[2] = {0, 0};

	for (int tries = 0; tries < 600; tries++) {
		read_answers(answers);
		sum[0] += answers[0];
		sum[1] += answers[1];
		if (sum[0] + sum[1] >= success + failure)
			break;
		usleep(50000);
	}
	if (sum[0] == success && sum[1] == failure)
		return;
	fprintf(stderr, "fault_mock: %u faults succeeded and %u failed, not %u and %u\n", sum[0],
		sum[1], success, failure);
	exit(1);
}

/* ---- The bed ---- */

static void raise_fault(const struct mock *mock, uint64_t iova, uint32_t group)
{
	struct mock_call call = {
		.size = sizeof(call),
		.op = MOCK_FAULT,
		.fault = {.id = mock->device, .group = group, .perm = BOTH, .iova = iova}};

	check(!ioctl(mock->iommufd, MOCK_CALL, &call));
}

static void make_queue(struct mock *mock, int *faults, uint32_t *queue)
{
	struct vfb_iommu_fault_alloc alloc = {.size = sizeof(alloc)};
	int fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	const char *what;

	check(fd >= 0);
	check(!ioctl(fd, VFB_IOMMU_FAULT_QUEUE_ALLOC, &alloc));
	*faults = (int)alloc.out_fault_fd;
	*queue = alloc.out_fault_id;
	check(!mock_make(mock, fd, VFB_IOMMU_HWPT_FAULT_ID_VALID, alloc.out_fault_id, &what));
}

static void count_event(const struct vfb_event *event, void *data)
{
	(void)event;
	sem_post(data);
}

static void add_space(struct bed *bed, uint64_t bytes, uint32_t window, uint32_t ahead)
{
	struct vfb_filter filter = VFB_FILTER_INIT;
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_memory_opts memory = VFB_MEMORY_OPTS_INIT;

	check(!vfb_ctx_create(NULL, &bed->ctx));
	opts.fault_fd = bed->faults;
	opts.fault_ahead = ahead;
	check(!vfb_space_adopt(bed->ctx, bed->mock.iommufd, bed->mock.ioas, &opts, &bed->space));
	memory.bytes = bytes;
	memory.page_size = VFB_PAGE_4K;
	check(!vfb_memory_create(bed->ctx, &memory, &bed->memory));
	bed->range = (struct vfb_range){.memory = bed->memory,
					.bytes = bytes,
					.iova = MOCK_BASE,
					.flags = VFB_RANGE_ON_DEMAND,
					.window_bytes = window};
	check(!vfb_space_map(bed->space, &bed->range, 1, NULL));
	sem_init(&bed->handled, 0, 0);
	filter.phases = VFB_PHASE_BIT(VFB_PHASE_FAULT);
	check(!vfb_subscribe(bed->ctx, &filter, count_event, &bed->handled, &bed->subscription));
}

static void make_bed(struct bed *bed, uint64_t bytes, uint32_t window, uint32_t ahead)
{
	make_queue(&bed->mock, &bed->faults, &bed->queue);
	add_space(bed, bytes, window, ahead);
}

static void free_bed(struct bed *bed)
{
	check(!vfb_space_unmap(bed->space, &bed->range, 1, NULL));
	check(!vfb_space_destroy(bed->space));
	check(!vfb_memory_destroy(bed->memory));
	vfb_unsubscribe(bed->subscription);
	vfb_ctx_destroy(bed->ctx);
	sem_destroy(&bed->handled);
	close(bed->faults);
	close(bed->mock.iommufd);
}

static struct vfb_on_demand_info info_of(struct bed *bed)
{
	struct vfb_on_demand_info info = VFB_ON_DEMAND_INFO_INIT;

	check(!vfb_space_on_demand_info(bed->space, &info));
	return info;
}

static void *address_of(const struct bed *bed)
{
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;

	check(!vfb_memory_info(bed->memory, &info));
	return info.address;
}

/* Whether the domain has the right pages there. */
static bool is_mapped(const struct bed *bed, uint64_t offset)
{
	struct mock_call call = {.size = sizeof(call),
				 .op = MOCK_CHECK,
				 .id = bed->mock.domain,
				 .check = {.iova = MOCK_BASE + offset, .bytes = 4096}};

	call.check.address = (uintptr_t)address_of(bed) + offset;
	return !ioctl(bed->mock.iommufd, MOCK_CALL, &call);
}

static void wait_handled(struct bed *bed)
{
	while (sem_wait(&bed->handled))
		check(errno == EINTR);
}

/* The device accesses a page: returns whether it has faulted. */
static bool access_page(struct bed *bed, uint64_t offset)
{
	if (is_mapped(bed, offset))
		return false;
	raise_fault(&bed->mock, MOCK_BASE + offset, 1);
	wait_handled(bed);
	check(is_mapped(bed, offset));
	return true;
}

/* ---- Tests ---- */

/* The device writes to each page of 16 MiB: with windows of 64 KiB and 2 MiB, and ahead. */
static void test_windows(void)
{
	static const struct {
		uint32_t window, ahead;
	} ways[] = {{65536, 0}, {2 * MIB, 0}, {65536, 32}, {4096, 32}};

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		uint64_t bytes = 16 * MIB, windows = bytes / ways[i].window;
		unsigned int faults = 0;
		struct bed bed;

		make_bed(&bed, bytes, ways[i].window, ways[i].ahead);
		for (uint64_t offset = 0; offset < bytes; offset += 4096)
			faults += access_page(&bed, offset);
		printf("%ju MiB, windows of %ju KiB, %u ahead: %u faults, %ju mapped\n",
		       (uintmax_t)(bytes / MIB), (uintmax_t)ways[i].window / 1024, ways[i].ahead,
		       faults, (uintmax_t)info_of(&bed).mapped);
		check(ways[i].ahead ? faults <= windows / 8 : faults == windows);
		check(info_of(&bed).faults == faults && info_of(&bed).mapped == windows);
		expect_answers(faults, 0);
		/* Evicted, it faults again. */
		check(!vfb_space_trim(bed.space, 0) && access_page(&bed, 0));
		free_bed(&bed);
		expect_answers(1, 0);
	}
}

struct trigger {
	struct bed *bed;
	unsigned int number;
};

static void *trigger_run(void *arg)
{
	const struct trigger *trigger = arg;

	raise_fault(&trigger->bed->mock, MOCK_BASE + trigger->number * 4096, trigger->number);
	return NULL;
}

static void test_coalesced(void)
{
	struct trigger triggers[16];
	pthread_t threads[16];
	struct vfb_on_demand_info info;
	struct bed bed;

	make_bed(&bed, 16 * MIB, 2 * MIB, 0);
	for (unsigned int i = 0; i < 16; i++) {
		triggers[i] = (struct trigger){&bed, i};
		check(!pthread_create(&threads[i], NULL, trigger_run, &triggers[i]));
	}
	for (unsigned int i = 0; i < 16; i++)
		pthread_join(threads[i], NULL);
	expect_answers(16, 0);
	info = info_of(&bed);
	check(info.faults == 16 && info.mapped == 1);
	check(info.faults_coalesced + info.faults_spurious == 15);
	printf("16 faults at one window: %ju mapped, %ju coalesced, %ju spurious\n",
	       (uintmax_t)info.mapped, (uintmax_t)info.faults_coalesced,
	       (uintmax_t)info.faults_spurious);
	free_bed(&bed);
}

static void test_denied(void)
{
	struct bed bed;

	make_bed(&bed, 4 * MIB, 65536, 0);
	raise_fault(&bed.mock, MOCK_BASE + 4 * MIB, 1);
	wait_handled(&bed);
	raise_fault(&bed.mock, 0, 1);
	wait_handled(&bed);
	expect_answers(0, 2);
	check(info_of(&bed).faults_denied == 2 && access_page(&bed, 0));
	expect_answers(1, 0);
	free_bed(&bed);
	puts("what is not mapped on demand is denied");
}

/* A process that handles faults, and is killed while most of 64 of them are pending. */
static void handle_and_wait(struct bed *bed, int ready)
{
	if (bed->mock.iommufd < 0)
		make_queue(&bed->mock, &bed->faults, &bed->queue);
	add_space(bed, 64 * 2 * MIB, 2 * MIB, 0);
	for (unsigned int i = 0; i < 64; i++)
		raise_fault(&bed->mock, MOCK_BASE + i * 2 * MIB, i);
	check(write(ready, "", 1) == 1);
	for (;;)
		pause();
}

static double kill_handler(struct bed *bed)
{
	int ends[2];
	double began;
	pid_t child;
	char byte;

	check(!pipe(ends));
	child = fork();
	check(child >= 0);
	if (!child)
		handle_and_wait(bed, ends[1]);
	check(read(ends[0], &byte, 1) == 1);
	check(!kill(child, SIGKILL));
	began = now_us();
	check(waitpid(child, NULL, 0) == child);
	close(ends[0]);
	close(ends[1]);
	return now_us() - began;
}

static void expect_all_answered(const char *who, double us)
{
	unsigned int answers[2], sum[2] = {0, 0};

	for (int tries = 0; tries < 200 && sum[0] + sum[1] < 64; tries++) {
		read_answers(answers);
		sum[0] += answers[0];
		sum[1] += answers[1];
		if (sum[0] + sum[1] < 64)
			usleep(50000);
	}
	printf("%s: ended after %.0f ms, %u faults had been handled, %u failed\n", who, us / 1e3,
	       sum[0], sum[1]);
	check(sum[0] + sum[1] == 64 && sum[1] > 0);
}

static void test_killed(void)
{
	struct bed bed = {.mock.iommufd = -1};
	struct vfb_iommu_destroy destroy = {.size = sizeof(destroy)};
	double us = kill_handler(&bed);

	expect_all_answered("killed, the only owner", us);
	/* A parent that keeps the files detaches the device. */
	make_queue(&bed.mock, &bed.faults, &bed.queue);
	us = kill_handler(&bed);
	destroy.id = bed.mock.attachment;
	check(!ioctl(bed.mock.iommufd, VFB_IOMMU_DESTROY, &destroy));
	expect_all_answered("killed, and the parent has detached the device", us);
	close(bed.faults);
	close(bed.mock.iommufd);
}

/* Warnings of the kernel since @file was opened. */
static void check_messages(int file)
{
	static const char *const bad[] = {"WARNING", "BUG", "Oops", "blocked for more", "stall"};
	static char message[8192];
	ssize_t length;

	while ((length = read(file, message, sizeof(message) - 1)) > 0) {
		message[length] = '\0';
		for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			if (!strstr(message, bad[i]))
				continue;
			fprintf(stderr, "fault_mock: the kernel says: %s\n", message);
			exit(1);
		}
	}
	close(file);
}

/* ---- Figures ---- */

#define FIGURES 32

/* The least that a handler can do: one thread, which maps the window and answers. */
struct bare {
	struct mock mock;
	int faults;
	uint32_t queue;
	char *memory;
	sem_t handled;
	pthread_t thread;
};

static int map_bare(const struct mock *mock, char *address, uint64_t iova)
{
	struct vfb_iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = VFB_IOMMU_IOAS_MAP_FIXED_IOVA | VFB_IOMMU_IOAS_MAP_READABLE |
			 VFB_IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = mock->ioas,
		.user_va = (uintptr_t)address,
		.length = 2 * MIB,
		.iova = iova,
	};

	return ioctl(mock->iommufd, VFB_IOMMU_IOAS_MAP, &map);
}

static void *bare_run(void *arg)
{
	struct bare *bare = arg;

	for (unsigned int i = 0; i < FIGURES; i++) {
		struct pollfd ready = {.fd = bare->faults, .events = POLLIN};
		struct vfb_iommu_hwpt_page_response answer = {0};
		struct vfb_iommu_hwpt_pgfault fault;

		check(poll(&ready, 1, -1) == 1);
		check(read(bare->faults, &fault, sizeof(fault)) == sizeof(fault));
		check(!map_bare(&bare->mock, bare->memory + (fault.addr - MOCK_BASE), fault.addr));
		answer.cookie = fault.cookie;
		check(write(bare->faults, &answer, sizeof(answer)) == sizeof(answer));
		sem_post(&bare->handled);
	}
	return NULL;
}

static char *map_memory(uint64_t bytes)
{
	char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			    0);

	check(memory != MAP_FAILED && !madvise(memory, bytes, MADV_NOHUGEPAGE));
	return memory;
}

static int by_value(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static double median(double *values)
{
	qsort(values, FIGURES, sizeof(*values), by_value);
	return values[FIGURES / 2];
}

/* From raising a fault to its answer; the bare map alone; all in turn. */
static void compare(bool populated)
{
	uint64_t bytes = FIGURES * 2 * MIB;
	double library[FIGURES], bare_handler[FIGURES], map[FIGURES], began, of[3];
	struct bare bare;
	struct bed bed;
	char *memory = map_memory(bytes);

	make_bed(&bed, bytes, 2 * MIB, 0);
	make_queue(&bare.mock, &bare.faults, &bare.queue);
	bare.memory = map_memory(bytes);
	if (populated) {
		memset(memory, 1, bytes);
		memset(bare.memory, 1, bytes);
		memset(address_of(&bed), 1, bytes);
	}
	sem_init(&bare.handled, 0, 0);
	check(!pthread_create(&bare.thread, NULL, bare_run, &bare));
	for (unsigned int i = 0; i < FIGURES; i++) {
		uint64_t iova = MOCK_BASE + i * 2 * MIB;

		began = now_us();
		raise_fault(&bed.mock, iova, 1);
		wait_handled(&bed);
		library[i] = now_us() - began;
		began = now_us();
		raise_fault(&bare.mock, iova, 1);
		while (sem_wait(&bare.handled))
			check(errno == EINTR);
		bare_handler[i] = now_us() - began;
		began = now_us();
		check(!map_bare(&bare.mock, memory + i * 2 * MIB, iova + bytes));
		map[i] = now_us() - began;
	}
	pthread_join(bare.thread, NULL);
	of[0] = median(library);
	of[1] = median(bare_handler);
	of[2] = median(map);
	printf("2 MiB of 4K pages, %s, medians: library %.0f us, bare handler %.0f us (x%.2f, %+.0f "
	       "us), bare map %.0f us (x%.2f, %+.0f us); read to answer %.0f us, p99 %.0f us\n",
	       populated ? "populated" : "not populated", of[0], of[1], of[0] / of[1],
	       of[0] - of[1], of[2], of[0] / of[2], of[0] - of[2],
	       info_of(&bed).fault_median_ns / 1e3, info_of(&bed).fault_p99_ns / 1e3);
	free_bed(&bed);
	close(bare.faults);
	close(bare.mock.iommufd);
	munmap(memory, bytes);
	munmap(bare.memory, bytes);
}

int main(int argc, char **argv)
{
	int messages = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	check(messages >= 0);
	lseek(messages, 0, SEEK_END);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1 && !strcmp(argv[1], "figures")) {
		for (int round = 0; round < 3; round++) {
			compare(false);
			compare(true);
		}
		return 0;
	}
	count_answers();
	test_windows();
	test_coalesced();
	test_denied();
	test_killed();
	check_messages(messages);
	puts("all faults of the mock device were answered");
	return 0;
}
