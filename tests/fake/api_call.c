/* SPDX-License-Identifier: MIT */
/* libvfioboost-fake: failures, the clock, calls of the program, and what there is to see. */
#include <errno.h>
#include <string.h>
#include <vfioboost/fake.h>

#include "fake.h"
#include "observe/error.h"
#include "options.h"

static struct fake *model(struct vfb_fake *fake)
{
	return (struct fake *)fake;
}

static const struct vfb_sys *table(struct vfb_fake *fake)
{
	return fake_sys(model(fake));
}

/* ---- Memory of the program ---- */

int vfb_fake_add_memory(struct vfb_fake *fake, void *address, uint64_t bytes, int fd,
			uint64_t offset)
{
	int error = fake_add_memory(model(fake), address, bytes, fd, offset);

	switch (error) {
	case -EEXIST:
		return vfb_fail(error, "the machine has memory within %s from %p",
				vfb_size_text(bytes).text, address);
	case -EBADF:
		return vfb_fail(error, "%d is not an open file", fd);
	case -EINVAL:
		return vfb_fail(error,
				"%s at %p and offset %s of the file are not multiples of 4 KiB, or "
				"end beyond the file",
				vfb_size_text(bytes).text, address, vfb_size_text(offset).text);
	default:
		return error;
	}
}

int vfb_fake_remove_memory(struct vfb_fake *fake, void *address)
{
	int error = fake_remove_memory(model(fake), address);

	if (error == -EBUSY)
		return vfb_fail(error, "the memory at %p is mapped in a space: unmap it first",
				address);
	if (error)
		return vfb_fail(error, "no memory was announced at %p", address);
	return 0;
}

/* ---- Failures ---- */

int vfb_fake_fail(struct vfb_fake *fake, const char *call, unsigned int nth, int error)
{
	if (!call || !call[0] || strlen(call) >= FAKE_NAME_BYTES)
		return vfb_fail(-EINVAL, "the name of a call has 1 to %d bytes",
				FAKE_NAME_BYTES - 1);
	/* A path may follow, or not. */
	if (call[strlen(call) - 1] == ':')
		return vfb_fail(-EINVAL,
				"\"%s\" has no path behind its colon: add one, or leave "
				"the colon out",
				call);
	if (fake_fails_armed(model(fake)) == FAKE_FAILS)
		return vfb_fail(-ENOSPC, "%d failures are armed: call vfb_fake_fail_none() first",
				FAKE_FAILS);
	fake_fail_call(model(fake), call, nth, error < 0 ? -error : error);
	return 0;
}

void vfb_fake_fail_nth(struct vfb_fake *fake, unsigned int n, int error)
{
	fake_fail_nth(model(fake), n, error < 0 ? -error : error);
}

void vfb_fake_fail_none(struct vfb_fake *fake)
{
	fake_fail_none(model(fake));
}

const char *vfb_fake_failed(struct vfb_fake *fake)
{
	return fake_failed(model(fake));
}

/* ---- Time ---- */

uint64_t vfb_fake_now(struct vfb_fake *fake)
{
	return fake_now(model(fake));
}

void vfb_fake_sleep(struct vfb_fake *fake, uint64_t ns)
{
	const struct vfb_sys *sys = table(fake);

	sys->sleep(sys, ns);
}

int vfb_fake_poll(struct vfb_fake *fake, int fd, uint64_t timeout_ns)
{
	return fake_poll(model(fake), fd, timeout_ns);
}

void vfb_fake_outside_begin(struct vfb_fake *fake)
{
	fake_outside_begin(model(fake));
}

void vfb_fake_outside_end(struct vfb_fake *fake)
{
	fake_outside_end(model(fake));
}

/* ---- Calls of the program ---- */

int vfb_fake_open(struct vfb_fake *fake, const char *path, int flags)
{
	const struct vfb_sys *sys = table(fake);

	return sys->open(sys, path, flags);
}

void vfb_fake_close(struct vfb_fake *fake, int fd)
{
	const struct vfb_sys *sys = table(fake);

	sys->close(sys, fd);
}

int vfb_fake_ioctl(struct vfb_fake *fake, int fd, unsigned long request, void *arg)
{
	const struct vfb_sys *sys = table(fake);

	return sys->ioctl(sys, fd, request, arg);
}

/* ---- What there is to see ---- */

int vfb_fake_iova(struct vfb_fake *fake, uint64_t iova, uint64_t bytes, void **address)
{
	struct fake_iova found = {0};

	*address = NULL;
	if (bytes)
		fake_iova(model(fake), FAKE_ANY_SPACE, iova, bytes, &found);
	if (!found.mapped)
		return vfb_fail(-ENOENT, "%s at IOVA 0x%llx are not mapped",
				vfb_size_text(bytes).text, (unsigned long long)iova);
	if (!found.in_order)
		return vfb_fail(-ENXIO, "%s at IOVA 0x%llx are mapped to several addresses",
				vfb_size_text(bytes).text, (unsigned long long)iova);
	*address = found.address;
	return 0;
}

int vfb_fake_dma_write(struct vfb_fake *fake, const char *device, uint64_t iova, const void *data,
		       size_t bytes)
{
	if (!fake_has_device(model(fake), device))
		return vfb_fail(-ENODEV, "the machine has no device %s", device);
	if (!bytes || !fake_dma_write(model(fake), device, iova, data, bytes))
		return vfb_fail(-EFAULT, "%s cannot write %zu bytes at IOVA 0x%llx", device, bytes,
				(unsigned long long)iova);
	return 0;
}

int vfb_fake_counts(struct vfb_fake *fake, struct vfb_fake_counts *counts)
{
	struct vfb_fake_counts known = VFB_FAKE_COUNTS_INIT;
	struct fake_stats stats;

	fake_stats(model(fake), &stats);
	known.map_calls = stats.map_calls;
	known.unmap_calls = stats.unmap_calls;
	known.calls = fake_calls(model(fake));
	known.resets = stats.resets;
	known.mapped_bytes = stats.mapped_bytes;
	known.pinned_bytes = stats.pinned_bytes;
	known.populated_bytes = fake_populated_now(model(fake));
	known.fds = stats.fds;
	known.threads = stats.threads;
	return vfb_struct_write(counts, &known, sizeof(known));
}

unsigned int vfb_fake_leaks(struct vfb_fake *fake, char *text, size_t bytes)
{
	return fake_leaks(model(fake), text, bytes);
}
