/* SPDX-License-Identifier: MIT */
/* A real NVMe controller as something that does DMA. */
#ifndef NVME_H
#define NVME_H

#include <vfioboost.h>

/* A controller that is on. */
struct nvme;

/* What the controller writes begins with its PCI vendor and that of its subsystem. */
#define NVME_IDENTITY 0x1af41b36

struct nvme *nvme_start(struct vfb_ctx *ctx, struct vfb_space *space, struct vfb_device *device);
/* Makes the controller write 4 KiB that identify it to @iova. */
void nvme_identify(struct nvme *nvme, uint64_t iova);
void nvme_stop(struct nvme *nvme);

/*
 * Makes the controller write 4 KiB that identify it to @iova: its PCI vendor and that of its
 * subsystem first. It is off afterwards, as it was.
 */
void nvme_identify_to(struct vfb_ctx *ctx, struct vfb_space *space, struct vfb_device *device,
		      uint64_t iova);

#endif
