/* SPDX-License-Identifier: MIT */
#ifndef VFB_INFO_H
#define VFB_INFO_H

#include "sys/sys.h"
#include "sys/uapi.h"

/*
 * Reads an info struct of VFIO that begins with argsz and grows by what the kernel adds to it:
 * @head of @bytes is what to ask with, @room how many bytes to begin with. *@out is to be freed;
 * its argsz is at most the number of bytes that it has. -ENOMEM; -EPROTO: the kernel asks for more
 * and more.
 */
int vfb_info_read(const struct vfb_sys *sys, int fd, unsigned long request, const void *head,
		  uint32_t bytes, uint32_t room, void **out);

/*
 * The capability @id in the chain that begins at @offset of an info struct of @bytes; NULL when it
 * is not there with @size bytes at least. @offset 0: there is no chain. Aligned to 4 bytes only:
 * kernels before 6.6 append one capability right after another.
 */
const void *vfb_info_capability(const void *info, uint32_t bytes, uint32_t offset, uint16_t id,
				uint32_t size);

#endif
