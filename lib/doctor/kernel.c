/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "doctor/doctor.h"
#include "engine/quota.h"

#define OSRELEASE "/proc/sys/kernel/osrelease"

struct version {
	unsigned int major, minor, patch;
};

/* Improvements of later kernels, with the version that introduced them, and the stable version that
 * has them as well. */
static const struct {
	enum vfb_found found;
	struct version since, stable;
	const char *has, *lacks;
} fixes[] = {
	{VFB_FOUND_KERNEL_TYPE1_BATCH,
	 {5, 12, 0},
	 {0},
	 "pins 512 pages at a time for type1",
	 "pins page by page for type1: mapping takes several times longer"},
	{VFB_FOUND_KERNEL_POPULATE_WRITE,
	 {5, 14, 0},
	 {0},
	 "populates memory with MADV_POPULATE_WRITE",
	 "has no MADV_POPULATE_WRITE: pages are touched one at a time"},
	{VFB_FOUND_KERNEL_IOMMUFD,
	 {6, 2, 0},
	 {0},
	 "is recent enough for iommufd",
	 "has no iommufd: the maps of a guest are serialized"},
	{VFB_FOUND_KERNEL_BAR_HUGE,
	 {6, 12, 0},
	 {0},
	 "maps BARs with huge pages",
	 "maps BARs page by page: about 1 s per 32 GiB of BAR"},
	{VFB_FOUND_KERNEL_MAP_FILE,
	 {6, 13, 0},
	 {0},
	 "lets iommufd map memfds by folio (IOMMU_IOAS_MAP_FILE)",
	 "has no IOMMU_IOAS_MAP_FILE: a memfd is pinned by address and cannot be handed over"},
	{VFB_FOUND_KERNEL_VF_RESET,
	 {6, 17, 0},
	 {6, 12, 43},
	 "resets SR-IOV virtual functions in parallel",
	 "resets the virtual functions of a device one after another, 0.1 s each"},
	{VFB_FOUND_KERNEL_TYPE1_CONTIGUOUS,
	 {6, 18, 0},
	 {0},
	 "pins contiguous memory range by range for type1",
	 "pins huge pages piece by piece for type1: mapping them takes about twice as long"},
	{VFB_FOUND_KERNEL_BAR_DMABUF,
	 {6, 19, 0},
	 {0},
	 "lets iommufd map BARs (dma-buf)",
	 "has no dma-buf for BARs: with iommufd, devices cannot access each other's BARs"},
	{VFB_FOUND_KERNEL_ZEROING,
	 {7, 0, 0},
	 {0},
	 "zeroes huge pages as a whole",
	 "zeroes huge pages 4 KiB at a time: populating them takes up to twice as long"},
};

/* Backports of a distribution to an older version cannot be detected. */
static bool kernel_read_version(const struct vfb_diagnosis *diagnosis, struct version *kernel)
{
	char release[64];

	*kernel = (struct version){0};
	vfb_doctor_read(diagnosis, OSRELEASE, release, sizeof(release));
	return sscanf(release, "%u.%u.%u", &kernel->major, &kernel->minor, &kernel->patch) >= 2;
}

static bool is_before(struct version a, struct version b)
{
	if (a.major != b.major)
		return a.major < b.major;
	if (a.minor != b.minor)
		return a.minor < b.minor;
	return a.patch < b.patch;
}

static bool has_fix(struct version kernel, size_t i)
{
	struct version stable = fixes[i].stable;

	if (!is_before(kernel, fixes[i].since))
		return true;
	return stable.major && kernel.major == stable.major && kernel.minor == stable.minor &&
	       kernel.patch >= stable.patch;
}

/*
 * Linux 6.13 to about 6.18: memfd_alloc_folio() does not zero the hugetlb pages that it allocates
 * for IOMMU_IOAS_MAP_FILE.
 */
static int kernel_check_map_file(struct vfb_diagnosis *diagnosis, struct version kernel)
{
	static const struct version first = {6, 13, 0}, fixed = {6, 18, 0};

	if (is_before(kernel, first) || !is_before(kernel, fixed))
		return 0;
	return vfb_diagnosis_add_host(
		diagnosis, VFB_FOUND_KERNEL_MAP_FILE_LEAK, VFB_FINDING_GOOD,
		"kernels from 6.13 to about 6.18 do not zero hugetlb pages that IOMMU_IOAS_MAP_FILE "
		"allocates: a guest could read the memory of their last user; this library "
		"populates memory before it maps it, other programs may not",
		"run Linux 6.18 or later where other programs map memfds of hugepages");
}

/* The mode in brackets in sched/preempt, as in "none voluntary (full) lazy"; or that of the command
 * line. "" if neither can be read. */
static void kernel_read_preemption(const struct vfb_diagnosis *diagnosis, char *mode, size_t bytes)
{
	char text[4096];
	const char *at;

	vfb_doctor_read(diagnosis, "/sys/kernel/debug/sched/preempt", text, sizeof(text));
	at = strchr(text, '(');
	if (!at) {
		vfb_doctor_read(diagnosis, "/proc/cmdline", text, sizeof(text));
		at = strstr(text, "preempt=");
		at = at ? at + strlen("preempt") : NULL;
	}
	snprintf(mode, bytes, "%.*s", at ? (int)strcspn(at + 1, ") ") : 0, at ? at + 1 : "");
}

int vfb_check_preemption(struct vfb_diagnosis *diagnosis)
{
	static const struct version since = {7, 0, 0};
	char mode[32], text[VFB_FINDING_BYTES];
	struct version kernel;

	if (!kernel_read_version(diagnosis, &kernel) || is_before(kernel, since))
		return 0;
	kernel_read_preemption(diagnosis, mode, sizeof(mode));
	if (strcmp(mode, "none") && strcmp(mode, "voluntary"))
		return 0;
	snprintf(text, sizeof(text),
		 "the kernel runs with preempt=%s: it zeroes pages of 1 GiB in small steps, which "
		 "takes up to twice as long",
		 mode);
	return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_KERNEL_PREEMPTION, VFB_FINDING_SLOW,
				      text,
				      "boot with preempt=lazy or preempt=full, or use pages of 2 "
				      "MiB");
}

int vfb_check_kernel(struct vfb_diagnosis *diagnosis)
{
	char release[64], text[VFB_FINDING_BYTES], remedy[VFB_FINDING_BYTES];
	struct version kernel = {0};
	int error = 0;

	if (!kernel_read_version(diagnosis, &kernel))
		return 0;
	vfb_doctor_read(diagnosis, OSRELEASE, release, sizeof(release));
	for (size_t i = 0; i < sizeof(fixes) / sizeof(fixes[0]) && !error; i++) {
		bool has = has_fix(kernel, i);

		snprintf(text, sizeof(text), "Linux %s %s", release,
			 has ? fixes[i].has : fixes[i].lacks);
		snprintf(remedy, sizeof(remedy), "run Linux %u.%u or later", fixes[i].since.major,
			 fixes[i].since.minor);
		error = vfb_diagnosis_add_host(diagnosis, fixes[i].found,
					       has ? VFB_FINDING_GOOD : VFB_FINDING_SLOW, text,
					       has ? "" : remedy);
	}
	return error ? error : kernel_check_map_file(diagnosis, kernel);
}

int vfb_check_cpus(struct vfb_diagnosis *diagnosis)
{
	const struct vfb_sys *sys = diagnosis->ctx->sys;
	unsigned int quota = vfb_quota_cpus(sys), cpus;
	char text[VFB_FINDING_BYTES];
	cpu_set_t affinity;
	bool limited;

	if (sys->get_affinity(sys, &affinity))
		return 0;
	cpus = CPU_COUNT(&affinity);
	limited = quota < cpus;
	snprintf(text, sizeof(text), "%u CPUs are usable", cpus);
	if (!limited)
		return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_CPUS, VFB_FINDING_GOOD, text,
					      "");
	snprintf(text, sizeof(text),
		 "%u CPUs are usable, but the quota of the cgroup (cpu.max) allows only %u", cpus,
		 quota);
	return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_CPUS_QUOTA, VFB_FINDING_SLOW, text,
				      "raise cpu.max of the cgroup while guests start");
}
