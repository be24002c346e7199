/* SPDX-License-Identifier: MIT */
#ifndef MARKUP_H
#define MARKUP_H

#include <json-c/json.h>
#include <stdio.h>

/* Texts of others in pages and pictures: none of them can end what it stands in. */

/* As text of HTML or XML. Characters that XML cannot have are left out. */
void markup_write_text(FILE *file, const char *text);

/* As JSON that can stand in a <script>; NULL is null. */
void markup_write_string(FILE *file, const char *text);
void markup_write_json(FILE *file, struct json_object *object);

#endif
