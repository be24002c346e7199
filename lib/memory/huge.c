/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory/memory.h"

/* State of reading smaps. */
struct smaps {
	uint64_t first, end;
	/* The current mapping overlaps [first, end). */
	bool inside;
	uint64_t huge_bytes;
};

static bool count_huge(const char *line, void *arg)
{
	static const char *const huge[] = {"AnonHugePages:", "ShmemPmdMapped:", "FilePmdMapped:",
					   "Shared_Hugetlb:", "Private_Hugetlb:"};
	struct smaps *smaps = arg;
	unsigned long start, end;

	if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
		smaps->inside = start < smaps->end && end > smaps->first;
	for (size_t i = 0; smaps->inside && i < sizeof(huge) / sizeof(huge[0]); i++)
		if (!strncmp(line, huge[i], strlen(huge[i])))
			smaps->huge_bytes += KIB * strtoull(line + strlen(huge[i]), NULL, 10);
	return true;
}

int vfb_memory_huge(const struct vfb_memory *memory, uint64_t *bytes)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	struct smaps smaps = {
		.first = (uintptr_t)memory->address,
		.end = (uintptr_t)memory->address + memory->bytes,
	};
	int error = vfb_sys_each_line(sys, "/proc/self/smaps", count_huge, &smaps);

	if (error)
		return vfb_fail_errno(error, "cannot read /proc/self/smaps");
	*bytes = smaps.huge_bytes;
	return 0;
}
