/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_POOL_H
#define DAEMON_POOL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config.h"
#include "slot/wire.h"

/*
 * The slots and the states that they pass through:
 *
 *   empty -> filling -> ready -> taken -> returning -> empty
 *                \---------\-----------> returning
 *                 \-> quarantine
 *
 * A slot that was handed out never becomes ready again: its files are closed, and only when nobody
 * else holds them any more is a new one filled in its place. The pool knows no system call; what it
 * wants done it asks the host for, which the tests replace.
 */
struct slot {
	struct pool_class *owner;
	/* Its place in the class, which decides its devices and its node. */
	unsigned int index;
	enum vfb_wire_state state;
	/* Of the slot that is there now; the place gets a new one each time it is filled. */
	char name[VFB_WIRE_NAME];
	uint64_t number;
	char why[VFB_WIRE_TEXT];
	uint64_t since_ns;
	/* Not to be filled before; and how often that has failed in a row. */
	uint64_t retry_ns;
	unsigned int failures;
	uint64_t filled_bytes;
	struct vfb_wire_grant grant;
	int fds[VFB_WIRE_FDS];
	size_t fd_count;
	/* returning: the daemon's own files are closed. */
	bool released;
	/* filling: the process that fills; taken: the one that has taken it. */
	pid_t pid;
	uid_t uid;
	/* Since a crash, so that no connection shows whether it has arrived. */
	bool restored;
	/* Of the host. */
	void *data;
};

struct pool_class {
	struct slot_class config;
	struct slot slots[MAX_SLOTS];
	/* How many there are to be; the first ones. And how many were ever used: the others are
	 * empty. */
	unsigned int target, used;
	uint64_t takes, misses, fills, failures, returns;
	uint64_t fill_ns;
};

struct pool;

/* All that the pool wants from the system. Texts have room for VFB_WIRE_TEXT bytes. */
struct pool_host {
	uint64_t (*now)(struct pool_host *host);
	/* Starts to fill a slot; pool_filled() or pool_fill_failed() follows. */
	int (*fill)(struct pool_host *host, struct slot *slot, char *why);
	/* Ends the process that fills it, at once; nothing follows. */
	void (*stop)(struct pool_host *host, struct slot *slot);
	/* Whether those who fill slots are to wait because the host lacks memory. */
	void (*pause)(struct pool_host *host, struct slot *slot, bool pause);
	/* Keeps what is needed to find the slot again after a crash; called in each new state. */
	void (*store)(struct pool_host *host, struct slot *slot);
	/*
	 * Another process of the tenant's that holds the slot now that @slot->pid has ended, as of
	 * a QEMU that has become a daemon: its number, which is watched from now on. 0: none.
	 */
	pid_t (*heir)(struct pool_host *host, struct slot *slot);
	/* Whether @slot->pid, which heir() has found, or which may not have received it, holds it.
	 */
	bool (*holds)(struct pool_host *host, struct slot *slot);
	/* Detaches the devices and closes all files; pool_released() follows. */
	void (*release)(struct pool_host *host, struct slot *slot);
	/* 0: no page and no process of it is left; else why not. */
	int (*gone)(struct pool_host *host, struct slot *slot, char *why);
};

struct pool {
	struct pool_host *host;
	struct pool_class *classes;
	size_t class_count;
	/* How many slots are filled at the same time. */
	unsigned int max_fillers;
	uint64_t last_number;
	bool paused;
};

/* False: out of memory. */
bool pool_init(struct pool *pool, struct pool_host *host, const struct slot_class *classes,
	       size_t count);
void pool_free(struct pool *pool);

struct pool_class *pool_find_class(struct pool *pool, const char *name);
struct slot *pool_find_slot(struct pool *pool, const char *name);

/* Begins whatever can begin now. Called after each event, and from time to time: soon if
 * pool_is_returning(). */
void pool_step(struct pool *pool);
bool pool_is_returning(const struct pool *pool);

void pool_fill_progress(struct pool *pool, struct slot *slot, uint64_t bytes);
/* @fds become the pool's. False: the grant is not what was asked for; they are closed. */
bool pool_filled(struct pool *pool, struct slot *slot, const struct vfb_wire_grant *grant,
		 const int *fds, size_t count);
/* @error -EUCLEAN: a device could not be reset, and nobody may have it. */
void pool_fill_failed(struct pool *pool, struct slot *slot, int error, const char *text);

/* A ready slot of the class, which is taken then; NULL with an error and a text. */
struct slot *pool_take(struct pool *pool, struct pool_class *class, pid_t pid, uid_t uid,
		       int *error, char *why);
/*
 * The process has received the slot that it has taken; or its connection ended before, and what
 * was sent is lost: the slot returns.
 */
void pool_arrived(struct pool *pool, struct slot *slot);
void pool_lost(struct pool *pool, struct slot *slot);
/* Whether waiting may help: a slot is being filled, or will be. */
bool pool_may_get_ready(const struct pool_class *class);
/* The process that had taken it has ended. */
void pool_tenant_ended(struct pool *pool, struct slot *slot);
/* It has given the slot back. */
void pool_return(struct pool *pool, struct slot *slot);
void pool_released(struct pool *pool, struct slot *slot);

/* Changes how many slots a class has; 0 or -EINVAL with a text. Quarantine ends. */
int pool_resize(struct pool *pool, struct pool_class *class, int64_t by, char *why);
void pool_drain(struct pool *pool, struct pool_class *class);
/*
 * Releases ready slots, the ones longest unused first, of at least @bytes together; they are filled
 * again a minute later. @class NULL: of all classes that allow it. Returns the bytes.
 */
uint64_t pool_shrink(struct pool *pool, struct pool_class *class, uint64_t bytes);

void pool_pause(struct pool *pool, bool pause);

/* Puts a slot back that was found after a crash: ready, taken or returning. NULL: there is no
 * place, or it was ready, but is not what its class describes now. */
struct slot *pool_restore(struct pool *pool, const struct vfb_wire_status *status,
			  const struct vfb_wire_grant *grant, const int *fds, size_t count);

/* Of pool.c: whether a grant is what the class describes, and that the place is no longer empty. */
bool pool_grant_fits(const struct slot_class *config, const struct vfb_wire_grant *grant);
void pool_slot_used(struct slot *slot);

void pool_describe(struct pool *pool, const struct slot *slot, struct vfb_wire_status *out);

#endif
