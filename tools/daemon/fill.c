/* SPDX-License-Identifier: MIT */
/*
 * vfioboost-fill: fills one slot, and hands it to vfioboostd. It is started by the daemon, in the
 * cgroup of the slot, never by hand:
 *
 *	vfioboost-fill BYTES PAGE-SIZE NODES LAYOUT BACKEND RATE LEVEL [BDF...]
 *
 * The numbers are those of the enums, NODES is "-" or "0,1". Descriptor 3 is a socket to the
 * daemon: it gets the progress, and at last the slot or the reason why there is none.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vfioboost.h>

#include "config.h"
#include "packet.h"
#include "slot/slot.h"

#define DAEMON 3
/* More would hold up others, see the rate. */
#define THREADS 2

static void send_result(enum vfb_wire_type type, int error, uint64_t value, const char *text)
{
	union vfb_wire message = {.result = {.error = error, .value = value}};

	for (size_t i = 0; text[i] && i < sizeof(message.result.text) - 1; i++)
		message.result.text[i] = text[i] < ' ' || text[i] > '~' ? ' ' : text[i];
	packet_send(DAEMON, &message, type, NULL, 0);
}

static void send_progress(uint64_t bytes, void *arg)
{
	(void)arg;
	send_result(VFB_WIRE_PART, 0, bytes, "");
}

/* What nobody can reset may have been left in any state by the one before. */
static int reset_devices(const struct vfb_slot *slot)
{
	struct vfb_reset_request requests[VFB_WIRE_DEVICES] = {{0}};
	int error;

	for (size_t i = 0; i < slot->device_count; i++)
		requests[i].device = slot->devices[i];
	error = vfb_devices_reset(requests, slot->device_count, NULL);
	return error && error != -EAGAIN ? -EUCLEAN : error;
}

/* The process ends without closing anything: the daemon has all files then. */
static int hand_over(const struct vfb_slot *slot)
{
	union vfb_wire message;
	int fds[VFB_WIRE_FDS], count, error = 0;

	memset(&message, 0, sizeof(message));
	if (slot->device_count)
		error = reset_devices(slot);
	if (!error && slot->space)
		error = vfb_space_release_addresses(slot->space);
	if (error)
		return error;
	count = vfb_slot_describe(slot, &message.grant, fds);
	return packet_send(DAEMON, &message, VFB_WIRE_GRANT, fds, count);
}

static size_t read_nodes(char *text, unsigned int nodes[MAX_NODES])
{
	size_t count = 0;
	char *rest = NULL;

	if (!strcmp(text, "-"))
		return 0;
	for (char *word = strtok_r(text, ",", &rest); word && count < MAX_NODES;
	     word = strtok_r(NULL, ",", &rest))
		nodes[count++] = strtoul(word, NULL, 10);
	return count;
}

static int fill(uint64_t rate, unsigned int level, const struct vfb_slot_cold *cold)
{
	struct vfb_ctx_opts opts = {.size = sizeof(opts), .threads = THREADS};
	struct vfb_slot *slot;
	struct vfb_ctx *ctx;
	int error = vfb_ctx_create(&opts, &ctx);

	if (!error)
		error = vfb_ctx_set_populate_rate(ctx, rate);
	if (!error)
		error = vfb_slot_make(ctx, cold, level, send_progress, NULL, &slot);
	if (!error)
		error = hand_over(slot);
	if (error)
		send_result(VFB_WIRE_FAILED, error, 0, vfb_last_error());
	return error;
}

int main(int argc, char **argv)
{
	struct vfb_slot_cold cold = VFB_SLOT_COLD_INIT;
	unsigned int nodes[MAX_NODES];

	if (argc < 8)
		return 2;
	cold.bytes = strtoull(argv[1], NULL, 10);
	cold.page_size = strtoul(argv[2], NULL, 10);
	cold.nodes = nodes;
	cold.node_count = read_nodes(argv[3], nodes);
	cold.layout = argv[4];
	cold.backend = strtoul(argv[5], NULL, 10);
	cold.devices = (const char *const *)argv + 8;
	cold.device_count = argc - 8;
	/* Without tidying up: the kernel is faster, and the daemon waits for the files only. */
	_Exit(fill(strtoull(argv[6], NULL, 10), strtoul(argv[7], NULL, 10), &cold) ? 1 : 0);
}
