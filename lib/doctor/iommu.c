/* SPDX-License-Identifier: MIT */
/* What of the IOMMU and of VFIO a start could use. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "doctor/doctor.h"
#include "iommu/legacy.h"
#include "iommu/node.h"

#define ENTRY_LIMIT "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit"

struct group_count {
	const struct vfb_diagnosis *diagnosis;
	unsigned int groups, noiommu;
};

static int iommu_count_group(const char *name, void *arg)
{
	struct group_count *count = arg;

	if (vfb_is_noiommu(count->diagnosis, atoi(name)))
		count->noiommu++;
	else
		count->groups++;
	return 0;
}

static int iommu_check_groups(struct vfb_diagnosis *diagnosis)
{
	const struct vfb_sys *sys = diagnosis->ctx->sys;
	struct group_count count = {.diagnosis = diagnosis};
	char text[VFB_FINDING_BYTES];

	sys->list(sys, "/sys/kernel/iommu_groups", iommu_count_group, &count);
	if (count.groups) {
		snprintf(text, sizeof(text), "an IOMMU is enabled, with %u groups of devices",
			 count.groups);
		return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_IOMMU, VFB_FINDING_GOOD, text,
					      "");
	}
	if (!count.noiommu)
		return vfb_diagnosis_add_host(
			diagnosis, VFB_FOUND_IOMMU_DISABLED, VFB_FINDING_FAILS,
			"no IOMMU is enabled: no device can be passed through to a guest",
			VFB_ENABLE_IOMMU);
	snprintf(text, sizeof(text),
		 "no IOMMU is enabled: VFIO has %u devices in its unsafe mode without an IOMMU "
		 "(group vfio-noiommu), which is not supported",
		 count.noiommu);
	return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_IOMMU_DISABLED, VFB_FINDING_FAILS, text,
				      VFB_ENABLE_IOMMU);
}

static int count_one(const char *name, void *arg)
{
	(void)name;
	++*(unsigned int *)arg;
	return 0;
}

static unsigned int count_names(const struct vfb_diagnosis *diagnosis, const char *path)
{
	const struct vfb_sys *sys = diagnosis->ctx->sys;
	unsigned int names = 0;

	sys->list(sys, path, count_one, &names);
	return names;
}

/* ---- type1, iommufd ---- */

struct backend {
	enum vfb_backend backend;
	const char *path;
	/* What is said of each problem of its node; and what it costs to be without. */
	enum vfb_found found[VFB_NODE_FAILED + 1];
	const char *cost;
};

static const struct backend type1 = {
	VFB_BACKEND_TYPE1,
	"/dev/vfio/vfio",
	{
		[VFB_NODE_ABSENT] = VFB_FOUND_TYPE1_ABSENT,
		[VFB_NODE_MISSING] = VFB_FOUND_TYPE1_MISSING,
		[VFB_NODE_DENIED] = VFB_FOUND_TYPE1_DENIED,
		[VFB_NODE_IN_USE] = VFB_FOUND_TYPE1_FAILED,
		[VFB_NODE_FAILED] = VFB_FOUND_TYPE1_FAILED,
	},
	"type1 is not available",
};

static const struct backend iommufd = {
	VFB_BACKEND_IOMMUFD,
	"/dev/iommu",
	{
		[VFB_NODE_ABSENT] = VFB_FOUND_IOMMUFD_ABSENT,
		[VFB_NODE_MISSING] = VFB_FOUND_IOMMUFD_MISSING,
		[VFB_NODE_DENIED] = VFB_FOUND_IOMMUFD_DENIED,
		[VFB_NODE_IN_USE] = VFB_FOUND_IOMMUFD_FAILED,
		[VFB_NODE_FAILED] = VFB_FOUND_IOMMUFD_FAILED,
	},
	"type1 serializes the maps of a guest",
};

/* Begins a space, as a start does. */
static void iommu_try_create(const struct vfb_diagnosis *diagnosis, const struct backend *backend,
			     struct vfb_node_trial *trial)
{
	const struct vfb_iommu_source source = {.fd = -1};
	const struct vfb_iommu_ops *ops;
	struct vfb_iommu *iommu;
	int error = vfb_iommu_choose(backend->backend, &ops);

	if (!error)
		error = ops->create(diagnosis->ctx->sys, &source, &iommu);
	if (!error) {
		ops->destroy(iommu);
		return;
	}
	trial->problem = error == -ENOTSUP ? VFB_NODE_ABSENT : VFB_NODE_FAILED;
	snprintf(trial->text, sizeof(trial->text), "%.*s", (int)sizeof(trial->text) - 1,
		 vfb_last_error());
}

static void iommu_try(const struct vfb_diagnosis *diagnosis, const struct backend *backend,
		      struct vfb_node_trial *trial)
{
	const struct vfb_sys *sys = diagnosis->ctx->sys;
	int fd;

	if (vfb_node_is_outdated(sys, backend->path, trial))
		return;
	fd = vfb_node_open(sys, backend->path, trial);
	if (fd < 0)
		return;
	sys->close(sys, fd);
	iommu_try_create(diagnosis, backend, trial);
}

/* @other: the other backend can be used. A node that there is not at all keeps nobody. */
static int iommu_add_problem(struct vfb_diagnosis *diagnosis, const struct backend *backend,
			     const struct vfb_node_trial *trial, bool other)
{
	bool fails = !other && trial->problem != VFB_NODE_ABSENT;
	char text[VFB_FINDING_BYTES];

	snprintf(text, sizeof(text), "%s: %s", trial->text,
		 fails ? "no guest with devices can start" : backend->cost);
	return vfb_diagnosis_add_host(diagnosis, backend->found[trial->problem],
				      fails ? VFB_FINDING_FAILS : VFB_FINDING_SLOW, text,
				      trial->remedy);
}

static int iommu_add_type1(struct vfb_diagnosis *diagnosis)
{
	char text[VFB_FINDING_BYTES], limit[32];

	vfb_doctor_read(diagnosis, ENTRY_LIMIT, limit, sizeof(limit));
	snprintf(text, sizeof(text), "type1 is available, with up to %s mappings (dma_entry_limit)",
		 limit[0] ? limit : "65535");
	return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_TYPE1, VFB_FINDING_GOOD, text, "");
}

static int iommu_add_iommufd(struct vfb_diagnosis *diagnosis)
{
	/* Created when the first device is bound. */
	if (count_names(diagnosis, "/dev/vfio/devices"))
		return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_IOMMUFD, VFB_FINDING_GOOD,
					      "iommufd is available, maps run in parallel", "");
	return vfb_diagnosis_add_host(
		diagnosis, VFB_FOUND_IOMMUFD_NO_NODES, VFB_FINDING_GOOD,
		"iommufd is available, maps run in parallel; /dev/vfio/devices is empty, so "
		"devices are opened through their groups, and a domain cannot outlive its devices",
		"if that matters, bind a device to vfio-pci, or run Linux 6.6 or later with "
		"CONFIG_VFIO_DEVICE_CDEV");
}

static int iommu_add_spapr(struct vfb_diagnosis *diagnosis)
{
	return vfb_diagnosis_add_host(
		diagnosis, VFB_FOUND_SPAPR, VFB_FINDING_GOOD,
		"the IOMMU of POWER (sPAPR) is available: memory is registered before it is "
		"mapped, one piece of a space at a time",
		"");
}

static int iommu_check_backends(struct vfb_diagnosis *diagnosis)
{
	struct vfb_node_trial by_type1, by_iommufd;
	int error;

	diagnosis->has_spapr = vfb_legacy_host_is_spapr(diagnosis->ctx->sys);
	if (diagnosis->has_spapr)
		return iommu_add_spapr(diagnosis);

	iommu_try(diagnosis, &type1, &by_type1);
	iommu_try(diagnosis, &iommufd, &by_iommufd);
	diagnosis->has_type1 = by_type1.problem == VFB_NODE_GOOD;
	diagnosis->has_iommufd = by_iommufd.problem == VFB_NODE_GOOD;
	if (by_type1.problem == VFB_NODE_ABSENT && by_iommufd.problem == VFB_NODE_ABSENT)
		return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_VFIO_ABSENT, VFB_FINDING_FAILS,
					      "neither type1 nor iommufd is available",
					      by_type1.remedy);
	error = diagnosis->has_type1 ?
			iommu_add_type1(diagnosis) :
			iommu_add_problem(diagnosis, &type1, &by_type1, diagnosis->has_iommufd);
	if (error)
		return error;
	return diagnosis->has_iommufd ?
		       iommu_add_iommufd(diagnosis) :
		       iommu_add_problem(diagnosis, &iommufd, &by_iommufd, diagnosis->has_type1);
}

int vfb_check_iommu(struct vfb_diagnosis *diagnosis)
{
	int error = iommu_check_groups(diagnosis);

	return error ? error : iommu_check_backends(diagnosis);
}
