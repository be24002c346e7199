/* SPDX-License-Identifier: MIT */
/* Whatever is in files, links and folders of /sys and /proc: nothing else of the kernel is there.
 */
#include <errno.h>
#include <stdio.h>

#include "device/in_use.h"
#include "device/pci.h"
#include "doctor/doctor.h"
#include "engine/quota.h"
#include "input.h"
#include "memory/memory.h"

struct files {
	struct vfb_sys sys;
	struct input input;
};

static struct input *input_of(const struct vfb_sys *sys)
{
	return &((struct files *)(uintptr_t)sys)->input;
}

/* No other call is there. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define TIMED(type, name, parameters, ...) UNTIMED(type, name, parameters)
#define TIMED_VOID(name, parameters, ...)  UNTIMED_VOID(name, parameters)
#define UNTIMED(type, name, parameters, ...) \
	static type absent_##name parameters \
	{                                    \
		return (type)-ENOSYS;        \
	}
#define UNTIMED_VOID(name, parameters, ...)  \
	static void absent_##name parameters \
	{                                    \
	}
#include "sys/calls.def"
#pragma GCC diagnostic pop

static int files_open(const struct vfb_sys *sys, const char *path, int flags)
{
	(void)path;
	(void)flags;
	return input_chance(input_of(sys), 16) ? -ENOENT : 3;
}

static void files_close(const struct vfb_sys *sys, int fd)
{
	(void)sys;
	(void)fd;
}

/* A part of the input, of no more than what is asked for; sometimes an error. */
static ssize_t files_pread(const struct vfb_sys *sys, int fd, void *buf, size_t bytes, off_t offset)
{
	struct input *input = input_of(sys);
	size_t length = input_u8(input);

	(void)fd;
	(void)offset;
	if (length == 255)
		return -EIO;
	if (length > input_left(input))
		length = input_left(input);
	if (length > bytes)
		length = bytes;
	input_read(input, buf, length);
	return length;
}

static int read_text(struct input *input, char *buf, size_t bytes)
{
	size_t length = input_u8(input);

	if (length > 250)
		return -ENOENT;
	if (length >= bytes)
		return -ENAMETOOLONG;
	input_read(input, buf, length);
	buf[length] = '\0';
	return 0;
}

static int files_readlink(const struct vfb_sys *sys, const char *path, char *buf, size_t bytes)
{
	(void)path;
	return read_text(input_of(sys), buf, bytes);
}

static int files_path_info(const struct vfb_sys *sys, const char *path, struct vfb_sys_path *info)
{
	struct input *input = input_of(sys);

	(void)path;
	*info = (struct vfb_sys_path){
		.is_node = input_chance(input, 2),
		.is_block = input_chance(input, 2),
		.major = input_below(input, 4),
		.minor = input_below(input, 4),
	};
	return input_chance(input, 4) ? -ENOENT : 0;
}

static int files_list(const struct vfb_sys *sys, const char *path,
		      int (*each)(const char *name, void *arg), void *arg)
{
	struct input *input = input_of(sys);
	int result = 0;

	(void)path;
	for (unsigned int names = input_below(input, 8); names && !result; names--) {
		char name[256];

		/* One that the kernel can have. */
		if (!read_text(input, name, sizeof(name)) && name[0] && !strchr(name, '/'))
			result = each(name, arg);
	}
	return result;
}

static void init_files(struct files *files)
{
	files->sys = (struct vfb_sys){
#define TIMED(type, name, ...)	 .name = absent_##name,
#define TIMED_VOID(name, ...)	 .name = absent_##name,
#define UNTIMED(type, name, ...) .name = absent_##name,
#define UNTIMED_VOID(name, ...)	 .name = absent_##name,
#include "sys/calls.def"
	};
	files->sys.open = files_open;
	files->sys.close = files_close;
	files->sys.pread = files_pread;
	files->sys.readlink = files_readlink;
	files->sys.realpath = files_readlink;
	files->sys.list = files_list;
	files->sys.path_info = files_path_info;
}

/* ---- What reads them ---- */

static void note_limit(const char *path, uint64_t limit, uint64_t period, void *arg)
{
	*(uint64_t *)arg += limit + period + strlen(path);
}

static void read_host(struct vfb_ctx *ctx)
{
	struct vfb_field fields[] = {{.name = "MemFree", .base = 10},
				     {.name = "CapEff", .base = 16}};
	struct vfb_memory memory = {.ctx = ctx, .bytes = 1 << 20};
	uint64_t sum = 0;

	vfb_sys_read_fields(ctx->sys, "/proc/meminfo", fields, 2);
	vfb_sys_cgroup(ctx->sys, "memory.max", note_limit, &sum);
	vfb_quota_cpus(ctx->sys);
	vfb_memory_huge(&memory, &sum);
}

static void read_devices(struct vfb_ctx *ctx)
{
	char addresses[4][VFB_PCI_ADDRESS_BYTES];
	struct vfb_pci_info info = VFB_PCI_INFO_INIT;
	struct vfb_pci pci;

	vfb_pci_list(ctx, addresses, 4);
	vfb_pci_reset_set(ctx, "0000:01:00.0", addresses, 4);
	if (!vfb_pci_identify(ctx->sys, "0000:01:00.0", &pci)) {
		struct vfb_disk_claim claim = {0};

		vfb_device_claim_unused(ctx->sys, &pci, &claim);
		vfb_disk_claim_release(ctx->sys, &claim);
	}
	vfb_pci_info(ctx, "0000:01:00.0", &info);
}

static void diagnose(struct vfb_ctx *ctx, struct input *input)
{
	static int (*const checks[])(struct vfb_diagnosis * diagnosis) = {
		vfb_check_kernel,  vfb_check_hugepages, vfb_check_thp,
		vfb_check_memlock, vfb_check_iommu,	vfb_check_devices,
	};
	const char *const device = "0000:01:00.0";
	struct vfb_doctor_opts guest = VFB_DOCTOR_OPTS_INIT;
	struct vfb_diagnosis *diagnosis = calloc(1, sizeof(*diagnosis));

	if (!diagnosis)
		abort();
	guest.devices = &device;
	guest.device_count = input_below(input, 2);
	diagnosis->ctx = ctx;
	diagnosis->guest = &guest;
	atomic_fetch_add(&ctx->objects, 1);
	checks[input_below(input, 6)](diagnosis);
	vfb_diagnosis_destroy(diagnosis);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct files files;
	struct vfb_ctx ctx = {.sys = &files.sys};

	if (!files.sys.open)
		init_files(&files);
	files.input = (struct input){data, data + bytes};
	switch (input_below(&files.input, 3)) {
	case 0:
		read_host(&ctx);
		break;
	case 1:
		read_devices(&ctx);
		break;
	default:
		diagnose(&ctx, &files.input);
	}
	return 0;
}
