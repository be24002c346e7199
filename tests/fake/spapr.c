/* SPDX-License-Identifier: MIT */
/* sPAPR IOMMU backend: drivers/vfio/vfio_iommu_spapr_tce.c, arch/powerpc/mm/book3s64/iommu_api.c,
 * and the windows of arch/powerpc/platforms/pseries/iommu.c. */
#include <linux/vfio.h>

#include "model.h"

#define TCE_PAGE   UINT64_C(4096)
#define LOW_BYTES  (UINT64_C(1) << 30)
#define HIGH_FIRST (UINT64_C(1) << 59)
#define PAGE_SIZES (TCE_PAGE | 16 * TCE_PAGE | PAGE_2M | 8 * PAGE_2M)

/* ---- Registered memory ---- */

static uint64_t lowest_bit(uint64_t value)
{
	return value & -value;
}

/* The largest IOMMU page that it can have: only pages of hugetlbfs count. */
static uint64_t region_page(struct fake *fake, uint64_t address, uint64_t bytes)
{
	uint64_t page = lowest_bit(address | bytes);

	for (uint64_t at = address; at < address + bytes;) {
		const struct vma *vma = fk_vma_find(fake, at);
		bool huge = vma && vma->object && vma->object->pool != POOL_BASE;

		page = min_u64(page, huge ? vma->object->page_bytes : fake->config.base_page);
		at = vma ? vma->end : address + bytes;
	}
	return page;
}

static struct spapr_region *region_at(const struct fake *fake, uint64_t first, uint64_t last)
{
	struct spapr_region *region = fake->regions;

	while (region && (region->address > last || region->address + region->bytes <= first))
		region = region->next;
	return region;
}

static size_t region_index(const struct container *container, const struct spapr_region *region)
{
	size_t i = 0;

	while (i < container->region_count && container->regions[i] != region)
		i++;
	return i;
}

static bool region_is_mapped(const struct fake *fake, const struct spapr_region *region)
{
	for (const struct space *space = fake->spaces; space; space = space->next)
		for (size_t i = 0; i < space->count; i++) {
			const struct dma *dma = space->dmas[i];

			if (dma->vaddr < region->address + region->bytes &&
			    dma->vaddr + (dma->last - dma->iova) >= region->address)
				return true;
		}
	return false;
}

static void region_add(struct container *container, struct spapr_region *region)
{
	size_t bytes = (container->region_count + 1) * sizeof(*container->regions);

	container->regions = realloc(container->regions, bytes);
	if (!container->regions)
		abort();
	container->regions[container->region_count++] = region;
	container->enabled = true;
	region->users++;
}

/* tce_iommu_prereg_free() */
static int region_remove(struct fake *fake, struct container *container, size_t i)
{
	struct spapr_region *region = container->regions[i], **at = &fake->regions;

	if (region->users == 1 && region_is_mapped(fake, region))
		return -EBUSY;
	container->regions[i] = container->regions[--container->region_count];
	if (--region->users)
		return 0;
	while (*at != region)
		at = &(*at)->next;
	*at = region->next;
	fake->pinned -= region->bytes;
	fake->locked_vm -= region->bytes;
	free(region);
	return 0;
}

/* mm_iommu_do_alloc() */
static int pin_region(struct fake *fake, uint64_t address, uint64_t bytes)
{
	const struct fake_config *config = &fake->config;
	struct pin pin = {.write = true, .budget = NEVER};
	int error;

	if (!config->cap_ipc_lock && config->memlock != UINT64_MAX &&
	    fake->locked_vm + bytes > config->memlock)
		return -ENOMEM;
	error = fk_memory_pin(fake, address, bytes, &pin);
	fake->stats.populated_by_map_bytes += pin.zeroed;
	if (!error) {
		fake->pinned += bytes;
		fake->locked_vm += bytes;
	}
	fk_clock_spend(fake, config->map_call_ns + cost_of(pin.zeroed, config->zero_ns_per_gib) +
				     cost_of(pin.pinned, config->pin_ns_per_gib));
	return error;
}

static int register_locked(struct fake *fake, struct container *container, uint64_t address,
			   uint64_t bytes)
{
	struct spapr_region *region = region_at(fake, address, address + bytes - 1);
	int error;

	if (region && (region->address != address || region->bytes != bytes))
		return -EINVAL;
	if (region && region_index(container, region) < container->region_count)
		return -EBUSY;
	if (!region) {
		error = pin_region(fake, address, bytes);
		if (error)
			return error;
		region = fk_xalloc(sizeof(*region));
		region->address = address;
		region->bytes = bytes;
		region->page = region_page(fake, address, bytes);
		region->next = fake->regions;
		fake->regions = region;
	}
	region_add(container, region);
	fake->stats.register_calls++;
	return 0;
}

static int unregister_locked(struct fake *fake, struct container *container, uint64_t address,
			     uint64_t bytes)
{
	struct spapr_region *region = region_at(fake, address, address + bytes - 1);
	size_t i = region ? region_index(container, region) : container->region_count;
	int error;

	if (i == container->region_count || region->address != address || region->bytes != bytes)
		return -ENOENT;
	error = region_remove(fake, container, i);
	fake->stats.unregister_calls += !error;
	return error;
}

static int change_memory(struct fake *fake, struct container *container, bool add,
			 const struct vfio_iommu_spapr_register_memory *memory)
{
	int error;

	if (!memory)
		return -EFAULT;
	if (memory->argsz < sizeof(*memory) || memory->flags || !memory->size ||
	    (memory->vaddr | memory->size) % fake->config.base_page ||
	    memory->vaddr + memory->size < memory->vaddr)
		return -EINVAL;
	if (add)
		COUNT_UP(fake, registers_in_flight, max_registers_in_flight);
	fk_vlock_write(fake, &container->iommu_lock);
	error = (add ? register_locked : unregister_locked)(fake, container, memory->vaddr,
							    memory->size);
	fk_vunlock_write(&container->iommu_lock);
	fake->registers_in_flight -= add;
	return error;
}

/* ---- Windows ---- */

static struct spapr_window *window_of(struct container *container, uint64_t iova)
{
	for (size_t i = 0; i < ARRAY_SIZE(container->windows); i++) {
		struct spapr_window *window = &container->windows[i];

		if (iova >= window->first && iova - window->first < window->bytes)
			return window;
	}
	return NULL;
}

static void clear_window(struct fake *fake, struct container *container,
			 struct spapr_window *window)
{
	uint64_t last = window->first + (window->bytes - 1);
	struct dma *dma;

	while (window->bytes && (dma = fk_space_find(&container->space, window->first, last)))
		fk_space_remove(fake, &container->space, dma);
	memset(window, 0, sizeof(*window));
}

static void make_default(struct container *container)
{
	if (container->default_pending)
		container->windows[0] = (struct spapr_window){0, LOW_BYTES, TCE_PAGE};
	container->default_pending = false;
}

static int create_window(struct fake *fake, struct container *container,
			 struct vfio_iommu_spapr_tce_create *create)
{
	struct spapr_window *window = NULL;

	if (!create)
		return -EFAULT;
	if (create->argsz < sizeof(*create) || create->flags)
		return -EINVAL;
	make_default(container);
	for (size_t i = 0; i < ARRAY_SIZE(container->windows) && !window; i++)
		if (!container->windows[i].bytes)
			window = &container->windows[i];
	if (!window)
		return -ENOSPC;
	if (create->page_shift > 63 || !(PAGE_SIZES >> create->page_shift & 1) ||
	    create->levels != 1 || lowest_bit(create->window_size) != create->window_size ||
	    create->window_size > fake->config.spapr_window)
		return -EINVAL;
	*window = (struct spapr_window){HIGH_FIRST, create->window_size,
					UINT64_C(1) << create->page_shift};
	create->start_addr = HIGH_FIRST;
	fake->stats.window_creates++;
	return 0;
}

static int remove_window(struct fake *fake, struct container *container,
			 const struct vfio_iommu_spapr_tce_remove *remove)
{
	struct spapr_window *window;

	if (!remove)
		return -EFAULT;
	if (remove->argsz < sizeof(*remove) || remove->flags)
		return -EINVAL;
	window = window_of(container, remove->start_addr);
	if (!window)
		return -EINVAL;
	clear_window(fake, container, window);
	fake->stats.window_removes++;
	return 0;
}

static int get_tce_info(struct vfio_iommu_spapr_tce_info *info)
{
	uint32_t argsz = info ? info->argsz : 0;

	if (!info)
		return -EFAULT;
	if (argsz < sizeof(*info))
		return -EINVAL;
	*info = (struct vfio_iommu_spapr_tce_info){
		.argsz = argsz,
		.flags = VFIO_IOMMU_SPAPR_INFO_DDW,
		.dma32_window_size = LOW_BYTES,
		.ddw = {.pgsizes = PAGE_SIZES, .max_dynamic_windows_supported = 2, .levels = 1},
	};
	return 0;
}

/* spapr_tce_set_window() */
int fk_spapr_attach(struct fake *fake, struct container *container)
{
	bool has_windows = container->windows[0].bytes || container->windows[1].bytes;

	return has_windows && !fake->config.spapr_shared ? -EPERM : 0;
}

/* tce_iommu_release_ownership(), tce_iommu_release() */
void fk_spapr_detach(struct fake *fake, struct container *container, bool last)
{
	if (!last && container->space.count)
		fk_misuse(fake, "detaching a group unmaps what others use");
	for (size_t i = 0; i < ARRAY_SIZE(container->windows) && last; i++)
		clear_window(fake, container, &container->windows[i]);
	while (last && container->region_count)
		if (region_remove(fake, container, 0)) {
			fk_misuse(fake, "what is registered is mapped in another container");
			break;
		}
	if (!last)
		return;
	free(container->regions);
	container->regions = NULL;
	container->region_count = 0;
	container->enabled = false;
}

/* ---- Maps ---- */

/* Each page of the IOMMU lies within one area, which has pages as large. */
static bool is_registered(const struct fake *fake, const struct vfio_iommu_type1_dma_map *map,
			  uint64_t page)
{
	uint64_t at = map->vaddr, end = map->vaddr + map->size;

	while (at < end) {
		const struct spapr_region *region = region_at(fake, at, at + page - 1);

		if (!region || region->page < page || region->address > at ||
		    (region->address + region->bytes - at) % page)
			return false;
		at = region->address + region->bytes;
	}
	return true;
}

static int map_tces(struct fake *fake, struct container *container,
		    const struct vfio_iommu_type1_dma_map *map)
{
	uint64_t last = map->iova + (map->size - 1);
	const struct spapr_window *window;
	struct dma *dma;

	make_default(container);
	window = window_of(container, map->iova);
	if (!window)
		return -ENXIO;
	if ((map->size | map->vaddr | map->iova) % window->page || !map->flags || !map->size)
		return -EINVAL;
	if (last < map->iova || last > window->first + (window->bytes - 1))
		return -EINVAL;
	if (!is_registered(fake, map, window->page))
		return -EINVAL;
	if (fk_space_find(&container->space, map->iova, last)) {
		fk_misuse(fake, "mapping at IOVA %#llx, where something is mapped",
			  (unsigned long long)map->iova);
		return -EINVAL;
	}
	dma = fk_space_insert(&container->space, map->iova, last, map->vaddr);
	dma->read = map->flags & VFIO_DMA_MAP_FLAG_READ;
	dma->write = map->flags & VFIO_DMA_MAP_FLAG_WRITE;
	dma->pinned = map->size;
	dma->busy = true;
	fk_clock_spend(fake, fake->config.map_call_ns);
	dma->busy = false;
	return 0;
}

static int map_dma(struct fake *fake, struct container *container,
		   const struct vfio_iommu_type1_dma_map *map)
{
	int error;

	if (!map)
		return -EFAULT;
	if (!container->enabled)
		return -EPERM;
	if (map->argsz < sizeof(*map) ||
	    map->flags & ~(VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE))
		return -EINVAL;
	COUNT_UP(fake, maps_in_flight, max_maps_in_flight);
	error = map_tces(fake, container, map);
	fake->maps_in_flight--;
	fake->stats.map_calls += !error;
	return error;
}

static int unmap_dma(struct fake *fake, struct container *container,
		     const struct vfio_iommu_type1_dma_unmap *unmap)
{
	uint64_t last = unmap ? unmap->iova + (unmap->size - 1) : 0;
	const struct spapr_window *window;
	struct dma *dma;

	if (!unmap)
		return -EFAULT;
	if (!container->enabled)
		return -EPERM;
	if (unmap->argsz < sizeof(*unmap) || unmap->flags)
		return -EINVAL;
	make_default(container);
	window = window_of(container, unmap->iova);
	if (!window)
		return -ENXIO;
	if (unmap->size % window->page || last > window->first + (window->bytes - 1))
		return -EINVAL;
	COUNT_UP(fake, unmaps_in_flight, max_unmaps_in_flight);
	while ((dma = fk_space_find(&container->space, unmap->iova, last))) {
		if (dma->iova < unmap->iova || dma->last > last)
			fk_misuse(fake, "unmapping a part at IOVA %#llx",
				  (unsigned long long)unmap->iova);
		fk_space_remove(fake, &container->space, dma);
	}
	fk_clock_spend(fake, fake->config.map_call_ns +
				     cost_of(unmap->size, fake->config.unmap_ns_per_gib));
	fake->unmaps_in_flight--;
	fake->stats.unmap_calls++;
	return 0;
}

int fk_spapr_ioctl(struct fake *fake, struct container *container, unsigned long request, void *arg)
{
	switch (request) {
	case VFIO_IOMMU_SPAPR_TCE_GET_INFO:
		return get_tce_info(arg);
	case VFIO_IOMMU_MAP_DMA:
		return map_dma(fake, container, arg);
	case VFIO_IOMMU_UNMAP_DMA:
		return unmap_dma(fake, container, arg);
	case VFIO_IOMMU_SPAPR_REGISTER_MEMORY:
		return change_memory(fake, container, true, arg);
	case VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY:
		return change_memory(fake, container, false, arg);
	case VFIO_IOMMU_SPAPR_TCE_CREATE:
		return create_window(fake, container, arg);
	case VFIO_IOMMU_SPAPR_TCE_REMOVE:
		return remove_window(fake, container, arg);
	default:
		return -ENOTTY;
	}
}
