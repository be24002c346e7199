/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_PACKET_H
#define DAEMON_PACKET_H

#include <stddef.h>
#include <stdint.h>

#include "slot/wire.h"

/*
 * Sends a message with file descriptors, without waiting. Returns 0 or a negative errno.
 */
int packet_send(int socket, union vfb_wire *message, enum vfb_wire_type type, const int *fds,
		size_t count);

/*
 * Receives and checks a message, without waiting; up to @count file descriptors, whose number is
 * written there. 0 at the end; 1: a message; or a negative errno.
 */
int packet_receive(int socket, union vfb_wire *message, int *fds, size_t *count);

void packet_close(int *fds, size_t count);

#endif
