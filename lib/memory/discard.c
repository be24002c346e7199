/* SPDX-License-Identifier: MIT */
/* Returning pages to the system, or to the pool of hugetlb pages. */
#include <errno.h>
#include <sys/mman.h>

#include "memory/memory.h"
#include "observe/error.h"
#include "round.h"

/*
 * Shared pages belong to a file, which keeps them if they are only removed from the page tables
 * (MADV_DONTNEED). Private pages belong to no file, so MADV_REMOVE fails with EACCES or EINVAL
 * (madvise_remove()), which distinguishes the two for adopted memory.
 */
static int return_pages(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	void *address = memory->address + offset;
	int error = -EINVAL;

	if (memory->fd >= 0 || memory->adopted)
		error = sys->madvise(sys, address, bytes, MADV_REMOVE);
	if (memory->fd < 0 && (error == -EINVAL || error == -EACCES))
		error = sys->madvise(sys, address, bytes, MADV_DONTNEED);
	return error;
}

static int fail_return(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes, int error)
{
	const char *why = "";

	/* madvise_dontneed_single_vma(), madvise_remove() */
	if (error == -EINVAL)
		why = vfb_memory_is_hugetlb(memory) && memory->fd < 0 ?
			      ": it is locked (mlock), or has private hugetlb pages, which Linux "
			      "returns since 5.18: use a memfd (VFB_MEMORY_MEMFD)" :
			      ": it is locked (mlock, mlockall): unlock it first";
	else if (error == -EPERM)
		why = ": its file is sealed against writing (F_SEAL_WRITE)";
	else if (error == -EOPNOTSUPP)
		why = ": its file system cannot punch holes";
	return vfb_fail_errno(error, "cannot return the pages of %s at offset 0x%llx of memory%s",
			      vfb_size_text(bytes).text, (unsigned long long)offset, why);
}

int vfb_memory_return_range(struct vfb_memory *memory, uint64_t offset, uint64_t bytes)
{
	uint64_t size = vfb_memory_granule(memory);
	struct vfb_span span;
	int error;

	/* Before, so that nobody relies on pages that vanish. */
	for (uint64_t granule = offset / size; granule * size < offset + bytes; granule++)
		vfb_memory_mark_absent(memory, granule);
	vfb_observe_begin(&span, &memory->ctx->observer, VFB_PHASE_DISCARD);
	error = return_pages(memory, offset, bytes);
	vfb_observe_end(&span, .operation = "madvise", .result = error,
			.address = (uintptr_t)memory->address + offset, .bytes = bytes,
			.page_bytes = memory->page_bytes, .node = VFB_ANY_NODE);
	return error ? fail_return(memory, offset, bytes, error) : 0;
}
