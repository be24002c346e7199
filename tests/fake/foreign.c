/* SPDX-License-Identifier: MIT */
/* Memory that the program has mapped by itself: the model learns of it, and does not unmap it. */
#include <sys/mman.h>
#include <sys/stat.h>

#include "model.h"

/* The model's file of @fd, which it gets here if the program has opened it: 0 or -errno. */
static int find_file(struct fake *fake, int fd, struct file **out)
{
	struct object *object;
	struct stat stat;

	if (fstat(fd, &stat))
		return -EBADF;
	*out = fk_file_get(fake, fd);
	if (*out)
		return (*out)->kind == FILE_MEMFD ? 0 : -EINVAL;
	object = fk_object_new(fake, POOL_BASE, stat.st_size, true);
	object->device = stat.st_dev;
	object->inode = stat.st_ino;
	fk_file_install(fake, fd, FILE_MEMFD, "a file of the program", object);
	*out = fk_file_get(fake, fd);
	(*out)->foreign = true;
	return 0;
}

/* Forgets a file of the program when no memory of it is left. */
static void forget_file(struct fake *fake, int fd)
{
	struct file *file = fd < 0 ? NULL : fake->files[fd];

	if (!file || !file->foreign || file->object->refs > 1)
		return;
	fake->files[fd] = NULL;
	fake->stats.fds--;
	file->fd = -1;
	fk_file_put(fake, file);
}

static int fd_of(const struct fake *fake, const struct object *object)
{
	for (size_t fd = 0; fd < fake->file_room; fd++)
		if (fake->files[fd] && fake->files[fd]->kind == FILE_MEMFD &&
		    fake->files[fd]->object == object)
			return fd;
	return -1;
}

static int insert(struct fake *fake, struct vma *vma, int fd)
{
	uint64_t bytes = vma->end - vma->start;
	struct file *file = NULL;
	int error;

	if (fd < 0) {
		vma->offset = 0;
		vma->object = fk_object_new(fake, POOL_BASE, bytes, false);
		vma->object->origin = vma->start;
		fk_vma_insert(&fake->mm, vma);
		return 0;
	}
	error = find_file(fake, fd, &file);
	if (!error) {
		vma->object = file->object;
		vma->shared = true;
		if (vma->offset > vma->object->bytes || bytes > vma->object->bytes - vma->offset)
			error = -EINVAL;
	}
	if (!error) {
		vma->object->refs++;
		fk_vma_insert(&fake->mm, vma);
	}
	if (file)
		fk_file_put(fake, file);
	if (error && file)
		forget_file(fake, fd);
	return error;
}

int fake_add_memory(struct fake *fake, void *address, uint64_t bytes, int fd, uint64_t offset)
{
	struct vma vma = {.start = (uintptr_t)address,
			  .end = (uintptr_t)address + bytes,
			  .prot = PROT_READ | PROT_WRITE,
			  .offset = offset,
			  .foreign = (uintptr_t)address};
	const struct mm *mm = &fake->mm;
	int error = -EEXIST;
	size_t next;

	if (!bytes || (vma.start | bytes | offset) % fk_page(fake) || vma.end < vma.start)
		return -EINVAL;
	pthread_mutex_lock(&fake->lock);
	next = fk_vma_index(mm, vma.start);
	if (next == mm->count || mm->vmas[next].start >= vma.end)
		error = insert(fake, &vma, fd);
	pthread_mutex_unlock(&fake->lock);
	return error;
}

int fake_remove_memory(struct fake *fake, void *address)
{
	uint64_t start = (uintptr_t)address, end = start;
	const struct vma *vma;
	int error = -ENOENT, fd;

	pthread_mutex_lock(&fake->lock);
	/* Advice about a part has split it. */
	while ((vma = fk_vma_find(fake, end)) && vma->foreign == start)
		end = vma->end;
	if (end > start) {
		fd = fd_of(fake, fk_vma_find(fake, start)->object);
		error = fk_space_uses_memory(fake, start, end) ? -EBUSY :
								 fk_memory_unmap(fake, start, end);
		if (!error)
			forget_file(fake, fd);
	}
	pthread_mutex_unlock(&fake->lock);
	return error;
}
