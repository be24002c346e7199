/* SPDX-License-Identifier: MIT */
#include "diagnosis.h"

struct vfb_diagnosis *diagnose(struct host *host, const struct vfb_doctor_opts *opts)
{
	struct vfb_diagnosis *diagnosis;

	assert_ok(vfb_doctor_run(host->ctx, opts, &diagnosis));
	return diagnosis;
}

static bool says(const struct vfb_finding *finding, enum vfb_severity severity, const char *subject,
		 const char *text, const char *remedy)
{
	return finding->severity == severity && !strcmp(finding->subject, subject) &&
	       strstr(finding->text, text) && strstr(finding->remedy, remedy);
}

struct vfb_finding finding_of(const struct vfb_diagnosis *diagnosis, size_t i)
{
	struct vfb_finding finding = VFB_FINDING_INIT;

	assert_ok(vfb_diagnosis_finding(diagnosis, i, &finding));
	return finding;
}

/* One of the findings has this severity, subject, and parts of text and remedy. */
struct vfb_finding find(const struct vfb_diagnosis *diagnosis, enum vfb_severity severity,
			const char *subject, const char *text, const char *remedy)
{
	for (size_t i = 0; i < vfb_diagnosis_count(diagnosis); i++) {
		struct vfb_finding finding = finding_of(diagnosis, i);

		if (says(&finding, severity, subject, text, remedy))
			return finding;
	}
	for (size_t i = 0; i < vfb_diagnosis_count(diagnosis); i++) {
		struct vfb_finding finding = finding_of(diagnosis, i);

		print_error("%d %s: %s -> %s\n", finding.severity, finding.subject, finding.text,
			    finding.remedy);
	}
	fail_msg("nothing says %d %s: %s -> %s", severity, subject, text, remedy);
	return (struct vfb_finding)VFB_FINDING_INIT;
}

unsigned int count_of(const struct vfb_diagnosis *diagnosis, enum vfb_severity severity)
{
	unsigned int count = 0;

	for (size_t i = 0; i < vfb_diagnosis_count(diagnosis); i++)
		count += finding_of(diagnosis, i).severity == severity;
	return count;
}

/* A host, what is requested of it, and a finding that must appear. */
void assert_finding(const struct fake_config *config, const struct vfb_doctor_opts *opts,
		    enum vfb_severity severity, const char *subject, const char *text,
		    const char *remedy)
{
	struct vfb_diagnosis *diagnosis;
	struct host host;

	host_open(&host, config);
	add_devices(host.fake, 2);
	diagnosis = diagnose(&host, opts);
	find(diagnosis, severity, subject, text, remedy);
	vfb_diagnosis_destroy(diagnosis);
	host_close(&host);
}
