/* SPDX-License-Identifier: MIT */
/*
 * Opening devices. What is quick is done in turn: looking them up, attaching their groups. What
 * resets them is done chain beside chain. The space learns as early as possible that it has its
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
	struct vfb_task prepare, late;
	/* Guards what follows; and of the items, what run_late() and the deadline look at. */
	pthread_mutex_t lock;
	enum {
		PREPARING,
		OPENING,
		/* All that will be opened is: what is kept is being decided. */
		DECIDING,
		UNDOING,
	} stage;
	/* The deadline came while devices were being opened, or later. */
	bool has_expired, is_overdue;
	/* run_late() is to come, or runs. */
	bool is_late_pending;
	/* The space knows what is attached. The requests are written, and the caller's again. */
	bool has_ended_opening, is_reported;
};

static void fail_item(struct open_job *open, struct vfb_device_item *item, int error)
{
	pthread_mutex_lock(&open->lock);
	item->error = error;
	pthread_mutex_unlock(&open->lock);
	vfb_job_fail(&open->batch.job, error, !open->best_effort);
	atomic_store(&item->opened, error);
	vfb_job_announce(&open->batch.job);
}

static int attach_patiently(struct open_job *open, const struct vfb_iommu_device *identity)
{
	const struct vfb_sys *sys = open->space->ctx->sys;
	uint64_t waited = 0;
	int error;

	do
		error = vfb_space_attach(open->space, identity);
	while (error && !vfb_job_stopped(&open->batch.job) &&
	       vfb_device_wait_to_retry(sys, error, &waited));
	return error;
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
		error = attach_patiently(open, &identity);
	}
	if (error)
		fail_item(open, item, error);
	else
		item->attached = true;
}

static unsigned int count_attached_locked(struct open_job *open)
{
	bool by_group = open->space->iommu->ops->attach_makes_domain;
	unsigned int attached = 0;

	for (size_t i = 0; i < open->batch.count; i++) {
		struct vfb_device_item *item = &open->batch.items[i];

		if (by_group)
			item->counted = item->attached;
		else
			item->counted = open->has_expired ? item->kept : item->device != NULL;
		attached += item->counted;
	}
	return attached;
}

/* Reports to the space that all is attached that will be. */
static void end_opening(struct open_job *open)
{
	unsigned int attached;
	int error;

	pthread_mutex_lock(&open->lock);
	open->has_ended_opening = true;
	attached = count_attached_locked(open);
	pthread_mutex_unlock(&open->lock);
	error = vfb_space_opening_end(open->space, attached);
	if (!error)
		return;
	vfb_job_fail(&open->batch.job, error, true);
	pthread_mutex_lock(&open->lock);
	for (size_t i = 0; i < open->batch.count; i++) {
		open->batch.items[i].counted = false;
		open->batch.items[i].kept = false;
	}
	pthread_mutex_unlock(&open->lock);
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
	struct vfb_device *device = NULL;
	int error;

	if (vfb_job_stopped(&batch->job) || !item->attached)
		return;
	error = vfb_device_open_one(open->space, &item->pci, &device);
	pthread_mutex_lock(&open->lock);
	item->device = device;
	if (!open->is_reported)
		open->requests[item - batch->items].device = device;
	pthread_mutex_unlock(&open->lock);
	atomic_fetch_add(&batch->job.entries_done, 1);
	if (error) {
		fail_item(open, item, error);
		return;
	}
	atomic_store(&item->opened, 0);
	vfb_job_announce(&batch->job);
}

static int open_entry_status(struct vfb_job *job, size_t entry)
{
	struct vfb_device_batch *batch = container_of(job, struct vfb_device_batch, job);

	return atomic_load(&batch->items[entry].opened);
}

static void undo_item(struct vfb_device_batch *batch, struct vfb_device_item *item)
{
	struct open_job *open = container_of(batch, struct open_job, batch);

	if (!item->device || item->kept)
		return;
	vfb_device_close_one(item->device);
	pthread_mutex_lock(&open->lock);
	item->device = NULL;
	pthread_mutex_unlock(&open->lock);
}

/* A device that is not kept releases its group. */
static void detach_item(struct open_job *open, struct vfb_device_item *item)
{
	struct vfb_iommu_device identity = vfb_device_identity(&item->pci);

	if (item->attached)
		vfb_space_detach(open->space, &identity, item->counted);
}

/* Once: from then on the requests are the caller's. */
static void report_requests(struct open_job *open)
{
	pthread_mutex_lock(&open->lock);
	for (size_t i = 0; i < open->batch.count && !open->is_reported; i++) {
		struct vfb_device_request *request = &open->requests[i];
		struct vfb_device_item *item = &open->batch.items[i];
		int unfinished = open->has_expired && !item->device ? -ETIMEDOUT : -ECANCELED;

		request->device = item->kept ? item->device : NULL;
		request->status = item->kept ? 0 : item->error ? item->error : unfinished;
		atomic_store(&item->opened, request->status);
	}
	open->is_reported = true;
	pthread_mutex_unlock(&open->lock);
}

/* For its owner the job ends, at the deadline; what hangs ends by itself. */
static void end_late(struct open_job *open)
{
	report_requests(open);
	vfb_job_end_late(&open->batch.job);
}

/* What the deadline leaves to be done. The job holds the space, and is not decided before. */
static void run_late(struct vfb_task *task)
{
	struct open_job *open = container_of(task, struct open_job, late);

	if (!open->space->iommu->ops->attach_makes_domain)
		end_opening(open);
	end_late(open);
	pthread_mutex_lock(&open->lock);
	open->is_late_pending = false;
	pthread_mutex_unlock(&open->lock);
	vfb_job_release(&open->batch.job);
}

/* With best effort, those that are open are kept. */
static void expire_locked(struct open_job *open)
{
	size_t unfinished = 0, first = 0;

	open->has_expired = true;
	for (size_t i = open->batch.count; i-- > 0;) {
		struct vfb_device_item *item = &open->batch.items[i];

		item->kept = item->device && open->best_effort;
		if (item->device || item->error)
			continue;
		unfinished++;
		first = i;
	}
	vfb_fail(
		-ETIMEDOUT,
		"%zu of %zu devices are not open yet, %s is the first of them: each is closed when "
		"it is; to wait for them, increase timeout_ns",
		unfinished, open->batch.count, open->requests[first].address);
}

static void expire_open(struct vfb_job *job)
{
	struct open_job *open = container_of(job, struct open_job, batch.job);
	bool is_opening, is_deciding;

	pthread_mutex_lock(&open->lock);
	is_opening = open->stage < DECIDING;
	is_deciding = open->stage == DECIDING;
	open->is_overdue = true;
	if (is_opening) {
		expire_locked(open);
		open->is_late_pending = true;
		vfb_job_hold(job);
	}
	pthread_mutex_unlock(&open->lock);
	/* It is decided at once, and then looks at is_overdue. */
	if (is_deciding)
		return;
	/* The job may be done with the space, which may be gone. */
	if (!is_opening) {
		end_late(open);
		return;
	}
	vfb_job_fail(job, -ETIMEDOUT, true);
	/* Devices that are kept may bring a domain: mapping what waits for that may sleep. */
	vfb_engine_submit_late(job->ctx->engine, &open->late);
}

/* All are open, or will not be. False: run_late() comes first, and calls for this again. */
static bool begin_deciding(struct open_job *open)
{
	bool begin;

	pthread_mutex_lock(&open->lock);
	begin = !open->is_late_pending;
	if (begin)
		open->stage = DECIDING;
	pthread_mutex_unlock(&open->lock);
	return begin;
}

/* Returns whether something is to be undone. */
static bool decide_kept(struct open_job *open)
{
	bool undo, any = false, is_overdue;

	if (!open->has_ended_opening)
		end_opening(open);
	undo = vfb_job_settle(&open->batch.job) && vfb_job_stopped(&open->batch.job);
	pthread_mutex_lock(&open->lock);
	for (size_t i = 0; i < open->batch.count; i++) {
		struct vfb_device_item *item = &open->batch.items[i];

		if (!open->has_expired)
			item->kept = item->device && !undo;
		any = any || (item->device && !item->kept);
	}
	if (any)
		open->stage = UNDOING;
	is_overdue = open->is_overdue;
	pthread_mutex_unlock(&open->lock);
	if (any && is_overdue)
		end_late(open);
	return any;
}

static void finish_items(struct open_job *open)
{
	for (size_t i = 0; i < open->batch.count; i++)
		if (!open->batch.items[i].kept)
			detach_item(open, &open->batch.items[i]);
	report_requests(open);
	atomic_store(&open->batch.job.entries_done, open->batch.count);
	vfb_device_batch_release(&open->batch);
	vfb_space_opening_finish(open->space);
}

static void begin_opening(struct open_job *open)
{
	pthread_mutex_lock(&open->lock);
	open->stage = OPENING;
	pthread_mutex_unlock(&open->lock);
	vfb_device_batch_chain(&open->batch, vfb_reset_is_shared_opening);
	vfb_device_batch_run(&open->batch, open_item);
}

static bool finish_open(struct vfb_job *job)
{
	struct open_job *open = container_of(job, struct open_job, batch.job);

	switch (open->stage) {
	case PREPARING:
		begin_opening(open);
		return false;
	case OPENING:
		if (!begin_deciding(open))
			return false;
		if (!decide_kept(open))
			break;
		vfb_device_batch_run(&open->batch, undo_item);
		return false;
	default:
		break;
	}
	finish_items(open);
	return true;
}

static void free_open(struct vfb_job *job)
{
	struct open_job *open = container_of(job, struct open_job, batch.job);

	vfb_device_batch_free(&open->batch);
	pthread_mutex_destroy(&open->lock);
	free(open);
}

static const struct vfb_job_ops open_ops = {
	.operation = "open",
	.cancellable = true,
	.finish = finish_open,
	.free = free_open,
	.expire = expire_open,
	.entry_status = open_entry_status,
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

static int open_prepare_batch(struct open_job *open, size_t count,
			      const struct vfb_batch_opts *opts)
{
	size_t culprit;
	int error;

	error = vfb_device_batch_init(&open->batch, &open_ops, open->space->ctx, count, opts);
	if (error)
		return error;
	for (size_t i = 0; i < count; i++) {
		open->requests[i].device = NULL;
		open->requests[i].status = -ECANCELED;
		atomic_init(&open->batch.items[i].opened, -EINPROGRESS);
	}
	error = parse_requests(open, &culprit);
	if (error)
		open->requests[culprit].status = error;
	else if (opts->timeout_ns)
		error = vfb_engine_reserve_late(open->space->ctx->engine);
	if (!error)
		error = vfb_job_set_timeout(&open->batch.job, opts->timeout_ns);
	if (!error)
		error = vfb_device_batch_reserve(&open->batch);
	if (!error)
		error = vfb_space_opening_begin(open->space);
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
	error = vfb_batch_read(&known, opts, requests, count);
	if (error)
		return error;
	open = calloc(1, sizeof(*open));
	if (!open)
		return vfb_fail_memory();
	open->space = space;
	open->requests = requests;
	open->best_effort = known.flags & VFB_BATCH_BEST_EFFORT;
	open->prepare.run = run_prepare;
	open->late.run = run_late;
	pthread_mutex_init(&open->lock, NULL);
	error = open_prepare_batch(open, count, &known);
	if (error) {
		free_open(&open->batch.job);
		return error;
	}
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
