/* SPDX-License-Identifier: MIT */
#ifndef DEVICES_H
#define DEVICES_H

#include <stdbool.h>

#include "device/pci.h"
#include "records.h"

/*
 * The descriptors of VFIO devices that the command uses, found out with their first request:
 * nothing has to be followed through open, dup, fork and sockets. Those above this number are not
 * looked after.
 */
#define DEVICES_MAX 1024

/* @fd has taken a device's request. @address: which device it is of, NULL when it has to be
 * looked up. Does nothing when @fd is known. */
void devices_add(int fd, const char *address);

bool devices_has(int fd);

/* @fd was closed. */
void devices_remove(int fd);

/* What a record has for the device of @fd; 0: not known. */
uint64_t devices_number(int fd);

/* Every descriptor that is known, and what is known of its device: an empty address for nothing.
 * Returns how many. */
size_t devices_all(int fds[DEVICES_MAX], struct vfb_pci pcis[DEVICES_MAX]);

/* KVM's own handle on devices (KVM_DEV_TYPE_VFIO), which keeps them as well; -1: there is none. */
void devices_set_kvm(int fd);
int devices_kvm(void);

/* None is known any more: this process was forked. preload_lock is held. */
void devices_forget_all(void);

#endif
