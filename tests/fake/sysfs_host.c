/* SPDX-License-Identifier: MIT */
/* sysfs of the host: memory, nodes, modules, cgroups; and the folders of /dev. */
#include <inttypes.h>

#include "sysfs.h"

/* ---- Memory and nodes ---- */

uint64_t fk_sum_nodes(struct fake *fake, int node, int pool, bool total)
{
	uint64_t sum = 0;

	for (int n = 0; n < FAKE_NODES; n++)
		if (node < 0 || node == n)
			sum += total ? fake->nodes[n].total[pool] : fake->nodes[n].free[pool];
	return sum;
}

static uint64_t surplus_pages(const struct fake *fake, int node, int pool)
{
	uint64_t pages = 0;

	for (int n = 0; n < FAKE_NODES; n++)
		if (node < 0 || node == n)
			pages += fake->nodes[n].surplus[pool];
	return pages;
}

/* @node: -1 for the whole machine. @path is after "hugepages". */
static int hugepages_path(struct fake *fake, int node, const char *path, struct text *text)
{
	int pool;

	if (!*path) {
		for (pool = POOL_2M; pool <= POOL_1G; pool++)
			if (!(pool == POOL_2M ? fake->config.no_2m : fake->config.no_1g))
				fk_put(text, "hugepages-%" PRIu64 "kB\n",
				       fk_pool_page(fake, pool) / FAKE_KIB);
		return SYSFS_DIR;
	}
	pool = fk_pool_of_path(fake, &path);
	if (pool < 0)
		return SYSFS_NONE;
	if (!*path)
		return SYSFS_DIR;
	if (!strcmp(path, "/nr_hugepages"))
		fk_put(text, "%" PRIu64 "\n", fk_sum_nodes(fake, node, pool, true));
	else if (!strcmp(path, "/free_hugepages"))
		fk_put(text, "%" PRIu64 "\n", fk_sum_nodes(fake, node, pool, false));
	else if (!strcmp(path, "/surplus_hugepages"))
		fk_put(text, "%" PRIu64 "\n", surplus_pages(fake, node, pool));
	else if (node < 0 && !strcmp(path, "/resv_hugepages"))
		fk_put(text, "%" PRIu64 "\n", fake->reserved[pool]);
	else if (node < 0 && !strcmp(path, "/nr_overcommit_hugepages"))
		fk_put(text, "%" PRIu64 "\n",
		       pool == POOL_2M ? fake->config.overcommit_2m : (uint64_t)0);
	else
		return SYSFS_NONE;
	return SYSFS_TEXT;
}

static int thp_path(struct fake *fake, const char *path, struct text *text)
{
	static const char *const modes[] = {
		[FAKE_THP_MADVISE] = "always [madvise] never\n",
		[FAKE_THP_ALWAYS] = "[always] madvise never\n",
		[FAKE_THP_NEVER] = "always madvise [never]\n",
	};

	if (fake->config.thp == FAKE_THP_ABSENT)
		return SYSFS_NONE;
	if (!*path) {
		fk_put(text, "hugepages-64kB\nhugepages-2048kB\n");
		return SYSFS_DIR;
	}
	if (!strcmp(path, "/hugepages-64kB/shmem_enabled"))
		fk_put(text, "always inherit within_size %s\n",
		       fake->config.shmem_64k ? "[advise] never" : "advise [never]");
	else if (!strcmp(path, "/hugepages-2048kB/shmem_enabled"))
		fk_put(text, "always [inherit] within_size advise never\n");
	else if (!strcmp(path, "/hugepages-64kB/enabled"))
		fk_put(text, "always inherit madvise [never]\n");
	else if (!strcmp(path, "/hugepages-2048kB/enabled"))
		fk_put(text, "always [inherit] madvise never\n");
	else if (!strcmp(path, "/enabled"))
		fk_put(text, "%s", modes[fake->config.thp]);
	else if (!strcmp(path, "/shmem_enabled"))
		fk_put(text, "always within_size advise [never] deny force\n");
	else if (!strcmp(path, "/defrag"))
		fk_put(text, "%s\n",
		       fake->config.defrag ? fake->config.defrag :
					     "always defer defer+madvise [madvise] never");
	else if (!strcmp(path, "/hpage_pmd_size"))
		fk_put(text, "2097152\n");
	else
		return SYSFS_NONE;
	return SYSFS_TEXT;
}

static int node_path(struct fake *fake, const char *path, struct text *text)
{
	unsigned int node;
	int end = 0;

	if (!*path) {
		for (int n = 0; n < FAKE_NODES; n++)
			if (fake->nodes[n].exists)
				fk_put(text, "node%d\n", n);
		return SYSFS_DIR;
	}
	if (!strcmp(path, "/online") || !strcmp(path, "/possible") ||
	    !strcmp(path, "/has_memory")) {
		bool memory = !strcmp(path, "/has_memory");
		cpu_set_t nodes;

		CPU_ZERO(&nodes);
		for (int n = 0; n < FAKE_NODES; n++)
			if (fake->nodes[n].exists && (!memory || fake->nodes[n].total[POOL_BASE]))
				CPU_SET(n, &nodes);
		fk_put_cpus(text, &nodes);
		return SYSFS_TEXT;
	}
	if (sscanf(path, "/node%u%n", &node, &end) != 1 || node >= FAKE_NODES ||
	    !fake->nodes[node].exists)
		return SYSFS_NONE;
	path += end;
	if (!*path)
		return SYSFS_DIR;
	if (after(path, "/hugepages"))
		return hugepages_path(fake, node, path + strlen("/hugepages"), text);
	if (!strcmp(path, "/cpulist"))
		fk_put_cpus(text, &fake->nodes[node].cpus);
	else if (!strcmp(path, "/meminfo"))
		fk_proc_node_meminfo(fake, node, text);
	else
		return SYSFS_NONE;
	return SYSFS_TEXT;
}

/* ---- cgroups, modules, /dev ---- */

/* mem_fmt() of mm/hugetlb_cgroup.c: limits of the pool's size. @path is after "hugetlb.". */
static int hugetlb_path(struct fake *fake, const char *path, struct text *text)
{
	const struct fake_config *config = &fake->config;
	uint64_t bytes = fk_pool_page(fake, POOL_2M), used = fk_pool_used(fake, POOL_2M);
	bool large = bytes >= FAKE_MIB;
	char prefix[32];
	const char *name;

	snprintf(prefix, sizeof(prefix), "%" PRIu64 "%s.", bytes / (large ? FAKE_MIB : FAKE_KIB),
		 large ? "MB" : "KB");
	name = after(path, prefix);
	if (!name)
		return SYSFS_NONE;
	if (!strcmp(name, "current"))
		fk_put(text, "%" PRIu64 "\n", used);
	else if (!strcmp(name, "max") && config->hugetlb_limit_2m)
		fk_put(text, "%" PRIu64 "\n", config->hugetlb_limit_2m);
	else if (!strcmp(name, "rsvd.max") && config->hugetlb_reserve_2m)
		fk_put(text, "%" PRIu64 "\n", config->hugetlb_reserve_2m);
	else if (!strcmp(name, "rsvd.current"))
		fk_put(text, "%" PRIu64 "\n", used + fake->reserved[POOL_2M] * bytes);
	else if (!strcmp(name, "max"))
		fk_put(text, "max\n");
	else
		return SYSFS_NONE;
	return SYSFS_TEXT;
}

/* The process is in /vm.slice. */
static int cgroup_path(struct fake *fake, const char *path, struct text *text)
{
	const struct fake_config *config = &fake->config;
	const char *hugetlb = after(path, "/vm.slice/hugetlb.");

	if (hugetlb)
		return hugetlb_path(fake, hugetlb, text);
	if (!strcmp(path, "/vm.slice/cpu.max"))
		fk_put(text, "%s\n", config->cpu_max ? config->cpu_max : "max 100000");
	else if (!strcmp(path, "/vm.slice/memory.max") && config->memory_limit)
		fk_put(text, "%" PRIu64 "\n", config->memory_limit);
	else if (!strcmp(path, "/vm.slice/memory.max"))
		fk_put(text, "max\n");
	else if (!strcmp(path, "/vm.slice/memory.high") && config->memory_high)
		fk_put(text, "%" PRIu64 "\n", config->memory_high);
	else if (!strcmp(path, "/vm.slice/memory.current"))
		fk_put(text, "%" PRIu64 "\n", fk_pool_used(fake, POOL_BASE));
	else if (!strcmp(path, "/vm.slice/memory.stat"))
		fk_put(text, "anon 4096\nfile 0\ninactive_file 0\nactive_file 0\n");
	else
		return SYSFS_NONE;
	return SYSFS_TEXT;
}

static int module_path(struct fake *fake, const char *path, struct text *text)
{
	const char *rest = after(path, "vfio_iommu_type1");

	if (!strcmp(path, "vfio_pci") || !strcmp(path, "vfio"))
		return SYSFS_DIR;
	if (!strcmp(path, "iommufd"))
		return fake->config.no_iommufd ? SYSFS_NONE : SYSFS_DIR;
	if (!rest || fake->config.no_type1)
		return SYSFS_NONE;
	if (!*rest || !strcmp(rest, "/parameters"))
		return SYSFS_DIR;
	if (strcmp(rest, "/parameters/dma_entry_limit"))
		return SYSFS_NONE;
	fk_put(text, "%" PRIu32 "\n", fake->config.dma_entry_limit);
	return SYSFS_TEXT;
}

static int dev_path(struct fake *fake, const char *path, struct text *text)
{
	bool nodes = !fake->config.no_cdev && !fake->config.no_iommufd;

	if (!strcmp(path, "vfio/devices") && nodes) {
		for (const struct device *d = fake->devices; d; d = d->next)
			if (fk_device_is_vfio(d))
				fk_put(text, "vfio%u\n", d->index);
		return SYSFS_DIR;
	}
	if (strcmp(path, "vfio"))
		return SYSFS_NONE;
	fk_put(text, "%s%s", fake->config.no_type1 ? "" : "vfio\n", nodes ? "devices\n" : "");
	for (const struct group *g = fake->groups; g && !fake->config.no_type1; g = g->next)
		if (fk_group_has_vfio(fake, g))
			fk_put(text, "%u\n", g->number);
	return SYSFS_DIR;
}

/* The name of an open file. */
static int fd_path(struct fake *fake, const char *path, struct text *text)
{
	struct file *file = fk_file_get(fake, atoi(path));

	if (!file)
		return SYSFS_NONE;
	/* What a group has opened has no node. */
	if (file->kind == FILE_DEVICE && file->devfile->group_file)
		fk_put(text, "anon_inode:[vfio-device]");
	else
		fk_put(text, "%s", file->path);
	fk_file_put(fake, file);
	return SYSFS_LINK;
}

int fk_sysfs_host(struct fake *fake, const char *path, struct text *text)
{
	const char *rest;

	if ((rest = after(path, "/sys/kernel/mm/transparent_hugepage")))
		return thp_path(fake, rest, text);
	if ((rest = after(path, "/sys/kernel/mm/hugepages")))
		return hugepages_path(fake, -1, rest, text);
	if ((rest = after(path, "/sys/devices/system/node")))
		return node_path(fake, rest, text);
	if ((rest = after(path, "/sys/module/")))
		return module_path(fake, rest, text);
	if ((rest = after(path, "/dev/")))
		return dev_path(fake, rest, text);
	if ((rest = after(path, "/sys/fs/cgroup")))
		return cgroup_path(fake, rest, text);
	if (!strcmp(path, "/proc/sys/kernel/osrelease")) {
		fk_put(text, "%s\n", fake->config.release ? fake->config.release : "7.3.4");
		return SYSFS_TEXT;
	}
	if (after(path, "/proc/self/fd/"))
		return fd_path(fake, path + strlen("/proc/self/fd/"), text);
	return fk_sysfs_proc(fake, path, text);
}
