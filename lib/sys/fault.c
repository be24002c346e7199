/* SPDX-License-Identifier: MIT */
#include "sys/fault.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A line of /proc/self/maps. */
struct mapping {
	unsigned long start, end, offset, inode;
	unsigned int major, minor;
	char mode[5];
	const char *path;
};

struct fault_search {
	const struct vfb_sys *sys;
	/* What has not been looked at yet. */
	uint64_t at, end;
	bool write, pin;
	int fd;
	struct vfb_fault fault;
};

static bool fault_parse(const char *line, struct mapping *mapping)
{
	int path = 0;

	if (sscanf(line, "%lx-%lx %4s %lx %x:%x %lu %n", &mapping->start, &mapping->end,
		   mapping->mode, &mapping->offset, &mapping->major, &mapping->minor,
		   &mapping->inode, &path) != 7)
		return false;
	mapping->path = line + path;
	return true;
}

static bool begins(const char *path, const char *prefix)
{
	return !strncmp(path, prefix, strlen(prefix));
}

/* A device's region, mapped by its node, by what a group has opened, or by sysfs. */
static bool is_device(const struct mapping *mapping)
{
	return begins(mapping->path, "/dev/vfio/") || begins(mapping->path, "/sys/devices/") ||
	       begins(mapping->path, "anon_inode:[vfio-device]");
}

/* check_vma_flags(): secret memory, and buffers of other drivers. */
static bool is_special(const struct mapping *mapping)
{
	return begins(mapping->path, "/secretmem") || begins(mapping->path, "/dmabuf:") ||
	       begins(mapping->path, "anon_inode:") || begins(mapping->path, "[vv");
}

static bool is_same_file(const struct mapping *mapping, const struct vfb_sys_file *file)
{
	return file->major == mapping->major && file->minor == mapping->minor &&
	       file->inode == mapping->inode;
}

/* O_PATH opens nothing of the file. The link in map_files needs CAP_CHECKPOINT_RESTORE. */
static bool look_at_path(const struct vfb_sys *sys, const struct mapping *mapping, const char *path,
			 struct vfb_sys_file *file)
{
	int fd = sys->open(sys, path, O_PATH);
	bool same;

	if (fd < 0)
		return false;
	same = !sys->file_info(sys, fd, file) && is_same_file(mapping, file);
	sys->close(sys, fd);
	return same;
}

static bool look_at_file(const struct fault_search *search, const struct mapping *mapping,
			 struct vfb_sys_file *file)
{
	const struct vfb_sys *sys = search->sys;
	char path[64];

	if (search->fd >= 0 && !sys->file_info(sys, search->fd, file) &&
	    is_same_file(mapping, file))
		return true;
	if (mapping->path[0] == '/' && look_at_path(sys, mapping, mapping->path, file))
		return true;
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", mapping->start, mapping->end);
	return look_at_path(sys, mapping, path, file);
}

static void fault_set(struct fault_search *search, const struct mapping *mapping,
		      enum vfb_fault_kind kind, uint64_t bytes)
{
	search->fault.kind = kind;
	search->fault.first = search->at;
	search->fault.end = mapping->end < search->end ? mapping->end : search->end;
	search->fault.bytes = bytes;
	snprintf(search->fault.path, sizeof(search->fault.path), "%s", mapping->path);
}

static void check_mapped_file(struct fault_search *search, const struct mapping *mapping)
{
	uint64_t end = mapping->end < search->end ? mapping->end : search->end;
	struct vfb_sys_file file;

	if (!mapping->inode || !look_at_file(search, mapping, &file) || !file.is_regular)
		return;
	if (end - mapping->start > file.bytes ||
	    mapping->offset > file.bytes - (end - mapping->start))
		fault_set(search, mapping, VFB_FAULT_FILE_SHORT, file.bytes);
	/* gup_fast_folio_allowed(), writable_file_mapping_allowed(): Linux 6.5 */
	else if (search->pin && search->write && mapping->mode[3] == 's' && !file.is_memory)
		fault_set(search, mapping, VFB_FAULT_ON_DISK, file.bytes);
	else if (file.free_bytes < file.page_bytes)
		fault_set(search, mapping, VFB_FAULT_FILE_SYSTEM_FULL, file.total_bytes);
}

static void check_mapping(struct fault_search *search, const struct mapping *mapping)
{
	if (is_device(mapping))
		fault_set(search, mapping, VFB_FAULT_DEVICE, 0);
	else if (is_special(mapping))
		fault_set(search, mapping, VFB_FAULT_SPECIAL, 0);
	else if (mapping->mode[0] == '-' && mapping->mode[1] == '-')
		fault_set(search, mapping, VFB_FAULT_NO_ACCESS, 0);
	else if (mapping->mode[1] == '-' && search->write)
		fault_set(search, mapping, VFB_FAULT_READ_ONLY, 0);
	else
		check_mapped_file(search, mapping);
}

/* Returns false if no further line has to be read. */
static bool visit_mapping(const char *line, void *arg)
{
	const struct mapping nothing = {.end = UINT64_MAX, .path = ""};
	struct fault_search *search = arg;
	struct mapping mapping;

	if (!fault_parse(line, &mapping) || mapping.end <= search->at)
		return true;
	if (mapping.start > search->at) {
		fault_set(search, &nothing, VFB_FAULT_HOLE, 0);
		if (mapping.start < search->end)
			search->fault.end = mapping.start;
		return false;
	}
	check_mapping(search, &mapping);
	search->at = mapping.end;
	return !search->fault.kind && search->at < search->end;
}

struct vfb_fault vfb_sys_find_fault(const struct vfb_sys *sys, uint64_t first, uint64_t bytes,
				    bool write, bool pin, int fd)
{
	const struct mapping nothing = {.end = UINT64_MAX, .path = ""};
	struct fault_search search = {
		.sys = sys,
		.at = first,
		.end = first + bytes,
		.write = write,
		.pin = pin,
		.fd = fd,
		.fault.pin = pin,
	};

	if (!vfb_sys_each_line(sys, "/proc/self/maps", visit_mapping, &search) &&
	    !search.fault.kind && search.at < search.end)
		fault_set(&search, &nothing, VFB_FAULT_HOLE, 0);
	return search.fault;
}

/* Files without a name that others can open: memfd_create(2), shared anonymous memory, shmget(2).
 */
static bool is_nameless_memory(const struct mapping *mapping)
{
	return begins(mapping->path, "/memfd:") || begins(mapping->path, "/dev/zero (deleted)") ||
	       begins(mapping->path, "/anon_hugepage") || begins(mapping->path, "/SYSV");
}

static bool mapping_is_memory(const struct fault_search *search, const struct mapping *mapping)
{
	struct vfb_sys_file file;

	if (!mapping->inode)
		return !mapping->path[0] || begins(mapping->path, "[anon") ||
		       begins(mapping->path, "[heap]");
	return is_nameless_memory(mapping) ||
	       (look_at_file(search, mapping, &file) && file.is_regular && file.is_memory);
}

/* Returns false if no further line has to be read. */
static bool visit_memory(const char *line, void *arg)
{
	struct fault_search *search = arg;
	struct mapping mapping;

	if (!fault_parse(line, &mapping) || mapping.end <= search->at)
		return true;
	if (mapping.start > search->at || !mapping_is_memory(search, &mapping))
		return false;
	search->at = mapping.end;
	return search->at < search->end;
}

bool vfb_sys_is_memory(const struct vfb_sys *sys, uint64_t first, uint64_t bytes, int fd)
{
	struct fault_search search = {.sys = sys, .at = first, .end = first + bytes, .fd = fd};

	return !vfb_sys_each_line(sys, "/proc/self/maps", visit_memory, &search) &&
	       search.at >= search.end;
}

struct vfb_fault_text vfb_fault_describe(const struct vfb_fault *fault)
{
	const char *name = fault->path[0] ? fault->path : "anonymous memory";
	struct vfb_fault_text result = {""};
	char at[48];

	snprintf(at, sizeof(at), "0x%" PRIx64 "-0x%" PRIx64, fault->first, fault->end - 1);
	switch (fault->kind) {
	case VFB_FAULT_NONE:
		break;
	case VFB_FAULT_HOLE:
		snprintf(result.text, sizeof(result.text),
			 "nothing is mapped at %s: the caller must not unmap memory while it is in "
			 "use",
			 at);
		break;
	case VFB_FAULT_NO_ACCESS:
		snprintf(result.text, sizeof(result.text),
			 "%s at %s is mapped without any access (PROT_NONE): mprotect() it first",
			 name, at);
		break;
	case VFB_FAULT_READ_ONLY:
		snprintf(result.text, sizeof(result.text),
			 "%s at %s is mapped read-only: make it writable (PROT_WRITE), or %s", name,
			 at,
			 fault->pin ? "let devices only read it (VFB_RANGE_READ)" :
				      "adopt it with VFB_MEMORY_ADOPT_POPULATED and let devices "
				      "only read it (VFB_RANGE_READ)");
		break;
	case VFB_FAULT_DEVICE:
		snprintf(result.text, sizeof(result.text),
			 "%s at %s is a region of a device, not memory: map it with "
			 "vfb_bars_map(), or switch peer-to-peer DMA off in the VMM",
			 name, at);
		break;
	case VFB_FAULT_SPECIAL:
		snprintf(result.text, sizeof(result.text),
			 "%s at %s is memory that the kernel neither populates nor pins: use "
			 "anonymous memory, or a memfd",
			 name, at);
		break;
	case VFB_FAULT_FILE_SHORT:
		snprintf(
			result.text, sizeof(result.text),
			"%s, which is mapped at %s, has only %" PRIu64
			" bytes and ends before: extend it (ftruncate), and do not shrink it while "
			"it is in use",
			name, at, fault->bytes);
		break;
	case VFB_FAULT_FILE_SYSTEM_FULL:
		snprintf(result.text, sizeof(result.text),
			 "the file system of %s, which is mapped at %s, is full, it has %" PRIu64
			 " MiB: enlarge it (mount -o remount,size=), or delete files",
			 name, at, fault->bytes >> 20);
		break;
	case VFB_FAULT_ON_DISK:
		snprintf(result.text, sizeof(result.text),
			 "%s, which is mapped at %s, is a file on a disk, and since Linux 6.5 the "
			 "kernel pins those for reading only: use a file on tmpfs or hugetlbfs, or "
			 "a memfd",
			 name, at);
		break;
	}
	return result;
}
