/* SPDX-License-Identifier: MIT */
#include "sys/capability.h"

const void *vfb_capability_find(const void *info, uint32_t bytes, uint32_t offset, uint16_t id)
{
	while (offset && offset + sizeof(struct vfio_info_cap_header) <= bytes) {
		const struct vfio_info_cap_header *header = (const void *)((const char *)info +
									   offset);

		if (header->id == id)
			return header;
		offset = header->next;
	}
	return NULL;
}
