/* SPDX-License-Identifier: MIT */
/*
 * Touching memory in user mode. A page fault of user mode takes the lock of the one mapping where
 * the kernel has such locks (lock_vma_under_rcu(): Linux 6.4 for anonymous memory, 6.6 for files,
 * 6.7 for hugetlb); whatever a thread asks the kernel to populate takes mmap_lock, which all
 * threads of the process share. But a fault may raise a signal, and the handlers are the program's.
 */
#include "sys/linux_touch.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

/*
 * The same functions of glibc by their other names: sanitizers take clone() for a fork of the
 * memory and the child's handlers for those of the program.
 */
#ifdef __GLIBC__
int __clone(int (*run)(void *arg), void *stack, int flags, void *arg, ...);
int __sigaction(int number, const struct sigaction *action, struct sigaction *before);
#else
#define __clone	    clone
#define __sigaction sigaction
#endif

/* Of functions that the child runs: they share the record that a sanitizer has of the thread. */
#define IN_CHILD __attribute__((no_sanitize("address", "thread", "undefined")))

/* With room for a signal frame, which has all registers of the CPU. */
#define CHILD_STACK (64 << 10)

struct touch_child {
	void (*touch)(void *arg);
	void *arg;
	pid_t parent;
	_Alignas(16) char stack[CHILD_STACK];
};

IN_CHILD static void touch_end_child(int number)
{
	(void)number;
	syscall(SYS_exit_group, 0);
}

/*
 * The handlers are the child's own: clone() without CLONE_SIGHAND. Without them the kernel would
 * dump core, which is the memory of the whole process. Signals that are sent to the group of the
 * process are not for the child.
 */
IN_CHILD static void child_set_signals(void)
{
	struct sigaction action = {.sa_handler = touch_end_child};
	sigset_t others;

	__sigaction(SIGBUS, &action, NULL);
	__sigaction(SIGSEGV, &action, NULL);
	sigfillset(&others);
	sigdelset(&others, SIGBUS);
	sigdelset(&others, SIGSEGV);
	pthread_sigmask(SIG_SETMASK, &others, NULL);
}

IN_CHILD static int child_main(void *arg)
{
	const struct touch_child *child = arg;

	/*
	 * The end of the thread that waits for it, be it by exec(2), ends the child. That is too
	 * late for wait(2) to report the end of the process only when its memory is free.
	 */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != child->parent)
		return 0;
	prctl(PR_SET_NAME, "vfb-touch");
	child_set_signals();
	child->touch(child->arg);
	return 0;
}

/*
 * No signal reports its end, and wait(2) of the program does not see it (__WCLONE). A debugger is
 * not asked to follow it. CLONE_FILES: closing a file here closes it.
 */
int vfb_linux_run_child(void (*touch)(void *arg), void *arg)
{
	struct touch_child child = {.touch = touch, .arg = arg, .parent = getpid()};
	pid_t pid;

	/* It would end the process: it knows no such children. */
	if (RUNNING_ON_VALGRIND)
		return -ENOSYS;
	pid = __clone(child_main, child.stack + CHILD_STACK,
		      CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_FS | CLONE_UNTRACED, &child);
	if (pid < 0)
		return -errno;
	while (waitpid(pid, NULL, __WCLONE) < 0 && errno == EINTR)
		;
	return 0;
}

/*
 * Leaves what is in the page; as an atomic operation it loses no write of others. Of a constant 0 a
 * compiler may make a read.
 */
IN_CHILD static void touch_each_page(void *arg)
{
	static volatile char nothing;
	struct vfb_touch *touch = arg;

	while (touch->touched < touch->bytes) {
		if (touch->stop && atomic_load_explicit(touch->stop, memory_order_relaxed))
			return;
		__atomic_fetch_or(touch->address + touch->touched, nothing, __ATOMIC_RELAXED);
		touch->touched += touch->page_bytes;
	}
}

int vfb_linux_touch_range(const struct vfb_sys *sys, struct vfb_touch *touch)
{
	int error;

	(void)sys;
	touch->touched = 0;
	error = vfb_linux_run_child(touch_each_page, touch);
	if (error)
		return error;
	if (touch->touched >= touch->bytes)
		return 0;
	return touch->stop && atomic_load(touch->stop) ? -ECANCELED : -EFAULT;
}
