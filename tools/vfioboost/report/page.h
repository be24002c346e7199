/* SPDX-License-Identifier: MIT */
#ifndef PAGE_H
#define PAGE_H

#include <stdio.h>

#include "recording.h"

/* What the pictures are drawn from, and what --json prints, without the spans: an object. */
struct json_object *page_summary(const struct recording *recording);

/* Writes one self-contained page of HTML. */
void page_write(FILE *file, const struct recording *recording, const char *title);

#endif
