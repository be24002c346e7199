/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory/memory.h"

uint64_t vfb_page_bytes(enum vfb_page_size page_size)
{
	switch (page_size) {
	case VFB_PAGE_2M:
		return 2 * MIB;
	case VFB_PAGE_1G:
		return GIB;
	default:
		return 4 * KIB;
	}
}

/* A number from a pool's folder in sysfs; 0 where the kernel does not have it. */
static uint64_t read_count(const struct vfb_sys *sys, const char *folder, uint64_t page_bytes,
			   const char *name)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), "%s/hugepages-%" PRIu64 "kB/%s", folder, page_bytes / KIB,
		 name);
	if (vfb_sys_read_file(sys, path, text, sizeof(text)) < 0)
		return 0;
	return strtoull(text, NULL, 10);
}

static int too_few(uint64_t needed, uint64_t available, uint64_t page_bytes, uint64_t bytes,
		   const char *where, const char *file)
{
	return vfb_fail(-ENOMEM,
			"%s need %" PRIu64 " hugepages of %s, %" PRIu64 " are free%s: raise %s or "
			"take smaller pages",
			vfb_size_text(bytes).text, needed, vfb_size_text(page_bytes).text,
			available, where, file);
}

/* Bound memory takes pages of its nodes only; mmap() looks at the sum of all nodes. */
static int check_bound_pool(const struct vfb_sys *sys, const struct vfb_memory *memory,
			    uint64_t page_bytes, uint64_t needed)
{
	char folder[64], file[128];
	uint64_t available = 0;

	for (size_t i = 0; i < memory->node_count; i++) {
		snprintf(folder, sizeof(folder), "/sys/devices/system/node/node%u/hugepages",
			 memory->nodes[i]);
		available += read_count(sys, folder, page_bytes, "free_hugepages");
	}
	if (available >= needed)
		return 0;
	snprintf(file, sizeof(file), "%s/hugepages-%" PRIu64 "kB/nr_hugepages", folder,
		 page_bytes / KIB);
	return too_few(needed, available, page_bytes, memory->bytes, " on its nodes", file);
}

static int check_pool(const struct vfb_sys *sys, const struct vfb_memory *memory,
		      uint64_t page_bytes)
{
	static const char folder[] = "/sys/kernel/mm/hugepages";
	uint64_t needed = memory->bytes / page_bytes, available, reserved;
	char path[128], text[32];

	snprintf(path, sizeof(path), "%s/hugepages-%" PRIu64 "kB/nr_hugepages", folder,
		 page_bytes / KIB);
	if (vfb_sys_read_file(sys, path, text, sizeof(text)) < 0)
		return vfb_fail(-ENOTSUP,
				"the kernel has no hugepages of %s (%s): CPU, kernel "
				"configuration and default_hugepagesz decide",
				vfb_size_text(page_bytes).text, path);
	available = read_count(sys, folder, page_bytes, "free_hugepages");
	reserved = read_count(sys, folder, page_bytes, "resv_hugepages");
	available -= reserved < available ? reserved : available;
	if (available < needed)
		return too_few(needed, available, page_bytes, memory->bytes, "", path);
	if (memory->policy == VFB_NUMA_BIND)
		return check_bound_pool(sys, memory, page_bytes, needed);
	return 0;
}

static int check_thp(const struct vfb_sys *sys, enum vfb_memory_kind kind)
{
	bool shared = kind == VFB_MEMORY_MEMFD;
	const char *path = shared ? "/sys/kernel/mm/transparent_hugepage/shmem_enabled" :
				    "/sys/kernel/mm/transparent_hugepage/enabled";
	char text[128];

	if (vfb_sys_read_file(sys, path, text, sizeof(text)) < 0)
		return vfb_fail(-ENOTSUP, "the kernel has no transparent huge pages (%s)", path);
	if (strstr(text, "[never]") || strstr(text, "[deny]"))
		return vfb_fail(-ENOTSUP, "transparent huge pages are switched off: write %s to %s",
				shared ? "advise" : "madvise", path);
	return 0;
}

int vfb_page_size_check(const struct vfb_sys *sys, const struct vfb_memory *memory,
			enum vfb_memory_kind kind, enum vfb_page_size page_size)
{
	uint64_t page_bytes = vfb_page_bytes(page_size);

	if (memory->bytes % page_bytes)
		return vfb_fail(-EINVAL, "a size of %s is not a multiple of the page size, %s",
				vfb_size_text(memory->bytes).text, vfb_size_text(page_bytes).text);
	if (page_bytes > 4 * KIB)
		return check_pool(sys, memory, page_bytes);
	return page_size == VFB_PAGE_THP ? check_thp(sys, kind) : 0;
}
