/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_REPLY_H
#define DAEMON_REPLY_H

#include "peer.h"
#include "pool.h"

/* An answer of many packets, more than a socket may have room for. */
struct reply {
	bool active;
	/* A list of slots: of the class of this name, "": of all; the next one. */
	char name[VFB_WIRE_NAME];
	size_t next_class;
	unsigned int next_slot;
	/* A text instead, and how much of it was sent. */
	char *text;
	size_t sent;
};

void reply_begin_list(struct reply *reply, const char *name);
/* @text becomes the reply's. */
void reply_begin_text(struct reply *reply, char *text);

/* Sends more, for a client that may take slots of some classes. 0: that was all; -EAGAIN: the rest
 * when the client has read this; else it was ended. */
int reply_continue(struct reply *reply, struct pool *pool, const struct peer *peer, int socket);
void reply_end(struct reply *reply);

/* One packet, struct vfb_wire_result. */
int reply_send_result(int socket, enum vfb_wire_type type, int error, uint64_t value,
		      const char *text);

#endif
