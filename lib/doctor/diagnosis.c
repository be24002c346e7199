/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "doctor/doctor.h"
#include "options.h"

static void free_texts(struct vfb_finding *finding)
{
	free((char *)finding->text);
	free((char *)finding->remedy);
	free((char *)finding->device);
}

int vfb_diagnosis_add(struct vfb_diagnosis *diagnosis, struct vfb_finding finding)
{
	size_t bytes = (diagnosis->count + 1) * sizeof(*diagnosis->findings);
	struct vfb_finding *findings = realloc(diagnosis->findings, bytes);

	if (!findings)
		return vfb_fail_memory();
	diagnosis->findings = findings;
	finding.size = sizeof(finding);
	finding.text = strdup(finding.text);
	finding.remedy = strdup(finding.remedy ? finding.remedy : "");
	finding.device = strdup(finding.device ? finding.device : "");
	if (!finding.text || !finding.remedy || !finding.device) {
		free_texts(&finding);
		return vfb_fail_memory();
	}
	findings[diagnosis->count++] = finding;
	return 0;
}

size_t vfb_diagnosis_count(const struct vfb_diagnosis *diagnosis)
{
	return diagnosis->count;
}

int vfb_diagnosis_finding(const struct vfb_diagnosis *diagnosis, size_t index,
			  struct vfb_finding *finding)
{
	if (index >= diagnosis->count)
		return vfb_fail(-EINVAL, "there is no finding %zu: there are %zu", index,
				diagnosis->count);
	return vfb_struct_write(finding, &diagnosis->findings[index], sizeof(*finding));
}

int vfb_diagnosis_estimate(const struct vfb_diagnosis *diagnosis, struct vfb_estimate *estimate)
{
	if (!diagnosis->has_estimate)
		return vfb_fail(-ENODATA, "there is no estimate: no memory was requested, or it is "
					  "not available (see the findings)");
	return vfb_struct_write(estimate, &diagnosis->estimate, sizeof(*estimate));
}

void vfb_diagnosis_destroy(struct vfb_diagnosis *diagnosis)
{
	if (!diagnosis)
		return;
	for (size_t i = 0; i < diagnosis->count; i++)
		free_texts(&diagnosis->findings[i]);
	free(diagnosis->findings);
	atomic_fetch_sub(&diagnosis->ctx->objects, 1);
	free(diagnosis);
}
