/* SPDX-License-Identifier: MIT */
/*
 * Faults of the kernel's mock device (CONFIG_IOMMUFD_TEST), since QEMU has no device that faults:
 * each is raised by a call, and what the device is answered is counted by a probe in the kernel.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault_bed.h"

#define TRACING "/sys/kernel/tracing/"

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

/* How many were a success and a failure so far. */
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
}

/* Waits for @count answers since the last call, for as long as a busy machine needs. */
static void wait_answers(unsigned int count, unsigned int answers[2])
{
	static unsigned int before[2];
	unsigned int now[2];

	for (int tries = 0; tries < 1200; tries++) {
		read_answers(now);
		if (now[0] + now[1] >= before[0] + before[1] + count)
			break;
		usleep(50000);
	}
	for (int i = 0; i < 2; i++) {
		answers[i] = now[i] - before[i];
		before[i] = now[i];
	}
}

static void expect_answers(unsigned int success, unsigned int failure)
{
	unsigned int answers[2];

	wait_answers(success + failure, answers);
	if (answers[0] == success && answers[1] == failure)
		return;
	fprintf(stderr, "fault_mock: %u faults succeeded and %u failed, not %u and %u\n",
		answers[0], answers[1], success, failure);
	exit(1);
}

static void make_bed(struct bed *bed, uint64_t bytes, uint32_t window, uint32_t ahead)
{
	bed_make_queue(&bed->mock, &bed->faults, &bed->queue);
	bed_add_space(bed, bytes, window, ahead, 0);
}

/* Whether the domain has the right pages there. */
static bool is_mapped(const struct bed *bed, uint64_t offset)
{
	struct mock_call call = {.size = sizeof(call),
				 .op = MOCK_CHECK,
				 .id = bed->mock.domain,
				 .check = {.iova = MOCK_BASE + offset, .bytes = 4096}};

	call.check.address = (uintptr_t)bed_address(bed) + offset;
	return !ioctl(bed->mock.iommufd, MOCK_CALL, &call);
}

/* The device accesses a page: returns whether it has faulted. */
static bool access_page(struct bed *bed, uint64_t offset)
{
	if (is_mapped(bed, offset))
		return false;
	bed_raise_fault(&bed->mock, MOCK_BASE + offset, 1);
	bed_wait_handled(bed);
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
		       faults, (uintmax_t)bed_info(&bed).mapped);
		check(ways[i].ahead ? faults <= windows / 8 : faults == windows);
		check(bed_info(&bed).faults == faults && bed_info(&bed).mapped == windows);
		expect_answers(faults, 0);
		/* Evicted, it faults again. */
		check(!vfb_space_trim(bed.space, 0) && access_page(&bed, 0));
		bed_free(&bed);
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

	bed_raise_fault(&trigger->bed->mock, MOCK_BASE + trigger->number * 4096, trigger->number);
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
	info = bed_info(&bed);
	check(info.faults == 16 && info.mapped == 1);
	check(info.faults_coalesced + info.faults_spurious == 15);
	printf("16 faults at one window: %ju mapped, %ju coalesced, %ju spurious\n",
	       (uintmax_t)info.mapped, (uintmax_t)info.faults_coalesced,
	       (uintmax_t)info.faults_spurious);
	bed_free(&bed);
}

static void test_denied(void)
{
	struct bed bed;

	make_bed(&bed, 4 * MIB, 65536, 0);
	bed_raise_fault(&bed.mock, MOCK_BASE + 4 * MIB, 1);
	bed_wait_handled(&bed);
	bed_raise_fault(&bed.mock, 0, 1);
	bed_wait_handled(&bed);
	expect_answers(0, 2);
	check(bed_info(&bed).faults_denied == 2 && access_page(&bed, 0));
	expect_answers(1, 0);
	bed_free(&bed);
	puts("what is not mapped on demand is denied");
}

/* A process that handles faults, and is killed while most of 64 of them are pending. */
static void handle_and_wait(struct bed *bed, int ready)
{
	if (bed->mock.iommufd < 0)
		bed_make_queue(&bed->mock, &bed->faults, &bed->queue);
	bed_add_space(bed, 64 * 2 * MIB, 2 * MIB, 0, 0);
	for (unsigned int i = 0; i < 64; i++)
		bed_raise_fault(&bed->mock, MOCK_BASE + i * 2 * MIB, i);
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
	began = bed_now_us();
	check(waitpid(child, NULL, 0) == child);
	close(ends[0]);
	close(ends[1]);
	return bed_now_us() - began;
}

static void expect_all_answered(const char *who, double us)
{
	unsigned int answers[2];

	wait_answers(64, answers);
	printf("%s: ended after %.0f ms, %u faults had been handled, %u failed\n", who, us / 1e3,
	       answers[0], answers[1]);
	check(answers[0] + answers[1] == 64 && answers[1] > 0);
}

static void test_killed(void)
{
	struct bed bed = {.mock.iommufd = -1};
	struct vfb_iommu_destroy destroy = {.size = sizeof(destroy)};
	double us = kill_handler(&bed);

	expect_all_answered("killed, the only owner", us);
	/* A parent that keeps the files detaches the device. */
	bed_make_queue(&bed.mock, &bed.faults, &bed.queue);
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
	static const char *const bad[] = {"WARNING:", "kernel BUG", "Oops", "blocked for more"};
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

int main(void)
{
	int messages = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	check(messages >= 0);
	lseek(messages, 0, SEEK_END);
	setvbuf(stdout, NULL, _IOLBF, 0);
	count_answers();
	test_windows();
	test_coalesced();
	test_denied();
	test_killed();
	check_messages(messages);
	puts("all faults of the mock device were answered");
	return 0;
}
