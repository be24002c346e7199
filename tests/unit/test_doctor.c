/* SPDX-License-Identifier: MIT */
/* The doctor's statements against the truth about made-up hosts. */
#include "host.h"

static struct vfb_diagnosis *diagnose(struct host *host, const struct vfb_doctor_opts *opts)
{
	struct vfb_diagnosis *diagnosis;

	assert_ok(vfb_doctor_run(host->ctx, opts, &diagnosis));
	return diagnosis;
}

static bool says(const struct vfb_finding *finding, enum vfb_severity severity, const char *subject,
		 const char *text, const char *remedy)
{
	return finding->severity == severity && !strcmp(finding->subject, subject) &&
	       strstr(finding->text, text) && strstr(finding->remedy, remedy);
}

static struct vfb_finding finding_of(const struct vfb_diagnosis *diagnosis, size_t i)
{
	struct vfb_finding finding = VFB_FINDING_INIT;

	assert_ok(vfb_diagnosis_finding(diagnosis, i, &finding));
	return finding;
}

/* One of the findings has this severity, subject, and parts of text and remedy. */
static struct vfb_finding find(const struct vfb_diagnosis *diagnosis, enum vfb_severity severity,
			       const char *subject, const char *text, const char *remedy)
{
	for (size_t i = 0; i < vfb_diagnosis_count(diagnosis); i++) {
		struct vfb_finding finding = finding_of(diagnosis, i);

		if (says(&finding, severity, subject, text, remedy))
			return finding;
	}
	for (size_t i = 0; i < vfb_diagnosis_count(diagnosis); i++) {
		struct vfb_finding finding = finding_of(diagnosis, i);

		print_error("%d %s: %s -> %s\n", finding.severity, finding.subject, finding.text,
			    finding.remedy);
	}
	fail_msg("nothing says %d %s: %s -> %s", severity, subject, text, remedy);
	return (struct vfb_finding)VFB_FINDING_INIT;
}

static unsigned int count_of(const struct vfb_diagnosis *diagnosis, enum vfb_severity severity)
{
	unsigned int count = 0;

	for (size_t i = 0; i < vfb_diagnosis_count(diagnosis); i++)
		count += finding_of(diagnosis, i).severity == severity;
	return count;
}

/* A host, what is requested of it, and a finding that must appear. */
static void assert_finding(const struct fake_config *config, const struct vfb_doctor_opts *opts,
			   enum vfb_severity severity, const char *subject, const char *text,
			   const char *remedy)
{
	struct vfb_diagnosis *diagnosis;
	struct host host;

	host_open(&host, config);
	add_devices(host.fake, 2);
	diagnosis = diagnose(&host, opts);
	find(diagnosis, severity, subject, text, remedy);
	vfb_diagnosis_destroy(diagnosis);
	host_close(&host);
}

/* Nothing is wrong with a good host. */
static void test_good(void **state)
{
	struct vfb_diagnosis *diagnosis;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.pages_2m = {8}});
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
		struct fake_config config = {.release = kernels[i].release};
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

static void test_memory(void **state)
{
	const struct vfb_doctor_opts guest = {.size = sizeof(guest), .bytes = GIB};

	(void)state;
	assert_finding(&(struct fake_config){.thp = FAKE_THP_NEVER}, NULL, VFB_FINDING_SLOW, "thp",
		       "disabled", "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
	assert_finding(&(struct fake_config){.thp = FAKE_THP_ABSENT}, NULL, VFB_FINDING_SLOW, "thp",
		       "no transparent", "CONFIG_TRANSPARENT_HUGEPAGE");
	assert_finding(&(struct fake_config){.thp = FAKE_THP_ALWAYS}, NULL, VFB_FINDING_GOOD, "thp",
		       "are enabled", "");
	assert_finding(
		&(struct fake_config){.defrag = "always defer defer+madvise madvise [never]"}, NULL,
		VFB_FINDING_SLOW, "thp", "not compacted", "transparent_hugepage/defrag");
	assert_finding(&(struct fake_config){.memory = {8 * GIB}, .blocks_2m = {100}}, NULL,
		       VFB_FINDING_SLOW, "fragmentation",
		       "of 8192 MiB of free memory, only 200 MiB are in pieces", "node0/compact");
	assert_finding(&(struct fake_config){.cpu_max = "150000 100000"}, NULL, VFB_FINDING_SLOW,
		       "cpus",
		       "4 CPUs are usable, but the quota of the cgroup (cpu.max) allows only 2",
		       "cpu.max");
	assert_finding(&(struct fake_config){.memlock = 64 * KIB}, &guest, VFB_FINDING_FAILS,
		       "memlock", "64 KiB to be pinned for devices, the guest has 1 GiB",
		       "ulimit -l 1114112");
	assert_finding(&(struct fake_config){.memlock = 64 * KIB}, NULL, VFB_FINDING_GOOD,
		       "memlock", "64 KiB", "");
	assert_finding(&(struct fake_config){.memlock = 64 * KIB, .cap_ipc_lock = true}, &guest,
		       VFB_FINDING_GOOD, "memlock", "CAP_IPC_LOCK", "");
}

static void test_vfio(void **state)
{
	(void)state;
	assert_finding(&(struct fake_config){.no_iommufd = true, .no_cdev = true}, NULL,
		       VFB_FINDING_SLOW, "vfio", "no /dev/iommu", "modprobe iommufd");
	assert_finding(&(struct fake_config){.no_cdev = true}, NULL, VFB_FINDING_GOOD, "vfio",
		       "/dev/vfio/devices is empty", "CONFIG_VFIO_DEVICE_CDEV");
	assert_finding(&(struct fake_config){.no_type1 = true}, NULL, VFB_FINDING_SLOW, "vfio",
		       "no /dev/vfio/vfio", "modprobe vfio-pci");
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

static struct vfb_estimate estimate_of(const struct vfb_diagnosis *diagnosis)
{
	struct vfb_estimate estimate = VFB_ESTIMATE_INIT;

	assert_ok(vfb_diagnosis_estimate(diagnosis, &estimate));
	return estimate;
}

/* Milliseconds of real work: 4 workers, 250 ms for each GiB of each, and 20 ms to pin one. */
static void test_estimate(void **state)
{
	struct vfb_doctor_opts guest = {
		.size = sizeof(guest),
		.bytes = 32 * GIB,
		.page_size = VFB_PAGE_4K,
		.devices = addresses,
		.device_count = 2,
	};
	struct vfb_diagnosis *diagnosis;
	struct vfb_estimate estimate;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	add_devices(host.fake, 2);
	diagnosis = diagnose(&host, &guest);
	estimate = estimate_of(diagnosis);
	assert_int_equal(estimate.page_size, VFB_PAGE_4K);
	assert_in_range(estimate.samples, 3, 8);
	assert_true(estimate.sample_bytes <= 4 * GIB);
	assert_in_range(1000 * estimate.populate.seconds, 1980, 2020);
	assert_true(estimate.populate.low <= estimate.populate.seconds &&
		    estimate.populate.seconds <= estimate.populate.high);
	assert_in_range(1000 * estimate.open.low, 99, 101);
	assert_true(estimate.map.seconds == 0);
	vfb_diagnosis_destroy(diagnosis);
	assert_int_equal(stats_of(&host).resets, 0);

	guest.flags = VFB_DOCTOR_PROBE;
	diagnosis = diagnose(&host, &guest);
	estimate = estimate_of(diagnosis);
	assert_in_range(1000 * estimate.open.seconds, 99, 110);
	assert_in_range(1000 * estimate.close.seconds, 99, 110);
	assert_in_range(1000 * estimate.map.seconds, 150, 700);
	assert_true(estimate.start.seconds >=
		    estimate.populate.seconds + estimate.map.seconds - 0.001);
	vfb_diagnosis_destroy(diagnosis);
	assert_int_equal(stats_of(&host).resets, 4);

	/* Refused by the kernel, which becomes a finding. */
	fake_fail_call(host.fake, "IOMMU_IOAS_MAP", 2, EIO);
	diagnosis = diagnose(&host, &guest);
	find(diagnosis, VFB_FINDING_FAILS, "device", "", "");
	vfb_diagnosis_destroy(diagnosis);
	host_close(&host);
}

/* The guest does not fit: the reason is reported, and the trial leaves nothing behind. */
static void test_fit(void **state)
{
	struct vfb_doctor_opts guest = {.size = sizeof(guest), .bytes = 64 * MIB};
	struct vfb_estimate estimate = VFB_ESTIMATE_INIT;
	struct vfb_diagnosis *diagnosis;
	struct host host;

	(void)state;
	guest.page_size = VFB_PAGE_2M;
	assert_finding(&(struct fake_config){.pages_2m = {31}}, &guest, VFB_FINDING_FAILS, "memory",
		       "64 MiB need 32 hugepages of 2 MiB, 31 are free", "");
	assert_finding(&(struct fake_config){.pages_2m = {32}, .hugetlb_limit_2m = 32 * MIB},
		       &guest, VFB_FINDING_FAILS, "memory", "hugetlb.2MB.max allows 32 MiB", "");
	guest.page_size = VFB_PAGE_4K;
	assert_finding(&(struct fake_config){.run_pages = 16}, &guest, VFB_FINDING_SLOW,
		       "contiguity", "KiB on average, too small", "compact_memory");
	assert_finding(NULL, &guest, VFB_FINDING_GOOD, "contiguity", "KiB on average", "");
	guest.page_size = VFB_PAGE_AUTO;
	assert_finding(NULL, &guest, VFB_FINDING_SLOW, "memory", "2m: 64 MiB need 32 hugepages",
		       "");
	guest.page_size = VFB_PAGE_THP;
	assert_finding(&(struct fake_config){.memory = {48 * MIB}}, &guest, VFB_FINDING_FAILS,
		       "memory", "populating 64 MiB more is not possible: the host has 48 MiB", "");
	host_open(&host, NULL);
	add_devices(host.fake, 1);
	diagnosis = diagnose(&host, NULL);
	assert_fails(vfb_diagnosis_estimate(diagnosis, &estimate), -ENODATA, "no estimate");
	assert_fails(vfb_diagnosis_finding(diagnosis, 1000, &(struct vfb_finding)VFB_FINDING_INIT),
		     -EINVAL, "no finding 1000");
	vfb_diagnosis_destroy(diagnosis);
	/* Every page size, as much as fits and the least that there is. */
	guest.page_size = VFB_PAGE_4K;
	guest.bytes = 4 * KIB;
	diagnosis = diagnose(&host, &guest);
	assert_int_equal(estimate_of(diagnosis).samples, 1);
	assert_int_equal(estimate_of(diagnosis).sample_bytes, 4 * KIB);
	vfb_diagnosis_destroy(diagnosis);
	host_close(&host);
	host_open(&host, &(struct fake_config){.pages_1g = {8}});
	guest.page_size = VFB_PAGE_1G;
	guest.bytes = 8 * GIB;
	diagnosis = diagnose(&host, &guest);
	assert_int_equal(estimate_of(diagnosis).sample_bytes, 6 * GIB);
	vfb_diagnosis_destroy(diagnosis);
	assert_int_equal(fake_free_1g(host.fake, 0), 8);
	host_close(&host);
}

/* Pages of 1 GiB are zeroed in one go where the kernel can be preempted anyway. */
static void test_preemption(void **state)
{
	static const struct {
		const char *path, *text;
		bool slow;
	} modes[] = {
		{"/sys/kernel/debug/sched/preempt", "none (voluntary) full lazy\n", true},
		{"/sys/kernel/debug/sched/preempt", "none voluntary full (lazy)\n", false},
		{"/proc/cmdline", "quiet preempt=none ro\n", true},
		{"/proc/cmdline", "quiet preempt=full ro\n", false},
		{"/proc/cmdline", "quiet\n", false},
	};
	struct vfb_doctor_opts guest = {
		.size = sizeof(guest),
		.bytes = GIB,
		.page_size = VFB_PAGE_1G,
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		struct vfb_diagnosis *diagnosis;
		struct host host;

		host_open(&host, &(struct fake_config){.pages_1g = {1}});
		add_devices(host.fake, 1);
		fake_add_file(host.fake, modes[i].path, modes[i].text);
		diagnosis = diagnose(&host, &guest);
		assert_int_equal(count_of(diagnosis, VFB_FINDING_SLOW), modes[i].slow);
		if (modes[i].slow)
			find(diagnosis, VFB_FINDING_SLOW, "kernel", "pages of 1 GiB in small steps",
			     "preempt=lazy");
		vfb_diagnosis_destroy(diagnosis);
		host_close(&host);
	}
}

/* Hugepages that others have reserved, and those that the kernel adds. */
static void test_supply(void **state)
{
	struct vfb_doctor_opts guest = {
		.size = sizeof(guest),
		.bytes = 64 * MIB,
		.page_size = VFB_PAGE_2M,
	};
	struct vfb_memory_opts other = VFB_MEMORY_OPTS_INIT;
	struct vfb_diagnosis *diagnosis;
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.pages_2m = {40}, .overcommit_2m = 7});
	add_devices(host.fake, 1);
	other.bytes = 32 * MIB;
	other.page_size = VFB_PAGE_2M;
	assert_ok(vfb_memory_create(host.ctx, &other, &memory));
	diagnosis = diagnose(&host, &guest);
	find(diagnosis, VFB_FINDING_GOOD, "hugepages",
	     "node 0: 40 of 40 hugepages of 2 MiB are free", "");
	find(diagnosis, VFB_FINDING_GOOD, "hugepages",
	     "that are free, 16 are reserved for mappings that exist: 24 can be used", "");
	find(diagnosis, VFB_FINDING_GOOD, "hugepages", "may add 7 hugepages of 2 MiB on demand",
	     "");
	find(diagnosis, VFB_FINDING_FAILS, "memory",
	     "64 MiB need 32 hugepages of 2 MiB, 24 are free, besides 16 that are reserved for "
	     "others, and the kernel may add 7",
	     "");
	vfb_diagnosis_destroy(diagnosis);
	guest.bytes = 62 * MIB;
	diagnosis = diagnose(&host, &guest);
	assert_int_equal(vfb_diagnosis_can_start(diagnosis, NULL), 1);
	assert_int_equal(estimate_of(diagnosis).page_size, VFB_PAGE_2M);
	vfb_diagnosis_destroy(diagnosis);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
	/* The pool has the pages, the cgroup not: other pages are chosen. */
	host_open(&host, &(struct fake_config){.pages_2m = {40}, .hugetlb_limit_2m = 32 * MIB});
	add_devices(host.fake, 1);
	guest.page_size = VFB_PAGE_AUTO;
	diagnosis = diagnose(&host, &guest);
	assert_int_equal(estimate_of(diagnosis).page_size, VFB_PAGE_THP);
	find(diagnosis, VFB_FINDING_SLOW, "memory", "hugetlb.2MB.max allows 32 MiB", "");
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
		cmocka_unit_test(test_reach),	   cmocka_unit_test(test_good),
		cmocka_unit_test(test_kernels),	   cmocka_unit_test(test_memory),
		cmocka_unit_test(test_vfio),	   cmocka_unit_test(test_devices),
		cmocka_unit_test(test_no_iommu),   cmocka_unit_test(test_verdict),
		cmocka_unit_test(test_estimate),   cmocka_unit_test(test_fit),
		cmocka_unit_test(test_preemption), cmocka_unit_test(test_supply),
		cmocka_unit_test(test_refused),	   cmocka_unit_test(test_failures),
	};

	return cmocka_run_group_tests_name("doctor", tests, NULL, NULL);
}
