/* SPDX-License-Identifier: MIT */
#ifndef VFB_DOCTOR_H
#define VFB_DOCTOR_H

#include <vfioboost/doctor.h>
#include <vfioboost/pci.h>

#include "context.h"
#include "observe/error.h"

/* Long enough for a line of text with two paths. */
#define VFB_FINDING_BYTES 512

struct vfb_diagnosis {
	struct vfb_ctx *ctx;
	const struct vfb_doctor_opts *guest;
	struct vfb_finding *findings;
	size_t count;
	bool has_estimate;
	struct vfb_estimate estimate;
};

/* Adds a finding; its texts are copied, NULL stands for "". -ENOMEM. */
int vfb_diagnosis_add(struct vfb_diagnosis *diagnosis, struct vfb_finding finding);

/* A file's content, "" when it cannot be read. */
void vfb_doctor_read(const struct vfb_diagnosis *diagnosis, const char *path, char *text,
		     size_t bytes);
bool vfb_doctor_exists(const struct vfb_diagnosis *diagnosis, const char *path);

/*
 * The checks, each of its subjects. They fail when there is no memory, and for devices that are
 * none.
 */
int vfb_check_kernel(struct vfb_diagnosis *diagnosis);
int vfb_check_cpus(struct vfb_diagnosis *diagnosis);
int vfb_check_hugepages(struct vfb_diagnosis *diagnosis);
int vfb_check_thp(struct vfb_diagnosis *diagnosis);
int vfb_check_memlock(struct vfb_diagnosis *diagnosis);
int vfb_check_iommu(struct vfb_diagnosis *diagnosis);
int vfb_check_devices(struct vfb_diagnosis *diagnosis);
/* Whether the guest's memory can be had, and how long its start takes. */
int vfb_check_guest(struct vfb_diagnosis *diagnosis);

/* How long resetting a device takes the kernel, by its preferred method; 0 if it cannot. */
double vfb_reset_seconds(const struct vfb_pci_info *pci);

/*
 * How long opening the guest's devices takes, when each takes the time of its reset and those
 * that share one take turns. A negative errno, told, when a device cannot be looked at.
 */
int vfb_reset_all_seconds(const struct vfb_diagnosis *diagnosis, double *seconds);

#endif
