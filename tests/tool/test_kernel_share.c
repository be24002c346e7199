/* SPDX-License-Identifier: MIT */
/* What is read from the text of ftrace's function_graph tracer. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernel_share.h"

static void parse(struct kernel_share *share, const char *const *lines)
{
	struct kernel_parser *parser = kernel_parser_create(share);

	assert_non_null(parser);
	for (; *lines; lines++)
		kernel_parser_line(parser, *lines);
	kernel_parser_destroy(parser);
}

static void assert_us(double value, double expected)
{
	if (fabs(value - expected) > 0.001)
		fail_msg("%f is not %f", value, expected);
}

/* Two threads at once, one of them with a dash in its name; parts without what they called. */
static void test_map(void **state)
{
	static const char *const lines[] = {
		"# tracer: function_graph",
		"#     TIME        TASK/PID         DURATION            FUNCTION CALLS",
		"   10.000001 |  vfb-n0-0-77   |               |  iommufd_ioas_map() {",
		"   10.000002 |  vfb-n0-0-77   |               |    pin_user_pages_fast() {",
		"   10.000002 |  vfb-n1-0-78   |               |  do_madvise() {",
		"   10.000003 |  vfb-n0-0-77   |               |      handle_mm_fault() {",
		"   10.000003 |  vfb-n1-0-78   | + 30.000 us   |    handle_mm_fault();",
		"   10.000004 |  vfb-n0-0-77   | ! 100.000 us  |        folio_zero_user();",
		"   10.000005 |  vfb-n0-0-77   | ! 110.000 us  |      } /* handle_mm_fault */",
		"   10.000006 |  vfb-n0-0-77   | ! 125.000 us  |    } /* pin_user_pages_fast */",
		"   10.000007 |  vfb-n0-0-77   |               |    iommu_map_nosync() {",
		"   10.000007 |  vfb-n0-0-77   |               |      /* map: IOMMU: "
		"iova=0x0000000000000000 - 0x0000000000200000 paddr=0x0000000004000000 "
		"size=2097152 */",
		"   10.000008 |  vfb-n0-0-77   |   4.000 us    |    } /* iommu_map_nosync */",
		"   10.000009 |  vfb-n0-0-77   | # 1135.500 us |  } /* iommufd_ioas_map */",
		"   10.000009 |  vfb-n1-0-78   | + 40.000 us   |  } /* do_madvise */",
		NULL,
	};
	struct kernel_share share;

	(void)state;
	parse(&share, lines);
	assert_int_equal(share.operations[KERNEL_MAP].count, 1);
	assert_us(share.operations[KERNEL_MAP].total_us, 1135.5);
	assert_us(share.operations[KERNEL_MAP].parts_us[KERNEL_CLEAR], 100);
	assert_us(share.operations[KERNEL_MAP].parts_us[KERNEL_FAULT], 10);
	assert_us(share.operations[KERNEL_MAP].parts_us[KERNEL_PIN], 15);
	assert_us(share.operations[KERNEL_MAP].parts_us[KERNEL_IOMMU_MAP], 4);
	assert_us(share.operations[KERNEL_MAP].parts_us[KERNEL_REST], 1006.5);
	assert_int_equal(share.operations[KERNEL_POPULATE].count, 1);
	assert_us(share.operations[KERNEL_POPULATE].parts_us[KERNEL_FAULT], 30);
	assert_us(share.operations[KERNEL_POPULATE].parts_us[KERNEL_REST], 10);
	assert_int_equal(share.runs[21], 1);
}

/* A container's ioctl is what it did; functions of modules have their module's name behind. */
static void test_type1(void **state)
{
	static const char *const lines[] = {
		" 1.1 | a-1 |               | vfio_iommu_type1_ioctl [vfio_iommu_type1]() {",
		" 1.2 | a-1 |   3.000 us    |   iommu_map();",
		" 1.3 | a-1 |   9.000 us    | } /* vfio_iommu_type1_ioctl [vfio_iommu_type1] */",
		" 1.4 | a-1 |               | vfio_iommu_type1_ioctl [vfio_iommu_type1]() {",
		" 1.5 | a-1 |   5.000 us    |   iommu_unmap_fast();",
		" 1.6 | a-1 |   7.000 us    | } /* vfio_iommu_type1_ioctl [vfio_iommu_type1] */",
		" 1.7 | a-1 |   1.000 us    | vfio_iommu_type1_ioctl [vfio_iommu_type1]();",
		" 1.8 | a-1 |               | vfio_pci_core_enable [vfio_pci_core]() {",
		" 1.9 | a-1 | @ 100000.0 us |   __pci_reset_function_locked();",
		" 2.0 | a-1 | @ 100010.0 us | } /* vfio_pci_core_enable [vfio_pci_core] */",
		NULL,
	};
	struct kernel_share share;

	(void)state;
	parse(&share, lines);
	assert_int_equal(share.operations[KERNEL_MAP].count, 1);
	assert_int_equal(share.operations[KERNEL_UNMAP].count, 1);
	assert_us(share.operations[KERNEL_MAP].parts_us[KERNEL_REST], 6);
	assert_us(share.operations[KERNEL_OPEN].parts_us[KERNEL_RESET], 100000);
	assert_us(share.operations[KERNEL_OPEN].parts_us[KERNEL_REST], 10);
}

/* What was cut off at either end, and lines that are none. */
static void test_damaged(void **state)
{
	static const char *const lines[] = {
		"",
		"|",
		"||||",
		" 1.0 | nothing | 1 us | iommu_map();",
		" 1.0 | a-1 | ! 100.0 us | } /* iommufd_ioas_map */",
		" 1.1 | a-1 |            | iommufd_ioas_map() {",
		" 1.2 | a-1 |            |   iommu_map() {",
		" 1.3 | a-1 |   5.0 us   | } /* iommufd_ioas_map */",
		" 1.4 | a-1 |            |   iommufd_ioas_unmap() {",
		" 1.5 | a-1 |            |   unknown_function() {",
		" 1.5 | a-1 |   1.0 us   |   }",
		NULL,
	};
	struct kernel_share share;

	(void)state;
	parse(&share, lines);
	assert_int_equal(share.operations[KERNEL_MAP].count, 1);
	assert_us(share.operations[KERNEL_MAP].total_us, 5);
	assert_int_equal(share.operations[KERNEL_UNMAP].count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_type1),
		cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests_name("kernel share", tests, NULL, NULL);
}
