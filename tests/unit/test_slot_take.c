/* SPDX-License-Identifier: MIT */
/* Taking a slot that another context of the same fake kernel has made, and making one. */
#include <sys/stat.h>

#include "context.h"
#include "host.h"
#include "slot/slot.h"

#define DEVICES 2
#define SECOND	UINT64_C(1000000000)

/* The daemon: it has made a slot, and hands out its files. */
struct broker {
	struct vfb_ctx *ctx;
	struct vfb_slot *slot;
	union vfb_wire answer;
	size_t bytes;
	int fds[VFB_WIRE_FDS];
	size_t fd_count;
	unsigned int takes;
	/* How often it is killed before it answers. */
	unsigned int kills;
	uint64_t wait_ns;
};

static ssize_t answer_request(void *arg, const void *request, size_t bytes, void *answer,
			      size_t room, int *fds, size_t *count)
{
	struct broker *broker = arg;
	union vfb_wire message;

	assert_int_equal(vfb_wire_parse(request, bytes, &message), 0);
	assert_int_equal(message.header.type, VFB_WIRE_TAKE);
	assert_string_equal(message.request.name, "web");
	broker->wait_ns = message.request.wait_ns;
	if (broker->kills) {
		broker->kills--;
		*count = 0;
		return -ECONNRESET;
	}
	assert_true(room >= broker->bytes && *count >= broker->fd_count);
	broker->takes++;
	memcpy(answer, &broker->answer, broker->bytes);
	memcpy(fds, broker->fds, broker->fd_count * sizeof(*fds));
	*count = broker->fd_count;
	return broker->bytes;
}

static struct vfb_slot_cold cold_of(enum vfb_backend backend, size_t devices)
{
	return (struct vfb_slot_cold){
		.size = sizeof(struct vfb_slot_cold),
		.bytes = 64 * MIB,
		.page_size = VFB_PAGE_2M,
		.backend = backend,
		.devices = addresses,
		.device_count = devices,
	};
}

static void describe(struct broker *broker)
{
	struct vfb_wire_grant *grant = &broker->answer.grant;

	broker->fd_count = vfb_slot_describe(broker->slot, grant, broker->fds);
	strcpy(grant->slot, "web-1");
	strcpy(grant->class_name, "web");
	broker->bytes = vfb_wire_finish(&broker->answer, VFB_WIRE_GRANT);
}

static void broker_open(struct broker *broker, struct host *host, enum vfb_backend backend,
			size_t devices, unsigned int level)
{
	struct vfb_slot_cold cold = cold_of(backend, devices);

	memset(broker, 0, sizeof(*broker));
	assert_ok(vfb_ctx_create_with(fake_sys(host->fake), NULL, &broker->ctx));
	assert_ok(vfb_slot_make(broker->ctx, &cold, level, NULL, NULL, &broker->slot));
	if (level)
		assert_ok(vfb_space_release_addresses(broker->slot->space));
	describe(broker);
	fake_listen(host->fake, answer_request, broker);
}

static void broker_close(struct broker *broker)
{
	assert_ok(vfb_slot_release(broker->slot));
	assert_ok(vfb_ctx_destroy(broker->ctx));
}

static void slots_open(struct host *host)
{
	static const struct fake_config config = {.pages_2m = {128}};

	host_open(host, &config);
	add_devices(host->fake, DEVICES);
}

static const struct vfb_slot_opts web = {.size = sizeof(web), .class_name = "web"};

static unsigned int count_threads(void)
{
	struct stat folder;

	assert_int_equal(stat("/proc/self/task", &folder), 0);
	return folder.st_nlink - 2;
}

static void test_take(void **state)
{
	static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_slot_info info = VFB_SLOT_INFO_INIT;
		struct vfb_slot *slot;
		struct broker broker;
		struct host host;
		unsigned int threads;

		slots_open(&host);
		broker_open(&broker, &host, backends[b], DEVICES, 2);
		threads = count_threads();
		assert_ok(vfb_slot_take(host.ctx, &web, &slot));
		assert_ok(vfb_slot_info(slot, &info));
		assert_string_equal(info.name, "web-1");
		assert_string_equal(info.reason, "");
		assert_int_equal(info.flags, 0);
		assert_int_equal(info.device_count, DEVICES);
		assert_int_equal(info.range_count, 1);
		assert_int_equal(info_of(info.space).mapped_bytes, 64 * MIB);
		assert_int_equal(populated_of(info.memory), 64 * MIB);
		assert_ok(vfb_slot_release(slot));
		/* As the devices stay open, no thread was started to close them. */
		assert_int_equal(count_threads(), threads);
		broker_close(&broker);
		host_close(&host);
	}
}

static void test_memory_only(void **state)
{
	struct vfb_slot_info info = VFB_SLOT_INFO_INIT;
	struct vfb_slot *slot;
	struct broker broker;
	struct host host;

	(void)state;
	slots_open(&host);
	broker_open(&broker, &host, VFB_BACKEND_AUTO, 0, 0);
	assert_ok(vfb_slot_take(host.ctx, &web, &slot));
	assert_ok(vfb_slot_info(slot, &info));
	assert_null(info.space);
	assert_int_equal(info.device_count, 0);
	assert_ok(vfb_slot_release(slot));
	broker_close(&broker);
	host_close(&host);
}

/* The domain stays when the device is closed that it was made for: whoever takes it opens others.
 */
static void test_without_devices(void **state)
{
	struct vfb_slot_info info = VFB_SLOT_INFO_INIT;
	struct vfb_device *device;
	struct vfb_slot *slot;
	struct broker broker;
	struct host host;

	(void)state;
	slots_open(&host);
	broker_open(&broker, &host, VFB_BACKEND_IOMMUFD, 1, 1);
	assert_int_not_equal(broker.answer.grant.domain, 0);
	assert_int_equal(broker.answer.grant.device_count, 0);
	assert_ok(vfb_slot_take(host.ctx, &web, &slot));
	assert_ok(vfb_slot_info(slot, &info));
	assert_int_equal(info.device_count, 0);
	assert_int_equal(info_of(info.space).mapped_bytes, 64 * MIB);
	assert_ok(vfb_device_open(info.space, addresses[1], &device));
	assert_ok(vfb_device_close(device));
	assert_ok(vfb_slot_release(slot));
	broker_close(&broker);
	host_close(&host);
}

static void test_no_daemon(void **state)
{
	struct vfb_slot_cold cold = cold_of(VFB_BACKEND_IOMMUFD, 1);
	struct vfb_slot_opts opts = web;
	struct vfb_slot_info info = VFB_SLOT_INFO_INIT;
	struct vfb_slot *slot;
	struct host host;

	(void)state;
	slots_open(&host);
	assert_fails(vfb_slot_take(host.ctx, &opts, &slot), -ECONNREFUSED, "slots.sock",
		     "systemctl start");
	opts.flags = VFB_SLOT_OR_COLD;
	assert_fails(vfb_slot_take(host.ctx, &opts, &slot), -EINVAL, "cold");
	opts.cold = &cold;
	assert_ok(vfb_slot_take(host.ctx, &opts, &slot));
	assert_ok(vfb_slot_info(slot, &info));
	assert_int_equal(info.flags, VFB_SLOT_COLD);
	assert_non_null(strstr(info.reason, "no vfioboostd listens"));
	assert_string_equal(info.name, "");
	assert_int_equal(info.device_count, 1);
	assert_int_equal(info_of(info.space).mapped_bytes, 64 * MIB);
	assert_ok(vfb_slot_release(slot));
	cold.devices = (const char *const[]){"0000:77:00.0"};
	assert_fails(vfb_slot_take(host.ctx, &opts, &slot), -ENODEV, "0000:77:00.0");
	host_close(&host);
}

/* The daemon is killed while it is asked: the next one is, for the rest of the time. */
static void test_restarted_daemon(void **state)
{
	struct vfb_slot_opts opts = web;
	struct vfb_slot *slot;
	struct broker broker;
	struct host host;
	uint64_t begin;

	(void)state;
	slots_open(&host);
	broker_open(&broker, &host, VFB_BACKEND_IOMMUFD, DEVICES, 2);
	opts.wait_ns = 10 * SECOND;
	broker.kills = 3;
	assert_ok(vfb_slot_take(host.ctx, &opts, &slot));
	assert_int_equal(broker.takes, 1);
	assert_true(broker.wait_ns > 9 * SECOND && broker.wait_ns < 10 * SECOND);
	assert_ok(vfb_slot_release(slot));
	/* None comes back: it does not take much longer than it was to wait, and to be answered. */
	begin = fake_now(host.fake);
	broker.kills = -1U;
	assert_fails(vfb_slot_take(host.ctx, &opts, &slot), -ECONNRESET, "did not answer");
	assert_int_equal(broker.wait_ns, 0);
	assert_true(fake_now(host.fake) - begin >= 14 * SECOND);
	assert_true(fake_now(host.fake) - begin < 16 * SECOND);
	broker_close(&broker);
	host_close(&host);
}

static void test_refused(void **state)
{
	struct vfb_slot_opts opts = web;
	struct vfb_slot *slot;
	struct broker broker;
	struct host host;

	(void)state;
	slots_open(&host);
	opts.class_name = "../x";
	assert_fails(vfb_slot_take(host.ctx, &opts, &slot), -EINVAL, "../x");
	opts.class_name = NULL;
	assert_fails(vfb_slot_take(host.ctx, &opts, &slot), -EINVAL, "class");
	opts.class_name = "web";
	opts.flags = 8;
	assert_fails(vfb_slot_take(host.ctx, &opts, &slot), -EINVAL, "0x8");
	memset(&broker, 0, sizeof(broker));
	broker.answer.result.error = -EAGAIN;
	strcpy(broker.answer.result.text, "no slot of class web is ready");
	broker.bytes = vfb_wire_finish(&broker.answer, VFB_WIRE_FAILED);
	fake_listen(host.fake, answer_request, &broker);
	assert_fails(vfb_slot_take(host.ctx, &web, &slot), -EAGAIN,
		     "no slot of class web is ready");
	assert_null(slot);
	host_close(&host);
}

/* A daemon that sends anything else than it should. */
static void test_hostile_answer(void **state)
{
	struct vfb_slot *slot;
	struct broker broker, good;
	struct host host;

	(void)state;
	slots_open(&host);
	broker_open(&broker, &host, VFB_BACKEND_IOMMUFD, DEVICES, 2);
	good = broker;
	/* Fewer file descriptors, or none. */
	for (broker.fd_count = 0; broker.fd_count < good.fd_count; broker.fd_count++)
		assert_fails(vfb_slot_take(host.ctx, &web, &slot), -EPROTO, "invalid");
	broker.bytes--;
	assert_fails(vfb_slot_take(host.ctx, &web, &slot), -EPROTO, "invalid");
	broker.bytes = 0;
	assert_fails(vfb_slot_take(host.ctx, &web, &slot), -EPROTO, "invalid");
	/* Each in the place of another. */
	broker = good;
	broker.fds[0] = good.fds[1];
	broker.fds[1] = good.fds[0];
	assert_true(vfb_slot_take(host.ctx, &web, &slot) < 0);
	broker = good;
	broker.fds[2] = good.fds[0];
	assert_true(vfb_slot_take(host.ctx, &web, &slot) < 0);
	/* More memory than the file has. */
	broker = good;
	broker.answer.grant.bytes *= 2;
	assert_fails(vfb_slot_take(host.ctx, &web, &slot), -EINVAL, "end beyond the file");
	broker = good;
	broker.answer.grant.ioas += 7;
	assert_true(vfb_slot_take(host.ctx, &web, &slot) < 0);
	broker = good;
	assert_ok(vfb_slot_take(host.ctx, &web, &slot));
	assert_ok(vfb_slot_release(slot));
	broker_close(&broker);
	host_close(&host);
}

/* Each call of taking and giving back fails once. */
static void test_failures(void **state)
{
	unsigned int reached = 0;

	(void)state;
	for (unsigned int n = 1;; n++) {
		struct vfb_slot *slot;
		struct broker broker;
		struct host host;
		bool failed;

		slots_open(&host);
		broker_open(&broker, &host, VFB_BACKEND_IOMMUFD, DEVICES, 2);
		fake_fail_nth(host.fake, n, 0);
		if (!vfb_slot_take(host.ctx, &web, &slot))
			vfb_slot_release(slot);
		failed = fake_failed(host.fake);
		fake_fail_none(host.fake);
		broker_close(&broker);
		host_close(&host);
		if (!failed)
			break;
		reached++;
	}
	assert_true(reached > 10);
}

/* And each call of making one. */
static void test_make_failures(void **state)
{
	unsigned int reached = 0;

	(void)state;
	for (unsigned int n = 1;; n++) {
		struct vfb_slot_cold cold = cold_of(VFB_BACKEND_IOMMUFD, DEVICES);
		struct vfb_slot *slot;
		struct host host;
		bool failed;

		slots_open(&host);
		fake_fail_nth(host.fake, n, 0);
		if (!vfb_slot_make(host.ctx, &cold, 2, NULL, NULL, &slot))
			vfb_slot_release(slot);
		failed = fake_failed(host.fake);
		fake_fail_none(host.fake);
		host_close(&host);
		if (!failed)
			break;
		reached++;
	}
	assert_true(reached > 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_take),
		cmocka_unit_test(test_memory_only),
		cmocka_unit_test(test_without_devices),
		cmocka_unit_test(test_no_daemon),
		cmocka_unit_test(test_restarted_daemon),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_hostile_answer),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_make_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
