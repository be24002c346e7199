/* SPDX-License-Identifier: MIT */
/* The files of slots.d. */
#include <unistd.h>

#include "../../tools/daemon/config.h"
#include "host.h"

static bool read_text(const char *text, struct slot_class *class, char error[512])
{
	FILE *file = fmemopen((char *)text, strlen(text), "r");
	bool right;

	assert_non_null(file);
	right = config_read_class(file, "web", class, error);
	fclose(file);
	return right;
}

static void test_all_keys(void **state)
{
	static const char text[] = "# a comment\n"
				   "count = 2\n"
				   "memory = 2G   # and another one\n"
				   "page-size = 2m\n"
				   "nodes = 0, 1\n"
				   "layout = q35\n"
				   "backend = iommufd\n"
				   "devices = 0000:01:00.0 0000:02:00.0\n"
				   "devices = 0000:03:00.0,0000:04:00.0\n"
				   "devices-per-slot = 2\n"
				   "allow = user:root group:0\n"
				   "allow = cgroup:/machine.slice/\n"
				   "max-per-user = 3\n"
				   "rate = 512M\n"
				   "shrink = no\n";
	static struct slot_class class;
	char error[512];

	(void)state;
	assert_true(read_text(text, &class, error));
	assert_string_equal(class.name, "web");
	assert_int_equal(class.count, 2);
	assert_int_equal(class.bytes, UINT64_C(2) << 30);
	assert_int_equal(class.page_size, VFB_PAGE_2M);
	assert_int_equal(class.node_count, 2);
	assert_int_equal(class.nodes[1], 1);
	assert_string_equal(class.layout, "q35");
	assert_int_equal(class.backend, VFB_BACKEND_IOMMUFD);
	assert_int_equal(class.device_count, 4);
	assert_string_equal(class.devices[3], "0000:04:00.0");
	assert_int_equal(class.allow_count, 3);
	assert_int_equal(class.allow[0].kind, ALLOW_USER);
	assert_int_equal(class.allow[1].kind, ALLOW_GROUP);
	assert_string_equal(class.allow[2].path, "/machine.slice");
	assert_int_equal(class.max_per_user, 3);
	assert_int_equal(class.rate, UINT64_C(512) << 20);
	assert_false(class.shrink);
}

static void test_wrong(void **state)
{
	static const struct {
		const char *text, *error;
	} wrong[] = {
		{"count = 2\n", "memory is missing"},
		{"memory = 64M\n", "allow is missing"},
		{"memory = 64M\nallow = user:nobody-of-that-name\n", "line 2: allow has to be"},
		{"memory = 64M\nallow = everybody\n", "line 2"},
		{"memory = 64M\nallow = cgroup:relative\n", "line 2"},
		{"memory\n", "has no \"=\""},
		{"memory = 64X\n", "line 1: memory has to be"},
		{"memory = 99999999999999999999\n", "line 1"},
		/* 2^64 and a page, which would become a page. */
		{"memory = 18014398509481988K\n", "line 1"},
		{"memory = 4KB\n", "line 1"},
		{"memory = 0\n", "line 1"},
		{"memory = -1\n", "line 1"},
		{"memory = 4097\n", "line 1"},
		{"colour = red\n", "\"colour\" is not known"},
		{"count = 257\n", "line 1"},
		{"nodes = 0 x\n", "line 1"},
		{"devices = 01:00.0\n", "line 1"},
		{"devices = 0000:01:00.0x\n", "line 1"},
		{"page-size = huge\n", "line 1"},
		{"rate = 1K\n", "line 1"},
		{"memory = 3M\npage-size = 2m\nallow = user:0\n", "not a multiple of 2M"},
		{"memory = 1M\nlayout = q35\nallow = user:0\n", "layout q35 needs more"},
		{"memory = 2M\nallow = user:0\nlevel = 3\n", "line 3"},
		{"memory = 2M\nallow = user:0\nlevel = 1\n", "needs devices"},
		{"memory = 2M\nallow = user:0\nlevel = 0\ndevices = 0000:01:00.0\n",
		 "has no devices"},
		{"memory = 2M\nallow = user:0\nlevel = 1\nbackend = type1\n"
		 "devices = 0000:01:00.0\n",
		 "needs iommufd"},
		{"memory = 2M\nallow = user:0\nlevel = 1\ndevices-per-slot = 2\n"
		 "devices = 0000:01:00.0 0000:02:00.0\n",
		 "has to be 1"},
		{"memory = 2M\nallow = user:0\ncount = 2\ndevices = 0000:01:00.0\n",
		 "too few devices"},
	};
	static struct slot_class class;
	char error[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		assert_false(read_text(wrong[i].text, &class, error));
		if (!strstr(error, wrong[i].error))
			fail_msg("\"%s\" instead of \"%s\"", error, wrong[i].error);
	}
}

static void write_file(const char *folder, const char *name, const char *text)
{
	char path[300];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void test_folder(void **state)
{
	static const char *const names[] = {"b.conf", "a.conf", "readme", ".hidden.conf",
					    "bad name.conf"};
	static struct slot_class classes[MAX_CLASSES];
	char folder[] = "/tmp/slots-XXXXXX", path[300], error[512];

	(void)state;
	assert_non_null(mkdtemp(folder));
	assert_int_equal(config_read_folder(folder, classes, error), 0);
	for (size_t i = 0; i < 4; i++)
		write_file(folder, names[i], i < 2 ? "memory = 2M\nallow = user:0\n" : "nonsense");
	assert_int_equal(config_read_folder(folder, classes, error), 2);
	assert_string_equal(classes[0].name, "a");
	assert_string_equal(classes[1].name, "b");
	write_file(folder, names[4], "memory = 2M\nallow = user:0\n");
	assert_int_equal(config_read_folder(folder, classes, error), -1);
	assert_non_null(strstr(error, "bad name.conf"));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		unlink(path);
	}
	rmdir(folder);
	assert_int_equal(config_read_folder(folder, classes, error), 0);
	assert_int_equal(config_read_folder("/dev/null", classes, error), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_keys),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
