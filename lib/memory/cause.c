/* SPDX-License-Identifier: MIT */
#include "memory/cause.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory/pool.h"
#include "memory/room.h"
#include "sys/fault.h"
#include "sys/rights.h"

/* ---- Populating ---- */

/* " on node 1" where the policy allows no other. */
struct where {
	char text[32];
};

static struct where where_of(const struct vfb_memory *memory, int node)
{
	struct where where = {""};

	if ((memory->policy == VFB_NUMA_BIND || memory->policy == VFB_NUMA_SPLIT) && node >= 0)
		snprintf(where.text, sizeof(where.text), " on node %d", node);
	return where;
}

struct allowed_nodes {
	char *text;
	size_t bytes;
};

static bool visit_status(const char *line, void *arg)
{
	const struct allowed_nodes *allowed = arg;

	if (strncmp(line, "Mems_allowed_list:", 18))
		return true;
	snprintf(allowed->text, allowed->bytes, "%s", line + 18 + strspn(line + 18, " \t"));
	return false;
}

void vfb_read_allowed_nodes(const struct vfb_sys *sys, char *text, size_t bytes)
{
	struct allowed_nodes allowed = {text, bytes};

	text[0] = '\0';
	vfb_sys_each_line(sys, "/proc/self/status", visit_status, &allowed);
}

static int report_no_hugepages(const struct vfb_memory *memory, uint64_t page_bytes, int node)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	struct where where = where_of(memory, node);
	struct vfb_size_text pages = vfb_size_text(page_bytes);
	uint64_t available = vfb_pool_free(sys, where.text[0] ? node : -1, page_bytes);
	struct vfb_room_limit limit;
	char nodes[64];

	vfb_room_read(sys, page_bytes, VFB_ROOM_ANYWHERE, page_bytes, &limit);
	if (limit.bytes < page_bytes)
		return vfb_fail(
			-ENOMEM,
			"cannot populate %s in pages of %s: %s, of which %s are left: raise "
			"the limit of the cgroup",
			vfb_size_text(memory->bytes).text, pages.text, limit.text,
			vfb_size_text(limit.bytes).text);
	if (!available)
		return vfb_fail(-ENOMEM,
				"out of free pages of %s%s while populating %s: raise "
				"nr_hugepages, or use smaller pages",
				pages.text, where.text, vfb_size_text(memory->bytes).text);
	vfb_read_allowed_nodes(sys, nodes, sizeof(nodes));
	return vfb_fail(-ENOMEM,
			"cannot populate %s in pages of %s%s, though %" PRIu64
			" of them are free: possible causes are that they are on other nodes than "
			"the policy and the cpuset (%s) allow, that others have reserved them, or "
			"a limit of a cgroup that is not visible here",
			vfb_size_text(memory->bytes).text, pages.text, where.text, available,
			nodes);
}

static int report_no_memory(const struct vfb_memory *memory, uint64_t bytes, int node)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	struct where where = where_of(memory, node);
	struct vfb_room_limit limit;
	char nodes[64];

	/* First the node, which is why the others do not help. */
	if (where.text[0] && vfb_room_check(sys, memory->page_bytes, node, bytes))
		return -ENOMEM;
	vfb_room_read(sys, memory->page_bytes, VFB_ROOM_ANYWHERE, bytes, &limit);
	if (limit.bytes < bytes)
		return vfb_room_check(sys, memory->page_bytes, VFB_ROOM_ANYWHERE, bytes);
	vfb_read_allowed_nodes(sys, nodes, sizeof(nodes));
	return vfb_fail(-ENOMEM,
			"cannot populate %s%s of %s, though %s are left (%s): possible causes are "
			"that they are on other nodes than the policy and the cpuset (%s) allow, "
			"or a limit of a cgroup that is not visible here",
			vfb_size_text(bytes).text, where.text, vfb_size_text(memory->bytes).text,
			limit.bytes == UINT64_MAX ? "enough" : vfb_size_text(limit.bytes).text,
			limit.text[0] ? limit.text : "no limit is known", nodes);
}

static int report_fault(const struct vfb_memory *memory, const struct vfb_fault *fault)
{
	bool full = fault->kind == VFB_FAULT_FILE_SYSTEM_FULL;
	bool denied = fault->kind == VFB_FAULT_NO_ACCESS || fault->kind == VFB_FAULT_READ_ONLY;

	if (fault->kind == VFB_FAULT_HOLE)
		return vfb_fail(-EFAULT,
				"part of the memory of %s at %p is not mapped any more (0x%" PRIx64
				"-0x%" PRIx64
				"): the caller must not unmap it before it is destroyed here",
				vfb_size_text(memory->bytes).text, (void *)memory->address,
				fault->first, fault->end - 1);
	return vfb_fail(full   ? -ENOMEM :
			denied ? -EACCES :
				 -EFAULT,
			"cannot populate %s: %s", vfb_size_text(memory->bytes).text,
			vfb_fault_describe(fault).text);
}

int vfb_populate_failed(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes, int error,
			int node)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	uint64_t page_bytes = vfb_memory_pool_page_at(memory, offset);
	struct where where = where_of(memory, node);
	struct vfb_fault fault;

	if (error == -EHWPOISON)
		return vfb_fail(error, "a page of %s%s has a memory error: see the kernel log",
				vfb_size_text(page_bytes).text, where.text);
	/* EINVAL: read-only or special mappings. EFAULT: a write would have raised SIGBUS. */
	if (error == -EINVAL || error == -EFAULT || error == -ENOMEM) {
		fault = vfb_sys_find_fault(sys, (uintptr_t)memory->address + offset, bytes, true,
					   false, memory->fd);
		if (fault.kind)
			return report_fault(memory, &fault);
	}
	if (error == -EFAULT || error == -ENOMEM)
		return page_bytes > sys->base_page(sys) ?
			       report_no_hugepages(memory, page_bytes, node) :
			       report_no_memory(memory, bytes, node);
	return vfb_fail_errno(error, "cannot populate pages of %s%s",
			      vfb_size_text(page_bytes).text, where.text);
}

/* ---- Mapping into the process ---- */

static bool count_line(const char *line, void *arg)
{
	(void)line;
	++*(uint64_t *)arg;
	return true;
}

static uint64_t read_max_map_count(const struct vfb_sys *sys)
{
	char text[32];

	return vfb_sys_read_file(sys, "/proc/sys/vm/max_map_count", text, sizeof(text)) > 0 ?
		       strtoull(text, NULL, 10) :
		       UINT64_MAX;
}

/* The vsyscall page is listed, but not counted. */
static bool report_map_count(const struct vfb_sys *sys, int error, const char *what, uint64_t bytes)
{
	uint64_t limit = read_max_map_count(sys), count = 0;

	vfb_sys_each_line(sys, "/proc/self/maps", count_line, &count);
	if (count + 1 < limit)
		return false;
	vfb_fail(error,
		 "cannot map %s of %s: the process has %" PRIu64
		 " mappings, and vm.max_map_count allows %" PRIu64
		 ": raise it (sysctl vm.max_map_count)",
		 vfb_size_text(bytes).text, what, count, limit);
	return true;
}

static bool report_address_space(const struct vfb_sys *sys, int error, const char *what,
				 uint64_t bytes)
{
	uint64_t limit = vfb_sys_soft_limit(sys, "Max address space");
	struct vfb_field size = {.name = "VmSize", .base = 10};

	if (limit == UINT64_MAX || vfb_sys_read_fields(sys, "/proc/self/status", &size, 1) ||
	    (size.value * KIB <= limit && bytes <= limit - size.value * KIB))
		return false;
	vfb_fail(error,
		 "cannot map %s of %s: RLIMIT_AS allows the process %s of addresses, and it uses "
		 "%" PRIu64 " KiB: raise it (ulimit -v)",
		 vfb_size_text(bytes).text, what, vfb_size_text(limit).text, size.value);
	return true;
}

/* In this mode MAP_NORESERVE counts too. */
static bool report_overcommit(const struct vfb_sys *sys, int error, const char *what,
			      uint64_t bytes)
{
	struct vfb_field fields[] = {{.name = "CommitLimit"}, {.name = "Committed_AS"}};
	char mode[16];

	if (vfb_sys_read_file(sys, "/proc/sys/vm/overcommit_memory", mode, sizeof(mode)) <= 0 ||
	    mode[0] != '2' || vfb_sys_read_fields(sys, "/proc/meminfo", fields, 2) ||
	    fields[1].value * KIB + bytes <= fields[0].value * KIB)
		return false;
	vfb_fail(error,
		 "cannot map %s of %s: vm.overcommit_memory is 2, and of the %" PRIu64
		 " KiB that it allows, %" PRIu64
		 " KiB are committed: raise vm.overcommit_ratio, or set vm.overcommit_memory=0",
		 vfb_size_text(bytes).text, what, fields[0].value, fields[1].value);
	return true;
}

/* Reserving is limited separately from using: hugetlb.2MB.rsvd.max. */
static bool report_reservation(const struct vfb_sys *sys, int error, const char *what,
			       uint64_t bytes, uint64_t page_bytes)
{
	uint64_t available = vfb_pool_free(sys, -1, page_bytes);
	char text[VFB_ERROR_BYTES];

	if (vfb_room_check_reserve(sys, page_bytes, bytes)) {
		vfb_error_save(text);
		vfb_fail(error, "cannot map %s of %s: %.300s", vfb_size_text(bytes).text, what,
			 text);
	} else if (available < bytes / page_bytes) {
		vfb_fail(error,
			 "cannot map %s of %s: only %" PRIu64
			 " pages are free that others have not reserved: raise nr_hugepages, or "
			 "use smaller pages",
			 vfb_size_text(bytes).text, what, available);
	} else {
		return false;
	}
	return true;
}

int vfb_mmap_failed(const struct vfb_sys *sys, int error, const char *what, uint64_t bytes,
		    uint64_t page_bytes)
{
	/* mlock_future_ok() */
	if (error == -EAGAIN)
		return vfb_fail(error,
				"cannot map %s of %s: all memory of the process is locked "
				"(mlockall), and RLIMIT_MEMLOCK does not allow that much: raise it "
				"(ulimit -l), or do not lock future mappings",
				vfb_size_text(bytes).text, what);
	if (error == -ENOMEM && page_bytes > sys->base_page(sys) &&
	    report_reservation(sys, error, what, bytes, page_bytes))
		return error;
	if (error == -ENOMEM && (report_map_count(sys, error, what, bytes) ||
				 report_address_space(sys, error, what, bytes) ||
				 report_overcommit(sys, error, what, bytes)))
		return error;
	return vfb_fail_errno(error, "cannot map %s of %s", vfb_size_text(bytes).text, what);
}
