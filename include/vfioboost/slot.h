/* SPDX-License-Identifier: MIT */
/**
 * @file slot.h
 * Warm slots: the memory of a guest, its I/O address space and its devices, prepared by vfioboostd
 * before they are needed.
 *
 * How long taking a slot takes does not depend on its size. What was taken is used once: it is
 * never given to another process, and the daemon prepares a new slot in the background. See
 * vfioboostd(8) for the daemon and slots.d(5) for the classes of slots.
 */
#ifndef VFIOBOOST_SLOT_H
#define VFIOBOOST_SLOT_H

#include <vfioboost/context.h>
#include <vfioboost/device.h>
#include <vfioboost/memory.h>
#include <vfioboost/space.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A slot that this process has taken, or made itself. */
struct vfb_slot;

/**
 * If no slot can be had, make the same here: create and populate the memory, open the devices and
 * map the ranges that vfb_slot_opts.cold describes. vfb_slot_info.flags then has VFB_SLOT_COLD, and
 * vfb_slot_info.reason says why no slot was used.
 */
#define VFB_SLOT_OR_COLD (1u << 0)

/** What to make without a slot. Zero is a good default for every field but bytes. */
struct vfb_slot_cold {
	size_t size;
	/** Size and pages of the memory, which is a memfd, and the nodes to bind it to. */
	uint64_t bytes;
	enum vfb_page_size page_size;
	/** Type 1 or iommufd. */
	enum vfb_backend backend;
	const unsigned int *nodes;
	size_t node_count;
	/** Where the memory is mapped for devices: "flat" (all of it from IOVA 4 GiB on), "q35"
	 *  (QEMU) or "ch" (cloud-hypervisor). NULL: flat. */
	const char *layout;
	/** PCI addresses of devices to open, at most 32. Without any there is no space. */
	const char *const *devices;
	size_t device_count;
};

#define VFB_SLOT_COLD_INIT VFB_SIZED(struct vfb_slot_cold)

/** How to take a slot. class_name must be set; zero is a good default for every other field. */
struct vfb_slot_opts {
	size_t size;
	/** The class of the slot, see slots.d(5). */
	const char *class_name;
	/** The daemon's socket. NULL: /run/vfioboost/slots.sock. Only a daemon of root, or of the
	 *  caller's own user, is trusted. */
	const char *socket;
	/** How long to wait for a slot to become ready, in nanoseconds. A daemon that is restarted
	 *  meanwhile is asked again, for the rest of the time. */
	uint64_t wait_ns;
	/** VFB_SLOT_OR_COLD. */
	uint32_t flags;
	/** With VFB_SLOT_OR_COLD. */
	const struct vfb_slot_cold *cold;
};

#define VFB_SLOT_OPTS_INIT VFB_SIZED(struct vfb_slot_opts)

/** The slot was made by this process, as no warm one could be had. */
#define VFB_SLOT_COLD (1u << 0)

/** What is in a slot. Everything belongs to the slot: do not close or destroy it. */
struct vfb_slot_info {
	size_t size;
	/** Its name, such as "web-17"; "" without the daemon. */
	const char *name;
	struct vfb_memory *memory;
	/** The space in which the memory is mapped; NULL: the slot has memory only. */
	struct vfb_space *space;
	/** The ranges that are mapped in the space. */
	const struct vfb_range *ranges;
	size_t range_count;
	/** Devices that are open in the space. */
	struct vfb_device *const *devices;
	size_t device_count;
	/** VFB_SLOT_COLD. */
	uint32_t flags;
	/** With VFB_SLOT_COLD: why no warm slot was used. Otherwise "". */
	const char *reason;
};

#define VFB_SLOT_INFO_INIT VFB_SIZED(struct vfb_slot_info)

/**
 * Takes a slot of vfioboostd: its memory is populated, mapped for its devices, and the devices are
 * open. The slot is bound to this process: the daemon detaches the devices and takes everything
 * back when it ends, even if it is killed. Programs that it runs with execve(2) keep the slot.
 *
 * The pages of the memory are charged to the cgroup of the slot. Mappings that were made with
 * CAP_IPC_LOCK, as those of the daemon normally are, count for nobody's RLIMIT_MEMLOCK.
 *
 * @param ctx   the context
 * @param opts  which slot
 * @param out   receives the slot; release it with vfb_slot_release()
 *
 * @return 0, or, if VFB_SLOT_OR_COLD is not set:
 * - -EINVAL: no class, or not a name of one; unknown flag;
 * - -ENOENT: there is no such class, or no daemon;
 * - -ECONNREFUSED: the daemon does not run;
 * - -EACCES: the class, or the socket, is not for this user or cgroup;
 * - -EPERM: a user other than root and this one listens at the socket;
 * - -EAGAIN: no slot is ready, nor became ready in time (the text says what they are doing);
 * - -EPROTO, -EPROTONOSUPPORT: the daemon sent something invalid, or has another version;
 * - or an error of vfb_space_adopt_addresses() or vfb_device_adopt(); the slot is then lost, and
 *   the daemon makes a new one;
 * with it, the errors of vfb_memory_create(), vfb_devices_open() and vfb_space_map().
 */
VFB_API int vfb_slot_take(struct vfb_ctx *ctx, const struct vfb_slot_opts *opts,
			  struct vfb_slot **out);

/**
 * Reports what is in a slot.
 *
 * @param slot  the slot
 * @param info  is filled in
 *
 * @return 0; -E2BIG.
 */
VFB_API int vfb_slot_info(const struct vfb_slot *slot, struct vfb_slot_info *info);

/**
 * Releases a slot: closes its devices, unmaps its memory and hands it back. The caller must have
 * closed what it has opened or mapped in it (BARs, further ranges). The daemon resets the devices
 * and frees the memory in the background.
 *
 * @param slot  the slot; NULL is allowed and does nothing
 *
 * @return 0; -EBUSY: a job works on it, or the caller's ranges use its memory. On failure the slot
 * still exists, and vfb_slot_release() may be called again.
 */
VFB_API int vfb_slot_release(struct vfb_slot *slot);

#ifdef __cplusplus
}
#endif

#endif
