/* SPDX-License-Identifier: MIT */
/* The findings of the doctor about a made-up host. */
#ifndef DIAGNOSIS_H
#define DIAGNOSIS_H

#include "host.h"

struct vfb_diagnosis *diagnose(struct host *host, const struct vfb_doctor_opts *opts);

struct vfb_finding finding_of(const struct vfb_diagnosis *diagnosis, size_t i);

/* One of the findings has this severity, subject, and parts of text and remedy. */
struct vfb_finding find(const struct vfb_diagnosis *diagnosis, enum vfb_severity severity,
			const char *subject, const char *text, const char *remedy);

unsigned int count_of(const struct vfb_diagnosis *diagnosis, enum vfb_severity severity);

/* A host, what is requested of it, and a finding that must appear. */
void assert_finding(const struct fake_config *config, const struct vfb_doctor_opts *opts,
		    enum vfb_severity severity, const char *subject, const char *text,
		    const char *remedy);

#endif
