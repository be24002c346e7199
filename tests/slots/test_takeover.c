/* SPDX-License-Identifier: MIT */
/*
 * The object that `vfioboost slots run` preloads, in a program that behaves as a VMM: when what it
 * unmaps reaches the kernel, and what children and other threads change about that. /dev/null,
 * /dev/zero and /dev/full stand for the iommufd or container, a device and its group; the kernel is
 * takeover_kernel.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vfioboost.h>

#include <cmocka.h>

#include "../../tools/takeover/settings.h"
#include "sys/uapi.h"
#include "takeover_kernel.h"

#define MIB    UINT64_C(0x100000)
#define MEMORY (8 * MIB)
#define RIGHTS \
	(VFB_IOMMU_IOAS_MAP_FIXED_IOVA | VFB_IOMMU_IOAS_MAP_WRITEABLE | VFB_IOMMU_IOAS_MAP_READABLE)

enum {
	IOAS = 7,
	DOMAIN,
	DEVICE
};

static pthread_mutex_t big = PTHREAD_MUTEX_INITIALIZER, small = PTHREAD_MUTEX_INITIALIZER;
static int iommu, device;
static char *memory;

static void expect(const char *calls)
{
	assert_string_equal(kernel_calls(), calls);
	kernel_forget();
}

static void map(uint64_t iova, uint64_t end)
{
	struct vfb_iommu_ioas_map request = {
		.size = sizeof(request),
		.flags = RIGHTS,
		.ioas_id = IOAS,
		.user_va = (uintptr_t)memory + iova,
		.length = end - iova,
		.iova = iova,
	};

	assert_int_equal(ioctl(iommu, VFB_IOMMU_IOAS_MAP, &request), 0);
}

static void unmap(uint64_t iova, uint64_t end)
{
	struct vfb_iommu_ioas_unmap request = {.size = sizeof(request),
					       .ioas_id = IOAS,
					       .iova = iova,
					       .length = end - iova};

	assert_int_equal(ioctl(iommu, VFB_IOMMU_IOAS_UNMAP, &request), 0);
	assert_int_equal(request.length, end - iova);
}

/* As QEMU: by path, then bind, create, attach. */
static void open_all(void)
{
	struct vfb_vfio_device_bind_iommufd bind = {.argsz = sizeof(bind)};
	struct vfb_iommu_ioas_alloc ioas = {.size = sizeof(ioas)};
	struct vfb_iommu_hwpt_alloc domain = {.size = sizeof(domain)};
	struct vfb_vfio_device_attach_iommufd_pt attach = {.argsz = sizeof(attach)};

	iommu = open("/dev/null", O_RDWR | O_CLOEXEC);
	device = open("/dev/zero", O_RDWR | O_CLOEXEC);
	assert_true(iommu >= 0 && device >= 0);
	bind.iommufd = iommu;
	assert_int_equal(ioctl(device, VFB_VFIO_DEVICE_BIND_IOMMUFD, &bind), 0);
	assert_int_equal(bind.out_devid, DEVICE);
	assert_int_equal(ioctl(iommu, VFB_IOMMU_IOAS_ALLOC, &ioas), 0);
	assert_int_equal(ioas.out_ioas_id, IOAS);
	domain.dev_id = DEVICE;
	domain.pt_id = IOAS;
	assert_int_equal(ioctl(iommu, VFB_IOMMU_HWPT_ALLOC, &domain), 0);
	assert_int_equal(domain.out_hwpt_id, DOMAIN);
	attach.pt_id = DOMAIN;
	assert_int_equal(ioctl(device, VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach), 0);
	assert_int_equal(ioctl(device, VFIO_DEVICE_RESET), 0);
	expect("");
}

static void test_taken_over(void **state)
{
	(void)state;
	/* Looking whether it can be opened counts for nothing. */
	assert_int_equal(close(open("/dev/zero", O_RDWR | O_CLOEXEC)), 0);
	pthread_mutex_lock(&big);
	open_all();
	map(0, MEMORY - MIB);
	expect("map 0-200000;");
	pthread_mutex_unlock(&big);
	/* What was prepared, but not mapped by the program. */
	expect("unmap 700000-800000;");
}

static void *lock_and_unlock(void *done)
{
	pthread_mutex_lock(&small);
	pthread_mutex_unlock(&small);
	sem_post(done);
	return NULL;
}

static void test_put_off(void **state)
{
	pthread_t thread;
	sem_t done;

	(void)state;
	pthread_mutex_lock(&big);
	unmap(2 * MIB, MEMORY - MIB);
	pthread_mutex_lock(&small);
	pthread_mutex_unlock(&small);
	sem_init(&done, 0, 0);
	assert_int_equal(pthread_create(&thread, NULL, lock_and_unlock, &done), 0);
	pthread_join(thread, NULL);
	expect("");
	map(2 * MIB, 6 * MIB);
	expect("");
	pthread_mutex_unlock(&big);
	expect("unmap 600000-700000;");
	/* Now the kernel maps it, and a second unmapping reaches it at once. */
	map(6 * MIB, 7 * MIB);
	expect("map 600000-700000;");
	unmap(6 * MIB, 7 * MIB);
	expect("unmap 600000-700000;");
}

/* As QEMU from 10.1 on. */
static void test_by_file(void **state)
{
	struct vfb_iommu_ioas_map_file request = {
		.size = sizeof(request),
		.flags = RIGHTS,
		.ioas_id = IOAS,
		.fd = TAKEOVER_FIRST_FD,
		.start = 2 * MIB,
		.length = 4 * MIB,
		.iova = 2 * MIB,
	};

	(void)state;
	pthread_mutex_lock(&big);
	unmap(2 * MIB, 6 * MIB);
	assert_int_equal(ioctl(iommu, VFB_IOMMU_IOAS_MAP_FILE, &request), 0);
	pthread_mutex_unlock(&big);
	expect("");
	/* It cannot be mapped twice. */
	assert_int_equal(ioctl(iommu, VFB_IOMMU_IOAS_MAP_FILE, &request), -1);
	assert_int_equal(errno, EEXIST);
	expect("");
}

/* The kernel refuses them. */
static void test_no_ranges(void **state)
{
	struct vfb_iommu_ioas_map_file file = {
		.size = sizeof(file),
		.flags = RIGHTS,
		.ioas_id = IOAS,
		.fd = TAKEOVER_FIRST_FD,
		.start = 6 * MIB,
		.iova = 6 * MIB,
	};
	struct vfb_iommu_ioas_unmap beyond = {.size = sizeof(beyond),
					      .ioas_id = IOAS,
					      .iova = MIB,
					      .length = UINT64_MAX};
	struct vfb_iommu_ioas_unmap nothing = {.size = sizeof(nothing),
					       .ioas_id = IOAS,
					       .iova = MIB};
	struct vfb_iommu_ioas_map address = {
		.size = sizeof(address),
		.flags = RIGHTS,
		.ioas_id = IOAS,
		.user_va = (uintptr_t)memory + 6 * MIB,
		.iova = 6 * MIB,
	};

	(void)state;
	ioctl(iommu, VFB_IOMMU_IOAS_MAP_FILE, &file);
	expect("map 600000-600000;");
	ioctl(iommu, VFB_IOMMU_IOAS_MAP, &address);
	expect("map 600000-600000;");
	ioctl(iommu, VFB_IOMMU_IOAS_UNMAP, &nothing);
	expect("unmap 100000-100000;");
	ioctl(iommu, VFB_IOMMU_IOAS_UNMAP, &beyond);
	expect("unmap 100000-fffff;");
}

/* Waiting for a condition releases the mutex. */
static void test_wait(void **state)
{
	pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
	struct timespec past = {0};

	(void)state;
	pthread_mutex_lock(&big);
	unmap(2 * MIB, 6 * MIB);
	expect("");
	pthread_cond_timedwait(&cond, &big, &past);
	expect("unmap 200000-600000;");
	pthread_mutex_unlock(&big);
	expect("");
}

static void test_child(void **state)
{
	pid_t child = fork();
	int status;

	(void)state;
	if (!child) {
		for (int fd = 3; fd < 1024; fd++)
			close(fd);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	expect("");
}

static void open_device_again(void)
{
	device = open("/dev/zero", O_RDWR | O_CLOEXEC);
}

/* The child has the memory of its parent, which has opened nothing. */
static void test_child_that_opens(void **state)
{
	pid_t child = vfork();
	int status;

	(void)state;
	if (!child) {
		open("/dev/zero", O_RDWR | O_CLOEXEC);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* Another thread opens the device, and gets the number of a file that is being closed. */
static void test_number_used_again(void **state)
{
	int before = device, other = dup(STDERR_FILENO);

	(void)state;
	kernel_after_close(open_device_again);
	assert_int_equal(close(other), 0);
	assert_int_equal(device, other);
	assert_int_equal(close(before), 0);
	/* The device is still open. */
	expect("");
}

static void test_release(void **state)
{
	struct vfb_vfio_device_bind_iommufd bind = {.argsz = sizeof(bind), .iommufd = iommu};

	(void)state;
	assert_int_equal(ioctl(device, VFIO_DEVICE_RESET), 0);
	expect("reset;");
	assert_int_equal(close(device), 0);
	expect("detach;reset;");
	/* Its first reset was done at the release, until the thread waits for events. */
	device = open("/dev/zero", O_RDWR | O_CLOEXEC);
	assert_int_equal(ioctl(device, VFB_VFIO_DEVICE_BIND_IOMMUFD, &bind), 0);
	poll(NULL, 0, 0);
	assert_int_equal(ioctl(device, VFIO_DEVICE_RESET), 0);
	expect("reset;");
	assert_int_equal(close(iommu), 0);
	expect("");
}

/* The program has opened the device, and closes the file descriptor that it was started with. */
static void test_started_with(void **state)
{
	struct vfb_vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.iommufd = open("/dev/null", O_RDWR | O_CLOEXEC),
	};

	(void)state;
	assert_int_equal(close(TAKEOVER_FIRST_FD + 2), 0);
	expect("");
	assert_int_equal(close(device), 0);
	expect("reset;");
	/* It gets the same number. */
	open_device_again();
	assert_int_equal(device, TAKEOVER_FIRST_FD + 2);
	assert_int_equal(ioctl(device, VFB_VFIO_DEVICE_BIND_IOMMUFD, &bind), 0);
	assert_int_equal(close(device), 0);
	expect("reset;");
}

/* As QEMU 7.2: a container, the group, the device by its name. */
static void test_container(void **state)
{
	int group = open("/dev/full", O_RDWR | O_CLOEXEC);
	struct vfio_iommu_type1_dma_map request = {
		.argsz = sizeof(request),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)memory,
		.size = MEMORY,
	};

	(void)state;
	iommu = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(ioctl(group, VFIO_GROUP_SET_CONTAINER, &iommu), 0);
	assert_int_equal(ioctl(iommu, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), 0);
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, "0000:01:00.0");
	assert_true(device >= 0);
	assert_int_equal(ioctl(iommu, VFIO_IOMMU_MAP_DMA, &request), 0);
	expect("map 0-200000;");
	/* That which the program was started with; it has opened its own. */
	assert_int_equal(close(TAKEOVER_FIRST_FD + 1), 0);
	expect("");
	assert_int_equal(close(device), 0);
	expect("reset;");
	assert_int_equal(close(iommu), 0);
	expect("unmap all;");
}

static int run_type1(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_container)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

static int run_iommufd(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_taken_over),
		cmocka_unit_test(test_put_off),
		cmocka_unit_test(test_by_file),
		cmocka_unit_test(test_no_ranges),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_child),
		cmocka_unit_test(test_child_that_opens),
		cmocka_unit_test(test_number_used_again),
		cmocka_unit_test(test_release),
		cmocka_unit_test(test_started_with),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

static void place(int fd, int wanted)
{
	if (fd != wanted && (dup2(fd, wanted) < 0 || close(fd)))
		abort();
}

/* As `vfioboost slots run`, and this program again with the object. */
static int start(char **argv, bool type1)
{
	struct takeover_settings settings = {
		.grant = {.level = 2,
			  .backend = VFB_BACKEND_IOMMUFD,
			  .ioas = IOAS,
			  .domain = DOMAIN,
			  .bytes = MEMORY,
			  .range_count = 3,
			  .ranges = {{2 * MIB, 2 * MIB, 4 * MIB},
				     {6 * MIB, 6 * MIB, MIB},
				     {7 * MIB, 7 * MIB, MIB}},
			  .device_count = 1,
			  .devices = {"0000:01:00.0"},
			  .device_ids = {DEVICE}},
	};
	char text[TAKEOVER_TEXT];
	int file = memfd_create("memory", 0);

	if (type1) {
		settings.grant.backend = VFB_BACKEND_TYPE1;
		settings.grant.group_count = 1;
		settings.grant.device_ids[0] = 0;
	}
	if (file < 0 || ftruncate(file, MEMORY) || !takeover_format(&settings, text))
		return 1;
	place(file, TAKEOVER_FIRST_FD);
	place(open("/dev/null", O_RDWR), TAKEOVER_FIRST_FD + 1);
	place(open("/dev/zero", O_RDWR), TAKEOVER_FIRST_FD + 2);
	if (type1)
		place(open("/dev/full", O_RDWR), TAKEOVER_FIRST_FD + 3);
	setenv(TAKEOVER_VARIABLE, text, 1);
	setenv("LD_PRELOAD", argv[1], 1);
	execv("/proc/self/exe", argv);
	return 1;
}

int main(int argc, char **argv)
{
	bool type1 = argc == 3 && !strcmp(argv[2], "type1");

	if (argc != 2 && !type1)
		return 2;
	if (!getenv(TAKEOVER_VARIABLE))
		return start(argv, type1);
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, TAKEOVER_FIRST_FD, 0);
	if (memory == MAP_FAILED)
		return 1;
	return type1 ? run_type1() : run_iommufd();
}
