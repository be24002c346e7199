/* SPDX-License-Identifier: MIT */
/* Memory that is mapped for a device when it is touched, and evicted. */
#include "scenario.h"

#define BYTES (8 * MIB)
#define IOVA  scenario_iova

struct guest {
	struct vfb_device *device;
	struct vfb_space *space;
	struct vfb_memory *memory;
	volatile uint32_t *words;
	struct vfb_range range;
};

static struct guest begin_guest(struct fixture *f, enum vfb_page_size page_size,
				enum vfb_memory_kind kind, uint32_t window_bytes)
{
	struct vfb_space_opts space_opts = VFB_SPACE_OPTS_INIT;
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct guest guest;

	space_opts.backend = f->backend;
	space_opts.on_demand = VFB_ON_DEMAND_TOUCH;
	opts.bytes = BYTES;
	opts.page_size = page_size;
	opts.kind = kind;
	assert_ok(vfb_space_create(f->ctx, &space_opts, &guest.space));
	open_devices(f, guest.space, &guest.device, 1);
	assert_ok(vfb_memory_create(f->ctx, &opts, &guest.memory));
	assert_ok(vfb_memory_info(guest.memory, &info));
	guest.words = info.address;
	guest.range = range_of(guest.memory, BYTES, IOVA);
	guest.range.flags |= VFB_RANGE_ON_DEMAND;
	guest.range.window_bytes = window_bytes;
	assert_ok(vfb_space_map(guest.space, &guest.range, 1, NULL));
	return guest;
}

static void end_guest(struct guest *guest)
{
	assert_ok(vfb_space_unmap(guest->space, &guest->range, 1, NULL));
	assert_int_equal(machine_pinned(), 0);
	end_space(guest->space, guest->device);
	assert_ok(vfb_memory_destroy(guest->memory));
}

/* Whether the device reaches a window. */
static bool writes_by_dma(struct fixture *f, const struct guest *guest, uint64_t window)
{
	uint64_t offset = window * guest->range.window_bytes;
	volatile uint32_t *word = guest->words + offset / sizeof(*word);

	*word = 7;
	machine_dma_write(f->ctx, guest->space, guest->device, IOVA + offset);
	return *word == MACHINE_DMA_WORD;
}

static void touch_and_trim(struct fixture *f, enum vfb_page_size page_size,
			   enum vfb_memory_kind kind, uint32_t window_bytes)
{
	struct guest guest = begin_guest(f, page_size, kind, window_bytes);
	uint64_t bytes = window_bytes;

	assert_int_equal(machine_pinned(), 0);
	assert_ok(vfb_space_touch(guest.space, IOVA + bytes, 2 * bytes));
	assert_int_equal(machine_pinned(), 2 * bytes);
	assert_holds(guest.space, 1, 1, 2 * bytes);
	assert_true(writes_by_dma(f, &guest, 2));
	assert_false(writes_by_dma(f, &guest, 3));
	assert_ok(vfb_space_hold(guest.space, IOVA + 3 * bytes + 5, 1));
	assert_ok(vfb_space_trim(guest.space, bytes));
	assert_int_equal(machine_pinned(), bytes);
	assert_true(writes_by_dma(f, &guest, 3));
	assert_false(writes_by_dma(f, &guest, 1));
	assert_error(vfb_space_trim(guest.space, 0), -EBUSY);
	assert_ok(vfb_space_unhold(guest.space, IOVA + 3 * bytes + 5, 1));
	assert_ok(vfb_space_trim(guest.space, 0));
	assert_int_equal(machine_pinned(), 0);
	/* What a device has written is there when the window is mapped again. */
	assert_int_equal(guest.words[2 * bytes / sizeof(*guest.words)], MACHINE_DMA_WORD);
	assert_ok(vfb_space_touch(guest.space, IOVA, BYTES));
	assert_int_equal(guest.words[2 * bytes / sizeof(*guest.words)], MACHINE_DMA_WORD);
	assert_int_equal(machine_pinned(), BYTES);
	end_guest(&guest);
}

static void every_kind_on_demand(struct fixture *f)
{
	touch_and_trim(f, VFB_PAGE_4K, VFB_MEMORY_ANONYMOUS, PAGE);
	touch_and_trim(f, VFB_PAGE_4K, VFB_MEMORY_MEMFD, 64 * KIB);
	touch_and_trim(f, VFB_PAGE_THP, VFB_MEMORY_ANONYMOUS, 2 * MIB);
	touch_and_trim(f, VFB_PAGE_2M, VFB_MEMORY_MEMFD, 2 * MIB);
}

/* A window that is part of a discard as a whole; not one that a device uses. */
static void discarded_on_demand(struct fixture *f)
{
	struct guest guest = begin_guest(f, VFB_PAGE_4K, VFB_MEMORY_MEMFD, 64 * KIB);
	struct vfb_memory_range part = {.offset = 64 * KIB, .bytes = 64 * KIB};

	assert_ok(vfb_space_hold(guest.space, IOVA, 128 * KIB));
	assert_error(vfb_memory_discard(guest.memory, &part, 1, NULL), -EBUSY);
	assert_says("held");
	assert_true(writes_by_dma(f, &guest, 1));
	assert_ok(vfb_space_unhold(guest.space, IOVA, 128 * KIB));
	assert_ok(vfb_memory_discard(guest.memory, &part, 1, NULL));
	assert_int_equal(machine_pinned(), 64 * KIB);
	assert_false(writes_by_dma(f, &guest, 1));
	assert_error(vfb_space_touch(guest.space, IOVA, 128 * KIB), -ENOENT);
	assert_ok(vfb_memory_restore(guest.memory, &part, 1, NULL));
	assert_ok(vfb_space_touch(guest.space, IOVA, 128 * KIB));
	assert_true(writes_by_dma(f, &guest, 1));
	end_guest(&guest);
}

/* type1's windows end with the domain, and are touched for the next device. */
static void reopened_on_demand(struct fixture *f)
{
	struct guest guest = begin_guest(f, VFB_PAGE_4K, VFB_MEMORY_MEMFD, 64 * KIB);

	assert_ok(vfb_space_touch(guest.space, IOVA, BYTES));
	assert_ok(vfb_device_close(guest.device));
	assert_ok(vfb_space_trim(guest.space, 0));
	assert_int_equal(machine_pinned(), 0);
	assert_error(vfb_space_touch(guest.space, IOVA, 1), -ENXIO);
	open_devices(f, guest.space, &guest.device, 1);
	assert_false(writes_by_dma(f, &guest, 1));
	assert_ok(vfb_space_touch(guest.space, IOVA, 128 * KIB));
	assert_true(writes_by_dma(f, &guest, 1));
	end_guest(&guest);
}

const struct scenario on_demand_scenarios[] = {
	{.name = "windows are mapped when they are touched", .run = every_kind_on_demand},
	{.name = "windows are discarded as a whole, and not while they are held",
	 .run = discarded_on_demand},
	{.name = "windows are mapped for the next device", .run = reopened_on_demand},
	{0},
};
