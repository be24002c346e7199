/* SPDX-License-Identifier: MIT */
/**
 * @file reaper.h
 * Closing devices after the process has exited.
 *
 * When a process exits with devices open, the kernel resets them one after another before the
 * process is gone: 16 devices take 2 s or more, during which its memory and its PID remain in use.
 * A reaper is a helper process that holds duplicates of the device file descriptors. The process
 * then exits within milliseconds, even when killed with SIGKILL. The reaper afterwards closes the
 * devices, in parallel where they do not share a reset, and exits.
 *
 * The reaper is not a child of the process: waitpid(-1) does not return it, and it leaves no
 * zombie. It inherits none of the process's standard streams, working directory, environment and
 * capabilities. If the process executes another program, the reaper waits for that to exit.
 *
 * The reaper runs in its own session, so that it survives the end of the terminal. It does not
 * survive when all processes of its cgroup are killed; the kernel then closes the devices one after
 * another (with systemd, use KillMode=process or mixed).
 */
#ifndef VFIOBOOST_REAPER_H
#define VFIOBOOST_REAPER_H

#include <vfioboost/device.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A running reaper. */
struct vfb_reaper;

/** Settings of a reaper. Zero is a good default for every field. */
struct vfb_reaper_opts {
	size_t size;
	/** Absolute path of the helper program; NULL for vfioboost-reaper as installed. */
	const char *program;
	/**
	 * With VFB_REAPER_HAS_REPORT_FD: a file descriptor that the reaper writes to, such as the
	 * write end of a pipe that another process reads. It remains the caller's. The reaper
	 * writes a line for each device, "released 0000:01:00.0 0.105 s", and finally "done 0.110
	 * s", when all devices are closed and the memory pinned for them is released. Times count
	 * from the exit of the process.
	 */
	int report_fd;
	/** VFB_REAPER_... */
	uint32_t flags;
};

#define VFB_REAPER_OPTS_INIT VFB_SIZED(struct vfb_reaper_opts)

/** report_fd is set. */
#define VFB_REAPER_HAS_REPORT_FD (1u << 0)

/**
 * Starts a reaper for devices (posix_spawn(3), which does not copy the caller's address space). The
 * process that is spawned first exits at once, which a handler of SIGCHLD may notice.
 *
 * While it runs, closing a device does not reset it: that happens when the process has exited. To
 * close devices earlier, stop the reaper first. The devices remain the caller's.
 *
 * @param devices  @p count devices of one context
 * @param count    number of devices, 1 to 256
 * @param opts     settings, or NULL for the defaults
 * @param out      receives the reaper. Pass it to vfb_reaper_destroy(), or leave it running when
 * the process exits
 *
 * @return 0; -EINVAL: no device, too many, different contexts, or unknown flag; -ENOENT, -EACCES:
 * the helper program is missing or not executable; -ECHILD: it is not vfioboost-reaper; -ENOSYS:
 * the kernel is older than Linux 5.4; -EMFILE; -ENOMEM; -EAGAIN: the system refused to create a
 * process; -E2BIG.
 */
VFB_API int vfb_reaper_start(struct vfb_device *const *devices, size_t count,
			     const struct vfb_reaper_opts *opts, struct vfb_reaper **out);

/**
 * Stops a reaper without closing the devices: from now on closing a device resets it again. A
 * device that was closed in the meantime is reset now. Waits until the reaper has exited, which
 * takes milliseconds.
 *
 * @param reaper  the reaper; NULL is allowed and does nothing
 */
VFB_API void vfb_reaper_destroy(struct vfb_reaper *reaper);

#ifdef __cplusplus
}
#endif

#endif
