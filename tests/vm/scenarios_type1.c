/* SPDX-License-Identifier: MIT */
/*
 * What type1 answers to requests that the library never makes, unless it is wrong or another
 * thread was faster: the fake kernel has to give the same.
 */
#include <sys/mman.h>

#include "scenario.h"
#include "sys/uapi.h"

#define BYTES	   (16 * PAGE)
#define IOVA	   GIB
#define READ_WRITE (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)

static int map(int container, uint64_t iova, const void *address, uint64_t bytes, uint32_t flags)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = flags,
		.vaddr = (uintptr_t)address,
		.iova = iova,
		.size = bytes,
	};

	return machine_ioctl(container, VFIO_IOMMU_MAP_DMA, &map);
}

/* An error, or how much was unmapped, in pages. */
static int unmap(int container, uint64_t iova, uint64_t bytes, uint32_t flags)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.flags = flags,
		.iova = iova,
		.size = bytes,
	};
	int error = machine_ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap);

	return error ? error : (int)(unmap.size / PAGE);
}

static int set_iommu(int container, uintptr_t type)
{
	return machine_ioctl(container, VFIO_SET_IOMMU, (void *)type);
}

static int open_container(void)
{
	int container = machine_open("/dev/vfio/vfio");

	assert_true(container >= 0);
	return container;
}

static int open_group(struct fixture *f, size_t device)
{
	char path[64];

	machine_group_path(f->machine->devices[device], path, sizeof(path));
	return machine_open(path);
}

static int get_device(struct fixture *f, int group, size_t device)
{
	return machine_ioctl(group, VFIO_GROUP_GET_DEVICE_FD, (void *)f->machine->devices[device]);
}

/* A container with the group of a device. */
static void begin(struct fixture *f, int *container, int *group)
{
	*container = open_container();
	*group = open_group(f, 0);
	assert_true(*group >= 0);
	assert_returns(machine_ioctl(*group, VFIO_GROUP_SET_CONTAINER, container), 0);
	assert_returns(set_iommu(*container, VFIO_TYPE1v2_IOMMU), 0);
}

static void containers(struct fixture *f)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	int container = open_container(), other = open_container(), wrong = -1, group, second;

	assert_returns(machine_ioctl(container, VFIO_GET_API_VERSION, NULL), VFIO_API_VERSION);
	assert_returns(machine_ioctl(container, VFIO_CHECK_EXTENSION, (void *)VFIO_TYPE1v2_IOMMU),
		       1);
	assert_returns(machine_ioctl(container, VFIO_CHECK_EXTENSION, (void *)VFIO_UNMAP_ALL), 1);
	assert_returns(machine_ioctl(container, VFIO_CHECK_EXTENSION, (void *)99), 0);
	/* Without a group. */
	assert_returns(set_iommu(container, VFIO_TYPE1v2_IOMMU), -EINVAL);
	assert_returns(map(container, IOVA, NULL, PAGE, READ_WRITE), -EINVAL);

	group = open_group(f, 0);
	assert_true(group >= 0);
	assert_returns(open_group(f, 0), -EBUSY);
	assert_returns(machine_ioctl(group, VFIO_GROUP_GET_STATUS, &status), 0);
	assert_int_equal(status.flags, VFIO_GROUP_FLAGS_VIABLE);
	assert_returns(get_device(f, group, 0), -EINVAL);
	assert_returns(machine_ioctl(group, VFIO_GROUP_SET_CONTAINER, &wrong), -EBADF);
	assert_returns(machine_ioctl(group, VFIO_GROUP_SET_CONTAINER, &group), -EBADFD);
	assert_returns(machine_ioctl(group, VFIO_GROUP_UNSET_CONTAINER, NULL), -EINVAL);
	assert_returns(machine_ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), 0);
	assert_returns(machine_ioctl(group, VFIO_GROUP_SET_CONTAINER, &other), -EINVAL);
	assert_returns(machine_ioctl(group, VFIO_GROUP_GET_STATUS, &status), 0);
	assert_int_equal(status.flags, VFIO_GROUP_FLAGS_VIABLE | VFIO_GROUP_FLAGS_CONTAINER_SET);
	/* The group has no IOMMU yet. */
	assert_returns(get_device(f, group, 0), -EINVAL);
	assert_returns(map(container, IOVA, NULL, PAGE, READ_WRITE), -EINVAL);
	assert_returns(set_iommu(container, 99), -ENODEV);
	assert_returns(set_iommu(container, VFIO_TYPE1v2_IOMMU), 0);
	assert_returns(set_iommu(container, VFIO_TYPE1v2_IOMMU), -EINVAL);
	assert_returns(get_device(f, group, 1), -ENODEV);
	assert_returns(machine_ioctl(container, _IO(VFIO_TYPE, VFIO_BASE + 50), NULL), -ENOTTY);
	assert_returns(machine_ioctl(group, _IO(VFIO_TYPE, VFIO_BASE + 50), NULL), -ENOTTY);

	second = open_group(f, 1);
	assert_true(second >= 0);
	assert_returns(machine_ioctl(second, VFIO_GROUP_SET_CONTAINER, &container), 0);
	machine_close(second);
	machine_close(group);
	machine_close(container);
	machine_close(other);
}

/* A device keeps its group busy, and the group its container. */
static void devices(struct fixture *f)
{
	int container, group, device, again;

	begin(f, &container, &group);
	device = get_device(f, group, 0);
	assert_true(device >= 0);
	/* Through its group a device can be opened several times. */
	again = get_device(f, group, 0);
	assert_true(again >= 0);
	machine_close(again);
	assert_returns(machine_ioctl(group, VFIO_GROUP_UNSET_CONTAINER, NULL), -EBUSY);
	/* The device holds the group, and that the container. */
	machine_close(group);
	machine_close(container);
	assert_returns(open_group(f, 0), -EBUSY);
	machine_close(device);
	group = open_group(f, 0);
	assert_true(group >= 0);
	machine_close(group);
}

static void wrong_maps(struct fixture *f)
{
	struct vfio_iommu_type1_dma_map small = {.argsz = 16};
	int container, group;
	void *memory, *read_only;
	char *hole;

	begin(f, &container, &group);
	assert_returns(machine_mmap(BYTES, PROT_READ | PROT_WRITE, &memory), 0);
	assert_returns(machine_mmap(BYTES, PROT_READ, &read_only), 0);
	/* Nothing is mapped there. */
	assert_returns(machine_mmap(BYTES, PROT_READ, (void **)&hole), 0);
	machine_munmap(hole, BYTES);

	assert_returns(machine_ioctl(container, VFIO_IOMMU_MAP_DMA, &small), -EINVAL);
	assert_returns(map(container, IOVA, memory, 0, READ_WRITE), -EINVAL);
	assert_returns(map(container, IOVA, memory, PAGE, 0), -EINVAL);
	assert_returns(map(container, IOVA, memory, PAGE, 1u << 31), -EINVAL);
	assert_returns(map(container, IOVA + 1, memory, PAGE, READ_WRITE), -EINVAL);
	assert_returns(map(container, IOVA, (char *)memory + 1, PAGE, READ_WRITE), -EINVAL);
	assert_returns(map(container, IOVA, memory, PAGE + 1, READ_WRITE), -EINVAL);
	assert_returns(map(container, MSI_WINDOW, memory, PAGE, READ_WRITE), -EINVAL);
	assert_returns(map(container, MSI_WINDOW - PAGE, memory, 2 * PAGE, READ_WRITE), -EINVAL);
	if (!(f->machine->lacks & MACHINE_NARROW))
		assert_returns(map(container, UINT64_C(1) << 60, memory, PAGE, READ_WRITE),
			       -EINVAL);
	assert_returns(map(container, IOVA, hole, PAGE, READ_WRITE), -EFAULT);
	assert_returns(map(container, IOVA, read_only, PAGE, READ_WRITE), -EFAULT);
	assert_returns(map(container, IOVA, read_only, PAGE, VFIO_DMA_MAP_FLAG_READ), 0);
	assert_returns(map(container, IOVA, memory, PAGE, READ_WRITE), -EEXIST);
	assert_returns(map(container, IOVA - PAGE, memory, BYTES, READ_WRITE), -EEXIST);
	/* A mapping that exists is found before an IOVA that is not valid. */
	assert_returns(map(container, IOVA, memory, UINT64_C(1) << 60, READ_WRITE), -EEXIST);
	assert_returns(unmap(container, IOVA, PAGE, 0), 1);
	machine_close(group);
	machine_close(container);
	machine_munmap(memory, BYTES);
	machine_munmap(read_only, BYTES);
}

static void unmaps(struct fixture *f)
{
	struct vfio_iommu_type1_dma_unmap small = {.argsz = 16};
	int container, group;
	void *memory;

	begin(f, &container, &group);
	assert_returns(machine_mmap(BYTES, PROT_READ | PROT_WRITE, &memory), 0);
	assert_returns(machine_ioctl(container, VFIO_IOMMU_UNMAP_DMA, &small), -EINVAL);
	assert_returns(unmap(container, IOVA, 0, 0), -EINVAL);
	assert_returns(unmap(container, IOVA, PAGE, 1u << 31), -EINVAL);
	assert_returns(unmap(container, IOVA + 1, PAGE, 0), -EINVAL);
	assert_returns(unmap(container, IOVA, PAGE + 1, 0), -EINVAL);
	/* Nothing is there: nothing is done. */
	assert_returns(unmap(container, IOVA, BYTES, 0), 0);
	assert_returns(map(container, IOVA, memory, BYTES, READ_WRITE), 0);
	assert_returns(unmap(container, IOVA, PAGE, 0), -EINVAL);
	assert_returns(unmap(container, IOVA + PAGE, BYTES, 0), -EINVAL);
	assert_returns(unmap(container, IOVA - PAGE, BYTES, 0), -EINVAL);
	/* With room on both sides; two with a hole. */
	assert_returns(unmap(container, IOVA - PAGE, BYTES + 2 * PAGE, 0), BYTES / PAGE);
	assert_returns(map(container, IOVA, memory, PAGE, READ_WRITE), 0);
	assert_returns(map(container, IOVA + 2 * PAGE, memory, PAGE, READ_WRITE), 0);
	assert_returns(unmap(container, IOVA, 3 * PAGE, 0), 2);
	assert_returns(map(container, IOVA, memory, PAGE, READ_WRITE), 0);
	assert_returns(map(container, 2 * IOVA, memory, 2 * PAGE, READ_WRITE), 0);
	assert_returns(unmap(container, 0, PAGE, VFIO_DMA_UNMAP_FLAG_ALL), -EINVAL);
	assert_returns(unmap(container, 0, 0, VFIO_DMA_UNMAP_FLAG_ALL), 3);
	/* With its last group the container loses its IOMMU, and all that is mapped. */
	assert_returns(map(container, IOVA, memory, PAGE, READ_WRITE), 0);
	assert_returns(machine_ioctl(group, VFIO_GROUP_UNSET_CONTAINER, NULL), 0);
	assert_returns(unmap(container, IOVA, PAGE, 0), -EINVAL);
	assert_returns(machine_ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), 0);
	assert_returns(set_iommu(container, VFIO_TYPE1v2_IOMMU), 0);
	assert_returns(unmap(container, IOVA, PAGE, 0), 0);
	machine_close(group);
	machine_close(container);
	machine_munmap(memory, BYTES);
}

static void information(struct fixture *f)
{
	struct {
		struct vfio_iommu_type1_info info;
		char capabilities[1024];
	} large = {.info.argsz = sizeof(large)};
	struct vfio_iommu_type1_info info = {.argsz = sizeof(info)};
	const struct vfio_info_cap_header *header;
	unsigned int seen = 0;
	int container, group;

	begin(f, &container, &group);
	assert_returns(machine_ioctl(container, VFIO_IOMMU_GET_INFO, &info), 0);
	/* There is not enough room; it says how much would be. */
	assert_true(info.argsz > sizeof(info) && info.argsz < sizeof(large));
	assert_int_equal(info.flags, VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS);
	assert_int_equal(info.cap_offset, 0);
	assert_true(info.iova_pgsizes & PAGE);
	assert_returns(machine_ioctl(container, VFIO_IOMMU_GET_INFO, &large), 0);
	assert_int_equal(large.info.argsz, sizeof(large));
	for (uint32_t at = large.info.cap_offset; at; at = header->next) {
		header = (const void *)((const char *)&large + at);
		assert_in_range(header->id, 1, 3);
		seen |= 1u << header->id;
	}
	assert_int_equal(seen, 1u << VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE |
				       1u << VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION |
				       1u << VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL);
	info.argsz = 4;
	assert_returns(machine_ioctl(container, VFIO_IOMMU_GET_INFO, &info), -EINVAL);
	machine_close(group);
	machine_close(container);
}

const struct scenario type1_scenarios[] = {
	{.name = "kernel: containers and groups", .run = containers, .only = VFB_BACKEND_TYPE1},
	{.name = "kernel: devices of groups", .run = devices, .only = VFB_BACKEND_TYPE1},
	{.name = "kernel: MAP_DMA refuses", .run = wrong_maps, .only = VFB_BACKEND_TYPE1},
	{.name = "kernel: UNMAP_DMA", .run = unmaps, .only = VFB_BACKEND_TYPE1},
	{.name = "kernel: GET_INFO", .run = information, .only = VFB_BACKEND_TYPE1},
	{0},
};
