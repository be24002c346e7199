/* SPDX-License-Identifier: MIT */
/* What the child of a fork can do with the objects of its parent: nothing, and at once. */
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host.h"

#define BYTES (8 * MIB)

static void test_child(void **state)
{
	struct vfb_range ranges[2] = {{.bytes = BYTES, .iova = GIB}, {.bytes = BYTES, .iova = 0}};
	struct vfb_device *device, *second;
	struct vfb_job *job, *other;
	struct host host;

	(void)state;
	host_start(&host, NULL, VFB_BACKEND_IOMMUFD, 1, &device);
	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
		ranges[i].memory = make_memory(&host, BYTES, VFB_PAGE_4K);
	assert_ok(vfb_space_map(host.space, ranges, 1, NULL));
	assert_ok(vfb_memory_populate_start(&ranges[1].memory, 1, &job));

	fake_set_process(host.fake, 78);
	assert_fails(vfb_job_wait(job, UINT64_MAX), -ECHILD, "78 is a child of 77");
	vfb_job_destroy(job);
	assert_fails(vfb_memory_populate(ranges[0].memory), -ECHILD, "create one here");
	assert_fails(vfb_memory_populate_start(&ranges[0].memory, 1, &other), -ECHILD, "child");
	assert_fails(vfb_space_map(host.space, &ranges[1], 1, NULL), -ECHILD, "child");
	assert_fails(vfb_space_map_start(host.space, &ranges[1], 1, NULL, &other), -ECHILD,
		     "child");
	assert_fails(vfb_space_unmap(host.space, ranges, 1, NULL), -ECHILD, "child");
	assert_fails(vfb_space_unmap_all(host.space), -ECHILD, "child");
	assert_fails(vfb_space_trim(host.space, 0), -ECHILD, "child");
	assert_fails(vfb_space_release_addresses(host.space), -ECHILD, "child");
	assert_fails(vfb_device_open(host.space, addresses[1], &second), -ECHILD, "child");
	assert_fails(vfb_device_reset(device), -ECHILD, "child");
	assert_fails(vfb_device_close(device), -ECHILD, "child");
	assert_fails(vfb_devices_close(&device, 1, NULL), -ECHILD, "child");
	assert_fails(vfb_space_destroy(host.space), -ECHILD, "child");
	assert_fails(vfb_memory_destroy(ranges[0].memory), -ECHILD, "child");
	assert_fails(vfb_ctx_destroy(host.ctx), -ECHILD, "child");
	fake_set_process(host.fake, 77);

	/* The parent has all that it had. */
	assert_mapped(&host, &ranges[0]);
	assert_ok(vfb_job_wait(job, UINT64_MAX));
	vfb_job_destroy(job);
	assert_ok(vfb_space_unmap(host.space, ranges, 1, NULL));
	assert_ok(vfb_memory_destroy(ranges[1].memory));
	host_end(&host, device, ranges[0].memory);
}

static pid_t clone_bare(void)
{
	return syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

/* For a child. Exits with 0 if the memory's context is refused in it, and in a child of its own. */
static void check_in_child(pid_t (*make)(void), struct vfb_memory *memory)
{
	bool before = vfb_sys_linux.process_id(&vfb_sys_linux) == getpid();
	pid_t child = make();
	bool well = before && vfb_sys_linux.process_id(&vfb_sys_linux) == getpid() &&
		    vfb_memory_populate(memory) == -ECHILD;
	int status = 0;

	if (child > 0)
		waitpid(child, &status, 0);
	_exit(well && child >= 0 && !status ? 0 : 1);
}

/* Of the kernel, whichever way the process is forked. */
static void test_real_child(void **state)
{
	static pid_t (*const ways[])(void) = {fork, _Fork, clone_bare};
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory *memory;
	struct vfb_ctx *ctx;
	int status;

	(void)state;
	opts.bytes = MIB;
	opts.page_size = VFB_PAGE_4K;
	assert_ok(vfb_ctx_create(NULL, &ctx));
	assert_ok(vfb_memory_create(ctx, &opts, &memory));
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		pid_t child = ways[i]();

		assert_true(child >= 0);
		if (!child)
			check_in_child(ways[i], memory);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	}
	assert_ok(vfb_memory_populate(memory));
	assert_ok(vfb_memory_destroy(memory));
	assert_ok(vfb_ctx_destroy(ctx));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_child),
		cmocka_unit_test(test_real_child),
	};

	return cmocka_run_group_tests_name("fork", tests, NULL, NULL);
}
