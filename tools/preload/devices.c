/* SPDX-License-Identifier: MIT */
#include "devices.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "preload.h"
#include "target.h"

/* Known descriptors by number; the rest is under preload_lock. */
static atomic_bool known[DEVICES_MAX];
static struct {
	/* Linux 6.10 and later has an inode for each device that a group opens. */
	dev_t file_system;
	ino_t inode;
	struct vfb_pci pci;
} all[DEVICES_MAX];
static atomic_int kvm = -1;

struct lookup {
	int fd;
	const char *address;
	struct vfb_pci pci;
};

/* A device node has its device beside it in sysfs; one that its group has opened has not. */
static void address_of_node(int fd, char *address, size_t bytes)
{
	char path[64], link[256];
	struct stat file;
	const char *last;
	ssize_t length;

	if (fstat(fd, &file) || !S_ISCHR(file.st_mode))
		return;
	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/device", major(file.st_rdev),
		 minor(file.st_rdev));
	length = readlink(path, link, sizeof(link) - 1);
	if (length < 0)
		return;
	link[length] = '\0';
	last = strrchr(link, '/');
	last = last ? last + 1 : link;
	if (strlen(last) < bytes)
		memcpy(address, last, strlen(last) + 1);
}

static void look_up(void *arg)
{
	struct lookup *lookup = arg;
	char name[VFB_PCI_ADDRESS_BYTES] = "", address[VFB_PCI_ADDRESS_BYTES];

	/* Behind the address there may be a token: VFIO_GROUP_GET_DEVICE_FD. */
	if (lookup->address)
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(lookup->address, " "),
			 lookup->address);
	else
		address_of_node(lookup->fd, name, sizeof(name));
	if (vfb_pci_parse(name, address) || vfb_pci_discover(&vfb_sys_linux, address, &lookup->pci))
		lookup->pci = (struct vfb_pci){0};
}

/* What is known of the device behind another descriptor of the same file, if it is one device. */
static struct vfb_pci find_same(const struct stat *file)
{
	struct vfb_pci found = {0};

	for (int fd = 0; fd < DEVICES_MAX; fd++) {
		if (all[fd].inode != file->st_ino || all[fd].file_system != file->st_dev)
			continue;
		if (found.address[0] && strcmp(found.address, all[fd].pci.address))
			return (struct vfb_pci){0};
		found = all[fd].pci;
	}
	return found;
}

void devices_add(int fd, const char *address)
{
	struct lookup lookup = {.fd = fd, .address = address};
	struct stat file;

	if (fd < 0 || fd >= DEVICES_MAX || fstat(fd, &file) || atomic_exchange(&known[fd], true))
		return;
	preload_run(look_up, &lookup);
	pthread_mutex_lock(&preload_lock);
	all[fd].pci = lookup.pci.address[0] ? lookup.pci : find_same(&file);
	all[fd].file_system = file.st_dev;
	all[fd].inode = file.st_ino;
	pthread_mutex_unlock(&preload_lock);
}

void devices_remove(int fd)
{
	if (fd < 0 || fd >= DEVICES_MAX)
		return;
	pthread_mutex_lock(&preload_lock);
	memset(&all[fd], 0, sizeof(all[fd]));
	pthread_mutex_unlock(&preload_lock);
	atomic_store(&known[fd], false);
}

bool devices_has(int fd)
{
	return fd >= 0 && fd < DEVICES_MAX && atomic_load(&known[fd]);
}

uint64_t devices_number(int fd)
{
	uint64_t number;

	if (!devices_has(fd))
		return 0;
	pthread_mutex_lock(&preload_lock);
	number = target_number(all[fd].pci.address);
	pthread_mutex_unlock(&preload_lock);
	return number;
}

size_t devices_all(int fds[DEVICES_MAX], struct vfb_pci pcis[DEVICES_MAX])
{
	size_t count = 0;

	pthread_mutex_lock(&preload_lock);
	for (int fd = 0; fd < DEVICES_MAX; fd++) {
		if (!devices_has(fd))
			continue;
		fds[count] = fd;
		pcis[count++] = all[fd].pci;
	}
	pthread_mutex_unlock(&preload_lock);
	return count;
}

void devices_set_kvm(int fd)
{
	atomic_store(&kvm, fd);
}

int devices_kvm(void)
{
	return atomic_load(&kvm);
}

void devices_forget_all(void)
{
	for (int fd = 0; fd < DEVICES_MAX; fd++)
		atomic_store(&known[fd], false);
	memset(&all, 0, sizeof(all));
	atomic_store(&kvm, -1);
}
