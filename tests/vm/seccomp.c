/* SPDX-License-Identifier: MIT */
/*
 * A VMM below filters that kill: seccomp DEVICE DEVICE. The threads of the library may make the
 * calls that vfb_seccomp_calls() lists for them, and this one those of a caller. Whatever is
 * missing in the lists ends the process with SIGSYS.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vfioboost.h>

#define MIB	   (UINT64_C(1) << 20)
#define MAX_CALLS  512
#define DEVICES	   2
#define ENTRIES(a) (sizeof(a) / sizeof((a)[0]))

#ifndef __x86_64__
#error "the filter checks for x86_64"
#endif

struct calls {
	struct vfb_seccomp_call list[MAX_CALLS];
	size_t count;
};

struct program {
	struct sock_filter code[2 * MAX_CALLS + 16];
	unsigned short length;
};

static void add_role(struct calls *calls, enum vfb_seccomp_role role)
{
	int count = vfb_seccomp_calls(role, calls->list + calls->count, MAX_CALLS - calls->count);

	calls->count += count > 0 ? count : 0;
}

static void add_number(struct calls *calls, uint32_t number)
{
	calls->list[calls->count++] = (struct vfb_seccomp_call){.number = number};
}

static bool has(const struct calls *calls, const struct vfb_seccomp_call *call)
{
	for (size_t i = 0; i < calls->count; i++)
		if (calls->list[i].number == call->number &&
		    calls->list[i].request == call->request)
			return true;
	return false;
}

static void emit(struct program *program, struct sock_filter instruction)
{
	program->code[program->length++] = instruction;
}

static void emit_load(struct program *program, size_t offset)
{
	emit(program, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset));
}

/* If the loaded word is @value, the call is allowed. */
static void emit_allow(struct program *program, uint32_t value)
{
	emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1));
	emit(program, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
}

static void emit_kill(struct program *program)
{
	emit(program, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
}

static void build(struct program *program, const struct calls *calls)
{
	emit_load(program, offsetof(struct seccomp_data, arch));
	emit(program,
	     (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0));
	emit_kill(program);
	emit_load(program, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < calls->count; i++)
		if (!calls->list[i].request)
			emit_allow(program, calls->list[i].number);
	emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 1, 0));
	emit_kill(program);
	emit_load(program, offsetof(struct seccomp_data, args[1]));
	for (size_t i = 0; i < calls->count; i++)
		if (calls->list[i].request)
			emit_allow(program, calls->list[i].request);
	emit_kill(program);
}

/* For this thread, and those that it creates. */
static int restrict_to(const struct calls *calls)
{
	struct program program = {.length = 0};
	struct sock_fprog filter = {.filter = program.code};

	build(&program, calls);
	filter.len = program.length;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) ? -errno : 0;
}

static struct vfb_ctx *ctx;

/* The threads of the library inherit this thread's filter: theirs, and what creates them. */
static void *create_context(void *arg)
{
	struct vfb_ctx_opts opts = VFB_CTX_OPTS_INIT;
	static struct calls calls, create, caller;
	int *error = arg;

	add_role(&calls, VFB_SECCOMP_THREAD);
	add_role(&create, VFB_SECCOMP_CREATE);
	add_role(&caller, VFB_SECCOMP_CALLER);
	for (size_t i = 0; i < create.count; i++)
		if (!has(&caller, &create.list[i]))
			calls.list[calls.count++] = create.list[i];
	add_number(&calls, SYS_sched_getaffinity);
	/* Of create_first_thread(). */
	add_number(&calls, SYS_exit_group);
	opts.devices = DEVICES;
	opts.threads = 2;
	*error = restrict_to(&calls);
	if (!*error)
		*error = vfb_ctx_create(&opts, &ctx);
	return NULL;
}

/* The first thread of a process is one of the library's. */
static int create_first_thread(void)
{
	int error = 0, status = -1;
	pid_t child = fork();

	if (child == 0) {
		create_context(&error);
		_exit(error ? 1 : 0);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0) {
		fprintf(stderr, "seccomp: a process without threads ended with 0x%x\n", status);
		return -ECHILD;
	}
	return 0;
}

struct vmm {
	struct vfb_space *space;
	struct vfb_memory *memories[3];
	struct vfb_range ranges[3];
	struct vfb_device_request requests[DEVICES];
	struct vfb_device *devices[DEVICES];
};

static int make_memories(struct vmm *vmm, void *own)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory_adopt_opts adopt = VFB_MEMORY_ADOPT_OPTS_INIT;
	int error;

	opts.bytes = 64 * MIB;
	error = vfb_memory_create(ctx, &opts, &vmm->memories[0]);
	opts.kind = VFB_MEMORY_MEMFD;
	opts.page_size = VFB_PAGE_4K;
	if (!error)
		error = vfb_memory_create(ctx, &opts, &vmm->memories[1]);
	adopt.address = own;
	adopt.bytes = 64 * MIB;
	if (!error)
		error = vfb_memory_adopt(ctx, &adopt, &vmm->memories[2]);
	for (unsigned int i = 0; i < 3; i++)
		vmm->ranges[i] = (struct vfb_range){.memory = vmm->memories[i],
						    .bytes = 64 * MIB,
						    .iova = i * 256 * MIB};
	return error;
}

/* With time limits, so that their thread runs, too. */
static int start(struct vmm *vmm)
{
	struct vfb_batch_opts opts = VFB_BATCH_OPTS_INIT;
	struct vfb_job *opening = NULL, *mapping = NULL;
	int error, other = 0;

	opts.timeout_ns = UINT64_C(120) * 1000 * 1000 * 1000;
	error = vfb_devices_open_start(vmm->space, vmm->requests, DEVICES, &opts, &opening);
	if (!error)
		error = vfb_space_map_start(vmm->space, vmm->ranges, 2, &opts, &mapping);
	if (mapping)
		other = vfb_job_wait(mapping, UINT64_MAX);
	if (opening)
		error = vfb_job_wait(opening, UINT64_MAX);
	vfb_job_destroy(mapping);
	vfb_job_destroy(opening);
	for (unsigned int i = 0; i < DEVICES; i++)
		vmm->devices[i] = vmm->requests[i].device;
	return error ? error : other;
}

static int use_device(struct vfb_device *device)
{
	struct vfb_irq_info irqs = VFB_IRQ_INFO_INIT;
	int eventfds[1] = {eventfd(0, 0)};
	uint64_t value;
	void *bar;
	int error;

	error = vfb_region_load(device, VFB_REGION_CONFIG, 0, 2, &value);
	if (!error)
		error = vfb_region_map(device, 0, NULL, &bar);
	if (!error)
		error = vfb_irq_info(device, VFB_IRQ_MSIX, &irqs);
	if (!error && irqs.vectors)
		error = vfb_irq_enable(device, VFB_IRQ_MSIX, 0, eventfds, 1);
	if (!error && irqs.vectors)
		error = vfb_irq_disable(device, VFB_IRQ_MSIX);
	close(eventfds[0]);
	return error ? error : vfb_device_reset(device);
}

/* Memory comes and goes while the guest runs: large, in a job; and small, in this thread. */
static int hot_add(struct vmm *vmm)
{
	struct vfb_range small = vmm->ranges[2];
	struct vfb_translation piece;
	int error;

	small.bytes = 2 * MIB;
	small.iova = 2048 * MIB;
	for (int i = 0; i < 3; i++) {
		error = vfb_space_map(vmm->space, &vmm->ranges[2], 1, NULL);
		if (!error)
			error = vfb_space_map(vmm->space, &small, 1, NULL);
		if (!error &&
		    vfb_space_translate(vmm->space, small.iova + 4096, 4096, &piece, 1) != 1)
			error = -ENOENT;
		if (!error)
			error = vfb_space_unmap(vmm->space, &small, 1, NULL);
		if (!error)
			error = vfb_space_unmap(vmm->space, &vmm->ranges[2], 1, NULL);
		if (error)
			return error;
	}
	return 0;
}

static int stop(struct vmm *vmm)
{
	int error = vfb_devices_close(vmm->devices, DEVICES, NULL);

	if (!error)
		error = vfb_space_unmap(vmm->space, vmm->ranges, 2, NULL);
	if (!error)
		error = vfb_space_destroy(vmm->space);
	for (unsigned int i = 0; i < 3 && !error; i++)
		error = vfb_memory_destroy(vmm->memories[i]);
	return error;
}

static int run(enum vfb_backend backend, char **devices, void *own)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vmm vmm = {.space = NULL};
	int error;

	for (unsigned int i = 0; i < DEVICES; i++)
		vmm.requests[i].address = devices[i];
	opts.backend = backend;
	error = vfb_space_create(ctx, &opts, &vmm.space);
	/* A kernel has one or both. */
	if (error == -ENOTSUP)
		return 0;
	if (!error)
		error = make_memories(&vmm, own);
	if (!error)
		error = start(&vmm);
	for (unsigned int i = 0; i < DEVICES && !error; i++)
		error = use_device(vmm.devices[i]);
	if (!error)
		error = hot_add(&vmm);
	if (!error)
		error = stop(&vmm);
	if (!error)
		printf("backend %d: started, used and stopped\n", (int)backend);
	return error;
}

static void ignore(const struct vfb_event *event, void *data)
{
	(void)event;
	(void)data;
}

static int run_restricted(char **devices, void *own)
{
	/* What this program does itself. */
	static const uint32_t mine[] = {SYS_write, SYS_exit_group};
	struct vfb_subscription *subscription;
	static struct calls calls;
	int error;

	add_role(&calls, VFB_SECCOMP_CALLER);
	for (size_t i = 0; i < ENTRIES(mine); i++)
		add_number(&calls, mine[i]);
	error = restrict_to(&calls);
	if (!error)
		error = vfb_subscribe(ctx, NULL, ignore, NULL, &subscription);
	if (!error)
		error = run(VFB_BACKEND_TYPE1, devices, own);
	if (!error)
		error = run(VFB_BACKEND_IOMMUFD, devices, own);
	if (error)
		return error;
	vfb_unsubscribe(subscription);
	return vfb_ctx_destroy(ctx);
}

int main(int argc, char **argv)
{
	void *own = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0);
	pthread_t creator;
	int error;

	if (argc != 1 + DEVICES || own == MAP_FAILED) {
		fprintf(stderr, "Usage: seccomp DEVICE DEVICE\n");
		return 2;
	}
	/* Before it is forbidden to look what it is. */
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	puts("filters that kill");
	if (create_first_thread() || pthread_create(&creator, NULL, create_context, &error))
		return 1;
	pthread_join(creator, NULL);
	if (!error)
		error = run_restricted(argv + 1, own);
	if (error) {
		fprintf(stderr, "seccomp: %s\n", vfb_last_error());
		return 1;
	}
	puts("a VMM below filters that kill: works");
	return 0;
}
