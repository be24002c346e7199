/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "doctor/doctor.h"
#include "options.h"

static const struct {
	const char *subject, *id;
} kinds[] = {
#define FINDING(name, subject, id) {subject, id},
#include "doctor/findings.def"
#undef FINDING
};

static void free_texts(struct vfb_finding *finding)
{
	free((char *)finding->text);
	free((char *)finding->remedy);
	free((char *)finding->device);
}

int vfb_diagnosis_add(struct vfb_diagnosis *diagnosis, enum vfb_found found,
		      struct vfb_finding finding)
{
	size_t bytes = (diagnosis->count + 1) * sizeof(*diagnosis->findings);
	struct vfb_finding *findings = realloc(diagnosis->findings, bytes);

	if (!findings)
		return vfb_fail_memory();
	diagnosis->findings = findings;
	finding.size = sizeof(finding);
	finding.subject = kinds[found].subject;
	finding.id = kinds[found].id;
	finding.text = strdup(finding.text);
	finding.remedy = strdup(finding.remedy ? finding.remedy : "");
	finding.device = strdup(finding.device ? finding.device : "");
	if (!finding.text || !finding.remedy || !finding.device) {
		free_texts(&finding);
		return vfb_fail_memory();
	}
	findings[diagnosis->count++] = finding;
	diagnosis->fails += finding.severity == VFB_FINDING_FAILS;
	return 0;
}

int vfb_diagnosis_add_host(struct vfb_diagnosis *diagnosis, enum vfb_found found,
			   enum vfb_severity severity, const char *text, const char *remedy)
{
	return vfb_diagnosis_add(diagnosis, found,
				 (struct vfb_finding){
					 .severity = severity,
					 .text = text,
					 .remedy = remedy,
					 .node = -1,
				 });
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

/*
 * What keeps every guest from starting, or the one in question. Where no devices were requested,
 * one that can be opened is enough.
 */
static bool diagnosis_prevents(const struct vfb_diagnosis *diagnosis,
			       const struct vfb_finding *finding)
{
	return finding->severity == VFB_FINDING_FAILS &&
	       (!*finding->device || diagnosis->has_devices || !diagnosis->has_usable_device);
}

int vfb_diagnosis_can_start(const struct vfb_diagnosis *diagnosis, struct vfb_finding *reason)
{
	for (size_t i = 0; i < diagnosis->count; i++) {
		if (!diagnosis_prevents(diagnosis, &diagnosis->findings[i]))
			continue;
		return reason ? vfb_diagnosis_finding(diagnosis, i, reason) : 0;
	}
	return 1;
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
	free(diagnosis->requested);
	vfb_holders_free(&diagnosis->holders);
	atomic_fetch_sub(&diagnosis->ctx->objects, 1);
	free(diagnosis);
}
