/* SPDX-License-Identifier: MIT */
#include "memory/memory.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "options.h"

#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif
#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif

/* log2 of the page size where mmap() and memfd_create() want it, 0 for base pages. */
static unsigned int hugetlb_bits(uint64_t page_bytes)
{
	return page_bytes > 4 * KIB ? (unsigned int)__builtin_ctzll(page_bytes) << MAP_HUGE_SHIFT :
				      0;
}

static int make_memfd(struct vfb_memory *memory, uint64_t page_bytes)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	unsigned int huge = hugetlb_bits(page_bytes);
	int fd, error;

	fd = sys->memfd_create(sys, "vfioboost", huge ? MFD_HUGETLB | huge : 0);
	if (fd < 0)
		return vfb_fail_errno(fd, "cannot create a memfd of pages of %s",
				      vfb_size_text(page_bytes).text);
	error = sys->ftruncate(sys, fd, memory->bytes);
	if (error) {
		sys->close(sys, fd);
		return vfb_fail_errno(error, "cannot make a memfd %s large",
				      vfb_size_text(memory->bytes).text);
	}
	return fd;
}

/*
 * The kernel aligns hugetlb mappings; others are laid into a reservation large enough to align
 * them, so that they can have transparent huge pages, and large IOMMU pages, from end to end.
 */
static int reserve_addresses(struct vfb_memory *memory, uint64_t page_bytes)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	uint64_t align = 2 * MIB;
	int error;

	if (page_bytes > 4 * KIB) {
		memory->address = NULL;
		return 0;
	}
	memory->reservation_bytes = memory->bytes + align;
	error = sys->mmap(sys, NULL, memory->reservation_bytes, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, &memory->reservation);
	if (error)
		return vfb_fail_errno(error, "cannot reserve %s of addresses",
				      vfb_size_text(memory->reservation_bytes).text);
	memory->address = (char *)(((uintptr_t)memory->reservation + align - 1) & ~(align - 1));
	return 0;
}

static int map_pages(struct vfb_memory *memory, uint64_t page_bytes)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	unsigned int huge = hugetlb_bits(page_bytes);
	int flags = memory->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	void *mapped;
	int error;

	if (memory->address)
		flags |= MAP_FIXED | MAP_NORESERVE;
	if (huge && memory->fd < 0)
		flags |= MAP_HUGETLB | huge;
	error = sys->mmap(sys, memory->address, memory->bytes, PROT_READ | PROT_WRITE, flags,
			  memory->fd, 0, &mapped);
	if (error)
		return vfb_fail_errno(error, "cannot map %s of memory in pages of %s",
				      vfb_size_text(memory->bytes).text,
				      vfb_size_text(page_bytes).text);
	memory->address = mapped;
	if (!memory->reservation) {
		memory->reservation = mapped;
		memory->reservation_bytes = memory->bytes;
	}
	return 0;
}

/* Huge pages or none must be known before the first page is populated. */
static int advise(struct vfb_memory *memory, enum vfb_page_size page_size)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	int error;

	if (page_size == VFB_PAGE_THP) {
		error = sys->madvise(sys, memory->address, memory->bytes, MADV_HUGEPAGE);
		if (error)
			return vfb_fail_errno(error, "cannot ask for transparent huge pages");
	}
	if (page_size == VFB_PAGE_4K)
		/* Refused by kernels without huge pages, where there is nothing to refuse. */
		sys->madvise(sys, memory->address, memory->bytes, MADV_NOHUGEPAGE);
	return 0;
}

static void give_back(struct vfb_memory *memory)
{
	const struct vfb_sys *sys = memory->ctx->sys;

	if (memory->reservation)
		sys->munmap(sys, memory->reservation, memory->reservation_bytes);
	memory->reservation = NULL;
	if (memory->fd >= 0)
		sys->close(sys, memory->fd);
	memory->fd = -1;
}

static int make(struct vfb_memory *memory, enum vfb_memory_kind kind, enum vfb_page_size page_size)
{
	uint64_t page_bytes = vfb_page_bytes(page_size);
	int error;

	error = vfb_page_size_check(memory->ctx->sys, memory, kind, page_size);
	if (!error && kind == VFB_MEMORY_MEMFD) {
		memory->fd = make_memfd(memory, page_bytes);
		error = memory->fd < 0 ? memory->fd : 0;
	}
	if (!error)
		error = reserve_addresses(memory, page_bytes);
	if (!error)
		error = map_pages(memory, page_bytes);
	if (!error)
		error = advise(memory, page_size);
	if (!error)
		error = vfb_memory_apply_policy(memory);
	if (error) {
		give_back(memory);
		return error;
	}
	memory->page_size = page_size;
	memory->page_bytes = page_bytes;
	return 0;
}

/* The largest pages that the size and the host allow. */
static int make_auto(struct vfb_memory *memory, enum vfb_memory_kind kind)
{
	static const enum vfb_page_size sizes[] = {VFB_PAGE_1G, VFB_PAGE_2M, VFB_PAGE_THP,
						   VFB_PAGE_4K};
	int error = 0;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		if (memory->bytes % vfb_page_bytes(sizes[i]))
			continue;
		error = make(memory, kind, sizes[i]);
		if (!error)
			break;
	}
	return error;
}

static int check_opts(const struct vfb_memory_opts *opts)
{
	if (opts->page_size > VFB_PAGE_1G)
		return vfb_fail(-EINVAL, "page size %d is unknown", (int)opts->page_size);
	if (opts->kind > VFB_MEMORY_MEMFD)
		return vfb_fail(-EINVAL, "memory kind %d is unknown", (int)opts->kind);
	if (!opts->bytes)
		return vfb_fail(-EINVAL, "a size of 0 bytes: at least one page is needed");
	if (opts->bytes > SSIZE_MAX - GIB)
		return vfb_fail(-EINVAL, "a size of %s is beyond what can be addressed",
				vfb_size_text(opts->bytes).text);
	if (opts->bytes % vfb_page_bytes(opts->page_size))
		return vfb_fail(-EINVAL, "a size of %s is not a multiple of the page size, %s",
				vfb_size_text(opts->bytes).text,
				vfb_size_text(vfb_page_bytes(opts->page_size)).text);
	return 0;
}

static void release(struct vfb_memory *memory)
{
	give_back(memory);
	free(memory->populated);
	free(memory->nodes);
	free(memory);
}

static int allocate_bitmap(struct vfb_memory *memory)
{
	uint64_t granules = (memory->bytes + vfb_memory_granule(memory) - 1) /
			    vfb_memory_granule(memory);

	memory->populated = calloc(granules / (8 * sizeof(long)) + 1, sizeof(long));
	return memory->populated ? 0 : vfb_fail_memory();
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
		error = check_opts(&known);
	if (error)
		return error;
	memory = calloc(1, sizeof(*memory));
	if (!memory)
		return vfb_fail_memory();
	memory->ctx = ctx;
	memory->bytes = known.bytes;
	memory->fd = -1;
	vfb_observe_begin(&span, &ctx->observer, VFB_PHASE_CREATE);
	error = vfb_memory_set_policy(memory, &known);
	if (!error)
		error = known.page_size == VFB_PAGE_AUTO ?
				make_auto(memory, known.kind) :
				make(memory, known.kind, known.page_size);
	if (!error)
		error = allocate_bitmap(memory);
	vfb_observe_end(&span, .operation = "memory", .result = error,
			.address = (uintptr_t)memory->address, .bytes = memory->bytes,
			.page_bytes = memory->page_bytes, .node = VFB_ANY_NODE);
	if (error) {
		release(memory);
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
	};

	return vfb_struct_write(info, &known, sizeof(known));
}

int vfb_memory_destroy(struct vfb_memory *memory)
{
	uint64_t bytes, page_bytes;
	unsigned int users;
	struct vfb_span span;
	struct vfb_ctx *ctx;

	if (!memory)
		return 0;
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
	release(memory);
	vfb_observe_end(&span, .operation = "memory", .bytes = bytes, .page_bytes = page_bytes,
			.node = VFB_ANY_NODE);
	atomic_fetch_sub(&ctx->objects, 1);
	return 0;
}
