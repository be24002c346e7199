/* SPDX-License-Identifier: MIT */
#ifndef PICTURE_H
#define PICTURE_H

#include <stdio.h>

#include "recording.h"

/* Writes an SVG for documents: the timelines of all runs, below each other in one scale. */
void picture_write(FILE *file, const struct recording *recording);

#endif
