/* SPDX-License-Identifier: MIT */
#include "iommu/iommu.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "iommu/cause.h"
#include "iommu/node.h"
#include "observe/error.h"

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
	case VFB_BACKEND_SPAPR:
		*out = &vfb_iommu_spapr;
		return 0;
	case VFB_BACKEND_AUTO:
		break;
	}
	return vfb_fail(-EINVAL, "unknown backend %d", (int)backend);
}

int vfb_iommu_add_file(const struct vfb_iommu *iommu, const char *device, int fd,
		       struct vfb_iommu_opened *opened)
{
	const struct vfb_iommu_hooks *hooks = &iommu->hooks;
	int error = hooks->add_file ? hooks->add_file(hooks->data, device, fd) : 0;

	opened->refused = error < 0;
	return error < 0 ? vfb_fail_errno(error,
					  "the program refused device %s before it was bound "
					  "(vfb_space_opts.add_file)",
					  device) :
			   0;
}

void vfb_iommu_remove_file(const struct vfb_iommu *iommu, const char *device, int fd)
{
	const struct vfb_iommu_hooks *hooks = &iommu->hooks;
	char text[VFB_ERROR_BYTES];

	if (!hooks->remove_file)
		return;
	/* Of why the device could not be opened. */
	vfb_error_save(text);
	hooks->remove_file(hooks->data, device, fd);
	vfb_error_restore(text);
}

int vfb_iommu_open_node(const struct vfb_sys *sys, const char *path)
{
	struct vfb_node_trial trial;
	int fd = vfb_node_open(sys, path, &trial);

	if (fd >= 0)
		return fd;
	vfb_fail(fd, "%s%s%s", trial.text, *trial.remedy ? ": " : "", trial.remedy);
	switch (trial.problem) {
	case VFB_NODE_DENIED:
		return -EACCES;
	case VFB_NODE_ABSENT:
	case VFB_NODE_MISSING:
		return -ENOTSUP;
	default:
		return fd;
	}
}

int vfb_iommu_open_failed(const struct vfb_sys *sys, int error,
			  const struct vfb_iommu_device *device, const char *call)
{
	char path[64], target[256];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/physfn", device->address);
	/* vfio_pci_validate_vf_token() */
	if (error == -EACCES && !sys->readlink(sys, path, target, sizeof(target)))
		return vfb_fail(error,
				"device %s is a virtual function whose physical function is bound "
				"to vfio-pci, which requires a token to open it: bind the physical "
				"function (%s) to its own driver",
				device->address, path);
	if (error == -EACCES)
		return vfb_fail(error,
				"device %s requires a token to open it, which its virtual "
				"functions in use have set: close them first, or bind it to its "
				"own driver",
				device->address);
	return vfb_fail_errno(error, "cannot open device %s (%s)", device->address, call);
}

struct vfb_fd_name vfb_iommu_fd_name(const struct vfb_sys *sys, int fd)
{
	struct vfb_fd_name name;
	char path[48], target[256];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (sys->readlink(sys, path, target, sizeof(target)))
		snprintf(name.text, sizeof(name.text), "not open");
	else
		snprintf(name.text, sizeof(name.text), "%.95s", target);
	return name;
}
