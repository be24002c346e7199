/* SPDX-License-Identifier: MIT */
#include "memory/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "memory/memory.h"
#include "memory/room.h"

#define ANYWHERE (-1)
#define NODES	 "/sys/devices/system/node"

#define LOCK_MOST_NS  UINT64_C(5000000000)
#define LOCK_RETRY_NS UINT64_C(10000000)

struct path {
	char text[128];
};

struct pool_sizes {
	uint64_t *all;
	size_t count;
};

/* Keeps them sorted. */
static void pool_add_size(struct pool_sizes *sizes, uint64_t page_bytes)
{
	size_t i = sizes->count;

	for (size_t k = 0; k < sizes->count; k++)
		if (sizes->all[k] == page_bytes)
			return;
	if (i == VFB_POOL_SIZES)
		return;
	for (; i && sizes->all[i - 1] < page_bytes; i--)
		sizes->all[i] = sizes->all[i - 1];
	sizes->all[i] = page_bytes;
	sizes->count++;
}

static int pool_look_at_size(const char *name, void *arg)
{
	uint64_t kilobytes;

	if (sscanf(name, "hugepages-%" SCNu64 "kB", &kilobytes) == 1 && kilobytes &&
	    kilobytes < UINT64_MAX / KIB)
		pool_add_size(arg, kilobytes * KIB);
	return 0;
}

size_t vfb_pool_sizes(const struct vfb_sys *sys, uint64_t all[VFB_POOL_SIZES])
{
	struct pool_sizes sizes = {.all = all};

	pool_add_size(&sizes, 2 * MIB);
	pool_add_size(&sizes, GIB);
	sys->list(sys, "/sys/kernel/mm/hugepages", pool_look_at_size, &sizes);
	return sizes.count;
}

/* The path of a file of a pool, of one node or of the whole machine. */
static struct path pool_path(int node, uint64_t page_bytes, const char *file)
{
	struct path path;

	if (node == ANYWHERE)
		snprintf(path.text, sizeof(path.text),
			 "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/%s", page_bytes / KIB,
			 file);
	else
		snprintf(path.text, sizeof(path.text),
			 NODES "/node%d/hugepages/hugepages-%" PRIu64 "kB/%s", node,
			 page_bytes / KIB, file);
	return path;
}

static int read_count(const struct vfb_sys *sys, int node, uint64_t page_bytes, const char *file,
		      uint64_t *count)
{
	char text[32];
	ssize_t length;

	length = vfb_sys_read_file(sys, pool_path(node, page_bytes, file).text, text, sizeof(text));
	*count = length > 0 ? strtoull(text, NULL, 10) : 0;
	return length < 0 ? length : 0;
}

/* The kernel counts below 0 after some holes were punched (seen with 6.12 on POWER); it takes that
 * for pages more. */
static uint64_t read_reserved(const struct vfb_sys *sys, uint64_t page_bytes)
{
	uint64_t reserved;

	read_count(sys, ANYWHERE, page_bytes, "resv_hugepages", &reserved);
	return reserved > INT64_MAX ? 0 : reserved;
}

uint64_t vfb_pool_free(const struct vfb_sys *sys, int node, uint64_t page_bytes)
{
	uint64_t pages, reserved = 0;

	read_count(sys, node, page_bytes, "free_hugepages", &pages);
	if (node == ANYWHERE)
		reserved = read_reserved(sys, page_bytes);
	return pages > reserved ? pages - reserved : 0;
}

static void pool_apply_cpuset(const struct vfb_sys *sys, uint64_t page_bytes,
			      struct vfb_pool_supply *supply)
{
	uint64_t nodes, free = 0;

	supply->cpuset_node = ANYWHERE;
	if (!vfb_room_is_in_cpuset(sys, &nodes))
		return;
	for (int node = 63; node >= 0; node--) {
		if (!(nodes >> node & 1))
			continue;
		free += vfb_pool_free(sys, node, page_bytes);
		supply->cpuset_node = node;
	}
	if (free < supply->free)
		supply->free = free;
}

struct vfb_pool_supply vfb_pool_read_supply(const struct vfb_sys *sys, uint64_t page_bytes)
{
	struct vfb_pool_supply supply = {.free = vfb_pool_free(sys, ANYWHERE, page_bytes)};
	uint64_t most, now;

	supply.reserved = read_reserved(sys, page_bytes);
	read_count(sys, ANYWHERE, page_bytes, "nr_overcommit_hugepages", &most);
	read_count(sys, ANYWHERE, page_bytes, "surplus_hugepages", &now);
	supply.surplus = most > now ? most - now : 0;
	pool_apply_cpuset(sys, page_bytes, &supply);
	return supply;
}

static int report_supply(const struct vfb_memory *memory, uint64_t page_bytes, uint64_t needed,
			 const struct vfb_pool_supply *supply)
{
	char reserved[64] = "", surplus[96] = "";

	if (supply->reserved)
		snprintf(reserved, sizeof(reserved),
			 ", besides %" PRIu64 " that are reserved for others", supply->reserved);
	if (supply->surplus)
		snprintf(surplus, sizeof(surplus),
			 ", and the kernel may add %" PRIu64 " (nr_overcommit_hugepages)",
			 supply->surplus);
	return vfb_fail(-ENOMEM,
			"%s need %" PRIu64 " hugepages of %s, %" PRIu64
			" are free%s%s%s: raise %s or use smaller pages",
			vfb_size_text(memory->bytes).text, needed, vfb_size_text(page_bytes).text,
			supply->free,
			supply->cpuset_node == ANYWHERE ? "" : " on the nodes of cpuset.mems",
			reserved, surplus,
			pool_path(supply->cpuset_node, page_bytes, "nr_hugepages").text);
}

static int report_too_few(const struct vfb_memory *memory, uint64_t page_bytes, uint64_t needed,
			  uint64_t available, int node)
{
	return vfb_fail(-ENOMEM,
			"%s need %" PRIu64 " hugepages of %s, %" PRIu64
			" are free on its nodes: raise %s or use smaller pages",
			vfb_size_text(memory->bytes).text, needed, vfb_size_text(page_bytes).text,
			available, pool_path(node, page_bytes, "nr_hugepages").text);
}

/*
 * mmap() checks the sum over all nodes. Pages that it adds to the pool may be on any of them, so
 * they do not count here. Memory bound to several nodes uses pages of any of them.
 */
static int pool_check_bound(const struct vfb_memory *memory, uint64_t page_bytes, uint64_t pages)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	uint64_t available = 0;

	for (size_t i = 0; i < memory->node_count; i++)
		available += vfb_pool_free(sys, memory->nodes[i], page_bytes);
	if (available >= pages)
		return 0;
	return report_too_few(memory, page_bytes, pages, available,
			      memory->nodes[memory->node_count - 1]);
}

static int pool_check_split(const struct vfb_memory *memory, uint64_t page_bytes)
{
	for (size_t i = 0; i < memory->node_count; i++) {
		uint64_t needed = memory->node_bytes[i] / page_bytes;
		uint64_t available = vfb_pool_free(memory->ctx->sys, memory->nodes[i], page_bytes);

		if (available < needed)
			return report_too_few(memory, page_bytes, needed, available,
					      memory->nodes[i]);
	}
	return 0;
}

static int pool_check_nodes(const struct vfb_memory *memory, uint64_t page_bytes, uint64_t pages)
{
	if (memory->policy == VFB_NUMA_BIND)
		return pool_check_bound(memory, page_bytes, pages);
	if (memory->policy == VFB_NUMA_SPLIT)
		return pool_check_split(memory, page_bytes);
	return 0;
}

int vfb_pool_check(const struct vfb_memory *memory, uint64_t page_bytes, uint64_t pages)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	struct vfb_pool_supply supply;
	uint64_t total;

	if (read_count(sys, ANYWHERE, page_bytes, "nr_hugepages", &total))
		return vfb_fail(-ENOTSUP,
				"the kernel has no hugepages of %s (%s): CPU, kernel "
				"configuration and default_hugepagesz decide",
				vfb_size_text(page_bytes).text,
				pool_path(ANYWHERE, page_bytes, "nr_hugepages").text);
	supply = vfb_pool_read_supply(sys, page_bytes);
	if (supply.free + supply.surplus < pages)
		return report_supply(memory, page_bytes, pages, &supply);
	return pool_check_nodes(memory, page_bytes, pages);
}

/* ---- Growing ---- */

/*
 * The size of a pool is read, changed and written back: that needs a lock between processes.
 *
 * Only root can open the first file, so that nobody else can hold its lock and make others wait.
 * It exists with CONFIG_COMPACTION. A container with a network namespace of its own has another
 * sysfs, with another lock (sysfs_init_fs_context()).
 */
static int pool_lock_root(const struct vfb_sys *sys)
{
	static const char *const files[] = {NODES "/node0/compact", "/proc/sys/vm/compact_memory"};
	int fd = -1;

	for (size_t i = 0; i < 2 && fd < 0; i++)
		fd = sys->open(sys, files[i], O_WRONLY);
	if (fd >= 0 && sys->lock_file(sys, fd, true)) {
		sys->close(sys, fd);
		return -1;
	}
	return fd;
}

/*
 * Whoever may change a pool is root in the initial user namespace, which is one file for the whole
 * kernel (nsfs has a single superblock). Anybody may lock that one, therefore the wait is bounded:
 * without it, containers may disturb each other.
 */
static int pool_lock_everywhere(const struct vfb_sys *sys)
{
	int fd = sys->open(sys, "/proc/self/ns/user", O_RDONLY);
	uint64_t waited = 0;
	int error;

	if (fd < 0)
		return -1;
	while ((error = sys->lock_file(sys, fd, false)) == -EAGAIN && waited < LOCK_MOST_NS) {
		sys->sleep(sys, LOCK_RETRY_NS);
		waited += LOCK_RETRY_NS;
	}
	if (error) {
		sys->close(sys, fd);
		return -1;
	}
	return fd;
}

struct vfb_pool_lock vfb_pool_lock(const struct vfb_sys *sys)
{
	struct vfb_pool_lock lock = {.root = pool_lock_root(sys)};

	lock.everywhere = pool_lock_everywhere(sys);
	return lock;
}

void vfb_pool_unlock(const struct vfb_sys *sys, const struct vfb_pool_lock *lock)
{
	if (lock->everywhere >= 0)
		sys->close(sys, lock->everywhere);
	if (lock->root >= 0)
		sys->close(sys, lock->root);
}

static int write_count(const struct vfb_sys *sys, int node, uint64_t page_bytes, uint64_t count)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, count);
	return vfb_sys_write_file(sys, pool_path(node, page_bytes, "nr_hugepages").text, text);
}

/* Needs CONFIG_COMPACTION; without it the pool may grow less. */
static void pool_compact(const struct vfb_sys *sys, int node)
{
	char path[64] = "/proc/sys/vm/compact_memory";

	if (node != ANYWHERE)
		snprintf(path, sizeof(path), NODES "/node%d/compact", node);
	vfb_sys_write_file(sys, path, "1");
}

static int add_loan(struct vfb_memory *memory, int node, uint64_t page_bytes, uint64_t pages)
{
	size_t bytes = (memory->loan_count + 1) * sizeof(*memory->loans);
	struct vfb_pool_loan *loans = realloc(memory->loans, bytes);

	if (!loans)
		return vfb_fail_memory();
	loans[memory->loan_count++] = (struct vfb_pool_loan){node, page_bytes, pages};
	memory->loans = loans;
	return 0;
}

/*
 * nr_hugepages shows all pages of a pool, surplus pages included, which the kernel frees as soon as
 * they are unused. A write to it sets the number without surplus pages (nr_hugepages_show_common(),
 * set_max_huge_pages()).
 */
struct pool_size {
	uint64_t pages, surplus;
};

static int pool_read_size(const struct vfb_sys *sys, int node, uint64_t page_bytes,
			  struct pool_size *size)
{
	uint64_t again;
	int error;

	do {
		error = read_count(sys, node, page_bytes, "surplus_hugepages", &size->surplus);
		if (!error)
			error = read_count(sys, node, page_bytes, "nr_hugepages", &size->pages);
		if (!error)
			error = read_count(sys, node, page_bytes, "surplus_hugepages", &again);
	} while (!error && again != size->surplus);
	if (error)
		return vfb_fail_errno(error, "cannot read %s",
				      pool_path(node, page_bytes, "nr_hugepages").text);
	return 0;
}

static uint64_t lasting_pages(const struct pool_size *size)
{
	return size->pages > size->surplus ? size->pages - size->surplus : 0;
}

/* Adds up to @pages, as many as the kernel can provide. */
static int pool_borrow(struct vfb_memory *memory, int node, uint64_t page_bytes, uint64_t pages)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	struct pool_size before, after;
	int error;

	if (!pages)
		return 0;
	error = pool_read_size(sys, node, page_bytes, &before);
	/* Allocated first, so that an added page is never lost. */
	if (!error)
		error = add_loan(memory, node, page_bytes, 0);
	if (error)
		return error;
	pool_compact(sys, node);
	error = write_count(sys, node, page_bytes, before.pages + pages);
	if (error)
		return vfb_fail_errno(
			error, "cannot grow the pool of hugepages of %s: only root can write %s",
			vfb_size_text(page_bytes).text,
			pool_path(node, page_bytes, "nr_hugepages").text);
	error = pool_read_size(sys, node, page_bytes, &after);
	/* It is not known what was added: restore the former size. */
	if (error)
		write_count(sys, node, page_bytes, lasting_pages(&before));
	else if (lasting_pages(&after) > lasting_pages(&before))
		memory->loans[memory->loan_count - 1].pages = lasting_pages(&after) -
							      lasting_pages(&before);
	return error;
}

/* The number of pages that the memory needs on its @i-th node. */
static uint64_t node_share(const struct vfb_memory *memory, size_t i, uint64_t page_bytes,
			   uint64_t pages)
{
	if (memory->policy == VFB_NUMA_SPLIT)
		return memory->node_bytes[i] / page_bytes;
	return pages * (i + 1) / memory->node_count - pages * i / memory->node_count;
}

static int pool_borrow_on_nodes(struct vfb_memory *memory, uint64_t page_bytes, uint64_t pages)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	int error = 0;

	for (size_t i = 0; i < memory->node_count && !error; i++) {
		uint64_t needed = node_share(memory, i, page_bytes, pages);
		uint64_t available = vfb_pool_free(sys, memory->nodes[i], page_bytes);

		if (available < needed)
			error = pool_borrow(memory, memory->nodes[i], page_bytes,
					    needed - available);
	}
	return error;
}

/* The rest that is missing, since some free pages of the nodes are reserved for others. */
static int pool_borrow_anywhere(struct vfb_memory *memory, uint64_t page_bytes, uint64_t pages)
{
	uint64_t available = vfb_pool_free(memory->ctx->sys, ANYWHERE, page_bytes);

	return available < pages ? pool_borrow(memory, ANYWHERE, page_bytes, pages - available) : 0;
}

static int report_too_little(const struct vfb_memory *memory, uint64_t page_bytes, uint64_t added)
{
	return vfb_fail(-ENOMEM,
			"the pool of hugepages of %s could only grow by %" PRIu64
			" pages, too few for %s: memory is in use or fragmented "
			"(/proc/buddyinfo), use smaller pages",
			vfb_size_text(page_bytes).text, added, vfb_size_text(memory->bytes).text);
}

int vfb_pool_grow(struct vfb_memory *memory, uint64_t page_bytes, uint64_t pages)
{
	size_t loans = memory->loan_count;
	uint64_t added = 0;
	bool enough = true;
	int error;

	error = pool_borrow_on_nodes(memory, page_bytes, pages);
	if (!error)
		enough = !pool_check_nodes(memory, page_bytes, pages);
	if (!error && enough)
		error = pool_borrow_anywhere(memory, page_bytes, pages);
	for (size_t i = loans; i < memory->loan_count; i++)
		added += memory->loans[i].pages;
	if (!error && (!enough || vfb_pool_check(memory, page_bytes, pages)))
		error = report_too_little(memory, page_bytes, added);
	return error;
}

void vfb_pool_shrink(struct vfb_memory *memory)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	struct pool_size size;

	for (size_t i = 0; i < memory->loan_count; i++) {
		const struct vfb_pool_loan *loan = &memory->loans[i];

		if (!loan->pages || pool_read_size(sys, loan->node, loan->page_bytes, &size))
			continue;
		write_count(sys, loan->node, loan->page_bytes,
			    lasting_pages(&size) > loan->pages ?
				    lasting_pages(&size) - loan->pages :
				    0);
	}
	free(memory->loans);
	memory->loans = NULL;
	memory->loan_count = 0;
}
