/* SPDX-License-Identifier: MIT */
#ifndef DEVICES_H
#define DEVICES_H

#include <stdbool.h>

#include "device/pci.h"
#include "records.h"

/*
 * The file descriptors of VFIO devices that the command uses, found out with their first request:
 * nothing has to be followed through open, dup, fork and sockets. Those above this number are not
 * looked after.
 */
#define DEVICES_MAX 1024

/* @fd has just been opened for the device at @address. */
void devices_add(int fd, const char *address);

/*
 * @fd has taken a device's request. Returns at once if @fd is known already and @trust is set;
 * otherwise compares the file, which a close(2) that was not seen may have replaced.
 */
void devices_see(int fd, bool trust);

bool devices_has(int fd);

/* @fd was closed. */
void devices_remove(int fd);

/* What a record has for the device of @fd; 0: not known. */
uint64_t devices_number(int fd);

/*
 * Every file descriptor that is known and still is of the same device, and what is known of the
 * device: an empty address for nothing. Returns how many. For preload_run().
 */
size_t devices_all(int fds[DEVICES_MAX], struct vfb_pci pcis[DEVICES_MAX]);

/* Whether this is what proc(5) says of a device's file or mapping. */
bool devices_is_path(const char *path);

/* KVM's own handle on devices (KVM_DEV_TYPE_VFIO), which keeps them as well. For
 * preload_run(): closing it. */
void devices_set_kvm(int fd);
void devices_close_kvm(void);

/* None is known any more: this process was forked. preload_lock is held, or nobody else is
 * there. */
void devices_forget_all(void);

#endif
