/* SPDX-License-Identifier: MIT */
/* Which pages devices have written to. */
#include <vfioboost/dirty.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "container_of.h"
#include "dma/space.h"
#include "engine/spread.h"
#include "observe/error.h"
#include "options.h"
#include "round.h"

#define WORD_BITS 64
/* 32 KiB of bits for pages of 4 KiB. */
#define PIECE_WORDS 4096

/*
 * One call. Parts of words may belong to several pieces, and the kernel does not set their bits
 * atomically: such a piece is read into a word of its own. It then has fewer than 64 pages.
 */
struct dirty_piece {
	size_t area;
	uint64_t iova, pages;
	uint64_t *word;
	/* The bit of the word that the first page has, of a part of a word. */
	unsigned int shift;
	bool is_part;
};

struct dirty_job {
	struct vfb_job job;
	struct vfb_space *space;
	struct vfb_dirty_area *areas;
	size_t area_count;
	uint64_t page;
	struct dirty_piece *pieces;
	size_t count, capacity;
	struct vfb_spread spread;
};

static uint64_t dirty_base_page(const struct vfb_space *space)
{
	return space->ctx->sys->base_page(space->ctx->sys);
}

static int dirty_check_area(const struct vfb_dirty_area *area, size_t i, uint64_t page)
{
	if (!area->bytes || (area->iova | area->bytes) % page ||
	    area->iova + (area->bytes - 1) < area->iova)
		return vfb_fail(-EINVAL,
				"area %zu (IOVA 0x%" PRIx64 ", %s) is empty, not a multiple of the "
				"base page of %s, or ends beyond the 64-bit address space",
				i, area->iova, vfb_size_text(area->bytes).text,
				vfb_size_text(page).text);
	if (!area->bitmap || area->reserved)
		return vfb_fail(-EINVAL, "area %zu has no bitmap, or reserved fields that are set",
				i);
	return 0;
}

static int dirty_check_space_locked(const struct vfb_space *space)
{
	if (!space->can_track)
		return vfb_fail(-EINVAL, "the space was created without VFB_SPACE_DIRTY");
	if (!space->domain)
		return vfb_fail(-ENXIO,
				"the space has no domain whose pages could be tracked: open "
				"a device first");
	return 0;
}

int vfb_space_track_dirty(struct vfb_space *space, int on)
{
	int error;

	pthread_mutex_lock(&space->lock);
	error = dirty_check_space_locked(space);
	if (!error)
		space->jobs++;
	pthread_mutex_unlock(&space->lock);
	if (error)
		return error;
	error = space->iommu->ops->track_dirty(space->iommu, on);
	vfb_space_job_end(space);
	return error;
}

static int dirty_add(struct dirty_job *dirty, const struct dirty_piece *piece)
{
	if (dirty->count == dirty->capacity) {
		size_t capacity = dirty->capacity * 2 + 16;
		struct dirty_piece *grown = reallocarray(dirty->pieces, capacity, sizeof(*grown));

		if (!grown)
			return vfb_fail_memory();
		dirty->pieces = grown;
		dirty->capacity = capacity;
	}
	dirty->pieces[dirty->count++] = *piece;
	return 0;
}

/*
 * Cuts mapped bytes of an area, from @begin to @end, into pieces: whole words, and what is left
 * before and after.
 */
static int dirty_cut(struct dirty_job *dirty, size_t area, uint64_t begin, uint64_t end)
{
	const struct vfb_dirty_area *of = &dirty->areas[area];
	uint64_t last = end / dirty->page;
	int error = 0;

	for (uint64_t at = begin / dirty->page, pages; at < last && !error; at += pages) {
		uint64_t left = last - at;
		struct dirty_piece piece = {.area = area, .iova = of->iova + at * dirty->page};

		piece.word = of->bitmap + at / WORD_BITS;
		piece.shift = at % WORD_BITS;
		piece.is_part = piece.shift || left < WORD_BITS;
		if (piece.is_part)
			pages = left < WORD_BITS - piece.shift ? left : WORD_BITS - piece.shift;
		else
			pages = left < PIECE_WORDS * WORD_BITS ? left / WORD_BITS * WORD_BITS :
								 PIECE_WORDS * WORD_BITS;
		piece.pages = pages;
		error = dirty_add(dirty, &piece);
	}
	return error;
}

/* An area as a whole, for a kernel that finds what is mapped in it. */
static int dirty_add_whole(struct dirty_job *dirty, size_t area)
{
	const struct vfb_dirty_area *of = &dirty->areas[area];

	return dirty_add(dirty, &(struct dirty_piece){.area = area,
						      .iova = of->iova,
						      .pages = of->bytes / dirty->page,
						      .word = of->bitmap});
}

/*
 * The runs of an area that are mapped without a hole: the kernel forgets the bits behind a hole
 * (iopt_read_and_clear_dirty_data(), Linux 7.3).
 */
static int dirty_add_runs_locked(struct dirty_job *dirty, size_t area)
{
	const struct vfb_dirty_area *of = &dirty->areas[area];
	uint64_t last = of->iova + (of->bytes - 1), begin = 0, end = 0;
	struct vfb_interval *extent = vfb_interval_at(&dirty->space->index.extents, of->iova);
	int error = 0;

	for (; extent && extent->iova <= last && !error; extent = vfb_interval_next(extent)) {
		uint64_t from = extent->iova > of->iova ? extent->iova : of->iova;
		uint64_t to = vfb_interval_last(extent) < last ? vfb_interval_last(extent) : last;

		if (from - of->iova != end) {
			error = dirty_cut(dirty, area, begin, end);
			begin = from - of->iova;
		}
		end = to - of->iova + 1;
	}
	return error ?: dirty_cut(dirty, area, begin, end);
}

static int dirty_prepare_locked(struct dirty_job *dirty)
{
	bool runs = dirty->space->iommu->ops->parallel;
	int error = dirty_check_space_locked(dirty->space);

	for (size_t i = 0; i < dirty->area_count; i++)
		dirty->areas[i].status = -ECANCELED;
	for (size_t i = 0; i < dirty->area_count && !error; i++) {
		error = dirty_check_area(&dirty->areas[i], i, dirty->page);
		if (!error)
			error = runs ? dirty_add_runs_locked(dirty, i) : dirty_add_whole(dirty, i);
		if (error)
			dirty->areas[i].status = error;
	}
	if (error)
		return error;
	for (size_t i = 0; i < dirty->area_count; i++)
		dirty->areas[i].status = 0;
	dirty->space->jobs++;
	return 0;
}

static void dirty_visit(struct vfb_spread *spread, size_t item)
{
	struct dirty_job *dirty = container_of(spread, struct dirty_job, spread);
	const struct dirty_piece *piece = &dirty->pieces[item];
	struct vfb_iommu *iommu = dirty->space->iommu;
	uint64_t part = 0, bytes = piece->pages * dirty->page;
	int error;

	error = iommu->ops->read_dirty(iommu, piece->iova, bytes, dirty->page,
				       piece->is_part ? &part : piece->word);
	if (part)
		__atomic_fetch_or(piece->word, part << piece->shift, __ATOMIC_RELAXED);
	if (error) {
		__atomic_store_n(&dirty->areas[piece->area].status, error, __ATOMIC_RELAXED);
		vfb_job_fail(&dirty->job, error, false);
	}
	atomic_fetch_add(&dirty->job.bytes_done, bytes);
}

static void dirty_clear_bits(uint64_t *bitmap, uint64_t first, uint64_t end)
{
	while (first < end) {
		uint64_t shift = first % WORD_BITS, left = WORD_BITS - shift;
		uint64_t count = end - first < left ? end - first : left;

		bitmap[first / WORD_BITS] &= ~((UINT64_MAX >> (WORD_BITS - count)) << shift);
		first += count;
	}
}

/*
 * type1 leaves bits of earlier calls behind mappings that do not begin at a whole word of the
 * bitmap (update_user_bitmap(), Linux 6.12): what is not mapped was not written to.
 */
static void dirty_clear_holes_locked(struct dirty_job *dirty, const struct vfb_dirty_area *area)
{
	uint64_t last = area->iova + (area->bytes - 1), at = 0;
	struct vfb_interval *extent = vfb_interval_at(&dirty->space->index.extents, area->iova);

	for (; extent && extent->iova <= last; extent = vfb_interval_next(extent)) {
		uint64_t from = extent->iova > area->iova ? extent->iova - area->iova : 0;

		dirty_clear_bits(area->bitmap, at, from / dirty->page);
		at = (vfb_interval_last(extent) - area->iova + 1) / dirty->page;
	}
	dirty_clear_bits(area->bitmap, at, round_up(area->bytes / dirty->page, WORD_BITS));
}

static bool dirty_finish(struct vfb_job *job)
{
	struct dirty_job *dirty = container_of(job, struct dirty_job, job);

	vfb_job_settle(job);
	pthread_mutex_lock(&dirty->space->lock);
	for (size_t i = 0; i < dirty->area_count && !dirty->space->iommu->ops->parallel; i++)
		dirty_clear_holes_locked(dirty, &dirty->areas[i]);
	pthread_mutex_unlock(&dirty->space->lock);
	vfb_space_job_end(dirty->space);
	atomic_store(&job->entries_done, job->entries);
	return true;
}

static void dirty_free(struct vfb_job *job)
{
	struct dirty_job *dirty = container_of(job, struct dirty_job, job);

	free(dirty->pieces);
	free(dirty);
}

static const struct vfb_job_ops dirty_ops = {
	.operation = "dirty",
	.finish = dirty_finish,
	.free = dirty_free,
};

static int dirty_prepare(struct dirty_job *dirty)
{
	int error;

	pthread_mutex_lock(&dirty->space->lock);
	error = dirty_prepare_locked(dirty);
	pthread_mutex_unlock(&dirty->space->lock);
	return error;
}

/* The kernel sets bits only. */
static void dirty_clear_bitmaps(struct dirty_job *dirty)
{
	for (size_t i = 0; i < dirty->area_count; i++) {
		uint64_t pages = dirty->areas[i].bytes / dirty->page;

		memset(dirty->areas[i].bitmap, 0, (pages + WORD_BITS - 1) / WORD_BITS * 8);
		dirty->job.bytes += dirty->areas[i].bytes;
	}
}

int vfb_space_dirty_start(struct vfb_space *space, struct vfb_dirty_area *areas, size_t count,
			  struct vfb_job **out)
{
	struct dirty_job *dirty;
	unsigned int width = space->iommu->ops->parallel ? vfb_engine_workers(space->ctx->engine) :
							   1;
	int error;

	*out = NULL;
	error = vfb_entries_check(areas, count, "areas");
	if (error)
		return error;
	dirty = calloc(1, sizeof(*dirty));
	if (!dirty)
		return vfb_fail_memory();
	dirty->space = space;
	dirty->areas = areas;
	dirty->area_count = count;
	dirty->page = dirty_base_page(space);
	error = vfb_job_init(&dirty->job, &dirty_ops, space->ctx, count);
	if (error) {
		free(dirty);
		return error;
	}
	error = dirty_prepare(dirty);
	if (error) {
		vfb_job_fini(&dirty->job);
		dirty_free(&dirty->job);
		return error;
	}
	dirty_clear_bitmaps(dirty);
	*out = &dirty->job;
	vfb_spread(&dirty->spread, &dirty->job, dirty->count, width, dirty_visit);
	vfb_job_release(&dirty->job);
	return 0;
}

int vfb_space_dirty(struct vfb_space *space, struct vfb_dirty_area *areas, size_t count)
{
	struct vfb_job *job;

	return vfb_job_sync(job, vfb_space_dirty_start(space, areas, count, &job));
}
