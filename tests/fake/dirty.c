/* SPDX-License-Identifier: MIT */
/* Which pages devices have written to: of an IOMMU's domain, and of a container. */
#include <linux/vfio.h>

#include "model.h"
#include "sys/uapi.h"

#define WORD 64

static uint64_t pages_of(const struct space *space, const struct dma *dma)
{
	return (dma->last - dma->iova + 1) / space->page;
}

void fk_dirty_mark(const struct space *space, struct dma *dma, uint64_t offset, uint64_t bytes)
{
	if (!space->tracks_dirty)
		return;
	if (!dma->dirty)
		dma->dirty = fk_xalloc((pages_of(space, dma) + WORD - 1) / WORD *
				       sizeof(*dma->dirty));
	for (uint64_t page = offset / space->page; page <= (offset + bytes - 1) / space->page;
	     page++)
		dma->dirty[page / WORD] |= UINT64_C(1) << page % WORD;
}

static void clear_all(struct space *space)
{
	for (size_t i = 0; i < space->count; i++) {
		free(space->dmas[i]->dirty);
		space->dmas[i]->dirty = NULL;
	}
}

/* As the kernel, whose bitmap_set() is not atomic: another thread's bits in a word get lost. */
static void set_bit(uint64_t *bitmap, uint64_t bit)
{
	uint64_t word = __atomic_load_n(&bitmap[bit / WORD], __ATOMIC_RELAXED);

	__atomic_store_n(&bitmap[bit / WORD], word | UINT64_C(1) << bit % WORD, __ATOMIC_RELAXED);
}

/* Reads and clears one mapping's bits within [first, last]; @all: they are all set. */
static void read_dma(const struct space *space, struct dma *dma, uint64_t first, uint64_t last,
		     uint64_t *bitmap, bool all)
{
	uint64_t from = dma->iova > first ? dma->iova : first;
	uint64_t to = min_u64(dma->last, last);

	for (uint64_t iova = from; iova < to; iova += space->page) {
		uint64_t page = (iova - dma->iova) / space->page, bit = UINT64_C(1) << page % WORD;

		if (!all && (!dma->dirty || !(dma->dirty[page / WORD] & bit)))
			continue;
		set_bit(bitmap, (iova - first) / space->page);
		if (dma->dirty)
			dma->dirty[page / WORD] &= ~bit;
	}
}

/* ---- iommufd ---- */

static struct ioas *find_hwpt(const struct iommufd *iommufd, uint32_t id)
{
	struct ioas *ioas = iommufd->ioases;

	while (ioas &&
	       (!id || ((!ioas->has_domain || ioas->hwpt_id != id) && ioas->other.id != id)))
		ioas = ioas->next;
	return ioas;
}

/* iommufd_hwpt_set_dirty_tracking() */
int fk_ioas_set_dirty_tracking(struct fake *fake, struct iommufd *iommufd, void *arg)
{
	struct vfb_iommu_hwpt_set_dirty_tracking *cmd = arg;
	struct ioas *ioas = find_hwpt(iommufd, cmd->hwpt_id);

	if (cmd->size < sizeof(*cmd))
		return -EINVAL;
	if (cmd->flags & ~VFB_IOMMU_HWPT_DIRTY_TRACKING_ENABLE || cmd->reserved)
		return -EOPNOTSUPP;
	if (!ioas)
		return -ENOENT;
	if (!(ioas->other.id == cmd->hwpt_id ? ioas->other.can_track : ioas->can_track))
		return -EOPNOTSUPP;
	fk_vlock_write(fake, &ioas->domains);
	if (ioas->other.id == cmd->hwpt_id) {
		ioas->other.tracks_dirty = cmd->flags;
		fk_vunlock_write(&ioas->domains);
		return 0;
	}
	/* iopt_clear_dirty_data() */
	if (cmd->flags && !ioas->space.tracks_dirty)
		clear_all(&ioas->space);
	ioas->space.tracks_dirty = cmd->flags;
	fk_vunlock_write(&ioas->domains);
	return 0;
}

/* iommufd_hwpt_get_dirty_bitmap(), iopt_read_and_clear_dirty_data(): it ends at the first hole. */
int fk_ioas_get_dirty_bitmap(struct fake *fake, struct iommufd *iommufd, void *arg)
{
	struct vfb_iommu_hwpt_get_dirty_bitmap *cmd = arg;
	struct ioas *ioas = find_hwpt(iommufd, cmd->hwpt_id);
	uint64_t at = cmd->iova, last = cmd->iova + (cmd->length - 1);
	struct dma *dma;

	if (cmd->size < sizeof(*cmd) || !cmd->length || cmd->page_size != fk_page(fake) ||
	    (cmd->iova | cmd->length) % fk_page(fake))
		return -EINVAL;
	if (cmd->flags || cmd->reserved)
		return -EOPNOTSUPP;
	if (!ioas)
		return -ENOENT;
	if (!(ioas->other.id == cmd->hwpt_id ? ioas->other.tracks_dirty :
					       ioas->can_track && ioas->space.tracks_dirty))
		return -EINVAL;
	fk_vlock_read(fake, &ioas->domains);
	while ((dma = fk_space_find(&ioas->space, at, at)) && !dma->busy) {
		read_dma(&ioas->space, dma, cmd->iova, last, (uint64_t *)(uintptr_t)cmd->data,
			 false);
		if (dma->last >= last)
			break;
		at = dma->last + 1;
	}
	fk_vunlock_read(&ioas->domains);
	return 0;
}

/* ---- type1 ---- */

/*
 * update_user_bitmap(): of a mapping that does not begin at a whole word, bits of earlier calls are
 * left behind its end. Here always one, in the last word.
 */
static void set_stray_bit(const struct space *space, const struct dma *dma,
			  const struct vfio_iommu_type1_dirty_bitmap_get *get)
{
	uint64_t first = (dma->iova - get->iova) / space->page;
	uint64_t end = first + pages_of(space, dma), bit = (end - 1) | (WORD - 1);

	if (first % WORD && bit >= end)
		set_bit((uint64_t *)(void *)get->bitmap.data, bit);
}

/* vfio_iova_dirty_bitmap(): what is pinned by the IOMMU may have been written to at any time. */
static int get_bitmap(const struct space *space,
		      const struct vfio_iommu_type1_dirty_bitmap_get *get)
{
	uint64_t last = get->iova + (get->size - 1), at = get->iova;
	struct dma *dma;

	if (get->bitmap.pgsize != space->page || !get->size ||
	    (get->iova | get->size) % space->page || last < get->iova ||
	    get->bitmap.size < (get->size / space->page + WORD - 1) / WORD * sizeof(uint64_t) ||
	    !space->tracks_dirty)
		return -EINVAL;
	dma = fk_space_find(space, get->iova, get->iova);
	if (dma && dma->iova != get->iova)
		return -EINVAL;
	dma = fk_space_find(space, last, last);
	if (dma && dma->last != last)
		return -EINVAL;
	while (at <= last && (dma = fk_space_find(space, at, last))) {
		read_dma(space, dma, get->iova, last, (uint64_t *)(void *)get->bitmap.data, true);
		set_stray_bit(space, dma, get);
		if (dma->last >= last)
			break;
		at = dma->last + 1;
	}
	return 0;
}

/* vfio_iommu_type1_dirty_pages() */
int fk_type1_dirty_pages(struct fake *fake, struct container *container, void *arg)
{
	struct vfio_iommu_type1_dirty_bitmap *head = arg;
	struct vfio_iommu_type1_dirty_bitmap_get get;
	int error = 0;

	if (!arg)
		return -EFAULT;
	if (!container->has_iommu || head->argsz < sizeof(*head))
		return -EINVAL;
	fk_vlock_write(fake, &container->iommu_lock);
	switch (head->flags) {
	case VFIO_IOMMU_DIRTY_PAGES_FLAG_START:
	case VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP:
		container->space.tracks_dirty = head->flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_START;
		break;
	case VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP:
		error = head->argsz < sizeof(*head) + sizeof(get) ? -EINVAL : 0;
		if (error)
			break;
		memcpy(&get, head->data, sizeof(get));
		error = get_bitmap(&container->space, &get);
		break;
	default:
		error = -EINVAL;
	}
	fk_vunlock_write(&container->iommu_lock);
	return error;
}
