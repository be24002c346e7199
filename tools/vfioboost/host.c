/* SPDX-License-Identifier: MIT */
#include "host.h"

#include <vfioboost.h>

static void add_finding(struct json_object *array, const struct vfb_finding *finding)
{
	struct json_object *object;

	if (finding->severity == VFB_FINDING_GOOD)
		return;
	object = json_object_new_object();
	json_object_object_add(object, "subject", json_object_new_string(finding->subject));
	if (*finding->device)
		json_object_object_add(object, "device", json_object_new_string(finding->device));
	json_object_object_add(object, "text", json_object_new_string(finding->text));
	json_object_object_add(object, "remedy", json_object_new_string(finding->remedy));
	json_object_array_add(array, object);
}

struct json_object *host_findings(const char *const *devices, size_t count)
{
	struct vfb_doctor_opts opts = VFB_DOCTOR_OPTS_INIT;
	struct json_object *array = json_object_new_array();
	struct vfb_diagnosis *diagnosis = NULL;
	struct vfb_ctx *ctx;

	if (vfb_ctx_create(NULL, &ctx))
		return array;
	opts.devices = devices;
	opts.device_count = count;
	if (!vfb_doctor_run(ctx, &opts, &diagnosis)) {
		for (size_t i = 0; i < vfb_diagnosis_count(diagnosis); i++) {
			struct vfb_finding finding = VFB_FINDING_INIT;

			if (!vfb_diagnosis_finding(diagnosis, i, &finding))
				add_finding(array, &finding);
		}
	}
	vfb_diagnosis_destroy(diagnosis);
	vfb_ctx_destroy(ctx);
	return array;
}
