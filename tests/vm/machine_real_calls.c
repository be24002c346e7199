/* SPDX-License-Identifier: MIT */
/* What a scenario calls by itself goes to the running kernel. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "machine.h"

int machine_eventfd(void)
{
	return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

bool machine_poll(int fd, uint64_t timeout_ns)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};
	int timeout = timeout_ns == UINT64_MAX ? -1 : (int)(timeout_ns / 1000000);
	int ready;

	do
		ready = poll(&poller, 1, timeout);
	while (ready < 0 && errno == EINTR);
	return ready == 1 && (poller.revents & POLLIN);
}

int machine_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

void machine_close(int fd)
{
	close(fd);
}

int machine_ioctl(int fd, unsigned long request, void *arg)
{
	int result = ioctl(fd, request, arg);

	return result < 0 ? -errno : result;
}

int machine_mmap(size_t bytes, int prot, void **out)
{
	*out = mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return *out == MAP_FAILED ? -errno : 0;
}

int machine_map_file(int fd, size_t bytes, int flags, void **out)
{
	*out = mmap(*out, bytes, PROT_READ | PROT_WRITE, flags | (*out ? MAP_FIXED : 0), fd, 0);
	return *out == MAP_FAILED ? -errno : 0;
}

int machine_madvise(void *address, size_t bytes, int advice)
{
	return madvise(address, bytes, advice) ? -errno : 0;
}

bool machine_vm_flag(const void *address, const char *flag)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	bool inside = false, found = false;
	unsigned long start, end;
	char line[4352];

	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = (uintptr_t)address >= start && (uintptr_t)address < end;
		if (inside && !strncmp(line, "VmFlags:", 8))
			found = strstr(line, flag);
	}
	fclose(smaps);
	return found;
}

void machine_munmap(void *address, size_t bytes)
{
	munmap(address, bytes);
}
