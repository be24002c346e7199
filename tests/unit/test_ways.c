/* SPDX-License-Identifier: MIT */
/* Memory is populated by touching it in user mode, where that is cheaper and can do no harm. */
#include <sys/mman.h>

#include "host.h"

#define BYTES (512 * MIB)

static void populate(struct host *host, uint64_t bytes, enum vfb_page_size page_size)
{
	struct vfb_memory *memory = make_memory(host, bytes, page_size);

	assert_ok(vfb_memory_populate(memory));
	assert_int_equal(populated_of(memory), bytes);
	assert_int_equal(fake_populated(host->fake, address_of(memory), bytes), bytes);
	assert_ok(vfb_memory_destroy(memory));
}

/* Both ways are tried, and that which costs more is left. */
static void test_cheaper(void **state)
{
	static const struct {
		struct fake_config config;
		bool touches;
	} machines[] = {
		{{.pages_2m = {256}}, true},
		/* Another thread maps and unmaps. */
		{{.pages_2m = {256}, .mmap_wait_ns = 5 * MS}, true},
		/* Exceptions are slow: 5 ms for 2 MiB. */
		{{.pages_2m = {256}, .fault_ns = 10000}, false},
		/* Both. */
		{{.pages_2m = {256}, .fault_ns = 10000, .mmap_wait_ns = 50 * MS}, true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(machines); i++) {
		struct host host;
		uint64_t touched;

		host_open(&host, &machines[i].config);
		populate(&host, BYTES, VFB_PAGE_4K);
		touched = stats_of(&host).touched_bytes;
		assert_in_range(touched, 16 * MIB, BYTES - 8 * MIB);
		assert_int_equal(touched > BYTES / 2, machines[i].touches);
		/* An exception is little for a page of 2 MiB. */
		populate(&host, BYTES, VFB_PAGE_2M);
		assert_true(stats_of(&host).touched_bytes - touched > BYTES / 2);
		host_close(&host);
	}
}

/* It is noticed when another thread begins to map and unmap. */
static void test_changes(void **state)
{
	struct fake_config config = {.fault_ns = 10000};
	struct host host;
	uint64_t touched;

	(void)state;
	host_open(&host, &config);
	populate(&host, BYTES, VFB_PAGE_4K);
	touched = stats_of(&host).touched_bytes;
	assert_true(touched < BYTES / 2);
	fake_set_mmap_wait(host.fake, 50 * MS);
	populate(&host, BYTES, VFB_PAGE_4K);
	assert_true(stats_of(&host).touched_bytes - touched > BYTES / 2);
	host_close(&host);
}

/* A filter would end the process; children may be refused; and what is paced goes in small steps.
 */
static void test_not_touched(void **state)
{
	struct fake_config filtered = {.has_filter = true};
	struct host host;

	(void)state;
	host_open(&host, &filtered);
	populate(&host, BYTES, VFB_PAGE_4K);
	assert_int_equal(stats_of(&host).touch_calls, 0);
	host_close(&host);

	host_open(&host, NULL);
	/* Too little to create a child for. */
	populate(&host, 8 * MIB, VFB_PAGE_4K);
	assert_ok(vfb_ctx_set_populate_rate(host.ctx, GIB));
	populate(&host, BYTES, VFB_PAGE_4K);
	assert_int_equal(stats_of(&host).touch_calls, 0);
	assert_ok(vfb_ctx_set_populate_rate(host.ctx, UINT64_MAX));
	fake_fail_call(host.fake, "touch_range", 0, EAGAIN);
	populate(&host, BYTES, VFB_PAGE_4K);
	assert_int_equal(stats_of(&host).touched_bytes, 0);
	fake_fail_none(host.fake);
	host_close(&host);
}

/* When each worker has looked for one while the job lasted. */
static void add_filter(const struct vfb_event *event, void *data)
{
	static atomic_uint pieces;

	(void)event;
	if (atomic_fetch_add(&pieces, 1) == 12)
		fake_set_filter(data, true);
}

/* A filter is noticed that is added between two jobs, or while one lasts. */
static void test_filter_added(void **state)
{
	/* A piece takes 250 ms. */
	struct fake_config slow = {.zero_ns_per_gib = 16000 * MS};
	struct vfb_filter filter = VFB_FILTER_INIT;
	struct vfb_subscription *subscription;
	struct host host;
	uint64_t calls;

	(void)state;
	host_open(&host, NULL);
	populate(&host, BYTES, VFB_PAGE_4K);
	calls = stats_of(&host).touch_calls;
	assert_true(calls > 0);
	fake_set_filter(host.fake, true);
	populate(&host, BYTES, VFB_PAGE_4K);
	assert_int_equal(stats_of(&host).touch_calls, calls);
	host_close(&host);

	host_open(&host, &slow);
	filter.phases = VFB_PHASE_BIT(VFB_PHASE_POPULATE);
	assert_ok(vfb_subscribe(host.ctx, &filter, add_filter, host.fake, &subscription));
	populate(&host, BYTES, VFB_PAGE_4K);
	assert_in_range(stats_of(&host).touch_calls, 12, 24);
	vfb_unsubscribe(subscription);
	host_close(&host);
}

/* What a touch ends with a signal for is an error with its cause, and the rest is as without. */
static void test_errors(void **state)
{
	struct vfb_memory_adopt_opts opts = VFB_MEMORY_ADOPT_OPTS_INIT;
	struct vfb_memory *memory;
	struct host host;
	char *address;
	void *mapped;

	(void)state;
	host_open(&host, NULL);
	opts.bytes = BYTES;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(host.sys->mmap(host.sys, NULL, BYTES, PROT_READ | PROT_WRITE,
						MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &mapped),
				 0);
		opts.address = address = mapped;
		assert_ok(vfb_memory_adopt(host.ctx, &opts, &memory));
		if (i) {
			assert_int_equal(host.sys->munmap(host.sys, address + 301 * MIB, 2 * MIB),
					 0);
			assert_fails(vfb_memory_populate(memory), -EFAULT, "not mapped any more");
		} else {
			fake_poison(host.fake, address + 301 * MIB);
			assert_fails(vfb_memory_populate(memory), -EHWPOISON, "memory error");
		}
		assert_true(stats_of(&host).touched_bytes > 0);
		assert_ok(vfb_memory_destroy(memory));
		assert_int_equal(host.sys->munmap(host.sys, opts.address, BYTES), 0);
	}
	host_close(&host);
}

/* A touch of a device's region would be a write to it. */
static void test_device_region(void **state)
{
	struct vfb_memory_adopt_opts opts = VFB_MEMORY_ADOPT_OPTS_INIT;
	struct fake_device card = {
		.address = addresses[0],
		.group = 1,
		.driver = "vfio-pci",
		.bars = {{.bytes = 64 * MIB}},
	};
	struct vfb_memory *memory;
	struct vfb_device *device;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	fake_add_device(host.fake, &card);
	host_space(&host, VFB_BACKEND_IOMMUFD);
	open_devices(&host, 1, &device);
	assert_ok(vfb_region_map(device, 0, NULL, &opts.address));
	opts.bytes = 64 * MIB;
	assert_ok(vfb_memory_adopt(host.ctx, &opts, &memory));
	assert_fails(vfb_memory_populate(memory), -EFAULT, "region of a device");
	assert_int_equal(stats_of(&host).touch_calls, 0);
	assert_ok(vfb_memory_destroy(memory));
	vfb_device_close(device);
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cheaper),	    cmocka_unit_test(test_changes),
		cmocka_unit_test(test_not_touched), cmocka_unit_test(test_filter_added),
		cmocka_unit_test(test_errors),	    cmocka_unit_test(test_device_region),
	};

	return cmocka_run_group_tests_name("ways", tests, NULL, NULL);
}
