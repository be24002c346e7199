/* SPDX-License-Identifier: MIT */
/* The part of the table for links, folders, nodes and limits. */
#include "model.h"

static int op_readlink(const struct vfb_sys *sys, const char *path, char *buf, size_t bytes)
{
	struct fake *fake = kernel_enter(sys);
	int error = fk_inject(fake, "readlink", path, EACCES);
	char target[8192];
	int kind;

	if (!error) {
		kind = fk_sysfs_get(fake, path, target, sizeof(target));
		if (kind != SYSFS_LINK)
			error = kind == SYSFS_NONE ? -ENOENT : -EINVAL;
		else if (strlen(target) >= bytes)
			error = -ENAMETOOLONG;
		else
			strcpy(buf, target);
	}
	kernel_leave(fake);
	return error;
}

static int op_realpath(const struct vfb_sys *sys, const char *path, char *buf, size_t bytes)
{
	struct fake *fake = kernel_enter(sys);
	int error = fk_inject(fake, "realpath", path, ENOMEM);

	if (!error)
		error = fk_sysfs_realpath(fake, path, buf, bytes);
	kernel_leave(fake);
	return error;
}

void fake_own(struct fake *fake, const char *path, unsigned int uid, unsigned int gid,
	      unsigned int mode)
{
	struct owned *owned = &fake->owned[fake->owned_count++];

	if (fake->owned_count > ARRAY_SIZE(fake->owned))
		abort();
	snprintf(owned->path, sizeof(owned->path), "%s", path);
	owned->uid = uid;
	owned->gid = gid;
	owned->mode = mode;
}

/* Numbers as in sysfs. */
static void set_numbers(struct vfb_sys_path *info, const char *path)
{
	if (!strcmp(path, "/dev/vfio/vfio") || !strcmp(path, "/dev/iommu")) {
		info->major = 10;
		info->minor = strcmp(path, "/dev/iommu") ? 196 : 125;
	} else {
		info->major = strstr(path, "/devices/") ? 511 : 510;
		info->minor = atoi(path + strcspn(path, "0123456789"));
	}
}

static bool is_denied(const struct fake *fake, const char *path, int error)
{
	for (unsigned int i = 0; i < fake->denied_count; i++)
		if (!strcmp(fake->denied[i].path, path) && fake->denied[i].error == error)
			return true;
	return false;
}

static int op_path_info(const struct vfb_sys *sys, const char *path, struct vfb_sys_path *info)
{
	struct fake *fake = kernel_enter(sys);
	int error = fk_inject(fake, "path_info", path, EACCES);

	if (!strncmp(path, "/proc/", 6)) {
		error = error ? error : fk_proc_node(fake, path, info);
		kernel_leave(fake);
		return error;
	}
	*info = (struct vfb_sys_path){.mode = 0600, .is_node = !!strpbrk(path, "0123456789")};
	info->is_node = info->is_node || !strcmp(path, "/dev/vfio/vfio") ||
			!strcmp(path, "/dev/iommu");
	set_numbers(info, path);
	if (!error && is_denied(fake, path, ENOENT))
		error = -ENOENT;
	for (unsigned int i = 0; i < fake->owned_count; i++) {
		const struct owned *owned = &fake->owned[i];

		if (strcmp(owned->path, path))
			continue;
		info->uid = owned->uid;
		info->gid = owned->gid;
		info->mode = owned->mode;
	}
	kernel_leave(fake);
	return error;
}

/* Several files of a directory that was added name it. */
static bool was_listed(const char *names, const char *name)
{
	for (; names < name; names += strlen(names) + 1)
		if (!strcmp(names, name))
			return true;
	return false;
}

static int op_list(const struct vfb_sys *sys, const char *path,
		   int (*each)(const char *name, void *arg), void *arg)
{
	struct fake *fake = kernel_enter(sys);
	int result = fk_inject(fake, "list", path, EMFILE);
	char real[512], names[8192];
	int kind = SYSFS_NONE;

	if (!result)
		result = fk_sysfs_realpath(fake, path, real, sizeof(real));
	if (!result)
		kind = fk_sysfs_get(fake, real, names, sizeof(names));
	kernel_leave(fake);
	if (!result && kind != SYSFS_DIR)
		result = -ENOTDIR;
	/* The callback may make calls of its own. */
	for (char *name = names, *end; !result && *name; name = end + 1) {
		end = strchr(name, '\n');
		*end = '\0';
		if (!was_listed(names, name))
			result = each(name, arg);
	}
	return result;
}

static int op_max_node(const struct vfb_sys *sys)
{
	struct fake *fake = kernel_enter(sys);
	int result = fk_inject_named(fake, "max_node", EINVAL);

	for (int n = 0; n < FAKE_NODES && result >= 0; n++)
		if (fake->nodes[n].exists)
			result = n;
	kernel_leave(fake);
	return result;
}

static uint64_t op_base_page(const struct vfb_sys *sys)
{
	return fake_of(sys)->config.base_page;
}

static bool op_is_power(const struct vfb_sys *sys)
{
	return fake_of(sys)->config.spapr;
}

static int op_node_cpus(const struct vfb_sys *sys, unsigned int node, cpu_set_t *cpus)
{
	struct fake *fake = kernel_enter(sys);
	int error = fk_inject(fake, "node_cpus", NULL, ENOMEM);

	if (!error && (node >= FAKE_NODES || !fake->nodes[node].exists))
		error = -ENOENT;
	if (!error)
		*cpus = fake->nodes[node].cpus;
	kernel_leave(fake);
	return error;
}

static int op_memlock_limit(const struct vfb_sys *sys, uint64_t *bytes)
{
	struct fake *fake = kernel_enter(sys);
	int error = fk_inject_named(fake, "memlock_limit", EINVAL);

	if (!error)
		*bytes = fake->config.memlock;
	kernel_leave(fake);
	return error;
}

void fk_machine_table(struct vfb_sys *sys)
{
	sys->readlink = op_readlink;
	sys->realpath = op_realpath;
	sys->path_info = op_path_info;
	sys->list = op_list;
	sys->max_node = op_max_node;
	sys->base_page = op_base_page;
	sys->is_power = op_is_power;
	sys->node_cpus = op_node_cpus;
	sys->memlock_limit = op_memlock_limit;
}
