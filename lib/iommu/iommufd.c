/* SPDX-License-Identifier: MIT */
/* iommufd: address spaces and mappings. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "container_of.h"
#include "iommu/container.h"
#include "iommu/iommufd.h"
#include "observe/error.h"
#include "sys/uapi.h"

/* Each device adds two or three to those between them. */
#define MAX_RANGES 65536

static int make_ioas(struct iommufd *iommufd)
{
	struct vfb_iommu_ioas_alloc alloc = {.size = sizeof(alloc)};
	const struct vfb_sys *sys = iommufd->iommu.sys;
	int error;

	iommufd->fd = vfb_iommu_open_node(sys, "/dev/iommu");
	if (iommufd->fd == -ENOTSUP)
		return vfb_fail(-ENOTSUP,
				"there is no /dev/iommu: load the module iommufd, or use Linux 6.2 "
				"or later with CONFIG_IOMMUFD, or type1");
	if (iommufd->fd < 0)
		return iommufd->fd;
	error = sys->ioctl(sys, iommufd->fd, VFB_IOMMU_IOAS_ALLOC, &alloc);
	if (error) {
		sys->close(sys, iommufd->fd);
		return vfb_fail_errno(error,
				      "cannot create an I/O address space (IOMMU_IOAS_ALLOC)");
	}
	iommufd->ioas = alloc.out_ioas_id;
	return 0;
}

/* The alignment is 1 without a domain, a page with one (iopt_calculate_iova_alignment()). */
static int read_alignment(struct iommufd *iommufd, uint64_t *alignment)
{
	struct vfb_iommu_ioas_iova_ranges query = {.size = sizeof(query), .ioas_id = iommufd->ioas};
	const struct vfb_sys *sys = iommufd->iommu.sys;
	int error = sys->ioctl(sys, iommufd->fd, VFB_IOMMU_IOAS_IOVA_RANGES, &query);

	*alignment = query.out_iova_alignment;
	/* No room was provided for the ranges themselves. */
	return error == -EMSGSIZE ? 0 : error;
}

static void iommufd_look_for_domain(struct vfb_iommu *iommu)
{
	struct iommufd *iommufd = container_of(iommu, struct iommufd, iommu);
	uint64_t alignment;

	iommu->has_domain = !read_alignment(iommufd, &alignment) && alignment > 1;
}

static int adopt_ioas(struct iommufd *iommufd, const struct vfb_iommu_source *source)
{
	uint64_t alignment;
	int error;

	iommufd->iommu.adopted = true;
	iommufd->fd = source->fd;
	iommufd->ioas = source->ioas;
	if (!iommufd->ioas) {
		error = vfb_container_ioas(iommufd->iommu.sys, source->fd, &iommufd->ioas);
		if (error)
			return error;
	}
	error = read_alignment(iommufd, &alignment);
	if (error)
		return vfb_fail_errno(error,
				      "file descriptor %d, which is %s, cannot be adopted with I/O "
				      "address space %" PRIu32 "%s",
				      source->fd,
				      vfb_iommu_fd_name(iommufd->iommu.sys, source->fd).text,
				      source->ioas,
				      error == -ENOENT ? ": it has no such IOAS" : "");
	iommufd->iommu.has_domain = alignment > 1;
	return 0;
}

static int iommufd_create(const struct vfb_sys *sys, const struct vfb_iommu_source *source,
			  struct vfb_iommu **out)
{
	struct iommufd *iommufd;
	int error;

	iommufd = calloc(1, sizeof(*iommufd));
	if (!iommufd)
		return vfb_fail_memory();
	iommufd->iommu.ops = &vfb_iommu_iommufd;
	iommufd->iommu.sys = sys;
	iommufd->iommu.maps_files = source->map_by != VFB_MAP_BY_ADDRESS;
	iommufd->map_by = source->map_by;
	iommufd->iommu.fault_fd = -1;
	iommufd->keep_domain = source->keep_domain || source->dirty || source->faults;
	iommufd->dirty = source->dirty;
	iommufd->dirty_domain = source->dirty_domain;
	error = source->fd >= 0 ? adopt_ioas(iommufd, source) : make_ioas(iommufd);
	if (!error && source->faults) {
		error = vfb_iommufd_make_faults(iommufd, source->fault_fd);
		if (error && !iommufd->iommu.adopted)
			sys->close(sys, iommufd->fd);
	}
	if (error) {
		free(iommufd);
		return error;
	}
	vfb_sleep_lock_init(&iommufd->domains_lock, iommufd->iommu.sys);
	vfb_groups_init(&iommufd->groups);
	*out = &iommufd->iommu;
	return 0;
}

void vfb_iommufd_destroy_object(struct iommufd *iommufd, uint32_t id)
{
	struct vfb_iommu_destroy destroy = {.size = sizeof(destroy), .id = id};
	const struct vfb_sys *sys = iommufd->iommu.sys;

	sys->ioctl(sys, iommufd->fd, VFB_IOMMU_DESTROY, &destroy);
}

/* The caller's file outlives the domains that were created in it. */
static void destroy_domains(struct iommufd *iommufd)
{
	for (size_t i = 0; i < iommufd->domain_count; i++)
		vfb_iommufd_destroy_object(iommufd, iommufd->domains[i]);
}

static void iommufd_destroy(struct vfb_iommu *iommu)
{
	struct iommufd *iommufd = container_of(iommu, struct iommufd, iommu);

	/* Closing the file destroys the IOAS. */
	if (iommu->adopted)
		destroy_domains(iommufd);
	vfb_iommufd_destroy_faults(iommufd);
	if (!iommu->adopted)
		iommu->sys->close(iommu->sys, iommufd->fd);
	vfb_groups_destroy(&iommufd->groups);
	vfb_sleep_lock_destroy(&iommufd->domains_lock);
	free(iommufd);
}

static int iommufd_describe(struct vfb_iommu *iommu, struct vfb_iova_range **ranges, size_t *count,
			    uint64_t *alignment, uint64_t *entries_left)
{
	struct iommufd *iommufd = container_of(iommu, struct iommufd, iommu);
	struct vfb_iommu_ioas_iova_ranges query = {0};
	struct vfb_iommu_iova_range *found = NULL;
	uint32_t room = 0;
	int error;

	/* First with room for none, then for all; by then there may be more. */
	do {
		free(found);
		room = query.num_iovas;
		found = room <= MAX_RANGES ? calloc(room + 1, sizeof(*found)) : NULL;
		if (!found)
			return vfb_fail(-ENOMEM, "no memory for %" PRIu32 " valid IOVA ranges",
					room);
		query = (struct vfb_iommu_ioas_iova_ranges){
			.size = sizeof(query),
			.ioas_id = iommufd->ioas,
			.num_iovas = room,
			.allowed_iovas = (uintptr_t)found,
		};
		error = iommu->sys->ioctl(iommu->sys, iommufd->fd, VFB_IOMMU_IOAS_IOVA_RANGES,
					  &query);
	} while (error == -EMSGSIZE && query.num_iovas > room);
	if (!error && query.num_iovas > room)
		error = -EPROTO;
	if (error) {
		free(found);
		return vfb_fail_errno(error, "cannot read the valid IOVA ranges "
					     "(IOMMU_IOAS_IOVA_RANGES)");
	}
	_Static_assert(sizeof(**ranges) == sizeof(*found), "the same two numbers");
	*ranges = (struct vfb_iova_range *)found;
	*count = query.num_iovas;
	*alignment = query.out_iova_alignment;
	*entries_left = UINT64_MAX;
	return 0;
}

static uint32_t map_flags(const struct vfb_iommu_map *map)
{
	return VFB_IOMMU_IOAS_MAP_FIXED_IOVA |
	       (map->flags & VFB_RANGE_READ ? VFB_IOMMU_IOAS_MAP_READABLE : 0) |
	       (map->flags & VFB_RANGE_WRITE ? VFB_IOMMU_IOAS_MAP_WRITEABLE : 0);
}

/* Pins the file's pages by folio, wherever the process has them mapped. */
static int map_file(struct iommufd *iommufd, struct vfb_iommu_map *map)
{
	struct vfb_iommu_ioas_map_file request = {
		.size = sizeof(request),
		.flags = map_flags(map),
		.ioas_id = iommufd->ioas,
		.fd = map->fd,
		.start = map->file_offset,
		.length = map->bytes,
		.iova = map->iova,
	};
	const struct vfb_sys *sys = iommufd->iommu.sys;

	map->call = "IOMMU_IOAS_MAP_FILE";
	return sys->ioctl(sys, iommufd->fd, VFB_IOMMU_IOAS_MAP_FILE, &request);
}

static int map_address(struct iommufd *iommufd, struct vfb_iommu_map *map)
{
	struct vfb_iommu_ioas_map request = {
		.size = sizeof(request),
		.flags = map_flags(map),
		.ioas_id = iommufd->ioas,
		.user_va = (uintptr_t)map->address,
		.length = map->bytes,
		.iova = map->iova,
	};
	const struct vfb_sys *sys = iommufd->iommu.sys;

	map->call = "IOMMU_IOAS_MAP";
	return sys->ioctl(sys, iommufd->fd, VFB_IOMMU_IOAS_MAP, &request);
}

/* By address it would be EFAULT. The mapping keeps the dma-buf, so its file can be closed. */
static int iommufd_map_region(struct iommufd *iommufd, struct vfb_iommu_map *map)
{
	const struct vfb_sys *sys = iommufd->iommu.sys;
	int error;

	map->call = "VFIO_DEVICE_FEATURE";
	map->fd = vfb_dma_buf_export(sys, map);
	if (map->fd < 0)
		return map->fd;
	/* The dma-buf begins where the mapping does. */
	map->file_offset = 0;
	error = map_file(iommufd, map);
	sys->close(sys, map->fd);
	return error ? vfb_iommu_map_failed(&iommufd->iommu, error, map) : 0;
}

/* Reports why VFB_MAP_BY_FILE is not possible. */
static int by_file_impossible(const struct vfb_iommu_map *map)
{
	if (map->fd >= 0)
		return vfb_fail(-ENOTSUP,
				"this kernel cannot map by file: use Linux 6.13 or later, "
				"or map by address");
	if (map->no_file)
		return vfb_fail(-ENOTSUP, "VFB_MAP_BY_FILE is set, but the memory is %s",
				map->no_file);
	return vfb_fail(-ENOTSUP, "memory without a memfd cannot be mapped by file: map it by "
				  "address");
}

static int iommufd_map(struct vfb_iommu *iommu, struct vfb_iommu_map *map)
{
	struct iommufd *iommufd = container_of(iommu, struct iommufd, iommu);
	bool by_file = map->fd >= 0 && iommufd->map_by != VFB_MAP_BY_ADDRESS;
	int error = -ENOTTY;

	if (map->region)
		return iommufd_map_region(iommufd, map);
	if (by_file && iommu->maps_files) {
		error = map_file(iommufd, map);
		/* The kernel turned out to lack IOMMU_IOAS_MAP_FILE. */
		if (error == -ENOTTY)
			iommu->maps_files = false;
	}
	if (iommufd->map_by == VFB_MAP_BY_FILE && error == -ENOTTY)
		return by_file_impossible(map);
	/* EINVAL: the file of adopted memory is of a kind whose pages cannot be pinned by file. */
	if (error == -ENOTTY || (by_file && error == -EINVAL && iommufd->map_by == VFB_MAP_BY_BEST))
		error = map_address(iommufd, map);
	return error ? vfb_iommu_map_failed(iommu, error, map) : 0;
}

static int iommufd_change_process(struct vfb_iommu *iommu)
{
	struct iommufd *iommufd = container_of(iommu, struct iommufd, iommu);
	struct vfb_iommu_ioas_change_process change = {.size = sizeof(change)};
	int error = iommu->sys->ioctl(iommu->sys, iommufd->fd, VFB_IOMMU_IOAS_CHANGE_PROCESS,
				      &change);

	if (error == -EINVAL)
		return vfb_fail(error, "the iommufd has mappings by address: only mappings by file "
				       "can be handed over");
	if (error == -ENOTTY)
		return vfb_fail(-ENOTSUP, "the kernel cannot hand an iommufd over: it lacks "
					  "IOMMU_IOAS_CHANGE_PROCESS (Linux 6.13)");
	if (error)
		return vfb_fail_errno(error,
				      "cannot hand the iommufd over (IOMMU_IOAS_CHANGE_PROCESS)");
	return 0;
}

static int iommufd_file(const struct vfb_iommu *iommu, uint32_t *ioas)
{
	const struct iommufd *iommufd = container_of(iommu, const struct iommufd, iommu);

	*ioas = iommufd->ioas;
	return iommufd->fd;
}

static int iommufd_unmap(struct vfb_iommu *iommu, uint64_t iova, uint64_t bytes)
{
	struct iommufd *iommufd = container_of(iommu, struct iommufd, iommu);
	struct vfb_iommu_ioas_unmap unmap = {
		.size = sizeof(unmap),
		.ioas_id = iommufd->ioas,
		.iova = iova,
		.length = bytes,
	};
	int error;

	error = iommu->sys->ioctl(iommu->sys, iommufd->fd, VFB_IOMMU_IOAS_UNMAP, &unmap);
	if (error)
		return vfb_fail_errno(error, "cannot unmap %s at IOVA 0x%" PRIx64,
				      vfb_size_text(bytes).text, iova);
	return 0;
}

const struct vfb_iommu_ops vfb_iommu_iommufd = {
	.name = "iommufd",
	.attach_call = "iommufd",
	.detach_call = "iommufd",
	.open_call = "VFIO_DEVICE_BIND_IOMMUFD",
	.map_call = "IOMMU_IOAS_MAP",
	.unmap_call = "IOMMU_IOAS_UNMAP",
	.usual = VFB_USUAL_IOVAS,
	.backend = VFB_BACKEND_IOMMUFD,
	.parallel = true,
	/* vfio_pci_dma_buf_move(). The IOAS does not map them again by itself. */
	.reset_revokes = true,
	/* mm->pinned_vm, charged to the user: iopt_pages_update_pinned(). */
	.locked_key = "VmPin",
	.create = iommufd_create,
	.destroy = iommufd_destroy,
	.look_for_domain = iommufd_look_for_domain,
	.attach = vfb_iommufd_attach,
	.detach = vfb_iommufd_detach,
	.open_device = vfb_iommufd_open_device,
	.group_fd = vfb_iommufd_group_fd,
	.describe = iommufd_describe,
	.map = iommufd_map,
	.change_process = iommufd_change_process,
	.file = iommufd_file,
	.unmap = iommufd_unmap,
	.track_dirty = vfb_iommufd_track_dirty,
	.read_dirty = vfb_iommufd_read_dirty,
};
