/* SPDX-License-Identifier: MIT */
/* Behind the preloaded object: takes the requests of VFIO and iommufd in the name of the kernel. */
#include "takeover_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/uapi.h"

int ioctl(int fd, unsigned long request, ...);

static char *calls;

__attribute__((constructor)) static void kernel_begin(void)
{
	calls = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

const char *kernel_calls(void)
{
	return calls;
}

void kernel_forget(void)
{
	calls[0] = '\0';
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
	size_t used = strlen(calls);
	va_list args;

	va_start(args, format);
	vsnprintf(calls + used, 4096 - used, format, args);
	va_end(args);
}

static void note_range(const char *what, uint64_t iova, uint64_t bytes)
{
	note("%s %llx-%llx;", what, (unsigned long long)iova, (unsigned long long)(iova + bytes));
}

static void (*after_close)(void);

void kernel_after_close(void (*call)(void))
{
	after_close = call;
}

int close(int fd)
{
	void (*call)(void) = after_close;
	int result = syscall(SYS_close, fd);

	after_close = NULL;
	if (call)
		call();
	return result;
}

int ioctl(int fd, unsigned long request, ...)
{
	struct vfb_iommu_ioas_map_file *file;
	struct vfb_iommu_ioas_unmap *unmap;
	struct vfb_iommu_ioas_map *map;
	struct vfio_iommu_type1_dma_unmap *dma_unmap;
	struct vfio_iommu_type1_dma_map *dma_map;
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	switch (request) {
	case VFB_IOMMU_IOAS_MAP_FILE:
		file = arg;
		note_range("map", file->iova, file->length);
		return 0;
	case VFB_IOMMU_IOAS_MAP:
		map = arg;
		note_range("map", map->iova, map->length);
		return 0;
	case VFB_IOMMU_IOAS_UNMAP:
		unmap = arg;
		note_range("unmap", unmap->iova, unmap->length);
		return 0;
	case VFIO_IOMMU_MAP_DMA:
		dma_map = arg;
		note_range("map", dma_map->iova, dma_map->size);
		return 0;
	case VFIO_IOMMU_UNMAP_DMA:
		dma_unmap = arg;
		if (dma_unmap->flags & VFIO_DMA_UNMAP_FLAG_ALL)
			note("unmap all;");
		else
			note_range("unmap", dma_unmap->iova, dma_unmap->size);
		return 0;
	case VFB_VFIO_DEVICE_DETACH_IOMMUFD_PT:
		note("detach;");
		return 0;
	case VFIO_DEVICE_RESET:
		note("reset;");
		return 0;
	case VFIO_DEVICE_SET_IRQS:
		return 0;
	case VFB_VFIO_DEVICE_BIND_IOMMUFD:
	case VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT:
	case VFB_IOMMU_IOAS_ALLOC:
	case VFB_IOMMU_HWPT_ALLOC:
		note("request %lx;", request & 0xff);
		return 0;
	default:
		return syscall(SYS_ioctl, fd, request, arg);
	}
}
