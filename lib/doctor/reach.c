/* SPDX-License-Identifier: MIT */
/* What the IOMMU cannot translate: its width, reserved regions, mappings of the firmware. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vfioboost/layout.h>

#include "device/pci.h"
#include "doctor/doctor.h"
#include "iommu/reserved.h"
#include "memory/memory.h"

#define LOW_BYTES  (3 * GIB)
#define HIGH_START (4 * GIB)
#define MAX_RANGES 16
#define HOLE_BYTES 160

int vfb_check_firmware(struct vfb_diagnosis *diagnosis, const struct vfb_pci_info *pci)
{
	char text[VFB_FINDING_BYTES];
	struct vfb_reserved region;

	if (!vfb_reserved_find_direct(diagnosis->ctx->sys, pci->group, &region))
		return 0;
	snprintf(
		text, sizeof(text),
		"the firmware requires a 1:1 mapping of 0x%" PRIx64 "-0x%" PRIx64
		" for a device of its IOMMU group %d (\"direct\" in reserved_regions, from an RMRR "
		"or IVMD table), so the kernel lets no guest have it",
		region.first, region.last, pci->group);
	return vfb_diagnosis_add(
		diagnosis, VFB_FOUND_DEVICE_FIRMWARE_MAPPING,
		(struct vfb_finding){
			.severity = VFB_FINDING_FAILS,
			.text = text,
			.remedy = "switch off in the firmware's setup what needs that memory "
				  "(remote management, shared memory of the slot), update the "
				  "firmware, or use another device",
			.device = pci->address,
			.node = pci->node,
		});
}

/* "address sizes   : 46 bits physical, 48 bits virtual" */
static bool visit_cpuinfo(const char *line, void *arg)
{
	const char *colon = strchr(line, ':');

	if (strncmp(line, "address sizes", 13) || !colon)
		return true;
	*(unsigned int *)arg = strtoul(colon + 1, NULL, 10);
	return false;
}

/* Guests' firmware places large BARs at the top of what the CPU can address. */
static int add_width(struct vfb_diagnosis *diagnosis, const char *address, unsigned int bits)
{
	char text[VFB_FINDING_BYTES], remedy[VFB_FINDING_BYTES] = "";
	unsigned int cpu_bits = 0;
	bool narrow;

	vfb_sys_each_line(diagnosis->ctx->sys, "/proc/cpuinfo", visit_cpuinfo, &cpu_bits);
	narrow = bits < cpu_bits;
	snprintf(text, sizeof(text),
		 "the IOMMU translates addresses of %u bits (%" PRIu64 " GiB)%s", bits,
		 (UINT64_C(1) << bits) / GIB,
		 narrow ? ", fewer than the CPUs have: BARs that a guest places above cannot be "
			  "mapped for other devices" :
			  "");
	if (narrow)
		snprintf(remedy, sizeof(remedy),
			 "let the guest see %u bits (QEMU: -cpu host,host-phys-bits-limit=%u)",
			 bits, bits);
	return vfb_diagnosis_add(diagnosis, VFB_FOUND_IOVA_WIDTH,
				 (struct vfb_finding){
					 .severity = VFB_FINDING_GOOD,
					 .text = text,
					 .remedy = remedy,
					 .device = address,
					 .node = -1,
				 });
}

/* One finding for the narrowest IOMMU. */
static int check_width(struct vfb_diagnosis *diagnosis)
{
	const struct vfb_doctor_opts *guest = diagnosis->guest;
	const char *narrowest = NULL;
	unsigned int least = 64;

	for (size_t i = 0; i < guest->device_count; i++) {
		char address[VFB_PCI_ADDRESS_BYTES];
		unsigned int bits;

		if (vfb_pci_parse(guest->devices[i], address))
			continue;
		bits = vfb_iova_bits(diagnosis->ctx->sys, address);
		if (bits < least) {
			least = bits;
			narrowest = guest->devices[i];
		}
	}
	return narrowest ? add_width(diagnosis, narrowest, least) : 0;
}

/* Guest memory as a PC has it. Returns the number of ranges. */
static int lay_out(const struct vfb_diagnosis *diagnosis, const struct vfb_iova_range *valid,
		   size_t count, struct vfb_range *ranges)
{
	uint64_t bytes = (diagnosis->guest->bytes + 2 * MIB - 1) / (2 * MIB) * (2 * MIB);
	uint64_t low = bytes < LOW_BYTES ? bytes : LOW_BYTES;
	struct vfb_layout_opts opts = VFB_LAYOUT_OPTS_INIT;
	struct vfb_layout_part parts[2] = {
		{.bytes = low, .alignment = 2 * MIB, .last = HIGH_START - 1},
		{.bytes = bytes - low, .alignment = 2 * MIB, .first = HIGH_START},
	};

	opts.valid = valid;
	opts.valid_count = count;
	return vfb_layout(&opts, parts, parts[1].bytes ? 2 : 1, ranges, MAX_RANGES);
}

/* The first hole that the guest's memory would have lain in. */
static bool find_hole(const struct vfb_iova_range *valid, size_t count, uint64_t low_bytes,
		      uint64_t end, char hole[HOLE_BYTES])
{
	for (size_t i = 0; i + 1 < count; i++) {
		uint64_t first = valid[i].last + 1, last = valid[i + 1].first - 1;

		if (first < low_bytes || (last >= HIGH_START && first < end)) {
			snprintf(hole, HOLE_BYTES, "0x%" PRIx64 "-0x%" PRIx64, first, last);
			return true;
		}
	}
	return false;
}

static int report_layout(struct vfb_diagnosis *diagnosis, const struct vfb_iova_range *valid,
			 size_t count)
{
	uint64_t bytes = diagnosis->guest->bytes, low = bytes < LOW_BYTES ? bytes : LOW_BYTES;
	struct vfb_range ranges[MAX_RANGES];
	char text[VFB_FINDING_BYTES], hole[HOLE_BYTES];
	int result = lay_out(diagnosis, valid, count, ranges);

	if (result == -ENOSPC) {
		snprintf(text, sizeof(text),
			 "the guest's %s do not fit into the addresses that its devices can use: "
			 "%.380s",
			 vfb_size_text(bytes).text, vfb_last_error());
		return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_IOVA_TOO_FEW, VFB_FINDING_FAILS,
					      text,
					      "make the guest smaller, or use devices behind "
					      "another IOMMU");
	}
	if (result < 0)
		return result;
	if (!find_hole(valid, count, low, HIGH_START + (bytes - low), hole))
		return 0;
	snprintf(text, sizeof(text),
		 "the devices cannot use %s, in which a guest of this size usually has memory: it "
		 "has to be in %d ranges around that",
		 hole, result);
	return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_IOVA_HOLE, VFB_FINDING_GOOD, text,
				      "use a VMM that leaves it out (QEMU 7.1 or later on AMD "
				      "hosts, vfb_layout())");
}

/* A device without a group, or with a mapping of the firmware, has a finding of its own. */
static int check_layout(struct vfb_diagnosis *diagnosis)
{
	const struct vfb_doctor_opts *guest = diagnosis->guest;
	struct vfb_iova_range *valid;
	int error, count = vfb_pci_iova_ranges(diagnosis->ctx, guest->devices, guest->device_count,
					       NULL, 0);

	if (count <= 0)
		return count == -ENOMEM ? count : 0;
	valid = calloc(count, sizeof(*valid));
	if (!valid)
		return vfb_fail_memory();
	error = vfb_pci_iova_ranges(diagnosis->ctx, guest->devices, guest->device_count, valid,
				    count) == count ?
			report_layout(diagnosis, valid, count) :
			0;
	free(valid);
	return error;
}

int vfb_check_reach(struct vfb_diagnosis *diagnosis)
{
	int error = check_width(diagnosis);

	if (error || !diagnosis->guest->bytes || !diagnosis->guest->device_count)
		return error;
	return check_layout(diagnosis);
}
