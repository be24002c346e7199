/* SPDX-License-Identifier: MIT */
#include "iommu/cause.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "iommu/reserved.h"
#include "observe/error.h"
#include "sys/holder.h"

#define GROUPS	     "/sys/kernel/iommu_groups"
#define MAX_NODES    32
#define ADDRESS_SIZE 32

/* ---- The firmware ---- */

int vfb_firmware_check(const struct vfb_sys *sys, const char *address, int group)
{
	struct vfb_reserved region;

	if (!vfb_reserved_find_direct(sys, group, &region))
		return 0;
	/* __iommu_device_set_domain() since Linux 6.6, device_is_rmrr_locked() before. */
	return vfb_fail(-EPERM,
			"the firmware requires a 1:1 mapping of 0x%" PRIx64 "-0x%" PRIx64
			" for device %s or another of its group (\"direct\" in " GROUPS
			"/%d/reserved_regions, from an RMRR or IVMD table), so no other "
			"driver may use it: switch off in the firmware's setup what needs that "
			"memory (remote management, shared memory of the slot), update the "
			"firmware, or use another device",
			region.first, region.last, address, group);
}

/* ---- Other users ---- */

/* The nodes by which the devices of a group are opened. */
struct nodes {
	const struct vfb_sys *sys;
	char paths[MAX_NODES][64];
	size_t count;
};

static int cause_add_node(const char *name, void *arg)
{
	struct nodes *nodes = arg;

	if (nodes->count < MAX_NODES)
		snprintf(nodes->paths[nodes->count++], sizeof(nodes->paths[0]),
			 "/dev/vfio/devices/%.32s", name);
	return 0;
}

struct members {
	const struct vfb_sys *sys;
	int group;
	struct nodes *nodes;
	/* The first device with a driver of the host. */
	char address[ADDRESS_SIZE], driver[64];
};

static int add_nodes_of_member(const char *name, void *arg)
{
	struct members *members = arg;
	char path[128];

	snprintf(path, sizeof(path), GROUPS "/%d/devices/%.32s/vfio-dev", members->group, name);
	members->sys->list(members->sys, path, cause_add_node, members->nodes);
	return 0;
}

static struct vfb_holder find_group_holder(const struct vfb_sys *sys, int group)
{
	const char *paths[MAX_NODES];
	struct nodes nodes = {.sys = sys, .count = 1};
	struct members members = {.sys = sys, .group = group, .nodes = &nodes};
	char path[64];

	snprintf(nodes.paths[0], sizeof(nodes.paths[0]), "/dev/vfio/%d", group);
	snprintf(path, sizeof(path), GROUPS "/%d/devices", group);
	sys->list(sys, path, add_nodes_of_member, &members);
	for (size_t i = 0; i < nodes.count; i++)
		paths[i] = nodes.paths[i];
	return vfb_sys_find_holder(sys, paths, nodes.count);
}

int vfb_device_in_use(const struct vfb_sys *sys, const struct vfb_iommu_device *device)
{
	struct vfb_holder holder = find_group_holder(sys, device->group);

	if (holder.text[0])
		return vfb_fail(-EBUSY,
				"device %s, or another of its IOMMU group %d, is in use by %s: "
				"close it there first",
				device->address, device->group, holder.text);
	return vfb_fail(-EBUSY,
			"device %s, or another of its IOMMU group %d, is in use by another process "
			"that /proc does not show here: close it there first (to find it, as root "
			"on the host: fuser -v /dev/vfio/%d /dev/vfio/devices/%s)",
			device->address, device->group, device->group, device->node);
}

/* Unknown if the group cannot be opened for another reason. */
enum usage {
	UNUSED,
	IN_USE,
	UNKNOWN,
};

/* Opening a group resets nothing, and fails while one of its devices is open. */
static enum usage look_at_group(const struct vfb_sys *sys, int group)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/dev/vfio/%d", group);
	fd = sys->open(sys, path, O_RDWR);
	if (fd >= 0)
		sys->close(sys, fd);
	return fd >= 0 ? UNUSED : fd == -EBUSY ? IN_USE : UNKNOWN;
}

/* ---- Drivers ---- */

/* Those that leave DMA to others: driver_managed_dma in the kernel. */
static bool driver_shares(const char *driver)
{
	return strstr(driver, "vfio") || !strcmp(driver, "pci-stub") || !strcmp(driver, "pcieport");
}

static int visit_member(const char *name, void *arg)
{
	struct members *members = arg;
	char path[128], target[256], *driver;

	snprintf(path, sizeof(path), GROUPS "/%d/devices/%.32s/driver", members->group, name);
	if (members->sys->readlink(members->sys, path, target, sizeof(target)))
		return 0;
	driver = strrchr(target, '/');
	driver = driver ? driver + 1 : target;
	if (driver_shares(driver))
		return 0;
	snprintf(members->address, sizeof(members->address), "%.31s", name);
	snprintf(members->driver, sizeof(members->driver), "%.63s", driver);
	return 1;
}

static bool find_host_driver(const struct vfb_sys *sys, int group, struct members *members)
{
	char path[64];

	*members = (struct members){.sys = sys, .group = group};
	snprintf(path, sizeof(path), GROUPS "/%d/devices", group);
	return sys->list(sys, path, visit_member, members) > 0;
}

static int report_host_driver(const struct vfb_iommu_device *device, const struct members *members)
{
	return vfb_fail(-EPERM,
			"the IOMMU group %d of device %s is not viable: device %s in it is bound "
			"to %s, a driver of the host: run vfioboost bind %s, or unbind it",
			device->group, device->address, members->address, members->driver,
			members->address);
}

int vfb_group_not_viable(const struct vfb_sys *sys, const struct vfb_iommu_device *device)
{
	struct members members;
	struct vfb_holder holder;

	if (find_host_driver(sys, device->group, &members))
		return report_host_driver(device, &members);
	holder = find_group_holder(sys, device->group);
	return vfb_fail(-EPERM,
			"the IOMMU group %d of device %s is not viable, though no device of it is "
			"bound to a driver of the host: %s%s has one of them open in another "
			"space: all devices of a group must be open in one space (see " GROUPS
			"/%d/devices)",
			device->group, device->address, holder.text[0] ? "" : "probably ",
			holder.text[0] ? holder.text : "another process", device->group);
}

/* ---- Interrupts ---- */

static bool line_has_no_remapping(const char *line, void *arg)
{
	bool *found = arg;

	*found = strstr(line, "IR-");
	return !*found;
}

/* x86: the names of the interrupt controllers begin with IR- then. Elsewhere nothing shows. */
static bool interrupts_are_remapped(const struct vfb_sys *sys)
{
	bool found = false;

	vfb_sys_each_line(sys, "/proc/interrupts", line_has_no_remapping, &found);
	return found;
}

static int report_permission(const struct vfb_sys *sys, const struct vfb_iommu_device *device,
			     const struct vfb_attempt *attempt)
{
	bool remapped = interrupts_are_remapped(sys);
	struct members members;

	if (find_host_driver(sys, device->group, &members))
		return report_host_driver(device, &members);
	if (remapped && !attempt->is_open)
		return vfb_group_not_viable(sys, device);
	return vfb_fail(
		-EPERM,
		"the IOMMU of device %s does not isolate its interrupts%s: enable interrupt "
		"remapping (in the firmware, and without intremap=off), or set "
		"%s.allow_unsafe_interrupts=1",
		device->address,
		remapped ? ", though /proc/interrupts shows some that are remapped" : "",
		attempt->module);
}

/* ---- All together ---- */

/* EINVAL for which sysfs shows no reason. */
static int report_invalid(const struct vfb_sys *sys, int error,
			  const struct vfb_iommu_device *device, const struct vfb_attempt *attempt)
{
	enum usage usage = attempt->is_open ? UNUSED : look_at_group(sys, device->group);

	if (usage == IN_USE)
		return vfb_device_in_use(sys, device);
	return vfb_fail(error,
			"the kernel refuses device %s (%s: Invalid argument), though the firmware "
			"requires no mapping for it%s: possible causes are an IOMMU without a "
			"domain for it, or without cache coherency for its DMA%s; the kernel log "
			"may say more (dmesg)",
			device->address, attempt->call,
			usage == UNUSED ? " and nobody else uses it" : "",
			usage == UNUSED ? "" : ", or that another process uses it");
}

int vfb_attach_failed(const struct vfb_sys *sys, int error, const struct vfb_iommu_device *device,
		      const struct vfb_attempt *attempt)
{
	if ((error == -EINVAL || error == -EPERM) &&
	    vfb_firmware_check(sys, device->address, device->group))
		return -EPERM;
	switch (error) {
	case -EPERM:
		return report_permission(sys, device, attempt);
	case -EBUSY:
		if (!attempt->is_open)
			return vfb_device_in_use(sys, device);
		break;
	case -EINVAL:
		return report_invalid(sys, error, device, attempt);
	case -ENODEV:
		return vfb_fail(error,
				"there is no IOMMU domain for device %s (%s): its IOMMU, or the "
				"IOMMU's driver, has none for VFIO; the kernel log may say more "
				"(dmesg)",
				device->address, attempt->call);
	}
	return vfb_fail_errno(error, "cannot attach device %s of IOMMU group %d (%s)",
			      device->address, device->group, attempt->call);
}
