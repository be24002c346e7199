/* SPDX-License-Identifier: MIT */
#include "output.h"

#include <stdio.h>
#include <sys/utsname.h>

struct json_object *output_object(void)
{
	struct json_object *object = json_object_new_object();
	struct utsname kernel;

	uname(&kernel);
	json_object_object_add(object, "schema", json_object_new_int(1));
	json_object_object_add(object, "kernel", json_object_new_string(kernel.release));
	return object;
}

bool output_json(struct json_object *object)
{
	printf("%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
	json_object_put(object);
	return output_flush();
}

bool output_flush(void)
{
	return !fflush(stdout) && !ferror(stdout);
}
