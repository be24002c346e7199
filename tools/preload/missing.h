/* SPDX-License-Identifier: MIT */
#ifndef MISSING_H
#define MISSING_H

#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Memory whose pages another thread provides when they are missing (userfaultfd(2)): populating it
 * would fetch all of them ahead, or wait for the very thread that maps.
 */

/* A range was registered by UFFDIO_REGISTER, and stays known. */
void missing_add(const struct uffdio_register *range);

bool missing_overlaps(const void *address, uint64_t bytes);

#endif
