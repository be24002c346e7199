/* SPDX-License-Identifier: MIT */
/* Files: making memfds, what is known of a file, locks. */
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "model.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

static struct object *new_memfd(struct fake *fake, int fd, int pool)
{
	struct object *object = fk_object_new(fake, pool, 0, true);
	struct stat stat;

	if (fstat(fd, &stat))
		abort();
	object->device = stat.st_dev;
	object->inode = stat.st_ino;
	return object;
}

static int op_memfd_create(const struct vfb_sys *sys, const char *name, unsigned int flags)
{
	struct fake *fake = kernel_enter(sys);
	unsigned int log = (flags >> MFD_HUGE_SHIFT) & MFD_HUGE_MASK;
	int fd = fk_inject(fake, "memfd_create", NULL, EMFILE);
	int pool = POOL_BASE;

	if (fd)
		goto out;
	if (flags & MFD_NOEXEC_SEAL && fake->config.no_noexec_seal) {
		fd = -EINVAL;
		goto out;
	}
	if (flags & MFD_HUGETLB)
		pool = fk_pool_of_log(fake, log);
	if (pool < 0) {
		fd = -ENODEV;
		goto out;
	}
	fd = memfd_create(name, MFD_CLOEXEC | (flags & MFD_ALLOW_SEALING));
	if (fd < 0)
		fd = -errno;
	else
		fk_file_install(fake, fd, FILE_MEMFD, "memfd", new_memfd(fake, fd, pool));
out:
	kernel_leave(fake);
	return fd;
}

static int op_ftruncate(const struct vfb_sys *sys, int fd, off_t bytes)
{
	struct fake *fake = kernel_enter(sys);
	struct file *file = fk_file_get(fake, fd);
	int error = file ? fk_inject(fake, "ftruncate", NULL, EFBIG) : -EBADF;

	if (!error && (file->kind != FILE_MEMFD || bytes < 0))
		error = -EINVAL;
	if (!error)
		error = fk_object_resize(fake, file->object, bytes);
	if (!error && ftruncate(fd, bytes))
		error = -errno;
	if (file)
		fk_file_put(fake, file);
	kernel_leave(fake);
	return error;
}

static int op_add_seals(const struct vfb_sys *sys, int fd, int seals)
{
	struct fake *fake = kernel_enter(sys);
	int error = fk_inject(fake, "add_seals", NULL, EPERM);

	if (!error && fcntl(fd, F_ADD_SEALS, seals))
		error = -errno;
	kernel_leave(fake);
	return error;
}

static int op_fchmod(const struct vfb_sys *sys, int fd, mode_t mode)
{
	struct fake *fake = kernel_enter(sys);
	int error = fk_inject(fake, "fchmod", NULL, EPERM);

	if (!error && fchmod(fd, mode))
		error = -errno;
	kernel_leave(fake);
	return error;
}

static int op_file_info(const struct vfb_sys *sys, int fd, struct vfb_sys_file *info)
{
	struct fake *fake = kernel_enter(sys);
	struct file *file = fk_file_get(fake, fd);
	int error = file ? fk_inject(fake, "file_info", NULL, EIO) : -EBADF;
	struct stat stat;

	if (!error && fstat(fd, &stat))
		error = -errno;
	if (!error)
		*info = (struct vfb_sys_file){
			.major = major(stat.st_dev),
			.minor = minor(stat.st_dev),
			.inode = stat.st_ino,
			.bytes = stat.st_size,
			.page_bytes = file->kind == FILE_MEMFD ? file->object->page_bytes :
								 fk_page(fake),
			.total_bytes = UINT64_MAX,
			.free_bytes = UINT64_MAX,
			.is_regular = S_ISREG(stat.st_mode),
			.is_memory = true,
		};
	if (file)
		fk_file_put(fake, file);
	kernel_leave(fake);
	return error;
}

static int op_lock_file(const struct vfb_sys *sys, int fd, bool wait)
{
	struct fake *fake = kernel_enter(sys);
	struct file *file = fk_file_get(fake, fd);
	int error = file ? fk_inject(fake, "lock_file", NULL, ENOLCK) : -EBADF;

	if (!error) {
		struct vlock *lock = strncmp(file->path, "/proc/self/ns/", 14) ?
					     &fake->file_lock :
					     &fake->namespace_lock;

		if (wait)
			fk_vlock_write(fake, lock);
		else if (!fk_vlock_try(lock))
			error = -EAGAIN;
		if (!error)
			file->lock = lock;
	}
	if (file)
		fk_file_put(fake, file);
	kernel_leave(fake);
	return error;
}

void fk_memfd_table(struct vfb_sys *sys)
{
	sys->memfd_create = op_memfd_create;
	sys->ftruncate = op_ftruncate;
	sys->file_info = op_file_info;
	sys->add_seals = op_add_seals;
	sys->fchmod = op_fchmod;
	sys->lock_file = op_lock_file;
}
