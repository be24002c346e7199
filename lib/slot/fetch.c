/* SPDX-License-Identifier: MIT */
/*
 * Taking a slot from the daemon. What it sends is checked like any other input, although it is
 * privileged: the text of a failure is the only thing that is passed on as it is.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "device/device.h"
#include "observe/error.h"
#include "slot/slot.h"

/* The daemon answers at once, or when the caller's time is over. */
#define ANSWER_NS UINT64_C(5000000000)
/* Between two requests, if the daemon that was asked does not run any more. */
#define AGAIN_NS UINT64_C(100000000)

static int connect_daemon(const struct vfb_sys *sys, const char *socket, int *out)
{
	int fd = sys->connect(sys, socket);

	if (fd == -ENOENT || fd == -ECONNREFUSED)
		return vfb_fail(fd,
				"no vfioboostd listens at %s: start it (systemctl start "
				"vfioboostd)",
				socket);
	if (fd == -EACCES)
		return vfb_fail(fd,
				"no permission to connect to vfioboostd at %s: see the group of "
				"the socket",
				socket);
	if (fd == -EPERM)
		return vfb_fail(fd,
				"another user than root or this one listens at %s: it is not "
				"trusted",
				socket);
	if (fd < 0)
		return vfb_fail_errno(fd, "cannot connect to vfioboostd at %s", socket);
	*out = fd;
	return 0;
}

static int send_request(const struct vfb_sys *sys, int fd, enum vfb_wire_type type,
			const char *name, uint64_t wait_ns)
{
	union vfb_wire message = {.request = {.wait_ns = wait_ns}};
	size_t bytes = vfb_wire_finish(&message, type);
	ssize_t sent;

	memcpy(message.request.name, name, strlen(name));
	sent = sys->send(sys, fd, &message, bytes);
	return sent < 0 ? (int)sent : 0;
}

static int receive_grant(struct vfb_slot *slot, uint64_t deadline_ns, union vfb_wire *answer)
{
	const struct vfb_sys *sys = slot->ctx->sys;
	static const char what[] = "vfioboostd sent an invalid answer";
	char packet[VFB_WIRE_BYTES];
	ssize_t bytes;
	int error;

	slot->fd_count = VFB_WIRE_FDS;
	bytes = sys->receive(sys, slot->connection, packet, sizeof(packet), slot->fds,
			     &slot->fd_count, deadline_ns);
	if (bytes < 0)
		return vfb_fail_errno(bytes, "vfioboostd did not answer");
	error = vfb_wire_parse(packet, bytes, answer);
	if (error)
		return vfb_fail_errno(error, "%s", what);
	if (answer->header.type == VFB_WIRE_FAILED && !slot->fd_count)
		return vfb_fail(answer->result.error, "%s", answer->result.text);
	if (answer->header.type != VFB_WIRE_GRANT ||
	    slot->fd_count != vfb_wire_fd_count(&answer->grant))
		return vfb_fail(-EPROTO, "%s of type %u with %zu file descriptors", what,
				answer->header.type, slot->fd_count);
	return 0;
}

static int take_memory(struct vfb_slot *slot, const struct vfb_wire_grant *grant)
{
	struct vfb_memory_adopt_opts opts = {
		.size = sizeof(opts),
		.bytes = grant->bytes,
		.fd = slot->fds[0],
		.page_size = grant->page_size,
		.flags = VFB_MEMORY_ADOPT_HAS_FD | VFB_MEMORY_ADOPT_POPULATED,
	};

	return vfb_memory_adopt(slot->ctx, &opts, &slot->memory);
}

static int take_space(struct vfb_slot *slot, const struct vfb_wire_grant *grant)
{
	struct vfb_space_opts opts = {.size = sizeof(opts), .backend = grant->backend};
	int error = vfb_space_adopt(slot->ctx, slot->fds[1], grant->ioas, &opts, &slot->space);

	if (error)
		return error;
	for (size_t i = 0; i < grant->range_count; i++)
		slot->ranges[i] = (struct vfb_range){
			.memory = slot->memory,
			.iova = grant->ranges[i].iova,
			.offset = grant->ranges[i].offset,
			.bytes = grant->ranges[i].bytes,
			.flags = VFB_RANGE_READ | VFB_RANGE_WRITE,
		};
	slot->range_count = grant->range_count;
	return vfb_space_adopt_addresses(slot->space, slot->ranges, slot->range_count);
}

static void pci_of(const struct vfb_wire_grant *grant, size_t i, struct vfb_pci *pci)
{
	const struct vfb_wire_pci *wire = &grant->pci[i];

	*pci = (struct vfb_pci){.group = wire->group, .numa_node = wire->numa_node};
	memcpy(pci->address, grant->devices[i], VFB_WIRE_ADDRESS);
	memcpy(pci->node, wire->node, VFB_WIRE_ADDRESS);
	memcpy(pci->bridge, wire->bridge, VFB_WIRE_ADDRESS);
	memcpy(pci->parent, wire->parent, VFB_WIRE_ADDRESS);
}

static int take_device(struct vfb_slot *slot, const struct vfb_wire_grant *grant, size_t i)
{
	struct vfb_device_adopt_opts opts = {.size = sizeof(opts), .space = slot->space};
	struct vfb_pci pci;

	pci_of(grant, i, &pci);
	if (grant->group_count) {
		opts.flags = VFB_DEVICE_ADOPT_HAS_GROUP_FD;
		opts.group_fd = slot->fds[2 + grant->device_count + grant->device_ids[i]];
	}
	return vfb_device_adopt_known(slot->ctx, slot->fds[2 + i], &pci, &opts, &slot->devices[i]);
}

static int take_devices(struct vfb_slot *slot, const struct vfb_wire_grant *grant)
{
	const char *addresses[VFB_WIRE_DEVICES];
	int error;

	for (size_t i = 0; i < grant->device_count; i++)
		addresses[i] = grant->devices[i];
	error = vfb_space_join(slot->space, addresses, grant->device_count);
	if (error)
		return error;
	while (slot->device_count < grant->device_count && !error) {
		error = take_device(slot, grant, slot->device_count);
		slot->device_count += !error;
	}
	for (size_t i = slot->device_count; i < grant->device_count; i++)
		vfb_space_leave(slot->space, addresses[i]);
	return error;
}

static int take_over(struct vfb_slot *slot, const struct vfb_wire_grant *grant)
{
	int error = take_memory(slot, grant);

	memcpy(slot->name, grant->slot, sizeof(slot->name));
	if (!error && grant->level > 0)
		error = take_space(slot, grant);
	if (!error && grant->device_count)
		error = take_devices(slot, grant);
	return error;
}

/* The daemon that was asked has ended: what it has handed out without an answer returns. */
static bool is_lost(int error)
{
	return error == -ECONNRESET || error == -EPIPE;
}

static int request_grant(struct vfb_slot *slot, const struct vfb_slot_opts *opts, uint64_t wait_ns,
			 uint64_t deadline_ns, union vfb_wire *answer)
{
	const struct vfb_sys *sys = slot->ctx->sys;
	int error = connect_daemon(sys, opts->socket ? opts->socket : VFB_WIRE_SOCKET,
				   &slot->connection);

	if (error)
		return error;
	error = send_request(sys, slot->connection, VFB_WIRE_TAKE, opts->class_name, wait_ns);
	if (error)
		vfb_fail_errno(error, "cannot ask vfioboostd for a slot");
	else
		error = receive_grant(slot, deadline_ns, answer);
	if (is_lost(error)) {
		sys->close(sys, slot->connection);
		slot->connection = -1;
	}
	return error;
}

/* Without a connection: whether asking once more may help. */
static bool may_return(int error, bool was_lost)
{
	return is_lost(error) || (was_lost && (error == -ECONNREFUSED || error == -ENOENT));
}

/* Whoever starts the daemon anew may need a moment to do so. */
static int request_again(struct vfb_slot *slot, const struct vfb_slot_opts *opts,
			 union vfb_wire *answer)
{
	const struct vfb_sys *sys = slot->ctx->sys;
	uint64_t now = sys->now(sys), end = now + opts->wait_ns, deadline = end + ANSWER_NS;
	bool was_lost = false;
	int error;

	if (end < now || deadline < end)
		end = deadline = UINT64_MAX;
	for (;;) {
		error = request_grant(slot, opts, now < end ? end - now : 0, deadline, answer);
		if (slot->connection >= 0 || !may_return(error, was_lost))
			return error;
		was_lost = true;
		now = sys->now(sys) + AGAIN_NS;
		if (now >= deadline)
			return error;
		sys->sleep(sys, AGAIN_NS);
	}
}

static int fetch_into(struct vfb_slot *slot, const struct vfb_slot_opts *opts)
{
	const struct vfb_sys *sys = slot->ctx->sys;
	union vfb_wire answer;
	int error = request_again(slot, opts, &answer);

	if (error)
		return error;
	/* If the daemon has ended since, the next one sees that this process has the memory. */
	send_request(sys, slot->connection, VFB_WIRE_ARRIVED, answer.grant.slot, 0);
	return take_over(slot, &answer.grant);
}

int vfb_slot_fetch(struct vfb_ctx *ctx, const struct vfb_slot_opts *opts, struct vfb_slot **out)
{
	char text[VFB_ERROR_BYTES];
	struct vfb_slot *slot;
	int error;

	if (!opts->class_name || !vfb_wire_is_class(opts->class_name))
		return vfb_fail(-EINVAL, "\"%s\" is not the name of a class of slots",
				opts->class_name ? opts->class_name : "");
	slot = vfb_slot_new(ctx);
	if (!slot)
		return -ENOMEM;
	error = fetch_into(slot, opts);
	if (error) {
		vfb_error_save(text);
		vfb_slot_release(slot);
		vfb_error_restore(text);
		return error;
	}
	*out = slot;
	return 0;
}
