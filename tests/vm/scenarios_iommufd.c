/* SPDX-License-Identifier: MIT */
/*
 * What iommufd answers to requests that the library never makes, unless it is wrong or another
 * thread was faster: the fake kernel has to give the same.
 */
#include <sys/mman.h>

#include "scenario.h"
#include "sys/uapi.h"

#define BYTES (16 * PAGE)
#define IOVA  GIB
#define FIXED \
	(VFB_IOMMU_IOAS_MAP_FIXED_IOVA | VFB_IOMMU_IOAS_MAP_READABLE | VFB_IOMMU_IOAS_MAP_WRITEABLE)

struct setting {
	int iommufd;
	uint32_t ioas;
};

static uint32_t make_ioas(int iommufd)
{
	struct vfb_iommu_ioas_alloc alloc = {.size = sizeof(alloc)};

	assert_returns(machine_ioctl(iommufd, VFB_IOMMU_IOAS_ALLOC, &alloc), 0);
	return alloc.out_ioas_id;
}

static struct setting begin(void)
{
	struct setting s = {.iommufd = machine_open("/dev/iommu")};

	assert_true(s.iommufd >= 0);
	s.ioas = make_ioas(s.iommufd);
	return s;
}

static int map(const struct setting *s, uint64_t iova, const void *address, uint64_t bytes,
	       uint32_t flags)
{
	struct vfb_iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = flags,
		.ioas_id = s->ioas,
		.user_va = (uintptr_t)address,
		.length = bytes,
		.iova = iova,
	};

	return machine_ioctl(s->iommufd, VFB_IOMMU_IOAS_MAP, &map);
}

/* An error, or how much was unmapped, in pages. */
static int unmap(const struct setting *s, uint64_t iova, uint64_t bytes)
{
	struct vfb_iommu_ioas_unmap unmap = {
		.size = sizeof(unmap),
		.ioas_id = s->ioas,
		.iova = iova,
		.length = bytes,
	};
	int error = machine_ioctl(s->iommufd, VFB_IOMMU_IOAS_UNMAP, &unmap);

	return error ? error : (int)(unmap.length / PAGE);
}

static int destroy(const struct setting *s, uint32_t id)
{
	struct vfb_iommu_destroy destroy = {.size = sizeof(destroy), .id = id};

	return machine_ioctl(s->iommufd, VFB_IOMMU_DESTROY, &destroy);
}

static int open_node(struct fixture *f, size_t device)
{
	char path[64];

	machine_node_path(f->machine->devices[device], path, sizeof(path));
	return machine_open(path);
}

static int bind_to(int device, int iommufd, uint32_t *id)
{
	struct vfb_vfio_device_bind_iommufd bind = {.argsz = sizeof(bind), .iommufd = iommufd};
	int error = machine_ioctl(device, VFB_VFIO_DEVICE_BIND_IOMMUFD, &bind);

	*id = error ? 0 : bind.out_devid;
	return error;
}

static int attach(int device, uint32_t id)
{
	struct vfb_vfio_device_attach_iommufd_pt attach = {.argsz = sizeof(attach), .pt_id = id};

	return machine_ioctl(device, VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
}

static int open_attached(struct fixture *f, const struct setting *s)
{
	int device = open_node(f, 0);
	uint32_t id;

	assert_true(device >= 0);
	assert_returns(bind_to(device, s->iommufd, &id), 0);
	assert_returns(attach(device, s->ioas), 0);
	return device;
}

static void devices(struct fixture *f)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	struct setting s = begin(), other = begin();
	int device = open_node(f, 0), again, group;
	uint32_t id, ignored;
	char path[64];

	assert_true(device >= 0);
	/* Nothing goes before it is bound. */
	assert_returns(machine_ioctl(device, VFIO_DEVICE_GET_INFO, &info), -EINVAL);
	assert_returns(attach(device, s.ioas), -EINVAL);
	assert_returns(bind_to(device, -1, &id), -EINVAL);
	assert_returns(bind_to(device, 999, &id), -EBADF);
	assert_returns(bind_to(device, device, &id), -EBADFD);
	assert_returns(bind_to(device, s.iommufd, &id), 0);
	assert_true(id > 0 && id != s.ioas);
	assert_returns(bind_to(device, s.iommufd, &ignored), -EINVAL);
	assert_returns(machine_ioctl(device, VFIO_DEVICE_GET_INFO, &info), 0);

	/* The node may be opened again, to no avail. */
	again = open_node(f, 0);
	assert_true(again >= 0);
	assert_returns(bind_to(again, s.iommufd, &ignored), -EINVAL);
	assert_returns(bind_to(again, other.iommufd, &ignored), -EINVAL);
	machine_close(again);
	machine_group_path(f->machine->devices[0], path, sizeof(path));
	assert_returns(machine_open(path), -EBUSY);

	assert_returns(attach(device, 9999), -ENOENT);
	assert_returns(attach(device, id), -EINVAL);
	assert_returns(attach(device, s.ioas), 0);
	assert_returns(attach(device, s.ioas), 0);
	assert_returns(destroy(&s, s.ioas), -EBUSY);
	assert_returns(destroy(&s, id), -EBUSY);
	assert_returns(destroy(&s, 9999), -ENOENT);
	machine_close(device);
	assert_returns(destroy(&s, s.ioas), 0);

	/* Now the group has it. */
	group = machine_open(path);
	assert_true(group >= 0);
	device = open_node(f, 0);
	assert_true(device >= 0);
	assert_returns(bind_to(device, s.iommufd, &id), -EBUSY);
	machine_close(device);
	machine_close(group);
	machine_close(s.iommufd);
	machine_close(other.iommufd);
}

/* The device holds the iommufd. */
static void closing_order(struct fixture *f)
{
	struct setting s = begin();
	int device = open_attached(f, &s);
	void *memory;

	assert_returns(machine_mmap(BYTES, PROT_READ | PROT_WRITE, &memory), 0);
	assert_returns(map(&s, IOVA, memory, BYTES, FIXED), 0);
	machine_close(s.iommufd);
	machine_close(device);
	machine_munmap(memory, BYTES);
	s = begin();
	machine_close(open_attached(f, &s));
	machine_close(s.iommufd);
}

static void wrong_maps(struct fixture *f)
{
	struct vfb_iommu_ioas_map small = {.size = 8};
	const uint32_t write = VFB_IOMMU_IOAS_MAP_FIXED_IOVA | VFB_IOMMU_IOAS_MAP_WRITEABLE;
	const uint32_t read = VFB_IOMMU_IOAS_MAP_FIXED_IOVA | VFB_IOMMU_IOAS_MAP_READABLE;
	struct setting s = begin(), nowhere = {.iommufd = s.iommufd, .ioas = 9999};
	int device = open_attached(f, &s);
	void *memory, *read_only, *hole;

	assert_returns(machine_mmap(BYTES, PROT_READ | PROT_WRITE, &memory), 0);
	assert_returns(machine_mmap(BYTES, PROT_READ, &read_only), 0);
	assert_returns(machine_mmap(BYTES, PROT_READ, &hole), 0);
	machine_munmap(hole, BYTES);

	assert_returns(machine_ioctl(s.iommufd, VFB_IOMMU_IOAS_MAP, &small), -EINVAL);
	assert_returns(map(&nowhere, IOVA, memory, PAGE, FIXED), -ENOENT);
	assert_returns(map(&s, IOVA, memory, 0, FIXED), -EINVAL);
	assert_returns(map(&s, IOVA, memory, PAGE, VFB_IOMMU_IOAS_MAP_FIXED_IOVA), -EINVAL);
	assert_returns(map(&s, IOVA, memory, PAGE, FIXED | 1u << 31), -EOPNOTSUPP);
	assert_returns(map(&s, IOVA + 1, memory, PAGE, FIXED), -EINVAL);
	assert_returns(map(&s, IOVA, (char *)memory + 1, PAGE, FIXED), -EINVAL);
	assert_returns(map(&s, IOVA, memory, PAGE + 1, FIXED), -EINVAL);
	assert_returns(map(&s, MSI_WINDOW, memory, PAGE, FIXED), -EINVAL);
	assert_returns(map(&s, MSI_WINDOW - PAGE, memory, 2 * PAGE, FIXED), -EINVAL);
	assert_returns(map(&s, UINT64_C(1) << 60, memory, PAGE, FIXED), -EINVAL);
	assert_returns(map(&s, -PAGE, memory, 2 * PAGE, FIXED), -EOVERFLOW);
	assert_returns(map(&s, IOVA, hole, PAGE, FIXED), -EFAULT);
	assert_returns(map(&s, IOVA, read_only, PAGE, FIXED), -EFAULT);
	assert_returns(map(&s, IOVA, read_only, PAGE, write), -EFAULT);
	assert_returns(map(&s, IOVA, read_only, PAGE, read), 0);
	assert_returns(map(&s, IOVA, memory, PAGE, FIXED), -EEXIST);
	assert_returns(map(&s, IOVA - PAGE, memory, BYTES, FIXED), -EEXIST);
	/* An IOVA that is not valid is found before a mapping that exists. */
	assert_returns(map(&s, IOVA, memory, UINT64_C(1) << 60, FIXED), -EINVAL);
	assert_returns(unmap(&s, IOVA, PAGE), 1);
	machine_close(device);
	machine_close(s.iommufd);
	machine_munmap(memory, BYTES);
	machine_munmap(read_only, BYTES);
}

static void unmaps(struct fixture *f)
{
	struct setting s = begin(), nowhere = {.iommufd = s.iommufd, .ioas = 9999};
	int device = open_attached(f, &s);
	void *memory;

	assert_returns(machine_mmap(BYTES, PROT_READ | PROT_WRITE, &memory), 0);
	assert_returns(unmap(&nowhere, IOVA, PAGE), -ENOENT);
	assert_returns(unmap(&s, IOVA, 0), -EINVAL);
	assert_returns(unmap(&s, -PAGE, 2 * PAGE), -EOVERFLOW);
	assert_returns(unmap(&s, IOVA, PAGE), -ENOENT);
	/* All of nothing. */
	assert_returns(unmap(&s, 0, UINT64_MAX), 0);
	assert_returns(map(&s, IOVA, memory, BYTES, FIXED), 0);
	assert_returns(unmap(&s, IOVA, PAGE), -ENOENT);
	assert_returns(unmap(&s, IOVA + 1, PAGE), -ENOENT);
	assert_returns(unmap(&s, IOVA + PAGE, BYTES), -ENOENT);
	assert_returns(unmap(&s, IOVA - PAGE, BYTES), -ENOENT);
	/* With room on both sides; two with a hole; one of two before that is cut. */
	assert_returns(unmap(&s, IOVA - PAGE, BYTES + 2 * PAGE), BYTES / PAGE);
	assert_returns(map(&s, IOVA, memory, PAGE, FIXED), 0);
	assert_returns(map(&s, IOVA + 2 * PAGE, memory, 2 * PAGE, FIXED), 0);
	assert_returns(unmap(&s, IOVA, 3 * PAGE), -ENOENT);
	assert_returns(unmap(&s, IOVA, PAGE), -ENOENT);
	assert_returns(unmap(&s, IOVA, 4 * PAGE), 2);
	assert_returns(map(&s, IOVA, memory, PAGE, FIXED), 0);
	assert_returns(map(&s, 2 * IOVA, memory, 2 * PAGE, FIXED), 0);
	assert_returns(unmap(&s, 0, UINT64_MAX), 3);
	machine_close(device);
	machine_close(s.iommufd);
	machine_munmap(memory, BYTES);
}

/* Without a device nothing is pinned, and little is refused; the device finds out. */
static void without_domain(struct fixture *f)
{
	struct setting s = begin();
	int device = open_node(f, 0);
	void *memory, *hole;
	uint32_t id;

	assert_returns(machine_mmap(BYTES, PROT_READ | PROT_WRITE, &memory), 0);
	assert_returns(machine_mmap(BYTES, PROT_READ, &hole), 0);
	machine_munmap(hole, BYTES);
	assert_returns(bind_to(device, s.iommufd, &id), 0);
	/* IOVAs of which the device knows that they are not for it. */
	assert_returns(map(&s, MSI_WINDOW, memory, PAGE, FIXED), 0);
	assert_returns(attach(device, s.ioas), -EADDRINUSE);
	assert_returns(unmap(&s, MSI_WINDOW, PAGE), 1);
	assert_returns(map(&s, UINT64_C(1) << 60, memory, PAGE, FIXED), 0);
	assert_returns(attach(device, s.ioas), -EADDRINUSE);
	assert_returns(unmap(&s, UINT64_C(1) << 60, PAGE), 1);
	/* Addresses that are not there. */
	assert_returns(map(&s, IOVA, hole, PAGE, FIXED), 0);
	assert_returns(attach(device, s.ioas), -EFAULT);
	assert_returns(unmap(&s, IOVA, PAGE), 1);
	assert_returns(map(&s, IOVA, memory, PAGE, FIXED), 0);
	assert_returns(attach(device, s.ioas), 0);
	machine_close(device);
	/* It outlives the device, without a domain. */
	assert_returns(map(&s, IOVA, memory, PAGE, FIXED), -EEXIST);
	assert_returns(unmap(&s, IOVA, PAGE), 1);
	machine_close(s.iommufd);
	machine_munmap(memory, BYTES);
}

static void ranges(struct fixture *f)
{
	struct vfb_iommu_iova_range range[4];
	struct vfb_iommu_ioas_iova_ranges query = {
		.size = sizeof(query),
		.allowed_iovas = (uintptr_t)range,
	};
	struct setting s = begin();
	int device;

	query.ioas_id = s.ioas;
	assert_returns(machine_ioctl(s.iommufd, VFB_IOMMU_IOAS_IOVA_RANGES, &query), -EMSGSIZE);
	assert_int_equal(query.num_iovas, 1);
	assert_returns(machine_ioctl(s.iommufd, VFB_IOMMU_IOAS_IOVA_RANGES, &query), 0);
	assert_int_equal(range[0].start, 0);
	assert_int_equal(range[0].last, UINT64_MAX);
	assert_int_equal(query.out_iova_alignment, 1);
	device = open_attached(f, &s);
	query.num_iovas = 1;
	assert_returns(machine_ioctl(s.iommufd, VFB_IOMMU_IOAS_IOVA_RANGES, &query), -EMSGSIZE);
	assert_int_equal(query.num_iovas, 2);
	query.num_iovas = COUNT(range);
	assert_returns(machine_ioctl(s.iommufd, VFB_IOMMU_IOAS_IOVA_RANGES, &query), 0);
	assert_int_equal(query.num_iovas, 2);
	assert_int_equal(range[0].last, MSI_WINDOW - 1);
	assert_int_equal(range[1].start, MSI_WINDOW + MIB);
	assert_int_equal(query.out_iova_alignment, PAGE);
	query.ioas_id = 9999;
	assert_returns(machine_ioctl(s.iommufd, VFB_IOMMU_IOAS_IOVA_RANGES, &query), -ENOENT);
	machine_close(device);
	machine_close(s.iommufd);
}

const struct scenario iommufd_scenarios[] = {
	{.name = "kernel: devices", .run = devices, .only = VFB_BACKEND_IOMMUFD},
	{.name = "kernel: order of closing", .run = closing_order, .only = VFB_BACKEND_IOMMUFD},
	{.name = "kernel: IOAS_MAP refuses", .run = wrong_maps, .only = VFB_BACKEND_IOMMUFD},
	{.name = "kernel: IOAS_UNMAP", .run = unmaps, .only = VFB_BACKEND_IOMMUFD},
	{.name = "kernel: mapping without a domain",
	 .run = without_domain,
	 .only = VFB_BACKEND_IOMMUFD},
	{.name = "kernel: IOAS_IOVA_RANGES", .run = ranges, .only = VFB_BACKEND_IOMMUFD},
	{0},
};
