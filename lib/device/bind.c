/* SPDX-License-Identifier: MIT */
/* Moving a PCI device from one driver to another, by driver_override (Linux 3.16). */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "context.h"
#include "device/in_use.h"
#include "device/pci.h"
#include "observe/error.h"
#include "sys/rights.h"

#define DRIVERS "/sys/bus/pci/drivers"

static int report_no_permission(const struct vfb_sys *sys, int error, const char *path)
{
	struct vfb_rights rights;

	vfb_rights_read(sys, &rights);
	if (error == -EROFS)
		return vfb_fail(error,
				"cannot write %s: sysfs is mounted read-only, as in containers: "
				"bind the device on the host",
				path);
	return vfb_fail(error, "no permission to write %s: run as root%s", path,
			rights.in_user_namespace ? " of the host, not of a user namespace" : "");
}

/* @driver: NULL for whichever matches. */
static int write_override(const struct vfb_sys *sys, const char *address, const char *driver)
{
	char path[PATH_MAX];
	int error;

	snprintf(path, sizeof(path), VFB_PCI_DEVICES "/%s/driver_override", address);
	error = vfb_sys_write_file(sys, path, driver ? driver : "\n");
	if (error == -EROFS || error == -EACCES || error == -EPERM)
		return report_no_permission(sys, error, path);
	if (error)
		return vfb_fail_errno(error, "cannot write %s", path);
	return 0;
}

static int unbind_driver(const struct vfb_sys *sys, const char *address, const char *driver)
{
	char path[PATH_MAX];
	int error;

	snprintf(path, sizeof(path), DRIVERS "/%s/unbind", driver);
	error = vfb_sys_write_file(sys, path, address);
	if (error)
		return vfb_fail_errno(error, "cannot unbind device %s from %s", address, driver);
	return 0;
}

/* vfio_assign_device_set() and its like need a group; the kernel's errno says nothing about it. */
static int report_bind(const struct vfb_sys *sys, int error, const char *address,
		       const char *driver)
{
	char group[32];

	if (strstr(driver, "vfio") &&
	    vfb_pci_read_link(sys, address, "iommu_group", group, sizeof(group)) == -ENOENT)
		return vfb_fail(error,
				"cannot bind device %s to %s: it has no IOMMU group, since no "
				"IOMMU is in use for it: switch it on in the firmware (VT-d, "
				"AMD-Vi, SMMU) and in the kernel (intel_iommu=on)",
				address, driver);
	return vfb_fail_errno(error, "cannot bind device %s to %s", address, driver);
}

static int bind_driver(const struct vfb_sys *sys, const char *address, const char *driver)
{
	char path[PATH_MAX];
	int error;

	snprintf(path, sizeof(path), DRIVERS "/%s/bind", driver);
	error = vfb_sys_write_file(sys, path, address);
	return error ? report_bind(sys, error, address, driver) : 0;
}

static int ignore_name(const char *name, void *arg)
{
	(void)name;
	(void)arg;
	return 0;
}

static int check_driver_name(const struct vfb_sys *sys, const char *driver)
{
	char path[PATH_MAX];

	bool is_name = driver[0] && strlen(driver) < 64 && driver[0] != '.';

	for (const char *c = driver; *c && is_name; c++)
		is_name = *c > ' ' && *c <= '~' && *c != '/';
	if (!is_name)
		return vfb_fail(-EINVAL, "\"%.64s\" is not the name of a driver", driver);
	snprintf(path, sizeof(path), DRIVERS "/%s", driver);
	if (sys->list(sys, path, ignore_name, NULL) == -ENOENT)
		return vfb_fail(-ENOTSUP,
				"the kernel has no PCI driver %s: load its module (modprobe %s)",
				driver, driver);
	return 0;
}

/* As it was, as far as that goes; the error's text stays. */
static void put_back(const struct vfb_sys *sys, const struct vfb_pci *pci)
{
	char text[VFB_ERROR_BYTES];

	vfb_error_save(text);
	write_override(sys, pci->address, pci->driver[0] ? pci->driver : NULL);
	if (pci->driver[0])
		bind_driver(sys, pci->address, pci->driver);
	write_override(sys, pci->address, NULL);
	vfb_error_restore(text);
}

/* Gives up the claim of its disks, which keeps their names from being used again. */
static int move_to_driver(const struct vfb_sys *sys, const struct vfb_pci *pci, const char *driver,
			  struct vfb_disk_claim *claim)
{
	int error = write_override(sys, pci->address, driver);

	if (!error && pci->driver[0]) {
		error = unbind_driver(sys, pci->address, pci->driver);
		if (error)
			write_override(sys, pci->address, NULL);
	}
	vfb_disk_claim_release(sys, claim);
	if (error || !driver)
		return error;
	error = bind_driver(sys, pci->address, driver);
	if (error)
		put_back(sys, pci);
	/* What is meant to be VFIO's stays so when the device is found anew. */
	else if (!strstr(driver, "vfio"))
		write_override(sys, pci->address, NULL);
	return error;
}

int vfb_pci_bind(struct vfb_ctx *ctx, const char *address, const char *driver, uint32_t flags)
{
	char full[VFB_PCI_ADDRESS_BYTES];
	struct vfb_disk_claim claim = {0};
	struct vfb_pci pci;
	int error;

	if (flags & ~VFB_PCI_BIND_FORCE)
		return vfb_fail(-EINVAL, "flags 0x%x to bind a device are unknown: 0x%x is", flags,
				VFB_PCI_BIND_FORCE);
	error = vfb_pci_parse(address, full);
	if (!error && driver)
		error = check_driver_name(ctx->sys, driver);
	if (!error)
		error = vfb_pci_identify(ctx->sys, full, &pci);
	if (error || !strcmp(pci.driver, driver ? driver : ""))
		return error;
	if (!(flags & VFB_PCI_BIND_FORCE))
		error = vfb_device_claim_unused(ctx->sys, &pci, &claim);
	return error ? error : move_to_driver(ctx->sys, &pci, driver, &claim);
}
