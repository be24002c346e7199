/* SPDX-License-Identifier: MIT */
/*
 * Opening devices. What is quick is done in turn: looking them up, attaching their groups. What
 * resets them is done chain beside chain. The space hears as early as possible that it has its
 * domain: after the groups are attached where that makes it, else after the devices are open.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container_of.h"
#include "device/batch.h"
#include "observe/error.h"
#include "options.h"

struct open_job {
	struct vfb_device_batch batch;
	struct vfb_space *space;
	struct vfb_device_request *requests;
	bool best_effort;
	struct vfb_task prepare;
	enum {
		PREPARING,
		OPENING,
		UNDOING,
	} stage;
};

static void fail_item(struct open_job *open, struct vfb_device_item *item, int error)
{
	item->error = error;
	vfb_job_fail(&open->batch.job, error, !open->best_effort);
}

static void attach_item(struct open_job *open, struct vfb_device_item *item)
{
	char address[VFB_PCI_ADDRESS_BYTES];
	struct vfb_iommu_device identity;
	struct vfb_span span;
	int error;

	memcpy(address, item->pci.address, sizeof(address));
	vfb_observe_begin(&span, &open->space->ctx->observer, VFB_PHASE_DISCOVER);
	error = vfb_pci_discover(open->space->ctx->sys, address, &item->pci);
	vfb_observe_end(&span, .operation = "sysfs", .result = error, .device = address,
			.node = error ? VFB_ANY_NODE : item->pci.numa_node);
	if (!error) {
		identity = vfb_device_identity(&item->pci);
		error = vfb_space_attach(open->space, &identity);
	}
	if (error)
		fail_item(open, item, error);
	else
		item->attached = true;
}

/* Tells the space that all is attached that will be. */
static void end_opening(struct open_job *open)
{
	bool by_group = open->space->iommu->ops->attach_makes_domain;
	unsigned int attached = 0;
	int error;

	for (size_t i = 0; i < open->batch.count; i++) {
		struct vfb_device_item *item = &open->batch.items[i];

		item->counted = by_group ? item->attached : item->device != NULL;
		attached += item->counted;
	}
	error = vfb_space_opening_end(open->space, attached);
	if (!error)
		return;
	for (size_t i = 0; i < open->batch.count; i++)
		open->batch.items[i].counted = false;
	vfb_job_fail(&open->batch.job, error, true);
}

static void run_prepare(struct vfb_task *task)
{
	struct open_job *open = container_of(task, struct open_job, prepare);
	struct vfb_job *job = &open->batch.job;

	for (size_t i = 0; i < open->batch.count && !vfb_job_stopped(job); i++)
		attach_item(open, &open->batch.items[i]);
	if (open->space->iommu->ops->attach_makes_domain)
		end_opening(open);
	vfb_job_release(job);
}

static void open_item(struct vfb_device_batch *batch, struct vfb_device_item *item)
{
	struct open_job *open = container_of(batch, struct open_job, batch);
	int error;

	if (vfb_job_stopped(&batch->job) || !item->attached)
		return;
	error = vfb_device_open_one(open->space, &item->pci, &item->device);
	if (error)
		fail_item(open, item, error);
	atomic_fetch_add(&batch->job.entries_done, 1);
}

static void close_item(struct vfb_device_batch *batch, struct vfb_device_item *item)
{
	(void)batch;
	if (item->device)
		vfb_device_close_one(item->device);
	item->device = NULL;
}

/* A device that is not to stay lets go of its group. */
static void detach_item(struct open_job *open, struct vfb_device_item *item)
{
	struct vfb_iommu_device identity = vfb_device_identity(&item->pci);

	if (item->attached)
		vfb_space_detach(open->space, &identity, item->counted);
}

static void report(struct open_job *open, struct vfb_device_item *item)
{
	struct vfb_device_request *request = &open->requests[item - open->batch.items];

	request->device = item->device;
	request->status = item->device ? 0 : item->error ? item->error : -ECANCELED;
}

/* All are open, or it is known which are not. Returns whether nothing is to be undone. */
static bool finish_opening(struct open_job *open)
{
	struct vfb_job *job = &open->batch.job;

	if (!open->space->iommu->ops->attach_makes_domain)
		end_opening(open);
	return !vfb_job_settle(job) || !vfb_job_stopped(job);
}

static void finish_items(struct open_job *open)
{
	for (size_t i = 0; i < open->batch.count; i++) {
		struct vfb_device_item *item = &open->batch.items[i];

		if (!item->device)
			detach_item(open, item);
		report(open, item);
	}
	atomic_store(&open->batch.job.entries_done, open->batch.count);
	vfb_device_batch_release(&open->batch);
	vfb_space_opening_finish(open->space);
}

static bool finish_open(struct vfb_job *job)
{
	struct open_job *open = container_of(job, struct open_job, batch.job);

	switch (open->stage) {
	case PREPARING:
		open->stage = OPENING;
		vfb_device_batch_chain(&open->batch, vfb_reset_is_shared_opening);
		vfb_device_batch_run(&open->batch, open_item);
		return false;
	case OPENING:
		if (finish_opening(open))
			break;
		open->stage = UNDOING;
		vfb_device_batch_run(&open->batch, close_item);
		return false;
	case UNDOING:
		break;
	}
	finish_items(open);
	return true;
}

static void free_open(struct vfb_job *job)
{
	struct open_job *open = container_of(job, struct open_job, batch.job);

	vfb_device_batch_free(&open->batch);
	free(open);
}

static const struct vfb_job_ops open_ops = {
	.operation = "open",
	.cancellable = true,
	.finish = finish_open,
	.free = free_open,
};

/* Writes the full addresses into the items; none may come twice. */
static int parse_requests(struct open_job *open, size_t *culprit)
{
	struct vfb_device_item *items = open->batch.items;
	int error;

	for (size_t i = 0; i < open->batch.count; i++) {
		*culprit = i;
		error = vfb_pci_parse(open->requests[i].address, items[i].pci.address);
		if (error)
			return error;
		for (size_t other = 0; other < i; other++)
			if (!strcmp(items[other].pci.address, items[i].pci.address))
				return vfb_fail(-EINVAL,
						"device %s is there twice, as entries %zu "
						"and %zu",
						items[i].pci.address, other, i);
	}
	return 0;
}

static int prepare(struct open_job *open, size_t count, const struct vfb_batch_opts *opts)
{
	size_t culprit;
	int error;

	error = vfb_device_batch_init(&open->batch, &open_ops, open->space->ctx, count,
				      opts->width);
	if (error)
		return error;
	for (size_t i = 0; i < count; i++) {
		open->requests[i].device = NULL;
		open->requests[i].status = -ECANCELED;
	}
	error = parse_requests(open, &culprit);
	if (error)
		open->requests[culprit].status = error;
	else
		error = vfb_job_set_timeout(&open->batch.job, opts->timeout_ns);
	if (!error)
		error = vfb_device_batch_reserve(&open->batch);
	if (error)
		vfb_job_fini(&open->batch.job);
	return error;
}

int vfb_devices_open_start(struct vfb_space *space, struct vfb_device_request *requests,
			   size_t count, const struct vfb_batch_opts *opts, struct vfb_job **out)
{
	struct vfb_batch_opts known;
	struct open_job *open;
	int error;

	*out = NULL;
	error = vfb_batch_opts_read(&known, opts);
	if (error)
		return error;
	open = calloc(1, sizeof(*open));
	if (!open)
		return vfb_fail_memory();
	open->space = space;
	open->requests = requests;
	open->best_effort = known.flags & VFB_BATCH_BEST_EFFORT;
	open->prepare.run = run_prepare;
	error = prepare(open, count, &known);
	if (error) {
		free_open(&open->batch.job);
		return error;
	}
	vfb_space_opening_begin(space);
	*out = &open->batch.job;
	vfb_job_submit_sleeping(&open->batch.job, &open->prepare);
	vfb_job_release(&open->batch.job);
	return 0;
}

int vfb_devices_open(struct vfb_space *space, struct vfb_device_request *requests, size_t count,
		     const struct vfb_batch_opts *opts)
{
	struct vfb_job *job;

	return vfb_job_sync(job, vfb_devices_open_start(space, requests, count, opts, &job));
}

int vfb_device_open(struct vfb_space *space, const char *address, struct vfb_device **out)
{
	struct vfb_device_request request = {.address = address};
	int error = vfb_devices_open(space, &request, 1, NULL);

	*out = request.device;
	return error;
}
