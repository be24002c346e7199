/* SPDX-License-Identifier: MIT */
#include "picture.h"

#include <stdlib.h>
#include <string.h>

#include "markup.h"
#include "svg.h"

/* Pixels. */
#define LEFT	   150
#define RIGHT	   20
#define ROW	   16
#define BAR	   14
#define MAX_TRACKS 64

/* As in report.css; others are grey. */
static const struct {
	const char *phase, *color;
} phases[] = {
	{"open", "#2f9e6e"},  {"populate", "#3b7dd8"}, {"map", "#e8871e"},     {"unmap", "#c2558f"},
	{"close", "#7a5cc9"}, {"reset", "#b5443b"},    {"destroy", "#8a6d3b"},
};

#define PHASES (sizeof(phases) / sizeof(phases[0]))

static const char *color_of(const char *phase)
{
	for (size_t i = 0; i < PHASES; i++)
		if (!strcmp(phases[i].phase, phase))
			return phases[i].color;
	return "#8f98a3";
}

static double longest(const struct recording *recording)
{
	double most = 0;

	for (size_t i = 0; i < recording->run_count; i++)
		if (recording->runs[i].end - recording->runs[i].begin > most)
			most = recording->runs[i].end - recording->runs[i].begin;
	return most > 0 ? most : 1;
}

static void write_span(FILE *file, const struct run *run, const struct span *span, double y,
		       double scale)
{
	double x = LEFT + (span->begin - run->begin) * scale;
	double width = (span->end - span->begin) * scale;

	fprintf(file,
		"<rect x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%d\" fill=\"%s\">"
		"<title>",
		x, y, width > 0.3 ? width : 0.3, BAR, color_of(span->phase));
	markup_write_text(file, span->phase);
	fprintf(file, " %.3f ms</title></rect>\n", (span->end - span->begin) * 1e-3);
}

#define NO_ROW (-1)

/* The row of each track: those that show work have one, as far as there is room. */
static int *choose_rows(const struct run *run, size_t *count)
{
	int *rows = malloc(run->track_count * sizeof(*rows));

	*count = 0;
	for (size_t track = 0; rows && track < run->track_count; track++)
		rows[track] = NO_ROW;
	for (size_t i = 0; rows && i < run->span_count; i++)
		if (span_is_work(&run->spans[i]))
			rows[run->spans[i].track] = 0;
	for (size_t track = 0; rows && track < run->track_count; track++)
		if (rows[track] != NO_ROW)
			rows[track] = *count < MAX_TRACKS ? (int)(*count)++ : NO_ROW;
	return rows;
}

static void write_row(FILE *file, const char *name, double y)
{
	svg_text(file, LEFT - 8, y + BAR - 3, "end", name);
	fprintf(file, "<rect x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%d\" fill=\"#eef1f5\"/>\n",
		LEFT, y, SVG_WIDTH - LEFT - RIGHT, BAR);
}

static double write_run(FILE *file, const struct run *run, double y, double scale)
{
	char text[64];
	size_t count;
	int *rows = choose_rows(run, &count);

	fputs("<g font-weight=\"bold\">", file);
	snprintf(text, sizeof(text), "%.3f s", (run->end - run->begin) * 1e-6);
	svg_text(file, LEFT - 8, y + BAR, "end", text);
	svg_text(file, LEFT, y + BAR, "start", run->name);
	fputs("</g>\n", file);
	y += ROW + 4;
	for (size_t track = 0; rows && track < run->track_count; track++)
		if (rows[track] != NO_ROW)
			write_row(file, run->tracks[track].name, y + ROW * rows[track]);
	for (size_t i = 0; rows && i < run->span_count; i++) {
		const struct span *span = &run->spans[i];

		if (rows[span->track] != NO_ROW && span_is_work(span))
			write_span(file, run, span, y + ROW * rows[span->track], scale);
	}
	free(rows);
	return y + ROW * count + 12;
}

static double write_axis(FILE *file, double y, double most, double scale)
{
	char text[32];

	for (int i = 0; i <= 5; i++) {
		double x = LEFT + most * scale * i / 5;

		svg_line(file, x, y, x, y + 5, "#667");
		snprintf(text, sizeof(text), "%.3g s", most * i / 5 * 1e-6);
		svg_text(file, x, y + 18, "middle", text);
	}
	return y + 34;
}

static void write_legend(FILE *file, double y)
{
	for (size_t i = 0; i < PHASES; i++) {
		double x = LEFT + 100.0 * i;

		fprintf(file,
			"<rect x=\"%.1f\" y=\"%.1f\" width=\"12\" height=\"12\" fill=\"%s\"/>\n", x,
			y, phases[i].color);
		svg_text(file, x + 17, y + 10, "start", phases[i].phase);
	}
}

static double height_of(const struct recording *recording)
{
	double height = 80;

	for (size_t i = 0; i < recording->run_count; i++) {
		size_t count;

		free(choose_rows(&recording->runs[i], &count));
		height += ROW + 16 + ROW * count;
	}
	return height;
}

void picture_write(FILE *file, const struct recording *recording)
{
	double height = height_of(recording), most = longest(recording), y = 14;
	double scale = (SVG_WIDTH - LEFT - RIGHT) / most;

	svg_begin(file, height);
	for (size_t i = 0; i < recording->run_count; i++)
		y = write_run(file, &recording->runs[i], y, scale);
	y = write_axis(file, y, most, scale);
	write_legend(file, y);
	svg_end(file);
}
