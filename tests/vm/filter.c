/* SPDX-License-Identifier: MIT */
#include "filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define ARCH AUDIT_ARCH_PPC64LE
#else
#error "the filter does not know this architecture"
#endif

struct program {
	struct sock_filter code[2 * FILTER_CALLS + 16];
	unsigned short length;
};

void calls_add_role(struct calls *calls, enum vfb_seccomp_role role)
{
	int count = vfb_seccomp_calls(role, calls->list + calls->count,
				      FILTER_CALLS - calls->count);

	calls->count += count > 0 ? count : 0;
}

void calls_add_number(struct calls *calls, uint32_t number)
{
	calls->list[calls->count++] = (struct vfb_seccomp_call){.number = number};
}

static bool calls_have(const struct calls *calls, const struct vfb_seccomp_call *call)
{
	for (size_t i = 0; i < calls->count; i++)
		if (calls->list[i].number == call->number &&
		    calls->list[i].request == call->request)
			return true;
	return false;
}

void calls_add_request(struct calls *calls, uint64_t request)
{
	calls->list[calls->count++] = (struct vfb_seccomp_call){.number = SYS_ioctl,
								.request = request};
}

void calls_add_creation(struct calls *calls)
{
	static struct calls create, caller;

	create.count = caller.count = 0;
	calls_add_role(&create, VFB_SECCOMP_CREATE);
	calls_add_role(&caller, VFB_SECCOMP_CALLER);
	for (size_t i = 0; i < create.count; i++)
		if (!calls_have(&caller, &create.list[i]))
			calls->list[calls->count++] = create.list[i];
	/* Before they begin, threads look at what they inherit. */
	calls_add_number(calls, SYS_sched_getaffinity);
}

static void filter_emit(struct program *program, struct sock_filter instruction)
{
	program->code[program->length++] = instruction;
}

static void emit_load(struct program *program, size_t offset)
{
	filter_emit(program, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset));
}

/* If the loaded word is @value, the call is allowed. */
static void emit_allow(struct program *program, uint32_t value)
{
	filter_emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1));
	filter_emit(program, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
}

/* Without a handler, the signal ends the process. */
static void emit_kill(struct program *program)
{
	filter_emit(program, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP));
}

static void build(struct program *program, const struct calls *calls)
{
	emit_load(program, offsetof(struct seccomp_data, arch));
	filter_emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0));
	emit_kill(program);
	emit_load(program, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < calls->count; i++)
		if (!calls->list[i].request)
			emit_allow(program, calls->list[i].number);
	filter_emit(program,
		    (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 1, 0));
	emit_kill(program);
	emit_load(program, offsetof(struct seccomp_data, args[1]));
	for (size_t i = 0; i < calls->count; i++)
		if (calls->list[i].request)
			emit_allow(program, calls->list[i].request);
	emit_kill(program);
}

/* The request of ioctl(2). */
static unsigned long second_argument(const ucontext_t *context)
{
#ifdef __x86_64__
	return context->uc_mcontext.gregs[REG_RSI];
#elif defined(__powerpc64__)
	return context->uc_mcontext.gp_regs[4];
#else
	return context->uc_mcontext.regs[1];
#endif
}

/* In the thread that made the call. Whatever the filter forbids here ends the process as well. */
static void report_call(int signal, siginfo_t *info, void *context)
{
	char text[128], name[16] = "";

	prctl(PR_GET_NAME, name);
	snprintf(text, sizeof(text),
		 "system call %d (second argument 0x%lx) of thread %s is in no "
		 "list\n",
		 info->si_syscall, second_argument(context), name);
	if (write(STDERR_FILENO, text, strlen(text)) >= 0)
		_exit(128 + signal);
	_exit(1);
}

void filter_report(void)
{
	struct sigaction action = {.sa_sigaction = report_call, .sa_flags = SA_SIGINFO};

	sigaction(SIGSYS, &action, NULL);
}

int filter_install(const struct calls *calls)
{
	struct program program = {.length = 0};
	struct sock_fprog filter = {.filter = program.code};

	build(&program, calls);
	filter.len = program.length;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) ? -errno : 0;
}
