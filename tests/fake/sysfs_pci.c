/* SPDX-License-Identifier: MIT */
/* sysfs of PCI devices, their drivers and IOMMU groups. */
#include <inttypes.h>

#include "sysfs.h"

static int device_depth(struct fake *fake, const struct device *device)
{
	const struct device *bridge;

	if (!device->bridge[0])
		return 0;
	bridge = fk_device_find(fake, device->bridge);
	return 1 + (bridge ? device_depth(fake, bridge) : 0);
}

/* Below /sys. */
static void put_device_path(struct fake *fake, const struct device *device, struct text *text)
{
	const struct device *bridge = fk_device_find(fake, device->bridge);

	if (bridge) {
		put_device_path(fake, bridge, text);
		fk_put(text, "/%s", device->address);
	} else {
		fk_put(text, "devices/pci%.7s/%s", device->address, device->address);
	}
}

static int device_link(struct fake *fake, const char *address, const char *up, struct text *text)
{
	const struct device *device = fk_device_find(fake, address);

	if (!device)
		return SYSFS_NONE;
	fk_put(text, "%s", up);
	put_device_path(fake, device, text);
	return SYSFS_LINK;
}

static void put_up(struct fake *fake, const struct device *device, struct text *text)
{
	for (int i = device_depth(fake, device) + 3; i > 0; i--)
		fk_put(text, "../");
}

/* Memory, with an address of 64 bits where the next BAR is free for it. */
static void put_resources(const struct fake_device *config, struct text *text)
{
	for (int i = 0; i < 6; i++) {
		uint64_t bytes = config->bars[i].bytes;
		uint64_t first = UINT64_C(0x1000000000) * (i + 1);
		bool wide = bytes && i < 5 && !config->bars[i + 1].bytes;

		fk_put(text, "0x%016" PRIx64 " 0x%016" PRIx64 " 0x%016x\n", bytes ? first : 0,
		       bytes ? first + bytes - 1 : 0,
		       !bytes ? 0 :
		       wide   ? 0x140204 :
				0x40200);
	}
}

/* MGAW, the width, and SAGAW, page tables for 39, 48 and 57 bits. */
static void put_vtd_cap(struct fake *fake, struct text *text)
{
	unsigned int bits = fake->config.iova_bits;
	uint64_t tables = bits > 48 ? 14 : bits > 39 ? 6 : 2;

	fk_put(text, "%" PRIx64 "\n", (uint64_t)(bits - 1) << 16 | tables << 8);
}

/* Attributes that are plain text. */
static bool put_attribute(struct fake *fake, const struct device *device, const char *name,
			  struct text *text)
{
	const struct fake_device *config = &device->config;
	bool is_vtd = device->group && !fake->config.spapr;

	if (!strcmp(name, "iommu/intel-iommu/cap") && is_vtd)
		put_vtd_cap(fake, text);
	else if (!strcmp(name, "iommu/intel-iommu/ecap") && is_vtd)
		/* SMTS and PRS. */
		fk_put(text, "%" PRIx64 "\n",
		       fake->config.no_scalable ? 0 : UINT64_C(1) << 43 | UINT64_C(1) << 29);
	else if (!strcmp(name, "vendor"))
		fk_put(text, "0x%04x\n", config->vendor_id);
	else if (!strcmp(name, "device"))
		fk_put(text, "0x%04x\n", config->device_id);
	else if (!strcmp(name, "class"))
		fk_put(text, "0x%06x\n", config->class_code);
	else if (!strcmp(name, "numa_node"))
		fk_put(text, "%d\n", config->node);
	else if (!strcmp(name, "local_cpulist") && config->node >= 0 && config->node < FAKE_NODES)
		fk_put_cpus(text, &fake->nodes[config->node].cpus);
	else if (!strcmp(name, "resource"))
		put_resources(config, text);
	else if (!strcmp(name, "driver_override"))
		fk_put(text, "%s\n", device->override[0] ? device->override : "(null)");
	else if (!strcmp(name, "reset_method") && !config->no_reset)
		fk_put(text, "%s\n", device->reset_method);
	else
		return false;
	return true;
}

static int link_attribute(struct fake *fake, const struct device *device, const char *name,
			  struct text *text)
{
	if (!strcmp(name, "iommu_group") && device->group) {
		put_up(fake, device, text);
		fk_put(text, "kernel/iommu_groups/%u", device->group->number);
		return SYSFS_LINK;
	}
	if (!strcmp(name, "driver") && device->driver[0]) {
		put_up(fake, device, text);
		fk_put(text, "bus/pci/drivers/%s", device->driver);
		return SYSFS_LINK;
	}
	if (!strcmp(name, "physfn") && device->physfn[0]) {
		fk_put(text, "../%s", device->physfn);
		return SYSFS_LINK;
	}
	return SYSFS_NONE;
}

/* Below vfio-dev. */
static int vfio_attribute(struct fake *fake, const struct device *device, const char *path,
			  struct text *text)
{
	unsigned int index;
	int end = 0;

	if (!*path) {
		fk_put(text, "vfio%u\n", device->index);
		return SYSFS_DIR;
	}
	if (sscanf(path, "/vfio%u%n", &index, &end) != 1 || index != device->index)
		return SYSFS_NONE;
	if (!path[end]) {
		fk_put(text, fake->config.no_cdev ? "" : "dev\n");
		return SYSFS_DIR;
	}
	/* There only with a device node. */
	if (strcmp(path + end, "/dev") || fake->config.no_cdev)
		return SYSFS_NONE;
	fk_put(text, "511:%u\n", device->index);
	return SYSFS_TEXT;
}

static int device_attribute(struct fake *fake, const struct device *device, const char *name,
			    struct text *text)
{
	const char *vfio = after(name, "vfio-dev");

	if (vfio && fk_device_is_vfio(device))
		return vfio_attribute(fake, device, vfio, text);
	if (put_attribute(fake, device, name, text))
		return SYSFS_TEXT;
	return link_attribute(fake, device, name, text);
}

static int device_folder(struct fake *fake, const struct device *device, struct text *text)
{
	fk_put(text, "vendor\ndevice\nclass\nnuma_node\ndriver_override\nresource\n");
	if (device->group)
		fk_put(text, "iommu_group\n");
	if (device->driver[0])
		fk_put(text, "driver\n");
	if (device->physfn[0])
		fk_put(text, "physfn\n");
	if (fk_device_is_vfio(device))
		fk_put(text, "vfio-dev\n");
	for (const struct device *below = fake->devices; below; below = below->next)
		if (!strcmp(below->bridge, device->address))
			fk_put(text, "%s\n", below->address);
	return SYSFS_DIR;
}

/* @path is below /sys. */
static int device_path(struct fake *fake, const char *path, struct text *text)
{
	for (const struct device *d = fake->devices; d; d = d->next) {
		char real[256];
		struct text real_text = {real, sizeof(real)};
		const char *rest;

		put_device_path(fake, d, &real_text);
		rest = after(path, real);
		if (rest && !*rest)
			return device_folder(fake, d, text);
		/* Not when the rest begins with a device below a bridge. */
		if (rest && *rest == '/' && !fk_device_find(fake, rest + 1) &&
		    !(strlen(rest) > 12 && rest[5] == ':' && rest[8] == ':'))
			return device_attribute(fake, d, rest + 1, text);
	}
	return SYSFS_NONE;
}

static int list_devices(struct fake *fake, const char *driver, const struct group *group,
			struct text *text)
{
	bool found = false;

	for (const struct device *d = fake->devices; d; d = d->next) {
		/* The folder of a driver stays when it has lost its devices. */
		found = found || (driver && !strcmp(d->native, driver));
		if ((driver && strcmp(d->driver, driver)) || (group && d->group != group))
			continue;
		fk_put(text, "%s\n", d->address);
		found = true;
	}
	/* The driver's folder is there when the module is loaded. */
	return found || !driver || !strcmp(driver, "vfio-pci") ? SYSFS_DIR : SYSFS_NONE;
}

static int pci_path(struct fake *fake, const char *path, struct text *text)
{
	const char *rest = after(path, "devices/");
	char driver[32];
	int end = 0;

	if (rest)
		return device_link(fake, rest, "../../../", text);
	if (!strcmp(path, "devices"))
		return list_devices(fake, NULL, NULL, text);
	if (sscanf(path, "drivers/%31[^/]%n", driver, &end) != 1)
		return SYSFS_NONE;
	if (!path[end])
		return list_devices(fake, driver, NULL, text);
	return device_link(fake, path + end + 1, "../../../../", text);
}

/* ---- IOMMU groups ---- */

static void put_reserved(struct fake *fake, const struct group *group, struct text *text)
{
	if (!fake->config.no_msi_window)
		fk_put(text, "0x00000000fee00000 0x00000000feefffff msi\n");
	for (const struct device *d = fake->devices; d; d = d->next)
		if (d->group == group && d->config.reserved_last)
			fk_put(text, "0x%016" PRIx64 " 0x%016" PRIx64 " %s\n",
			       d->config.reserved_first, d->config.reserved_last,
			       d->config.reserved_kind ? d->config.reserved_kind : "reserved");
}

static int group_path(struct fake *fake, const char *path, struct text *text)
{
	const struct group *group;
	unsigned int number;
	int end = 0;

	if (!*path) {
		for (group = fake->groups; group; group = group->next)
			fk_put(text, "%u\n", group->number);
		return SYSFS_DIR;
	}
	if (sscanf(path, "/%u%n", &number, &end) != 1)
		return SYSFS_NONE;
	group = fk_group_find(fake, number);
	if (!group)
		return SYSFS_NONE;
	path += end;
	if (!*path) {
		fk_put(text, "devices\nreserved_regions\ntype\n");
		return SYSFS_DIR;
	}
	if (!strcmp(path, "/devices"))
		return list_devices(fake, NULL, group, text);
	if (after(path, "/devices/"))
		return device_link(fake, path + 9, "../../../../", text);
	if (!strcmp(path, "/type"))
		fk_put(text, "DMA\n");
	else if (!strcmp(path, "/reserved_regions"))
		put_reserved(fake, group, text);
	else
		return SYSFS_NONE;
	return SYSFS_TEXT;
}

/* The numbers of nodes. */
static int number_path(struct fake *fake, const char *path, struct text *text)
{
	const struct group *group;
	unsigned int number;
	int end = 0;

	if ((!strcmp(path, "misc/vfio/dev") && !fake->config.no_type1) ||
	    (!strcmp(path, "misc/iommu/dev") && !fake->config.no_iommufd)) {
		fk_put(text, "10:%d\n", strcmp(path, "misc/vfio/dev") ? 125 : 196);
		return SYSFS_TEXT;
	}
	if (sscanf(path, "vfio/%u/dev%n", &number, &end) != 1 || path[end] || !end ||
	    fake->config.no_type1)
		return SYSFS_NONE;
	group = fk_group_find(fake, number);
	if (!group || !fk_group_has_vfio(fake, group))
		return SYSFS_NONE;
	fk_put(text, "510:%u\n", number);
	return SYSFS_TEXT;
}

static int class_dev(struct fake *fake, unsigned int index, struct text *text)
{
	for (const struct device *d = fake->devices; d; d = d->next)
		if (fk_device_is_vfio(d) && d->index == index && !fake->config.no_cdev) {
			fk_put(text, "511:%u\n", index);
			return SYSFS_TEXT;
		}
	return SYSFS_NONE;
}

/* The device that a node is of. */
static int class_path(struct fake *fake, const char *path, struct text *text)
{
	unsigned int index;
	int end = 0;

	if (sscanf(path, "vfio%u%n", &index, &end) != 1)
		return SYSFS_NONE;
	if (!strcmp(path + end, "/dev"))
		return class_dev(fake, index, text);
	if (strcmp(path + end, "/device"))
		return SYSFS_NONE;
	for (const struct device *d = fake->devices; d; d = d->next)
		if (fk_device_is_vfio(d) && d->index == index) {
			fk_put(text, "../../../%s", d->address);
			return SYSFS_LINK;
		}
	return SYSFS_NONE;
}

int fk_sysfs_pci(struct fake *fake, const char *path, struct text *text)
{
	const char *rest;

	if ((rest = after(path, "/sys/bus/pci/")))
		return pci_path(fake, rest, text);
	if ((rest = after(path, "/sys/class/vfio-dev/")))
		return class_path(fake, rest, text);
	if ((rest = after(path, "/sys/class/")))
		return number_path(fake, rest, text);
	if ((rest = after(path, "/sys/kernel/iommu_groups")))
		return group_path(fake, rest, text);
	if ((rest = after(path, "/sys/")))
		return device_path(fake, rest, text);
	return SYSFS_NONE;
}
