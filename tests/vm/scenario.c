/* SPDX-License-Identifier: MIT */
#include "scenario.h"

#include <unistd.h>

void check_result(const char *call, int result, int expected, const char *file, int line)
{
	if (result == expected)
		return;
	print_error("%s\ngave %d (%s), not %d (%s): \"%s\"\n", call, result, strerror(-result),
		    expected, strerror(-expected), result ? vfb_last_error() : "");
	_fail(file, line);
}

void check_return(const char *call, int result, int expected, const char *file, int line)
{
	if (result == expected)
		return;
	print_error("%s\nreturned %d (%s), not %d (%s)\n", call, result,
		    strerror(result < 0 ? -result : 0), expected,
		    strerror(expected < 0 ? -expected : 0));
	_fail(file, line);
}

void check_text(const char *part, const char *file, int line)
{
	if (strstr(vfb_last_error(), part))
		return;
	print_error("the error should say \"%s\": \"%s\"\n", part, vfb_last_error());
	_fail(file, line);
}

uint64_t scenario_iova = GIB;

void await_unpinned(const struct fixture *f)
{
	if (f->machine->is_spapr && f->machine->attach_takes_time)
		usleep(500000);
}

const char *short_address(const char *address)
{
	return strncmp(address, "0000:", 5) ? address : address + 5;
}

const char *device_of(const struct fixture *f, size_t n, size_t count)
{
	return f->machine->devices[n * f->machine->device_count / count];
}

struct vfb_space *make_space(struct fixture *f)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_space *space;

	opts.backend = f->backend;
	assert_ok(vfb_space_create(f->ctx, &opts, &space));
	return space;
}

void open_devices(struct fixture *f, struct vfb_space *space, struct vfb_device **devices,
		  size_t count)
{
	struct vfb_device_request requests[MACHINE_DEVICES] = {0};

	for (size_t i = 0; i < count; i++)
		requests[i].address = device_of(f, i, count);
	assert_ok(vfb_devices_open(space, requests, count, NULL));
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(requests[i].status, 0);
		assert_non_null(requests[i].device);
		devices[i] = requests[i].device;
	}
}

struct vfb_space *make_space_with_device(struct fixture *f, struct vfb_device **device)
{
	struct vfb_space *space = make_space(f);

	assert_ok(vfb_device_open(space, f->machine->devices[0], device));
	return space;
}

void end_space(struct vfb_space *space, struct vfb_device *device)
{
	vfb_device_close(device);
	assert_ok(vfb_space_destroy(space));
}

struct vfb_memory *make_memory(struct fixture *f, uint64_t bytes, enum vfb_page_size page_size)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory *memory;

	opts.bytes = bytes;
	opts.page_size = page_size;
	assert_ok(vfb_memory_create(f->ctx, &opts, &memory));
	return memory;
}

struct vfb_range range_of(struct vfb_memory *memory, uint64_t bytes, uint64_t iova)
{
	return (struct vfb_range){.memory = memory, .bytes = bytes, .iova = iova};
}

int map_one(struct vfb_space *space, struct vfb_memory *memory, uint64_t bytes, uint64_t iova)
{
	struct vfb_range range = range_of(memory, bytes, iova);

	return vfb_space_map(space, &range, 1, NULL);
}

int unmap_one(struct vfb_space *space, uint64_t iova, uint64_t bytes)
{
	struct vfb_range range = range_of(NULL, bytes, iova);

	return vfb_space_unmap(space, &range, 1, NULL);
}

void assert_holds(struct vfb_space *space, size_t devices, size_t mappings, uint64_t bytes)
{
	struct vfb_space_info info = VFB_SPACE_INFO_INIT;

	assert_ok(vfb_space_info(space, &info));
	assert_int_equal(info.devices, devices);
	assert_int_equal(info.mappings, mappings);
	assert_int_equal(info.mapped_bytes, bytes);
}

uint64_t entries_left(struct vfb_space *space)
{
	struct vfb_space_info info = VFB_SPACE_INFO_INIT;

	assert_ok(vfb_space_info(space, &info));
	return info.entries_left;
}

void mark(struct vfb_device *device)
{
	uint64_t value = 0;

	assert_ok(vfb_region_store(device, 0, NVME_INTMS, 4, MARK));
	assert_ok(vfb_region_load(device, 0, NVME_INTMS, 4, &value));
	assert_int_equal(value, MARK);
}

bool is_marked(struct vfb_device *device)
{
	uint64_t value = 1;

	assert_ok(vfb_region_load(device, 0, NVME_INTMS, 4, &value));
	return value;
}
