/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vfioboost.h>

#include "arguments.h"
#include "command.h"
#include "output.h"

struct options {
	struct vfb_doctor_opts guest;
	struct device_list devices;
	bool memfd, probe, json;
};

static const char *const severity_names[] = {"good", "slow", "fails"};

static const char doc[] =
	"Report what this host supports for guests with passed-through devices, what will be slow "
	"and what that costs, and the command that fixes it."
	"\v"
	"With --memory it checks a guest of that size: whether it fits, and how long its start "
	"will take. It populates a sample of the memory and scales the time; the fastest and the "
	"slowest part of the sample are the bounds. With --probe it opens the devices and maps the "
	"sample for them, which resets them: they must not be in use.\n"
	"\n" DOC_SIZES
	"The last line is the verdict: \"this guest can start\", or \"this guest cannot start\" and "
	"the reason; without --memory and --device it is about any guest on this host.\n"
	"\n"
	"Exit status: 0 if the guest can start, also if something is slow; 1 if it cannot, or on "
	"failure; 2 on bad usage.";

static const struct argument option_list[] = {
	{"memory", 'm', "SIZE", "Size of the guest's memory", FIELD(SIZE, guest.bytes)},
	{"page-size", 'p', "auto|4k|thp|2m|1g|mixed", "Its pages (auto)",
	 FIELD(CHOICE, guest.page_size), .names = page_size_names},
	ARGUMENT_FLAG(memfd, "memfd", "Use a memfd, which can be shared, not anonymous memory"),
	{"device", 'd', "BDF",
	 "A PCI device of the guest, 0000:01:00.0; may be repeated (all bound to VFIO)",
	 FIELD(DEVICE, devices)},
	ARGUMENT_FLAG(probe, "probe", "Open the devices and map memory, to measure that as well"),
	ARGUMENT_JSON,
	ARGUMENTS_END,
};

static void check_options(struct argp_state *state, void *data)
{
	struct options *options = data;
	struct vfb_doctor_opts *guest = &options->guest;

	guest->devices = options->devices.all;
	guest->device_count = options->devices.count;
	guest->kind = options->memfd ? VFB_MEMORY_MEMFD : guest->kind;
	guest->flags |= options->probe ? VFB_DOCTOR_PROBE : 0;
	if (options->probe && !(guest->bytes && guest->device_count))
		argp_error(state, "--probe needs --memory and --device");
}

static const struct arguments arguments = {.command = "vfioboost doctor",
					   .doc = doc,
					   .all = option_list,
					   .check = check_options};

static const char *verdict_name(const struct vfb_diagnosis *diagnosis)
{
	struct vfb_finding finding = VFB_FINDING_INIT;
	enum vfb_severity worst = VFB_FINDING_GOOD;

	if (!vfb_diagnosis_can_start(diagnosis, NULL))
		return severity_names[VFB_FINDING_FAILS];
	for (size_t i = 0; i < vfb_diagnosis_count(diagnosis); i++)
		if (!vfb_diagnosis_finding(diagnosis, i, &finding) &&
		    finding.severity != VFB_FINDING_GOOD)
			worst = VFB_FINDING_SLOW;
	return severity_names[worst];
}

/* One line: "this guest cannot start: 0000:01:00.0: bound to nvme, not to vfio-pci". */
static char *verdict_line(const struct options *options, const struct vfb_diagnosis *diagnosis)
{
	bool guest = options->guest.bytes || options->guest.device_count;
	struct vfb_finding reason = VFB_FINDING_INIT;
	char *line;

	if (vfb_diagnosis_can_start(diagnosis, &reason))
		return strdup(guest ? "this guest can start" : "this host can start a guest");
	if (asprintf(&line, "%s: %s%s%s",
		     guest ? "this guest cannot start" : "this host cannot start a guest",
		     reason.device, *reason.device ? ": " : "", reason.text) < 0)
		return NULL;
	return line;
}

static void print_findings(const struct vfb_diagnosis *diagnosis, enum vfb_severity severity,
			   const char *heading)
{
	struct vfb_finding finding = VFB_FINDING_INIT;
	bool first = true;

	for (size_t i = 0; i < vfb_diagnosis_count(diagnosis); i++) {
		if (vfb_diagnosis_finding(diagnosis, i, &finding) || finding.severity != severity)
			continue;
		if (first)
			printf("%s\n", heading);
		first = false;
		printf("  %s%s%s: %s\n", finding.subject, *finding.device ? " " : "",
		       finding.device, finding.text);
		if (*finding.remedy)
			printf("      -> %s\n", finding.remedy);
	}
	if (!first)
		printf("\n");
}

static void print_verdict(const struct options *options, const struct vfb_diagnosis *diagnosis)
{
	char *line = verdict_line(options, diagnosis);

	printf("%s\n", line ? line : "out of memory");
	free(line);
}

static void print_time(const char *label, struct vfb_estimated_time time)
{
	if (time.high > 0)
		printf("  %-14s %8.3f s  (%.3f to %.3f s)\n", label, time.seconds, time.low,
		       time.high);
}

static void print_estimate(const struct options *options, const struct vfb_diagnosis *diagnosis)
{
	struct vfb_estimate estimate = VFB_ESTIMATE_INIT;

	if (!options->guest.bytes || vfb_diagnosis_estimate(diagnosis, &estimate))
		return;
	printf("The guest's %.2f GiB would have %s pages. Estimated from %u samples with %.2f GiB "
	       "in total:\n",
	       options->guest.bytes / 1073741824.0, page_size_name(estimate.page_size),
	       estimate.samples, estimate.sample_bytes / 1073741824.0);
	print_time("populate", estimate.populate);
	print_time("open devices", estimate.open);
	print_time("map", estimate.map);
	print_time("start", estimate.start);
	print_time("close devices", estimate.close);
	if (options->guest.device_count && !(options->guest.flags & VFB_DOCTOR_PROBE))
		printf("  This does not include mapping, which --probe measures.\n");
	printf("\n");
}

static bool print_text(const struct options *options, const struct vfb_diagnosis *diagnosis)
{
	print_findings(diagnosis, VFB_FINDING_GOOD, "As it should be, or for information:");
	print_findings(diagnosis, VFB_FINDING_SLOW, "Slow:");
	print_findings(diagnosis, VFB_FINDING_FAILS, "Cannot start:");
	print_estimate(options, diagnosis);
	print_verdict(options, diagnosis);
	return output_flush();
}

static struct json_object *finding_object(const struct vfb_finding *finding)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "id", json_object_new_string(finding->id));
	json_object_object_add(object, "severity",
			       json_object_new_string(severity_names[finding->severity]));
	json_object_object_add(object, "subject", json_object_new_string(finding->subject));
	json_object_object_add(object, "text", json_object_new_string(finding->text));
	json_object_object_add(object, "remedy", json_object_new_string(finding->remedy));
	if (*finding->device)
		json_object_object_add(object, "device", json_object_new_string(finding->device));
	if (finding->node >= 0)
		json_object_object_add(object, "node", json_object_new_int(finding->node));
	if (finding->seconds > 0)
		json_object_object_add(object, "seconds", json_object_new_double(finding->seconds));
	return object;
}

static void add_time(struct json_object *object, const char *name, struct vfb_estimated_time time)
{
	struct json_object *value = json_object_new_object();

	json_object_object_add(value, "seconds", json_object_new_double(time.seconds));
	json_object_object_add(value, "low", json_object_new_double(time.low));
	json_object_object_add(value, "high", json_object_new_double(time.high));
	json_object_object_add(object, name, value);
}

static struct json_object *estimate_object(const struct vfb_estimate *estimate)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "page_size",
			       json_object_new_string(page_size_name(estimate->page_size)));
	json_object_object_add(object, "sample_bytes",
			       json_object_new_uint64(estimate->sample_bytes));
	json_object_object_add(object, "samples", json_object_new_int(estimate->samples));
	add_time(object, "populate", estimate->populate);
	add_time(object, "open", estimate->open);
	if (estimate->map.high > 0)
		add_time(object, "map", estimate->map);
	add_time(object, "start", estimate->start);
	add_time(object, "close", estimate->close);
	return object;
}

static bool print_json(const struct options *options, const struct vfb_diagnosis *diagnosis)
{
	struct json_object *object = output_object(), *findings = json_object_new_array();
	char *line = verdict_line(options, diagnosis);
	struct vfb_estimate estimate = VFB_ESTIMATE_INIT;
	struct vfb_finding finding = VFB_FINDING_INIT;

	json_object_object_add(object, "verdict", json_object_new_string(verdict_name(diagnosis)));
	json_object_object_add(object, "summary", json_object_new_string(line ? line : ""));
	free(line);
	for (size_t i = 0; i < vfb_diagnosis_count(diagnosis); i++)
		if (!vfb_diagnosis_finding(diagnosis, i, &finding))
			json_object_array_add(findings, finding_object(&finding));
	json_object_object_add(object, "findings", findings);
	if (options->guest.bytes && !vfb_diagnosis_estimate(diagnosis, &estimate))
		json_object_object_add(object, "estimate", estimate_object(&estimate));
	return output_json(object);
}

static int diagnose(const struct options *options)
{
	struct vfb_diagnosis *diagnosis;
	struct vfb_ctx *ctx;
	int status;

	if (vfb_ctx_create(NULL, &ctx) || vfb_doctor_run(ctx, &options->guest, &diagnosis)) {
		fprintf(stderr, "vfioboost: %s\n", vfb_last_error());
		vfb_ctx_destroy(ctx);
		return EXIT_FAILED;
	}
	status = output_status(options->json ? print_json(options, diagnosis) :
					       print_text(options, diagnosis));
	if (!vfb_diagnosis_can_start(diagnosis, NULL))
		status = EXIT_FAILED;
	vfb_diagnosis_destroy(diagnosis);
	vfb_ctx_destroy(ctx);
	return status;
}

int command_doctor(int argc, char **argv)
{
	struct options options = {.guest = VFB_DOCTOR_OPTS_INIT};

	arguments_parse(&arguments, argc, argv, &options);
	return diagnose(&options);
}
