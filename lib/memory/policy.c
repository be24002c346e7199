/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <numaif.h>
#include <stdlib.h>
#include <string.h>

#include "memory/memory.h"

int vfb_memory_set_policy(struct vfb_memory *memory, const struct vfb_memory_opts *opts)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	cpu_set_t cpus;

	if (opts->policy > VFB_NUMA_PREFERRED)
		return vfb_fail(-EINVAL, "NUMA policy %d is unknown", (int)opts->policy);
	if ((opts->policy == VFB_NUMA_DEFAULT) != (opts->node_count == 0))
		return vfb_fail(
			-EINVAL,
			opts->node_count ?
				"nodes were given, but no NUMA policy that says how to use them" :
				"the NUMA policy needs nodes, none was given");
	if (opts->policy == VFB_NUMA_PREFERRED && opts->node_count > 1)
		return vfb_fail(-EINVAL, "the preferred policy takes one node, %zu were given",
				opts->node_count);
	for (size_t i = 0; i < opts->node_count; i++)
		if (sys->node_cpus(sys, opts->nodes[i], &cpus))
			return vfb_fail(-EINVAL, "there is no NUMA node %u, the highest is %d",
					opts->nodes[i], sys->max_node(sys));
	memory->policy = opts->policy;
	if (!opts->node_count)
		return 0;
	memory->nodes = calloc(opts->node_count, sizeof(*opts->nodes));
	if (!memory->nodes)
		return vfb_fail_memory();
	memcpy(memory->nodes, opts->nodes, opts->node_count * sizeof(*opts->nodes));
	memory->node_count = opts->node_count;
	return 0;
}

int vfb_memory_apply_policy(struct vfb_memory *memory)
{
	static const int modes[] = {
		[VFB_NUMA_BIND] = MPOL_BIND,
		[VFB_NUMA_INTERLEAVE] = MPOL_INTERLEAVE,
		[VFB_NUMA_PREFERRED] = MPOL_PREFERRED,
	};
	const struct vfb_sys *sys = memory->ctx->sys;
	int error;

	if (memory->policy == VFB_NUMA_DEFAULT)
		return 0;
	error = sys->mbind(sys, memory->address, memory->bytes, modes[memory->policy],
			   memory->nodes, memory->node_count);
	if (error)
		return vfb_fail_errno(error,
				      "cannot set the NUMA policy of %s (a node without "
				      "memory, or outside of the process's cpuset?)",
				      vfb_size_text(memory->bytes).text);
	return 0;
}

int vfb_memory_node(const struct vfb_memory *memory, uint64_t piece)
{
	switch (memory->policy) {
	case VFB_NUMA_BIND:
	case VFB_NUMA_PREFERRED:
		return memory->nodes[piece % memory->node_count];
	default:
		return VFB_ANY_NODE;
	}
}

#define QUERY_PAGES 1024

int vfb_memory_nodes(const struct vfb_memory *memory, uint64_t *bytes, size_t count)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	uint64_t pages = memory->bytes / memory->page_bytes;
	void *page[QUERY_PAGES];
	int node[QUERY_PAGES];
	int error, max_node;

	for (size_t i = 0; i < count; i++)
		bytes[i] = 0;
	for (uint64_t first = 0; first < pages; first += QUERY_PAGES) {
		size_t n = pages - first < QUERY_PAGES ? pages - first : QUERY_PAGES;

		for (size_t i = 0; i < n; i++)
			page[i] = memory->address + (first + i) * memory->page_bytes;
		error = sys->page_nodes(sys, page, n, node);
		if (error)
			return vfb_fail_errno(error, "cannot read the nodes of pages (move_pages)");
		for (size_t i = 0; i < n; i++)
			if (node[i] >= 0 && (size_t)node[i] < count)
				bytes[node[i]] += memory->page_bytes;
	}
	max_node = sys->max_node(sys);
	if (max_node < 0)
		return vfb_fail_errno(max_node, "cannot read which NUMA nodes there are");
	return max_node + 1;
}
