/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_SPAWN_H
#define DAEMON_SPAWN_H

#include "pool.h"

/*
 * Starts the program that fills a slot, in the slot's cgroup, at the lowest priority. Returns the
 * socket to it, or a negative errno. @process: its pidfd. It is killed when the daemon ends.
 */
int spawn_filler(const char *program, const struct slot *slot, pid_t *pid, int *process);

#endif
