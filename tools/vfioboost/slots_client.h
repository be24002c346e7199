/* SPDX-License-Identifier: MIT */
#ifndef SLOTS_CLIENT_H
#define SLOTS_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "slot/wire.h"

/* Talking to vfioboostd. All of them print what is wrong. */

/* A connection to the daemon; -1. @path NULL: where it normally listens. */
int slots_connect(const char *path);

bool slots_send(int fd, enum vfb_wire_type type, const char *name, int64_t amount,
		uint64_t wait_ns);

/*
 * The next message, with up to @count file descriptors. False: it failed; a message of type
 * VFB_WIRE_FAILED is printed.
 */
bool slots_receive(int fd, union vfb_wire *message, int *fds, size_t *count);

/* A request with an answer that calls @each with every message before the last one, unless it is
 * NULL. Returns the command's exit status. */
int slots_request(const char *path, enum vfb_wire_type type, const char *name, int64_t amount,
		  void (*each)(const union vfb_wire *message, void *arg), void *arg);

#endif
