/* SPDX-License-Identifier: MIT */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <limits.h>
#include <stdbool.h>

/*
 * Finds the program that execvp(3) would run, and whether an object can be preloaded into it.
 * NULL when it can, else what is wrong with it, for a person. @path gets where it is.
 */
const char *program_check(const char *name, char path[PATH_MAX]);

/*
 * A file where this program was built, relative to its own directory. NULL when there is none, as
 * it is once the program has been installed. @path gets where it is.
 */
const char *program_beside(const char *name, char path[PATH_MAX]);

/*
 * A part of the project: beside this program, or where it was installed. NULL if it is in neither
 * place, which has been reported.
 */
const char *program_part(const char *beside, const char *installed, char path[PATH_MAX]);

/* Has such a part preloaded into programs that this one runs. False: reported, or no memory. */
bool program_preload(const char *beside, const char *installed);

#endif
