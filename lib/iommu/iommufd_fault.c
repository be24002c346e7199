/* SPDX-License-Identifier: MIT */
/*
 * iommufd: faults of devices (Linux 6.11). That a device was attached to a domain with a queue of
 * faults does not prove that any arrive: AMD's driver answers faults without PASID by itself, and
 * SMMUv3's reports those of platform devices only. Only what was looked at is accepted: VT-d in
 * scalable mode with page requests, a physical function, and PRI enabled after it was attached.
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <stdio.h>

#include "iommu/iommufd.h"
#include "iommu/reserved.h"
#include "observe/error.h"
#include "sys/uapi.h"

/* Page requests, and scalable mode: the extended capabilities of VT-d. */
#define ECAP_PRS  (UINT64_C(1) << 29)
#define ECAP_SMTS (UINT64_C(1) << 43)

/* Those of 4096 bytes, of 8 bytes each at least: a longer list loops. */
#define MAX_CAPABILITIES ((PCI_CFG_SPACE_EXP_SIZE - PCI_CFG_SPACE_SIZE) / 8)

int vfb_iommufd_make_faults(struct iommufd *iommufd, int caller_fd)
{
	struct vfb_iommu_fault_alloc alloc = {.size = sizeof(alloc)};
	const struct vfb_sys *sys = iommufd->iommu.sys;
	int error;

	iommufd->faults = true;
	iommufd->iommu.fault_fd = caller_fd;
	if (caller_fd >= 0)
		return 0;
	error = sys->ioctl(sys, iommufd->fd, VFB_IOMMU_FAULT_QUEUE_ALLOC, &alloc);
	if (error == -ENOTTY)
		return vfb_fail(-ENOTSUP, "mapping on fault (VFB_ON_DEMAND_FAULT): this kernel "
					  "does not report faults of devices: use Linux 6.13 or "
					  "later, or VFB_ON_DEMAND_TOUCH");
	if (error)
		return vfb_fail_errno(error, "cannot create a queue for faults of devices "
					     "(IOMMU_FAULT_QUEUE_ALLOC)");
	iommufd->iommu.fault_fd = (int)alloc.out_fault_fd;
	iommufd->fault_id = alloc.out_fault_id;
	return 0;
}

void vfb_iommufd_destroy_faults(struct iommufd *iommufd)
{
	const struct vfb_sys *sys = iommufd->iommu.sys;

	if (!iommufd->fault_id)
		return;
	sys->close(sys, iommufd->iommu.fault_fd);
	/* The caller's file outlives it. */
	if (iommufd->iommu.adopted)
		vfb_iommufd_destroy_object(iommufd, iommufd->fault_id);
}

static int fail_faults(const struct vfb_iommu_device *device, const char *why)
{
	return vfb_fail(-ENOTSUP,
			"device %s cannot be used with memory that is mapped on fault "
			"(VFB_ON_DEMAND_FAULT): %s: use VFB_ON_DEMAND_TOUCH",
			device->address, why);
}

static bool is_virtual_function(const struct vfb_sys *sys, const char *address)
{
	char path[96], target[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/physfn", address);
	return sys->readlink(sys, path, target, sizeof(target)) >= 0;
}

int vfb_iommufd_expect_faults(struct iommufd *iommufd, const struct vfb_iommu_device *device)
{
	const struct vfb_sys *sys = iommufd->iommu.sys;
	uint64_t ecap = vfb_vtd_ecap(sys, device->address);

	if (!iommufd->fault_id)
		return fail_faults(device, "the queue of faults (vfb_space_opts.fault_fd) belongs "
					   "to a domain of the caller, who attaches devices to it");
	if (!ecap)
		return fail_faults(device, "only VT-d is known to report its faults, and "
					   "/sys/bus/pci/devices has no iommu/intel-iommu/ecap "
					   "for it");
	if (!(ecap & ECAP_SMTS))
		return fail_faults(device, "its IOMMU has no scalable mode (bit 43 of "
					   "intel-iommu/ecap)");
	if (!(ecap & ECAP_PRS))
		return fail_faults(device, "its IOMMU does not support page requests (bit 29 of "
					   "intel-iommu/ecap)");
	if (is_virtual_function(sys, device->address))
		return fail_faults(device, "it is a virtual function, whose page requests the "
					   "kernel does not report");
	return 0;
}

static int read_config(const struct vfb_sys *sys, int fd, uint64_t region, uint64_t at,
		       uint32_t *value)
{
	ssize_t done = sys->pread(sys, fd, value, sizeof(*value), (off_t)(region + at));

	*value = le32toh(*value);
	return done < 0 ? (int)done : done == sizeof(*value) ? 0 : -EIO;
}

/* Whether the kernel has enabled page requests of an open device. */
static int has_page_requests(const struct vfb_sys *sys, int fd, bool *enabled)
{
	struct vfio_region_info info = {.argsz = sizeof(info),
					.index = VFIO_PCI_CONFIG_REGION_INDEX};
	int error = sys->ioctl(sys, fd, VFIO_DEVICE_GET_REGION_INFO, &info);
	uint32_t at = PCI_CFG_SPACE_SIZE, header = 0, control = 0;

	*enabled = false;
	for (int i = 0; i < MAX_CAPABILITIES && at >= PCI_CFG_SPACE_SIZE && !error; i++) {
		if (at + 2 * sizeof(header) > info.size)
			return 0;
		error = read_config(sys, fd, info.offset, at, &header);
		if (!error && PCI_EXT_CAP_ID(header) == PCI_EXT_CAP_ID_PRI) {
			error = read_config(sys, fd, info.offset, at + PCI_PRI_CTRL, &control);
			*enabled = control & PCI_PRI_CTRL_ENABLE;
			return error;
		}
		at = PCI_EXT_CAP_NEXT(header);
	}
	return error;
}

int vfb_iommufd_check_faults(struct iommufd *iommufd, int fd, const struct vfb_iommu_device *device)
{
	bool enabled;
	int error = has_page_requests(iommufd->iommu.sys, fd, &enabled);

	if (error)
		return vfb_fail_errno(error,
				      "cannot read the configuration space of device %s to look "
				      "for page requests (PRI)",
				      device->address);
	return enabled ? 0 :
			 fail_faults(device, "page requests (PRI) are not enabled in its "
					     "configuration space");
}

int vfb_iommufd_no_faults(const struct vfb_iommu_device *device)
{
	return fail_faults(device, "the kernel does not attach it to a domain with a queue of "
				   "faults: it or its IOMMU cannot request pages, or Linux is "
				   "older than 6.13");
}
