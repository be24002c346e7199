/* SPDX-License-Identifier: MIT */
/* The model as programs use it: what they may get wrong, and threads and memory of their own. */
#include <errno.h>
#include <linux/vfio.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vfioboost.h>
#include <vfioboost/fake.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)
#define MS  UINT64_C(1000000)
#define BDF "0000:01:00.0"

#define assert_fails(call, error, text)                            \
	do {                                                       \
		assert_int_equal(call, error);                     \
		assert_non_null(strstr(vfb_last_error(), (text))); \
	} while (0)

static struct vfb_fake *machine(void)
{
	struct vfb_fake_device device = VFB_FAKE_DEVICE_INIT;
	struct vfb_fake *fake;

	assert_int_equal(vfb_fake_create(NULL, &fake), 0);
	device.address = BDF;
	assert_int_equal(vfb_fake_add_device(fake, &device), 0);
	return fake;
}

static void end(struct vfb_fake *fake)
{
	char text[4096];

	if (vfb_fake_leaks(fake, text, sizeof(text)))
		fail_msg("left over:\n%s", text);
	assert_int_equal(vfb_fake_destroy(fake), 0);
}

static void options_are_checked(void **state)
{
	struct vfb_fake_opts opts = VFB_FAKE_OPTS_INIT;
	struct vfb_fake *fake;

	(void)state;
	opts.flags = 1u << 31;
	assert_fails(vfb_fake_create(&opts, &fake), -EINVAL, "0x80000000");
	opts.flags = 0;
	opts.nodes = 17;
	assert_fails(vfb_fake_create(&opts, &fake), -EINVAL, "17");
	opts.nodes = 0;
	opts.iova_bits = 31;
	assert_fails(vfb_fake_create(&opts, &fake), -EINVAL, "31");
	opts.iova_bits = 0;
	opts.size = 3;
	assert_fails(vfb_fake_create(&opts, &fake), -EINVAL, "size");
	assert_null(fake);
}

static void devices_are_checked(void **state)
{
	struct vfb_fake_device device = VFB_FAKE_DEVICE_INIT;
	struct vfb_fake *fake = machine();
	struct vfb_space *space;
	struct vfb_device *open;
	struct vfb_ctx *ctx;

	(void)state;
	assert_fails(vfb_fake_add_device(fake, &device), -EINVAL, "address");
	device.address = "01:00.0";
	device.bar_bytes[2] = 3000;
	assert_fails(vfb_fake_add_device(fake, &device), -EINVAL, "BAR 2");
	device.bar_bytes[2] = 0;
	device.bridge = "bridge";
	assert_fails(vfb_fake_add_device(fake, &device), -EINVAL, "bridge");
	device.bridge = NULL;
	device.node = 16;
	assert_fails(vfb_fake_add_device(fake, &device), -EINVAL, "16");
	device.node = 0;
	assert_int_equal(vfb_ctx_create(NULL, &ctx), 0);
	assert_int_equal(vfb_space_create(ctx, NULL, &space), 0);
	assert_int_equal(vfb_device_open(space, BDF, &open), 0);
	/* The same device, which is in use. */
	assert_fails(vfb_fake_add_device(fake, &device), -EBUSY, BDF);
	vfb_device_close(open);
	device.driver = "";
	assert_int_equal(vfb_fake_add_device(fake, &device), 0);
	assert_fails(vfb_device_open(space, BDF, &open), -ENXIO, "driver");
	assert_fails(vfb_fake_destroy(fake), -EBUSY, "contexts");
	vfb_space_destroy(space);
	vfb_ctx_destroy(ctx);
	end(fake);
}

static void nothing_reaches_the_kernel(void **state)
{
	struct vfb_fake *fake, *other;
	struct vfb_ctx *ctx;

	(void)state;
	assert_fails(vfb_ctx_create(NULL, &ctx), -ENODEV, "vfb_fake_create");
	fake = machine();
	assert_fails(vfb_fake_create(NULL, &other), -EBUSY, "already");
	assert_fails(vfb_fake_enter(fake), -EBUSY, "already");
	assert_int_equal(vfb_fake_leave(fake), 0);
	assert_fails(vfb_ctx_create(NULL, &ctx), -ENODEV, "vfb_fake_create");
	assert_fails(vfb_fake_leave(fake), -EINVAL, "does not use");
	assert_int_equal(vfb_fake_enter(fake), 0);
	assert_int_equal(vfb_ctx_create(NULL, &ctx), 0);
	assert_int_equal(vfb_ctx_destroy(ctx), 0);
	end(fake);
}

static void failures_are_limited(void **state)
{
	struct vfb_fake *fake = machine();
	struct vfb_ctx *ctx;

	(void)state;
	assert_fails(vfb_fake_fail(fake, "", 1, 0), -EINVAL, "name");
	assert_fails(vfb_fake_fail(fake, "open:", 1, 0), -EINVAL, "path");
	/* Those that have happened make room. */
	for (int i = 0; i < 20; i++) {
		assert_int_equal(vfb_fake_fail(fake, "thread_create", 1, EAGAIN), 0);
		assert_int_equal(vfb_ctx_create(NULL, &ctx), -EAGAIN);
	}
	for (int i = 0; i < 16; i++)
		assert_int_equal(vfb_fake_fail(fake, "eventfd", 1, 0), 0);
	assert_fails(vfb_fake_fail(fake, "eventfd", 1, 0), -ENOSPC, "16");
	vfb_fake_fail_none(fake);
	assert_null(vfb_fake_failed(fake));
	end(fake);
}

/* A program that opens the container itself, and maps memory of its own: private, or of a file. */
static void adopt_all(struct vfb_fake *fake, int memfd)
{
	struct vfb_memory_adopt_opts adopt = VFB_MEMORY_ADOPT_OPTS_INIT;
	struct vfb_fake_counts counts = VFB_FAKE_COUNTS_INIT;
	int flags = memfd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	char *memory = mmap(NULL, 8 * MIB, PROT_READ | PROT_WRITE, flags, memfd, 0);
	struct vfb_range range = {.bytes = 6 * MIB, .iova = 4 * MIB};
	int iommufd = vfb_fake_open(fake, "/dev/iommu", 2);
	struct vfb_space *space;
	struct vfb_device *device;
	struct vfb_ctx *ctx;
	void *address;

	assert_true(memory != MAP_FAILED && iommufd >= 0);
	assert_int_equal(vfb_fake_add_memory(fake, memory + 2 * MIB, 6 * MIB, memfd,
					     memfd < 0 ? 0 : 2 * MIB),
			 0);
	assert_int_equal(vfb_fake_add_memory(fake, memory + MIB, 2 * MIB, -1, 0), -EEXIST);
	assert_int_equal(vfb_ctx_create(NULL, &ctx), 0);
	assert_int_equal(vfb_space_adopt(ctx, iommufd, 0, NULL, &space), 0);
	assert_int_equal(vfb_device_open(space, BDF, &device), 0);
	adopt.address = memory + 2 * MIB;
	adopt.bytes = 6 * MIB;
	adopt.fd = memfd < 0 ? 0 : memfd;
	adopt.fd_offset = 2 * MIB;
	adopt.flags = memfd < 0 ? 0 : VFB_MEMORY_ADOPT_HAS_FD;
	assert_int_equal(vfb_memory_adopt(ctx, &adopt, &range.memory), 0);
	assert_int_equal(vfb_space_map(space, &range, 1, NULL), 0);
	assert_int_equal(vfb_fake_iova(fake, 4 * MIB, 6 * MIB, &address), 0);
	assert_ptr_equal(address, memory + 2 * MIB);
	assert_int_equal(vfb_fake_dma_write(fake, BDF, 5 * MIB, "x", 2), 0);
	assert_string_equal(memory + 3 * MIB, "x");
	assert_int_equal(vfb_fake_dma_write(fake, BDF, 10 * MIB, "x", 2), -EFAULT);
	assert_int_equal(vfb_fake_counts(fake, &counts), 0);
	assert_int_equal(counts.mapped_bytes, 6 * MIB);
	assert_fails(vfb_fake_remove_memory(fake, memory + 2 * MIB), -EBUSY, "unmap");
	vfb_device_close(device);
	assert_int_equal(vfb_space_destroy(space), 0);
	assert_int_equal(vfb_memory_destroy(range.memory), 0);
	vfb_ctx_destroy(ctx);
	vfb_fake_close(fake, iommufd);
	assert_int_equal(vfb_fake_leaks(fake, NULL, 0), memfd < 0 ? 1 : 2);
	assert_int_equal(vfb_fake_remove_memory(fake, memory + 2 * MIB), 0);
	assert_int_equal(vfb_fake_remove_memory(fake, memory + 2 * MIB), -ENOENT);
	/* It is still the program's. */
	assert_string_equal(memory + 3 * MIB, "x");
	munmap(memory, 8 * MIB);
}

static void a_program_has_memory_of_its_own(void **state)
{
	struct vfb_fake *fake = machine();
	int memfd = memfd_create("guest", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(ftruncate(memfd, 8 * MIB), 0);
	adopt_all(fake, -1);
	adopt_all(fake, memfd);
	assert_int_equal(vfb_fake_add_memory(fake, (void *)4097, 4096, -1, 0), -EINVAL);
	assert_int_equal(vfb_fake_add_memory(fake, (void *)MIB, MIB, memfd, 8 * MIB), -EINVAL);
	assert_int_equal(vfb_fake_add_memory(fake, (void *)MIB, MIB, 9999, 0), -EBADF);
	end(fake);
	assert_int_equal(close(memfd), 0);
}

struct opener {
	struct vfb_fake *fake;
	struct vfb_space *space;
	struct vfb_device *device;
	int error;
};

static void *open_in_thread(void *arg)
{
	struct opener *opener = arg;

	assert_int_equal(vfb_fake_enter(opener->fake), 0);
	opener->error = vfb_device_open(opener->space, BDF, &opener->device);
	assert_int_equal(vfb_fake_leave(opener->fake), 0);
	return NULL;
}

/* Threads of the program; and one that waits in poll(2). */
static void threads_of_the_program(void **state)
{
	struct opener opener = {.fake = machine()};
	struct vfb_job *job;
	struct pollfd poll_fd;
	pthread_t thread;
	struct vfb_ctx *ctx;
	uint64_t begin = vfb_fake_now(opener.fake);

	(void)state;
	assert_int_equal(vfb_ctx_create(NULL, &ctx), 0);
	assert_int_equal(vfb_space_create(ctx, NULL, &opener.space), 0);
	vfb_fake_outside_begin(opener.fake);
	pthread_create(&thread, NULL, open_in_thread, &opener);
	pthread_join(thread, NULL);
	vfb_fake_outside_end(opener.fake);
	assert_int_equal(opener.error, 0);
	assert_int_equal(vfb_devices_close_start(&opener.device, 1, NULL, &job), 0);
	poll_fd = (struct pollfd){.fd = vfb_job_fd(job), .events = POLLIN};
	assert_int_equal(vfb_fake_poll(opener.fake, poll_fd.fd, 50 * MS), 0);
	vfb_fake_outside_begin(opener.fake);
	assert_int_equal(poll(&poll_fd, 1, -1), 1);
	vfb_fake_outside_end(opener.fake);
	assert_int_equal(vfb_fake_poll(opener.fake, poll_fd.fd, 0), 1);
	assert_true(vfb_fake_now(opener.fake) - begin >= 200 * MS);
	vfb_job_destroy(job);
	vfb_space_destroy(opener.space);
	vfb_ctx_destroy(ctx);
	end(opener.fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_are_checked),
		cmocka_unit_test(devices_are_checked),
		cmocka_unit_test(nothing_reaches_the_kernel),
		cmocka_unit_test(failures_are_limited),
		cmocka_unit_test(a_program_has_memory_of_its_own),
		cmocka_unit_test(threads_of_the_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
