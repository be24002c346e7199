/* SPDX-License-Identifier: MIT */
#include "iommu/node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/rights.h"

#define DEV_VFIO "/dev/vfio/"
/* How stat(2) shows a user that a user namespace does not have (/proc/sys/kernel/overflowuid). */
#define OVERFLOW_UID 65534

struct node {
	const struct vfb_sys *sys;
	const char *path;
	struct vfb_node_trial *trial;
	/* The node's numbers according to the kernel. */
	bool known;
	unsigned int major, minor;
};

struct vfb_node_path vfb_node_of_group(int group)
{
	struct vfb_node_path path;

	snprintf(path.text, sizeof(path.text), DEV_VFIO "%d", group);
	return path;
}

__attribute__((format(printf, 3, 4))) static void node_explain(struct node *node,
							       enum vfb_node_problem problem,
							       const char *format, ...)
{
	va_list args;

	node->trial->problem = problem;
	va_start(args, format);
	vsnprintf(node->trial->text, sizeof(node->trial->text), format, args);
	va_end(args);
}

__attribute__((format(printf, 2, 3))) static void node_advise(struct node *node, const char *format,
							      ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(node->trial->remedy, sizeof(node->trial->remedy), format, args);
	va_end(args);
}

/* ---- What the kernel has ---- */

static void node_read_numbers(struct node *node)
{
	const char *name = strrchr(node->path, '/') + 1;
	const char *folder = !strncmp(node->path, DEV_VFIO "devices/", 17) ? "vfio-dev" :
			     strcmp(name, "vfio") && strcmp(name, "iommu") ? "vfio" :
									     "misc";
	char path[96], text[32];

	snprintf(path, sizeof(path), "/sys/class/%s/%.48s/dev", folder, name);
	node->known = vfb_sys_read_file(node->sys, path, text, sizeof(text)) > 0 &&
		      sscanf(text, "%u:%u", &node->major, &node->minor) == 2;
}

/* ---- Mounts ---- */

struct mount {
	const char *path;
	/* Length of the mount point that the path is below. */
	size_t length;
	bool nodev;
	char type[32];
};

/* 24 28 0:5 / /dev rw,nosuid shared:2 - devtmpfs udev rw,size=... */
static bool node_read_mount(const char *line, void *arg)
{
	char point[256], options[256], type[32];
	struct mount *mount = arg;
	const char *rest = strstr(line, " - ");
	size_t length;

	if (!rest || sscanf(rest, " - %31s", type) != 1 ||
	    sscanf(line, "%*s %*s %*s %*s %255s %255s", point, options) != 2)
		return true;
	length = strcmp(point, "/") ? strlen(point) : 0;
	/* A later one covers those before it. */
	if (length < mount->length || strncmp(mount->path, point, length) ||
	    (mount->path[length] != '/' && mount->path[length]))
		return true;
	mount->length = length;
	mount->nodev = strstr(options, "nodev");
	snprintf(mount->type, sizeof(mount->type), "%s", type);
	return true;
}

static struct mount node_find_mount(const struct node *node)
{
	struct mount mount = {.path = node->path};

	vfb_sys_each_line(node->sys, "/proc/self/mountinfo", node_read_mount, &mount);
	return mount;
}

/* ---- Why not ---- */

static void node_explain_absent(struct node *node)
{
	const char *name = strrchr(node->path, '/') + 1;

	node_explain(node, VFB_NODE_ABSENT, "there is no %s", node->path);
	if (!strcmp(name, "iommu"))
		node_advise(node,
			    "modprobe iommufd, or run Linux 6.2 or later with CONFIG_IOMMUFD");
	else if (!strcmp(name, "vfio"))
		node_advise(node, node->sys->is_power(node->sys) ?
					  "modprobe -a vfio-pci vfio_iommu_spapr_tce" :
					  "modprobe -a vfio-pci vfio_iommu_type1");
	else if (!strncmp(name, "vfio", 4))
		node_advise(node, "run Linux 6.6 or later with CONFIG_VFIO_DEVICE_CDEV");
	else
		node_advise(node,
			    "bind the device to vfio-pci, on a kernel with CONFIG_VFIO_GROUP");
}

static void node_advise_passing(struct node *node)
{
	struct mount mount = node_find_mount(node);

	if (!strcmp(mount.type, "devtmpfs"))
		node_advise(node, "mkdir -p /dev/vfio/devices; mknod -m 600 %s c %u %u", node->path,
			    node->major, node->minor);
	else
		node_advise(node,
			    "this /dev is not the host's: start the container with --device %s "
			    "(docker, podman)",
			    node->path);
}

static void node_explain_missing(struct node *node)
{
	if (!node->known) {
		node_explain_absent(node);
		return;
	}
	node_explain(node, VFB_NODE_MISSING,
		     "there is no %s in this /dev, although the kernel has it (device %u:%u)",
		     node->path, node->major, node->minor);
	node_advise_passing(node);
}

static void node_explain_nothing_behind(struct node *node)
{
	struct vfb_node_trial absent;
	struct node other = *node;

	other.trial = &absent;
	node_explain_absent(&other);
	node_explain(node, VFB_NODE_ABSENT, "%s exists, but the kernel has nothing behind it",
		     node->path);
	node_advise(node, "%s", absent.remedy);
}

/* The kernel numbers the nodes anew when devices are bound; a container keeps those it got. */
static bool node_is_outdated(struct node *node)
{
	struct vfb_sys_path info;

	if (!node->known || node->sys->path_info(node->sys, node->path, &info) || !info.is_node ||
	    (info.major == node->major && info.minor == node->minor))
		return false;
	node_explain(node, VFB_NODE_MISSING,
		     "%s is outdated: it is device %u:%u, but the kernel's is %u:%u", node->path,
		     info.major, info.minor, node->major, node->minor);
	node_advise_passing(node);
	return true;
}

static void node_advise_owner(struct node *node, const struct vfb_rights *rights,
			      const struct vfb_sys_path *info)
{
	if (rights->in_user_namespace)
		node_advise(
			node,
			"on the host: chown %u %s, since user %u of this user namespace is user "
			"%u there",
			rights->outer_uid, node->path, rights->uid, rights->outer_uid);
	else if ((info->mode & 060) == 060 && info->gid)
		node_advise(node,
			    "add user %u to group %u (usermod -aG %u USER and log in again; "
			    "docker, podman: --group-add %u)",
			    rights->uid, info->gid, info->gid, info->gid);
	else
		node_advise(node, "as root: chown %u %s, or for good a udev rule: %s, OWNER=\"%u\"",
			    rights->uid, node->path,
			    strncmp(node->path, DEV_VFIO, strlen(DEV_VFIO)) ?
				    "KERNEL==\"iommu\"" :
				    "SUBSYSTEM==\"vfio*\"",
			    rights->uid);
}

/* The mode allows it, but something else does not. */
static void node_explain_forbidden(struct node *node, int error, const struct vfb_sys_path *info)
{
	if (error == -EPERM) {
		node_explain(
			node, VFB_NODE_DENIED,
			"no permission to open %s: the device controller of the cgroup denies it (its mode, "
			"%04o, allows it)",
			node->path, info->mode);
		node_advise(node,
			    "start the container with --device %s (docker, podman), or set "
			    "DeviceAllow=%s rw in the unit (systemd)",
			    node->path, node->path);
	} else if (node_find_mount(node).nodev) {
		node_explain(node, VFB_NODE_DENIED,
			     "%s is on a file system that is mounted with nodev: no device can be "
			     "opened there",
			     node->path);
		node_advise(node, "bind-mount the host's /dev/vfio, or its %s", node->path);
	} else {
		node_explain(node, VFB_NODE_DENIED,
			     "no permission to open %s although its mode, %04o, allows it: an ACL "
			     "or a security module (SELinux, AppArmor) denies it",
			     node->path, info->mode);
		node_advise(node,
			    "look for the denial: getfacl %s; ausearch -m avc; dmesg | grep DENIED",
			    node->path);
	}
}

/* A directory that cannot be searched hides the node. */
static void node_explain_hidden(struct node *node)
{
	struct vfb_sys_path info = {0};
	char folder[64];

	snprintf(folder, sizeof(folder), "%.60s", node->path);
	while (strrchr(folder, '/') > folder) {
		*strrchr(folder, '/') = '\0';
		if (!node->sys->path_info(node->sys, folder, &info))
			break;
	}
	node_explain(node, VFB_NODE_DENIED, "no permission to look into %s, with mode %04o", folder,
		     info.mode);
	node_advise(node, "as its owner, user %u: chmod a+x %s", info.uid, folder);
}

static void node_explain_denied(struct node *node, int error)
{
	struct vfb_rights rights;
	struct vfb_sys_path info;

	if (node->sys->path_info(node->sys, node->path, &info)) {
		node_explain_hidden(node);
		return;
	}
	vfb_rights_read(node->sys, &rights);
	if (vfb_rights_allow(node->sys, &rights, &info)) {
		node_explain_forbidden(node, error, &info);
		return;
	}
	if (rights.in_user_namespace && info.uid == OVERFLOW_UID)
		node_explain(node, VFB_NODE_DENIED,
			     "no permission to open %s: it belongs to a user of the host that this "
			     "user namespace does not have, with mode %04o",
			     node->path, info.mode);
	else
		node_explain(node, VFB_NODE_DENIED,
			     "no permission to open %s: it belongs to user %u and group %u, with "
			     "mode %04o, and this is user %u",
			     node->path, info.uid, info.gid, info.mode, rights.uid);
	node_advise_owner(node, &rights, &info);
}

static void node_explain_error(struct node *node, int error)
{
	switch (error) {
	case -ENOENT:
		node_explain_missing(node);
		break;
	case -ENODEV:
	case -ENXIO:
		node_explain_nothing_behind(node);
		break;
	case -EACCES:
	case -EPERM:
		node_explain_denied(node, error);
		break;
	case -EBUSY:
		node_explain(node, VFB_NODE_IN_USE,
			     "%s is in use by another process or another space", node->path);
		node_advise(node, "close it there first (fuser -v %s)", node->path);
		break;
	default:
		node_explain(node, VFB_NODE_FAILED, "cannot open %s: %s", node->path,
			     strerrordesc_np(-error));
	}
}

int vfb_node_open(const struct vfb_sys *sys, const char *path, struct vfb_node_trial *trial)
{
	int fd = sys->open(sys, path, O_RDWR);
	struct node node = {.sys = sys, .path = path, .trial = trial};

	trial->problem = VFB_NODE_GOOD;
	trial->remedy[0] = '\0';
	if (fd >= 0)
		return fd;
	node_read_numbers(&node);
	if (!node_is_outdated(&node))
		node_explain_error(&node, fd);
	return fd;
}

bool vfb_node_is_outdated(const struct vfb_sys *sys, const char *path, struct vfb_node_trial *trial)
{
	struct node node = {.sys = sys, .path = path, .trial = trial};

	node_read_numbers(&node);
	return node_is_outdated(&node);
}
