/* SPDX-License-Identifier: MIT */
#include "sys/info.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A chain of capabilities takes some KiB at most: 24 bytes for each range or area. */
#define MAX_BYTES (UINT32_C(1) << 20)
/* The answer of the kernel grows between two calls when a device is plugged in. */
#define MAX_TRIES 8

int vfb_info_read(const struct vfb_sys *sys, int fd, unsigned long request, const void *head,
		  uint32_t bytes, uint32_t room, void **out)
{
	for (int tries = 0; tries < MAX_TRIES && room <= MAX_BYTES; tries++) {
		char *info = calloc(1, room);
		uint32_t wanted;
		int error;

		if (!info)
			return -ENOMEM;
		memcpy(info, head, bytes);
		memcpy(info, &room, sizeof(room));
		error = sys->ioctl(sys, fd, request, info);
		memcpy(&wanted, info, sizeof(wanted));
		if (error >= 0 && wanted <= room) {
			*out = info;
			return 0;
		}
		free(info);
		if (error < 0)
			return error;
		room = wanted;
	}
	return -EPROTO;
}

const void *vfb_info_capability(const void *info, uint32_t bytes, uint32_t offset, uint16_t id,
				uint32_t size)
{
	struct vfio_info_cap_header header;
	uint32_t last = 0;

	/* vfio_info_cap_add() appends, so a chain only goes forward. */
	while (offset > last && offset % 4 == 0 && offset <= bytes &&
	       sizeof(header) <= bytes - offset) {
		const void *capability = (const char *)info + offset;

		memcpy(&header, capability, sizeof(header));
		if (header.id == id)
			return size <= bytes - offset ? capability : NULL;
		last = offset;
		offset = header.next;
	}
	return NULL;
}
