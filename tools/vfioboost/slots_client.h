/* SPDX-License-Identifier: MIT */
#ifndef SLOTS_CLIENT_H
#define SLOTS_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "slot/wire.h"

/* Talking to vfioboostd, which normally listens where @path is NULL. Both print what is wrong. */

/* A request with an answer that calls @each with every message before the last one, unless it is
 * NULL. Returns the command's exit status. */
int slots_request(const char *path, enum vfb_wire_type type, const char *name, int64_t amount,
		  void (*each)(const union vfb_wire *message, void *arg), void *arg);

/*
 * Takes a slot of the class @name: @fds has room for VFB_WIRE_FDS, and gets as many as belong to
 * @grant. If the daemon is restarted meanwhile, the new one is asked.
 */
bool slots_take_files(const char *path, const char *name, uint64_t wait_ns,
		      struct vfb_wire_grant *grant, int *fds);

#endif
