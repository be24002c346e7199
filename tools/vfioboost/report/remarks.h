/* SPDX-License-Identifier: MIT */
#ifndef REMARKS_H
#define REMARKS_H

#include "recording.h"

/* What is slow in a recording and how to fix it, an array of texts. */
struct json_object *remarks_of(const struct recording *recording);

#endif
