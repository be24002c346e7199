/* SPDX-License-Identifier: MIT */
/*
 * Starts and ends the helper process of tools/reaper. It learns that this process has ended from
 * the end of a pipe, whose other end nobody else has. Its descriptors: 3 the pipe, 4 what it
 * reports to, from 5 on the devices; its arguments: whether it reports, this process, each device's
 * chain of resets and address.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vfioboost/reaper.h>

#include "device/device.h"
#include "device/reaper.h"
#include "device/reset_set.h"
#include "observe/error.h"
#include "options.h"

/* A number, "@", an address. */
#define ARGUMENT_SIZE (VFB_PCI_ADDRESS_BYTES + 32)
#define KNOWN_FLAGS   VFB_REAPER_HAS_REPORT_FD

struct vfb_reaper {
	struct vfb_ctx *ctx;
	int pipe;
	/* A pidfd. */
	int process;
};

/* What it is started with. */
struct start {
	int fds[2 + VFB_REAPER_DEVICES];
	char process[16];
	char arguments[VFB_REAPER_DEVICES][ARGUMENT_SIZE];
	char *argv[VFB_REAPER_DEVICES + 4];
};

static int reaper_check_devices(struct vfb_device *const *devices, size_t count)
{
	if (!devices || !count || count > VFB_REAPER_DEVICES)
		return vfb_fail(-EINVAL, "a reaper takes 1 to %d devices, not %zu",
				VFB_REAPER_DEVICES, count);
	for (size_t i = 0; i < count; i++) {
		if (!devices[i])
			return vfb_fail(-EINVAL, "entry %zu has no device", i);
		if (devices[i]->ctx != devices[0]->ctx)
			return vfb_fail(-EINVAL, "entry %zu is of another context than entry 0", i);
	}
	return 0;
}

static const struct vfb_pci *reaped_pci_at(const void *devices, size_t i)
{
	return ((const struct vfb_reaped *)devices)[i].pci;
}

static void reaper_fill_start(struct start *start, const struct vfb_reaped *devices, size_t count,
			      const struct vfb_reaper_opts *opts, int pipe, int process)
{
	static char name[] = "vfioboost-reaper", report[] = "report", silent[] = "silent";
	bool reports = opts->flags & VFB_REAPER_HAS_REPORT_FD;

	start->argv[0] = name;
	start->argv[1] = reports ? report : silent;
	snprintf(start->process, sizeof(start->process), "%d", process);
	start->argv[2] = start->process;
	start->fds[0] = pipe;
	start->fds[1] = reports ? opts->report_fd : pipe;
	for (size_t i = 0; i < count; i++) {
		snprintf(start->arguments[i], ARGUMENT_SIZE, "%zu@%s",
			 vfb_reset_set(devices, reaped_pci_at, i, vfb_reset_is_shared),
			 devices[i].pci->address);
		start->argv[3 + i] = start->arguments[i];
		start->fds[2 + i] = devices[i].fd;
	}
}

int vfb_reaper_spawn(const struct vfb_sys *sys, const struct vfb_reaped *devices, size_t count,
		     const struct vfb_reaper_opts *opts, int *pipe, int *process)
{
	const char *program = opts->program ? opts->program : VFB_REAPER;
	struct start *start = calloc(1, sizeof(*start));
	int error, ends[2];

	if (!start)
		return vfb_fail_memory();
	error = sys->pipe(sys, ends);
	if (error) {
		free(start);
		return vfb_fail_errno(error, "cannot make a pipe");
	}
	reaper_fill_start(start, devices, count, opts, ends[0], sys->process_id(sys));
	error = sys->spawn(sys, program, start->argv, start->fds, 2 + count, process);
	free(start);
	sys->close(sys, ends[0]);
	if (error) {
		sys->close(sys, ends[1]);
		return vfb_fail_errno(error,
				      error == -ENOSYS ? "cannot start the reaper %s, which needs "
							 "Linux 5.4" :
							 "cannot start the reaper %s",
				      program);
	}
	*pipe = ends[1];
	return 0;
}

int vfb_reaper_start(struct vfb_device *const *devices, size_t count,
		     const struct vfb_reaper_opts *opts, struct vfb_reaper **out)
{
	struct vfb_reaper_opts known = VFB_REAPER_OPTS_INIT;
	struct vfb_reaped reaped[VFB_REAPER_DEVICES];
	struct vfb_reaper *reaper;
	int error;

	*out = NULL;
	error = vfb_struct_read(&known, sizeof(known), opts);
	if (!error && known.flags & ~KNOWN_FLAGS)
		error = vfb_fail(-EINVAL, "unknown flags 0x%x of a reaper: this version knows 0x%x",
				 known.flags, KNOWN_FLAGS);
	if (!error)
		error = reaper_check_devices(devices, count);
	if (error)
		return error;
	reaper = calloc(1, sizeof(*reaper));
	if (!reaper)
		return vfb_fail_memory();
	for (size_t i = 0; i < count; i++)
		reaped[i] = (struct vfb_reaped){devices[i]->fd, &devices[i]->pci};
	reaper->ctx = devices[0]->ctx;
	error = vfb_reaper_spawn(reaper->ctx->sys, reaped, count, &known, &reaper->pipe,
				 &reaper->process);
	if (error) {
		free(reaper);
		return error;
	}
	atomic_fetch_add(&reaper->ctx->objects, 1);
	*out = reaper;
	return 0;
}

void vfb_reaper_destroy(struct vfb_reaper *reaper)
{
	const struct vfb_sys *sys;

	if (!reaper)
		return;
	sys = reaper->ctx->sys;
	/* Anything that can be read says that this process is still there. If it fails, the
	 * reaper is gone. */
	sys->write(sys, reaper->pipe, "", 1);
	sys->close(sys, reaper->pipe);
	sys->wait_process(sys, reaper->process);
	atomic_fetch_sub(&reaper->ctx->objects, 1);
	free(reaper);
}
