/* SPDX-License-Identifier: MIT */
/* Which pages devices have written to. */
#include "scenario.h"

static struct vfb_space *make_tracking_space(struct fixture *f)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_space *space;

	opts.backend = f->backend;
	opts.flags = VFB_SPACE_DIRTY;
	assert_ok(vfb_space_create(f->ctx, &opts, &space));
	return space;
}

/* Of type1, which reports all that a device can reach, around a hole. */
static void type1_reports_all(struct fixture *f)
{
	struct vfb_space *space = make_tracking_space(f);
	uint64_t bitmap[3] = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
	struct vfb_dirty_area area = {.iova = GIB, .bytes = 130 * PAGE, .bitmap = bitmap};
	struct vfb_memory *memory = make_memory(f, 16 * PAGE, VFB_PAGE_4K);
	struct vfb_range ranges[2] = {
		{.memory = memory, .bytes = 3 * PAGE, .iova = GIB + 62 * PAGE},
		{.memory = memory, .offset = PAGE, .bytes = PAGE, .iova = GIB + 129 * PAGE},
	};
	struct vfb_device *device;

	open_devices(f, space, &device, 1);
	assert_ok(vfb_space_map(space, ranges, 2, NULL));
	assert_error(vfb_space_dirty(space, &area, 1), -EINVAL);
	assert_says("vfb_space_track_dirty()");
	assert_ok(vfb_space_track_dirty(space, 1));
	for (int round = 0; round < 2; round++) {
		memset(bitmap, 0xff, sizeof(bitmap));
		assert_ok(vfb_space_dirty(space, &area, 1));
		assert_true(bitmap[0] == UINT64_C(3) << 62);
		assert_true(bitmap[1] == 1);
		assert_true(bitmap[2] == 2);
	}
	area.bytes = 63 * PAGE;
	assert_error(vfb_space_dirty(space, &area, 1), -EINVAL);
	assert_says("within a mapping");
	assert_int_equal(area.status, -EINVAL);
	assert_ok(vfb_space_track_dirty(space, 0));
	assert_ok(vfb_device_close(device));
	assert_ok(vfb_space_destroy(space));
	assert_ok(vfb_memory_destroy(memory));
}

/* Only as the IOMMU can (struct machine). */
static void iommufd_may_refuse(struct fixture *f)
{
	struct vfb_space *space = make_tracking_space(f);
	struct vfb_device *device;

	if (!f->machine->tracks_dirty) {
		assert_error(vfb_device_open(space, device_of(f, 0, 1), &device), -ENOTSUP);
		assert_says("VFB_SPACE_DIRTY");
	} else {
		assert_ok(vfb_device_open(space, device_of(f, 0, 1), &device));
		assert_ok(vfb_space_track_dirty(space, 1));
		assert_ok(vfb_space_track_dirty(space, 0));
		assert_ok(vfb_device_close(device));
	}
	assert_ok(vfb_space_destroy(space));
}

const struct scenario dirty_scenarios[] = {
	{.name = "dirty: type1 reports all", .run = type1_reports_all, .only = VFB_BACKEND_TYPE1},
	{.name = "dirty: IOMMUs without it",
	 .run = iommufd_may_refuse,
	 .only = VFB_BACKEND_IOMMUFD},
	{0},
};
