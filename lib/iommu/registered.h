/* SPDX-License-Identifier: MIT */
/*
 * The memory that a process has registered with a container of sPAPR
 * (VFIO_IOMMU_SPAPR_REGISTER_MEMORY). The kernel pins it as a whole, maps only what is registered,
 * and refuses areas that overlap others: what several mappings share is registered once.
 */
#ifndef VFB_REGISTERED_H
#define VFB_REGISTERED_H

#include <bsd/sys/tree.h>
#include <stdbool.h>
#include <stdint.h>

#include "sys/sleep_lock.h"

struct vfb_area;
RB_HEAD(vfb_areas, vfb_area);

struct vfb_registered {
	const struct vfb_sys *sys;
	/* The container. If it was adopted, its owner may have registered memory as well. */
	int fd;
	bool adopted;
	/* Held while memory is being registered: the kernel does so, too (container->lock). */
	struct vfb_sleep_lock lock;
	/* By address: what is registered. By IOVA: what is mapped, or about to be. */
	struct vfb_areas memory, mappings;
};

void vfb_registered_init(struct vfb_registered *registered, const struct vfb_sys *sys, int fd,
			 bool adopted);
/* The container has been closed, or is the caller's: nothing is unregistered. */
void vfb_registered_destroy(struct vfb_registered *registered);

/*
 * Registers the memory of a mapping, as far as it is not. Returns 0 or the error of the kernel,
 * which is not reported, after which nothing has changed.
 */
int vfb_registered_add(struct vfb_registered *registered, uint64_t iova, uint64_t bytes,
		       uint64_t address);
/* Of mappings that the kernel does not have, or no longer: unregisters what no other one uses. */
void vfb_registered_remove(struct vfb_registered *registered, uint64_t iova, uint64_t bytes);
/* Unregisters everything: nothing is mapped any more. */
void vfb_registered_remove_all(struct vfb_registered *registered);
/* The kernel has unregistered everything. */
void vfb_registered_forget(struct vfb_registered *registered);

#endif
