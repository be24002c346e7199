/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

#include "memory/cause.h"

/* Linux 6.3 */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif
#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif

/* log2 of the page size, in the position for mmap() and memfd_create(); 0 for base pages. */
static unsigned int hugetlb_bits(const struct vfb_sys *sys, uint64_t page_bytes)
{
	return page_bytes > sys->base_page(sys) ?
		       (unsigned int)__builtin_ctzll(page_bytes) << MAP_HUGE_SHIFT :
		       0;
}

/* A process that receives the memfd must not be able to shrink it, which would raise SIGBUS here.
 */
static int seal_memfd(const struct vfb_sys *sys, int fd)
{
	int error = sys->add_seals(sys, fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);

	if (error)
		return vfb_fail_errno(error, "cannot seal a memfd (F_ADD_SEALS)");
	error = sys->fchmod(sys, fd, 0600);
	return error ? vfb_fail_errno(error, "cannot set the mode of a memfd to 0600") : 0;
}

static int make_memfd(struct vfb_memory *memory)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	unsigned int huge = hugetlb_bits(sys, memory->page_bytes);
	unsigned int flags = MFD_ALLOW_SEALING | (huge ? MFD_HUGETLB | huge : 0);
	int fd, error;

	fd = sys->memfd_create(sys, "vfioboost", flags | MFD_NOEXEC_SEAL);
	/* Before Linux 6.3. */
	if (fd == -EINVAL)
		fd = sys->memfd_create(sys, "vfioboost", flags);
	if (fd < 0)
		return vfb_fail_errno(fd, "cannot create a memfd of pages of %s",
				      vfb_size_text(memory->page_bytes).text);
	error = sys->ftruncate(sys, fd, memory->bytes);
	error = error ? vfb_fail_errno(error, "cannot set the size of a memfd to %s",
				       vfb_size_text(memory->bytes).text) :
			seal_memfd(sys, fd);
	if (error) {
		sys->close(sys, fd);
		return error;
	}
	return fd;
}

/*
 * The kernel aligns hugetlb mappings. Other mappings are placed in a reservation that is large
 * enough to align them, so that transparent huge pages and large IOMMU pages cover them completely,
 * and so that pages of two sizes can follow each other.
 */
static int reserve_addresses(struct vfb_memory *memory)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	uint64_t align = memory->bulk_bytes ? GIB : 2 * MIB, huge;
	int error;

	if (memory->page_size == VFB_PAGE_THP) {
		huge = vfb_thp_bytes(sys);
		if (huge > align && memory->bytes >= huge)
			align = huge;
	}
	if (vfb_memory_is_hugetlb(memory) && !memory->bulk_bytes) {
		memory->address = NULL;
		return 0;
	}
	memory->reservation_bytes = memory->bytes + align;
	error = sys->mmap(sys, NULL, memory->reservation_bytes, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, &memory->reservation);
	if (error)
		return vfb_mmap_failed(sys, error, "addresses", memory->reservation_bytes,
				       sys->base_page(sys));
	memory->address = (char *)(((uintptr_t)memory->reservation + align - 1) & ~(align - 1));
	return 0;
}

/* Pages of one size, at @address if that is not NULL. */
static int map_pages(struct vfb_memory *memory, void *address, uint64_t bytes, uint64_t page_bytes,
		     void **out)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	unsigned int huge = hugetlb_bits(sys, page_bytes);
	int flags = memory->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	char what[64];
	int error;

	if (address)
		flags |= MAP_FIXED;
	/* Only hugetlb pages are reserved; for base pages it would be a promise without pages. */
	if (!huge)
		flags |= MAP_NORESERVE;
	if (huge && memory->fd < 0)
		flags |= MAP_HUGETLB | huge;
	error = sys->mmap(sys, address, bytes, PROT_READ | PROT_WRITE, flags, memory->fd, 0, out);
	if (!error)
		return 0;
	snprintf(what, sizeof(what), "memory in pages of %s", vfb_size_text(page_bytes).text);
	return vfb_mmap_failed(sys, error, what, bytes, page_bytes);
}

static int map_all(struct vfb_memory *memory)
{
	uint64_t bulk = memory->bulk_bytes, rest = memory->bytes - bulk;
	void *mapped;
	int error = 0;

	if (bulk)
		error = map_pages(memory, memory->address, bulk, GIB, &mapped);
	if (!error && rest)
		error = map_pages(memory, memory->address ? memory->address + bulk : NULL, rest,
				  memory->page_bytes, &mapped);
	if (error || memory->reservation)
		return error;
	memory->address = mapped;
	memory->reservation = mapped;
	memory->reservation_bytes = memory->bytes;
	return 0;
}

/* fork() copies pinned private pages at once (copy_present_ptes(), Linux 5.9). */
static int advise_use(struct vfb_memory *memory)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	int error = 0;

	if (!(memory->flags & VFB_MEMORY_KEEP_ON_FORK))
		error = sys->madvise(sys, memory->address, memory->bytes, MADV_DONTFORK);
	if (!error && memory->flags & VFB_MEMORY_NO_DUMP)
		error = sys->madvise(sys, memory->address, memory->bytes, MADV_DONTDUMP);
	return error ? vfb_fail_errno(error, "cannot set how memory is used by fork() and core "
					     "dumps (madvise)") :
		       0;
}

/* The kernel has to know about huge pages before the first page is populated. */
static int advise_pages(struct vfb_memory *memory)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	int error;

	if (memory->page_size == VFB_PAGE_THP) {
		error = sys->madvise(sys, memory->address, memory->bytes, MADV_HUGEPAGE);
		if (error)
			return vfb_fail_errno(error, "cannot request transparent huge pages");
	}
	if (memory->page_size == VFB_PAGE_BASE)
		/* Kernels without transparent huge pages return an error, which does not matter. */
		sys->madvise(sys, memory->address, memory->bytes, MADV_NOHUGEPAGE);
	return 0;
}

int vfb_backing_release(struct vfb_memory *memory)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	int error = 0;

	if (memory->reservation)
		error = sys->munmap(sys, memory->reservation, memory->reservation_bytes);
	if (error)
		return vfb_fail_errno(error, "cannot unmap %s at %p",
				      vfb_size_text(memory->reservation_bytes).text,
				      memory->reservation);
	memory->reservation = NULL;
	if (memory->fd >= 0 && !memory->adopted)
		sys->close(sys, memory->fd);
	memory->fd = -1;
	return 0;
}

int vfb_backing_make(struct vfb_memory *memory, enum vfb_memory_kind kind)
{
	int error = 0;

	if (kind == VFB_MEMORY_MEMFD) {
		memory->fd = make_memfd(memory);
		error = memory->fd < 0 ? memory->fd : 0;
	}
	if (!error)
		error = reserve_addresses(memory);
	if (!error)
		error = map_all(memory);
	if (!error)
		error = advise_pages(memory);
	return error ? error : advise_use(memory);
}
