/* SPDX-License-Identifier: MIT */
#ifndef REPORT_H
#define REPORT_H

#include <stdbool.h>

/* Whether the name ends as one that report_draw() can write: .html or .svg. */
bool report_has_format(const char *path);

/*
 * Draws the trace file @trace into @path, unless that is NULL, and prints a summary as JSON when
 * @json. @title: the title of the page. Returns false after printing an error.
 */
bool report_draw(const char *trace, const char *title, const char *path, bool json);

#endif
