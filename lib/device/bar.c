/* SPDX-License-Identifier: MIT */
/* BARs as what other devices can reach, from being taken for that to being unmapped. */
#include "device/bar.h"

#include <errno.h>
#include <stdlib.h>

#include "memory/memory.h"
#include "observe/error.h"
#include "options.h"

int vfb_device_bars(struct vfb_device *device, struct vfb_bar *bars, size_t count)
{
	int found = 0;

	for (unsigned int index = 0; index < VFB_BARS && index < device->regions; index++) {
		struct vfb_region_info info = VFB_REGION_INFO_INIT;
		int error = vfb_region_info(device, index, &info);

		if (error)
			return error;
		if (!(info.flags & VFB_REGION_MMAP) || info.bytes < vfb_device_base_page(device))
			continue;
		if ((size_t)found < count)
			bars[found] = (struct vfb_bar){
				.device = device,
				.index = index,
				.flags = VFB_BAR_ANY_IOVA,
				.bytes = info.bytes,
			};
		found++;
	}
	return found;
}

/* The largest pages that offsets in the BAR and addresses are congruent for. */
static uint64_t largest_page(const struct vfb_region_mapping *mapping, uint64_t base)
{
	uintptr_t address = (uintptr_t)mapping->address;

	if (mapping->bytes >= GIB && address % GIB == 0)
		return GIB;
	return mapping->bytes >= 2 * MIB && address % (2 * MIB) == 0 ? 2 * MIB : base;
}

static int make_memory_locked(struct vfb_device *device, unsigned int index)
{
	struct vfb_region_mapping *mapping = &device->mappings[index];
	struct vfb_bar_memory *memory;

	if (mapping->memory)
		return 0;
	memory = calloc(1, sizeof(*memory));
	if (!memory)
		return vfb_fail_memory();
	memory->memory.ctx = device->ctx;
	memory->memory.address = mapping->address;
	memory->memory.bytes = mapping->bytes;
	memory->memory.fd = -1;
	memory->memory.page_bytes = largest_page(mapping, vfb_device_base_page(device));
	memory->memory.region = &memory->region;
	memory->region = (struct vfb_iommu_region){device->pci.address, device->fd, index};
	mapping->memory = memory;
	return 0;
}

void vfb_bar_disown_locked(struct vfb_bar_memory *memory)
{
	if (memory && memory->holders)
		memory->is_orphan = true;
	else
		free(memory);
}

int vfb_bar_take(struct vfb_device *device, unsigned int index, struct vfb_space *space,
		 struct vfb_memory **memory, const struct vfb_areas **areas)
{
	struct vfb_region_mapping *mapping = &device->mappings[index];
	int error;

	pthread_mutex_lock(&device->lock);
	error = mapping->address ? make_memory_locked(device, index) : -ENOENT;
	if (!error && !mapping->areas.count)
		error = vfb_fail(-ENOTSUP, "its MSI-X table fills it: nothing is left to map");
	if (!error && atomic_load(&mapping->memory->memory.users))
		error = vfb_fail(-EEXIST, "it is mapped for devices already");
	if (!error) {
		atomic_fetch_add(&mapping->memory->memory.users, 1);
		vfb_space_ref(space);
		vfb_space_unref(mapping->space);
		mapping->space = space;
		*memory = &mapping->memory->memory;
		*areas = &mapping->areas;
	}
	pthread_mutex_unlock(&device->lock);
	return error;
}

/* A BAR that is mapped for the devices of a space: neither of them goes while it is held. */
struct held_bar {
	struct vfb_bar_memory *memory;
	struct vfb_space *space;
};

/* False: it is not mapped for devices. */
static bool hold_mapped(struct vfb_device *device, unsigned int index, struct held_bar *held)
{
	bool mapped;

	pthread_mutex_lock(&device->lock);
	mapped = device->mappings && index < device->regions && device->mappings[index].memory;
	if (mapped) {
		held->memory = device->mappings[index].memory;
		held->space = device->mappings[index].space;
		mapped = atomic_load(&held->memory->memory.users) &&
			 vfb_space_job_try_begin(held->space);
		held->memory->holders += mapped;
	}
	pthread_mutex_unlock(&device->lock);
	return mapped;
}

static void release_held(struct vfb_device *device, const struct held_bar *held)
{
	vfb_space_job_end(held->space);
	pthread_mutex_lock(&device->lock);
	held->memory->holders--;
	if (held->memory->is_orphan)
		vfb_bar_disown_locked(held->memory);
	pthread_mutex_unlock(&device->lock);
}

int vfb_bar_unmap(struct vfb_device *device, unsigned int index)
{
	struct held_bar held;

	if (!hold_mapped(device, index, &held))
		return -ENOENT;
	vfb_space_unmap_region(held.space, &held.memory->memory);
	release_held(device, &held);
	return 0;
}

/* Waits for jobs that map BARs of the device; for those that reset it too. */
static void wait_for_jobs(struct vfb_device *device, bool resets)
{
	const struct vfb_sys *sys = device->ctx->sys;

	pthread_mutex_lock(&device->lock);
	while (device->bar_jobs || (resets && device->reset_jobs))
		sys->cond_wait(sys, &device->idle, &device->lock, UINT64_MAX);
	pthread_mutex_unlock(&device->lock);
}

int vfb_bars_unmap(struct vfb_bar *bars, size_t count)
{
	int result = vfb_observe_check_wait();

	if (!result)
		result = vfb_entries_check(bars, count, "BARs");
	if (result)
		return result;
	for (size_t i = 0; i < count; i++)
		if (!bars[i].device || bars[i].index >= VFB_BARS)
			return vfb_fail(-EINVAL,
					"entry %zu has no device, or no BAR: they are 0 to 5", i);
	if (count)
		result = vfb_observer_check_process(&bars[0].device->ctx->observer);
	if (result)
		return result;
	for (size_t i = 0; i < count; i++) {
		wait_for_jobs(bars[i].device, false);
		bars[i].status = vfb_bar_unmap(bars[i].device, bars[i].index);
		if (bars[i].status && !result)
			result = vfb_fail(bars[i].status,
					  "BAR %u of device %s is not mapped for devices",
					  bars[i].index, bars[i].device->pci.address);
	}
	return result;
}

void vfb_bar_job_begin(struct vfb_device *device)
{
	pthread_mutex_lock(&device->lock);
	device->bar_jobs++;
	pthread_mutex_unlock(&device->lock);
}

void vfb_bar_job_end(struct vfb_device *device)
{
	const struct vfb_sys *sys = device->ctx->sys;

	pthread_mutex_lock(&device->lock);
	device->bar_jobs--;
	sys->cond_broadcast(sys, &device->idle);
	pthread_mutex_unlock(&device->lock);
}

void vfb_bars_release(struct vfb_device *device)
{
	wait_for_jobs(device, true);
	for (unsigned int i = 0; i < VFB_BARS; i++)
		vfb_bar_unmap(device, i);
}

static int remap_held(struct vfb_device *device, const struct held_bar *held)
{
	const struct vfb_memory *memory = &held->memory->memory;
	struct vfb_span span;
	int error;

	if (!held->space->iommu->ops->reset_revokes)
		return 0;
	vfb_observe_begin(&span, &device->ctx->observer, VFB_PHASE_BAR);
	error = vfb_space_remap_region(held->space, memory);
	vfb_observe_end(&span, .operation = "remap", .result = error,
			.address = (uintptr_t)memory->address, .bytes = memory->bytes,
			.device = device->pci.address, .node = device->pci.numa_node);
	return error;
}

int vfb_bars_remap(struct vfb_device *device)
{
	int result = 0;

	for (unsigned int i = 0; i < VFB_BARS; i++) {
		struct held_bar held;
		int error;

		if (!hold_mapped(device, i, &held))
			continue;
		error = remap_held(device, &held);
		release_held(device, &held);
		result = result ? result : error;
	}
	return result;
}
