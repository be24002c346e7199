/* SPDX-License-Identifier: MIT */
/*
 * What another thread does at the worst moment of a reset: after the kernel has reset the device,
 * before what its peers reached of it is mapped again. Here the same thread does it, when the
 * library asks for the time there. For the address sanitizer.
 */
#include <linux/vfio.h>

#include "context.h"
#include "counted.h"
#include "host.h"

#define BRIDGE "0000:00:01.0"

static struct beside {
	struct counted counted;
	struct host host;
	struct vfb_device *device;
	struct vfb_space *peers;
	struct vfb_bar bar;
	void (*act)(void);
	bool has_reset, has_acted;
} beside;

static int ioctl_of(const struct vfb_sys *sys, int fd, unsigned long request, void *arg)
{
	(void)sys;
	beside.has_reset = beside.has_reset || request == VFIO_DEVICE_RESET;
	return beside.host.sys->ioctl(beside.host.sys, fd, request, arg);
}

static uint64_t now_of(const struct vfb_sys *sys)
{
	(void)sys;
	if (beside.has_reset && !beside.has_acted) {
		beside.has_acted = true;
		beside.act();
	}
	return beside.host.sys->now(beside.host.sys);
}

static void ignore(const struct vfb_event *event, void *data)
{
	(void)event;
	(void)data;
}

/* A device whose BAR is mapped for the devices of another space is reset, and @act is done. */
static void reset_and(void (*act)(void))
{
	struct fake_device config = {.address = addresses[0],
				     .group = 1,
				     .driver = "vfio-pci",
				     .bridge = BRIDGE,
				     .bars = {{.bytes = MIB}}};
	struct vfb_filter only = VFB_FILTER_INIT;
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_subscription *subscription;
	struct host *host = &beside.host;

	beside = (struct beside){.act = act};
	host->fake = fake_create(NULL);
	host->sys = fake_sys(host->fake);
	counted_init(&beside.counted, host->sys);
	beside.counted.sys.ioctl = ioctl_of;
	beside.counted.sys.now = now_of;
	fake_add_device(host->fake, &config);
	add_device(host->fake, addresses[1], 2, NULL);
	assert_ok(vfb_ctx_create_with(&beside.counted.sys, NULL, &host->ctx));
	host_space(host, VFB_BACKEND_IOMMUFD);
	opts.backend = VFB_BACKEND_IOMMUFD;
	assert_ok(vfb_space_create(host->ctx, &opts, &beside.peers));
	only.phases = VFB_PHASE_BIT(VFB_PHASE_BAR);
	assert_ok(vfb_subscribe(host->ctx, &only, ignore, NULL, &subscription));
	assert_ok(vfb_device_open(host->space, addresses[0], &beside.device));
	beside.bar = (struct vfb_bar){.device = beside.device,
				      .flags = VFB_BAR_ANY_IOVA | VFB_BAR_REQUIRED};
	assert_ok(vfb_bars_map(beside.peers, &beside.bar, 1, NULL));
	assert_ok(vfb_device_reset(beside.device));
	assert_true(beside.has_acted);
	vfb_unsubscribe(subscription);
	assert_ok(vfb_device_close(beside.device));
	assert_ok(vfb_space_destroy(beside.peers));
	host_close(host);
}

static void unmap_bar(void)
{
	assert_ok(vfb_bars_unmap(&beside.bar, 1));
	assert_ok(vfb_region_unmap(beside.device, 0));
}

static void test_unmap(void **state)
{
	(void)state;
	reset_and(unmap_bar);
}

/* And it is mapped once more: another memory than the one that was held. */
static void map_bar_again(void)
{
	unmap_bar();
	assert_ok(vfb_bars_map(beside.host.space, &beside.bar, 1, NULL));
}

static void test_map_again(void **state)
{
	(void)state;
	reset_and(map_bar_again);
}

/* The space of its peers cannot go in this moment. */
static void destroy_space(void)
{
	assert_fails(vfb_space_destroy(beside.peers), -EBUSY, "jobs");
	assert_ok(vfb_bars_unmap(&beside.bar, 1));
	assert_fails(vfb_space_destroy(beside.peers), -EBUSY, "jobs");
}

static void test_destroy(void **state)
{
	(void)state;
	reset_and(destroy_space);
}

/* Closing a device waits for the job that resets it; from then on no other may begin. */
static void test_close(void **state)
{
	struct vfb_reset_request request = {0};
	struct vfb_device *devices[1];
	struct vfb_job *reset, *close;
	struct host host;

	(void)state;
	host_start(&host, NULL, VFB_BACKEND_IOMMUFD, 1, devices);
	request.device = devices[0];
	assert_ok(vfb_devices_reset_start(&request, 1, NULL, &reset));
	assert_ok(vfb_devices_close_start(devices, 1, NULL, &close));
	assert_fails(vfb_device_reset(request.device), -EALREADY, addresses[0]);
	assert_ok(vfb_job_wait(close, UINT64_MAX));
	vfb_job_destroy(close);
	assert_ok(vfb_job_wait(reset, 0));
	vfb_job_destroy(reset);
	assert_int_equal(request.status, 0);
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unmap),
		cmocka_unit_test(test_map_again),
		cmocka_unit_test(test_destroy),
		cmocka_unit_test(test_close),
	};

	return cmocka_run_group_tests_name("reset_beside", tests, NULL, NULL);
}
