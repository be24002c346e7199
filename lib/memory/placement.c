/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "memory/memory.h"
#include "options.h"

#define QUERY_PAGES 1024

/* Calls @each with the node of every page that is present. */
static int each_page(const struct vfb_memory *memory,
		     void (*each)(const struct vfb_memory *memory, uint64_t offset,
				  unsigned int node, void *arg),
		     void *arg)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	uint64_t pages = memory->bytes / memory->page_bytes;
	void *page[QUERY_PAGES];
	int node[QUERY_PAGES];

	for (uint64_t first = 0; first < pages; first += QUERY_PAGES) {
		size_t n = pages - first < QUERY_PAGES ? pages - first : QUERY_PAGES;
		int error;

		for (size_t i = 0; i < n; i++)
			page[i] = memory->address + (first + i) * memory->page_bytes;
		error = sys->page_nodes(sys, page, n, node);
		if (error)
			return vfb_fail_errno(error, "cannot read the nodes of pages (move_pages)");
		for (size_t i = 0; i < n; i++)
			if (node[i] >= 0)
				each(memory, (first + i) * memory->page_bytes, node[i], arg);
	}
	return 0;
}

struct sums {
	uint64_t *bytes;
	size_t count;
};

static void add_to_node(const struct vfb_memory *memory, uint64_t offset, unsigned int node,
			void *arg)
{
	struct sums *sums = arg;

	(void)offset;
	if (node < sums->count)
		sums->bytes[node] += memory->page_bytes;
}

int vfb_memory_nodes(const struct vfb_memory *memory, uint64_t *bytes, size_t count)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	struct sums sums = {bytes, count};
	int error, max_node;

	for (size_t i = 0; i < count; i++)
		bytes[i] = 0;
	error = each_page(memory, add_to_node, &sums);
	if (error)
		return error;
	max_node = sys->max_node(sys);
	if (max_node < 0)
		return vfb_fail_errno(max_node, "cannot read which NUMA nodes there are");
	return max_node + 1;
}

static void count_misplaced(const struct vfb_memory *memory, uint64_t offset, unsigned int node,
			    void *arg)
{
	struct vfb_placement *placement = arg;

	placement->bytes += memory->page_bytes;
	if (vfb_memory_belongs(memory, offset, node))
		return;
	if (!placement->misplaced_bytes)
		placement->first_misplaced = offset;
	placement->misplaced_bytes += memory->page_bytes;
}

int vfb_memory_placement(const struct vfb_memory *memory, struct vfb_placement *placement)
{
	struct vfb_placement known = {.bytes = 0};
	int error = each_page(memory, count_misplaced, &known);

	return error ? error : vfb_struct_write(placement, &known, sizeof(known));
}
