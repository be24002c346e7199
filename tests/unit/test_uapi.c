/* SPDX-License-Identifier: MIT */
/* lib/sys/uapi.h says what the kernel's headers say, where this host has them. */
#include "host.h"
#include "sys/uapi.h"

#if __has_include(<linux/iommufd.h>)
#include <linux/iommufd.h>
#define HAVE_IOMMUFD 1
#else
#define HAVE_IOMMUFD 0
#endif

#define SAME_SIZE(ours, theirs) assert_int_equal(sizeof(struct ours), sizeof(struct theirs))
#define SAME_FIELD(ours, theirs, field) \
	assert_int_equal(offsetof(struct ours, field), offsetof(struct theirs, field))

static void test_iommufd(void **state)
{
	(void)state;
#if HAVE_IOMMUFD
	assert_int_equal(VFB_IOMMU_DESTROY, IOMMU_DESTROY);
	assert_int_equal(VFB_IOMMU_IOAS_ALLOC, IOMMU_IOAS_ALLOC);
	assert_int_equal(VFB_IOMMU_IOAS_IOVA_RANGES, IOMMU_IOAS_IOVA_RANGES);
	assert_int_equal(VFB_IOMMU_IOAS_MAP, IOMMU_IOAS_MAP);
	assert_int_equal(VFB_IOMMU_IOAS_UNMAP, IOMMU_IOAS_UNMAP);
	assert_int_equal(VFB_IOMMU_IOAS_MAP_FIXED_IOVA, IOMMU_IOAS_MAP_FIXED_IOVA);
	assert_int_equal(VFB_IOMMU_IOAS_MAP_WRITEABLE, IOMMU_IOAS_MAP_WRITEABLE);
	assert_int_equal(VFB_IOMMU_IOAS_MAP_READABLE, IOMMU_IOAS_MAP_READABLE);
	SAME_SIZE(vfb_iommu_destroy, iommu_destroy);
	SAME_FIELD(vfb_iommu_destroy, iommu_destroy, id);
	SAME_SIZE(vfb_iommu_ioas_alloc, iommu_ioas_alloc);
	SAME_FIELD(vfb_iommu_ioas_alloc, iommu_ioas_alloc, flags);
	SAME_FIELD(vfb_iommu_ioas_alloc, iommu_ioas_alloc, out_ioas_id);
	SAME_SIZE(vfb_iommu_iova_range, iommu_iova_range);
	SAME_FIELD(vfb_iommu_iova_range, iommu_iova_range, last);
	SAME_SIZE(vfb_iommu_ioas_iova_ranges, iommu_ioas_iova_ranges);
	SAME_FIELD(vfb_iommu_ioas_iova_ranges, iommu_ioas_iova_ranges, ioas_id);
	SAME_FIELD(vfb_iommu_ioas_iova_ranges, iommu_ioas_iova_ranges, num_iovas);
	SAME_FIELD(vfb_iommu_ioas_iova_ranges, iommu_ioas_iova_ranges, allowed_iovas);
	SAME_FIELD(vfb_iommu_ioas_iova_ranges, iommu_ioas_iova_ranges, out_iova_alignment);
	SAME_SIZE(vfb_iommu_ioas_map, iommu_ioas_map);
	SAME_FIELD(vfb_iommu_ioas_map, iommu_ioas_map, flags);
	SAME_FIELD(vfb_iommu_ioas_map, iommu_ioas_map, ioas_id);
	SAME_FIELD(vfb_iommu_ioas_map, iommu_ioas_map, user_va);
	SAME_FIELD(vfb_iommu_ioas_map, iommu_ioas_map, length);
	SAME_FIELD(vfb_iommu_ioas_map, iommu_ioas_map, iova);
	SAME_SIZE(vfb_iommu_ioas_unmap, iommu_ioas_unmap);
	SAME_FIELD(vfb_iommu_ioas_unmap, iommu_ioas_unmap, ioas_id);
	SAME_FIELD(vfb_iommu_ioas_unmap, iommu_ioas_unmap, iova);
	SAME_FIELD(vfb_iommu_ioas_unmap, iommu_ioas_unmap, length);
	assert_int_equal(VFB_IOMMU_VFIO_IOAS, IOMMU_VFIO_IOAS);
	assert_int_equal(VFB_IOMMU_VFIO_IOAS_GET, IOMMU_VFIO_IOAS_GET);
	assert_int_equal(VFB_IOMMU_VFIO_IOAS_SET, IOMMU_VFIO_IOAS_SET);
	assert_int_equal(VFB_IOMMU_HWPT_ALLOC, IOMMU_HWPT_ALLOC);
	SAME_SIZE(vfb_iommu_vfio_ioas, iommu_vfio_ioas);
	SAME_FIELD(vfb_iommu_vfio_ioas, iommu_vfio_ioas, ioas_id);
	SAME_FIELD(vfb_iommu_vfio_ioas, iommu_vfio_ioas, op);
	SAME_FIELD(vfb_iommu_hwpt_alloc, iommu_hwpt_alloc, dev_id);
	SAME_FIELD(vfb_iommu_hwpt_alloc, iommu_hwpt_alloc, pt_id);
	SAME_FIELD(vfb_iommu_hwpt_alloc, iommu_hwpt_alloc, out_hwpt_id);
#ifdef IOMMU_IOAS_MAP_FILE
	assert_int_equal(VFB_IOMMU_IOAS_MAP_FILE, IOMMU_IOAS_MAP_FILE);
	SAME_SIZE(vfb_iommu_ioas_map_file, iommu_ioas_map_file);
	SAME_FIELD(vfb_iommu_ioas_map_file, iommu_ioas_map_file, fd);
	SAME_FIELD(vfb_iommu_ioas_map_file, iommu_ioas_map_file, start);
	SAME_FIELD(vfb_iommu_ioas_map_file, iommu_ioas_map_file, iova);
	assert_int_equal(VFB_IOMMU_IOAS_CHANGE_PROCESS, IOMMU_IOAS_CHANGE_PROCESS);
#endif
#else
	skip();
#endif
}

static void test_device_nodes(void **state)
{
	(void)state;
#ifdef VFIO_DEVICE_BIND_IOMMUFD
	assert_int_equal(VFB_VFIO_DEVICE_BIND_IOMMUFD, VFIO_DEVICE_BIND_IOMMUFD);
	SAME_FIELD(vfb_vfio_device_bind_iommufd, vfio_device_bind_iommufd, argsz);
	SAME_FIELD(vfb_vfio_device_bind_iommufd, vfio_device_bind_iommufd, flags);
	SAME_FIELD(vfb_vfio_device_bind_iommufd, vfio_device_bind_iommufd, iommufd);
	SAME_FIELD(vfb_vfio_device_bind_iommufd, vfio_device_bind_iommufd, out_devid);
	assert_int_equal(VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT, VFIO_DEVICE_ATTACH_IOMMUFD_PT);
	assert_int_equal(VFB_VFIO_DEVICE_DETACH_IOMMUFD_PT, VFIO_DEVICE_DETACH_IOMMUFD_PT);
	assert_int_equal(VFB_VFIO_PCI_HOT_RESET_FLAG_DEV_ID, VFIO_PCI_HOT_RESET_FLAG_DEV_ID);
	SAME_FIELD(vfb_vfio_device_attach_iommufd_pt, vfio_device_attach_iommufd_pt, argsz);
	SAME_FIELD(vfb_vfio_device_attach_iommufd_pt, vfio_device_attach_iommufd_pt, flags);
	SAME_FIELD(vfb_vfio_device_attach_iommufd_pt, vfio_device_attach_iommufd_pt, pt_id);
#else
	skip();
#endif
}

static void test_dma_buf(void **state)
{
	(void)state;
#ifdef VFIO_DEVICE_FEATURE_DMA_BUF
	assert_int_equal(VFB_VFIO_DEVICE_FEATURE_DMA_BUF, VFIO_DEVICE_FEATURE_DMA_BUF);
	SAME_SIZE(vfb_vfio_region_dma_range, vfio_region_dma_range);
	SAME_SIZE(vfb_vfio_device_feature_dma_buf, vfio_device_feature_dma_buf);
	SAME_FIELD(vfb_vfio_device_feature_dma_buf, vfio_device_feature_dma_buf, region_index);
	SAME_FIELD(vfb_vfio_device_feature_dma_buf, vfio_device_feature_dma_buf, open_flags);
	SAME_FIELD(vfb_vfio_device_feature_dma_buf, vfio_device_feature_dma_buf, nr_ranges);
#else
	skip();
#endif
}

/* That no data is passed is a bit of its own on POWER, and none elsewhere. */
#define NUMBER(number) ((number) | _IOC_NONE << _IOC_DIRSHIFT)

/* The numbers themselves, from Linux 6.6, for hosts that have neither. */
static void test_numbers(void **state)
{
	(void)state;
	assert_int_equal(VFB_IOMMU_DESTROY, NUMBER(0x3b80));
	assert_int_equal(VFB_IOMMU_IOAS_ALLOC, NUMBER(0x3b81));
	assert_int_equal(VFB_IOMMU_IOAS_IOVA_RANGES, NUMBER(0x3b84));
	assert_int_equal(VFB_IOMMU_IOAS_MAP, NUMBER(0x3b85));
	assert_int_equal(VFB_IOMMU_IOAS_UNMAP, NUMBER(0x3b86));
	assert_int_equal(VFB_VFIO_DEVICE_BIND_IOMMUFD, NUMBER(0x3b76));
	assert_int_equal(VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT, NUMBER(0x3b77));
	assert_int_equal(VFB_VFIO_DEVICE_DETACH_IOMMUFD_PT, NUMBER(0x3b78));
	assert_int_equal(sizeof(struct vfb_iommu_ioas_alloc), 12);
	assert_int_equal(sizeof(struct vfb_iommu_ioas_iova_ranges), 32);
	assert_int_equal(sizeof(struct vfb_iommu_ioas_map), 40);
	assert_int_equal(sizeof(struct vfb_iommu_ioas_unmap), 24);
	assert_int_equal(VFB_IOMMU_VFIO_IOAS, NUMBER(0x3b88));
	assert_int_equal(VFB_IOMMU_HWPT_ALLOC, NUMBER(0x3b89));
	assert_int_equal(VFB_IOMMU_IOAS_MAP_FILE, NUMBER(0x3b8f));
	assert_int_equal(VFB_IOMMU_IOAS_CHANGE_PROCESS, NUMBER(0x3b92));
	assert_int_equal(sizeof(struct vfb_iommu_ioas_map_file), 40);
	assert_int_equal(sizeof(struct vfb_vfio_device_bind_iommufd), 16);
	assert_int_equal(sizeof(struct vfb_vfio_device_attach_iommufd_pt), 12);
	assert_int_equal(VFB_VFIO_DEVICE_FEATURE_DMA_BUF, 11);
	assert_int_equal(sizeof(struct vfb_vfio_device_feature_dma_buf), 16);
	assert_int_equal(MADV_POPULATE_WRITE, 23);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_iommufd),
		cmocka_unit_test(test_device_nodes),
		cmocka_unit_test(test_dma_buf),
		cmocka_unit_test(test_numbers),
	};

	return cmocka_run_group_tests_name("uapi", tests, NULL, NULL);
}
