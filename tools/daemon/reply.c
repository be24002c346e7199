/* SPDX-License-Identifier: MIT */
#include "reply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "packet.h"

void reply_begin_list(struct reply *reply, const char *name)
{
	*reply = (struct reply){.active = true};
	memcpy(reply->name, name, sizeof(reply->name));
}

void reply_begin_text(struct reply *reply, char *text)
{
	*reply = (struct reply){.active = true, .text = text};
}

void reply_end(struct reply *reply)
{
	free(reply->text);
	*reply = (struct reply){0};
}

int reply_send_result(int socket, enum vfb_wire_type type, int error, uint64_t value,
		      const char *text)
{
	union vfb_wire message;

	memset(&message, 0, sizeof(message));
	message.result.error = error;
	message.result.value = value;
	for (size_t i = 0; text[i] && i < sizeof(message.result.text) - 1; i++)
		message.result.text[i] = text[i];
	return packet_send(socket, &message, type, NULL, 0);
}

static int send_text(struct reply *reply, int socket)
{
	size_t bytes;
	int error;

	while ((bytes = strnlen(reply->text + reply->sent, VFB_WIRE_TEXT - 1))) {
		error = reply_send_result(socket, VFB_WIRE_PART, 0, 0, reply->text + reply->sent);
		if (error)
			return error;
		reply->sent += bytes;
	}
	return 0;
}

/* A class without slots is listed too, by a place that is not used. */
static bool is_listed(const struct pool_class *class, unsigned int place)
{
	if (class->slots[place].state != VFB_WIRE_EMPTY || place < class->target)
		return true;
	for (unsigned int i = 0; !place && i < class->used; i++)
		if (class->slots[i].state != VFB_WIRE_EMPTY)
			return false;
	return !place;
}

static int send_slot(struct pool *pool, const struct slot *slot, int socket)
{
	union vfb_wire message;

	memset(&message, 0, sizeof(message));
	pool_describe(pool, slot, &message.status);
	return packet_send(socket, &message, VFB_WIRE_STATUS, NULL, 0);
}

static int send_class(struct reply *reply, struct pool *pool, const struct pool_class *class,
		      int socket)
{
	int error = 0;

	for (; reply->next_slot < MAX_SLOTS && !error; reply->next_slot += !error)
		if (is_listed(class, reply->next_slot))
			error = send_slot(pool, &class->slots[reply->next_slot], socket);
	return error;
}

static int send_list(struct reply *reply, struct pool *pool, const struct peer *peer, int socket)
{
	int error = 0;

	while (reply->next_class < pool->class_count && !error) {
		const struct pool_class *class = &pool->classes[reply->next_class];

		if ((!reply->name[0] || !strcmp(reply->name, class->config.name)) &&
		    peer_may_take(peer, &class->config))
			error = send_class(reply, pool, class, socket);
		if (!error) {
			reply->next_class++;
			reply->next_slot = 0;
		}
	}
	return error;
}

int reply_continue(struct reply *reply, struct pool *pool, const struct peer *peer, int socket)
{
	int error = reply->text ? send_text(reply, socket) : send_list(reply, pool, peer, socket);

	if (!error)
		error = reply_send_result(socket, VFB_WIRE_DONE, 0, 0, "");
	if (error != -EAGAIN)
		reply_end(reply);
	return error;
}
