/* SPDX-License-Identifier: MIT */
#include "settings.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool takeover_format(const struct takeover_settings *settings, char text[TAKEOVER_TEXT])
{
	const struct vfb_wire_grant *grant = &settings->grant;
	FILE *file = fmemopen(text, TAKEOVER_TEXT, "w");
	bool fits;

	if (!file)
		return false;
	fprintf(file, "%d %u %u %u %u %u %u %" PRIu64 " %u", settings->verbose, grant->backend,
		grant->ioas, grant->domain, grant->range_count, grant->device_count,
		grant->group_count, grant->bytes, grant->level);
	for (size_t i = 0; i < grant->range_count; i++)
		fprintf(file, " %" PRIx64 ":%" PRIx64 ":%" PRIx64, grant->ranges[i].iova,
			grant->ranges[i].offset, grant->ranges[i].bytes);
	for (size_t i = 0; i < grant->device_count; i++)
		fprintf(file, " %u %s", grant->device_ids[i], grant->devices[i]);
	fits = !ferror(file) && ftell(file) < TAKEOVER_TEXT - 1;
	return !fclose(file) && fits;
}

static bool takeover_parse_head(const char **text, struct takeover_settings *settings)
{
	struct vfb_wire_grant *grant = &settings->grant;
	int used = 0, verbose;

	if (sscanf(*text, "%d %u %u %u %u %u %u %" SCNu64 " %u%n", &verbose, &grant->backend,
		   &grant->ioas, &grant->domain, &grant->range_count, &grant->device_count,
		   &grant->group_count, &grant->bytes, &grant->level, &used) != 9)
		return false;
	settings->verbose = verbose;
	*text += used;
	return grant->range_count <= VFB_WIRE_RANGES && grant->device_count <= VFB_WIRE_DEVICES &&
	       grant->group_count <= grant->device_count;
}

bool takeover_parse(const char *text, struct takeover_settings *settings)
{
	struct vfb_wire_grant *grant = &settings->grant;
	int used;

	memset(settings, 0, sizeof(*settings));
	if (!takeover_parse_head(&text, settings))
		return false;
	for (size_t i = 0; i < grant->range_count; i++, text += used)
		if (sscanf(text, " %" SCNx64 ":%" SCNx64 ":%" SCNx64 "%n", &grant->ranges[i].iova,
			   &grant->ranges[i].offset, &grant->ranges[i].bytes, &used) != 3 ||
		    grant->ranges[i].iova > UINT64_MAX - grant->ranges[i].bytes)
			return false;
	for (size_t i = 0; i < grant->device_count; i++, text += used)
		if (sscanf(text, " %u %15s%n", &grant->device_ids[i], grant->devices[i], &used) !=
			    2 ||
		    (grant->group_count && grant->device_ids[i] >= grant->group_count))
			return false;
	return !*text;
}
