/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor/doctor.h"
#include "observe/error.h"

#define CAP_IPC_LOCK 14
#define ENTRY_LIMIT  "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit"

static bool has_ipc_lock(const struct vfb_diagnosis *diagnosis)
{
	struct vfb_field caps = {.name = "CapEff", .base = 16};

	vfb_sys_read_fields(diagnosis->ctx->sys, "/proc/self/status", &caps, 1);
	return caps.value >> CAP_IPC_LOCK & 1;
}

int vfb_check_memlock(struct vfb_diagnosis *diagnosis)
{
	const struct vfb_sys *sys = diagnosis->ctx->sys;
	uint64_t bytes = diagnosis->guest->bytes, limit;
	char text[VFB_FINDING_BYTES], remedy[96];

	if (has_ipc_lock(diagnosis))
		return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_MEMLOCK, VFB_FINDING_GOOD,
					      "CAP_IPC_LOCK: no limit on pinned memory", "");
	if (sys->memlock_limit(sys, &limit))
		return 0;
	if (limit == UINT64_MAX)
		return vfb_diagnosis_add_host(
			diagnosis, VFB_FOUND_MEMLOCK, VFB_FINDING_GOOD,
			"RLIMIT_MEMLOCK is unlimited: no limit on pinned memory", "");
	snprintf(text, sizeof(text), "RLIMIT_MEMLOCK allows %s to be pinned for devices%s%s",
		 vfb_size_text(limit).text, bytes ? ", the guest has " : "",
		 bytes ? vfb_size_text(bytes).text : "");
	if (limit > bytes)
		return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_MEMLOCK, VFB_FINDING_GOOD, text,
					      "");
	snprintf(remedy, sizeof(remedy), "ulimit -l %" PRIu64 ", or grant CAP_IPC_LOCK",
		 bytes / 1024 + 65536);
	return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_MEMLOCK_TOO_LOW, VFB_FINDING_FAILS, text,
				      remedy);
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

static int iommu_check_groups(struct vfb_diagnosis *diagnosis)
{
	unsigned int groups = count_names(diagnosis, "/sys/kernel/iommu_groups");
	char text[VFB_FINDING_BYTES];

	if (!groups)
		return vfb_diagnosis_add_host(
			diagnosis, VFB_FOUND_IOMMU_DISABLED, VFB_FINDING_FAILS,
			"no IOMMU is enabled: no device can be passed through to a guest",
			"enable VT-d or AMD-Vi in the firmware, and on Intel boot with "
			"intel_iommu=on");
	snprintf(text, sizeof(text), "an IOMMU is enabled, with %u groups of devices", groups);
	return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_IOMMU, VFB_FINDING_GOOD, text, "");
}

static int check_type1(struct vfb_diagnosis *diagnosis)
{
	char text[VFB_FINDING_BYTES], limit[32];

	if (!vfb_doctor_exists(diagnosis, "/dev/vfio/vfio"))
		return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_TYPE1_ABSENT, VFB_FINDING_SLOW,
					      "there is no /dev/vfio/vfio: type1 is not available",
					      "modprobe vfio-pci vfio_iommu_type1");
	vfb_doctor_read(diagnosis, ENTRY_LIMIT, limit, sizeof(limit));
	snprintf(text, sizeof(text), "type1 is available, with up to %s mappings (dma_entry_limit)",
		 limit[0] ? limit : "65535");
	return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_TYPE1, VFB_FINDING_GOOD, text, "");
}

static int check_iommufd(struct vfb_diagnosis *diagnosis)
{
	if (!vfb_doctor_exists(diagnosis, "/dev/iommu"))
		return vfb_diagnosis_add_host(
			diagnosis, VFB_FOUND_IOMMUFD_ABSENT, VFB_FINDING_SLOW,
			"there is no /dev/iommu: type1 serializes the maps of a guest",
			"modprobe iommufd, or run Linux 6.2 or later with CONFIG_IOMMUFD");
	/* Created when the first device is bound. */
	if (!count_names(diagnosis, "/dev/vfio/devices"))
		return vfb_diagnosis_add_host(
			diagnosis, VFB_FOUND_IOMMUFD_NO_NODES, VFB_FINDING_GOOD,
			"iommufd is available, maps run in parallel; /dev/vfio/devices is empty, "
			"so devices are opened through their groups, and a domain cannot outlive "
			"its devices",
			"if that matters, bind a device to vfio-pci, or run Linux 6.6 or later "
			"with CONFIG_VFIO_DEVICE_CDEV");
	return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_IOMMUFD, VFB_FINDING_GOOD,
				      "iommufd is available, maps run in parallel", "");
}

int vfb_check_iommu(struct vfb_diagnosis *diagnosis)
{
	int error = iommu_check_groups(diagnosis);

	if (!error)
		error = check_type1(diagnosis);
	if (error)
		return error;
	if (!vfb_doctor_exists(diagnosis, "/dev/vfio/vfio") &&
	    !vfb_doctor_exists(diagnosis, "/dev/iommu"))
		return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_VFIO_ABSENT, VFB_FINDING_FAILS,
					      "neither type1 nor iommufd is available",
					      "modprobe vfio-pci vfio_iommu_type1");
	return check_iommufd(diagnosis);
}
