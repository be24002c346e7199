/* SPDX-License-Identifier: MIT */
#include "caller.h"

#include <linux/vfio.h>
#include <sys/mman.h>

#include "sys/uapi.h"

static void open_container(struct caller *caller, const char *container)
{
	char path[64];

	machine_group_path(caller->address, path, sizeof(path));
	caller->space = machine_open(container);
	caller->group = machine_open(path);
	assert_true(caller->space >= 0 && caller->group >= 0);
	caller->device = -1;
}

static void attach_container(struct caller *caller)
{
	assert_returns(machine_ioctl(caller->group, VFIO_GROUP_SET_CONTAINER, &caller->space), 0);
	assert_returns(machine_ioctl(caller->space, VFIO_SET_IOMMU, (void *)VFIO_TYPE1v2_IOMMU), 0);
}

static void open_iommufd(struct caller *caller)
{
	struct vfb_iommu_ioas_alloc alloc = {.size = sizeof(alloc)};
	char path[64];

	machine_node_path(caller->address, path, sizeof(path));
	caller->space = machine_open("/dev/iommu");
	assert_returns(machine_ioctl(caller->space, VFB_IOMMU_IOAS_ALLOC, &alloc), 0);
	caller->ioas = caller->own_ioas = alloc.out_ioas_id;
	caller->device = machine_open(path);
	assert_true(caller->device >= 0);
	caller->group = -1;
}

/* The iommufd is the container, with an I/O address space that the kernel makes. */
static void attach_iommufd_group(struct caller *caller)
{
	struct vfb_iommu_vfio_ioas get = {.size = sizeof(get), .op = VFB_IOMMU_VFIO_IOAS_GET};

	assert_returns(machine_ioctl(caller->group, VFIO_GROUP_SET_CONTAINER, &caller->space), 0);
	assert_returns(machine_ioctl(caller->space, VFB_IOMMU_VFIO_IOAS, &get), 0);
	caller->own_ioas = get.ioas_id;
}

static void bind_iommufd(struct caller *caller)
{
	struct vfb_vfio_device_bind_iommufd bind = {.argsz = sizeof(bind),
						    .iommufd = caller->space};

	assert_returns(machine_ioctl(caller->device, VFB_VFIO_DEVICE_BIND_IOMMUFD, &bind), 0);
}

static void attach_iommufd(struct caller *caller)
{
	struct vfb_vfio_device_attach_iommufd_pt attach = {.argsz = sizeof(attach),
							   .pt_id = caller->ioas};

	assert_returns(machine_ioctl(caller->device, VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach),
		       0);
}

void caller_get_device(struct caller *caller)
{
	caller->device = machine_ioctl(caller->group, VFIO_GROUP_GET_DEVICE_FD,
				       (void *)(uintptr_t)caller->address);
	assert_true(caller->device >= 0);
}

void caller_open(struct fixture *f, struct caller *caller, size_t n)
{
	*caller = (struct caller){.address = f->machine->devices[n]};
	if (f->by_group)
		open_container(caller, "/dev/iommu");
	else if (f->backend == VFB_BACKEND_TYPE1)
		open_container(caller, "/dev/vfio/vfio");
	else
		open_iommufd(caller);
}

void caller_bind(struct fixture *f, struct caller *caller)
{
	if (f->by_group)
		attach_iommufd_group(caller);
	else if (f->backend == VFB_BACKEND_TYPE1)
		attach_container(caller);
	else
		bind_iommufd(caller);
}

void caller_attach(struct fixture *f, struct caller *caller)
{
	caller_bind(f, caller);
	if (f->by_group)
		caller_get_device(caller);
	else if (f->backend == VFB_BACKEND_IOMMUFD)
		attach_iommufd(caller);
}

void caller_open_device(struct fixture *f, struct caller *caller, size_t n)
{
	caller_open(f, caller, n);
	caller_attach(f, caller);
	if (f->backend == VFB_BACKEND_TYPE1)
		caller_get_device(caller);
}

void caller_close(struct caller *caller)
{
	if (caller->device >= 0)
		machine_close(caller->device);
	if (caller->group >= 0)
		machine_close(caller->group);
	machine_close(caller->space);
}

void caller_map(struct fixture *f, struct caller *caller)
{
	assert_returns(machine_mmap(CALLER_BYTES, PROT_READ | PROT_WRITE, &caller->memory), 0);
	if (f->backend == VFB_BACKEND_TYPE1) {
		struct vfio_iommu_type1_dma_map map = {
			.argsz = sizeof(map),
			.flags = VFIO_DMA_MAP_FLAG_READ,
			.vaddr = (uintptr_t)caller->memory,
			.iova = CALLER_IOVA,
			.size = CALLER_BYTES,
		};

		assert_returns(machine_ioctl(caller->space, VFIO_IOMMU_MAP_DMA, &map), 0);
	} else {
		struct vfb_iommu_ioas_map map = {
			.size = sizeof(map),
			.flags = VFB_IOMMU_IOAS_MAP_FIXED_IOVA | VFB_IOMMU_IOAS_MAP_READABLE,
			.ioas_id = caller->own_ioas,
			.user_va = (uintptr_t)caller->memory,
			.length = CALLER_BYTES,
			.iova = CALLER_IOVA,
		};

		assert_returns(machine_ioctl(caller->space, VFB_IOMMU_IOAS_MAP, &map), 0);
	}
}

void caller_unmap(struct fixture *f, struct caller *caller)
{
	if (f->backend == VFB_BACKEND_TYPE1) {
		struct vfio_iommu_type1_dma_unmap unmap = {
			.argsz = sizeof(unmap),
			.iova = CALLER_IOVA,
			.size = CALLER_BYTES,
		};

		assert_returns(machine_ioctl(caller->space, VFIO_IOMMU_UNMAP_DMA, &unmap), 0);
		assert_int_equal(unmap.size, CALLER_BYTES);
	} else {
		struct vfb_iommu_ioas_unmap unmap = {
			.size = sizeof(unmap),
			.ioas_id = caller->own_ioas,
			.iova = CALLER_IOVA,
			.length = CALLER_BYTES,
		};

		assert_returns(machine_ioctl(caller->space, VFB_IOMMU_IOAS_UNMAP, &unmap), 0);
	}
	machine_munmap(caller->memory, CALLER_BYTES);
}
