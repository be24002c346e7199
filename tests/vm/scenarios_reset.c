/* SPDX-License-Identifier: MIT */
/* What resets devices: explicit resets, and closing, below bridges of their own and one bridge. */
#include <linux/pci_regs.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scenario.h"

static void open_family(struct fixture *f, struct vfb_space *space, const struct family *family,
			struct vfb_device **devices)
{
	struct vfb_device_request requests[8] = {0};

	(void)f;
	for (size_t i = 0; i < family->count; i++)
		requests[i].address = family->devices[i];
	assert_ok(vfb_devices_open(space, requests, family->count, NULL));
	for (size_t i = 0; i < family->count; i++)
		devices[i] = requests[i].device;
}

static void one(struct fixture *f)
{
	struct vfb_reset_request reset = {0};
	struct vfb_space *space = make_space_with_device(f, &reset.device);

	mark(reset.device);
	assert_ok(vfb_device_reset(reset.device));
	assert_false(is_marked(reset.device));
	/* The bus, which it has for itself. */
	mark(reset.device);
	reset.method = VFB_RESET_BUS;
	assert_ok(vfb_devices_reset(&reset, 1, NULL));
	assert_false(is_marked(reset.device));
	end_space(space, reset.device);
}

static void set_reset_method(const struct fixture *f, const char *text)
{
	char path[96];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/reset_method", device_of(f, 0, 1));
	machine_write(path, text);
}

/* What it was reset by is taken from it while it is open. */
static void no_way(struct fixture *f)
{
	struct vfb_reset_request reset = {0};
	struct vfb_space *space = make_space_with_device(f, &reset.device);

	set_reset_method(f, "\n");
	mark(reset.device);
	reset.method = VFB_RESET_FUNCTION;
	assert_error(vfb_devices_reset(&reset, 1, NULL), -ENOTSUP);
	assert_int_equal(reset.status, -ENOTSUP);
	assert_says(device_of(f, 0, 1));
	assert_says("reset_method");
	assert_says("reset its bus");
	assert_true(is_marked(reset.device));
	reset.method = VFB_RESET_AUTO;
	assert_ok(vfb_devices_reset(&reset, 1, NULL));
	assert_int_equal(reset.method, VFB_RESET_BUS);
	assert_false(is_marked(reset.device));
	assert_ok(vfb_device_close(reset.device));
	/* It opens all the same. */
	assert_ok(vfb_device_open(space, device_of(f, 0, 1), &reset.device));
	mark(reset.device);
	reset.method = VFB_RESET_FUNCTION;
	assert_error(vfb_devices_reset(&reset, 1, NULL), -ENOTSUP);
	assert_says("reset_method");
	reset.method = VFB_RESET_AUTO;
	assert_ok(vfb_devices_reset(&reset, 1, NULL));
	assert_false(is_marked(reset.device));
	set_reset_method(f, "default\n");
	assert_ok(vfb_device_close(reset.device));
	assert_ok(vfb_device_open(space, device_of(f, 0, 1), &reset.device));
	reset.method = VFB_RESET_FUNCTION;
	assert_ok(vfb_devices_reset(&reset, 1, NULL));
	end_space(space, reset.device);
}

static void many(struct fixture *f)
{
	struct vfb_reset_request resets[4] = {0};
	struct vfb_space *space = make_space(f);
	struct vfb_device *devices[4];

	open_devices(f, space, devices, 4);
	for (size_t i = 0; i < 4; i++) {
		mark(devices[i]);
		resets[i].device = devices[i];
	}
	assert_ok(vfb_devices_reset(resets, 4, NULL));
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(resets[i].status, 0);
		assert_int_equal(resets[i].method, VFB_RESET_FUNCTION);
		assert_false(is_marked(devices[i]));
	}
	assert_ok(vfb_devices_close(devices, 4, NULL));
	end_space(space, NULL);
}

/* Devices that share a bus: all of them with one reset, some of them one by one. */
static void reset_family(struct fixture *f, const struct family *family)
{
	struct vfb_reset_request resets[8] = {0};
	struct vfb_space *space = make_space(f);
	struct vfb_device *devices[8];
	size_t count = family->count;

	open_family(f, space, family, devices);
	for (size_t i = 0; i < count; i++) {
		mark(devices[i]);
		resets[i].device = devices[i];
	}
	assert_ok(vfb_devices_reset(resets, count, NULL));
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(resets[i].method, VFB_RESET_BUS);
		assert_false(is_marked(devices[i]));
		mark(devices[i]);
		resets[i].method = VFB_RESET_AUTO;
	}
	assert_ok(vfb_devices_reset(resets, count - 1, NULL));
	for (size_t i = 0; i < count; i++)
		assert_true(is_marked(devices[i]) == (i == count - 1));
	assert_int_equal(resets[0].method, VFB_RESET_FUNCTION);
	resets[0].method = VFB_RESET_BUS;
	assert_error(vfb_devices_reset(resets, 1, NULL), -EPERM);
	assert_says(family->devices[1]);
	assert_ok(vfb_devices_close(devices, count, NULL));
	end_space(space, NULL);
}

static void reset_bridged(struct fixture *f)
{
	reset_family(f, &f->machine->bridged);
}

static void reset_functions(struct fixture *f)
{
	reset_family(f, &f->machine->functions);
}

/* Closing them together resets every one. Opening would reset them, so look without that. */
static void close_family(struct fixture *f, const struct family *family)
{
	struct vfb_space *space = make_space(f);
	struct vfb_device *devices[8];

	open_family(f, space, family, devices);
	for (size_t i = 0; i < family->count; i++)
		mark(devices[i]);
	assert_ok(vfb_devices_close(devices, family->count, NULL));
	for (size_t i = 0; i < family->count; i++)
		assert_int_equal(machine_register(family->devices[i], NVME_INTMS), 0);
	end_space(space, NULL);
}

static void close_bridged(struct fixture *f)
{
	close_family(f, &f->machine->bridged);
}

static void close_functions(struct fixture *f)
{
	close_family(f, &f->machine->functions);
}

/* In a process of its own: a VMM that is killed, with a reaper that writes to @report. */
static void be_killed(struct fixture *f, int report)
{
	struct vfb_reaper_opts opts = VFB_REAPER_OPTS_INIT;
	struct vfb_device *devices[4];
	struct vfb_reaper *reaper;
	struct vfb_space *space;

	assert_ok(machine_ctx_create(NULL, &f->ctx));
	space = make_space(f);
	open_devices(f, space, devices, 4);
	for (size_t i = 0; i < 4; i++)
		mark(devices[i]);
	opts.program = REAPER;
	opts.report_fd = report;
	opts.flags = VFB_REAPER_HAS_REPORT_FD;
	assert_ok(vfb_reaper_start(devices, 4, &opts, &reaper));
	kill(getpid(), SIGKILL);
}

/* A process is killed with its devices open: its reaper closes them, and they are free then. */
static void killed(struct fixture *f)
{
	struct vfb_space *space = make_space(f);
	struct vfb_device *devices[4];
	char text[512] = "";
	size_t length = 0;
	int ends[2], status;
	ssize_t done;
	pid_t child;

	if (!f->machine->has_registers) {
		end_space(space, NULL);
		return;
	}
	assert_int_equal(pipe(ends), 0);
	child = fork();
	if (!child) {
		be_killed(f, ends[1]);
		_exit(1);
	}
	close(ends[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	while ((done = read(ends[0], text + length, sizeof(text) - 1 - length)) > 0)
		length += done;
	close(ends[0]);
	for (size_t i = 0; i < 4; i++) {
		assert_non_null(strstr(text, device_of(f, i, 4)));
		assert_int_equal(machine_register(device_of(f, i, 4), NVME_INTMS), 0);
	}
	assert_non_null(strstr(text, "done"));
	open_devices(f, space, devices, 4);
	assert_ok(vfb_devices_close(devices, 4, NULL));
	end_space(space, NULL);
}

/* Where the MSI-X table is in BAR 0. */
static uint64_t find_table(struct vfb_device *device)
{
	uint64_t at, id, table;

	assert_ok(vfb_region_load(device, VFB_REGION_CONFIG, PCI_CAPABILITY_LIST, 1, &at));
	for (;;) {
		assert_int_not_equal(at, 0);
		assert_ok(vfb_region_load(device, VFB_REGION_CONFIG, at, 1, &id));
		if (id == PCI_CAP_ID_MSIX)
			break;
		assert_ok(
			vfb_region_load(device, VFB_REGION_CONFIG, at + PCI_CAP_LIST_NEXT, 1, &at));
	}
	assert_ok(vfb_region_load(device, VFB_REGION_CONFIG, at + PCI_MSIX_TABLE, 4, &table));
	assert_int_equal(table & PCI_MSIX_TABLE_BIR, 0);
	return table;
}

/*
 * Virtual functions have a dev_set each: nothing in the kernel keeps their resets from meeting,
 * and being skipped. Those of an NVMe controller have no registers of their own, but an MSI-X
 * table, which a reset clears. Some are closed together, some each by itself.
 */
static void close_virtual(struct fixture *f)
{
	const struct family *vfs = &f->machine->vfs;
	struct vfb_device_request requests[8] = {0};
	struct vfb_space *space = make_space(f);
	struct vfb_device *devices[8];
	struct vfb_job *jobs[3];
	uint64_t data = 0;
	void *bar;

	if (f->machine->vfs_want_token) {
		assert_ok(vfb_space_destroy(space));
		return;
	}
	for (size_t i = 0; i < vfs->count; i++)
		requests[i].address = vfs->devices[i];
	assert_ok(vfb_devices_open(space, requests, vfs->count, NULL));
	for (size_t i = 0; i < vfs->count; i++) {
		volatile uint32_t *message;

		devices[i] = requests[i].device;
		/* The data of the first message; the fake's registers are plain memory. */
		data = f->machine->has_registers ? find_table(devices[i]) + 8 : NVME_INTMS;
		assert_ok(vfb_region_map(devices[i], 0, NULL, &bar));
		message = (volatile uint32_t *)((char *)bar + data);
		*message = MARK;
		assert_int_equal(*message, MARK);
	}
	assert_ok(vfb_devices_close_start(devices, vfs->count - 2, NULL, &jobs[0]));
	for (size_t i = 1; i < 3; i++)
		assert_ok(vfb_devices_close_start(&devices[vfs->count - i], 1, NULL, &jobs[i]));
	for (size_t i = 0; i < 3; i++)
		vfb_job_destroy(jobs[i]);
	for (size_t i = 0; i < vfs->count; i++)
		assert_int_equal(machine_register(vfs->devices[i], data), 0);
	assert_ok(vfb_space_destroy(space));
}

const struct scenario reset_scenarios[] = {
	{.name = "closing resets all virtual functions",
	 .run = close_virtual,
	 .needs = MACHINE_VFS},
	{.name = "a reset clears registers", .run = one, .needs = MACHINE_BUSES},
	{.name = "a device without a way to be reset", .run = no_way, .needs = MACHINE_BUSES},
	{.name = "four devices are reset", .run = many, .needs = MACHINE_BUSES},
	{.name = "devices below one bridge are reset",
	 .run = reset_bridged,
	 .needs = MACHINE_BRIDGE},
	{.name = "functions of one device are reset",
	 .run = reset_functions,
	 .needs = MACHINE_FUNCTIONS},
	{.name = "closing resets all below a bridge",
	 .run = close_bridged,
	 .needs = MACHINE_BRIDGE},
	{.name = "closing resets all functions of a device",
	 .run = close_functions,
	 .needs = MACHINE_FUNCTIONS},
	{.name = "a reaper outlives a process that is killed", .run = killed, .unfiltered = true},
	{0},
};
