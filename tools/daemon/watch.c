/* SPDX-License-Identifier: MIT */
#include "watch.h"

#include <sys/epoll.h>
#include <unistd.h>

static int loop = -1;

bool watch_init(void)
{
	loop = epoll_create1(EPOLL_CLOEXEC);
	return loop >= 0;
}

bool watch_begin(struct watch *watch, int fd, uint32_t events, void (*ready)(struct watch *watch))
{
	struct epoll_event event = {.events = events, .data.ptr = watch};

	watch->fd = -1;
	if (epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event))
		return false;
	watch->fd = fd;
	watch->ready = ready;
	return true;
}

void watch_change(struct watch *watch, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = watch};

	epoll_ctl(loop, EPOLL_CTL_MOD, watch->fd, &event);
}

void watch_end(struct watch *watch)
{
	if (watch->fd < 0)
		return;
	/* Duplicates of it, in other processes too, would keep it in the loop. */
	epoll_ctl(loop, EPOLL_CTL_DEL, watch->fd, NULL);
	close(watch->fd);
	watch->fd = -1;
}

/* One at a time: its function may end other watches. */
void watch_wait(int timeout_ms)
{
	struct epoll_event event;
	struct watch *watch;

	if (epoll_wait(loop, &event, 1, timeout_ms) != 1)
		return;
	watch = event.data.ptr;
	watch->ready(watch);
}
