/* SPDX-License-Identifier: MIT */
#include "release.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <vfioboost.h>

#include "sys/uapi.h"

struct release {
	struct vfb_wire_grant grant;
	int fds[VFB_WIRE_FDS];
	size_t count;
	int event;
};

static void stop_dma(const struct release *release)
{
	struct vfb_vfio_device_detach_iommufd_pt detach = {.argsz = sizeof(detach)};
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.flags = VFIO_DMA_UNMAP_FLAG_ALL,
	};

	if (release->grant.level == 0)
		return;
	if (release->grant.backend == VFB_BACKEND_TYPE1)
		ioctl(release->fds[1], VFIO_IOMMU_UNMAP_DMA, &unmap);
	/* The tenant may have done it: then it fails. */
	for (size_t i = 2; i < release->count; i++)
		ioctl(release->fds[i], VFB_VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach);
}

/* Devices first, one after another: Linux 7.0 skips resets below a bridge that is busy. */
static void *run_release(void *arg)
{
	struct release *release = arg;

	stop_dma(release);
	for (size_t i = release->count; i-- > 0;)
		close(release->fds[i]);
	eventfd_write(release->event, 1);
	close(release->event);
	free(release);
	return NULL;
}

static bool start_thread(struct release *release)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run_release, release))
		return false;
	pthread_detach(thread);
	return true;
}

void release_start(const struct vfb_wire_grant *grant, const int *fds, size_t count, int event)
{
	struct release *release = malloc(sizeof(*release)), here;
	struct release *use = release ? release : &here;

	*use = (struct release){.grant = *grant, .count = count, .event = dup(event)};
	memcpy(use->fds, fds, count * sizeof(*fds));
	if (release) {
		if (!start_thread(release))
			run_release(release);
		return;
	}
	stop_dma(use);
	for (size_t i = count; i-- > 0;)
		close(fds[i]);
	eventfd_write(event, 1);
	close(use->event);
}
