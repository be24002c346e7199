/* SPDX-License-Identifier: MIT */
/* Ranges that no device needs: they are left out of the IOMMU, and nothing else. */
#include "host.h"

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

#define RAM (64 * MIB)
#define ROM (2 * MIB)
/* Where firmware ends, beyond the window of interrupts. */
#define ROM_IOVA (4 * GIB - ROM)

struct guest {
	struct host host;
	struct vfb_device *device;
	struct vfb_memory *ram, *rom;
	/* Memory, a ROM, and an image that is populated. */
	struct vfb_range ranges[3];
};

static void start(struct guest *guest, const struct fake_config *config, enum vfb_backend backend)
{
	host_start(&guest->host, config, backend, 1, &guest->device);
	guest->ram = make_memory(&guest->host, RAM, VFB_PAGE_4K);
	guest->rom = make_memory(&guest->host, 2 * ROM, VFB_PAGE_4K);
	guest->ranges[0] = (struct vfb_range){.memory = guest->ram, .bytes = RAM};
	guest->ranges[1] = (struct vfb_range){
		.memory = guest->rom,
		.bytes = ROM,
		.iova = ROM_IOVA,
		.flags = VFB_RANGE_HOST_ONLY,
	};
	guest->ranges[2] = (struct vfb_range){
		.memory = guest->rom,
		.offset = ROM,
		.bytes = ROM,
		.iova = GIB,
		.flags = VFB_RANGE_HOST_ONLY | VFB_RANGE_POPULATE,
	};
}

static void end(struct guest *guest)
{
	assert_ok(vfb_space_unmap(guest->host.space, guest->ranges, 3, NULL));
	assert_int_equal(info_of(guest->host.space).mappings, 0);
	assert_int_equal(info_of(guest->host.space).host_only_bytes, 0);
	assert_ok(vfb_device_close(guest->device));
	assert_ok(vfb_memory_destroy(guest->ram));
	assert_ok(vfb_memory_destroy(guest->rom));
	host_close(&guest->host);
}

static void assert_left_out(struct guest *guest)
{
	struct vfb_space_info info = info_of(guest->host.space);

	for (size_t i = 0; i < 3; i++)
		assert_int_equal(guest->ranges[i].status, 0);
	assert_mapped(&guest->host, &guest->ranges[0]);
	assert_not_mapped(&guest->host, ROM_IOVA);
	assert_not_mapped(&guest->host, GIB);
	assert_int_equal(info.mappings, 3);
	assert_int_equal(info.mapped_bytes, RAM + 2 * ROM);
	assert_int_equal(info.host_only_bytes, 2 * ROM);
	assert_int_equal(populated_of(guest->rom), ROM);
}

/* Once as a job, and once in the calling thread. */
static void test_map(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++)
		for (int little = 0; little < 2; little++) {
			struct guest guest;

			start(&guest, NULL, backends[b]);
			if (little) {
				assert_ok(vfb_space_map(guest.host.space, guest.ranges, 1, NULL));
				assert_ok(
					vfb_space_map(guest.host.space, guest.ranges + 1, 2, NULL));
			} else {
				assert_ok(vfb_space_map(guest.host.space, guest.ranges, 3, NULL));
			}
			assert_left_out(&guest);
			assert_fails(vfb_space_map(guest.host.space, guest.ranges + 1, 1, NULL),
				     -EEXIST, "overlaps");
			end(&guest);
		}
}

/* A device that comes later, or again, does not change that. */
static void test_devices(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct guest guest;

		start(&guest, NULL, backends[b]);
		assert_ok(vfb_device_close(guest.device));
		assert_ok(vfb_space_map(guest.host.space, guest.ranges, 3, NULL));
		assert_ok(vfb_device_open(guest.host.space, addresses[0], &guest.device));
		assert_left_out(&guest);
		assert_ok(vfb_device_close(guest.device));
		assert_ok(vfb_device_open(guest.host.space, addresses[0], &guest.device));
		assert_left_out(&guest);
		end(&guest);
	}
}

static void test_plan(void **state)
{
	struct vfb_map_plan plan = VFB_MAP_PLAN_INIT;
	struct guest guest;

	(void)state;
	start(&guest, NULL, VFB_BACKEND_TYPE1);
	assert_ok(vfb_space_map_plan(guest.host.space, guest.ranges, 3, NULL, &plan));
	assert_int_equal(plan.bytes, RAM);
	assert_int_equal(plan.host_only_bytes, 2 * ROM);
	assert_int_equal(plan.populate_bytes, RAM + ROM);
	assert_int_equal(plan.map_calls, 1);
	assert_ok(vfb_space_map(guest.host.space, guest.ranges, 3, NULL));
	end(&guest);
}

/* Neither the kernel's mappings nor its limit of pinned memory count them. */
static void test_limits(void **state)
{
	struct fake_config config = {.dma_entry_limit = 1, .memlock = RAM};
	struct guest guest;

	(void)state;
	start(&guest, &config, VFB_BACKEND_TYPE1);
	assert_ok(vfb_space_map(guest.host.space, guest.ranges, 3, NULL));
	assert_left_out(&guest);
	assert_int_equal(info_of(guest.host.space).entries_left, 0);
	end(&guest);
}

/* Emulated devices reach them. */
static void test_translate(void **state)
{
	struct vfb_translation found;
	struct guest guest;

	(void)state;
	start(&guest, NULL, VFB_BACKEND_IOMMUFD);
	assert_ok(vfb_space_map(guest.host.space, guest.ranges, 3, NULL));
	memset(&found, 0, sizeof(found));
	assert_int_equal(vfb_space_translate(guest.host.space, ROM_IOVA + 4096, 16, &found, 1), 1);
	assert_ptr_equal(found.address, address_of(guest.rom) + 4096);
	/* But no IOVA of theirs is given to a device. */
	assert_int_equal(vfb_space_translate_address(guest.host.space, address_of(guest.ram), 16,
						     &found, 1),
			 1);
	assert_fails(vfb_space_translate_address(guest.host.space, address_of(guest.rom), 16,
						 &found, 1),
		     -ENOENT, "not mapped");
	end(&guest);
}

/* Of memory that no device reaches, no address has an IOVA, neither when it is looked up for the
 * first time, nor when that is in a table that is empty, nor in one from which the rest has gone.
 */
static void test_translate_nothing_else(void **state)
{
	struct vfb_translation found;
	struct guest guest;

	(void)state;
	start(&guest, NULL, VFB_BACKEND_IOMMUFD);
	assert_ok(vfb_space_map(guest.host.space, guest.ranges + 1, 2, NULL));
	for (int times = 0; times < 2; times++)
		assert_fails(vfb_space_translate_address(guest.host.space, address_of(guest.rom),
							 16, &found, 1),
			     -ENOENT, "not mapped");
	assert_int_equal(vfb_space_translate(guest.host.space, ROM_IOVA, 16, &found, 1), 1);
	assert_ok(vfb_space_map(guest.host.space, guest.ranges, 1, NULL));
	assert_ok(vfb_space_unmap(guest.host.space, guest.ranges, 1, NULL));
	assert_fails(vfb_space_translate_address(guest.host.space, address_of(guest.ram), 16,
						 &found, 1),
		     -ENOENT, "not mapped");
	assert_fails(vfb_space_translate_address(guest.host.space, address_of(guest.rom), 16,
						 &found, 1),
		     -ENOENT, "not mapped");
	assert_ok(vfb_space_map(guest.host.space, guest.ranges, 1, NULL));
	end(&guest);
}

/* All entries of the job count as finished. */
static void test_progress(void **state)
{
	struct vfb_job_progress progress = VFB_JOB_PROGRESS_INIT;
	struct vfb_job *job;
	struct guest guest;

	(void)state;
	start(&guest, NULL, VFB_BACKEND_TYPE1);
	assert_ok(vfb_space_map_start(guest.host.space, guest.ranges, 3, NULL, &job));
	for (size_t i = 3; i-- > 0;)
		assert_ok(vfb_job_wait_entry(job, i, UINT64_MAX));
	assert_ok(vfb_job_wait(job, UINT64_MAX));
	assert_ok(vfb_job_progress(job, &progress));
	assert_int_equal(progress.entries_done, 3);
	assert_int_equal(progress.bytes_done, progress.bytes);
	vfb_job_destroy(job);
	end(&guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_devices),
		cmocka_unit_test(test_plan),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_translate),
		cmocka_unit_test(test_progress),
		cmocka_unit_test(test_translate_nothing_else),
	};

	return cmocka_run_group_tests_name("host only", tests, NULL, NULL);
}
