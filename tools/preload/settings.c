/* SPDX-License-Identifier: MIT */
#include "settings.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Changes with the text, and with struct records. */
#define SETTINGS_VERSION 4

/* The path of the reaper is last, since it may contain spaces. */
void settings_format(const struct settings *settings, char text[SETTINGS_TEXT])
{
	snprintf(text, SETTINGS_TEXT, "%d %d %d %u %d %" PRIu64 " %" PRIu64 " %s %s",
		 SETTINGS_VERSION, settings->boost, settings->thp, settings->threads,
		 (int)settings->process, settings->device, settings->inode, settings->records,
		 settings->reaper);
}

bool settings_parse(const char *text, struct settings *settings)
{
	int version, boost, thp, process, end = 0;

	*settings = (struct settings){0};
	if (sscanf(text, "%d %d %d %u %d %" SCNu64 " %" SCNu64 " %63s%n", &version, &boost, &thp,
		   &settings->threads, &process, &settings->device, &settings->inode,
		   settings->records, &end) != 8 ||
	    version != SETTINGS_VERSION || text[end] != ' ' ||
	    strlen(text + end + 1) >= sizeof(settings->reaper))
		return false;
	settings->boost = boost;
	settings->thp = thp;
	settings->process = process;
	strcpy(settings->reaper, text + end + 1);
	return true;
}
