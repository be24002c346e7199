/* SPDX-License-Identifier: MIT */
#include "pressure.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "watch.h"

/* Within a window of 1 s some task has waited for 100 ms (psi_trigger_create()). */
#define TRIGGER "some 100000 1000000"
/* Without another such window, they go on. */
#define QUIET_NS UINT64_C(3000000000)

static struct {
	struct watch watch;
	struct pool *pool;
	uint64_t last_ns;
} pressure;

static uint64_t pressure_now(void)
{
	return pressure.pool->host->now(pressure.pool->host);
}

/* The kernel reports a window at most once: one slot for each. */
static void pressure_ready(struct watch *watch)
{
	(void)watch;
	pressure.last_ns = pressure_now();
	pool_pause(pressure.pool, true);
	pool_shrink(pressure.pool, NULL, 1);
}

void pressure_init(struct pool *pool)
{
	int fd = open("/proc/pressure/memory", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	pressure.pool = pool;
	if (fd < 0)
		return;
	if (write(fd, TRIGGER, strlen(TRIGGER) + 1) < 0 ||
	    !watch_begin(&pressure.watch, fd, EPOLLPRI, pressure_ready))
		close(fd);
}

int pressure_step(void)
{
	uint64_t now = pressure_now();

	if (!pressure.pool->paused)
		return -1;
	if (now - pressure.last_ns < QUIET_NS)
		return (pressure.last_ns + QUIET_NS - now) / 1000000 + 1;
	pool_pause(pressure.pool, false);
	return -1;
}
