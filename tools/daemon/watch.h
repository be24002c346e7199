/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_WATCH_H
#define DAEMON_WATCH_H

#include <stdbool.h>
#include <stdint.h>

/* A file descriptor that the main loop waits for. */
struct watch {
	int fd;
	void (*ready)(struct watch *watch);
};

/* False: the loop could not be made. */
bool watch_init(void);
/* @events as of epoll(7). @watch must stay where it is until watch_end(). */
bool watch_begin(struct watch *watch, int fd, uint32_t events, void (*ready)(struct watch *watch));
/* Waits for other events from now on. */
void watch_change(struct watch *watch, uint32_t events);
/* Closes the file descriptor; nothing if there is none (-1). */
void watch_end(struct watch *watch);
/* Waits for one of them, and calls its function. */
void watch_wait(int timeout_ms);

#endif
