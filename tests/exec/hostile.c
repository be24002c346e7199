/* SPDX-License-Identifier: MIT */
/*
 * A process below `vfioboost exec` that has given up its privileges and was taken over: it has the
 * records mapped, and writes there what it likes.
 *
 * Usage: hostile fill SEED
 *        hostile shrink
 *        hostile program EVIL GROUP DEVICE
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534

static unsigned char *records;
static size_t records_bytes;

/* Where the records are, as any process can read; a file descriptor of them, or -1. */
static int find_records(void)
{
	unsigned long begin, end;
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");

	while (maps && fgets(line, sizeof(line), maps)) {
		if (!strstr(line, "memfd:vfioboost-exec") ||
		    sscanf(line, "%lx-%lx", &begin, &end) != 2)
			continue;
		records = (void *)begin;
		records_bytes = end - begin;
		snprintf(line, sizeof(line), "/proc/self/map_files/%lx-%lx", begin, end);
		fclose(maps);
		return open(line, O_RDWR | O_CLOEXEC);
	}
	return -1;
}

static void become_nobody(void)
{
	if (!getuid() && (setgid(NOBODY) || setuid(NOBODY)))
		exit(2);
}

/* Bytes of all kinds: few, many, all alike, and what looks like a count. */
static void fill(unsigned int seed)
{
	static const uint64_t counts[] = {0, 1, 1 << 8, 1 << 16, UINT64_MAX};
	size_t bytes;

	srandom(seed);
	bytes = seed % 3 ? (size_t)random() % 60000 : records_bytes;
	for (size_t i = 0; i < bytes; i++)
		records[i] = random() % 4 ? 0 : random() % 2 ? random() % 5 : random();
	if (seed % 7 == 0)
		memset(records, seed, records_bytes);
	for (size_t i = 0; i < 16; i += 8)
		if (random() % 2)
			memcpy(records + i, &counts[random() % 5], 8);
}

static void shrink(int fd)
{
	struct stat file;

	if (fd < 0 || fstat(fd, &file))
		exit(2);
	printf("mode %o\n", file.st_mode & 0777);
	printf("shrink: %s\n", ftruncate(fd, 0) ? strerror(errno) : "done");
	printf("grow: %s\n", ftruncate(fd, file.st_size * 2) ? strerror(errno) : "done");
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, file.st_size);
}

/* The path of the program that is run at exit once stood 12 bytes from the beginning. */
static void write_program(const char *path)
{
	for (size_t i = 12; i + strlen(path) < records_bytes; i += 256)
		strcpy((char *)records + i, path);
}

static void use_device(const char *number, const char *address)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	int container = open("/dev/vfio/vfio", O_RDWR), group, device;
	char path[64];

	snprintf(path, sizeof(path), "/dev/vfio/%s", number);
	group = open(path, O_RDWR);
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) ||
	    ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		exit(3);
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, address);
	if (device < 0 || ioctl(device, VFIO_DEVICE_GET_INFO, &info))
		exit(3);
}

int main(int argc, char **argv)
{
	int fd = find_records();

	if (argc < 2 || !records)
		return 2;
	if (!strcmp(argv[1], "program")) {
		if (!fork()) {
			become_nobody();
			write_program(argv[2]);
			_exit(0);
		}
		wait(NULL);
		use_device(argv[3], argv[4]);
		return 5;
	}
	become_nobody();
	if (!strcmp(argv[1], "shrink"))
		shrink(fd);
	else
		fill(atoi(argv[2]));
	fflush(stdout);
	_exit(5);
}
