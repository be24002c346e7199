/* SPDX-License-Identifier: MIT */
/* Groups of faults, the windows that they wait for, and their answers. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dma/fault.h"
#include "dma/space.h"
#include "observe/error.h"

static void report_fault(struct vfb_faults *faults, uint64_t iova, const char *operation, int error)
{
	struct vfb_span span;

	vfb_observe_begin(&span, &faults->space->ctx->observer, VFB_PHASE_FAULT);
	vfb_observe_end(&span, .operation = operation, .result = error, .iova = iova,
			.node = VFB_ANY_NODE);
}

/* ---- Answers ---- */

/*
 * iommufd_fault_fops_write() answers what comes before an error. A group that it does not know was
 * answered when its device was detached.
 */
void vfb_fault_answers_write(struct vfb_faults *faults, struct vfb_fault_answers *answers)
{
	const struct vfb_sys *sys = faults->space->ctx->sys;
	size_t done = 0, tries = 0;

	while (done < answers->count) {
		ssize_t bytes = sys->write(sys, faults->fd, &answers->list[done],
					   (answers->count - done) * sizeof(answers->list[0]));

		if (bytes > 0)
			done += (size_t)bytes / sizeof(answers->list[0]);
		else if (bytes == -EINVAL || tries++ == VFB_FAULT_ANSWERS)
			done++;
	}
	answers->count = 0;
}

/* The group waits for nothing any more: it is answered, unless it has been. */
static void finish_group_locked(struct vfb_faults *faults, struct vfb_fault_group *group,
				uint64_t now, struct vfb_fault_answers *answers)
{
	if (!group->answered) {
		TAILQ_REMOVE(&faults->groups, group, link);
		vfb_histogram_add(&faults->counters.latency, now - group->read_ns);
		answers->list[answers->count++] = (struct vfb_iommu_hwpt_page_response){
			.cookie = group->cookie,
			.code = group->code,
		};
	}
	free(group);
}

void vfb_fault_window_finish(struct vfb_faults *faults, struct vfb_fault_window *window, int error)
{
	const struct vfb_sys *sys = faults->space->ctx->sys;
	struct vfb_fault_answers answers = {.count = 0};
	uint64_t now = sys->now(sys);
	bool more = true;

	while (more) {
		pthread_mutex_lock(&faults->lock);
		while (window->parts && answers.count < VFB_FAULT_ANSWERS) {
			struct vfb_fault_part *part = window->parts;

			window->parts = part->next;
			if (error)
				part->group->code = VFB_IOMMUFD_PAGE_RESP_INVALID;
			faults->counters.denied += error != 0;
			if (!--part->group->left)
				finish_group_locked(faults, part->group, now, &answers);
			free(part);
		}
		more = window->parts;
		if (!more)
			TAILQ_REMOVE(&faults->windows, window, link);
		pthread_mutex_unlock(&faults->lock);
		vfb_fault_answers_write(faults, &answers);
	}
	vfb_demand_unref(window->demand);
	free(window);
}

/* ---- Faults ---- */

/* What an IOVA is mapped for, or will be. */
static uint32_t access_of(struct vfb_space *space, uint64_t iova)
{
	uint32_t flags = 0, all = VFB_RANGE_READ | VFB_RANGE_WRITE;
	const struct vfb_mapping *mapping;

	pthread_mutex_lock(&space->lock);
	mapping = vfb_index_at(&space->index, iova);
	if (mapping && mapping->at.iova <= iova)
		flags = mapping->flags & all ? mapping->flags & all : all;
	pthread_mutex_unlock(&space->lock);
	return flags;
}

/* The access that a device has requested must be allowed, else it would fault for ever. */
static bool is_allowed(uint32_t perm, uint32_t access)
{
	return !(perm & VFB_IOMMU_PGFAULT_PERM_EXEC) &&
	       !(perm & VFB_IOMMU_PGFAULT_PERM_READ && !(access & VFB_RANGE_READ)) &&
	       !(perm & VFB_IOMMU_PGFAULT_PERM_WRITE && !(access & VFB_RANGE_WRITE));
}

static unsigned int window_state(const struct vfb_demand *demand, size_t number)
{
	return atomic_load(&demand->windows[number].word) & VFB_WINDOW_STATE;
}

/* With a reference. NULL: it is not known; the table may have one that was unmapped, whose windows
 * are claimed. */
static struct vfb_demand *look_range_up(struct vfb_space *space, uint64_t iova)
{
	struct vfb_demand *demand;

	vfb_demand_read_begin();
	demand = vfb_demand_look_up(&space->demands, iova);
	if (demand && window_state(demand, vfb_demand_number(demand, iova)) == VFB_WINDOW_CLAIMED)
		demand = NULL;
	if (demand)
		vfb_demand_ref(demand);
	vfb_demand_read_end(&space->demands);
	return demand;
}

/* Its range, with a reference; NULL: it is mapped statically. -ENOENT, -EBUSY: it is not mapped;
 * -EACCES: not for this. */
static int find_range(struct vfb_space *space, const struct vfb_iommu_hwpt_pgfault *fault,
		      struct vfb_demand **out)
{
	uint32_t all = VFB_RANGE_READ | VFB_RANGE_WRITE, access;
	uint64_t end;
	int error = 0;

	*out = look_range_up(space, fault->addr);
	if (!*out)
		error = vfb_demand_find(space, fault->addr, out, &end);
	if (error)
		return error;
	access = *out ? (*out)->flags & all : access_of(space, fault->addr);
	if (is_allowed(fault->perm, access ? access : all))
		return 0;
	vfb_demand_unref(*out);
	*out = NULL;
	return -EACCES;
}

static struct vfb_fault_window *find_window_locked(struct vfb_faults *faults,
						   const struct vfb_demand *demand, size_t number)
{
	struct vfb_fault_window *window;

	TAILQ_FOREACH(window, &faults->windows, link)
	if (window->demand == demand && window->number == number)
		return window;
	return NULL;
}

/* Takes over the reference to the range. */
static int add_window_locked(struct vfb_faults *faults, struct vfb_demand *demand, size_t number,
			     struct vfb_fault_window **out)
{
	struct vfb_fault_window *window = calloc(1, sizeof(*window));

	if (!window) {
		vfb_demand_unref(demand);
		return -ENOMEM;
	}
	window->demand = demand;
	window->number = number;
	TAILQ_INSERT_TAIL(&faults->windows, window, link);
	faults->queued++;
	*out = window;
	return 0;
}

/* The group waits for a window of a range, whose reference this takes over. */
static int join_window_locked(struct vfb_faults *faults, struct vfb_fault_group *group,
			      struct vfb_demand *demand, uint64_t iova)
{
	size_t number = vfb_demand_number(demand, iova);
	struct vfb_fault_window *window = find_window_locked(faults, demand, number);
	struct vfb_fault_part *part = malloc(sizeof(*part));
	int error = part ? 0 : -ENOMEM;

	if (window || error)
		vfb_demand_unref(demand);
	if (window && !error)
		faults->counters.coalesced++;
	else if (!error)
		error = add_window_locked(faults, demand, number, &window);
	if (error) {
		free(part);
		return error;
	}
	*part = (struct vfb_fault_part){.next = window->parts, .group = group};
	window->parts = part;
	group->left++;
	return 0;
}

static void add_fault(struct vfb_faults *faults, struct vfb_fault_group *group,
		      const struct vfb_iommu_hwpt_pgfault *fault)
{
	struct vfb_demand *demand;
	int error = find_range(faults->space, fault, &demand);
	bool spurious = !error &&
			(!demand || window_state(demand, vfb_demand_number(demand, fault->addr)) ==
					    VFB_WINDOW_MAPPED);

	pthread_mutex_lock(&faults->lock);
	faults->counters.faults++;
	faults->counters.spurious += spurious;
	if (!error && !spurious)
		error = join_window_locked(faults, group, demand, fault->addr);
	if (error) {
		group->code = VFB_IOMMUFD_PAGE_RESP_INVALID;
		faults->counters.denied++;
	}
	pthread_mutex_unlock(&faults->lock);
	if (spurious)
		vfb_demand_unref(demand);
	if (error)
		report_fault(faults, fault->addr, "deny", error);
}

static struct vfb_fault_group *begin_group(struct vfb_faults *faults, uint32_t cookie, size_t count,
					   uint64_t now)
{
	struct vfb_fault_group *group = malloc(sizeof(*group));

	if (!group)
		return NULL;
	*group = (struct vfb_fault_group){
		.cookie = cookie,
		.faults = (unsigned int)count,
		/* This thread adds its faults. */
		.left = 1,
		.read_ns = now,
	};
	pthread_mutex_lock(&faults->lock);
	TAILQ_INSERT_TAIL(&faults->groups, group, link);
	if (faults->off_duty)
		faults->space->ctx->sys->cond_signal(faults->space->ctx->sys, &faults->watch);
	faults->off_duty = false;
	pthread_mutex_unlock(&faults->lock);
	return group;
}

/* Without memory for a group it is denied. */
static void add_group(struct vfb_faults *faults, const struct vfb_iommu_hwpt_pgfault *list,
		      size_t count, uint64_t now, struct vfb_fault_answers *answers)
{
	struct vfb_fault_group *group = begin_group(faults, list->cookie, count, now);

	for (size_t i = 0; i < count && group; i++)
		add_fault(faults, group, &list[i]);
	pthread_mutex_lock(&faults->lock);
	if (!group) {
		faults->counters.faults += count;
		faults->counters.denied += count;
		answers->list[answers->count++] = (struct vfb_iommu_hwpt_page_response){
			.cookie = list->cookie,
			.code = VFB_IOMMUFD_PAGE_RESP_INVALID,
		};
	} else if (!--group->left) {
		finish_group_locked(faults, group, now, answers);
	}
	pthread_mutex_unlock(&faults->lock);
	if (!group)
		report_fault(faults, list->addr, "deny", -ENOMEM);
}

void vfb_fault_groups_add(struct vfb_faults *faults, const struct vfb_iommu_hwpt_pgfault *list,
			  size_t count)
{
	struct vfb_fault_answers answers = {.count = 0};
	uint64_t now = faults->space->ctx->sys->now(faults->space->ctx->sys);

	for (size_t i = 0, end; i < count; i = end) {
		/* Groups that were not answered have different cookies. */
		for (end = i + 1; end < count && list[end].cookie == list[i].cookie;)
			end++;
		add_group(faults, &list[i], end - i, now, &answers);
		if (answers.count == VFB_FAULT_ANSWERS)
			vfb_fault_answers_write(faults, &answers);
	}
	vfb_fault_answers_write(faults, &answers);
}

/* ---- Windows ---- */

/*
 * A device that faults at the window after those that were mapped last reads on: each time twice as
 * many are mapped ahead, until it goes elsewhere.
 */
static size_t plan_ahead_locked(struct vfb_faults *faults, const struct vfb_fault_window *window)
{
	struct vfb_demand *demand = window->demand;
	size_t first = window->number + 1, count = 0;

	if (window->number == demand->fault_next)
		demand->fault_ahead = demand->fault_ahead ? 2 * demand->fault_ahead : 1;
	else
		demand->fault_ahead = 0;
	if (demand->fault_ahead > faults->most_ahead)
		demand->fault_ahead = faults->most_ahead;
	while (count < demand->fault_ahead && first + count < demand->count &&
	       window_state(demand, first + count) == VFB_WINDOW_ABSENT)
		count++;
	demand->fault_next = first + count;
	return count;
}

struct vfb_fault_window *vfb_fault_window_take_locked(struct vfb_faults *faults, size_t *ahead)
{
	struct vfb_fault_window *window;

	if (!faults->queued)
		return NULL;
	TAILQ_FOREACH(window, &faults->windows, link)
	if (!window->taken)
		break;
	window->taken = true;
	faults->queued--;
	*ahead = plan_ahead_locked(faults, window);
	return window;
}

/* ---- The watchdog ---- */

/* The first group, if it was read too long ago. */
static struct vfb_fault_group *take_expired_locked(struct vfb_faults *faults, uint64_t *deadline)
{
	const struct vfb_sys *sys = faults->space->ctx->sys;
	struct vfb_fault_group *group = TAILQ_FIRST(&faults->groups);

	*deadline = group ? group->read_ns + faults->timeout_ns : UINT64_MAX;
	faults->off_duty = !group;
	if (!group || sys->now(sys) < *deadline)
		return NULL;
	TAILQ_REMOVE(&faults->groups, group, link);
	group->answered = true;
	faults->counters.expired += group->faults;
	vfb_histogram_add(&faults->counters.latency, faults->timeout_ns);
	return group;
}

void *vfb_fault_watchdog_run(void *arg)
{
	struct vfb_faults *faults = arg;
	const struct vfb_sys *sys = faults->space->ctx->sys;

	pthread_mutex_lock(&faults->lock);
	while (!faults->stopping) {
		struct vfb_fault_answers answers = {.count = 1};
		uint64_t deadline;
		struct vfb_fault_group *group = take_expired_locked(faults, &deadline);

		if (!group) {
			sys->cond_wait(sys, &faults->watch, &faults->lock, deadline);
			continue;
		}
		/* The thread that maps its last window frees it. */
		answers.list[0].cookie = group->cookie;
		answers.list[0].code = VFB_IOMMUFD_PAGE_RESP_INVALID;
		pthread_mutex_unlock(&faults->lock);
		vfb_fault_answers_write(faults, &answers);
		report_fault(faults, 0, "expire", -ETIMEDOUT);
		pthread_mutex_lock(&faults->lock);
	}
	pthread_mutex_unlock(&faults->lock);
	return NULL;
}
