/* SPDX-License-Identifier: MIT */
/* Hugepages: what the pools have, and how far they could grow. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor/doctor.h"
#include "memory/memory.h"
#include "memory/pool.h"

/* Orders of the buddy allocator end before this one. */
#define ORDER_ENDS 16

struct blocks {
	unsigned int node;
	/* The order of a block of 2 MiB; with large base pages it may be of several. */
	unsigned int order_2m;
	/* The file has a line for the node. */
	bool known;
	uint64_t count;
};

static bool add_zone(const char *line, void *arg)
{
	struct blocks *blocks = arg;
	unsigned int node;
	char *end;
	int skip = 0;

	/* Node 0, zone   Normal   3   1 ... */
	if (sscanf(line, "Node %u, zone %*s%n", &node, &skip) != 1 || node != blocks->node || !skip)
		return true;
	blocks->known = true;
	end = (char *)(uintptr_t)line + skip;
	for (unsigned int order = 0; order < ORDER_ENDS && *end; order++) {
		uint64_t free = strtoull(end, &end, 10);

		if (order >= blocks->order_2m)
			blocks->count += free << (order - blocks->order_2m);
	}
	return true;
}

/* Blocks of 2 MiB that are free on a node without moving pages. */
static struct blocks read_blocks(const struct vfb_diagnosis *diagnosis, unsigned int node)
{
	const struct vfb_sys *sys = diagnosis->ctx->sys;
	struct blocks blocks = {
		.node = node,
		.order_2m = __builtin_ctzll(2 * MIB / sys->base_page(sys)),
	};

	if (vfb_sys_each_line(sys, "/proc/buddyinfo", add_zone, &blocks))
		blocks.known = false;
	return blocks;
}

static uint64_t pools_read_count(const struct vfb_diagnosis *diagnosis, unsigned int node,
				 uint64_t page_bytes, const char *name)
{
	char path[128], text[32];

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%u/hugepages/hugepages-%" PRIu64 "kB/%s", node,
		 page_bytes / KIB, name);
	vfb_doctor_read(diagnosis, path, text, sizeof(text));
	return strtoull(text, NULL, 10);
}

static int add_pool(struct vfb_diagnosis *diagnosis, unsigned int node, uint64_t page_bytes,
		    uint64_t blocks)
{
	uint64_t all = pools_read_count(diagnosis, node, page_bytes, "nr_hugepages");
	uint64_t free = pools_read_count(diagnosis, node, page_bytes, "free_hugepages");
	char text[VFB_FINDING_BYTES], remedy[VFB_FINDING_BYTES];

	snprintf(text, sizeof(text),
		 "node %u: %" PRIu64 " of %" PRIu64 " hugepages of %s are free, %s%" PRIu64
		 " more could be allocated now",
		 node, free, all, vfb_size_text(page_bytes).text,
		 page_bytes > 2 * MIB ? "at most " : "", blocks * 2 * MIB / page_bytes);
	snprintf(remedy, sizeof(remedy),
		 "echo N > /sys/devices/system/node/node%u/hugepages/hugepages-%" PRIu64
		 "kB/nr_hugepages",
		 node, page_bytes / KIB);
	return vfb_diagnosis_add(diagnosis, VFB_FOUND_HUGEPAGES_POOL,
				 (struct vfb_finding){
					 .severity = VFB_FINDING_GOOD,
					 .text = text,
					 .remedy = all ? "" : remedy,
					 .node = node,
				 });
}

/* What concerns the pool of the whole machine: only there is it known what is reserved. */
static int pools_add_reserved(struct vfb_diagnosis *diagnosis, uint64_t page_bytes)
{
	const struct vfb_sys *sys = diagnosis->ctx->sys;
	struct vfb_pool_supply supply = vfb_pool_read_supply(sys, page_bytes);
	struct vfb_size_text size = vfb_size_text(page_bytes);
	char text[VFB_FINDING_BYTES];
	int error = 0;

	snprintf(text, sizeof(text),
		 "of the hugepages of %s that are free, %" PRIu64
		 " are reserved for mappings that exist: %" PRIu64 " can be used",
		 size.text, supply.reserved, supply.free);
	if (supply.reserved)
		error = vfb_diagnosis_add_host(diagnosis, VFB_FOUND_HUGEPAGES_RESERVED,
					       VFB_FINDING_GOOD, text, "");
	snprintf(text, sizeof(text),
		 "the kernel may add %" PRIu64
		 " hugepages of %s on demand (nr_overcommit_hugepages)",
		 supply.surplus, size.text);
	if (!error && supply.surplus)
		error = vfb_diagnosis_add_host(diagnosis, VFB_FOUND_HUGEPAGES_SURPLUS,
					       VFB_FINDING_GOOD, text, "");
	return error;
}

static bool has_pool(const struct vfb_diagnosis *diagnosis, uint64_t page_bytes)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB",
		 page_bytes / KIB);
	return vfb_doctor_exists(diagnosis, path);
}

/* Fragmented free memory affects every kind of huge page. */
static int add_fragmentation(struct vfb_diagnosis *diagnosis, unsigned int node, uint64_t blocks)
{
	char path[64], text[VFB_FINDING_BYTES], remedy[96];
	struct vfb_field field = {.name = "MemFree", .base = 10};
	uint64_t free;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/meminfo", node);
	vfb_sys_read_fields(diagnosis->ctx->sys, path, &field, 1);
	free = KIB * field.value;
	if (blocks * 2 * MIB >= free / 2)
		return 0;
	snprintf(text, sizeof(text),
		 "node %u: of %" PRIu64 " MiB of free memory, only %" PRIu64
		 " MiB are in pieces of 2 MiB or more: huge pages are scarce, and mapping can take "
		 "many times longer",
		 node, free / MIB, blocks * 2);
	snprintf(remedy, sizeof(remedy), "echo 1 > /sys/devices/system/node/node%u/compact", node);
	return vfb_diagnosis_add(diagnosis, VFB_FOUND_FRAGMENTATION,
				 (struct vfb_finding){
					 .severity = VFB_FINDING_SLOW,
					 .text = text,
					 .remedy = remedy,
					 .node = node,
				 });
}

int vfb_check_hugepages(struct vfb_diagnosis *diagnosis)
{
	uint64_t sizes[VFB_POOL_SIZES];
	size_t count = vfb_pool_sizes(diagnosis->ctx->sys, sizes);
	int error = 0, last = diagnosis->ctx->sys->max_node(diagnosis->ctx->sys);

	for (int node = 0; node <= last && !error; node++) {
		struct blocks blocks;
		char path[64];

		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d", node);
		if (!vfb_doctor_exists(diagnosis, path))
			continue;
		blocks = read_blocks(diagnosis, node);
		for (size_t i = count; i-- > 0 && !error;)
			if (has_pool(diagnosis, sizes[i]))
				error = add_pool(diagnosis, node, sizes[i], blocks.count);
		if (!error && blocks.known)
			error = add_fragmentation(diagnosis, node, blocks.count);
	}
	for (size_t i = count; i-- > 0 && !error;)
		error = pools_add_reserved(diagnosis, sizes[i]);
	return error;
}

/* ---- Transparent huge pages ---- */

#define THP "/sys/kernel/mm/transparent_hugepage/"

/* What vhost-user and virtiofs share with other processes. */
static int thp_check_shared(struct vfb_diagnosis *diagnosis)
{
	char sizes[128];
	const struct vfb_sys *sys = diagnosis->ctx->sys;

	if (vfb_thp_is_enabled(sys, VFB_MEMORY_MEMFD))
		return 0;
	vfb_doctor_read(diagnosis, VFB_THP_SHARED_64K, sizes, sizeof(sizes));
	return vfb_diagnosis_add_host(
		diagnosis, VFB_FOUND_THP_SHARED_DISABLED, VFB_FINDING_SLOW,
		"transparent huge pages are disabled for memfds, which vhost-user and virtiofs "
		"share: outside of the hugetlb pools these have base pages, which populate two to "
		"three times slower",
		sizes[0] ? "echo advise > " VFB_THP_SHARED_64K :
			   "echo advise > " THP "shmem_enabled");
}

int vfb_check_thp(struct vfb_diagnosis *diagnosis)
{
	char enabled[128], defrag[128];
	int error;

	vfb_doctor_read(diagnosis, THP "enabled", enabled, sizeof(enabled));
	vfb_doctor_read(diagnosis, THP "defrag", defrag, sizeof(defrag));
	if (!enabled[0])
		return vfb_diagnosis_add_host(
			diagnosis, VFB_FOUND_THP_ABSENT, VFB_FINDING_SLOW,
			"the kernel has no transparent huge pages: memory outside of the "
			"hugetlb pools has base pages, which populate and map many times "
			"slower",
			"use hugetlb pages, or a kernel with CONFIG_TRANSPARENT_HUGEPAGE");
	if (strstr(enabled, "[never]"))
		return vfb_diagnosis_add_host(
			diagnosis, VFB_FOUND_THP_DISABLED, VFB_FINDING_SLOW,
			"transparent huge pages are disabled: memory outside of the "
			"hugetlb pools has base pages, which populate and map many times "
			"slower",
			"echo madvise > " THP "enabled");
	error = vfb_diagnosis_add_host(diagnosis, VFB_FOUND_THP, VFB_FINDING_GOOD,
				       strstr(enabled, "[always]") ?
					       "transparent huge pages are enabled" :
					       "transparent huge pages are enabled for "
					       "programs that request them (madvise)",
				       "");
	if (!error)
		error = thp_check_shared(diagnosis);
	if (!error && (strstr(defrag, "[never]") || strstr(defrag, "[defer]")))
		error = vfb_diagnosis_add_host(
			diagnosis, VFB_FOUND_THP_NO_COMPACTION, VFB_FINDING_SLOW,
			"memory is not compacted for transparent huge pages: when it is "
			"fragmented, a guest gets base pages",
			"echo madvise > " THP "defrag");
	return error;
}
