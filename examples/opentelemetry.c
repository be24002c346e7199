/* SPDX-License-Identifier: MIT */
/*
 * OpenTelemetry spans of what the library does:
 *
 *	opentelemetry 256 >spans.json
 *
 * Populates 256 MiB of memory and writes each step as a span, one OTLP object in JSON per line, as
 * the receiver otlpjsonfile of the OpenTelemetry Collector reads them. A program with an SDK of
 * OpenTelemetry would pass the same fields to it instead.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <vfioboost.h>

struct exporter {
	FILE *file;
	/* One trace per context: IDs of steps count from 1 in each. */
	uint64_t trace[2];
	/* From CLOCK_MONOTONIC, as in events, to the time of day, as in spans. */
	uint64_t offset_ns;
};

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

static int exporter_init(struct exporter *exporter, FILE *file)
{
	exporter->file = file;
	exporter->offset_ns = now_ns(CLOCK_REALTIME) - now_ns(CLOCK_MONOTONIC);
	return getrandom(exporter->trace, sizeof(exporter->trace), 0) == sizeof(exporter->trace) ?
		       0 :
		       -1;
}

/*
 * Runs in several threads at the same time: one call of fprintf() writes a whole line. An exporter
 * that sends spans over a network should only put them into a queue here, since the step of the
 * library waits for this function.
 */
static void export_event(const struct vfb_event *event, void *data)
{
	const struct exporter *exporter = data;
	uint64_t begin = event->start_ns + exporter->offset_ns;
	uint64_t end = begin + event->duration_ns + event->callback_ns;
	char parent[64] = "", device[80] = "";

	if (event->parent)
		snprintf(parent, sizeof(parent), "\"parentSpanId\":\"%016" PRIx64 "\",",
			 event->parent);
	if (event->device)
		snprintf(device, sizeof(device),
			 ",{\"key\":\"vfio.device\",\"value\":{\"stringValue\":\"%.15s\"}}",
			 event->device);
	fprintf(exporter->file,
		"{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\","
		"\"value\":{\"stringValue\":\"libvfioboost\"}}]},\"scopeSpans\":[{\"scope\":"
		"{\"name\":\"libvfioboost\",\"version\":\"%s\"},\"spans\":[{\"traceId\":"
		"\"%016" PRIx64 "%016" PRIx64 "\",\"spanId\":\"%016" PRIx64 "\",%s\"name\":\"%s\","
		"\"kind\":1,\"startTimeUnixNano\":\"%" PRIu64 "\",\"endTimeUnixNano\":\"%" PRIu64
		"\",\"status\":{\"code\":%d},\"attributes\":["
		"{\"key\":\"vfio.operation\",\"value\":{\"stringValue\":\"%s\"}},"
		"{\"key\":\"vfio.bytes\",\"value\":{\"intValue\":\"%" PRIu64 "\"}},"
		"{\"key\":\"vfio.node\",\"value\":{\"intValue\":\"%d\"}},"
		"{\"key\":\"thread.id\",\"value\":{\"intValue\":\"%d\"}}%s]}]}]}]}\n",
		vfb_version(), exporter->trace[0], exporter->trace[1], event->id, parent,
		event->phase == VFB_PHASE_USER ? event->operation : vfb_phase_name(event->phase),
		begin, end, event->result ? 2 : 1, event->operation, event->bytes, event->node,
		event->thread, device);
}

/* What a VMM does at its start; a span of its own is the root of the others. */
static int populate(struct vfb_ctx *ctx, uint64_t bytes)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_span *span = vfb_span_begin(ctx, "start of the guest");
	struct vfb_memory *memory;
	int error;

	opts.bytes = bytes;
	opts.page_size = VFB_PAGE_4K;
	error = vfb_memory_create(ctx, &opts, &memory);
	if (!error) {
		error = vfb_memory_populate(memory);
		vfb_memory_destroy(memory);
	}
	vfb_span_end(span, error);
	return error;
}

int main(int argc, char **argv)
{
	uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 64;
	struct vfb_subscription *subscription;
	struct exporter exporter;
	struct vfb_ctx *ctx;
	int error;

	if (exporter_init(&exporter, stdout))
		return 1;
	error = vfb_ctx_create(NULL, &ctx);
	if (!error) {
		error = vfb_subscribe(ctx, NULL, export_event, &exporter, &subscription);
		if (!error) {
			error = populate(ctx, mib << 20);
			vfb_unsubscribe(subscription);
		}
		vfb_ctx_destroy(ctx);
	}
	if (error)
		fprintf(stderr, "%s\n", vfb_last_error());
	return error ? 1 : 0;
}
