/* SPDX-License-Identifier: MIT */
#ifndef VFB_CONTAINER_OF_H
#define VFB_CONTAINER_OF_H

#include <stddef.h>

/* The struct of @type that contains @pointer as its @member. */
#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#endif
