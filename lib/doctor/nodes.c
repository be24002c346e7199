/* SPDX-License-Identifier: MIT */
/*
 * Whether a device can be opened: the group and the device node are, as a start opens them. That
 * resets nothing: the kernel resets a device when it is bound to an iommufd, or taken from its
 * group (vfio_pci_core_enable()).
 */
#include <errno.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor/doctor.h"
#include "iommu/iommu.h"
#include "iommu/node.h"

struct nodes {
	struct vfb_diagnosis *diagnosis;
	const struct vfb_pci_info *pci;
	struct vfb_node_path group_path;
	/* Of the group; of the device, VFB_NODE_ABSENT if it has no node. */
	struct vfb_node_trial group, device;
	bool viable;
};

static int nodes_add_finding(const struct nodes *nodes, enum vfb_found found,
			     enum vfb_severity severity, const char *text, const char *remedy)
{
	return vfb_diagnosis_add(nodes->diagnosis, found,
				 (struct vfb_finding){
					 .severity = severity,
					 .text = text,
					 .remedy = remedy,
					 .device = nodes->pci->address,
					 .node = nodes->pci->node,
				 });
}

static int nodes_open(const struct nodes *nodes, const char *path, struct vfb_node_trial *trial)
{
	const struct vfb_sys *sys = nodes->diagnosis->ctx->sys;

	if (vfb_node_is_outdated(sys, path, trial))
		return -ENODEV;
	return vfb_node_open(sys, path, trial);
}

static void nodes_try_group(struct nodes *nodes)
{
	const struct vfb_sys *sys = nodes->diagnosis->ctx->sys;
	struct vfio_group_status status = {.argsz = sizeof(status)};
	int fd = nodes_open(nodes, nodes->group_path.text, &nodes->group);

	nodes->viable = true;
	if (fd < 0)
		return;
	if (!sys->ioctl(sys, fd, VFIO_GROUP_GET_STATUS, &status))
		nodes->viable = status.flags & VFIO_GROUP_FLAGS_VIABLE;
	sys->close(sys, fd);
}

static void nodes_try_device(struct nodes *nodes)
{
	const struct vfb_sys *sys = nodes->diagnosis->ctx->sys;
	int fd;

	nodes->device = (struct vfb_node_trial){.problem = VFB_NODE_ABSENT};
	if (!nodes->pci->cdev[0])
		return;
	fd = nodes_open(nodes, nodes->pci->cdev, &nodes->device);
	if (fd >= 0)
		sys->close(sys, fd);
}

/* ---- In use ---- */

#define MAX_NAMES 32

/* What a process has open of the group or of its devices, as in struct vfb_holder. */
struct names {
	const struct vfb_sys *sys;
	char all[MAX_NAMES][sizeof(((struct vfb_holder *)NULL)->what)];
	size_t count;
};

static void nodes_note_name(struct names *names, const char *folder, const char *name)
{
	if (names->count < MAX_NAMES)
		snprintf(names->all[names->count++], sizeof(names->all[0]), "%s%.24s", folder,
			 name);
}

static int nodes_note_device_node(const char *name, void *arg)
{
	nodes_note_name(arg, "vfio/devices/", name);
	return 0;
}

static int nodes_note_member(const char *name, void *arg)
{
	struct names *names = arg;
	char path[96];

	nodes_note_name(names, "", name);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%.24s/vfio-dev", name);
	names->sys->list(names->sys, path, nodes_note_device_node, names);
	return 0;
}

static void nodes_find_names(const struct nodes *nodes, struct names *names)
{
	char path[64];

	*names = (struct names){.sys = nodes->diagnosis->ctx->sys};
	nodes_note_name(names, "", nodes->group_path.text + strlen("/dev/"));
	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d/devices", nodes->pci->group);
	names->sys->list(names->sys, path, nodes_note_member, names);
}

static bool nodes_holds(const struct names *names, const struct vfb_holder *holder)
{
	for (size_t i = 0; i < names->count; i++)
		if (!strcmp(holder->what, names->all[i]))
			return true;
	return false;
}

/* The holders, "process 4242 (qemu-system-x86)", each once. Returns how many are listed. */
static unsigned int nodes_list_holders(const struct nodes *nodes, char *text, size_t bytes)
{
	const struct vfb_holders *holders = &nodes->diagnosis->holders;
	unsigned int found = 0;
	struct names names;
	int last = 0;

	nodes_find_names(nodes, &names);
	for (size_t i = 0; i < holders->count && found < 3; i++) {
		const struct vfb_holder *holder = &holders->all[i];
		size_t length = strlen(text);

		if (holder->process == last || !nodes_holds(&names, holder))
			continue;
		snprintf(text + length, bytes - length, "%s%s", found ? ", " : "", holder->text);
		last = holder->process;
		found++;
	}
	return found;
}

static int nodes_add_hidden_holder(const struct nodes *nodes)
{
	const struct vfb_sys *sys = nodes->diagnosis->ctx->sys;
	unsigned int hidden = nodes->diagnosis->holders.hidden;
	struct vfb_sys_path info;
	bool has_node;
	char text[VFB_FINDING_BYTES], remedy[VFB_FINDING_BYTES];

	if (hidden)
		snprintf(text, sizeof(text),
			 "in use by a process that cannot be seen from here: the files of %u "
			 "processes are hidden",
			 hidden);
	else
		snprintf(
			text, sizeof(text),
			"in use by a process that /proc does not show here: it is of another user, "
			"or outside of this container");
	has_node = nodes->pci->cdev[0] && !sys->path_info(sys, nodes->pci->cdev, &info);
	snprintf(remedy, sizeof(remedy), "on the host, as root: fuser -v %s%s%s",
		 nodes->group_path.text, has_node ? " " : "", has_node ? nodes->pci->cdev : "");
	return nodes_add_finding(nodes, VFB_FOUND_DEVICE_IN_USE, VFB_FINDING_FAILS, text, remedy);
}

static int nodes_add_in_use(const struct nodes *nodes, bool certain)
{
	char holders[160] = "", text[VFB_FINDING_BYTES];
	unsigned int found;
	int error = vfb_holders_search(nodes->diagnosis->ctx->sys, &nodes->diagnosis->holders);

	if (error)
		return vfb_fail_memory();
	found = nodes_list_holders(nodes, holders, sizeof(holders));
	if (!found)
		return certain ? nodes_add_hidden_holder(nodes) : 0;
	snprintf(text, sizeof(text), "in use by %s", holders);
	return nodes_add_finding(nodes, VFB_FOUND_DEVICE_IN_USE, VFB_FINDING_FAILS, text,
				 found > 1 ? "end these processes" : "end that process");
}

/* ---- Without permission, or without nodes ---- */

/* The device node is useless without /dev/iommu, and type1 wants the group. */
static int nodes_add_no_iommu(const struct nodes *nodes)
{
	char text[VFB_FINDING_BYTES], remedy[VFB_FINDING_BYTES];

	snprintf(text, sizeof(text),
		 "%s can be opened, but /dev/iommu, which goes with it, cannot, and %s, which "
		 "type1 needs, cannot either: %s",
		 nodes->pci->cdev, nodes->group_path.text, nodes->group.text);
	snprintf(remedy, sizeof(remedy), "provide /dev/iommu, or the group: %s",
		 nodes->group.remedy);
	return nodes_add_finding(nodes, VFB_FOUND_DEVICE_NO_BACKEND, VFB_FINDING_FAILS, text,
				 remedy);
}

static int nodes_add_problem(const struct nodes *nodes)
{
	static const enum vfb_found found[] = {
		[VFB_NODE_ABSENT] = VFB_FOUND_DEVICE_NO_NODE,
		[VFB_NODE_MISSING] = VFB_FOUND_DEVICE_NODE_MISSING,
		[VFB_NODE_DENIED] = VFB_FOUND_DEVICE_DENIED,
		[VFB_NODE_FAILED] = VFB_FOUND_DEVICE_NODE_FAILED,
	};
	const struct vfb_node_trial *trial = &nodes->group;

	if (nodes->device.problem == VFB_NODE_GOOD)
		return nodes_add_no_iommu(nodes);
	/* A kernel without groups. */
	if (trial->problem == VFB_NODE_ABSENT && nodes->pci->cdev[0])
		trial = &nodes->device;
	return nodes_add_finding(nodes, found[trial->problem], VFB_FINDING_FAILS, trial->text,
				 trial->remedy);
}

static int nodes_add_not_viable(const struct nodes *nodes)
{
	char text[VFB_FINDING_BYTES], remedy[96];

	snprintf(text, sizeof(text),
		 "the kernel says that IOMMU group %d is not viable: something else has claimed it",
		 nodes->pci->group);
	snprintf(remedy, sizeof(remedy), "see /sys/kernel/iommu_groups/%d/devices and dmesg",
		 nodes->pci->group);
	return nodes_add_finding(nodes, VFB_FOUND_DEVICE_NOT_VIABLE, VFB_FINDING_FAILS, text,
				 remedy);
}

bool vfb_is_noiommu(const struct vfb_diagnosis *diagnosis, int group)
{
	char path[64], name[32];

	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d/name", group);
	vfb_doctor_read(diagnosis, path, name, sizeof(name));
	return !strcmp(name, "vfio-noiommu");
}

static int nodes_add_noiommu(const struct nodes *nodes)
{
	char text[VFB_FINDING_BYTES];

	snprintf(text, sizeof(text),
		 "VFIO has it without an IOMMU (/dev/vfio/noiommu-%d), an unsafe mode that is not "
		 "supported: the device could access all memory of the host",
		 nodes->pci->group);
	return nodes_add_finding(nodes, VFB_FOUND_DEVICE_NOIOMMU, VFB_FINDING_FAILS, text,
				 VFB_ENABLE_IOMMU);
}

/* ---- What a start does next ---- */

/*
 * Attaches the group to a container of its own and creates the IOMMU domain, which the kernel may
 * refuse. Only for devices that were requested: it takes milliseconds.
 */
static int nodes_try_attach(const struct nodes *nodes)
{
	const struct vfb_iommu_device device = {nodes->pci->address, nodes->pci->group, ""};
	const struct vfb_iommu_source source = {.fd = -1};
	char text[VFB_ERROR_BYTES] = "";
	struct vfb_iommu *iommu;
	const struct vfb_iommu_ops *ops = nodes->diagnosis->has_spapr ? &vfb_iommu_spapr :
									&vfb_iommu_type1;
	int error = ops->create(nodes->diagnosis->ctx->sys, &source, &iommu);

	if (error)
		return error == -ENOMEM ? error : 0;
	error = ops->attach(iommu, &device);
	if (error)
		vfb_error_save(text);
	else
		ops->detach(iommu, &device);
	ops->destroy(iommu);
	if (!error || error == -EBUSY)
		return 0;
	return nodes_add_finding(nodes, VFB_FOUND_DEVICE_ATTACH_FAILED, VFB_FINDING_FAILS, text,
				 "");
}

static int nodes_check_opened(const struct nodes *nodes, bool shared)
{
	const struct vfb_diagnosis *diagnosis = nodes->diagnosis;

	if (!nodes->viable)
		return shared ? 0 : nodes_add_not_viable(nodes);
	/* Only the group shows that a device is in use. */
	if (nodes->group.problem != VFB_NODE_GOOD)
		return nodes_add_in_use(nodes, false);
	return diagnosis->has_devices && (diagnosis->has_type1 || diagnosis->has_spapr) ?
		       nodes_try_attach(nodes) :
		       0;
}

int vfb_check_nodes(struct vfb_diagnosis *diagnosis, const struct vfb_pci_info *pci, bool shared)
{
	struct nodes nodes = {.diagnosis = diagnosis, .pci = pci};
	bool by_group, by_device;

	if (vfb_is_noiommu(diagnosis, pci->group))
		return nodes_add_noiommu(&nodes);
	/* Then the host's findings say why. */
	if (!diagnosis->has_type1 && !diagnosis->has_iommufd && !diagnosis->has_spapr)
		return 0;
	nodes.group_path = vfb_node_of_group(pci->group);
	nodes_try_group(&nodes);
	if (nodes.group.problem == VFB_NODE_IN_USE)
		return nodes_add_in_use(&nodes, true);
	nodes_try_device(&nodes);
	by_group = nodes.group.problem == VFB_NODE_GOOD;
	by_device = nodes.device.problem == VFB_NODE_GOOD && diagnosis->has_iommufd;
	return by_group || by_device ? nodes_check_opened(&nodes, shared) :
				       nodes_add_problem(&nodes);
}
