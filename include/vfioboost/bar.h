/* SPDX-License-Identifier: MIT */
/**
 * @file bar.h
 * Peer-to-peer DMA: BARs of one device that other devices can access.
 *
 * This is a separate step, since few guests need it and none has to wait for it to start. A BAR
 * that cannot be mapped is therefore a warning, unless the caller asks for an error.
 *
 * type1 maps the BAR by its address in the process, with the page size of that mapping, which
 * vfb_region_map() makes as large as possible. iommufd maps it as a dma-buf, which needs Linux 6.19
 * with CONFIG_VFIO_PCI_DMABUF. Neither counts against RLIMIT_MEMLOCK. Whether one device can
 * actually access another depends on the hardware between them (see
 * Documentation/driver-api/pci/p2pdma.rst in Linux).
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

/** A BAR to map: one entry of a batch. Set unused fields to zero. */
struct vfb_bar {
	struct vfb_device *device;
	/** Number of the BAR, 0 to 5. */
	unsigned int index;
	/** VFB_BAR_... */
	uint32_t flags;
	/** The IOVA where devices see the BAR: for a guest its guest physical address. With
	 *  VFB_BAR_ANY_IOVA the library chooses it and stores it here. */
	uint64_t iova;
	/** Output: size of the BAR. */
	uint64_t bytes;
	/** Output, valid when the job has ended: 0 or a negative errno. -ECANCELED: the BAR was
	 *  undone or not started. */
	int status;
	uint32_t reserved[3];
};

/** Devices may read it. */
#define VFB_BAR_READ (1u << 0)
/** Devices may write it. Neither this flag nor VFB_BAR_READ means both. */
#define VFB_BAR_WRITE (1u << 1)
/** The library chooses an IOVA that is congruent to the BAR's offsets modulo the page size. */
#define VFB_BAR_ANY_IOVA (1u << 2)
/** If the BAR cannot be mapped, the batch fails, and is undone unless VFB_BATCH_BEST_EFFORT is set.
 *  Without this flag that is a warning. */
#define VFB_BAR_REQUIRED (1u << 3)

/**
 * Lists the BARs of a device that can be mapped: those of at least a base page that VFIO can map.
 * Remove the ones that other devices must not access.
 *
 * @param device  the device
 * @param bars    receives the first @p count BARs, each with VFB_BAR_ANY_IOVA
 * @param count   capacity of @p bars; 6 is always enough
 *
 * @return the number of BARs, which may exceed @p count; or the error of the kernel.
 */
VFB_API int vfb_device_bars(struct vfb_device *device, struct vfb_bar *bars, size_t count);

/**
 * Maps BARs, so that the devices of a space can access them. A BAR that is not mapped into the
 * process yet is mapped there first, as by vfb_region_map() with VFB_REGION_MAP_WITHOUT_MSIX. Parts
 * that are not mapped in the process (VFIO's sparse areas, the MSI-X table) are not mapped for
 * devices either.
 *
 * BARs are unmapped by vfb_bars_unmap(), when their device is closed, and like the ranges of the
 * space by vfb_space_unmap() and vfb_space_unmap_all(). vfb_space_translate() finds them at the
 * address of their mapping in the process.
 *
 * With iommufd a reset of the device revokes the mapping (the dma-buf moves). vfb_devices_reset()
 * and vfb_device_reset() map the BARs again; one that cannot be mapped again is unmapped, and
 * reported as a warning of the reset. If you reset the device by other means, or disable and
 * enable memory in its command register, unmap the BARs and map them again.
 *
 * @param space  the space whose devices shall access the BARs: that of the device, or another one
 *               of the same context
 * @param bars   @p count BARs; their iova, bytes and status are written
 * @param count  number of BARs; 0 does nothing
 * @param opts   settings, or NULL for the defaults
 *
 * @return 0, even if BARs without VFB_BAR_REQUIRED could not be mapped: vfb_last_error() then
 * reports the first of them, and each has its status and its event (VFB_PHASE_BAR). -EINVAL: no
 * device, no BAR of that number, unknown flag, the same BAR twice, or different contexts;
 * -ECANCELED; -ETIMEDOUT; or the status of the first required BAR that failed:
 * - -ENOTSUP: it cannot be mapped, or is smaller than a base page; or this kernel's iommufd does
 * not support it;
 * - -EEXIST: it is already mapped for devices, or something else is mapped at its IOVA;
 * - -EIO: memory is disabled in the device's command register;
 * - or an error of vfb_space_map() or vfb_region_map().
 */
VFB_API int vfb_bars_map(struct vfb_space *space, struct vfb_bar *bars, size_t count,
			 const struct vfb_batch_opts *opts);

/**
 * Starts vfb_bars_map(). Closing one of the devices waits for the job, which then skips the BARs of
 * that device.
 *
 * @param out  receives the job; release it with vfb_job_destroy(). @p bars must stay valid until
 *             the job has ended
 */
VFB_API int vfb_bars_map_start(struct vfb_space *space, struct vfb_bar *bars, size_t count,
			       const struct vfb_batch_opts *opts, struct vfb_job **out);

/**
 * Unmaps BARs for devices. They remain mapped in the process. Waits for jobs that map them.
 *
 * @param bars   @p count BARs, of which only device and index are used; their status is written
 * @param count  number of BARs
 *
 * @return 0; -ENOENT: one was not mapped, all others are unmapped; -EINVAL: no device, or no BAR of
 * that number.
 */
VFB_API int vfb_bars_unmap(struct vfb_bar *bars, size_t count);

#ifdef __cplusplus
}
#endif

#endif
