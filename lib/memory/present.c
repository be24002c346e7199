/* SPDX-License-Identifier: MIT */
/*
 * Which pages are present: one bit per granule that the library has populated, and the answer of
 * the kernel, since others release pages (balloon, virtio-mem, MADV_DONTNEED, a punched hole).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "memory/memory.h"

#define BITS (8 * sizeof(long))

/* Base pages per call of mincore(2). */
#define LOOK_PAGES UINT64_C(4096)

enum presence {
	PRESENT,
	/* Some pages are missing. */
	ABSENT,
	/* Some addresses are not mapped. */
	UNMAPPED,
};

int vfb_memory_allocate_bitmap(struct vfb_memory *memory, bool populated)
{
	uint64_t granules = (memory->bytes + vfb_memory_granule(memory) - 1) /
			    vfb_memory_granule(memory);

	memory->populated = calloc(granules / BITS + 1, sizeof(long));
	if (!memory->populated)
		return vfb_fail_memory();
	if (!populated)
		return 0;
	memset((void *)memory->populated, 0xff, (granules / BITS + 1) * sizeof(long));
	memory->populated_bytes = memory->bytes;
	return 0;
}

static bool granule_is_marked(const struct vfb_memory *memory, uint64_t granule)
{
	return atomic_load(&memory->populated[granule / BITS]) >> (granule % BITS) & 1;
}

/* The last granule may be smaller. */
static uint64_t granule_bytes(const struct vfb_memory *memory, uint64_t granule)
{
	uint64_t size = vfb_memory_granule(memory), left = memory->bytes - granule * size;

	return left < size ? left : size;
}

void vfb_memory_mark_populated(struct vfb_memory *memory, uint64_t granule, uint64_t count)
{
	uint64_t end = granule + count, size = vfb_memory_granule(memory), bytes = 0;

	while (granule < end) {
		uint64_t first = granule % BITS, bits = BITS - first;
		unsigned long mask, added;

		if (bits > end - granule)
			bits = end - granule;
		mask = (~0UL >> (BITS - bits)) << first;
		added = mask & ~atomic_fetch_or(&memory->populated[granule / BITS], mask);
		granule += bits;
		bytes += __builtin_popcountl(added) * size;
		if (added >> (first + bits - 1) & 1)
			bytes -= size - granule_bytes(memory, granule - 1);
	}
	/* All workers share it. */
	if (bytes)
		atomic_fetch_add(&memory->populated_bytes, bytes);
}

void vfb_memory_mark_absent(struct vfb_memory *memory, uint64_t granule)
{
	unsigned long bit = 1UL << (granule % BITS);

	if (atomic_fetch_and(&memory->populated[granule / BITS], ~bit) & bit)
		atomic_fetch_sub(&memory->populated_bytes, granule_bytes(memory, granule));
}

/* At most LOOK_PAGES. */
static enum presence look_at_pages(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	uint64_t base = sys->base_page(sys);
	/* Pages of hugetlb are present as a whole. */
	size_t step = memory->page_bytes > base ? memory->page_bytes / base : 1;
	size_t count = bytes / base;
	unsigned char present[LOOK_PAGES], all = 1;
	int error;

	error = sys->mincore(sys, memory->address + offset, bytes, present);
	for (size_t i = 0; !error && i < count; i += step)
		all &= present[i];
	if (!error && count)
		all &= present[count - 1];
	if (error == -ENOMEM)
		return UNMAPPED;
	/* Without an answer (EAGAIN), rely on the bits. */
	return all & 1 || error ? PRESENT : ABSENT;
}

static enum presence look_at_part(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes)
{
	/* A large page is present as a whole or not at all. */
	uint64_t base = vfb_memory_base_page(memory), step = LOOK_PAGES * base;
	bool large = memory->page_bytes > step;
	uint64_t look = large ? base : step, end = offset + bytes;
	enum presence presence = PRESENT;

	if (large)
		step = memory->page_bytes;
	for (; presence == PRESENT && offset < end; offset += step)
		presence = look_at_pages(memory, offset, look < end - offset ? look : end - offset);
	return presence;
}

uint64_t vfb_memory_absent_bytes(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	uint64_t base = sys->base_page(sys);
	unsigned char present[LOOK_PAGES];
	uint64_t absent = 0, end = offset + bytes, next;

	for (; offset < end; offset = next) {
		next = offset + LOOK_PAGES * base;
		if (next > end)
			next = end;
		if (sys->mincore(sys, memory->address + offset, next - offset, present))
			return absent + (end - offset);
		for (size_t i = 0; i < (next - offset) / base; i++)
			absent += present[i] & 1 ? 0 : base;
	}
	return absent;
}

uint64_t vfb_memory_same_end(const struct vfb_memory *memory, uint64_t offset, uint64_t end,
			     bool *populated)
{
	uint64_t size = vfb_memory_granule(memory), granule = offset / size;
	uint64_t granules = (end + size - 1) / size;
	unsigned long same;

	*populated = granule_is_marked(memory, granule);
	same = *populated ? ~0UL : 0;
	/* A terabyte has half a million bits: compare whole words. */
	while (granule < granules && granule_is_marked(memory, granule) == *populated)
		granule += granule % BITS == 0 && granules - granule >= BITS &&
					   atomic_load(&memory->populated[granule / BITS]) == same ?
				   BITS :
				   1;
	return granule * size < end ? granule * size : end;
}

void vfb_memory_note_present(struct vfb_memory *memory, uint64_t offset, uint64_t bytes)
{
	uint64_t size = vfb_memory_granule(memory);

	for (uint64_t granule = offset / size; granule * size < offset + bytes; granule++)
		if (!granule_is_marked(memory, granule) &&
		    !vfb_memory_absent_bytes(memory, granule * size,
					     granule_bytes(memory, granule)))
			vfb_memory_mark_populated(memory, granule, 1);
}

bool vfb_memory_was_populated(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes)
{
	bool populated;

	return memory->region || !bytes ||
	       (vfb_memory_same_end(memory, offset, offset + bytes, &populated) == offset + bytes &&
		populated);
}

/* Clears the bits of the granules in which pages are missing. */
static void find_absent(struct vfb_memory *memory, uint64_t offset, uint64_t end)
{
	uint64_t size = vfb_memory_granule(memory), next;

	for (; offset < end; offset = next) {
		next = (offset / size + 1) * size;
		if (next > end)
			next = end;
		if (look_at_part(memory, offset, next - offset) != PRESENT)
			vfb_memory_mark_absent(memory, offset / size);
	}
}

bool vfb_memory_is_populated(struct vfb_memory *memory, uint64_t offset, uint64_t bytes)
{
	if (!vfb_memory_was_populated(memory, offset, bytes))
		return false;
	if (memory->region || memory->trusted || look_at_part(memory, offset, bytes) == PRESENT)
		return true;
	find_absent(memory, offset, offset + bytes);
	return false;
}
