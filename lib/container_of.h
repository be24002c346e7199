/* SPDX-License-Identifier: MIT */
#ifndef VFB_CONTAINER_OF_H
#define VFB_CONTAINER_OF_H

#include <stddef.h>

/* The object of @type whose @member is at @pointer. */
#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#endif
