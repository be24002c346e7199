/* SPDX-License-Identifier: MIT */
#include "dma/space.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory/memory.h"
#include "observe/error.h"
#include "options.h"

/* A device that is attached. The list belongs to whoever attaches or detaches. */
struct vfb_attached {
	struct vfb_attached *next;
	char address[];
};

/* Reads what the domain admits, now that a batch of devices is attached. */
static int read_domain(struct vfb_space *space)
{
	struct vfb_iova_range *ranges = NULL;
	uint64_t alignment, entries_left;
	size_t count;
	int error;

	error = space->iommu->ops->describe(space->iommu, &ranges, &count, &alignment,
					    &entries_left);
	if (error) {
		free(ranges);
		return error;
	}
	pthread_mutex_lock(&space->lock);
	free(space->ranges);
	space->ranges = ranges;
	space->range_count = count;
	/* Memory is never mapped in less than a base page. */
	space->alignment = alignment > 4 * KIB ? alignment : 4 * KIB;
	/* Counted from here on: what the kernel tells while others map is soon out of date. */
	if (space->entries_left == UINT64_MAX)
		space->entries_left = entries_left;
	pthread_mutex_unlock(&space->lock);
	return 0;
}

static int check_opts(const struct vfb_space_opts *opts)
{
	if (opts->map_by > VFB_MAP_BY_FILE)
		return vfb_fail(-EINVAL, "map_by %d is unknown", (int)opts->map_by);
	if (opts->page_size > VFB_PAGE_MIXED || opts->kind > VFB_MEMORY_MEMFD)
		return vfb_fail(-EINVAL, "page size %d of kind %d is unknown", (int)opts->page_size,
				(int)opts->kind);
	if (opts->flags & ~VFB_SPACE_KEEP_DOMAIN)
		return vfb_fail(-EINVAL, "space flags 0x%x are unknown: 0x%x is", opts->flags,
				VFB_SPACE_KEEP_DOMAIN);
	return 0;
}

static int make_space(struct vfb_ctx *ctx, const struct vfb_iommu_ops *ops,
		      const struct vfb_iommu_source *source, struct vfb_space **out)
{
	struct vfb_space *space;
	struct vfb_span span;
	int error;

	if (source->keep_domain && ops->backend != VFB_BACKEND_IOMMUFD)
		return vfb_fail(-ENOTSUP,
				"%s cannot keep a domain without a device "
				"(VFB_SPACE_KEEP_DOMAIN): iommufd can",
				ops->name);
	space = calloc(1, sizeof(*space));
	if (!space)
		return vfb_fail_memory();
	vfb_observe_begin(&span, &ctx->observer, VFB_PHASE_CREATE);
	error = ops->create(ctx->sys, source, &space->iommu);
	vfb_observe_end(&span, .operation = "space", .result = error, .node = VFB_ANY_NODE);
	if (error) {
		free(space);
		return error;
	}
	space->ctx = ctx;
	pthread_mutex_init(&space->lock, NULL);
	pthread_cond_init(&space->changed, NULL);
	vfb_translator_init(&space->translator);
	space->entries_left = UINT64_MAX;
	atomic_fetch_add(&ctx->objects, 1);
	if (space->iommu->has_domain) {
		error = read_domain(space);
		if (error) {
			vfb_space_destroy(space);
			return error;
		}
		space->domain = true;
	}
	*out = space;
	return 0;
}

int vfb_space_create(struct vfb_ctx *ctx, const struct vfb_space_opts *opts, struct vfb_space **out)
{
	struct vfb_space_opts known = VFB_SPACE_OPTS_INIT;
	char reason[VFB_REASON_BYTES] = "it was asked for";
	const struct vfb_iommu_ops *ops;
	int error;

	*out = NULL;
	error = vfb_struct_read(&known, sizeof(known), opts);
	if (!error)
		error = check_opts(&known);
	if (!error && known.backend == VFB_BACKEND_AUTO)
		known.backend = vfb_choose_backend(ctx, &known, reason);
	if (!error)
		error = vfb_iommu_choose(ctx->sys, known.backend, &ops);
	if (error)
		return error;
	error = make_space(ctx, ops,
			   &(struct vfb_iommu_source){
				   .fd = -1,
				   .map_by = known.map_by,
				   .keep_domain = known.flags & VFB_SPACE_KEEP_DOMAIN,
			   },
			   out);
	if (!error)
		memcpy((*out)->reason, reason, sizeof(reason));
	return error;
}

int vfb_space_adopt(struct vfb_ctx *ctx, int fd, uint32_t ioas, const struct vfb_space_opts *opts,
		    struct vfb_space **out)
{
	struct vfb_space_opts known = VFB_SPACE_OPTS_INIT;
	const struct vfb_iommu_ops *ops;
	int error;

	*out = NULL;
	error = vfb_struct_read(&known, sizeof(known), opts);
	if (!error)
		error = check_opts(&known);
	if (error)
		return error;
	if (known.backend == VFB_BACKEND_AUTO)
		known.backend = ioas ? VFB_BACKEND_IOMMUFD : VFB_BACKEND_TYPE1;
	if (fd < 0 || (known.backend == VFB_BACKEND_IOMMUFD) != (ioas != 0) ||
	    known.backend == VFB_BACKEND_NONE)
		return vfb_fail(-EINVAL,
				"file descriptor %d with I/O address space %" PRIu32
				" cannot be adopted: a container has no number, an iommufd needs "
				"one",
				fd, ioas);
	error = vfb_iommu_choose(ctx->sys, known.backend, &ops);
	if (error)
		return error;
	error = make_space(ctx, ops,
			   &(struct vfb_iommu_source){
				   .fd = fd,
				   .ioas = ioas,
				   .map_by = known.map_by,
				   .keep_domain = known.flags & VFB_SPACE_KEEP_DOMAIN,
			   },
			   out);
	if (!error)
		snprintf((*out)->reason, sizeof((*out)->reason), "it was adopted");
	return error;
}

int vfb_space_destroy(struct vfb_space *space)
{
	unsigned int devices, jobs;
	struct vfb_span span;
	struct vfb_ctx *ctx;

	if (!space)
		return 0;
	pthread_mutex_lock(&space->lock);
	devices = space->devices + space->open_jobs;
	jobs = space->jobs;
	pthread_mutex_unlock(&space->lock);
	if (devices || jobs)
		return vfb_fail(-EBUSY, devices ? "devices are open in the space, or a job opens "
						  "some: close them first" :
						  "jobs map or unmap in the space: wait for them");
	if (space->iommu->adopted && !space->released) {
		int error = vfb_space_unmap_all(space);

		if (error)
			return error;
	}
	/* The kernel unmaps what is left together with the file. */
	vfb_observe_begin(&span, &space->ctx->observer, VFB_PHASE_DESTROY);
	space->iommu->ops->destroy(space->iommu);
	vfb_observe_end(&span, .operation = "space", .node = VFB_ANY_NODE);
	for (size_t i = 0; i < space->index.count; i++)
		atomic_fetch_sub(&space->index.mappings[i].memory->users, 1);
	vfb_index_free(&space->index);
	vfb_translator_destroy(&space->translator);
	pthread_cond_destroy(&space->changed);
	pthread_mutex_destroy(&space->lock);
	ctx = space->ctx;
	free(space->ranges);
	free(space);
	atomic_fetch_sub(&ctx->objects, 1);
	return 0;
}

int vfb_space_info(struct vfb_space *space, struct vfb_space_info *info)
{
	struct vfb_space_info known = {
		.backend = space->iommu->ops->backend,
		.reason = space->reason,
	};

	pthread_mutex_lock(&space->lock);
	known.fd = space->iommu->ops->file(space->iommu, &known.ioas);
	known.devices = space->devices;
	known.mappings = space->index.count;
	for (size_t i = 0; i < space->index.count; i++)
		known.mapped_bytes += space->index.mappings[i].bytes;
	known.entries_left = space->entries_left;
	pthread_mutex_unlock(&space->lock);
	return vfb_struct_write(info, &known, sizeof(known));
}

int vfb_space_iova_ranges(struct vfb_space *space, struct vfb_iova_range *ranges, size_t count)
{
	int known;

	pthread_mutex_lock(&space->lock);
	known = space->domain ? (int)space->range_count : 1;
	if (!space->domain && count)
		ranges[0] = (struct vfb_iova_range){0, UINT64_MAX};
	for (size_t i = 0; space->domain && i < count && i < space->range_count; i++)
		ranges[i] = space->ranges[i];
	pthread_mutex_unlock(&space->lock);
	return known;
}

void vfb_space_opening_begin(struct vfb_space *space)
{
	pthread_mutex_lock(&space->lock);
	space->opening++;
	space->open_jobs++;
	pthread_mutex_unlock(&space->lock);
}

void vfb_space_opening_finish(struct vfb_space *space)
{
	pthread_mutex_lock(&space->lock);
	space->open_jobs--;
	pthread_mutex_unlock(&space->lock);
}

/*
 * Maps what the kernel does not have, and announces the domain in the moment in which nothing is
 * left: jobs keep ranges for it until then.
 */
static int announce_domain(struct vfb_space *space, unsigned int attached)
{
	bool done = false;
	int error;

	do {
		error = vfb_space_restore(space);
		pthread_mutex_lock(&space->lock);
		if (!error && !vfb_space_has_lost(space)) {
			space->devices += attached;
			space->domain = true;
			done = true;
		}
		pthread_mutex_unlock(&space->lock);
	} while (!error && !done);
	return error;
}

static int renew_domain(struct vfb_space *space, unsigned int attached)
{
	struct vfb_span span;
	int error;

	vfb_observe_begin(&span, &space->ctx->observer, VFB_PHASE_DOMAIN);
	error = read_domain(space);
	if (!error)
		error = announce_domain(space, attached);
	vfb_observe_end(&span, .operation = space->iommu->ops->name, .result = error,
			.node = VFB_ANY_NODE);
	return error;
}

int vfb_space_look_for_domain(struct vfb_space *space)
{
	struct vfb_iommu *iommu = space->iommu;
	bool wanted;

	pthread_mutex_lock(&space->lock);
	wanted = iommu->adopted && !space->domain && !space->opening;
	pthread_mutex_unlock(&space->lock);
	if (!wanted)
		return 0;
	iommu->ops->look_for_domain(iommu);
	return iommu->has_domain ? renew_domain(space, 0) : 0;
}

int vfb_space_opening_end(struct vfb_space *space, unsigned int attached)
{
	struct vfb_domain_waiter *waiters = NULL, *waiter;
	int error = 0;

	if (attached)
		error = renew_domain(space, attached);

	pthread_mutex_lock(&space->lock);
	space->opening--;
	if (space->domain || !space->opening) {
		waiters = space->waiters;
		space->waiters = NULL;
	}
	pthread_mutex_unlock(&space->lock);
	while ((waiter = waiters)) {
		waiters = waiter->next;
		waiter->decided(waiter);
	}
	return error;
}

/* Only one at a time attaches or detaches; both may sleep, so that no lock is held meanwhile. */
static void attach_begin(struct vfb_space *space)
{
	const struct vfb_sys *sys = space->ctx->sys;

	pthread_mutex_lock(&space->lock);
	while (space->attaching)
		sys->cond_wait(sys, &space->changed, &space->lock, UINT64_MAX);
	space->attaching = true;
	pthread_mutex_unlock(&space->lock);
}

/* @gone: devices that were detached and counted. With the last, the space may be destroyed. */
static void attach_end(struct vfb_space *space, unsigned int gone)
{
	const struct vfb_sys *sys = space->ctx->sys;

	pthread_mutex_lock(&space->lock);
	space->devices -= gone;
	space->attaching = false;
	sys->cond_broadcast(sys, &space->changed);
	pthread_mutex_unlock(&space->lock);
}

/* The link to a device in the list of those attached; to NULL at its end. */
static struct vfb_attached **find_attached(struct vfb_space *space, const char *address)
{
	struct vfb_attached **link = &space->attached;

	while (*link && strcmp((*link)->address, address))
		link = &(*link)->next;
	return link;
}

int vfb_space_attach(struct vfb_space *space, const struct vfb_iommu_device *device)
{
	size_t length = strlen(device->address) + 1;
	struct vfb_attached *attached = malloc(sizeof(*attached) + length);
	struct vfb_span span;
	int error;

	if (!attached)
		return vfb_fail_memory();
	memcpy(attached->address, device->address, length);
	attached->next = NULL;
	attach_begin(space);
	vfb_observe_begin(&span, &space->ctx->observer, VFB_PHASE_ATTACH);
	if (*find_attached(space, device->address))
		error = vfb_fail(-EBUSY, "device %s is open in this space already",
				 device->address);
	else
		error = space->iommu->ops->attach(space->iommu, device);
	if (!error)
		*find_attached(space, device->address) = attached;
	attach_end(space, 0);
	vfb_observe_end(&span, .operation = space->iommu->ops->attach_call, .result = error,
			.device = device->address, .node = VFB_ANY_NODE);
	if (error)
		free(attached);
	return error;
}

/* The last device is going, and the domain with it. */
static void lose_domain(struct vfb_space *space)
{
	const struct vfb_sys *sys = space->ctx->sys;

	if (space->iommu->has_domain)
		return;
	pthread_mutex_lock(&space->lock);
	/* Jobs that wait for a domain don't use this one: it has not been announced. */
	while (space->domain && space->jobs && space->iommu->ops->mappings_need_domain)
		sys->cond_wait(sys, &space->changed, &space->lock, UINT64_MAX);
	space->domain = false;
	space->entries_left = UINT64_MAX;
	if (space->iommu->ops->mappings_need_domain)
		for (size_t i = 0; i < space->index.count; i++)
			space->index.mappings[i].backed = false;
	pthread_mutex_unlock(&space->lock);
}

void vfb_space_detach(struct vfb_space *space, const struct vfb_iommu_device *device, bool counted)
{
	const char *operation = space->iommu->ops->detach_call;
	struct vfb_attached **link, *attached;
	struct vfb_span span;

	attach_begin(space);
	vfb_observe_begin(&span, &space->ctx->observer, VFB_PHASE_DETACH);
	link = find_attached(space, device->address);
	attached = *link;
	*link = attached->next;
	free(attached);
	if (!space->attached)
		lose_domain(space);
	space->iommu->ops->detach(space->iommu, device);
	attach_end(space, counted);
	vfb_observe_end(&span, .operation = operation, .device = device->address,
			.node = VFB_ANY_NODE);
}

bool vfb_space_domain_decided(struct vfb_space *space, struct vfb_domain_waiter *waiter)
{
	bool decided;

	pthread_mutex_lock(&space->lock);
	decided = space->domain || !space->opening;
	if (!decided) {
		waiter->next = space->waiters;
		space->waiters = waiter;
	}
	pthread_mutex_unlock(&space->lock);
	return decided;
}

void vfb_space_job_begin(struct vfb_space *space)
{
	pthread_mutex_lock(&space->lock);
	space->jobs++;
	pthread_mutex_unlock(&space->lock);
}

void vfb_space_job_end(struct vfb_space *space)
{
	const struct vfb_sys *sys = space->ctx->sys;

	pthread_mutex_lock(&space->lock);
	space->jobs--;
	sys->cond_broadcast(sys, &space->changed);
	pthread_mutex_unlock(&space->lock);
}

static void count_entries(struct vfb_space *space, int64_t change)
{
	pthread_mutex_lock(&space->lock);
	if (space->entries_left != UINT64_MAX)
		space->entries_left += change;
	pthread_mutex_unlock(&space->lock);
}

int vfb_space_map_one(struct vfb_space *space, const struct vfb_memory *memory, uint64_t offset,
		      uint64_t bytes, uint64_t iova, uint32_t flags)
{
	struct vfb_span span;
	struct vfb_iommu_map map = {
		.iova = iova,
		.bytes = bytes,
		.address = memory->address + offset,
		.flags = flags & (VFB_RANGE_READ | VFB_RANGE_WRITE),
		.fd = memory->fd,
		.file_offset = memory->fd_offset + offset,
		.call = space->iommu->ops->map_call,
	};
	int error;

	if (!map.flags)
		map.flags = VFB_RANGE_READ | VFB_RANGE_WRITE;
	vfb_observe_begin(&span, &space->ctx->observer, VFB_PHASE_MAP);
	error = space->iommu->ops->map(space->iommu, &map);
	vfb_observe_end(&span, .operation = map.call, .result = error,
			.address = (uintptr_t)map.address, .bytes = bytes, .iova = iova,
			.page_bytes = memory->page_bytes, .node = VFB_ANY_NODE);
	if (!error)
		count_entries(space, -1);
	return error;
}

int vfb_space_unmap_one(struct vfb_space *space, uint64_t iova, uint64_t bytes,
			unsigned int entries)
{
	struct vfb_span span;
	int error;

	vfb_observe_begin(&span, &space->ctx->observer, VFB_PHASE_UNMAP);
	error = space->iommu->ops->unmap(space->iommu, iova, bytes);
	vfb_observe_end(&span, .operation = space->iommu->ops->unmap_call, .result = error,
			.bytes = bytes, .iova = iova, .node = VFB_ANY_NODE);
	if (!error)
		count_entries(space, entries);
	return error;
}
