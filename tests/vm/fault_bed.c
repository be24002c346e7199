/* SPDX-License-Identifier: MIT */
#include "fault_bed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BOTH (VFB_IOMMU_PGFAULT_PERM_READ | VFB_IOMMU_PGFAULT_PERM_WRITE)

void bed_check(bool ok, const char *file, int line, const char *text)
{
	if (ok)
		return;
	fprintf(stderr, "%s:%d: %s: %s; %s\n", file, line, text, strerror(errno), vfb_last_error());
	exit(1);
}

double bed_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

void bed_raise_fault(const struct mock *mock, uint64_t iova, uint32_t group)
{
	struct mock_call call = {
		.size = sizeof(call),
		.op = MOCK_FAULT,
		.fault = {.id = mock->device, .group = group, .perm = BOTH, .iova = iova}};

	check(!ioctl(mock->iommufd, MOCK_CALL, &call));
}

void bed_make_queue(struct mock *mock, int *faults, uint32_t *queue)
{
	struct vfb_iommu_fault_alloc alloc = {.size = sizeof(alloc)};
	int fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	const char *what;

	check(fd >= 0);
	check(!ioctl(fd, VFB_IOMMU_FAULT_QUEUE_ALLOC, &alloc));
	*faults = (int)alloc.out_fault_fd;
	*queue = alloc.out_fault_id;
	check(!mock_make(mock, fd, VFB_IOMMU_HWPT_FAULT_ID_VALID, alloc.out_fault_id, &what));
}

static void count_event(const struct vfb_event *event, void *data)
{
	(void)event;
	sem_post(data);
}

void bed_add_space(struct bed *bed, uint64_t bytes, uint32_t window, uint32_t ahead,
		   uint32_t threads)
{
	struct vfb_filter filter = VFB_FILTER_INIT;
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_memory_opts memory = VFB_MEMORY_OPTS_INIT;

	check(!vfb_ctx_create(NULL, &bed->ctx));
	opts.fault_fd = bed->faults;
	opts.fault_ahead = ahead;
	opts.fault_threads = threads;
	/* A busy machine may stand still for longer than the usual time. */
	opts.fault_timeout_ms = 3600000;
	check(!vfb_space_adopt(bed->ctx, bed->mock.iommufd, bed->mock.ioas, &opts, &bed->space));
	memory.bytes = bytes;
	memory.page_size = VFB_PAGE_4K;
	check(!vfb_memory_create(bed->ctx, &memory, &bed->memory));
	bed->range = (struct vfb_range){.memory = bed->memory,
					.bytes = bytes,
					.iova = MOCK_BASE,
					.flags = VFB_RANGE_ON_DEMAND,
					.window_bytes = window};
	check(!vfb_space_map(bed->space, &bed->range, 1, NULL));
	sem_init(&bed->handled, 0, 0);
	filter.phases = VFB_PHASE_BIT(VFB_PHASE_FAULT);
	check(!vfb_subscribe(bed->ctx, &filter, count_event, &bed->handled, &bed->subscription));
}

void bed_free(struct bed *bed)
{
	check(!vfb_space_unmap(bed->space, &bed->range, 1, NULL));
	check(!vfb_space_destroy(bed->space));
	check(!vfb_memory_destroy(bed->memory));
	vfb_unsubscribe(bed->subscription);
	vfb_ctx_destroy(bed->ctx);
	sem_destroy(&bed->handled);
	close(bed->faults);
	close(bed->mock.iommufd);
}

struct vfb_on_demand_info bed_info(struct bed *bed)
{
	struct vfb_on_demand_info info = VFB_ON_DEMAND_INFO_INIT;

	check(!vfb_space_on_demand_info(bed->space, &info));
	return info;
}

void *bed_address(const struct bed *bed)
{
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;

	check(!vfb_memory_info(bed->memory, &info));
	return info.address;
}

void bed_wait_handled(struct bed *bed)
{
	while (sem_wait(&bed->handled))
		check(errno == EINTR);
}
