/* SPDX-License-Identifier: MIT */
#include "markup.h"

#include <stdbool.h>
#include <string.h>

/* U+FFFE and U+FFFF, in UTF-8. */
static bool is_noncharacter(const unsigned char *text)
{
	return text[0] == 0xef && text[1] == 0xbf && (text[2] == 0xbe || text[2] == 0xbf);
}

void markup_write_text(FILE *file, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	for (; *at; at++) {
		if (*at == '<')
			fputs("&lt;", file);
		else if (*at == '>')
			fputs("&gt;", file);
		else if (*at == '&')
			fputs("&amp;", file);
		else if (is_noncharacter(at))
			at += 2;
		else if (*at >= ' ')
			fputc(*at, file);
	}
}

void markup_write_string(FILE *file, const char *text)
{
	if (!text) {
		fputs("null", file);
		return;
	}
	fputc('"', file);
	for (; *text; text++) {
		/* "<!--" and "<script" would change where the <script> ends. */
		if ((unsigned char)*text < ' ' || strchr("\"\\<", *text))
			fprintf(file, "\\u%04x", (unsigned char)*text);
		else
			fputc(*text, file);
	}
	fputc('"', file);
}

void markup_write_json(FILE *file, struct json_object *object)
{
	const char *text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN);

	/* Outside of its strings JSON has no "<". */
	for (; text && *text; text++) {
		if (*text == '<')
			fputs("\\u003c", file);
		else
			fputc(*text, file);
	}
}
