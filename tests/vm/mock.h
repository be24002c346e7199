/* SPDX-License-Identifier: MIT */
/* The kernel's mock devices and IOMMU (CONFIG_IOMMUFD_TEST). */
#ifndef MOCK_H
#define MOCK_H

#include <stdint.h>
#include <sys/ioctl.h>

#include "sys/uapi.h"

/* drivers/iommu/iommufd/iommufd_test.h */
enum {
	MOCK_DOMAIN = 2,
	MOCK_CHECK = 3,
	MOCK_REPLACE = 10,
	MOCK_DIRTY = 13,
	MOCK_FAULT = 15
};
struct mock_call {
	uint32_t size, op, id, reserved;
	union {
		struct {
			uint32_t device, domain, id;
		} domain;
		uint32_t replace;
		struct {
			uint64_t iova, bytes, address;
		} check;
		struct {
			uint32_t flags;
			uint64_t iova, bytes, page, bitmap, marked;
		} dirty;
		struct {
			uint32_t id, pasid, group, perm;
			uint64_t iova;
		} fault;
	};
	uint32_t last;
};
#define MOCK_CALL _IO(VFB_IOMMUFD_TYPE, 0xa0)

/* IOVAs that it translates: 16 MiB to 2 GiB. */
#define MOCK_BASE (UINT64_C(32) << 20)

/* A device of the mock, attached to a domain of its own; these are IDs. */
struct mock {
	int iommufd;
	uint32_t ioas, domain, device, attachment;
};

/* @flags and @faults: of IOMMU_HWPT_ALLOC. -1: errno says why, *@what which call failed. */
static inline int mock_make(struct mock *mock, int iommufd, uint32_t flags, uint32_t faults,
			    const char **what)
{
	struct vfb_iommu_ioas_alloc ioas = {.size = sizeof(ioas)};
	struct mock_call call = {.size = sizeof(call), .op = MOCK_DOMAIN};
	struct vfb_iommu_hwpt_alloc hwpt = {.size = sizeof(hwpt),
					    .flags = flags,
					    .fault_id = faults};

	mock->iommufd = iommufd;
	*what = "IOMMU_IOAS_ALLOC";
	if (ioctl(iommufd, VFB_IOMMU_IOAS_ALLOC, &ioas))
		return -1;
	call.id = hwpt.pt_id = mock->ioas = ioas.out_ioas_id;
	*what = "a mock device";
	if (ioctl(iommufd, MOCK_CALL, &call))
		return -1;
	hwpt.dev_id = mock->device = call.domain.id;
	mock->attachment = call.domain.device;
	*what = "IOMMU_HWPT_ALLOC";
	if (ioctl(iommufd, VFB_IOMMU_HWPT_ALLOC, &hwpt))
		return -1;
	mock->domain = hwpt.out_hwpt_id;
	call = (struct mock_call){.size = sizeof(call),
				  .op = MOCK_REPLACE,
				  .id = mock->attachment,
				  .replace = mock->domain};
	*what = "attaching the mock device";
	return ioctl(iommufd, MOCK_CALL, &call);
}

#endif
