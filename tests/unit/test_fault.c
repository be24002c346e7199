/* SPDX-License-Identifier: MIT */
/* Devices that fault at windows, which the library maps. */
#include "host.h"
#include "sys/uapi.h"

#define IOVA	(4 * GIB)
#define WINDOW	(64 * KIB)
#define WINDOWS 64
#define BYTES	(WINDOWS * (uint64_t)WINDOW)
#define WAIT	(60000 * MS)
#define BOTH	(VFB_IOMMU_PGFAULT_PERM_READ | VFB_IOMMU_PGFAULT_PERM_WRITE)

/* A machine with a device that faults, and a range for it. */
struct guest {
	struct host host;
	struct vfb_device *device;
	struct vfb_memory *memory;
	struct vfb_range range;
};

static void add_faulting(struct fake *fake, const char *physfn)
{
	const struct fake_device device = {
		.address = addresses[0],
		.group = 1,
		.driver = "vfio-pci",
		.requests_pages = true,
		.physfn = physfn,
	};

	fake_add_device(fake, &device);
}

static int make_space(struct host *host, const struct vfb_space_opts *opts)
{
	struct vfb_space_opts used = *opts;

	used.size = sizeof(used);
	used.backend = VFB_BACKEND_IOMMUFD;
	used.on_demand = VFB_ON_DEMAND_FAULT;
	return vfb_space_create(host->ctx, &used, &host->space);
}

static int map_range(struct guest *guest, uint32_t flags)
{
	guest->range = (struct vfb_range){.memory = guest->memory,
					  .bytes = BYTES,
					  .iova = IOVA,
					  .flags = VFB_RANGE_ON_DEMAND | flags,
					  .window_bytes = WINDOW};
	return vfb_space_map(guest->host.space, &guest->range, 1, NULL);
}

static void guest_start(struct guest *guest, const struct vfb_space_opts *opts)
{
	host_open(&guest->host, NULL);
	add_faulting(guest->host.fake, NULL);
	assert_ok(make_space(&guest->host, opts));
	open_devices(&guest->host, 1, &guest->device);
	guest->memory = make_memory(&guest->host, BYTES, VFB_PAGE_4K);
	assert_ok(map_range(guest, 0));
}

static void guest_plain(struct guest *guest)
{
	guest_start(guest, &(struct vfb_space_opts){.fault_threads = 1});
}

static void guest_end(struct guest *guest)
{
	assert_ok(vfb_space_unmap(guest->host.space, &guest->range, 1, NULL));
	assert_int_equal(stats_of(&guest->host).pinned_bytes, 0);
	host_end(&guest->host, guest->device, guest->memory);
}

static struct fake_page_request at(uint64_t window)
{
	return (struct fake_page_request){IOVA + window * WINDOW + 4096, BOTH};
}

static unsigned int request(struct guest *guest, uint64_t window)
{
	struct fake_page_request page = at(window);

	return fake_request_pages(guest->host.fake, addresses[0], &page, 1);
}

static void assert_answer(struct guest *guest, unsigned int group, enum fake_page_answer answer)
{
	assert_int_equal(fake_page_answer(guest->host.fake, group, WAIT), answer);
}

static bool dma_reaches(struct guest *guest, uint64_t window)
{
	return fake_dma_write(guest->host.fake, addresses[0], IOVA + window * WINDOW, "dma", 4);
}

/* What a device does that accesses a window. */
static void access_window(struct guest *guest, uint64_t window)
{
	if (dma_reaches(guest, window))
		return;
	assert_answer(guest, request(guest, window), FAKE_PAGES_SUCCESS);
	assert_true(dma_reaches(guest, window));
}

static struct vfb_on_demand_info demand_of(struct guest *guest)
{
	struct vfb_on_demand_info info = VFB_ON_DEMAND_INFO_INIT;

	assert_ok(vfb_space_on_demand_info(guest->host.space, &info));
	return info;
}

/* As many faults as windows, and no more mapped than was accessed. */
static void test_windows(void **state)
{
	struct vfb_on_demand_info info;
	struct guest guest;

	(void)state;
	guest_plain(&guest);
	assert_int_equal(demand_of(&guest).way, VFB_ON_DEMAND_FAULT);
	for (unsigned int i = 0; i < WINDOWS; i++) {
		access_window(&guest, i);
		access_window(&guest, i);
		assert_int_equal(stats_of(&guest.host).pinned_bytes, (i + 1) * WINDOW);
	}
	info = demand_of(&guest);
	assert_int_equal(info.faults, WINDOWS);
	assert_int_equal(info.mapped, WINDOWS);
	assert_int_equal(info.populated_bytes, BYTES);
	assert_int_equal(info.faults_coalesced + info.faults_spurious + info.faults_denied, 0);
	assert_true(info.fault_median_ns > 0 && info.fault_p99_ns >= info.fault_median_ns);
	/* What is evicted faults again, unless it is held. */
	assert_ok(vfb_space_hold(guest.host.space, IOVA, 1));
	assert_ok(vfb_space_trim(guest.host.space, WINDOW));
	access_window(&guest, 0);
	access_window(&guest, 9);
	assert_int_equal(demand_of(&guest).faults, WINDOWS + 1);
	assert_ok(vfb_space_unhold(guest.host.space, IOVA, 1));
	guest_end(&guest);
}

/* The device reads on, elsewhere, and on there. */
static void test_ahead(void **state)
{
	struct guest guest;
	uint64_t pinned;

	(void)state;
	guest_start(&guest, &(struct vfb_space_opts){.fault_ahead = 16});
	for (unsigned int i = 0; i < WINDOWS; i++)
		access_window(&guest, i);
	assert_true(demand_of(&guest).faults <= WINDOWS / 8);
	assert_int_equal(demand_of(&guest).mapped, WINDOWS);
	assert_ok(vfb_space_trim(guest.host.space, 0));
	/* Backwards. */
	for (unsigned int i = WINDOWS; i-- > WINDOWS - 8;)
		access_window(&guest, i);
	pinned = stats_of(&guest.host).pinned_bytes;
	assert_int_equal(pinned, 8 * WINDOW);
	guest_end(&guest);
}

/* Requests of one window, more than are read and answered at once, and of one group. */
static void test_coalesced(void **state)
{
	struct fake_page_request pages[200];
	struct vfb_on_demand_info info;
	unsigned int groups[200];
	struct guest guest;

	(void)state;
	guest_plain(&guest);
	for (unsigned int i = 0; i < ARRAY_SIZE(groups); i++)
		groups[i] = request(&guest, 5);
	for (unsigned int i = 0; i < ARRAY_SIZE(groups); i++)
		assert_answer(&guest, groups[i], FAKE_PAGES_SUCCESS);
	info = demand_of(&guest);
	assert_int_equal(info.faults, ARRAY_SIZE(groups));
	assert_int_equal(info.mapped, 1);
	assert_int_equal(info.faults_coalesced + info.faults_spurious, ARRAY_SIZE(groups) - 1);
	assert_true(fake_page_answer_calls(guest.host.fake) < 10);
	/* A group that needs more room, of all windows. */
	for (unsigned int i = 0; i < ARRAY_SIZE(pages); i++)
		pages[i] = at(i % WINDOWS);
	assert_answer(&guest, fake_request_pages(guest.host.fake, addresses[0], pages, 200),
		      FAKE_PAGES_SUCCESS);
	for (unsigned int i = 0; i < WINDOWS; i++)
		assert_true(dma_reaches(&guest, i));
	assert_int_equal(demand_of(&guest).mapped, WINDOWS);
	guest_end(&guest);
}

static void assert_denied(struct guest *guest, struct fake_page_request page)
{
	struct fake_page_request pages[] = {at(1), page};
	uint64_t denied = demand_of(guest).faults_denied;

	assert_answer(guest, fake_request_pages(guest->host.fake, addresses[0], &page, 1),
		      FAKE_PAGES_INVALID);
	assert_answer(guest, fake_request_pages(guest->host.fake, addresses[0], pages, 2),
		      FAKE_PAGES_INVALID);
	assert_true(demand_of(guest).faults_denied >= denied + 2);
}

static void test_denied(void **state)
{
	struct vfb_memory_range part = {.bytes = WINDOW};
	struct vfb_range fixed;
	struct guest guest;

	(void)state;
	guest_plain(&guest);
	assert_denied(&guest, (struct fake_page_request){IOVA - 1, BOTH});
	assert_denied(&guest, (struct fake_page_request){UINT64_MAX, BOTH});
	assert_denied(&guest, (struct fake_page_request){IOVA, VFB_IOMMU_PGFAULT_PERM_EXEC});
	/* The kernel cannot map it. */
	fake_fail_call(guest.host.fake, "IOMMU_IOAS_MAP", 0, ENOMEM);
	assert_denied(&guest, at(3));
	fake_fail_none(guest.host.fake);
	access_window(&guest, 3);
	assert_ok(vfb_memory_discard(guest.memory, &part, 1, NULL));
	assert_denied(&guest, at(0));
	assert_ok(vfb_memory_restore(guest.memory, &part, 1, NULL));
	access_window(&guest, 0);
	/* Read only, on demand and not. */
	assert_ok(vfb_space_unmap(guest.host.space, &guest.range, 1, NULL));
	assert_denied(&guest, at(3));
	assert_ok(map_range(&guest, VFB_RANGE_READ));
	assert_denied(&guest, at(3));
	fixed = guest.range;
	fixed.iova = 8 * GIB;
	fixed.flags = VFB_RANGE_READ;
	fixed.window_bytes = 0;
	assert_ok(vfb_space_map(guest.host.space, &fixed, 1, NULL));
	assert_denied(&guest, (struct fake_page_request){8 * GIB, BOTH});
	assert_answer(&guest,
		      fake_request_pages(guest.host.fake, addresses[0],
					 &(struct fake_page_request){8 * GIB, 1}, 1),
		      FAKE_PAGES_SUCCESS);
	assert_ok(vfb_space_unmap(guest.host.space, &fixed, 1, NULL));
	guest_end(&guest);
}

/* Populating takes longer than the device may wait; the handler uses no cookie afterwards. */
static void test_expired(void **state)
{
	struct vfb_space_opts opts = {.fault_threads = 1, .fault_timeout_ms = 50};
	struct guest guest;
	unsigned int slow, next;
	uint64_t began;

	(void)state;
	guest_start(&guest, &opts);
	fake_fail_delay(guest.host.fake, 1000 * MS);
	fake_fail_call(guest.host.fake, "IOMMU_IOAS_MAP", 1, ENOMEM);
	began = fake_now(guest.host.fake);
	slow = request(&guest, 1);
	assert_answer(&guest, slow, FAKE_PAGES_INVALID);
	assert_true(fake_now(guest.host.fake) - began < 100 * MS);
	assert_int_equal(demand_of(&guest).faults_expired, 1);
	/* Has the same cookie when the thread has finished. */
	next = request(&guest, 2);
	assert_answer(&guest, next, FAKE_PAGES_SUCCESS);
	assert_int_equal(demand_of(&guest).faults_expired, 1);
	fake_fail_none(guest.host.fake);
	guest_end(&guest);
}

/* What is pending when the device is closed is answered, also while it is being mapped. */
static void test_closed(void **state)
{
	struct guest guest;
	unsigned int groups[16];

	(void)state;
	guest_plain(&guest);
	for (unsigned int i = 0; i < ARRAY_SIZE(groups); i++)
		groups[i] = request(&guest, i);
	assert_ok(vfb_device_close(guest.device));
	for (unsigned int i = 0; i < ARRAY_SIZE(groups); i++)
		assert_int_not_equal(fake_page_answer(guest.host.fake, groups[i], 0),
				     FAKE_PAGES_PENDING);
	open_devices(&guest.host, 1, &guest.device);
	access_window(&guest, 20);
	guest_end(&guest);
}

/* Each call of handling fails once: the device gets an answer, and the next fault is handled. */
static void test_failures(void **state)
{
	unsigned int n = 0;
	bool failed;

	(void)state;
	do {
		struct guest guest;
		unsigned int groups[3];

		guest_start(&guest, &(struct vfb_space_opts){.fault_ahead = 4});
		fake_fail_nth(guest.host.fake, ++n, 0);
		for (unsigned int i = 0; i < ARRAY_SIZE(groups); i++)
			groups[i] = request(&guest, i);
		for (unsigned int i = 0; i < ARRAY_SIZE(groups); i++)
			assert_int_not_equal(fake_page_answer(guest.host.fake, groups[i], WAIT),
					     FAKE_PAGES_PENDING);
		failed = fake_failed(guest.host.fake);
		fake_fail_none(guest.host.fake);
		access_window(&guest, 30);
		guest_end(&guest);
	} while (failed);
	assert_true(n > 10);
}

/* Each call of starting fails once. */
static void test_start_failures(void **state)
{
	unsigned int n = 0;
	int error;

	(void)state;
	do {
		struct host host;

		host_open(&host, NULL);
		fake_fail_nth(host.fake, ++n, 0);
		error = make_space(&host, &(struct vfb_space_opts){.fault_ahead = 4});
		fake_fail_none(host.fake);
		host_close(&host);
	} while (error);
	assert_true(n > 5);
}

static void assert_not_opened(struct host *host, const char *why)
{
	struct vfb_device *device;

	assert_ok(make_space(host, &(struct vfb_space_opts){.fault_ahead = 4}));
	assert_fails(vfb_device_open(host->space, addresses[0], &device), -ENOTSUP, addresses[0],
		     why, "VFB_ON_DEMAND_TOUCH");
	host_close(host);
}

/* Devices whose faults nobody reports, or without proof that somebody does. */
static void test_unproved(void **state)
{
	const struct fake_config scalable = {.no_scalable = true}, old = {.no_faults = true};
	struct host host;

	(void)state;
	host_open(&host, NULL);
	add_faulting(host.fake, "0000:02:00.0");
	assert_not_opened(&host, "virtual function");
	host_open(&host, NULL);
	add_devices(host.fake, 1);
	assert_not_opened(&host, "PRI");
	host_open(&host, &scalable);
	add_faulting(host.fake, NULL);
	assert_not_opened(&host, "ecap");
	host_open(&host, &old);
	assert_fails(make_space(&host, &(struct vfb_space_opts){.fault_ahead = 4}), -ENOTSUP,
		     "6.13");
	host_close(&host);
}

static void test_refused(void **state)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	assert_fails(make_space(&host, &(struct vfb_space_opts){.fault_threads = 65}), -EINVAL,
		     "65");
	assert_fails(make_space(&host, &(struct vfb_space_opts){.fault_ahead = 65537}), -EINVAL,
		     "65537");
	assert_fails(make_space(&host, &(struct vfb_space_opts){.fault_fd = 5}), -EINVAL,
		     "vfb_space_adopt");
	assert_fails(make_space(&host, &(struct vfb_space_opts){.fault_fd = -1}), -EINVAL, "-1");
	assert_fails(make_space(&host, &(struct vfb_space_opts){.flags = VFB_SPACE_DIRTY}),
		     -ENOTSUP, "VFB_ON_DEMAND_FAULT");
	opts.backend = VFB_BACKEND_NONE;
	opts.on_demand = VFB_ON_DEMAND_FAULT;
	assert_fails(vfb_space_create(host.ctx, &opts, &host.space), -ENOTSUP, "IOMMU");
	host_close(&host);
}

static void test_events(void **state)
{
	struct vfb_stats_entry entries[VFB_PHASE_COUNT];
	struct vfb_filter filter = {.size = sizeof(filter),
				    .phases = VFB_PHASE_BIT(VFB_PHASE_FAULT)};
	struct vfb_stats *stats;
	struct guest guest;

	(void)state;
	guest_plain(&guest);
	assert_ok(vfb_stats_create(guest.host.ctx, &filter, &stats));
	access_window(&guest, 7);
	access_window(&guest, 3);
	/* Events end after the answer. */
	assert_ok(vfb_device_close(guest.device));
	assert_ok(vfb_space_unmap(guest.host.space, &guest.range, 1, NULL));
	assert_ok(vfb_space_destroy(guest.host.space));
	guest.host.space = NULL;
	assert_int_equal(vfb_stats_read(stats, 0, entries, VFB_PHASE_COUNT), 1);
	assert_int_equal(entries[0].phase, VFB_PHASE_FAULT);
	assert_int_equal(entries[0].count, 2);
	assert_int_equal(entries[0].bytes, 2 * WINDOW);
	vfb_stats_destroy(stats);
	assert_ok(vfb_memory_destroy(guest.memory));
	host_close(&guest.host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_windows),	  cmocka_unit_test(test_ahead),
		cmocka_unit_test(test_coalesced), cmocka_unit_test(test_denied),
		cmocka_unit_test(test_expired),	  cmocka_unit_test(test_closed),
		cmocka_unit_test(test_failures),  cmocka_unit_test(test_start_failures),
		cmocka_unit_test(test_unproved),  cmocka_unit_test(test_refused),
		cmocka_unit_test(test_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
