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
	json_object_object_add(object, "text", json_object_new_string(finding->text));
	json_object_object_add(object, "remedy", json_object_new_string(finding->remedy));
	json_object_array_add(array, object);
}

struct json_object *host_findings(void)
{
	struct json_object *array = json_object_new_array();
	struct vfb_diagnosis *diagnosis = NULL;
	struct vfb_ctx *ctx;

	if (vfb_ctx_create(NULL, &ctx))
		return array;
	if (!vfb_doctor_run(ctx, NULL, &diagnosis)) {
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
