/* SPDX-License-Identifier: MIT */
/*
 * Resetting devices that stay open. Each function of N on a bus takes a wait of 100 ms and more,
 * a reset of the bus takes one for all of them; so when a whole bus is to be reset, it is.
 */
#include <errno.h>
#include <linux/pci.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "container_of.h"
#include "device/batch.h"
#include "observe/error.h"
#include "options.h"
#include "sys/info.h"

struct reset_job {
	struct vfb_device_batch batch;
	struct vfb_reset_request *resets;
};

/* What a bus reset would hit, to be freed. */
static int read_affected(const struct vfb_device *device, struct vfio_pci_hot_reset_info **out)
{
	struct vfio_pci_hot_reset_info *info, head = {0};
	/* As many functions as a bus has with all buses below it; pages untouched cost nothing. */
	uint32_t room = sizeof(head) + 65536 * sizeof(info->devices[0]);
	void *found;
	int error = vfb_info_read(device->ctx->sys, device->fd, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
				  &head, sizeof(head), room, &found);

	if (!error) {
		info = found;
		if (info->count <= (room - sizeof(head)) / sizeof(info->devices[0])) {
			*out = info;
			return 0;
		}
		free(info);
		error = -EPROTO;
	}
	if (error == -ENODEV)
		return vfb_fail(-ENOTSUP,
				"the bus of device %s cannot be reset (it is the root bus, or its "
				"bridge does not reset)",
				device->pci.address);
	return vfb_fail_errno(error, "cannot read what a reset of the bus of device %s hits",
			      device->pci.address);
}

static struct vfb_device_item *find_item(struct vfb_device_item *chain, const char *address)
{
	while (chain && strcmp(chain->pci.address, address))
		chain = chain->next_in_chain;
	return chain;
}

/* All that a reset of the bus hits is in the chain, and in the space of its first. */
static int check_affected(const struct vfio_pci_hot_reset_info *info, struct vfb_device_item *first)
{
	for (uint32_t i = 0; i < info->count; i++) {
		const struct vfio_pci_dependent_device *hit = &info->devices[i];
		char address[32];
		struct vfb_device_item *item;

		snprintf(address, sizeof(address), "%04x:%02x:%02x.%x", hit->segment, hit->bus,
			 PCI_SLOT(hit->devfn), PCI_FUNC(hit->devfn));
		item = find_item(first, address);
		if (!item || item->space != first->space)
			return vfb_fail(-EPERM,
					"resetting the bus of device %s resets device %s too: "
					"open it in the same space and reset both in one batch",
					first->pci.address, address);
	}
	return 0;
}

/* The group that shows whose the device is; -1 where it shows that itself. */
/* Those that were opened by their groups need them; of what was adopted they are not known. */
static int reset_check_groups(const struct vfio_pci_hot_reset_info *info,
			      const struct vfb_device_item *chain)
{
	if (info->flags & VFB_VFIO_PCI_HOT_RESET_FLAG_DEV_ID)
		return 0;
	for (; chain; chain = chain->next_in_chain)
		if (chain->device->adopted && chain->device->group_fd < 0)
			return vfb_fail(-EPERM,
					"to reset the bus of device %s the kernel wants the group "
					"that it was opened by: adopt it with group_fd",
					chain->pci.address);
	return 0;
}

static uint32_t collect_groups(const struct vfb_device_item *chain, int32_t *fds)
{
	uint32_t count = 0;

	for (; chain; chain = chain->next_in_chain) {
		int fd = vfb_device_group_fd(chain->device);
		uint32_t i = 0;

		while (i < count && fds[i] != fd)
			i++;
		if (fd >= 0 && i == count)
			fds[count++] = fd;
	}
	return count;
}

/* What peers could reach of the device, a reset may have taken from them, a failed one too. */
static void restore_bars(struct reset_job *job, struct vfb_device *device)
{
	if (vfb_bars_remap(device))
		vfb_job_warn(&job->batch.job);
}

static int reset_bus(struct reset_job *job, struct vfb_device_item *first, uint32_t affected)
{
	struct vfb_device *device = first->device;
	const struct vfb_sys *sys = device->ctx->sys;
	struct vfio_pci_hot_reset *reset;
	size_t length = 0;
	int error;

	for (struct vfb_device_item *item = first; item; item = item->next_in_chain)
		length++;
	reset = calloc(1, sizeof(*reset) + length * sizeof(reset->group_fds[0]));
	if (!reset)
		return vfb_fail_memory();
	reset->count = collect_groups(first, reset->group_fds);
	reset->argsz = sizeof(*reset) + reset->count * sizeof(reset->group_fds[0]);
	error = vfb_device_retry(sys, device->fd, VFIO_DEVICE_PCI_HOT_RESET, reset);
	free(reset);
	for (struct vfb_device_item *item = first; item; item = item->next_in_chain)
		restore_bars(job, item->device);
	if (error)
		return vfb_fail_errno(error, "cannot reset the bus of device %s, with %u devices",
				      device->pci.address, affected);
	return 0;
}

static int reset_function(struct reset_job *job, struct vfb_device *device)
{
	const struct vfb_sys *sys = device->ctx->sys;
	int error = -ENOTTY;

	if (device->resets) {
		error = vfb_device_retry(sys, device->fd, VFIO_DEVICE_RESET, NULL);
		restore_bars(job, device);
	}
	/* Its methods may have been taken from it since it was opened. */
	if (error == -ENOTTY)
		return vfb_fail(-ENOTSUP,
				"device %s cannot be reset by itself (its reset_method in sysfs "
				"names no way to): write \"default\" there, or reset its bus",
				device->pci.address);
	if (error)
		return vfb_fail_errno(error, "cannot reset device %s", device->pci.address);
	return 0;
}

/* @must: by itself too, where a reset of the function would be as fast. */
static int try_bus(struct reset_job *job, struct vfb_device_item *first, bool must)
{
	struct vfio_pci_hot_reset_info *info = NULL;
	int error;

	error = read_affected(first->device, &info);
	if (!error)
		error = check_affected(info, first);
	if (!error)
		error = reset_check_groups(info, first);
	if (!error)
		error = must || info->count > 1 ? reset_bus(job, first, info->count) : -ENOTSUP;
	free(info);
	return error;
}

static bool must_be_bus(const struct vfb_device_item *item)
{
	return item->method == VFB_RESET_BUS ||
	       (item->method == VFB_RESET_AUTO && !item->device->resets);
}

static void reset_report(struct reset_job *job, struct vfb_device_item *item,
			 enum vfb_reset_method method, int error)
{
	struct vfb_reset_request *reset = &job->resets[item - job->batch.items];

	item->done = true;
	reset->status = error;
	reset->method = method;
	atomic_fetch_add(&job->batch.job.entries_done, 1);
	if (error)
		vfb_job_fail(&job->batch.job, error, false);
	else
		atomic_store(&item->device->was_reset, true);
}

/* Resets what is left of a chain at once; or leaves those that need not be, to be reset alone. */
static void reset_chain(struct reset_job *job, struct vfb_device_item *first)
{
	bool must = false;
	int error;

	for (struct vfb_device_item *item = first; item; item = item->next_in_chain)
		must = must || must_be_bus(item);
	error = must || first->next_in_chain ? try_bus(job, first, must) : -ENOTSUP;
	for (struct vfb_device_item *item = first; item; item = item->next_in_chain)
		if (!error || must_be_bus(item))
			reset_report(job, item, VFB_RESET_BUS, error);
		else
			item->method = VFB_RESET_FUNCTION;
}

/* One that may be reset in any way, and has lost its own since it was opened, has the bus left. */
static void reset_alone(struct reset_job *job, struct vfb_device_item *item)
{
	bool any = job->resets[item - job->batch.items].method == VFB_RESET_AUTO;
	int error = reset_function(job, item->device);

	if (error == -ENOTSUP && any) {
		item->method = VFB_RESET_BUS;
		reset_chain(job, item);
	} else {
		reset_report(job, item, VFB_RESET_FUNCTION, error);
	}
}

static void reset_item(struct vfb_device_batch *batch, struct vfb_device_item *item)
{
	struct reset_job *job = container_of(batch, struct reset_job, batch);
	const struct vfb_reset_request *reset = &job->resets[item - batch->items];
	struct vfb_span span;

	if (item->done)
		return;
	vfb_observe_begin(&span, &batch->ctx->observer, VFB_PHASE_RESET);
	if (item->method != VFB_RESET_FUNCTION)
		reset_chain(job, item);
	if (!item->done)
		reset_alone(job, item);
	vfb_observe_end(&span,
			.operation = reset->method == VFB_RESET_BUS ? "VFIO_DEVICE_PCI_HOT_RESET" :
								      "VFIO_DEVICE_RESET",
			.result = reset->status, .device = item->pci.address,
			.node = item->pci.numa_node);
}

int vfb_device_reset_begin(struct vfb_device *device)
{
	bool closing;

	pthread_mutex_lock(&device->lock);
	closing = atomic_load(&device->closing);
	device->reset_jobs += !closing;
	pthread_mutex_unlock(&device->lock);
	return closing ? vfb_fail(-EALREADY, "device %s is being closed", device->pci.address) : 0;
}

void vfb_device_reset_end(struct vfb_device *device)
{
	const struct vfb_sys *sys = device->ctx->sys;

	pthread_mutex_lock(&device->lock);
	device->reset_jobs--;
	sys->cond_broadcast(sys, &device->idle);
	pthread_mutex_unlock(&device->lock);
}

static void end_resets(struct vfb_device_batch *batch, size_t count)
{
	for (size_t i = 0; i < count; i++)
		vfb_device_reset_end(batch->items[i].device);
}

static bool finish_reset(struct vfb_job *job)
{
	struct vfb_device_batch *batch = container_of(job, struct vfb_device_batch, job);

	end_resets(batch, batch->count);
	vfb_device_batch_release(batch);
	return true;
}

static void free_reset(struct vfb_job *job)
{
	struct reset_job *reset = container_of(job, struct reset_job, batch.job);

	vfb_device_batch_free(&reset->batch);
	free(reset);
}

static const struct vfb_job_ops reset_ops = {
	.operation = "reset",
	.finish = finish_reset,
	.free = free_reset,
};

static int check_entries(const struct vfb_reset_request *resets, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (!resets[i].device)
			return vfb_fail(-EINVAL, "entry %zu has no device to reset", i);
		if ((unsigned int)resets[i].method > VFB_RESET_BUS)
			return vfb_fail(-EINVAL, "entry %zu: reset method %d is unknown", i,
					(int)resets[i].method);
		if (resets[i].device->ctx != resets[0].device->ctx)
			return vfb_fail(-EINVAL, "entry %zu is of another context than entry 0", i);
		for (size_t other = 0; other < i; other++)
			if (resets[other].device == resets[i].device)
				return vfb_fail(-EINVAL,
						"device %s is there twice, as entries %zu and %zu",
						resets[i].device->pci.address, other, i);
	}
	return 0;
}

/* The devices stay open until the job ends. */
static int fill_batch(struct vfb_device_batch *batch, struct vfb_reset_request *resets)
{
	for (size_t i = 0; i < batch->count; i++) {
		struct vfb_device *device = resets[i].device;
		int error = vfb_device_reset_begin(device);

		if (error) {
			end_resets(batch, i);
			return error;
		}
		batch->items[i] = (struct vfb_device_item){
			.pci = device->pci,
			.space = device->space,
			.device = device,
			.method = resets[i].method,
		};
		resets[i].status = -ECANCELED;
	}
	return 0;
}

static int reset_prepare_batch(struct reset_job *job, size_t count,
			       const struct vfb_batch_opts *opts)
{
	struct vfb_device_batch *batch = &job->batch;
	int error;

	error = vfb_device_batch_init(batch, &reset_ops, job->resets[0].device->ctx, count, opts);
	if (error)
		return error;
	error = vfb_device_batch_reserve(batch);
	if (!error) {
		error = fill_batch(batch, job->resets);
		if (!error)
			return 0;
		vfb_device_batch_release(batch);
	}
	vfb_job_fini(&batch->job);
	return error;
}

int vfb_devices_reset_start(struct vfb_reset_request *resets, size_t count,
			    const struct vfb_batch_opts *opts, struct vfb_job **out)
{
	struct vfb_batch_opts known;
	struct reset_job *job;
	int error;

	*out = NULL;
	error = vfb_batch_read(&known, opts, resets, count);
	if (!error && !count)
		error = vfb_fail(-EINVAL, "no devices were given to reset");
	if (!error)
		error = check_entries(resets, count);
	if (error)
		return error;
	job = calloc(1, sizeof(*job));
	if (!job)
		return vfb_fail_memory();
	job->resets = resets;
	error = reset_prepare_batch(job, count, &known);
	if (error) {
		free_reset(&job->batch.job);
		return error;
	}
	vfb_device_batch_chain(&job->batch, vfb_reset_is_shared);
	*out = &job->batch.job;
	vfb_device_batch_run(&job->batch, reset_item);
	vfb_job_release(&job->batch.job);
	return 0;
}

int vfb_devices_reset(struct vfb_reset_request *resets, size_t count,
		      const struct vfb_batch_opts *opts)
{
	struct vfb_job *job;

	if (!count)
		return 0;
	return vfb_job_sync(job, vfb_devices_reset_start(resets, count, opts, &job));
}

int vfb_device_reset(struct vfb_device *device)
{
	struct vfb_reset_request reset = {.device = device};

	return vfb_devices_reset(&reset, 1, NULL);
}
