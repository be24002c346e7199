/* SPDX-License-Identifier: MIT */
/* Peer-to-peer: an NVMe controller writes into a BAR of another device. */
#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "scenario.h"

/* BAR 0 of an NVMe controller. */
#define CONTROLLER_BYTES (16 * KIB)
#define IOVA		 (64 * GIB)

/* Whether it can be mapped for peers: no page may be larger, nor have the table of MSI-X, which the
 * fake's do not have. */
static bool controller_fits(const struct fixture *f)
{
	return f->machine->has_registers ? PAGE < CONTROLLER_BYTES : PAGE <= CONTROLLER_BYTES;
}

/* A controller, and a device whose BAR 2 is memory; in one space. */
struct peers {
	struct vfb_space *space;
	struct vfb_device *writer, *target;
};

static struct peers open_peers(struct fixture *f)
{
	struct vfb_device_request requests[2] = {
		{.address = f->machine->devices[0]},
		{.address = f->machine->bars.devices[0]},
	};
	struct peers peers = {.space = make_space(f)};

	assert_ok(vfb_devices_open(peers.space, requests, 2, NULL));
	peers.writer = requests[0].device;
	peers.target = requests[1].device;
	return peers;
}

static void close_peers(struct peers *peers)
{
	vfb_device_close(peers->target);
	end_space(peers->space, peers->writer);
}

static struct vfb_bar bar_of(struct vfb_device *device)
{
	return (struct vfb_bar){.device = device,
				.index = 2,
				.iova = IOVA,
				.flags = VFB_BAR_REQUIRED};
}

/*
 * Whether what the controller writes to an IOVA arrives in the BAR. QEMU's reports no error when
 * it does not.
 */
static bool reaches(struct fixture *f, const struct peers *peers, uint64_t iova, uint64_t offset)
{
	uint64_t word = 1;

	assert_ok(vfb_region_store(peers->target, 2, offset, 4, 0));
	machine_dma_write(f->ctx, peers->space, peers->writer, iova + offset);
	assert_ok(vfb_region_load(peers->target, 2, offset, 4, &word));
	assert_true(word == 0 || word == MACHINE_DMA_WORD);
	return word;
}

static void write_into_bar(struct fixture *f)
{
	struct peers peers = open_peers(f);
	struct vfb_translation found = {0};
	struct vfb_bar bars[6];
	void *mapped;
	char *address;

	/* The other one is too small. */
	assert_int_equal(vfb_device_bars(peers.target, bars, 6), 1);
	assert_int_equal(bars[0].index, 2);
	assert_true(bars[0].bytes >= 64 * MIB);
	assert_ok(vfb_region_map(peers.target, 2, NULL, &mapped));
	address = mapped;
	assert_ok(vfb_bars_map(peers.space, bars, 1, NULL));
	assert_int_equal(bars[0].status, 0);
	assert_holds(peers.space, 2, 1, bars[0].bytes);

	assert_true(reaches(f, &peers, bars[0].iova, 4 * PAGE));
	assert_int_equal(*(volatile uint32_t *)(address + 4 * PAGE), MACHINE_DMA_WORD);
	assert_true(reaches(f, &peers, bars[0].iova, bars[0].bytes - PAGE));

	/* Who translates finds it where the process has it. */
	assert_int_equal(vfb_space_translate(peers.space, bars[0].iova + 4 * PAGE, PAGE, &found, 1),
			 1);
	assert_ptr_equal(found.address, address + 4 * PAGE);
	assert_int_equal(vfb_space_translate_address(peers.space, address, bars[0].bytes, &found,
						     1),
			 1);
	assert_int_equal(found.iova, bars[0].iova);

	assert_error(vfb_bars_map(peers.space,
				  &(struct vfb_bar){.device = peers.target,
						    .index = 2,
						    .flags = VFB_BAR_REQUIRED},
				  1, NULL),
		     -EEXIST);
	assert_error(vfb_region_unmap(peers.target, 2), -EBUSY);
	assert_ok(vfb_bars_unmap(bars, 1));
	assert_holds(peers.space, 2, 0, 0);
	assert_false(reaches(f, &peers, bars[0].iova, 4 * PAGE));
	assert_error(vfb_bars_unmap(bars, 1), -ENOENT);
	assert_ok(vfb_region_unmap(peers.target, 2));
	close_peers(&peers);
}

/* With type1 a reset leaves peers what they have; with iommufd it is mapped for them again. */
static void over_resets(struct fixture *f)
{
	struct peers peers = open_peers(f);
	struct vfb_reset_request reset = {.device = peers.target, .method = VFB_RESET_BUS};
	struct vfb_device_info info = VFB_DEVICE_INFO_INIT;
	struct vfb_bar bar = bar_of(peers.target);

	assert_ok(vfb_bars_map(peers.space, &bar, 1, NULL));
	assert_true(reaches(f, &peers, IOVA, 0));
	assert_ok(vfb_device_reset(peers.target));
	assert_true(reaches(f, &peers, IOVA, 0));
	assert_ok(vfb_devices_reset(&reset, 1, NULL));
	assert_int_equal(reset.method, VFB_RESET_BUS);
	assert_true(reaches(f, &peers, IOVA, 0));

	/* Behind the library's back, as it is when a guest does it. */
	assert_ok(vfb_device_info(peers.target, &info));
	assert_returns(machine_ioctl(info.fd, VFIO_DEVICE_RESET, NULL), 0);
	assert_true(reaches(f, &peers, IOVA, 0) == (f->backend == VFB_BACKEND_TYPE1));
	assert_ok(vfb_bars_unmap(&bar, 1));
	assert_ok(vfb_bars_map(peers.space, &bar, 1, NULL));
	assert_true(reaches(f, &peers, IOVA, 0));
	close_peers(&peers);
}

static void switched_off(struct fixture *f)
{
	struct peers peers = open_peers(f);
	struct vfb_bar bar = bar_of(peers.target);
	uint64_t command;

	assert_ok(vfb_region_load(peers.target, VFB_REGION_CONFIG, PCI_COMMAND, 2, &command));
	assert_ok(vfb_region_store(peers.target, VFB_REGION_CONFIG, PCI_COMMAND, 2,
				   command & ~(uint64_t)PCI_COMMAND_MEMORY));
	assert_error(vfb_bars_map(peers.space, &bar, 1, NULL), -EIO);
	assert_says("command register");
	assert_int_equal(bar.status, -EIO);
	/* A warning, if that is all right, too. */
	bar.flags = 0;
	assert_int_equal(vfb_bars_map(peers.space, &bar, 1, NULL), 0);
	assert_int_equal(bar.status, -EIO);
	assert_says("BAR 2 of device");
	assert_holds(peers.space, 2, 0, 0);
	assert_ok(vfb_region_store(peers.target, VFB_REGION_CONFIG, PCI_COMMAND, 2, command));
	assert_ok(vfb_bars_map(peers.space, &bar, 1, NULL));
	assert_int_equal(bar.status, 0);
	assert_true(reaches(f, &peers, IOVA, 0));
	close_peers(&peers);
}

static void refused(struct fixture *f)
{
	struct peers peers = open_peers(f);
	struct vfb_memory *memory = make_memory(f, 2 * MIB, VFB_PAGE_4K);
	struct vfb_bar bars[3] = {bar_of(peers.target), bar_of(peers.writer), {0}};

	/* 256 bytes; not implemented. */
	bars[0].index = 0;
	bars[1].index = 5;
	assert_error(vfb_bars_map(peers.space, bars, 1, NULL), -ENOTSUP);
	assert_says("256 bytes");
	assert_error(vfb_bars_map(peers.space, bars + 1, 1, NULL), -ENOTSUP);
	bars[0].index = 6;
	assert_error(vfb_bars_map(peers.space, bars, 1, NULL), -EINVAL);

	/* What is mapped there already; another BAR of the batch. */
	assert_ok(map_one(peers.space, memory, 2 * MIB, IOVA));
	bars[0].index = 2;
	assert_error(vfb_bars_map(peers.space, bars, 1, NULL), -EEXIST);
	bars[0].iova = 2 * IOVA;
	bars[1].index = 0;
	bars[1].iova = 2 * IOVA;
	if (controller_fits(f)) {
		assert_error(vfb_bars_map(peers.space, bars, 2, NULL), -EEXIST);
		assert_int_equal(bars[0].status, -ECANCELED);
		bars[1].flags = 0;
		assert_int_equal(vfb_bars_map(peers.space, bars, 2, NULL), 0);
		assert_int_equal(bars[0].status, 0);
		assert_int_equal(bars[1].status, -EEXIST);
		assert_ok(vfb_bars_unmap(bars, 1));
	} else {
		assert_error(vfb_bars_map(peers.space, bars + 1, 1, NULL), -ENOTSUP);
		assert_says(PAGE > CONTROLLER_BYTES ? "16 KiB" : "MSI-X table");
	}

	/* Not a multiple of a page; outside of what devices reach. */
	bars[0].iova = IOVA + 2 * KIB;
	assert_error(vfb_bars_map(peers.space, bars, 1, NULL), -EINVAL);
	bars[0].iova = UINT64_MAX - MIB + 1;
	assert_error(vfb_bars_map(peers.space, bars, 1, NULL), -EINVAL);
	bars[0].iova = f->machine->lacks & MACHINE_NARROW ? MSI_WINDOW : UINT64_C(1) << 60;
	assert_error(vfb_bars_map(peers.space, bars, 1, NULL), -EINVAL);
	assert_ok(unmap_one(peers.space, IOVA, 2 * MIB));
	assert_ok(vfb_memory_destroy(memory));
	close_peers(&peers);
}

/* A device takes its BARs with it; and what was unmapped with the rest of the space is gone. */
static void closed(struct fixture *f)
{
	struct peers peers = open_peers(f);
	struct vfb_memory *memory = make_memory(f, 2 * MIB, VFB_PAGE_4K);
	struct vfb_bar bars[2] = {bar_of(peers.target), bar_of(peers.writer)};
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	size_t count = controller_fits(f) ? 2 : 1;
	struct vfb_job *job;

	bars[1].index = 0;
	bars[1].iova = 2 * IOVA;
	assert_ok(vfb_bars_map_start(peers.space, bars, count, NULL, &job));
	/* Whatever has become of the job by now. */
	assert_ok(vfb_device_close(peers.target));
	vfb_job_wait(job, UINT64_MAX);
	vfb_job_destroy(job);
	peers.target = NULL;
	assert_ok(map_one(peers.space, memory, 2 * MIB, IOVA));
	machine_dma_write(f->ctx, peers.space, peers.writer, IOVA);
	assert_ok(vfb_memory_info(memory, &info));
	assert_int_equal(*(volatile uint32_t *)info.address, MACHINE_DMA_WORD);
	assert_ok(vfb_space_unmap_all(peers.space));
	assert_holds(peers.space, 1, 0, 0);
	assert_ok(vfb_memory_destroy(memory));

	assert_ok(vfb_device_open(peers.space, f->machine->bars.devices[0], &peers.target));
	bars[0].device = peers.target;
	assert_ok(vfb_bars_map(peers.space, bars, count, NULL));
	assert_true(reaches(f, &peers, IOVA, MIB));
	assert_ok(vfb_space_unmap_all(peers.space));
	assert_holds(peers.space, 2, 0, 0);
	assert_error(vfb_bars_unmap(bars, count), -ENOENT);
	assert_ok(vfb_bars_map(peers.space, bars, count, NULL));
	close_peers(&peers);
}

const struct scenario bar_scenarios[] = {
	{.name = "a device writes into a BAR of another", .run = write_into_bar},
	{.name = "BARs are mapped for peers after resets", .run = over_resets},
	{.name = "a BAR that is switched off", .run = switched_off},
	{.name = "BARs that cannot be mapped for peers", .run = refused},
	{.name = "a device that is closed takes its BARs along", .run = closed},
	{0},
};
