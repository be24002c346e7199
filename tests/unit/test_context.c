/* SPDX-License-Identifier: MIT */
/* Contexts: their threads, what keeps them alive, and two of them. */
#include "context.h"

#include "host.h"

static int create(struct host *host, unsigned int threads, struct vfb_ctx **out)
{
	struct vfb_ctx_opts opts = {.size = sizeof(opts), .threads = threads};

	*out = (void *)1;
	return vfb_ctx_create_with(host->sys, &opts, out);
}

static void test_version(void **state)
{
	char expected[32];

	(void)state;
	snprintf(expected, sizeof(expected), "%d.%d.", VFB_VERSION_MAJOR, VFB_VERSION_MINOR);
	assert_memory_equal(vfb_version(), expected, strlen(expected));
	assert_true(strlen(vfb_version()) > strlen(expected));
}

/* On the kernel that runs, whatever it is. */
static void test_real(void **state)
{
	struct vfb_ctx_opts opts = {.size = sizeof(opts), .threads = 2};
	struct vfb_ctx *ctx, *second;

	(void)state;
	assert_ok(vfb_ctx_create(NULL, &ctx));
	assert_ok(vfb_ctx_create(&opts, &second));
	assert_ok(vfb_ctx_destroy(ctx));
	assert_ok(vfb_ctx_destroy(second));
	assert_ok(vfb_ctx_destroy(NULL));
}

static void test_threads(void **state)
{
	struct host host;
	struct vfb_ctx *ctx;

	(void)state;
	host_open(&host, NULL);
	assert_int_equal(stats_of(&host).threads, 4);
	assert_ok(create(&host, 1, &ctx));
	assert_int_equal(stats_of(&host).threads, 5);
	assert_ok(vfb_ctx_destroy(ctx));
	assert_ok(create(&host, 9, &ctx));
	assert_int_equal(stats_of(&host).threads, 13);
	assert_ok(vfb_ctx_destroy(ctx));
	assert_fails(create(&host, 4097, &ctx), -EINVAL, "4097 threads", "4096");
	assert_null(ctx);
	fake_fail_call(host.fake, "thread_create", 3, EAGAIN);
	assert_fails(create(&host, 4, &ctx), -EAGAIN, "worker 3 of 4", "RLIMIT_NPROC", "pids");
	assert_null(ctx);
	/* Those that had been started are gone. */
	assert_int_equal(stats_of(&host).threads, 4);
	host_close(&host);
}

/* What the library asks about the machine can fail. */
static void test_machine(void **state)
{
	static const struct {
		const char *call, *word;
	} calls[] = {
		{"max_node", "nodes"},
		{"node_cpus", "CPUs of node 0"},
		{"get_affinity", "affinity"},
	};
	struct host host;
	struct vfb_ctx *ctx;

	(void)state;
	host_open(&host, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		fake_fail_call(host.fake, calls[i].call, 1, EMFILE);
		assert_fails(create(&host, 0, &ctx), -EMFILE, calls[i].word);
		assert_null(ctx);
	}
	host_close(&host);
}

static void count(const struct vfb_event *event, void *data)
{
	(void)event;
	(void)data;
}

static void test_busy(void **state)
{
	struct vfb_subscription *subscription;
	struct vfb_memory *memory;
	struct vfb_space *space;
	struct vfb_job *job;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	assert_ok(vfb_subscribe(host.ctx, NULL, count, NULL, &subscription));
	assert_fails(vfb_ctx_destroy(host.ctx), -EBUSY, "1 spaces, memories");
	vfb_unsubscribe(subscription);
	memory = make_memory(&host, 2 * MIB, VFB_PAGE_4K);
	assert_fails(vfb_ctx_destroy(host.ctx), -EBUSY, "1 spaces, memories");
	assert_ok(vfb_memory_populate_start(&memory, 1, &job));
	assert_ok(vfb_job_wait(job, UINT64_MAX));
	assert_fails(vfb_ctx_destroy(host.ctx), -EBUSY, "2 spaces, memories");
	vfb_job_destroy(job);
	assert_ok(vfb_memory_destroy(memory));
	assert_ok(vfb_space_create(host.ctx, NULL, &space));
	assert_fails(vfb_ctx_destroy(host.ctx), -EBUSY, "1 spaces, memories");
	assert_ok(vfb_space_destroy(space));
	host_close(&host);
}

/* They know nothing of each other. */
static void test_two(void **state)
{
	struct vfb_subscription *subscriptions[2];
	struct vfb_device *devices[2];
	struct vfb_space *space;
	struct vfb_job *job = (void *)1;
	struct vfb_ctx *second;
	struct host host;

	(void)state;
	host_start(&host, NULL, VFB_BACKEND_TYPE1, 2, devices);
	vfb_device_close(devices[1]);
	assert_ok(create(&host, 2, &second));
	assert_ok(vfb_subscribe(second, NULL, count, NULL, &subscriptions[1]));
	assert_ok(vfb_space_create(second, NULL, &space));
	assert_ok(vfb_device_open(space, addresses[1], &devices[1]));
	assert_fails(vfb_devices_close_start(devices, 2, NULL, &job), -EINVAL,
		     "different contexts");
	assert_null(job);
	/* They stay open, to be closed with those of their context. */
	assert_fails(vfb_devices_close(devices, 2, NULL), -EINVAL, "different contexts");
	assert_ok(vfb_device_close(devices[0]));
	assert_ok(vfb_device_close(devices[1]));
	assert_int_equal(info_of(host.space).devices, 0);
	assert_int_equal(info_of(space).devices, 0);
	assert_ok(vfb_space_destroy(space));
	vfb_unsubscribe(subscriptions[1]);
	assert_ok(vfb_ctx_destroy(second));
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_version), cmocka_unit_test(test_real),
		cmocka_unit_test(test_threads), cmocka_unit_test(test_machine),
		cmocka_unit_test(test_busy),	cmocka_unit_test(test_two),
	};

	return cmocka_run_group_tests_name("context", tests, NULL, NULL);
}
