/* SPDX-License-Identifier: MIT */
#include "budget.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "preload.h"
#include "sys/sys.h"
#include "sys/uapi.h"

/* The bit of CAP_IPC_LOCK in CapEff. */
#define BUDGET_IPC_LOCK 14

/* The number behind @key at the beginning of a line; 0: it is not there. */
static uint64_t budget_find_number(const char *text, const char *key)
{
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, key, strlen(key)))
			return strtoull(line + strlen(key), NULL, 10);
	}
	return 0;
}

/* type1 counts what a process has locked, iommufd what a user or a process has pinned. */
static bool budget_allows_lock(uint64_t bytes)
{
	struct vfb_field fields[] = {
		{.name = "CapEff", .base = 16},
		{.name = "VmLck", .base = 10},
		{.name = "VmPin", .base = 10},
	};
	const struct vfb_sys *sys = &vfb_sys_linux;
	uint64_t limit, locked;

	if (sys->memlock_limit(sys, &limit) || limit == UINT64_MAX ||
	    vfb_sys_read_fields(sys, "/proc/self/status", fields, 3) ||
	    fields[0].value >> BUDGET_IPC_LOCK & 1)
		return true;
	locked = (fields[1].value + fields[2].value) << 10;
	return locked <= limit && bytes <= limit - locked;
}

/* A cgroup's own file beside that of its limit. */
static bool budget_read_beside(const char *path, const char *name, char *text, size_t bytes)
{
	char file[PATH_MAX];

	snprintf(file, sizeof(file), "%.*s/%s", (int)(strrchr(path, '/') - path), path, name);
	return vfb_sys_read_file(&vfb_sys_linux, file, text, bytes) > 0;
}

/* Less what is used, but for the page cache, which the kernel reclaims. */
static void budget_look_at_cgroup(const char *path, uint64_t limit, uint64_t period, void *arg)
{
	uint64_t *left = arg, used, cached = 0;
	char text[16384];

	(void)period;
	if (!budget_read_beside(path, "memory.current", text, sizeof(text)))
		return;
	used = strtoull(text, NULL, 10);
	if (budget_read_beside(path, "memory.stat", text, sizeof(text)))
		cached = budget_find_number(text, "inactive_file ") +
			 budget_find_number(text, "active_file ");
	used = cached < used ? used - cached : 0;
	limit = used < limit ? limit - used : 0;
	if (limit < *left)
		*left = limit;
}

static bool budget_allows_pages(uint64_t bytes)
{
	struct vfb_field available = {.name = "MemAvailable", .base = 10};
	uint64_t left = UINT64_MAX;

	vfb_sys_cgroup(&vfb_sys_linux, "memory.max", budget_look_at_cgroup, &left);
	if (!vfb_sys_read_fields(&vfb_sys_linux, "/proc/meminfo", &available, 1) &&
	    available.value << 10 < left)
		left = available.value << 10;
	return bytes <= left;
}

/*
 * Pages of a pool are no others' and never end in the OOM killer. The advice, which means nothing
 * for a page that is not there, is refused for them (can_madv_lru_vma()).
 */
static bool budget_are_of_pool(char *address)
{
	return madvise(address, sysconf(_SC_PAGESIZE), MADV_COLD);
}

bool budget_allows(char *address, uint64_t bytes)
{
	if (!budget_allows_lock(bytes)) {
		preload_remark("RLIMIT_MEMLOCK does not allow the map: the memory is not populated "
			       "before it");
		return false;
	}
	if (!budget_are_of_pool(address) && !budget_allows_pages(bytes)) {
		preload_remark("a cgroup, or the host, has less memory than is mapped: it is not "
			       "populated before the map");
		return false;
	}
	return true;
}
