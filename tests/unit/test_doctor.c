/* SPDX-License-Identifier: MIT */
/* The doctor's statements against the truth about made-up hosts. */
#include <sys/mman.h>

#include "diagnosis.h"

/* Nothing is wrong with a good host. */
static void test_good(void **state)
{
	struct vfb_diagnosis *diagnosis;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.pages_2m = {8}, .shmem_64k = true});
	add_devices(host.fake, 2);
	diagnosis = diagnose(&host, NULL);
	assert_int_equal(count_of(diagnosis, VFB_FINDING_SLOW), 0);
	assert_int_equal(count_of(diagnosis, VFB_FINDING_FAILS), 0);
	find(diagnosis, VFB_FINDING_GOOD, "kernel", "Linux 7.3.4 pins contiguous", "");
	find(diagnosis, VFB_FINDING_GOOD, "cpus", "4 CPUs are usable", "");
	find(diagnosis, VFB_FINDING_GOOD, "hugepages",
	     "node 0: 8 of 8 hugepages of 2 MiB are free, 32768 more could be allocated now", "");
	find(diagnosis, VFB_FINDING_GOOD, "hugepages", "0 of 0 hugepages of 1 GiB",
	     "node0/hugepages/hugepages-1048576kB/nr_hugepages");
	find(diagnosis, VFB_FINDING_GOOD, "memlock", "unlimited", "");
	find(diagnosis, VFB_FINDING_GOOD, "iommu", "with 2 groups", "");
	find(diagnosis, VFB_FINDING_GOOD, "vfio", "up to 65535 mappings", "");
	find(diagnosis, VFB_FINDING_GOOD, "vfio", "iommufd is available", "");
	assert_string_equal(find(diagnosis, VFB_FINDING_GOOD, "device",
				 "bound to vfio-pci, in IOMMU group 2", "")
				    .device,
			    addresses[1]);
	vfb_diagnosis_destroy(diagnosis);
	vfb_diagnosis_destroy(NULL);
	host_close(&host);
}

/* What old kernels lack, and what their stable versions have. */
static void test_kernels(void **state)
{
	static const struct {
		const char *release;
		unsigned int lacks;
	} kernels[] = {
		{"7.0.0-rc1", 0}, {"6.19.0", 1}, {"6.18.3", 2},
		{"6.17.1", 3},	  {"6.16.9", 4}, {"6.12.117+deb12-amd64", 4},
		{"6.12.42", 5},	  {"6.11.1", 6}, {"6.1.0-30", 7},
		{"5.14.0", 7},	  {"5.11.4", 9}, {"nonsense", 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kernels); i++) {
		struct fake_config config = {.release = kernels[i].release, .shmem_64k = true};
		struct vfb_diagnosis *diagnosis;
		struct host host;

		host_open(&host, &config);
		add_devices(host.fake, 1);
		diagnosis = diagnose(&host, NULL);
		assert_int_equal(count_of(diagnosis, VFB_FINDING_SLOW), kernels[i].lacks);
		vfb_diagnosis_destroy(diagnosis);
		host_close(&host);
	}
	assert_finding(&(struct fake_config){.release = "6.12.9"}, NULL, VFB_FINDING_SLOW, "kernel",
		       "Linux 6.12.9 resets the virtual functions", "run Linux 6.17 or later");
	assert_finding(&(struct fake_config){.release = "6.19.1"}, NULL, VFB_FINDING_SLOW, "kernel",
		       "Linux 6.19.1 zeroes huge pages 4 KiB at a time", "run Linux 7.0 or later");
	assert_finding(&(struct fake_config){.release = "6.14.1"}, NULL, VFB_FINDING_GOOD, "kernel",
		       "do not zero hugetlb pages that IOMMU_IOAS_MAP_FILE", "run Linux 6.18");
}

static void test_vfio(void **state)
{
	(void)state;
	assert_finding(&(struct fake_config){.no_iommufd = true, .no_cdev = true}, NULL,
		       VFB_FINDING_SLOW, "vfio", "no /dev/iommu", "modprobe iommufd");
	assert_finding(&(struct fake_config){.no_cdev = true}, NULL, VFB_FINDING_GOOD, "vfio",
		       "/dev/vfio/devices is empty", "CONFIG_VFIO_DEVICE_CDEV");
	assert_finding(&(struct fake_config){.no_type1 = true}, NULL, VFB_FINDING_SLOW, "vfio",
		       "no /dev/vfio/vfio", "modprobe -a vfio-pci vfio_iommu_type1");
	assert_finding(&(struct fake_config){.no_type1 = true, .no_iommufd = true}, NULL,
		       VFB_FINDING_FAILS, "vfio", "neither type1 nor iommufd", "modprobe");
	assert_finding(&(struct fake_config){.dma_entry_limit = 77}, NULL, VFB_FINDING_GOOD, "vfio",
		       "up to 77 mappings", "");
}

static void test_devices(void **state)
{
	static const char *const asked[] = {"0000:01:00.0", "0000:02:00.0", "0000:02:00.1",
					    "03:00.0",	    "0000:04:00.0", "0000:05:00.0"};
	struct vfb_doctor_opts guest = {
		.size = sizeof(guest),
		.devices = asked,
		.device_count = 6,
	};
	struct vfb_diagnosis *diagnosis;
	struct vfb_finding finding;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.nodes = 2});
	fake_add_device(host.fake, &(struct fake_device){.address = asked[0],
							 .group = 1,
							 .bridge = "0000:00:01.0",
							 .node = 1,
							 .driver = "nvme"});
	/* Two functions below one bridge. */
	for (int i = 1; i < 3; i++)
		fake_add_device(host.fake, &(struct fake_device){.address = asked[i],
								 .group = i + 1,
								 .bridge = "0000:00:02.0",
								 .reset_method = "bus",
								 .driver = "vfio-pci"});
	fake_add_device(host.fake, &(struct fake_device){.address = "0000:03:00.0",
							 .group = 4,
							 .bridge = "0000:00:03.0"});
	fake_add_device(host.fake, &(struct fake_device){.address = asked[4],
							 .no_group = true,
							 .bridge = "0000:00:04.0",
							 .no_reset = true,
							 .driver = "vfio-pci"});
	/* In one group with a device of the host. */
	fake_add_device(host.fake, &(struct fake_device){.address = asked[5],
							 .group = 6,
							 .reset_method = "pm bus",
							 .bridge = "0000:00:05.0",
							 .driver = "vfio-pci"});
	fake_add_device(host.fake, &(struct fake_device){.address = "0000:06:00.0",
							 .group = 6,
							 .bridge = "0000:00:06.0",
							 .driver = "e1000e"});
	diagnosis = diagnose(&host, &guest);
	finding = find(diagnosis, VFB_FINDING_FAILS, "device",
		       "bound to nvme, not to vfio-pci, on NUMA node 1",
		       "echo 0000:01:00.0 > /sys/bus/pci/drivers/nvme/unbind");
	assert_string_equal(finding.device, asked[0]);
	assert_int_equal(finding.node, 1);
	finding = find(diagnosis, VFB_FINDING_SLOW, "reset",
		       "shares its reset with 1 of the devices before it", "different bridges");
	assert_string_equal(finding.device, asked[2]);
	finding = find(diagnosis, VFB_FINDING_GOOD, "reset",
		       "reset by bus: opening it and closing it take about "
		       "0.10 s",
		       "");
	assert_true(finding.seconds > 0.1 && finding.seconds < 0.11);
	assert_string_equal(
		find(diagnosis, VFB_FINDING_FAILS, "device", "not bound to any driver",
		     "echo vfio-pci > /sys/bus/pci/devices/0000:03:00.0/driver_override")
			.device,
		"0000:03:00.0");
	assert_string_equal(find(diagnosis, VFB_FINDING_FAILS, "device", "no IOMMU group",
				 "intel_iommu=on")
				    .device,
			    asked[4]);
	find(diagnosis, VFB_FINDING_SLOW, "reset", "no method to reset it", "");
	finding = find(diagnosis, VFB_FINDING_FAILS, "device",
		       "0000:06:00.0, in the same IOMMU group 6, is bound to e1000e",
		       "echo 0000:06:00.0 > /sys/bus/pci/drivers/e1000e/unbind");
	assert_string_equal(finding.device, asked[5]);
	find(diagnosis, VFB_FINDING_GOOD, "reset", "take about 0.02 s", "");
	vfb_diagnosis_destroy(diagnosis);
	host_close(&host);
}

/* One device that can be opened is enough, unless all of them are requested. */
static void test_verdict(void **state)
{
	struct vfb_doctor_opts guest = {
		.size = sizeof(guest),
		.devices = addresses,
		.device_count = 2,
	};
	struct vfb_finding reason = VFB_FINDING_INIT;
	struct vfb_diagnosis *diagnosis;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	add_devices(host.fake, 1);
	fake_add_device(host.fake, &(struct fake_device){.address = addresses[1],
							 .no_group = true,
							 .bridge = "0000:00:09.0",
							 .driver = "vfio-pci"});
	diagnosis = diagnose(&host, NULL);
	assert_int_equal(count_of(diagnosis, VFB_FINDING_FAILS), 1);
	assert_int_equal(vfb_diagnosis_can_start(diagnosis, &reason), 1);
	vfb_diagnosis_destroy(diagnosis);
	diagnosis = diagnose(&host, &guest);
	assert_int_equal(vfb_diagnosis_can_start(diagnosis, NULL), 0);
	assert_int_equal(vfb_diagnosis_can_start(diagnosis, &reason), 0);
	assert_string_equal(reason.id, "device-no-group");
	assert_string_equal(reason.subject, "device");
	assert_string_equal(reason.device, addresses[1]);
	assert_fails(vfb_diagnosis_can_start(diagnosis, &(struct vfb_finding){.size = 0}), -EINVAL,
		     "size");
	vfb_diagnosis_destroy(diagnosis);
	host_close(&host);
}

static void test_no_iommu(void **state)
{
	struct vfb_diagnosis *diagnosis;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	diagnosis = diagnose(&host, NULL);
	find(diagnosis, VFB_FINDING_FAILS, "iommu", "no IOMMU is enabled", "intel_iommu=on");
	vfb_diagnosis_destroy(diagnosis);
	host_close(&host);
}

static void test_refused(void **state)
{
	static const char *const unknown[] = {"0000:77:00.0", "no address"};
	struct vfb_doctor_opts guest = {.size = sizeof(guest), .bytes = 4 * KIB + 1};
	struct vfb_diagnosis *diagnosis = (void *)1;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	add_devices(host.fake, 1);
	assert_fails(vfb_doctor_run(host.ctx, &guest, &diagnosis), -EINVAL, "4097 bytes");
	assert_null(diagnosis);
	guest.bytes = 0;
	guest.device_count = 1;
	assert_fails(vfb_doctor_run(host.ctx, &guest, &diagnosis), -EINVAL, "NULL");
	guest.devices = unknown;
	assert_fails(vfb_doctor_run(host.ctx, &guest, &diagnosis), -ENODEV, "0000:77:00.0");
	guest.devices = unknown + 1;
	assert_fails(vfb_doctor_run(host.ctx, &guest, &diagnosis), -EINVAL, "no address");
	guest.device_count = 0;
	guest.flags = VFB_DOCTOR_PROBE;
	assert_fails(vfb_doctor_run(host.ctx, &guest, &diagnosis), -EINVAL, "needs a device");
	guest.flags = 64;
	assert_fails(vfb_doctor_run(host.ctx, &guest, &diagnosis), -EINVAL, "0x40");
	guest.flags = 0;
	guest.page_size = VFB_PAGE_MIXED + 1;
	assert_fails(vfb_doctor_run(host.ctx, &guest, &diagnosis), -EINVAL, "page size 6");
	host_close(&host);
}

/* Whatever the kernel refuses, a diagnosis comes out, or an error; and nothing stays. */
static void test_failures(void **state)
{
	struct vfb_doctor_opts guest = {
		.size = sizeof(guest),
		.bytes = 64 * MIB,
		.page_size = VFB_PAGE_2M,
		.devices = addresses,
		.device_count = 2,
		.flags = VFB_DOCTOR_PROBE,
	};
	const char *failed = "";
	unsigned int n;

	(void)state;
	for (n = 1; failed; n++) {
		struct vfb_diagnosis *diagnosis;
		struct host host;

		host_open(&host, &(struct fake_config){.pages_2m = {32}});
		add_devices(host.fake, 2);
		fake_fail_nth(host.fake, n, 0);
		if (!vfb_doctor_run(host.ctx, &guest, &diagnosis))
			vfb_diagnosis_destroy(diagnosis);
		failed = fake_failed(host.fake);
		assert_int_equal(fake_free_2m(host.fake, 0), 32);
		host_close(&host);
	}
	assert_true(n > 100);
}

/* Valgrind has fewer than a process. */
static bool has_addresses(uint64_t bytes)
{
	void *address = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			     -1, 0);

	return address != MAP_FAILED && !munmap(address, bytes);
}

/* What the IOMMU cannot translate, before anything is opened. */
static void test_reach(void **state)
{
	const char *const wanted[] = {addresses[0]};
	struct vfb_doctor_opts guest = VFB_DOCTOR_OPTS_INIT;
	struct fake_device device = {
		.address = addresses[0],
		.group = 1,
		.driver = "vfio-pci",
		.reserved_first = UINT64_C(0xfd00000000),
		.reserved_last = UINT64_C(0xffffffffff),
	};
	struct vfb_diagnosis *diagnosis;
	struct host host;

	(void)state;
	if (!has_addresses(2048 * GIB))
		skip();
	guest.devices = wanted;
	guest.device_count = 1;
	host_open(&host, &(struct fake_config){.iova_bits = 48, .memory = {2048 * GIB}});
	fake_add_device(host.fake, &device);
	fake_add_file(host.fake, "/proc/cpuinfo",
		      "processor\t: 0\naddress sizes\t: 48 bits physical, 48 bits virtual\n");
	guest.bytes = 1000 * GIB;
	diagnosis = diagnose(&host, &guest);
	assert_string_equal(
		find(diagnosis, VFB_FINDING_GOOD, "iommu", "addresses of 48 bits", "").remedy, "");
	for (size_t i = 0; i < vfb_diagnosis_count(diagnosis); i++)
		assert_string_not_equal(finding_of(diagnosis, i).id, "iova-hole");
	vfb_diagnosis_destroy(diagnosis);
	guest.bytes = 1100 * GIB;
	diagnosis = diagnose(&host, &guest);
	assert_string_equal(find(diagnosis, VFB_FINDING_GOOD, "iommu",
				 "cannot use 0xfd00000000-0xffffffffff", "QEMU 7.1")
				    .id,
			    "iova-hole");
	vfb_diagnosis_destroy(diagnosis);
	host_close(&host);

	/* A desktop's IOMMU. */
	device.reserved_last = 0;
	host_open(&host, &(struct fake_config){.iova_bits = 39, .memory = {2048 * GIB}});
	fake_add_device(host.fake, &device);
	fake_add_file(host.fake, "/proc/cpuinfo",
		      "processor\t: 0\naddress sizes\t: 46 bits physical, 48 bits virtual\n");
	guest.bytes = 600 * GIB;
	diagnosis = diagnose(&host, &guest);
	find(diagnosis, VFB_FINDING_GOOD, "iommu", "39 bits (512 GiB), fewer than the CPUs have",
	     "host-phys-bits-limit=39");
	assert_string_equal(find(diagnosis, VFB_FINDING_FAILS, "iommu",
				 "the guest's 600 GiB do not fit", "smaller")
				    .id,
			    "iova-too-few");
	vfb_diagnosis_destroy(diagnosis);
	host_close(&host);

	device.reserved_first = 0xbdf83000;
	device.reserved_last = 0xbdf9ffff;
	device.reserved_kind = "direct";
	host_open(&host, NULL);
	fake_add_device(host.fake, &device);
	guest.bytes = 0;
	diagnosis = diagnose(&host, &guest);
	assert_string_equal(find(diagnosis, VFB_FINDING_FAILS, "device",
				 "requires a 1:1 mapping of 0xbdf83000-0xbdf9ffff",
				 "firmware's setup")
				    .id,
			    "device-firmware-mapping");
	vfb_diagnosis_destroy(diagnosis);
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),	cmocka_unit_test(test_kernels),
		cmocka_unit_test(test_vfio),	cmocka_unit_test(test_devices),
		cmocka_unit_test(test_verdict), cmocka_unit_test(test_no_iommu),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_failures),
		cmocka_unit_test(test_reach),
	};

	return cmocka_run_group_tests_name("doctor", tests, NULL, NULL);
}
