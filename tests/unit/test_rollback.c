/* SPDX-License-Identifier: MIT */
/* A batch of 200 of which one fails, with every errno that the kernel has for it: as before. */
#include "host.h"

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};
static const char *const calls[] = {"VFIO_IOMMU_MAP_DMA", "IOMMU_IOAS_MAP"};

#define COUNT	200
#define CULPRIT 137
#define PART	MIB

/* Each a mapping of its own: none is a neighbour of another in memory. */
static void make_ranges(struct vfb_memory *memory, struct vfb_range *ranges)
{
	for (uint64_t i = 0; i < COUNT; i++)
		ranges[i] = (struct vfb_range){.memory = memory,
					       .offset = i * PART,
					       .bytes = PART / 2,
					       .iova = 4 * GIB + i * PART};
}

static void test_each_errno(void **state)
{
	static const int errors[] = {EFAULT, ENOMEM, EINVAL, ENOSPC, EEXIST, EOVERFLOW,
				     EINTR,  EAGAIN, EPERM,  EBUSY,  EIO};

	(void)state;
	for (size_t b = 0; b < 2; b++)
		for (size_t e = 0; e < ARRAY_SIZE(errors); e++) {
			/* One after another, so that it is known which call is that of the entry.
			 */
			struct vfb_batch_opts opts = {.size = sizeof(opts), .width = 1};
			struct vfb_range ranges[COUNT];
			struct fake_stats before, after;
			struct vfb_device *device;
			struct vfb_memory *memory;
			struct host host;

			host_start(&host, NULL, backends[b], 1, &device);
			memory = make_memory(&host, COUNT * PART, VFB_PAGE_4K);
			make_ranges(memory, ranges);
			before = stats_of(&host);
			fake_fail_call(host.fake, calls[b], CULPRIT + 1, errors[e]);
			assert_fails(vfb_space_map(host.space, ranges, COUNT, &opts), -errors[e],
				     "IOVA 0x108900000");
			after = stats_of(&host);
			assert_int_equal(after.map_calls, CULPRIT);
			assert_int_equal(after.mappings, before.mappings);
			assert_int_equal(after.pinned_bytes, before.pinned_bytes);
			assert_int_equal(after.locked_vm, before.locked_vm);
			assert_int_equal(info_of(host.space).mappings, 0);
			for (size_t i = 0; i < COUNT; i++)
				assert_int_equal(ranges[i].status,
						 i == CULPRIT ? -errors[e] : -ECANCELED);
			/* As if nothing had been. */
			assert_ok(vfb_space_map(host.space, ranges, COUNT, NULL));
			assert_ok(vfb_space_unmap_all(host.space));
			host_end(&host, device, memory);
		}
}

/* With all workers at once, by whatever entry comes to the call. */
static void test_in_parallel(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_range ranges[COUNT];
		struct vfb_device *device;
		struct vfb_memory *memory;
		struct host host;
		size_t failed = 0;

		host_start(&host, NULL, backends[b], 1, &device);
		memory = make_memory(&host, COUNT * PART, VFB_PAGE_4K);
		make_ranges(memory, ranges);
		fake_fail_call(host.fake, calls[b], CULPRIT, EFAULT);
		assert_fails(vfb_space_map(host.space, ranges, COUNT, NULL), -EFAULT, "cannot map");
		for (size_t i = 0; i < COUNT; i++)
			failed += ranges[i].status == -EFAULT;
		assert_int_equal(failed, 1);
		assert_int_equal(stats_of(&host).mappings, 0);
		assert_int_equal(stats_of(&host).pinned_bytes, 0);
		host_end(&host, device, memory);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_errno),
		cmocka_unit_test(test_in_parallel),
	};

	return cmocka_run_group_tests_name("rollback", tests, NULL, NULL);
}
