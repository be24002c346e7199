/* SPDX-License-Identifier: MIT */
/* The running kernel makes pages present, one after another, without a signal. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/memfd.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vfioboost/seccomp.h>

#include "host.h"

#define HUGE_2M (21 << MFD_HUGE_SHIFT)

static volatile int signals;

static bool is_present(void *page)
{
	unsigned char present;

	assert_int_equal(mincore(page, 4096, &present), 0);
	return present & 1;
}

static char *map(size_t bytes, int prot, int flags, int fd)
{
	char *mapped = mmap(NULL, bytes, prot, flags, fd, 0);

	assert_ptr_not_equal(mapped, MAP_FAILED);
	return mapped;
}

static void test_anonymous(void **state)
{
	char *pages = map(16 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	(void)state;
	assert_int_equal(vfb_sys_linux.touch(&vfb_sys_linux, pages + 4 * KIB), 0);
	assert_false(is_present(pages));
	assert_true(is_present(pages + 4 * KIB));
	/* What is there stays. */
	memset(pages, 'x', 16 * KIB);
	assert_int_equal(vfb_sys_linux.touch(&vfb_sys_linux, pages + 8 * KIB), 0);
	for (size_t i = 0; i < 16 * KIB; i++)
		assert_int_equal(pages[i], 'x');
	munmap(pages, 16 * KIB);
}

static void test_memfd(void **state)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	char *pages;

	(void)state;
	assert_int_equal(ftruncate(fd, 8 * KIB), 0);
	assert_int_equal(pwrite(fd, "kept", 4, 0), 4);
	pages = map(16 * KIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	assert_int_equal(vfb_sys_linux.touch(&vfb_sys_linux, pages), 0);
	assert_int_equal(vfb_sys_linux.touch(&vfb_sys_linux, pages + 4 * KIB), 0);
	assert_string_equal(pages, "kept");
	/* Beyond the end of the file a write raises SIGBUS. */
	assert_int_equal(vfb_sys_linux.touch(&vfb_sys_linux, pages + 8 * KIB), -EFAULT);
	munmap(pages, 16 * KIB);
	close(fd);
}

static void test_not_to_be_written(void **state)
{
	char *pages = map(8 * KIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	(void)state;
	assert_int_equal(vfb_sys_linux.touch(&vfb_sys_linux, pages), -EFAULT);
	munmap(pages, 8 * KIB);
	assert_int_equal(vfb_sys_linux.touch(&vfb_sys_linux, pages), -EFAULT);
}

static uint64_t pool(const char *name)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-2048kB/%s", name);
	if (vfb_sys_read_file(&vfb_sys_linux, path, text, sizeof(text)) < 0)
		skip();
	return strtoull(text, NULL, 10);
}

/* hugetlb pages that nobody has reserved, from whatever is left of the pool: all, and one more. */
static void test_hugetlb(void **state)
{
	uint64_t bytes = (pool("nr_hugepages") + pool("nr_overcommit_hugepages") + 1) * 2 * MIB;
	char *pages;
	int error;

	(void)state;
	pages = map(bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_HUGETLB | HUGE_2M, -1);
	for (uint64_t offset = 0; offset < bytes; offset += 2 * MIB) {
		error = vfb_sys_linux.touch(&vfb_sys_linux, pages + offset);
		if (error)
			break;
	}
	assert_int_equal(error, -EFAULT);
	munmap(pages, bytes);
}

/* ---- In user mode, in a child ---- */

static int touch_range(struct vfb_touch *touch, char *pages, uint64_t bytes)
{
	touch->address = pages;
	touch->bytes = bytes;
	touch->page_bytes = 4 * KIB;
	return vfb_sys_linux.touch_range(&vfb_sys_linux, touch);
}

static void test_range(void **state)
{
	char *pages = map(64 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct vfb_touch touch = {0};

	(void)state;
	memset(pages, 'x', 8 * KIB);
	assert_int_equal(touch_range(&touch, pages, 60 * KIB), 0);
	assert_int_equal(touch.touched, 60 * KIB);
	for (size_t i = 0; i < 15; i++)
		assert_true(is_present(pages + i * 4 * KIB));
	assert_false(is_present(pages + 60 * KIB));
	/* What is there stays. */
	for (size_t i = 0; i < 16 * KIB; i++)
		assert_int_equal(pages[i], i < 8 * KIB ? 'x' : 0);
	munmap(pages, 64 * KIB);
}

static void count_signal(int number)
{
	(void)number;
	signals++;
}

/* The program sees nothing of what happens: no signal, no child, no core. */
static void test_range_ends(void **state)
{
	struct sigaction action = {.sa_handler = count_signal}, before[3];
	static const int numbers[] = {SIGBUS, SIGSEGV, SIGCHLD};
	int fd = memfd_create("test", MFD_CLOEXEC);
	struct vfb_touch touch = {0};
	char *pages;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		sigaction(numbers[i], &action, &before[i]);
	assert_int_equal(ftruncate(fd, 8 * KIB), 0);
	pages = map(16 * KIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	/* Beyond the end of the file. */
	assert_int_equal(touch_range(&touch, pages, 16 * KIB), -EFAULT);
	assert_int_equal(touch.touched, 8 * KIB);
	mprotect(pages, 8 * KIB, PROT_READ);
	assert_int_equal(touch_range(&touch, pages, 16 * KIB), -EFAULT);
	assert_int_equal(touch.touched, 0);
	munmap(pages, 16 * KIB);
	assert_int_equal(touch_range(&touch, pages, 16 * KIB), -EFAULT);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	assert_int_equal(signals, 0);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		sigaction(numbers[i], &before[i], NULL);
	close(fd);
}

static void test_range_stops(void **state)
{
	char *pages = map(16 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	atomic_bool stop = true;
	struct vfb_touch touch = {.stop = &stop};

	(void)state;
	assert_int_equal(touch_range(&touch, pages, 16 * KIB), -ECANCELED);
	assert_int_equal(touch.touched, 0);
	assert_false(is_present(pages));
	munmap(pages, 16 * KIB);
}

/* Many threads at once, each of which gets all of its own pages; and the limit of processes. */
static void *touch_own_pages(void *arg)
{
	char *pages = map(MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct vfb_touch touch = {0};
	int *error = arg;

	for (int i = 0; i < 20 && !*error; i++) {
		madvise(pages, MIB, MADV_DONTNEED);
		*error = touch_range(&touch, pages, MIB);
		if (!*error && (touch.touched != MIB || !is_present(pages + MIB - 4 * KIB)))
			*error = -EIO;
	}
	munmap(pages, MIB);
	return NULL;
}

static void test_range_threads(void **state)
{
	pthread_t threads[8];
	int errors[8] = {0};

	(void)state;
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, touch_own_pages, &errors[i]), 0);
	for (size_t i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(errors[i], 0);
	}
}

#define MAX_CALLS 256

/* Whatever the threads of the library are not listed to call kills, as with tests/vm/seccomp.c. */
static int restrict_to_thread_calls(void)
{
	struct vfb_seccomp_call calls[MAX_CALLS];
	struct sock_filter code[2 * MAX_CALLS + 2];
	struct sock_fprog filter = {.filter = code};
	int count = vfb_seccomp_calls(VFB_SECCOMP_THREAD, calls, MAX_CALLS);

	code[filter.len++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
							  offsetof(struct seccomp_data, nr));
	for (int i = 0; i < count; i++) {
		if (calls[i].request)
			continue;
		code[filter.len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
								  calls[i].number, 0, 1);
		code[filter.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
								  SECCOMP_RET_ALLOW);
	}
	code[filter.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
							  SECCOMP_RET_KILL_PROCESS);
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

/* A filter that is installed while a thread touches is inherited by its next child. */
static void test_range_filtered(void **state)
{
	char *pages = map(16 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct rlimit no_core = {0};
	struct vfb_touch touch = {0};
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (!pid) {
		setrlimit(RLIMIT_CORE, &no_core);
		if (restrict_to_thread_calls())
			syscall(SYS_exit_group, 2);
		syscall(SYS_exit_group, touch_range(&touch, pages, 16 * KIB) ? 1 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	munmap(pages, 16 * KIB);
}

static void *get_stack_size(void *arg)
{
	pthread_attr_t attr;

	if (!pthread_getattr_np(pthread_self(), &attr)) {
		pthread_attr_getstacksize(&attr, arg);
		pthread_attr_destroy(&attr);
	}
	return NULL;
}

/* All of it is locked memory under mlockall(MCL_FUTURE); 64 workers with 8 MiB each took 527 MiB.
 */
static void test_stack(void **state)
{
	const struct vfb_sys *sys = &vfb_sys_linux;
	size_t bytes = 0;
	pthread_t thread;

	(void)state;
	assert_int_equal(sys->thread_create(sys, "small", NULL, get_stack_size, &bytes, &thread),
			 0);
	sys->thread_join(sys, thread);
	/* ThreadSanitizer enlarges stacks by what it needs itself; by default they have 8 MiB. */
#ifdef __SANITIZE_THREAD__
	assert_in_range(bytes, 64 * KIB, 4 * MIB);
#else
	assert_in_range(bytes, 64 * KIB, 512 * KIB);
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stack),	      cmocka_unit_test(test_anonymous),
		cmocka_unit_test(test_memfd),	      cmocka_unit_test(test_not_to_be_written),
		cmocka_unit_test(test_hugetlb),	      cmocka_unit_test(test_range),
		cmocka_unit_test(test_range_ends),    cmocka_unit_test(test_range_stops),
		cmocka_unit_test(test_range_threads), cmocka_unit_test(test_range_filtered),
	};

	return cmocka_run_group_tests_name("touch", tests, NULL, NULL);
}
