/* SPDX-License-Identifier: MIT */
/*
 * Whether adopted memory may be mapped by its file: only if the whole range is a shared mapping of
 * that file at that offset. With a private mapping or another file, a device would write to pages
 * that the process never sees.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "memory/memory.h"

struct proof {
	const struct vfb_sys_file *file;
	/* The range that is not checked yet, and its offset in the file. */
	uint64_t at, end, file_offset;
	/* Why the pages are not the same. */
	char reason[192];
};

/* Returns false if no further line has to be read. */
static bool proof_add_mapping(const char *line, void *arg)
{
	unsigned long start, end, offset, inode;
	struct proof *proof = arg;
	unsigned int major, minor;
	char shared;

	if (sscanf(line, "%lx-%lx %*c%*c%*c%c %lx %x:%x %lu", &start, &end, &shared, &offset,
		   &major, &minor, &inode) != 7 ||
	    end <= proof->at)
		return true;
	if (start > proof->at)
		return false;
	if (shared != 's')
		snprintf(proof->reason, sizeof(proof->reason),
			 "it is a private mapping at 0x%" PRIx64, proof->at);
	else if (major != proof->file->major || minor != proof->file->minor ||
		 inode != proof->file->inode)
		snprintf(proof->reason, sizeof(proof->reason),
			 "another file is mapped at 0x%" PRIx64, proof->at);
	else if (offset + (proof->at - start) != proof->file_offset)
		snprintf(proof->reason, sizeof(proof->reason),
			 "offset 0x%" PRIx64 " of the file is mapped at 0x%" PRIx64
			 ", fd_offset says 0x%" PRIx64,
			 (uint64_t)offset + (proof->at - start), proof->at, proof->file_offset);
	if (proof->reason[0])
		return false;
	proof->file_offset += end - proof->at;
	proof->at = end;
	return proof->at < proof->end;
}

int vfb_memory_check_file(struct vfb_memory *memory, const struct vfb_sys_file *file)
{
	struct proof proof = {
		.file = file,
		.at = (uintptr_t)memory->address,
		.end = (uintptr_t)memory->address + memory->bytes,
		.file_offset = memory->fd_offset,
	};
	int error = vfb_sys_each_line(memory->ctx->sys, "/proc/self/maps", proof_add_mapping,
				      &proof);

	if (error)
		snprintf(proof.reason, sizeof(proof.reason),
			 "/proc/self/maps cannot be read (error %d)", -error);
	else if (!proof.reason[0] && proof.at < proof.end)
		snprintf(proof.reason, sizeof(proof.reason), "nothing is mapped at 0x%" PRIx64,
			 proof.at);
	if (!proof.reason[0])
		return 0;
	memory->fd = -1;
	if (asprintf(&memory->fallback, "not mapped by its file: %s", proof.reason) < 0)
		return vfb_fail_memory();
	return 0;
}
