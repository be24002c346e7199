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

/* Both directions. */
struct vfb_translation_table {
	struct vfb_table *by_iova, *by_address;
};

/* @kept: a table that shares blocks, or NULL. */
static void free_table(struct vfb_translation_table *table,
		       const struct vfb_translation_table *kept)
{
	if (!table)
		return;
	vfb_table_free(table->by_iova, kept ? kept->by_iova : NULL);
	vfb_table_free(table->by_address, kept ? kept->by_address : NULL);
	free(table);
}

void vfb_translator_init(struct vfb_translator *translator)
{
	atomic_init(&translator->table, NULL);
	pthread_mutex_init(&translator->lock, NULL);
	translator->links = NULL;
	translator->room = 0;
}

void vfb_translator_destroy(struct vfb_translator *translator)
{
	free_table(atomic_load(&translator->table), NULL);
	free(translator->links);
	pthread_mutex_destroy(&translator->lock);
}

/*
 * ThreadSanitizer does not see that a grace period happens after earlier read-side critical
 * sections. An annotated address makes it visible. It is never stored to atomically, since that
 * would make ThreadSanitizer forget the annotation.
 */
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#define TELL_TSAN(what, translator) __tsan_##what((void *)(uintptr_t) & (translator)->links)
#else
#define TELL_TSAN(what, translator) (void)(translator)
#endif

static inline const struct vfb_translation_table *begin_reading(
	const struct vfb_translator *translator)
{
	urcu_bp_read_lock();
	return atomic_load_explicit(&translator->table, memory_order_acquire);
}

static inline void end_reading(const struct vfb_translator *translator)
{
	TELL_TSAN(release, translator);
	urcu_bp_read_unlock();
}

static void wait_for_readers(const struct vfb_translator *translator)
{
	urcu_bp_synchronize_rcu();
	TELL_TSAN(acquire, translator);
}

/* ---- Looking up ---- */

/* Number of pieces; 0 if part of the buffer is not mapped. */
static inline int look_up(const struct vfb_table *table, uint64_t from, uint64_t bytes,
			  bool from_iova, struct vfb_translation *pieces, size_t count)
{
	size_t number = vfb_table_search(table->begins, table->count, from), position;
	const struct vfb_block *block = table->blocks[number];
	int found = 0;

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

static bool is_visible(const struct vfb_mapping *mapping)
{
	return mapping->state == VFB_MAPPING_DONE || mapping->visible;
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

		if (!is_visible(mapping) || offset >= segment.bytes)
			continue;
		part->address = (void *)(uintptr_t)(segment.to + offset);
		part->iova = mapping->at.iova + offset;
		part->bytes = segment.bytes - offset;
		part->flags = segment.flags;
		return true;
	}
	return false;
}

/* As look_up(), without a table: when there was no memory for one. */
static int look_up_in_index(const struct vfb_space *space, uint64_t from, uint64_t bytes,
			    bool from_iova, struct vfb_translation *pieces, size_t count)
{
	pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&space->lock;
	struct vfb_translation part = {0}, last = {0};
	int found = 0;

	pthread_mutex_lock(lock);
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
	pthread_mutex_unlock(lock);
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

/* The sorted segments of a table. */
struct links {
	struct vfb_link *all;
	size_t count;
};

static void add(struct links *links, uint64_t begin, const struct vfb_segment *segment)
{
	struct vfb_link *last = links->all + links->count - 1;

	/* Neighbours are found as one. */
	if (links->count && last->segment.flags == segment->flags &&
	    last->begin + last->segment.bytes == begin &&
	    last->segment.to + last->segment.bytes == segment->to) {
		last->segment.bytes += segment->bytes;
		return;
	}
	links->all[links->count++] = (struct vfb_link){begin, *segment};
}

static int by_begin(const void *a, const void *b)
{
	const struct vfb_link *left = a, *right = b;
	int order = (left->begin > right->begin) - (left->begin < right->begin);

	return order ? order :
		       (left->segment.to > right->segment.to) -
			       (left->segment.to < right->segment.to);
}

/* Inverts a map from IOVAs to addresses. */
static void turn(struct links *links)
{
	uint64_t end = 0;
	size_t count = links->count;

	for (size_t i = 0; i < count; i++) {
		uint64_t iova = links->all[i].begin;

		links->all[i].begin = links->all[i].segment.to;
		links->all[i].segment.to = iova;
	}
	qsort(links->all, count, sizeof(*links->all), by_begin);
	/* Memory that is mapped several times is translated to the first IOVA. */
	links->count = 0;
	for (size_t i = 0; i < count; i++) {
		struct vfb_link link = links->all[i];
		uint64_t link_end = link.begin + link.segment.bytes;

		if (link_end <= end)
			continue;
		if (link.begin < end) {
			link.segment.bytes = link_end - end;
			link.segment.to += end - link.begin;
			link.begin = end;
		}
		add(links, link.begin, &link.segment);
		end = link_end;
	}
}

/* The current mappings, by IOVA. */
static void collect(const struct vfb_index *index, struct links *links)
{
	struct vfb_mapping *mapping = vfb_index_at(index, 0);

	for (; mapping; mapping = vfb_index_next(mapping)) {
		struct vfb_segment segment = segment_of(mapping);

		if (is_visible(mapping))
			add(links, mapping->at.iova, &segment);
	}
}

/* Copies the index to the translator's links. The translator's lock is held. */
static bool read_index(struct vfb_space *space, struct links *links)
{
	struct vfb_translator *translator = &space->translator;
	bool enough;

	pthread_mutex_lock(&space->lock);
	if (space->index.count > translator->room) {
		size_t room = 2 * space->index.count;
		struct vfb_link *larger = realloc(translator->links, room * sizeof(*larger));

		if (larger) {
			translator->links = larger;
			translator->room = room;
		}
	}
	links->all = translator->links;
	links->count = 0;
	enough = space->index.count <= translator->room;
	if (enough)
		collect(&space->index, links);
	pthread_mutex_unlock(&space->lock);
	return enough;
}

static struct vfb_translation_table *build(struct links *links,
					   const struct vfb_translation_table *old)
{
	struct vfb_translation_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->by_iova = vfb_table_create(links->all, links->count, old ? old->by_iova : NULL);
	turn(links);
	table->by_address = vfb_table_create(links->all, links->count,
					     old ? old->by_address : NULL);
	if (table->by_iova && table->by_address)
		return table;
	free_table(table, old);
	return NULL;
}

static void set_table(struct vfb_translator *translator, struct vfb_translation_table *table)
{
	struct vfb_translation_table *old = atomic_load(&translator->table);

	atomic_store_explicit(&translator->table, table, memory_order_release);
	if (!old)
		return;
	wait_for_readers(translator);
	free_table(old, table);
}

/*
 * The lock is held until the old table is freed, since the next table shares blocks with this one
 * only.
 */
static int replace(struct vfb_translator *translator, struct links *links)
{
	struct vfb_translation_table *old = atomic_load(&translator->table), *table = NULL;

	if (links->count) {
		table = build(links, old);
		if (!table)
			return -ENOMEM;
	}
	set_table(translator, table);
	return 0;
}

int vfb_translator_publish(struct vfb_space *space)
{
	struct vfb_translator *translator = &space->translator;
	struct links links;
	int error;

	pthread_mutex_lock(&translator->lock);
	error = read_index(space, &links) ? replace(translator, &links) : -ENOMEM;
	pthread_mutex_unlock(&translator->lock);
	return error ? vfb_fail_memory() : 0;
}

void vfb_translator_publish_nofail(struct vfb_space *space)
{
	struct vfb_translator *translator = &space->translator;

	if (!vfb_translator_publish(space))
		return;
	pthread_mutex_lock(&translator->lock);
	set_table(translator, NULL);
	pthread_mutex_unlock(&translator->lock);
}
