/* SPDX-License-Identifier: MIT */
#ifndef VFB_TRANSLATE_H
#define VFB_TRANSLATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <vfioboost/translate.h>

struct vfb_translation_table;
struct vfb_link;
struct vfb_mapping;

/* What readers look into: replaced as a whole whenever mappings have changed. */
struct vfb_translator {
	/* NULL: nothing is mapped, or there was no memory. */
	struct vfb_translation_table *_Atomic table;
	/* Taken by those who replace it, for what is theirs: room to make tables from. */
	pthread_mutex_t lock;
	struct vfb_link *links;
	size_t room;
};

void vfb_translator_init(struct vfb_translator *translator);
/* Nobody looks anything up any more. */
void vfb_translator_destroy(struct vfb_translator *translator);

/*
 * Makes known what the space's index says now: what is mapped, and what is marked as visible
 * before its job has decided. Returns when nobody can find anything else. -ENOMEM, told; then
 * nothing has changed. Called without the space's lock.
 */
int vfb_translator_publish(struct vfb_space *space);

/*
 * The same, when it must not fail: without memory there is no table until the next call that has
 * some, and what is looked up meanwhile is found in the index, with the space's lock held.
 */
void vfb_translator_publish_nofail(struct vfb_space *space);

#endif
