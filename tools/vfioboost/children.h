/* SPDX-License-Identifier: MIT */
#ifndef CHILDREN_H
#define CHILDREN_H

#include <stdbool.h>
#include <sys/types.h>

/* Processes of a bench, that go on step by step: each step begins and ends with a byte. */
struct child {
	pid_t process;
	int fd;
};

/*
 * Starts child @number, which runs @run with its end of the socket, and exits with what that
 * returns. False, with errno: there is none.
 */
bool child_begin(struct child *children, unsigned int number,
		 int (*run)(void *data, unsigned int number, int fd), void *data);

/* The next step of a child begins, or has ended. False: the child ends. */
bool child_continue(const struct child *child);
bool child_wait(const struct child *child);

/* Of the child: waits for the next step, and reports its end. False: the bench ends. */
bool child_wait_turn(int fd);
bool child_report(int fd);

/* Closes its socket and waits for its end. Returns its wait status, or -1. */
int child_end(const struct child *child);

#endif
