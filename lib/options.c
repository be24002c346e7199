/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <errno.h>
#include <string.h>

#include "observe/error.h"

static int check_size(const void *given, size_t bytes)
{
	const unsigned char *byte = given;
	size_t size;

	memcpy(&size, given, sizeof(size));
	if (size < sizeof(size))
		return vfb_fail(-EINVAL,
				"the size of a struct is %zu: set it to sizeof() of the "
				"struct, or use its _INIT macro",
				size);
	for (size_t i = bytes; i < size; i++)
		if (byte[i])
			return vfb_fail(
				-E2BIG,
				"a struct of %zu bytes has a field set beyond the %zu bytes "
				"that version %s knows: use a newer library, or set it to zero",
				size, bytes, VFB_VERSION);
	return 0;
}

int vfb_struct_read(void *known, size_t bytes, const void *given)
{
	size_t size;
	int error;

	if (!given)
		return 0;
	error = check_size(given, bytes);
	if (error)
		return error;
	memcpy(&size, given, sizeof(size));
	memcpy(known, given, size < bytes ? size : bytes);
	return 0;
}

int vfb_struct_write(void *given, const void *known, size_t bytes)
{
	size_t size;
	int error;

	error = check_size(given, bytes);
	if (error)
		return error;
	memcpy(&size, given, sizeof(size));
	if (size < bytes)
		bytes = size;
	/* The size stays the caller's. */
	memcpy((char *)given + sizeof(size), (const char *)known + sizeof(size),
	       bytes - sizeof(size));
	return 0;
}

int vfb_batch_opts_read(struct vfb_batch_opts *known, const struct vfb_batch_opts *opts)
{
	int error;

	*known = (struct vfb_batch_opts)VFB_BATCH_OPTS_INIT;
	error = vfb_struct_read(known, sizeof(*known), opts);
	if (error)
		return error;
	if (known->flags & ~(VFB_BATCH_BEST_EFFORT | VFB_BATCH_COALESCE))
		return vfb_fail(-EINVAL, "unknown flags 0x%x of a batch: this version knows 0x%x",
				known->flags, VFB_BATCH_BEST_EFFORT | VFB_BATCH_COALESCE);
	return 0;
}
