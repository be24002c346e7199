/* SPDX-License-Identifier: MIT */
/*
 * Devices that were opened outside the library. VFIO_DEVICE_GET_INFO shows whether a file
 * descriptor is a device; its address follows from the name in /proc/self/fd, if that is a device
 * node.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "device/device.h"
#include "observe/error.h"
#include "options.h"
#include "sys/uapi.h"

/* The address of the device whose node @fd has open; false if it is not a device node. */
static bool find_address(const struct vfb_sys *sys, int fd, char *address)
{
	char path[64], file[PATH_MAX], link[PATH_MAX], target[PATH_MAX];
	const char *last;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (sys->readlink(sys, path, file, sizeof(file)) || file[0] != '/')
		return false;
	/* The node may lie elsewhere than in /dev, its name stays. */
	last = strrchr(file, '/') + 1;
	if (snprintf(link, sizeof(link), "/sys/class/vfio-dev/%s/device", last) >= PATH_MAX ||
	    sys->readlink(sys, link, target, sizeof(target)))
		return false;
	last = strrchr(target, '/');
	return !vfb_pci_parse(last ? last + 1 : target, address);
}

/* VFIO_DEVICE_GET_INFO has said no: what is it? */
static int fail_wrong_kind(const struct vfb_sys *sys, int fd, int error)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	char address[VFB_PCI_ADDRESS_BYTES];

	if (error == -EBADF)
		return vfb_fail(error, "file descriptor %d is not open", fd);
	/* vfio_device_fops_unl_ioctl(), and what has no such request. */
	if (error != -EINVAL && error != -ENOTTY)
		return vfb_fail_errno(error, "cannot read what device file descriptor %d is", fd);
	if (sys->ioctl(sys, fd, VFIO_GET_API_VERSION, NULL) == VFIO_API_VERSION)
		return vfb_fail(-EINVAL,
				"file descriptor %d is a container or an iommufd, not a device: "
				"adopt it with vfb_space_adopt(), and the device by the file "
				"descriptor that it was opened by itself",
				fd);
	if (!sys->ioctl(sys, fd, VFIO_GROUP_GET_STATUS, &status))
		return vfb_fail(-EINVAL,
				"file descriptor %d is a group, not a device: adopt what "
				"VFIO_GROUP_GET_DEVICE_FD has returned",
				fd);
	if (find_address(sys, fd, address))
		return vfb_fail(-EINVAL,
				"file descriptor %d is device %s, but not bound: bind it to an "
				"iommufd first (VFIO_DEVICE_BIND_IOMMUFD), or let "
				"vfb_device_open() open it",
				fd, address);
	return vfb_fail(-ENOTTY,
			"file descriptor %d is no VFIO device: adopt what VFIO_GROUP_GET_DEVICE_FD "
			"has returned, or a device node that is bound to an iommufd",
			fd);
}

static int adopt_check_file(const struct vfb_sys *sys, int fd)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	int error = sys->ioctl(sys, fd, VFIO_DEVICE_GET_INFO, &info);

	if (error)
		return fail_wrong_kind(sys, fd, error);
	if (!(info.flags & VFIO_DEVICE_FLAGS_PCI))
		return vfb_fail(-ENOTSUP, "file descriptor %d is a VFIO device, but not of PCI",
				fd);
	return 0;
}

/* The full address: from the file descriptor if possible, else the one that the caller states. */
static int adopt_identify(const struct vfb_sys *sys, int fd, const char *given, struct vfb_pci *pci)
{
	char address[VFB_PCI_ADDRESS_BYTES], found[VFB_PCI_ADDRESS_BYTES];
	bool is_found = find_address(sys, fd, found);
	int error;

	if (!given && !is_found)
		return vfb_fail(-EINVAL,
				"the address of file descriptor %d cannot be found, which only a "
				"device node's can: give it (vfb_device_adopt_opts.address)",
				fd);
	error = vfb_pci_parse(given ? given : found, address);
	if (error)
		return error;
	if (is_found && strcmp(found, address))
		return vfb_fail(-EINVAL, "file descriptor %d is device %s, not %s", fd, found,
				address);
	return vfb_pci_identify(sys, address, pci);
}

static int adopt_check_opts(const struct vfb_ctx *ctx, const struct vfb_device_adopt_opts *opts)
{
	if (opts->flags & ~VFB_DEVICE_ADOPT_HAS_GROUP_FD)
		return vfb_fail(-EINVAL, "flags 0x%x to adopt a device are unknown: 0x%x is",
				opts->flags, VFB_DEVICE_ADOPT_HAS_GROUP_FD);
	if (opts->space && opts->space->ctx != ctx)
		return vfb_fail(-EINVAL, "the space is of another context than the device is for");
	return 0;
}

int vfb_device_adopt_known(struct vfb_ctx *ctx, int fd, const struct vfb_pci *pci,
			   const struct vfb_device_adopt_opts *opts, struct vfb_device **out)
{
	struct vfb_device *device = vfb_device_new(ctx, opts->space, pci);
	int error;

	if (!device)
		return -ENOMEM;
	device->fd = fd;
	device->adopted = true;
	device->group_fd = opts->flags & VFB_DEVICE_ADOPT_HAS_GROUP_FD ? opts->group_fd : -1;
	error = vfb_device_describe(device);
	if (error) {
		vfb_device_free(device);
		return error;
	}
	atomic_fetch_add(&ctx->objects, 1);
	*out = device;
	return 0;
}

int vfb_device_adopt(struct vfb_ctx *ctx, int fd, const struct vfb_device_adopt_opts *opts,
		     struct vfb_device **out)
{
	struct vfb_device_adopt_opts known = VFB_DEVICE_ADOPT_OPTS_INIT;
	struct vfb_pci pci;
	const char *address = pci.address;
	int error;

	*out = NULL;
	error = vfb_struct_read(&known, sizeof(known), opts);
	if (!error)
		error = adopt_check_opts(ctx, &known);
	if (!error)
		error = adopt_check_file(ctx->sys, fd);
	if (!error)
		error = adopt_identify(ctx->sys, fd, known.address, &pci);
	if (!error && known.space)
		error = vfb_space_join(known.space, &address, 1);
	if (error)
		return error;
	error = vfb_device_adopt_known(ctx, fd, &pci, &known, out);
	if (error && known.space)
		vfb_space_leave(known.space, address);
	return error;
}
