/* SPDX-License-Identifier: MIT */
/* How much memory is still needed to populate parts, compared with what is available. */
#include <stdlib.h>

#include "memory/memory.h"
#include "memory/pool.h"
#include "memory/room.h"

#define MAX_NODES 64

/* In bytes. Base pages that a policy restricts to one node are counted for that node, too. */
struct need {
	uint64_t base;
	/* Those of hugetlb, for each size of pages. */
	struct need_huge {
		uint64_t page_bytes, bytes;
	} huge[VFB_POOL_SIZES];
	uint64_t nodes[MAX_NODES];
};

int vfb_memory_strict_node(const struct vfb_memory *memory, uint64_t offset)
{
	if (memory->policy == VFB_NUMA_SPLIT ||
	    (memory->policy == VFB_NUMA_BIND && memory->node_count == 1))
		return vfb_memory_node(memory, offset, 0);
	return VFB_ROOM_ANYWHERE;
}

static void need_add_huge(struct need *need, uint64_t page_bytes, uint64_t bytes)
{
	size_t i = 0;

	while (i < VFB_POOL_SIZES - 1 && need->huge[i].bytes &&
	       need->huge[i].page_bytes != page_bytes)
		i++;
	need->huge[i].page_bytes = page_bytes;
	need->huge[i].bytes += bytes;
}

static void need_add(struct need *need, const struct vfb_memory *memory, uint64_t offset,
		     uint64_t bytes)
{
	int node = vfb_memory_strict_node(memory, offset);

	if (vfb_memory_is_hugetlb(memory))
		need_add_huge(need, vfb_memory_pool_page_at(memory, offset), bytes);
	else
		need->base += bytes;
	if (!vfb_memory_is_hugetlb(memory) && node >= 0 && node < MAX_NODES)
		need->nodes[node] += bytes;
}

static uint64_t first_of(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* @exact: ask the kernel which pages others have populated. */
static void need_add_part(struct need *need, const struct vfb_memory_part *part, bool exact)
{
	const struct vfb_memory *memory = part->memory;
	uint64_t end = part->offset + part->bytes, next;
	bool populated;

	if (memory->region || memory->trusted)
		return;
	for (uint64_t offset = part->offset; offset < end; offset = next) {
		next = first_of(end, vfb_memory_policy_end(memory, offset));
		if (offset < memory->bulk_bytes)
			next = first_of(next, memory->bulk_bytes);
		next = vfb_memory_same_end(memory, offset, next, &populated);
		if (!populated)
			need_add(need, memory, offset,
				 exact ? vfb_memory_absent_bytes(memory, offset, next - offset) :
					 next - offset);
	}
}

static int need_check(const struct vfb_sys *sys, const struct need *need)
{
	uint64_t base = sys->base_page(sys);
	int error = 0;

	if (need->base)
		error = vfb_room_check(sys, base, VFB_ROOM_ANYWHERE, need->base);
	for (size_t i = 0; i < VFB_POOL_SIZES && need->huge[i].bytes && !error; i++)
		error = vfb_room_check(sys, need->huge[i].page_bytes, VFB_ROOM_ANYWHERE,
				       need->huge[i].bytes);
	for (int node = 0; node < MAX_NODES && !error; node++)
		if (need->nodes[node])
			error = vfb_room_check(sys, base, node, need->nodes[node]);
	return error;
}

static int compare_parts(const void *a, const void *b)
{
	const struct vfb_memory_part *one = a, *other = b;

	if (one->memory != other->memory)
		return one->memory < other->memory ? -1 : 1;
	if (one->offset != other->offset)
		return one->offset < other->offset ? -1 : 1;
	return 0;
}

/* Overlapping parts need their pages once. */
static size_t merge_parts(struct vfb_memory_part *parts, size_t count)
{
	size_t merged = 0;

	qsort(parts, count, sizeof(*parts), compare_parts);
	for (size_t i = 1; i < count; i++) {
		struct vfb_memory_part *last = &parts[merged];
		uint64_t end = parts[i].offset + parts[i].bytes;

		if (parts[i].memory != last->memory || parts[i].offset > last->offset + last->bytes)
			parts[++merged] = parts[i];
		else if (end > last->offset + last->bytes)
			last->bytes = end - last->offset;
	}
	return count ? merged + 1 : 0;
}

int vfb_memory_check_room(const struct vfb_sys *sys, struct vfb_memory_part *parts, size_t count)
{
	struct need need = {0}, exact = {0};

	for (size_t i = 0; i < count; i++)
		need_add_part(&need, &parts[i], false);
	if (!need_check(sys, &need))
		return 0;
	count = merge_parts(parts, count);
	for (size_t i = 0; i < count; i++)
		need_add_part(&exact, &parts[i], true);
	return need_check(sys, &exact);
}
