/* SPDX-License-Identifier: MIT */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <vfioboost.h>

/*
 * Waits for jobs that run side by side and frees them; on a terminal, work that takes longer than
 * a second is shown with its rate. @what is the line's beginning. Returns the first failure; the
 * others are cancelled then.
 */
int progress_wait(const char *what, struct vfb_job **jobs, size_t count);

#endif
