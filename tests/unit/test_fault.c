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
	add_faulting_device(guest->host.fake, NULL);
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

/* Mapping takes longer than the device may wait; and nobody uses the cookie again afterwards, which
 * is that of another group by then. */
static void test_expired(void **state)
{
	struct vfb_space_opts opts = {.fault_threads = 2, .fault_timeout_ms = 50};
	const struct vfb_sys *sys;
	unsigned int slow, next;
	struct guest guest;
	uint64_t began;

	(void)state;
	guest_start(&guest, &opts);
	sys = guest.host.sys;
	fake_fail_delay(guest.host.fake, 1000 * MS);
	fake_fail_call(guest.host.fake, "IOMMU_IOAS_MAP", 1, ENOMEM);
	fake_fail_call(guest.host.fake, "IOMMU_IOAS_MAP", 2, ENOMEM);
	began = fake_now(guest.host.fake);
	slow = request(&guest, 1);
	assert_answer(&guest, slow, FAKE_PAGES_INVALID);
	assert_true(fake_now(guest.host.fake) - began < 100 * MS);
	assert_int_equal(demand_of(&guest).faults_expired, 1);
	/* The first map ends in between. */
	sys->sleep(sys, began + 980 * MS - fake_now(guest.host.fake));
	next = request(&guest, 2);
	assert_answer(&guest, next, FAKE_PAGES_INVALID);
	assert_true(fake_now(guest.host.fake) - began >= 1030 * MS);
	assert_int_equal(demand_of(&guest).faults_expired, 2);
	sys->sleep(sys, 1000 * MS);
	assert_answer(&guest, request(&guest, 2), FAKE_PAGES_SUCCESS);
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

/* A caller with an iommufd, a queue of faults in it, and a device. */
struct owner {
	const struct vfb_sys *sys;
	int iommufd, device;
	uint32_t ioas;
	struct vfb_iommu_fault_alloc queue;
};

static void owner_ioctl(const struct owner *owner, int fd, unsigned long request, void *arg)
{
	assert_int_equal(owner->sys->ioctl(owner->sys, fd, request, arg), 0);
}

static void owner_start(struct owner *owner, const struct vfb_sys *sys)
{
	struct vfb_iommu_ioas_alloc ioas = {.size = sizeof(ioas)};
	struct vfb_vfio_device_bind_iommufd bind = {.argsz = sizeof(bind)};
	struct vfb_vfio_device_attach_iommufd_pt attach = {.argsz = sizeof(attach)};
	struct vfb_iommu_hwpt_alloc hwpt = {.size = sizeof(hwpt),
					    .flags = VFB_IOMMU_HWPT_FAULT_ID_VALID};

	owner->sys = sys;
	owner->iommufd = bind.iommufd = sys->open(sys, "/dev/iommu", 2);
	owner->device = sys->open(sys, "/dev/vfio/devices/vfio0", 2);
	owner->queue = (struct vfb_iommu_fault_alloc){.size = sizeof(owner->queue)};
	owner_ioctl(owner, owner->iommufd, VFB_IOMMU_IOAS_ALLOC, &ioas);
	owner_ioctl(owner, owner->iommufd, VFB_IOMMU_FAULT_QUEUE_ALLOC, &owner->queue);
	owner_ioctl(owner, owner->device, VFB_VFIO_DEVICE_BIND_IOMMUFD, &bind);
	owner->ioas = hwpt.pt_id = ioas.out_ioas_id;
	hwpt.dev_id = bind.out_devid;
	hwpt.fault_id = owner->queue.out_fault_id;
	owner_ioctl(owner, owner->iommufd, VFB_IOMMU_HWPT_ALLOC, &hwpt);
	attach.pt_id = hwpt.out_hwpt_id;
	owner_ioctl(owner, owner->device, VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
}

static void owner_end(const struct owner *owner)
{
	owner->sys->close(owner->sys, owner->device);
	owner->sys->close(owner->sys, (int)owner->queue.out_fault_fd);
	owner->sys->close(owner->sys, owner->iommufd);
}

/* The queue is the caller's, and remains. */
static void test_adopted(void **state)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_device *device;
	struct owner owner;
	struct guest guest;

	(void)state;
	host_open(&guest.host, NULL);
	add_faulting_device(guest.host.fake, NULL);
	add_device(guest.host.fake, addresses[1], 2, NULL);
	owner_start(&owner, guest.host.sys);
	opts.fault_fd = (int)owner.queue.out_fault_fd;
	for (int round = 0; round < 2; round++) {
		assert_ok(vfb_space_adopt(guest.host.ctx, owner.iommufd, owner.ioas, &opts,
					  &guest.host.space));
		guest.memory = make_memory(&guest.host, BYTES, VFB_PAGE_4K);
		assert_ok(map_range(&guest, 0));
		assert_int_equal(demand_of(&guest).way, VFB_ON_DEMAND_FAULT);
		access_window(&guest, 11);
		assert_fails(vfb_device_open(guest.host.space, addresses[1], &device), -ENOTSUP,
			     "fault_fd");
		assert_ok(vfb_space_destroy(guest.host.space));
		assert_ok(vfb_memory_destroy(guest.memory));
	}
	/* Nobody handles it any more, until the device is closed. */
	assert_int_equal(fake_page_answer(guest.host.fake, request(&guest, 1), 1000 * MS),
			 FAKE_PAGES_PENDING);
	opts.on_demand = VFB_ON_DEMAND_TOUCH;
	assert_fails(vfb_space_adopt(guest.host.ctx, owner.iommufd, owner.ioas, &opts,
				     &guest.host.space),
		     -EINVAL, "fault_fd");
	owner_end(&owner);
	guest.host.space = NULL;
	host_close(&guest.host);
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
		cmocka_unit_test(test_failures),  cmocka_unit_test(test_events),
		cmocka_unit_test(test_adopted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
