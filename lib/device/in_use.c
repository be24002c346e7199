/* SPDX-License-Identifier: MIT */
#include "device/in_use.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "observe/error.h"

#define BLOCK	     "/sys/class/block"
#define NET	     "/sys/class/net"
#define INTERFACE_UP 0x1

struct search {
	const struct vfb_sys *sys;
	const struct vfb_pci *pci;
	/* Where the device is in sysfs, with a slash behind it. */
	char folder[PATH_MAX];
	/* For names_controller(). */
	const char *disk;
};

/* What @path links to is a part of the device. */
static bool belongs(const struct search *search, const char *path)
{
	char real[PATH_MAX];

	return !search->sys->realpath(search->sys, path, real, sizeof(real)) &&
	       !strncmp(real, search->folder, strlen(search->folder));
}

/* All of a file of /proc, to be freed; NULL when it cannot be read. */
static char *read_all(const struct vfb_sys *sys, const char *path)
{
	size_t room = 4096, length = 0;
	char *text = malloc(room);
	int fd = sys->open(sys, path, O_RDONLY);
	ssize_t done = fd;

	while (fd >= 0 && text &&
	       (done = sys->pread(sys, fd, text + length, room - length - 1, length)) > 0) {
		length += done;
		if (room - length < 1024) {
			char *larger = realloc(text, room *= 2);

			if (!larger)
				free(text);
			text = larger;
		}
	}
	if (fd >= 0)
		sys->close(sys, fd);
	if (done < 0 || !text) {
		free(text);
		return NULL;
	}
	text[length] = '\0';
	return text;
}

/* @word is in the file, with a blank before it and one behind. -EIO when nobody can tell. */
static int file_has(const struct vfb_sys *sys, const char *path, const char *word)
{
	char *text = read_all(sys, path);
	bool found;

	if (!text)
		return vfb_fail(-EIO, "cannot read %s", path);
	found = strstr(text, word);
	free(text);
	return found;
}

static int note_any(const char *name, void *arg)
{
	(void)name;
	(void)arg;
	return 1;
}

static int check_disk(const struct search *search, const char *name)
{
	const struct vfb_sys *sys = search->sys;
	char path[PATH_MAX], number[32], word[320];
	int result;

	snprintf(path, sizeof(path), BLOCK "/%s/holders", name);
	if (sys->list(sys, path, note_any, NULL) > 0)
		return vfb_fail(-EBUSY,
				"disk %s of device %s is part of another (see %s): stop that first",
				name, search->pci->address, path);
	snprintf(path, sizeof(path), BLOCK "/%s/dev", name);
	if (vfb_sys_read_file(sys, path, number, sizeof(number)) < 0)
		return 0;
	snprintf(word, sizeof(word), " %s ", number);
	result = file_has(sys, "/proc/self/mountinfo", word);
	if (result > 0)
		return vfb_fail(-EBUSY, "disk %s of device %s is mounted: umount /dev/%s", name,
				search->pci->address, name);
	if (result < 0)
		return result;
	snprintf(word, sizeof(word), "/dev/%s ", name);
	result = file_has(sys, "/proc/swaps", word);
	/* A kernel without swapping has no such file. */
	if (result > 0)
		return vfb_fail(-EBUSY, "disk %s of device %s is swapped to: swapoff /dev/%s", name,
				search->pci->address, name);
	return 0;
}

/* A disk with several paths is no part of a controller, but knows its controllers. */
static int names_controller(const char *name, void *arg)
{
	const struct search *search = arg;
	char path[PATH_MAX];

	if (strncmp(name, "nvme", 4))
		return 0;
	snprintf(path, sizeof(path), BLOCK "/%s/device/%s", search->disk, name);
	return belongs(search, path);
}

static int visit_disk(const char *name, void *arg)
{
	struct search *search = arg;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), BLOCK "/%s", name);
	if (belongs(search, path))
		return check_disk(search, name);
	search->disk = name;
	snprintf(path, sizeof(path), BLOCK "/%s/device", name);
	if (!strncmp(name, "nvme", 4) &&
	    search->sys->list(search->sys, path, names_controller, search) > 0)
		return check_disk(search, name);
	return 0;
}

static int visit_interface(const char *name, void *arg)
{
	struct search *search = arg;
	char path[PATH_MAX], flags[32];

	snprintf(path, sizeof(path), NET "/%s", name);
	if (!belongs(search, path))
		return 0;
	snprintf(path, sizeof(path), NET "/%s/flags", name);
	if (vfb_sys_read_file(search->sys, path, flags, sizeof(flags)) < 0 ||
	    !(strtoul(flags, NULL, 16) & INTERFACE_UP))
		return 0;
	return vfb_fail(-EBUSY, "network interface %s of device %s is up: ip link set %s down",
			name, search->pci->address, name);
}

static int visit(struct search *search, const char *path, int (*each)(const char *name, void *arg))
{
	int result = search->sys->list(search->sys, path, each, search);

	/* The kernel has no such devices at all. */
	if (result == -ENOENT)
		return 0;
	if (result < 0 && result != -EBUSY)
		return vfb_fail_errno(result, "cannot find out from %s whether device %s is in use",
				      path, search->pci->address);
	return result;
}

/* A group that is open, and devices that are open by their nodes, keep others from opening it. */
static int check_group(const struct vfb_sys *sys, const struct vfb_pci *pci)
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
	if (fd >= 0)
		sys->close(sys, fd);
	return 0;
}

int vfb_device_check_unused(const struct vfb_sys *sys, const struct vfb_pci *pci)
{
	struct search search = {.sys = sys, .pci = pci};
	char path[PATH_MAX];
	int error;

	snprintf(path, sizeof(path), VFB_PCI_DEVICES "/%s", pci->address);
	error = sys->realpath(sys, path, search.folder, sizeof(search.folder) - 1);
	if (error)
		return vfb_fail_errno(error, "cannot look up PCI device %s", pci->address);
	strcat(search.folder, "/");
	error = check_group(sys, pci);
	if (!error)
		error = visit(&search, BLOCK, visit_disk);
	return error ? error : visit(&search, NET, visit_interface);
}
