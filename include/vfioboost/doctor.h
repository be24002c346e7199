/* SPDX-License-Identifier: MIT */
/**
 * @file doctor.h
 * What a host supports, what will be slow, and how to fix it.
 *
 * The doctor reads sysfs and proc. It needs no privilege; what only root can read is omitted. For a
 * guest it also checks that the memory is available: it creates it, populates a sample, measures
 * the time and releases it. It opens what a start opens, and closes it again: /dev/vfio/vfio,
 * /dev/iommu, the groups and the nodes of devices; and it attaches the groups of the devices in
 * question to an IOMMU domain for a moment. That resets no device. Only VFB_DOCTOR_PROBE does.
 */
#ifndef VFIOBOOST_DOCTOR_H
#define VFIOBOOST_DOCTOR_H

#include <vfioboost/context.h>
#include <vfioboost/memory.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The results of vfb_doctor_run(). */
struct vfb_diagnosis;

/** Severity of a finding. */
enum vfb_severity {
	/** As it should be, or for information. */
	VFB_FINDING_GOOD,
	/** It costs time. */
	VFB_FINDING_SLOW,
	/** No guest can start, or not the one in question, or none with the device concerned. */
	VFB_FINDING_FAILS,
};

/** A finding about the host. Its strings belong to the diagnosis. */
struct vfb_finding {
	size_t size;
	enum vfb_severity severity;
	/** Keyword for programs: "kernel", "cpus", "hugepages", "fragmentation", "thp", "user",
	 * "memlock", "iommu", "vfio", "device", "reset", "memory", "contiguity". More may come. */
	const char *subject;
	/** What was found, and what it costs. */
	const char *text;
	/** The command or step that fixes it; "" if there is nothing to fix. */
	const char *remedy;
	/** PCI address of the device concerned; "" if none. */
	const char *device;
	/** The NUMA node concerned, -1 if none. */
	int node;
	/** Seconds that it adds to a start; 0: not known. */
	double seconds;
	/** Identifies the kind of finding to programs, and never changes; vfioboost-doctor(1) lists
	 *  them. */
	const char *id;
};

#define VFB_FINDING_INIT VFB_SIZED(struct vfb_finding)

/** The guest in question. Zero is a good default for every field. */
struct vfb_doctor_opts {
	size_t size;
	/** Size of its memory; 0: not in question. */
	uint64_t bytes;
	/** The pages and the kind of that memory. */
	enum vfb_page_size page_size;
	enum vfb_memory_kind kind;
	/** PCI addresses of its devices, and their number. */
	const char *const *devices;
	size_t device_count;
	/** VFB_DOCTOR_... */
	uint32_t flags;
};

#define VFB_DOCTOR_OPTS_INIT VFB_SIZED(struct vfb_doctor_opts)

/** Open the devices, map the sample for them and close them again, to measure that as well. This
 *  resets the devices: they must not be in use. */
#define VFB_DOCTOR_PROBE (1u << 0)

/** An estimated time in seconds, and the bounds that the sample gives. */
struct vfb_estimated_time {
	double seconds, low, high;
};

/** How long the start of the guest will take. */
struct vfb_estimate {
	size_t size;
	/** The pages that its memory would have now. */
	enum vfb_page_size page_size;
	/** Number of bytes that were populated as a sample, and of the parts that were measured.
	 *  The fastest and the slowest part are the bounds of the estimates. */
	uint64_t sample_bytes;
	unsigned int samples;
	/** Populating, with all workers of the context. */
	struct vfb_estimated_time populate;
	/** Opening and closing all devices, one after another where they share a reset: estimated
	 *  from their reset methods, or measured with VFB_DOCTOR_PROBE. */
	struct vfb_estimated_time open, close;
	/** Mapping the memory for the devices; 0 unless measured with VFB_DOCTOR_PROBE. */
	struct vfb_estimated_time map;
	/** The whole start: populating and mapping while the devices open. */
	struct vfb_estimated_time start;
};

#define VFB_ESTIMATE_INIT VFB_SIZED(struct vfb_estimate)

/**
 * Examines the host, and whether it can start the guest in @p opts. This takes about 0.1 s with a
 * guest, longer with pages of 1 GiB.
 *
 * @param ctx   the context
 * @param opts  the guest, or NULL
 * @param out   receives the results; release them with vfb_diagnosis_destroy()
 *
 * @return 0, whatever was found; -EINVAL: invalid option, or an address that is invalid or not of a
 * device; -ENOMEM; -E2BIG.
 */
VFB_API int vfb_doctor_run(struct vfb_ctx *ctx, const struct vfb_doctor_opts *opts,
			   struct vfb_diagnosis **out);

/** Returns the number of findings. */
VFB_API size_t vfb_diagnosis_count(const struct vfb_diagnosis *diagnosis);

/**
 * Reports a finding.
 *
 * @param diagnosis  the results
 * @param index      0 to vfb_diagnosis_count() - 1
 * @param finding    is filled in
 *
 * @return 0; -EINVAL: there is no such finding; -E2BIG.
 */
VFB_API int vfb_diagnosis_finding(const struct vfb_diagnosis *diagnosis, size_t index,
				  struct vfb_finding *finding);

/**
 * Whether the guest in question can start. Without devices in question: whether any guest can, with
 * at least one of the devices that are bound to VFIO drivers, if there are any.
 *
 * @param diagnosis  the results
 * @param reason     is filled in with the first finding that prevents it; NULL: not needed
 *
 * @return 1: nothing was found that prevents it; 0: something was; -EINVAL, -E2BIG: @p reason
 * cannot be filled in.
 */
VFB_API int vfb_diagnosis_can_start(const struct vfb_diagnosis *diagnosis,
				    struct vfb_finding *reason);

/**
 * Reports how long the start of the guest will take.
 *
 * @param diagnosis  the results
 * @param estimate   is filled in
 *
 * @return 0; -ENODATA: no memory was in question, or it is not available (a finding says why);
 * -E2BIG.
 */
VFB_API int vfb_diagnosis_estimate(const struct vfb_diagnosis *diagnosis,
				   struct vfb_estimate *estimate);

/** Frees the results; NULL is allowed and does nothing. */
VFB_API void vfb_diagnosis_destroy(struct vfb_diagnosis *diagnosis);

#ifdef __cplusplus
}
#endif

#endif
