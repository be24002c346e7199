/* SPDX-License-Identifier: MIT */
/* VFIO and iommufd: space.c, group.c, type1.c, device.c, region.c, iommufd.c, ioas.c. */
#ifndef FAKE_VFIO_H
#define FAKE_VFIO_H

#include "clock.h"
#include "fake.h"

struct container;
struct file;
struct iommufd;

/* ---- space.c: IOVA tables ---- */

struct dma {
	uint64_t iova, last;
	uint64_t vaddr;
	bool read, write;
	/* VFIO_DMA_UNMAP_FLAG_VADDR. */
	bool vaddr_invalid;
	/* Mapped by IOMMU_IOAS_MAP_FILE: pages of this file, from there on, whatever is at @vaddr;
	 * and a descriptor of it for devices to write to. NULL: mapped by address. */
	struct object *object;
	uint64_t file_offset;
	int file_fd;
	/* Of a BAR, which it keeps; nothing is behind the IOVAs once that was revoked. */
	struct dma_buf *dma_buf;
	bool revoked;
	/* In the middle of being mapped or unmapped. */
	bool busy;
	uint64_t pinned;
	/* One bit per page that was written to while that was tracked; NULL: none. */
	uint64_t *dirty;
};

struct space {
	struct space *next;
	unsigned int number;
	struct dma **dmas;
	size_t count, room;
	uint64_t mapped;
	bool tracks_dirty;
	/* Bytes of a page: what the IOMMU and the bits of dirty pages count in. */
	uint64_t page;
};

void fk_space_init(struct fake *fake, struct space *space);
void fk_space_fini(struct fake *fake, struct space *space);
/* The lowest that touches [first, last]. */
struct dma *fk_space_find(const struct space *space, uint64_t first, uint64_t last);
struct dma *fk_space_insert(struct space *space, uint64_t iova, uint64_t last, uint64_t vaddr);
void fk_space_remove(struct fake *fake, struct space *space, struct dma *dma);
/* ---- dirty.c: what devices have written to ---- */

void fk_dirty_mark(const struct space *space, struct dma *dma, uint64_t offset, uint64_t bytes);
int fk_ioas_set_dirty_tracking(struct fake *fake, struct iommufd *iommufd, void *arg);
int fk_ioas_get_dirty_bitmap(struct fake *fake, struct iommufd *iommufd, void *arg);
int fk_type1_dirty_pages(struct fake *fake, struct container *container, void *arg);

/* A device may be about to reach memory in [start, end). */
/* Whether something is mapped to a part of an object, which is at @address. */
bool fk_space_reaches(struct fake *fake, const struct object *object, uint64_t offset,
		      uint64_t address, uint64_t bytes);
bool fk_space_uses_memory(struct fake *fake, uint64_t start, uint64_t end);

struct range {
	uint64_t first, last;
};

/* The ranges left of [0, @last] without @holes, in order; at most @room. */
size_t fk_ranges_without(uint64_t last, const struct range *holes, size_t count, struct range *out,
			 size_t room);

/* ---- group.c: containers and groups; type1.c ---- */

/* What a process has registered: the same area may be in several containers. */
struct spapr_region {
	struct spapr_region *next;
	uint64_t address, bytes, page;
	unsigned int users;
};

struct spapr_window {
	uint64_t first, bytes, page;
};

struct container {
	unsigned int refs;
	/* Its IOMMU is sPAPR's: something was registered, the default window is still to be made.
	 */
	bool is_spapr, enabled, default_pending;
	struct spapr_window windows[2];
	struct spapr_region **regions;
	size_t region_count;
	struct group *groups;
	bool has_iommu;
	struct vlock iommu_lock;
	struct space space;
	uint32_t dma_avail;
};

struct group {
	struct group *next;
	unsigned int number;
	char name[24];
	struct vlock lock;
	/* The file it is open by. */
	struct file *opened;
	struct container *container;
	struct group *container_next;
	unsigned int container_users;
	/* An iommufd as its container. */
	struct file *iommufd_file;
	unsigned int cdev_opens;
	/* Bound to iommufd: the owner and how often. */
	struct iommufd *owner;
	unsigned int owner_count;
	/* The IOAS that all of the group's devices are attached to. */
	struct ioas *ioas;
	unsigned int attached;
};

struct group *fk_group_find(struct fake *fake, unsigned int number);
bool fk_group_has_vfio(struct fake *fake, const struct group *group);
bool fk_group_claimed(struct fake *fake, const struct group *group);
/* The firmware needs a mapping for one of its devices. */
bool fk_group_needs_direct(struct fake *fake, const struct group *group);
bool fk_group_opened_elsewhere(struct fake *fake, const struct group *group);
int fk_group_open(struct fake *fake, struct group *group, int *fd);
void fk_group_release(struct fake *fake, struct group *group);
int fk_group_ioctl(struct fake *fake, struct file *file, unsigned long request, void *arg);
int fk_container_ioctl(struct fake *fake, struct container *container, unsigned long request,
		       void *arg);
int fk_type1_ioctl(struct fake *fake, struct container *container, unsigned long request,
		   void *arg);
/* Attaching and detaching a group, under iommu->lock; may block. */
int fk_type1_attach(struct fake *fake, struct container *container, struct group *group);
void fk_type1_unmap_all(struct fake *fake, struct container *container);
/* ---- spapr.c ---- */

/* -EPERM: another group's tables cannot be shared. */
int fk_spapr_attach(struct fake *fake, struct container *container);
/* A group leaves, the last one or not. */
void fk_spapr_detach(struct fake *fake, struct container *container, bool last);
int fk_spapr_ioctl(struct fake *fake, struct container *container, unsigned long request,
		   void *arg);
void fk_container_put(struct container *container);

/* ---- device.c, region.c ---- */

struct shared_lock {
	struct shared_lock *next;
	char key[64];
	struct vlock lock;
};

#define FAKE_VECTORS 128

struct irqs {
	/* Vectors, up to the last that was enabled. */
	unsigned int enabled[5];
	int fds[5][FAKE_VECTORS];
	bool pending[5][FAKE_VECTORS];
	/* INTx. */
	bool masked;
};

struct device {
	struct device *next;
	char address[16], driver[32], bridge[16], physfn[16], reset_method[128];
	/* What driver_override says, and the driver that takes it otherwise. */
	char override[32], native[32];
	struct fake_device config;
	/* Of its device node. */
	bool has_index;
	unsigned int index;
	struct group *group;
	struct shared_lock *dev_set, *bridge_lock;
	unsigned int open_count;
	/* Opening has reset it. */
	bool reset_works;
	/* Its driver is releasing it, with the lock of the device held. */
	bool leaving;
	struct fake_device_stats stats;
	uint8_t space[4096];
	int bar_fds[6];
	struct dma_buf *dma_bufs;
	struct irqs irqs;
	/* Bound to iommufd, attached to an IOAS. */
	struct iommufd *iommufd;
	unsigned int object_id;
	struct ioas *ioas;
	struct device *ioas_next;
};

struct devfile {
	struct device *device;
	/* Opened through the group, whose file it holds; else through the device node. */
	struct file *group_file;
	bool access;
	struct file *iommufd_file;
};

struct device *fk_device_find(struct fake *fake, const char *address);
bool fk_device_is_vfio(const struct device *device);
int fk_device_open_by_group(struct fake *fake, struct file *group_file, const char *name);
int fk_device_open_node(struct fake *fake, unsigned int index, const char *path);
void fk_device_release(struct fake *fake, struct devfile *df);
int fk_device_ioctl(struct fake *fake, struct devfile *df, unsigned long request, void *arg);
/* Its driver gives it back; it is taken off the bus. May block: until nobody has it open. */
void fk_device_leave(struct fake *fake, struct device *device);
void fk_device_unplug(struct fake *fake, struct device *device);
/* What was taken off the bus is back. */
void fk_rescan(struct fake *fake);
int fk_hot_reset_info(struct fake *fake, struct devfile *df, void *arg);
int fk_hot_reset(struct fake *fake, struct devfile *df, void *arg);
size_t fk_device_reserved(struct fake *fake, const struct device *device, struct range out[2]);
void fk_region_reset(struct device *device);
/* Its IOMMU has attached it to a domain with a queue of faults. */
void fk_region_enable_requests(struct device *device);
int fk_irq_info(struct device *device, void *arg);
int fk_irq_set(struct device *device, void *arg);
/* Notifies the process that has the device open that the host requests it. */
void fk_irq_request(struct fake *fake, struct device *device);
void fk_irq_disable_all(struct device *device);
int fk_region_info(const struct fake *fake, struct device *device, void *arg);
ssize_t fk_region_rw(struct fake *fake, struct device *device, void *buf, size_t bytes,
		     off_t offset, bool write);
/* The real fd and offset behind a mapping of a BAR, -EINVAL. */
int fk_region_map(const struct fake *fake, struct device *device, uint64_t offset, uint64_t bytes,
		  int flags, int *fd);

/* The switch in the command register. */
bool fk_region_enabled(const struct device *device);

/* ---- dma_buf.c: what VFIO_DEVICE_FEATURE_DMA_BUF makes of a part of a BAR ---- */

struct dma_buf {
	struct dma_buf *next;
	unsigned int refs;
	/* NULL when it was closed. */
	struct device *device;
	unsigned int region;
	uint64_t offset, bytes;
	bool revoked;
};

int fk_device_feature(struct fake *fake, struct device *device, void *arg);
void fk_dma_buf_put(struct dma_buf *dma_buf);
/* vfio_pci_dma_buf_move(): what is mapped goes and doesn't come back; new maps may be made. */
void fk_dma_buf_move(struct fake *fake, struct device *device, bool revoked);
/* vfio_pci_dma_buf_cleanup() */
void fk_dma_buf_forget(struct fake *fake, struct device *device);

/* ---- iommufd.c, ioas.c ---- */

struct ioas {
	struct ioas *next;
	unsigned int id, hwpt_id;
	struct iommufd *iommufd;
	/* ioas->mutex, and domains_rwsem of its table. */
	struct vlock mutex, domains;
	bool has_domain;
	/* It was made by IOMMU_HWPT_ALLOC, and stays without devices. */
	bool keeps_domain;
	/* With IOMMU_HWPT_ALLOC_DIRTY_TRACKING. */
	bool can_track;
	/* A second domain, as for devices behind another IOMMU: id 0 without one. It has the same
	 * mappings and dirty bits. */
	struct other_hwpt {
		unsigned int id;
		bool can_track, tracks_dirty;
	} other;
	/* Of IOMMU_HWPT_FAULT_ID_VALID: the same for both domains. */
	struct fault_queue *queue;
	/* Calls in flight, which keep it from being destroyed. */
	unsigned int users;
	struct device *devices;
	struct space space;
};

struct iommufd {
	struct iommufd *next;
	struct ioas *ioases;
	struct fault_queue *queues;
	/* What devices that are opened by their group are attached to. */
	struct ioas *compat;
	struct device *bound[64];
	unsigned int bound_count;
};

int fk_iommufd_ioctl(struct fake *fake, struct iommufd *iommufd, unsigned long request, void *arg);
/* iommufd_vfio_compat_ioas_create() */
void fk_iommufd_make_compat(struct fake *fake, struct iommufd *iommufd);
void fk_iommufd_release(struct fake *fake, struct iommufd *iommufd);
int fk_iommufd_bind(struct fake *fake, struct iommufd *iommufd, struct device *device,
		    uint32_t *id);
void fk_iommufd_unbind(struct fake *fake, struct device *device);
int fk_iommufd_attach(struct fake *fake, struct device *device, uint32_t *id);
void fk_iommufd_detach(struct fake *fake, struct device *device);
unsigned int fk_iommufd_new_id(const struct iommufd *iommufd);
struct ioas *fk_ioas_find(const struct iommufd *iommufd, unsigned int id);
int fk_ioas_map(struct fake *fake, struct iommufd *iommufd, void *arg);
int fk_ioas_map_file(struct fake *fake, struct iommufd *iommufd, void *arg);
int fk_ioas_unmap(struct fake *fake, struct iommufd *iommufd, void *arg);
int fk_ioas_iova_ranges(struct fake *fake, struct iommufd *iommufd, void *arg);
void fk_ioas_free(struct fake *fake, struct ioas *ioas);
/* Are any IOVAs of [first, last] reserved? */
bool fk_ioas_reserved(struct fake *fake, const struct ioas *ioas, uint64_t first, uint64_t last);
int fk_ioas_add_domain(struct fake *fake, struct ioas *ioas);
void fk_ioas_remove_domain(struct fake *fake, struct ioas *ioas);

/* ---- faults.c ---- */

int fk_faults_alloc(struct fake *fake, struct iommufd *iommufd, void *arg);
struct fault_queue *fk_faults_find(const struct iommufd *iommufd, unsigned int id);
/* -EBUSY: a domain uses it. */
int fk_faults_destroy(struct fake *fake, struct iommufd *iommufd, unsigned int id);
/* The file of one is closed; all of an iommufd; all groups of a device are answered. */
void fk_faults_put(struct fault_queue *queue);
void fk_faults_release(struct fake *fake, struct iommufd *iommufd);
void fk_faults_detach(struct fake *fake, const struct device *device);
void fk_faults_free(struct fake *fake);
ssize_t fk_faults_write(struct fake *fake, struct fault_queue *queue, const void *buf,
			size_t bytes);

#endif
