/* SPDX-License-Identifier: MIT */
/**
 * @file reaper.h
 * Letting go of devices after the process has ended.
 *
 * A process that ends with devices open waits for the kernel to reset them, one after another:
 * 16 of them take 2 s and more, during which its memory and its process id are still there. A
 * reaper is a helper process that holds duplicates of the devices' file descriptors. The process
 * then ends in milliseconds, however it does, killed with SIGKILL too; the reaper closes the
 * devices behind it, those that do not share a reset at the same time, and ends.
 *
 * It has a session of its own, so that it outlives the terminal. What ends all processes of a
 * control group ends it as well, and the kernel then does its work one after another (systemd:
 * KillMode=process or mixed lets it live).
 */
#ifndef VFIOBOOST_REAPER_H
#define VFIOBOOST_REAPER_H

#include <vfioboost/device.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vfb_reaper;

struct vfb_reaper_opts {
	size_t size;
	/** The helper program, an absolute path; NULL for vfioboost-reaper where it was installed.
	 */
	const char *program;
	/**
	 * With VFB_REAPER_HAS_REPORT_FD, a file descriptor that the reaper writes to, and that
	 * stays the caller's: the end of a pipe that another process reads. It gets a line for each
	 * device, "released 0000:01:00.0 0.105 s", and at last "done 0.110 s": all devices are
	 * free, and what was pinned for them is too. The times count from the end of the process.
	 */
	int report_fd;
	/** VFB_REAPER_... */
	uint32_t flags;
};

#define VFB_REAPER_OPTS_INIT VFB_SIZED(struct vfb_reaper_opts)

/** report_fd is set. */
#define VFB_REAPER_HAS_REPORT_FD (1u << 0)

/**
 * Starts a reaper for devices (posix_spawn(3), without a copy of the caller's address space).
 *
 * While it runs, closing a device does not reset it: that is done when the process has ended. To
 * close devices before, end the reaper first. The devices stay the caller's.
 *
 * @param devices  @p count devices, 1 to 256, of one context
 * @param count    how many
 * @param opts     settings, or NULL
 * @param out      the reaper, to be given to vfb_reaper_stop(), or to be left alone
 *
 * @return 0; -EINVAL: no devices, too many, or of different contexts; -ENOENT, -EACCES: there is
 * no such program; -EMFILE; -ENOMEM; -EAGAIN: no more processes; -E2BIG.
 */
VFB_API int vfb_reaper_start(struct vfb_device *const *devices, size_t count,
			     const struct vfb_reaper_opts *opts, struct vfb_reaper **out);

/**
 * Ends a reaper, which lets go of its duplicates: from now on closing a device resets it again.
 * Waits for its end, milliseconds. A device that was closed meanwhile is reset now.
 *
 * @param reaper  NULL is allowed
 */
VFB_API void vfb_reaper_stop(struct vfb_reaper *reaper);

#ifdef __cplusplus
}
#endif

#endif
