/* SPDX-License-Identifier: MIT */
/*
 * The inside of the fake kernel. Everything is guarded by fake->lock, one real mutex; functions
 * are called with it held unless they say otherwise. Those marked "may block" give it up while
 * the calling thread is blocked in virtual time.
 */
#ifndef FAKE_MODEL_H
#define FAKE_MODEL_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "fake.h"
#include "mem.h"
#include "vfio.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define NEVER	      UINT64_MAX
#define PAGE_2M	      (UINT64_C(2) << 20)

void *fk_xalloc(size_t bytes);
char *fk_xstrdup(const char *text);

/* ---- inject.c: failures and misuse ---- */

struct arm {
	char name[FAKE_NAME_BYTES];
	unsigned int left;
	int error;
	bool always;
};

struct injection {
	unsigned int calls, left;
	int error;
	struct arm arms[FAKE_FAILS];
	unsigned int arm_count;
	uint64_t delay;
	char failed[160];
};

/* 0, or the negative errno that this call is to fail with. @detail may be NULL. */
int fk_inject(struct fake *fake, const char *kind, const char *detail, int usual);
/* As inject(), spends the delay; may block. */
int fk_inject_slow(struct fake *fake, const char *kind, const char *detail, int usual);
/* For calls that are not counted. */
int fk_inject_named(struct fake *fake, const char *kind, int usual);
__attribute__((format(printf, 2, 3))) void fk_misuse(struct fake *fake, const char *format, ...);
/* It is misuse to make @call with more than @allowed mutexes held. */
void fk_locks_check(struct fake *fake, const char *call, unsigned int allowed);

/* ---- files.c ---- */

enum kind {
	FILE_TEXT,
	FILE_PAGEMAP,
	FILE_CONTAINER,
	FILE_GROUP,
	FILE_DEVICE,
	FILE_IOMMUFD,
	FILE_MEMFD,
	FILE_DMA_BUF,
	FILE_EVENTFD,
	FILE_PIPE,
	FILE_FAULTS,
};

struct file {
	enum kind kind;
	unsigned int refs;
	/* -1: closed, but still referred to. */
	int fd;
	/* flock(2); NULL: not locked. */
	struct vlock *lock;
	/* The program has opened it, and closes it. */
	bool foreign;
	char path[128];
	union {
		void *data;
		char *text;
		struct container *container;
		struct group *group;
		struct devfile *devfile;
		struct iommufd *iommufd;
		struct object *object;
		struct dma_buf *dma_buf;
		struct fault_queue *queue;
	};
};

/* Makes a file for a new fd; takes over @data. */
int fk_file_new(struct fake *fake, enum kind kind, const char *path, void *data, struct file **out);
/* For an fd that exists. */
void fk_file_install(struct fake *fake, int fd, enum kind kind, const char *path, void *data);
struct file *fk_file_get(struct fake *fake, int fd);
/* May block: the last one releases it. */
void fk_file_put(struct fake *fake, struct file *file);
/* The fd is closed; may block. */
void fk_file_close(struct fake *fake, int fd);

/* ---- sysfs.c ---- */

enum {
	SYSFS_NONE,
	SYSFS_TEXT,
	SYSFS_LINK,
	SYSFS_DIR
};
/* What is at @path, and its text, target, or names separated by newlines. */
/* What can be written to, and writing it. */
bool fk_sysfs_writable(struct fake *fake, const char *path);
ssize_t fk_sysfs_write(struct fake *fake, const char *path, const char *text, size_t bytes);
/* Those of them that change a device's driver, or what devices there are. May block. */
bool fk_sysfs_binds(struct fake *fake, const char *path);
int fk_sysfs_bind(struct fake *fake, const char *path, const char *text, size_t bytes);
int fk_sysfs_get(struct fake *fake, const char *path, char *out, size_t bytes);
/* The real path, -ENOENT. */
int fk_sysfs_realpath(struct fake *fake, const char *path, char *out, size_t bytes);
/* The device that an open file of a process is of. */
int fk_proc_node(struct fake *fake, const char *path, struct vfb_sys_path *info);

/* ---- The whole ---- */

struct owned {
	char path[128];
	unsigned int uid, gid, mode;
};

struct extra {
	char path[128];
	char text[256];
};

/* What listens at local sockets. */
struct daemon {
	fake_answer *answer;
	void *arg;
	char request[4096];
	size_t bytes;
};

/* The one helper process there can be, and what it was started with. */
struct helper {
	bool running;
	struct file *files[16];
	size_t count;
	char text[1024];
};

/* What another process has open. */
struct hold {
	int pid;
	char name[16];
	char path[64];
	bool is_node;
	struct vfb_node node;
};

struct deny {
	char path[128];
	int error;
	bool only_writing;
};

struct fake {
	struct vfb_sys sys;
	struct fake_config config;
	pthread_mutex_t lock;
	pthread_key_t key;

	uint64_t now;
	/* Counted threads that are not blocked; others that are not blocked. */
	unsigned int runnable, outside;
	uint64_t activity;
	struct thread *threads;

	struct injection injection;
	/* The arguments of fake_page_faults(). */
	uint64_t faults[8];
	size_t fault_count;
	char misuses[2048];
	unsigned int misuse_count;

	struct file **files;
	size_t file_room;
	struct helper helper;
	struct daemon daemon;
	int process;
	/* Of whatever file; those that are locked all stand for one thing. */
	struct vlock file_lock, namespace_lock;
	struct extra extras[64];
	size_t extra_count;
	struct hold holds[8];
	size_t hold_count;
	struct deny denied[16];
	unsigned int denied_count;
	struct owned owned[16];
	unsigned int owned_count;

	struct node nodes[FAKE_NODES];
	uint64_t reserved[3];
	struct object *objects;
	struct mm mm;

	struct space *spaces;
	unsigned int next_space;
	struct spapr_region *regions;
	struct group *groups;
	struct device *devices, *unplugged;
	struct shared_lock *locks;
	struct iommufd *iommufds;
	/* In the order in which devices have sent them; and writes to files of faults. */
	struct page_group *page_groups;
	unsigned int fault_writes;
	/* Of /dev/vfio/devices. */
	unsigned int next_index;

	uint64_t pinned, locked_vm, user_locked, pinned_vm;
	unsigned int maps_in_flight, unmaps_in_flight, registers_in_flight, populates_in_flight,
		resets_in_flight;
	struct fake_stats stats;
	/* By node of the thread (last: several), by node of the page; by CPU. */
	uint64_t zeroed[FAKE_NODES + 1][FAKE_NODES];
	uint64_t zeroed_on_cpu[CPU_SETSIZE];
};

/* Bytes of a base page. */
static inline uint64_t fk_page(const struct fake *fake)
{
	return fake->config.base_page;
}

static inline struct fake *fake_of(const struct vfb_sys *sys)
{
	return (struct fake *)(uintptr_t)sys;
}

/* Entering and leaving the kernel. */
static inline struct fake *kernel_enter(const struct vfb_sys *sys)
{
	struct fake *fake = fake_of(sys);

	pthread_mutex_lock(&fake->lock);
	fake->activity++;
	return fake;
}

static inline void kernel_leave(struct fake *fake)
{
	pthread_mutex_unlock(&fake->lock);
}

static inline uint64_t cost_of(uint64_t bytes, uint64_t ns_per_gib)
{
	return (uint64_t)((unsigned __int128)bytes * ns_per_gib >> 30);
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

#define COUNT_UP(fake, counter, max)                         \
	do {                                                 \
		(fake)->counter++;                           \
		if ((fake)->counter > (fake)->stats.max)     \
			(fake)->stats.max = (fake)->counter; \
	} while (0)

/* The entries of the table, each in the file of its subject. */
void fk_files_table(struct vfb_sys *sys);
void fk_memfd_table(struct vfb_sys *sys);
void fk_memory_table(struct vfb_sys *sys);
void fk_threads_table(struct vfb_sys *sys);
void fk_process_table(struct vfb_sys *sys);
void fk_socket_table(struct vfb_sys *sys);
void fk_faults_table(struct vfb_sys *sys);
void fk_machine_table(struct vfb_sys *sys);

#endif
