/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <errno.h>
#include <string.h>

#include "observe/error.h"

/* A size that is not set, or overwritten, must not make the library read other memory. */
#define MAX_BYTES 4096
/* Four type1 containers hold 262,140 mappings; no machine has as many devices. */
#define MAX_ENTRIES ((size_t)1 << 24)

static int check_size(const void *given, size_t bytes)
{
	const unsigned char *byte = given;
	size_t size;

	memcpy(&size, given, sizeof(size));
	if (size > MAX_BYTES)
		return vfb_fail(-EINVAL,
				"the size of a struct is %zu, no struct is longer than %d bytes: "
				"set it to sizeof() of the struct, or use its _INIT macro",
				size, MAX_BYTES);
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

int vfb_entries_check(const void *entries, size_t count, const char *what)
{
	if (count > MAX_ENTRIES)
		return vfb_fail(-EINVAL, "%zu %s are too many: pass %zu at most", count, what,
				MAX_ENTRIES);
	if (count && !entries)
		return vfb_fail(-EINVAL, "the array of %zu %s is NULL", count, what);
	return 0;
}

int vfb_batch_read(struct vfb_batch_opts *known, const struct vfb_batch_opts *opts,
		   const void *entries, size_t count)
{
	int error = vfb_entries_check(entries, count, "entries");

	if (error)
		return error;
	*known = (struct vfb_batch_opts)VFB_BATCH_OPTS_INIT;
	error = vfb_struct_read(known, sizeof(*known), opts);
	if (error)
		return error;
	if (known->flags & ~(VFB_BATCH_BEST_EFFORT | VFB_BATCH_COALESCE))
		return vfb_fail(-EINVAL, "unknown flags 0x%x of a batch: this version knows 0x%x",
				known->flags, VFB_BATCH_BEST_EFFORT | VFB_BATCH_COALESCE);
	if (known->reserved)
		return vfb_fail(-EINVAL, "the reserved field of a batch's options is set: set it "
					 "to zero");
	return 0;
}
