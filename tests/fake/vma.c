/* SPDX-License-Identifier: MIT */
/* The list of VMAs: finding, splitting, removing, populating and pinning what is mapped. */
#include <sys/mman.h>

#include "model.h"

/* The first that ends after @address. */
size_t fk_vma_index(const struct mm *mm, uint64_t address)
{
	size_t low = 0, high = mm->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (mm->vmas[middle].end > address)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

struct vma *fk_vma_find(struct fake *fake, uint64_t address)
{
	size_t i = fk_vma_index(&fake->mm, address);

	return i < fake->mm.count && fake->mm.vmas[i].start <= address ? &fake->mm.vmas[i] : NULL;
}

void fk_vma_insert(struct mm *mm, const struct vma *vma)
{
	size_t at = fk_vma_index(mm, vma->start);

	if (mm->count == mm->room) {
		mm->room = mm->room ? 2 * mm->room : 64;
		mm->vmas = realloc(mm->vmas, mm->room * sizeof(*mm->vmas));
		if (!mm->vmas)
			abort();
	}
	memmove(mm->vmas + at + 1, mm->vmas + at, (mm->count - at) * sizeof(*mm->vmas));
	mm->vmas[at] = *vma;
	mm->count++;
}

/* Makes @address a border between VMAs; -EINVAL within a huge page of hugetlb. */
int fk_vma_split(struct fake *fake, uint64_t address)
{
	struct vma *vma = fk_vma_find(fake, address);
	struct vma right;

	if (!vma || vma->start == address)
		return 0;
	if (vma->object && vma->object->pool != POOL_BASE && address % vma->object->page_bytes)
		return -EINVAL;
	right = *vma;
	right.offset += address - vma->start;
	right.start = address;
	vma->end = address;
	if (right.object)
		right.object->refs++;
	else
		right.device->refs++;
	fk_vma_insert(&fake->mm, &right);
	return 0;
}

/* Removes the mappings in a range that begins and ends at their borders; may block when it releases
 * a device. */
static void vma_remove_range(struct fake *fake, uint64_t start, uint64_t end)
{
	struct mm *mm = &fake->mm;

	for (;;) {
		size_t i = fk_vma_index(mm, start);
		struct vma vma;

		if (i == mm->count || mm->vmas[i].start >= end)
			return;
		vma = mm->vmas[i];
		memmove(mm->vmas + i, mm->vmas + i + 1, (--mm->count - i) * sizeof(*mm->vmas));
		if (vma.object) {
			if (!vma.object->is_file)
				fk_object_free_range(fake, vma.object, vma.offset,
						     vma.offset + vma.end - vma.start, true);
			fk_object_put(fake, vma.object);
		} else {
			fk_file_put(fake, vma.device);
		}
	}
}

/* BARs do not count: they stay where they are. */
static bool is_reached(struct fake *fake, uint64_t start, uint64_t end)
{
	const struct mm *mm = &fake->mm;

	for (size_t i = fk_vma_index(mm, start); i < mm->count && mm->vmas[i].start < end; i++)
		if (mm->vmas[i].object &&
		    fk_space_uses_memory(fake, mm->vmas[i].start, mm->vmas[i].end))
			return true;
	return false;
}

int fk_memory_unmap(struct fake *fake, uint64_t start, uint64_t end)
{
	int error = fk_vma_split(fake, start);

	if (!error)
		error = fk_vma_split(fake, end);
	if (error)
		return error;
	if (is_reached(fake, start, end))
		fk_misuse(fake, "unmapped memory at %#lx that is mapped in an IOMMU",
			  (unsigned long)start);
	vma_remove_range(fake, start, end);
	return 0;
}

/* ---- Populating and pinning ---- */

static int populate_vma(struct fake *fake, const struct vma *vma, uint64_t start, uint64_t end,
			uint64_t *budget, uint64_t *zeroed)
{
	bool thp = vma->object->pool == POOL_BASE && !vma->object->is_file && !vma->no_thp &&
		   (fake->config.thp == FAKE_THP_ALWAYS ||
		    (fake->config.thp == FAKE_THP_MADVISE && vma->thp));

	return fk_object_populate(fake, vma->object, vma->offset + (start - vma->start),
				  vma->offset + (end - vma->start), thp, vma->offset,
				  vma->offset + (vma->end - vma->start), budget, zeroed);
}

/* faultin_page_range() */
int fk_memory_populate(struct fake *fake, uint64_t start, uint64_t end)
{
	uint64_t budget = NEVER, zeroed = 0;
	int error = 0;

	while (!error && start < end) {
		const struct vma *vma = fk_vma_find(fake, start);

		if (!vma) {
			error = -ENOMEM;
		} else if (!vma->object || !(vma->prot & PROT_WRITE)) {
			error = -EINVAL;
		} else {
			error = populate_vma(fake, vma, start, min_u64(end, vma->end), &budget,
					     &zeroed);
			start = vma->end;
		}
	}
	fake->stats.populated_bytes += zeroed;
	fk_clock_spend(fake, cost_of(zeroed, fake->config.zero_ns_per_gib));
	return error;
}

int fk_memory_pin(struct fake *fake, uint64_t address, uint64_t bytes, struct pin *pin)
{
	uint64_t end = address + bytes;

	while (address < end) {
		const struct vma *vma = fk_vma_find(fake, address);
		uint64_t part, budget = pin->budget;
		int error;

		if (!vma || !(vma->prot & (pin->write ? PROT_WRITE : PROT_READ)))
			return -EFAULT;
		part = min_u64(end, vma->end) - address;
		if (!vma->object) {
			if (!pin->allow_mmio || !fk_region_enabled(vma->device->devfile->device))
				return -EFAULT;
		} else {
			error = populate_vma(fake, vma, address, address + part, &budget,
					     &pin->zeroed);
			pin->pinned += part;
			if (error)
				return error;
			pin->budget = budget;
		}
		address += part;
	}
	return 0;
}

/* ---- Looking inside ---- */

int fk_memory_page_node(struct fake *fake, uint64_t address)
{
	const struct vma *vma = fk_vma_find(fake, address);

	if (!vma || !vma->object)
		return -EFAULT;
	return fk_object_page_node(vma->object, vma->offset + (address - vma->start));
}

void fake_poison(struct fake *fake, const void *address)
{
	const struct vma *vma;

	kernel_enter(&fake->sys);
	vma = fk_vma_find(fake, (uintptr_t)address);
	fk_object_poison(vma->object, vma->offset + ((uintptr_t)address - vma->start),
			 vma->offset + (vma->end - vma->start));
	kernel_leave(fake);
}

int fake_page_node(struct fake *fake, const void *address)
{
	int node;

	kernel_enter(&fake->sys);
	node = fk_memory_page_node(fake, (uintptr_t)address);
	kernel_leave(fake);
	return node;
}

uint64_t fake_populated(struct fake *fake, const void *address, uint64_t bytes)
{
	uint64_t at = (uintptr_t)address, end = at + bytes, sum = 0;

	kernel_enter(&fake->sys);
	while (at < end) {
		size_t i = fk_vma_index(&fake->mm, at);
		const struct vma *vma = i < fake->mm.count ? &fake->mm.vmas[i] : NULL;

		if (!vma || vma->start >= end)
			break;
		at = max_u64(at, vma->start);
		if (vma->object)
			sum += fk_object_populated(vma->object, vma->offset + (at - vma->start),
						   vma->offset +
							   (min_u64(end, vma->end) - vma->start));
		at = vma->end;
	}
	kernel_leave(fake);
	return sum;
}

void fk_memory_destroy(struct fake *fake)
{
	for (size_t i = 0; i < fake->mm.count; i++)
		if (!fake->mm.vmas[i].foreign)
			munmap((void *)(uintptr_t)fake->mm.vmas[i].start,
			       fake->mm.vmas[i].end - fake->mm.vmas[i].start);
	vma_remove_range(fake, 0, UINT64_MAX);
	free(fake->mm.vmas);
}
