/* SPDX-License-Identifier: MIT */
/*
 * A reaper on the running kernel: what it keeps, what it does to its parent, and when it goes on.
 * Its devices are the ends of pipes, whose other ends show when they are closed.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device/reaper.h"
#include "host.h"

#define DEVICES 3

static const char *program;

struct watched {
	/* The ends that are read, and those that stand for devices. */
	int read_ends[DEVICES], devices[DEVICES];
	int pipe, process;
	pid_t pid;
};

/* The number behind a pidfd. */
static pid_t number_of(int pidfd)
{
	char path[64], line[128];
	pid_t pid = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		sscanf(line, "Pid: %d", &pid);
	fclose(file);
	return pid;
}

static void start(struct watched *watched)
{
	struct vfb_reaper_opts opts = VFB_REAPER_OPTS_INIT;
	struct vfb_reaped reaped[DEVICES];
	static struct vfb_pci pci = {.address = "0000:01:00.0"};

	opts.program = program;
	for (int i = 0; i < DEVICES; i++) {
		int ends[2];

		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		watched->read_ends[i] = ends[0];
		watched->devices[i] = ends[1];
		reaped[i] = (struct vfb_reaped){ends[1], &pci};
	}
	assert_ok(vfb_reaper_spawn(&vfb_sys_linux, reaped, DEVICES, &opts, &watched->pipe,
				   &watched->process));
	watched->pid = number_of(watched->process);
	assert_true(watched->pid > 0);
}

static void end(struct watched *watched)
{
	for (int i = 0; i < DEVICES; i++) {
		close(watched->read_ends[i]);
		close(watched->devices[i]);
	}
	close(watched->pipe);
}

static void stop(struct watched *watched)
{
	assert_int_equal(write(watched->pipe, "", 1), 1);
	vfb_sys_linux.wait_process(&vfb_sys_linux, watched->process);
	end(watched);
}

/* Whether nobody has the other end within so many milliseconds. */
static bool is_closed(int read_end, int timeout_ms)
{
	struct pollfd fd = {.fd = read_end, .events = POLLIN};

	return poll(&fd, 1, timeout_ms) == 1 && fd.revents == POLLHUP;
}

static void read_proc(pid_t pid, const char *name, char *text, size_t bytes)
{
	char path[64];
	ssize_t done;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	done = read(fd, text, bytes - 1);
	close(fd);
	assert_true(done >= 0);
	text[done] = '\0';
}

static void read_link(pid_t pid, const char *name, char *target)
{
	char path[64];
	ssize_t done;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	done = readlink(path, target, PATH_MAX - 1);
	assert_true(done > 0);
	target[done] = '\0';
}

static unsigned int count_fds(pid_t pid)
{
	unsigned int count = 0;
	struct dirent *entry;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	assert_non_null(dir);
	while ((entry = readdir(dir)))
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}

/* Until it has dropped what it drops, and waits. */
static void wait_until_ready(pid_t pid)
{
	char target[PATH_MAX] = "", text[4096];

	for (int i = 0; i < 5000; i++) {
		read_link(pid, "fd/1", target);
		read_proc(pid, "status", text, sizeof(text));
		if (!strcmp(target, "/dev/null") && strstr(text, "State:\tS"))
			return;
		usleep(1000);
	}
	fail_msg("the reaper does not come to rest");
}

static void test_keeps_nothing(void **state)
{
	static const char *const standard[] = {"fd/0", "fd/1", "fd/2"};
	char target[PATH_MAX], text[4096];
	struct watched watched;

	(void)state;
	start(&watched);
	wait_until_ready(watched.pid);
	for (int i = 0; i < 3; i++) {
		read_link(watched.pid, standard[i], target);
		assert_string_equal(target, "/dev/null");
	}
	/* And the pipe, twice, the process and the devices. */
	assert_int_equal(count_fds(watched.pid), 3 + 3 + DEVICES);
	read_link(watched.pid, "cwd", target);
	assert_string_equal(target, "/");
	read_proc(watched.pid, "environ", text, sizeof(text));
	assert_string_equal(text, "");
	read_proc(watched.pid, "status", text, sizeof(text));
	assert_non_null(strstr(text, "CapEff:\t0000000000000000"));
	assert_non_null(strstr(text, "CapPrm:\t0000000000000000"));
	assert_non_null(strstr(text, "NoNewPrivs:\t1"));
	stop(&watched);
}

/* It is nobody's child: waitpid(-1) does not find it, nor what is left of it when it is killed. */
static void test_no_child(void **state)
{
	struct watched watched;

	(void)state;
	start(&watched);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	assert_int_equal(kill(watched.pid, SIGKILL), 0);
	vfb_sys_linux.wait_process(&vfb_sys_linux, watched.process);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	end(&watched);
}

static void *reap_all(void *arg)
{
	int *status = arg;

	while (waitpid(-1, status, 0) < 0)
		usleep(100);
	return NULL;
}

/* A process that reaps all of its children keeps their statuses, and nobody waits for another. */
static void test_other_children(void **state)
{
	struct timespec begin, now;
	struct watched watched;
	pthread_t thread;
	int status = -1;
	pid_t other;

	(void)state;
	start(&watched);
	other = fork();
	if (!other) {
		usleep(1000000);
		_exit(7);
	}
	assert_int_equal(pthread_create(&thread, NULL, reap_all, &status), 0);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	stop(&watched);
	clock_gettime(CLOCK_MONOTONIC, &now);
	assert_true(now.tv_sec - begin.tv_sec + (now.tv_nsec - begin.tv_nsec) * 1e-9 < 0.8);
	pthread_join(thread, NULL);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

/* In a process of its own, which sends the reaper's number, and has other ends that it closes. */
static pid_t run_owner(struct watched *watched, void (*act)(void))
{
	int answer[2];
	pid_t owner;

	assert_int_equal(pipe2(answer, O_CLOEXEC), 0);
	/* Made here, as the reading ends stay here. */
	for (int i = 0; i < DEVICES; i++) {
		int ends[2];

		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		watched->read_ends[i] = ends[0];
		watched->devices[i] = ends[1];
	}
	owner = fork();
	if (!owner) {
		struct vfb_reaper_opts opts = VFB_REAPER_OPTS_INIT;
		struct vfb_reaped reaped[DEVICES];
		static struct vfb_pci pci = {.address = "0000:01:00.0"};

		opts.program = program;
		for (int i = 0; i < DEVICES; i++)
			reaped[i] = (struct vfb_reaped){watched->devices[i], &pci};
		if (vfb_reaper_spawn(&vfb_sys_linux, reaped, DEVICES, &opts, &watched->pipe,
				     &watched->process))
			_exit(1);
		watched->pid = number_of(watched->process);
		if (write(answer[1], &watched->pid, sizeof(pid_t)) != sizeof(pid_t))
			_exit(1);
		act();
		_exit(1);
	}
	for (int i = 0; i < DEVICES; i++)
		close(watched->devices[i]);
	assert_int_equal(read(answer[0], &watched->pid, sizeof(pid_t)), sizeof(pid_t));
	close(answer[0]);
	close(answer[1]);
	return owner;
}

static void sleep_for_ever(void)
{
	for (;;)
		pause();
}

static void test_killed_owner(void **state)
{
	struct watched watched = {0};
	pid_t owner;

	(void)state;
	owner = run_owner(&watched, sleep_for_ever);
	assert_false(is_closed(watched.read_ends[0], 50));
	kill(owner, SIGKILL);
	waitpid(owner, NULL, 0);
	for (int i = 0; i < DEVICES; i++) {
		assert_true(is_closed(watched.read_ends[i], 5000));
		close(watched.read_ends[i]);
	}
}

static void run_sleep(void)
{
	execl("/bin/sleep", "sleep", "60", NULL);
}

static unsigned long switches_of(pid_t pid)
{
	unsigned long switches = 0;
	char text[4096], *at;

	read_proc(pid, "status", text, sizeof(text));
	at = strstr(text, "\nvoluntary_ctxt_switches:");
	assert_non_null(at);
	sscanf(at, "\nvoluntary_ctxt_switches: %lu", &switches);
	return switches;
}

/* One that goes on with another program has its reaper as before, asleep. */
static void test_exec(void **state)
{
	struct watched watched = {0};
	unsigned long before;
	pid_t owner;

	(void)state;
	owner = run_owner(&watched, run_sleep);
	wait_until_ready(watched.pid);
	usleep(200000);
	before = switches_of(watched.pid);
	assert_false(is_closed(watched.read_ends[0], 500));
	assert_true(switches_of(watched.pid) - before < 3);
	kill(owner, SIGKILL);
	waitpid(owner, NULL, 0);
	for (int i = 0; i < DEVICES; i++) {
		assert_true(is_closed(watched.read_ends[i], 5000));
		close(watched.read_ends[i]);
	}
}

/* Not one that waits for init to reap it. */
static bool is_running(pid_t pid)
{
	char path[64], text[4096] = "";
	FILE *file;
	bool running;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	running = file && fread(text, 1, sizeof(text) - 1, file) > 0 && !strstr(text, "State:\tZ");
	if (file)
		fclose(file);
	return running;
}

/* A child that the owner has forked holds its end of the pipe: that keeps nothing waiting. */
static void fork_and_sleep(void)
{
	if (!fork()) {
		sleep(4);
		_exit(0);
	}
	sleep_for_ever();
}

static void test_forked_owner(void **state)
{
	struct watched watched = {0};
	pid_t owner;

	(void)state;
	owner = run_owner(&watched, fork_and_sleep);
	wait_until_ready(watched.pid);
	usleep(100000);
	kill(owner, SIGKILL);
	waitpid(owner, NULL, 0);
	/* The reaper goes at once, though the child has the devices for a while yet. */
	for (int i = 0; i < 3000 && is_running(watched.pid); i++)
		usleep(1000);
	assert_false(is_running(watched.pid));
	for (int i = 0; i < DEVICES; i++) {
		assert_true(is_closed(watched.read_ends[i], 10000));
		close(watched.read_ends[i]);
	}
}

/* What is no reaper is noticed. */
static void test_other_program(void **state)
{
	struct vfb_reaper_opts opts = VFB_REAPER_OPTS_INIT;
	struct vfb_pci pci = {.address = "0000:01:00.0"};
	struct vfb_reaped reaped = {0, &pci};
	int pipe, process;

	(void)state;
	opts.program = "/bin/true";
	assert_fails(vfb_reaper_spawn(&vfb_sys_linux, &reaped, 1, &opts, &pipe, &process), -ECHILD,
		     "/bin/true");
	opts.program = "/nonexistent";
	assert_fails(vfb_reaper_spawn(&vfb_sys_linux, &reaped, 1, &opts, &pipe, &process), -ENOENT,
		     "/nonexistent");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keeps_nothing),  cmocka_unit_test(test_no_child),
		cmocka_unit_test(test_other_children), cmocka_unit_test(test_killed_owner),
		cmocka_unit_test(test_exec),	       cmocka_unit_test(test_forked_owner),
		cmocka_unit_test(test_other_program),
	};

	if (argc != 2)
		return 77;
	program = argv[1];
	return cmocka_run_group_tests_name("reaper_process", tests, NULL, NULL);
}
