/* SPDX-License-Identifier: MIT */
#ifndef VFB_IOMMU_H
#define VFB_IOMMU_H

#include <stdatomic.h>
#include <vfioboost/space.h>

#include "sys/sys.h"

/* What a backend needs to open a device. */
struct vfb_iommu_device {
	/* "0000:01:00.0". */
	const char *address;
	int group;
	/* The name of its node in /dev/vfio/devices, "" if it has none. */
	const char *node;
};

/* What opening a device has done. */
struct vfb_iommu_opened {
	/* The call that was made, or that failed. */
	const char *call;
	/* The caller's hook has refused it. */
	bool refused;
	/* iommufd, by its node: the IDs of the device, and of the domain it is attached to. */
	uint32_t device_id, domain;
};

/* Of the caller, see struct vfb_space_opts. */
struct vfb_iommu_hooks {
	int (*add_file)(void *data, const char *device, int fd);
	void (*remove_file)(void *data, const char *device, int fd);
	void *data;
};

/* What a space is created from. */
struct vfb_iommu_source {
	/* The caller's container or iommufd, -1: none; and the ID of the IOAS in it, 0: that of its
	 * groups. */
	int fd;
	uint32_t ioas;
	enum vfb_map_by map_by;
	/* The domain stays when the last device is closed. */
	bool keep_domain;
	/* Domains can track what devices write to; @dirty_domain is one of the caller's. */
	bool dirty;
	uint32_t dirty_domain;
	/* The page of the memory that will be mapped; 0: a base page. */
	uint64_t page_bytes;
	/* Of a DMA window that is created; 0: enough for all memory of the host. */
	uint64_t window_bytes;
	/* Faults of devices are handled; those of the file @fault_fd, unless that is -1. */
	bool faults;
	int fault_fd;
	struct vfb_iommu_hooks hooks;
};

/* A region of an open device, mapped instead of memory. */
struct vfb_iommu_region {
	/* The PCI address of the device. */
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
	/* The file behind the memory, and the offset in it; -1: none. */
	int fd;
	uint64_t file_offset;
	/* Why memory with a file is not mapped by it; NULL: no reason. */
	const char *no_file;
	/* Not NULL: the address maps this region at file_offset, not memory. */
	const struct vfb_iommu_region *region;
	/* Output: the call that was made. */
	const char *call;
};

/*
 * An I/O address space of the kernel. The caller must make sure that attach() and detach() never
 * run in parallel.
 */
struct vfb_iommu {
	const struct vfb_iommu_ops *ops;
	const struct vfb_sys *sys;
	/* There is a domain that does not depend on the library's devices. */
	atomic_bool has_domain;
	/* The file belongs to the caller, who may have devices and mappings of its own in it. */
	bool adopted;
	struct vfb_iommu_hooks hooks;
	/* Memory with a file is mapped by it, as far as is known. */
	atomic_bool maps_files;
	/* The file of faults of devices; -1: none. */
	int fault_fd;
};

/*
 * Usable for most devices: above the interrupt windows of x86 (0xfee00000) and Arm (0x8000000),
 * within the range of the smallest IOMMUs.
 */
#define VFB_USUAL_IOVAS                                    \
	{                                                  \
		UINT64_C(1) << 32, (UINT64_C(1) << 39) - 1 \
	}

/* A backend. Failures are reported by vfb_fail(). */
struct vfb_iommu_ops {
	const char *name;
	/* The names of its calls in events. */
	const char *attach_call, *detach_call, *open_call, *register_call, *map_call, *unmap_call;
	enum vfb_backend backend;
	/* The kernel maps and unmaps disjoint ranges in parallel. */
	bool parallel;
	/* attach() creates the domain; otherwise the first open_device() does. */
	bool attach_makes_domain;
	/* Mappings end with the domain, when the last device leaves. */
	bool mappings_need_domain;
	/* A reset of a device revokes the mappings of its regions. */
	bool reset_revokes;
	/* Where IOVAs are usually valid, for those that are chosen before there is a domain. */
	struct vfb_iova_range usual;
	/* The line of /proc/PID/status with the value that RLIMIT_MEMLOCK limits. */
	const char *locked_key;

	/* Creates an empty address space, or adopts the caller's. */
	int (*create)(const struct vfb_sys *sys, const struct vfb_iommu_source *source,
		      struct vfb_iommu **out);
	/* No device is open. Mappings end with the file, unless it was adopted. */
	void (*destroy)(struct vfb_iommu *iommu);
	/* Adopted spaces: sets has_domain if the caller has created a domain. */
	void (*look_for_domain)(struct vfb_iommu *iommu);

	/* Done once before a device is opened, and after it was closed. */
	int (*attach)(struct vfb_iommu *iommu, const struct vfb_iommu_device *device);
	void (*detach)(struct vfb_iommu *iommu, const struct vfb_iommu_device *device);
	/* Opens a device, which resets it, and returns its file descriptor. -EAGAIN: the kernel did
	 * not get a lock, try again. May run in parallel. @opened->call is open_call beforehand. */
	int (*open_device)(struct vfb_iommu *iommu, const struct vfb_iommu_device *device,
			   struct vfb_iommu_opened *opened);

	/* The file of an attached group, which a bus reset requires as proof of ownership; -1 if
	 * the devices themselves are the proof. */
	int (*group_fd)(struct vfb_iommu *iommu, int group);

	/*
	 * The limits of the domain: the valid IOVA ranges in order, which the caller frees; the
	 * alignment of IOVA, address and size in bytes; the number of mappings that the kernel
	 * still allows, UINT64_MAX: no limit.
	 */
	int (*describe)(struct vfb_iommu *iommu, struct vfb_iova_range **ranges, size_t *count,
			uint64_t *alignment, uint64_t *entries_left);

	/* Called before map(), which undoes it when it fails, as unmap() does. NULL: map() pins. */
	int (*register_memory)(struct vfb_iommu *iommu, const struct vfb_iommu_map *map);
	int (*map)(struct vfb_iommu *iommu, struct vfb_iommu_map *map);
	/*
	 * Handover to another process: forgets the address of a mapping, and sets a new one. Or,
	 * if mappings have no address, moves all of them at once. The other kind is NULL, or both.
	 */
	int (*release_address)(struct vfb_iommu *iommu, uint64_t iova, uint64_t bytes);
	int (*take_address)(struct vfb_iommu *iommu, struct vfb_iommu_map *map);
	int (*change_process)(struct vfb_iommu *iommu);
	/* The file, and the ID of the IOAS in it. */
	int (*file)(const struct vfb_iommu *iommu, uint32_t *ioas);
	/* Unmaps one or several whole mappings. */
	int (*unmap)(struct vfb_iommu *iommu, uint64_t iova, uint64_t bytes);

	/* Begins or ends tracking what devices write to. NULL: it is not possible. */
	int (*track_dirty)(struct vfb_iommu *iommu, bool on);
	/*
	 * Adds the bits of pages that were written to, one for each @page bytes, and clears them in
	 * the kernel. With @parallel nothing is missing within the area, else it consists of whole
	 * mappings.
	 */
	int (*read_dirty)(struct vfb_iommu *iommu, uint64_t iova, uint64_t bytes, uint64_t page,
			  uint64_t *bitmap);
};

extern const struct vfb_iommu_ops vfb_iommu_none;
extern const struct vfb_iommu_ops vfb_iommu_type1;
extern const struct vfb_iommu_ops vfb_iommu_iommufd;
extern const struct vfb_iommu_ops vfb_iommu_spapr;

/* Finds the ops of a backend other than VFB_BACKEND_AUTO. */
int vfb_iommu_choose(enum vfb_backend backend, const struct vfb_iommu_ops **out);

/* Call the caller's hooks for a device, with its node or its group. */
int vfb_iommu_add_file(const struct vfb_iommu *iommu, const char *device, int fd,
		       struct vfb_iommu_opened *opened);
void vfb_iommu_remove_file(const struct vfb_iommu *iommu, const char *device, int fd);

/* Whether iommufd is available. */
bool vfb_iommu_has_iommufd(const struct vfb_sys *sys);

/* Whether a file descriptor of the caller is an iommufd. */
bool vfb_iommu_is_iommufd(const struct vfb_sys *sys, int fd);

/* Opens a file in /dev/vfio, or /dev/iommu. */
int vfb_iommu_open_node(const struct vfb_sys *sys, const char *path);

/* Reports why @call did not open a device. Returns @error. */
int vfb_iommu_open_failed(const struct vfb_sys *sys, int error,
			  const struct vfb_iommu_device *device, const char *call);

/* What a file descriptor of the caller's is, as /proc shows it: "/dev/null". */
struct vfb_fd_name {
	char text[96];
};
struct vfb_fd_name vfb_iommu_fd_name(const struct vfb_sys *sys, int fd);

/*
 * Exports the region of @map as a dma-buf (VFIO_DEVICE_FEATURE_DMA_BUF). Returns a file descriptor,
 * which the caller closes.
 */
int vfb_dma_buf_export(const struct vfb_sys *sys, const struct vfb_iommu_map *map);

/* Reports why a map call failed. Returns @error. */
int vfb_iommu_map_failed(struct vfb_iommu *iommu, int error, const struct vfb_iommu_map *map);

#endif
