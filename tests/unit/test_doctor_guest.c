/* SPDX-License-Identifier: MIT */
/* The doctor's statements about memory, and about a guest, against the truth. */
#include "diagnosis.h"

static struct vfb_estimate estimate_of(const struct vfb_diagnosis *diagnosis)
{
	struct vfb_estimate estimate = VFB_ESTIMATE_INIT;

	assert_ok(vfb_diagnosis_estimate(diagnosis, &estimate));
	return estimate;
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
	assert_finding(&(struct fake_config){.nodes = 1}, NULL, VFB_FINDING_SLOW, "thp",
		       "disabled for memfds",
		       "echo advise > /sys/kernel/mm/transparent_hugepage/hugepages-64kB/"
		       "shmem_enabled");
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

		host_open(&host, &(struct fake_config){.pages_1g = {1}, .shmem_64k = true});
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory), cmocka_unit_test(test_estimate),
		cmocka_unit_test(test_fit),    cmocka_unit_test(test_preemption),
		cmocka_unit_test(test_supply),
	};

	return cmocka_run_group_tests_name("guests of the doctor", tests, NULL, NULL);
}
