/* SPDX-License-Identifier: MIT */
/* The devices of a space, and its domain, which exists from the first device to the last. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dma/clash.h"
#include "dma/space.h"
#include "memory/memory.h"
#include "observe/error.h"

/* An attached device. The list belongs to the thread that attaches or detaches. */
struct vfb_attached {
	struct vfb_attached *next;
	char address[];
};

int vfb_space_read_domain(struct vfb_space *space)
{
	struct vfb_iova_range *ranges = NULL;
	uint64_t base = space->ctx->sys->base_page(space->ctx->sys);
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
	/* Memory is mapped in base pages at least. */
	space->alignment = alignment > base ? alignment : base;
	/* Counted by the library from now on: later values are outdated while other jobs map. */
	if (space->entries_left == UINT64_MAX)
		space->entries_left = entries_left;
	pthread_mutex_unlock(&space->lock);
	return 0;
}

int vfb_space_opening_begin(struct vfb_space *space)
{
	int error = 0;

	pthread_mutex_lock(&space->lock);
	if (space->released)
		error = vfb_fail(-EBUSY, "the addresses of the space were released: another "
					 "process owns its mappings, and opens further devices");
	space->opening += !error;
	space->open_jobs += !error;
	pthread_mutex_unlock(&space->lock);
	return error;
}

void vfb_space_opening_finish(struct vfb_space *space)
{
	pthread_mutex_lock(&space->lock);
	space->open_jobs--;
	pthread_mutex_unlock(&space->lock);
}

/* What is being restored is lost afterwards if there was no domain when it began. */
static bool discards_may_lose_locked(const struct vfb_space *space)
{
	return space->discards && !space->domain;
}

static void wait_for_discards(struct vfb_space *space)
{
	const struct vfb_sys *sys = space->ctx->sys;

	pthread_mutex_lock(&space->lock);
	while (discards_may_lose_locked(space))
		sys->cond_wait(sys, &space->changed, &space->lock, UINT64_MAX);
	pthread_mutex_unlock(&space->lock);
}

/*
 * Maps the ranges that were kept, and announces the domain at the moment that none is left: until
 * then jobs may keep more.
 */
static int announce_domain(struct vfb_space *space, unsigned int attached)
{
	bool done = false;
	int error;

	do {
		wait_for_discards(space);
		error = vfb_space_restore(space);
		pthread_mutex_lock(&space->lock);
		if (!error && !discards_may_lose_locked(space) &&
		    !vfb_space_has_lost_locked(space)) {
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
	error = vfb_space_read_domain(space);
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
	int error;

	pthread_mutex_lock(&space->lock);
	wanted = iommu->adopted && !space->domain && !space->opening && !space->released;
	space->opening += wanted;
	pthread_mutex_unlock(&space->lock);
	if (!wanted)
		return 0;
	iommu->ops->look_for_domain(iommu);
	error = iommu->has_domain ? renew_domain(space, 0) : 0;
	vfb_space_opening_end(space, 0);
	return error;
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

/* Serializes attaching and detaching. Both may sleep, so that this is no mutex. */
static void attach_begin(struct vfb_space *space)
{
	const struct vfb_sys *sys = space->ctx->sys;

	pthread_mutex_lock(&space->lock);
	while (space->attaching)
		sys->cond_wait(sys, &space->changed, &space->lock, UINT64_MAX);
	space->attaching = true;
	pthread_mutex_unlock(&space->lock);
}

/* @gone: counted devices that were detached. After the last, the space may be destroyed. */
static void attach_end(struct vfb_space *space, unsigned int gone)
{
	const struct vfb_sys *sys = space->ctx->sys;

	pthread_mutex_lock(&space->lock);
	space->devices -= gone;
	space->attaching = false;
	sys->cond_broadcast(sys, &space->changed);
	pthread_mutex_unlock(&space->lock);
}

/* The link to an attached device in the list, or the link at its end. */
static struct vfb_attached **find_attached(struct vfb_space *space, const char *address)
{
	struct vfb_attached **link = &space->attached;

	while (*link && strcmp((*link)->address, address))
		link = &(*link)->next;
	return link;
}

static struct vfb_attached *new_attached(const char *address)
{
	size_t length = strlen(address) + 1;
	struct vfb_attached *attached = malloc(sizeof(*attached) + length);

	if (!attached) {
		vfb_fail_memory();
		return NULL;
	}
	memcpy(attached->address, address, length);
	attached->next = NULL;
	return attached;
}

/* Removes a device from the list. */
static void remove_attached(struct vfb_space *space, const char *address)
{
	struct vfb_attached **link = find_attached(space, address), *attached = *link;

	*link = attached->next;
	free(attached);
}

static int fail_attached(const char *address)
{
	return vfb_fail(-EBUSY, "device %s is already open in this space", address);
}

int vfb_space_attach(struct vfb_space *space, const struct vfb_iommu_device *device)
{
	struct vfb_attached *attached = new_attached(device->address);
	struct vfb_span span;
	int error;

	if (!attached)
		return -ENOMEM;
	attach_begin(space);
	vfb_observe_begin(&span, &space->ctx->observer, VFB_PHASE_ATTACH);
	if (*find_attached(space, device->address))
		error = fail_attached(device->address);
	else
		error = space->iommu->ops->attach(space->iommu, device);
	if (error == -EADDRINUSE)
		vfb_space_explain_clash(space, device);
	if (!error)
		*find_attached(space, device->address) = attached;
	attach_end(space, 0);
	vfb_observe_end(&span, .operation = space->iommu->ops->attach_call, .result = error,
			.device = device->address, .node = VFB_ANY_NODE);
	if (error)
		free(attached);
	return error;
}

/* The caller may have attached devices to its container that keep the domain. */
static bool domain_may_stay(const struct vfb_space *space)
{
	return space->iommu->adopted && space->iommu->ops->mappings_need_domain;
}

/* What was mapped is lost: it will be mapped for the next device, or when it is touched. */
static void forget_mapped_locked(struct vfb_space *space)
{
	if (!space->iommu->ops->mappings_need_domain)
		return;
	vfb_index_remove_extents(&space->index, 0, UINT64_MAX);
	vfb_demand_lose_locked(space);
}

/*
 * The last device is leaving, and takes the domain along. Where it may stay, jobs that need one
 * wait until find_domain_again().
 */
static void lose_domain(struct vfb_space *space)
{
	const struct vfb_sys *sys = space->ctx->sys;

	pthread_mutex_lock(&space->lock);
	/* Jobs that wait for a domain do not use this one if it has not been announced. */
	while (space->domain && space->jobs && space->iommu->ops->mappings_need_domain)
		sys->cond_wait(sys, &space->changed, &space->lock, UINT64_MAX);
	space->domain = false;
	space->entries_left = UINT64_MAX;
	if (domain_may_stay(space))
		space->opening++;
	else
		forget_mapped_locked(space);
	pthread_mutex_unlock(&space->lock);
}

/* True unless a restoring job believed that there was no domain. */
static bool resume_domain(struct vfb_space *space)
{
	bool resumed;

	pthread_mutex_lock(&space->lock);
	resumed = !discards_may_lose_locked(space) && !vfb_space_has_lost_locked(space);
	if (resumed)
		space->domain = true;
	pthread_mutex_unlock(&space->lock);
	return resumed;
}

/* Nobody has mapped or unmapped meanwhile but for discarding, or restoring. */
static void find_domain_again(struct vfb_space *space)
{
	struct vfb_iommu *iommu = space->iommu;

	iommu->ops->look_for_domain(iommu);
	if (!iommu->has_domain) {
		pthread_mutex_lock(&space->lock);
		forget_mapped_locked(space);
		pthread_mutex_unlock(&space->lock);
	} else if (!resume_domain(space) && renew_domain(space, 0)) {
		/* What could not be mapped again is mapped for the next device. */
		pthread_mutex_lock(&space->lock);
		space->domain = true;
		pthread_mutex_unlock(&space->lock);
	}
	vfb_space_opening_end(space, 0);
}

void vfb_space_detach(struct vfb_space *space, const struct vfb_iommu_device *device, bool counted)
{
	const char *operation = space->iommu->ops->detach_call;
	struct vfb_span span;
	bool last;

	attach_begin(space);
	vfb_observe_begin(&span, &space->ctx->observer, VFB_PHASE_DETACH);
	remove_attached(space, device->address);
	last = !space->attached && !space->iommu->has_domain;
	if (last)
		lose_domain(space);
	space->iommu->ops->detach(space->iommu, device);
	if (last && domain_may_stay(space))
		find_domain_again(space);
	attach_end(space, counted);
	vfb_observe_end(&span, .operation = operation, .device = device->address,
			.node = VFB_ANY_NODE);
}

/* Whether the attachment that the caller has made comes with a domain. */
static bool caller_has_attached(struct vfb_space *space)
{
	struct vfb_iommu *iommu = space->iommu;
	bool domain;

	pthread_mutex_lock(&space->lock);
	domain = space->domain;
	pthread_mutex_unlock(&space->lock);
	if (!domain)
		iommu->ops->look_for_domain(iommu);
	return domain || iommu->has_domain;
}

/* Within attach_begin(). From now on the domain does not depend on the library's own devices. */
static int join(struct vfb_space *space, struct vfb_attached *attached)
{
	if (*find_attached(space, attached->address))
		return fail_attached(attached->address);
	if (!caller_has_attached(space))
		return vfb_fail(
			-ENXIO,
			"no device is attached to the space for which device %s is adopted: "
			"attach it first (VFIO_GROUP_SET_CONTAINER and VFIO_SET_IOMMU, or "
			"VFIO_DEVICE_ATTACH_IOMMUFD_PT), or adopt it without a space",
			attached->address);
	space->iommu->has_domain = true;
	*find_attached(space, attached->address) = attached;
	return 0;
}

static void leave(struct vfb_space *space, const char *address, bool counted)
{
	attach_begin(space);
	remove_attached(space, address);
	attach_end(space, counted);
}

static int join_one(struct vfb_space *space, const char *address)
{
	struct vfb_attached *attached;
	int error;

	if (!space->iommu->adopted)
		return vfb_fail(
			-EINVAL,
			"device %s cannot be adopted into a space that the library created: "
			"adopt the space that it is attached to (vfb_space_adopt())",
			address);
	attached = new_attached(address);
	if (!attached)
		return -ENOMEM;
	attach_begin(space);
	error = join(space, attached);
	attach_end(space, 0);
	if (error)
		free(attached);
	return error;
}

int vfb_space_join(struct vfb_space *space, const char *const *addresses, size_t count)
{
	size_t joined = 0;
	int error = vfb_space_opening_begin(space);

	if (error)
		return error;
	while (joined < count && !error) {
		error = join_one(space, addresses[joined]);
		joined += !error;
	}
	/* The devices may have narrowed the valid IOVAs. */
	if (!error)
		error = renew_domain(space, count);
	while (error && joined--)
		leave(space, addresses[joined], false);
	vfb_space_opening_end(space, 0);
	vfb_space_opening_finish(space);
	return error;
}

void vfb_space_leave(struct vfb_space *space, const char *address)
{
	leave(space, address, true);
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
