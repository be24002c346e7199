/* SPDX-License-Identifier: MIT */
/*
 * Faults of devices. One thread at a time reads them; all of them map the windows that were faulted
 * at. Faults at a window that waits or is being mapped join it. A group of faults is answered when
 * all its windows are done, or by the watchdog.
 */
#ifndef VFB_FAULT_H
#define VFB_FAULT_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "dma/demand.h"
#include "record/histogram.h"
#include "sys/uapi.h"

/* A group that was read, and is freed when it waits for no window. */
struct vfb_fault_group {
	TAILQ_ENTRY(vfb_fault_group) link;
	uint32_t cookie;
	/* VFB_IOMMUFD_PAGE_RESP_... */
	uint32_t code;
	/* How many faults it has, and windows that it waits for. */
	unsigned int faults, left;
	/* It is no longer in the list: its cookie may mean another group by now. */
	bool answered;
	uint64_t read_ns;
};

/* A fault of a group at a window. */
struct vfb_fault_part {
	struct vfb_fault_part *next;
	struct vfb_fault_group *group;
};

/* A window that is to be mapped, or being mapped. */
struct vfb_fault_window {
	TAILQ_ENTRY(vfb_fault_window) link;
	/* With a reference. */
	struct vfb_demand *demand;
	size_t number;
	bool taken;
	struct vfb_fault_part *parts;
};

TAILQ_HEAD(vfb_fault_groups, vfb_fault_group);
TAILQ_HEAD(vfb_fault_windows, vfb_fault_window);

struct vfb_fault_counters {
	uint64_t faults, coalesced, spurious, denied, expired, ahead;
	/* From reading a group to answering it. */
	struct vfb_histogram latency;
};

struct vfb_faults {
	struct vfb_space *space;
	int fd, stop;
	uint64_t timeout_ns;
	/* The most windows that are mapped ahead. */
	size_t most_ahead;
	pthread_t *threads, watchdog;
	unsigned int thread_count;
	bool has_watchdog;

	/* Of the thread that reads. */
	struct vfb_iommu_hwpt_pgfault *buffer;
	size_t room;

	/* Guards what follows. No other lock is taken with it. */
	pthread_mutex_t lock;
	/* Handlers wait for windows, or for the one of them that reads. */
	pthread_cond_t changed, watch;
	bool reading, stopping;
	unsigned int idle;
	/* The watchdog waits for the first group. */
	bool off_duty;
	/* Those that were not answered, the oldest first. */
	struct vfb_fault_groups groups;
	struct vfb_fault_windows windows;
	/* Windows that no thread has taken. */
	size_t queued;
	struct vfb_fault_counters counters;
};

/* Answers, collected with the lock held and written without it. */
#define VFB_FAULT_ANSWERS 64
struct vfb_fault_answers {
	struct vfb_iommu_hwpt_page_response list[VFB_FAULT_ANSWERS];
	size_t count;
};
void vfb_fault_answers_write(struct vfb_faults *faults, struct vfb_fault_answers *answers);

/* Adds the groups of @count faults that were read, and answers those that wait for no window. */
void vfb_fault_groups_add(struct vfb_faults *faults, const struct vfb_iommu_hwpt_pgfault *list,
			  size_t count);
/* A window of the queue, which the caller maps, and how many after it; NULL: there is none. */
struct vfb_fault_window *vfb_fault_window_take_locked(struct vfb_faults *faults, size_t *ahead);
/* Answers the groups that waited only for it, and frees it. */
void vfb_fault_window_finish(struct vfb_faults *faults, struct vfb_fault_window *window, int error);
/* Answers what takes too long, until the handlers stop. @arg: struct vfb_faults. */
void *vfb_fault_watchdog_run(void *arg);

struct vfb_space_opts;
/* Begins and ends handling the faults of a space. NULL is allowed. */
int vfb_faults_start(struct vfb_space *space, const struct vfb_space_opts *opts);
void vfb_faults_stop(struct vfb_faults *faults);
/* Adds what it has counted. */
void vfb_faults_info(struct vfb_faults *faults, struct vfb_on_demand_info *info);

#endif
