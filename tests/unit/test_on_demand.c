/* SPDX-License-Identifier: MIT */
/* Ranges whose windows are mapped when they are touched, held, and evicted. */
#include "host.h"

#define IOVA	(4 * GIB)
#define WINDOW	(64 * KIB)
#define WINDOWS 32
#define BYTES	(WINDOWS * (uint64_t)WINDOW)

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

/* A machine with a range that is mapped on demand, and a device. */
struct guest {
	struct host host;
	struct vfb_device *device;
	struct vfb_memory *memory;
	struct vfb_range range;
};

static int make_space(struct host *host, enum vfb_backend backend, enum vfb_on_demand way)
{
	struct vfb_space_opts opts = {.size = sizeof(opts), .backend = backend, .on_demand = way};

	return vfb_space_create(host->ctx, &opts, &host->space);
}

static void guest_start(struct guest *guest, enum vfb_backend backend, enum vfb_on_demand way)
{
	host_open(&guest->host, NULL);
	add_devices(guest->host.fake, 1);
	assert_ok(make_space(&guest->host, backend, way));
	open_devices(&guest->host, 1, &guest->device);
	guest->memory = make_memory(&guest->host, BYTES, VFB_PAGE_4K);
	guest->range = (struct vfb_range){.memory = guest->memory,
					  .bytes = BYTES,
					  .iova = IOVA,
					  .flags = VFB_RANGE_ON_DEMAND,
					  .window_bytes = WINDOW};
	assert_ok(vfb_space_map(guest->host.space, &guest->range, 1, NULL));
}

static void guest_touch(struct guest *guest)
{
	guest_start(guest, VFB_BACKEND_IOMMUFD, VFB_ON_DEMAND_TOUCH);
}

static void guest_end(struct guest *guest)
{
	assert_ok(vfb_space_unmap(guest->host.space, &guest->range, 1, NULL));
	assert_int_equal(stats_of(&guest->host).pinned_bytes, 0);
	host_end(&guest->host, guest->device, guest->memory);
}

static uint64_t at(uint64_t window)
{
	return IOVA + window * WINDOW;
}

static bool dma_reaches(struct guest *guest, uint64_t window)
{
	return fake_dma_write(guest->host.fake, addresses[0], at(window), "dma", 4);
}

static struct vfb_on_demand_info demand_of(struct guest *guest)
{
	struct vfb_on_demand_info info = VFB_ON_DEMAND_INFO_INIT;

	assert_ok(vfb_space_on_demand_info(guest->host.space, &info));
	return info;
}

/* Exactly these windows, a bit for each, are mapped. */
static void assert_windows(struct guest *guest, uint32_t windows)
{
	uint64_t bytes = (uint64_t)__builtin_popcount(windows) * WINDOW;

	for (unsigned int i = 0; i < WINDOWS; i++)
		assert_int_equal(dma_reaches(guest, i), windows >> i & 1);
	assert_int_equal(demand_of(guest).mapped_bytes, bytes);
	assert_int_equal(info_of(guest->host.space).mapped_bytes, bytes);
	assert_int_equal(stats_of(&guest->host).pinned_bytes, bytes);
}

static void touch(struct guest *guest, uint64_t first, uint64_t count)
{
	assert_ok(vfb_space_touch(guest->host.space, at(first), count * WINDOW));
}

static void test_touched(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
		struct guest guest;

		guest_start(&guest, backends[i], VFB_ON_DEMAND_TOUCH);
		assert_int_equal(demand_of(&guest).way, VFB_ON_DEMAND_TOUCH);
		assert_int_equal(info_of(guest.host.space).mappings, 1);
		assert_int_equal(populated_of(guest.memory), 0);
		assert_windows(&guest, 0);
		touch(&guest, 3, 1);
		/* Parts of windows map all of them; the third is mapped already. */
		assert_ok(vfb_space_touch(guest.host.space, at(2) + 4096, WINDOW));
		assert_windows(&guest, 0xc);
		assert_ok(vfb_space_touch(guest.host.space, at(31) + WINDOW - 1, 1));
		assert_ok(vfb_space_touch(guest.host.space, at(9), 0));
		assert_windows(&guest, 0x8000000c);
		assert_int_equal(demand_of(&guest).mapped, 3);
		assert_int_equal(demand_of(&guest).touches, 3);
		assert_int_equal(demand_of(&guest).populated_bytes, 3 * WINDOW);
		touch(&guest, 0, WINDOWS);
		assert_windows(&guest, UINT32_MAX);
		assert_mapped(&guest.host, &guest.range);
		guest_end(&guest);
	}
}

/* What is mapped takes no call of the kernel. */
static void test_again(void **state)
{
	struct guest guest;

	(void)state;
	guest_touch(&guest);
	touch(&guest, 0, 4);
	fake_fail_nth(guest.host.fake, 1, EIO);
	for (int i = 0; i < 100; i++)
		touch(&guest, i % 4, 1);
	assert_null(fake_failed(guest.host.fake));
	fake_fail_none(guest.host.fake);
	guest_end(&guest);
}

static void test_trimmed(void **state)
{
	struct guest guest;

	(void)state;
	guest_touch(&guest);
	for (unsigned int i = 0; i < 8; i++)
		touch(&guest, i, 1);
	/* From here on the order counts: 2 and 5 are used once more. */
	touch(&guest, 9, 1);
	touch(&guest, 5, 1);
	touch(&guest, 2, 1);
	memcpy(address_of(guest.memory), "contents", 9);
	assert_ok(vfb_space_trim(guest.host.space, 3 * WINDOW));
	assert_windows(&guest, 1u << 2 | 1u << 5 | 1u << 9);
	assert_int_equal(demand_of(&guest).evicted, 6);
	assert_ok(vfb_space_trim(guest.host.space, 3 * WINDOW));
	assert_int_equal(demand_of(&guest).evicted, 6);
	/* It keeps its contents, and is not populated again. */
	touch(&guest, 0, 1);
	assert_string_equal(address_of(guest.memory), "contents");
	assert_int_equal(demand_of(&guest).populated_bytes, 9 * WINDOW);
	assert_ok(vfb_space_trim(guest.host.space, 0));
	assert_windows(&guest, 0);
	guest_end(&guest);
}

static void test_held(void **state)
{
	struct vfb_space *space;
	struct guest guest;

	(void)state;
	guest_touch(&guest);
	space = guest.host.space;
	assert_ok(vfb_space_hold(space, at(4), 2 * WINDOW));
	assert_ok(vfb_space_hold(space, at(5), 1));
	touch(&guest, 0, 8);
	assert_fails(vfb_space_trim(space, WINDOW), -EBUSY, "64 KiB", "held");
	assert_windows(&guest, 0x30);
	assert_fails(vfb_space_unmap(space, &guest.range, 1, NULL), -EBUSY, "held",
		     "vfb_space_unhold");
	assert_fails(vfb_space_unmap_all(space), -EBUSY, "held");
	assert_windows(&guest, 0x30);
	/* More than is held: nothing changes. */
	assert_fails(vfb_space_unhold(space, at(4), 3 * WINDOW), -EINVAL, "not held");
	assert_ok(vfb_space_unhold(space, at(4), 2 * WINDOW));
	assert_ok(vfb_space_trim(space, WINDOW));
	assert_windows(&guest, 0x20);
	assert_fails(vfb_space_unhold(space, at(4), 1), -EINVAL, "0x100040000");
	assert_ok(vfb_space_unhold(space, at(5), 1));
	assert_ok(vfb_space_trim(space, 0));
	assert_windows(&guest, 0);
	guest_end(&guest);
}

static void hold_window(const struct vfb_event *event, void *data)
{
	struct guest *guest = data;

	if (event->iova == at(1))
		assert_ok(vfb_space_hold(guest->host.space, at(3), 1));
}

/* A window that a device begins to use while others are being evicted. */
static void test_held_meanwhile(void **state)
{
	struct vfb_filter filter = {.size = sizeof(filter),
				    .phases = VFB_PHASE_BIT(VFB_PHASE_UNMAP)};
	struct vfb_subscription *subscription;
	struct guest guest;

	(void)state;
	guest_touch(&guest);
	touch(&guest, 1, 1);
	touch(&guest, 3, 1);
	assert_ok(vfb_subscribe(guest.host.ctx, &filter, hold_window, &guest, &subscription));
	assert_fails(vfb_space_trim(guest.host.space, 0), -EBUSY, "held");
	vfb_unsubscribe(subscription);
	assert_windows(&guest, 1u << 3);
	assert_ok(vfb_space_unhold(guest.host.space, at(3), 1));
	guest_end(&guest);
}

/* What fails holds nothing, and can be tried again. */
static void test_failures(void **state)
{
	static const struct {
		const char *call;
		int error;
	} calls[] = {{"IOMMU_IOAS_MAP", -ENOMEM}, {"madvise", -ENOMEM}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		struct guest guest;

		guest_touch(&guest);
		fake_fail_call(guest.host.fake, calls[i].call, 2, ENOMEM);
		assert_ok(vfb_space_hold(guest.host.space, at(0), WINDOW));
		assert_fails(vfb_space_hold(guest.host.space, at(0), 4 * WINDOW), calls[i].error,
			     "");
		assert_windows(&guest, 1);
		assert_ok(vfb_space_unhold(guest.host.space, at(0), WINDOW));
		assert_fails(vfb_space_unhold(guest.host.space, at(0), WINDOW), -EINVAL, "held");
		touch(&guest, 0, 4);
		assert_windows(&guest, 0xf);
		fake_fail_call(guest.host.fake, "IOMMU_IOAS_UNMAP", 1, EIO);
		assert_fails(vfb_space_trim(guest.host.space, 0), -EIO, "");
		assert_windows(&guest, 0xf);
		assert_int_equal(demand_of(&guest).evicted, 0);
		/* A range that stays has its windows as before. */
		fake_fail_call(guest.host.fake, "IOMMU_IOAS_UNMAP", 1, EIO);
		assert_fails(vfb_space_unmap(guest.host.space, &guest.range, 1, NULL), -EIO, "");
		assert_int_equal(demand_of(&guest).mapped_bytes,
				 stats_of(&guest.host).pinned_bytes);
		touch(&guest, 0, 5);
		assert_windows(&guest, 0x1f);
		guest_end(&guest);
	}
}

static void test_refused(void **state)
{
	struct vfb_range range = {.bytes = WINDOW, .iova = GIB, .flags = VFB_RANGE_HOST_ONLY};
	struct vfb_space *space;
	struct guest guest;

	(void)state;
	guest_touch(&guest);
	space = guest.host.space;
	range.memory = guest.memory;
	assert_ok(vfb_space_map(space, &range, 1, NULL));
	assert_fails(vfb_space_touch(space, at(WINDOWS), 1), -ENOENT, "0x100200000", "not mapped");
	assert_fails(vfb_space_hold(space, at(30), 4 * WINDOW), -ENOENT, "not mapped");
	assert_fails(vfb_space_unhold(space, at(30), 1), -EINVAL, "not held");
	assert_fails(vfb_space_unhold(space, at(WINDOWS), 1), -ENOENT, "not mapped");
	assert_fails(vfb_space_touch(space, GIB, 1), -ENOENT, "VFB_RANGE_HOST_ONLY");
	assert_fails(vfb_space_touch(space, 4096, UINT64_MAX), -EINVAL, "64-bit");
	assert_fails(vfb_space_unhold(space, 4096, UINT64_MAX), -EINVAL, "64-bit");
	fake_set_process(guest.host.fake, 78);
	assert_fails(vfb_space_touch(space, at(0), 1), -ECHILD, "child");
	fake_set_process(guest.host.fake, 77);
	assert_fails(vfb_space_release_addresses(space), -EBUSY, "on demand");
	assert_ok(vfb_space_unmap(space, &range, 1, NULL));
	guest_end(&guest);
}

static void test_windows(void **state)
{
	static const struct {
		struct vfb_range range;
		const char *word;
	} wrong[] = {
		{{.window_bytes = 2048, .bytes = BYTES}, "0x800"},
		{{.window_bytes = 3 * 4096, .bytes = BYTES}, "power of two"},
		{{.window_bytes = 1u << 30, .bytes = BYTES}, "windows of 1 GiB"},
		{{.window_bytes = WINDOW, .bytes = WINDOW + 4096}, "windows of 64 KiB"},
		{{.window_bytes = WINDOW, .bytes = WINDOW, .offset = 4096}, "offset 0x1000"},
		{{.bytes = WINDOW}, "windows of 2 MiB"},
		{{.bytes = BYTES, .flags = VFB_RANGE_HOST_ONLY}, "VFB_RANGE_HOST_ONLY"},
	};
	struct vfb_range range;
	struct guest guest;

	(void)state;
	guest_touch(&guest);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		range = wrong[i].range;
		range.memory = guest.memory;
		range.iova = GIB;
		range.flags |= VFB_RANGE_ON_DEMAND;
		assert_fails(vfb_space_map(guest.host.space, &range, 1, NULL), -EINVAL,
			     wrong[i].word);
	}
	range = (struct vfb_range){.memory = guest.memory, .bytes = WINDOW, .window_bytes = WINDOW};
	assert_fails(vfb_space_map(guest.host.space, &range, 1, NULL), -EINVAL, "unused fields");
	guest_end(&guest);
}

/* Any IOVA, by a job, beside other ranges, in a batch that is undone. */
static void test_batch(void **state)
{
	struct vfb_batch_opts opts = VFB_BATCH_OPTS_INIT;
	struct vfb_range ranges[2];
	struct guest guest;

	(void)state;
	guest_touch(&guest);
	ranges[0] = guest.range;
	ranges[0].flags |= VFB_RANGE_ANY_IOVA | VFB_RANGE_POPULATE;
	ranges[1] = (struct vfb_range){.memory = guest.memory, .bytes = WINDOW, .iova = GIB};
	fake_fail_call(guest.host.fake, "IOMMU_IOAS_MAP", 1, EIO);
	assert_fails(vfb_space_map(guest.host.space, ranges, 2, &opts), -EIO, "");
	assert_int_equal(info_of(guest.host.space).mappings, 1);
	assert_ok(vfb_space_map(guest.host.space, ranges, 2, &opts));
	assert_int_equal(populated_of(guest.memory), BYTES);
	assert_not_mapped(&guest.host, ranges[0].iova);
	/* Across ranges: the static one is there. */
	assert_ok(vfb_space_touch(guest.host.space, GIB, WINDOW));
	assert_ok(vfb_space_touch(guest.host.space, ranges[0].iova, 1));
	assert_int_equal(demand_of(&guest).populated_bytes, 0);
	assert_int_equal(demand_of(&guest).mapped_bytes, WINDOW);
	assert_int_equal(info_of(guest.host.space).mapped_bytes, 2 * WINDOW);
	assert_ok(vfb_space_unmap(guest.host.space, ranges, 2, &opts));
	assert_int_equal(demand_of(&guest).mapped_bytes, 0);
	assert_fails(vfb_space_touch(guest.host.space, ranges[0].iova, 1), -ENOENT, "not mapped");
	guest_end(&guest);
}

static void test_discarded(void **state)
{
	struct vfb_memory_range part = {.offset = 4 * WINDOW, .bytes = 2 * WINDOW};
	struct vfb_memory_range odd = {.offset = WINDOW / 2, .bytes = WINDOW};
	struct vfb_space *space;
	struct guest guest;

	(void)state;
	guest_touch(&guest);
	space = guest.host.space;
	touch(&guest, 0, 5);
	assert_fails(vfb_memory_discard(guest.memory, &odd, 1, NULL), -EBUSY, "whole windows");
	assert_ok(vfb_space_hold(space, at(4), 1));
	assert_fails(vfb_memory_discard(guest.memory, &part, 1, NULL), -EBUSY, "held");
	assert_ok(vfb_space_unhold(space, at(4), 1));
	assert_windows(&guest, 0x1f);
	assert_ok(vfb_memory_discard(guest.memory, &part, 1, NULL));
	assert_windows(&guest, 0xf);
	assert_fails(vfb_space_touch(space, at(3), 3 * WINDOW), -ENOENT, "discarded");
	assert_int_equal(vfb_space_translate(space, at(4), 1, NULL, 0), -ENOENT);
	assert_ok(vfb_memory_restore(guest.memory, &part, 1, NULL));
	assert_windows(&guest, 0xf);
	touch(&guest, 3, 3);
	assert_windows(&guest, 0x3f);
	assert_int_equal(info_of(space).mappings, 1);
	guest_end(&guest);
}

/* The memory is there, whether a device reaches it or not. */
static void test_translated(void **state)
{
	struct vfb_translation piece;
	struct guest guest;

	(void)state;
	guest_touch(&guest);
	touch(&guest, 1, 1);
	assert_int_equal(vfb_space_translate(guest.host.space, IOVA, BYTES, &piece, 1), 1);
	assert_ptr_equal(piece.address, address_of(guest.memory));
	assert_ok(vfb_space_trim(guest.host.space, 0));
	assert_int_equal(vfb_space_translate(guest.host.space, IOVA, BYTES, &piece, 1), 1);
	guest_end(&guest);
}

/* type1's mappings end with the last device, iommufd's stay. */
static void test_without_device(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
		bool stays = backends[i] == VFB_BACKEND_IOMMUFD;
		struct guest guest;

		guest_start(&guest, backends[i], VFB_ON_DEMAND_TOUCH);
		touch(&guest, 0, 2);
		assert_ok(vfb_device_close(guest.device));
		assert_fails(vfb_space_touch(guest.host.space, at(5), 1), -ENXIO, "no device");
		open_devices(&guest.host, 1, &guest.device);
		assert_windows(&guest, stays ? 3 : 0);
		touch(&guest, 1, 2);
		assert_windows(&guest, stays ? 7 : 6);
		guest_end(&guest);
	}
}

static void test_ways(void **state)
{
	struct vfb_space_opts opts = {.size = sizeof(opts), .backend = VFB_BACKEND_TYPE1};
	struct vfb_space *space;
	struct guest guest;

	(void)state;
	for (int way = VFB_ON_DEMAND_AUTO; way <= VFB_ON_DEMAND_STATIC; way += 3) {
		guest_start(&guest, VFB_BACKEND_IOMMUFD, way);
		assert_int_equal(demand_of(&guest).way, VFB_ON_DEMAND_STATIC);
		assert_non_null(strstr(demand_of(&guest).reason, "requested"));
		assert_mapped(&guest.host, &guest.range);
		touch(&guest, 2, 1);
		assert_fails(vfb_space_touch(guest.host.space, 0, 1), -ENOENT, "0x0");
		assert_ok(vfb_space_hold(guest.host.space, at(1), WINDOW));
		assert_ok(vfb_space_trim(guest.host.space, 0));
		assert_ok(vfb_space_unhold(guest.host.space, at(1), WINDOW));
		assert_mapped(&guest.host, &guest.range);
		opts.on_demand = VFB_ON_DEMAND_FAULT;
		assert_fails(vfb_space_create(guest.host.ctx, &opts, &space), -ENOTSUP, "type1",
			     "VFB_ON_DEMAND_TOUCH");
		opts.on_demand = 4;
		assert_fails(vfb_space_create(guest.host.ctx, &opts, &space), -EINVAL, "4");
		opts.on_demand = VFB_ON_DEMAND_TOUCH;
		opts.flags = VFB_SPACE_DIRTY;
		assert_fails(vfb_space_create(guest.host.ctx, &opts, &space), -ENOTSUP,
			     "VFB_SPACE_DIRTY");
		opts.flags = 0;
		guest_end(&guest);
	}
}

/* The fake reports what is left behind. */
static void test_destroyed(void **state)
{
	struct guest guest;

	(void)state;
	guest_touch(&guest);
	touch(&guest, 0, 3);
	assert_ok(vfb_space_hold(guest.host.space, at(1), 1));
	assert_ok(vfb_device_close(guest.device));
	assert_ok(vfb_space_destroy(guest.host.space));
	guest.host.space = NULL;
	assert_ok(vfb_memory_destroy(guest.memory));
	host_close(&guest.host);
}

static void test_events(void **state)
{
	struct vfb_stats_entry entries[VFB_PHASE_COUNT];
	struct vfb_filter filter = {.size = sizeof(filter),
				    .phases = VFB_PHASE_BIT(VFB_PHASE_TOUCH) |
					      VFB_PHASE_BIT(VFB_PHASE_TRIM)};
	struct vfb_stats *stats;
	struct guest guest;

	(void)state;
	guest_touch(&guest);
	assert_ok(vfb_stats_create(guest.host.ctx, &filter, &stats));
	touch(&guest, 0, 2);
	/* Nothing is done. */
	touch(&guest, 0, 2);
	assert_ok(vfb_space_trim(guest.host.space, WINDOW));
	assert_int_equal(vfb_stats_read(stats, 0, entries, VFB_PHASE_COUNT), 2);
	assert_int_equal(entries[0].phase, VFB_PHASE_TOUCH);
	assert_int_equal(entries[0].count, 1);
	assert_int_equal(entries[0].bytes, 2 * WINDOW);
	assert_true(entries[0].p99_ns >= entries[0].median_ns && entries[0].median_ns > 0);
	assert_int_equal(entries[1].phase, VFB_PHASE_TRIM);
	assert_int_equal(entries[1].bytes, WINDOW);
	vfb_stats_destroy(stats);
	guest_end(&guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_touched),	       cmocka_unit_test(test_again),
		cmocka_unit_test(test_trimmed),	       cmocka_unit_test(test_held),
		cmocka_unit_test(test_held_meanwhile), cmocka_unit_test(test_failures),
		cmocka_unit_test(test_refused),	       cmocka_unit_test(test_windows),
		cmocka_unit_test(test_batch),	       cmocka_unit_test(test_discarded),
		cmocka_unit_test(test_translated),     cmocka_unit_test(test_without_device),
		cmocka_unit_test(test_ways),	       cmocka_unit_test(test_destroyed),
		cmocka_unit_test(test_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
