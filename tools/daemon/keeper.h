/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_KEEPER_H
#define DAEMON_KEEPER_H

#include <stdbool.h>

/*
 * Where there is no systemd: the process splits in two. The first one keeps the files that the
 * second one stores, and starts it anew with them when it is killed. True: this is the second one,
 * or a service manager does the same. False: the first one, at its end.
 */
bool keeper_run(void);

#endif
