/* SPDX-License-Identifier: MIT */
#ifndef SESSION_H
#define SESSION_H

#include <stdbool.h>
#include <vfioboost.h>

#include "arguments.h"

#include "watch.h"

/* How the parts of a start follow each other. */
enum mode {
	/* Everything at once. */
	MODE_BOOST,
	/* As the best VMMs do: populate in threads, then open each device, then map each range. */
	MODE_VMM,
	/* The same with one thread. */
	MODE_SERIAL,
	/* The parts of boost, each by itself. */
	MODE_ALONE,
	/* As serial, but nothing is populated: the map call has to do that, too. */
	MODE_LAZY,
	MODE_COUNT,
};

/* NULL ends them. */
extern const char *const mode_names[MODE_COUNT + 1];

#define MAX_NODES 64

/* What the guest would have. */
struct guest {
	uint64_t bytes;
	/* Beside those: what no device needs. */
	uint64_t host_only_bytes;
	enum vfb_page_size page_size;
	enum vfb_memory_kind kind;
	enum vfb_backend backend;
	unsigned int threads;
	struct device_list devices;
	/* The nodes that its memory is placed on, and how; none for any. */
	enum vfb_numa_policy policy;
	struct number_list nodes;
	/* Make the pool of hugepages larger when it has too few. */
	bool grow_pool;
	/* The most to be populated in a second, 0 for as much as can be. */
	uint64_t populate_rate;
	/* Reboot it before it is stopped. */
	bool reboot;
};

/* How one start and stop went; times in seconds. */
struct session {
	double open_s, populate_s, map_s, start_s;
	double unmap_s, close_s, stop_s;
	/* 0 unless it was rebooted. */
	double reboot_s;
	bool rebooted;
	size_t map_calls;
	enum vfb_backend backend;
	enum vfb_page_size page_size;
	uint64_t node_bytes[MAX_NODES];
	int node_count;
	/* What is left out of the IOMMU. */
	uint64_t host_only_bytes;
	/* What is in huge pages, and what is on other nodes than it should be. */
	uint64_t huge_bytes, misplaced_bytes;
	/* Why the pages are not larger, a line for each size. */
	char fallback[1024];
	/* What was counted, and what the kernel did; to be freed, or NULL. */
	struct json_object *statistics, *kernel;
};

/* Starts and stops the guest once. 0, or an error that has been printed. */
int session_run(const struct guest *guest, enum mode mode, struct watch *watch,
		struct session *session);

/*
 * Populates the guest's memory once and gives it back. A virtual machine's first touch of memory
 * is the hypervisor's cost: without this, the first mode would pay it for the others.
 */
int session_warm_up(const struct guest *guest);

#endif
