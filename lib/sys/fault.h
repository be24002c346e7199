/* SPDX-License-Identifier: MIT */
/* What is wrong with a part of the address space that the kernel could not populate or pin. */
#ifndef VFB_FAULT_H
#define VFB_FAULT_H

#include "sys/sys.h"

enum vfb_fault_kind {
	/* Nothing that /proc/self/maps or the file shows. */
	VFB_FAULT_NONE,
	VFB_FAULT_HOLE,
	/* PROT_NONE; not writable although it is to be written. */
	VFB_FAULT_NO_ACCESS,
	VFB_FAULT_READ_ONLY,
	/* A region of a device, mapped by VFIO or sysfs. */
	VFB_FAULT_DEVICE,
	/* Pages that the kernel lets nobody pin, and does not populate. */
	VFB_FAULT_SPECIAL,
	/* The file ends before the mapping does; the file system has no room for more pages. */
	VFB_FAULT_FILE_SHORT,
	VFB_FAULT_FILE_SYSTEM_FULL,
	/* A shared mapping of a file on a disk, which is not to be pinned for writing. */
	VFB_FAULT_ON_DISK,
};

struct vfb_fault {
	enum vfb_fault_kind kind;
	/* It was to be pinned for a device, not populated. */
	bool pin;
	/* Of the addresses that are concerned. */
	uint64_t first, end;
	/* The file or device that is mapped there; "" for anonymous memory. */
	char path[128];
	/* The size of the file, or what its file system could hold, in bytes. */
	uint64_t bytes;
};

/*
 * Looks for the first thing that keeps [first, first + bytes) from being populated or pinned.
 * @write: for writing. @pin: for a device. @fd: the file that the caller knows, or -1.
 */
struct vfb_fault vfb_sys_find_fault(const struct vfb_sys *sys, uint64_t first, uint64_t bytes,
				    bool write, bool pin, int fd);

/*
 * Whether all of [first, first + bytes) is anonymous memory or files of tmpfs and hugetlbfs, as far
 * as /proc/self/maps shows: nothing that a write could reach but memory. @fd: as above.
 */
bool vfb_sys_is_memory(const struct vfb_sys *sys, uint64_t first, uint64_t bytes, int fd);

/* A sentence about it that says what to do, "" for VFB_FAULT_NONE. */
struct vfb_fault_text {
	char text[384];
};
struct vfb_fault_text vfb_fault_describe(const struct vfb_fault *fault);

#endif
