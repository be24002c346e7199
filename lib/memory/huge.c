/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory/memory.h"

/* What smaps tells, as far as it has been read. */
struct smaps {
	uint64_t first, end;
	/* The mapping that is being told of overlaps [first, end). */
	bool inside;
	uint64_t huge_bytes;
};

static void take_line(struct smaps *smaps, const char *line)
{
	static const char *const huge[] = {"AnonHugePages:", "ShmemPmdMapped:", "FilePmdMapped:",
					   "Shared_Hugetlb:", "Private_Hugetlb:"};
	unsigned long start, end;

	if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
		smaps->inside = start < smaps->end && end > smaps->first;
	for (size_t i = 0; smaps->inside && i < sizeof(huge) / sizeof(huge[0]); i++)
		if (!strncmp(line, huge[i], strlen(huge[i])))
			smaps->huge_bytes += KIB * strtoull(line + strlen(huge[i]), NULL, 10);
}

static int read_smaps(const struct vfb_sys *sys, int fd, struct smaps *smaps)
{
	char text[8192], *line, *end;
	size_t held = 0;
	ssize_t length;
	off_t at = 0;

	/* What is left of a line goes to the beginning, for the next part to complete it. */
	while ((length = sys->pread(sys, fd, text + held, sizeof(text) - held - 1, at)) > 0) {
		at += length;
		text[held + length] = '\0';
		for (line = text; (end = strchr(line, '\n')); line = end + 1) {
			*end = '\0';
			take_line(smaps, line);
		}
		held = strlen(line);
		if (held == sizeof(text) - 1)
			return -EFBIG;
		memmove(text, line, held);
	}
	return length;
}

int vfb_memory_huge(const struct vfb_memory *memory, uint64_t *bytes)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	struct smaps smaps = {
		.first = (uintptr_t)memory->address,
		.end = (uintptr_t)memory->address + memory->bytes,
	};
	int error, fd;

	fd = sys->open(sys, "/proc/self/smaps", O_RDONLY);
	if (fd < 0)
		return vfb_fail_errno(fd, "cannot open /proc/self/smaps");
	error = read_smaps(sys, fd, &smaps);
	sys->close(sys, fd);
	if (error)
		return vfb_fail_errno(error, "cannot read /proc/self/smaps");
	*bytes = smaps.huge_bytes;
	return 0;
}
