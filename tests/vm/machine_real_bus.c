/* SPDX-License-Identifier: MIT */
/* Devices of the running kernel by sysfs: what they are, unplugging, settings. */
#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "machine.h"
#include "proc.h"

static pid_t remover;
/* Of the device that is unplugged: scripts/vm has set it, since the firmware reports none. */
static char node_path[96], node[16];

static void remember_node(const char *address)
{
	FILE *file;

	snprintf(node_path, sizeof(node_path), "/sys/bus/pci/devices/%s/numa_node", address);
	file = fopen(node_path, "re");
	if (!file || !fgets(node, sizeof(node), file))
		die(node_path);
	fclose(file);
}

/*
 * By another program: whoever writes sleeps until the device is closed, and must not have it open
 * himself, as a process that was only forked would.
 */
void machine_unplug(const char *address)
{
	char command[128];
	char *argv[] = {"sh", "-c", command, NULL};

	remember_node(address);
	snprintf(command, sizeof(command), "echo 1 >/sys/bus/pci/devices/%s/remove", address);
	if (posix_spawn(&remover, "/bin/sh", NULL, NULL, argv, environ))
		die("/bin/sh");
}

bool machine_unplugged(uint64_t timeout_ns)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	int status = -1;

	for (uint64_t waited = 0; waitpid(remover, &status, WNOHANG) == 0;
	     waited += pause.tv_nsec) {
		if (waited >= timeout_ns)
			return false;
		nanosleep(&pause, NULL);
	}
	return status == 0;
}

void machine_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t length = strlen(text);

	if (fd < 0 || write(fd, text, length) != length)
		die(path);
	close(fd);
}

void machine_rescan(void)
{
	machine_write("/sys/bus/pci/rescan", "1");
	machine_write(node_path, node);
}

void machine_group_path(const char *address, char *path, size_t bytes)
{
	char link[128], target[512];
	ssize_t length;

	snprintf(link, sizeof(link), "/sys/bus/pci/devices/%s/iommu_group", address);
	length = readlink(link, target, sizeof(target) - 1);
	if (length < 0)
		die(link);
	target[length] = '\0';
	snprintf(path, bytes, "/dev/vfio/%s", strrchr(target, '/') + 1);
}

void machine_node_path(const char *address, char *path, size_t bytes)
{
	struct dirent *entry;
	char folder[128];
	DIR *dir;

	snprintf(folder, sizeof(folder), "/sys/bus/pci/devices/%s/vfio-dev", address);
	dir = opendir(folder);
	if (!dir)
		die(folder);
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			snprintf(path, bytes, "/dev/vfio/devices/%s", entry->d_name);
	closedir(dir);
}

/* Memory decoding is as the last driver left it. */
static void enable_memory(const char *address)
{
	char path[128];
	uint16_t command;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", address);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || pread(fd, &command, 2, 4) != 2)
		die(path);
	command |= 2;
	if (pwrite(fd, &command, 2, 4) != 2)
		die(path);
	close(fd);
}

static uint64_t bar_address(const char *address)
{
	unsigned long long start;
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource", address);
	file = fopen(path, "re");
	if (!file || fscanf(file, "%llx", &start) != 1)
		die(path);
	fclose(file);
	return start;
}

uint32_t machine_register(const char *address, uint64_t offset)
{
	uint64_t page = sysconf(_SC_PAGESIZE);
	volatile const char *bar;
	char path[128];
	uint32_t value;
	int fd;

	enable_memory(address);
	/* The file begins with the page in which the BAR begins. */
	offset += bar_address(address) % page;
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource0", address);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die(path);
	bar = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, offset / page * page);
	if (bar == MAP_FAILED)
		die("mmap");
	value = *(volatile const uint32_t *)(bar + offset % page);
	munmap((void *)bar, page);
	close(fd);
	return value;
}
