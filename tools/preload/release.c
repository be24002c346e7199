/* SPDX-License-Identifier: MIT */
/*
 * Releases devices at exit. The kernel closes the files of a process one after another, and resets
 * a device at its last reference: those are dropped here first, by several threads.
 */
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "container_of.h"
#include "device/device.h"
#include "device/reaper.h"
#include "device/reset_set.h"
#include "devices.h"
#include "preload.h"

/* Devices that share a reset, one after another: see vfb_reset_set(). */
struct release_chain {
	struct vfb_task task;
	struct release *release;
	/* Where the first of them is; the rest follows by next[]. */
	size_t first;
};

struct release {
	size_t count, chain_count;
	int fds[DEVICES_MAX];
	struct vfb_pci pcis[DEVICES_MAX];
	size_t next[DEVICES_MAX];
	struct release_chain chains[DEVICES_MAX];
	sem_t done;
};

#define RELEASE_LAST SIZE_MAX

/*
 * A mapping of a BAR keeps its device. Memory takes its place, for a thread of the command that
 * still looks there.
 */
static bool release_mapping(const char *line, void *unused)
{
	unsigned long begin, end;
	char path[64];

	(void)unused;
	if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %63s", &begin, &end, path) == 3 &&
	    devices_is_path(path))
		(void)mmap((void *)begin, end - begin, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
	return true;
}

static void release_chain_run(struct vfb_task *task)
{
	struct release_chain *chain = container_of(task, struct release_chain, task);
	struct release *release = chain->release;

	preload_inside = true;
	for (size_t i = chain->first; i != RELEASE_LAST; i = release->next[i]) {
		struct record record = {
			.kind = RECORD_RELEASE,
			.target = VFB_IOCTL_DEVICE,
			.device = devices_number(release->fds[i]),
			.start_ns = preload_now(),
		};

		record.result = close(release->fds[i]) ? -errno : 0;
		record.duration_ns = preload_now() - record.start_ns;
		preload_note(&record);
	}
	sem_post(&release->done);
}

static const struct vfb_pci *release_pci_at(const void *release, size_t i)
{
	return &((const struct release *)release)->pcis[i];
}

static void release_sort(struct release *release)
{
	for (size_t i = 0; i < release->count; i++) {
		size_t last = vfb_reset_set(release, release_pci_at, i, vfb_reset_is_shared);

		release->next[i] = RELEASE_LAST;
		if (last == i) {
			release->chains[release->chain_count++] = (struct release_chain){
				.task.run = release_chain_run,
				.release = release,
				.first = i,
			};
			continue;
		}
		while (release->next[last] != RELEASE_LAST)
			last = release->next[last];
		release->next[last] = i;
	}
}

static void release_chains(struct release *release, struct vfb_engine *engine)
{
	release_sort(release);
	for (size_t i = 0; i < release->chain_count; i++)
		vfb_engine_submit_sleeping(engine, &release->chains[i].task);
	for (size_t i = 0; i < release->chain_count; i++)
		while (sem_wait(&release->done))
			;
}

/* Leaves the devices to a helper process, which closes them when this one has ended. */
static bool release_to_reaper(const struct release *release)
{
	struct vfb_reaper_opts opts = VFB_REAPER_OPTS_INIT;
	struct vfb_reaped devices[VFB_REAPER_DEVICES];
	int pipe, process;

	if (!preload_settings.reaper[0] || !release->count || release->count > VFB_REAPER_DEVICES)
		return false;
	if (preload_is_filtered()) {
		preload_remark("a seccomp filter may forbid the process that resets devices");
		return false;
	}
	for (size_t i = 0; i < release->count; i++)
		devices[i] = (struct vfb_reaped){release->fds[i], &release->pcis[i]};
	opts.program = preload_settings.reaper;
	if (!vfb_reaper_spawn(&vfb_sys_linux, devices, release->count, &opts, &pipe, &process))
		return true;
	preload_remark(vfb_last_error());
	return false;
}

void release_devices(void *unused)
{
	struct release *release = calloc(1, sizeof(*release));

	(void)unused;
	if (!release)
		return;
	sem_init(&release->done, 0, 0);
	devices_close_kvm();
	release->count = devices_all(release->fds, release->pcis);
	if (!release_to_reaper(release)) {
		vfb_sys_each_line(&vfb_sys_linux, "/proc/self/maps", release_mapping, NULL);
		release_chains(release, preload_context()->engine);
	}
	sem_destroy(&release->done);
	free(release);
}
