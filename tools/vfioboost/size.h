/* SPDX-License-Identifier: MIT */
#ifndef SIZE_H
#define SIZE_H

#include <stdbool.h>
#include <stdint.h>

/* Reads "2G", "512MiB", "4096": bytes, with K, M, G, T for powers of 1024. False: it is none. */
bool size_parse(const char *text, uint64_t *bytes);

/* A decimal number and nothing else. */
bool number_parse(const char *text, unsigned int *number);

#endif
