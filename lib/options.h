/* SPDX-License-Identifier: MIT */
#ifndef VFB_OPTIONS_H
#define VFB_OPTIONS_H

#include <stddef.h>
#include <vfioboost/context.h>

/*
 * The structs of the interface that begin with `size_t size`: they may come from a caller that
 * was built against an older or a newer version.
 *
 * Both return -EINVAL when the size is not set, and -E2BIG when something is set in a part that
 * this version does not know.
 */

/* Copies what the caller gave, NULL for nothing, over the defaults in @known of @bytes. */
int vfb_struct_read(void *known, size_t bytes, const void *given);

/* Fills in the part of @known that the caller's struct has room for. */
int vfb_struct_write(void *given, const void *known, size_t bytes);

/* The settings of a batch; @opts may be NULL. */
int vfb_batch_opts_read(struct vfb_batch_opts *known, const struct vfb_batch_opts *opts);

#endif
