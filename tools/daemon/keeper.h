/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_KEEPER_H
#define DAEMON_KEEPER_H

#include <stdbool.h>

/*
 * Where there is no systemd: the process splits in two. The first one keeps @socket, which listens,
 * and the files that the second one stores, and starts it anew with them when it is killed. True:
 * this is the second one. False: the first one, at its end.
 */
bool keeper_run(int socket);

#endif
