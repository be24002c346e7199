/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_CGROUP_H
#define DAEMON_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Each slot has a cgroup (version 2) of its own. The process that fills it is in there, so its
 * pages are charged to it, wherever they go: charges never move. When its counters are back at 0,
 * nobody has a page of the slot any more.
 */

/* The folder below which they are. False, with a text: it cannot be made. */
bool cgroup_init(const char *folder, char text[512]);

int cgroup_make(const char *name);
/* Of @name, to write a process to; -1 with errno. */
int cgroup_open_procs(const char *name);

enum cgroup_use {
	CGROUP_GONE,
	CGROUP_PROCESSES,
	CGROUP_MEMORY,
	CGROUP_FAILED,
};

/* What is left in it; if nothing, it is removed. @bytes: of pages. */
enum cgroup_use cgroup_remove(const char *name, uint64_t *bytes);

/* Calls @each with the name of every cgroup that is there. */
void cgroup_each(void (*each)(const char *name, void *arg), void *arg);

/* The path of a process's cgroup as in /proc/PID/cgroup; "" if unknown. */
void cgroup_of(int pid, char *path, size_t room);

/* The file with the processes of such a path; NULL. */
FILE *cgroup_procs_of(const char *path);

#endif
