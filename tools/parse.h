/* SPDX-License-Identifier: MIT */
/* Numbers and sizes of arguments and of configuration. */
#ifndef TOOLS_PARSE_H
#define TOOLS_PARSE_H

#include <stdbool.h>
#include <stdint.h>

/* A decimal number from @low to @high, and nothing else. */
bool parse_number(const char *text, unsigned int low, unsigned int high, unsigned int *out);

/* "2G": bytes, with K, M, G, T for powers of 1024. @rest: what follows; nothing without a unit. */
bool parse_size(const char *text, uint64_t *bytes, const char **rest);

#endif
