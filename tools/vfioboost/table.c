/* SPDX-License-Identifier: MIT */
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct json_object *line_object(const struct column *columns, size_t count,
				       struct json_object *const *cells)
{
	struct json_object *object = json_object_new_object();

	for (size_t i = 0; i < count; i++)
		if (columns[i].key && cells[i])
			json_object_object_add(object, columns[i].key, json_object_get(cells[i]));
	return object;
}

static const char *cell_text(const struct column *column, struct json_object *cell, char *buffer,
			     size_t bytes)
{
	double factor = column->factor != 0 ? column->factor : 1;

	if (!cell)
		return "";
	if (json_object_is_type(cell, json_type_string))
		return json_object_get_string(cell);
	snprintf(buffer, bytes, "%.*f%s", column->digits, factor * json_object_get_double(cell),
		 column->unit ? column->unit : "");
	return buffer;
}

/* Blanks are put off until something follows them: @pending is how many. */
static void print_padded(const char *text, int width, int *pending)
{
	int length = strlen(text), room = abs(width) > length ? abs(width) - length : 0;

	if (*text)
		printf("%*s%s", *pending + (width > 0 ? room : 0), "", text);
	if (*text)
		*pending = width > 0 ? 0 : room;
	else
		*pending += room;
	++*pending;
}

static bool is_shown(const struct column *columns, size_t count, size_t column,
		     struct json_object *const *cells, size_t lines)
{
	for (size_t line = 0; line < lines && columns[column].heading; line++)
		if (cells[line * count + column])
			return true;
	return false;
}

static void print_lines(const struct column *columns, size_t count,
			struct json_object *const *cells, size_t lines)
{
	char buffer[64];

	for (size_t line = 0; line <= lines; line++) {
		int pending = 0;

		for (size_t i = 0; i < count; i++) {
			const char *text = columns[i].heading;

			if (!is_shown(columns, count, i, cells, lines))
				continue;
			if (line)
				text = cell_text(&columns[i], cells[(line - 1) * count + i], buffer,
						 sizeof(buffer));
			print_padded(text, columns[i].width, &pending);
		}
		printf("\n");
	}
}

void table_print(struct output *output, const char *key, const struct column *columns, size_t count,
		 size_t lines,
		 void (*fill)(const void *data, size_t line, struct json_object **cells),
		 const void *data)
{
	struct json_object *array = json_object_new_array();
	struct json_object **cells = calloc(lines * count, sizeof(*cells));

	for (size_t line = 0; cells && line < lines; line++) {
		fill(data, line, &cells[line * count]);
		json_object_array_add(array, line_object(columns, count, &cells[line * count]));
	}
	if (cells && !output->object)
		print_lines(columns, count, cells, lines);
	for (size_t i = 0; cells && i < lines * count; i++)
		json_object_put(cells[i]);
	free(cells);
	output_add(output, key, array);
}
