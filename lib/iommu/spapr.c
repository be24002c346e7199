/* SPDX-License-Identifier: MIT */
/*
 * sPAPR: the IOMMU of POWER, version 2 of VFIO's interface to it (Linux 4.2; as a guest of pSeries
 * 6.11). Devices reach memory through DMA windows: tables of entries (TCEs) that each map a page of
 * the IOMMU. The first window begins at IOVA 0 and has pages of 4 KiB; the kernel creates it with
 * the first call that needs it (tce_iommu_create_default_window()), without a lock if that is a map
 * call. So the library creates its own window first, which comes with the other one.
 *
 * Registering memory pins it, and is the slow part. The kernel holds the lock of the container
 * meanwhile (tce_iommu_register_pages()), but not while it maps. Each page that is mapped is looked
 * up in a list of all registered areas, the latest first (mm_iommu_lookup()): a worker that maps at
 * once what it has registered finds it at the beginning.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>

#include "container_of.h"
#include "iommu/cause.h"
#include "iommu/iova_set.h"
#include "iommu/legacy.h"
#include "iommu/registered.h"
#include "observe/error.h"

#define MODULE		"vfio_iommu_spapr_tce"
#define SMALLEST_WINDOW (UINT64_C(1) << 21)

struct window {
	/* 0 bytes: it does not exist. */
	uint64_t first, bytes, page_bytes;
};

struct spapr {
	struct vfb_legacy legacy;
	/* The most that a page of the IOMMU may have: that of the memory that will be mapped. */
	uint64_t page_bytes, window_bytes;
	struct window low, high;
	/* The call that did not create the high window, if it is missing. */
	int high_error;
	struct vfb_registered registered;
};

static struct spapr *spapr_of(struct vfb_iommu *iommu)
{
	return container_of(iommu, struct spapr, legacy.iommu);
}

static int spapr_ioctl(const struct spapr *spapr, unsigned long request, void *arg)
{
	return spapr->legacy.iommu.sys->ioctl(spapr->legacy.iommu.sys, spapr->legacy.fd, request,
					      arg);
}

/* Fails unless the container can have such an IOMMU. */
static int spapr_check(const struct spapr *spapr)
{
	const struct vfb_sys *sys = spapr->legacy.iommu.sys;

	if (vfb_legacy_has_extension(sys, spapr->legacy.fd, VFIO_SPAPR_TCE_v2_IOMMU))
		return 0;
	if (vfb_legacy_has_extension(sys, spapr->legacy.fd, VFIO_SPAPR_TCE_IOMMU))
		return vfb_fail(-ENOTSUP, "VFIO of this kernel has only version 1 of its interface "
					  "to the IOMMU of POWER: version 2 needs Linux 4.2");
	return vfb_fail(-ENOTSUP,
			"VFIO of this kernel has no sPAPR IOMMU, which only POWER has: "
			"there, load the module " MODULE " (CONFIG_VFIO_IOMMU_SPAPR_TCE)");
}

/* ---- Windows ---- */

static int read_tce_info(const struct spapr *spapr, struct vfio_iommu_spapr_tce_info *info)
{
	*info = (struct vfio_iommu_spapr_tce_info){.argsz = sizeof(*info)};
	return spapr_ioctl(spapr, VFIO_IOMMU_SPAPR_TCE_GET_INFO, info);
}

/* A window is a power of two. */
static uint64_t wanted_window_bytes(const struct spapr *spapr)
{
	struct vfb_field total = {.name = "MemTotal", .base = 10};
	uint64_t bytes = SMALLEST_WINDOW;

	if (spapr->window_bytes)
		return spapr->window_bytes;
	vfb_sys_read_fields(spapr->legacy.iommu.sys, "/proc/meminfo", &total, 1);
	while (bytes / 1024 < total.value && bytes <= UINT64_MAX / 2)
		bytes *= 2;
	return bytes;
}

/*
 * The largest page that the IOMMU and the memory have. What is larger than a base page must be a
 * page of hugetlbfs, transparent ones do not count (mm_iommu_do_alloc()).
 */
static unsigned int window_page_shift(const struct spapr *spapr, uint64_t page_sizes)
{
	uint64_t fitting = page_sizes & (2 * spapr->page_bytes - 1);

	return fitting ? 63 - __builtin_clzll(fitting) : 12;
}

/* With the fewest levels of tables for which the kernel finds the memory. */
static int create_window_of(struct spapr *spapr, uint64_t bytes, unsigned int shift,
			    unsigned int levels)
{
	struct vfio_iommu_spapr_tce_create create;
	int error = -EINVAL;

	for (unsigned int level = 1; level <= levels && error; level++) {
		create = (struct vfio_iommu_spapr_tce_create){
			.argsz = sizeof(create),
			.page_shift = shift,
			.window_size = bytes,
			.levels = level,
		};
		error = spapr_ioctl(spapr, VFIO_IOMMU_SPAPR_TCE_CREATE, &create);
	}
	if (!error)
		spapr->high = (struct window){create.start_addr, bytes, UINT64_C(1) << shift};
	return error;
}

/* Its table takes memory, which RLIMIT_MEMLOCK counts; pSeries limits it, too (EINVAL). */
static void create_high_window(struct spapr *spapr, const struct vfio_iommu_spapr_tce_info *info)
{
	unsigned int shift = window_page_shift(spapr, info->ddw.pgsizes);
	unsigned int levels = info->ddw.levels < 5 ? info->ddw.levels : 5;
	uint64_t bytes = wanted_window_bytes(spapr);

	spapr->high_error = -ENODEV;
	if (!(info->flags & VFIO_IOMMU_SPAPR_INFO_DDW))
		return;
	do {
		spapr->high_error = create_window_of(spapr, bytes, shift, levels ? levels : 1);
		bytes /= 2;
	} while ((spapr->high_error == -EINVAL || spapr->high_error == -ENOMEM) &&
		 bytes >= SMALLEST_WINDOW);
}

static void remove_window(struct spapr *spapr, struct window *window)
{
	struct vfio_iommu_spapr_tce_remove remove = {
		.argsz = sizeof(remove),
		.start_addr = window->first,
	};

	if (window->bytes)
		spapr_ioctl(spapr, VFIO_IOMMU_SPAPR_TCE_REMOVE, &remove);
	*window = (struct window){0};
}

static int create_windows(struct spapr *spapr, const struct vfb_iommu_device *device)
{
	struct vfio_iommu_spapr_tce_info info;
	int error = read_tce_info(spapr, &info);

	if (error)
		return vfb_fail_errno(error,
				      "cannot read the DMA windows of device %s "
				      "(VFIO_IOMMU_SPAPR_TCE_GET_INFO)",
				      device->address);
	create_high_window(spapr, &info);
	spapr->low = (struct window){info.dma32_window_start, info.dma32_window_size, 4096};
	if (spapr->high.bytes || spapr->low.bytes)
		return 0;
	return vfb_fail_errno(spapr->high_error,
			      "device %s has no DMA window, and none can be created "
			      "(VFIO_IOMMU_SPAPR_TCE_CREATE)",
			      device->address);
}

/* ---- Groups ---- */

/* The windows are the caller's. */
static void spapr_look_for_domain(struct vfb_iommu *iommu)
{
	struct spapr *spapr = spapr_of(iommu);
	struct vfio_iommu_spapr_tce_info info;

	if (spapr->legacy.groups.first)
		return;
	iommu->has_domain = !read_tce_info(spapr, &info);
	if (!iommu->has_domain)
		vfb_registered_forget(&spapr->registered);
}

static int spapr_create(const struct vfb_sys *sys, const struct vfb_iommu_source *source,
			struct vfb_iommu **out)
{
	struct spapr *spapr = calloc(1, sizeof(*spapr));
	int error;

	if (!spapr)
		return vfb_fail_memory();
	error = vfb_legacy_open(&spapr->legacy, &vfb_iommu_spapr, sys, source);
	if (error) {
		free(spapr);
		return error;
	}
	error = spapr_check(spapr);
	if (error) {
		vfb_legacy_close(&spapr->legacy);
		free(spapr);
		return error;
	}
	spapr->page_bytes = source->page_bytes > 4096 ? source->page_bytes : sys->base_page(sys);
	spapr->window_bytes = source->window_bytes;
	vfb_registered_init(&spapr->registered, sys, spapr->legacy.fd, spapr->legacy.iommu.adopted);
	if (spapr->legacy.iommu.adopted)
		spapr_look_for_domain(&spapr->legacy.iommu);
	*out = &spapr->legacy.iommu;
	return 0;
}

static void spapr_destroy(struct vfb_iommu *iommu)
{
	struct spapr *spapr = spapr_of(iommu);

	vfb_legacy_close(&spapr->legacy);
	vfb_registered_destroy(&spapr->registered);
	free(spapr);
}

/* tce_iommu_attach_group() */
static int attach_group_failed(const struct spapr *spapr, int error, const char *call,
			       const struct vfb_iommu_device *device)
{
	if (error == -EPERM && vfb_legacy_has_iommu(&spapr->legacy))
		return vfb_fail(-EPERM,
				"device %s cannot share a space with the devices that are open in "
				"it: its group %d has tables of its own, which the kernel does "
				"not let others use (as in all guests of pSeries): open it in "
				"another space",
				device->address, device->group);
	if (error == -EINVAL && !strcmp(call, "VFIO_SET_IOMMU"))
		return vfb_fail(-ENOTSUP,
				"device %s cannot be opened: its platform has no dynamic DMA "
				"windows (ibm,ddw-applicable), without which VFIO has only "
				"version 1 of its interface; in QEMU set ddw=on of its "
				"spapr-pci-host-bridge",
				device->address);
	return vfb_attach_failed(spapr->legacy.iommu.sys, error, device,
				 &(struct vfb_attempt){.call = call,
						       .module = MODULE,
						       .is_open = true});
}

/* Attaches an open group. The first one brings the windows, unless they are the caller's. */
static int spapr_attach_group(struct vfb_iommu *iommu, int fd,
			      const struct vfb_iommu_device *device)
{
	struct spapr *spapr = spapr_of(iommu);
	bool first = !vfb_legacy_has_iommu(&spapr->legacy);
	const char *call;
	int error = vfb_group_check_viable(iommu->sys, fd, device);

	if (error)
		return error;
	error = vfb_legacy_add_group(&spapr->legacy, fd, VFIO_SPAPR_TCE_v2_IOMMU, &call);
	if (error)
		return attach_group_failed(spapr, error, call, device);
	return first ? create_windows(spapr, device) : 0;
}

static int spapr_attach(struct vfb_iommu *iommu, const struct vfb_iommu_device *device)
{
	return vfb_groups_hold(&spapr_of(iommu)->legacy.groups, iommu, device, spapr_attach_group);
}

/*
 * Detaching one of several groups clears the tables of all (tce_iommu_release_ownership()), so that
 * groups stay until the last device leaves. Removing the windows then unmaps what is mapped, which
 * can be unregistered; closing the groups would do the same, but warns of what is left.
 */
static void spapr_detach(struct vfb_iommu *iommu, const struct vfb_iommu_device *device)
{
	struct spapr *spapr = spapr_of(iommu);

	if (!vfb_groups_leave(&spapr->legacy.groups, device->group))
		return;
	if (!iommu->has_domain) {
		remove_window(spapr, &spapr->high);
		remove_window(spapr, &spapr->low);
		vfb_registered_remove_all(&spapr->registered);
	}
	vfb_groups_close(&spapr->legacy.groups, iommu->sys);
}

/* ---- Mapping ---- */

static void append_window(struct vfb_iova_range *ranges, size_t *count, const struct window *window)
{
	if (window->bytes)
		ranges[(*count)++] = (struct vfb_iova_range){window->first,
							     window->first + (window->bytes - 1)};
}

/* An adopted container may have windows of which the kernel does not report: all IOVAs. */
static int spapr_describe(struct vfb_iommu *iommu, struct vfb_iova_range **ranges, size_t *count,
			  uint64_t *alignment, uint64_t *entries_left)
{
	const struct spapr *spapr = spapr_of(iommu);

	*count = 0;
	*alignment = 4096;
	*entries_left = UINT64_MAX;
	*ranges = calloc(2, sizeof(**ranges));
	if (!*ranges)
		return vfb_fail_memory();
	append_window(*ranges, count, &spapr->low);
	append_window(*ranges, count, &spapr->high);
	if (!*count)
		(*ranges)[(*count)++].last = UINT64_MAX;
	return 0;
}

static const struct window *window_at(const struct spapr *spapr, uint64_t iova)
{
	const struct window *windows[] = {&spapr->low, &spapr->high};

	for (size_t i = 0; i < 2; i++)
		if (iova >= windows[i]->first && iova - windows[i]->first < windows[i]->bytes)
			return windows[i];
	return NULL;
}

static int spapr_register(struct vfb_iommu *iommu, const struct vfb_iommu_map *map)
{
	struct spapr *spapr = spapr_of(iommu);
	int error;

	if (map->region)
		return vfb_fail(-ENOTSUP,
				"a BAR of device %s cannot be mapped for other devices: sPAPR "
				"registers memory only",
				map->region->device);
	error = vfb_registered_add(&spapr->registered, map->iova, map->bytes,
				   (uintptr_t)map->address);
	/* mm_iommu_do_alloc() */
	if (error == -EINVAL)
		return vfb_fail(error,
				"cannot register %s at address %p (VFIO_IOMMU_SPAPR_REGISTER_"
				"MEMORY): it overlaps memory that this process has registered "
				"with another container, and whose boundaries differ: map the "
				"same ranges in each space",
				vfb_size_text(map->bytes).text, map->address);
	/* tce_iommu_mm_set() */
	if (error == -EPERM)
		return vfb_fail(error,
				"cannot register %s: the container belongs to the process that has "
				"first registered memory with it",
				vfb_size_text(map->bytes).text);
	return error ? vfb_iommu_map_failed(iommu, error, map) : 0;
}

/* Why a window does not take a mapping: tce_iommu_prereg_ua_to_hpa(), tce_page_is_contained(). */
static int spapr_map_failed(struct spapr *spapr, int error, const struct vfb_iommu_map *map)
{
	const struct window *window = window_at(spapr, map->iova);
	const struct vfb_size_text size = vfb_size_text(map->bytes);

	if (error == -ENXIO)
		return vfb_fail(error,
				"cannot map %s at IOVA 0x%" PRIx64 ": no DMA window is there: map "
				"it within vfb_space_iova_ranges()",
				size.text, map->iova);
	if (window && (map->bytes | (uintptr_t)map->address | map->iova) & (window->page_bytes - 1))
		return vfb_fail(error,
				"cannot map %s at IOVA 0x%" PRIx64 ": it is not aligned to the "
				"pages of its DMA window",
				size.text, map->iova);
	if (window && window->page_bytes > 4096 && (error == -EINVAL || error == -EPERM))
		return vfb_fail(error,
				"cannot map %s at IOVA 0x%" PRIx64 ": the pages of the memory are "
				"smaller than the %s of its DMA window (vfb_space_opts.page_size), "
				"or it is not registered",
				size.text, map->iova, vfb_size_text(window->page_bytes).text);
	if (error == -EPERM)
		return vfb_fail(error,
				"cannot map %s at IOVA 0x%" PRIx64 ": no memory is registered with "
				"the container, or another process has registered it",
				size.text, map->iova);
	return vfb_iommu_map_failed(&spapr->legacy.iommu, error, map);
}

/* Its memory is registered; if this fails, no longer. */
static int spapr_map(struct vfb_iommu *iommu, struct vfb_iommu_map *map)
{
	struct spapr *spapr = spapr_of(iommu);
	struct vfio_iommu_type1_dma_map dma_map = {
		.argsz = sizeof(dma_map),
		.flags = (map->flags & VFB_RANGE_READ ? VFIO_DMA_MAP_FLAG_READ : 0) |
			 (map->flags & VFB_RANGE_WRITE ? VFIO_DMA_MAP_FLAG_WRITE : 0),
		.vaddr = (uintptr_t)map->address,
		.iova = map->iova,
		.size = map->bytes,
	};
	int error = spapr_ioctl(spapr, VFIO_IOMMU_MAP_DMA, &dma_map);

	if (!error)
		return 0;
	spapr_map_failed(spapr, error, map);
	vfb_registered_remove(&spapr->registered, map->iova, map->bytes);
	return error;
}

static int spapr_unmap(struct vfb_iommu *iommu, uint64_t iova, uint64_t bytes)
{
	struct spapr *spapr = spapr_of(iommu);
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.iova = iova,
		.size = bytes,
	};
	int error = spapr_ioctl(spapr, VFIO_IOMMU_UNMAP_DMA, &unmap);

	if (error && iommu->adopted)
		spapr_look_for_domain(iommu);
	/* The last group has left the caller's container, and took everything along. */
	if (error && iommu->adopted && !spapr->legacy.groups.first && !iommu->has_domain)
		return 0;
	if (error)
		return vfb_fail_errno(error, "cannot unmap %s at IOVA 0x%" PRIx64,
				      vfb_size_text(bytes).text, iova);
	vfb_registered_remove(&spapr->registered, iova, bytes);
	return 0;
}

const struct vfb_iommu_ops vfb_iommu_spapr = {
	.name = "spapr",
	.attach_call = "VFIO_GROUP_SET_CONTAINER",
	.detach_call = "VFIO_GROUP_UNSET_CONTAINER",
	.open_call = "VFIO_GROUP_GET_DEVICE_FD",
	.register_call = "VFIO_IOMMU_SPAPR_REGISTER_MEMORY",
	.map_call = "VFIO_IOMMU_MAP_DMA",
	.unmap_call = "VFIO_IOMMU_UNMAP_DMA",
	.backend = VFB_BACKEND_SPAPR,
	/* Where platforms place the window that the library creates. */
	.usual = {UINT64_C(1) << 59, (UINT64_C(1) << 60) - 1},
	.parallel = true,
	.attach_makes_domain = true,
	.mappings_need_domain = true,
	/* mm->locked_vm: account_locked_vm(). */
	.locked_key = "VmLck",
	.create = spapr_create,
	.destroy = spapr_destroy,
	.look_for_domain = spapr_look_for_domain,
	.attach = spapr_attach,
	.detach = spapr_detach,
	.open_device = vfb_legacy_open_device,
	.group_fd = vfb_legacy_group_fd,
	.describe = spapr_describe,
	.register_memory = spapr_register,
	.map = spapr_map,
	.file = vfb_legacy_file,
	.unmap = spapr_unmap,
};
