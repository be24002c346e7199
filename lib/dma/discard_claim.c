/* SPDX-License-Identifier: MIT */
/* The mappings of memory that is discarded or restored, in the indexes of all spaces. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dma/discard_claim.h"
#include "memory/memory.h"
#include "observe/error.h"

/* The search for the mappings of one entry in one space. */
struct search {
	struct discard_space *in;
	size_t entry;
	uint64_t first, last;
	int error;
};

static uint64_t mapping_address(const struct vfb_mapping *mapping)
{
	return (uintptr_t)mapping->memory->address + mapping->offset;
}

static int fail_joined(const struct search *search, const struct vfb_interval *extent)
{
	const struct discard *discard = search->in->owner;
	const struct vfb_memory_range *range = discard->entries[search->entry].range;

	return vfb_fail(-EBUSY,
			"entry %zu (offset 0x%" PRIx64
			", %s): the kernel has mapped it at IOVA 0x%" PRIx64
			" together with memory outside of the batch, as one mapping of %s, and "
			"does not split mappings: map in blocks (vfb_space_opts.block_bytes) and "
			"discard whole blocks",
			search->entry, range->offset, vfb_size_text(range->bytes).text,
			extent->iova, vfb_size_text(extent->bytes).text);
}

/* An extent that began in an earlier entry of the run. */
static void extend_call(struct discard_space *in, const struct vfb_interval *extent, size_t entry)
{
	struct vfb_call *call = &in->calls.calls[in->calls.count - 1];

	while (call->iova != extent->iova)
		call--;
	call->entry_count = entry - call->first_entry + 1;
}

/* Lists the calls that unmap the extents of a claim, which must be within the run. */
static int list_unmaps_locked(struct search *search, const struct vfb_mapping *mapping,
			      const struct discard_claim *claim)
{
	struct discard_space *in = search->in;
	const struct discard_entry *entry = &in->owner->entries[search->entry];
	struct vfb_interval *extent = vfb_interval_at(&in->space->index.extents, claim->iova);
	uint64_t last = claim->iova + (claim->bytes - 1);
	int error = 0;

	for (; extent && extent->iova <= last && !error; extent = vfb_interval_next(extent)) {
		uint64_t address = mapping_address(mapping) + (extent->iova - mapping->at.iova);

		if (address < entry->run_first || address + (extent->bytes - 1) > entry->run_last)
			return fail_joined(search, extent);
		if (extent->iova < claim->iova)
			extend_call(in, extent, search->entry);
		else
			error = vfb_calls_add(&in->calls,
					      &(struct vfb_call){
						      .iova = extent->iova,
						      .bytes = extent->bytes,
						      .memory = mapping->memory,
						      .offset = mapping->offset +
								(extent->iova - mapping->at.iova),
						      .flags = mapping->flags,
						      .first_entry = search->entry,
						      .entry_count = 1,
					      });
	}
	return error;
}

/* Lists the calls that map what has no extent: an entry that is stuck may have some. */
static int list_maps_locked(struct search *search, const struct vfb_mapping *mapping,
			    const struct discard_claim *claim)
{
	struct discard_space *in = search->in;
	uint64_t end = claim->iova + claim->bytes, at = claim->iova, next;
	int error = 0;

	/* They become lost, and are mapped for the first device; or windows are, when they are
	 * touched. */
	if (!in->space->domain || mapping->demand)
		return 0;
	for (; at < end && !error; at = next) {
		const struct vfb_interval *extent = vfb_interval_at(&in->space->index.extents, at);

		if (extent && extent->iova <= at) {
			next = extent->iova + extent->bytes;
			continue;
		}
		next = extent && extent->iova < end ? extent->iova : end;
		error = vfb_calls_add_blocks(&in->calls, &(struct vfb_call){
								 .iova = at,
								 .bytes = next - at,
								 .memory = mapping->memory,
								 .offset = mapping->offset +
									   (at - mapping->at.iova),
								 .flags = mapping->flags,
								 .first_entry = search->entry,
								 .entry_count = 1,
							 });
	}
	return error;
}

static int add_claim(struct discard_space *in, const struct discard_claim *claim)
{
	if (in->claim_count == in->claim_room) {
		size_t room = 2 * in->claim_room + 4;
		struct discard_claim *grown = reallocarray(in->claims, room, sizeof(*grown));

		if (!grown)
			return vfb_fail_memory();
		in->claims = grown;
		in->claim_room = room;
	}
	in->claims[in->claim_count++] = *claim;
	return 0;
}

static int fail_window(const struct search *search, const struct vfb_demand *demand)
{
	const struct vfb_memory_range *range = search->in->owner->entries[search->entry].range;

	return vfb_fail(-EBUSY,
			"entry %zu (offset 0x%" PRIx64
			", %s) covers part of a window of %s at IOVA 0x%" PRIx64
			" and after it, which is mapped on demand: pass whole windows",
			search->entry, range->offset, vfb_size_text(range->bytes).text,
			vfb_size_text(demand->window_bytes).text, demand->iova);
}

/* The part of a mapping whose memory belongs to the entry. */
static void visit_mapping(void *arg, struct vfb_mapping *mapping)
{
	struct search *search = arg;
	struct discard_space *in = search->in;
	uint64_t address = mapping_address(mapping), begin = 0, last;
	struct discard_claim claim = {.entry = search->entry};

	if (search->error ||
	    (in->owner->restores && !mapping->discarded && mapping->state == VFB_MAPPING_DONE))
		return;
	if (mapping->state != VFB_MAPPING_DONE || in->space->ending) {
		search->error = vfb_fail(
			-EBUSY, "entry %zu: %s at IOVA 0x%" PRIx64 ": wait for it", search->entry,
			in->space->ending ? "another thread destroys the space with the range" :
					    "another job maps, unmaps, or restores the range",
			mapping->at.iova);
		return;
	}
	if (search->first > address)
		begin = search->first - address;
	last = address + (mapping->at.bytes - 1);
	if (last > search->last)
		last = search->last;
	claim.iova = mapping->at.iova + begin;
	claim.bytes = last - (address + begin) + 1;
	if (mapping->demand && !vfb_demand_is_whole(mapping->demand, claim.iova, claim.bytes)) {
		search->error = fail_window(search, mapping->demand);
		return;
	}
	search->error = in->owner->restores ? list_maps_locked(search, mapping, &claim) :
					      list_unmaps_locked(search, mapping, &claim);
	if (!search->error)
		search->error = add_claim(in, &claim);
}

static int find_mappings_locked(struct discard_space *in)
{
	const struct discard *discard = in->owner;
	struct search search = {.in = in};

	for (size_t i = 0; i < discard->count && !search.error; i++) {
		const struct vfb_memory_range *range = discard->entries[i].range;

		search.entry = i;
		search.first = (uintptr_t)discard->memory->address + range->offset;
		search.last = search.first + (range->bytes - 1);
		vfb_index_visit_addresses(&in->space->index, search.first, search.last,
					  visit_mapping, &search);
	}
	if (!search.error && in->claim_count && in->space->released)
		return vfb_fail(-EBUSY, "the addresses of the space were released: another "
					"process owns its mappings");
	return search.error;
}

/* Cuts a claim out of the mapping in which it lies. */
static struct vfb_mapping *cut_mapping_locked(struct vfb_index *index,
					      const struct discard_claim *claim)
{
	struct vfb_mapping *mapping = vfb_index_at(index, claim->iova);

	if (mapping->at.iova < claim->iova)
		mapping = vfb_index_split(index, mapping, claim->iova);
	if (mapping && mapping->at.bytes > claim->bytes &&
	    !vfb_index_split(index, mapping, claim->iova + claim->bytes))
		return NULL;
	return mapping;
}

/* Parts of one range that are in the same state become one mapping again. */
static void join_claims_locked(struct discard_space *in)
{
	struct vfb_index *index = &in->space->index;

	for (size_t i = 0; i < in->claim_count; i++)
		vfb_index_join(index, vfb_index_at(index, in->claims[i].iova));
}

static void unclaim_locked(struct discard_space *in)
{
	for (size_t i = 0; i < in->claim_count; i++) {
		struct vfb_mapping *mapping = in->claims[i].mapping;

		if (!mapping)
			continue;
		mapping->owner = NULL;
		vfb_index_set_state(&in->space->index, mapping, VFB_MAPPING_DONE, false);
		vfb_demand_settle_locked(in->space, mapping);
	}
	join_claims_locked(in);
}

static int claim_mappings_locked(struct discard_space *in)
{
	struct vfb_index *index = &in->space->index;
	enum vfb_mapping_state state = in->owner->restores ? VFB_MAPPING_BEGUN : VFB_MAPPING_ENDING;

	for (size_t i = 0; i < in->claim_count; i++) {
		struct vfb_mapping *mapping = cut_mapping_locked(index, &in->claims[i]);
		int error = mapping ? vfb_demand_claim_locked(in->space, mapping) :
				      vfb_fail_memory();

		if (error) {
			unclaim_locked(in);
			return error;
		}
		in->claims[i].mapping = mapping;
		mapping->owner = in->owner;
		vfb_index_set_state(index, mapping, state, false);
	}
	return 0;
}

static int claim_space(struct discard_space *in)
{
	struct vfb_space *space = in->space;
	int error;

	pthread_mutex_lock(&space->lock);
	error = find_mappings_locked(in);
	if (!error)
		error = claim_mappings_locked(in);
	if (error) {
		in->claim_count = 0;
	} else if (in->claim_count) {
		space->jobs++;
		space->discards++;
	}
	pthread_mutex_unlock(&space->lock);
	return error;
}

/* Also wakes a device that waits to create the domain. */
static void end_space_unlock(struct discard_space *in, bool changed)
{
	in->space->discards--;
	vfb_space_job_end_unlock(in->space, changed);
}

static void unclaim_all(struct discard *discard)
{
	for (size_t i = 0; i < discard->space_count; i++) {
		struct discard_space *in = &discard->spaces[i];

		if (!in->claim_count)
			continue;
		pthread_mutex_lock(&in->space->lock);
		unclaim_locked(in);
		end_space_unlock(in, true);
	}
}

static int list_spaces(struct discard *discard)
{
	struct vfb_space **list;
	int error = vfb_spaces_list(discard->memory->ctx->spaces, &list, &discard->space_count);

	if (error)
		return error;
	discard->spaces = calloc(discard->space_count + 1, sizeof(*discard->spaces));
	for (size_t i = 0; i < discard->space_count; i++) {
		if (!discard->spaces) {
			vfb_space_unref(list[i]);
			continue;
		}
		discard->spaces[i].space = discard->spaces[i].calls.space = list[i];
		discard->spaces[i].owner = discard;
	}
	free(list);
	if (discard->spaces)
		return 0;
	discard->space_count = 0;
	return vfb_fail_memory();
}

int vfb_discard_claim(struct discard *discard)
{
	int error = list_spaces(discard);

	for (size_t i = 0; i < discard->space_count && !error; i++)
		error = claim_space(&discard->spaces[i]);
	/* From here on translation finds none of it. */
	for (size_t i = 0; i < discard->space_count && !error && !discard->restores; i++)
		if (discard->spaces[i].claim_count)
			error = vfb_translator_publish(discard->spaces[i].space);
	if (error)
		unclaim_all(discard);
	return error;
}

static void settle_space_locked(struct discard_space *in)
{
	const struct discard *discard = in->owner;

	for (size_t i = 0; i < in->claim_count; i++) {
		const struct discard_entry *entry = &discard->entries[in->claims[i].entry];
		bool discarded = discard->restores ? entry->error && !entry->stuck :
						     !entry->error || entry->stuck;

		vfb_index_set_discarded(&in->space->index, in->claims[i].mapping, discarded);
	}
	unclaim_locked(in);
}

void vfb_discard_settle(struct discard *discard)
{
	for (size_t i = 0; i < discard->space_count; i++) {
		struct discard_space *in = &discard->spaces[i];

		if (!in->claim_count)
			continue;
		pthread_mutex_lock(&in->space->lock);
		settle_space_locked(in);
		end_space_unlock(in, true);
	}
}

void vfb_discard_free(struct discard *discard)
{
	for (size_t i = 0; i < discard->space_count; i++) {
		struct discard_space *in = &discard->spaces[i];

		vfb_calls_free(&in->calls);
		free(in->claims);
		vfb_space_unref(in->space);
	}
	free(discard->spaces);
	free(discard->entries);
}
