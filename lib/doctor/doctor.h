/* SPDX-License-Identifier: MIT */
#ifndef VFB_DOCTOR_H
#define VFB_DOCTOR_H

#include <vfioboost/doctor.h>
#include <vfioboost/pci.h>

#include "context.h"
#include "observe/error.h"
#include "sys/holder.h"

/* Enough for a line of text with two paths. */
#define VFB_FINDING_BYTES 512

struct vfb_pci;

struct vfb_diagnosis {
	struct vfb_ctx *ctx;
	const struct vfb_doctor_opts *guest;
	struct vfb_finding *findings;
	size_t count;
	/* How many of them are VFB_FINDING_FAILS. */
	size_t fails;
	/* The caller requested devices; otherwise all that are bound are examined. */
	bool has_devices;
	/* The backends of which a start could make a space. */
	bool has_type1, has_iommufd, has_spapr;
	/* Who has devices open; searched for when one is in use. */
	struct vfb_holders holders;
	/* The devices that the caller requested; NULL until they are looked up. */
	struct vfb_pci *requested;
	/* A device without such a finding was examined. */
	bool has_usable_device;
	bool has_estimate;
	struct vfb_estimate estimate;
};

enum vfb_found {
#define FINDING(name, subject, id) VFB_FOUND_##name,
#include "doctor/findings.def"
#undef FINDING
};

/*
 * Adds a finding, whose subject and id are those of @found. Its strings are copied; NULL means "".
 * Returns 0 or -ENOMEM.
 */
int vfb_diagnosis_add(struct vfb_diagnosis *diagnosis, enum vfb_found found,
		      struct vfb_finding finding);
/* One of the whole host. */
int vfb_diagnosis_add_host(struct vfb_diagnosis *diagnosis, enum vfb_found found,
			   enum vfb_severity severity, const char *text, const char *remedy);

/* The remedy where there is no IOMMU. */
#define VFB_ENABLE_IOMMU \
	"enable VT-d or AMD-Vi in the firmware, and on Intel boot with intel_iommu=on"

/* Reads a file; "" if that fails. */
void vfb_doctor_read(const struct vfb_diagnosis *diagnosis, const char *path, char *text,
		     size_t bytes);
bool vfb_doctor_exists(const struct vfb_diagnosis *diagnosis, const char *path);

/*
 * The checks, each for its subjects. They fail if memory is exhausted or an address is not that of
 * a device.
 */
int vfb_check_kernel(struct vfb_diagnosis *diagnosis);
int vfb_check_cpus(struct vfb_diagnosis *diagnosis);
int vfb_check_hugepages(struct vfb_diagnosis *diagnosis);
int vfb_check_thp(struct vfb_diagnosis *diagnosis);
/* Whose capabilities count. */
int vfb_check_user(struct vfb_diagnosis *diagnosis);
int vfb_check_memlock(struct vfb_diagnosis *diagnosis);
int vfb_check_iommu(struct vfb_diagnosis *diagnosis);
int vfb_check_devices(struct vfb_diagnosis *diagnosis);
/*
 * Whether a device of a VFIO driver can be opened. @shared: another driver is known to have a
 * device of its group.
 */
int vfb_check_nodes(struct vfb_diagnosis *diagnosis, const struct vfb_pci_info *pci, bool shared);
/* Whether a group is one of VFIO's own, without an IOMMU. */
bool vfb_is_noiommu(const struct vfb_diagnosis *diagnosis, int group);
/* What the IOMMU cannot translate for the guest. */
int vfb_check_reach(struct vfb_diagnosis *diagnosis);
/* Whether the firmware keeps a device from being used. */
int vfb_check_firmware(struct vfb_diagnosis *diagnosis, const struct vfb_pci_info *pci);
/* Whether the kernel zeroes pages of 1 GiB as fast as it can. */
int vfb_check_preemption(struct vfb_diagnosis *diagnosis);
/* Whether the guest's memory is available, and how long its start takes. */
int vfb_check_guest(struct vfb_diagnosis *diagnosis);

/* Duration of a reset by the preferred method of the kernel; 0 if there is none. */
double vfb_reset_seconds(const struct vfb_pci_info *pci);

/*
 * Duration of opening the guest's devices: devices that share a reset add up, others overlap. Fails
 * if a device cannot be read.
 */
int vfb_reset_all_seconds(const struct vfb_diagnosis *diagnosis, double *seconds);

#endif
