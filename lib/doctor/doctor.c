/* SPDX-License-Identifier: MIT */
#include "doctor/doctor.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "options.h"

void vfb_doctor_read(const struct vfb_diagnosis *diagnosis, const char *path, char *text,
		     size_t bytes)
{
	if (vfb_sys_read_file(diagnosis->ctx->sys, path, text, bytes) < 0)
		text[0] = '\0';
}

bool vfb_doctor_exists(const struct vfb_diagnosis *diagnosis, const char *path)
{
	char real[PATH_MAX];

	return !diagnosis->ctx->sys->realpath(diagnosis->ctx->sys, path, real, sizeof(real));
}

static int doctor_check_opts(const struct vfb_doctor_opts *opts)
{
	if (opts->flags & ~VFB_DOCTOR_PROBE)
		return vfb_fail(-EINVAL, "unknown flags 0x%x: this version knows 0x%x", opts->flags,
				VFB_DOCTOR_PROBE);
	if (opts->page_size > VFB_PAGE_MIXED)
		return vfb_fail(-EINVAL, "page size %d is unknown", (int)opts->page_size);
	if (vfb_entries_check(opts->devices, opts->device_count, "devices"))
		return -EINVAL;
	if (opts->flags & VFB_DOCTOR_PROBE && !opts->device_count)
		return vfb_fail(-EINVAL, "VFB_DOCTOR_PROBE needs a device to probe: there is none");
	return 0;
}

static int run_checks(struct vfb_diagnosis *diagnosis)
{
	static int (*const checks[])(struct vfb_diagnosis * diagnosis) = {
		vfb_check_kernel, vfb_check_cpus,  vfb_check_hugepages, vfb_check_thp,
		vfb_check_user,	  vfb_check_iommu, vfb_check_memlock,	vfb_check_devices,
		vfb_check_reach,  vfb_check_guest,
	};
	int error = 0;

	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]) && !error; i++)
		error = checks[i](diagnosis);
	return error;
}

int vfb_doctor_run(struct vfb_ctx *ctx, const struct vfb_doctor_opts *opts,
		   struct vfb_diagnosis **out)
{
	struct vfb_doctor_opts known = VFB_DOCTOR_OPTS_INIT;
	struct vfb_diagnosis *diagnosis;
	int error;

	*out = NULL;
	error = vfb_struct_read(&known, sizeof(known), opts);
	if (!error)
		error = doctor_check_opts(&known);
	if (error)
		return error;
	diagnosis = calloc(1, sizeof(*diagnosis));
	if (!diagnosis)
		return vfb_fail_memory();
	atomic_fetch_add(&ctx->objects, 1);
	diagnosis->ctx = ctx;
	diagnosis->guest = &known;
	diagnosis->has_devices = known.device_count;
	error = run_checks(diagnosis);
	diagnosis->guest = NULL;
	if (error) {
		vfb_diagnosis_destroy(diagnosis);
		return error;
	}
	*out = diagnosis;
	return 0;
}
