/* SPDX-License-Identifier: MIT */
/* The lists of system calls; tests/vm/seccomp.c lives with them on real kernels. */
#include <sys/syscall.h>
#include <vfioboost/seccomp.h>

#include "context.h"
#include "host.h"
#include "sys/ioctl_name.h"
#include "sys/uapi.h"

#define MAX 256

static bool lists(enum vfb_seccomp_role role, uint32_t number, uint64_t request)
{
	struct vfb_seccomp_call calls[MAX];
	int count = vfb_seccomp_calls(role, calls, MAX);

	assert_in_range(count, 1, MAX);
	for (int i = 0; i < count; i++)
		if (calls[i].number == number && calls[i].request == request)
			return true;
	return false;
}

static void test_lists(void **state)
{
	(void)state;
	for (int role = VFB_SECCOMP_THREAD; role <= VFB_SECCOMP_CALLER; role++) {
		assert_true(lists(role, SYS_futex, 0));
		assert_true(lists(role, SYS_membarrier, 0));
		/* Of qsort(), for more than 1 KiB. */
		assert_true(lists(role, SYS_sysinfo, 0));
		assert_true(lists(role, SYS_ioctl, VFIO_IOMMU_MAP_DMA));
		assert_true(lists(role, SYS_ioctl, VFB_IOMMU_IOAS_MAP));
		/* Whoever allows it in general allows too much. */
		assert_false(lists(role, SYS_ioctl, 0));
		assert_false(lists(role, SYS_execve, 0));
		assert_int_equal(lists(role, SYS_clone3, 0), role == VFB_SECCOMP_CREATE);
	}
	assert_true(lists(VFB_SECCOMP_CALLER, SYS_memfd_create, 0));
	assert_false(lists(VFB_SECCOMP_THREAD, SYS_memfd_create, 0));
	/* A reaper that was started before the filter is destroyed below it. */
	assert_true(lists(VFB_SECCOMP_CALLER, SYS_waitid, 0));
}

static void test_entries(void **state)
{
	struct vfb_seccomp_call calls[MAX], few[3];
	int count = vfb_seccomp_calls(VFB_SECCOMP_CREATE, calls, MAX);

	(void)state;
	assert_in_range(count, 40, MAX);
	for (int i = 0; i < count; i++) {
		assert_non_null(calls[i].name);
		assert_true(calls[i].name[0]);
		assert_int_equal(calls[i].request != 0, calls[i].number == SYS_ioctl);
		for (int other = 0; other < i; other++)
			assert_true(calls[i].number != calls[other].number ||
				    calls[i].request != calls[other].request);
	}
	assert_int_equal(vfb_seccomp_calls(VFB_SECCOMP_CREATE, few, 3), count);
	assert_memory_equal(few, calls, sizeof(few));
	assert_int_equal(vfb_seccomp_calls(VFB_SECCOMP_CREATE, NULL, 0), count);
	assert_fails(vfb_seccomp_calls(3, calls, MAX), -EINVAL, "role 3");
}

/* The name that calls.def has for a member's call is in the list. */
static void test_operations(void **state)
{
	unsigned long request = VFIO_GET_API_VERSION;
	const char *const operations[][2] = {
/* clang-format off */
#define TIMED(type, name, parameters, operation, ...) {#name, operation},
#define TIMED_VOID(name, parameters, operation, ...) {#name, operation},
#define UNTIMED(...)
#define UNTIMED_VOID(...)
/* clang-format on */
#include "sys/calls.def"
	};
	/* Several calls, another one of the same kind, and those of the reaper. */
	static const char *const others[] = {"realpath", "send", "pipe"};
	struct vfb_seccomp_call calls[MAX];
	int count = vfb_seccomp_calls(VFB_SECCOMP_CREATE, calls, MAX);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
		bool found = false;

		for (size_t other = 0; other < ARRAY_SIZE(others); other++)
			found = found || !strcmp(operations[i][0], others[other]);
		for (int call = 0; call < count; call++)
			found = found || !strcmp(operations[i][1], calls[call].name);
		if (!found)
			fail_msg("%s makes %s, which lib/sys/seccomp.def lacks", operations[i][0],
				 operations[i][1]);
	}
}

/* A context for a number of devices creates no threads later, however many there are, nor for time
 * limits. */
static void test_no_threads_later(void **state)
{
	struct vfb_batch_opts batch = {.size = sizeof(batch), .timeout_ns = 60000 * MS};
	struct vfb_ctx_opts opts = {.size = sizeof(opts), .devices = 2};
	struct vfb_device_request requests[5];
	struct vfb_device *devices[5];
	struct host host = {.fake = fake_create(NULL)};
	uint64_t begin;

	(void)state;
	add_devices(host.fake, 5);
	assert_ok(vfb_ctx_create_with(fake_sys(host.fake), &opts, &host.ctx));
	fake_fail_call(host.fake, "thread_create", 0, EPERM);
	host_space(&host, VFB_BACKEND_IOMMUFD);
	for (unsigned int i = 0; i < 5; i++)
		requests[i] = (struct vfb_device_request){.address = addresses[i]};
	begin = fake_now(host.fake);
	assert_ok(vfb_devices_open(host.space, requests, 5, &batch));
	assert_int_equal(fake_now(host.fake) - begin, 300 * MS);
	for (unsigned int i = 0; i < 5; i++)
		devices[i] = requests[i].device;
	assert_ok(vfb_devices_close(devices, 5, &batch));
	assert_null(fake_failed(host.fake));
	fake_fail_none(host.fake);
	host_close(&host);
}

/* If one of the threads cannot be created, the context is not. */
static void test_threads_refused(void **state)
{
	struct vfb_ctx_opts opts = {.size = sizeof(opts), .threads = 1, .devices = 2};

	(void)state;
	for (unsigned int n = 1; n <= 5; n++) {
		struct fake *fake = fake_create(NULL);
		struct vfb_ctx *ctx;

		fake_fail_call(fake, "thread_create", n, EAGAIN);
		assert_fails(vfb_ctx_create_with(fake_sys(fake), &opts, &ctx), -EAGAIN, "thread");
		assert_null(ctx);
		assert_no_leaks(fake);
		fake_destroy(fake);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lists),		cmocka_unit_test(test_entries),
		cmocka_unit_test(test_operations),	cmocka_unit_test(test_no_threads_later),
		cmocka_unit_test(test_threads_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
