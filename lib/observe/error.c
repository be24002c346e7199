/* SPDX-License-Identifier: MIT */
#include "observe/error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <vfioboost/context.h>

static _Thread_local char last_error[VFB_ERROR_BYTES];

const char *vfb_last_error(void)
{
	return last_error;
}

int vfb_fail(int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(last_error, sizeof(last_error), format, args);
	va_end(args);
	return error;
}

int vfb_fail_errno(int error, const char *format, ...)
{
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(last_error, sizeof(last_error), format, args);
	va_end(args);
	if (length >= 0 && (size_t)length < sizeof(last_error))
		snprintf(last_error + length, sizeof(last_error) - length, ": %s",
			 strerrordesc_np(-error) ? strerrordesc_np(-error) : "unknown error");
	return error;
}

int vfb_fail_memory(void)
{
	return vfb_fail(-ENOMEM, "out of memory");
}

void vfb_error_save(char text[VFB_ERROR_BYTES])
{
	memcpy(text, last_error, sizeof(last_error));
}

void vfb_error_restore(const char *text)
{
	snprintf(last_error, sizeof(last_error), "%s", text);
}

struct vfb_size_text vfb_size_text(uint64_t bytes)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	struct vfb_size_text result;
	unsigned int unit = 0;

	while (bytes && bytes % 1024 == 0 && unit < 4) {
		bytes /= 1024;
		unit++;
	}
	snprintf(result.text, sizeof(result.text), "%" PRIu64 " %s", bytes, units[unit]);
	return result;
}
