/* SPDX-License-Identifier: MIT */
/* File descriptors that come with a packet of a local socket (SCM_RIGHTS). */
#ifndef VFB_PASSED_FDS_H
#define VFB_PASSED_FDS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

/*
 * Takes up to @count file descriptors of a received packet, whose number is written there. Those
 * that do not fit are closed. False if some did not fit, or the packet was cut off.
 */
bool vfb_take_passed_fds(struct msghdr *message, int *fds, size_t *count);

#endif
