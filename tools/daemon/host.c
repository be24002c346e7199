/* SPDX-License-Identifier: MIT */
#include "host.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"
#include "holder.h"
#include "packet.h"
#include "release.h"
#include "spawn.h"
#include "store.h"

/* Between two looks whether a slot is gone. */
#define CHECK_NS UINT64_C(50000000)
/* Between two looks whether a process still has a slot that it has not taken itself. */
#define HOLDS_NS UINT64_C(1000000000)

static uint64_t host_now(struct pool_host *host)
{
	struct timespec time;

	(void)host;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static struct host_slot *data_of(struct slot *slot)
{
	return slot->data;
}

/* ---- Filling ---- */

static void filler_signal(const struct host_slot *data, int number)
{
	syscall(SYS_pidfd_send_signal, data->filler_process, number, NULL, 0);
}

static void filler_end(struct host_slot *data)
{
	watch_end(&data->filler);
	close(data->filler_process);
	data->filler_process = -1;
}

static void filler_failed(struct host_slot *data, int error, const char *text)
{
	filler_signal(data, SIGKILL);
	filler_end(data);
	pool_fill_failed(data->host->pool, data->slot, error, text);
}

static void filler_done(struct host_slot *data, const struct vfb_wire_grant *grant, const int *fds,
			size_t count)
{
	struct stat stat;

	filler_end(data);
	if (!fstat(fds[0], &stat)) {
		data->device = stat.st_dev;
		data->inode = stat.st_ino;
	}
	pool_filled(data->host->pool, data->slot, grant, fds, count);
}

static void filler_ready(struct watch *watch)
{
	struct host_slot *data = (struct host_slot *)((char *)watch -
						      offsetof(struct host_slot, filler));
	int fds[VFB_WIRE_FDS], result;
	size_t count = VFB_WIRE_FDS;
	union vfb_wire message;

	result = packet_receive(watch->fd, &message, fds, &count);
	if (result == -EAGAIN)
		return;
	if (result <= 0) {
		filler_failed(data, result ? result : -ECHILD,
			      "the process that fills it was killed (see the log of the kernel)");
		return;
	}
	if (message.header.type == VFB_WIRE_GRANT && count == vfb_wire_fd_count(&message.grant)) {
		filler_done(data, &message.grant, fds, count);
		return;
	}
	packet_close(fds, count);
	if (message.header.type == VFB_WIRE_PART)
		pool_fill_progress(data->host->pool, data->slot, message.result.value);
	else if (message.header.type == VFB_WIRE_FAILED)
		filler_failed(data, message.result.error, message.result.text);
	else
		filler_failed(data, -EPROTO, "the process that fills it sent something invalid");
}

static int host_fill(struct pool_host *ops, struct slot *slot, char *why)
{
	struct host *host = (struct host *)ops;
	struct host_slot *data = data_of(slot);
	int error = cgroup_make(slot->name), socket;

	if (error) {
		snprintf(why, VFB_WIRE_TEXT, "cannot make the cgroup %s: %s", slot->name,
			 strerror(-error));
		return error;
	}
	socket = spawn_filler(host->filler, slot, &slot->pid, &data->filler_process);
	if (socket < 0) {
		snprintf(why, VFB_WIRE_TEXT, "cannot start %.300s: %s", host->filler,
			 strerror(-socket));
		return socket;
	}
	if (watch_begin(&data->filler, socket, EPOLLIN, filler_ready))
		return 0;
	filler_signal(data, SIGKILL);
	close(socket);
	close(data->filler_process);
	data->filler_process = -1;
	snprintf(why, VFB_WIRE_TEXT, "cannot watch the process that fills it");
	return -EMFILE;
}

static void host_stop_filler(struct pool_host *host, struct slot *slot)
{
	(void)host;
	filler_signal(data_of(slot), SIGKILL);
	filler_end(data_of(slot));
}

static void host_pause(struct pool_host *host, struct slot *slot, bool pause)
{
	(void)host;
	filler_signal(data_of(slot), pause ? SIGSTOP : SIGCONT);
}

/* ---- The tenant ---- */

static void tenant_ready(struct watch *watch)
{
	struct host_slot *data = (struct host_slot *)((char *)watch -
						      offsetof(struct host_slot, tenant));

	watch_end(watch);
	pool_tenant_ended(data->host->pool, data->slot);
}

bool host_watch_tenant(struct slot *slot, int pidfd, const char *cgroup)
{
	struct host_slot *data = data_of(slot);

	snprintf(data->cgroup, sizeof(data->cgroup), "%s", cgroup);
	return watch_begin(&data->tenant, pidfd, EPOLLIN, tenant_ready);
}

static pid_t host_heir(struct pool_host *ops, struct slot *slot)
{
	struct host_slot *data = data_of(slot);
	pid_t heir = holder_find_in(data->cgroup, data->device, data->inode);
	int pidfd = heir ? syscall(SYS_pidfd_open, heir, 0) : -1;

	(void)ops;
	/* The one before may not have ended. */
	watch_end(&data->tenant);
	if (pidfd < 0)
		return 0;
	/* Its number may be another process's by now: that has nothing of the slot. */
	if (holder_has(heir, data->device, data->inode) &&
	    watch_begin(&data->tenant, pidfd, EPOLLIN, tenant_ready))
		return heir;
	close(pidfd);
	return 0;
}

static bool host_holds(struct pool_host *ops, struct slot *slot)
{
	struct host_slot *data = data_of(slot);
	uint64_t now = host_now(ops);

	if (now - data->checked_ns < HOLDS_NS)
		return true;
	data->checked_ns = now;
	return holder_has(slot->pid, data->device, data->inode);
}

/* ---- Its end ---- */

static void release_ready(struct watch *watch)
{
	struct host_slot *data = (struct host_slot *)((char *)watch -
						      offsetof(struct host_slot, release));

	watch_end(watch);
	pool_released(data->host->pool, data->slot);
}

static void host_release(struct pool_host *ops, struct slot *slot)
{
	struct host_slot *data = data_of(slot);
	int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	(void)ops;
	watch_end(&data->tenant);
	release_start(&slot->grant, slot->fds, slot->fd_count, event);
	if (event >= 0 && watch_begin(&data->release, event, EPOLLIN, release_ready))
		return;
	/* The counters of its cgroup show when it is gone. */
	close(event);
	pool_released(data->host->pool, slot);
}

static int describe_holder(const struct host_slot *data, uint64_t bytes, char *why)
{
	char name[32];
	pid_t pid = data->inode ? holder_find(data->device, data->inode, name) : 0;

	if (pid)
		snprintf(why, VFB_WIRE_TEXT, "process %d (%s) still holds it: %" PRIu64 " MiB", pid,
			 name, bytes >> 20);
	else
		snprintf(why, VFB_WIRE_TEXT,
			 "the kernel still has %" PRIu64 " MiB of it (being freed, or pinned by a "
			 "process that has no file of it)",
			 bytes >> 20);
	return -EBUSY;
}

static int host_gone(struct pool_host *ops, struct slot *slot, char *why)
{
	struct host_slot *data = data_of(slot);
	uint64_t bytes, now = host_now(ops);

	memcpy(why, slot->why, VFB_WIRE_TEXT);
	if (now - data->checked_ns < CHECK_NS)
		return -EAGAIN;
	data->checked_ns = now;
	switch (cgroup_remove(slot->name, &bytes)) {
	case CGROUP_GONE:
		data->inode = 0;
		return 0;
	case CGROUP_PROCESSES:
		snprintf(why, VFB_WIRE_TEXT, "the process that fills it has not ended yet");
		return -EBUSY;
	case CGROUP_MEMORY:
		return describe_holder(data, bytes, why);
	default:
		snprintf(why, VFB_WIRE_TEXT, "cannot remove the cgroup %s", slot->name);
		return -EBUSY;
	}
}

/* ---- Crashes ---- */

static void host_store(struct pool_host *ops, struct slot *slot)
{
	struct host_slot *data = data_of(slot);

	if (slot->state == VFB_WIRE_READY || slot->state == VFB_WIRE_TAKEN)
		store_slot(((struct host *)ops)->pool, slot, &data->state, data->tenant.fd);
	else if (slot->state == VFB_WIRE_RETURNING)
		store_forget(slot, &data->state);
}

static void restore_stored(const struct stored *stored, void *arg)
{
	struct host *host = arg;
	struct slot *slot = pool_restore(host->pool, &stored->status, &stored->grant, stored->fds,
					 stored->count);
	struct host_slot *data;
	struct stat stat;

	if (!slot) {
		store_drop(stored);
		return;
	}
	data = data_of(slot);
	data->state = stored->state;
	if (!fstat(stored->fds[0], &stat)) {
		data->device = stat.st_dev;
		data->inode = stat.st_ino;
	}
	cgroup_of(slot->pid, data->cgroup, sizeof(data->cgroup));
	if (slot->state == VFB_WIRE_TAKEN &&
	    (stored->tenant < 0 ||
	     !watch_begin(&data->tenant, stored->tenant, EPOLLIN, tenant_ready)))
		pool_return(host->pool, slot);
}

/* What is left of a slot whose files the daemon has not got back. */
static void restore_cgroup(const char *name, void *arg)
{
	struct vfb_wire_status status = {.state = VFB_WIRE_RETURNING};
	static const struct vfb_wire_grant no_grant;
	struct host *host = arg;
	const char *number = strrchr(name, '-');
	uint64_t bytes;

	if (!number || number - name >= VFB_WIRE_NAME || pool_find_slot(host->pool, name))
		return;
	memcpy(status.class_name, name, number - name);
	snprintf(status.slot, sizeof(status.slot), "%s", name);
	if (!pool_restore(host->pool, &status, &no_grant, NULL, 0))
		cgroup_remove(name, &bytes);
}

void host_restore(struct host *host)
{
	store_restore(restore_stored, host);
	cgroup_each(restore_cgroup, host);
}

void host_reap(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

/* ---- The daemon's beginning and end ---- */

void host_init(struct host *host, struct pool *pool, const char *filler)
{
	*host = (struct host){
		.ops =
			{
				.now = host_now,
				.fill = host_fill,
				.stop = host_stop_filler,
				.pause = host_pause,
				.store = host_store,
				.heir = host_heir,
				.holds = host_holds,
				.release = host_release,
				.gone = host_gone,
			},
		.pool = pool,
		.filler = filler,
	};
}

bool host_prepare(struct host *host)
{
	struct pool *pool = host->pool;

	for (size_t i = 0; i < pool->class_count; i++)
		for (unsigned int k = 0; k < MAX_SLOTS; k++) {
			struct host_slot *data = calloc(1, sizeof(*data));

			if (!data)
				return false;
			data->host = host;
			data->slot = &pool->classes[i].slots[k];
			data->filler.fd = data->tenant.fd = data->release.fd = -1;
			data->filler_process = data->state = -1;
			data->slot->data = data;
		}
	return true;
}

void host_free(struct host *host)
{
	for (size_t i = 0; i < host->pool->class_count; i++)
		for (unsigned int k = 0; k < MAX_SLOTS; k++)
			free(host->pool->classes[i].slots[k].data);
}
