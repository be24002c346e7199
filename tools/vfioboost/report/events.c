/* SPDX-License-Identifier: MIT */
#include "events.h"

#include <stdarg.h>
#include <string.h>

bool events_refuse(struct events *events, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(events->reason, events->reason_bytes, format, args);
	va_end(args);
	return false;
}

bool events_open(struct events *events, FILE *file, char *reason, size_t bytes)
{
	memset(events, 0, sizeof(*events));
	events->file = file;
	events->reason = reason;
	events->reason_bytes = bytes;
	*reason = '\0';
	events->tokener = json_tokener_new();
	if (!events->tokener)
		return events_refuse(events, "out of memory");
	/* What is written of it is to be valid, too. */
	json_tokener_set_flags(events->tokener, JSON_TOKENER_STRICT |
							JSON_TOKENER_ALLOW_TRAILING_CHARS |
							JSON_TOKENER_VALIDATE_UTF8);
	return true;
}

void events_close(struct events *events)
{
	if (events->tokener)
		json_tokener_free(events->tokener);
}

/* Reads more when all has been used. False: there is no more, with the reason. */
static bool fill_buffer(struct events *events)
{
	if (events->begin < events->end)
		return true;
	events->offset += events->end;
	events->begin = 0;
	events->end = fread(events->buffer, 1, sizeof(events->buffer), events->file);
	if (events->end)
		return true;
	if (ferror(events->file))
		return events_refuse(events, "%m");
	if (!events->offset)
		return events_refuse(events, "it is empty");
	return events_refuse(events, "it is cut off after %ju bytes", (uintmax_t)events->offset);
}

/* The next character that is not white space, which remains to be read; '\0' after a failure. */
static char next_character(struct events *events)
{
	while (fill_buffer(events)) {
		if (!strchr(" \t\r\n", events->buffer[events->begin]))
			return events->buffer[events->begin];
		events->begin++;
	}
	return '\0';
}

/* Whether there is one more; what is between them is passed. */
static bool find_event(struct events *events)
{
	char character = next_character(events);

	if (!events->count && character && character != '[')
		return events_refuse(events, "it is not a trace of vfioboost: that is an array of "
					     "events");
	if (events->count && character != ',' && character != ']' && character)
		return events_refuse(events, "it is not JSON from byte %ju on",
				     (uintmax_t)(events->offset + events->begin));
	if (!character || character == ']')
		return false;
	events->begin++;
	/* An array without any. */
	return next_character(events) && (events->count || events->buffer[events->begin] != ']');
}

static struct json_object *refuse_json(struct events *events, enum json_tokener_error error)
{
	events_refuse(events, "it is not JSON from byte %ju on: %s",
		      (uintmax_t)(events->offset + events->begin), json_tokener_error_desc(error));
	return NULL;
}

struct json_object *events_next(struct events *events)
{
	enum json_tokener_error error;
	struct json_object *event;
	size_t used = 0;

	if (!find_event(events))
		return NULL;
	json_tokener_reset(events->tokener);
	do {
		if (!fill_buffer(events))
			return NULL;
		if (used > MAX_EVENT_BYTES) {
			events_refuse(events, "event %zu is longer than %d bytes", events->count,
				      MAX_EVENT_BYTES);
			return NULL;
		}
		event = json_tokener_parse_ex(events->tokener, events->buffer + events->begin,
					      events->end - events->begin);
		error = json_tokener_get_error(events->tokener);
		used += json_tokener_get_parse_end(events->tokener);
		events->begin += json_tokener_get_parse_end(events->tokener);
	} while (error == json_tokener_continue);
	if (error != json_tokener_success)
		return refuse_json(events, error);
	if (!json_object_is_type(event, json_type_object)) {
		events_refuse(events, "event %zu is not an object", events->count);
		json_object_put(event);
		return NULL;
	}
	events->count++;
	return event;
}
