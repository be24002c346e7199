/* SPDX-License-Identifier: MIT */
/* The address space: mmap, munmap, madvise, mbind, move_pages. */
#include <inttypes.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <unistd.h>

#include "model.h"
#include "sys/uapi.h"

#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#define MAP_HUGE_MASK  0x3f
#endif

/* ---- mmap and munmap ---- */

/* A failure leaves @out as it was, as on the running kernel. */
static int map_pages(void *addr, size_t bytes, int prot, int flags, int fd, off_t offset,
		     void **out)
{
	void *mapped = mmap(addr, bytes, prot, flags, fd, offset);

	if (mapped == MAP_FAILED)
		return -errno;
	*out = mapped;
	return 0;
}

/* A real mapping, aligned; huge pages are aligned by the kernel. */
static int real_map(void *addr, uint64_t bytes, uint64_t align, int prot, int flags, int fd,
		    off_t offset, void **out)
{
	char *base;
	uint64_t skip;

	flags &= ~(MAP_HUGETLB | (int)((unsigned int)MAP_HUGE_MASK << MAP_HUGE_SHIFT) |
		   MAP_POPULATE);
	flags |= MAP_NORESERVE;
	if ((flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) || align <= (uint64_t)sysconf(_SC_PAGESIZE))
		return map_pages(addr, bytes, prot, flags, fd, offset, out);
	base = mmap(NULL, bytes + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		    0);
	if (base == MAP_FAILED)
		return -errno;
	skip = -(uintptr_t)base % align;
	if (skip)
		munmap(base, skip);
	munmap(base + skip + bytes, align - skip);
	return map_pages(base + skip, bytes, prot, flags | MAP_FIXED, fd, offset, out);
}

static int pool_of_flags(const struct fake *fake, int flags)
{
	unsigned int log = (unsigned int)flags >> MAP_HUGE_SHIFT & MAP_HUGE_MASK;

	if (!(flags & MAP_HUGETLB))
		return POOL_BASE;
	return fk_pool_of_log(fake, log);
}

/* The object behind a new mapping, with a reference for it. */
static int find_backing(struct fake *fake, struct file *file, int flags, uint64_t bytes,
			uint64_t offset, struct object **out)
{
	int pool;

	if (file && (flags & MAP_SHARED)) {
		*out = file->object;
		if (offset % file->object->page_bytes)
			return -EINVAL;
		file->object->refs++;
		return 0;
	}
	pool = file ? file->object->pool : pool_of_flags(fake, flags);
	if (pool < 0)
		return pool;
	*out = fk_object_new(fake, pool, bytes, false);
	if (file) {
		(*out)->device = file->object->device;
		(*out)->inode = file->object->inode;
		(*out)->file_offset = offset;
	}
	return 0;
}

static int map_memory(struct fake *fake, struct file *file, void *addr, uint64_t bytes, int prot,
		      int flags, off_t offset, void **out)
{
	struct vma vma = {.prot = prot, .shared = flags & MAP_SHARED};
	int error = find_backing(fake, file, flags, bytes, offset, &vma.object);
	struct object *object = vma.object;

	if (error)
		return error;
	bytes = (bytes + object->page_bytes - 1) / object->page_bytes * object->page_bytes;
	if ((flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) && (uintptr_t)addr % object->page_bytes) {
		error = -EINVAL;
		goto drop;
	}
	vma.offset = object->is_file ? (uint64_t)offset : 0;
	if (!object->is_file)
		object->bytes = bytes;
	/* hugetlbfs_file_mmap() grows the file when it may be written. */
	if (object->is_file && object->pool != POOL_BASE && (prot & PROT_WRITE) &&
	    object->bytes < vma.offset + bytes) {
		object->bytes = vma.offset + bytes;
		if (ftruncate(file->fd, object->bytes))
			abort();
	}
	if (object->pool != POOL_BASE && !(flags & MAP_NORESERVE)) {
		error = fk_object_reserve(fake, object, vma.offset, vma.offset + bytes);
		if (error)
			goto drop;
	}
	if (flags & MAP_FIXED)
		error = fk_memory_unmap(fake, (uintptr_t)addr, (uintptr_t)addr + bytes);
	if (!error)
		error = real_map(addr, bytes, object->page_bytes, prot, flags, file ? file->fd : -1,
				 offset, out);
	if (error)
		goto drop;
	vma.start = (uintptr_t)*out;
	vma.end = vma.start + bytes;
	if (!object->is_file && object->pool == POOL_BASE)
		object->origin = vma.start;
	fk_vma_insert(&fake->mm, &vma);
	return 0;
drop:
	fk_object_put(fake, object);
	return error;
}

static int map_device(struct fake *fake, struct file *file, void *addr, uint64_t bytes, int prot,
		      int flags, off_t offset, void **out)
{
	struct vma vma = {.prot = prot, .shared = true, .device = file, .offset = offset};
	int error, fd;

	if (!file->devfile->access)
		return -EINVAL;
	error = fk_region_map(fake, file->devfile->device, offset, bytes, flags, &fd);
	if (error)
		return error;
	if (flags & MAP_FIXED)
		error = fk_memory_unmap(fake, (uintptr_t)addr, (uintptr_t)addr + bytes);
	if (!error)
		error = real_map(addr, bytes, fk_page(fake), prot, flags, fd,
				 offset & ((UINT64_C(1) << 40) - 1), out);
	if (error)
		return error;
	file->refs++;
	vma.start = (uintptr_t)*out;
	vma.end = vma.start + bytes;
	fk_vma_insert(&fake->mm, &vma);
	return 0;
}

static int do_mmap(struct fake *fake, void *addr, uint64_t bytes, int prot, int flags, int fd,
		   off_t offset, void **out)
{
	struct file *file;
	int error;

	if (!bytes || offset % fk_page(fake) ||
	    ((flags & MAP_FIXED) && (uintptr_t)addr % fk_page(fake)))
		return -EINVAL;
	bytes = (bytes + fk_page(fake) - 1) / fk_page(fake) * fk_page(fake);
	if (flags & MAP_ANONYMOUS)
		return map_memory(fake, NULL, addr, bytes, prot, flags, 0, out);
	file = fk_file_get(fake, fd);
	if (!file)
		return -EBADF;
	if (file->kind == FILE_MEMFD)
		error = map_memory(fake, file, addr, bytes, prot, flags, offset, out);
	else if (file->kind == FILE_DEVICE)
		error = map_device(fake, file, addr, bytes, prot, flags, offset, out);
	else
		error = -ENODEV;
	fk_file_put(fake, file);
	return error;
}

static int op_mmap(const struct vfb_sys *sys, void *addr, size_t bytes, int prot, int flags, int fd,
		   off_t offset, void **out)
{
	struct fake *fake = kernel_enter(sys);
	int error = fk_inject(fake, "mmap", NULL, ENOMEM);

	if (!error)
		error = do_mmap(fake, addr, bytes, prot, flags, fd, offset, out);
	/* mm_populate() does not report errors. */
	if (!error && (flags & MAP_POPULATE))
		fk_memory_populate(fake, (uintptr_t)*out, (uintptr_t)*out + bytes);
	kernel_leave(fake);
	return error;
}

static int op_munmap(const struct vfb_sys *sys, void *addr, size_t bytes)
{
	struct fake *fake = kernel_enter(sys);
	uint64_t start = (uintptr_t)addr;
	uint64_t end = start + (bytes + fk_page(fake) - 1) / fk_page(fake) * fk_page(fake);
	int error = fk_inject_named(fake, "munmap", ENOMEM);

	if (!error && (!bytes || start % fk_page(fake)))
		error = -EINVAL;
	if (!error && !fk_vma_find(fake, start)) {
		fk_misuse(fake, "munmap of %p, where nothing is mapped", addr);
		error = -EINVAL;
	}
	if (!error)
		error = fk_memory_unmap(fake, start, end);
	if (!error && munmap(addr, end - start))
		error = -errno;
	kernel_leave(fake);
	return error;
}

/* ---- madvise, mbind, move_pages ---- */

/* A device that reaches the pages would go on with them, and the program with others. */
static void check_unmapped(struct fake *fake, const struct vma *vma)
{
	if (fk_space_reaches(fake, vma->object, vma->offset, vma->start, vma->end - vma->start))
		fk_misuse(fake, "pages at 0x%" PRIx64 " are returned while a device reaches them",
			  vma->start);
}

/* madvise_remove(); and madvise_dontneed_single_vma(), which leaves the pages of files. */
static int return_pages(struct fake *fake, struct vma *vma, bool remove)
{
	if (remove && !vma->shared)
		return vma->object && (vma->object->inode || vma->object->pool != POOL_BASE) ?
			       -EACCES :
			       -EINVAL;
	if (!vma->object || remove != vma->shared)
		return 0;
	check_unmapped(fake, vma);
	fk_object_free_range(fake, vma->object, vma->offset, vma->offset + vma->end - vma->start,
			     remove);
	/* What was in them is lost. */
	madvise((void *)(uintptr_t)vma->start, vma->end - vma->start,
		remove ? MADV_REMOVE : MADV_DONTNEED);
	return 0;
}

static int do_madvise(struct fake *fake, uint64_t start, uint64_t end, int advice)
{
	int error = fk_vma_split(fake, start);

	if (!error)
		error = fk_vma_split(fake, end);
	if (error)
		return error;
	if ((advice == MADV_HUGEPAGE || advice == MADV_NOHUGEPAGE) &&
	    fake->config.thp == FAKE_THP_ABSENT)
		return -EINVAL;
	for (uint64_t at = start; at < end;) {
		size_t i = fk_vma_index(&fake->mm, at);
		struct vma *vma = i < fake->mm.count ? &fake->mm.vmas[i] : NULL;

		if (!vma || vma->start >= end)
			return -ENOMEM;
		if (vma->start > at)
			error = -ENOMEM;
		if (advice == MADV_HUGEPAGE || advice == MADV_NOHUGEPAGE) {
			vma->thp = advice == MADV_HUGEPAGE;
			vma->no_thp = advice == MADV_NOHUGEPAGE;
		} else if (advice == MADV_DONTNEED || advice == MADV_REMOVE) {
			int failed = return_pages(fake, vma, advice == MADV_REMOVE);

			if (failed)
				return failed;
		}
		if (advice == MADV_DONTFORK || advice == MADV_DOFORK)
			vma->dont_fork = advice == MADV_DONTFORK;
		if (advice == MADV_DONTDUMP || advice == MADV_DODUMP)
			vma->dont_dump = advice == MADV_DONTDUMP;
		at = vma->end;
	}
	return error;
}

static int op_madvise(const struct vfb_sys *sys, void *addr, size_t bytes, int advice)
{
	struct fake *fake = kernel_enter(sys);
	uint64_t start = (uintptr_t)addr;
	uint64_t end = start + (bytes + fk_page(fake) - 1) / fk_page(fake) * fk_page(fake);
	bool populates = advice == MADV_POPULATE_WRITE;
	int error = fk_inject_slow(fake, "madvise", NULL, populates ? ENOMEM : EINVAL);

	if (error)
		goto out;
	if (start % fk_page(fake) || (populates && fake->config.no_populate)) {
		error = -EINVAL;
		goto out;
	}
	if (!populates) {
		error = do_madvise(fake, start, end, advice);
		goto out;
	}
	COUNT_UP(fake, populates_in_flight, max_populates_in_flight);
	fk_clock_spend(fake, fake->config.mmap_wait_ns);
	error = fk_memory_populate(fake, start, end);
	fake->populates_in_flight--;
	if (!error) {
		fake->stats.populate_calls++;
		fake->stats.max_populate_bytes = max_u64(fake->stats.max_populate_bytes,
							 end - start);
	}
out:
	kernel_leave(fake);
	return error;
}

static int op_mremap_same(const struct vfb_sys *sys, void *addr, size_t bytes)
{
	struct fake *fake = kernel_enter(sys);
	const struct vma *vma = fk_vma_find(fake, (uintptr_t)addr);
	int error = fk_inject(fake, "mremap", NULL, ENOMEM);

	if (!error && !vma)
		error = -EFAULT;
	if (!error && (uintptr_t)addr % (vma->object ? vma->object->page_bytes : fk_page(fake)))
		error = -EINVAL;
	(void)bytes;
	kernel_leave(fake);
	return error;
}

static int op_mincore(const struct vfb_sys *sys, void *addr, size_t bytes, unsigned char *present)
{
	struct fake *fake = kernel_enter(sys);
	uint64_t start = (uintptr_t)addr, base = fake->config.base_page;
	int error = fk_inject(fake, "mincore", NULL, EAGAIN);

	if (!error && start % base)
		error = -EINVAL;
	if (!error)
		memset(present, 1, (bytes + base - 1) / base);
	for (uint64_t at = start; !error && at < start + bytes; at += fk_page(fake)) {
		int node = fk_memory_page_node(fake, at);

		if (!fk_vma_find(fake, at))
			error = -ENOMEM;
		else if (node == -ENOENT)
			present[(at - start) / base] = 0;
	}
	kernel_leave(fake);
	return error;
}

static int op_touch(const struct vfb_sys *sys, void *addr)
{
	struct fake *fake = kernel_enter(sys);
	uint64_t start = (uintptr_t)addr / fk_page(fake) * fk_page(fake);
	int error = fk_inject_slow(fake, "touch", NULL, EFAULT);

	if (!error)
		error = fk_memory_populate(fake, start, start + fk_page(fake));
	kernel_leave(fake);
	/* vm_fault_to_errno() without FOLL_HWPOISON; out of memory stays ENOMEM. */
	return error == -EHWPOISON || error == -EINVAL ? -EFAULT : error;
}

/* How far a child comes before a page raises a signal. It looks for touch->stop at each page; here
 * time passes for 2 MiB at once. */
static int do_touch_range(struct fake *fake, struct vfb_touch *touch)
{
	uint64_t start = (uintptr_t)touch->address, step = max_u64(touch->page_bytes, PAGE_2M);

	while (touch->touched < touch->bytes) {
		uint64_t at = start + touch->touched;
		const struct vma *vma = fk_vma_find(fake, at);
		uint64_t next = min_u64(start + touch->bytes, (at / step + 1) * step);

		if (touch->stop && atomic_load(touch->stop))
			return -ECANCELED;
		if (vma && vma->device)
			fk_misuse(fake, "wrote to the region of a device at %#lx",
				  (unsigned long)at);
		if (fk_memory_populate(fake, at, next)) {
			while (!fk_memory_populate(fake, at, at + fk_page(fake)))
				at += fk_page(fake);
			touch->touched = (at - start) / touch->page_bytes * touch->page_bytes;
			return -EFAULT;
		}
		touch->touched = next - start;
		fk_clock_spend(fake, (next - at) / touch->page_bytes * fake->config.fault_ns);
	}
	return 0;
}

static int op_touch_range(const struct vfb_sys *sys, struct vfb_touch *touch)
{
	struct fake *fake = kernel_enter(sys);
	int error = fk_inject_slow(fake, "touch_range", NULL, EAGAIN);

	touch->touched = 0;
	if (!error) {
		COUNT_UP(fake, populates_in_flight, max_populates_in_flight);
		error = do_touch_range(fake, touch);
		fake->populates_in_flight--;
		fake->stats.touch_calls++;
		fake->stats.touched_bytes += touch->touched;
	}
	kernel_leave(fake);
	return error;
}

/* mpol_set_nodemask() leaves only those. */
static bool has_memory(const struct node *node)
{
	return node->exists && node->total[POOL_BASE];
}

static int do_mbind(struct fake *fake, uint64_t start, uint64_t end, int mode, uint32_t nodes)
{
	uint32_t existing = 0;

	for (int n = 0; n < FAKE_NODES; n++)
		existing |= (uint32_t)has_memory(&fake->nodes[n]) << n;
	if (start % fk_page(fake) || mode < MPOL_DEFAULT || mode > 6)
		return -EINVAL;
	if (mode == MPOL_DEFAULT ?
		    nodes != 0 :
		    mode != MPOL_PREFERRED && mode != MPOL_LOCAL && !(nodes & existing))
		return -EINVAL;
	if (mode == MPOL_PREFERRED && nodes && !(nodes & existing))
		return -EINVAL;
	for (uint64_t at = start; at < end;) {
		const struct vma *vma = fk_vma_find(fake, at);

		if (!vma)
			return -EFAULT;
		at = vma->end;
	}
	for (uint64_t at = start; at < end;) {
		const struct vma *vma = fk_vma_find(fake, at);
		uint64_t to = min_u64(end, vma->end);

		if (vma->object)
			fk_object_set_policy(vma->object, vma->offset + (at - vma->start),
					     vma->offset + (to - vma->start),
					     mode == MPOL_LOCAL ? MPOL_DEFAULT : mode,
					     nodes & existing);
		at = vma->end;
	}
	return 0;
}

static int op_mbind(const struct vfb_sys *sys, void *addr, size_t bytes, int mode,
		    const unsigned int *nodes, size_t count)
{
	struct fake *fake = kernel_enter(sys);
	uint64_t start = (uintptr_t)addr;
	uint64_t end = start + (bytes + fk_page(fake) - 1) / fk_page(fake) * fk_page(fake);
	int error = fk_inject(fake, "mbind", NULL, ENOMEM);
	uint32_t mask = 0;

	for (size_t i = 0; i < count; i++)
		if (nodes[i] < FAKE_NODES)
			mask |= 1u << nodes[i];
	if (!error)
		error = do_mbind(fake, start, end, mode, mask);
	kernel_leave(fake);
	return error;
}

static int op_get_mempolicy(const struct vfb_sys *sys, void *addr, int *mode, unsigned int *nodes,
			    size_t room)
{
	struct fake *fake = kernel_enter(sys);
	const struct vma *vma = fk_vma_find(fake, (uintptr_t)addr);
	int error = fk_inject(fake, "get_mempolicy", NULL, ENOMEM);
	const struct policy *policy = NULL;
	size_t count = 0;

	if (!error && !vma)
		error = -EFAULT;
	if (!error && vma->object)
		policy = fk_object_policy(vma->object,
					  vma->offset + ((uintptr_t)addr - vma->start));
	*mode = policy ? policy->mode : MPOL_DEFAULT;
	for (unsigned int n = 0; policy && n < FAKE_NODES && count < room; n++)
		if (policy->nodes >> n & 1)
			nodes[count++] = n;
	kernel_leave(fake);
	return error ? error : (int)count;
}

static int op_page_nodes(const struct vfb_sys *sys, void *const *pages, size_t count, int *nodes)
{
	struct fake *fake = kernel_enter(sys);
	int error = fk_inject(fake, "page_nodes", NULL, ENOMEM);

	for (size_t i = 0; !error && i < count; i++)
		nodes[i] = fk_memory_page_node(fake, (uintptr_t)pages[i]);
	kernel_leave(fake);
	return error;
}

void fake_set_mmap_wait(struct fake *fake, uint64_t ns)
{
	kernel_enter(&fake->sys);
	fake->config.mmap_wait_ns = ns;
	kernel_leave(fake);
}

void fake_set_filter(struct fake *fake, bool has_filter)
{
	kernel_enter(&fake->sys);
	fake->config.has_filter = has_filter;
	kernel_leave(fake);
}

void fk_memory_table(struct vfb_sys *sys)
{
	sys->mmap = op_mmap;
	sys->munmap = op_munmap;
	sys->madvise = op_madvise;
	sys->mremap_same = op_mremap_same;
	sys->mincore = op_mincore;
	sys->touch = op_touch;
	sys->touch_range = op_touch_range;
	sys->mbind = op_mbind;
	sys->get_mempolicy = op_get_mempolicy;
	sys->page_nodes = op_page_nodes;
}
