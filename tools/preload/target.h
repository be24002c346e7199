/* SPDX-License-Identifier: MIT */
#ifndef TARGET_H
#define TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "records.h"

/* To be called once, when the command starts. */
void target_prepare(void);

/*
 * What the file descriptor of an ioctl of VFIO's type is of. Looked at each time (fstat(2), which
 * costs a thousandth of the cheapest ioctl of them), so that nothing has to be followed through
 * open, dup, fork and sockets, and nothing can be stale.
 */
enum vfb_ioctl_target target_of(int fd, unsigned int request);

/* How a record has a PCI address; 0 for none. */
uint64_t target_number(const char *address);

/* The way back; "" for 0. */
#define TARGET_ADDRESS 16
void target_address(uint64_t device, char address[TARGET_ADDRESS]);

#endif
