/* SPDX-License-Identifier: MIT */
#ifndef VFB_SPACE_H
#define VFB_SPACE_H

#include <vfioboost/space.h>

#include "context.h"
#include "dma/choose.h"
#include "dma/index.h"
#include "dma/translate.h"
#include "iommu/iommu.h"

/*
 * What is mapped or unmapped in the calling thread, without a job: as much as the smallest piece
 * that a worker takes, in as many calls as a wake-up is worth.
 */
#define VFB_HERE_BYTES	(16 * MIB)
#define VFB_HERE_RANGES 16

/* Called when it is decided whether the space has a domain. */
struct vfb_domain_waiter {
	struct vfb_domain_waiter *next;
	void (*decided)(struct vfb_domain_waiter *waiter);
};

struct vfb_space {
	struct vfb_ctx *ctx;
	struct vfb_iommu *iommu;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Somebody attaches or detaches. */
	bool attaching;
	struct vfb_attached *attached;
	/* Batches of devices that may yet bring the domain, and devices that are attached. */
	unsigned int opening, devices;
	/* Jobs that open devices, or let go of them again. */
	unsigned int open_jobs;
	/* There is a domain: ranges can be mapped. */
	bool domain;
	struct vfb_domain_waiter *waiters;
	/* The addresses were released: the mappings are another process's. */
	bool released;
	/* Jobs that map or unmap. */
	unsigned int jobs;
	/* It is being destroyed: no more jobs. */
	bool ending;
	/* What keeps this struct when the space is destroyed: itself, BARs that were mapped in it.
	 */
	atomic_uint refs;
	struct vfb_index index;
	struct vfb_translator translator;
	char reason[VFB_REASON_BYTES];
	/* What the domain admits; see struct vfb_iommu_ops. Without a domain, everything. */
	struct vfb_iova_range *ranges;
	size_t range_count;
	uint64_t alignment, entries_left;
};

/*
 * For the devices part. A batch announces itself, attaches its devices, and says when it has
 * attached all that it will: until then, maps wait.
 */
void vfb_space_opening_begin(struct vfb_space *space);
/*
 * @attached: how many devices of the batch are attached and count from now on. On failure, told,
 * they do not count, and must be detached.
 */
int vfb_space_opening_end(struct vfb_space *space, unsigned int attached);
/* The batch has done all that it does with the space. */
void vfb_space_opening_finish(struct vfb_space *space);

/* Does what must be done once before a device is opened. -EBUSY: it is attached already. */
int vfb_space_attach(struct vfb_space *space, const struct vfb_iommu_device *device);
/*
 * Detaches a device that was closed, or never opened. @counted: it was among those of
 * vfb_space_opening_end(). When the domain goes with it, waits for the jobs that use that.
 */
void vfb_space_detach(struct vfb_space *space, const struct vfb_iommu_device *device, bool counted);

/*
 * A device that the caller has attached, and detaches some time after it has left. -EINVAL: the
 * space is not the caller's; -ENXIO: nothing is attached; -EBUSY.
 */
int vfb_space_join(struct vfb_space *space, const char *address);
void vfb_space_leave(struct vfb_space *space, const char *address);

/* Reads what the domain admits, now that devices are attached. */
int vfb_space_read_domain(struct vfb_space *space);

/* For jobs: true when it is decided already, else @waiter is called once. */
bool vfb_space_domain_decided(struct vfb_space *space, struct vfb_domain_waiter *waiter);

/*
 * Maps what is in the index and the kernel does not have, now that there is a domain which is not
 * announced yet: all of it, or nothing. May sleep for long.
 */
int vfb_space_restore(struct vfb_space *space);
/* Whether there is something of that kind. Called with the space's lock held. */
bool vfb_space_has_lost(const struct vfb_space *space);

/* Of a space that was adopted: maps what was kept, if the caller has brought a domain. */
int vfb_space_look_for_domain(struct vfb_space *space);

/* The struct stays until the last reference is gone, the space no longer than it is destroyed. */
void vfb_space_ref(struct vfb_space *space);
/* NULL is allowed. */
void vfb_space_unref(struct vfb_space *space);

void vfb_space_job_begin(struct vfb_space *space);
/* For one who has only a reference. False: the space is being destroyed, or has been. */
bool vfb_space_job_try_begin(struct vfb_space *space);
void vfb_space_job_end(struct vfb_space *space);

/* One map call, with its event: the index has the extent afterwards. */
int vfb_space_map_one(struct vfb_space *space, const struct vfb_memory *memory, uint64_t offset,
		      uint64_t bytes, uint64_t iova, uint32_t flags);
/* One unmap call, with its event, of all the extents in an area. */
int vfb_space_unmap_one(struct vfb_space *space, uint64_t iova, uint64_t bytes);
/* Unmaps whatever the kernel has of an area, by one call where extents follow each other. */
int vfb_space_unmap_area(struct vfb_space *space, uint64_t iova, uint64_t bytes);

/* Removes a mapping from the index; its memory has a user less. */
void vfb_space_remove_mapping_locked(struct vfb_space *space, struct vfb_mapping *mapping);
/* Empties the index. */
void vfb_space_forget_locked(struct vfb_space *space);

/*
 * Unmaps all that is mapped of a region of a device; waits for jobs that map or unmap it. What the
 * kernel would not unmap is forgotten all the same, as the region is about to go.
 */
void vfb_space_unmap_region(struct vfb_space *space, const struct vfb_memory *region);
/*
 * Maps all of that again after the kernel has revoked it. What cannot be mapped is unmapped; the
 * first failure is the result.
 */
int vfb_space_remap_region(struct vfb_space *space, const struct vfb_memory *region);

#endif
