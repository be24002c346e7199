/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <vfioboost.h>

#include "slot/wire.h"

#define MAX_CLASSES 64
#define MAX_SLOTS   256
#define MAX_NODES   16
#define MAX_POLICY  32
#define MAX_PATH    200

/* Who may take a slot: one of these. */
enum allow_kind {
	ALLOW_USER,
	ALLOW_GROUP,
	/* The cgroup itself and those below it. */
	ALLOW_CGROUP,
};

struct allow {
	enum allow_kind kind;
	uint32_t id;
	char path[MAX_PATH];
};

/* One file of slots.d, see slots.d(5). */
struct slot_class {
	char name[VFB_WIRE_NAME];
	unsigned int count;
	uint64_t bytes;
	enum vfb_page_size page_size;
	unsigned int nodes[MAX_NODES];
	size_t node_count;
	char layout[16];
	enum vfb_backend backend;
	/* What a slot has, see docs/slots.md; without the key: as its devices imply. */
	unsigned int level;
	/* Consecutive ones belong to one slot. */
	char devices[VFB_WIRE_DEVICES * 8][VFB_WIRE_ADDRESS];
	size_t device_count;
	unsigned int devices_per_slot;
	struct allow allow[MAX_POLICY];
	size_t allow_count;
	/* How many slots one user may have at a time; 0: no limit. */
	unsigned int max_per_user;
	/* Bytes per second with which a slot is filled. */
	uint64_t rate;
	/* Ready slots may be released when the host lacks memory. */
	bool shrink;
};

/* The place in devices of the first one of a slot. Those of level 1 are used only to fill slots. */
size_t config_first_device(const struct slot_class *class, unsigned int index);

/*
 * Reads a file of one class. NULL in @error_text's first byte: it is right; otherwise the text
 * names the line and what is wrong in it.
 */
bool config_read_class(FILE *file, const char *name, struct slot_class *out, char error_text[512]);

/* Reads all *.conf of a folder, in the order of their names. Returns their number, -1 with a text.
 */
int config_read_folder(const char *folder, struct slot_class *classes, char error_text[512]);

#endif
