/* SPDX-License-Identifier: MIT */
/**
 * @file bar.h
 * Peer-to-peer: BARs of one device that other devices reach by DMA.
 *
 * A step of its own that nobody has to wait for: a guest starts without it, and few need it. So
 * what fails is a warning, unless the caller wants it to be an error.
 *
 * With type1 the BAR is mapped by its address in the process; the kernel does that with the pages
 * that the process has it mapped with, which vfb_region_map() chooses large. With iommufd it is
 * mapped by a dma-buf, which needs Linux 6.19 with CONFIG_VFIO_PCI_DMABUF. Neither is counted
 * against RLIMIT_MEMLOCK. Whether one device can send to another is up to the hardware between
 * them (see Documentation/driver-api/pci/p2pdma.rst of Linux).
 */
#ifndef VFIOBOOST_BAR_H
#define VFIOBOOST_BAR_H

#include <vfioboost/context.h>
#include <vfioboost/device.h>
#include <vfioboost/job.h>
#include <vfioboost/region.h>
#include <vfioboost/space.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A BAR to map, an entry of a batch. Zero what is not set. */
struct vfb_bar {
	struct vfb_device *device;
	/** Its number, 0 to 5. */
	unsigned int index;
	/** VFB_RANGE_READ, VFB_RANGE_WRITE (neither means both), VFB_RANGE_ANY_IOVA,
	 *  VFB_BAR_REQUIRED. */
	uint32_t flags;
	/** Where devices see it: for a guest its physical address there. With VFB_RANGE_ANY_IOVA it
	 *  is set when the BAR is mapped. */
	uint64_t iova;
	/** Its size, which is set. */
	uint64_t bytes;
	/** 0 or a negative errno, set when the job has ended: -ECANCELED for what was undone or not
	 *  begun. */
	int status;
	uint32_t reserved[3];
};

/** That it cannot be mapped is an error: then the batch fails, and is undone unless
 *  VFB_BATCH_BEST_EFFORT. Without it that is a warning. */
#define VFB_BAR_REQUIRED (1u << 31)

/**
 * Lists the BARs of a device that can be mapped: those that VFIO lets be mapped and that have
 * 4 KiB or more. Leave out those that peers are not to reach.
 *
 * @param device  the device
 * @param bars    gets up to @p count of them, each with VFB_RANGE_ANY_IOVA
 * @param count   how many there is room for; 6 are always enough
 *
 * @return how many there are, which may be more than @p count; or the kernel's errno.
 */
VFB_API int vfb_device_bars(struct vfb_device *device, struct vfb_bar *bars, size_t count);

/**
 * Maps BARs, so that the devices of a space can reach them. A BAR that is not mapped into the
 * process yet is mapped there first, as by vfb_region_map() with VFB_REGION_MAP_WITHOUT_MSIX. What
 * is not mapped there (sparse areas of VFIO, the MSI-X table) is left out for devices, too.
 *
 * They are unmapped by vfb_bars_unmap(), when their device is closed, and like other ranges of the
 * space (vfb_space_unmap(), vfb_space_unmap_all()). vfb_space_translate() finds them, where the
 * process has them mapped.
 *
 * With iommufd a reset of the device takes them away from its peers. After vfb_devices_reset() and
 * vfb_device_reset() they are mapped again; what could not be is unmapped then, which is a
 * warning of the reset. Who resets the device otherwise, or switches its memory off in the command
 * register and on again, unmaps and maps them.
 *
 * @param space  the space whose devices are to reach them: that of the device, or another one of
 *               the same context
 * @param bars   @p count BARs; iova, bytes and status are written
 * @param count  how many; 0 is allowed
 * @param opts   settings, or NULL
 *
 * @return 0, also when some that were not VFB_BAR_REQUIRED were not mapped: then
 * vfb_last_error() tells of the first, and each has its status, as has its event
 * (VFB_PHASE_BAR). -EINVAL: no device, no BAR of that number, unknown flags, the same one twice,
 * another context; -ECANCELED, -ETIMEDOUT; or the status of the first required one that failed:
 * -ENOTSUP: it cannot be mapped, or has less than 4 KiB; or iommufd of this kernel cannot;
 * -EEXIST: it is mapped for devices already, or something else is at its IOVA;
 * -EIO: the BARs are switched off in the device's command register;
 * or what vfb_space_map() and vfb_region_map() return.
 */
VFB_API int vfb_bars_map(struct vfb_space *space, struct vfb_bar *bars, size_t count,
			 const struct vfb_batch_opts *opts);

/**
 * Starts vfb_bars_map(). Closing one of the devices waits for the job, which passes over its BARs
 * from then on.
 */
VFB_API int vfb_bars_map_start(struct vfb_space *space, struct vfb_bar *bars, size_t count,
			       const struct vfb_batch_opts *opts, struct vfb_job **out);

/**
 * Unmaps BARs for devices; in the process they stay mapped. Waits for jobs that map them.
 *
 * @param bars   @p count BARs, of which device and index are looked at; status is written
 * @param count  how many
 *
 * @return 0; -ENOENT: one was not mapped, all others are unmapped; -EINVAL: no device, or no BAR
 * of that number.
 */
VFB_API int vfb_bars_unmap(struct vfb_bar *bars, size_t count);

#ifdef __cplusplus
}
#endif

#endif
