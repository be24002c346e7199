/* SPDX-License-Identifier: MIT */
/* An iommufd as the container of groups: what the kernel does, and what the library makes of it. */
#include <linux/vfio.h>

#include "scenario.h"
#include "sys/uapi.h"

#define BYTES (4 * MIB)
#define IOVA  GIB

static int vfio_ioas(int iommufd, uint16_t op, uint32_t *ioas)
{
	struct vfb_iommu_vfio_ioas command = {
		.size = sizeof(command),
		.ioas_id = *ioas,
		.op = op,
	};
	int error = machine_ioctl(iommufd, VFB_IOMMU_VFIO_IOAS, &command);

	*ioas = command.ioas_id;
	return error;
}

static int open_group(struct fixture *f, size_t n)
{
	char path[64];
	int group;

	machine_group_path(f->machine->devices[n], path, sizeof(path));
	group = machine_open(path);
	assert_true(group >= 0);
	return group;
}

static int get_device(int group, const char *address)
{
	return machine_ioctl(group, VFIO_GROUP_GET_DEVICE_FD, (void *)address);
}

/* What the kernel answers. */
static void kernel(struct fixture *f)
{
	int iommufd = machine_open("/dev/iommu"), group = open_group(f, 0), device;
	struct vfb_iommu_ioas_alloc alloc = {.size = sizeof(alloc)};
	struct vfb_iommu_destroy destroy = {.size = sizeof(destroy)};
	uint32_t ioas = 0, none = 9999;

	assert_returns(vfio_ioas(iommufd, VFB_IOMMU_VFIO_IOAS_GET, &ioas), -ENODEV);
	assert_returns(vfio_ioas(iommufd, VFB_IOMMU_VFIO_IOAS_SET, &none), -ENOENT);
	assert_returns(vfio_ioas(iommufd, 9, &none), -EOPNOTSUPP);
	assert_returns(get_device(group, f->machine->devices[0]), -EINVAL);
	assert_returns(machine_ioctl(group, VFIO_GROUP_SET_CONTAINER, &group), -EBADFD);
	assert_returns(machine_ioctl(group, VFIO_GROUP_UNSET_CONTAINER, NULL), -EINVAL);
	assert_returns(machine_ioctl(group, VFIO_GROUP_SET_CONTAINER, &iommufd), 0);
	assert_returns(machine_ioctl(group, VFIO_GROUP_SET_CONTAINER, &iommufd), -EINVAL);
	assert_returns(vfio_ioas(iommufd, VFB_IOMMU_VFIO_IOAS_GET, &ioas), 0);
	/* A device is attached to whatever is set when it is opened. */
	destroy.id = ioas;
	assert_returns(machine_ioctl(iommufd, VFB_IOMMU_DESTROY, &destroy), 0);
	assert_returns(vfio_ioas(iommufd, VFB_IOMMU_VFIO_IOAS_GET, &ioas), -ENODEV);
	assert_returns(get_device(group, f->machine->devices[0]), -ENODEV);
	assert_returns(machine_ioctl(iommufd, VFB_IOMMU_IOAS_ALLOC, &alloc), 0);
	ioas = alloc.out_ioas_id;
	assert_returns(vfio_ioas(iommufd, VFB_IOMMU_VFIO_IOAS_SET, &ioas), 0);
	device = get_device(group, f->machine->devices[0]);
	assert_true(device >= 0);
	destroy.id = ioas;
	assert_returns(machine_ioctl(iommufd, VFB_IOMMU_DESTROY, &destroy), -EBUSY);
	machine_close(device);
	assert_returns(machine_ioctl(iommufd, VFB_IOMMU_DESTROY, &destroy), 0);
	assert_returns(machine_ioctl(group, VFIO_GROUP_UNSET_CONTAINER, NULL), 0);
	machine_close(group);
	machine_close(iommufd);
}

/* Two iommufds cannot share a group, nor an iommufd and a container. */
static void used_elsewhere(struct fixture *f)
{
	int group = open_group(f, 0);
	struct vfb_space *space = make_space(f);
	struct vfb_device *device;

	assert_error(vfb_device_open(space, f->machine->devices[0], &device), -EBUSY);
	assert_says("in use by this process");
	machine_close(group);
	assert_ok(vfb_device_open(space, f->machine->devices[0], &device));
	end_space(space, device);
}

/* The library opens devices into an iommufd of the caller's that has no group yet. */
static void adopted_empty(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_4K);
	int iommufd = machine_open("/dev/iommu"), group, own;
	struct vfb_space_info info = VFB_SPACE_INFO_INIT;
	struct vfb_device *device;
	struct vfb_space *space;
	uint32_t ioas = 0;

	assert_ok(vfb_space_adopt(f->ctx, iommufd, 0, NULL, &space));
	assert_ok(vfb_space_info(space, &info));
	assert_int_equal(info.backend, VFB_BACKEND_IOMMUFD);
	assert_returns(vfio_ioas(iommufd, VFB_IOMMU_VFIO_IOAS_GET, &ioas), 0);
	assert_int_equal(ioas, info.ioas);
	assert_ok(map_one(space, memory, BYTES, IOVA));
	assert_int_equal(machine_pinned(), 0);
	assert_ok(vfb_device_open(space, f->machine->devices[0], &device));
	assert_int_equal(machine_pinned(), BYTES);
	/* The caller's device lands beside it, and keeps the domain when ours goes. */
	group = open_group(f, 1);
	assert_returns(machine_ioctl(group, VFIO_GROUP_SET_CONTAINER, &iommufd), 0);
	own = get_device(group, f->machine->devices[1]);
	assert_true(own >= 0);
	vfb_device_close(device);
	assert_int_equal(machine_pinned(), BYTES);
	assert_ok(vfb_space_destroy(space));
	assert_int_equal(machine_pinned(), 0);
	/* Adopted again it is the same. */
	assert_ok(vfb_space_adopt(f->ctx, iommufd, 0, NULL, &space));
	assert_ok(vfb_space_info(space, &info));
	assert_int_equal(ioas, info.ioas);
	assert_ok(map_one(space, memory, BYTES, IOVA));
	assert_int_equal(machine_pinned(), BYTES);
	assert_ok(vfb_space_destroy(space));
	machine_close(own);
	machine_close(group);
	machine_close(iommufd);
	assert_ok(vfb_memory_destroy(memory));
}

/* All groups of an iommufd use one I/O address space: what is the caller's is not changed. */
static void other_ioas(struct fixture *f)
{
	int iommufd = machine_open("/dev/iommu"), group = open_group(f, 1);
	struct vfb_iommu_ioas_alloc alloc = {.size = sizeof(alloc)};
	uint32_t ioas = 0, before;
	struct vfb_device *device;
	struct vfb_space *space;

	assert_returns(machine_ioctl(group, VFIO_GROUP_SET_CONTAINER, &iommufd), 0);
	assert_returns(vfio_ioas(iommufd, VFB_IOMMU_VFIO_IOAS_GET, &ioas), 0);
	before = ioas;
	assert_returns(machine_ioctl(iommufd, VFB_IOMMU_IOAS_ALLOC, &alloc), 0);
	assert_ok(vfb_space_adopt(f->ctx, iommufd, alloc.out_ioas_id, NULL, &space));
	assert_error(vfb_device_open(space, f->machine->devices[0], &device), -EBUSY);
	assert_says("groups use I/O address space");
	assert_ok(vfb_space_destroy(space));
	assert_returns(vfio_ioas(iommufd, VFB_IOMMU_VFIO_IOAS_GET, &ioas), 0);
	assert_int_equal(ioas, before);
	machine_close(group);
	machine_close(iommufd);
}

/* Functions of one device are in one group: the last one releases it. */
static void one_group(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_4K);
	struct vfb_space *space = make_space(f), *other = make_space(f);
	struct vfb_device *devices[2], *again;

	for (size_t i = 0; i < 2; i++)
		assert_ok(vfb_device_open(space, f->machine->functions.devices[i], &devices[i]));
	assert_ok(map_one(space, memory, BYTES, IOVA));
	vfb_device_close(devices[0]);
	assert_int_equal(machine_pinned(), BYTES);
	assert_error(vfb_device_open(other, f->machine->functions.devices[0], &again), -EBUSY);
	assert_ok(vfb_device_open(space, f->machine->functions.devices[0], &devices[0]));
	assert_ok(vfb_devices_close(devices, 2, NULL));
	assert_int_equal(machine_pinned(), 0);
	assert_ok(vfb_device_open(other, f->machine->functions.devices[0], &again));
	end_space(other, again);
	end_space(space, NULL);
	assert_ok(vfb_memory_destroy(memory));
}

const struct scenario group_scenarios[] = {
	{.name = "what the kernel answers", .run = kernel},
	{.name = "a group that somebody else has open", .run = used_elsewhere},
	{.name = "an iommufd of the caller's without a group", .run = adopted_empty},
	{.name = "an iommufd whose groups use another address space", .run = other_ioas},
	{.name = "devices of one group", .run = one_group},
	{0},
};
