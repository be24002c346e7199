/* SPDX-License-Identifier: MIT */
#include "device/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "device/turn.h"
#include "dma/clash.h"
#include "engine/job.h"
#include "observe/error.h"
#include "options.h"
#include "sys/uapi.h"

#define MAX_REGIONS 1024

/* Conventional PCI devices take 1.1 s to reset, and others may be waiting for the lock too. */
#define RETRY_NS     UINT64_C(10000000)
#define RETRY_END_NS UINT64_C(5000000000)
/*
 * A device that was bound or plugged in just now is in sysfs before its node is in /dev, and
 * before its group knows it (vfio_device_register_dev(), udev).
 */
#define APPEAR_END_NS UINT64_C(1000000000)

int vfb_device_retry(const struct vfb_sys *sys, int fd, unsigned long request, void *arg)
{
	int error;

	for (uint64_t waited = 0;; waited += RETRY_NS) {
		error = sys->ioctl(sys, fd, request, arg);
		if ((error != -EAGAIN && error != -EBUSY) || waited >= RETRY_END_NS)
			return error;
		sys->sleep(sys, RETRY_NS);
	}
}

bool vfb_device_wait_to_retry(const struct vfb_sys *sys, int error, uint64_t *waited_ns)
{
	/* vfio_pci_core_enable() tries to take the device's lock, as vfb_device_retry() says. */
	uint64_t limit = error == -EAGAIN		      ? RETRY_END_NS :
			 error == -ENODEV || error == -ENOENT ? APPEAR_END_NS :
								0;

	if (*waited_ns >= limit)
		return false;
	sys->sleep(sys, RETRY_NS);
	*waited_ns += RETRY_NS;
	return true;
}

static int open_fd(struct vfb_space *space, const struct vfb_pci *pci,
		   struct vfb_iommu_opened *opened)
{
	struct vfb_iommu_device identity = vfb_device_identity(pci);
	uint64_t waited = 0;
	int fd;

	do
		fd = space->iommu->ops->open_device(space->iommu, &identity, opened);
	while (fd < 0 && !opened->refused &&
	       vfb_device_wait_to_retry(space->ctx->sys, fd, &waited));
	if (fd == -EADDRINUSE && !opened->refused)
		vfb_space_explain_clash(space, &identity);
	return fd;
}

static int open_with_event(struct vfb_space *space, const struct vfb_pci *pci,
			   struct vfb_iommu_opened *opened)
{
	struct vfb_span span;
	int fd;

	vfb_observe_begin(&span, &space->ctx->observer, VFB_PHASE_OPEN);
	opened->call = space->iommu->ops->open_call;
	fd = open_fd(space, pci, opened);
	vfb_observe_end(&span, .operation = opened->call, .result = fd < 0 ? fd : 0,
			.device = pci->address, .node = pci->numa_node);
	return fd;
}

int vfb_device_describe(struct vfb_device *device)
{
	const struct vfb_sys *sys = device->ctx->sys;
	struct vfio_device_info info = {.argsz = sizeof(info)};
	int error;

	error = sys->ioctl(sys, device->fd, VFIO_DEVICE_GET_INFO, &info);
	if (error)
		return vfb_fail_errno(error, "cannot read the regions of device %s",
				      device->pci.address);
	/* VFIO_PCI_NUM_REGIONS, and what is special to some devices. */
	if (info.num_regions > MAX_REGIONS)
		return vfb_fail(-EPROTO, "the kernel counts %u regions of device %s",
				info.num_regions, device->pci.address);
	device->regions = info.num_regions;
	device->irqs = info.num_irqs;
	device->resets = info.flags & VFIO_DEVICE_FLAGS_RESET;
	device->mappings = calloc(info.num_regions + 1, sizeof(*device->mappings));
	return device->mappings ? 0 : vfb_fail_memory();
}

struct vfb_device *vfb_device_new(struct vfb_ctx *ctx, struct vfb_space *space,
				  const struct vfb_pci *pci)
{
	struct vfb_device *device = calloc(1, sizeof(*device));

	if (!device) {
		vfb_fail_memory();
		return NULL;
	}
	device->ctx = ctx;
	device->space = space;
	device->pci = *pci;
	pthread_mutex_init(&device->lock, NULL);
	pthread_cond_init(&device->idle, NULL);
	return device;
}

int vfb_device_open_one(struct vfb_space *space, const struct vfb_pci *pci, struct vfb_device **out)
{
	struct vfb_device *device = vfb_device_new(space->ctx, space, pci);
	struct vfb_iommu_opened opened = {0};
	int error;

	if (!device)
		return -ENOMEM;
	device->fd = open_with_event(space, pci, &opened);
	if (device->fd < 0) {
		error = device->fd;
		vfb_device_free(device);
		return error;
	}
	error = vfb_device_describe(device);
	if (error) {
		vfb_device_close_one(device);
		return error;
	}
	device->device_id = opened.device_id;
	device->domain = opened.domain;
	/* vfio_pci_core_enable() has set it to whether the reset has worked. */
	atomic_init(&device->was_reset, device->resets);
	*out = device;
	return 0;
}

int vfb_device_group_fd(const struct vfb_device *device)
{
	struct vfb_iommu *iommu;

	if (device->adopted)
		return device->group_fd;
	iommu = device->space->iommu;
	return iommu->ops->group_fd(iommu, device->pci.group);
}

void vfb_device_free(struct vfb_device *device)
{
	pthread_cond_destroy(&device->idle);
	pthread_mutex_destroy(&device->lock);
	free(device->mappings);
	free(device);
}

/* Devices of other batches may be below the same bridge. */
static void close_in_turn(struct vfb_device *device)
{
	const struct vfb_sys *sys = device->ctx->sys;
	int group = vfb_device_group_fd(device);
	struct vfb_turn turn;

	vfb_iommu_remove_file(device->space->iommu, device->pci.address,
			      group >= 0 ? group : device->fd);
	vfb_turn_begin(device->ctx->turns, &turn, device->pci.bridge);
	sys->close(sys, device->fd);
	vfb_turn_end(device->ctx->turns, &turn);
}

void vfb_device_close_one(struct vfb_device *device)
{
	struct vfb_span span;

	vfb_observe_begin(&span, &device->ctx->observer, VFB_PHASE_CLOSE);
	vfb_bars_release(device);
	vfb_region_unmap_all(device);
	vfb_irq_disable_all(device);
	if (!device->adopted)
		close_in_turn(device);
	vfb_observe_end(&span, .operation = device->adopted ? "none" : "close",
			.device = device->pci.address, .node = device->pci.numa_node);
	vfb_device_free(device);
}

int vfb_device_info(const struct vfb_device *device, struct vfb_device_info *info)
{
	struct vfb_device_info known = {
		.address = device->pci.address,
		.fd = device->fd,
		.node = device->pci.numa_node,
		.regions = device->regions,
		.irqs = device->irqs,
		.flags = atomic_load(&device->was_reset) ? VFB_DEVICE_WAS_RESET : 0,
		.group_fd = vfb_device_group_fd(device),
	};

	return vfb_struct_write(info, &known, sizeof(known));
}
