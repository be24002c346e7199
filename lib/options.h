/* SPDX-License-Identifier: MIT */
#ifndef VFB_OPTIONS_H
#define VFB_OPTIONS_H

#include <stddef.h>
#include <vfioboost/context.h>

/*
 * Access to structs of the interface that begin with `size_t size`. They may come from a caller
 * that was built against an older or newer version.
 *
 * Both return -EINVAL if the size is not set, and -E2BIG if a field is set that this version does
 * not know.
 */

/* Copies the caller's struct, NULL if there is none, over the defaults in @known. */
int vfb_struct_read(void *known, size_t bytes, const void *given);

/* Copies as much of @known to the caller's struct as fits. */
int vfb_struct_write(void *given, const void *known, size_t bytes);

/* The settings of a batch; @opts may be NULL. */
int vfb_batch_opts_read(struct vfb_batch_opts *known, const struct vfb_batch_opts *opts);

#endif
