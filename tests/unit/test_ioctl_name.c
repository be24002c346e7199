/* SPDX-License-Identifier: MIT */
#include <linux/vfio.h>

#include "host.h"
#include "sys/ioctl_name.h"
#include "sys/uapi.h"

#define NUMBER(request) _IOC_NR(request)

/* Containers and devices share numbers. */
static void test_targets(void **state)
{
	(void)state;
	assert_string_equal(vfb_ioctl_name(VFB_IOCTL_CONTAINER, NUMBER(VFIO_IOMMU_MAP_DMA)),
			    "VFIO_IOMMU_MAP_DMA");
	assert_string_equal(vfb_ioctl_name(VFB_IOCTL_DEVICE, NUMBER(VFIO_DEVICE_PCI_HOT_RESET)),
			    "VFIO_DEVICE_PCI_HOT_RESET");
	assert_string_equal(vfb_ioctl_name(VFB_IOCTL_GROUP, NUMBER(VFIO_GROUP_GET_DEVICE_FD)),
			    "VFIO_GROUP_GET_DEVICE_FD");
	assert_string_equal(vfb_ioctl_name(VFB_IOCTL_IOMMUFD, NUMBER(VFB_IOMMU_IOAS_MAP_FILE)),
			    "IOMMU_IOAS_MAP_FILE");
	/* The newest of Linux 7.3. */
	assert_string_equal(vfb_ioctl_name(VFB_IOCTL_IOMMUFD, 0x95), "IOMMU_IOAS_NOIOMMU_GET_PA");
}

static void test_unknown(void **state)
{
	(void)state;
	assert_null(vfb_ioctl_name(VFB_IOCTL_IOMMUFD, 0x96));
	assert_null(vfb_ioctl_name(VFB_IOCTL_IOMMUFD, 0));
	assert_null(vfb_ioctl_name(VFB_IOCTL_CONTAINER, NUMBER(VFIO_GROUP_GET_DEVICE_FD)));
	assert_null(vfb_ioctl_name(VFB_IOCTL_DEVICE, 0xff));
	assert_null(vfb_ioctl_feature_name(0xffff));
	assert_string_equal(vfb_ioctl_request_name(_IO(VFIO_TYPE, 0xff)), "ioctl");
	assert_string_equal(vfb_ioctl_request_name(_IO('x', NUMBER(VFIO_IOMMU_MAP_DMA))), "ioctl");
}

static void test_features(void **state)
{
	(void)state;
	assert_string_equal(vfb_ioctl_feature_name(VFIO_DEVICE_FEATURE_PCI_VF_TOKEN),
			    "VFIO_DEVICE_FEATURE_PCI_VF_TOKEN");
	assert_string_equal(vfb_ioctl_feature_name(13), "VFIO_DEVICE_FEATURE_ZPCI_ERROR");
}

static void test_requests(void **state)
{
	(void)state;
	assert_string_equal(vfb_ioctl_request_name(VFIO_IOMMU_UNMAP_DMA), "VFIO_IOMMU_UNMAP_DMA");
	assert_string_equal(vfb_ioctl_request_name(VFIO_GROUP_SET_CONTAINER),
			    "VFIO_GROUP_SET_CONTAINER");
	assert_string_equal(vfb_ioctl_request_name(VFIO_DEVICE_RESET), "VFIO_DEVICE_RESET");
	assert_string_equal(vfb_ioctl_request_name(VFIO_DEVICE_FEATURE), "VFIO_DEVICE_FEATURE");
	assert_string_equal(vfb_ioctl_request_name(VFB_IOMMU_HWPT_ALLOC), "IOMMU_HWPT_ALLOC");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_targets),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_requests),
	};

	return cmocka_run_group_tests_name("ioctl_name", tests, NULL, NULL);
}
