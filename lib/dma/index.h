/* SPDX-License-Identifier: MIT */
#ifndef VFB_INDEX_H
#define VFB_INDEX_H

/* Called for an interval whose children have changed. */
#define RB_AUGMENT(interval) vfb_interval_summarize(interval)
#include <bsd/sys/tree.h>
#include <stdbool.h>
#include <vfioboost/space.h>

/* A non-empty part of an I/O address space, in a tree of intervals that do not overlap. */
struct vfb_interval {
	RB_ENTRY(vfb_interval) link;
	uint64_t iova, bytes;
	/* Of its subtree: the first and the last byte, and the largest gap between them. */
	uint64_t lowest, highest, gap;
};

/* Computes the summary of one subtree from those of its children. */
void vfb_interval_summarize(struct vfb_interval *interval);

/* Ordered by the address of the memory; these may overlap. */
RB_HEAD(vfb_addresses, vfb_interval);

/* Ordered by IOVA; empty when zero-initialized. */
RB_HEAD(vfb_intervals, vfb_interval);

uint64_t vfb_interval_last(const struct vfb_interval *interval);

/* The first that ends at or after @iova, or NULL. */
struct vfb_interval *vfb_interval_at(const struct vfb_intervals *intervals, uint64_t iova);
struct vfb_interval *vfb_interval_next(struct vfb_interval *interval);

enum vfb_mapping_state {
	/* Its IOVAs are reserved, and it is being mapped. */
	VFB_MAPPING_BEGUN,
	VFB_MAPPING_DONE,
	/* It is being unmapped. */
	VFB_MAPPING_ENDING,
};

/* A range as the caller requested it, or a part of one. */
struct vfb_mapping {
	struct vfb_interval at;
	/* Its iova is the address. */
	struct vfb_interval address;
	struct vfb_memory *memory;
	uint64_t offset;
	uint32_t flags;
	enum vfb_mapping_state state;
	/* It can be translated although it is not done. */
	bool visible;
	/* Its pages were returned: it keeps its IOVAs, but is neither mapped nor translated. */
	bool discarded;
	/* It continues the mapping before it: they are parts of one range. */
	bool continues;
	/* Identifies the job or thread that maps or unmaps it; NULL when it is done. */
	const void *owner;
	/* It is mapped on demand; shared by the parts of the range. */
	struct vfb_demand *demand;
};

/* A mapping that can be translated since a change, or no longer. */
struct vfb_change {
	uint64_t iova, address, bytes;
};

/*
 * Mappings are what was requested, extents what the kernel has: one extent for each map call, which
 * the kernel can only unmap as a whole. A mapping that is done but has no extent is lost: it waits
 * for the first device, unless it is discarded. An extent that overlaps several mappings joins
 * them. The space's lock guards the index.
 */
struct vfb_index {
	struct vfb_intervals mappings, extents;
	/* Number of the mappings and of the ranges that they are, their bytes, and those that the
	 * kernel never has. */
	size_t count, range_count;
	uint64_t bytes, discarded_bytes, host_only_bytes;
	/* All mappings that devices see, if somebody has looked for an address. */
	bool keeps_addresses;
	struct vfb_addresses addresses;
	/* Changes are listed, since there are lookups. */
	bool is_translated;
	/* Changes that the translator has not published; or too many to list. */
	struct vfb_change *changes;
	size_t change_count;
	bool all_changed;
};

/* Frees everything in the index. */
void vfb_index_free(struct vfb_index *index);

/* The first mapping that ends at or after @iova, or the one that follows a mapping; or NULL. */
struct vfb_mapping *vfb_index_at(const struct vfb_index *index, uint64_t iova);
struct vfb_mapping *vfb_index_next(struct vfb_mapping *mapping);

/* The mapping that begins at @iova, or NULL. */
struct vfb_mapping *vfb_index_find(const struct vfb_index *index, uint64_t iova);

/* Frees one that is not in the index. */
void vfb_mapping_free(struct vfb_mapping *mapping);

/* Adds a mapping from malloc(). Returns NULL, or the mapping that it overlaps. */
struct vfb_mapping *vfb_index_add(struct vfb_index *index, struct vfb_mapping *mapping);
/* Removes and frees it. */
void vfb_index_remove(struct vfb_index *index, struct vfb_mapping *mapping);

/* Sets both. */
void vfb_index_set_state(struct vfb_index *index, struct vfb_mapping *mapping,
			 enum vfb_mapping_state state, bool visible);

void vfb_index_set_discarded(struct vfb_index *index, struct vfb_mapping *mapping, bool discarded);

/* Splits a mapping at an IOVA within it, and returns the second part; NULL without memory. */
struct vfb_mapping *vfb_index_split(struct vfb_index *index, struct vfb_mapping *mapping,
				    uint64_t iova);
/* Joins a mapping with its neighbours if they are parts of one range and equal. */
void vfb_index_join(struct vfb_index *index, struct vfb_mapping *mapping);

/* From now on, keeps @changes, of which everything has changed. */
void vfb_index_begin_translation(struct vfb_index *index);

/* Devices do not see it. */
static inline bool vfb_mapping_is_host_only(const struct vfb_mapping *mapping)
{
	return mapping->flags & VFB_RANGE_HOST_ONLY;
}

static inline bool vfb_mapping_is_visible(const struct vfb_mapping *mapping)
{
	return (mapping->state == VFB_MAPPING_DONE || mapping->visible) && !mapping->discarded;
}

/* Calls @visit for each mapping whose memory overlaps an area, ordered by address. */
void vfb_index_visit_addresses(struct vfb_index *index, uint64_t first, uint64_t last,
			       void (*visit)(void *arg, struct vfb_mapping *mapping), void *arg);

/* Whether an extent overlaps an area. */
bool vfb_index_has_extents(const struct vfb_index *index, uint64_t iova, uint64_t bytes);
/* Adds one from malloc(), which must not overlap another. */
void vfb_index_add_extent(struct vfb_index *index, struct vfb_interval *extent);
/* Removes and frees the extents in an area. Returns their number. */
size_t vfb_index_remove_extents(struct vfb_index *index, uint64_t iova, uint64_t bytes);

/*
 * Finds the lowest IOVA that is congruent to @address modulo @alignment, a power of two, with
 * @bytes free in one of the valid ranges. False if there is none.
 */
bool vfb_index_find_gap(const struct vfb_index *index, const struct vfb_iova_range *ranges,
			size_t range_count, uint64_t bytes, uint64_t address, uint64_t alignment,
			uint64_t *iova);

#endif
