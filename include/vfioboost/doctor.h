/* SPDX-License-Identifier: MIT */
/**
 * @file doctor.h
 * What a host can do, what will be slow, and how to mend it.
 *
 * Everything is read from sysfs and proc, which needs no privilege; what only root may read is
 * left out. For a guest it is also tried whether its memory can be had, a sample of which is
 * populated, timed and given back. Devices are touched only when that is asked for.
 */
#ifndef VFIOBOOST_DOCTOR_H
#define VFIOBOOST_DOCTOR_H

#include <vfioboost/context.h>
#include <vfioboost/memory.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What was found. */
struct vfb_diagnosis;

enum vfb_severity {
	/** As it should be, or just so. */
	VFB_FINDING_GOOD,
	/** It costs time. */
	VFB_FINDING_SLOW,
	/** A guest cannot start, or that which was asked about cannot. */
	VFB_FINDING_FAILS,
};

/** One statement about the host. Texts belong to the diagnosis. */
struct vfb_finding {
	size_t size;
	enum vfb_severity severity;
	/** A word for programs: "kernel", "cpus", "hugepages", "fragmentation", "thp", "memlock",
	 *  "iommu", "vfio", "device", "reset", "memory", "contiguity". More may come. */
	const char *subject;
	/** What is so, and what it costs. */
	const char *text;
	/** The command, or the step, that mends it; "" when nothing has to be. */
	const char *remedy;
	/** The PCI address of the device that it is about; "" for none. */
	const char *device;
	/** The NUMA node that it is about, -1 for none. */
	int node;
	/** The seconds of a start that it costs, 0 when that cannot be told. */
	double seconds;
};

#define VFB_FINDING_INIT VFB_SIZED(struct vfb_finding)

/** The guest to answer for; zero what is not set. */
struct vfb_doctor_opts {
	size_t size;
	/** How much memory it has; 0: not asked about. */
	uint64_t bytes;
	/** What that is made of, and its kind. */
	enum vfb_page_size page_size;
	enum vfb_memory_kind kind;
	/** The PCI addresses of its devices. */
	const char *const *devices;
	size_t device_count;
	/** VFB_DOCTOR_... */
	uint32_t flags;
};

#define VFB_DOCTOR_OPTS_INIT VFB_SIZED(struct vfb_doctor_opts)

/** Open the devices, map the sample for them and close them again, to measure that too. It resets
 *  them: they must not be in use. */
#define VFB_DOCTOR_PROBE (1u << 0)

/** A time in seconds, and between which bounds the sample lets it be. */
struct vfb_estimated_time {
	double seconds, low, high;
};

/** What the start of the guest will take. */
struct vfb_estimate {
	size_t size;
	/** What its memory would be made of now. */
	enum vfb_page_size page_size;
	/** How much was populated to find out, and in how many parts: the fastest and the slowest
	 *  of them are the bounds. */
	uint64_t sample_bytes;
	unsigned int samples;
	/** All workers of the context populating. */
	struct vfb_estimated_time populate;
	/** Opening and closing all devices, those that share a reset in turn: by their kind of
	 *  reset, or measured with VFB_DOCTOR_PROBE. */
	struct vfb_estimated_time open, close;
	/** Mapping the memory for the devices; all 0 unless it was measured. */
	struct vfb_estimated_time map;
	/** From nothing to mapped, with devices opening meanwhile. */
	struct vfb_estimated_time start;
};

#define VFB_ESTIMATE_INIT VFB_SIZED(struct vfb_estimate)

/**
 * Looks at the host, for a guest if @p opts names one. Takes some 0.1 s with a guest, longer with
 * pages of 1 GiB; devices are reset with VFB_DOCTOR_PROBE only.
 *
 * @param opts  the guest, or NULL
 * @param out   what was found, to be given to vfb_diagnosis_destroy()
 *
 * @return 0, whatever was found; -EINVAL: an option is wrong, a device is none or not there;
 * -ENOMEM; -E2BIG.
 */
VFB_API int vfb_doctor_run(struct vfb_ctx *ctx, const struct vfb_doctor_opts *opts,
			   struct vfb_diagnosis **out);

/** How many findings there are. */
VFB_API size_t vfb_diagnosis_count(const struct vfb_diagnosis *diagnosis);

/** Tells a finding, from 0 on. @return 0; -EINVAL: there is no such finding; -E2BIG. */
VFB_API int vfb_diagnosis_finding(const struct vfb_diagnosis *diagnosis, size_t index,
				  struct vfb_finding *finding);

/**
 * Tells what the guest's start will take.
 *
 * @return 0; -ENODATA: no memory was asked about, or it cannot be had (a finding tells why);
 * -E2BIG.
 */
VFB_API int vfb_diagnosis_estimate(const struct vfb_diagnosis *diagnosis,
				   struct vfb_estimate *estimate);

/** Frees it. @param diagnosis  NULL is allowed */
VFB_API void vfb_diagnosis_destroy(struct vfb_diagnosis *diagnosis);

#ifdef __cplusplus
}
#endif

#endif
