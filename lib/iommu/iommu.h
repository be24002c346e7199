/* SPDX-License-Identifier: MIT */
#ifndef VFB_IOMMU_H
#define VFB_IOMMU_H

#include <stdatomic.h>
#include <vfioboost/space.h>

#include "sys/sys.h"

/* What a backend must know of a device to open it. */
struct vfb_iommu_device {
	/* As "0000:01:00.0". */
	const char *address;
	int group;
	/* The name of its node below /dev/vfio/devices, "" when it has none. */
	const char *node;
};

/* What a space is made of or from. */
struct vfb_iommu_source {
	/* A file descriptor of the caller's, a container or an iommufd, -1 for none; and the I/O
	 * address space in it, 0: that of its groups. */
	int fd;
	uint32_t ioas;
	enum vfb_map_by map_by;
	/* The domain is to stay when the last device goes. */
	bool keep_domain;
};

/* A region of an open device, which is mapped where others map pages. */
struct vfb_iommu_region {
	/* The device's address. */
	const char *device;
	int device_fd;
	unsigned int index;
};

/* One map call. */
struct vfb_iommu_map {
	uint64_t iova, bytes;
	void *address;
	/* VFB_RANGE_READ, VFB_RANGE_WRITE. */
	uint32_t flags;
	/* The file that the memory is of, and where in it; -1 for none. */
	int fd;
	uint64_t file_offset;
	/* Of memory that has one, why it is not mapped by it; NULL without a reason. */
	const char *no_file;
	/* What the process has mapped at @address is at file_offset of this region, not pages; NULL
	 * for pages. */
	const struct vfb_iommu_region *region;
	/* Out: the call that was made. */
	const char *call;
};

/*
 * One I/O address space of the kernel. The caller sees to it that attach() and detach() never run
 * at the same time.
 */
struct vfb_iommu {
	const struct vfb_iommu_ops *ops;
	const struct vfb_sys *sys;
	/* There is a domain that does not go with the devices that the library has opened. */
	atomic_bool has_domain;
	/* The file is the caller's: it may have devices and mappings of its own in it. */
	bool adopted;
	/* Memory that has a file is mapped by that, as far as is known. */
	atomic_bool maps_files;
};

/* A backend. Failures are told with vfb_fail(). */
struct vfb_iommu_ops {
	const char *name;
	/* What its calls are to the kernel, for the subscribers. */
	const char *attach_call, *detach_call, *open_call, *map_call, *unmap_call;
	enum vfb_backend backend;
	/* Maps and unmaps of disjoint ranges run in parallel in the kernel. */
	bool parallel;
	/* attach() makes the domain; otherwise the first open_device() does. */
	bool attach_makes_domain;
	/* Mappings go with the domain, when its last device goes. */
	bool mappings_need_domain;
	/* A reset of a device takes away what is mapped of its regions. */
	bool reset_revokes;
	/* The line of /proc/PID/status that tells what RLIMIT_MEMLOCK is compared with. */
	const char *locked_key;

	/* Makes an empty address space, or takes the caller's. */
	int (*create)(const struct vfb_sys *sys, const struct vfb_iommu_source *source,
		      struct vfb_iommu **out);
	/* No device is open; what is mapped goes with the file unless it was adopted. */
	void (*destroy)(struct vfb_iommu *iommu);
	/* Of what was adopted: sets has_domain if the caller has brought a domain. */
	void (*look_for_domain)(struct vfb_iommu *iommu);

	/* What must be done once before the device is opened, and after it was closed. */
	int (*attach)(struct vfb_iommu *iommu, const struct vfb_iommu_device *device);
	void (*detach)(struct vfb_iommu *iommu, const struct vfb_iommu_device *device);
	/* Opens the device, which resets it: a file descriptor. -EAGAIN: the kernel could not
	 * take a lock, try again. Several at once are allowed. @call is set to the call that was
	 * made, if it is not open_call. */
	int (*open_device)(struct vfb_iommu *iommu, const struct vfb_iommu_device *device,
			   const char **call);

	/* The file of an attached group, with which a reset of its bus is claimed; -1 where the
	 * devices themselves show whose they are. */
	int (*group_fd)(struct vfb_iommu *iommu, int group);

	/*
	 * With a domain: the valid IOVA ranges, in order, to be freed by the caller; the
	 * alignment of IOVA, address and size in bytes; how many mappings the kernel admits yet,
	 * UINT64_MAX for no limit.
	 */
	int (*describe)(struct vfb_iommu *iommu, struct vfb_iova_range **ranges, size_t *count,
			uint64_t *alignment, uint64_t *entries_left);

	int (*map)(struct vfb_iommu *iommu, struct vfb_iommu_map *map);
	/*
	 * For another process to take a mapping over: forgets its address, and is told another.
	 * Or, where mappings have no address, moves all of them at once. NULL for the other kind.
	 */
	int (*release_address)(struct vfb_iommu *iommu, uint64_t iova, uint64_t bytes);
	int (*take_address)(struct vfb_iommu *iommu, struct vfb_iommu_map *map);
	int (*change_process)(struct vfb_iommu *iommu);
	/* The file, and the I/O address space in it. */
	int (*file)(const struct vfb_iommu *iommu, uint32_t *ioas);
	/* All of one or several mappings. */
	int (*unmap)(struct vfb_iommu *iommu, uint64_t iova, uint64_t bytes);
};

extern const struct vfb_iommu_ops vfb_iommu_none;
extern const struct vfb_iommu_ops vfb_iommu_type1;
extern const struct vfb_iommu_ops vfb_iommu_iommufd;

/* The ops of a backend, which is not VFB_BACKEND_AUTO. */
int vfb_iommu_choose(enum vfb_backend backend, const struct vfb_iommu_ops **out);

/* Whether spaces of iommufd can be made. */
bool vfb_iommu_has_iommufd(const struct vfb_sys *sys);

/* Whether a file of the caller's is an iommufd. */
bool vfb_iommu_is_iommufd(const struct vfb_sys *sys, int fd);

/* Opens a file of /dev/vfio or /dev/iommu; a failure is told with its remedy. */
int vfb_iommu_open_node(const struct vfb_sys *sys, const char *path);

/* Tells why @call has not opened a device. Returns @error. */
int vfb_iommu_open_failed(int error, const struct vfb_iommu_device *device, const char *call);

/*
 * A dma-buf of the region that @map is about (VFIO_DEVICE_FEATURE_DMA_BUF): a file descriptor, to
 * be closed by the caller.
 */
int vfb_dma_buf_export(const struct vfb_sys *sys, const struct vfb_iommu_map *map);

/* The failure of a map call, told with its remedy. */
int vfb_iommu_map_failed(const struct vfb_sys *sys, int error, const struct vfb_iommu_map *map);

#endif
