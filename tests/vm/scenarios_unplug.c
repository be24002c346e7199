/* SPDX-License-Identifier: MIT */
/* Devices that are unplugged while they are in use: asked for back, then gone, then there again. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scenario.h"

#define BYTES	(4 * MIB)
#define IOVA	GIB
#define SECONDS (1000 * MS)

/* A device in use: it has memory, a BAR, an interrupt, and somebody who hears of requests. */
struct user {
	struct vfb_space *space;
	struct vfb_device *device;
	struct vfb_memory *memory;
	int request, interrupt;
};

static void begin(struct fixture *f, struct user *user)
{
	void *bar;

	user->space = make_space_with_device(f, &user->device);
	user->memory = make_memory(f, BYTES, VFB_PAGE_4K);
	assert_ok(map_one(user->space, user->memory, BYTES, IOVA));
	assert_ok(vfb_region_map(user->device, 0, NULL, &bar));
	user->request = machine_eventfd();
	user->interrupt = machine_eventfd();
	assert_ok(vfb_irq_enable(user->device, VFB_IRQ_REQUEST, 0, &user->request, 1));
	assert_ok(vfb_irq_enable(user->device, VFB_IRQ_MSIX, 0, &user->interrupt, 1));
}

static void end(struct user *user)
{
	assert_ok(vfb_space_unmap_all(user->space));
	assert_ok(vfb_space_destroy(user->space));
	assert_ok(vfb_memory_destroy(user->memory));
	machine_close(user->request);
	machine_close(user->interrupt);
}

/* It is not there, and nothing hangs on it. */
static void assert_gone(struct fixture *f, struct vfb_space *space, const char *address)
{
	struct vfb_pci_info info = VFB_PCI_INFO_INIT;
	struct vfb_device *device;

	assert_error(vfb_pci_info(f->ctx, address, &info), -ENODEV);
	assert_error(vfb_device_open(space, address, &device), -ENODEV);
	assert_null(device);
}

/* The user is asked, has all the time that he wants, closes the device, and it is gone. */
static void in_use(struct fixture *f)
{
	const char *address = f->machine->devices[0];
	struct vfb_device *other;
	struct user user;

	begin(f, &user);
	machine_unplug(address);
	assert_true(machine_poll(user.request, 30 * SECONDS));
	assert_false(machine_unplugged(300 * MS));
	mark(user.device);
	assert_int_equal(machine_pinned(), BYTES);
	assert_ok(vfb_devices_close(&user.device, 1, NULL));
	assert_null(user.device);
	assert_true(machine_unplugged(30 * SECONDS));
	assert_gone(f, user.space, address);
	/* What was mapped waits for the next device. */
	assert_holds(user.space, 0, 1, BYTES);
	assert_ok(vfb_device_open(user.space, f->machine->devices[1], &other));
	assert_int_equal(machine_pinned(), BYTES);
	assert_ok(vfb_device_close(other));
	machine_rescan();
	/* Whoever unplugs has the device locked, so that closing did not reset it; opening does. */
	assert_int_equal(machine_register(address, NVME_INTMS), MARK);
	assert_ok(vfb_device_open(user.space, address, &user.device));
	assert_false(is_marked(user.device));
	assert_int_equal(machine_pinned(), BYTES);
	assert_ok(vfb_device_close(user.device));
	end(&user);
}

static struct vfb_reaper *start_reaper(const struct user *user, int report)
{
	struct vfb_reaper_opts opts = VFB_REAPER_OPTS_INIT;
	struct vfb_reaper *reaper;

	opts.program = REAPER;
	opts.report_fd = report;
	opts.flags = report >= 0 ? VFB_REAPER_HAS_REPORT_FD : 0;
	assert_ok(vfb_reaper_start(&user->device, 1, &opts, &reaper));
	return reaper;
}

/* A reaper holds it until it is stopped. */
static void with_reaper(struct fixture *f)
{
	const char *address = f->machine->devices[0];
	struct vfb_reaper *reaper;
	struct user user;

	begin(f, &user);
	reaper = start_reaper(&user, -1);
	machine_unplug(address);
	assert_true(machine_poll(user.request, 30 * SECONDS));
	assert_ok(vfb_device_close(user.device));
	assert_false(machine_unplugged(300 * MS));
	vfb_reaper_destroy(reaper);
	assert_true(machine_unplugged(30 * SECONDS));
	assert_gone(f, user.space, address);
	machine_rescan();
	end(&user);
}

/* In a process of its own: a VMM that is asked for its device, and killed. */
static void be_user(struct fixture *f, int report)
{
	struct user user;

	assert_ok(machine_ctx_create(NULL, &f->ctx));
	begin(f, &user);
	start_reaper(&user, report);
	dprintf(report, "ready\n");
	assert_true(machine_poll(user.request, 30 * SECONDS));
	kill(getpid(), SIGKILL);
}

static void killed_with_reaper(struct fixture *f)
{
	const char *address = f->machine->devices[0];
	char text[256] = "";
	size_t length = 0;
	int ends[2], status;
	ssize_t done;
	pid_t child;

	if (!f->machine->has_processes)
		return;
	assert_int_equal(pipe(ends), 0);
	child = fork();
	if (!child) {
		close(ends[0]);
		be_user(f, ends[1]);
		_exit(1);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], text, sizeof(text) - 1), strlen("ready\n"));
	machine_unplug(address);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_true(machine_unplugged(30 * SECONDS));
	while ((done = read(ends[0], text + length, sizeof(text) - 1 - length)) > 0)
		length += done;
	close(ends[0]);
	assert_non_null(strstr(text, address));
	assert_non_null(strstr(text, "done"));
	machine_rescan();
}

const struct scenario unplug_scenarios[] = {
	{.name = "a device is unplugged while it is in use", .run = in_use},
	{.name = "a device is unplugged while a reaper holds it",
	 .run = with_reaper,
	 .unfiltered = true},
	{.name = "a device is unplugged, and its user is killed",
	 .run = killed_with_reaper,
	 .unfiltered = true},
	{0},
};
