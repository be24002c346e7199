/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_SERVER_H
#define DAEMON_SERVER_H

#include "pool.h"

/* Clients of the socket. False: out of memory, or the socket cannot be watched. */
bool server_init(struct pool *pool, int socket);

/* Gives slots that have become ready to those who wait, and ends who has waited long enough. */
void server_step(void);

/* When server_step() has something to do at the latest, in milliseconds; -1: nothing. */
int server_timeout_ms(void);

/* Makes the socket. -1 with errno. @group: who may connect besides root; NULL: root alone. */
int server_listen(const char *path, const char *group);

#endif
