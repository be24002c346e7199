/* SPDX-License-Identifier: MIT */
#ifndef PAGE_H
#define PAGE_H

#include <stdbool.h>
#include <stdio.h>

#include "recording.h"

/* What the page is drawn from, as JSON; without the spans it is what --json prints. */
void page_write_data(FILE *file, const struct recording *recording, bool with_spans);

/* Writes one self-contained page of HTML. */
void page_write(FILE *file, const struct recording *recording, const char *title);

#endif
