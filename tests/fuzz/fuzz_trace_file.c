/* SPDX-License-Identifier: MIT */
/* Trace files: what can be read becomes a page's data that is JSON, and a picture. */
#include <json-c/json.h>
#include <stdio.h>

#include "input.h"
#include "page.h"
#include "picture.h"

/* None of the texts ends the <script> that the data stands in. */
static void check_data(const char *data, size_t bytes)
{
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *object;

	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	object = json_tokener_parse_ex(tokener, data, bytes);
	if (!object || memchr(data, '<', bytes))
		abort();
	json_object_put(object);
	json_tokener_free(tokener);
}

static void write_all(const struct recording *recording)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *file = open_memstream(&text, &bytes);

	page_write_data(file, recording, true);
	fclose(file);
	check_data(text, bytes);
	free(text);
	file = open_memstream(&text, &bytes);
	picture_write(file, recording);
	fclose(file);
	if (strstr(text, "<script"))
		abort();
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct recording recording;
	char reason[256];
	FILE *file;

	file = bytes ? fmemopen((void *)data, bytes, "r") : NULL;
	if (!file)
		return 0;
	if (recording_read_file(&recording, file, reason, sizeof(reason)))
		write_all(&recording);
	else if (!*reason)
		abort();
	recording_free(&recording);
	fclose(file);
	return 0;
}
