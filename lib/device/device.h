/* SPDX-License-Identifier: MIT */
#ifndef VFB_DEVICE_H
#define VFB_DEVICE_H

#include <vfioboost/device.h>
#include <vfioboost/irq.h>
#include <vfioboost/region.h>

#include "device/pci.h"
#include "dma/space.h"
#include "sys/uapi.h"

#define VFB_IRQ_COUNT (VFB_IRQ_REQUEST + 1)

/* A part of a region. */
struct vfb_area {
	uint64_t first, end;
};

/* None of them is empty. */
struct vfb_areas {
	size_t count;
	struct vfb_area *areas;
};

/* A region that is mapped into the process. */
struct vfb_region_mapping {
	/* A thread is mapping it, and will set the address. */
	bool begun;
	char *address;
	size_t bytes;
	/* The addresses are the caller's. */
	bool placed;
	/* 0 when it was not measured. */
	uint64_t page_bytes;
	/* What of it is mapped; the rest of the addresses give no access. */
	struct vfb_areas areas;
	/* The region as what can be mapped for devices; NULL until it first is. While that has
	 * users, the mapping stays. */
	struct vfb_bar_memory *memory;
	/* The space whose devices it is mapped for, or was. It has a reference. */
	struct vfb_space *space;
};

struct vfb_device {
	struct vfb_ctx *ctx;
	struct vfb_space *space;
	struct vfb_pci pci;
	int fd;
	/* The file is the caller's. */
	bool adopted;
	/* The group that such a file was opened by, -1 when that is not known. */
	int group_fd;
	unsigned int regions, irqs;
	/* A job is closing it. */
	atomic_bool closing;
	/* iommufd: see struct vfb_iommu_opened. */
	uint32_t device_id, domain;
	/* It can be reset by itself. */
	bool resets;
	/* Opening it has reset it, or the library has since. */
	atomic_bool was_reset;
	/* Guards what follows. */
	pthread_mutex_t lock;
	/* Jobs that map its BARs for devices, and that reset it. */
	unsigned int bar_jobs, reset_jobs;
	/* One of them has ended. */
	pthread_cond_t idle;
	/* Enabled up to here. */
	unsigned int irq_vectors[VFB_IRQ_COUNT];
	/* One for each region; address NULL where it is not mapped. */
	struct vfb_region_mapping *mappings;
};

/* What the space's backend must know of the device. */
static inline struct vfb_iommu_device vfb_device_identity(const struct vfb_pci *pci)
{
	return (struct vfb_iommu_device){pci->address, pci->group, pci->node};
}

/* The group that it was opened by, -1: none, or not known. */
int vfb_device_group_fd(const struct vfb_device *device);

/* Opens a device whose group is attached, with its event. */
int vfb_device_open_one(struct vfb_space *space, const struct vfb_pci *pci,
			struct vfb_device **out);

/*
 * Adopts a device whose identity is known, and which has joined its space: it leaves it when it is
 * closed, but not if this fails.
 */
int vfb_device_adopt_known(struct vfb_ctx *ctx, int fd, const struct vfb_pci *pci,
			   const struct vfb_device_adopt_opts *opts, struct vfb_device **out);

/* Allocates a device without a file; NULL if memory is exhausted. @space: NULL for none. */
struct vfb_device *vfb_device_new(struct vfb_ctx *ctx, struct vfb_space *space,
				  const struct vfb_pci *pci);

/* Reads the properties of a device. On failure it is unchanged. */
int vfb_device_describe(struct vfb_device *device);

/* One that has no regions mapped; its file stays as it is. */
void vfb_device_free(struct vfb_device *device);

/*
 * Unmaps its regions, closes it unless it was adopted, with its event, and frees it. It stays
 * attached.
 */
void vfb_device_close_one(struct vfb_device *device);

/*
 * An ioctl that resets the device: the kernel gives EAGAIN, or EBUSY, when it could not take the
 * device's lock. Who holds that is soon done, within a reset's time.
 */
int vfb_device_retry(const struct vfb_sys *sys, int fd, unsigned long request, void *arg);

/*
 * After a failure to attach or to open a device: if it may pass by itself, sleeps for a moment and
 * returns true, until enough was waited. @waited_ns begins with 0.
 */
bool vfb_device_wait_to_retry(const struct vfb_sys *sys, int error, uint64_t *waited_ns);

static inline uint64_t vfb_device_base_page(const struct vfb_device *device)
{
	return device->ctx->sys->base_page(device->ctx->sys);
}

/* Before closing; what fails is left to closing. */
void vfb_irq_disable_all(struct vfb_device *device);
void vfb_region_unmap_all(struct vfb_device *device);

/* For a job that resets it, whose end closing it waits for. -EALREADY: it is being closed. */
int vfb_device_reset_begin(struct vfb_device *device);
void vfb_device_reset_end(struct vfb_device *device);

/* Waits for jobs that map its BARs for devices or reset it, and unmaps what they have mapped. */
void vfb_bars_release(struct vfb_device *device);
/*
 * Maps its BARs for devices again where a reset has revoked that. What fails stays unmapped; the
 * first failure is the result.
 */
int vfb_bars_remap(struct vfb_device *device);

/*
 * The offset in the configuration space of a capability of the first 256 bytes, 0 when the device
 * does not have it.
 */
int vfb_config_find_capability(const struct vfb_device *device, unsigned int id, uint64_t *at);

/*
 * The device answers accesses to its BARs: its command register has memory enabled, and its power
 * state is not D3hot.
 */
bool vfb_device_has_memory(const struct vfb_device *device);

/* The areas of a region that may be mapped; the caller frees areas->areas. */
int vfb_areas_find(const struct vfb_device *device, unsigned int index,
		   const struct vfio_region_info *info, bool without_msix, struct vfb_areas *areas);

/* VFIO_DEVICE_GET_REGION_INFO, with its chain of capabilities, to be freed. */
int vfb_region_read_info(const struct vfb_device *device, unsigned int index,
			 struct vfio_region_info **out);

#endif
