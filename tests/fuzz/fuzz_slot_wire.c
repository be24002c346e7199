/* SPDX-License-Identifier: MIT */
/*
 * Packets as they arrive at vfioboostd and its clients: what is accepted must be what the other
 * parts rely on. The first byte decides whether the header is made valid, else hardly one would be.
 */
#include "input.h"
#include "slot/wire.h"

static void check(int right)
{
	if (!right)
		abort();
}

static void check_text(const char *text, size_t room)
{
	check(memchr(text, '\0', room) != NULL);
	for (; *text; text++)
		check((*text >= ' ' && *text <= '~') || *text == '\n');
}

static void check_grant(const struct vfb_wire_grant *grant)
{
	check_text(grant->slot, VFB_WIRE_NAME);
	check(vfb_wire_is_class(grant->class_name));
	check(vfb_wire_fd_count(grant) <= VFB_WIRE_FDS);
	check(grant->range_count <= VFB_WIRE_RANGES);
	for (size_t i = 0; i < grant->range_count; i++)
		check(grant->ranges[i].offset + grant->ranges[i].bytes <= grant->bytes &&
		      grant->ranges[i].iova + grant->ranges[i].bytes > grant->ranges[i].iova);
	for (size_t i = 0; i < grant->device_count; i++)
		check_text(grant->devices[i], VFB_WIRE_ADDRESS);
}

static void check_message(const union vfb_wire *message)
{
	switch (message->header.type) {
	case VFB_WIRE_GRANT:
		check_grant(&message->grant);
		break;
	case VFB_WIRE_STATUS:
		check_text(message->status.class_name, VFB_WIRE_NAME);
		check_text(message->status.slot, VFB_WIRE_NAME);
		check_text(message->status.why, VFB_WIRE_TEXT);
		check(message->status.state < VFB_WIRE_STATES);
		break;
	case VFB_WIRE_FAILED:
	case VFB_WIRE_DONE:
	case VFB_WIRE_PART:
		check_text(message->result.text, VFB_WIRE_TEXT);
		break;
	default:
		check_text(message->request.name, VFB_WIRE_NAME);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = {data, data + bytes};
	int valid = input_u8(&input) % 4;
	size_t left = input_left(&input);
	/* No larger than what has come: sanitizers see each byte that is read beyond it. */
	uint8_t *packet = malloc(left ? left : 1);
	struct vfb_wire_header header;
	union vfb_wire message;

	if (!packet)
		abort();
	input_read(&input, packet, left);
	if (valid && left >= sizeof(header)) {
		memcpy(&header, packet, sizeof(header));
		header.magic = VFB_WIRE_MAGIC;
		header.version = VFB_WIRE_VERSION;
		header.bytes = left;
		header.reserved = 0;
		memcpy(packet, &header, sizeof(header));
	}
	if (!vfb_wire_parse(packet, left, &message))
		check_message(&message);
	free(packet);
	return 0;
}
