/* SPDX-License-Identifier: MIT */
/* Type1 IOMMU backend: drivers/vfio/vfio_iommu_type1.c. */
#include <linux/vfio.h>

#include "model.h"

static uint64_t aperture_last(const struct fake *fake)
{
	return (UINT64_C(1) << fake->config.iova_bits) - 1;
}

static size_t group_reserved(struct fake *fake, const struct group *group, struct range *out,
			     size_t room)
{
	size_t count = 0;

	for (struct device *d = fake->devices; d; d = d->next)
		if (d->group == group && count + 2 <= room)
			count += fk_device_reserved(fake, d, out + count);
	return count;
}

/* The valid IOVAs: iommu->iova_list. */
static size_t valid_iovas(struct fake *fake, const struct container *container, struct range *out,
			  size_t room)
{
	struct range holes[128];
	size_t count = 0;

	for (const struct group *g = container->groups; g; g = g->container_next)
		count += group_reserved(fake, g, holes + count, ARRAY_SIZE(holes) - count);
	return fk_ranges_without(aperture_last(fake), holes, count, out, room);
}

/* vfio_iommu_type1_attach_group(), for a group that shares the domain. */
int fk_type1_attach(struct fake *fake, struct container *container, struct group *group)
{
	struct range reserved[64];
	size_t count;
	int error = 0;

	fk_vlock_write(fake, &container->iommu_lock);
	count = group_reserved(fake, group, reserved, ARRAY_SIZE(reserved));
	for (size_t i = 0; i < count; i++)
		if (fk_space_find(&container->space, reserved[i].first, reserved[i].last))
			error = -EINVAL;
	fk_vunlock_write(&container->iommu_lock);
	return error;
}

static void unpin(struct fake *fake, struct dma *dma)
{
	fake->pinned -= dma->pinned;
	fake->locked_vm -= dma->pinned;
	dma->pinned = 0;
}

void fk_type1_unmap_all(struct fake *fake, struct container *container)
{
	uint64_t bytes = container->space.mapped;

	while (container->space.count) {
		struct dma *dma = container->space.dmas[container->space.count - 1];

		unpin(fake, dma);
		fk_space_remove(fake, &container->space, dma);
		container->dma_avail++;
	}
	fk_clock_spend(fake, cost_of(bytes, fake->config.unmap_ns_per_gib));
}

/* ---- MAP ---- */

static int pin_and_map(struct fake *fake, struct dma *dma)
{
	const struct fake_config *config = &fake->config;
	uint64_t bytes = dma->last - dma->iova + 1;
	uint64_t limit = config->memlock / fk_page(fake) * fk_page(fake);
	struct pin pin = {.write = dma->write, .allow_mmio = true, .budget = NEVER};
	int error;

	if (!config->cap_ipc_lock && config->memlock != UINT64_MAX)
		pin.budget = limit > fake->locked_vm ? limit - fake->locked_vm : 0;
	error = fk_memory_pin(fake, dma->vaddr, bytes, &pin);
	if (!error) {
		dma->pinned = pin.pinned;
		fake->pinned += pin.pinned;
		fake->locked_vm += pin.pinned;
	}
	fake->stats.populated_by_map_bytes += pin.zeroed;
	fk_clock_spend(fake, config->map_call_ns + cost_of(pin.zeroed, config->zero_ns_per_gib) +
				     cost_of(pin.pinned, config->pin_ns_per_gib));
	return error;
}

/* VFIO_DMA_MAP_FLAG_VADDR, with iommu->lock held. */
static int set_vaddr(struct container *container, const struct vfio_iommu_type1_dma_map *map)
{
	struct dma *dma = fk_space_find(&container->space, map->iova, map->iova);

	if (!dma)
		return -ENOENT;
	if (!dma->vaddr_invalid || dma->iova != map->iova || dma->last - dma->iova + 1 != map->size)
		return -EINVAL;
	dma->vaddr = map->vaddr;
	dma->vaddr_invalid = false;
	return 0;
}

/* vfio_dma_do_map(), with iommu->lock held. */
static int map_locked(struct fake *fake, struct container *container,
		      const struct vfio_iommu_type1_dma_map *map)
{
	struct space *space = &container->space;
	uint64_t last = map->iova + map->size - 1;
	struct range valid[128];
	size_t count;
	bool inside = false;
	struct dma *dma;
	int error;

	if ((map->size | map->iova | map->vaddr) % fk_page(fake))
		return -EINVAL;
	if (map->flags & VFIO_DMA_MAP_FLAG_VADDR)
		return set_vaddr(container, map);
	if (fk_space_find(space, map->iova, last))
		return -EEXIST;
	if (!container->dma_avail)
		return -ENOSPC;
	count = valid_iovas(fake, container, valid, ARRAY_SIZE(valid));
	for (size_t i = 0; i < count && i < ARRAY_SIZE(valid); i++)
		inside |= map->iova >= valid[i].first && last <= valid[i].last;
	if (!inside)
		return -EINVAL;
	container->dma_avail--;
	dma = fk_space_insert(space, map->iova, last, map->vaddr);
	dma->read = map->flags & VFIO_DMA_MAP_FLAG_READ;
	dma->write = map->flags & VFIO_DMA_MAP_FLAG_WRITE;
	dma->busy = true;
	error = pin_and_map(fake, dma);
	dma->busy = false;
	if (error) {
		fk_space_remove(fake, space, dma);
		container->dma_avail++;
	}
	return error;
}

static int map_dma(struct fake *fake, struct container *container,
		   const struct vfio_iommu_type1_dma_map *map)
{
	uint64_t end;
	int error;

	if (!map)
		return -EFAULT;
	if (map->argsz < sizeof(*map) ||
	    map->flags &
		    ~(VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE | VFIO_DMA_MAP_FLAG_VADDR))
		return -EINVAL;
	if (map->flags & VFIO_DMA_MAP_FLAG_VADDR && map->flags != VFIO_DMA_MAP_FLAG_VADDR)
		return -EINVAL;
	if (!map->size)
		return -EINVAL;
	if (__builtin_add_overflow(map->iova, map->size - 1, &end) ||
	    __builtin_add_overflow(map->vaddr, map->size - 1, &end))
		return -EOVERFLOW;
	if (!map->flags)
		return -EINVAL;
	COUNT_UP(fake, maps_in_flight, max_maps_in_flight);
	fk_vlock_write(fake, &container->iommu_lock);
	/* The last group may have left while we waited. */
	error = container->has_iommu ? map_locked(fake, container, map) : -EINVAL;
	fk_vunlock_write(&container->iommu_lock);
	fake->maps_in_flight--;
	fake->stats.map_calls += !error;
	return error;
}

/* ---- UNMAP ---- */

/* vfio_dma_do_unmap() for v2: no mapping may be cut. */
static int unmap_locked(struct fake *fake, struct container *container,
			struct vfio_iommu_type1_dma_unmap *unmap)
{
	struct space *space = &container->space;
	uint64_t last, unmapped = 0;
	struct dma *dma;

	if (unmap->iova % fk_page(fake))
		return -EINVAL;
	if (unmap->flags & VFIO_DMA_UNMAP_FLAG_ALL) {
		if (unmap->iova || unmap->size)
			return -EINVAL;
		last = UINT64_MAX;
	} else {
		if (!unmap->size || unmap->size % fk_page(fake))
			return -EINVAL;
		if (__builtin_add_overflow(unmap->iova, unmap->size - 1, &last))
			return -EOVERFLOW;
		dma = fk_space_find(space, unmap->iova, unmap->iova);
		if (dma && dma->iova != unmap->iova)
			return -EINVAL;
		dma = fk_space_find(space, last, last);
		if (dma && dma->last != last)
			return -EINVAL;
	}
	if (unmap->flags & VFIO_DMA_UNMAP_FLAG_VADDR) {
		dma = fk_space_find(space, unmap->iova, last);
		if (dma && dma->vaddr_invalid)
			return -EINVAL;
		if (dma)
			dma->vaddr_invalid = true;
		return 0;
	}
	while ((dma = fk_space_find(space, unmap->iova, last))) {
		unmapped += dma->last - dma->iova + 1;
		unpin(fake, dma);
		fk_space_remove(fake, space, dma);
		container->dma_avail++;
	}
	unmap->size = unmapped;
	fk_clock_spend(fake,
		       fake->config.map_call_ns + cost_of(unmapped, fake->config.unmap_ns_per_gib));
	return 0;
}

static int unmap_dma(struct fake *fake, struct container *container,
		     struct vfio_iommu_type1_dma_unmap *unmap)
{
	struct vfio_iommu_type1_dma_unmap copy;
	int error;

	if (!unmap)
		return -EFAULT;
	if (unmap->argsz < sizeof(*unmap) ||
	    unmap->flags & ~(VFIO_DMA_UNMAP_FLAG_ALL | VFIO_DMA_UNMAP_FLAG_VADDR))
		return -EINVAL;
	copy = *unmap;
	COUNT_UP(fake, unmaps_in_flight, max_unmaps_in_flight);
	fk_vlock_write(fake, &container->iommu_lock);
	error = container->has_iommu ? unmap_locked(fake, container, &copy) : -EINVAL;
	fk_vunlock_write(&container->iommu_lock);
	fake->unmaps_in_flight--;
	fake->stats.unmap_calls += !error;
	if (!error)
		unmap->size = copy.size;
	return error;
}

/* ---- GET_INFO ---- */

struct info_caps {
	struct vfio_iommu_type1_info_cap_migration migration;
	struct vfio_iommu_type1_info_dma_avail avail;
	/* vfio_iommu_type1_info_cap_iova_range; capabilities are aligned to 8 bytes. */
	struct vfio_info_cap_header header __attribute__((aligned(8)));
	__u32 nr_iovas;
	__u32 reserved;
	struct vfio_iova_range iovas[128];
};

static size_t build_caps(struct fake *fake, const struct container *container,
			 struct info_caps *caps, uint32_t base)
{
	struct range valid[ARRAY_SIZE(caps->iovas)];
	size_t count = valid_iovas(fake, container, valid, ARRAY_SIZE(valid));

	memset(caps, 0, sizeof(*caps));
	caps->migration.header.id = VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION;
	caps->migration.header.version = 1;
	caps->migration.header.next = base + offsetof(struct info_caps, avail);
	caps->migration.pgsize_bitmap = fk_page(fake);
	caps->migration.max_dirty_bitmap_size = 256 << 20;
	caps->avail.header.id = VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL;
	caps->avail.header.version = 1;
	caps->avail.header.next = base + offsetof(struct info_caps, header);
	caps->avail.avail = container->dma_avail;
	caps->header.id = VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE;
	caps->header.version = 1;
	caps->nr_iovas = count;
	for (size_t i = 0; i < count; i++) {
		caps->iovas[i].start = valid[i].first;
		caps->iovas[i].end = valid[i].last;
	}
	return offsetof(struct info_caps, iovas) + count * sizeof(caps->iovas[0]);
}

static int get_info(struct fake *fake, struct container *container, void *arg)
{
	struct vfio_iommu_type1_info info;
	struct info_caps caps;
	size_t min = offsetof(struct vfio_iommu_type1_info, cap_offset), size;

	if (!arg)
		return -EFAULT;
	memset(&info, 0, sizeof(info));
	memcpy(&info, arg, min);
	if (info.argsz < min)
		return -EINVAL;
	fk_vlock_write(fake, &container->iommu_lock);
	size = build_caps(fake, container, &caps, sizeof(info));
	fk_vunlock_write(&container->iommu_lock);
	info.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
	info.iova_pgsizes = fk_page(fake) | fk_pool_page(fake, POOL_2M) |
			    fk_pool_page(fake, POOL_1G);
	min = min_u64(info.argsz, sizeof(info));
	if (info.argsz < sizeof(info) + size) {
		info.argsz = sizeof(info) + size;
	} else {
		memcpy((char *)arg + sizeof(info), &caps, size);
		info.cap_offset = sizeof(info);
	}
	memcpy(arg, &info, min);
	return 0;
}

int fk_type1_ioctl(struct fake *fake, struct container *container, unsigned long request, void *arg)
{
	switch (request) {
	case VFIO_IOMMU_GET_INFO:
		return get_info(fake, container, arg);
	case VFIO_IOMMU_MAP_DMA:
		return map_dma(fake, container, arg);
	case VFIO_IOMMU_UNMAP_DMA:
		return unmap_dma(fake, container, arg);
	case VFIO_IOMMU_DIRTY_PAGES:
		return fk_type1_dirty_pages(fake, container, arg);
	default:
		return -ENOTTY;
	}
}
