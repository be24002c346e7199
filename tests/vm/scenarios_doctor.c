/* SPDX-License-Identifier: MIT */
/* What the doctor says of the host, against what is so. */
#include <stdlib.h>

#include "scenario.h"

static struct vfb_diagnosis *diagnose(struct fixture *f, const struct vfb_doctor_opts *opts)
{
	struct vfb_diagnosis *diagnosis;

	assert_ok(vfb_doctor_run(f->ctx, opts, &diagnosis));
	return diagnosis;
}

static bool has(const struct vfb_diagnosis *diagnosis, enum vfb_severity severity,
		const char *subject, const char *text)
{
	struct vfb_finding finding = VFB_FINDING_INIT;

	for (size_t i = 0; i < vfb_diagnosis_count(diagnosis); i++) {
		assert_ok(vfb_diagnosis_finding(diagnosis, i, &finding));
		if (finding.severity == severity && !strcmp(finding.subject, subject) &&
		    strstr(finding.text, text))
			return true;
	}
	return false;
}

/* Prints them all when it is not there. */
static void assert_has(const struct vfb_diagnosis *diagnosis, enum vfb_severity severity,
		       const char *subject, const char *text)
{
	struct vfb_finding finding = VFB_FINDING_INIT;

	if (has(diagnosis, severity, subject, text))
		return;
	for (size_t i = 0; i < vfb_diagnosis_count(diagnosis); i++) {
		assert_ok(vfb_diagnosis_finding(diagnosis, i, &finding));
		print_error("%d %s %s: %s\n", finding.severity, finding.subject, finding.device,
			    finding.text);
	}
	fail_msg("nothing says %d %s: %s", severity, subject, text);
}

static void host(struct fixture *f)
{
	struct vfb_diagnosis *diagnosis = diagnose(f, NULL);
	char text[128];

	assert_has(diagnosis, VFB_FINDING_GOOD, "iommu", "an IOMMU is enabled");
	assert_has(diagnosis, VFB_FINDING_GOOD, "vfio", "type1 is available");
	assert_int_equal(has(diagnosis, VFB_FINDING_GOOD, "vfio", "iommufd is available"),
			 !f->machine->no_iommufd[0]);
	assert_int_equal(has(diagnosis, VFB_FINDING_GOOD, "vfio", "opened through their groups"),
			 f->by_group);
	assert_int_equal(has(diagnosis, VFB_FINDING_SLOW, "vfio", "/dev/iommu"),
			 !!f->machine->no_iommufd[0]);
	assert_has(diagnosis, VFB_FINDING_GOOD, "device", "bound to vfio-pci");
	for (unsigned int node = 0; node < 2; node++) {
		snprintf(text, sizeof(text), "node %u: %llu of %llu hugepages of 2 MiB are free",
			 node, (unsigned long long)machine_free_2m(node),
			 (unsigned long long)machine_pool_2m(node));
		assert_has(diagnosis, VFB_FINDING_GOOD, "hugepages", text);
	}
	assert_true(has(diagnosis, VFB_FINDING_GOOD, "thp", "transparent huge pages are"));
	vfb_diagnosis_destroy(diagnosis);
}

/* For a guest with devices that are opened for it. */
static void guest(struct fixture *f)
{
	const char *const devices[] = {device_of(f, 0, 2), device_of(f, 1, 2)};
	struct vfb_doctor_opts opts = VFB_DOCTOR_OPTS_INIT;
	struct vfb_estimate estimate = VFB_ESTIMATE_INIT;
	struct vfb_diagnosis *diagnosis;

	opts.bytes = 32 * MIB;
	opts.page_size = VFB_PAGE_2M;
	opts.devices = devices;
	opts.device_count = 2;
	opts.flags = VFB_DOCTOR_PROBE;
	diagnosis = diagnose(f, &opts);
	assert_has(diagnosis, VFB_FINDING_GOOD, "reset", "reset by flr");
	assert_false(has(diagnosis, VFB_FINDING_FAILS, "device", ""));
	assert_ok(vfb_diagnosis_estimate(diagnosis, &estimate));
	assert_int_equal(estimate.page_size, VFB_PAGE_2M);
	assert_in_range(estimate.sample_bytes, 2 * MIB, 32 * MIB);
	assert_true(estimate.populate.low > 0 && estimate.populate.low <= estimate.populate.high);
	/* The kernel sleeps for 0.1 s. */
	assert_true(estimate.open.seconds > 0.09 && estimate.close.seconds > 0.09);
	assert_true(estimate.map.seconds > 0);
	vfb_diagnosis_destroy(diagnosis);
}

static void pool_too_small(struct fixture *f)
{
	struct vfb_doctor_opts opts = VFB_DOCTOR_OPTS_INIT;
	uint64_t pages = machine_free_2m(0) + machine_free_2m(1);
	struct vfb_estimate estimate = VFB_ESTIMATE_INIT;
	struct vfb_diagnosis *diagnosis;
	char text[96];

	opts.bytes = (pages + 1) * 2 * MIB;
	opts.page_size = VFB_PAGE_2M;
	diagnosis = diagnose(f, &opts);
	snprintf(text, sizeof(text), "need %u hugepages of 2 MiB, %u are free",
		 (unsigned int)pages + 1, (unsigned int)pages);
	assert_has(diagnosis, VFB_FINDING_FAILS, "memory", text);
	assert_error(vfb_diagnosis_estimate(diagnosis, &estimate), -ENODATA);
	vfb_diagnosis_destroy(diagnosis);
	opts.page_size = VFB_PAGE_AUTO;
	diagnosis = diagnose(f, &opts);
	assert_has(diagnosis, VFB_FINDING_SLOW, "memory", text);
	assert_ok(vfb_diagnosis_estimate(diagnosis, &estimate));
	assert_int_equal(estimate.page_size, VFB_PAGE_THP);
	vfb_diagnosis_destroy(diagnosis);
}

static void foreign_device(struct fixture *f)
{
	const char *const devices[] = {f->machine->foreign, "0000:ff:1f.7"};
	struct vfb_doctor_opts opts = VFB_DOCTOR_OPTS_INIT;
	struct vfb_diagnosis *diagnosis;

	opts.devices = devices;
	opts.device_count = 1;
	diagnosis = diagnose(f, &opts);
	assert_has(diagnosis, VFB_FINDING_FAILS, "device", "not to vfio-pci");
	vfb_diagnosis_destroy(diagnosis);
	opts.device_count = 2;
	assert_error(vfb_doctor_run(f->ctx, &opts, &diagnosis), -ENODEV);
	assert_says("0000:ff:1f.7");
}

static void memlock(struct fixture *f)
{
	struct vfb_doctor_opts opts = VFB_DOCTOR_OPTS_INIT;
	struct vfb_diagnosis *diagnosis;

	opts.bytes = 16 * MIB;
	opts.page_size = VFB_PAGE_4K;
	diagnosis = diagnose(f, &opts);
	assert_has(diagnosis, VFB_FINDING_FAILS, "memlock",
		   "RLIMIT_MEMLOCK allows 64 KiB to be pinned for devices, the guest has 16 MiB");
	vfb_diagnosis_destroy(diagnosis);
}

static void no_thp(struct fixture *f)
{
	struct vfb_diagnosis *diagnosis = diagnose(f, NULL);

	assert_has(diagnosis, VFB_FINDING_SLOW, "thp", "disabled");
	vfb_diagnosis_destroy(diagnosis);
}

static void cgroup(struct fixture *f)
{
	struct vfb_doctor_opts opts = VFB_DOCTOR_OPTS_INIT;
	struct vfb_diagnosis *diagnosis;

	opts.bytes = 16 * MIB;
	opts.page_size = VFB_PAGE_2M;
	diagnosis = diagnose(f, &opts);
	assert_has(diagnosis, VFB_FINDING_FAILS, "memory", "hugetlb.2MB.max allows 8 MiB");
	assert_has(diagnosis, VFB_FINDING_SLOW, "cpus",
		   "quota of the cgroup (cpu.max) allows only 1");
	vfb_diagnosis_destroy(diagnosis);
}

const struct scenario doctor_scenarios[] = {
	{.name = "doctor: what the host is", .run = host},
	{.name = "doctor: what a guest will take", .run = guest},
	{.name = "doctor: too few hugepages", .run = pool_too_small},
	{.name = "doctor: a device of another driver", .run = foreign_device},
	{.name = "doctor: a limit on locked memory", .run = memlock, .limits.memlock = 64 * KIB},
	{.name = "doctor: no transparent huge pages", .run = no_thp, .limits.no_thp = true},
	{.name = "doctor: limits of a cgroup",
	 .run = cgroup,
	 .limits = {.hugetlb_2m = 8 * MIB, .cpu_max = "50000 100000"}},
	{0},
};
