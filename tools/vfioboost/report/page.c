/* SPDX-License-Identifier: MIT */
#include "page.h"

#include <string.h>

#include "assets.h"
#include "critical.h"
#include "remarks.h"

static struct json_object *rounded(double value)
{
	char text[32];

	snprintf(text, sizeof(text), "%.3f", value);
	return json_object_new_double_s(value, text);
}

static void add_string(struct json_object *array, const char *text)
{
	json_object_array_add(array, text ? json_object_new_string(text) : NULL);
}

/* The path, and what share of the time it explains; times begin with the run. */
static struct json_object *path_object(const struct run *run, const char *name)
{
	const struct span *whole = recording_find(run, name);
	struct json_object *object, *steps;
	struct critical_path path;

	if (!whole || !critical_find(&path, run, whole->begin, whole->end))
		return NULL;
	object = json_object_new_object();
	steps = json_object_new_array();
	json_object_object_add(object, "begin_us", rounded(whole->begin - run->begin));
	json_object_object_add(object, "duration_us", rounded(whole->end - whole->begin));
	json_object_object_add(object, "explained", json_object_new_double(path.explained));
	for (size_t i = path.count; i-- > 0;) {
		struct json_object *step = json_object_new_array();

		json_object_array_add(step, rounded(path.steps[i]->begin - run->begin));
		json_object_array_add(step, rounded(path.steps[i]->end - path.steps[i]->begin));
		add_string(step, path.steps[i]->phase);
		json_object_array_add(steps, step);
	}
	json_object_object_add(object, "steps", steps);
	critical_free(&path);
	return object;
}

static struct json_object *run_summary(const struct run *run)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "name", json_object_new_string(run->name));
	json_object_object_add(object, "facts", json_object_get(run->facts));
	json_object_object_add(object, "duration_us", rounded(run->end - run->begin));
	json_object_object_add(object, "start", path_object(run, "start"));
	json_object_object_add(object, "stop", path_object(run, "stop"));
	return object;
}

struct json_object *page_summary(const struct recording *recording)
{
	struct json_object *object = json_object_new_object(), *runs = json_object_new_array();

	for (size_t i = 0; i < recording->run_count; i++)
		json_object_array_add(runs, run_summary(&recording->runs[i]));
	json_object_object_add(object, "schema", json_object_new_int(1));
	json_object_object_add(object, "runs", runs);
	json_object_object_add(object, "remarks", remarks_of(recording));
	return object;
}

/* As report.js reads it. */
static struct json_object *span_array(const struct run *run, const struct span *span)
{
	struct json_object *array = json_object_new_array();

	json_object_array_add(array, json_object_new_int(span->track));
	json_object_array_add(array, rounded(span->begin - run->begin));
	json_object_array_add(array, rounded(span->end - span->begin));
	add_string(array, span->phase);
	add_string(array, span->name);
	add_string(array, span->operation);
	json_object_array_add(array, json_object_new_uint64(span->bytes));
	json_object_array_add(array, json_object_new_uint64(span->page_bytes));
	json_object_array_add(array, json_object_new_int(span->node));
	json_object_array_add(array, json_object_new_int(span->cpu));
	json_object_array_add(array, json_object_new_int(span->result));
	add_string(array, span->device);
	return array;
}

static void add_spans(struct json_object *object, const struct run *run)
{
	struct json_object *tracks = json_object_new_array(), *spans = json_object_new_array();

	for (size_t i = 0; i < run->track_count; i++)
		add_string(tracks, run->tracks[i].name);
	for (size_t i = 0; i < run->span_count; i++)
		json_object_array_add(spans, span_array(run, &run->spans[i]));
	json_object_object_add(object, "tracks", tracks);
	json_object_object_add(object, "spans", spans);
}

static void write_text(FILE *file, const char *text)
{
	for (; *text; text++) {
		if (*text == '<')
			fputs("&lt;", file);
		else if (*text == '&')
			fputs("&amp;", file);
		else
			fputc(*text, file);
	}
}

void page_write(FILE *file, const struct recording *recording, const char *title)
{
	struct json_object *data = page_summary(recording), *runs;

	json_object_object_get_ex(data, "runs", &runs);
	for (size_t i = 0; i < recording->run_count; i++)
		add_spans(json_object_array_get_idx(runs, i), &recording->runs[i]);
	fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
	      "<link rel=\"icon\" href=\"data:,\">\n<title>",
	      file);
	write_text(file, title);
	fprintf(file, "</title>\n<style>\n%s</style>\n</head>\n<body>\n%s", asset_report_css,
		asset_report_html);
	/* json-c writes "</" as "<\/", so that nothing in the data ends the script. */
	fprintf(file, "<script id=\"data\" type=\"application/json\">%s</script>\n",
		json_object_to_json_string_ext(data, JSON_C_TO_STRING_PLAIN));
	fprintf(file, "<script>\n%s</script>\n</body>\n</html>\n", asset_report_js);
	json_object_put(data);
}
