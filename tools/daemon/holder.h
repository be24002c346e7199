/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_HOLDER_H
#define DAEMON_HOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Whether a process has the memory of a slot open or mapped, by its file. */
bool holder_has(pid_t pid, dev_t device, ino_t inode);

/* Another process than this one that does: its number, and its name in @name. 0: none found. */
pid_t holder_find(dev_t device, ino_t inode, char name[32]);

/* The same among those of a cgroup, "/machine.slice". */
pid_t holder_find_in(const char *cgroup, dev_t device, ino_t inode);

#endif
