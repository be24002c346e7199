/* SPDX-License-Identifier: MIT */
/* Memory of the caller: by address, by file, and both. */
#include <sys/mman.h>

#include "scenario.h"

#define BYTES (4 * MIB)
#define IOVA  GIB

/* Memory of the caller's, by address and by file. */
static void memory(struct fixture *f)
{
	struct vfb_memory_adopt_opts opts = VFB_MEMORY_ADOPT_OPTS_INIT;
	struct vfb_memory_opts own_opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct vfb_memory *by_address, *by_file, *own;
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);
	void *address;

	assert_returns(machine_mmap(BYTES, PROT_READ | PROT_WRITE, &address), 0);
	opts.address = address;
	opts.bytes = BYTES;
	assert_ok(vfb_memory_adopt(f->ctx, &opts, &by_address));
	assert_ok(map_one(space, by_address, BYTES, IOVA));
	assert_int_equal(machine_pinned(), BYTES);

	/* The memfd is that of memory of the library's, from its middle. */
	own_opts.bytes = 2 * BYTES;
	own_opts.page_size = VFB_PAGE_4K;
	own_opts.kind = VFB_MEMORY_MEMFD;
	assert_ok(vfb_memory_create(f->ctx, &own_opts, &own));
	assert_ok(vfb_memory_info(own, &info));
	opts.address = NULL;
	opts.fd = info.fd;
	opts.fd_offset = BYTES;
	opts.flags = VFB_MEMORY_ADOPT_HAS_FD;
	assert_ok(vfb_memory_adopt(f->ctx, &opts, &by_file));
	assert_ok(map_one(space, by_file, BYTES, 2 * IOVA));
	assert_int_equal(machine_pinned(), 2 * BYTES);
	assert_ok(vfb_memory_info(by_file, &info));
	((volatile char *)info.address)[0] = 'x';
	assert_ok(vfb_memory_info(own, &info));
	assert_int_equal(((volatile char *)info.address)[BYTES], 'x');
	assert_error(vfb_memory_destroy(by_file), -EBUSY);
	assert_ok(vfb_space_unmap_all(space));
	assert_ok(vfb_memory_destroy(by_file));
	assert_ok(vfb_memory_destroy(by_address));
	/* Both are still the caller's. */
	((volatile char *)address)[0] = 'y';
	assert_ok(map_one(space, own, BYTES, IOVA));
	assert_ok(unmap_one(space, IOVA, BYTES));
	machine_munmap(address, BYTES);
	assert_ok(vfb_memory_destroy(own));
	end_space(space, device);
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

/* What a device writes is found at the address, whatever file the caller has given. */
static void check_reached(struct fixture *f, struct vfb_space *space, struct vfb_device *device,
			  const struct vfb_memory_adopt_opts *opts, const char *reason)
{
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	volatile uint32_t *word = opts->address;
	struct vfb_memory *memory;

	assert_ok(vfb_memory_adopt(f->ctx, opts, &memory));
	assert_ok(vfb_memory_info(memory, &info));
	assert_int_equal(info.fd, *reason ? -1 : opts->fd);
	if (!strstr(info.fallback, reason))
		fail_msg("\"%s\" does not say \"%s\"", info.fallback, reason);
	*word = 0;
	assert_ok(map_one(space, memory, BYTES, IOVA));
	machine_dma_write(f->ctx, space, device, IOVA);
	assert_int_equal(*word, MACHINE_DMA_WORD);
	assert_ok(unmap_one(space, IOVA, BYTES));
	assert_ok(vfb_memory_destroy(memory));
}

/* Memory with an address and a file, that are the same pages and that are not. */
static void address_and_file(struct fixture *f)
{
	struct vfb_memory_adopt_opts opts = VFB_MEMORY_ADOPT_OPTS_INIT;
	struct vfb_memory *one = make_shared(f), *other = make_shared(f);
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT, other_info = info;
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);
	void *second;

	assert_ok(vfb_memory_info(one, &info));
	assert_ok(vfb_memory_info(other, &other_info));
	opts.bytes = BYTES;
	opts.fd = info.fd;
	opts.flags = VFB_MEMORY_ADOPT_HAS_FD;
	assert_returns(machine_map_file(info.fd, 4 * BYTES, MAP_SHARED, &opts.address), 0);
	check_reached(f, space, device, &opts, "");
	opts.fd_offset = BYTES;
	check_reached(f, space, device, &opts, "fd_offset says");
	opts.fd_offset = 0;
	opts.fd = other_info.fd;
	check_reached(f, space, device, &opts, "another file");
	opts.fd = info.fd;
	/* The second half is of another file. */
	second = (char *)opts.address + BYTES / 2;
	assert_returns(machine_map_file(other_info.fd, BYTES / 2, MAP_SHARED, &second), 0);
	check_reached(f, space, device, &opts, "another file");
	machine_munmap(opts.address, 4 * BYTES);
	opts.address = NULL;
	assert_returns(machine_map_file(info.fd, BYTES, MAP_PRIVATE, &opts.address), 0);
	check_reached(f, space, device, &opts, "private mapping");
	machine_munmap(opts.address, BYTES);
	assert_ok(vfb_memory_destroy(one));
	assert_ok(vfb_memory_destroy(other));
	end_space(space, device);
}

static void private_by_file(struct fixture *f)
{
	struct vfb_memory_adopt_opts opts = VFB_MEMORY_ADOPT_OPTS_INIT;
	struct vfb_space_opts space_opts = VFB_SPACE_OPTS_INIT;
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct vfb_memory *own = make_shared(f), *memory;
	struct vfb_device *device;
	struct vfb_space *space;

	assert_ok(vfb_memory_info(own, &info));
	assert_returns(machine_map_file(info.fd, BYTES, MAP_PRIVATE, &opts.address), 0);
	opts.bytes = BYTES;
	opts.fd = info.fd;
	opts.flags = VFB_MEMORY_ADOPT_HAS_FD;
	assert_ok(vfb_memory_adopt(f->ctx, &opts, &memory));
	space_opts.backend = f->backend;
	space_opts.map_by = VFB_MAP_BY_FILE;
	assert_ok(vfb_space_create(f->ctx, &space_opts, &space));
	assert_ok(vfb_device_open(space, f->machine->devices[0], &device));
	assert_error(map_one(space, memory, BYTES, IOVA), -ENOTSUP);
	assert_says("private mapping");
	end_space(space, device);
	assert_ok(vfb_memory_destroy(memory));
	machine_munmap(opts.address, BYTES);
	assert_ok(vfb_memory_destroy(own));
}

/* A file of hugetlbfs, and a size that is no multiple of its pages. */
static void part_of_hugepage(struct fixture *f)
{
	struct vfb_memory_adopt_opts opts = VFB_MEMORY_ADOPT_OPTS_INIT;
	struct vfb_memory_opts own_opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct vfb_memory *own, *memory;

	own_opts.bytes = 4 * MIB;
	own_opts.page_size = VFB_PAGE_2M;
	own_opts.kind = VFB_MEMORY_MEMFD;
	assert_ok(vfb_memory_create(f->ctx, &own_opts, &own));
	assert_ok(vfb_memory_info(own, &info));
	opts.fd = info.fd;
	opts.flags = VFB_MEMORY_ADOPT_HAS_FD;
	opts.bytes = 3 * MIB;
	/* A mapping that stays is found by machine_end(). */
	assert_ok(vfb_memory_adopt(f->ctx, &opts, &memory));
	assert_ok(vfb_memory_populate(memory));
	assert_ok(vfb_memory_destroy(memory));
	opts.bytes = 4 * MIB;
	assert_ok(vfb_memory_adopt(f->ctx, &opts, &memory));
	assert_ok(vfb_memory_info(memory, &info));
	assert_int_equal(info.page_size, VFB_PAGE_2M);
	assert_ok(vfb_memory_destroy(memory));
	/* It would make the file longer. */
	opts.bytes = 6 * MIB;
	assert_error(vfb_memory_adopt(f->ctx, &opts, &memory), -EINVAL);
	assert_says("beyond the file, which has 4 MiB");
	assert_ok(vfb_memory_destroy(own));
}

static void wrong_memory(struct fixture *f)
{
	struct vfb_memory_adopt_opts opts = VFB_MEMORY_ADOPT_OPTS_INIT;
	struct vfb_memory *memory = (void *)1;

	opts.bytes = BYTES;
	assert_error(vfb_memory_adopt(f->ctx, &opts, &memory), -EINVAL);
	assert_says("needs an address");
	assert_null(memory);
	opts.address = (void *)(uintptr_t)(GIB + 1);
	assert_error(vfb_memory_adopt(f->ctx, &opts, &memory), -EINVAL);
	assert_says("not aligned");
	opts.address = (void *)(uintptr_t)GIB;
	opts.bytes = 0;
	assert_error(vfb_memory_adopt(f->ctx, &opts, &memory), -EINVAL);
	opts.bytes = -GIB;
	assert_error(vfb_memory_adopt(f->ctx, &opts, &memory), -EINVAL);
	opts.bytes = BYTES;
	opts.page_size = 99;
	assert_error(vfb_memory_adopt(f->ctx, &opts, &memory), -EINVAL);
	opts.page_size = VFB_PAGE_2M;
	opts.address = (void *)(uintptr_t)(GIB + PAGE);
	assert_error(vfb_memory_adopt(f->ctx, &opts, &memory), -EINVAL);
	assert_says("2 MiB");
	opts.flags = 1u << 30;
	assert_error(vfb_memory_adopt(f->ctx, &opts, &memory), -EINVAL);
	opts.flags = VFB_MEMORY_ADOPT_HAS_FD;
	opts.address = NULL;
	opts.fd = -1;
	assert_error(vfb_memory_adopt(f->ctx, &opts, &memory), -EINVAL);
}

const struct scenario adopt_memory_scenarios[] = {
	{.name = "memory of the caller's", .run = memory},
	{.name = "memory with an address and a file", .run = address_and_file},
	{.name = "a private mapping, by file", .run = private_by_file, .only = VFB_BACKEND_IOMMUFD},
	{.name = "a part of a hugepage adopted", .run = part_of_hugepage},
	{.name = "what is no memory of the caller's", .run = wrong_memory},
	{0},
};
