/* SPDX-License-Identifier: MIT */
/* Error texts: of this thread, kept with a job, never too long; and sizes as words. */
#include "observe/error.h"

#include <pthread.h>

#include "host.h"

static void test_sizes(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} sizes[] = {
		{0, "0 bytes"},
		{1, "1 bytes"},
		{1023, "1023 bytes"},
		{1024, "1 KiB"},
		{4097, "4097 bytes"},
		{64 * MIB, "64 MiB"},
		{GIB + MIB, "1025 MiB"},
		{2 * GIB, "2 GiB"},
		{UINT64_C(5) << 40, "5 TiB"},
		{UINT64_C(3) << 50, "3072 TiB"},
		{UINT64_MAX, "18446744073709551615 bytes"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		assert_string_equal(vfb_size_text(sizes[i].bytes).text, sizes[i].text);
}

static void test_texts(void **state)
{
	char saved[VFB_ERROR_BYTES];

	(void)state;
	assert_int_equal(vfb_fail(-EINVAL, "%s %d", "number", 7), -EINVAL);
	assert_string_equal(vfb_last_error(), "number 7");
	assert_int_equal(vfb_fail_errno(-ENOENT, "cannot open %s", "/x"), -ENOENT);
	assert_string_equal(vfb_last_error(), "cannot open /x: No such file or directory");
	vfb_fail_errno(-99999, "odd");
	assert_string_equal(vfb_last_error(), "odd: unknown error");
	vfb_error_save(saved);
	assert_int_equal(vfb_fail_memory(), -ENOMEM);
	assert_string_equal(vfb_last_error(), "out of memory");
	vfb_error_restore(saved);
	assert_string_equal(vfb_last_error(), "odd: unknown error");
}

static void test_long(void **state)
{
	char text[2 * VFB_ERROR_BYTES];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	vfb_fail(-EINVAL, "%s", text);
	assert_int_equal(strlen(vfb_last_error()), VFB_ERROR_BYTES - 1);
	vfb_fail_errno(-EINVAL, "%s", text);
	assert_int_equal(strlen(vfb_last_error()), VFB_ERROR_BYTES - 1);
	/* Room for half of the kernel's word. */
	text[VFB_ERROR_BYTES - 5] = '\0';
	vfb_fail_errno(-ENOENT, "%s", text);
	assert_int_equal(strlen(vfb_last_error()), VFB_ERROR_BYTES - 1);
	assert_string_equal(vfb_last_error() + VFB_ERROR_BYTES - 5, ": No");
}

static void *other_thread(void *arg)
{
	char *before = arg;

	snprintf(before, 64, "%s", vfb_last_error());
	vfb_fail(-EIO, "another thread's");
	return NULL;
}

static void test_threads(void **state)
{
	char before[64] = "unset";
	pthread_t thread;

	(void)state;
	vfb_fail(-EIO, "mine");
	assert_int_equal(pthread_create(&thread, NULL, other_thread, before), 0);
	pthread_join(thread, NULL);
	assert_string_equal(before, "");
	assert_string_equal(vfb_last_error(), "mine");
}

/* A call that succeeds leaves the text of the last one that failed. */
static void test_stays(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, NULL);
	assert_int_equal(vfb_memory_create(host.ctx, NULL, &(struct vfb_memory *){NULL}), -EINVAL);
	assert_int_equal(vfb_memory_destroy(NULL), 0);
	assert_non_null(strstr(vfb_last_error(), "0 bytes"));
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes), cmocka_unit_test(test_texts),
		cmocka_unit_test(test_long),  cmocka_unit_test(test_threads),
		cmocka_unit_test(test_stays),
	};

	return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
