/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <string.h>

#include "memory/cause.h"

/* Linux 5.15 */
#ifndef MPOL_PREFERRED_MANY
#define MPOL_PREFERRED_MANY 5
#endif

#define NODES "/sys/devices/system/node"
/* Further nodes of a policy get no workers; no machine has so many. */
#define MAX_NODES 64

/* Whether a list such as "0-3,7" contains a number. */
static bool list_has(const char *list, unsigned int number)
{
	char *end;

	while (*list) {
		unsigned long first = strtoul(list, &end, 10), last = first;

		if (end == list)
			return false;
		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		if (number >= first && number <= last)
			return true;
		list = *end == ',' ? end + 1 : end;
	}
	return false;
}

static int check_node(const struct vfb_sys *sys, unsigned int node)
{
	char online[256], with_memory[256];
	cpu_set_t cpus;

	if (vfb_sys_read_file(sys, NODES "/online", online, sizeof(online)) <= 0)
		online[0] = '\0';
	if (node > (unsigned int)sys->max_node(sys))
		return vfb_fail(-EINVAL, "there is no NUMA node %u, the highest is %d", node,
				sys->max_node(sys));
	if (sys->node_cpus(sys, node, &cpus))
		return vfb_fail(-EINVAL, "NUMA node %u is offline, online are %s", node, online);
	if (vfb_sys_read_file(sys, NODES "/has_memory", with_memory, sizeof(with_memory)) > 0 &&
	    !list_has(with_memory, node))
		return vfb_fail(-EINVAL, "NUMA node %u has no memory, nodes %s have", node,
				with_memory);
	return 0;
}

/* Checks the sizes for VFB_NUMA_SPLIT. */
static int policy_check_parts(const struct vfb_sys *sys, const struct vfb_memory_opts *opts)
{
	uint64_t sum = 0;

	if (!opts->node_bytes)
		return vfb_fail(-EINVAL, "splitting memory over nodes needs node_bytes, the size "
					 "of each part");
	for (size_t i = 0; i < opts->node_count; i++) {
		if (!opts->node_bytes[i] || opts->node_bytes[i] % sys->base_page(sys))
			return vfb_fail(-EINVAL,
					"the part of %s on node %u is empty, or not a multiple of "
					"the page size",
					vfb_size_text(opts->node_bytes[i]).text, opts->nodes[i]);
		sum += opts->node_bytes[i] > opts->bytes ? opts->bytes + 1 : opts->node_bytes[i];
	}
	if (sum != opts->bytes)
		return vfb_fail(-EINVAL, "the parts on the nodes do not add up to the size, %s",
				vfb_size_text(opts->bytes).text);
	return 0;
}

static int check_policy(const struct vfb_sys *sys, const struct vfb_memory_opts *opts)
{
	if (opts->policy > VFB_NUMA_SPLIT)
		return vfb_fail(-EINVAL, "NUMA policy %d is unknown", (int)opts->policy);
	if ((opts->policy == VFB_NUMA_DEFAULT) != (opts->node_count == 0))
		return vfb_fail(
			-EINVAL,
			opts->node_count ?
				"nodes were given, but no NUMA policy that says how to use them" :
				"the NUMA policy needs nodes, but none was given");
	/* More than the kernel has (MAX_NUMNODES). */
	if (opts->node_count > 1024 || (opts->node_count && !opts->nodes))
		return vfb_fail(-EINVAL, "%zu nodes were given at %p: pass 1024 at most",
				opts->node_count, (const void *)opts->nodes);
	if (opts->policy == VFB_NUMA_SPLIT)
		return policy_check_parts(sys, opts);
	if (opts->node_bytes)
		return vfb_fail(-EINVAL, "node_bytes is for VFB_NUMA_SPLIT only");
	return 0;
}

static void *copy_array(const void *array, size_t count, size_t bytes)
{
	void *copy = calloc(count, bytes);

	return copy ? memcpy(copy, array, count * bytes) : NULL;
}

int vfb_memory_set_policy(struct vfb_memory *memory, const struct vfb_memory_opts *opts)
{
	int error = check_policy(memory->ctx->sys, opts);

	for (size_t i = 0; i < opts->node_count && !error; i++)
		error = check_node(memory->ctx->sys, opts->nodes[i]);
	if (error)
		return error;
	memory->policy = opts->policy;
	if (!opts->node_count)
		return 0;
	memory->nodes = copy_array(opts->nodes, opts->node_count, sizeof(*opts->nodes));
	if (!memory->nodes)
		return vfb_fail_memory();
	memory->node_count = opts->node_count;
	if (!opts->node_bytes)
		return 0;
	memory->node_bytes = copy_array(opts->node_bytes, opts->node_count,
					sizeof(*opts->node_bytes));
	return memory->node_bytes ? 0 : vfb_fail_memory();
}

/* mbind(2) gives EINVAL if the cpuset allows none of the nodes. */
static int report_policy(const struct vfb_sys *sys, int error, uint64_t bytes,
			 const unsigned int *nodes, size_t count)
{
	char allowed[256];
	bool any = false;

	vfb_read_allowed_nodes(sys, allowed, sizeof(allowed));
	for (size_t i = 0; i < count; i++)
		any = any || list_has(allowed, nodes[i]);
	if (error == -EINVAL && allowed[0] && !any)
		return vfb_fail(error,
				"cannot set the NUMA policy of %s: the cpuset of the process "
				"allows nodes %s only (cpuset.mems), and node %u is not one of "
				"them",
				vfb_size_text(bytes).text, allowed, nodes[0]);
	return vfb_fail_errno(error, "cannot set the NUMA policy of %s for node %u (mbind)",
			      vfb_size_text(bytes).text, nodes[0]);
}

static int policy_bind_part(struct vfb_memory *memory, uint64_t offset, uint64_t bytes, int mode,
			    const unsigned int *nodes, size_t count)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	int error = sys->mbind(sys, memory->address + offset, bytes, mode, nodes, count);

	if (error == -EINVAL && mode == MPOL_PREFERRED_MANY)
		return vfb_fail(-ENOTSUP, "preferring several NUMA nodes needs Linux 5.15: prefer "
					  "one, or bind or interleave");
	if (error)
		return report_policy(sys, error, bytes, nodes, count);
	return 0;
}

int vfb_memory_apply_policy(struct vfb_memory *memory)
{
	static const int modes[] = {
		[VFB_NUMA_BIND] = MPOL_BIND,
		[VFB_NUMA_INTERLEAVE] = MPOL_INTERLEAVE,
		[VFB_NUMA_PREFERRED] = MPOL_PREFERRED,
	};
	uint64_t offset = 0;
	int error = 0;

	switch (memory->policy) {
	case VFB_NUMA_DEFAULT:
		return 0;
	case VFB_NUMA_SPLIT:
		for (size_t i = 0; i < memory->node_count && !error; i++) {
			error = policy_bind_part(memory, offset, memory->node_bytes[i], MPOL_BIND,
						 &memory->nodes[i], 1);
			offset += memory->node_bytes[i];
		}
		return error;
	default:
		return policy_bind_part(memory, 0, memory->bytes,
					memory->policy == VFB_NUMA_PREFERRED &&
							memory->node_count > 1 ?
						MPOL_PREFERRED_MANY :
						modes[memory->policy],
					memory->nodes, memory->node_count);
	}
}

/* The part of VFB_NUMA_SPLIT that has the page at @offset, and where it ends. */
static size_t find_part(const struct vfb_memory *memory, uint64_t offset, uint64_t *end)
{
	size_t i = 0;

	*end = memory->node_bytes[0];
	while (i + 1 < memory->node_count && offset >= *end)
		*end += memory->node_bytes[++i];
	return i;
}

static unsigned int part_node(const struct vfb_memory *memory, uint64_t offset)
{
	uint64_t end;

	return memory->nodes[find_part(memory, offset, &end)];
}

uint64_t vfb_memory_policy_end(const struct vfb_memory *memory, uint64_t offset)
{
	uint64_t end = memory->bytes;

	if (memory->policy == VFB_NUMA_SPLIT)
		find_part(memory, offset, &end);
	return end;
}

int vfb_memory_node(const struct vfb_memory *memory, uint64_t offset, uint64_t piece)
{
	switch (memory->policy) {
	case VFB_NUMA_BIND:
	case VFB_NUMA_PREFERRED:
		return memory->nodes[piece % memory->node_count];
	case VFB_NUMA_SPLIT:
		return part_node(memory, offset);
	default:
		return VFB_ANY_NODE;
	}
}

/* For pages that are populated the node does not matter. */
bool vfb_memory_must_ask_node(const struct vfb_memory *memory, uint64_t offset)
{
	return memory->adopted && vfb_engine_nodes(memory->ctx->engine) > 1 &&
	       !vfb_memory_was_populated(memory, offset, 1);
}

int vfb_memory_ask_node(const struct vfb_memory *memory, uint64_t offset, uint64_t piece)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	unsigned int nodes[MAX_NODES];
	int mode, count;

	if (!vfb_memory_must_ask_node(memory, offset))
		return vfb_memory_node(memory, offset, piece);
	count = sys->get_mempolicy(sys, memory->address + offset, &mode, nodes, MAX_NODES);
	if (count <= 0 ||
	    (mode != MPOL_BIND && mode != MPOL_PREFERRED && mode != MPOL_PREFERRED_MANY))
		return VFB_ANY_NODE;
	return nodes[piece % count];
}

bool vfb_memory_move_task(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes,
			  struct vfb_job *job, struct vfb_task *task, int *node)
{
	if (*node != VFB_ANY_NODE)
		return false;
	*node = vfb_memory_ask_node(memory, offset, offset / bytes);
	if (*node == VFB_ANY_NODE)
		return false;
	vfb_job_submit(job, task, *node);
	return true;
}

bool vfb_memory_wants_worker(const struct vfb_memory *memory, uint64_t offset)
{
	return vfb_memory_node(memory, offset, 0) != VFB_ANY_NODE ||
	       vfb_memory_must_ask_node(memory, offset);
}

bool vfb_memory_belongs(const struct vfb_memory *memory, uint64_t offset, unsigned int node)
{
	if (memory->policy == VFB_NUMA_DEFAULT)
		return true;
	if (memory->policy == VFB_NUMA_SPLIT)
		return part_node(memory, offset) == node;
	for (size_t i = 0; i < memory->node_count; i++)
		if (memory->nodes[i] == node)
			return true;
	return false;
}
