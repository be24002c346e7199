/* SPDX-License-Identifier: MIT */
/*
 * NUMA by the kernel's own calls and files. libnuma would allocate memory and read files in every
 * process that is linked with it, at load, and print warnings.
 */
#include "sys/linux_numa.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))
/* No kernel has more (CONFIG_NODES_SHIFT). */
#define NODES 1024
#define BITS  (8 * sizeof(unsigned long))
/* The kernel reads one bit less than the number that it is passed: get_nodes(). */
#define MASK_BITS (NODES + 1)
/* MPOL_MODE_FLAGS are above those. */
#define MODE_BITS 13

int vfb_linux_mbind(UNUSED const struct vfb_sys *sys, void *addr, size_t bytes, int mode,
		    const unsigned int *nodes, size_t count)
{
	unsigned long mask[NODES / BITS] = {0};

	for (size_t i = 0; i < count; i++) {
		if (nodes[i] >= NODES)
			return -EINVAL;
		mask[nodes[i] / BITS] |= 1UL << nodes[i] % BITS;
	}
	return syscall(SYS_mbind, addr, bytes, mode, mask, MASK_BITS, 0) ? -errno : 0;
}

int vfb_linux_get_mempolicy(UNUSED const struct vfb_sys *sys, void *addr, int *mode,
			    unsigned int *nodes, size_t room)
{
	unsigned long mask[NODES / BITS] = {0};
	size_t count = 0;

	if (syscall(SYS_get_mempolicy, mode, mask, MASK_BITS, addr, MPOL_F_ADDR))
		return -errno;
	*mode &= (1 << MODE_BITS) - 1;
	for (unsigned int node = 0; node < NODES && count < room; node++)
		if (mask[node / BITS] >> node % BITS & 1)
			nodes[count++] = node;
	return count;
}

int vfb_linux_page_nodes(UNUSED const struct vfb_sys *sys, void *const *pages, size_t count,
			 int *nodes)
{
	return syscall(SYS_move_pages, 0, count, pages, NULL, nodes, 0) ? -errno : 0;
}

/* A list of numbers as the kernel writes it, "0-3,8": calls @each with each range. */
static void for_each_range(const char *list, void (*each)(int first, int last, void *arg),
			   void *arg)
{
	int first, last, length;

	while (sscanf(list, "%d%n", &first, &length) == 1) {
		list += length;
		last = first;
		if (sscanf(list, "-%d%n", &last, &length) == 1)
			list += length;
		each(first, last, arg);
		if (*list++ != ',')
			return;
	}
}

static void keep_last(UNUSED int first, int last, void *arg)
{
	*(int *)arg = last;
}

static void add_cpus(int first, int last, void *arg)
{
	for (int cpu = first; cpu <= last && cpu < CPU_SETSIZE; cpu++)
		CPU_SET(cpu, (cpu_set_t *)arg);
}

/* A kernel without NUMA has one node, 0. */
int vfb_linux_max_node(const struct vfb_sys *sys)
{
	char list[4096];
	int node = 0;

	if (vfb_sys_read_file(sys, "/sys/devices/system/node/online", list, sizeof(list)) > 0)
		for_each_range(list, keep_last, &node);
	return node;
}

int vfb_linux_node_cpus(const struct vfb_sys *sys, unsigned int node, cpu_set_t *cpus)
{
	char path[64], list[4096];
	ssize_t length;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/cpulist", node);
	length = vfb_sys_read_file(sys, path, list, sizeof(list));
	if (length == -ENOENT && node == 0)
		return sys->get_affinity(sys, cpus);
	if (length < 0)
		return length;
	CPU_ZERO(cpus);
	for_each_range(list, add_cpus, cpus);
	return 0;
}
