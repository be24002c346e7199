/* SPDX-License-Identifier: MIT */
#include "budget.h"

#include <stdio.h>
#include <vfioboost/context.h>

#include "memory/memory.h"
#include "memory/room.h"
#include "preload.h"
#include "sys/rights.h"
#include "sys/sys.h"
#include "sys/uapi.h"

/* type1 counts what a process has locked, iommufd what a user or a process has pinned. */
static bool budget_allows_lock(uint64_t bytes)
{
	struct vfb_field fields[] = {{.name = "VmLck", .base = 10}, {.name = "VmPin", .base = 10}};
	const struct vfb_sys *sys = &vfb_sys_linux;
	uint64_t limit, locked;

	if (sys->memlock_limit(sys, &limit) || limit == UINT64_MAX ||
	    vfb_sys_is_capable(sys, VFB_CAP_IPC_LOCK) ||
	    vfb_sys_read_fields(sys, "/proc/self/status", fields, 2))
		return true;
	locked = (fields[0].value + fields[1].value) << 10;
	return locked <= limit && bytes <= limit - locked;
}

/* With the limit, which vfb_room_check() has found. */
static void budget_remark_room(void)
{
	char text[REMARK_BYTES];

	snprintf(text, sizeof(text), "the memory is not populated before the map: %s",
		 vfb_last_error());
	preload_remark(text);
}

bool budget_allows(const struct vfb_memory *memory)
{
	uint64_t bytes = memory->bytes;

	if (!budget_allows_lock(bytes)) {
		preload_remark("RLIMIT_MEMLOCK does not allow the map: the memory is not populated "
			       "before it");
		return false;
	}
	/* Pages of a pool are no others' and never end in the OOM killer. */
	if (!vfb_memory_is_hugetlb(memory) &&
	    vfb_room_check(&vfb_sys_linux, vfb_sys_linux.base_page(&vfb_sys_linux),
			   VFB_ROOM_ANYWHERE, bytes)) {
		budget_remark_room();
		return false;
	}
	return true;
}
