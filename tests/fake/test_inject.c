/* SPDX-License-Identifier: MIT */
/* Failures on demand, and misuse. */
#include <fcntl.h>
#include <linux/vfio.h>

#include "test_fake.h"

/* 0 when all went well. Lets nothing behind. */
static int scenario(const struct vfb_sys *sys)
{
	int container = sys->open(sys, "/dev/vfio/vfio", O_RDWR);
	int group, error;

	if (container < 0)
		return container;
	group = sys->open(sys, "/dev/vfio/1", O_RDWR);
	error = group < 0 ? group : sys->ioctl(sys, group, VFIO_GROUP_SET_CONTAINER, &container);
	if (!error)
		error = sys->ioctl(sys, container, VFIO_SET_IOMMU,
				   (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU);
	if (group >= 0)
		sys->close(sys, group);
	sys->close(sys, container);
	return error;
}

static void test_failures(void **state)
{
	static const char *const names[] = {"open:/dev/vfio/vfio", "open:/dev/vfio/1",
					    "VFIO_GROUP_SET_CONTAINER", "VFIO_SET_IOMMU"};
	struct fake *fake;
	int error;

	(void)state;
	for (unsigned int n = 1;; n++) {
		fake = fake_create(NULL);
		add_device(fake, "0000:00:01.0", 1, NULL);
		fake_fail_nth(fake, n, n == 2 ? EACCES : 0);
		error = scenario(fake_sys(fake));
		assert_no_leaks(fake);
		if (!fake_failed(fake))
			break;
		assert_true(n <= 4);
		assert_string_equal(fake_failed(fake), names[n - 1]);
		assert_int_equal(error, n == 2 ? -EACCES : n == 1 ? -EMFILE : -ENOMEM);
		fake_destroy(fake);
	}
	assert_int_equal(error, 0);
	assert_int_equal(fake_calls(fake), 4);
	fake_fail_none(fake);
	fake_fail_call(fake, "open", 2, ENOENT);
	fake_fail_delay(fake, 5 * MS);
	assert_int_equal(scenario(fake_sys(fake)), -ENOENT);
	assert_string_equal(fake_failed(fake), "open:/dev/vfio/1");
	assert_int_equal(scenario(fake_sys(fake)), 0);
	fake_fail_call(fake, "VFIO_SET_IOMMU", 0, EPERM);
	assert_int_equal(scenario(fake_sys(fake)), -EPERM);
	assert_int_equal(scenario(fake_sys(fake)), -EPERM);
	fake_fail_none(fake);
	assert_int_equal(scenario(fake_sys(fake)), 0);
	fake_destroy(fake);
}

static void test_misuse(void **state)
{
	struct fake *fake = fake_create(NULL);
	const struct vfb_sys *sys = fake_sys(fake);
	char text[1024];

	(void)state;
	sys->close(sys, 1000);
	assert_int_equal(sys->ioctl(sys, 1000, 1, NULL), -EBADF);
	assert_int_equal(fake_leaks(fake, text, sizeof(text)), 2);
	assert_non_null(strstr(text, "misuse: closed fd 1000"));
	fake_destroy(fake);
}

/* No system call that may sleep is made with a lock held (sys.h). */
static void test_locks(void **state)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	struct fake *fake = fake_create(NULL);
	const struct vfb_sys *sys = fake_sys(fake);
	char text[1024];

	(void)state;
	sys->sleep(sys, 1);
	assert_int_equal(fake_leaks(fake, text, sizeof(text)), 0);
	pthread_mutex_lock(&mutex);
	sys->sleep(sys, 1);
	assert_int_equal(sys->open(sys, "/nonexistent", 0), -ENOENT);
	pthread_mutex_unlock(&mutex);
	assert_int_equal(fake_leaks(fake, text, sizeof(text)), 2);
	assert_non_null(strstr(text, "misuse: sleep with 1 locks held"));
	assert_non_null(strstr(text, "misuse: /nonexistent with 1 locks held"));
	fake_destroy(fake);
}

int run_inject_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_misuse),
		cmocka_unit_test(test_locks),
	};

	return cmocka_run_group_tests_name("fake: inject", tests, NULL, NULL);
}
