/* SPDX-License-Identifier: MIT */
/* Files of /proc about memory, and pools of hugepages that grow and shrink. */
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "sysfs.h"

/* What compacting takes, and changing a pool: others change it meanwhile. */
#define COMPACT_NS (5 * FAKE_MS)

/* ---- /proc/self/smaps, pagemap ---- */

static uint64_t huge_bytes(const struct vma *vma)
{
	const struct object *object = vma->object;
	uint64_t end = vma->offset + (vma->end - vma->start), bytes = 0;

	if (!object || !object->pages)
		return 0;
	for (uint64_t at = vma->offset; at < end; at += object->page_bytes)
		if (at / object->page_bytes < object->page_count &&
		    object->pages[at / object->page_bytes] & PAGE_HUGE)
			bytes += object->page_bytes;
	return bytes;
}

/* What a group has opened has no node. */
static const char *device_name(const struct file *file)
{
	return file->devfile->group_file ? "anon_inode:[vfio-device]" : file->path;
}

/* The line of /proc/self/maps and smaps. */
static void put_mapping(struct text *text, const struct vma *vma)
{
	const struct object *object = vma->object;
	uint64_t offset = object && object->inode ? object->file_offset + vma->offset : 0;

	fk_put(text, "%" PRIx64 "-%" PRIx64 " %c%c-%c %08" PRIx64 " %02x:%02x %" PRIu64 " %s\n",
	       vma->start, vma->end, vma->prot & PROT_READ ? 'r' : '-',
	       vma->prot & PROT_WRITE ? 'w' : '-', vma->shared ? 's' : 'p', offset,
	       object ? major(object->device) : 0, object ? minor(object->device) : 0,
	       object ? object->inode : 0,
	       !object			 ? device_name(vma->device) :
	       object->inode		 ? "/memfd:vfioboost (deleted)" :
	       object->pool == POOL_BASE ? "" :
					   "/anon_hugepage (deleted)");
}

static int put_maps(struct fake *fake, struct text *text)
{
	for (size_t i = 0; i < fake->mm.count; i++)
		put_mapping(text, &fake->mm.vmas[i]);
	return SYSFS_TEXT;
}

/* Those between the size and the huge pages. */
static const char *const smaps_names[] = {
	"MMUPageSize",	 "Rss",		  "Pss",	"Pss_Dirty", "Shared_Clean", "Shared_Dirty",
	"Private_Clean", "Private_Dirty", "Referenced", "Anonymous", "KSM",	     "LazyFree",
};

static int put_smaps(struct fake *fake, struct text *text)
{
	for (size_t i = 0; i < fake->mm.count; i++) {
		const struct vma *vma = &fake->mm.vmas[i];
		bool hugetlb = vma->object && vma->object->pool != POOL_BASE;
		uint64_t huge = hugetlb ? fk_object_populated(vma->object, vma->offset,
							      vma->offset + vma->end - vma->start) :
					  huge_bytes(vma);

		put_mapping(text, vma);
		fk_put(text, "Size: %18" PRIu64 " kB\n", (vma->end - vma->start) / 1024);
		fk_put(text, "KernelPageSize: %8" PRIu64 " kB\n",
		       (vma->object ? vma->object->page_bytes : fk_page(fake)) / 1024);
		for (size_t k = 0; k < ARRAY_SIZE(smaps_names); k++)
			fk_put(text, "%s:%*d kB\n", smaps_names[k],
			       23 - (int)strlen(smaps_names[k]), 0);
		fk_put(text, "AnonHugePages: %9" PRIu64 " kB\n", hugetlb ? 0 : huge / 1024);
		fk_put(text, "ShmemPmdMapped: %8d kB\nFilePmdMapped: %9d kB\n", 0, 0);
		fk_put(text, "Shared_Hugetlb: %8d kB\n", 0);
		fk_put(text, "Private_Hugetlb: %7" PRIu64 " kB\n", hugetlb ? huge / 1024 : 0);
		fk_put(text, "Swap: %18d kB\nSwapPss: %15d kB\nLocked: %16d kB\n", 0, 0, 0);
		fk_put(text, "THPeligible: %11d\nVmFlags: rd wr mr mw me%s%s sd\n", 0,
		       vma->dont_fork ? " dc" : "", vma->dont_dump ? " dd" : "");
	}
	return SYSFS_TEXT;
}

/* One after another as in the address space, with a gap after each run. */
ssize_t fk_pagemap_read(struct fake *fake, uint64_t *entries, size_t bytes, off_t offset)
{
	uint64_t run = fake->config.run_pages;

	if (offset % sizeof(*entries) || bytes % sizeof(*entries))
		return -EINVAL;
	for (size_t i = 0; i < bytes / sizeof(*entries); i++) {
		uint64_t page = offset / sizeof(*entries) + i;
		uint64_t frame = run ? page + page / run : page;

		entries[i] = 0;
		if (fk_memory_page_node(fake, page * fk_page(fake)) >= 0)
			entries[i] = UINT64_C(1) << 63 | (fake->config.no_sys_admin ? 0 : frame);
	}
	return bytes;
}

/* ---- Pools ---- */

static uint64_t room_to_grow(const struct fake *fake, const struct node *node, int pool)
{
	uint64_t pages = node->free[POOL_BASE] / fk_pool_parts(fake, pool);

	return min_u64(pages, node->blocks[pool]);
}

bool fk_pool_add(const struct fake *fake, struct node *node, int pool)
{
	if (!room_to_grow(fake, node, pool))
		return false;
	node->free[POOL_BASE] -= fk_pool_parts(fake, pool);
	node->blocks[pool]--;
	node->free[pool]++;
	node->total[pool]++;
	return true;
}

static uint64_t lasting_pages(const struct fake *fake, int node, int pool)
{
	uint64_t pages = 0;

	for (int n = 0; n < FAKE_NODES; n++)
		if (node < 0 || node == n)
			pages += fake->nodes[n].total[pool] - fake->nodes[n].surplus[pool];
	return pages;
}

/* adjust_pool_surplus() */
static bool keep_surplus(struct node *node, int pool)
{
	if (!node->surplus[pool])
		return false;
	node->surplus[pool]--;
	return true;
}

static bool make_surplus(struct node *node, int pool)
{
	if (node->surplus[pool] >= node->total[pool])
		return false;
	node->surplus[pool]++;
	return true;
}

/* A page more or less that lasts; @hard: when the easy way is not possible. */
static bool change_pool(struct fake *fake, struct node *node, int pool, bool more, bool hard)
{
	if (more)
		return hard ? fk_pool_add(fake, node, pool) : keep_surplus(node, pool);
	return hard ? make_surplus(node, pool) : fk_pool_shrink(fake, node, pool);
}

/* set_max_huge_pages(): as far as possible, the nodes in turn. */
static void set_pool(struct fake *fake, int node, int pool, uint64_t wanted)
{
	bool hard = false, changed;

	do {
		changed = false;
		for (int n = 0; n < FAKE_NODES; n++) {
			uint64_t pages = lasting_pages(fake, node, pool);

			if ((node < 0 || node == n) && pages != wanted)
				changed |= change_pool(fake, &fake->nodes[n], pool, pages < wanted,
						       hard);
		}
		if (!changed && !hard)
			hard = changed = true;
	} while (changed);
}

int fk_pool_of_path(const struct fake *fake, const char **path)
{
	uint64_t kilobytes;
	int end = 0, pool;

	if (sscanf(*path, "/hugepages-%" SCNu64 "kB%n", &kilobytes, &end) != 1 || !end)
		return -EINVAL;
	*path += end;
	pool = kilobytes == fk_pool_page(fake, POOL_2M) / FAKE_KIB ? POOL_2M : POOL_1G;
	if (kilobytes != fk_pool_page(fake, pool) / FAKE_KIB)
		return -EINVAL;
	return (pool == POOL_2M ? fake->config.no_2m : fake->config.no_1g) ? -EINVAL : pool;
}

/* Node and pool of a file nr_hugepages. */
static bool find_pool(struct fake *fake, const char *path, int *node, int *pool)
{
	*node = -1;
	sscanf(path, "/sys/devices/system/node/node%d", node);
	path = strstr(path, "/hugepages-");
	if (!path || *node >= FAKE_NODES)
		return false;
	*pool = fk_pool_of_path(fake, &path);
	return *pool >= 0 && !strcmp(path, "/nr_hugepages");
}

static bool is_compact(const char *path)
{
	unsigned int node;
	int end = 0;

	return !strcmp(path, "/proc/sys/vm/compact_memory") ||
	       (sscanf(path, "/sys/devices/system/node/node%u/compact%n", &node, &end) == 1 && end);
}

bool fk_sysfs_writable(struct fake *fake, const char *path)
{
	int node, pool;

	return is_compact(path) || find_pool(fake, path, &node, &pool) ||
	       fk_sysfs_binds(fake, path);
}

ssize_t fk_sysfs_write(struct fake *fake, const char *path, const char *text, size_t bytes)
{
	int node, pool, error;

	if (fk_sysfs_binds(fake, path)) {
		error = fk_sysfs_bind(fake, path, text, bytes);
		return error ? error : (ssize_t)bytes;
	}
	if (is_compact(path)) {
		fake->stats.compactions++;
		fk_clock_spend(fake, COMPACT_NS);
	} else if (find_pool(fake, path, &node, &pool)) {
		fake->stats.unlocked_pool_changes += !fake->namespace_lock.writer;
		fk_clock_spend(fake, COMPACT_NS);
		set_pool(fake, node, pool, strtoull(text, NULL, 10));
	}
	return bytes;
}

static int put_buddyinfo(struct fake *fake, struct text *text)
{
	uint64_t parts = fk_pool_parts(fake, POOL_2M);

	for (int n = 0; n < FAKE_NODES; n++) {
		const struct node *node = &fake->nodes[n];
		uint64_t blocks = room_to_grow(fake, node, POOL_2M);

		if (!node->exists)
			continue;
		if (!n)
			fk_put(text,
			       "Node 0, zone      DMA      0      0      0      0      0      0      "
			       "0      0      0      0      0 \n"
			       "Node 0, zone    DMA32      0      0      0      0      0      0      "
			       "0      0      0      0      0 \n");
		fk_put(text, "Node %d, zone   Normal %" PRIu64, n,
		       node->free[POOL_BASE] - blocks * parts);
		for (uint64_t order = 2; order < parts; order *= 2)
			fk_put(text, " 0");
		fk_put(text, " %" PRIu64 " %" PRIu64 "\n", blocks % 2, blocks / 2);
	}
	return SYSFS_TEXT;
}

int fk_sysfs_memory(struct fake *fake, const char *path, struct text *text)
{
	if (!strcmp(path, "/proc/self/maps"))
		return put_maps(fake, text);
	if (!strcmp(path, "/proc/self/smaps"))
		return put_smaps(fake, text);
	if (!strcmp(path, "/proc/buddyinfo"))
		return put_buddyinfo(fake, text);
	if (is_compact(path))
		return SYSFS_TEXT;
	return SYSFS_NONE;
}
