/* SPDX-License-Identifier: MIT */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cgroup.h"

#define DAEMON 3
#define FIXED  8

struct words {
	char text[8][24];
	char nodes[128];
	char *all[FIXED + VFB_WIRE_DEVICES + 1];
};

static void list_nodes(const struct slot_class *config, char *text, size_t room)
{
	size_t used = 0;

	snprintf(text, room, "-");
	for (size_t i = 0; i < config->node_count; i++)
		used += snprintf(text + used, room - used, i ? ",%u" : "%u", config->nodes[i]);
}

/* As vfioboost-fill reads them. */
static void make_words(struct words *words, const char *program, const struct slot *slot)
{
	const struct slot_class *config = &slot->owner->config;
	size_t first = config_first_device(config, slot->index), n = 0;

	snprintf(words->text[0], 24, "%" PRIu64, config->bytes);
	snprintf(words->text[1], 24, "%d", (int)config->page_size);
	snprintf(words->text[2], 24, "%d", (int)config->backend);
	snprintf(words->text[3], 24, "%" PRIu64, config->rate);
	snprintf(words->text[4], 24, "%u", config->level);
	list_nodes(config, words->nodes, sizeof(words->nodes));
	words->all[n++] = (char *)program;
	words->all[n++] = words->text[0];
	words->all[n++] = words->text[1];
	words->all[n++] = words->nodes;
	words->all[n++] = (char *)config->layout;
	words->all[n++] = words->text[2];
	words->all[n++] = words->text[3];
	words->all[n++] = words->text[4];
	for (unsigned int i = 0; config->level && i < config->devices_per_slot; i++)
		words->all[n++] = (char *)config->devices[first + i];
	words->all[n] = NULL;
}

/* Between fork() and execve(): nothing but system calls, as the daemon has threads. */
static void run_filler(struct words *words, int socket, int procs, pid_t parent)
{
	static char *const no_environment[] = {NULL};
	sigset_t none;

	sigemptyset(&none);
	if (write(procs, "0", 1) != 1)
		_exit(126);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(126);
	setpriority(PRIO_PROCESS, 0, 19);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (dup2(socket, DAEMON) < 0 || (socket == DAEMON && fcntl(DAEMON, F_SETFD, 0)))
		_exit(126);
	close_range(DAEMON + 1, ~0U, 0);
	execve(words->all[0], words->all, no_environment);
	_exit(127);
}

int spawn_filler(const char *program, const struct slot *slot, pid_t *pid, int *process)
{
	int ends[2], procs = cgroup_open_procs(slot->name), error = 0;
	pid_t self = getpid();
	struct words words;

	if (procs < 0)
		return -errno;
	make_words(&words, program, slot);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
		error = -errno;
		close(procs);
		return error;
	}
	*pid = fork();
	if (!*pid)
		run_filler(&words, ends[1], procs, self);
	/* Nobody reaps it before the main loop goes on. */
	*process = *pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, *pid, 0);
	if (*process < 0) {
		error = -errno;
		close(ends[0]);
		if (*pid > 0)
			kill(*pid, SIGKILL);
	}
	close(ends[1]);
	close(procs);
	return error ? error : ends[0];
}
