/* SPDX-License-Identifier: MIT */
/*
 * Mapping regions into the process. The kernel inserts a huge PFN when the block lies inside the
 * VMA and address and physical address are congruent (is_aligned_for_order() of vfio-pci, Linux
 * 6.12); BARs are aligned to their size, so offsets in the BAR do for physical addresses. It does
 * not choose such addresses itself: they are reserved first, and replaced then.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "device/bar.h"
#include "memory/cause.h"
#include "observe/error.h"
#include "options.h"
#include "round.h"

#define KNOWN_FLAGS (VFB_REGION_MAP_WITHOUT_MSIX | VFB_REGION_MAP_MEASURE)

/* Addresses for the region, congruent to it for the largest pages that it can have on any kernel.
 */
static int region_reserve(const struct vfb_sys *sys, uint64_t bytes, char **out)
{
	uint64_t base = sys->base_page(sys), unit = base;
	uint64_t skip, all;
	void *address;
	char *begin;
	int error;

	/* No process has as many addresses. */
	if (bytes > INT64_MAX)
		return -ENOMEM;
	while (unit < GIB && unit <= bytes / 2)
		unit *= 2;
	bytes = round_up(bytes, base);
	all = bytes + unit - base;
	error = sys->mmap(sys, NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			  -1, 0, &address);
	if (error)
		return error;
	begin = address;
	skip = round_up((uintptr_t)begin, unit) - (uintptr_t)begin;
	if (skip)
		sys->munmap(sys, begin, skip);
	if (all - skip > bytes)
		sys->munmap(sys, begin + skip + bytes, all - skip - bytes);
	*out = begin + skip;
	return 0;
}

/* Gives the addresses back; those of the caller stay reserved, without access. */
static void give_back(const struct vfb_sys *sys, const struct vfb_region_mapping *mapping)
{
	void *address;

	if (!mapping->placed ||
	    sys->mmap(sys, mapping->address, mapping->bytes, PROT_NONE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0, &address))
		sys->munmap(sys, mapping->address, mapping->bytes);
}

static int region_map_areas(const struct vfb_device *device, const struct vfio_region_info *info,
			    const struct vfb_areas *areas, char *begin)
{
	const struct vfb_sys *sys = device->ctx->sys;
	int prot = (info->flags & VFIO_REGION_INFO_FLAG_READ ? PROT_READ : 0) |
		   (info->flags & VFIO_REGION_INFO_FLAG_WRITE ? PROT_WRITE : 0);
	int error = 0;

	for (size_t i = 0; i < areas->count && !error; i++) {
		const struct vfb_area *area = &areas->areas[i];
		void *address;

		error = sys->mmap(sys, begin + area->first, area->end - area->first, prot,
				  MAP_SHARED | MAP_FIXED, device->fd, info->offset + area->first,
				  &address);
	}
	return error;
}

/* Reading the byte makes the kernel map its page. */
static bool reading_faults(const struct vfb_sys *sys, const volatile char *byte)
{
	uint64_t before = sys->minor_faults(sys);

	(void)*byte;
	return sys->minor_faults(sys) != before;
}

/* There is an area that can be read, and reading it is not answered with a signal. */
static bool can_measure(const struct vfb_device *device, const struct vfio_region_info *info,
			const struct vfb_region_mapping *mapping)
{
	return mapping->areas.count && info->flags & VFIO_REGION_INFO_FLAG_READ &&
	       vfb_device_has_memory(device);
}

/* The size of the pages of an area that nobody has touched yet. */
static uint64_t region_measure_pages(const struct vfb_sys *sys, const struct vfb_area *area,
				     const char *begin)
{
	/* Of the next two levels of page tables; with base pages of 16 KiB and more, only one. */
	uint64_t base = sys->base_page(sys), large = vfb_thp_bytes(sys);
	uint64_t giant = large == 2 * MIB ? GIB : large;
	uint64_t first = round_up(area->first, giant), second = round_up(area->first, large);
	uint64_t at = first + giant <= area->end  ? first :
		      second + large <= area->end ? second :
						    area->first;

	reading_faults(sys, begin + at);
	if (at + large > area->end || reading_faults(sys, begin + at + base))
		return base;
	if (giant == large || at + giant > area->end || reading_faults(sys, begin + at + large))
		return large;
	return giant;
}

/* Maps what is planned at addresses that @mapping gets. */
static int region_map_planned(const struct vfb_device *device, unsigned int index,
			      const struct vfio_region_info *info,
			      struct vfb_region_mapping *mapping)
{
	const struct vfb_sys *sys = device->ctx->sys;
	char what[64];
	int error = 0;

	mapping->bytes = info->size;
	if (!mapping->placed)
		error = region_reserve(sys, info->size, &mapping->address);
	if (!error) {
		error = region_map_areas(device, info, &mapping->areas, mapping->address);
		if (error)
			give_back(sys, mapping);
	}
	if (!error)
		return 0;
	snprintf(what, sizeof(what), "region %u of device %s", index, device->pci.address);
	return vfb_mmap_failed(sys, error, what, info->size, sys->base_page(sys));
}

/* The region is this thread's to map. */
static int region_claim(struct vfb_device *device, unsigned int index)
{
	struct vfb_region_mapping *mapping = &device->mappings[index];
	bool taken;

	pthread_mutex_lock(&device->lock);
	taken = mapping->begun || mapping->address;
	mapping->begun = mapping->begun || !taken;
	pthread_mutex_unlock(&device->lock);
	if (taken)
		return vfb_fail(-EEXIST, "region %u of device %s is mapped already", index,
				device->pci.address);
	return 0;
}

/* No system call is made with the lock held, since its event would be reported under it. */
static void region_publish(struct vfb_device *device, unsigned int index,
			   const struct vfb_region_mapping *mapping)
{
	pthread_mutex_lock(&device->lock);
	device->mappings[index] = *mapping;
	pthread_mutex_unlock(&device->lock);
}

static int region_check_opts(const struct vfb_region_map_opts *opts, uint64_t base)
{
	if (opts->flags & ~KNOWN_FLAGS)
		return vfb_fail(-EINVAL, "flags 0x%x to map a region are unknown: 0x%x are",
				opts->flags, KNOWN_FLAGS);
	if ((uintptr_t)opts->address % base)
		return vfb_fail(-EINVAL,
				"address %p to map a region at is not a multiple of %" PRIu64
				" bytes",
				opts->address, base);
	return 0;
}

/* What of the region is to be mapped. */
static int region_plan(const struct vfb_device *device, unsigned int index, uint32_t flags,
		       struct vfio_region_info **info, struct vfb_areas *areas)
{
	int error = vfb_region_read_info(device, index, info);

	if (error)
		return error;
	if (!((*info)->flags & VFIO_REGION_INFO_FLAG_MMAP))
		return vfb_fail(-ENOTSUP, "region %u of device %s cannot be mapped", index,
				device->pci.address);
	return vfb_areas_find(device, index, *info, flags & VFB_REGION_MAP_WITHOUT_MSIX, areas);
}

int vfb_region_map(struct vfb_device *device, unsigned int index,
		   const struct vfb_region_map_opts *opts, void **out)
{
	struct vfb_region_map_opts known = VFB_REGION_MAP_OPTS_INIT;
	const struct vfb_sys *sys = device->ctx->sys;
	struct vfb_region_mapping mapping = {0};
	struct vfio_region_info *info = NULL;
	int error;

	*out = NULL;
	error = vfb_struct_read(&known, sizeof(known), opts);
	if (!error)
		error = region_check_opts(&known, sys->base_page(sys));
	mapping.address = known.address;
	mapping.placed = known.address;
	if (!error)
		error = region_plan(device, index, known.flags, &info, &mapping.areas);
	if (!error)
		error = region_claim(device, index);
	if (error) {
		free(mapping.areas.areas);
		free(info);
		return error;
	}
	error = region_map_planned(device, index, info, &mapping);
	if (error) {
		free(mapping.areas.areas);
		mapping = (struct vfb_region_mapping){0};
	} else if (known.flags & VFB_REGION_MAP_MEASURE && can_measure(device, info, &mapping)) {
		mapping.page_bytes = region_measure_pages(sys, &mapping.areas.areas[0],
							  mapping.address);
	}
	region_publish(device, index, &mapping);
	*out = mapping.address;
	free(info);
	return error;
}

/* Takes a mapping out of the device. */
static int region_take(struct vfb_device *device, unsigned int index,
		       struct vfb_region_mapping *mapping)
{
	int error = 0;

	pthread_mutex_lock(&device->lock);
	if (index >= device->regions || !device->mappings[index].address) {
		error = -ENOENT;
	} else if (device->mappings[index].memory &&
		   atomic_load(&device->mappings[index].memory->memory.users)) {
		error = -EBUSY;
	} else {
		*mapping = device->mappings[index];
		device->mappings[index] = (struct vfb_region_mapping){0};
		vfb_bar_disown_locked(mapping->memory);
	}
	pthread_mutex_unlock(&device->lock);
	return error;
}

/* -ENOENT, -EBUSY: without a text. */
static int region_unmap_one(struct vfb_device *device, unsigned int index)
{
	struct vfb_region_mapping mapping;
	int error = region_take(device, index, &mapping);

	if (error)
		return error;
	give_back(device->ctx->sys, &mapping);
	free(mapping.areas.areas);
	vfb_space_unref(mapping.space);
	return 0;
}

int vfb_region_unmap(struct vfb_device *device, unsigned int index)
{
	int error = region_unmap_one(device, index);

	if (error == -EBUSY)
		return vfb_fail(error,
				"region %u of device %s is mapped for other devices, or being so: "
				"unmap that first (vfb_bars_unmap())",
				index, device->pci.address);
	if (error)
		return vfb_fail(error, "region %u of device %s is not mapped", index,
				device->pci.address);
	return 0;
}

void vfb_region_unmap_all(struct vfb_device *device)
{
	for (unsigned int i = 0; device->mappings && i < device->regions; i++)
		region_unmap_one(device, i);
}
