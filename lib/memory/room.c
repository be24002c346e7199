/* SPDX-License-Identifier: MIT */
#include "memory/room.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "observe/error.h"

#define KIB UINT64_C(1024)
#define MIB (KIB << 10)
#define GIB (MIB << 10)

/* For page tables, and for what the kernel charges in advance (MEMCG_CHARGE_BATCH). */
#define SPARE	  (512 * KIB)
#define MAX_NODES 64
/* The most that is used before the limits are read again; or this part of what is left, if that is
 * more: many workers use 1 GiB in a few milliseconds. */
#define MOST_BYTES (1024 * MIB)
#define MOST_PART  64

/* ---- Files of numbers ---- */

/* The number behind @key in memory.stat is added to @sum. */
struct stat_field {
	const char *key;
	uint64_t *sum;
};

static bool add_stat(const char *line, void *arg)
{
	for (const struct stat_field *field = arg; field->key; field++) {
		size_t length = strlen(field->key);

		if (!strncmp(line, field->key, length) && line[length] == ' ')
			*field->sum += strtoull(line + length, NULL, 10);
	}
	return true;
}

/* UINT64_MAX: the file contains "max", or does not exist. */
static uint64_t room_read_number(const struct vfb_sys *sys, const char *folder, const char *file)
{
	char path[4352], text[32];

	snprintf(path, sizeof(path), "%s/%s", folder, file);
	if (vfb_sys_read_file(sys, path, text, sizeof(text)) <= 0 || !strncmp(text, "max", 3))
		return UINT64_MAX;
	return strtoull(text, NULL, 10);
}

/* ---- Limits ---- */

struct search {
	const struct vfb_sys *sys;
	uint64_t wanted;
	uint64_t swap_free;
	/* "hugetlb.2MB" or "hugetlb.2MB.rsvd"; "" for base pages. */
	char hugetlb[32];
	struct vfb_room_limit *limit;
};

static uint64_t min_bytes(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The part of its usage that the kernel can reclaim before it kills. */
static uint64_t cgroup_reclaimable(const struct search *search, const char *folder, bool v1)
{
	uint64_t files = 0, swappable = 0, swap = search->swap_free;
	struct stat_field v2_fields[] = {
		{"inactive_file", &files}, {"active_file", &files}, {"slab_reclaimable", &files},
		{"anon", &swappable},	   {"shmem", &swappable},   {NULL, NULL},
	};
	struct stat_field v1_fields[] = {
		{"total_inactive_file", &files},
		{"total_active_file", &files},
		{"total_rss", &swappable},
		{"total_shmem", &swappable},
		{NULL, NULL},
	};
	char path[4352];

	snprintf(path, sizeof(path), "%s/memory.stat", folder);
	vfb_sys_each_line(search->sys, path, add_stat, v1 ? v1_fields : v2_fields);
	if (!v1 && swap) {
		uint64_t max = room_read_number(search->sys, folder, "memory.swap.max");
		uint64_t used = room_read_number(search->sys, folder, "memory.swap.current");

		if (max != UINT64_MAX && used != UINT64_MAX)
			swap = min_bytes(swap, max > used ? max - used : 0);
	}
	return files + min_bytes(swappable, swap);
}

static void note_limit(struct search *search, uint64_t left, const char *folder, const char *file,
		       uint64_t max)
{
	if (left >= search->limit->bytes)
		return;
	search->limit->bytes = left;
	snprintf(search->limit->text, sizeof(search->limit->text), "%.160s/%s allows %s", folder,
		 file, vfb_size_text(max).text);
}

/* Less than "max": a limit. PAGE_COUNTER_MAX of version 1 means no limit, too. */
static void look_at_limit(struct search *search, const char *folder, bool v1, const char *max_file,
			  const char *used_file)
{
	uint64_t max = room_read_number(search->sys, folder, max_file);
	uint64_t used = room_read_number(search->sys, folder, used_file), left;

	if (max >= UINT64_MAX / 4 || used == UINT64_MAX)
		return;
	left = max > used ? max - used : 0;
	if (left < search->wanted && !*search->hugetlb)
		left += min_bytes(cgroup_reclaimable(search, folder, v1), used);
	note_limit(search, left, folder, max_file, max);
}

static void look_at_cgroup(const char *folder, bool v1, void *arg)
{
	struct search *search = arg;
	const char *prefix = *search->hugetlb ? search->hugetlb : "memory";
	char max_file[48], used_file[48];

	snprintf(max_file, sizeof(max_file), "%s.%s", prefix, v1 ? "limit_in_bytes" : "max");
	snprintf(used_file, sizeof(used_file), "%s.%s", prefix, v1 ? "usage_in_bytes" : "current");
	look_at_limit(search, folder, v1, max_file, used_file);
	/* Beyond it nothing is killed, but each step is delayed by up to two seconds, and pinned
	 * memory is never reclaimed (mem_cgroup_handle_over_high()). */
	if (!v1 && !*search->hugetlb)
		look_at_limit(search, folder, v1, "memory.high", used_file);
}

static void look_at_host(struct search *search)
{
	struct vfb_field fields[] = {{.name = "MemAvailable"},
				     {.name = "MemTotal"},
				     {.name = "AnonPages"},
				     {.name = "Shmem"},
				     {.name = "SwapFree"}};

	if (vfb_sys_read_fields(search->sys, "/proc/meminfo", fields, 5))
		return;
	search->swap_free = fields[4].value * KIB;
	search->limit->bytes = fields[0].value * KIB +
			       min_bytes((fields[2].value + fields[3].value) * KIB,
					 search->swap_free);
	snprintf(search->limit->text, sizeof(search->limit->text), "the host has %s",
		 vfb_size_text(fields[1].value * KIB).text);
}

struct node_memory {
	/* In KiB. @left: what is free or can be reclaimed without swap. */
	uint64_t total, left, swappable;
};

static bool room_add_node(const struct search *search, unsigned int node, struct node_memory *sum)
{
	struct vfb_field fields[] = {{.name = "MemTotal"},     {.name = "MemFree"},
				     {.name = "Active(file)"}, {.name = "Inactive(file)"},
				     {.name = "SReclaimable"}, {.name = "AnonPages"}};
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/meminfo", node);
	if (vfb_sys_read_fields(search->sys, path, fields, 6))
		return false;
	sum->total += fields[0].value;
	sum->left += fields[1].value + fields[2].value + fields[3].value + fields[4].value;
	sum->swappable += fields[5].value;
	return true;
}

/* @nodes: one bit for each. */
static void look_at_nodes(struct search *search, uint64_t nodes, const char *name)
{
	struct node_memory sum = {0};
	uint64_t reserve, left;
	bool found = false;

	for (unsigned int node = 0; node < MAX_NODES; node++)
		if (nodes >> node & 1 && room_add_node(search, node, &sum))
			found = true;
	if (!found)
		return;
	/* The kernel keeps this much free on all nodes together. */
	reserve = room_read_number(search->sys, "/proc/sys/vm", "min_free_kbytes");
	reserve = reserve == UINT64_MAX ? 0 : reserve;
	left = (sum.left > reserve ? sum.left - reserve : 0) * KIB +
	       min_bytes(sum.swappable * KIB, search->swap_free);
	if (left >= search->limit->bytes)
		return;
	search->limit->bytes = left;
	snprintf(search->limit->text, sizeof(search->limit->text), "%s has %s", name,
		 vfb_size_text(sum.total * KIB).text);
}

static bool note_allowed_nodes(const char *line, void *arg)
{
	static const char name[] = "Mems_allowed_list:";
	uint64_t *nodes = arg;
	const char *at = line + strlen(name);

	if (strncmp(line, name, strlen(name)))
		return true;
	while (*at && *at != '\n') {
		char *end;
		unsigned long first = strtoul(at, &end, 10), last = first;

		if (end == at)
			break;
		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		for (; first <= last && first < MAX_NODES; first++)
			*nodes |= UINT64_C(1) << first;
		at = *end == ',' ? end + 1 : end;
	}
	return false;
}

bool vfb_room_is_in_cpuset(const struct vfb_sys *sys, uint64_t *nodes)
{
	int max_node = sys->max_node(sys);
	uint64_t all = max_node > 0 && max_node < MAX_NODES - 1 ?
			       (UINT64_C(1) << (max_node + 1)) - 1 :
			       UINT64_MAX;

	*nodes = 0;
	return max_node > 0 &&
	       !vfb_sys_each_line(sys, "/proc/self/status", note_allowed_nodes, nodes) && *nodes &&
	       (*nodes & all) != all;
}

static void look_at_cpuset(struct search *search)
{
	uint64_t allowed;

	if (vfb_room_is_in_cpuset(search->sys, &allowed))
		look_at_nodes(search, allowed, "what cpuset.mems allows");
}

static void look_at_hugetlb(struct search *search, uint64_t page_bytes, const char *kind)
{
	/* mem_fmt() of mm/hugetlb_cgroup.c */
	const char *unit = page_bytes >= GIB ? "GB" : page_bytes >= MIB ? "MB" : "KB";
	uint64_t unit_bytes = page_bytes >= GIB ? GIB : page_bytes >= MIB ? MIB : KIB;

	snprintf(search->hugetlb, sizeof(search->hugetlb), "hugetlb.%" PRIu64 "%s%s",
		 page_bytes / unit_bytes, unit, kind);
	vfb_sys_each_cgroup(search->sys, "hugetlb", look_at_cgroup, search);
}

void vfb_room_read(const struct vfb_sys *sys, uint64_t page_bytes, int node, uint64_t wanted,
		   struct vfb_room_limit *limit)
{
	struct search search = {.sys = sys, .wanted = wanted, .limit = limit};
	char name[32];

	*limit = (struct vfb_room_limit){.bytes = UINT64_MAX};
	if (page_bytes > sys->base_page(sys)) {
		look_at_hugetlb(&search, page_bytes, "");
		return;
	}
	look_at_host(&search);
	if (node == VFB_ROOM_ANYWHERE) {
		look_at_cpuset(&search);
		vfb_sys_each_cgroup(sys, "memory", look_at_cgroup, &search);
		return;
	}
	limit->bytes = UINT64_MAX;
	snprintf(name, sizeof(name), "node %d", node);
	look_at_nodes(&search, UINT64_C(1) << node, name);
}

int vfb_room_check_reserve(const struct vfb_sys *sys, uint64_t page_bytes, uint64_t bytes)
{
	struct vfb_room_limit limit = {.bytes = UINT64_MAX};
	struct search search = {.sys = sys, .wanted = bytes, .limit = &limit};

	look_at_hugetlb(&search, page_bytes, ".rsvd");
	if (bytes <= limit.bytes)
		return 0;
	return vfb_fail(-ENOMEM,
			"reserving %s in pages of %s is not possible: %s, of which %s are left; "
			"raise the limit, or use smaller pages",
			vfb_size_text(bytes).text, vfb_size_text(page_bytes).text, limit.text,
			vfb_size_text(limit.bytes).text);
}

int vfb_room_check(const struct vfb_sys *sys, uint64_t page_bytes, int node, uint64_t bytes)
{
	/* The page tables are charged, too: 8 bytes for each base page. */
	uint64_t tables = page_bytes == sys->base_page(sys) ? bytes / (page_bytes / 8) : 0;
	uint64_t needed = bytes + tables;
	struct vfb_room_limit limit;

	vfb_room_read(sys, page_bytes, node, needed, &limit);
	if (needed <= limit.bytes)
		return 0;
	return vfb_fail(-ENOMEM,
			"populating %s more is not possible: %s, of which %s are left; raise the "
			"limit, free memory, or use less",
			vfb_size_text(bytes).text, limit.text, vfb_size_text(limit.bytes).text);
}

/* ---- While it is used ---- */

struct grant {
	/* What may be used before the limits are read again, and how often that has been done. */
	uint64_t bytes, renewals;
	/* What was taken, and is being populated: it may or may not be in what is read. */
	uint64_t in_flight;
};

struct vfb_room {
	const struct vfb_sys *sys;
	pthread_mutex_t lock;
	/* Something in flight has arrived. */
	pthread_cond_t arrived;
	uint64_t arrivals;
	/* How many threads wait for that. */
	unsigned int waiting;
	/* On the host and in the cgroups, and on each node. */
	struct grant anywhere, nodes[MAX_NODES];
};

int vfb_room_create(const struct vfb_sys *sys, struct vfb_room **out)
{
	struct vfb_room *room = calloc(1, sizeof(*room));

	*out = room;
	if (!room)
		return vfb_fail_memory();
	room->sys = sys;
	pthread_mutex_init(&room->lock, NULL);
	pthread_cond_init(&room->arrived, NULL);
	return 0;
}

void vfb_room_destroy(struct vfb_room *room)
{
	if (!room)
		return;
	pthread_cond_destroy(&room->arrived);
	pthread_mutex_destroy(&room->lock);
	free(room);
}

/* A grant that was too small, as it was then. */
struct too_small {
	uint64_t renewals, in_flight, arrivals;
};

static struct grant *node_grant(struct vfb_room *room, int node)
{
	return node >= 0 && node < MAX_NODES ? &room->nodes[node] : NULL;
}

static void grant_use_locked(struct grant *grant, uint64_t bytes)
{
	grant->bytes -= bytes;
	grant->in_flight += bytes;
}

bool vfb_room_try_take(struct vfb_room *room, int node, uint64_t bytes)
{
	struct grant *grant = node_grant(room, node);
	bool taken;

	pthread_mutex_lock(&room->lock);
	taken = room->anywhere.bytes >= bytes && (!grant || grant->bytes >= bytes);
	if (taken) {
		grant_use_locked(&room->anywhere, bytes);
		if (grant)
			grant_use_locked(grant, bytes);
	}
	pthread_mutex_unlock(&room->lock);
	return taken;
}

static bool grant_take(struct vfb_room *room, struct grant *grant, uint64_t bytes,
		       struct too_small *then)
{
	bool taken;

	pthread_mutex_lock(&room->lock);
	taken = grant->bytes >= bytes;
	if (taken)
		grant_use_locked(grant, bytes);
	*then = (struct too_small){grant->renewals, grant->in_flight, room->arrivals};
	pthread_mutex_unlock(&room->lock);
	return taken;
}

/*
 * Allows a quarter of what is available, since others use memory, too, and takes @bytes of it.
 * False if another thread has renewed it since: what was read may have been used by then.
 */
static bool grant_renew(struct vfb_room *room, struct grant *grant, uint64_t left, uint64_t bytes,
			const struct too_small *then)
{
	uint64_t most = left / MOST_PART > MOST_BYTES ? left / MOST_PART : MOST_BYTES;
	uint64_t quarter = min_bytes(left / 4, most);
	bool renewed;

	pthread_mutex_lock(&room->lock);
	renewed = grant->renewals == then->renewals;
	if (renewed) {
		grant->bytes = quarter > bytes ? quarter - bytes : 0;
		grant->in_flight += bytes;
		grant->renewals++;
	}
	pthread_mutex_unlock(&room->lock);
	return renewed;
}

static void room_wait(struct vfb_room *room, const struct too_small *then)
{
	pthread_mutex_lock(&room->lock);
	room->waiting++;
	while (room->arrivals == then->arrivals)
		room->sys->cond_wait(room->sys, &room->arrived, &room->lock, UINT64_MAX);
	room->waiting--;
	pthread_mutex_unlock(&room->lock);
}

/* @other: NULL for none. */
static void room_arrive(struct vfb_room *room, struct grant *one, struct grant *other,
			uint64_t bytes)
{
	pthread_mutex_lock(&room->lock);
	one->in_flight -= bytes;
	if (other)
		other->in_flight -= bytes;
	room->arrivals++;
	if (room->waiting)
		room->sys->cond_broadcast(room->sys, &room->arrived);
	pthread_mutex_unlock(&room->lock);
}

static int room_take(struct vfb_room *room, struct grant *grant, int node, uint64_t bytes)
{
	struct vfb_room_limit limit;
	struct too_small then;

	while (!grant_take(room, grant, bytes, &then)) {
		vfb_room_read(room->sys, room->sys->base_page(room->sys), node, 4 * MOST_BYTES,
			      &limit);
		if (limit.bytes < bytes + SPARE)
			return vfb_fail(-ENOMEM,
					"memory ran out while populating: %s, of which %s are "
					"left; raise the limit, free memory, or use less",
					limit.text, vfb_size_text(limit.bytes).text);
		if (limit.bytes < bytes + SPARE + then.in_flight)
			room_wait(room, &then);
		else if (grant_renew(room, grant, limit.bytes - then.in_flight, bytes, &then))
			return 0;
	}
	return 0;
}

int vfb_room_take(struct vfb_room *room, int node, uint64_t bytes)
{
	struct grant *grant = node_grant(room, node);
	int error = room_take(room, &room->anywhere, VFB_ROOM_ANYWHERE, bytes);

	if (error || !grant)
		return error;
	/* Those that have taken from the node as well wait for nobody. */
	error = room_take(room, grant, node, bytes);
	if (error)
		room_arrive(room, &room->anywhere, NULL, bytes);
	return error;
}

void vfb_room_populated(struct vfb_room *room, int node, uint64_t bytes)
{
	room_arrive(room, &room->anywhere, node_grant(room, node), bytes);
}
