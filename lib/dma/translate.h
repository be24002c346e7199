/* SPDX-License-Identifier: MIT */
#ifndef VFB_TRANSLATE_H
#define VFB_TRANSLATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <vfioboost/translate.h>

#include "observe/lanes.h"

struct vfb_translation_table;

/* The tables of readers, replaced whenever mappings change (RCU). */
struct vfb_translator {
	/*
	 * NULL: nothing is mapped, or there was no memory. Alone on its cache line, which readers
	 * load each time: it changes once for each change of the mappings, and what surrounds it
	 * many times.
	 */
	_Alignas(VFB_CACHE_LINE) struct vfb_translation_table *_Atomic table;
	/* Serializes replacing. */
	_Alignas(VFB_CACHE_LINE) pthread_mutex_t lock;
	/* Tables that a reader may still hold, the last one first. */
	struct vfb_translation_table *replaced;
	unsigned int replaced_count;
	/* Changes could not be published: the next publication rebuilds everything. */
	bool is_stale;
	/* Something has been translated: until then nothing is published. */
	atomic_bool is_used;
};

void vfb_translator_init(struct vfb_translator *translator);
/* There must be no readers. */
void vfb_translator_destroy(struct vfb_translator *translator);

/*
 * Publishes the space's index, once there was a lookup: mappings that are done, and those that are
 * visible before their job has decided. A lookup that begins afterwards finds no older state. Fails
 * with -ENOMEM, and then changes nothing. Called without the space's lock.
 */
int vfb_translator_publish(struct vfb_space *space);

/*
 * The same, when it must not fail: without memory there is no table until the next call that has
 * some, and what is looked up meanwhile is found in the index, with the space's lock held.
 */
void vfb_translator_publish_nofail(struct vfb_space *space);

#endif
