/* SPDX-License-Identifier: MIT */
#include "doctor/probe.h"

#include <errno.h>
#include <stdlib.h>
#include <vfioboost/device.h>
#include <vfioboost/space.h>

static double probe_seconds(const struct vfb_diagnosis *diagnosis)
{
	return 1e-9 * diagnosis->ctx->sys->now(diagnosis->ctx->sys);
}

struct vfb_estimated_time vfb_scale(const double *seconds, unsigned int count, double factor)
{
	double sorted[VFB_MAX_SAMPLES];
	struct vfb_estimated_time result;

	for (unsigned int i = 0; i < count; i++) {
		unsigned int at = i;

		for (; at && sorted[at - 1] > seconds[i]; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = seconds[i];
	}
	result.seconds = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2 * factor;
	result.low = sorted[0] * factor;
	result.high = sorted[count - 1] * factor;
	return result;
}

static int map_samples(struct vfb_diagnosis *diagnosis, const struct vfb_samples *samples,
		       struct vfb_space *space)
{
	struct vfb_range ranges[VFB_MAX_SAMPLES] = {{0}};
	double seconds[VFB_MAX_SAMPLES] = {0};
	unsigned int mapped = 0;
	int error = 0;

	while (mapped < samples->count && !error) {
		struct vfb_range *range = &ranges[mapped];
		double begin = probe_seconds(diagnosis);

		*range = (struct vfb_range){
			.memory = samples->memory[mapped],
			.bytes = samples->bytes,
			.flags = VFB_RANGE_ANY_IOVA,
		};
		error = vfb_space_map(space, range, 1, NULL);
		seconds[mapped] = probe_seconds(diagnosis) - begin;
		mapped += !error;
	}
	if (!error)
		diagnosis->estimate.map = vfb_scale(seconds, samples->count, samples->factor);
	if (mapped && vfb_space_unmap(space, ranges, mapped, NULL) && !error)
		error = -EIO;
	return error;
}

/* A single measurement. */
static struct vfb_estimated_time probe_exact_time(double seconds)
{
	return (struct vfb_estimated_time){seconds, seconds, seconds};
}

static int open_and_map(struct vfb_diagnosis *diagnosis, const struct vfb_samples *samples,
			struct vfb_space *space, struct vfb_device_request *requests,
			struct vfb_device **devices)
{
	size_t count = diagnosis->guest->device_count;
	double begin = probe_seconds(diagnosis);
	int error = vfb_devices_open(space, requests, count, NULL);

	if (error)
		return error;
	diagnosis->estimate.open = probe_exact_time(probe_seconds(diagnosis) - begin);
	for (size_t i = 0; i < count; i++)
		devices[i] = requests[i].device;
	error = map_samples(diagnosis, samples, space);
	begin = probe_seconds(diagnosis);
	if (!error)
		error = vfb_devices_close(devices, count, NULL);
	else
		vfb_devices_close(devices, count, NULL);
	diagnosis->estimate.close = probe_exact_time(probe_seconds(diagnosis) - begin);
	return error;
}

static int probe_run(struct vfb_diagnosis *diagnosis, const struct vfb_samples *samples,
		     struct vfb_device_request *requests, struct vfb_device **devices)
{
	struct vfb_space *space;
	char text[VFB_ERROR_BYTES] = "";
	int error = vfb_space_create(diagnosis->ctx, NULL, &space);

	if (!error)
		error = open_and_map(diagnosis, samples, space, requests, devices);
	if (error)
		vfb_error_save(text);
	vfb_space_destroy(space);
	if (!error)
		return 0;
	return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_DEVICE_PROBE_FAILED, VFB_FINDING_FAILS,
				      text, "");
}

int vfb_probe(struct vfb_diagnosis *diagnosis, const struct vfb_samples *samples)
{
	size_t count = diagnosis->guest->device_count;
	struct vfb_device_request *requests = calloc(count, sizeof(*requests));
	struct vfb_device **devices = calloc(count, sizeof(struct vfb_device *));
	int error;

	for (size_t i = 0; requests && i < count; i++)
		requests[i].address = diagnosis->guest->devices[i];
	error = requests && devices ? probe_run(diagnosis, samples, requests, devices) :
				      vfb_fail_memory();
	free(requests);
	free(devices);
	return error;
}
