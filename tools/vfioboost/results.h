/* SPDX-License-Identifier: MIT */
#ifndef RESULTS_H
#define RESULTS_H

#include "session.h"

/* Each mode's times: medians of its sessions; unset where it was not asked for. */
struct results {
	const struct guest *guest;
	unsigned int repeat;
	bool has[MODE_COUNT];
	struct session modes[MODE_COUNT];
};

/* The session whose times are the medians, field by field, of @count sessions. */
struct session results_median(const struct session *sessions, size_t count);

/* The name of a time, such as "start", and its seconds; NULL behind the last one. */
const char *results_time(const struct session *session, size_t i, double *seconds);

/* Of one session, for who reads its trace. */
struct json_object *results_facts(const struct guest *guest, enum mode mode,
				  const struct session *session);

/* On stdout: a table, or one JSON object on one line. False: it could not be written. */
bool results_table(const struct results *results);
bool results_json(const struct results *results);

#endif
