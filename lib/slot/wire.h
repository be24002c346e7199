/* SPDX-License-Identifier: MIT */
#ifndef VFB_WIRE_H
#define VFB_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The messages between vfioboostd, its clients and the programs that fill slots: one struct per
 * packet of a SOCK_SEQPACKET socket, in the byte order of the host. Whatever arrives is hostile
 * until vfb_wire_parse() has copied it: afterwards every text ends within its field and consists of
 * printable characters, and every number is within its bounds.
 *
 * A struct may grow at its end. A longer one than this version knows is accepted if its tail is
 * zero, a shorter one is extended by zeros.
 */
#define VFB_WIRE_SOCKET	 "/run/vfioboost/slots.sock"
#define VFB_WIRE_MAGIC	 0x53424656
#define VFB_WIRE_VERSION 1

/* Of texts, with the terminating NUL. */
#define VFB_WIRE_NAME	 64
#define VFB_WIRE_TEXT	 512
#define VFB_WIRE_ADDRESS 16

#define VFB_WIRE_RANGES	 8
#define VFB_WIRE_DEVICES 32
/* The memory, the container or iommufd, the devices, their groups. */
#define VFB_WIRE_FDS (2 + 2 * VFB_WIRE_DEVICES)
/* No packet is longer. */
#define VFB_WIRE_BYTES 4096

enum vfb_wire_type {
	/* Requests: struct vfb_wire_request. */
	VFB_WIRE_TAKE = 1,
	/* The slot in name, which the caller has taken, is no longer used. */
	VFB_WIRE_RETURN,
	/* Slots of a class, "": of all. */
	VFB_WIRE_LIST,
	/* Changes the number of slots of a class by amount, or makes it 0. */
	VFB_WIRE_ADD,
	VFB_WIRE_DRAIN,
	/* Releases ready slots of a class (or of all) of at least amount bytes. */
	VFB_WIRE_SHRINK,
	VFB_WIRE_METRICS,
	/* The slot in name, which was granted over this connection, has arrived. */
	VFB_WIRE_ARRIVED,

	/* Answers. FAILED and DONE are the last: struct vfb_wire_result. */
	VFB_WIRE_FAILED = 64,
	VFB_WIRE_DONE,
	/* A part of a text, also struct vfb_wire_result. */
	VFB_WIRE_PART,
	/* struct vfb_wire_grant, with the file descriptors. */
	VFB_WIRE_GRANT,
	/* struct vfb_wire_status, one per slot; of a class that has none now: without a slot. */
	VFB_WIRE_STATUS,
};

struct vfb_wire_header {
	uint32_t magic;
	uint16_t version;
	uint16_t type;
	/* Of the whole packet. */
	uint32_t bytes;
	uint32_t reserved;
};

struct vfb_wire_request {
	struct vfb_wire_header header;
	/* Of a class, or of a slot. */
	char name[VFB_WIRE_NAME];
	/* VFB_WIRE_TAKE: how long to wait for a slot. */
	uint64_t wait_ns;
	int64_t amount;
};

struct vfb_wire_result {
	struct vfb_wire_header header;
	/* 0 or a negative errno. */
	int32_t error;
	uint32_t reserved;
	uint64_t value;
	/* The only text that may have line breaks. */
	char text[VFB_WIRE_TEXT];
};

/* What sysfs says about a device: looking it up takes longer than taking the rest of the slot. */
struct vfb_wire_pci {
	int32_t group, numa_node;
	char node[VFB_WIRE_ADDRESS];
	char bridge[VFB_WIRE_ADDRESS], parent[VFB_WIRE_ADDRESS];
};

/*
 * File descriptors come in this order: memory; the container or iommufd, if level >= 1; devices;
 * groups.
 */
struct vfb_wire_grant {
	struct vfb_wire_header header;
	char slot[VFB_WIRE_NAME];
	char class_name[VFB_WIRE_NAME];
	/* 0: memory; 1: also the I/O address space; 2: also devices. */
	uint32_t level;
	/* enum vfb_backend, enum vfb_page_size. */
	uint32_t backend, page_size;
	/* iommufd: the IOAS, and the domain. */
	uint32_t ioas, domain;
	uint32_t range_count, device_count;
	/* type1: the groups of the devices, which their users need for KVM. */
	uint32_t group_count;
	uint64_t bytes;
	struct {
		uint64_t iova, offset, bytes;
	} ranges[VFB_WIRE_RANGES];
	char devices[VFB_WIRE_DEVICES][VFB_WIRE_ADDRESS];
	/* iommufd: the IDs of the devices; type1: the places of their groups, from 0 on. */
	uint32_t device_ids[VFB_WIRE_DEVICES];
	struct vfb_wire_pci pci[VFB_WIRE_DEVICES];
};

enum vfb_wire_state {
	VFB_WIRE_EMPTY,
	VFB_WIRE_FILLING,
	VFB_WIRE_READY,
	VFB_WIRE_TAKEN,
	VFB_WIRE_RETURNING,
	VFB_WIRE_QUARANTINE,
	VFB_WIRE_STATES,
};

struct vfb_wire_status {
	struct vfb_wire_header header;
	char class_name[VFB_WIRE_NAME];
	/* "" if the class has none. */
	char slot[VFB_WIRE_NAME];
	uint32_t state, level;
	uint32_t backend, page_size;
	uint64_t bytes, filled_bytes;
	/* For how long it has been in this state. */
	uint64_t age_ns;
	/* The process that has taken it, or fills it; 0: none. */
	int32_t pid;
	uint32_t uid;
	/* Of the class: how many there are to be, and how often it was asked for one, in vain. */
	uint64_t target, takes, misses, fills, failures;
	/* How long filling the last one took. */
	uint64_t fill_ns;
	/* Why it is in this state, or who holds it. */
	char why[VFB_WIRE_TEXT];
};

union vfb_wire {
	struct vfb_wire_header header;
	struct vfb_wire_request request;
	struct vfb_wire_result result;
	struct vfb_wire_grant grant;
	struct vfb_wire_status status;
};

/*
 * Copies and checks a packet. 0; -EPROTO: it is not a valid message; -E2BIG: it has fields that
 * this version does not know; -EPROTONOSUPPORT: another version.
 */
int vfb_wire_parse(const void *packet, size_t bytes, union vfb_wire *out);

/* Fills in the header of a message that is to be sent; returns its length. */
size_t vfb_wire_finish(union vfb_wire *message, enum vfb_wire_type type);

/* The number of file descriptors that belong to a valid grant. */
size_t vfb_wire_fd_count(const struct vfb_wire_grant *grant);

/* A name of a class: letters, digits, "_", "-" and ".", not beginning with "." or "-". */
bool vfb_wire_is_class(const char *name);

/* "ready". */
const char *vfb_wire_state_name(uint32_t state);

#endif
