/* SPDX-License-Identifier: MIT */
/* Where regions are mapped, what of them, and with which pages; registers. */
#include <linux/pci_regs.h>
#include <sys/mman.h>

#include "host.h"

#define NAME "0000:01:00.0"

static struct vfb_device *begin(struct host *host, const struct fake_device *also)
{
	struct fake_device config = *also;
	struct vfb_device *device;

	host_open(host, NULL);
	config.address = NAME;
	config.driver = "vfio-pci";
	fake_add_device(host->fake, &config);
	host_space(host, VFB_BACKEND_TYPE1);
	assert_ok(vfb_device_open(host->space, NAME, &device));
	return device;
}

static void end(struct host *host, struct vfb_device *device)
{
	vfb_device_close(device);
	host_close(host);
}

/* Whether a page can be accessed, found out without a signal. */
static bool is_accessible(const void *address)
{
	return madvise((void *)address, 4096, MADV_POPULATE_READ) == 0;
}

/* Large BARs begin at multiples of the largest pages that they can have. */
static void test_placing(void **state)
{
	static const struct {
		uint64_t bytes, unit;
	} bars[] = {
		{4 * KIB, 4 * KIB},  {MIB, 4 * KIB}, {2 * MIB, 2 * MIB},
		{64 * MIB, 2 * MIB}, {GIB, GIB},     {4 * GIB, GIB},
	};
	struct host host;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bars); i++) {
		struct vfb_device *device =
			begin(&host, &(struct fake_device){.bars = {{.bytes = bars[i].bytes}}});
		unsigned int vmas = stats_of(&host).vmas;
		void *address;

		assert_ok(vfb_region_map(device, 0, NULL, &address));
		assert_int_equal((uintptr_t)address % bars[i].unit, 0);
		/* Nothing is left of what was reserved around it. */
		assert_int_equal(stats_of(&host).vmas, vmas + 1);
		assert_ok(vfb_region_unmap(device, 0));
		assert_int_equal(stats_of(&host).vmas, vmas);
		end(&host, device);
	}
}

/* Where the caller says; his addresses stay his. */
static void test_placed(void **state)
{
	struct host host;
	struct vfb_device *device = begin(&host, &(struct fake_device){.bars = {{.bytes = MIB}}});
	struct vfb_region_map_opts opts = VFB_REGION_MAP_OPTS_INIT;
	void *reserved, *address = (void *)1;

	(void)state;
	assert_int_equal(host.sys->mmap(host.sys, NULL, MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
					-1, 0, &reserved),
			 0);
	opts.address = (char *)reserved + 1;
	assert_fails(vfb_region_map(device, 0, &opts, &address), -EINVAL, "4096");
	assert_null(address);
	opts.address = reserved;
	fake_fail_call(host.fake, "mmap", 1, ENOMEM);
	assert_fails(vfb_region_map(device, 0, &opts, &address), -ENOMEM, NAME);
	assert_ok(vfb_region_map(device, 0, &opts, &address));
	assert_ptr_equal(address, reserved);
	assert_true(is_accessible(reserved));
	assert_ok(vfb_region_unmap(device, 0));
	assert_false(is_accessible(reserved));
	/* Nobody else gets them. */
	assert_int_equal(host.sys->munmap(host.sys, reserved, MIB), 0);
	opts.flags = 0x80;
	assert_fails(vfb_region_map(device, 0, &opts, &address), -EINVAL, "0x80");
	end(&host, device);
}

/* VFIO lets only some of it be mapped: the rest has addresses, but no access. */
static void test_sparse(void **state)
{
	struct host host;
	struct vfb_device *device = begin(&host, &(struct fake_device){.bars = {{.bytes = MIB}},
								       .sparse_bars = true});
	void *mapped;
	char *address;

	(void)state;
	for (unsigned int n = 1; n <= 3; n++) {
		/* The reservation, the first area, the second. */
		fake_fail_call(host.fake, "mmap", n, ENOMEM);
		assert_fails(vfb_region_map(device, 0, NULL, &mapped), -ENOMEM, NAME);
		assert_null(mapped);
		fake_fail_none(host.fake);
	}
	assert_ok(vfb_region_map(device, 0, NULL, &mapped));
	address = mapped;
	assert_true(is_accessible(address));
	assert_false(is_accessible(address + 4 * KIB));
	assert_true(is_accessible(address + MIB - 4 * KIB));
	end(&host, device);
}

/* What the kernel reports is not followed out of the region. */
static void test_broken_sparse(void **state)
{
	static const struct fake_device broken[] = {
		{.bars = {{.bytes = MIB}}, .sparse_bars = true, .sparse_beyond = true},
		{.bars = {{.bytes = MIB}}, .sparse_bars = true, .sparse_too_many = true},
	};
	struct host host;
	void *mapped;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
		struct vfb_device *device = begin(&host, &broken[i]);

		assert_fails(vfb_region_map(device, 0, NULL, &mapped), -EPROTO, NAME, "1 MiB");
		assert_null(mapped);
		end(&host, device);
	}
}

/* Puts an MSI-X capability into the configuration space. */
static void add_msix(struct vfb_device *device, unsigned int vectors, unsigned int bar,
		     uint32_t offset)
{
	assert_ok(vfb_region_store(device, VFB_REGION_CONFIG, PCI_STATUS, 2, PCI_STATUS_CAP_LIST));
	assert_ok(vfb_region_store(device, VFB_REGION_CONFIG, PCI_CAPABILITY_LIST, 1, 0x40));
	/* Another capability before it. */
	assert_ok(vfb_region_store(device, VFB_REGION_CONFIG, 0x40, 2, 0x5000 | PCI_CAP_ID_PM));
	assert_ok(vfb_region_store(device, VFB_REGION_CONFIG, 0x50, 2, PCI_CAP_ID_MSIX));
	assert_ok(
		vfb_region_store(device, VFB_REGION_CONFIG, 0x50 + PCI_MSIX_FLAGS, 2, vectors - 1));
	assert_ok(vfb_region_store(device, VFB_REGION_CONFIG, 0x50 + PCI_MSIX_TABLE, 4,
				   offset | bar));
}

static void test_without_msix(void **state)
{
	struct vfb_region_map_opts opts = VFB_REGION_MAP_OPTS_INIT;
	struct host host;
	struct vfb_device *device =
		begin(&host,
		      &(struct fake_device){.bars = {{.bytes = 64 * KIB}, {.bytes = 64 * KIB}}});
	void *mapped;
	char *address;

	(void)state;
	opts.flags = VFB_REGION_MAP_WITHOUT_MSIX;
	/* No MSI-X, nothing to leave out. */
	assert_ok(vfb_region_map(device, 0, &opts, &mapped));
	assert_true(is_accessible(mapped));
	assert_ok(vfb_region_unmap(device, 0));

	/* A table of 65 vectors, in BAR 0 from 8 KiB on. */
	add_msix(device, 65, 0, 8 * KIB);
	assert_ok(vfb_region_map(device, 0, &opts, &mapped));
	address = mapped;
	assert_true(is_accessible(address + 4 * KIB));
	assert_false(is_accessible(address + 8 * KIB));
	assert_true(is_accessible(address + 12 * KIB));
	assert_ok(vfb_region_map(device, 1, &opts, &mapped));
	assert_true(is_accessible((char *)mapped + 8 * KIB));
	assert_ok(vfb_region_unmap(device, 0));
	assert_ok(vfb_region_unmap(device, 1));

	/* At the beginning, at the end, all of it. */
	add_msix(device, 1, 0, 0);
	assert_ok(vfb_region_map(device, 0, &opts, &mapped));
	assert_false(is_accessible(mapped));
	assert_true(is_accessible((char *)mapped + 4 * KIB));
	assert_ok(vfb_region_unmap(device, 0));
	add_msix(device, 2048, 0, 32 * KIB);
	assert_ok(vfb_region_map(device, 0, &opts, &mapped));
	assert_true(is_accessible((char *)mapped + 28 * KIB));
	assert_false(is_accessible((char *)mapped + 32 * KIB));
	assert_ok(vfb_region_unmap(device, 0));
	for (unsigned int n = 1; n <= 6; n++) {
		fake_fail_call(host.fake, "pread", n, EIO);
		assert_fails(vfb_region_map(device, 0, &opts, &mapped), -EIO, "region 7");
		fake_fail_none(host.fake);
	}
	end(&host, device);
}

/* The page size follows from which reads cost a fault. */
static void test_measure(void **state)
{
	static const struct {
		uint64_t bytes, page_bytes, faults[6];
	} cases[] = {
		{16 * KIB, 4 * KIB, {0, 1}},	    {64 * MIB, 4 * KIB, {0, 1, 1, 2}},
		{64 * MIB, 2 * MIB, {0, 1, 1, 1}},  {2 * GIB, 2 * MIB, {0, 1, 1, 1, 1, 2}},
		{2 * GIB, GIB, {0, 1, 1, 1, 1, 1}},
	};
	struct vfb_region_map_opts opts = VFB_REGION_MAP_OPTS_INIT;
	struct vfb_region_info info = VFB_REGION_INFO_INIT;
	struct host host;
	void *address;

	(void)state;
	opts.flags = VFB_REGION_MAP_MEASURE;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vfb_device *device =
			begin(&host, &(struct fake_device){.bars = {{.bytes = cases[i].bytes}}});

		fake_page_faults(host.fake, cases[i].faults, 6);
		assert_ok(vfb_region_map(device, 0, &opts, &address));
		assert_ok(vfb_region_info(device, 0, &info));
		assert_int_equal(info.page_bytes, cases[i].page_bytes);
		assert_ok(vfb_region_unmap(device, 0));
		assert_ok(vfb_region_info(device, 0, &info));
		assert_int_equal(info.page_bytes, 0);
		/* A BAR that is switched off would end the process when it is read. */
		assert_ok(vfb_region_store(device, VFB_REGION_CONFIG, PCI_COMMAND, 2, 0));
		assert_ok(vfb_region_map(device, 0, &opts, &address));
		assert_ok(vfb_region_info(device, 0, &info));
		assert_int_equal(info.page_bytes, 0);
		end(&host, device);
	}
}

static uint64_t measured(struct vfb_device *device)
{
	struct vfb_region_map_opts opts = VFB_REGION_MAP_OPTS_INIT;
	struct vfb_region_info info = VFB_REGION_INFO_INIT;
	void *address;

	opts.flags = VFB_REGION_MAP_WITHOUT_MSIX | VFB_REGION_MAP_MEASURE;
	assert_ok(vfb_region_map(device, 0, &opts, &address));
	assert_ok(vfb_region_info(device, 0, &info));
	assert_ok(vfb_region_unmap(device, 0));
	return info.page_bytes;
}

/* Only what was mapped is read: not the hole of the MSI-X table, wherever that is. */
static void test_measure_around_table(void **state)
{
	static const struct {
		struct fake_device config;
		unsigned int vectors;
		uint32_t table;
		uint64_t page_bytes;
	} cases[] = {
		/* At the beginning; all of the BAR; an area of two, and both. */
		{{.bars = {{.bytes = 64 * KIB}}}, 10, 0, 4 * KIB},
		{{.bars = {{.bytes = 4 * KIB}}}, 10, 0, 0},
		{{.bars = {{.bytes = 16 * KIB}}, .sparse_bars = true}, 10, 0, 4 * KIB},
		{{.bars = {{.bytes = 16 * KIB}}, .sparse_bars = true}, 1024, 0, 0},
	};
	struct host host;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vfb_device *device = begin(&host, &cases[i].config);

		add_msix(device, cases[i].vectors, 0, cases[i].table);
		assert_int_equal(measured(device), cases[i].page_bytes);
		end(&host, device);
	}
}

/* In D3hot a device answers nothing, and reading it would end the process. */
static void test_measure_asleep(void **state)
{
	struct host host;
	struct vfb_device *device = begin(&host,
					  &(struct fake_device){.bars = {{.bytes = 64 * KIB}}});

	(void)state;
	assert_ok(vfb_region_store(device, VFB_REGION_CONFIG, PCI_STATUS, 2, PCI_STATUS_CAP_LIST));
	assert_ok(vfb_region_store(device, VFB_REGION_CONFIG, PCI_CAPABILITY_LIST, 1, 0x40));
	assert_ok(vfb_region_store(device, VFB_REGION_CONFIG, 0x40, 2, PCI_CAP_ID_PM));
	assert_int_equal(measured(device), 4 * KIB);
	assert_ok(vfb_region_store(device, VFB_REGION_CONFIG, 0x40 + PCI_PM_CTRL, 2, 3));
	assert_int_equal(measured(device), 0);
	end(&host, device);
}

static void test_registers(void **state)
{
	struct host host;
	struct vfb_device *device = begin(&host, &(struct fake_device){0});
	uint64_t value = 0;

	(void)state;
	assert_ok(vfb_region_store(device, 0, 8, 8, 0x1122334455667788));
	assert_ok(vfb_region_load(device, 0, 8, 8, &value));
	assert_true(value == 0x1122334455667788);
	assert_ok(vfb_region_load(device, 0, 8, 1, &value));
	assert_int_equal(value, 0x88);
	assert_ok(vfb_region_load(device, 0, 12, 2, &value));
	assert_int_equal(value, 0x3344);
	assert_ok(vfb_region_load(device, VFB_REGION_CONFIG, 0, 4, &value));
	assert_int_equal(value, 0x00101b36);
	assert_fails(vfb_region_load(device, 0, 2, 4, &value), -EINVAL, "0x2", "4 bytes");
	assert_fails(vfb_region_store(device, 0, 12, 8, 0), -EINVAL, "0xc", "8 bytes");
	assert_fails(vfb_region_load(device, 0, 0, 3, &value), -EINVAL, "not 3");
	assert_fails(vfb_region_store(device, 0, 0, 0, 0), -EINVAL, "not 0");
	assert_fails(vfb_region_store(device, 0, 0, 2, 0x10000), -ERANGE, "0x10000");
	assert_fails(vfb_region_load(device, 0, 16 * KIB, 4, &value), -ERANGE, "beyond");
	assert_fails(vfb_region_load(device, 12, 0, 4, &value), -EINVAL, "region 12");
	end(&host, device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_placing),	       cmocka_unit_test(test_placed),
		cmocka_unit_test(test_sparse),	       cmocka_unit_test(test_broken_sparse),
		cmocka_unit_test(test_without_msix),   cmocka_unit_test(test_measure_around_table),
		cmocka_unit_test(test_measure_asleep), cmocka_unit_test(test_measure),
		cmocka_unit_test(test_registers),
	};

	return cmocka_run_group_tests_name("region_map", tests, NULL, NULL);
}
