/* SPDX-License-Identifier: MIT */
/* What the host's PCI devices are, for those who ask; opening needs less, see pci.c. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "device/pci.h"
#include "observe/error.h"
#include "options.h"

/* Of the file `resource` (include/linux/ioport.h). */
#define RESOURCE_IO	  UINT64_C(0x100)
#define RESOURCE_MEMORY	  UINT64_C(0x200)
#define RESOURCE_PREFETCH UINT64_C(0x2000)
#define RESOURCE_64BIT	  UINT64_C(0x100000)

/* The text of an attribute, "" when the device does not have it. */
static int read_attribute(const struct vfb_sys *sys, const char *address, const char *name,
			  char *buf, size_t bytes)
{
	char path[PATH_MAX];
	ssize_t length;

	snprintf(path, sizeof(path), VFB_PCI_DEVICES "/%s/%s", address, name);
	length = vfb_sys_read_file(sys, path, buf, bytes);
	if (length >= 0)
		return 0;
	buf[0] = '\0';
	return length == -ENOENT ? 0 : vfb_fail_errno(length, "cannot read %s", path);
}

static int read_number(const struct vfb_sys *sys, const char *address, const char *name,
		       uint32_t *number)
{
	char text[32];
	int error = read_attribute(sys, address, name, text, sizeof(text));

	*number = strtoul(text, NULL, 16);
	return error;
}

static int read_identity(const struct vfb_sys *sys, struct vfb_pci_info *info)
{
	uint32_t vendor = 0, device = 0;
	int error;

	error = read_number(sys, info->address, "vendor", &vendor);
	if (!error)
		error = read_number(sys, info->address, "device", &device);
	if (!error)
		error = read_number(sys, info->address, "class", &info->class_code);
	info->vendor_id = vendor;
	info->device_id = device;
	return error;
}

static void describe_bar(struct vfb_pci_bar *bar, uint64_t first, uint64_t last, uint64_t flags)
{
	if (!(flags & (RESOURCE_IO | RESOURCE_MEMORY)))
		return;
	bar->bytes = last - first + 1;
	bar->flags = (flags & RESOURCE_IO ? VFB_PCI_BAR_IO : 0) |
		     (flags & RESOURCE_64BIT ? VFB_PCI_BAR_64BIT : 0) |
		     (flags & RESOURCE_PREFETCH ? VFB_PCI_BAR_PREFETCHABLE : 0);
}

/* A line for each BAR: the first address, the last, flags. */
static int read_bars(const struct vfb_sys *sys, struct vfb_pci_info *info)
{
	char text[4096], *line = text;
	int error = read_attribute(sys, info->address, "resource", text, sizeof(text));

	for (int i = 0; i < VFB_PCI_BARS && !error && line; i++) {
		uint64_t first, last, flags;

		if (sscanf(line, "%" SCNx64 " %" SCNx64 " %" SCNx64, &first, &last, &flags) != 3)
			break;
		describe_bar(&info->bars[i], first, last, flags);
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return error;
}

/* A kernel may know more ways than there is room for: the preferred ones come first. */
static int read_reset_methods(const struct vfb_sys *sys, struct vfb_pci_info *info)
{
	char text[256], *blank;
	int error = read_attribute(sys, info->address, "reset_method", text, sizeof(text));

	while (strlen(text) >= sizeof(info->reset_methods) && (blank = strrchr(text, ' ')))
		*blank = '\0';
	snprintf(info->reset_methods, sizeof(info->reset_methods), "%.*s",
		 (int)sizeof(info->reset_methods) - 1, text);
	return error;
}

static void copy_identified(struct vfb_pci_info *info, const struct vfb_pci *pci)
{
	memcpy(info->address, pci->address, sizeof(info->address));
	memcpy(info->bridge, pci->bridge, sizeof(info->bridge));
	memcpy(info->parent, pci->parent, sizeof(info->parent));
	memcpy(info->driver, pci->driver, sizeof(info->driver));
	if (pci->node[0])
		snprintf(info->cdev, sizeof(info->cdev), "/dev/vfio/devices/%s", pci->node);
	info->group = pci->group;
	info->node = pci->numa_node;
}

int vfb_pci_info(struct vfb_ctx *ctx, const char *address, struct vfb_pci_info *info)
{
	char full[VFB_PCI_ADDRESS_BYTES];
	struct vfb_pci_info known = {0};
	struct vfb_pci pci;
	int error;

	error = vfb_pci_parse(address, full);
	if (!error)
		error = vfb_pci_identify(ctx->sys, full, &pci);
	if (error)
		return error;
	copy_identified(&known, &pci);
	error = read_identity(ctx->sys, &known);
	if (!error)
		error = read_bars(ctx->sys, &known);
	if (!error)
		error = read_reset_methods(ctx->sys, &known);
	return error ? error : vfb_struct_write(info, &known, sizeof(known));
}

/* The devices in a folder, sorted. */
struct found {
	char (*addresses)[VFB_PCI_ADDRESS_BYTES];
	size_t count, capacity;
};

static int note_device(const char *name, void *arg)
{
	struct found *found = arg;
	char address[VFB_PCI_ADDRESS_BYTES];

	if (vfb_pci_parse(name, address))
		return 0;
	if (found->count == found->capacity) {
		size_t capacity = 2 * found->capacity + 16;
		void *larger = realloc(found->addresses, capacity * sizeof(*found->addresses));

		if (!larger)
			return -ENOMEM;
		found->addresses = larger;
		found->capacity = capacity;
	}
	memcpy(found->addresses[found->count++], address, sizeof(address));
	return 0;
}

static int compare_pci_addresses(const void *a, const void *b)
{
	/* Domains of more digits come later. */
	size_t length_a = strlen(a), length_b = strlen(b);

	if (length_a != length_b)
		return length_a < length_b ? -1 : 1;
	return strcmp(a, b);
}

static int list_devices(const struct vfb_sys *sys, const char *path, struct found *found)
{
	int error = sys->list(sys, path, note_device, found);

	if (error == -ENOENT)
		return vfb_fail(-ENOTSUP, "there is no %s: the host has no PCI, or no sysfs", path);
	if (error)
		return vfb_fail_errno(error, "cannot read %s", path);
	if (found->count)
		qsort(found->addresses, found->count, sizeof(*found->addresses),
		      compare_pci_addresses);
	return 0;
}

static int hand_out(struct found *found, char (*addresses)[VFB_PCI_ADDRESS_BYTES], size_t count)
{
	for (size_t i = 0; addresses && i < count && i < found->count; i++)
		memcpy(addresses[i], found->addresses[i], sizeof(addresses[i]));
	return found->count;
}

int vfb_pci_list(struct vfb_ctx *ctx, char (*addresses)[VFB_PCI_ADDRESS_BYTES], size_t count)
{
	struct found found = {0};
	int result = list_devices(ctx->sys, VFB_PCI_DEVICES, &found);

	if (!result)
		result = hand_out(&found, addresses, count);
	free(found.addresses);
	return result;
}

/* Leaves those of the bus that @address is on: the same but for device and function. */
static void keep_bus(struct found *found, const char *address)
{
	size_t length = strrchr(address, ':') - address + 1, kept = 0;

	for (size_t i = 0; i < found->count; i++)
		if (!strncmp(found->addresses[i], address, length))
			memmove(found->addresses[kept++], found->addresses[i],
				sizeof(found->addresses[i]));
	found->count = kept;
}

static int find_bus(const struct vfb_sys *sys, const struct vfb_pci *pci, struct found *found)
{
	char path[PATH_MAX];
	int error;

	snprintf(path, sizeof(path), VFB_PCI_DEVICES "/%s", pci->bridge);
	error = list_devices(sys, path, found);
	if (!error)
		keep_bus(found, pci->address);
	return error;
}

static int note_self(const char *address, struct found *found)
{
	return note_device(address, found) ? vfb_fail_memory() : 0;
}

/* vfio_pci_core_register_device() */
int vfb_pci_reset_set(struct vfb_ctx *ctx, const char *address,
		      char (*addresses)[VFB_PCI_ADDRESS_BYTES], size_t count)
{
	char full[VFB_PCI_ADDRESS_BYTES];
	struct found found = {0};
	struct vfb_pci pci;
	int result;

	result = vfb_pci_parse(address, full);
	if (!result)
		result = vfb_pci_identify(ctx->sys, full, &pci);
	if (!result)
		result = pci.bridge[0] && !pci.parent[0] ? find_bus(ctx->sys, &pci, &found) :
							   note_self(full, &found);
	if (!result)
		result = hand_out(&found, addresses, count);
	free(found.addresses);
	return result;
}
