/* SPDX-License-Identifier: MIT */
/* Whether a guest's memory is available, and how long its start takes, measured with samples. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor/doctor.h"
#include "doctor/probe.h"
#include "memory/memory.h"

/* The last error as a finding. It contains the remedy. */
static int add_failure(struct vfb_diagnosis *diagnosis)
{
	char text[VFB_ERROR_BYTES];

	vfb_error_save(text);
	return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_MEMORY_TOO_LITTLE, VFB_FINDING_FAILS,
				      text, "");
}

/* Why the memory does not have larger pages. */
static int add_fallback(struct vfb_diagnosis *diagnosis, const struct vfb_memory_info *info)
{
	bool slow = info->page_size == VFB_PAGE_THP || info->page_size == VFB_PAGE_BASE;
	char *copy = strdup(info->fallback), *rest = copy, *line;
	int error = copy ? 0 : vfb_fail_memory();

	while (!error && (line = strsep(&rest, "\n")))
		if (*line)
			error = vfb_diagnosis_add_host(diagnosis, VFB_FOUND_MEMORY_PAGE_SIZE,
						       slow ? VFB_FINDING_SLOW : VFB_FINDING_GOOD,
						       line, "");
	free(copy);
	return error;
}

/* Reserves all of the guest's memory without populating it, to see whether it is available. */
static int check_fit(struct vfb_diagnosis *diagnosis, bool *fits, enum vfb_page_size *page_size)
{
	const struct vfb_doctor_opts *guest = diagnosis->guest;
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct vfb_memory_part part = {.bytes = guest->bytes};
	int error;

	opts.bytes = guest->bytes;
	opts.page_size = guest->page_size;
	opts.kind = guest->kind;
	error = vfb_memory_create(diagnosis->ctx, &opts, &part.memory);
	*fits = !error;
	if (error)
		return error == -EINVAL ? error : add_failure(diagnosis);
	vfb_memory_info(part.memory, &info);
	*page_size = info.page_size;
	error = add_fallback(diagnosis, &info);
	/* What populating it would use. */
	*fits = !vfb_memory_check_room(diagnosis->ctx->sys, &part, 1);
	if (!error && !*fits)
		error = add_failure(diagnosis);
	vfb_memory_destroy(part.memory);
	return error;
}

/* Samples are large enough for several pieces per worker, but no larger than the guest. */
static void plan_samples(const struct vfb_diagnosis *diagnosis, struct vfb_samples *samples)
{
	bool giant = samples->page_size == VFB_PAGE_1G || samples->page_size == VFB_PAGE_MIXED;
	uint64_t unit = giant ? GIB : 2 * MIB, bytes = diagnosis->guest->bytes;
	uint64_t each = vfb_engine_workers(diagnosis->ctx->engine) * (giant ? GIB : 64 * MIB);
	uint64_t most = bytes / 8 / each;

	samples->count = most < 3 ? 3 : most > VFB_MAX_SAMPLES ? VFB_MAX_SAMPLES : most;
	if (each > bytes / samples->count)
		each = bytes / samples->count / unit * unit;
	if (!each) {
		samples->count = 1;
		each = bytes;
	}
	samples->bytes = each;
}

static int take_sample(struct vfb_diagnosis *diagnosis, struct vfb_samples *samples, unsigned int i,
		       double *seconds)
{
	const struct vfb_sys *sys = diagnosis->ctx->sys;
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	uint64_t begin;
	int error;

	opts.bytes = samples->bytes;
	opts.page_size = samples->page_size;
	opts.kind = diagnosis->guest->kind;
	error = vfb_memory_create(diagnosis->ctx, &opts, &samples->memory[i]);
	if (error)
		return error;
	begin = sys->now(sys);
	error = vfb_memory_populate(samples->memory[i]);
	*seconds = 1e-9 * (sys->now(sys) - begin);
	return error;
}

static struct vfb_estimated_time guest_overlap_times(struct vfb_estimated_time a,
						     struct vfb_estimated_time b,
						     struct vfb_estimated_time then)
{
	return (struct vfb_estimated_time){
		.seconds = (a.seconds > b.seconds ? a.seconds : b.seconds) + then.seconds,
		.low = (a.low > b.low ? a.low : b.low) + then.low,
		.high = (a.high > b.high ? a.high : b.high) + then.high,
	};
}

/* From the reset methods: at least the time that the kernel sleeps, rarely more than twice that. */
static int estimate_devices(struct vfb_diagnosis *diagnosis)
{
	struct vfb_estimate *estimate = &diagnosis->estimate;
	double seconds;
	int error = vfb_reset_all_seconds(diagnosis, &seconds);

	estimate->open = (struct vfb_estimated_time){1.3 * seconds, seconds, 2 * seconds};
	estimate->close = estimate->open;
	return error;
}

/* Memory in many pieces takes many steps to map. Only root can read this. */
static int check_contiguity(struct vfb_diagnosis *diagnosis, const struct vfb_samples *samples)
{
	char text[VFB_FINDING_BYTES];
	uint64_t bytes = 0, runs = 0;
	bool slow;

	for (unsigned int i = 0; i < samples->count; i++) {
		struct vfb_contiguity found = VFB_CONTIGUITY_INIT;

		if (vfb_memory_contiguity(samples->memory[i], 0, samples->bytes, &found))
			return 0;
		bytes += found.bytes;
		runs += found.runs;
	}
	if (!runs)
		return 0;
	slow = bytes / runs < 2 * MIB && samples->bytes >= 2 * MIB;
	snprintf(text, sizeof(text),
		 "memory like the guest's is in pieces of %" PRIu64 " KiB on average%s",
		 bytes / runs / KIB,
		 slow ? ", too small for large pages of the IOMMU: each piece is mapped by itself" :
			"");
	return vfb_diagnosis_add_host(
		diagnosis, slow ? VFB_FOUND_CONTIGUITY_POOR : VFB_FOUND_CONTIGUITY,
		slow ? VFB_FINDING_SLOW : VFB_FINDING_GOOD, text,
		slow ? "use hugepages, or compact memory: echo 1 > /proc/sys/vm/compact_memory" :
		       "");
}

static int estimate_with(struct vfb_diagnosis *diagnosis, struct vfb_samples *samples)
{
	struct vfb_estimate *estimate = &diagnosis->estimate;
	double seconds[VFB_MAX_SAMPLES];
	int error = 0;

	for (unsigned int i = 0; i < samples->count && !error; i++)
		error = take_sample(diagnosis, samples, i, &seconds[i]);
	if (error)
		return add_failure(diagnosis);
	samples->factor = (double)diagnosis->guest->bytes / samples->bytes;
	estimate->page_size = samples->page_size;
	estimate->samples = samples->count;
	estimate->sample_bytes = samples->count * samples->bytes;
	estimate->populate = vfb_scale(seconds, samples->count, samples->factor);
	error = check_contiguity(diagnosis, samples);
	if (!error)
		error = estimate_devices(diagnosis);
	if (!error && diagnosis->guest->flags & VFB_DOCTOR_PROBE)
		error = vfb_probe(diagnosis, samples);
	estimate->start = guest_overlap_times(estimate->populate, estimate->open, estimate->map);
	diagnosis->has_estimate = !error;
	return error;
}

int vfb_check_guest(struct vfb_diagnosis *diagnosis)
{
	struct vfb_samples samples = {.count = 0};
	bool fits = true;
	int error;

	if (!diagnosis->guest->bytes)
		return 0;
	error = check_fit(diagnosis, &fits, &samples.page_size);
	if (error || !fits)
		return error;
	if (samples.page_size == VFB_PAGE_1G || samples.page_size == VFB_PAGE_MIXED)
		error = vfb_check_preemption(diagnosis);
	if (error)
		return error;
	plan_samples(diagnosis, &samples);
	error = estimate_with(diagnosis, &samples);
	for (unsigned int i = 0; i < samples.count; i++)
		vfb_memory_destroy(samples.memory[i]);
	return error;
}
