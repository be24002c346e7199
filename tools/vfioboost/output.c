/* SPDX-License-Identifier: MIT */
#include "output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "command.h"

const char *output_kernel(void)
{
	static struct utsname kernel;

	return uname(&kernel) ? "" : kernel.release;
}

void output_begin(struct output *output, bool json)
{
	output->object = json ? output_object() : NULL;
}

int output_end(struct output *output)
{
	return output_status(output->object ? output_json(output->object) : output_flush());
}

int output_status(bool written)
{
	if (!written)
		perror("vfioboost: cannot write the results");
	return written ? EXIT_OK : EXIT_FAILED;
}

void output_text(const struct output *output, const char *format, ...)
{
	va_list args;

	if (output->object)
		return;
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
}

void output_add(struct output *output, const char *key, struct json_object *value)
{
	if (output->object)
		json_object_object_add(output->object, key, value);
	else
		json_object_put(value);
}

struct json_object *output_object(void)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "schema", json_object_new_int(1));
	json_object_object_add(object, "kernel", json_object_new_string(output_kernel()));
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

static bool output_file_fail(struct output_file *output, int error)
{
	fprintf(stderr, "vfioboost: cannot write %s: %s\n", output->path, strerror(error));
	free(output->partial);
	return false;
}

bool output_file_begin(struct output_file *output, const char *path)
{
	output->path = path;
	if (asprintf(&output->partial, "%s.partial", path) < 0) {
		output->partial = NULL;
		return output_file_fail(output, ENOMEM);
	}
	output->file = fopen(output->partial, "we");
	return output->file ? true : output_file_fail(output, errno);
}

bool output_file_end(struct output_file *output)
{
	bool written = !fflush(output->file) && !ferror(output->file);
	int error = errno;

	if (fclose(output->file) && written) {
		error = errno;
		written = false;
	}
	if (written && rename(output->partial, output->path)) {
		error = errno;
		written = false;
	}
	if (!written) {
		unlink(output->partial);
		return output_file_fail(output, error);
	}
	free(output->partial);
	return true;
}
