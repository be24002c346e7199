/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory/memory.h"
#include "memory/pool.h"
#include "memory/room.h"

#define THP "/sys/kernel/mm/transparent_hugepage"

uint64_t vfb_page_bytes(const struct vfb_sys *sys, enum vfb_page_size page_size)
{
	switch (page_size) {
	case VFB_PAGE_2M:
	case VFB_PAGE_MIXED:
		return 2 * MIB;
	case VFB_PAGE_1G:
		return GIB;
	default:
		return sys->base_page(sys);
	}
}

static const char *name_of(enum vfb_page_size page_size)
{
	static const char *const names[] = {"auto", "base", "thp", "2m", "1g", "mixed"};

	return names[page_size];
}

uint64_t vfb_thp_bytes(const struct vfb_sys *sys)
{
	char text[32];
	uint64_t bytes = 0;

	if (vfb_sys_read_file(sys, THP "/hpage_pmd_size", text, sizeof(text)) > 0)
		bytes = strtoull(text, NULL, 10);
	return bytes && !(bytes & (bytes - 1)) ? bytes : 2 * MIB;
}

/* Of one of the sizes below that of a huge page: Linux 6.8, for shared memory 6.11. */
struct thp_size {
	const struct vfb_sys *sys;
	const char *file;
};

static int thp_look_at_size(const char *name, void *arg)
{
	const struct thp_size *size = arg;
	char path[384], text[128];

	if (strncmp(name, "hugepages-", 10))
		return 0;
	snprintf(path, sizeof(path), THP "/%s/%s", name, size->file);
	if (vfb_sys_read_file(size->sys, path, text, sizeof(text)) < 0)
		return 0;
	return strchr(text, '[') && !strstr(text, "[never]") && !strstr(text, "[inherit]");
}

bool vfb_thp_is_enabled(const struct vfb_sys *sys, enum vfb_memory_kind kind)
{
	struct thp_size size = {sys, kind == VFB_MEMORY_MEMFD ? "shmem_enabled" : "enabled"};
	char path[64], text[128];

	snprintf(path, sizeof(path), THP "/%s", size.file);
	if (vfb_sys_read_file(sys, path, text, sizeof(text)) < 0 || strstr(text, "[deny]"))
		return false;
	return !strstr(text, "[never]") || sys->list(sys, THP, thp_look_at_size, &size) > 0;
}

static int check_thp(const struct vfb_sys *sys, enum vfb_memory_kind kind)
{
	bool shared = kind == VFB_MEMORY_MEMFD;
	const char *path = shared ? THP "/shmem_enabled" : THP "/enabled";
	char text[128];

	if (vfb_thp_is_enabled(sys, kind))
		return 0;
	if (vfb_sys_read_file(sys, path, text, sizeof(text)) < 0)
		return vfb_fail(-ENOTSUP, "the kernel has no transparent huge pages (%s)", path);
	return vfb_fail(-ENOTSUP, "transparent huge pages are switched off: write %s to %s%s",
			shared ? "advise" : "madvise", path,
			shared ? ", or to " VFB_THP_SHARED_64K : "");
}

/* A page lies on one node, so each part must end at a page boundary. */
static int page_size_check_parts(const struct vfb_memory *memory, uint64_t page_bytes, uint64_t end)
{
	uint64_t offset = 0;

	for (size_t i = 0; i < memory->node_count && memory->node_bytes; i++) {
		offset += memory->node_bytes[i];
		if (offset <= end && offset % page_bytes)
			return vfb_fail(-EINVAL,
					"the part of %s on node %u does not end with a page of %s",
					vfb_size_text(memory->node_bytes[i]).text, memory->nodes[i],
					vfb_size_text(page_bytes).text);
	}
	return 0;
}

static int check_mixed(const struct vfb_memory *memory, enum vfb_memory_kind kind)
{
	if (kind == VFB_MEMORY_MEMFD)
		return vfb_fail(-ENOTSUP,
				"a memfd has pages of one size: create two memories, of 1g "
				"and of 2m pages");
	if (memory->bytes < GIB)
		return vfb_fail(-EINVAL, "a size of %s is too small to be mixed: use 2m pages",
				vfb_size_text(memory->bytes).text);
	return page_size_check_parts(memory, GIB, memory->bytes / GIB * GIB);
}

/* Checks the pool of one page size, and grows it if necessary. */
static int find_pages(struct vfb_memory *memory, uint64_t page_bytes, uint64_t bytes)
{
	int error = vfb_room_check_reserve(memory->ctx->sys, page_bytes, bytes);

	if (error)
		return error;
	error = vfb_pool_check(memory, page_bytes, bytes / page_bytes);
	if (error == -ENOMEM && memory->flags & VFB_MEMORY_GROW_POOL)
		error = vfb_pool_grow(memory, page_bytes, bytes / page_bytes);
	return error;
}

static int find_mixed(struct vfb_memory *memory)
{
	uint64_t rest = memory->bytes % GIB;
	int error = find_pages(memory, GIB, memory->bytes - rest);

	return error || !rest ? error : find_pages(memory, 2 * MIB, rest);
}

int vfb_page_size_prepare(struct vfb_memory *memory, enum vfb_memory_kind kind)
{
	enum vfb_page_size page_size = memory->page_size;
	uint64_t page_bytes = memory->page_bytes;
	int error = 0;

	if (memory->bytes % page_bytes)
		return vfb_fail(-EINVAL, "a size of %s is not a multiple of the page size, %s",
				vfb_size_text(memory->bytes).text, vfb_size_text(page_bytes).text);
	if (page_size == VFB_PAGE_THP)
		return check_thp(memory->ctx->sys, kind);
	if (page_size == VFB_PAGE_BASE)
		return 0;
	if (page_size == VFB_PAGE_MIXED)
		error = check_mixed(memory, kind);
	if (!error)
		error = page_size_check_parts(memory, page_bytes, memory->bytes);
	if (error)
		return error;
	return page_size == VFB_PAGE_MIXED ? find_mixed(memory) :
					     find_pages(memory, page_bytes, memory->bytes);
}

int vfb_page_size_check_room(const struct vfb_memory *memory)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	uint64_t bulk = memory->bulk_bytes;
	int error = bulk ? vfb_room_check(sys, GIB, VFB_ROOM_ANYWHERE, bulk) : 0;

	if (!vfb_memory_is_hugetlb(memory))
		return 0;
	return error ? error :
		       vfb_room_check(sys, memory->page_bytes, VFB_ROOM_ANYWHERE,
				      memory->bytes - bulk);
}

int vfb_page_size_note(struct vfb_memory *memory)
{
	const char *before = memory->fallback ? memory->fallback : "";
	struct vfb_size_text size = vfb_size_text(memory->page_bytes);
	bool named = memory->page_size != VFB_PAGE_HUGE;
	char *text;

	if (asprintf(&text, "%s%s%s: %s", before, *before ? "\n" : "",
		     named ? name_of(memory->page_size) : size.text, vfb_last_error()) < 0)
		return vfb_fail_memory();
	free(memory->fallback);
	memory->fallback = text;
	return 0;
}
