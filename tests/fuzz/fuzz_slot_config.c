/* SPDX-License-Identifier: MIT */
/* A file of slots.d. */
#include <stdio.h>

#include "../../tools/daemon/config.h"
#include "input.h"

static void check(int right)
{
	if (!right)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct slot_class class;
	char text[512] = "";
	FILE *file;

	if (!bytes)
		return 0;
	file = fmemopen((void *)data, bytes, "r");
	if (!file)
		abort();
	if (config_read_class(file, "web", &class, text)) {
		check(class.bytes && class.allow_count && class.allow_count <= MAX_POLICY);
		check(class.count <= MAX_SLOTS && class.node_count <= MAX_NODES);
		check(class.level <= 2 && !class.level == !class.device_count);
		/* Slots of level 1 are filled by the same device in turn. */
		check(class.level != 2 ||
		      (size_t) class.count * class.devices_per_slot <= class.device_count);
	} else {
		check(text[0] && memchr(text, '\0', sizeof(text)));
	}
	fclose(file);
	return 0;
}
