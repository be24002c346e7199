/* SPDX-License-Identifier: MIT */
#include "device/pci.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "observe/error.h"

/* @text is made up as @pattern: x stands for a hexadecimal digit, o for an octal one. */
static bool pci_text_matches(const char *text, const char *pattern)
{
	for (; *pattern; text++, pattern++)
		if (*pattern == 'x' ? !isxdigit((unsigned char)*text) :
		    *pattern == 'o' ? *text < '0' || *text > '7' :
				      *text != *pattern)
			return false;
	return !*text;
}

/* The last component of a path below sysfs, into @name; other texts as they are. */
static const char *address_of_path(const char *text, char name[VFB_PCI_ADDRESS_BYTES])
{
	size_t begin, end;

	if (!text || strncmp(text, "/sys/", 5))
		return text;
	for (end = strlen(text); text[end - 1] == '/'; end--)
		;
	for (begin = end; text[begin - 1] != '/'; begin--)
		;
	if (end - begin >= VFB_PCI_ADDRESS_BYTES)
		return text;
	memcpy(name, text + begin, end - begin);
	name[end - begin] = '\0';
	return name;
}

int vfb_pci_parse(const char *given, char address[VFB_PCI_ADDRESS_BYTES])
{
	char name[VFB_PCI_ADDRESS_BYTES];
	const char *text = address_of_path(given, name);
	bool is_full = text && (pci_text_matches(text, "xxxx:xx:xx.o") ||
				pci_text_matches(text, "xxxxx:xx:xx.o") ||
				pci_text_matches(text, "xxxxxx:xx:xx.o"));

	if (!is_full && !(text && pci_text_matches(text, "xx:xx.o")))
		return vfb_fail(-EINVAL,
				"\"%.64s\" is not a PCI address: one looks like "
				"0000:01:00.0 or 01:00.0, or is a path below /sys that ends so",
				given ? given : "");
	if (is_full)
		snprintf(address, VFB_PCI_ADDRESS_BYTES, "%s", text);
	else
		snprintf(address, VFB_PCI_ADDRESS_BYTES, "0000:%.7s", text);
	for (char *c = address; *c; c++)
		*c = tolower((unsigned char)*c);
	return 0;
}

int vfb_pci_read_link(const struct vfb_sys *sys, const char *address, const char *name, char *buf,
		      size_t bytes)
{
	char path[PATH_MAX], target[PATH_MAX];
	const char *last;
	int error;

	snprintf(path, sizeof(path), VFB_PCI_DEVICES "/%s/%s", address, name);
	error = sys->readlink(sys, path, target, sizeof(target));
	if (error)
		return error;
	last = strrchr(target, '/');
	last = last ? last + 1 : target;
	if (strlen(last) >= bytes)
		return -ENAMETOOLONG;
	memcpy(buf, last, strlen(last) + 1);
	return 0;
}

static int find_bridge(const struct vfb_sys *sys, struct vfb_pci *pci)
{
	char path[PATH_MAX], target[PATH_MAX];
	char *parent;
	int error;

	snprintf(path, sizeof(path), VFB_PCI_DEVICES "/%s", pci->address);
	error = sys->readlink(sys, path, target, sizeof(target));
	if (error == -ENOENT)
		return vfb_fail(-ENODEV, "there is no PCI device %s: see lspci -D", pci->address);
	if (error)
		return vfb_fail_errno(error, "cannot look up PCI device %s", pci->address);
	/* .../pci0000:00/BRIDGE/DEVICE, or .../pci0000:00/DEVICE on the root bus. */
	parent = strrchr(target, '/');
	if (parent)
		*parent = '\0';
	parent = strrchr(target, '/');
	if (parent && vfb_pci_parse(parent + 1, pci->bridge))
		pci->bridge[0] = '\0';
	return 0;
}

static int find_group(const struct vfb_sys *sys, struct vfb_pci *pci)
{
	char group[32];
	int error = vfb_pci_read_link(sys, pci->address, "iommu_group", group, sizeof(group));

	if (error && error != -ENOENT)
		return vfb_fail_errno(error, "cannot read the IOMMU group of device %s",
				      pci->address);
	pci->group = error ? -1 : atoi(group);
	return 0;
}

static int pci_find_parent(const struct vfb_sys *sys, struct vfb_pci *pci)
{
	int error = vfb_pci_read_link(sys, pci->address, "physfn", pci->parent,
				      sizeof(pci->parent));

	if (error && error != -ENOENT)
		return vfb_fail_errno(error, "cannot read the physical function of device %s",
				      pci->address);
	return 0;
}

static int take_first(const char *name, void *arg)
{
	struct vfb_pci *pci = arg;

	snprintf(pci->node, sizeof(pci->node), "%s", name);
	return 1;
}

static int find_driver(const struct vfb_sys *sys, struct vfb_pci *pci)
{
	char path[PATH_MAX];
	int error;

	error = vfb_pci_read_link(sys, pci->address, "driver", pci->driver, sizeof(pci->driver));
	if (error && error != -ENOENT)
		return vfb_fail_errno(error, "cannot read the driver of device %s", pci->address);
	snprintf(path, sizeof(path), VFB_PCI_DEVICES "/%s/vfio-dev", pci->address);
	error = sys->list(sys, path, take_first, pci);
	if (error < 0 && error != -ENOENT)
		return vfb_fail_errno(error, "cannot read %s", path);
	return 0;
}

static void find_numa_node(const struct vfb_sys *sys, struct vfb_pci *pci)
{
	char path[PATH_MAX], text[16];

	snprintf(path, sizeof(path), VFB_PCI_DEVICES "/%s/numa_node", pci->address);
	pci->numa_node = vfb_sys_read_file(sys, path, text, sizeof(text)) < 0 ? -1 : atoi(text);
}

int vfb_pci_identify(const struct vfb_sys *sys, const char *address, struct vfb_pci *out)
{
	int error;

	*out = (struct vfb_pci){0};
	snprintf(out->address, sizeof(out->address), "%s", address);
	error = find_bridge(sys, out);
	if (!error)
		error = find_group(sys, out);
	if (!error)
		error = pci_find_parent(sys, out);
	if (!error)
		error = find_driver(sys, out);
	if (!error)
		find_numa_node(sys, out);
	return error;
}

int vfb_fail_no_group(const struct vfb_pci *pci)
{
	return vfb_fail(-EOPNOTSUPP,
			"device %s has no IOMMU group, since no IOMMU is in use: switch it on "
			"in the firmware (VT-d, AMD-Vi, SMMU) and in the kernel "
			"(intel_iommu=on)",
			pci->address);
}

int vfb_pci_discover(const struct vfb_sys *sys, const char *address, struct vfb_pci *out)
{
	int error = vfb_pci_identify(sys, address, out);

	if (error)
		return error;
	if (out->group < 0)
		return vfb_fail_no_group(out);
	/* A driver is one of VFIO when it has registered a VFIO device (Linux 6.1), or is called
	 * so. */
	if (!out->node[0] && !strstr(out->driver, "vfio"))
		return vfb_fail(-ENXIO,
				"device %s is bound to %s, not to vfio-pci: run vfioboost bind "
				"%s",
				out->address, out->driver[0] ? out->driver : "no driver",
				out->address);
	return 0;
}
