/* SPDX-License-Identifier: MIT */
#ifndef SVG_H
#define SVG_H

#include <stdio.h>

/* What pictures consist of. */

#define SVG_WIDTH 960

/* A picture of SVG_WIDTH pixels. */
void svg_begin(FILE *file, double height);
void svg_end(FILE *file);

/* @anchor: "start", "middle" or "end" of the text is at @x. */
void svg_text(FILE *file, double x, double y, const char *anchor, const char *text);
void svg_line(FILE *file, double x1, double y1, double x2, double y2, const char *color);

#endif
