/* SPDX-License-Identifier: MIT */
/* Trace files: whole after each flush, and what becomes of them when they cannot be written. */
#include "context.h"
#include "host.h"
#include "record/trace.h"

#include <sys/mman.h>
#include <unistd.h>

/* The running kernel's calls, but for what becomes of pwrite(). */
struct writer {
	struct vfb_sys sys;
	int error;
	/* At most so many bytes a call, 0 for any. */
	size_t most;
};

static ssize_t write_some(const struct vfb_sys *sys, int fd, const void *buf, size_t bytes,
			  off_t offset)
{
	const struct writer *writer = (const struct writer *)sys;

	if (writer->error)
		return writer->error;
	if (writer->most && bytes > writer->most)
		bytes = writer->most;
	return vfb_sys_linux.pwrite(&vfb_sys_linux, fd, buf, bytes, offset);
}

static void writer_init(struct writer *writer)
{
	*writer = (struct writer){.sys = vfb_sys_linux};
	writer->sys.pwrite = write_some;
}

static char *read_trace(int fd)
{
	off_t bytes = lseek(fd, 0, SEEK_END);
	char *text = calloc(1, bytes + 1);

	assert_int_equal(pread(fd, text, bytes, 0), bytes);
	return text;
}

static size_t count_of(const char *text, const char *word)
{
	size_t count = 0;

	for (; (text = strstr(text, word)); text++)
		count++;
	return count;
}

/* As far as that can be said without a parser: tests/tool reads traces with one. */
static void assert_whole(const char *text)
{
	size_t length = strlen(text);

	assert_memory_equal(text, "[\n{", 3);
	assert_string_equal(text + length - 4, "}\n]\n");
	assert_int_equal(count_of(text, "]\n"), 1);
	assert_int_equal(count_of(text, "{"), count_of(text, "}"));
	assert_int_equal(count_of(text, "\n{"), count_of(text, "}\n") + count_of(text, "},\n"));
}

static void test_whole(void **state)
{
	int fd = memfd_create("trace", MFD_CLOEXEC);
	struct vfb_subscription *subscription;
	struct vfb_memory *memory;
	struct vfb_device *device;
	struct vfb_trace *trace;
	struct vfb_job *job;
	struct writer writer;
	struct host host;
	char *text;

	(void)state;
	host_start(&host, NULL, VFB_BACKEND_IOMMUFD, 1, &device);
	writer_init(&writer);
	writer.most = 100;
	assert_ok(vfb_trace_create_with(&writer.sys, fd, &trace));
	text = read_trace(fd);
	assert_whole(text);
	free(text);
	assert_ok(vfb_trace_subscribe(trace, host.ctx, "a \"guest\"", NULL, &subscription));
	for (int i = 0; i < 3; i++) {
		struct vfb_range range = {.bytes = 2 * MIB, .iova = GIB};

		range.memory = memory = make_memory(&host, 2 * MIB, VFB_PAGE_4K);
		assert_ok(vfb_space_map_start(host.space, &range, 1, NULL, &job));
		assert_ok(vfb_job_wait(job, UINT64_MAX));
		vfb_job_destroy(job);
		assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
		assert_ok(vfb_memory_destroy(memory));
		assert_ok(vfb_trace_flush(trace));
		/* As whoever looks after a crash would find it. */
		text = read_trace(fd);
		assert_whole(text);
		assert_int_equal(count_of(text, "\"cat\":\"map\""), i + 1);
		free(text);
	}
	vfb_device_close(device);
	assert_ok(vfb_trace_append(trace, "{\"name\":\"mine\",\"ph\":\"i\",\"ts\":1}"));
	vfb_unsubscribe(subscription);
	assert_ok(vfb_trace_destroy(trace));
	text = read_trace(fd);
	assert_whole(text);
	assert_non_null(strstr(text, "\"name\":\"a _guest_: threads\""));
	assert_non_null(strstr(text, "\"name\":\"mine\""));
	/* Devices have tracks of their own. */
	assert_int_equal(count_of(text, "\"args\":{\"name\":\"0000:01:00.0\"}"), 1);
	assert_non_null(strstr(text, "\"cat\":\"close\",\"ph\":\"X\",\"pid\":2,\"tid\":0"));
	/* A job begins and ends; memory of any node is counted as such. */
	assert_int_equal(count_of(text, "\"name\":\"job map\",\"cat\":\"job\",\"ph\":\"b\""), 3);
	assert_int_equal(count_of(text, "\"name\":\"job map\",\"cat\":\"job\",\"ph\":\"e\""), 3);
	assert_int_equal(count_of(text, "\"name\":\"populated\",\"ph\":\"C\""), 3);
	assert_int_equal(count_of(text, "\"name\":\"mapped\",\"ph\":\"C\""), 6);
	free(text);
	close(fd);
	host_close(&host);
}

/* More than the buffer holds. */
static void test_long(void **state)
{
	int fd = memfd_create("trace", MFD_CLOEXEC);
	struct vfb_subscription *subscription;
	struct vfb_trace *trace;
	static char json[40000];
	struct host host;
	char *text;

	(void)state;
	host_open(&host, NULL);
	assert_ok(vfb_trace_create(fd, &trace));
	assert_ok(vfb_trace_subscribe(trace, host.ctx, "spans", NULL, &subscription));
	for (int i = 0; i < 2000; i++)
		vfb_span_end(vfb_span_begin(host.ctx, "span"), 0);
	vfb_unsubscribe(subscription);
	memset(json, ' ', sizeof(json) - 1);
	assert_fails(vfb_trace_append(trace, json), -EINVAL, "39999", "32768");
	assert_ok(vfb_trace_destroy(trace));
	assert_ok(vfb_trace_destroy(NULL));
	text = read_trace(fd);
	assert_whole(text);
	assert_int_equal(count_of(text, "\"name\":\"span\""), 2000);
	free(text);
	close(fd);
	host_close(&host);
}

#define THREADS 6
#define SPANS	800

struct reporter {
	struct vfb_ctx *ctx;
	char name[16];
	pthread_t thread;
};

static void *report_spans(void *arg)
{
	struct reporter *reporter = arg;

	pthread_setname_np(pthread_self(), reporter->name);
	for (int i = 0; i < SPANS; i++)
		vfb_span_end(vfb_span_begin(reporter->ctx, reporter->name), 0);
	return NULL;
}

/* On the running kernel: no event of any thread is lost, whose names are known when it is gone. */
static void test_threads(void **state)
{
	int fd = memfd_create("trace", MFD_CLOEXEC);
	struct reporter reporters[THREADS];
	struct vfb_subscription *subscription;
	struct vfb_trace *trace;
	struct vfb_ctx *ctx;
	char *text;

	(void)state;
	assert_ok(vfb_ctx_create_with(&vfb_sys_linux, NULL, &ctx));
	assert_ok(vfb_trace_create(fd, &trace));
	assert_ok(vfb_trace_subscribe(trace, ctx, "many", NULL, &subscription));
	for (int i = 0; i < THREADS; i++) {
		reporters[i].ctx = ctx;
		snprintf(reporters[i].name, sizeof(reporters[i].name), "reporter-%d", i);
		assert_int_equal(pthread_create(&reporters[i].thread, NULL, report_spans,
						&reporters[i]),
				 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(reporters[i].thread, NULL);
	assert_ok(vfb_trace_flush(trace));
	text = read_trace(fd);
	assert_whole(text);
	for (int i = 0; i < THREADS; i++) {
		char track[64], span[64];

		snprintf(track, sizeof(track), "\"args\":{\"name\":\"reporter-%d ", i);
		snprintf(span, sizeof(span), "{\"name\":\"reporter-%d\",\"cat\":\"user\"", i);
		assert_int_equal(count_of(text, track), 1);
		assert_int_equal(count_of(text, span), SPANS);
	}
	free(text);
	vfb_unsubscribe(subscription);
	assert_ok(vfb_trace_destroy(trace));
	assert_ok(vfb_ctx_destroy(ctx));
	close(fd);
}

static void test_errors(void **state)
{
	int fd = memfd_create("trace", MFD_CLOEXEC), ends[2];
	struct vfb_subscription *subscription;
	struct vfb_trace *trace;
	struct writer writer;
	struct host host;
	char *text;

	(void)state;
	host_open(&host, NULL);
	assert_int_equal(pipe(ends), 0);
	assert_fails(vfb_trace_create(ends[1], &trace), -ESPIPE, "pipe");
	assert_null(trace);
	close(ends[0]);
	close(ends[1]);
	assert_fails(vfb_trace_create(-1, &trace), -EBADF, "trace");

	/* The file system is full after the beginning. */
	writer_init(&writer);
	assert_ok(vfb_trace_create_with(&writer.sys, fd, &trace));
	assert_ok(vfb_trace_subscribe(trace, host.ctx, "full", NULL, &subscription));
	writer.error = -ENOSPC;
	vfb_span_end(vfb_span_begin(host.ctx, "lost"), 0);
	assert_fails(vfb_trace_flush(trace), -ENOSPC, "trace");
	writer.error = 0;
	assert_fails(vfb_trace_append(trace, "{}"), -ENOSPC, "trace");
	vfb_unsubscribe(subscription);
	assert_fails(vfb_trace_destroy(trace), -ENOSPC, "trace");
	text = read_trace(fd);
	assert_whole(text);
	free(text);
	close(fd);
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
