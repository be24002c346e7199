/* SPDX-License-Identifier: MIT */
/* iommufd: which pages devices have written to, of all domains (Linux 6.7). */
#include <errno.h>
#include <inttypes.h>

#include "iommu/iommufd.h"
#include "observe/error.h"
#include "sys/uapi.h"

int vfb_iommufd_track_domain(struct iommufd *iommufd, uint32_t domain, bool on)
{
	struct vfb_iommu_hwpt_set_dirty_tracking set = {
		.size = sizeof(set),
		.flags = on ? VFB_IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0,
		.hwpt_id = domain,
	};
	const struct vfb_sys *sys = iommufd->iommu.sys;
	int error = sys->ioctl(sys, iommufd->fd, VFB_IOMMU_HWPT_SET_DIRTY_TRACKING, &set);

	return error ? vfb_fail_errno(error,
				      "cannot %s tracking what devices write to in domain %" PRIu32
				      " (IOMMU_HWPT_SET_DIRTY_TRACKING)",
				      on ? "begin" : "end", domain) :
		       0;
}

/* The domains at this moment: they are only added. Devices of the caller's may have another one. */
static int list_domains(struct iommufd *iommufd, uint32_t domains[MAX_DOMAINS + 1], size_t *count)
{
	size_t own = iommufd->domain_count;

	*count = 0;
	if (iommufd->dirty_domain)
		domains[(*count)++] = iommufd->dirty_domain;
	for (size_t i = 0; i < own; i++)
		domains[(*count)++] = iommufd->domains[i];
	if (*count)
		return 0;
	return vfb_fail(-ENXIO, "the devices of the space were attached by the caller, to a domain "
				"that the library does not know: pass it "
				"(vfb_space_opts.dirty_domain)");
}

int vfb_iommufd_track_dirty(struct vfb_iommu *iommu, bool on)
{
	struct iommufd *iommufd = container_of(iommu, struct iommufd, iommu);
	uint32_t domains[MAX_DOMAINS + 1];
	size_t count, done = 0;
	int error;

	vfb_sleep_lock_take(&iommufd->domains_lock);
	error = list_domains(iommufd, domains, &count);
	while (done < count && !error) {
		error = vfb_iommufd_track_domain(iommufd, domains[done], on);
		done += !error;
	}
	/* All or none. Ending it fails for none or all of them. */
	if (error && on) {
		char text[VFB_ERROR_BYTES];

		vfb_error_save(text);
		while (done)
			vfb_iommufd_track_domain(iommufd, domains[--done], false);
		vfb_error_restore(text);
	}
	if (!error)
		iommufd->is_tracking = on;
	vfb_sleep_lock_release(&iommufd->domains_lock);
	return error;
}

int vfb_iommufd_read_dirty(struct vfb_iommu *iommu, uint64_t iova, uint64_t bytes, uint64_t page,
			   uint64_t *bitmap)
{
	struct iommufd *iommufd = container_of(iommu, struct iommufd, iommu);
	struct vfb_iommu_hwpt_get_dirty_bitmap get = {
		.size = sizeof(get),
		.iova = iova,
		.length = bytes,
		.page_size = page,
		.data = (uintptr_t)bitmap,
	};
	const struct vfb_sys *sys = iommu->sys;
	uint32_t domains[MAX_DOMAINS + 1];
	size_t count;
	int error = list_domains(iommufd, domains, &count);

	if (error)
		return error;
	for (size_t i = 0; i < count && !error; i++) {
		get.hwpt_id = domains[i];
		error = sys->ioctl(sys, iommufd->fd, VFB_IOMMU_HWPT_GET_DIRTY_BITMAP, &get);
	}
	return error ? vfb_fail_errno(error,
				      "cannot read what devices have written to of %s at IOVA "
				      "0x%" PRIx64 " (IOMMU_HWPT_GET_DIRTY_BITMAP)%s",
				      vfb_size_text(bytes).text, iova,
				      error == -EINVAL ? ": nothing is tracked "
							 "(vfb_space_track_dirty())" :
							 "") :
		       0;
}
