/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_WORDS_H
#define DAEMON_WORDS_H

#include <stdbool.h>
#include <stdint.h>

/* Reading values of configuration. They change the text that they are given. */

/* Without the white space at both ends. */
char *words_trim(char *text);

/* The next word, separated by white space or commas; NULL: there is none. */
char *words_next(char **rest);

/* "2G": bytes, with K, M, G, T for powers of 1024. */
bool words_size(const char *text, uint64_t *out);

/* The index in @names, which NULL ends; -1: none of them. */
int words_choice(const char *text, const char *const *names);

#endif
