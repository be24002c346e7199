/* SPDX-License-Identifier: MIT */
/* Why the kernel does not map a range: errors with several causes, distinguished by what proc, the
 * limits and the domain show. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "iommu/iommu.h"
#include "iommu/iova_set.h"
#include "observe/error.h"
#include "sys/fault.h"
#include "sys/rights.h"

/* "4 MiB at IOVA 0x1000" */
struct where {
	char text[64];
};

static struct where map_where(const struct vfb_iommu_map *map)
{
	struct where where;

	snprintf(where.text, sizeof(where.text), "%s at IOVA 0x%" PRIx64,
		 vfb_size_text(map->bytes).text, map->iova);
	return where;
}

/* ---- ENOMEM ---- */

static int report_memlock(const struct vfb_iommu *iommu, const struct vfb_iommu_map *map,
			  uint64_t limit, uint64_t locked)
{
	bool exceeded = map->bytes > limit || locked > limit - map->bytes;
	struct where where = map_where(map);

	if (exceeded)
		return vfb_fail(-ENOMEM,
				"cannot map %s: with %s that this process has pinned already (%s), "
				"that exceeds RLIMIT_MEMLOCK, %s: raise it (ulimit -l, "
				"LimitMEMLOCK=) or grant CAP_IPC_LOCK",
				where.text, vfb_size_text(locked).text, iommu->ops->locked_key,
				vfb_size_text(limit).text);
	/* iommufd charges the user, type1 the process. */
	return vfb_fail(-ENOMEM,
			"cannot map %s: out of memory, or beyond RLIMIT_MEMLOCK of %s, of which "
			"this process uses %s (%s)%s: raise it (ulimit -l, LimitMEMLOCK=) or grant "
			"CAP_IPC_LOCK",
			where.text, vfb_size_text(limit).text, vfb_size_text(locked).text,
			iommu->ops->locked_key,
			iommu->ops->backend == VFB_BACKEND_IOMMUFD ?
				" and other processes of the user count, too" :
				"");
}

static int map_report_no_memory(const struct vfb_iommu *iommu, const struct vfb_iommu_map *map)
{
	struct vfb_field locked = {.name = iommu->ops->locked_key, .base = 10};
	uint64_t limit;

	if (!vfb_sys_is_capable(iommu->sys, VFB_CAP_IPC_LOCK) &&
	    !iommu->sys->memlock_limit(iommu->sys, &limit) && limit != UINT64_MAX) {
		vfb_sys_read_fields(iommu->sys, "/proc/self/status", &locked, 1);
		return report_memlock(iommu, map, limit, locked.value * 1024);
	}
	return vfb_fail(
		-ENOMEM,
		"cannot map %s: the kernel is out of memory, and no RLIMIT_MEMLOCK applies: "
		"the page tables of the IOMMU count in memory.max of the cgroup; memory "
		"that is not populated is allocated now",
		map_where(map).text);
}

/* ---- EFAULT ---- */

static int map_report_fault(const struct vfb_iommu *iommu, int error,
			    const struct vfb_iommu_map *map)
{
	struct vfb_fault fault = vfb_sys_find_fault(iommu->sys, (uintptr_t)map->address, map->bytes,
						    map->flags & VFB_RANGE_WRITE, true, map->fd);

	if (fault.kind)
		return vfb_fail(error, "cannot map %s: %s", map_where(map).text,
				vfb_fault_describe(&fault).text);
	if (error != -EFAULT)
		return vfb_fail_errno(error, "cannot map %s", map_where(map).text);
	return vfb_fail(error,
			"cannot map %s: the kernel cannot reach the memory at %p, though it is "
			"mapped and accessible: possible causes are pages that are not populated "
			"and that a limit of a cgroup or an empty hugetlb pool denies, and a file "
			"that ends before the mapping does",
			map_where(map).text, map->address);
}

/* ---- EINVAL, ENOSPC ---- */

static int report_outside(const struct vfb_iommu_map *map, const struct vfb_iova_range *ranges,
			  size_t count)
{
	return vfb_fail(-EINVAL,
			"cannot map %s: the devices can only use the IOVAs%s: map elsewhere "
			"(vfb_layout())",
			map_where(map).text, vfb_iova_ranges_text(ranges, count).text);
}

static int report_no_entries(const struct vfb_iommu_map *map)
{
	return vfb_fail(-ENOSPC,
			"cannot map %s: the kernel's limit of mappings is reached: map fewer, "
			"larger ranges, or raise dma_entry_limit of vfio_iommu_type1",
			map_where(map).text);
}

static int report_domain(struct vfb_iommu *iommu, int error, const struct vfb_iommu_map *map)
{
	uint64_t last = map->iova + (map->bytes - 1), alignment = 0, entries_left = 0;
	uint64_t address = map->region ? map->file_offset : (uintptr_t)map->address;
	struct vfb_iova_range *ranges = NULL;
	size_t count = 0;
	int unknown = iommu->ops->describe(iommu, &ranges, &count, &alignment, &entries_left);

	if (!unknown && error == -ENOSPC && !entries_left)
		report_no_entries(map);
	else if (!unknown && error == -EINVAL &&
		 !vfb_iova_ranges_contain(ranges, count, map->iova, last))
		report_outside(map, ranges, count);
	else if (!unknown && error == -EINVAL && alignment > 1 &&
		 (map->iova | map->bytes | address) & (alignment - 1))
		vfb_fail(error, "cannot map %s: it is not aligned to the IOMMU's pages of %s",
			 map_where(map).text, vfb_size_text(alignment).text);
	else
		map_report_fault(iommu, error, map);
	free(ranges);
	return error;
}

int vfb_iommu_map_failed(struct vfb_iommu *iommu, int error, const struct vfb_iommu_map *map)
{
	switch (error) {
	case -ENOMEM:
		return map_report_no_memory(iommu, map);
	case -EFAULT:
	case -EOPNOTSUPP:
		return map_report_fault(iommu, error, map);
	case -EINVAL:
	case -ENOSPC:
		return report_domain(iommu, error, map);
	case -EEXIST:
		return vfb_fail(error,
				"cannot map %s: something is mapped there that the library does "
				"not know of: unmap it, or use another IOVA",
				map_where(map).text);
	}
	return vfb_fail_errno(error, "cannot map %s", map_where(map).text);
}
