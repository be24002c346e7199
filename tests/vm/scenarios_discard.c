/* SPDX-License-Identifier: MIT */
/* Discarding parts of memory that is mapped for a device, and restoring them. */
#include <sys/mman.h>

#include "scenario.h"

#define BLOCK (2 * MIB)
#define BYTES (8 * BLOCK)
#define IOVA  scenario_iova

struct guest {
	struct vfb_device *device;
	struct vfb_space *space;
	struct vfb_memory *memory;
	volatile uint32_t *words;
};

static struct guest begin(struct fixture *f, const struct vfb_memory_opts *memory_opts)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct guest guest;

	opts.backend = f->backend;
	opts.block_bytes = BLOCK;
	assert_ok(vfb_space_create(f->ctx, &opts, &guest.space));
	open_devices(f, guest.space, &guest.device, 1);
	assert_ok(vfb_memory_create(f->ctx, memory_opts, &guest.memory));
	assert_ok(vfb_memory_info(guest.memory, &info));
	guest.words = info.address;
	assert_ok(map_one(guest.space, guest.memory, BYTES, IOVA));
	return guest;
}

static void end(struct guest *guest)
{
	assert_ok(unmap_one(guest->space, IOVA, BYTES));
	end_space(guest->space, guest->device);
	assert_ok(vfb_memory_destroy(guest->memory));
}

static volatile uint32_t *word_of(const struct guest *guest, uint64_t block)
{
	return guest->words + block * BLOCK / sizeof(*guest->words);
}

static void write_by_dma(struct fixture *f, const struct guest *guest, uint64_t block)
{
	machine_dma_write(f->ctx, guest->space, guest->device, IOVA + block * BLOCK);
}

static uint64_t present_bytes(const struct fixture *f, struct vfb_memory *memory)
{
	uint64_t bytes[8] = {0}, sum = 0;

	assert_int_equal(vfb_memory_nodes(memory, bytes, COUNT(bytes)), f->machine->nodes);
	for (size_t i = 0; i < COUNT(bytes); i++)
		sum += bytes[i];
	return sum;
}

/* A device reaches what is left, and what was restored, which is zeroed. */
static void discard_and_restore(struct fixture *f, const struct vfb_memory_opts *opts)
{
	struct guest guest = begin(f, opts);
	struct vfb_memory_range parts[] = {{.offset = 5 * BLOCK, .bytes = BLOCK},
					   {.offset = BLOCK, .bytes = 2 * BLOCK}};

	write_by_dma(f, &guest, 2);
	assert_int_equal(*word_of(&guest, 2), MACHINE_DMA_WORD);
	assert_ok(vfb_memory_discard(guest.memory, parts, COUNT(parts), NULL));
	assert_int_equal(machine_pinned(), BYTES - 3 * BLOCK);
	assert_int_equal(present_bytes(f, guest.memory), BYTES - 3 * BLOCK);
	assert_holds(guest.space, 1, 1, BYTES - 3 * BLOCK);
	write_by_dma(f, &guest, 3);
	assert_int_equal(*word_of(&guest, 3), MACHINE_DMA_WORD);
	/* Part of what was discarded, and some that was not. */
	parts[1].offset = 2 * BLOCK;
	assert_ok(vfb_memory_restore(guest.memory, &parts[1], 1, NULL));
	assert_int_equal(*word_of(&guest, 2), 0);
	assert_int_equal(*word_of(&guest, 3), MACHINE_DMA_WORD);
	write_by_dma(f, &guest, 2);
	assert_int_equal(*word_of(&guest, 2), MACHINE_DMA_WORD);
	parts[1] = (struct vfb_memory_range){.bytes = BYTES};
	assert_ok(vfb_memory_restore(guest.memory, &parts[1], 1, NULL));
	assert_int_equal(machine_pinned(), BYTES);
	assert_int_equal(present_bytes(f, guest.memory), BYTES);
	write_by_dma(f, &guest, 5);
	assert_int_equal(*word_of(&guest, 5), MACHINE_DMA_WORD);
	end(&guest);
}

static void every_kind(struct fixture *f)
{
	static const enum vfb_page_size sizes[] = {VFB_PAGE_4K, VFB_PAGE_THP, VFB_PAGE_2M};

	for (size_t i = 0; i < 2 * COUNT(sizes); i++) {
		struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;

		opts.bytes = BYTES;
		opts.page_size = sizes[i / 2];
		opts.kind = i % 2 ? VFB_MEMORY_MEMFD : VFB_MEMORY_ANONYMOUS;
		if (opts.page_size == VFB_PAGE_THP && opts.kind == VFB_MEMORY_MEMFD)
			continue;
		discard_and_restore(f, &opts);
	}
}

/* What a DMA to a discarded block meets is not a page of somebody else. */
static void blocked(struct fixture *f)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory_range part = {.offset = BLOCK, .bytes = BLOCK};
	struct guest guest;

	opts.bytes = BYTES;
	opts.page_size = VFB_PAGE_4K;
	opts.kind = VFB_MEMORY_MEMFD;
	guest = begin(f, &opts);
	assert_ok(vfb_memory_discard(guest.memory, &part, 1, NULL));
	/* A new page for the program, which the device does not reach. */
	*word_of(&guest, 1) = 7;
	write_by_dma(f, &guest, 1);
	assert_int_equal(*word_of(&guest, 1), 7);
	assert_ok(vfb_memory_restore(guest.memory, &part, 1, NULL));
	write_by_dma(f, &guest, 1);
	assert_int_equal(*word_of(&guest, 1), MACHINE_DMA_WORD);
	end(&guest);
}

static uint64_t free_pages(const struct fixture *f)
{
	uint64_t pages = 0;

	for (unsigned int node = 0; node < f->machine->nodes; node++)
		pages += machine_free_2m(node);
	return pages;
}

/* Others can have the hugetlb pages of a memfd, until it needs them again. */
static void pool(struct fixture *f)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory_range part = {.bytes = BYTES};
	struct vfb_memory *other;
	struct guest guest;
	uint64_t before;

	opts.bytes = BYTES;
	opts.page_size = VFB_PAGE_2M;
	opts.kind = VFB_MEMORY_MEMFD;
	guest = begin(f, &opts);
	before = free_pages(f);
	assert_ok(vfb_memory_discard(guest.memory, &part, 1, NULL));
	await_unpinned(f);
	assert_int_equal(free_pages(f), before + BYTES / BLOCK);
	opts.bytes = (before + BYTES / BLOCK) * BLOCK;
	assert_ok(vfb_memory_create(f->ctx, &opts, &other));
	assert_error(vfb_memory_restore(guest.memory, &part, 1, NULL), -ENOMEM);
	assert_says("nr_hugepages");
	assert_int_equal(machine_pinned(), 0);
	assert_ok(vfb_memory_destroy(other));
	assert_ok(vfb_memory_restore(guest.memory, &part, 1, NULL));
	assert_int_equal(free_pages(f), before);
	write_by_dma(f, &guest, 0);
	assert_int_equal(*word_of(&guest, 0), MACHINE_DMA_WORD);
	end(&guest);
}

/* Without blocks the kernel has larger mappings, which it does not split. */
static void too_large(struct fixture *f)
{
	struct vfb_memory_range part = {.offset = BLOCK, .bytes = BLOCK};
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_4K);

	assert_ok(map_one(space, memory, BYTES, IOVA));
	assert_error(vfb_memory_discard(memory, &part, 1, NULL), -EBUSY);
	assert_says("block_bytes");
	assert_holds(space, 1, 1, BYTES);
	assert_int_equal(machine_pinned(), BYTES);
	part = (struct vfb_memory_range){.bytes = BYTES};
	assert_ok(vfb_memory_discard(memory, &part, 1, NULL));
	assert_int_equal(machine_pinned(), 0);
	assert_ok(vfb_memory_restore(memory, &part, 1, NULL));
	assert_int_equal(machine_pinned(), BYTES);
	assert_ok(unmap_one(space, IOVA, BYTES));
	end_space(space, device);
	assert_ok(vfb_memory_destroy(memory));
}

/* Private memory of the caller. */
static void adopted(struct fixture *f)
{
	struct vfb_memory_adopt_opts opts = VFB_MEMORY_ADOPT_OPTS_INIT;
	struct vfb_memory_range part = {.bytes = BYTES};
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);
	struct vfb_memory *memory;
	void *address = NULL;

	assert_returns(machine_mmap(BYTES, PROT_READ | PROT_WRITE, &address), 0);
	opts.address = address;
	opts.bytes = BYTES;
	assert_ok(vfb_memory_adopt(f->ctx, &opts, &memory));
	assert_ok(map_one(space, memory, BYTES, IOVA));
	assert_ok(vfb_memory_discard(memory, &part, 1, NULL));
	assert_int_equal(machine_pinned(), 0);
	assert_int_equal(present_bytes(f, memory), 0);
	assert_ok(vfb_memory_restore(memory, &part, 1, NULL));
	assert_int_equal(machine_pinned(), BYTES);
	assert_ok(unmap_one(space, IOVA, BYTES));
	end_space(space, device);
	assert_ok(vfb_memory_destroy(memory));
	machine_munmap(address, BYTES);
}

const struct scenario discard_scenarios[] = {
	{.name = "every kind of memory is discarded and restored", .run = every_kind},
	{.name = "a device does not reach what is discarded", .run = blocked},
	{.name = "hugetlb pages return to the pool, without reservation", .run = pool},
	{.name = "what the kernel has mapped together is discarded together", .run = too_large},
	{.name = "adopted memory is discarded", .run = adopted},
	{0},
};
