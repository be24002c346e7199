/* SPDX-License-Identifier: MIT */
/* Unplugging devices of the running kernel, by sysfs. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "machine.h"

static pid_t remover;

/*
 * By another program: whoever writes sleeps until the device is closed, and must not have it open
 * himself, as a process that was only forked would.
 */
void machine_unplug(const char *address)
{
	char command[128];
	char *argv[] = {"sh", "-c", command, NULL};

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

void machine_rescan(void)
{
	static const char path[] = "/sys/bus/pci/rescan";
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "1", 1) != 1) {
		perror(path);
		exit(1);
	}
	close(fd);
}
