/* SPDX-License-Identifier: MIT */
#ifndef VFB_CAPABILITY_H
#define VFB_CAPABILITY_H

#include <stddef.h>
#include <stdint.h>

#include "sys/uapi.h"

/*
 * The capability @id in the chain that begins at @offset of what an ioctl of VFIO told, @bytes
 * with the chain; NULL when it is not there. @offset 0: there is no chain.
 */
const void *vfb_capability_find(const void *info, uint32_t bytes, uint32_t offset, uint16_t id);

#endif
