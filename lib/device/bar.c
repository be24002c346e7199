/* SPDX-License-Identifier: MIT */
/* BARs as what other devices can reach, from being taken for that to being unmapped. */
#include "device/bar.h"

#include <errno.h>
#include <stdlib.h>

#include "memory/memory.h"
#include "observe/error.h"

int vfb_device_bars(struct vfb_device *device, struct vfb_bar *bars, size_t count)
{
	int found = 0;

	for (unsigned int index = 0; index < VFB_BARS && index < device->regions; index++) {
		struct vfb_region_info info = VFB_REGION_INFO_INIT;
		int error = vfb_region_info(device, index, &info);

		if (error)
			return error;
		if (!(info.flags & VFB_REGION_MMAP) || info.bytes < 4 * KIB)
			continue;
		if ((size_t)found < count)
			bars[found] = (struct vfb_bar){
				.device = device,
				.index = index,
				.flags = VFB_RANGE_ANY_IOVA,
				.bytes = info.bytes,
			};
		found++;
	}
	return found;
}

/* The largest pages that offsets in the BAR and addresses are congruent for. */
static uint64_t largest_page(const struct vfb_region_mapping *mapping)
{
	uintptr_t address = (uintptr_t)mapping->address;

	if (mapping->bytes >= GIB && address % GIB == 0)
		return GIB;
	return mapping->bytes >= 2 * MIB && address % (2 * MIB) == 0 ? 2 * MIB : 4 * KIB;
}

/* With the device's lock held. */
static int make_memory(struct vfb_device *device, unsigned int index)
{
	struct vfb_region_mapping *mapping = &device->mappings[index];

	if (mapping->memory)
		return 0;
	mapping->memory = calloc(1, sizeof(*mapping->memory));
	if (!mapping->memory)
		return vfb_fail_memory();
	mapping->memory->ctx = device->ctx;
	mapping->memory->address = mapping->address;
	mapping->memory->bytes = mapping->bytes;
	mapping->memory->fd = -1;
	mapping->memory->page_bytes = largest_page(mapping);
	mapping->memory->device = device->pci.address;
	mapping->memory->device_fd = device->fd;
	mapping->memory->region = index;
	return 0;
}

int vfb_bar_take(struct vfb_device *device, unsigned int index, struct vfb_space *space,
		 struct vfb_memory **memory, const struct vfb_areas **areas)
{
	struct vfb_region_mapping *mapping = &device->mappings[index];
	int error;

	pthread_mutex_lock(&device->lock);
	error = mapping->address ? make_memory(device, index) : -ENOENT;
	if (!error && !mapping->areas.count)
		error = vfb_fail(-ENOTSUP, "its MSI-X table fills it: nothing is left to map");
	if (!error && atomic_load(&mapping->memory->users))
		error = vfb_fail(-EEXIST, "it is mapped for devices already");
	if (!error) {
		atomic_fetch_add(&mapping->memory->users, 1);
		mapping->space = space;
		*memory = mapping->memory;
		*areas = &mapping->areas;
	}
	pthread_mutex_unlock(&device->lock);
	return error;
}

/* The region if it is mapped for devices, and for those of which space; else NULL. */
static struct vfb_memory *find_mapped(struct vfb_device *device, unsigned int index,
				      struct vfb_space **space)
{
	struct vfb_memory *memory = NULL;

	pthread_mutex_lock(&device->lock);
	if (device->mappings && index < device->regions)
		memory = device->mappings[index].memory;
	if (memory && !atomic_load(&memory->users))
		memory = NULL;
	if (memory)
		*space = device->mappings[index].space;
	pthread_mutex_unlock(&device->lock);
	return memory;
}

int vfb_bar_unmap(struct vfb_device *device, unsigned int index)
{
	struct vfb_space *space;
	struct vfb_memory *memory = find_mapped(device, index, &space);

	if (!memory)
		return -ENOENT;
	vfb_space_unmap_region(space, memory);
	return 0;
}

/* Waits for jobs that map BARs of the device. */
static void wait_for_jobs(struct vfb_device *device)
{
	const struct vfb_sys *sys = device->ctx->sys;

	pthread_mutex_lock(&device->lock);
	while (device->bar_jobs)
		sys->cond_wait(sys, &device->idle, &device->lock, UINT64_MAX);
	pthread_mutex_unlock(&device->lock);
}

int vfb_bars_unmap(struct vfb_bar *bars, size_t count)
{
	int result = vfb_observe_check_wait();

	if (result)
		return result;
	for (size_t i = 0; i < count; i++)
		if (!bars[i].device || bars[i].index >= VFB_BARS)
			return vfb_fail(-EINVAL,
					"entry %zu has no device, or no BAR: they are 0 to 5", i);
	for (size_t i = 0; i < count; i++) {
		wait_for_jobs(bars[i].device);
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
	wait_for_jobs(device);
	for (unsigned int i = 0; i < VFB_BARS; i++)
		vfb_bar_unmap(device, i);
}

static int remap(struct vfb_device *device, struct vfb_space *space, struct vfb_memory *memory)
{
	struct vfb_span span;
	int error;

	vfb_observe_begin(&span, &device->ctx->observer, VFB_PHASE_BAR);
	error = vfb_space_remap_region(space, memory);
	vfb_observe_end(&span, .operation = "remap", .result = error,
			.address = (uintptr_t)memory->address, .bytes = memory->bytes,
			.device = device->pci.address, .node = device->pci.numa_node);
	return error;
}

int vfb_bars_remap(struct vfb_device *device)
{
	int result = 0;

	for (unsigned int i = 0; i < VFB_BARS; i++) {
		struct vfb_space *space;
		struct vfb_memory *memory = find_mapped(device, i, &space);
		int error = 0;

		if (memory && space->iommu->ops->reset_revokes)
			error = remap(device, space, memory);
		result = result ? result : error;
	}
	return result;
}
