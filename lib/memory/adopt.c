/* SPDX-License-Identifier: MIT */
/* Memory of the caller. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "memory/cause.h"
#include "options.h"
#include "round.h"

#define KNOWN_FLAGS (VFB_MEMORY_ADOPT_HAS_FD | VFB_MEMORY_ADOPT_POPULATED | VFB_MEMORY_ADOPT_FREE)

static int adopt_check_memory_opts(const struct vfb_sys *sys,
				   const struct vfb_memory_adopt_opts *opts)
{
	uintptr_t address = (uintptr_t)opts->address;
	uint64_t page;

	if (opts->flags & ~KNOWN_FLAGS)
		return vfb_fail(-EINVAL, "flags 0x%x are unknown to adopted memory: 0x%x are known",
				opts->flags, KNOWN_FLAGS);
	if (opts->page_size > VFB_PAGE_1G)
		return vfb_fail(-EINVAL, "adopted memory cannot have page size %d",
				(int)opts->page_size);
	if (!opts->address && !(opts->flags & VFB_MEMORY_ADOPT_HAS_FD))
		return vfb_fail(-EINVAL, "adopted memory needs an address, or a file "
					 "descriptor with VFB_MEMORY_ADOPT_HAS_FD");
	if (opts->flags & VFB_MEMORY_ADOPT_HAS_FD && opts->flags & VFB_MEMORY_ADOPT_FREE)
		return vfb_fail(-EINVAL, "adopted memory with a file cannot be freed "
					 "(VFB_MEMORY_ADOPT_FREE): the file keeps its pages");
	if (opts->flags & VFB_MEMORY_ADOPT_HAS_FD && opts->fd < 0)
		return vfb_fail(-EINVAL, "%d is not a file descriptor", opts->fd);
	if (!opts->bytes || opts->bytes > SSIZE_MAX || address + opts->bytes < address)
		return vfb_fail(-EINVAL, "memory of %s at 0x%" PRIxPTR " cannot be adopted",
				vfb_size_text(opts->bytes).text, address);
	page = vfb_page_bytes(sys, opts->page_size);
	if ((address | opts->bytes | opts->fd_offset) % page)
		return vfb_fail(-EINVAL,
				"memory of %s at 0x%" PRIxPTR ", offset 0x%" PRIx64
				" of its file, is not aligned to its pages of %s",
				vfb_size_text(opts->bytes).text, address, opts->fd_offset,
				vfb_size_text(page).text);
	return 0;
}

/* The page size of the file, if the caller does not give one and the size is a multiple. */
static void adopt_page_size(struct vfb_memory *memory, enum vfb_page_size page_size,
			    uint64_t file_page_bytes)
{
	const struct vfb_sys *sys = memory->ctx->sys;

	memory->page_size = page_size == VFB_PAGE_AUTO ? VFB_PAGE_BASE : page_size;
	memory->page_bytes = vfb_page_bytes(sys, memory->page_size);
	memory->mapped_page_bytes = file_page_bytes;
	if (page_size != VFB_PAGE_AUTO || file_page_bytes <= memory->page_bytes ||
	    ((uintptr_t)memory->address | memory->bytes | memory->fd_offset) % file_page_bytes)
		return;
	memory->page_bytes = file_page_bytes;
	memory->page_size = file_page_bytes == GIB     ? VFB_PAGE_1G :
			    file_page_bytes == 2 * MIB ? VFB_PAGE_2M :
							 VFB_PAGE_HUGE;
}

/* What is mapped at an address, of /proc/self/smaps. */
struct adopt_mapping {
	uint64_t address;
	/* The current line belongs to it. */
	bool inside;
	uint64_t page_bytes;
};

/* Mappings are sorted by address: what follows need not be read. */
static bool adopt_read_mapping(const char *line, void *arg)
{
	struct adopt_mapping *mapping = arg;
	unsigned long start, end;
	uint64_t kib;

	if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
		mapping->inside = start <= mapping->address && mapping->address < end;
		return start <= mapping->address;
	}
	if (!mapping->inside || sscanf(line, "KernelPageSize: %" SCNu64, &kib) != 1)
		return true;
	mapping->page_bytes = kib * KIB;
	return false;
}

/*
 * The pages of a mapping. Only smaps says how large they are, but reading it takes long if much is
 * populated in base pages: what begins at a base page that is no page of the mapping has others.
 */
static uint64_t adopt_find_pages(const struct vfb_memory *memory)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	uint64_t base = vfb_memory_base_page(memory);
	struct adopt_mapping mapping = {.address = (uintptr_t)memory->address, .page_bytes = base};
	/* The second of an even and an odd one is no multiple of any larger page. */
	char *odd = memory->address + (mapping.address / base % 2 ? 0 : base);

	if (odd + base <= memory->address + memory->bytes &&
	    sys->mremap_same(sys, odd, base) == -EINVAL)
		vfb_sys_each_line(sys, "/proc/self/smaps", adopt_read_mapping, &mapping);
	return mapping.page_bytes;
}

/* Access beyond the end of a file raises SIGBUS; mmap() beyond it grows a hugetlbfs file. */
static int adopt_file(struct vfb_memory *memory, struct vfb_sys_file *file)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	int error = sys->file_info(sys, memory->fd, file);

	if (error)
		return vfb_fail_errno(error, "cannot read what file descriptor %d is (fstat)",
				      memory->fd);
	if (file->is_regular &&
	    (memory->fd_offset > file->bytes || memory->bytes > file->bytes - memory->fd_offset))
		return vfb_fail(-EINVAL,
				"%s at offset 0x%" PRIx64 " of file descriptor %d end beyond the "
				"file, which has %s: extend it first (ftruncate)",
				vfb_size_text(memory->bytes).text, memory->fd_offset, memory->fd,
				vfb_size_text(file->bytes).text);
	return 0;
}

static int adopt_map_file(struct vfb_memory *memory, const struct vfb_sys_file *file)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	char what[64];
	void *address;
	int error;

	error = sys->mmap(sys, NULL, memory->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory->fd,
			  memory->fd_offset, &address);
	/* hugepage_subpool_get_pages(): the option size= of hugetlbfs. */
	if (error == -ENOMEM && file->free_bytes < memory->bytes)
		return vfb_fail(error,
				"cannot map %s of file descriptor %d: its file system has %s left: "
				"enlarge it (mount -o remount,size=), or delete files",
				vfb_size_text(memory->bytes).text, memory->fd,
				vfb_size_text(file->free_bytes).text);
	if (error) {
		snprintf(what, sizeof(what), "file descriptor %d at offset 0x%" PRIx64, memory->fd,
			 memory->fd_offset);
		return vfb_mmap_failed(sys, error, what, memory->bytes, file->page_bytes);
	}
	memory->address = address;
	memory->reservation = address;
	/* mmap() rounds up to whole hugetlbfs pages, munmap() does not. */
	memory->reservation_bytes = round_up(memory->bytes, file->page_bytes);
	return 0;
}

static int adopt_pages(struct vfb_memory *memory, const struct vfb_memory_adopt_opts *opts)
{
	struct vfb_sys_file file = {.page_bytes = vfb_memory_base_page(memory)};
	int error = memory->fd < 0 ? 0 : adopt_file(memory, &file);

	if (error)
		return error;
	if (memory->fd < 0 && opts->page_size == VFB_PAGE_AUTO)
		file.page_bytes = adopt_find_pages(memory);
	adopt_page_size(memory, opts->page_size, file.page_bytes);
	memory->trusted = opts->flags & VFB_MEMORY_ADOPT_POPULATED;
	error = vfb_memory_allocate_bitmap(memory, memory->trusted);
	if (error)
		return error;
	if (!memory->address)
		return adopt_map_file(memory, &file);
	return memory->fd < 0 ? 0 : vfb_memory_check_file(memory, &file);
}

int vfb_memory_adopt(struct vfb_ctx *ctx, const struct vfb_memory_adopt_opts *opts,
		     struct vfb_memory **out)
{
	struct vfb_memory_adopt_opts known = VFB_MEMORY_ADOPT_OPTS_INIT;
	struct vfb_memory *memory;
	int error;

	*out = NULL;
	error = vfb_struct_read(&known, sizeof(known), opts);
	if (!error)
		error = adopt_check_memory_opts(ctx->sys, &known);
	if (error)
		return error;
	memory = calloc(1, sizeof(*memory));
	if (!memory)
		return vfb_fail_memory();
	memory->ctx = ctx;
	memory->adopted = true;
	memory->frees = known.flags & VFB_MEMORY_ADOPT_FREE;
	memory->address = known.address;
	memory->bytes = known.bytes;
	memory->fd = known.flags & VFB_MEMORY_ADOPT_HAS_FD ? known.fd : -1;
	memory->fd_offset = known.fd_offset;
	error = adopt_pages(memory, &known);
	if (error) {
		free(memory->populated);
		free(memory);
		return error;
	}
	atomic_fetch_add(&ctx->objects, 1);
	*out = memory;
	return 0;
}
