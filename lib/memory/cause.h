/* SPDX-License-Identifier: MIT */
/* Why memory cannot be mapped or populated: errors with several causes, distinguished by what proc,
 * sysfs and the cgroups show. */
#ifndef VFB_MEMORY_CAUSE_H
#define VFB_MEMORY_CAUSE_H

#include "memory/memory.h"

/*
 * Reports why MADV_POPULATE_WRITE of a part failed. Returns -ENOMEM if too few pages are available,
 * -EFAULT if the mapping or its file is the cause, -EACCES if its protection is.
 */
int vfb_populate_failed(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes, int error,
			int node);

/*
 * Reports why mmap() of @what failed, which has @bytes in pages of @page_bytes; those of hugetlb
 * are to be reserved. Returns @error.
 */
int vfb_mmap_failed(const struct vfb_sys *sys, int error, const char *what, uint64_t bytes,
		    uint64_t page_bytes);

/* The nodes that the cpuset of the process allows, as "0-3,7"; "" if it is not known. */
void vfb_read_allowed_nodes(const struct vfb_sys *sys, char *text, size_t bytes);

#endif
