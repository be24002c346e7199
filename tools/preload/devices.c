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

/* Beside the number of a record, which may be 0 and has TARGET_NODE. */
#define DEVICE_IS_KNOWN (UINT64_C(1) << 62)

/* By file descriptor; 0: not known. */
static atomic_uint_fast64_t device_numbers[DEVICES_MAX];
/* The rest, under preload_lock. */
static struct device {
	/* Linux 6.10 and later has an inode for each device that a group opens. */
	dev_t file_system;
	ino_t inode;
	uint64_t number;
	struct vfb_pci pci;
} device_table[DEVICES_MAX];
static atomic_int device_kvm = -1;

struct device_lookup {
	int fd;
	const char *address;
	struct vfb_pci pci;
};

static bool device_in_range(int fd)
{
	return fd >= 0 && fd < DEVICES_MAX;
}

/* A device node has its device beside it in sysfs; one that its group has opened has not. */
static void device_read_address(int fd, char *address, size_t bytes)
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

/* Behind the address there may be a token: VFIO_GROUP_GET_DEVICE_FD. */
static void device_copy_address(const char *address, char name[VFB_PCI_ADDRESS_BYTES])
{
	snprintf(name, VFB_PCI_ADDRESS_BYTES, "%.*s", (int)strcspn(address, " "), address);
}

static void device_look_up(void *arg)
{
	char name[VFB_PCI_ADDRESS_BYTES] = "", address[VFB_PCI_ADDRESS_BYTES];
	struct device_lookup *lookup = arg;

	if (lookup->address)
		device_copy_address(lookup->address, name);
	else
		device_read_address(lookup->fd, name, sizeof(name));
	if (vfb_pci_parse(name, address) || vfb_pci_discover(&vfb_sys_linux, address, &lookup->pci))
		lookup->pci = (struct vfb_pci){0};
}

/* What is known of another file descriptor of the same file, if it is one device. */
static void device_copy_same(struct device *device)
{
	const struct device *found = NULL;

	for (int fd = 0; fd < DEVICES_MAX; fd++) {
		const struct device *other = &device_table[fd];

		if (other->inode != device->inode || other->file_system != device->file_system ||
		    !other->number)
			continue;
		if (found && found->number != other->number)
			return;
		found = other;
	}
	if (found)
		*device = *found;
}

static void device_set_number(struct device *device, const struct stat *file, const char *address)
{
	char name[VFB_PCI_ADDRESS_BYTES];

	if (address) {
		device_copy_address(address, name);
		device->number = target_number(name);
	} else if (S_ISCHR(file->st_mode)) {
		device->number = TARGET_NODE | (uint64_t)major(file->st_rdev) << 20 |
				 minor(file->st_rdev);
	}
}

static void device_add_file(int fd, const struct stat *file, const char *address)
{
	struct device_lookup lookup = {.fd = fd, .address = address};
	struct device device = {.file_system = file->st_dev, .inode = file->st_ino};

	device_set_number(&device, file, address);
	/* It is needed when devices are released. */
	if (preload_settings.boost && device.number)
		preload_run(device_look_up, &lookup);
	device.pci = lookup.pci;
	pthread_mutex_lock(&preload_lock);
	if (!device.number)
		device_copy_same(&device);
	device_table[fd] = device;
	pthread_mutex_unlock(&preload_lock);
	atomic_store(&device_numbers[fd], DEVICE_IS_KNOWN | device.number);
}

void devices_add(int fd, const char *address)
{
	struct stat file;

	if (device_in_range(fd) && !fstat(fd, &file))
		device_add_file(fd, &file, address);
}

static bool device_is_file(int fd, const struct stat *file)
{
	bool same;

	pthread_mutex_lock(&preload_lock);
	same = device_table[fd].inode == file->st_ino &&
	       device_table[fd].file_system == file->st_dev;
	pthread_mutex_unlock(&preload_lock);
	return same;
}

void devices_see(int fd, bool trust)
{
	struct stat file;

	if (!device_in_range(fd) || (trust && devices_has(fd)) || fstat(fd, &file))
		return;
	if (!devices_has(fd) || !device_is_file(fd, &file))
		device_add_file(fd, &file, NULL);
}

void devices_remove(int fd)
{
	if (!devices_has(fd))
		return;
	atomic_store(&device_numbers[fd], 0);
	pthread_mutex_lock(&preload_lock);
	memset(&device_table[fd], 0, sizeof(device_table[fd]));
	pthread_mutex_unlock(&preload_lock);
}

bool devices_has(int fd)
{
	return device_in_range(fd) && atomic_load(&device_numbers[fd]);
}

uint64_t devices_number(int fd)
{
	return device_in_range(fd) ? atomic_load(&device_numbers[fd]) & ~DEVICE_IS_KNOWN : 0;
}

bool devices_is_path(const char *path)
{
	return !strcmp(path, "anon_inode:[vfio-device]") ||
	       !strncmp(path, "/dev/vfio/devices/", strlen("/dev/vfio/devices/"));
}

/* What proc(5) says of a file descriptor. */
static void device_read_link(int fd, char link[64])
{
	char path[64];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	length = readlink(path, link, 63);
	link[length > 0 ? length : 0] = '\0';
}

/* Whether it still is what it was: a close(2) of the C library itself, say in fclose(3), is not
 * seen. */
static bool device_is_there(int fd)
{
	struct stat file;
	char link[64];

	if (!devices_has(fd) || fstat(fd, &file) || !device_is_file(fd, &file))
		return false;
	device_read_link(fd, link);
	return devices_is_path(link);
}

size_t devices_all(int fds[DEVICES_MAX], struct vfb_pci pcis[DEVICES_MAX])
{
	size_t count = 0;

	for (int fd = 0; fd < DEVICES_MAX; fd++) {
		if (!device_is_there(fd))
			continue;
		pthread_mutex_lock(&preload_lock);
		fds[count] = fd;
		pcis[count++] = device_table[fd].pci;
		pthread_mutex_unlock(&preload_lock);
	}
	return count;
}

void devices_set_kvm(int fd)
{
	atomic_store(&device_kvm, fd);
}

void devices_close_kvm(void)
{
	int fd = atomic_load(&device_kvm);
	char link[64];

	if (fd < 0)
		return;
	device_read_link(fd, link);
	if (!strcmp(link, "anon_inode:kvm-vfio"))
		close(fd);
}

void devices_forget_all(void)
{
	for (int fd = 0; fd < DEVICES_MAX; fd++)
		atomic_store(&device_numbers[fd], 0);
	memset(&device_table, 0, sizeof(device_table));
	atomic_store(&device_kvm, -1);
}
