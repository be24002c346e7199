/* SPDX-License-Identifier: MIT */
/*
 * A VMM below filters that kill: seccomp [--cloud-hypervisor] DEVICE DEVICE. The threads of the
 * library may make the calls that vfb_seccomp_calls() lists for them, and this one those of a
 * caller. Whatever is missing in the lists ends the process with SIGSYS.
 *
 * --cloud-hypervisor: this thread may make the calls that that VMM allows its own, which does not
 * know the library. The context is made before the filter, as its threads need more.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vfioboost.h>

#include "cloud_hypervisor.h"
#include "filter.h"

#define MIB	   (UINT64_C(1) << 20)
#define DEVICES	   2
#define ENTRIES(a) (sizeof(a) / sizeof((a)[0]))

static struct vfb_ctx *ctx;

static bool as_cloud_hypervisor;

/* The threads of the library inherit this thread's filter: theirs, and what creates them. */
static int filter_threads(void)
{
	static struct calls calls;

	calls_add_role(&calls, VFB_SECCOMP_THREAD);
	calls_add_creation(&calls);
	/* Of create_first_thread(). */
	calls_add_number(&calls, SYS_exit_group);
	return filter_install(&calls);
}

static void *create_context(void *arg)
{
	struct vfb_ctx_opts opts = VFB_CTX_OPTS_INIT;
	int *error = arg;

	opts.devices = DEVICES;
	opts.threads = 2;
	*error = as_cloud_hypervisor ? 0 : filter_threads();
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
	/* Its file needs fchmod(2), which cloud-hypervisor does not allow. */
	if (!as_cloud_hypervisor)
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
	struct vfb_batch_opts opts = VFB_BATCH_OPTS_INIT;
	/* Without options, this thread would populate small ranges itself: mincore(2). */
	const struct vfb_batch_opts *job = as_cloud_hypervisor ? &opts : NULL;
	struct vfb_range small = vmm->ranges[2];
	struct vfb_translation piece;
	int error;

	opts.timeout_ns = UINT64_C(120) * 1000 * 1000 * 1000;
	small.bytes = 2 * MIB;
	small.iova = 2048 * MIB;
	for (int i = 0; i < 3; i++) {
		error = vfb_space_map(vmm->space, &vmm->ranges[2], 1, NULL);
		if (!error)
			error = vfb_space_map(vmm->space, &small, 1, job);
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

static int filter_caller(void)
{
	/* What this program does itself. */
	static const uint32_t mine[] = {SYS_write, SYS_exit_group};
	static struct calls calls;

	if (as_cloud_hypervisor) {
		for (size_t i = 0; i < ENTRIES(cloud_hypervisor_calls); i++)
			calls_add_number(&calls, cloud_hypervisor_calls[i]);
		for (size_t i = 0; i < ENTRIES(cloud_hypervisor_requests); i++)
			calls_add_request(&calls, cloud_hypervisor_requests[i]);
		return filter_install(&calls);
	}
	calls_add_role(&calls, VFB_SECCOMP_CALLER);
	for (size_t i = 0; i < ENTRIES(mine); i++)
		calls_add_number(&calls, mine[i]);
	return filter_install(&calls);
}

static int run_restricted(char **devices, void *own)
{
	struct vfb_subscription *subscription = NULL;
	int error = filter_caller();

	/* Ending it takes membarrier(2), which cloud-hypervisor does not allow. */
	if (!error && !as_cloud_hypervisor)
		error = vfb_subscribe(ctx, NULL, ignore, NULL, &subscription);
	if (!error)
		error = run(VFB_BACKEND_TYPE1, devices, own);
	if (!error)
		error = run(VFB_BACKEND_IOMMUFD, devices, own);
	if (error)
		return error;
	if (subscription)
		vfb_unsubscribe(subscription);
	return vfb_ctx_destroy(ctx);
}

int main(int argc, char **argv)
{
	void *own = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0);
	pthread_t creator;
	int error;

	if (argc > 1 && !strcmp(argv[1], "--cloud-hypervisor")) {
		as_cloud_hypervisor = true;
		argc--;
		argv++;
	}
	if (argc != 1 + DEVICES || own == MAP_FAILED) {
		fprintf(stderr, "Usage: seccomp [--cloud-hypervisor] DEVICE DEVICE\n");
		return 2;
	}
	filter_report();
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
