/* SPDX-License-Identifier: MIT */
#include "slot/wire.h"

#include <errno.h>
#include <string.h>
#include <vfioboost/memory.h>
#include <vfioboost/space.h>

_Static_assert(sizeof(union vfb_wire) <= VFB_WIRE_BYTES, "longer than a packet");

/* A class's name, a separator and a number of up to 20 digits make the name of a slot. */
#define CLASS_LENGTH (VFB_WIRE_NAME - 22)
#define PAGE_MASK    UINT64_C(4095)

static size_t known_bytes(unsigned int type)
{
	switch (type) {
	case VFB_WIRE_TAKE:
	case VFB_WIRE_RETURN:
	case VFB_WIRE_LIST:
	case VFB_WIRE_ADD:
	case VFB_WIRE_DRAIN:
	case VFB_WIRE_SHRINK:
	case VFB_WIRE_METRICS:
	case VFB_WIRE_ARRIVED:
		return sizeof(struct vfb_wire_request);
	case VFB_WIRE_FAILED:
	case VFB_WIRE_DONE:
	case VFB_WIRE_PART:
		return sizeof(struct vfb_wire_result);
	case VFB_WIRE_GRANT:
		return sizeof(struct vfb_wire_grant);
	case VFB_WIRE_STATUS:
		return sizeof(struct vfb_wire_status);
	default:
		return 0;
	}
}

/* Ends within its field, and is printable. */
static bool is_text(const char *text, size_t room, bool lines)
{
	size_t length = strnlen(text, room);

	if (length == room)
		return false;
	for (size_t i = 0; i < length; i++)
		if ((text[i] < ' ' || text[i] > '~') && !(lines && text[i] == '\n'))
			return false;
	return true;
}

bool vfb_wire_is_class(const char *name)
{
	static const char known[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789_-.";
	size_t length = strspn(name, known);

	return length && !name[length] && length <= CLASS_LENGTH && name[0] != '.' &&
	       name[0] != '-';
}

static bool ranges_are_valid(const struct vfb_wire_grant *grant)
{
	for (size_t i = 0; i < grant->range_count; i++) {
		uint64_t bytes = grant->ranges[i].bytes, offset = grant->ranges[i].offset;

		if (!bytes || (bytes | offset | grant->ranges[i].iova) & PAGE_MASK)
			return false;
		if (offset > grant->bytes || bytes > grant->bytes - offset ||
		    grant->ranges[i].iova > UINT64_MAX - bytes)
			return false;
	}
	return true;
}

static bool device_is_valid(const struct vfb_wire_grant *grant, size_t i)
{
	const struct vfb_wire_pci *pci = &grant->pci[i];

	return grant->devices[i][0] && is_text(grant->devices[i], VFB_WIRE_ADDRESS, false) &&
	       is_text(pci->node, VFB_WIRE_ADDRESS, false) &&
	       is_text(pci->bridge, VFB_WIRE_ADDRESS, false) &&
	       is_text(pci->parent, VFB_WIRE_ADDRESS, false) &&
	       (!grant->group_count || grant->device_ids[i] < grant->group_count);
}

static bool devices_are_valid(const struct vfb_wire_grant *grant)
{
	bool has_groups = grant->device_count && grant->backend == VFB_BACKEND_TYPE1;

	if (grant->group_count > grant->device_count || (grant->group_count > 0) != has_groups)
		return false;
	for (size_t i = 0; i < grant->device_count; i++)
		if (!device_is_valid(grant, i))
			return false;
	return true;
}

static bool grant_is_valid(const struct vfb_wire_grant *grant)
{
	if (!is_text(grant->slot, VFB_WIRE_NAME, false) || !grant->slot[0] ||
	    !is_text(grant->class_name, VFB_WIRE_NAME, false) ||
	    !vfb_wire_is_class(grant->class_name))
		return false;
	if (grant->level > 2 || grant->backend > VFB_BACKEND_NONE ||
	    grant->page_size == VFB_PAGE_AUTO || grant->page_size > VFB_PAGE_1G)
		return false;
	if (grant->range_count > VFB_WIRE_RANGES || grant->device_count > VFB_WIRE_DEVICES ||
	    (grant->level == 0 && grant->range_count) ||
	    (grant->level == 2) != (grant->device_count > 0))
		return false;
	if (!grant->bytes || grant->bytes & PAGE_MASK || grant->bytes > INT64_MAX)
		return false;
	return devices_are_valid(grant) && ranges_are_valid(grant);
}

static bool status_is_valid(const struct vfb_wire_status *status)
{
	return is_text(status->class_name, VFB_WIRE_NAME, false) &&
	       is_text(status->slot, VFB_WIRE_NAME, false) &&
	       is_text(status->why, VFB_WIRE_TEXT, false) && status->state < VFB_WIRE_STATES &&
	       status->level <= 2 && status->backend <= VFB_BACKEND_NONE &&
	       status->page_size <= VFB_PAGE_1G;
}

static bool message_is_valid(const union vfb_wire *message)
{
	if (message->header.type < VFB_WIRE_FAILED)
		return is_text(message->request.name, VFB_WIRE_NAME, false);
	if (message->header.type == VFB_WIRE_GRANT)
		return grant_is_valid(&message->grant);
	if (message->header.type == VFB_WIRE_STATUS)
		return status_is_valid(&message->status);
	return is_text(message->result.text, VFB_WIRE_TEXT, true) && !message->result.reserved &&
	       message->result.error <= 0 && message->result.error >= -4095 &&
	       (message->header.type != VFB_WIRE_FAILED || message->result.error);
}

int vfb_wire_parse(const void *packet, size_t bytes, union vfb_wire *out)
{
	const char *tail = packet;
	size_t known;

	memset(out, 0, sizeof(*out));
	if (bytes < sizeof(out->header))
		return -EPROTO;
	memcpy(&out->header, packet, sizeof(out->header));
	if (out->header.magic != VFB_WIRE_MAGIC)
		return -EPROTO;
	if (out->header.version != VFB_WIRE_VERSION)
		return -EPROTONOSUPPORT;
	known = known_bytes(out->header.type);
	if (!known || out->header.bytes != bytes || out->header.reserved)
		return -EPROTO;
	for (size_t i = known; i < bytes; i++)
		if (tail[i])
			return -E2BIG;
	memcpy(out, packet, bytes < known ? bytes : known);
	return message_is_valid(out) ? 0 : -EPROTO;
}

size_t vfb_wire_finish(union vfb_wire *message, enum vfb_wire_type type)
{
	message->header = (struct vfb_wire_header){
		.magic = VFB_WIRE_MAGIC,
		.version = VFB_WIRE_VERSION,
		.type = type,
		.bytes = known_bytes(type),
	};
	return message->header.bytes;
}

size_t vfb_wire_fd_count(const struct vfb_wire_grant *grant)
{
	return 1 + (grant->level > 0) + grant->device_count + grant->group_count;
}

const char *vfb_wire_state_name(uint32_t state)
{
	static const char *const names[] = {"empty", "filling",	  "ready",
					    "taken", "returning", "quarantine"};

	return state < VFB_WIRE_STATES ? names[state] : "unknown";
}
