// SPDX-License-Identifier: MIT
/*
 * The first process of minivmm's guest. It writes to and reads from the disks, and then does what
 * the VMM asks for over the serial port.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define BLOCK (1 << 20)

static unsigned char written[BLOCK] __attribute__((aligned(4096)));
static unsigned char readback[BLOCK] __attribute__((aligned(4096)));

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	printf("minivmm: ");
	vprintf(format, arguments);
	printf("\n");
	fflush(stdout);
	va_end(arguments);
}

static void wait_a_little(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
}

static void open_console(void)
{
	struct termios raw;

	for (int fd = 0; fd < 3; fd++) {
		close(fd);
		if (open("/dev/ttyS0", O_RDWR | O_NOCTTY) != fd)
			_exit(1);
	}
	tcgetattr(0, &raw);
	raw.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
	tcsetattr(0, TCSANOW, &raw);
}

static void load_modules(void)
{
	FILE *list = fopen("/modules", "re");
	char path[256];
	int fd;

	while (list && fscanf(list, "%255s", path) == 1) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
			say("cannot load %s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
	if (list)
		fclose(list);
}

static int transfer(int fd, unsigned char pattern)
{
	memset(written, pattern, sizeof(written));
	memset(readback, 0, sizeof(readback));
	if (pwrite(fd, written, sizeof(written), 0) != (ssize_t)sizeof(written) ||
	    pread(fd, readback, sizeof(readback), 0) != (ssize_t)sizeof(readback))
		return -1;
	return memcmp(written, readback, sizeof(written)) ? -1 : 0;
}

static int test_disk(int number)
{
	unsigned char pattern = (unsigned char)(time(NULL) * 16 + number + 1);
	char path[64];
	int fd, error;

	snprintf(path, sizeof(path), "/dev/nvme%dn1", number);
	fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		return -1;
	error = transfer(fd, pattern);
	say("disk %d %s", number, error ? "failed" : "ok");
	close(fd);
	return 0;
}

/* Tests that many disks, whatever their numbers, when they have appeared. */
static void test_disks(int count)
{
	int found, number;
	char path[64];

	do {
		wait_a_little();
		for (found = 0, number = 0; number < 64; number++) {
			snprintf(path, sizeof(path), "/dev/nvme%dn1", number);
			found += access(path, F_OK) == 0;
		}
	} while (found < count);
	for (number = 0; number < 64; number++)
		test_disk(number);
}

/* The VMM has written a word there, and looks for its complement. */
static void test_memory(uint64_t address, uint64_t word)
{
	int fd = open("/dev/mem", O_RDWR | O_CLOEXEC | O_SYNC);
	volatile uint64_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
				       (off_t)address);

	if (page == MAP_FAILED) {
		say("memory cannot be mapped: %s", strerror(errno));
	} else if (page[0] != word) {
		say("memory contains 0x%" PRIx64 ", not 0x%" PRIx64, page[0], word);
	} else {
		page[0] = ~word;
		munmap((void *)page, 4096);
		say("memory ok");
	}
	close(fd);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		say("cannot write to %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void test_device(const char *address, int disks)
{
	char path[128];

	write_file("/sys/bus/pci/rescan", "1");
	test_disks(disks);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/remove", address);
	write_file(path, "1");
	say("device removed");
}

static void obey(const char *line)
{
	uint64_t address, word;
	char device[64];
	int disks;

	if (sscanf(line, "memory %" SCNx64 " %" SCNx64, &address, &word) == 2)
		test_memory(address, word);
	else if (sscanf(line, "device %63s %d", device, &disks) == 2)
		test_device(device, disks);
	else if (strcmp(line, "reboot\n") == 0)
		reboot(RB_AUTOBOOT);
	else
		say("cannot do %s", line);
}

int main(void)
{
	const char *disks = getenv("disks");
	char line[256];

	mkdir("/dev", 0755);
	mkdir("/sys", 0755);
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	mount("sys", "/sys", "sysfs", 0, NULL);
	open_console();
	say("init");
	load_modules();
	test_disks(disks ? atoi(disks) : 0);
	say("ready");
	while (fgets(line, sizeof(line), stdin))
		obey(line);
	say("the serial port is closed");
	return 1;
}
