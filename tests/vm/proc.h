/* SPDX-License-Identifier: MIT */
/* What the running kernel reports in files. */
#ifndef PROC_H
#define PROC_H

/* Ends the program for the errno of @what. */
__attribute__((noreturn)) void die(const char *what);

/* The number after @key in a file of lines "key: number"; of its first line without a key. 0 where
 * there is none. */
long proc_number(const char *path, const char *key);

/* How many entries a directory has, . and .. among them. */
long proc_entries(const char *path);

/* How many threads of this process have a name that begins so. */
unsigned int proc_threads(const char *prefix);

#endif
