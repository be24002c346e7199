/* SPDX-License-Identifier: MIT */
#include "iommu/container.h"

#include <errno.h>
#include <inttypes.h>

#include "iommu/iommu.h"
#include "observe/error.h"
#include "sys/uapi.h"

/* Fails with -ENODEV if there is none yet. Other files than an iommufd do not know the request. */
static int get_ioas(const struct vfb_sys *sys, int fd, uint32_t *ioas)
{
	struct vfb_iommu_vfio_ioas get = {.size = sizeof(get), .op = VFB_IOMMU_VFIO_IOAS_GET};
	int error = sys->ioctl(sys, fd, VFB_IOMMU_VFIO_IOAS, &get);

	*ioas = get.ioas_id;
	return error;
}

bool vfb_iommu_is_iommufd(const struct vfb_sys *sys, int fd)
{
	uint32_t ioas;
	int error = get_ioas(sys, fd, &ioas);

	return !error || error == -ENODEV;
}

static int set_ioas(const struct vfb_sys *sys, int fd, uint32_t ioas)
{
	struct vfb_iommu_vfio_ioas set = {
		.size = sizeof(set),
		.ioas_id = ioas,
		.op = VFB_IOMMU_VFIO_IOAS_SET,
	};
	int error = sys->ioctl(sys, fd, VFB_IOMMU_VFIO_IOAS, &set);

	if (error)
		return vfb_fail_errno(error,
				      "cannot make groups use I/O address space %" PRIu32
				      " (IOMMU_VFIO_IOAS)",
				      ioas);
	return 0;
}

int vfb_container_ioas(const struct vfb_sys *sys, int fd, uint32_t *ioas)
{
	struct vfb_iommu_ioas_alloc alloc = {.size = sizeof(alloc)};
	int error = get_ioas(sys, fd, ioas);

	if (!error)
		return 0;
	if (error == -ENODEV)
		error = sys->ioctl(sys, fd, VFB_IOMMU_IOAS_ALLOC, &alloc);
	if (error)
		return vfb_fail_errno(error,
				      "file descriptor %d, which is %s, cannot be adopted as an "
				      "iommufd",
				      fd, vfb_iommu_fd_name(sys, fd).text);
	*ioas = alloc.out_ioas_id;
	error = set_ioas(sys, fd, *ioas);
	if (error) {
		struct vfb_iommu_destroy destroy = {.size = sizeof(destroy), .id = *ioas};

		sys->ioctl(sys, fd, VFB_IOMMU_DESTROY, &destroy);
	}
	return error;
}

int vfb_container_set_ioas(const struct vfb_sys *sys, int fd, uint32_t ioas)
{
	uint32_t other;
	int error = get_ioas(sys, fd, &other);

	if (error == -ENODEV)
		return set_ioas(sys, fd, ioas);
	if (error)
		return vfb_fail_errno(error, "cannot read which I/O address space groups use "
					     "(IOMMU_VFIO_IOAS)");
	if (other != ioas)
		return vfb_fail(-EBUSY,
				"groups use I/O address space %" PRIu32
				" of the iommufd, and cannot use another: adopt that one instead "
				"of %" PRIu32,
				other, ioas);
	return 0;
}
