/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_RELEASE_H
#define DAEMON_RELEASE_H

#include "slot/wire.h"

/*
 * Detaches the devices of a slot, which stops their DMA at once, and closes all its files, in a
 * thread: resets and unpinning take their time. @event, an eventfd, becomes readable at the end.
 * Without a thread it is done here.
 */
void release_start(const struct vfb_wire_grant *grant, const int *fds, size_t count, int event);

#endif
