/* SPDX-License-Identifier: MIT */
#ifndef VFB_INDEX_H
#define VFB_INDEX_H

#include <stdbool.h>
#include <vfioboost/space.h>

enum vfb_mapping_state {
	/* Its IOVAs are taken, a job is mapping it. */
	VFB_MAPPING_BEGUN,
	VFB_MAPPING_DONE,
	/* A job is unmapping it. */
	VFB_MAPPING_ENDING,
	/* Unmapped: the next vfb_index_compact() removes it. */
	VFB_MAPPING_GONE,
};

/* A range as the caller asked for it. */
struct vfb_mapping {
	uint64_t iova, bytes;
	struct vfb_memory *memory;
	uint64_t offset;
	uint32_t flags;
	enum vfb_mapping_state state;
	/* It can be translated though it is not done. */
	bool visible;
	/* The kernel has it, in so many mappings. */
	bool backed;
	unsigned int entries;
	/* Where the kernel's mappings end: so far from its beginning, and then every so often. */
	uint64_t head, piece;
	/* The last of the kernel's mappings goes on into the mapping that follows. */
	bool joined;
};

/* The mappings of a space, in order of IOVA. The space's lock guards it. */
struct vfb_index {
	struct vfb_mapping *mappings;
	size_t count, capacity;
};

void vfb_index_free(struct vfb_index *index);

/* The position of the first mapping that ends after @iova; count if there is none. */
size_t vfb_index_position(const struct vfb_index *index, uint64_t iova);

/* The mapping that begins at @iova, or NULL. */
struct vfb_mapping *vfb_index_find(struct vfb_index *index, uint64_t iova);

/*
 * Adds mappings, which are in order and don't overlap each other: all, or none. -EEXIST when one
 * overlaps a mapping that is there, @clash is its position in @added; -ENOMEM.
 */
int vfb_index_add(struct vfb_index *index, const struct vfb_mapping *added, size_t count,
		  size_t *clash);

/* Removes what is marked as gone: many at once cost no more than one. */
void vfb_index_compact(struct vfb_index *index);

/*
 * Finds the lowest IOVA at which @bytes are free inside of one of the valid ranges, and which is
 * congruent to @address modulo @alignment, a power of two. False when there is none.
 */
bool vfb_index_find_gap(const struct vfb_index *index, const struct vfb_iova_range *ranges,
			size_t range_count, uint64_t bytes, uint64_t address, uint64_t alignment,
			uint64_t *iova);

#endif
