/* SPDX-License-Identifier: MIT */
/* Who the calling process is to the kernel. */
#ifndef VFB_RIGHTS_H
#define VFB_RIGHTS_H

#include "sys/sys.h"

/* Numbers of capabilities. */
#define VFB_CAP_DAC_OVERRIDE 1
#define VFB_CAP_IPC_LOCK     14
#define VFB_CAP_SYS_PTRACE   19

struct vfb_rights {
	/* That files are accessed with. */
	unsigned int uid, gid;
	/* The effective ones. */
	uint64_t capabilities;
	/*
	 * It is in a user namespace of its own: its capabilities do not count for what belongs to
	 * the host, such as pinned memory, and its user 0 is outer_uid in the namespace above.
	 */
	bool in_user_namespace;
	unsigned int outer_uid;
};

/* What cannot be read is 0. */
void vfb_rights_read(const struct vfb_sys *sys, struct vfb_rights *rights);

/* Whether the process has a capability, and it counts for what belongs to the host. */
bool vfb_rights_include(const struct vfb_rights *rights, unsigned int capability);
/* The same of this process: capable(), as for pinned memory (iopt_alloc_pages()). */
bool vfb_sys_is_capable(const struct vfb_sys *sys, unsigned int capability);

/* Whether a file's owner, group and mode let it be read and written. */
bool vfb_rights_allow(const struct vfb_sys *sys, const struct vfb_rights *rights,
		      const struct vfb_sys_path *file);

/*
 * A limit of /proc/self/limits, such as "Max address space". UINT64_MAX: none, or not known.
 */
uint64_t vfb_sys_soft_limit(const struct vfb_sys *sys, const char *name);

#endif
