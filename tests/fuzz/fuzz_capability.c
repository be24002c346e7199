/* SPDX-License-Identifier: MIT */
/* Chains of capabilities: the input is where the first is, and the kernel's struct. */
#include "input.h"
#include "sys/info.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = {data, data + bytes};
	uint32_t first = input_u8(&input);
	size_t left = input_left(&input);
	char *info = malloc(left ? left : 1);

	if (!info)
		abort();
	memcpy(info, input.at, left);
	for (unsigned int id = 0; id < 8; id++)
		vfb_info_capability(info, left, first, id, 16);
	free(info);
	return 0;
}
