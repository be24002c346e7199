/* SPDX-License-Identifier: MIT */
/* Structs that begin with their size, from callers of older and of newer versions. */
#include <stdalign.h>

#include "context.h"
#include "host.h"
#include "options.h"

/* The most that any of them is, with a part that this version does not know. */
#define ROOM  512
#define EXTRA 16

struct guest {
	struct host host;
	struct vfb_device *device;
	struct vfb_memory *memory;
};

/* Calls with a struct that is @size large; the result. */
typedef int (*call_fn)(struct guest *guest, void *given);

static int ctx_create(struct guest *guest, void *given)
{
	struct vfb_ctx *ctx = (void *)1;
	int error = vfb_ctx_create_with(guest->host.sys, given, &ctx);

	if (error)
		assert_null(ctx);
	else
		assert_ok(vfb_ctx_destroy(ctx));
	return error;
}

static int memory_create(struct guest *guest, void *given)
{
	struct vfb_memory *memory = (void *)1;
	int error;

	/* Where there is room for it. */
	if (((struct vfb_memory_opts *)given)->size >= sizeof(size_t) + sizeof(uint64_t))
		((struct vfb_memory_opts *)given)->bytes = 2 * MIB;
	error = vfb_memory_create(guest->host.ctx, given, &memory);
	if (error)
		assert_null(memory);
	else
		assert_ok(vfb_memory_destroy(memory));
	/* Older than the first version: it says nothing of a size. */
	return error == -EINVAL && strstr(vfb_last_error(), "0 bytes") ? 0 : error;
}

static int space_create(struct guest *guest, void *given)
{
	struct vfb_space *space = (void *)1;
	int error = vfb_space_create(guest->host.ctx, given, &space);

	if (error)
		assert_null(space);
	else
		assert_ok(vfb_space_destroy(space));
	return error;
}

static int batch_open(struct guest *guest, void *given)
{
	struct vfb_job *job = (void *)1;
	int error = vfb_devices_open_start(guest->host.space, NULL, 0, given, &job);

	if (error)
		assert_null(job);
	else
		vfb_job_destroy(job);
	return error;
}

static int batch_map(struct guest *guest, void *given)
{
	struct vfb_job *job = (void *)1;
	int error = vfb_space_map_start(guest->host.space, NULL, 0, given, &job);

	if (error)
		assert_null(job);
	else
		vfb_job_destroy(job);
	return error;
}

static int batch_unmap(struct guest *guest, void *given)
{
	struct vfb_job *job = (void *)1;
	int error = vfb_space_unmap_start(guest->host.space, NULL, 0, given, &job);

	if (error)
		assert_null(job);
	else
		vfb_job_destroy(job);
	return error;
}

static int batch_close(struct guest *guest, void *given)
{
	struct vfb_job *job = (void *)1;
	int error = vfb_devices_close_start(&guest->device, 1, given, &job);

	if (error) {
		assert_null(job);
		return error;
	}
	vfb_job_destroy(job);
	open_devices(&guest->host, 1, &guest->device);
	return 0;
}

static int memory_info(struct guest *guest, void *given)
{
	return vfb_memory_info(guest->memory, given);
}

static int space_info(struct guest *guest, void *given)
{
	return vfb_space_info(guest->host.space, given);
}

static int device_info(struct guest *guest, void *given)
{
	return vfb_device_info(guest->device, given);
}

static int region_info(struct guest *guest, void *given)
{
	return vfb_region_info(guest->device, 0, given);
}

static int irq_info(struct guest *guest, void *given)
{
	return vfb_irq_info(guest->device, VFB_IRQ_MSIX, given);
}

static int region_map_opts(struct guest *guest, void *given)
{
	void *address = (void *)1;
	int error = vfb_region_map(guest->device, 0, given, &address);

	assert_true(!error == !!address);
	return error ? error : vfb_region_unmap(guest->device, 0);
}

static int reaper_opts(struct guest *guest, void *given)
{
	struct vfb_reaper *reaper = (void *)1;
	int error = vfb_reaper_start(&guest->device, 1, given, &reaper);

	assert_true(!error == !!reaper);
	vfb_reaper_destroy(reaper);
	return error;
}

static int pci_info(struct guest *guest, void *given)
{
	return vfb_pci_info(guest->host.ctx, addresses[0], given);
}

static int job_progress(struct guest *guest, void *given)
{
	struct vfb_job *job;
	int error;

	assert_ok(vfb_memory_populate_start(&guest->memory, 1, &job));
	error = vfb_job_progress(job, given);
	vfb_job_destroy(job);
	return error;
}

static const struct {
	const char *name;
	call_fn call;
	size_t bytes;
} structs[] = {
	{"ctx_opts", ctx_create, sizeof(struct vfb_ctx_opts)},
	{"memory_opts", memory_create, sizeof(struct vfb_memory_opts)},
	{"space_opts", space_create, sizeof(struct vfb_space_opts)},
	{"batch_opts (open)", batch_open, sizeof(struct vfb_batch_opts)},
	{"batch_opts (map)", batch_map, sizeof(struct vfb_batch_opts)},
	{"batch_opts (unmap)", batch_unmap, sizeof(struct vfb_batch_opts)},
	{"batch_opts (close)", batch_close, sizeof(struct vfb_batch_opts)},
	{"memory_info", memory_info, sizeof(struct vfb_memory_info)},
	{"space_info", space_info, sizeof(struct vfb_space_info)},
	{"device_info", device_info, sizeof(struct vfb_device_info)},
	{"region_info", region_info, sizeof(struct vfb_region_info)},
	{"irq_info", irq_info, sizeof(struct vfb_irq_info)},
	{"region_map_opts", region_map_opts, sizeof(struct vfb_region_map_opts)},
	{"reaper_opts", reaper_opts, sizeof(struct vfb_reaper_opts)},
	{"pci_info", pci_info, sizeof(struct vfb_pci_info)},
	{"job_progress", job_progress, sizeof(struct vfb_job_progress)},
};

static struct guest *open_guest(struct guest *guest)
{
	host_start(&guest->host, NULL, VFB_BACKEND_TYPE1, 1, &guest->device);
	guest->memory = make_memory(&guest->host, 2 * MIB, VFB_PAGE_4K);
	return guest;
}

static void close_guest(struct guest *guest)
{
	vfb_device_close(guest->device);
	assert_ok(vfb_memory_destroy(guest->memory));
	host_close(&guest->host);
}

static void set_size(unsigned char *given, size_t size)
{
	memcpy(given, &size, sizeof(size));
}

static void test_no_size(void **state)
{
	alignas(16) unsigned char given[ROOM] = {0};
	struct guest guest;

	(void)state;
	open_guest(&guest);
	for (size_t i = 0; i < ARRAY_SIZE(structs); i++)
		for (size_t size = 0; size < sizeof(size_t); size++) {
			char words[16];

			memset(given, 0, sizeof(given));
			set_size(given, size);
			snprintf(words, sizeof(words), "is %zu", size);
			assert_fails(structs[i].call(&guest, given), -EINVAL, words, "sizeof()");
		}
	close_guest(&guest);
}

/* A caller that was built against a newer version, and uses nothing of it, or something. */
static void test_newer(void **state)
{
	alignas(16) unsigned char given[ROOM] = {0};
	struct guest guest;

	(void)state;
	open_guest(&guest);
	for (size_t i = 0; i < ARRAY_SIZE(structs); i++) {
		memset(given, 0, sizeof(given));
		set_size(given, structs[i].bytes + EXTRA);
		assert_ok(structs[i].call(&guest, given));
		for (size_t tail = 0; tail < EXTRA; tail++) {
			memset(given, 0, sizeof(given));
			set_size(given, structs[i].bytes + EXTRA);
			given[structs[i].bytes + tail] = 1;
			assert_fails(structs[i].call(&guest, given), -E2BIG, "newer library",
				     vfb_version());
		}
		/* What is behind it is not its own. */
		memset(given, 0, sizeof(given));
		memset(given + structs[i].bytes, 0xff, EXTRA);
		set_size(given, structs[i].bytes);
		assert_ok(structs[i].call(&guest, given));
		for (size_t tail = 0; tail < EXTRA; tail++)
			assert_int_equal(given[structs[i].bytes + tail], 0xff);
	}
	close_guest(&guest);
}

/* A caller that was built against an older version: only its part is read or written. */
static void test_older(void **state)
{
	alignas(16) unsigned char given[ROOM] = {0};
	struct vfb_memory_info info = {.size = offsetof(struct vfb_memory_info, fd), .fd = 77};
	struct guest guest;

	(void)state;
	open_guest(&guest);
	for (size_t i = 0; i < ARRAY_SIZE(structs); i++)
		for (size_t size = sizeof(size_t); size < structs[i].bytes; size += 4) {
			memset(given, 0, sizeof(given));
			/* Rubbish that must not be read as options. */
			memset(given + size, 0xee, sizeof(given) - size);
			set_size(given, size);
			assert_ok(structs[i].call(&guest, given));
			for (size_t n = size; n < ROOM; n++)
				assert_int_equal(given[n], 0xee);
		}
	assert_ok(vfb_memory_info(guest.memory, &info));
	assert_int_equal(info.size, offsetof(struct vfb_memory_info, fd));
	assert_ptr_equal(info.address, address_of(guest.memory));
	assert_int_equal(info.bytes, 2 * MIB);
	assert_int_equal(info.fd, 77);
	close_guest(&guest);
}

/* Flags that are not known are refused, as fields are. */
static void test_batch_flags(void **state)
{
	struct vfb_batch_opts opts = {.size = sizeof(opts), .flags = 0x80};
	struct guest guest;

	(void)state;
	open_guest(&guest);
	for (size_t i = 0; i < ARRAY_SIZE(structs); i++)
		if (!strncmp(structs[i].name, "batch", 5))
			assert_fails(structs[i].call(&guest, &opts), -EINVAL, "0x80", "unknown");
	close_guest(&guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_size),
		cmocka_unit_test(test_newer),
		cmocka_unit_test(test_older),
		cmocka_unit_test(test_batch_flags),
	};

	return cmocka_run_group_tests_name("structs", tests, NULL, NULL);
}
