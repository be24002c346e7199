/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/reset_set.h"
#include "doctor/doctor.h"

/* The base class in class_code. */
#define BRIDGE_CLASS 0x06

/* How long the kernel sleeps (drivers/pci/pci.c): 100 ms after a function or bus reset. */
static const struct {
	const char *method;
	double seconds;
} resets[] = {
	{"device_specific", 0.1}, {"acpi", 0.1},      {"flr", 0.1}, {"af_flr", 0.1}, {"pm", 0.02},
	{"bus", 0.102},		  {"cxl_bus", 0.102},
};

double vfb_reset_seconds(const struct vfb_pci_info *pci)
{
	size_t length = strcspn(pci->reset_methods, " ");

	for (size_t i = 0; i < sizeof(resets) / sizeof(resets[0]); i++)
		if (length == strlen(resets[i].method) &&
		    !strncmp(pci->reset_methods, resets[i].method, length))
			return resets[i].seconds;
	return 0;
}

static int devices_add_finding(struct vfb_diagnosis *diagnosis, const struct vfb_pci_info *pci,
			       enum vfb_found found, enum vfb_severity severity, double seconds,
			       const char *text, const char *remedy)
{
	return vfb_diagnosis_add(diagnosis, found,
				 (struct vfb_finding){
					 .severity = severity,
					 .text = text,
					 .remedy = remedy,
					 .device = pci->address,
					 .node = pci->node,
					 .seconds = seconds,
				 });
}

static bool is_vfio(const struct vfb_pci_info *pci)
{
	return strstr(pci->driver, "vfio");
}

static int devices_check_driver(struct vfb_diagnosis *diagnosis, const struct vfb_pci_info *pci)
{
	char text[VFB_FINDING_BYTES], remedy[VFB_FINDING_BYTES], unbind[160], node[48] = "";

	if (pci->node >= 0)
		snprintf(node, sizeof(node), ", on NUMA node %d", pci->node);
	if (is_vfio(pci)) {
		snprintf(text, sizeof(text), "bound to %s, in IOMMU group %d%s", pci->driver,
			 pci->group, node);
		return devices_add_finding(diagnosis, pci, VFB_FOUND_DEVICE_BOUND, VFB_FINDING_GOOD,
					   0, text, "");
	}
	if (pci->driver[0])
		snprintf(text, sizeof(text), "bound to %s, not to vfio-pci%s", pci->driver, node);
	else
		snprintf(text, sizeof(text), "not bound to any driver%s", node);
	snprintf(unbind, sizeof(unbind), "echo %s > /sys/bus/pci/drivers/%s/unbind; ", pci->address,
		 pci->driver);
	snprintf(remedy, sizeof(remedy),
		 "echo vfio-pci > /sys/bus/pci/devices/%s/driver_override; %secho %s > "
		 "/sys/bus/pci/drivers_probe",
		 pci->address, pci->driver[0] ? unbind : "", pci->address);
	return devices_add_finding(diagnosis, pci, VFB_FOUND_DEVICE_NOT_BOUND, VFB_FINDING_FAILS, 0,
				   text, remedy);
}

struct members {
	struct vfb_diagnosis *diagnosis;
	const struct vfb_pci_info *pci;
};

/* Checks whether one device of a group keeps the group from being used. -ENOMEM ends the list. */
static int check_member(const char *name, void *arg)
{
	const struct members *members = arg;
	struct vfb_pci_info other = VFB_PCI_INFO_INIT;
	char text[VFB_FINDING_BYTES], remedy[VFB_FINDING_BYTES];

	if (!strcmp(name, members->pci->address) ||
	    vfb_pci_info(members->diagnosis->ctx, name, &other))
		return 0;
	/* vfio_dev_viable(): no driver, a VFIO driver, or a port with its own driver. */
	if (!other.driver[0] || is_vfio(&other) || other.class_code >> 16 == BRIDGE_CLASS)
		return 0;
	snprintf(
		text, sizeof(text),
		"%s, in the same IOMMU group %d, is bound to %s: no device of the group can be used",
		other.address, members->pci->group, other.driver);
	snprintf(remedy, sizeof(remedy), "echo %s > /sys/bus/pci/drivers/%s/unbind", other.address,
		 other.driver);
	return devices_add_finding(members->diagnosis, members->pci, VFB_FOUND_DEVICE_GROUP_SHARED,
				   VFB_FINDING_FAILS, 0, text, remedy);
}

static int devices_check_group(struct vfb_diagnosis *diagnosis, const struct vfb_pci_info *pci)
{
	const struct vfb_sys *sys = diagnosis->ctx->sys;
	struct members members = {diagnosis, pci};
	char path[96];
	int error;

	if (pci->group < 0)
		return devices_add_finding(diagnosis, pci, VFB_FOUND_DEVICE_NO_GROUP,
					   VFB_FINDING_FAILS, 0,
					   "it has no IOMMU group: no IOMMU is enabled for it",
					   VFB_ENABLE_IOMMU);
	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d/devices", pci->group);
	error = sys->list(sys, path, check_member, &members);
	return error == -ENOMEM ? error : 0;
}

static int check_reset(struct vfb_diagnosis *diagnosis, const struct vfb_pci_info *pci)
{
	double seconds = vfb_reset_seconds(pci);
	char text[VFB_FINDING_BYTES];

	if (!pci->reset_methods[0])
		return devices_add_finding(
			diagnosis, pci, VFB_FOUND_RESET_NONE, VFB_FINDING_SLOW, 0,
			"the kernel has no method to reset it: the next guest finds the state that "
			"the previous one left in it",
			"");
	snprintf(text, sizeof(text),
		 "reset by %s: opening it and closing it take about %.2f s each",
		 pci->reset_methods, seconds);
	return devices_add_finding(diagnosis, pci, VFB_FOUND_RESET, VFB_FINDING_GOOD, seconds, text,
				   "");
}

/* The requested devices, each looked up once. */
static int devices_identify(struct vfb_diagnosis *diagnosis)
{
	const struct vfb_doctor_opts *guest = diagnosis->guest;
	char address[VFB_PCI_ADDRESS_BYTES];
	int error = 0;

	diagnosis->requested = calloc(guest->device_count, sizeof(*diagnosis->requested));
	if (!diagnosis->requested)
		return vfb_fail_memory();
	for (size_t i = 0; i < guest->device_count && !error; i++) {
		error = vfb_pci_parse(guest->devices[i], address);
		if (!error)
			error = vfb_pci_identify(diagnosis->ctx->sys, address,
						 &diagnosis->requested[i]);
	}
	return error;
}

/* Counts the guest's devices before @index that share its reset when they are opened. */
static unsigned int count_sharing(const struct vfb_diagnosis *diagnosis, size_t index)
{
	unsigned int sharing = 0;

	for (size_t i = 0; i < index; i++)
		sharing += vfb_reset_is_shared_opening(&diagnosis->requested[index],
						       &diagnosis->requested[i]);
	return sharing;
}

static int check_sharing(struct vfb_diagnosis *diagnosis, size_t index,
			 const struct vfb_pci_info *pci)
{
	double seconds = vfb_reset_seconds(pci);
	char text[VFB_FINDING_BYTES];
	unsigned int sharing = count_sharing(diagnosis, index);

	if (!sharing)
		return 0;
	snprintf(
		text, sizeof(text),
		"it shares its reset with %u of the devices before it: they are opened and closed one after another",
		sharing);
	return devices_add_finding(diagnosis, pci, VFB_FOUND_RESET_SHARED, VFB_FINDING_SLOW,
				   seconds, text, "place the devices below different bridges");
}

static int check_device(struct vfb_diagnosis *diagnosis, const struct vfb_pci_info *pci)
{
	size_t fails = diagnosis->fails;
	int error = devices_check_driver(diagnosis, pci);

	if (!error)
		error = devices_check_group(diagnosis, pci);
	if (!error && pci->group >= 0)
		error = vfb_check_firmware(diagnosis, pci);
	if (!error && pci->group >= 0 && is_vfio(pci))
		error = vfb_check_nodes(diagnosis, pci, diagnosis->fails > fails);
	if (!error)
		error = check_reset(diagnosis, pci);
	if (diagnosis->fails == fails)
		diagnosis->has_usable_device = true;
	return error;
}

static int check_requested(struct vfb_diagnosis *diagnosis, size_t index)
{
	struct vfb_pci_info pci = VFB_PCI_INFO_INIT;
	int error = vfb_pci_info(diagnosis->ctx, diagnosis->guest->devices[index], &pci);

	if (!error)
		error = check_device(diagnosis, &pci);
	return error ? error : check_sharing(diagnosis, index, &pci);
}

/* Without a guest: every device that is bound to a VFIO driver. */
static int devices_check_bound(struct vfb_diagnosis *diagnosis)
{
	char(*addresses)[VFB_PCI_ADDRESS_BYTES];
	int error = 0, found, count = vfb_pci_list(diagnosis->ctx, NULL, 0);

	/* No PCI, or sysfs cannot be read. */
	if (count <= 0)
		return 0;
	addresses = calloc(count, sizeof(*addresses));
	if (!addresses)
		return vfb_fail_memory();
	/* There may be more by now, or fewer. */
	found = vfb_pci_list(diagnosis->ctx, addresses, count);
	if (found < count)
		count = found;
	for (int i = 0; i < count && !error; i++) {
		struct vfb_pci_info pci = VFB_PCI_INFO_INIT;

		if (!vfb_pci_info(diagnosis->ctx, addresses[i], &pci) && is_vfio(&pci))
			error = check_device(diagnosis, &pci);
	}
	free(addresses);
	return error;
}

int vfb_check_devices(struct vfb_diagnosis *diagnosis)
{
	int error;

	if (!diagnosis->guest->device_count)
		return devices_check_bound(diagnosis);
	error = devices_identify(diagnosis);
	for (size_t i = 0; i < diagnosis->guest->device_count && !error; i++)
		error = check_requested(diagnosis, i);
	return error;
}

int vfb_reset_all_seconds(const struct vfb_diagnosis *diagnosis, double *seconds)
{
	*seconds = 0;
	for (size_t i = 0; i < diagnosis->guest->device_count; i++) {
		struct vfb_pci_info pci = VFB_PCI_INFO_INIT;
		unsigned int sharing = count_sharing(diagnosis, i);
		int error = vfb_pci_info(diagnosis->ctx, diagnosis->guest->devices[i], &pci);

		if (error)
			return error;
		/* Devices that share a reset take the sum of their times. */
		if ((sharing + 1) * vfb_reset_seconds(&pci) > *seconds)
			*seconds = (sharing + 1) * vfb_reset_seconds(&pci);
	}
	return 0;
}
