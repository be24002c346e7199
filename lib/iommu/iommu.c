/* SPDX-License-Identifier: MIT */
#include "iommu/iommu.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#include "iommu/cause.h"
#include "observe/error.h"
#include "sys/rights.h"

#ifdef VFB_HAVE_IOMMUFD
static int choose_iommufd(const struct vfb_iommu_ops **out)
{
	*out = &vfb_iommu_iommufd;
	return 0;
}

bool vfb_iommu_has_iommufd(const struct vfb_sys *sys)
{
	int fd = sys->open(sys, "/dev/iommu", O_RDWR);

	if (fd >= 0)
		sys->close(sys, fd);
	return fd >= 0;
}
#else
static int choose_iommufd(const struct vfb_iommu_ops **out)
{
	(void)out;
	return vfb_fail(-ENOTSUP,
			"the library was built without iommufd (-Diommufd=disabled): use type1");
}

bool vfb_iommu_has_iommufd(const struct vfb_sys *sys)
{
	(void)sys;
	return false;
}

bool vfb_iommu_is_iommufd(const struct vfb_sys *sys, int fd)
{
	(void)sys;
	(void)fd;
	return false;
}
#endif

int vfb_iommu_choose(enum vfb_backend backend, const struct vfb_iommu_ops **out)
{
	switch (backend) {
	case VFB_BACKEND_TYPE1:
		*out = &vfb_iommu_type1;
		return 0;
	case VFB_BACKEND_IOMMUFD:
		return choose_iommufd(out);
	case VFB_BACKEND_NONE:
		*out = &vfb_iommu_none;
		return 0;
	case VFB_BACKEND_AUTO:
		break;
	}
	return vfb_fail(-EINVAL, "unknown backend %d", (int)backend);
}

/* EPERM: devcgroup_check_permission(). EACCES: the mode, or a mount with nodev. */
static int report_no_access(const struct vfb_sys *sys, int error, const char *path)
{
	struct vfb_field uid = {.name = "Uid", .base = 10};

	if (error == -EPERM)
		return vfb_fail(-EACCES,
				"no permission to open %s, though its mode does not matter: the "
				"device cgroup of this process, or a security module, forbids it: "
				"allow the device there (--device %s, DeviceAllow=)",
				path, path);
	if (vfb_sys_has_capability(sys, VFB_CAP_DAC_OVERRIDE))
		return vfb_fail(-EACCES,
				"no permission to open %s, though this process has "
				"CAP_DAC_OVERRIDE: its owner is unknown in this user namespace, it "
				"is on a mount with nodev, or a security module forbids it (ls -l, "
				"/proc/self/uid_map, findmnt, audit log)",
				path);
	vfb_sys_read_fields(sys, "/proc/self/status", &uid, 1);
	return vfb_fail(-EACCES,
			"user %" PRIu64 " has no permission to open %s: run as root, or grant the "
			"user access (chown, or a udev rule)",
			uid.value, path);
}

int vfb_iommu_open_node(const struct vfb_sys *sys, const char *path)
{
	int fd = sys->open(sys, path, O_RDWR);

	switch (fd) {
	case -EACCES:
	case -EPERM:
		return report_no_access(sys, fd, path);
	case -ENOENT:
	case -ENODEV:
	case -ENXIO:
		return vfb_fail(-ENOTSUP,
				"there is no %s: load the kernel module that creates it "
				"(vfio_iommu_type1, vfio-pci, iommufd), or use a kernel that has "
				"it",
				path);
	case -EBUSY:
		return vfb_fail(-EBUSY,
				"%s is in use by another process or another space: close it there "
				"first (fuser -v %s)",
				path, path);
	}
	if (fd < 0)
		return vfb_fail_errno(fd, "cannot open %s", path);
	return fd;
}

int vfb_iommu_open_failed(int error, const struct vfb_iommu_device *device, const char *call)
{
	/* vfio_pci_validate_vf_token() */
	if (error == -EACCES)
		return vfb_fail(error,
				"device %s is a virtual function whose physical function is bound "
				"to vfio-pci, which requires a token to open it: bind the physical "
				"function (/sys/bus/pci/devices/%s/physfn) to its own driver",
				device->address, device->address);
	return vfb_fail_errno(error, "cannot open device %s (%s)", device->address, call);
}
