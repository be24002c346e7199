/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_PRIVILEGES_H
#define DAEMON_PRIVILEGES_H

#include <stdbool.h>

/*
 * Drops the capabilities that neither the daemon nor those who fill slots need, permanently, and
 * forbids system calls that they do not need and that would help an attacker. False with errno.
 */
bool privileges_drop(void);

#endif
