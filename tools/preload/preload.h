/* SPDX-License-Identifier: MIT */
#ifndef PRELOAD_H
#define PRELOAD_H

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdbool.h>
#include <sys/types.h>

#include "context.h"
#include "engine/engine.h"
#include "records.h"
#include "settings.h"

/* What to do, read once at start. */
extern struct settings preload_settings;

/* Where to write; NULL: `vfioboost exec` is not above this process. */
extern struct records *preload_records;

/*
 * Maps the records that the settings name. False: they are not there, or the file that is there is
 * not the one that exec made.
 */
bool preload_map_records(void);

/* Writes one record; process and thread are filled in. */
void preload_note(const struct record *record);

/* Why something is not done; the first one is kept. */
void preload_remark(const char *text);

/*
 * Set while the preloaded object does something itself: what it calls then is not the command's.
 * The model does without allocation on the first use in a thread.
 */
extern _Thread_local bool preload_inside __attribute__((tls_model("initial-exec")));

/* Time of CLOCK_MONOTONIC, without a system call. */
uint64_t preload_now(void);

/* This process, and the CPUs that it may use, as it started. */
extern pid_t preload_process;
extern cpu_set_t preload_cpus;

/* To be called once, at start. False: the system lacks what it takes. */
bool preload_know_process(void);

/* To be called at each entry: whether this is a child by now. It takes no system call. */
void preload_check_process(void);

/* Whether this process was made by other means than fork(3), which left locks and no threads. */
bool preload_process_is_bare(void);

/* This process has not used VFIO yet: it was forked. */
void preload_forget_use(void);

/* For all that threads of the command share here; held for moments only. */
extern pthread_mutex_t preload_lock;

/*
 * The library in this process, with its threads: made on first use. NULL when it cannot be had,
 * which has been remarked then.
 */
struct vfb_ctx *preload_context(void);

/*
 * Runs @run in one of those threads and waits for it: the command's own threads make no system
 * call besides their own but fstat(2), gettid(2), getpid(2) and futex(2), which no filter forbids.
 * False: there are no threads, nothing was done.
 */
bool preload_run(void (*run)(void *arg), void *arg);

/* The same in two halves, with the same answer; a call that was started has to be waited for. */
struct preload_call {
	struct vfb_task task;
	void (*run)(void *arg);
	void *arg;
	sem_t done;
};
bool preload_start(struct preload_call *call, void (*run)(void *arg), void *arg);
void preload_wait(struct preload_call *call);

/* Whether this thread has a filter of system calls, which might kill the command for ours. */
bool preload_is_filtered(void);

/* Whether some thread of this process has one, or the process that it was made by. */
bool preload_has_filter(void);
void preload_set_filter(void);

/* Ends the threads, for what the kernel refuses to a process that has several; the next use makes
 * new ones. */
void preload_end_threads(void);

/* Leaves the threads behind, which did not survive a fork. preload_lock is held, or nobody else is
 * there. */
void preload_forget_threads(void);

/* Releases every device of this process, those that share no reset at the same time; for
 * preload_run(). */
void release_devices(void *unused);

#endif
