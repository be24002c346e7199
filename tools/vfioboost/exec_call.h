/* SPDX-License-Identifier: MIT */
#ifndef EXEC_CALL_H
#define EXEC_CALL_H

#include <vfioboost/event.h>

#include "../preload/records.h"

/* What a record is called: an ioctl by its name. @text has room for what has none. */
#define CALL_NAME 64
const char *exec_call_name(const struct record *record, char text[CALL_NAME]);

/* The phase it belongs to. */
enum vfb_phase exec_call_phase(const struct record *record);

#endif
