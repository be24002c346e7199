/* SPDX-License-Identifier: MIT */
#include "iommu/registered.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>

struct vfb_area {
	RB_ENTRY(vfb_area) link;
	/* Of memory its address, of a mapping its IOVA. */
	uint64_t first, bytes;
	/* Of a mapping: the address of its memory. */
	uint64_t address;
	/* Of memory: how many mappings use it. */
	unsigned int users;
	/* Of memory: the owner of the container has registered it, or a part. */
	bool foreign;
};

/* Those that overlap are equal. */
static int compare_areas(const struct vfb_area *a, const struct vfb_area *b)
{
	return (a->first > b->first + (b->bytes - 1)) - (a->first + (a->bytes - 1) < b->first);
}

RB_PROTOTYPE(vfb_areas, vfb_area, link, compare_areas)
RB_GENERATE(vfb_areas, vfb_area, link, compare_areas)

/* The first one that ends at @first or after it. */
static struct vfb_area *areas_at(const struct vfb_areas *areas, uint64_t first)
{
	struct vfb_area *area = RB_ROOT(areas), *found = NULL;

	while (area) {
		if (area->first + (area->bytes - 1) < first) {
			area = RB_RIGHT(area, link);
		} else {
			found = area;
			area = RB_LEFT(area, link);
		}
	}
	return found;
}

static void areas_free(struct vfb_areas *areas)
{
	struct vfb_area *area;

	while ((area = RB_ROOT(areas))) {
		vfb_areas_RB_REMOVE(areas, area);
		free(area);
	}
}

void vfb_registered_init(struct vfb_registered *registered, const struct vfb_sys *sys, int fd,
			 bool adopted)
{
	*registered = (struct vfb_registered){.sys = sys, .fd = fd, .adopted = adopted};
	RB_INIT(&registered->memory);
	RB_INIT(&registered->mappings);
	vfb_sleep_lock_init(&registered->lock, sys);
}

void vfb_registered_destroy(struct vfb_registered *registered)
{
	areas_free(&registered->memory);
	areas_free(&registered->mappings);
	vfb_sleep_lock_destroy(&registered->lock);
}

static int call_for_area(const struct vfb_registered *registered, unsigned long request,
			 const struct vfb_area *area)
{
	struct vfio_iommu_spapr_register_memory memory = {
		.argsz = sizeof(memory),
		.vaddr = area->first,
		.size = area->bytes,
	};

	return registered->sys->ioctl(registered->sys, registered->fd, request, &memory);
}

/*
 * EBUSY: the owner of the container has registered the same; EINVAL (mm_iommu_do_alloc()): or what
 * overlaps it. If that does not cover it, mapping it will fail.
 */
static bool area_is_foreign(const struct vfb_registered *registered, int error)
{
	return registered->adopted && (error == -EBUSY || error == -EINVAL);
}

static int register_area_locked(struct vfb_registered *registered, uint64_t first, uint64_t bytes)
{
	struct vfb_area *area = calloc(1, sizeof(*area));
	int error;

	if (!area)
		return -ENOMEM;
	area->first = first;
	area->bytes = bytes;
	error = call_for_area(registered, VFIO_IOMMU_SPAPR_REGISTER_MEMORY, area);
	area->foreign = area_is_foreign(registered, error);
	if (error && !area->foreign) {
		free(area);
		return error;
	}
	vfb_areas_RB_INSERT(&registered->memory, area);
	return 0;
}

/* What cannot be unregistered, because it is still mapped, is tried again with the next mapping of
 * it that ends, and when the last device leaves. */
static void unregister_area_locked(struct vfb_registered *registered, struct vfb_area *area)
{
	if (!area->foreign && call_for_area(registered, VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, area))
		return;
	vfb_areas_RB_REMOVE(&registered->memory, area);
	free(area);
}

/* Of memory that was held. */
static void release_locked(struct vfb_registered *registered, uint64_t address, uint64_t bytes)
{
	struct vfb_area *area = areas_at(&registered->memory, address), *next;

	for (; area && area->first < address + bytes; area = next) {
		next = vfb_areas_RB_NEXT(area);
		if (!--area->users)
			unregister_area_locked(registered, area);
	}
}

/* Registers the holes in [address, address + bytes), and counts a user of all of it. */
static int hold_locked(struct vfb_registered *registered, uint64_t address, uint64_t bytes)
{
	uint64_t end = address + bytes, at = address;

	while (at < end) {
		struct vfb_area *area = areas_at(&registered->memory, at);
		uint64_t hole = area && area->first < end ? area->first : end;
		int error = at < hole ? register_area_locked(registered, at, hole - at) : 0;

		if (error) {
			release_locked(registered, address, at - address);
			return error;
		}
		area = areas_at(&registered->memory, at);
		area->users++;
		at = area->first + area->bytes;
	}
	return 0;
}

int vfb_registered_add(struct vfb_registered *registered, uint64_t iova, uint64_t bytes,
		       uint64_t address)
{
	struct vfb_area *mapping = calloc(1, sizeof(*mapping));
	int error;

	if (!mapping)
		return -ENOMEM;
	*mapping = (struct vfb_area){.first = iova, .bytes = bytes, .address = address};
	vfb_sleep_lock_take(&registered->lock);
	error = hold_locked(registered, address, bytes);
	if (!error && vfb_areas_RB_INSERT(&registered->mappings, mapping)) {
		release_locked(registered, address, bytes);
		error = -EEXIST;
	}
	vfb_sleep_lock_release(&registered->lock);
	if (error)
		free(mapping);
	return error;
}

void vfb_registered_remove(struct vfb_registered *registered, uint64_t iova, uint64_t bytes)
{
	uint64_t last = iova + (bytes - 1);
	struct vfb_area *mapping;

	vfb_sleep_lock_take(&registered->lock);
	while ((mapping = areas_at(&registered->mappings, iova)) && mapping->first <= last) {
		vfb_areas_RB_REMOVE(&registered->mappings, mapping);
		release_locked(registered, mapping->address, mapping->bytes);
		free(mapping);
	}
	vfb_sleep_lock_release(&registered->lock);
}

void vfb_registered_remove_all(struct vfb_registered *registered)
{
	struct vfb_area *area;

	vfb_sleep_lock_take(&registered->lock);
	RB_FOREACH(area, vfb_areas, &registered->memory)
	if (!area->foreign)
		call_for_area(registered, VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, area);
	areas_free(&registered->memory);
	areas_free(&registered->mappings);
	vfb_sleep_lock_release(&registered->lock);
}

void vfb_registered_forget(struct vfb_registered *registered)
{
	vfb_sleep_lock_take(&registered->lock);
	areas_free(&registered->memory);
	areas_free(&registered->mappings);
	vfb_sleep_lock_release(&registered->lock);
}
