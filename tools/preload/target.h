/* SPDX-License-Identifier: MIT */
#ifndef TARGET_H
#define TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "records.h"

/*
 * What the file descriptor of an ioctl of VFIO's type is of. Most request numbers have only one
 * meaning. Where one has two the file is looked at each time (fstat(2)), so that nothing has to be
 * followed through open, dup, fork and sockets, and nothing can be stale.
 */
enum vfb_ioctl_target target_of(int fd, unsigned int request);

/* Whether the number alone is sufficient. */
bool target_is_certain(unsigned int request);

/* Whether a call failed that should not have: programs ask for what a device or a kernel has by
 * calls that fail where it has not. */
bool target_is_failure(const struct record *record);

/* How a record has a PCI address; 0 for none. */
uint64_t target_number(const char *address);

/* How a record has the device behind a device node, until exec looks up its address. */
#define TARGET_NODE (UINT64_C(1) << 63)

/* The way back; "" for 0. */
#define TARGET_ADDRESS 24
void target_address(uint64_t device, char address[TARGET_ADDRESS]);

#endif
