/* SPDX-License-Identifier: MIT */
/* Memory of the caller's. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "memory/memory.h"
#include "options.h"

#define KNOWN_FLAGS (VFB_MEMORY_ADOPT_HAS_FD | VFB_MEMORY_ADOPT_POPULATED)

static int check_opts(const struct vfb_memory_adopt_opts *opts)
{
	uint64_t page = vfb_page_bytes(opts->page_size);
	uintptr_t address = (uintptr_t)opts->address;

	if (opts->flags & ~KNOWN_FLAGS)
		return vfb_fail(-EINVAL, "flags 0x%x are unknown to adopted memory: 0x%x are known",
				opts->flags, KNOWN_FLAGS);
	if (opts->page_size > VFB_PAGE_1G)
		return vfb_fail(-EINVAL, "page size %d is none that adopted memory can have",
				(int)opts->page_size);
	if (!opts->address && !(opts->flags & VFB_MEMORY_ADOPT_HAS_FD))
		return vfb_fail(-EINVAL, "memory to be adopted needs an address, or a file "
					 "descriptor with VFB_MEMORY_ADOPT_HAS_FD");
	if (opts->flags & VFB_MEMORY_ADOPT_HAS_FD && opts->fd < 0)
		return vfb_fail(-EINVAL, "%d is no file descriptor", opts->fd);
	if (!opts->bytes || opts->bytes > SSIZE_MAX || address + opts->bytes < address)
		return vfb_fail(-EINVAL, "memory of %s at 0x%" PRIxPTR " cannot be adopted",
				vfb_size_text(opts->bytes).text, address);
	if ((address | opts->bytes | opts->fd_offset) % page)
		return vfb_fail(-EINVAL,
				"memory of %s at 0x%" PRIxPTR ", offset 0x%" PRIx64
				" of its file, is not aligned to its pages of %s",
				vfb_size_text(opts->bytes).text, address, opts->fd_offset,
				vfb_size_text(page).text);
	return 0;
}

static int map_file(struct vfb_memory *memory)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	void *address;
	int error;

	error = sys->mmap(sys, NULL, memory->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory->fd,
			  memory->fd_offset, &address);
	if (error)
		return vfb_fail_errno(error,
				      "cannot map %s of file descriptor %d at offset 0x%" PRIx64,
				      vfb_size_text(memory->bytes).text, memory->fd,
				      memory->fd_offset);
	memory->address = address;
	memory->reservation = address;
	memory->reservation_bytes = memory->bytes;
	return 0;
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
		error = check_opts(&known);
	if (error)
		return error;
	memory = calloc(1, sizeof(*memory));
	if (!memory)
		return vfb_fail_memory();
	memory->ctx = ctx;
	memory->adopted = true;
	memory->address = known.address;
	memory->bytes = known.bytes;
	memory->fd = known.flags & VFB_MEMORY_ADOPT_HAS_FD ? known.fd : -1;
	memory->fd_offset = known.fd_offset;
	memory->page_size = known.page_size == VFB_PAGE_AUTO ? VFB_PAGE_4K : known.page_size;
	memory->page_bytes = vfb_page_bytes(memory->page_size);
	error = vfb_memory_allocate_bitmap(memory, known.flags & VFB_MEMORY_ADOPT_POPULATED);
	if (!error && !memory->address)
		error = map_file(memory);
	if (error) {
		free(memory->populated);
		free(memory);
		return error;
	}
	atomic_fetch_add(&ctx->objects, 1);
	*out = memory;
	return 0;
}
