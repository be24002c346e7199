/* SPDX-License-Identifier: MIT */
#include "dma/translate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/*
 * Inlines the read side, which liburcu permits for code with an LGPL-compatible license. The
 * pointer to the registration of the thread is found without a call (initial-exec TLS), which takes
 * 8 bytes of the static TLS that is reserved for libraries loaded later. Not with sanitizers:
 * registrations are less aligned than liburcu 0.13 declares them.
 */
#ifdef __SANITIZE_ADDRESS__
#include <urcu-bp.h>
#else
#define _LGPL_SOURCE
#include <urcu-bp.h>
extern __thread struct urcu_bp_reader *urcu_bp_reader __attribute__((tls_model("initial-exec")));
#endif

#include "dma/space.h"
#include "dma/table.h"
#include "memory/memory.h"
#include "observe/error.h"
#include "rcu_tsan.h"

/* Replaced tables that wait for one grace period, which interrupts every reader. */
#define MAX_REPLACED 64

/* Both directions. */
struct vfb_translation_table {
	struct vfb_table *by_iova, *by_address;
	/* Of a table that was replaced: the patches of its successor, and the one replaced before.
	 */
	struct vfb_patch *iova_patches, *address_patches;
	size_t iova_patch_count, address_patch_count;
	struct vfb_translation_table *before;
};

static void free_table(struct vfb_translation_table *table)
{
	if (!table)
		return;
	vfb_table_free(table->by_iova);
	vfb_table_free(table->by_address);
	free(table);
}

/* Frees the replaced tables, except for blocks shared with their successors. */
static void free_replaced(struct vfb_translator *translator)
{
	struct vfb_translation_table *table;

	while ((table = translator->replaced)) {
		translator->replaced = table->before;
		vfb_table_free_replaced(table->by_iova, table->iova_patches,
					table->iova_patch_count);
		vfb_table_free_replaced(table->by_address, table->address_patches,
					table->address_patch_count);
		free(table->iova_patches);
		free(table->address_patches);
		free(table);
	}
	translator->replaced_count = 0;
}

void vfb_translator_init(struct vfb_translator *translator)
{
	atomic_init(&translator->table, NULL);
	translator->replaced = NULL;
	translator->replaced_count = 0;
	pthread_mutex_init(&translator->lock, NULL);
	translator->is_stale = false;
}

void vfb_translator_destroy(struct vfb_translator *translator)
{
	free_replaced(translator);
	free_table(atomic_load(&translator->table));
	pthread_mutex_destroy(&translator->lock);
}

static inline const struct vfb_translation_table *begin_reading(
	const struct vfb_translator *translator)
{
	urcu_bp_read_lock();
	return atomic_load_explicit(&translator->table, memory_order_acquire);
}

static inline void end_reading(const struct vfb_translator *translator)
{
	VFB_RCU_TSAN(release, &translator->is_stale);
	urcu_bp_read_unlock();
}

static void wait_for_readers(const struct vfb_translator *translator)
{
	urcu_bp_synchronize_rcu();
	VFB_RCU_TSAN(acquire, &translator->is_stale);
}

/* ---- Looking up ---- */

/* Number of pieces; 0 if part of the buffer is not mapped. */
static inline int look_up(const struct vfb_table *table, uint64_t from, uint64_t bytes,
			  bool from_iova, struct vfb_translation *pieces, size_t count)
{
	size_t number = vfb_table_search(table->begins, table->count, from), position;
	const struct vfb_block *block;
	int found = 0;

	if (!table->count)
		return 0;
	block = table->blocks[number];
	position = vfb_table_search(block->begins, block->count, from);
	for (;;) {
		const struct vfb_segment *segment = &block->segments[position];
		uint64_t offset = from - block->begins[position], part;

		/* Wraps if the segment begins behind the address. */
		if (offset >= segment->bytes)
			return 0;
		part = segment->bytes - offset < bytes ? segment->bytes - offset : bytes;
		if ((size_t)found < count) {
			uint64_t to = segment->to + offset;

			pieces[found].address = (void *)(uintptr_t)(from_iova ? to : from);
			pieces[found].iova = from_iova ? from : to;
			pieces[found].bytes = part;
			pieces[found].flags = segment->flags;
			pieces[found].reserved = 0;
		}
		found++;
		bytes -= part;
		from += part;
		if (!bytes)
			return found;
		if (++position == block->count) {
			if (++number == table->count)
				return 0;
			block = table->blocks[number];
			position = 0;
		}
	}
}

static struct vfb_segment segment_of(const struct vfb_mapping *mapping)
{
	uint32_t flags = mapping->flags & (VFB_RANGE_READ | VFB_RANGE_WRITE);

	return (struct vfb_segment){
		.bytes = mapping->at.bytes,
		.to = (uintptr_t)mapping->memory->address + mapping->offset,
		.flags = flags ? flags : VFB_RANGE_READ | VFB_RANGE_WRITE,
	};
}

/* The part of a mapping from @from on; false when there is none. */
static bool find_in_index(const struct vfb_index *index, uint64_t from, bool from_iova,
			  struct vfb_translation *part)
{
	struct vfb_mapping *mapping = vfb_index_at(index, from_iova ? from : 0);

	for (; mapping; mapping = vfb_index_next(mapping)) {
		struct vfb_segment segment = segment_of(mapping);
		uint64_t offset = from - (from_iova ? mapping->at.iova : segment.to);

		if (!vfb_mapping_is_visible(mapping) || offset >= segment.bytes ||
		    (!from_iova && vfb_mapping_is_host_only(mapping)))
			continue;
		part->address = (void *)(uintptr_t)(segment.to + offset);
		part->iova = mapping->at.iova + offset;
		part->bytes = segment.bytes - offset;
		part->flags = segment.flags;
		return true;
	}
	return false;
}

/*
 * As look_up(), without a table: the first time, which makes one for those that follow, and when
 * there was no memory for one.
 *
 * A change of the index is followed by a look at is_used, and setting is_used by reading the index
 * with the lock held: one of the two publishes the change.
 */
__attribute__((cold, noinline)) static int look_up_in_index(const struct vfb_space *const_space,
							    uint64_t from, uint64_t bytes,
							    bool from_iova,
							    struct vfb_translation *pieces,
							    size_t count)
{
	struct vfb_space *space = (struct vfb_space *)(uintptr_t)const_space;
	struct vfb_translation part = {0}, last = {0};
	int found = 0;

	if (!atomic_exchange(&space->translator.is_used, true))
		vfb_translator_publish_nofail(space);
	pthread_mutex_lock(&space->lock);
	while (bytes && find_in_index(&space->index, from, from_iova, &part)) {
		if (part.bytes > bytes)
			part.bytes = bytes;
		bytes -= part.bytes;
		from += part.bytes;
		/* Neighbours are found as one. */
		if (found && part.flags == last.flags && part.iova == last.iova + last.bytes &&
		    part.address == (char *)last.address + last.bytes) {
			last.bytes += part.bytes;
		} else {
			last = part;
			found++;
		}
		if ((size_t)found <= count)
			pieces[found - 1] = last;
	}
	pthread_mutex_unlock(&space->lock);
	return bytes ? 0 : found;
}

__attribute__((cold, noinline)) static int not_mapped(const char *what, uint64_t from,
						      uint64_t bytes)
{
	return vfb_fail(-ENOENT, "part of the %s at %s 0x%" PRIx64 " is not mapped",
			vfb_size_text(bytes).text, what, from);
}

int vfb_space_translate(const struct vfb_space *space, uint64_t iova, uint64_t bytes,
			struct vfb_translation *pieces, size_t count)
{
	const struct vfb_translation_table *table;
	int found = 0;

	if (!bytes)
		return 0;
	table = begin_reading(&space->translator);
	if (table)
		found = look_up(table->by_iova, iova, bytes, true, pieces, count);
	end_reading(&space->translator);
	if (__builtin_expect(!table, false))
		found = look_up_in_index(space, iova, bytes, true, pieces, count);
	return found ? found : not_mapped("IOVA", iova, bytes);
}

int vfb_space_translate_address(const struct vfb_space *space, const void *address, uint64_t bytes,
				struct vfb_translation *pieces, size_t count)
{
	const struct vfb_translation_table *table;
	uintptr_t from = (uintptr_t)address;
	int found = 0;

	if (!bytes)
		return 0;
	table = begin_reading(&space->translator);
	if (table)
		found = look_up(table->by_address, from, bytes, false, pieces, count);
	end_reading(&space->translator);
	if (__builtin_expect(!table, false))
		found = look_up_in_index(space, from, bytes, false, pieces, count);
	return found ? found : not_mapped("address", from, bytes);
}

/* ---- Publishing ---- */

/* The update of a table. */
struct update {
	bool from_iova;
	const struct vfb_table *old;
	struct vfb_patch *patches;
	size_t patch_count;
	/* Of all patches. */
	struct vfb_link *links;
	size_t link_count;
	/* The rest of the area of the current patch; none if @done. */
	struct vfb_area left;
	size_t first_link;
	bool done, failed;
};

static void free_update(struct update *update)
{
	free(update->patches);
	free(update->links);
}

static void add_link(struct update *update, uint64_t begin, const struct vfb_segment *segment)
{
	size_t count = update->link_count;
	struct vfb_link *last = count > update->first_link ? &update->links[count - 1] : NULL;
	void *larger;

	/* Neighbours are found as one. */
	if (last && last->segment.flags == segment->flags &&
	    last->begin + last->segment.bytes == begin &&
	    last->segment.to + last->segment.bytes == segment->to) {
		last->segment.bytes += segment->bytes;
		return;
	}
	if (!(count & (count - 1))) {
		larger = realloc(update->links, (count ? 2 * count : 1) * sizeof(*last));
		update->failed |= !larger;
		if (!larger)
			return;
		update->links = larger;
	}
	update->links[update->link_count++] = (struct vfb_link){begin, *segment};
}

/* Memory that is mapped several times is translated to the first IOVA. */
static void collect_mapping(void *arg, struct vfb_mapping *mapping)
{
	struct update *update = arg;
	struct vfb_segment segment = segment_of(mapping);
	uint64_t begin = mapping->at.iova, last;

	if (!update->from_iova) {
		begin = segment.to;
		segment.to = mapping->at.iova;
	}
	last = begin + (segment.bytes - 1);
	if (update->done || last < update->left.begin || !vfb_mapping_is_visible(mapping))
		return;
	if (begin < update->left.begin) {
		segment.to += update->left.begin - begin;
		begin = update->left.begin;
	}
	if (last > update->left.last)
		last = update->left.last;
	update->done = last == UINT64_MAX;
	update->left.begin = last + 1;
	segment.bytes = last - begin + 1;
	add_link(update, begin, &segment);
}

static void collect_patch_locked(struct vfb_index *index, struct update *update,
				 struct vfb_patch *patch)
{
	struct vfb_mapping *mapping;

	update->left = patch->area;
	update->done = false;
	update->first_link = patch->first_link = update->link_count;
	if (!update->from_iova) {
		vfb_index_visit_addresses(index, patch->area.begin, patch->area.last,
					  collect_mapping, update);
	} else {
		mapping = vfb_index_at(index, patch->area.begin);
		for (; mapping && mapping->at.iova <= patch->area.last;
		     mapping = vfb_index_next(mapping))
			collect_mapping(update, mapping);
	}
	patch->link_count = update->link_count - patch->first_link;
}

static int by_begin(const void *a, const void *b)
{
	const struct vfb_area *left = a, *right = b;

	return (left->begin > right->begin) - (left->begin < right->begin);
}

/* Finds the patches for what has changed. @all: everything. */
static bool cut_update_locked(const struct vfb_index *index, struct update *update, bool all)
{
	size_t count = all ? 1 : index->change_count;
	struct vfb_area *areas = calloc(count + 1, sizeof(*areas));

	update->patches = calloc(count + 1, sizeof(*update->patches));
	if (!areas || !update->patches) {
		free(areas);
		return false;
	}
	areas[0].last = UINT64_MAX;
	for (size_t i = 0; i < count && !all; i++) {
		const struct vfb_change *change = &index->changes[i];

		areas[i].begin = update->from_iova ? change->iova : change->address;
		areas[i].last = areas[i].begin + (change->bytes - 1);
	}
	qsort(areas, count, sizeof(*areas), by_begin);
	update->patch_count = vfb_table_cut(update->old, areas, count, update->patches);
	free(areas);
	return true;
}

/* Reads the changes of the index since the last publication. */
static bool read_changes(struct vfb_space *space, struct update updates[2])
{
	struct vfb_index *index = &space->index;
	bool all, done = true;

	pthread_mutex_lock(&space->lock);
	vfb_index_begin_translation(index);
	all = index->all_changed || space->translator.is_stale;
	for (size_t i = 0; i < 2; i++) {
		struct update *update = &updates[i];

		done = done && cut_update_locked(index, update, all);
		for (size_t n = 0; n < update->patch_count && done; n++)
			collect_patch_locked(index, update, &update->patches[n]);
		done = done && !update->failed;
	}
	index->change_count = 0;
	index->all_changed = false;
	pthread_mutex_unlock(&space->lock);
	return done;
}

/* Returns NULL if memory is exhausted. */
static struct vfb_translation_table *build(const struct update updates[2])
{
	struct vfb_translation_table *table = vfb_lines_create(sizeof(*table));

	if (!table)
		return NULL;
	table->by_iova = vfb_table_create(updates[0].old, updates[0].patches,
					  updates[0].patch_count, updates[0].links);
	table->by_address = vfb_table_create(updates[1].old, updates[1].patches,
					     updates[1].patch_count, updates[1].links);
	if (table->by_iova && table->by_address)
		return table;
	if (table->by_iova)
		vfb_table_free_unused(table->by_iova, updates[0].patches, updates[0].patch_count);
	if (table->by_address)
		vfb_table_free_unused(table->by_address, updates[1].patches,
				      updates[1].patch_count);
	free(table);
	return NULL;
}

/* Takes the patches of the updates. An empty table is NULL. */
static void replace(struct vfb_translator *translator, struct vfb_translation_table *table,
		    struct update updates[2])
{
	struct vfb_translation_table *old = atomic_load(&translator->table), *empty = NULL;

	if (!table->by_iova->count) {
		empty = table;
		table = NULL;
	}
	atomic_store_explicit(&translator->table, table, memory_order_release);
	free_table(empty);
	if (!old)
		return;
	old->iova_patches = updates[0].patches;
	old->iova_patch_count = updates[0].patch_count;
	old->address_patches = updates[1].patches;
	old->address_patch_count = updates[1].patch_count;
	updates[0].patches = updates[1].patches = NULL;
	old->before = translator->replaced;
	translator->replaced = old;
	if (++translator->replaced_count < MAX_REPLACED)
		return;
	wait_for_readers(translator);
	free_replaced(translator);
}

/* By address a table is empty while all of its memory is left out of the IOMMU. It has no blocks to
 * be replaced, as if there were none. */
static const struct vfb_table *none_if_empty(const struct vfb_table *table)
{
	return table->count ? table : NULL;
}

int vfb_translator_publish(struct vfb_space *space)
{
	struct vfb_translator *translator = &space->translator;
	struct update updates[2] = {{.from_iova = true}, {.from_iova = false}};
	struct vfb_translation_table *old, *table = NULL;

	if (!atomic_load(&translator->is_used))
		return 0;
	pthread_mutex_lock(&translator->lock);
	old = atomic_load(&translator->table);
	if (old) {
		updates[0].old = none_if_empty(old->by_iova);
		updates[1].old = none_if_empty(old->by_address);
	}
	if (read_changes(space, updates))
		table = build(updates);
	if (table)
		replace(translator, table, updates);
	translator->is_stale = !table;
	free_update(&updates[0]);
	free_update(&updates[1]);
	pthread_mutex_unlock(&translator->lock);
	return table ? 0 : vfb_fail_memory();
}

void vfb_translator_publish_nofail(struct vfb_space *space)
{
	struct vfb_translator *translator = &space->translator;
	struct vfb_translation_table *old;

	if (!atomic_load(&translator->is_used) || !vfb_translator_publish(space))
		return;
	pthread_mutex_lock(&translator->lock);
	old = atomic_exchange(&translator->table, NULL);
	wait_for_readers(translator);
	free_replaced(translator);
	free_table(old);
	pthread_mutex_unlock(&translator->lock);
}
