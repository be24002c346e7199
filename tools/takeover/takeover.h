/* SPDX-License-Identifier: MIT */
#ifndef TAKEOVER_H
#define TAKEOVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ledger.h"
#include "settings.h"

/* A device of the slot. */
struct takeover_device {
	/* A private copy. */
	int fd;
	/* The one that the program was started with; -1 once it is closed, or one of opens. */
	int started;
	dev_t node;
	/* File descriptors that the program has of it. */
	unsigned int opens;
	/* The program has bound it, or got it from its group. */
	bool is_used;
	/* It is attached as it was when the slot was filled. */
	bool is_attached;
	/* Nobody has used it since it was reset. */
	bool is_fresh;
};

/*
 * The slot in this process, under the lock but for what is constant once it is active. Its files
 * are private copies: the program may close those that it was started with.
 */
struct takeover {
	struct takeover_settings settings;
	/* The one that uses the slot. */
	pid_t process;
	int memory, iommu;
	dev_t iommu_node, memory_device;
	ino_t memory_inode;
	struct takeover_device devices[VFB_WIRE_DEVICES];
	int groups[VFB_WIRE_DEVICES];
	dev_t group_nodes[VFB_WIRE_DEVICES];
	struct ledger ledger;
	/* The program has got the IOAS, or has the container open. */
	bool is_given;
};
extern struct takeover takeover;

/* There is a slot, and the program has begun to use it. */
extern atomic_bool takeover_is_active;

/* What a file descriptor of the program is. */
enum takeover_kind {
	TAKEOVER_NONE,
	/* The iommufd or container; type1: 1 is the one that the program has opened. */
	TAKEOVER_IOMMU,
	TAKEOVER_DEVICE,
	TAKEOVER_GROUP,
};

struct takeover_file {
	enum takeover_kind kind;
	unsigned int index;
};

struct takeover_file takeover_file_of(int fd);
/* Returns @fd. */
int takeover_file_add(int fd, enum takeover_kind kind, unsigned int index);
/* The program has closed @fd, whose mark is removed: @fd may be another file's by now. */
void takeover_file_closed(int fd, struct takeover_file file);

/* A duplicate of @fd for the program; -1 with errno. */
int takeover_give(int fd, enum takeover_kind kind, unsigned int index);

/*
 * Whether this process uses the slot, or may begin to. Not so a child of a process that does: what
 * it closes are its own copies of the files. A child of vfork(2) has even the memory of its parent.
 */
bool takeover_is_mine(void);

void takeover_lock(void);
void takeover_unlock(void);

/* From now on the program's mappings are those of the ledger. The lock is held. */
void takeover_activate_locked(void);

/* With --verbose: what was answered. */
__attribute__((format(printf, 1, 2))) void takeover_say(const char *format, ...);

/*
 * Requests that were answered here: true, with *@result as that of ioctl(2), errno included. False:
 * the kernel is to be asked. The lock is held.
 */
bool iommufd_answer_locked(unsigned long request, void *arg, int *result);
bool iommufd_answer_device_locked(int fd, unsigned int index, unsigned long request, void *arg,
				  int *result);
/* A request for a device that is not the slot's, and perhaps for none; no lock is held. */
int iommufd_call_other(int fd, unsigned long request, void *arg);
bool type1_answer_locked(unsigned long request, void *arg, int *result);
bool type1_answer_group_locked(unsigned int index, unsigned long request, void *arg, int *result);
/* The program has closed the container that it had opened. */
void type1_closed_locked(void);
/* Of devices with either. */
bool device_answer_reset_locked(unsigned int index, int *result);

extern const struct ledger_ops iommufd_ledger_ops, type1_ledger_ops;

/* A request of a program to map or unmap: 0 or -1, with errno. */
int takeover_map_locked(struct ledger_request *request, void *arg);
int takeover_unmap_locked(uint64_t iova, uint64_t end, uint64_t *bytes);
void takeover_reconcile_locked(void);

/*
 * Sets where the memory of the program in [@address, @address + @bytes) is in the slot's. False:
 * it is not, or not all of it, or it is a private mapping.
 */
bool where_is(uint64_t address, uint64_t bytes, uint64_t *offset);

/* A file descriptor; -1 with errno; -2: @path is not a file of the slot. */
int takeover_open(const char *path);

/* Whether this thread holds a mutex; then what it unmaps is put off until it releases it. */
bool defer_until_unlock(void);

/* In a child: forgets what its parent has put off, and does itself. */
void defer_nothing(void);

/* A guest is about to run: nothing is put off any longer, unless a thread that has put something
 * off still holds its mutex. */
void defer_guest_runs(void);

/* This thread has taken over a device. Its first reset counts as done until the thread waits for
 * events, or a guest runs. */
void defer_fresh(void);

#endif
