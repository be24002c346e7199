/* SPDX-License-Identifier: MIT */
/* What a space knows of IOVAs before it has a domain: the devices that are expected. */
#ifndef VFB_EXPECTED_H
#define VFB_EXPECTED_H

#include "dma/space.h"
#include "iommu/iova_set.h"

/* Takes the set over, which is empty afterwards. NULL: nothing is known. */
void vfb_space_expect(struct vfb_space *space, struct vfb_iova_set *set);

/* The valid ranges of the domain, or the expected ones; NULL if neither is known. */
const struct vfb_iova_range *vfb_space_valid_locked(const struct vfb_space *space, size_t *count);

/* Removes what is not valid in the space, or mapped in it. -ENOMEM. */
int vfb_space_restrict_iovas(struct vfb_space *space, struct vfb_iova_set *set);

#endif
