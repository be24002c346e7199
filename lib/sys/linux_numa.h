/* SPDX-License-Identifier: MIT */
#ifndef VFB_LINUX_NUMA_H
#define VFB_LINUX_NUMA_H

#include "sys/sys.h"

/* Of the running kernel's table. */
int vfb_linux_mbind(const struct vfb_sys *sys, void *addr, size_t bytes, int mode,
		    const unsigned int *nodes, size_t count);
int vfb_linux_get_mempolicy(const struct vfb_sys *sys, void *addr, int *mode, unsigned int *nodes,
			    size_t room);
int vfb_linux_page_nodes(const struct vfb_sys *sys, void *const *pages, size_t count, int *nodes);
int vfb_linux_max_node(const struct vfb_sys *sys);
int vfb_linux_node_cpus(const struct vfb_sys *sys, unsigned int node, cpu_set_t *cpus);

#endif
