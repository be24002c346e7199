/* SPDX-License-Identifier: MIT */
/* Tables of what is mapped at which IOVA, for containers and IOASes alike. */
#include <unistd.h>

#include "model.h"

void fk_space_init(struct fake *fake, struct space *space)
{
	struct space **at = &fake->spaces;

	memset(space, 0, sizeof(*space));
	space->number = fake->next_space++;
	space->page = fk_page(fake);
	while (*at)
		at = &(*at)->next;
	*at = space;
}

void fk_space_fini(struct fake *fake, struct space *space)
{
	struct space **at = &fake->spaces;

	while (*at != space)
		at = &(*at)->next;
	*at = space->next;
	free(space->dmas);
	memset(space, 0, sizeof(*space));
}

/* The first that ends at @first or after. */
static size_t dma_index(const struct space *space, uint64_t first)
{
	size_t low = 0, high = space->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (space->dmas[middle]->last >= first)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

struct dma *fk_space_find(const struct space *space, uint64_t first, uint64_t last)
{
	size_t i = dma_index(space, first);

	return i < space->count && space->dmas[i]->iova <= last ? space->dmas[i] : NULL;
}

struct dma *fk_space_insert(struct space *space, uint64_t iova, uint64_t last, uint64_t vaddr)
{
	size_t at = dma_index(space, iova);
	struct dma *dma = fk_xalloc(sizeof(*dma));

	if (space->count == space->room) {
		space->room = space->room ? 2 * space->room : 64;
		space->dmas = realloc(space->dmas, space->room * sizeof(*space->dmas));
		if (!space->dmas)
			abort();
	}
	memmove(space->dmas + at + 1, space->dmas + at, (space->count - at) * sizeof(*space->dmas));
	dma->iova = iova;
	dma->last = last;
	dma->vaddr = vaddr;
	space->dmas[at] = dma;
	space->count++;
	space->mapped += last - iova + 1;
	return dma;
}

void fk_space_remove(struct fake *fake, struct space *space, struct dma *dma)
{
	size_t at = dma_index(space, dma->iova);

	space->mapped -= dma->last - dma->iova + 1;
	space->count--;
	memmove(space->dmas + at, space->dmas + at + 1, (space->count - at) * sizeof(*space->dmas));
	free(dma->dirty);
	if (dma->dma_buf)
		fk_dma_buf_put(dma->dma_buf);
	if (dma->object) {
		fk_object_put(fake, dma->object);
		close(dma->file_fd);
	}
	free(dma);
}

bool fk_space_uses_memory(struct fake *fake, uint64_t start, uint64_t end)
{
	for (struct space *space = fake->spaces; space; space = space->next)
		for (size_t i = 0; i < space->count; i++) {
			const struct dma *dma = space->dmas[i];

			/* Those of another process from now on do not count. */
			if (!dma->dma_buf && !dma->vaddr_invalid && dma->vaddr < end &&
			    dma->vaddr + (dma->last - dma->iova) >= start)
				return true;
		}
	return false;
}

bool fk_space_reaches(struct fake *fake, const struct object *object, uint64_t offset,
		      uint64_t address, uint64_t bytes)
{
	for (struct space *space = fake->spaces; space; space = space->next)
		for (size_t i = 0; i < space->count; i++) {
			const struct dma *dma = space->dmas[i];
			uint64_t at = dma->object ? dma->file_offset : dma->vaddr;
			uint64_t begin = dma->object ? offset : address;

			if (dma->dma_buf || (dma->object && dma->object != object))
				continue;
			if (at < begin + bytes && at + (dma->last - dma->iova) >= begin)
				return true;
		}
	return false;
}

size_t fk_ranges_without(uint64_t last, const struct range *holes, size_t count, struct range *out,
			 size_t room)
{
	uint64_t first = 0;
	size_t found = 0;

	for (;;) {
		const struct range *next = NULL;

		/* The hole that begins next, or that we are in. */
		for (size_t i = 0; i < count; i++)
			if (holes[i].last >= first && holes[i].first <= last &&
			    (!next || holes[i].first < next->first))
				next = &holes[i];
		if (!next || next->first > first) {
			if (found < room)
				out[found] = (struct range){first, next ? next->first - 1 : last};
			found++;
		}
		if (!next || next->last >= last)
			return found;
		first = next->last + 1;
	}
}

void fake_iova(struct fake *fake, int number, uint64_t iova, uint64_t bytes, struct fake_iova *out)
{
	uint64_t last = iova + bytes - 1;

	kernel_enter(&fake->sys);
	memset(out, 0, sizeof(*out));
	for (struct space *space = fake->spaces; space && !out->mapped; space = space->next) {
		uint64_t at = iova;
		struct dma *dma;

		if (number != FAKE_ANY_SPACE && space->number != (unsigned int)number)
			continue;
		memset(out, 0, sizeof(*out));
		out->in_order = out->readable = out->writable = true;
		while ((dma = fk_space_find(space, at, at)) && !dma->busy) {
			uint64_t vaddr = dma->vaddr + (at - dma->iova);

			if (at == iova)
				out->address = (void *)(uintptr_t)vaddr;
			if (vaddr - (uintptr_t)out->address != at - iova)
				out->in_order = false;
			out->readable &= dma->read;
			out->writable &= dma->write;
			out->entries++;
			if (dma->pinned)
				out->pinned += min_u64(dma->last, last) - at + 1;
			if (dma->last >= last) {
				out->mapped = true;
				break;
			}
			at = dma->last + 1;
		}
	}
	if (!out->mapped)
		memset(out, 0, sizeof(*out));
	kernel_leave(fake);
}
