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

/*
 * @count entries of an array of the caller's, named @what in the text: -EINVAL when it is NULL
 * though there are some, or when there are more than a caller can have, as SIZE_MAX would be.
 */
int vfb_entries_check(const void *entries, size_t count, const char *what);

/* The same of a batch, and its settings; @opts may be NULL. */
int vfb_batch_read(struct vfb_batch_opts *known, const struct vfb_batch_opts *opts,
		   const void *entries, size_t count);

#endif
