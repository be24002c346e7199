/* SPDX-License-Identifier: MIT */
#include "device/in_use.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/nodes.h"
#include "observe/error.h"
#include "sys/holder.h"

#define BLOCK	     "/sys/class/block"
#define NET	     "/sys/class/net"
#define INTERFACE_UP 0x1
/* Ten times. */
#define HOLDER_RETRY_NS UINT64_C(100000000)

struct search {
	const struct vfb_sys *sys;
	const struct vfb_pci *pci;
	/* Where the device is in sysfs, with a slash behind it. */
	char folder[PATH_MAX];
	/* For in_use_names_controller(). */
	const char *disk;
	/* What ended the search, with a text. */
	int error;
	/* Set when the disks are to be claimed. */
	struct vfb_disk_claim *claim;
	/* Its character and block devices. */
	struct vfb_nodes nodes;
};

/* The first name in a directory that begins with @prefix. */
struct entry {
	const char *prefix;
	char name[NAME_MAX + 1];
};

static int in_use_note_entry(const char *name, void *arg)
{
	struct entry *entry = arg;

	if (strncmp(name, entry->prefix, strlen(entry->prefix)))
		return 0;
	snprintf(entry->name, sizeof(entry->name), "%s", name);
	return 1;
}

/* What is not there does not use the device; what cannot be looked at may. */
static int in_use_look_failed(const struct search *search, const char *path, int error)
{
	if (vfb_sys_is_absent(error))
		return 0;
	return vfb_fail_errno(error, "cannot find out from %s whether device %s is in use", path,
			      search->pci->address);
}

/* 1: what @path links to is a part of the device. */
static int in_use_belongs(const struct search *search, const char *path)
{
	char real[PATH_MAX];
	int error = search->sys->realpath(search->sys, path, real, sizeof(real));

	if (error)
		return in_use_look_failed(search, path, error);
	return !strncmp(real, search->folder, strlen(search->folder));
}

/* 1: there is such an entry. */
static int in_use_find_entry(const struct search *search, const char *path, struct entry *entry)
{
	int result = search->sys->list(search->sys, path, in_use_note_entry, entry);

	return result < 0 ? in_use_look_failed(search, path, result) : result;
}

/* 1: @path has been read. */
static int in_use_read(const struct search *search, const char *path, char *text, size_t bytes)
{
	ssize_t result = vfb_sys_read_file(search->sys, path, text, bytes);

	return result < 0 ? in_use_look_failed(search, path, result) : 1;
}

static int search_directory(struct search *search, const char *path,
			    int (*each)(const char *name, void *arg))
{
	int result = search->sys->list(search->sys, path, each, search);

	return search->error || !result ? search->error : in_use_look_failed(search, path, result);
}

/* ---- Disks ---- */

static bool is_partition(const struct vfb_sys *sys, const char *disk)
{
	char path[PATH_MAX], number[32];

	snprintf(path, sizeof(path), BLOCK "/%s/partition", disk);
	return vfb_sys_read_file(sys, path, number, sizeof(number)) >= 0;
}

static int check_holders(const struct search *search, const char *disk)
{
	struct entry holder = {.prefix = ""};
	char path[PATH_MAX];
	int found;

	snprintf(path, sizeof(path), BLOCK "/%s/holders", disk);
	found = in_use_find_entry(search, path, &holder);
	if (found <= 0)
		return found;
	return vfb_fail(-EBUSY,
			"disk %s of device %s is part of %s (LVM, md, bcache or the like): stop "
			"that first",
			disk, search->pci->address, holder.name);
}

/*
 * A file descriptor; -ENXIO: it cannot be in use. The kernel allows one exclusive user at a time,
 * of a disk or of its partitions: a file system, swap and the like are such users
 * (bd_prepare_to_claim()), whatever the mount namespace.
 */
static int open_exclusively(const struct search *search, const char *disk)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "/dev/%s", disk);
	/* As in "cciss!c0d0". */
	for (char *c = path; *c; c++)
		if (*c == '!')
			*c = '/';
	fd = search->sys->open(search->sys, path, O_RDONLY | O_EXCL | O_NONBLOCK);
	if (fd == -EBUSY)
		return vfb_fail(fd,
				"disk %s of device %s is in use: mounted, perhaps in another mount "
				"namespace (grep %s /proc/*/mountinfo), swapped to, or part of "
				"another: umount, swapoff or stop that first",
				disk, search->pci->address, path);
	if (fd == -ENOMEDIUM || fd == -ENXIO)
		return -ENXIO;
	if (fd < 0)
		return vfb_fail_errno(fd,
				      "cannot open %s, to find out whether device %s is in use: "
				      "run as root, where /dev has the host's disks",
				      path, search->pci->address);
	return fd;
}

static int keep_claim(const struct search *search, int fd)
{
	struct vfb_disk_claim *claim = search->claim;
	int *fds = realloc(claim->fds, (claim->count + 1) * sizeof(*fds));

	if (!fds) {
		search->sys->close(search->sys, fd);
		return vfb_fail_memory();
	}
	claim->fds = fds;
	fds[claim->count++] = fd;
	return 0;
}

static int check_disk(const struct search *search, const char *disk)
{
	char path[PATH_MAX], number[32];
	int found, fd;

	/* A path of a disk that has several is no disk of its own. */
	snprintf(path, sizeof(path), BLOCK "/%s/dev", disk);
	found = in_use_read(search, path, number, sizeof(number));
	if (found <= 0)
		return found;
	/* To claim a disk keeps its partitions from being claimed. */
	if (search->claim && is_partition(search->sys, disk))
		return 0;
	fd = check_holders(search, disk);
	if (!fd)
		fd = open_exclusively(search, disk);
	if (fd < 0)
		return fd == -ENXIO ? 0 : fd;
	if (search->claim)
		return keep_claim(search, fd);
	search->sys->close(search->sys, fd);
	return 0;
}

/* A disk with several paths is no part of a controller, but knows its controllers. */
static int in_use_names_controller(const char *name, void *arg)
{
	const struct search *search = arg;
	char path[PATH_MAX];

	if (strncmp(name, "nvme", 4))
		return 0;
	snprintf(path, sizeof(path), BLOCK "/%s/device/%s", search->disk, name);
	return in_use_belongs(search, path);
}

/* 1: it is. */
static int is_disk_of_device(struct search *search, const char *name)
{
	char path[PATH_MAX];
	int result;

	snprintf(path, sizeof(path), BLOCK "/%s", name);
	result = in_use_belongs(search, path);
	if (result || strncmp(name, "nvme", 4))
		return result;
	search->disk = name;
	snprintf(path, sizeof(path), BLOCK "/%s/device", name);
	result = search->sys->list(search->sys, path, in_use_names_controller, search);
	return result < 0 ? in_use_look_failed(search, path, result) : result;
}

static int visit_disk(const char *name, void *arg)
{
	struct search *search = arg;
	char path[PATH_MAX];
	int found = is_disk_of_device(search, name);

	if (found <= 0)
		return search->error = found;
	search->error = check_disk(search, name);
	snprintf(path, sizeof(path), BLOCK "/%s", name);
	if (!search->error && !search->claim)
		search->error = vfb_nodes_add(search->sys, path, true, &search->nodes);
	return search->error;
}

/* ---- Files of devices ---- */

/*
 * A process that has /dev/nvme0, /dev/sg0, /dev/dri/card0 or, without claiming it, a disk open.
 * udev looks at what is new for a moment.
 */
static int check_nodes_unused(const struct search *search)
{
	const struct vfb_sys *sys = search->sys;
	struct vfb_holder holder;
	int error;

	for (int tries = 0; tries < 10; tries++) {
		if (tries)
			sys->sleep(sys, HOLDER_RETRY_NS);
		error = vfb_sys_find_node_holder(sys, search->nodes.all, search->nodes.count,
						 &holder);
		if (error)
			return in_use_look_failed(search, "/proc", error);
		if (!holder.text[0])
			return 0;
	}
	return vfb_fail(-EBUSY, "device %s is in use: %s has %s open: end it first",
			search->pci->address, holder.text, holder.what);
}

/* ---- Network interfaces ---- */

static int check_interface(const struct search *search, const char *name)
{
	struct entry upper = {.prefix = "upper_"};
	char path[PATH_MAX], flags[32];
	int found;

	snprintf(path, sizeof(path), NET "/%s", name);
	found = in_use_belongs(search, path);
	if (found <= 0)
		return found;
	/* A bridge, a bond, a VLAN: netdev_adjacent_sysfs_add(). */
	found = in_use_find_entry(search, path, &upper);
	if (found < 0)
		return found;
	if (found)
		return vfb_fail(-EBUSY,
				"network interface %s of device %s is part of %s: ip link set %s "
				"nomaster, or delete that",
				name, search->pci->address, upper.name + strlen(upper.prefix),
				name);
	snprintf(path, sizeof(path), NET "/%s/flags", name);
	found = in_use_read(search, path, flags, sizeof(flags));
	if (found <= 0 || !(strtoul(flags, NULL, 16) & INTERFACE_UP))
		return found < 0 ? found : 0;
	return vfb_fail(-EBUSY, "network interface %s of device %s is up: ip link set %s down",
			name, search->pci->address, name);
}

static int visit_interface(const char *name, void *arg)
{
	struct search *search = arg;

	search->error = check_interface(search, name);
	return search->error;
}

/* A directory for interfaces is there while there are any; those of other namespaces don't show. */
static int check_net_directory(const struct search *search, const char *path)
{
	struct entry any = {.prefix = ""};
	int result = search->sys->list(search->sys, path, in_use_note_entry, &any);

	if (result)
		return result > 0 ? 0 : in_use_look_failed(search, path, result);
	return vfb_fail(-EBUSY,
			"device %s has a network interface in another network namespace (%s shows "
			"none): end what uses it there first",
			search->pci->address, path);
}

/* As of virtio: PCI device, virtio device, its interfaces. */
static int visit_child(const char *name, void *arg)
{
	struct search *search = arg;
	char path[2 * PATH_MAX];

	snprintf(path, sizeof(path), "%s%s/net", search->folder, name);
	search->error = check_net_directory(search, path);
	return search->error;
}

static int check_interfaces(struct search *search)
{
	char path[2 * PATH_MAX];
	int error;

	snprintf(path, sizeof(path), "%snet", search->folder);
	error = check_net_directory(search, path);
	snprintf(path, sizeof(path), VFB_PCI_DEVICES "/%s", search->pci->address);
	return error ? error : search_directory(search, path, visit_child);
}

/* ---- Others ---- */

/* Its driver may remove them when it is unbound, although they are in use. */
static int check_virtual_functions(const struct search *search)
{
	const struct vfb_pci *pci = search->pci;
	char path[PATH_MAX], number[16];
	int found;

	snprintf(path, sizeof(path), VFB_PCI_DEVICES "/%s/sriov_numvfs", pci->address);
	found = in_use_read(search, path, number, sizeof(number));
	if (found <= 0 || !atoi(number))
		return found < 0 ? found : 0;
	return vfb_fail(
		-EBUSY,
		"device %s has %s virtual functions, which may be in use, and would go with "
		"its driver; nor does vfio-pci take a device that has some: echo 0 > %s",
		pci->address, number, path);
}

/* A group that is open, and devices that are open by their nodes, keep others from opening it. */
static int check_group_unused(const struct vfb_sys *sys, const struct vfb_pci *pci)
{
	char path[64];
	int fd;

	if (!pci->node[0] || pci->group < 0)
		return 0;
	snprintf(path, sizeof(path), "/dev/vfio/%d", pci->group);
	fd = sys->open(sys, path, O_RDWR);
	if (fd == -EBUSY)
		return vfb_fail(-EBUSY,
				"device %s, or another of its group, is in use by a process: end "
				"that first (fuser -v %s /dev/vfio/devices/%s)",
				pci->address, path, pci->node);
	/* -ENOENT: the kernel has no groups. Its node is looked at later. */
	if (fd < 0 && fd != -ENOENT && fd != -ENXIO && fd != -ENODEV)
		return vfb_fail_errno(fd, "cannot open %s, to find out whether device %s is in use",
				      path, pci->address);
	if (fd >= 0)
		sys->close(sys, fd);
	return 0;
}

void vfb_disk_claim_release(const struct vfb_sys *sys, struct vfb_disk_claim *claim)
{
	for (size_t i = 0; i < claim->count; i++)
		sys->close(sys, claim->fds[i]);
	free(claim->fds);
	*claim = (struct vfb_disk_claim){0};
}

int vfb_device_claim_unused(const struct vfb_sys *sys, const struct vfb_pci *pci,
			    struct vfb_disk_claim *claim)
{
	struct search search = {.sys = sys, .pci = pci};
	char path[PATH_MAX];
	int error;

	snprintf(path, sizeof(path), VFB_PCI_DEVICES "/%s", pci->address);
	error = sys->realpath(sys, path, search.folder, sizeof(search.folder) - 1);
	if (error)
		return vfb_fail_errno(error, "cannot look up PCI device %s", pci->address);
	error = vfb_nodes_find(sys, search.folder, &search.nodes);
	strcat(search.folder, "/");
	if (!error)
		error = check_group_unused(sys, pci);
	if (!error)
		error = check_virtual_functions(&search);
	if (!error)
		error = search_directory(&search, NET, visit_interface);
	if (!error)
		error = check_interfaces(&search);
	/* First all of them, to name the part that is in use; then whole disks. */
	if (!error)
		error = search_directory(&search, BLOCK, visit_disk);
	if (!error && search.nodes.count)
		error = check_nodes_unused(&search);
	search.claim = claim;
	if (!error)
		error = search_directory(&search, BLOCK, visit_disk);
	if (error)
		vfb_disk_claim_release(sys, claim);
	vfb_nodes_free(&search.nodes);
	return error;
}
