/* SPDX-License-Identifier: MIT */
#ifndef FAKE_SYSFS_H
#define FAKE_SYSFS_H

#include "model.h"

/* A piece of text that grows; what does not fit is cut. */
struct text {
	char *at;
	size_t left;
};

__attribute__((format(printf, 2, 3))) void fk_put(struct text *text, const char *format, ...);
void fk_put_cpus(struct text *text, const cpu_set_t *cpus);

/* What follows @prefix in @path, or NULL. */
static inline const char *after(const char *path, const char *prefix)
{
	size_t length = strlen(prefix);

	return strncmp(path, prefix, length) ? NULL : path + length;
}

/*
 * What is at a path without links in it, SYSFS_...: PCI devices and IOMMU groups; and the rest of
 * the host.
 */
int fk_sysfs_pci(struct fake *fake, const char *path, struct text *text);
int fk_sysfs_host(struct fake *fake, const char *path, struct text *text);
int fk_sysfs_proc(struct fake *fake, const char *path, struct text *text);
int fk_sysfs_memory(struct fake *fake, const char *path, struct text *text);
int fk_sysfs_extra(struct fake *fake, const char *path, struct text *text);

/* The file meminfo of a node. */
void fk_proc_node_meminfo(struct fake *fake, unsigned int number, struct text *text);
/* Pages of a pool, all or those free, of a node; -1: of all nodes. */
uint64_t fk_sum_nodes(struct fake *fake, int node, int pool, bool total);

#endif
