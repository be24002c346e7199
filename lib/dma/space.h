/* SPDX-License-Identifier: MIT */
#ifndef VFB_SPACE_H
#define VFB_SPACE_H

#include <vfioboost/space.h>

#include "context.h"
#include "dma/choose.h"
#include "dma/demand.h"
#include "dma/index.h"
#include "dma/translate.h"
#include "engine/job.h"
#include "iommu/iommu.h"
#include "iommu/iova_set.h"

/*
 * Limits of what is mapped or unmapped in the calling thread, without a job: the smallest piece of
 * a worker, and as many calls as take no longer than waking a worker.
 */
#define VFB_HERE_BYTES	VFB_SMALL_BYTES
#define VFB_HERE_RANGES 16

/* Called when it is known whether the space has a domain. */
struct vfb_domain_waiter {
	struct vfb_domain_waiter *next;
	void (*decided)(struct vfb_domain_waiter *waiter);
};

struct vfb_space {
	struct vfb_ctx *ctx;
	/* The next one of the context; guarded by the lock of the list. */
	struct vfb_space *next;
	struct vfb_iommu *iommu;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* A device is being attached or detached. */
	bool attaching;
	struct vfb_attached *attached;
	/* Batches of devices that may still create the domain, and counted devices. */
	unsigned int opening, devices;
	/* Jobs that open devices, until their last access to the space. */
	unsigned int open_jobs;
	/* There is a domain: ranges can be mapped. */
	bool domain;
	struct vfb_domain_waiter *waiters;
	/* It was created with VFB_SPACE_DIRTY. */
	bool can_track;
	/* The addresses were released: another process owns the mappings. */
	bool released;
	/* Jobs that map or unmap. */
	unsigned int jobs;
	/* Those of them that discard or restore memory. No domain becomes known meanwhile. */
	unsigned int discards;
	/* It is being destroyed: no job may begin. */
	bool ending;
	/* References to this struct: one of the space itself, others of BARs mapped in it. */
	atomic_uint refs;
	struct vfb_index index;
	struct vfb_translator translator;
	struct vfb_demands demands;
	/* Of vfb_space_opts. */
	uint64_t block_bytes;
	char reason[VFB_REASON_BYTES];
	/* Limits of the domain, see struct vfb_iommu_ops. Without a domain there are none. */
	struct vfb_iova_range *ranges;
	size_t range_count;
	uint64_t alignment, entries_left;
	/* Without a domain: what the devices can use that are expected, if any are. */
	bool expects;
	struct vfb_iova_set expected;
};

/*
 * For opening devices. A batch announces itself, attaches its devices, and reports when it has
 * attached all of them. Maps wait until then. -EBUSY: the addresses of the space were released.
 */
int vfb_space_opening_begin(struct vfb_space *space);
/*
 * @attached: number of attached devices of the batch, which count from now on. On failure they do
 * not count and must be detached.
 */
int vfb_space_opening_end(struct vfb_space *space, unsigned int attached);
/* The batch no longer accesses the space. */
void vfb_space_opening_finish(struct vfb_space *space);

/* Prepares a device for opening. Fails with -EBUSY if it is already attached. */
int vfb_space_attach(struct vfb_space *space, const struct vfb_iommu_device *device);
/*
 * Detaches a device that was closed or never opened. @counted: vfb_space_opening_end() counted it.
 * If the domain ends with it, waits for the jobs that use the domain.
 */
void vfb_space_detach(struct vfb_space *space, const struct vfb_iommu_device *device, bool counted);

/*
 * For devices that the caller has attached, and detaches after they have left: all of them, or none
 * if it fails. -EINVAL: the space was not adopted; -ENXIO: nothing is attached; -EBUSY: a device
 * has joined already.
 */
int vfb_space_join(struct vfb_space *space, const char *const *addresses, size_t count);
void vfb_space_leave(struct vfb_space *space, const char *address);

/* Reads the limits of the domain, after devices were attached. */
int vfb_space_read_domain(struct vfb_space *space);

/* For jobs: true if it is known whether there is a domain; else @waiter is called once. */
bool vfb_space_domain_decided(struct vfb_space *space, struct vfb_domain_waiter *waiter);

/*
 * Maps all lost mappings of the index, or none, in a domain that is not announced yet. May sleep
 * for long.
 */
int vfb_space_restore(struct vfb_space *space);
/* Whether there are lost mappings. */
bool vfb_space_has_lost_locked(const struct vfb_space *space);

/* Of an adopted space: maps lost mappings if the caller has created a domain. */
int vfb_space_look_for_domain(struct vfb_space *space);

/* References keep the struct, even when the space is destroyed. */
void vfb_space_ref(struct vfb_space *space);
/* NULL is allowed. */
void vfb_space_unref(struct vfb_space *space);

void vfb_space_job_begin(struct vfb_space *space);
/* For holders of a reference. False: the space is being destroyed, or was. */
bool vfb_space_job_try_begin(struct vfb_space *space);
void vfb_space_job_end(struct vfb_space *space);
/* Ends a job while the space's lock is held, and releases that. @changed: there are changes of the
 * index to publish. */
void vfb_space_job_end_unlock(struct vfb_space *space, bool changed);

/* The end of the block of memory in which @offset lies, which no map call may cross, but at most
 * @end. */
uint64_t vfb_space_block_end(const struct vfb_space *space, const struct vfb_memory *memory,
			     uint64_t offset, uint64_t end);
/* Number of blocks that a part of memory, which is not empty, overlaps. */
uint64_t vfb_space_count_blocks(const struct vfb_space *space, const struct vfb_memory *memory,
				uint64_t offset, uint64_t bytes);

/* Makes one map call, with its event, and adds the extent to the index. */
int vfb_space_map_one(struct vfb_space *space, const struct vfb_memory *memory, uint64_t offset,
		      uint64_t bytes, uint64_t iova, uint32_t flags);
/* Makes one unmap call, with its event, for all extents in an area. */
int vfb_space_unmap_one(struct vfb_space *space, uint64_t iova, uint64_t bytes);
/* Unmaps all extents of an area, with one call for adjacent ones. */
int vfb_space_unmap_area(struct vfb_space *space, uint64_t iova, uint64_t bytes);

/* Removes a mapping from the index, and its use of the memory. */
void vfb_space_remove_mapping_locked(struct vfb_space *space, struct vfb_mapping *mapping);
/* Empties the index. */
void vfb_space_forget_locked(struct vfb_space *space);

/*
 * Unmaps all mappings of a device's region, after waiting for jobs that map or unmap it. Mappings
 * that the kernel does not unmap are dropped nonetheless, since the region is about to vanish.
 */
void vfb_space_unmap_region(struct vfb_space *space, const struct vfb_memory *region);
/*
 * Maps them again after the kernel has revoked them. Mappings that fail are removed; the first
 * failure is the result.
 */
int vfb_space_remap_region(struct vfb_space *space, const struct vfb_memory *region);

#endif
