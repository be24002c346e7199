/* SPDX-License-Identifier: MIT */
#include "exec_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../preload/target.h"
#include "exec_call.h"
#include "host.h"

/* The devices that the command used, and whether it mapped memory for them. */
struct usage {
	char (*addresses)[TARGET_ADDRESS];
	const char **devices;
	size_t count;
	bool maps;
};

static bool exec_has_device(const char *address)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", address);
	return !access(path, F_OK);
}

static void exec_add_device(struct usage *usage, uint64_t device)
{
	char *address = usage->addresses[usage->count];

	target_address(device, address);
	for (size_t i = 0; i < usage->count; i++)
		if (!strcmp(usage->devices[i], address))
			return;
	/* The doctor refuses one that has been unplugged meanwhile. */
	if (exec_has_device(address))
		usage->devices[usage->count++] = address;
}

static void exec_find_usage(struct usage *usage, const struct exec_records *records)
{
	uint64_t last = 0;

	for (size_t i = 0; i < records->count; i++) {
		const struct record *record = &records->all[i];

		if (record->result < 0)
			continue;
		if (exec_call_phase(record) == VFB_PHASE_MAP)
			usage->maps = true;
		if (record->device && record->device != last)
			exec_add_device(usage, record->device);
		last = record->device;
	}
}

/* A finding about memory means nothing to a command that mapped none. */
static bool exec_concerns(const struct usage *usage, struct json_object *finding)
{
	struct json_object *device;

	if (json_object_object_get_ex(finding, "device", &device))
		return usage->count;
	return usage->maps;
}

struct json_object *exec_host_findings(const struct exec_records *records)
{
	struct json_object *all, *some = json_object_new_array();
	struct usage usage = {0};

	usage.addresses = calloc(records->count + 1, sizeof(*usage.addresses));
	usage.devices = calloc(records->count + 1, sizeof(*usage.devices));
	if (usage.addresses && usage.devices)
		exec_find_usage(&usage, records);
	all = host_findings(usage.devices, usage.count);
	for (size_t i = 0; i < json_object_array_length(all); i++) {
		struct json_object *finding = json_object_array_get_idx(all, i);

		if (exec_concerns(&usage, finding))
			json_object_array_add(some, json_object_get(finding));
	}
	json_object_put(all);
	free(usage.addresses);
	free(usage.devices);
	return some;
}
