/* SPDX-License-Identifier: MIT */
/* Devices of the running kernel by sysfs: unplugging, settings. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "machine.h"

static pid_t remover;
/* Of the device that is unplugged: scripts/vm has set it, since the firmware tells of none. */
static char node_path[96], node[16];

static void remember_node(const char *address)
{
	FILE *file;

	snprintf(node_path, sizeof(node_path), "/sys/bus/pci/devices/%s/numa_node", address);
	file = fopen(node_path, "re");
	if (!file || !fgets(node, sizeof(node), file)) {
		perror(node_path);
		exit(1);
	}
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
	if (posix_spawn(&remover, "/bin/sh", NULL, NULL, argv, environ)) {
		perror("/bin/sh");
		exit(1);
	}
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

	if (fd < 0 || write(fd, text, length) != length) {
		perror(path);
		exit(1);
	}
	close(fd);
}

void machine_rescan(void)
{
	machine_write("/sys/bus/pci/rescan", "1");
	machine_write(node_path, node);
}
