/* SPDX-License-Identifier: MIT */
#ifndef VFB_ERROR_H
#define VFB_ERROR_H

#include <stdint.h>

/* The longest text of an error, with its terminating NUL. */
#define VFB_ERROR_BYTES 512

/*
 * Sets the text of vfb_last_error() for this thread and returns @error, so that a failure is
 * described where it is detected: return vfb_fail(-EINVAL, "... is ..., it must be ...: do ...").
 */
int vfb_fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* vfb_fail() followed by a colon and the description of @error: "cannot open X: ...". */
int vfb_fail_errno(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* vfb_fail() for -ENOMEM. */
int vfb_fail_memory(void);

/*
 * Copy the text of this thread, to be kept with work whose result another thread asks for, and set
 * it there.
 */
void vfb_error_save(char text[VFB_ERROR_BYTES]);
void vfb_error_restore(const char *text);

/* "64 MiB", "2 GiB", "4097 bytes": @bytes in the largest unit that divides it. */
struct vfb_size_text {
	char text[32];
};
struct vfb_size_text vfb_size_text(uint64_t bytes);

#endif
