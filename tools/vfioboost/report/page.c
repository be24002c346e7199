/* SPDX-License-Identifier: MIT */
#include "page.h"

#include <stdint.h>

#include "assets.h"
#include "critical.h"
#include "markup.h"
#include "remarks.h"

/* Times begin with the run. */
static void write_step(FILE *file, const struct run *run, const struct span *span)
{
	fprintf(file, "[%.3f,%.3f,", span->begin - run->begin, span->end - span->begin);
	markup_write_string(file, span->phase);
	fputc(']', file);
}

/* The path, and what share of the time it explains. */
static void write_path(FILE *file, const struct run *run, const char *name)
{
	const struct span *whole = recording_find(run, name);
	struct critical_path path;

	if (!whole || !critical_find(&path, run, whole->begin, whole->end)) {
		fputs("null", file);
		return;
	}
	fprintf(file, "{\"begin_us\":%.3f,\"duration_us\":%.3f,\"explained\":%.6f,\"steps\":[",
		whole->begin - run->begin, whole->end - whole->begin, path.explained);
	for (size_t i = path.count; i-- > 0;) {
		write_step(file, run, path.steps[i]);
		if (i)
			fputc(',', file);
	}
	fputs("]}", file);
	critical_free(&path);
}

/* As report.js reads it. */
static void write_span(FILE *file, const struct run *run, const struct span *span)
{
	const char *const texts[] = {span->phase, span->name, span->operation};

	fprintf(file, "[%u,%.3f,%.3f", span->track, span->begin - run->begin,
		span->end - span->begin);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		fputc(',', file);
		markup_write_string(file, texts[i]);
	}
	fprintf(file, ",%ju,%ju,%d,%d,%d,", (uintmax_t)span->bytes, (uintmax_t)span->page_bytes,
		span->node, span->cpu, span->result);
	markup_write_string(file, span->device);
	fputc(']', file);
}

static void write_spans(FILE *file, const struct run *run)
{
	fputs(",\"tracks\":[", file);
	for (size_t i = 0; i < run->track_count; i++) {
		if (i)
			fputc(',', file);
		markup_write_string(file, run->tracks[i].name);
	}
	fputs("],\"spans\":[", file);
	for (size_t i = 0; i < run->span_count; i++) {
		if (i)
			fputc(',', file);
		write_span(file, run, &run->spans[i]);
	}
	fputc(']', file);
}

static void write_run(FILE *file, const struct run *run, bool with_spans)
{
	fputs("{\"name\":", file);
	markup_write_string(file, run->name);
	fputs(",\"facts\":", file);
	markup_write_json(file, run->facts);
	fprintf(file, ",\"duration_us\":%.3f,\"start\":", run->end - run->begin);
	write_path(file, run, "start");
	fputs(",\"stop\":", file);
	write_path(file, run, "stop");
	if (with_spans)
		write_spans(file, run);
	fputc('}', file);
}

void page_write_data(FILE *file, const struct recording *recording, bool with_spans)
{
	struct json_object *remarks = remarks_of(recording);

	fputs("{\"schema\":1,\"runs\":[", file);
	for (size_t i = 0; i < recording->run_count; i++) {
		if (i)
			fputc(',', file);
		write_run(file, &recording->runs[i], with_spans);
	}
	fputs("],\"remarks\":", file);
	markup_write_json(file, remarks);
	fputc('}', file);
	json_object_put(remarks);
}

void page_write(FILE *file, const struct recording *recording, const char *title)
{
	fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
	      "<link rel=\"icon\" href=\"data:,\">\n<title>",
	      file);
	markup_write_text(file, title);
	fprintf(file, "</title>\n<style>\n%s</style>\n</head>\n<body>\n%s", asset_report_css,
		asset_report_html);
	fputs("<script id=\"data\" type=\"application/json\">", file);
	page_write_data(file, recording, true);
	fputs("</script>\n", file);
	fprintf(file, "<script>\n%s</script>\n</body>\n</html>\n", asset_report_js);
}
