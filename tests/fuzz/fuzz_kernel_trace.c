/* SPDX-License-Identifier: MIT */
/* Text of ftrace: lines of any content. */
#include <stdio.h>

#include "input.h"
#include "kernel_share.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct kernel_share share;
	struct kernel_parser *parser = kernel_parser_create(&share);
	struct json_object *object, *again;
	const uint8_t *end;

	while (parser && bytes) {
		const uint8_t *newline = memchr(data, '\n', bytes);
		char *line;

		end = newline ? newline + 1 : data + bytes;
		line = strndup((const char *)data, end - data);
		kernel_parser_line(parser, line);
		free(line);
		bytes -= end - data;
		data = end;
	}
	kernel_parser_destroy(parser);
	object = kernel_share_object(&share);
	again = json_tokener_parse(json_object_to_json_string(object));
	if (!again)
		abort();
	json_object_put(again);
	json_object_put(object);
	return 0;
}
