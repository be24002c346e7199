/* SPDX-License-Identifier: MIT */
/* Spaces and memory that the caller has made; and domains that stay. */
#include <linux/vfio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "caller.h"

#define BYTES CALLER_BYTES
#define IOVA  GIB
#define OWN   CALLER_IOVA

/* The library maps beside the caller, and leaves what is the caller's alone. */
static void space(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, 2 * BYTES, VFB_PAGE_THP);
	struct vfb_device *device;
	struct caller caller;
	struct vfb_space *space;

	caller_open(f, &caller, 0);
	caller_attach(f, &caller);
	caller_map(f, &caller);
	assert_ok(vfb_space_adopt(f->ctx, caller.space, caller.ioas, NULL, &space));
	assert_ok(map_one(space, memory, BYTES, IOVA));
	assert_int_equal(machine_pinned(), 2 * BYTES);
	assert_error(map_one(space, memory, BYTES, OWN), -EEXIST);
	assert_says("does not know of");
	assert_ok(vfb_space_unmap_all(space));
	assert_holds(space, 0, 0, 0);
	assert_int_equal(machine_pinned(), BYTES);
	/* A device of the library's comes and goes; the domain is the caller's. */
	assert_ok(map_one(space, memory, BYTES, IOVA));
	assert_ok(vfb_device_open(space, f->machine->devices[1], &device));
	assert_int_equal(machine_pinned(), 2 * BYTES);
	vfb_device_close(device);
	assert_int_equal(machine_pinned(), 2 * BYTES);
	assert_ok(map_one(space, memory, 2 * BYTES, 2 * IOVA));
	assert_int_equal(machine_pinned(), 4 * BYTES);
	assert_ok(vfb_space_destroy(space));
	assert_int_equal(machine_pinned(), BYTES);
	caller_unmap(f, &caller);
	caller_close(&caller);
	assert_ok(vfb_memory_destroy(memory));
}

/* The caller's device comes after the first batch: that is mapped with the next one. */
static void space_before_device(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, 2 * BYTES, VFB_PAGE_THP);
	struct caller caller;
	struct vfb_space *space;

	caller_open(f, &caller, 0);
	assert_ok(vfb_space_adopt(f->ctx, caller.space, caller.ioas, NULL, &space));
	assert_ok(map_one(space, memory, BYTES, IOVA));
	assert_int_equal(machine_pinned(), 0);
	caller_attach(f, &caller);
	assert_ok(map_one(space, memory, BYTES, 2 * IOVA));
	assert_int_equal(machine_pinned(), 2 * BYTES);
	assert_ok(vfb_space_destroy(space));
	assert_int_equal(machine_pinned(), 0);
	caller_close(&caller);
	assert_ok(vfb_memory_destroy(memory));
}

/*
 * The caller closes its last device, and keeps the space open: type1 drops all mappings then.
 * @again: and attaches it once more.
 */
static void check_last_device(struct fixture *f, bool again)
{
	struct vfb_memory *memory = make_memory(f, 3 * BYTES, VFB_PAGE_THP);
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_space *space;
	struct caller caller;

	opts.backend = f->backend;
	caller_open_device(f, &caller, 0);
	assert_ok(vfb_space_adopt(f->ctx, caller.space, caller.ioas, &opts, &space));
	for (uint64_t i = 0; i < 3; i++) {
		struct vfb_range range = {.memory = memory,
					  .offset = i * BYTES,
					  .bytes = BYTES,
					  .iova = IOVA + i * 2 * BYTES};

		assert_ok(vfb_space_map(space, &range, 1, NULL));
	}
	machine_close(caller.device);
	caller.device = -1;
	if (again && f->backend == VFB_BACKEND_TYPE1) {
		assert_returns(machine_ioctl(caller.group, VFIO_GROUP_UNSET_CONTAINER, NULL), 0);
	} else if (caller.group >= 0) {
		machine_close(caller.group);
		caller.group = -1;
	}
	assert_int_equal(machine_pinned(), 0);
	if (!again && f->backend == VFB_BACKEND_TYPE1) {
		assert_error(map_one(space, memory, BYTES, 4 * IOVA), -ENXIO);
		assert_says("nothing is attached");
	}
	if (again && f->backend == VFB_BACKEND_TYPE1) {
		caller_attach(f, &caller);
		caller_get_device(&caller);
	}
	assert_ok(unmap_one(space, IOVA, BYTES));
	assert_ok(vfb_space_destroy(space));
	caller_close(&caller);
	assert_ok(vfb_memory_destroy(memory));
}

static void last_device(struct fixture *f)
{
	check_last_device(f, false);
	check_last_device(f, true);
}

/*
 * The library brings the IOMMU of a container in which the caller has a group: it stays, with all
 * mappings, when the library's last device goes.
 */
static void caller_keeps_domain(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, 2 * BYTES, VFB_PAGE_THP);
	struct vfb_device *device;
	struct caller caller;
	struct vfb_space *space;

	caller_open(f, &caller, 0);
	assert_returns(machine_ioctl(caller.group, VFIO_GROUP_SET_CONTAINER, &caller.space), 0);
	assert_ok(vfb_space_adopt(f->ctx, caller.space, 0, NULL, &space));
	assert_ok(map_one(space, memory, BYTES, IOVA));
	assert_int_equal(machine_pinned(), 0);
	for (int i = 0; i < 2; i++) {
		assert_ok(vfb_device_open(space, f->machine->devices[1], &device));
		assert_int_equal(machine_pinned(), BYTES);
		vfb_device_close(device);
		assert_int_equal(machine_pinned(), BYTES);
	}
	assert_ok(map_one(space, memory, 2 * BYTES, 2 * IOVA));
	assert_int_equal(machine_pinned(), 3 * BYTES);
	assert_ok(unmap_one(space, IOVA, BYTES));
	assert_int_equal(machine_pinned(), 2 * BYTES);
	assert_ok(vfb_space_destroy(space));
	assert_int_equal(machine_pinned(), 0);
	caller_close(&caller);
	assert_ok(vfb_memory_destroy(memory));
}

static void wrong_space(struct fixture *f)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_space *space = (void *)1;
	struct caller caller;

	caller_open(f, &caller, 0);
	assert_error(vfb_space_adopt(f->ctx, -1, caller.ioas, NULL, &space), -EINVAL);
	assert_null(space);
	if (f->backend == VFB_BACKEND_IOMMUFD) {
		opts.backend = VFB_BACKEND_TYPE1;
		assert_error(vfb_space_adopt(f->ctx, caller.space, 0, &opts, &space), -EINVAL);
		assert_says("it is an iommufd");
		assert_error(vfb_space_adopt(f->ctx, caller.space, 99, NULL, &space), -ENOENT);
		assert_says("99");
		assert_error(vfb_space_adopt(f->ctx, caller.device, 1, NULL, &space), -EINVAL);
	} else {
		opts.backend = VFB_BACKEND_IOMMUFD;
		assert_error(vfb_space_adopt(f->ctx, caller.space, 0, &opts, &space), -EINVAL);
		assert_says("it is not an iommufd");
	}
	caller_close(&caller);
}

/* What is mapped is pinned while no device is open, and the next one finds it. */
static void kept_domain(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_THP);
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_device *devices[2];
	struct vfb_space *space;

	opts.backend = f->backend;
	opts.flags = VFB_SPACE_KEEP_DOMAIN;
	if (f->backend == VFB_BACKEND_TYPE1) {
		assert_error(vfb_space_create(f->ctx, &opts, &space), -ENOTSUP);
		assert_says("VFB_SPACE_KEEP_DOMAIN");
		assert_ok(vfb_memory_destroy(memory));
		return;
	}
	assert_ok(vfb_space_create(f->ctx, &opts, &space));
	if (f->by_group) {
		assert_error(vfb_device_open(space, f->machine->devices[0], devices), -ENOTSUP);
		assert_says("VFB_SPACE_KEEP_DOMAIN");
		end_space(space, NULL);
		assert_ok(vfb_memory_destroy(memory));
		return;
	}
	open_devices(f, space, devices, 2);
	assert_ok(map_one(space, memory, BYTES, IOVA));
	assert_int_equal(machine_pinned(), BYTES);
	vfb_device_close(devices[0]);
	vfb_device_close(devices[1]);
	assert_int_equal(machine_pinned(), BYTES);
	assert_ok(map_one(space, memory, BYTES, 2 * IOVA));
	assert_int_equal(machine_pinned(), 2 * BYTES);
	open_devices(f, space, devices, 1);
	assert_int_equal(machine_pinned(), 2 * BYTES);
	assert_ok(unmap_one(space, IOVA, BYTES));
	end_space(space, devices[0]);
	assert_ok(vfb_memory_destroy(memory));
}

/* By file, by address, or as the kernel can. */
static void map_by(struct fixture *f)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_space_opts space_opts = VFB_SPACE_OPTS_INIT;
	struct vfb_memory *shared, *private = make_memory(f, BYTES, VFB_PAGE_THP);

	opts.bytes = 8 * BYTES;
	opts.kind = VFB_MEMORY_MEMFD;
	opts.page_size = VFB_PAGE_2M;
	assert_ok(vfb_memory_create(f->ctx, &opts, &shared));
	space_opts.backend = f->backend;
	for (int by = VFB_MAP_BY_BEST; by <= VFB_MAP_BY_FILE; by++) {
		struct vfb_device *device;
		struct vfb_space *space;
		struct vfb_range range = range_of(shared, 4 * BYTES, IOVA);

		space_opts.map_by = by;
		range.offset = 2 * BYTES;
		assert_ok(vfb_space_create(f->ctx, &space_opts, &space));
		assert_ok(vfb_device_open(space, f->machine->devices[0], &device));
		assert_ok(vfb_space_map(space, &range, 1, NULL));
		assert_int_equal(machine_pinned(), 4 * BYTES);
		if (by == VFB_MAP_BY_FILE && f->backend == VFB_BACKEND_IOMMUFD) {
			assert_error(map_one(space, private, BYTES, 2 * IOVA), -ENOTSUP);
			assert_says("without a memfd");
		} else {
			assert_ok(map_one(space, private, BYTES, 2 * IOVA));
		}
		assert_ok(vfb_space_unmap_all(space));
		assert_int_equal(machine_pinned(), 0);
		end_space(space, device);
	}
	space_opts.map_by = 99;
	assert_error(vfb_space_create(f->ctx, &space_opts, &(struct vfb_space *){NULL}), -EINVAL);
	assert_ok(vfb_memory_destroy(shared));
	assert_ok(vfb_memory_destroy(private));
}

static struct vfb_memory *make_shared(struct fixture *f)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory *memory;

	opts.bytes = 4 * BYTES;
	opts.kind = VFB_MEMORY_MEMFD;
	opts.page_size = VFB_PAGE_4K;
	assert_ok(vfb_memory_create(f->ctx, &opts, &memory));
	return memory;
}

/* The new process: a context of its own over what it was handed, with memory mapped elsewhere. */
static void take_over(struct fixture *f, const struct vfb_space_info *old, int fd)
{
	struct vfb_memory_adopt_opts opts = VFB_MEMORY_ADOPT_OPTS_INIT;
	struct vfb_translation piece;
	struct vfb_range ranges[2];
	struct vfb_memory *memory;
	struct vfb_space *space;
	struct vfb_ctx *ctx;

	assert_ok(machine_ctx_create(NULL, &ctx));
	f->ctx = ctx;
	opts.bytes = 4 * BYTES;
	opts.fd = fd;
	opts.flags = VFB_MEMORY_ADOPT_HAS_FD;
	assert_ok(vfb_memory_adopt(ctx, &opts, &memory));
	assert_ok(vfb_space_adopt(ctx, old->fd, old->ioas, NULL, &space));
	ranges[0] = range_of(memory, BYTES, IOVA);
	ranges[1] = range_of(memory, BYTES, 2 * IOVA);
	ranges[1].offset = 2 * BYTES;
	assert_error(vfb_space_adopt_addresses(space, NULL, 0), -EINVAL);
	assert_ok(vfb_space_adopt_addresses(space, ranges, 2));
	assert_holds(space, 0, 2, 2 * BYTES);
	assert_int_equal(vfb_space_translate(space, 2 * IOVA, BYTES, &piece, 1), 1);
	assert_error(vfb_space_adopt_addresses(space, ranges, 2), -EBUSY);
	/* The space is this process's now. */
	assert_int_equal(machine_pinned(), 2 * BYTES);
	assert_ok(map_one(space, memory, BYTES, 3 * IOVA));
	assert_ok(vfb_space_unmap(space, ranges, 2, NULL));
	assert_int_equal(machine_pinned(), BYTES);
	assert_ok(vfb_space_destroy(space));
	assert_int_equal(machine_pinned(), 0);
	assert_ok(vfb_memory_destroy(memory));
	assert_ok(vfb_ctx_destroy(ctx));
}

/* Changing one's mind; then, where there is one, another process takes over. */
static void handover(struct fixture *f)
{
	struct vfb_space_info info = VFB_SPACE_INFO_INIT;
	struct vfb_memory_info memory_info = VFB_MEMORY_INFO_INIT;
	struct vfb_memory *memory = make_shared(f);
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);
	struct vfb_range ranges[2];
	int status = 0;
	pid_t child;

	ranges[0] = range_of(memory, BYTES, IOVA);
	ranges[1] = range_of(memory, BYTES, 2 * IOVA);
	ranges[1].offset = 2 * BYTES;
	assert_ok(vfb_space_map(space, ranges, 2, NULL));
	if (f->backend == VFB_BACKEND_IOMMUFD) {
		struct vfb_memory *private = make_memory(f, BYTES, VFB_PAGE_4K);

		assert_ok(map_one(space, private, BYTES, 3 * IOVA));
		assert_error(vfb_space_release_addresses(space), -EINVAL);
		assert_says("by file");
		assert_ok(unmap_one(space, 3 * IOVA, BYTES));
		assert_ok(vfb_memory_destroy(private));
	}
	assert_ok(vfb_space_release_addresses(space));
	assert_error(vfb_space_release_addresses(space), -EBUSY);
	assert_error(vfb_space_unmap(space, ranges, 2, NULL), -EBUSY);
	assert_says("another process");
	assert_error(map_one(space, memory, BYTES, 3 * IOVA), -EBUSY);
	assert_error(vfb_space_adopt_addresses(space, ranges, 2), -EINVAL);
	assert_ok(vfb_space_adopt_addresses(space, NULL, 0));
	assert_ok(vfb_space_unmap(space, ranges, 1, NULL));
	assert_ok(vfb_space_map(space, ranges, 1, NULL));
	assert_ok(vfb_space_release_addresses(space));
	assert_ok(vfb_space_info(space, &info));
	assert_ok(vfb_memory_info(memory, &memory_info));
	fflush(NULL);
	child = f->machine->has_processes ? fork() : 1;
	if (!child) {
		take_over(f, &info, memory_info.fd);
		_exit(0);
	}
	if (f->machine->has_processes)
		assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	end_space(space, device);
	assert_ok(vfb_memory_destroy(memory));
}

enum {
	COUNT_ROLLBACK = 200,
	CULPRIT = 137,
};

/* 200 ranges, of which one cannot be mapped: afterwards everything is as before. */
static void roll_back(struct vfb_space *space, struct vfb_range *ranges, int error)
{
	struct vfb_batch_opts opts = VFB_BATCH_OPTS_INIT;
	uint64_t before = machine_pinned(), entries = entries_left(space);

	for (opts.width = 0; opts.width <= 1; opts.width++) {
		assert_error(vfb_space_map(space, ranges, COUNT_ROLLBACK, &opts), error);
		assert_int_equal(ranges[CULPRIT].status, error);
		for (size_t i = 0; i < COUNT_ROLLBACK; i++)
			if (i != CULPRIT)
				assert_int_equal(ranges[i].status, -ECANCELED);
		assert_int_equal(machine_pinned(), before);
		assert_int_equal(entries_left(space), entries);
		assert_holds(space, 0, 0, 0);
	}
}

static void rollback(struct fixture *f)
{
	static struct vfb_range ranges[COUNT_ROLLBACK];
	struct vfb_memory_adopt_opts opts = VFB_MEMORY_ADOPT_OPTS_INIT;
	struct vfb_memory *memory = make_memory(f, COUNT_ROLLBACK * 4 * PAGE, VFB_PAGE_4K), *bad;
	struct caller caller;
	struct vfb_space *space;
	void *address;

	caller_open(f, &caller, 0);
	caller_attach(f, &caller);
	caller_map(f, &caller);
	assert_ok(vfb_space_adopt(f->ctx, caller.space, caller.ioas, NULL, &space));
	for (size_t i = 0; i < COUNT_ROLLBACK; i++) {
		ranges[i] = range_of(memory, 2 * PAGE, IOVA + i * MIB);
		ranges[i].offset = i * 4 * PAGE;
	}
	/* The caller has mapped that. */
	ranges[CULPRIT].iova = OWN;
	roll_back(space, ranges, -EEXIST);
	/* Without access; the address of memory that was unmapped may be used again. */
	assert_returns(machine_mmap(4 * PAGE, PROT_NONE, &address), 0);
	opts.address = address;
	opts.bytes = 4 * PAGE;
	opts.flags = VFB_MEMORY_ADOPT_POPULATED;
	assert_ok(vfb_memory_adopt(f->ctx, &opts, &bad));
	ranges[CULPRIT].memory = bad;
	ranges[CULPRIT].offset = 0;
	ranges[CULPRIT].iova = IOVA + CULPRIT * MIB;
	roll_back(space, ranges, -EFAULT);
	assert_ok(vfb_memory_destroy(bad));
	machine_munmap(address, 4 * PAGE);
	ranges[CULPRIT].memory = memory;
	assert_ok(vfb_space_map(space, ranges, COUNT_ROLLBACK, NULL));
	assert_ok(vfb_space_destroy(space));
	caller_unmap(f, &caller);
	caller_close(&caller);
	assert_ok(vfb_memory_destroy(memory));
}

const struct scenario adopt_scenarios[] = {
	{.name = "200 ranges of which one fails", .run = rollback},
	/* With CAP_IPC_LOCK iommufd charges nobody, and IOMMU_IOAS_CHANGE_PROCESS leaves VmPin with
	 * the old process (need_charge_update(), Linux 7.3). */
	{.name = "a space handed over to another process",
	 .run = handover,
	 .limits.memlock = 64 * MIB},
	{.name = "a space of the caller's", .run = space},
	{.name = "a space of the caller's before its device", .run = space_before_device},
	{.name = "the caller closes the last device of its space", .run = last_device},
	{.name = "the caller keeps a domain that the library has made",
	 .run = caller_keeps_domain,
	 .only = VFB_BACKEND_TYPE1},
	{.name = "what is no space of the caller's", .run = wrong_space},
	{.name = "a domain that stays", .run = kept_domain},
	{.name = "mapping by file and by address", .run = map_by},
	{0},
};
