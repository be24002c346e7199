/* SPDX-License-Identifier: MIT */
/* Answers in the name of iommufd, and of devices that are bound to it. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

#include "next.h"
#include "sys/uapi.h"
#include "takeover.h"

#define RIGHTS \
	(VFB_IOMMU_IOAS_MAP_FIXED_IOVA | VFB_IOMMU_IOAS_MAP_WRITEABLE | VFB_IOMMU_IOAS_MAP_READABLE)

static int iommufd_call(unsigned long request, void *arg)
{
	return NEXT(ioctl)(takeover.iommu, request, arg) ? -errno : 0;
}

/* ---- Mappings ---- */

/*
 * Requests to map differ only in where the memory is: an address or, in a file, an offset. So both
 * are read as one by file.
 */
_Static_assert(offsetof(struct vfb_iommu_ioas_map, user_va) ==
			       offsetof(struct vfb_iommu_ioas_map_file, start) &&
		       offsetof(struct vfb_iommu_ioas_map, iova) ==
			       offsetof(struct vfb_iommu_ioas_map_file, iova) &&
		       sizeof(struct vfb_iommu_ioas_map) == sizeof(struct vfb_iommu_ioas_map_file),
	       "requests to map differ");

/* The program's own request. */
struct iommufd_request {
	unsigned long request;
	struct vfb_iommu_ioas_map_file map;
};

static int iommufd_map_part(void *arg, uint64_t iova, uint64_t end)
{
	const struct iommufd_request *request = arg;
	struct vfb_iommu_ioas_map_file map = request->map;

	takeover_say("the kernel maps %#lx-%#lx", iova, end);
	map.start += iova - map.iova;
	map.iova = iova;
	map.length = end - iova;
	map.size = sizeof(map);
	return iommufd_call(request->request, &map);
}

static int iommufd_unmap_part(uint64_t iova, uint64_t end, uint64_t *bytes)
{
	struct vfb_iommu_ioas_unmap unmap = {
		.size = sizeof(unmap),
		.ioas_id = takeover.settings.grant.ioas,
		.iova = iova,
		.length = end - iova,
	};
	int error = iommufd_call(VFB_IOMMU_IOAS_UNMAP, &unmap);

	/* There is nothing. */
	if (error == -ENOENT)
		return 0;
	takeover_say("the kernel unmaps %#lx-%#lx", iova, end);
	if (!error)
		*bytes += unmap.length;
	return error;
}

static int iommufd_map_piece(const struct ledger_piece *piece)
{
	struct vfb_iommu_ioas_map_file map = {
		.size = sizeof(map),
		.flags = RIGHTS,
		.ioas_id = takeover.settings.grant.ioas,
		.fd = takeover.memory,
		.start = piece->offset,
		.length = piece->end - piece->iova,
		.iova = piece->iova,
	};

	takeover_say("the kernel maps %#lx-%#lx of the slot", piece->iova, piece->end);
	return iommufd_call(VFB_IOMMU_IOAS_MAP_FILE, &map);
}

const struct ledger_ops iommufd_ledger_ops = {
	.map = iommufd_map_part,
	.unmap = iommufd_unmap_part,
	.map_piece = iommufd_map_piece,
};

static bool iommufd_is_memory(int fd)
{
	struct stat file;

	return !fstat(fd, &file) && file.st_ino == takeover.memory_inode &&
	       file.st_dev == takeover.memory_device;
}

/* What the kernel refuses, it is asked for. */
static bool iommufd_map(unsigned long what, const void *arg, int *result)
{
	struct iommufd_request own = {.request = what};
	const struct vfb_iommu_ioas_map_file *map = &own.map;
	struct ledger_request request;

	memcpy(&own.map, arg, sizeof(own.map));
	request = (struct ledger_request){
		.iova = map->iova,
		.end = map->iova + map->length,
		.offset = map->start,
	};
	if (map->ioas_id != takeover.settings.grant.ioas || request.end <= request.iova ||
	    !(map->flags & VFB_IOMMU_IOAS_MAP_FIXED_IOVA))
		return false;
	request.is_slot = map->flags == RIGHTS &&
			  (what == VFB_IOMMU_IOAS_MAP_FILE ?
				   iommufd_is_memory(map->fd) :
				   where_is(map->start, map->length, &request.offset));
	*result = takeover_map_locked(&request, &own);
	return true;
}

static bool iommufd_unmap(struct vfb_iommu_ioas_unmap *unmap, int *result)
{
	uint64_t end = unmap->iova + unmap->length, bytes = 0;

	if (unmap->ioas_id != takeover.settings.grant.ioas || !unmap->length ||
	    (end && end < unmap->iova))
		return false;
	/* Up to the last address. */
	if (!end)
		end = UINT64_MAX;
	*result = takeover_unmap_locked(unmap->iova, end, &bytes);
	unmap->length = bytes;
	if (!*result && !bytes && end != UINT64_MAX) {
		errno = ENOENT;
		*result = -1;
	}
	return true;
}

/* ---- Objects ---- */

static bool iommufd_alloc_ioas(struct vfb_iommu_ioas_alloc *alloc)
{
	if (takeover.is_given || alloc->flags)
		return false;
	alloc->out_ioas_id = takeover.settings.grant.ioas;
	takeover.is_given = true;
	takeover_say("the IOAS is that of the slot");
	return true;
}

/* Domains with other properties than the kernel's default are the program's own. */
static bool iommufd_alloc_domain(struct vfb_iommu_hwpt_alloc *alloc)
{
	const struct vfb_wire_grant *grant = &takeover.settings.grant;
	bool is_slot = !grant->device_count;

	for (size_t i = 0; i < grant->device_count; i++)
		is_slot |= alloc->dev_id == grant->device_ids[i] && takeover.devices[i].is_attached;
	if (!is_slot || alloc->pt_id != grant->ioas || alloc->flags || !grant->domain)
		return false;
	alloc->out_hwpt_id = grant->domain;
	takeover_say("the domain is that of the slot");
	return true;
}

/* The slot's own are not destroyed, but nothing stays mapped in its IOAS. */
static bool iommufd_destroy(const struct vfb_iommu_destroy *destroy)
{
	const struct vfb_wire_grant *grant = &takeover.settings.grant;
	uint64_t bytes = 0;

	if (destroy->id == grant->ioas && takeover.is_given) {
		iommufd_unmap_part(0, UINT64_MAX, &bytes);
		ledger_forget(&takeover.ledger, 0, UINT64_MAX);
		takeover.is_given = false;
		return true;
	}
	return grant->domain && destroy->id == grant->domain;
}

bool iommufd_answer_locked(unsigned long request, void *arg, int *result)
{
	*result = 0;
	switch (request) {
	case VFB_IOMMU_IOAS_ALLOC:
		return iommufd_alloc_ioas(arg);
	case VFB_IOMMU_HWPT_ALLOC:
		return iommufd_alloc_domain(arg);
	case VFB_IOMMU_IOAS_MAP_FILE:
	case VFB_IOMMU_IOAS_MAP:
		return iommufd_map(request, arg, result);
	case VFB_IOMMU_IOAS_UNMAP:
		return iommufd_unmap(arg, result);
	case VFB_IOMMU_DESTROY:
		return iommufd_destroy(arg);
	default:
		return false;
	}
}

/* ---- Devices ---- */

static bool iommufd_bind(int fd, unsigned int index, struct vfb_vfio_device_bind_iommufd *bind)
{
	struct takeover_device *device = &takeover.devices[index];

	if (bind->flags || takeover_file_of(bind->iommufd).kind != TAKEOVER_IOMMU)
		return false;
	bind->out_devid = takeover.settings.grant.device_ids[index];
	takeover_activate_locked();
	/* Others were counted when they were opened. */
	if (fd == device->started) {
		device->started = -1;
		device->opens++;
	}
	device->is_used = true;
	defer_fresh();
	takeover_say("%s is bound already", takeover.settings.grant.devices[index]);
	return true;
}

/* The kernel chose the slot's domain for the IOAS: it is gone when the last device was detached. */
static bool iommufd_attach(int fd, unsigned int index,
			   struct vfb_vfio_device_attach_iommufd_pt *attach, int *result)
{
	const struct vfb_wire_grant *grant = &takeover.settings.grant;
	struct takeover_device *device = &takeover.devices[index];
	bool is_slot = attach->pt_id == grant->ioas ||
		       (grant->domain && attach->pt_id == grant->domain);

	if (is_slot && !attach->flags && device->is_attached) {
		attach->pt_id = grant->domain;
		takeover.ledger.dirty = true;
		defer_until_unlock();
		takeover_say("%s is attached already", grant->devices[index]);
		return true;
	}
	*result = NEXT(ioctl)(fd, VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT, attach);
	if (*result && errno == ENOENT && is_slot) {
		attach->pt_id = grant->ioas;
		*result = NEXT(ioctl)(fd, VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT, attach);
	}
	if (!*result)
		device->is_attached = false;
	return true;
}

int iommufd_call_other(int fd, unsigned long request, void *arg)
{
	struct vfb_vfio_device_attach_iommufd_pt *attach = arg;
	const struct vfb_vfio_device_bind_iommufd *bind = arg;
	const struct vfb_wire_grant *grant = &takeover.settings.grant;
	int result;

	if (request == VFB_VFIO_DEVICE_BIND_IOMMUFD &&
	    takeover_file_of(bind->iommufd).kind == TAKEOVER_IOMMU) {
		takeover_lock();
		takeover_activate_locked();
		takeover.ledger.dirty = true;
		defer_until_unlock();
		takeover_unlock();
	}
	result = NEXT(ioctl)(fd, request, arg);
	/* It is behind another IOMMU than that for which the slot's domain was made. */
	if (request == VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT && result && errno == EINVAL &&
	    atomic_load(&takeover_is_active) && grant->domain && attach->pt_id == grant->domain) {
		attach->pt_id = grant->ioas;
		result = NEXT(ioctl)(fd, request, arg);
	}
	return result;
}

bool iommufd_answer_device_locked(int fd, unsigned int index, unsigned long request, void *arg,
				  int *result)
{
	*result = 0;
	switch (request) {
	case VFB_VFIO_DEVICE_BIND_IOMMUFD:
		return iommufd_bind(fd, index, arg);
	case VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT:
		return iommufd_attach(fd, index, arg, result);
	case VFB_VFIO_DEVICE_DETACH_IOMMUFD_PT:
		takeover.devices[index].is_attached = false;
		return false;
	case VFIO_DEVICE_RESET:
		return device_answer_reset_locked(index, result);
	default:
		return false;
	}
}
