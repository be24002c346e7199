/* SPDX-License-Identifier: MIT */
#include <argp.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../command.h"
#include "../output.h"
#include "density.h"
#include "page.h"
#include "picture.h"
#include "recording.h"
#include "report.h"

struct options {
	const char *trace, *output;
	bool json;
};

static const char doc[] =
	"Draw what `vfioboost run --trace TRACE` or a program with vfb_trace_create() has written, or "
	"what `vfioboost bench density --json` has printed.\v"
	"FILE.html is a page without need of anything else: timeline, phases, throughput, "
	"histograms, slowest steps, remarks. FILE.svg is a picture for documents. Of a bench, both "
	"have the same picture.\n"
	"\n"
	"Exit status: 0 on success, 1 on failure, 2 on bad usage.";

enum {
	OPTION_OUTPUT = 'o',
	OPTION_JSON = 256,
};

static const struct argp_option argp_options[] = {
	{"output", OPTION_OUTPUT, "FILE.html|FILE.svg", 0, "What to write", 0},
	{"json", OPTION_JSON, NULL, 0,
	 "Print the critical paths and remarks as one JSON object; FILE may be left out then", 0},
	{0},
};

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), end_length = strlen(end);

	return length > end_length && !strcmp(text + length - end_length, end);
}

bool report_has_format(const char *path)
{
	return ends_with(path, ".html") || ends_with(path, ".svg");
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case OPTION_OUTPUT:
		if (!report_has_format(arg))
			argp_error(state,
				   "--output wants a name that ends in .html or .svg, not "
				   "\"%s\"",
				   arg);
		options->output = arg;
		return 0;
	case OPTION_JSON:
		options->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (options->trace)
			argp_error(state, "\"%s\" is too much: there is one trace", arg);
		options->trace = arg;
		return 0;
	case ARGP_KEY_END:
		if (!options->trace)
			argp_error(state, "the trace is missing");
		if (!options->output && !options->json)
			argp_error(state, "--output is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static bool write_output(const struct recording *recording, const char *title, const char *path)
{
	struct output_file output;

	if (!output_file_begin(&output, path))
		return false;
	if (ends_with(path, ".svg"))
		picture_write(output.file, recording);
	else
		page_write(output.file, recording, title);
	return output_file_end(&output);
}

bool report_draw(const char *trace, const char *title, const char *path, bool json)
{
	struct recording recording;
	char reason[256];
	bool done;

	done = recording_read(&recording, trace, reason, sizeof(reason));
	if (!done)
		fprintf(stderr, "vfioboost: cannot read the trace %s: %s\n", trace, reason);
	if (done && path)
		done = write_output(&recording, title, path);
	if (done && json) {
		page_write_data(stdout, &recording, false);
		puts("");
		done = output_flush();
	}
	recording_free(&recording);
	return done;
}

static bool draw_density(struct json_object *bench, const struct options *options)
{
	struct output_file output;

	if (options->json) {
		fprintf(stderr, "vfioboost: %s is of a bench: there are no critical paths\n",
			options->trace);
		return false;
	}
	if (!output_file_begin(&output, options->output))
		return false;
	if (!ends_with(options->output, ".svg"))
		fputs("<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<title>Density</title>\n",
		      output.file);
	density_draw(output.file, bench);
	return output_file_end(&output);
}

int command_report(int argc, char **argv)
{
	static const struct argp argp = {argp_options, parse_option, "TRACE", doc,
					 NULL,	       NULL,	     NULL};
	static char name[] = "vfioboost report";
	struct options options = {0};
	struct json_object *bench;
	bool done;

	argv[0] = name;
	argp_parse(&argp, argc, argv, 0, NULL, &options);
	bench = density_read(options.trace);
	done = bench ? draw_density(bench, &options) :
		       report_draw(options.trace, options.trace, options.output, options.json);
	json_object_put(bench);
	return done ? EXIT_OK : EXIT_FAILED;
}
