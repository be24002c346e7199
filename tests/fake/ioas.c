/* SPDX-License-Identifier: MIT */
/* I/O address spaces of iommufd: drivers/iommu/iommufd/ioas.c, io_pagetable.c, pages.c. */
#include <fcntl.h>

#include "model.h"
#include "sys/uapi.h"

static size_t reserved_ranges(struct fake *fake, const struct ioas *ioas, struct range *out,
			      size_t room)
{
	size_t count = 0;

	for (const struct device *d = ioas->devices; d && count + 3 <= room; d = d->ioas_next)
		count += fk_device_reserved(fake, d, out + count);
	if (ioas->has_domain)
		out[count++] = (struct range){UINT64_C(1) << fake->config.iova_bits, UINT64_MAX};
	return count;
}

bool fk_ioas_reserved(struct fake *fake, const struct ioas *ioas, uint64_t first, uint64_t last)
{
	struct range holes[128];
	size_t count = reserved_ranges(fake, ioas, holes, ARRAY_SIZE(holes));

	for (size_t i = 0; i < count; i++)
		if (first <= holes[i].last && last >= holes[i].first)
			return true;
	return false;
}

int fk_ioas_iova_ranges(struct fake *fake, struct iommufd *iommufd, void *arg)
{
	struct vfb_iommu_ioas_iova_ranges *cmd = arg;
	struct vfb_iommu_iova_range *out;
	struct range holes[128], ranges[128];
	struct ioas *ioas;
	size_t count, holes_count;
	uint32_t room;

	if (cmd->size < sizeof(*cmd))
		return -EINVAL;
	if (cmd->reserved)
		return -EOPNOTSUPP;
	ioas = fk_ioas_find(iommufd, cmd->ioas_id);
	if (!ioas)
		return -ENOENT;
	holes_count = reserved_ranges(fake, ioas, holes, ARRAY_SIZE(holes));
	count = fk_ranges_without(UINT64_MAX, holes, holes_count, ranges, ARRAY_SIZE(ranges));
	out = (void *)(uintptr_t)cmd->allowed_iovas;
	room = cmd->num_iovas;
	for (size_t i = 0; i < count && i < room; i++)
		out[i] = (struct vfb_iommu_iova_range){ranges[i].first, ranges[i].last};
	cmd->num_iovas = count;
	cmd->out_iova_alignment = ioas->has_domain ? fk_page(fake) : 1;
	return count > room ? -EMSGSIZE : 0;
}

/* ---- Pinning ---- */

/* memfd_pin_folios() */
static int pin_file(struct fake *fake, const struct dma *dma, struct pin *pin)
{
	uint64_t bytes = dma->last - dma->iova + 1;

	pin->pinned = bytes;
	return fk_object_populate(fake, dma->object, dma->file_offset, dma->file_offset + bytes,
				  false, 0, 0, &pin->budget, &pin->zeroed);
}

/* Everything is pinned first, and charged to the user then: pfn_reader_user_update_pinned(). */
static int fill(struct fake *fake, struct dma *dma, uint64_t *cost)
{
	const struct fake_config *config = &fake->config;
	struct pin pin = {.write = dma->write, .budget = NEVER};
	int error;

	/* A dma-buf is neither pinned nor charged. */
	if (dma->dma_buf)
		return 0;
	error = dma->object ? pin_file(fake, dma, &pin) :
			      fk_memory_pin(fake, dma->vaddr, dma->last - dma->iova + 1, &pin);
	fake->stats.populated_by_map_bytes += pin.zeroed;
	*cost += cost_of(pin.zeroed, config->zero_ns_per_gib) +
		 cost_of(pin.pinned, config->pin_ns_per_gib);
	if (error)
		return error;
	if (!config->cap_ipc_lock) {
		if (config->memlock != UINT64_MAX &&
		    fake->user_locked + pin.pinned >
			    config->memlock / fk_page(fake) * fk_page(fake))
			return -ENOMEM;
		fake->user_locked += pin.pinned;
	}
	dma->pinned = pin.pinned;
	fake->pinned += pin.pinned;
	fake->pinned_vm += pin.pinned;
	return 0;
}

static void unfill(struct fake *fake, struct dma *dma)
{
	fake->pinned -= dma->pinned;
	fake->pinned_vm -= dma->pinned;
	if (!fake->config.cap_ipc_lock)
		fake->user_locked -= dma->pinned;
	dma->pinned = 0;
}

/* iopt_table_add_domain(): whatever is mapped is pinned now, one area after another. */
int fk_ioas_add_domain(struct fake *fake, struct ioas *ioas)
{
	struct space *space = &ioas->space;
	uint64_t cost = 0;
	int error = 0;
	size_t done;

	fk_vlock_write(fake, &ioas->domains);
	for (size_t i = 0; i < space->count && !error; i++)
		if ((space->dmas[i]->iova | (space->dmas[i]->last + 1) | space->dmas[i]->vaddr) %
		    fk_page(fake))
			error = -EADDRINUSE;
	if (fk_space_find(space, UINT64_C(1) << fake->config.iova_bits, UINT64_MAX))
		error = -EADDRINUSE;
	/* Those being mapped just now wait for us, and see the domain then. */
	for (done = 0; !error && done < space->count; done++)
		if (!space->dmas[done]->busy)
			error = fill(fake, space->dmas[done], &cost);
	if (error)
		for (size_t i = 0; i < done; i++)
			unfill(fake, space->dmas[i]);
	fk_clock_spend(fake, cost);
	if (!error) {
		ioas->hwpt_id = fk_iommufd_new_id(ioas->iommufd);
		ioas->has_domain = true;
	}
	fk_vunlock_write(&ioas->domains);
	return error;
}

void fk_ioas_remove_domain(struct fake *fake, struct ioas *ioas)
{
	struct space *space = &ioas->space;
	uint64_t bytes = 0;

	fk_vlock_write(fake, &ioas->domains);
	for (size_t i = 0; i < space->count; i++) {
		bytes += space->dmas[i]->pinned;
		unfill(fake, space->dmas[i]);
	}
	ioas->has_domain = false;
	fk_clock_spend(fake, cost_of(bytes, fake->config.unmap_ns_per_gib));
	fk_vunlock_write(&ioas->domains);
}

/* ---- MAP ---- */

/* iopt_alloc_iova(): the lowest hole, aligned as the address is, but not to more than 2 MiB. */
static int alloc_iova(struct fake *fake, const struct ioas *ioas, uint64_t vaddr, uint64_t bytes,
		      uint64_t *iova)
{
	uint64_t align = PAGE_2M;
	uint64_t at = fk_page(fake);

	while (align > fk_page(fake) && (vaddr % align || align / 2 >= bytes))
		align /= 2;
	for (;;) {
		struct range holes[128];
		size_t count = reserved_ranges(fake, ioas, holes, ARRAY_SIZE(holes));
		const struct dma *dma;
		uint64_t last, next = 0;

		if (__builtin_add_overflow(at, align - 1, &at))
			return -ENOSPC;
		at = at / align * align;
		if (__builtin_add_overflow(at, bytes - 1, &last))
			return -ENOSPC;
		dma = fk_space_find(&ioas->space, at, last);
		if (dma)
			next = dma->last + 1;
		for (size_t i = 0; !next && i < count; i++) {
			if (at > holes[i].last || last < holes[i].first)
				continue;
			if (holes[i].last == UINT64_MAX)
				return -ENOSPC;
			next = holes[i].last + 1;
		}
		if (!next) {
			*iova = at;
			return 0;
		}
		at = next;
	}
}

/* iopt_check_iova(), iopt_insert_area() */
static int check_area(struct fake *fake, const struct ioas *ioas,
		      const struct vfb_iommu_ioas_map *cmd)
{
	uint64_t align = ioas->has_domain ? fk_page(fake) : 1;
	uint64_t last;

	if (cmd->length % align || cmd->iova % align || cmd->user_va % align)
		return -EINVAL;
	if (__builtin_add_overflow(cmd->iova, cmd->length - 1, &last))
		return -EOVERFLOW;
	if (fk_ioas_reserved(fake, ioas, cmd->iova, last))
		return -EINVAL;
	return fk_space_find(&ioas->space, cmd->iova, last) ? -EEXIST : 0;
}

static int check_map(const struct vfb_iommu_ioas_map *cmd)
{
	uint32_t known = VFB_IOMMU_IOAS_MAP_FIXED_IOVA | VFB_IOMMU_IOAS_MAP_WRITEABLE |
			 VFB_IOMMU_IOAS_MAP_READABLE;
	uint64_t end;

	if (cmd->size < sizeof(*cmd))
		return -EINVAL;
	if (cmd->flags & ~known || cmd->reserved)
		return -EOPNOTSUPP;
	if (cmd->iova == UINT64_MAX || cmd->length == UINT64_MAX)
		return -EOVERFLOW;
	if (!(cmd->flags & (VFB_IOMMU_IOAS_MAP_WRITEABLE | VFB_IOMMU_IOAS_MAP_READABLE)))
		return -EINVAL;
	if (!cmd->length)
		return -EINVAL;
	return __builtin_add_overflow(cmd->user_va, cmd->length, &end) ? -EOVERFLOW : 0;
}

/* What is mapped instead of an address: a dma-buf, or a part of a file. */
struct target {
	struct dma_buf *dma_buf;
	struct file *file;
	uint64_t file_offset;
};

static void dma_set_target(struct dma *dma, const struct target *target)
{
	if (target->dma_buf) {
		dma->dma_buf = target->dma_buf;
		dma->dma_buf->refs++;
	} else if (target->file) {
		dma->object = target->file->object;
		dma->object->refs++;
		dma->file_offset = target->file_offset;
		dma->file_fd = fcntl(target->file->fd, F_DUPFD_CLOEXEC, 0);
		if (dma->file_fd < 0)
			abort();
	}
}

/* The area is in the table, busy, before its pages are pinned: iopt_alloc_area_pages(). */
static int map_area(struct fake *fake, struct ioas *ioas, struct vfb_iommu_ioas_map *cmd,
		    const struct target *target)
{
	uint64_t cost = fake->config.map_call_ns;
	struct dma *dma;
	int error = 0;

	if (!(cmd->flags & VFB_IOMMU_IOAS_MAP_FIXED_IOVA)) {
		uint64_t iova;

		error = alloc_iova(fake, ioas, cmd->user_va, cmd->length, &iova);
		if (error)
			return error;
		cmd->iova = iova;
	}
	error = check_area(fake, ioas, cmd);
	if (error)
		return error;
	dma = fk_space_insert(&ioas->space, cmd->iova, cmd->iova + cmd->length - 1, cmd->user_va);
	dma->read = cmd->flags & VFB_IOMMU_IOAS_MAP_READABLE;
	dma->write = cmd->flags & VFB_IOMMU_IOAS_MAP_WRITEABLE;
	dma_set_target(dma, target);
	dma->busy = true;
	fk_vlock_read(fake, &ioas->domains);
	if (ioas->has_domain)
		error = fill(fake, dma, &cost);
	fk_clock_spend(fake, cost);
	dma->busy = false;
	fk_vunlock_read(&ioas->domains);
	if (error)
		fk_space_remove(fake, &ioas->space, dma);
	return error;
}

static int map(struct fake *fake, struct iommufd *iommufd, struct vfb_iommu_ioas_map *cmd,
	       const struct target *target)
{
	struct vfb_iommu_ioas_map copy = *cmd;
	int error = check_map(&copy);
	struct ioas *ioas;

	if (error)
		return error;
	ioas = fk_ioas_find(iommufd, copy.ioas_id);
	if (!ioas)
		return -ENOENT;
	ioas->users++;
	COUNT_UP(fake, maps_in_flight, max_maps_in_flight);
	error = map_area(fake, ioas, &copy, target);
	fake->maps_in_flight--;
	ioas->users--;
	fake->stats.map_calls += !error;
	if (!error)
		cmd->iova = copy.iova;
	return error;
}

int fk_ioas_map(struct fake *fake, struct iommufd *iommufd, void *arg)
{
	return map(fake, iommufd, arg, &(struct target){0});
}

/* iopt_alloc_dmabuf_pages() */
static int check_dma_buf(const struct dma_buf *dma_buf, const struct vfb_iommu_ioas_map_file *cmd)
{
	uint64_t end;

	if (__builtin_add_overflow(cmd->start, cmd->length, &end))
		return -EOVERFLOW;
	if (!cmd->length || end > dma_buf->bytes)
		return -EINVAL;
	return dma_buf->revoked ? -ENODEV : 0;
}

/* An address of the file's part for tests to look at; 0: it is nowhere mapped. */
static uint64_t find_shared(const struct fake *fake, const struct object *object, uint64_t start,
			    uint64_t length)
{
	for (size_t i = 0; i < fake->mm.count; i++) {
		const struct vma *vma = &fake->mm.vmas[i];

		if (vma->object == object && start >= vma->offset &&
		    start + length <= vma->offset + (vma->end - vma->start))
			return vma->start + (start - vma->offset);
	}
	return 0;
}

int fk_ioas_map_file(struct fake *fake, struct iommufd *iommufd, void *arg)
{
	struct vfb_iommu_ioas_map_file *cmd = arg;
	struct vfb_iommu_ioas_map by_address = {
		.size = sizeof(by_address),
		.flags = cmd->flags,
		.ioas_id = cmd->ioas_id,
		.length = cmd->length,
		.iova = cmd->iova,
	};
	struct ioas *ioas = fk_ioas_find(iommufd, cmd->ioas_id);
	struct target target = {.file_offset = cmd->start};
	struct file *file;
	int error = 0;

	if (cmd->size < sizeof(*cmd))
		return -EINVAL;
	if (!ioas)
		return -ENOENT;
	file = fk_file_get(fake, cmd->fd);
	if (!file)
		return -EBADF;
	if (file->kind == FILE_DMA_BUF) {
		target.dma_buf = file->dma_buf;
		error = check_dma_buf(file->dma_buf, cmd);
	} else if (file->kind == FILE_MEMFD) {
		target.file = file;
		by_address.user_va = find_shared(fake, file->object, cmd->start, cmd->length);
	} else {
		error = -EINVAL;
	}
	if (!error)
		error = map(fake, iommufd, &by_address, &target);
	fk_file_put(fake, file);
	if (!error)
		cmd->iova = by_address.iova;
	return error;
}

/* ---- UNMAP ---- */

/* iopt_unmap_iova_range(): areas go one by one; those before the one that fails are gone. */
static int unmap_range(struct fake *fake, struct ioas *ioas, uint64_t first, uint64_t last,
		       uint64_t *unmapped)
{
	struct dma *dma;
	int error = 0;

	fk_vlock_read(fake, &ioas->domains);
	while (!error && (dma = fk_space_find(&ioas->space, first, last))) {
		uint64_t bytes = dma->last - dma->iova + 1;
		uint64_t dma_last = dma->last;

		if (dma->busy) {
			error = -EBUSY;
		} else if (dma->iova < first || dma->last > last) {
			error = -ENOENT;
		} else {
			dma->busy = true;
			fk_clock_spend(fake, cost_of(dma->pinned, fake->config.unmap_ns_per_gib));
			unfill(fake, dma);
			fk_space_remove(fake, &ioas->space, dma);
			*unmapped += bytes;
			if (dma_last >= last)
				break;
			first = dma_last + 1;
		}
	}
	fk_vunlock_read(&ioas->domains);
	return error;
}

int fk_ioas_unmap(struct fake *fake, struct iommufd *iommufd, void *arg)
{
	struct vfb_iommu_ioas_unmap *cmd = arg;
	uint64_t unmapped = 0, last;
	struct ioas *ioas;
	int error;

	if (cmd->size < sizeof(*cmd))
		return -EINVAL;
	ioas = fk_ioas_find(iommufd, cmd->ioas_id);
	if (!ioas)
		return -ENOENT;
	if (cmd->iova == 0 && cmd->length == UINT64_MAX) {
		last = UINT64_MAX;
	} else {
		if (cmd->iova == UINT64_MAX || cmd->length == UINT64_MAX)
			return -EOVERFLOW;
		if (!cmd->length)
			return -EINVAL;
		if (__builtin_add_overflow(cmd->iova, cmd->length - 1, &last))
			return -EOVERFLOW;
	}
	ioas->users++;
	COUNT_UP(fake, unmaps_in_flight, max_unmaps_in_flight);
	fk_clock_spend(fake, fake->config.map_call_ns);
	error = unmap_range(fake, ioas, cmd->iova, last, &unmapped);
	fake->unmaps_in_flight--;
	ioas->users--;
	if (!error && !unmapped && last != UINT64_MAX)
		error = -ENOENT;
	if (!error) {
		fake->stats.unmap_calls++;
		cmd->length = unmapped;
	}
	return error;
}

void fk_ioas_free(struct fake *fake, struct ioas *ioas)
{
	struct ioas **at = &ioas->iommufd->ioases;

	while (ioas->space.count) {
		struct dma *dma = ioas->space.dmas[ioas->space.count - 1];

		unfill(fake, dma);
		fk_space_remove(fake, &ioas->space, dma);
	}
	while (*at != ioas)
		at = &(*at)->next;
	*at = ioas->next;
	if (ioas->iommufd->compat == ioas)
		ioas->iommufd->compat = NULL;
	fk_space_fini(fake, &ioas->space);
	free(ioas);
}
