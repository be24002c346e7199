/* SPDX-License-Identifier: MIT */
#ifndef OUTPUT_H
#define OUTPUT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>

/* What a command prints on stdout: text, or one JSON object. */
struct output {
	/* NULL: text. */
	struct json_object *object;
};

void output_begin(struct output *output, bool json);

/* The command's exit status; prints why when the output could not be written. */
int output_end(struct output *output);
int output_status(bool written);

/* Prints text, unless the output is JSON. */
void output_text(const struct output *output, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Adds a member, or frees it when the output is text. */
void output_add(struct output *output, const char *key, struct json_object *value);

/* A new object with what every --json begins with: the schema and the kernel. */
struct json_object *output_object(void);

/* Prints the object on one line of stdout and frees it. False: it could not be written. */
bool output_json(struct json_object *object);

/* Whether all that was printed on stdout could be written. */
bool output_flush(void);

/* A file that appears at its path when it is complete, or not at all. */
struct output_file {
	const char *path;
	char *partial;
	FILE *file;
};

/* Both return false when the file cannot be written, and print why. */
bool output_file_begin(struct output_file *output, const char *path);
bool output_file_end(struct output_file *output);

/* The release of the kernel that runs. */
const char *output_kernel(void);

#endif
