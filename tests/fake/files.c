/* SPDX-License-Identifier: MIT */
/* File descriptors: what they stand for, opening, closing, and handing on what is asked of them. */
#include <fcntl.h>
#include <unistd.h>

#include "model.h"
#include "sys/uapi.h"

/* ---- The table of fds ---- */

void fk_file_install(struct fake *fake, int fd, enum kind kind, const char *path, void *data)
{
	struct file *file = fk_xalloc(sizeof(*file));

	while ((size_t)fd >= fake->file_room) {
		size_t room = fake->file_room ? 2 * fake->file_room : 64;

		fake->files = realloc(fake->files, room * sizeof(*fake->files));
		if (!fake->files)
			abort();
		memset(fake->files + fake->file_room, 0,
		       (room - fake->file_room) * sizeof(*fake->files));
		fake->file_room = room;
	}
	file->kind = kind;
	file->refs = 1;
	file->fd = fd;
	file->data = data;
	snprintf(file->path, sizeof(file->path), "%s", path);
	fake->files[fd] = file;
	fake->stats.fds++;
}

/* Every fake fd is a real one, so that numbers cannot be mixed up and limits are felt. */
int fk_file_new(struct fake *fake, enum kind kind, const char *path, void *data, struct file **out)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	fk_file_install(fake, fd, kind, path, data);
	if (out)
		*out = fake->files[fd];
	return fd;
}

struct file *fk_file_get(struct fake *fake, int fd)
{
	struct file *file;

	if (fd < 0 || (size_t)fd >= fake->file_room || !fake->files[fd])
		return NULL;
	file = fake->files[fd];
	file->refs++;
	return file;
}

void fk_file_put(struct fake *fake, struct file *file)
{
	if (--file->refs)
		return;
	if (file->lock)
		fk_vunlock_write(file->lock);
	switch (file->kind) {
	case FILE_TEXT:
		free(file->text);
		break;
	case FILE_CONTAINER:
		fk_container_put(file->container);
		break;
	case FILE_GROUP:
		fk_group_release(fake, file->group);
		break;
	case FILE_DEVICE:
		fk_device_release(fake, file->devfile);
		break;
	case FILE_IOMMUFD:
		fk_iommufd_release(fake, file->iommufd);
		break;
	case FILE_MEMFD:
		fk_object_put(fake, file->object);
		break;
	case FILE_DMA_BUF:
		fk_dma_buf_put(file->dma_buf);
		break;
	case FILE_FAULTS:
		fk_faults_put(file->queue);
		break;
	case FILE_EVENTFD:
	case FILE_PIPE:
	case FILE_PAGEMAP:
		break;
	}
	free(file);
}

void fk_file_close(struct fake *fake, int fd)
{
	struct file *file = fk_file_get(fake, fd);

	if (!file) {
		fk_misuse(fake, "closed fd %d, which is not open", fd);
		return;
	}
	fake->files[fd] = NULL;
	fake->stats.fds--;
	if (file->fd == fd)
		file->fd = -1;
	file->refs--;
	if (!file->foreign)
		close(fd);
	fk_file_put(fake, file);
}

/* ---- Opening ---- */

static int denied(struct fake *fake, const char *path, int flags)
{
	bool writing = (flags & O_ACCMODE) != O_RDONLY;

	for (unsigned int i = fake->denied_count; i-- > 0;)
		if (!strcmp(fake->denied[i].path, path) &&
		    (writing || !fake->denied[i].only_writing))
			return -fake->denied[i].error;
	return 0;
}

static void deny(struct fake *fake, const char *path, int error, bool only_writing)
{
	struct deny *entry = NULL;

	pthread_mutex_lock(&fake->lock);
	for (unsigned int i = 0; i < fake->denied_count; i++)
		if (!strcmp(fake->denied[i].path, path))
			entry = &fake->denied[i];
	if (!entry && fake->denied_count < ARRAY_SIZE(fake->denied))
		entry = &fake->denied[fake->denied_count++];
	if (!entry)
		abort();
	snprintf(entry->path, sizeof(entry->path), "%s", path);
	entry->error = error;
	entry->only_writing = only_writing;
	pthread_mutex_unlock(&fake->lock);
}

void fake_deny(struct fake *fake, const char *path, int error)
{
	deny(fake, path, error, false);
}

void fake_deny_writing(struct fake *fake, const char *path, int error)
{
	deny(fake, path, error, true);
}

static int open_container(struct fake *fake, const char *path)
{
	struct container *container;
	int fd;

	if (fake->config.no_type1)
		return -ENOENT;
	container = fk_xalloc(sizeof(*container));
	container->refs = 1;
	container->iommu_lock.name = "iommu->lock";
	fd = fk_file_new(fake, FILE_CONTAINER, path, container, NULL);
	if (fd < 0)
		free(container);
	return fd;
}

static int open_iommufd(struct fake *fake, const char *path)
{
	struct iommufd *iommufd;
	int fd;

	if (fake->config.no_iommufd)
		return -ENOENT;
	iommufd = fk_xalloc(sizeof(*iommufd));
	fd = fk_file_new(fake, FILE_IOMMUFD, path, iommufd, NULL);
	if (fd < 0) {
		free(iommufd);
		return fd;
	}
	iommufd->next = fake->iommufds;
	fake->iommufds = iommufd;
	return fd;
}

static int open_group(struct fake *fake, unsigned int number)
{
	struct group *group = fk_group_find(fake, number);
	int fd = -1;
	int error;

	if (!group || !fk_group_has_vfio(fake, group) || fake->config.no_type1)
		return -ENOENT;
	error = fk_group_open(fake, group, &fd);
	return error ? error : fd;
}

static int open_text(struct fake *fake, const char *path, int flags)
{
	/* As much as the address space of a test fills. */
	size_t room = 256 << 10;
	/* Not zeroed: that took longer than most tests do otherwise. */
	char *text = malloc(room);
	bool magic;
	int kind, fd;

	if (!text)
		abort();
	kind = fk_sysfs_get(fake, path, text, room);
	/* Of a namespace: it can be opened although no path leads there. */
	magic = kind == SYSFS_LINK && strstr(text, ":[");
	if ((kind == SYSFS_NONE || kind == SYSFS_LINK) && !magic && !fk_sysfs_writable(fake, path))
		fd = -ENOENT;
	else if (kind == SYSFS_DIR && (flags & O_ACCMODE) != O_RDONLY)
		fd = -EISDIR;
	else if ((flags & O_ACCMODE) != O_RDONLY && !fk_sysfs_writable(fake, path))
		fd = -EACCES;
	else
		fd = fk_file_new(fake, FILE_TEXT, path, fk_xstrdup(kind == SYSFS_DIR ? "" : text),
				 NULL);
	free(text);
	return fd;
}

static int open_path(struct fake *fake, const char *path, int flags)
{
	int error = denied(fake, path, flags);
	unsigned int number;
	int end = 0;

	if (error)
		return error;
	if (!strcmp(path, "/dev/vfio/vfio"))
		return open_container(fake, path);
	if (!strcmp(path, "/dev/iommu"))
		return open_iommufd(fake, path);
	if (sscanf(path, "/dev/vfio/devices/vfio%u%n", &number, &end) == 1 && !path[end])
		return fk_device_open_node(fake, number, path);
	if (sscanf(path, "/dev/vfio/%u%n", &number, &end) == 1 && !path[end])
		return open_group(fake, number);
	if (!strcmp(path, "/proc/self/pagemap"))
		return fk_file_new(fake, FILE_PAGEMAP, path, NULL, NULL);
	return open_text(fake, path, flags);
}

static int op_open(const struct vfb_sys *sys, const char *path, int flags)
{
	struct fake *fake = kernel_enter(sys);
	int fd = fk_inject_slow(fake, "open", path, EMFILE);

	fk_locks_check(fake, path, 0);
	if (!fd)
		fd = open_path(fake, path, flags);
	kernel_leave(fake);
	return fd;
}

static void op_close(const struct vfb_sys *sys, int fd)
{
	struct fake *fake = kernel_enter(sys);

	fk_locks_check(fake, "close", 0);
	fk_file_close(fake, fd);
	kernel_leave(fake);
}

/* ---- Reading and writing ---- */

static ssize_t read_text(const struct file *file, void *buf, size_t bytes, off_t offset)
{
	size_t length = strlen(file->text);

	if (offset < 0)
		return -EINVAL;
	if ((size_t)offset >= length)
		return 0;
	if (bytes > length - offset)
		bytes = length - offset;
	/* As of files of proc whose lines the kernel makes one by one (seq_read_iter()). */
	if (bytes > 4096)
		bytes = 4096;
	memcpy(buf, file->text + offset, bytes);
	return bytes;
}

static ssize_t rw(struct fake *fake, struct file *file, void *buf, size_t bytes, off_t offset,
		  bool write)
{
	ssize_t done;

	switch (file->kind) {
	case FILE_TEXT:
		return write ? fk_sysfs_write(fake, file->path, buf, bytes) :
			       read_text(file, buf, bytes, offset);
	case FILE_PAGEMAP:
		return write ? -EBADF : fk_pagemap_read(fake, buf, bytes, offset);
	case FILE_DEVICE:
		if (!file->devfile->access)
			return -EINVAL;
		return fk_region_rw(fake, file->devfile->device, buf, bytes, offset, write);
	case FILE_MEMFD:
	case FILE_EVENTFD:
		done = write ? pwrite(file->fd, buf, bytes, offset) :
			       pread(file->fd, buf, bytes, offset);
		return done < 0 ? -errno : done;
	default:
		return -EINVAL;
	}
}

static ssize_t op_rw(const struct vfb_sys *sys, int fd, void *buf, size_t bytes, off_t offset,
		     bool write)
{
	struct fake *fake = kernel_enter(sys);
	struct file *file = fk_file_get(fake, fd);
	ssize_t done = -EBADF;

	if (!file) {
		fk_misuse(fake, "%s of fd %d, which is not open", write ? "pwrite" : "pread", fd);
	} else {
		done = fk_inject(fake, write ? "pwrite" : "pread", file->path, EIO);
		if (!done)
			done = rw(fake, file, buf, bytes, offset, write);
		fk_file_put(fake, file);
	}
	kernel_leave(fake);
	return done;
}

static ssize_t op_pread(const struct vfb_sys *sys, int fd, void *buf, size_t bytes, off_t offset)
{
	return op_rw(sys, fd, buf, bytes, offset, false);
}

static ssize_t op_pwrite(const struct vfb_sys *sys, int fd, const void *buf, size_t bytes,
			 off_t offset)
{
	return op_rw(sys, fd, (void *)(uintptr_t)buf, bytes, offset, true);
}

/* ---- ioctl ---- */

static const struct {
	unsigned long request;
	const char *name;
	int usual;
} requests[] = {
	{VFIO_GET_API_VERSION, "VFIO_GET_API_VERSION", ENOTTY},
	{VFIO_CHECK_EXTENSION, "VFIO_CHECK_EXTENSION", ENOTTY},
	{VFIO_SET_IOMMU, "VFIO_SET_IOMMU", ENOMEM},
	{VFIO_GROUP_GET_STATUS, "VFIO_GROUP_GET_STATUS", ENODEV},
	{VFIO_GROUP_SET_CONTAINER, "VFIO_GROUP_SET_CONTAINER", ENOMEM},
	{VFIO_GROUP_UNSET_CONTAINER, "VFIO_GROUP_UNSET_CONTAINER", EBUSY},
	{VFIO_GROUP_GET_DEVICE_FD, "VFIO_GROUP_GET_DEVICE_FD", EMFILE},
	{VFIO_DEVICE_GET_INFO, "VFIO_DEVICE_GET_INFO", EIO},
	{VFIO_DEVICE_GET_REGION_INFO, "VFIO_DEVICE_GET_REGION_INFO", EIO},
	{VFIO_DEVICE_GET_IRQ_INFO, "VFIO_DEVICE_GET_IRQ_INFO", EIO},
	{VFIO_DEVICE_SET_IRQS, "VFIO_DEVICE_SET_IRQS", ENOSPC},
	{VFIO_DEVICE_RESET, "VFIO_DEVICE_RESET", ENOTTY},
	{VFIO_DEVICE_FEATURE, "VFIO_DEVICE_FEATURE", ENOMEM},
	{VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", ENOMEM},
	{VFIO_DEVICE_PCI_HOT_RESET, "VFIO_DEVICE_PCI_HOT_RESET", ENOTTY},
	{VFIO_IOMMU_GET_INFO, "VFIO_IOMMU_GET_INFO", ENOMEM},
	{VFIO_IOMMU_MAP_DMA, "VFIO_IOMMU_MAP_DMA", ENOMEM},
	{VFIO_IOMMU_UNMAP_DMA, "VFIO_IOMMU_UNMAP_DMA", EINVAL},
	{VFIO_IOMMU_SPAPR_REGISTER_MEMORY, "VFIO_IOMMU_SPAPR_REGISTER_MEMORY", ENOMEM},
	{VFIO_IOMMU_DIRTY_PAGES, "VFIO_IOMMU_DIRTY_PAGES", ENOMEM},
	{VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, "VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY", EBUSY},
	{VFIO_IOMMU_SPAPR_TCE_CREATE, "VFIO_IOMMU_SPAPR_TCE_CREATE", ENOMEM},
	{VFIO_IOMMU_SPAPR_TCE_REMOVE, "VFIO_IOMMU_SPAPR_TCE_REMOVE", EINVAL},
	{VFB_VFIO_DEVICE_BIND_IOMMUFD, "VFIO_DEVICE_BIND_IOMMUFD", ENOMEM},
	{VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT, "VFIO_DEVICE_ATTACH_IOMMUFD_PT", ENOMEM},
	{VFB_IOMMU_DESTROY, "IOMMU_DESTROY", EBUSY},
	{VFB_IOMMU_IOAS_ALLOC, "IOMMU_IOAS_ALLOC", ENOMEM},
	{VFB_IOMMU_IOAS_IOVA_RANGES, "IOMMU_IOAS_IOVA_RANGES", ENOMEM},
	{VFB_IOMMU_IOAS_MAP, "IOMMU_IOAS_MAP", ENOMEM},
	{VFB_IOMMU_IOAS_MAP_FILE, "IOMMU_IOAS_MAP_FILE", ENOMEM},
	{VFB_IOMMU_HWPT_ALLOC, "IOMMU_HWPT_ALLOC", ENOMEM},
	{VFB_IOMMU_FAULT_QUEUE_ALLOC, "IOMMU_FAULT_QUEUE_ALLOC", ENOMEM},
	{VFB_IOMMU_HWPT_SET_DIRTY_TRACKING, "IOMMU_HWPT_SET_DIRTY_TRACKING", ENOMEM},
	{VFB_IOMMU_HWPT_GET_DIRTY_BITMAP, "IOMMU_HWPT_GET_DIRTY_BITMAP", EFAULT},
	{VFB_IOMMU_IOAS_CHANGE_PROCESS, "IOMMU_IOAS_CHANGE_PROCESS", ENOMEM},
	{VFB_IOMMU_IOAS_UNMAP, "IOMMU_IOAS_UNMAP", EBUSY},
	{VFB_IOMMU_VFIO_IOAS, "IOMMU_VFIO_IOAS", ENOENT},
};

/* On a device the numbers of a container's requests mean something else, and in a container those
 * of sPAPR and of type1 are the same. */
static bool is_of_kind(const struct fake *fake, const struct file *file, const char *name)
{
	const char *others = file->kind == FILE_DEVICE ? "VFIO_IOMMU" : "VFIO_DEVICE";
	bool is_spapr = !strncmp(name, "VFIO_IOMMU_SPAPR", strlen("VFIO_IOMMU_SPAPR"));

	return strncmp(name, others, strlen(others)) && (!is_spapr || fake->config.spapr);
}

static int inject_ioctl(struct fake *fake, const struct file *file, unsigned long request)
{
	char number[32];

	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		if (requests[i].request != request || !is_of_kind(fake, file, requests[i].name))
			continue;
		return fk_inject_slow(fake, requests[i].name, NULL, requests[i].usual);
	}
	snprintf(number, sizeof(number), "ioctl %#lx", request);
	return fk_inject_slow(fake, number, NULL, ENOTTY);
}

static int dispatch(struct fake *fake, struct file *file, unsigned long request, void *arg)
{
	switch (file->kind) {
	case FILE_CONTAINER:
		return fk_container_ioctl(fake, file->container, request, arg);
	case FILE_GROUP:
		return fk_group_ioctl(fake, file, request, arg);
	case FILE_DEVICE:
		return fk_device_ioctl(fake, file->devfile, request, arg);
	case FILE_IOMMUFD:
		return fk_iommufd_ioctl(fake, file->iommufd, request, arg);
	default:
		return -ENOTTY;
	}
}

static int op_ioctl(const struct vfb_sys *sys, int fd, unsigned long request, void *arg)
{
	struct fake *fake = kernel_enter(sys);
	struct file *file = fk_file_get(fake, fd);
	int result = -EBADF;

	if (!file && request == VFIO_DEVICE_GET_INFO) {
		/* How an fd of the caller's is found to be closed. */
	} else if (!file) {
		fk_misuse(fake, "ioctl %#lx of fd %d, which is not open", request, fd);
	} else {
		fk_locks_check(fake, file->path, 0);
		result = inject_ioctl(fake, file, request);
		if (!result)
			result = dispatch(fake, file, request, arg);
		fk_file_put(fake, file);
	}
	kernel_leave(fake);
	return result;
}

void fk_files_table(struct vfb_sys *sys)
{
	sys->open = op_open;
	sys->close = op_close;
	sys->pread = op_pread;
	sys->pwrite = op_pwrite;
	sys->ioctl = op_ioctl;
}
