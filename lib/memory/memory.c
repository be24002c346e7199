/* SPDX-License-Identifier: MIT */
#include "memory/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>

#include "memory/pool.h"
#include "options.h"

#define KNOWN_FLAGS (VFB_MEMORY_GROW_POOL | VFB_MEMORY_NO_DUMP | VFB_MEMORY_KEEP_ON_FORK)

/* Wants the pool lock if the pool was grown. After an error nothing has changed. */
static int release_pages_locked(struct vfb_memory *memory)
{
	int error = vfb_backing_release(memory);

	if (!error)
		vfb_pool_shrink(memory);
	return error;
}

/* The lock keeps other processes from taking the freed pages before the pool shrinks. */
static int release_pages(struct vfb_memory *memory)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	struct vfb_pool_lock lock = VFB_POOL_UNLOCKED;
	int error;

	if (memory->loan_count)
		lock = vfb_pool_lock(sys);
	error = release_pages_locked(memory);
	vfb_pool_unlock(sys, &lock);
	return error;
}

static void set_page_size(struct vfb_memory *memory, enum vfb_page_size page_size,
			  uint64_t huge_bytes)
{
	memory->page_size = page_size;
	memory->page_bytes = page_size == VFB_PAGE_HUGE ?
				     huge_bytes :
				     vfb_page_bytes(memory->ctx->sys, page_size);
	memory->bulk_bytes = page_size == VFB_PAGE_MIXED ? memory->bytes / GIB * GIB : 0;
}

/* After a failure everything is released. */
static int make_pages(struct vfb_memory *memory, enum vfb_memory_kind kind)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	struct vfb_pool_lock lock = VFB_POOL_UNLOCKED;
	int error;

	/* Held until the pages are reserved; others would take what was added. */
	if (memory->flags & VFB_MEMORY_GROW_POOL && vfb_memory_is_hugetlb(memory))
		lock = vfb_pool_lock(sys);
	error = vfb_page_size_prepare(memory, kind);
	if (!error)
		error = vfb_backing_make(memory, kind);
	if (!error)
		error = vfb_memory_apply_policy(memory);
	if (error)
		release_pages_locked(memory);
	vfb_pool_unlock(sys, &lock);
	return error;
}

/* Whether the search for a page size is over: *@error is its result then. */
static bool try_page_size(struct vfb_memory *memory, enum vfb_memory_kind kind,
			  enum vfb_page_size page_size, uint64_t huge_bytes, int *error)
{
	set_page_size(memory, page_size, huge_bytes);
	*error = vfb_page_size_check_room(memory);
	if (!*error)
		*error = make_pages(memory, kind);
	/* What could not be released must not be lost. */
	if (!*error || memory->reservation)
		return true;
	return page_size == VFB_PAGE_BASE || vfb_page_size_note(memory);
}

/* Tries the page sizes from the largest to the smallest. */
static int make_auto(struct vfb_memory *memory, enum vfb_memory_kind kind)
{
	uint64_t sizes[VFB_POOL_SIZES];
	size_t count = vfb_pool_sizes(memory->ctx->sys, sizes);
	/* Mixed equals 1g otherwise, or is not possible for a memfd. */
	bool mixed = kind != VFB_MEMORY_MEMFD && memory->bytes % GIB;
	int error;

	for (size_t i = 0; i < count && sizes[i] >= 2 * MIB; i++) {
		enum vfb_page_size page_size = sizes[i] == GIB	   ? VFB_PAGE_1G :
					       sizes[i] == 2 * MIB ? VFB_PAGE_2M :
								     VFB_PAGE_HUGE;

		if (try_page_size(memory, kind, page_size, sizes[i], &error) ||
		    (sizes[i] == GIB && mixed &&
		     try_page_size(memory, kind, VFB_PAGE_MIXED, 0, &error)))
			return error;
	}
	if (!try_page_size(memory, kind, VFB_PAGE_THP, 0, &error))
		try_page_size(memory, kind, VFB_PAGE_BASE, 0, &error);
	return error;
}

/* VFB_PAGE_HUGE alone has a size of its own. */
static int check_page_size(const struct vfb_sys *sys, const struct vfb_memory_opts *opts)
{
	uint64_t base = sys->base_page(sys), page = opts->page_bytes;

	if (opts->page_size > VFB_PAGE_HUGE)
		return vfb_fail(-EINVAL, "page size %d is unknown", (int)opts->page_size);
	if (opts->page_size == VFB_PAGE_HUGE ? page <= base || page & (page - 1) : page != 0)
		return vfb_fail(-EINVAL,
				"page_bytes is 0x%" PRIx64 ": it must be a power of two above %s, "
				"the base page, with VFB_PAGE_HUGE, and 0 otherwise",
				page, vfb_size_text(base).text);
	if (opts->page_size != VFB_PAGE_HUGE)
		page = vfb_page_bytes(sys, opts->page_size);
	if (opts->bytes % page)
		return vfb_fail(-EINVAL, "a size of %s is not a multiple of the page size, %s",
				vfb_size_text(opts->bytes).text, vfb_size_text(page).text);
	return 0;
}

static int memory_check_opts(const struct vfb_sys *sys, const struct vfb_memory_opts *opts)
{
	if (opts->kind > VFB_MEMORY_MEMFD)
		return vfb_fail(-EINVAL, "memory kind %d is unknown", (int)opts->kind);
	if (opts->flags & ~KNOWN_FLAGS)
		return vfb_fail(-EINVAL, "memory flags 0x%x are unknown: 0x%x are known",
				opts->flags, KNOWN_FLAGS);
	if (!opts->bytes)
		return vfb_fail(-EINVAL, "a size of 0 bytes: at least one page is needed");
	if (opts->bytes > SSIZE_MAX - GIB)
		return vfb_fail(-EINVAL, "a size of %s is beyond what can be addressed",
				vfb_size_text(opts->bytes).text);
	return check_page_size(sys, opts);
}

static void free_memory(struct vfb_memory *memory)
{
	free(memory->populated);
	free(memory->nodes);
	free(memory->node_bytes);
	free(memory->fallback);
	free(memory);
}

int vfb_memory_create(struct vfb_ctx *ctx, const struct vfb_memory_opts *opts,
		      struct vfb_memory **out)
{
	struct vfb_memory_opts known = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory *memory;
	struct vfb_span span;
	int error;

	*out = NULL;
	error = vfb_struct_read(&known, sizeof(known), opts);
	if (!error)
		error = memory_check_opts(ctx->sys, &known);
	if (error)
		return error;
	memory = calloc(1, sizeof(*memory));
	if (!memory)
		return vfb_fail_memory();
	memory->ctx = ctx;
	memory->bytes = known.bytes;
	memory->fd = -1;
	memory->flags = known.flags;
	vfb_observe_begin(&span, &ctx->observer, VFB_PHASE_CREATE);
	error = vfb_memory_set_policy(memory, &known);
	set_page_size(memory, known.page_size, known.page_bytes);
	if (!error)
		error = known.page_size == VFB_PAGE_AUTO ? make_auto(memory, known.kind) :
							   make_pages(memory, known.kind);
	if (!error)
		error = vfb_memory_allocate_bitmap(memory, false);
	vfb_observe_end(&span, .operation = "memory", .result = error,
			.address = (uintptr_t)memory->address, .bytes = memory->bytes,
			.page_bytes = memory->page_bytes, .node = VFB_ANY_NODE);
	if (error) {
		release_pages(memory);
		free_memory(memory);
		return error;
	}
	atomic_fetch_add(&ctx->objects, 1);
	*out = memory;
	return 0;
}

int vfb_memory_info(const struct vfb_memory *memory, struct vfb_memory_info *info)
{
	struct vfb_memory_info known = {
		.address = memory->address,
		.bytes = memory->bytes,
		.fd = memory->fd,
		.page_size = memory->page_size,
		.page_bytes = memory->page_bytes,
		.populated_bytes = atomic_load(&memory->populated_bytes),
		.fallback = memory->fallback ? memory->fallback : "",
	};

	return vfb_struct_write(info, &known, sizeof(known));
}

int vfb_memory_destroy(struct vfb_memory *memory)
{
	uint64_t bytes, page_bytes;
	unsigned int users;
	struct vfb_span span;
	struct vfb_ctx *ctx;
	int error;

	if (!memory)
		return 0;
	error = vfb_observer_check_process(&memory->ctx->observer);
	if (error)
		return error;
	users = atomic_load(&memory->users);
	if (users)
		return vfb_fail(
			-EBUSY,
			"%u ranges of the memory are mapped, or jobs work on it: unmap them "
			"first",
			users);
	ctx = memory->ctx;
	bytes = memory->bytes;
	page_bytes = memory->page_bytes;
	vfb_observe_begin(&span, &ctx->observer, VFB_PHASE_DESTROY);
	if (memory->frees)
		vfb_memory_free_pages(memory);
	error = release_pages(memory);
	if (!error)
		free_memory(memory);
	vfb_observe_end(&span, .operation = "memory", .result = error, .bytes = bytes,
			.page_bytes = page_bytes, .node = VFB_ANY_NODE);
	if (!error)
		atomic_fetch_sub(&ctx->objects, 1);
	return error;
}
