/* SPDX-License-Identifier: MIT */
#ifndef EXEC_CALL_H
#define EXEC_CALL_H

#include <vfioboost/event.h>

#include "../preload/records.h"

/* The name of a record: of an ioctl its name. @text takes that of a request without one. */
#define CALL_NAME 64
const char *exec_call_name(const struct record *record, char text[CALL_NAME]);

/* The phase that the record belongs to. */
enum vfb_phase exec_call_phase(const struct record *record);

#endif
