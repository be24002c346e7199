/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into a VMM by `vfioboost slots run`: what the VMM would open, bind, attach and map, the
 * slot has already. So opening the devices' nodes gives the slot's files, and requests whose result
 * is there are answered without the kernel. Everything else the kernel does.
 */
#include "takeover.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vfioboost/space.h>

#include "next.h"
#include "sys/uapi.h"

/* Private copies of files are above those of most programs. */
#define PRIVATE_FD 500

struct takeover takeover;
atomic_bool takeover_is_active;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void takeover_lock(void)
{
	NEXT(lock)(&lock);
}

void takeover_unlock(void)
{
	NEXT(unlock)(&lock);
}

void takeover_say(const char *format, ...)
{
	char text[256];
	va_list args;
	int error = errno;

	if (!takeover.settings.verbose)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	dprintf(STDERR_FILENO, "vfioboost slots: %s\n", text);
	errno = error;
}

/* ---- Files ---- */

static bool file_is(int fd, mode_t type, dev_t *node)
{
	struct stat file;

	if (fstat(fd, &file) || (file.st_mode & S_IFMT) != type)
		return false;
	*node = file.st_rdev;
	return true;
}

/* Descriptors are where `vfioboost slots run` has placed them. */
static bool takeover_find_files(void)
{
	const struct vfb_wire_grant *grant = &takeover.settings.grant;
	int fd = TAKEOVER_FIRST_FD;
	struct stat file;

	takeover.memory = fd++;
	if (fstat(takeover.memory, &file) || !S_ISREG(file.st_mode))
		return false;
	takeover.memory_inode = file.st_ino;
	takeover.memory_device = file.st_dev;
	takeover.iommu = takeover_file_add(fd++, TAKEOVER_IOMMU, 0);
	if (!file_is(takeover.iommu, S_IFCHR, &takeover.iommu_node))
		return false;
	for (unsigned int i = 0; i < grant->device_count; i++) {
		takeover.devices[i] = (struct takeover_device){
			.fd = takeover_file_add(fd, TAKEOVER_DEVICE, i),
			.started = fd,
			.is_attached = true,
			.is_fresh = true,
		};
		fd++;
		file_is(takeover.devices[i].fd, S_IFCHR, &takeover.devices[i].node);
	}
	for (unsigned int i = 0; i < grant->group_count; i++) {
		takeover.groups[i] = takeover_file_add(fd++, TAKEOVER_GROUP, i);
		if (!file_is(takeover.groups[i], S_IFCHR, &takeover.group_nodes[i]))
			return false;
	}
	return true;
}

static void takeover_fill_ledger(void)
{
	const struct vfb_wire_grant *grant = &takeover.settings.grant;

	takeover.ledger.ops = grant->backend == VFB_BACKEND_TYPE1 ? &type1_ledger_ops :
								    &iommufd_ledger_ops;
	for (size_t i = 0; i < grant->range_count; i++)
		takeover.ledger.pieces[i] = (struct ledger_piece){
			.iova = grant->ranges[i].iova,
			.end = grant->ranges[i].iova + grant->ranges[i].bytes,
			.offset = grant->ranges[i].offset,
		};
	takeover.ledger.piece_count = grant->range_count;
}

/* There is a slot, which the program may take over. */
static bool takeover_is_there;

bool takeover_is_mine(void)
{
	return getpid() == takeover.process;
}

/* One that was forked before the slot was used, as of QEMU's -daemonize, may use it. */
static void takeover_in_child(void)
{
	if (!atomic_load(&takeover_is_active))
		takeover.process = getpid();
	defer_nothing();
	takeover_unlock();
}

__attribute__((constructor)) static void takeover_begin(void)
{
	const char *text = secure_getenv(TAKEOVER_VARIABLE);

	next_find();
	if (!text || !takeover_parse(text, &takeover.settings) || !takeover_find_files())
		return;
	takeover_fill_ledger();
	takeover.process = getpid();
	takeover_is_there = !pthread_atfork(takeover_lock, takeover_unlock, takeover_in_child);
}

static void takeover_keep(int *fd)
{
	int copy = fcntl(*fd, F_DUPFD_CLOEXEC, PRIVATE_FD);

	if (copy < 0)
		return;
	fcntl(*fd, F_SETFD, FD_CLOEXEC);
	*fd = copy;
}

/* Programs that this one runs from now on have no part in the slot. */
void takeover_activate_locked(void)
{
	if (atomic_load(&takeover_is_active))
		return;
	takeover_keep(&takeover.memory);
	takeover_keep(&takeover.iommu);
	for (size_t i = 0; i < takeover.settings.grant.device_count; i++)
		takeover_keep(&takeover.devices[i].fd);
	for (size_t i = 0; i < takeover.settings.grant.group_count; i++)
		takeover_keep(&takeover.groups[i]);
	unsetenv(TAKEOVER_VARIABLE);
	atomic_store(&takeover_is_active, true);
}

/* ---- Mappings ---- */

static int takeover_result(int error)
{
	errno = -error;
	return error ? -1 : 0;
}

int takeover_map_locked(struct ledger_request *request, void *arg)
{
	size_t before = takeover.ledger.shown_count;
	int error = ledger_map(&takeover.ledger, request, arg);

	if (takeover.ledger.shown_count > before)
		takeover_say("of %#lx-%#lx the slot is mapped already", request->iova,
			     request->end);
	defer_until_unlock();
	return takeover_result(error);
}

int takeover_unmap_locked(uint64_t iova, uint64_t end, uint64_t *bytes)
{
	int error = ledger_unmap(&takeover.ledger, iova, end, bytes);

	if (!defer_until_unlock())
		takeover_reconcile_locked();
	return takeover_result(error);
}

void takeover_reconcile_locked(void)
{
	int error;

	if (!takeover.ledger.dirty)
		return;
	error = ledger_reconcile(&takeover.ledger);
	if (error)
		dprintf(STDERR_FILENO,
			"vfioboost slots: memory of the slot cannot be mapped or unmapped for "
			"devices as the program requested: %s\n",
			strerror(-error));
}

/* ---- Devices ---- */

/* Every VMM resets a device before its guest starts; this one was reset in advance. */
bool device_answer_reset_locked(unsigned int index, int *result)
{
	struct takeover_device *device = &takeover.devices[index];

	*result = 0;
	if (!device->is_fresh)
		return false;
	device->is_fresh = false;
	takeover_say("%s was reset in advance", takeover.settings.grant.devices[index]);
	return true;
}

/* The program does not use it any more: as closing it would, this stops it. */
static void device_release(unsigned int index)
{
	struct vfb_vfio_device_detach_iommufd_pt detach = {.argsz = sizeof(detach)};
	struct takeover_device *device = &takeover.devices[index];

	if (device->is_attached && takeover.settings.grant.backend == VFB_BACKEND_IOMMUFD &&
	    !NEXT(ioctl)(device->fd, VFB_VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach))
		device->is_attached = false;
	for (uint32_t i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
		struct vfio_irq_set irqs = {
			.argsz = sizeof(irqs),
			.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = i,
		};

		NEXT(ioctl)(device->fd, VFIO_DEVICE_SET_IRQS, &irqs);
	}
	device->is_used = false;
	device->is_fresh = !NEXT(ioctl)(device->fd, VFIO_DEVICE_RESET);
	takeover_say("%s is released", takeover.settings.grant.devices[index]);
}

int takeover_give(int fd, enum takeover_kind kind, unsigned int index)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (copy < 0)
		return -1;
	if (kind == TAKEOVER_DEVICE)
		takeover.devices[index].opens++;
	return takeover_file_add(copy, kind, index);
}

static void device_closed(int fd, unsigned int index)
{
	struct takeover_device *device = &takeover.devices[index];

	if (fd == device->started)
		device->started = -1;
	else if (device->opens && !--device->opens && atomic_load(&takeover_is_active))
		device_release(index);
}

void takeover_file_closed(int fd, struct takeover_file file)
{
	takeover_lock();
	if (file.kind == TAKEOVER_DEVICE)
		device_closed(fd, file.index);
	else if (file.kind == TAKEOVER_IOMMU && file.index)
		type1_closed_locked();
	takeover_unlock();
}

/* ---- Opening ---- */

static int takeover_open_node(dev_t node)
{
	const struct vfb_wire_grant *grant = &takeover.settings.grant;

	if (grant->backend == VFB_BACKEND_IOMMUFD && node == takeover.iommu_node)
		return takeover_give(takeover.iommu, TAKEOVER_IOMMU, 0);
	for (unsigned int i = 0; i < grant->group_count; i++)
		if (node == takeover.group_nodes[i])
			return takeover_give(takeover.groups[i], TAKEOVER_GROUP, i);
	for (unsigned int i = 0; i < grant->device_count && !grant->group_count; i++)
		if (takeover.devices[i].node && node == takeover.devices[i].node)
			return takeover_give(takeover.devices[i].fd, TAKEOVER_DEVICE, i);
	return -2;
}

int takeover_open(const char *path)
{
	struct stat file;
	int fd;

	if (!takeover_is_there || strncmp(path, "/dev/", 5) || !takeover_is_mine() ||
	    stat(path, &file) || !S_ISCHR(file.st_mode))
		return -2;
	takeover_lock();
	fd = takeover_open_node(file.st_rdev);
	takeover_unlock();
	return fd;
}
