/* SPDX-License-Identifier: MIT */
#ifndef TAKEOVER_SETTINGS_H
#define TAKEOVER_SETTINGS_H

#include <stdbool.h>
#include <sys/types.h>

#include "slot/wire.h"

/*
 * What `vfioboost slots run` gives the preloaded object: a variable of the environment with the
 * description of the slot. Its files are 3, 4, ... in the order of struct vfb_wire_grant.
 */
#define TAKEOVER_VARIABLE "VFIOBOOST_SLOT"
#define TAKEOVER_FIRST_FD 3

struct takeover_settings {
	struct vfb_wire_grant grant;
	/* Print what is answered. */
	bool verbose;
};

/* Room for the text of any settings. */
#define TAKEOVER_TEXT 4096

/* False: it does not fit. */
bool takeover_format(const struct takeover_settings *settings, char text[TAKEOVER_TEXT]);

/* False: @text is not what takeover_format() writes. */
bool takeover_parse(const char *text, struct takeover_settings *settings);

#endif
