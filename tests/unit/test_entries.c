/* SPDX-License-Identifier: MIT */
/* Arrays of the caller's that are NULL, have NULL in them or more entries than can be. */
#include "host.h"

static const size_t too_many[] = {SIZE_MAX, SIZE_MAX / 2, (size_t)1 << 40};

static void test_ranges(void **state)
{
	struct vfb_range range = {.bytes = MIB};
	struct vfb_map_plan plan = VFB_MAP_PLAN_INIT;
	struct vfb_job *job;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	host_space(&host, VFB_BACKEND_NONE);
	assert_fails(vfb_space_map(host.space, NULL, 1, NULL), -EINVAL, "NULL");
	assert_fails(vfb_space_map(host.space, &range, 1, NULL), -EINVAL, "no memory");
	assert_fails(vfb_space_unmap(host.space, NULL, 1, NULL), -EINVAL, "NULL");
	assert_fails(vfb_space_unmap_start(host.space, NULL, 1, NULL, &job), -EINVAL, "NULL");
	assert_fails(vfb_space_map_plan(host.space, NULL, 1, NULL, &plan), -EINVAL, "NULL");
	assert_fails(vfb_space_adopt_addresses(host.space, NULL, 1), -EINVAL, "NULL");
	range.memory = make_memory(&host, MIB, VFB_PAGE_4K);
	assert_ok(vfb_memory_populate(range.memory));
	range.offset = UINT64_C(1) << 60;
	assert_fails(vfb_space_map(host.space, &range, 1, NULL), -EINVAL, "ends beyond");
	for (size_t i = 0; i < ARRAY_SIZE(too_many); i++) {
		size_t count = too_many[i];

		assert_fails(vfb_space_map(host.space, &range, count, NULL), -EINVAL, "too many");
		assert_fails(vfb_space_map_start(host.space, &range, count, NULL, &job), -EINVAL,
			     "too many");
		assert_fails(vfb_space_map_plan(host.space, &range, count, NULL, &plan), -EINVAL,
			     "too many");
		assert_fails(vfb_space_unmap(host.space, &range, count, NULL), -EINVAL, "too many");
		assert_fails(vfb_space_adopt_addresses(host.space, &range, count), -EINVAL,
			     "too many");
	}
	assert_ok(vfb_memory_destroy(range.memory));
	host_close(&host);
}

static void test_devices(void **state)
{
	struct vfb_device_request request = {0};
	struct vfb_reset_request reset = {0};
	struct vfb_device *device = NULL;
	struct vfb_bar bar = {0};
	struct host host;

	(void)state;
	host_open(&host, NULL);
	host_space(&host, VFB_BACKEND_IOMMUFD);
	assert_fails(vfb_devices_open(host.space, NULL, 1, NULL), -EINVAL, "NULL");
	assert_fails(vfb_devices_open(host.space, &request, 1, NULL), -EINVAL, "PCI address");
	assert_fails(vfb_devices_close(NULL, 1, NULL), -EINVAL, "NULL");
	assert_fails(vfb_devices_reset(NULL, 1, NULL), -EINVAL, "NULL");
	assert_fails(vfb_devices_reset(&reset, 1, NULL), -EINVAL, "no device");
	assert_fails(vfb_bars_map(host.space, NULL, 1, NULL), -EINVAL, "NULL");
	assert_fails(vfb_bars_map(host.space, &bar, 1, NULL), -EINVAL, "no device");
	assert_fails(vfb_bars_unmap(NULL, 1), -EINVAL, "NULL");
	for (size_t i = 0; i < ARRAY_SIZE(too_many); i++) {
		size_t count = too_many[i];

		assert_fails(vfb_devices_open(host.space, &request, count, NULL), -EINVAL,
			     "too many");
		assert_fails(vfb_devices_close(&device, count, NULL), -EINVAL, "too many");
		assert_fails(vfb_devices_reset(&reset, count, NULL), -EINVAL, "too many");
		assert_fails(vfb_bars_map(host.space, &bar, count, NULL), -EINVAL, "too many");
		assert_fails(vfb_bars_unmap(&bar, count), -EINVAL, "too many");
	}
	host_close(&host);
}

static void test_memory(void **state)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_doctor_opts guest = VFB_DOCTOR_OPTS_INIT;
	struct vfb_memory *none[2] = {0}, *memory;
	const char *const devices[1] = {NULL};
	struct vfb_diagnosis *diagnosis;
	struct vfb_job *job;
	uint64_t phases;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	assert_fails(vfb_memory_populate_start(none, 1, &job), -EINVAL, "no memory");
	assert_fails(vfb_memory_populate_start(NULL, 1, &job), -EINVAL, "NULL");
	assert_fails(vfb_memory_populate_start(none, SIZE_MAX, &job), -EINVAL, "too many");
	none[0] = make_memory(&host, MIB, VFB_PAGE_4K);
	assert_fails(vfb_memory_populate_start(none, 2, &job), -EINVAL, "memory 1 is NULL");
	assert_ok(vfb_memory_destroy(none[0]));
	opts.bytes = MIB;
	opts.policy = VFB_NUMA_BIND;
	opts.node_count = 1;
	assert_fails(vfb_memory_create(host.ctx, &opts, &memory), -EINVAL, "nodes");
	opts.node_count = SIZE_MAX;
	assert_fails(vfb_memory_create(host.ctx, &opts, &memory), -EINVAL, "nodes");
	guest.device_count = 1;
	assert_fails(vfb_doctor_run(host.ctx, &guest, &diagnosis), -EINVAL, "NULL");
	guest.devices = devices;
	assert_fails(vfb_doctor_run(host.ctx, &guest, &diagnosis), -EINVAL, "PCI address");
	guest.device_count = SIZE_MAX;
	assert_fails(vfb_doctor_run(host.ctx, &guest, &diagnosis), -EINVAL, "too many");
	assert_fails(vfb_phases_parse(NULL, &phases), -EINVAL, "NULL");
	host_close(&host);
}

/* A size that was never set, or overwritten. */
static void test_sizes(void **state)
{
	struct vfb_ctx_opts opts = {.size = 4097};
	struct vfb_ctx *ctx;

	(void)state;
	assert_fails(vfb_ctx_create(&opts, &ctx), -EINVAL, "4097", "4096");
	opts.size = SIZE_MAX;
	assert_fails(vfb_ctx_create(&opts, &ctx), -EINVAL, "sizeof");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_devices),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
