/* SPDX-License-Identifier: MIT */
#ifndef VFB_REAPER_H
#define VFB_REAPER_H

#include <vfioboost/reaper.h>

#include "device/pci.h"

#define VFB_REAPER_DEVICES 256

/* A device that a reaper gets. */
struct vfb_reaped {
	int fd;
	const struct vfb_pci *pci;
};

/*
 * Starts the helper process for up to VFB_REAPER_DEVICES devices: @process is a pidfd of it. It
 * closes them when this process has ended, unless a byte was written to @pipe before.
 */
int vfb_reaper_spawn(const struct vfb_sys *sys, const struct vfb_reaped *devices, size_t count,
		     const struct vfb_reaper_opts *opts, int *pipe, int *process);

#endif
