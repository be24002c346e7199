/* SPDX-License-Identifier: MIT */
#ifndef TABLE_H
#define TABLE_H

#include "output.h"

struct column {
	/* Its name in JSON, and what stands above it in text; NULL: it is not there. */
	const char *key, *heading;
	/* Of the text: the width, negative to begin at the left; the digits behind the point; what
	 * numbers are multiplied by, 0 for 1; and what follows them, or NULL. */
	int width, digits;
	double factor;
	const char *unit;
};

/*
 * Prints lines as text, or as an array of objects called @key. @fill makes the cells of a line;
 * those that it leaves NULL are absent. A column without a cell is left out of the text.
 */
void table_print(struct output *output, const char *key, const struct column *columns, size_t count,
		 size_t lines,
		 void (*fill)(const void *data, size_t line, struct json_object **cells),
		 const void *data);

#endif
