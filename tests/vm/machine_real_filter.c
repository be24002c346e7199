/* SPDX-License-Identifier: MIT */
/*
 * Scenarios below filters that kill: the threads of the library may make the calls that
 * vfb_seccomp_calls() lists for them, and the scenario those of a caller and its own.
 */
#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <errno.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <sys/syscall.h>

#include "filter.h"
#include "machine.h"

/*
 * What scenarios do themselves: they read files, start processes, which pass file descriptors to
 * each other, and run a shell.
 */
static const uint32_t of_scenarios[] = {
	SYS_read,	  SYS_write,	       SYS_exit_group, SYS_wait4,      SYS_kill,
	SYS_pipe2,	  SYS_sendmsg,	       SYS_recvmsg,    SYS_socketpair, SYS_fcntl,
	SYS_ftruncate,	  SYS_uname,	       SYS_lseek,      SYS_execve,     SYS_rt_sigaction,
	SYS_rt_sigreturn, SYS_set_tid_address, SYS_getuid,     SYS_geteuid,    SYS_getgid,
	SYS_getegid,	  SYS_tgkill,
#ifdef __x86_64__
	SYS_access,	  SYS_alarm,	       SYS_arch_prctl, SYS_pipe,       SYS_dup2,
	SYS_vfork,
#else
	SYS_faccessat,	  SYS_setitimer,       SYS_dup3,
#endif
};

static struct vfb_ctx *filtered_ctx;

static void *create_below_filter(void *arg)
{
	struct vfb_ctx_opts opts = VFB_CTX_OPTS_INIT;
	static struct calls calls;
	int *error = arg;

	calls_add_role(&calls, VFB_SECCOMP_THREAD);
	calls_add_creation(&calls);
	/* Of callbacks, which look which node a CPU belongs to. */
#ifdef __x86_64__
	calls_add_number(&calls, SYS_access);
#endif
	calls_add_number(&calls, SYS_faccessat);
	/* Batches of more devices add threads, which inherit the scenario's filter. */
	opts.devices = 4;
	*error = filter_install(&calls);
	if (!*error)
		*error = vfb_ctx_create(&opts, &filtered_ctx);
	return NULL;
}

/* A scenario may make further contexts, whose threads inherit its filter. */
static int filter_scenario(void)
{
	static struct calls calls;

	calls_add_role(&calls, VFB_SECCOMP_CALLER);
	calls_add_creation(&calls);
	for (size_t i = 0; i < sizeof(of_scenarios) / sizeof(of_scenarios[0]); i++)
		calls_add_number(&calls, of_scenarios[i]);
	calls_add_request(&calls, TCGETS);
	/* One that VFIO does not know. */
	calls_add_request(&calls, _IO(VFIO_TYPE, VFIO_BASE + 50));
	return filter_install(&calls);
}

int machine_ctx_create_filtered(struct vfb_ctx **out)
{
	pthread_t creator;
	int error;

	filter_report();
	if (pthread_create(&creator, NULL, create_below_filter, &error))
		return -EAGAIN;
	pthread_join(creator, NULL);
	*out = filtered_ctx;
	return error ? error : filter_scenario();
}
