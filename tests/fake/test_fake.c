/* SPDX-License-Identifier: MIT */
/* The fake kernel, tested through its table as the library would use it. */
#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/mman.h>

#include "test_fake.h"

void assert_no_leaks(struct fake *fake)
{
	char text[4096];

	if (fake_leaks(fake, text, sizeof(text)))
		fail_msg("left over:\n%s", text);
}

void *map_anon(const struct vfb_sys *sys, size_t bytes, int flags)
{
	void *memory = NULL;

	assert_int_equal(sys->mmap(sys, NULL, bytes, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0, &memory),
			 0);
	return memory;
}

int map_dma(const struct vfb_sys *sys, int container, uint64_t iova, void *vaddr, uint64_t bytes)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)vaddr,
		.iova = iova,
		.size = bytes,
	};

	return sys->ioctl(sys, container, VFIO_IOMMU_MAP_DMA, &map);
}

int64_t unmap_dma(const struct vfb_sys *sys, int container, uint64_t iova, uint64_t bytes)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.iova = iova,
		.size = bytes,
	};
	int error = sys->ioctl(sys, container, VFIO_IOMMU_UNMAP_DMA, &unmap);

	return error ? error : (int64_t)unmap.size;
}

/* A container with one group in it. */
void open_type1(const struct vfb_sys *sys, unsigned int number, int *container, int *group)
{
	char path[32];

	snprintf(path, sizeof(path), "/dev/vfio/%u", number);
	*container = sys->open(sys, "/dev/vfio/vfio", O_RDWR);
	assert_true(*container >= 0);
	*group = sys->open(sys, path, O_RDWR);
	assert_true(*group >= 0);
	assert_int_equal(sys->ioctl(sys, *group, VFIO_GROUP_SET_CONTAINER, container), 0);
	assert_int_equal(sys->ioctl(sys, *container, VFIO_SET_IOMMU,
				    (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU),
			 0);
}

uint32_t ioas_alloc(const struct vfb_sys *sys, int iommufd)
{
	struct vfb_iommu_ioas_alloc alloc = {.size = sizeof(alloc)};

	assert_int_equal(sys->ioctl(sys, iommufd, VFB_IOMMU_IOAS_ALLOC, &alloc), 0);
	return alloc.out_ioas_id;
}

int ioas_map(const struct vfb_sys *sys, int iommufd, uint32_t ioas, uint64_t iova, void *vaddr,
	     uint64_t bytes)
{
	struct vfb_iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = VFB_IOMMU_IOAS_MAP_FIXED_IOVA | VFB_IOMMU_IOAS_MAP_READABLE |
			 VFB_IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = ioas,
		.user_va = (uintptr_t)vaddr,
		.length = bytes,
		.iova = iova,
	};

	return sys->ioctl(sys, iommufd, VFB_IOMMU_IOAS_MAP, &map);
}

int64_t ioas_unmap(const struct vfb_sys *sys, int iommufd, uint32_t ioas, uint64_t iova,
		   uint64_t bytes)
{
	struct vfb_iommu_ioas_unmap unmap = {
		.size = sizeof(unmap),
		.ioas_id = ioas,
		.iova = iova,
		.length = bytes,
	};
	int error = sys->ioctl(sys, iommufd, VFB_IOMMU_IOAS_UNMAP, &unmap);

	return error ? error : (int64_t)unmap.length;
}

int destroy(const struct vfb_sys *sys, int iommufd, uint32_t id)
{
	struct vfb_iommu_destroy destroy = {.size = sizeof(destroy), .id = id};

	return sys->ioctl(sys, iommufd, VFB_IOMMU_DESTROY, &destroy);
}

int bind_device(const struct vfb_sys *sys, int device, int iommufd)
{
	struct vfb_vfio_device_bind_iommufd bind = {.argsz = sizeof(bind), .iommufd = iommufd};

	return sys->ioctl(sys, device, VFB_VFIO_DEVICE_BIND_IOMMUFD, &bind);
}

int attach_device(const struct vfb_sys *sys, int device, uint32_t id)
{
	struct vfb_vfio_device_attach_iommufd_pt attach = {.argsz = sizeof(attach), .pt_id = id};

	return sys->ioctl(sys, device, VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
}

void add_device(struct fake *fake, const char *address, unsigned int group, const char *bridge)
{
	fake_add_device(fake, &(struct fake_device){.address = address,
						    .group = group,
						    .bridge = bridge,
						    .driver = "vfio-pci"});
}

int main(void)
{
	int failed = 0;

	failed += run_clock_tests();
	failed += run_memory_tests();
	failed += run_sysfs_tests();
	failed += run_type1_tests();
	failed += run_spapr_tests();
	failed += run_iommufd_tests();
	failed += run_device_tests();
	failed += run_inject_tests();
	return failed ? 1 : 0;
}
