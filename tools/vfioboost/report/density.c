/* SPDX-License-Identifier: MIT */
#include "density.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "svg.h"

/* No bench writes more. */
#define MAX_FILE_BYTES (16 << 20)
#define MAX_LINES      16
#define HEAD_BYTES     512

/* Pixels. */
#define LEFT  150
#define RIGHT 30
#define BAR   18
#define CHART 200
#define GAP   50

static const char *const colors[] = {"#b5443b", "#3b7dd8", "#2f9e6e", "#e8871e", "#7a5cc9"};

#define COLORS (sizeof(colors) / sizeof(colors[0]))

/* Whether it is no trace, which may be large: what it is stands at its beginning. */
static bool may_be_bench(const char *path)
{
	char head[HEAD_BYTES];
	struct stat stat_of;
	size_t bytes = 0;
	FILE *file;

	/* What is read from a pipe cannot be read again as a trace. */
	if (stat(path, &stat_of) || !S_ISREG(stat_of.st_mode) || stat_of.st_size > MAX_FILE_BYTES)
		return false;
	file = fopen(path, "re");
	if (file) {
		bytes = fread(head, 1, sizeof(head), file);
		fclose(file);
	}
	return memmem(head, bytes, "\"bench\"", strlen("\"bench\""));
}

struct json_object *density_read(const char *path)
{
	struct json_object *bench = may_be_bench(path) ? json_object_from_file(path) : NULL, *name;
	const char *text = NULL;

	if (json_object_is_type(bench, json_type_object) &&
	    json_object_object_get_ex(bench, "bench", &name))
		text = json_object_get_string(name);
	if (text && !strcmp(text, "density"))
		return bench;
	json_object_put(bench);
	return NULL;
}

/* ---- What is in it ---- */

static double number(struct json_object *object, const char *name)
{
	struct json_object *value;
	double result;

	if (!json_object_is_type(object, json_type_object) ||
	    !json_object_object_get_ex(object, name, &value))
		return 0;
	result = json_object_get_double(value);
	return isfinite(result) && result > 0 && result < 1e18 ? result : 0;
}

static struct json_object *array(struct json_object *object, const char *name)
{
	struct json_object *value;

	if (!json_object_is_type(object, json_type_object) ||
	    !json_object_object_get_ex(object, name, &value) ||
	    !json_object_is_type(value, json_type_array))
		return NULL;
	return value;
}

static size_t length(struct json_object *values)
{
	return values ? json_object_array_length(values) : 0;
}

static size_t count_lines(struct json_object *bench)
{
	size_t count = length(array(bench, "results"));

	return count < MAX_LINES ? count : MAX_LINES;
}

static struct json_object *line_of(struct json_object *bench, size_t i)
{
	return json_object_array_get_idx(array(bench, "results"), i);
}

static void name_line(struct json_object *line, char *text, size_t bytes)
{
	double window = number(line, "window_bytes");

	if (window)
		snprintf(text, bytes, "windows of %.0f KiB", window / 1024);
	else
		snprintf(text, bytes, "static");
}

/* ---- Charts ---- */

/* A value is at a place that is proportional to it, or to its logarithm. */
struct scale {
	double low, high;
	bool is_log;
};

struct chart {
	double top;
	struct scale x, y;
};

static double place(const struct scale *scale, double value)
{
	if (value < scale->low)
		value = scale->low;
	if (scale->high <= scale->low)
		return 0;
	return scale->is_log ? log(value / scale->low) / log(scale->high / scale->low) :
			       (value - scale->low) / (scale->high - scale->low);
}

static double chart_x(const struct chart *chart, double value)
{
	return LEFT + place(&chart->x, value) * (SVG_WIDTH - LEFT - RIGHT);
}

static double chart_y(const struct chart *chart, double value)
{
	return chart->top + CHART * (1 - place(&chart->y, value));
}

static double tick(const struct scale *scale, int i, int count)
{
	return scale->is_log ? scale->low * pow(scale->high / scale->low, (double)i / count) :
			       scale->low + (scale->high - scale->low) * i / count;
}

static void draw_axes(FILE *file, const struct chart *chart, const char *title, double factor)
{
	double bottom = chart->top + CHART;
	char text[32];

	fputs("<g font-weight=\"bold\">", file);
	svg_text(file, LEFT, chart->top - 10, "start", title);
	fputs("</g>\n", file);
	for (int i = 0; i <= 4; i++) {
		double x = tick(&chart->x, i, 4), y = tick(&chart->y, i, 4);

		snprintf(text, sizeof(text), "%.0f", x);
		svg_line(file, chart_x(chart, x), bottom, chart_x(chart, x), bottom + 5, "#667");
		svg_text(file, chart_x(chart, x), bottom + 18, "middle", text);
		snprintf(text, sizeof(text), "%.3g", y * factor);
		svg_line(file, LEFT, chart_y(chart, y), SVG_WIDTH - RIGHT, chart_y(chart, y),
			 "#dde2e9");
		svg_text(file, LEFT - 8, chart_y(chart, y) + 4, "end", text);
	}
}

static void begin_curve(FILE *file, size_t line)
{
	fprintf(file, "<polyline fill=\"none\" stroke-width=\"1.5\" stroke=\"%s\" points=\"",
		colors[line % COLORS]);
}

static void end_curve(FILE *file)
{
	fputs("\"/>\n", file);
}

/* ---- The three parts ---- */

static double draw_counts(FILE *file, struct json_object *bench, double y, double most)
{
	char text[64];

	for (size_t i = 0; i < count_lines(bench); i++, y += BAR + 4) {
		double guests = number(line_of(bench, i), "guests");
		double width = most ? guests / most * (SVG_WIDTH - LEFT - RIGHT - 100) : 0;

		name_line(line_of(bench, i), text, sizeof(text));
		svg_text(file, LEFT - 8, y + BAR - 5, "end", text);
		fprintf(file,
			"<rect x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n",
			LEFT, y, width, BAR, colors[i % COLORS]);
		snprintf(text, sizeof(text), "%.0f guests", guests);
		svg_text(file, LEFT + width + 6, y + BAR - 5, "start", text);
	}
	return y;
}

/* The guests at the bend are marked. */
static void draw_throughput(FILE *file, struct json_object *bench, const struct chart *chart)
{
	draw_axes(file, chart, "GiB/s of all guests, by their number", 1.0 / (1 << 30));
	for (size_t i = 0; i < count_lines(bench); i++) {
		struct json_object *points = array(line_of(bench, i), "points");
		double bend = number(line_of(bench, i), "bend_guests");

		begin_curve(file, i);
		for (size_t j = 0; j < length(points); j++) {
			struct json_object *point = json_object_array_get_idx(points, j);

			fprintf(file, "%.1f,%.1f ", chart_x(chart, number(point, "guests")),
				chart_y(chart, number(point, "bytes_per_s")));
		}
		end_curve(file);
		for (size_t j = 0; j < length(points); j++) {
			struct json_object *point = json_object_array_get_idx(points, j);
			double guests = number(point, "guests");

			fprintf(file, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%d\" fill=\"%s\"/>\n",
				chart_x(chart, guests),
				chart_y(chart, number(point, "bytes_per_s")),
				guests == bend ? 6 : 3, colors[i % COLORS]);
		}
	}
}

static double start_of(struct json_object *starts, size_t i)
{
	double seconds = json_object_get_double(json_object_array_get_idx(starts, i));

	return isfinite(seconds) && seconds > 0 ? seconds : 0;
}

static void draw_starts(FILE *file, struct json_object *bench, const struct chart *chart)
{
	draw_axes(file, chart, "Seconds until a guest has started, by the number of guests", 1);
	for (size_t i = 0; i < count_lines(bench); i++) {
		struct json_object *starts = array(line_of(bench, i), "starts_s");

		begin_curve(file, i);
		for (size_t j = 0; j < length(starts); j++)
			fprintf(file, "%.1f,%.1f ", chart_x(chart, j + 1),
				chart_y(chart, start_of(starts, j)));
		end_curve(file);
	}
}

/* ---- What they have in common ---- */

static double most_guests(struct json_object *bench)
{
	double most = 2;

	for (size_t i = 0; i < count_lines(bench); i++)
		most = fmax(most, number(line_of(bench, i), "guests"));
	return most;
}

static double most_throughput(struct json_object *bench)
{
	double most = 0;

	for (size_t i = 0; i < count_lines(bench); i++)
		most = fmax(most, number(line_of(bench, i), "plateau_bytes_per_s"));
	return most;
}

static struct scale scale_starts(struct json_object *bench)
{
	struct scale scale = {.low = INFINITY, .is_log = true};

	for (size_t i = 0; i < count_lines(bench); i++) {
		struct json_object *starts = array(line_of(bench, i), "starts_s");

		for (size_t j = 0; j < length(starts); j++) {
			scale.high = fmax(scale.high, start_of(starts, j));
			if (start_of(starts, j) > 0)
				scale.low = fmin(scale.low, start_of(starts, j));
		}
	}
	if (!(scale.low < scale.high))
		scale = (struct scale){.low = 1e-3, .high = 1, .is_log = true};
	return scale;
}

void density_draw(FILE *file, struct json_object *bench)
{
	double most = most_guests(bench), y;
	char title[128];
	struct chart chart;

	svg_begin(file, 40 + count_lines(bench) * (BAR + 4) + 2 * (CHART + GAP) + 30);
	snprintf(title, sizeof(title), "Guests of %.0f MiB that use %.0f MiB, until memory is out",
		 number(bench, "memory_bytes") / (1 << 20),
		 number(bench, "working_set_bytes") / (1 << 20));
	fputs("<g font-weight=\"bold\">", file);
	svg_text(file, LEFT, 20, "start", title);
	fputs("</g>\n", file);
	y = draw_counts(file, bench, 32, most) + GAP / 2.0;
	chart = (struct chart){.top = y,
			       .x = {.low = 1, .high = most, .is_log = true},
			       .y = {.high = most_throughput(bench)}};
	draw_throughput(file, bench, &chart);
	chart = (struct chart){.top = y + CHART + GAP,
			       .x = {.low = 1, .high = most},
			       .y = scale_starts(bench)};
	draw_starts(file, bench, &chart);
	svg_end(file);
}
