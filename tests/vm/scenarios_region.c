/* SPDX-License-Identifier: MIT */
/* Configuration space and BARs of a device. */
#include <linux/pci_regs.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "scenario.h"

/* QEMU's NVMe controller: vendor and device. */
#define IDENTITY 0x00101b36

/* Registers of an NVMe controller. */
#define NVME_CAPABILITIES 0x00
#define NVME_VERSION	  0x08
/* Sizes of the admin queues: as good as memory while the controller is off. */
#define NVME_AQA 0x24

static void configuration(struct fixture *f)
{
	struct vfb_region_info info = VFB_REGION_INFO_INIT;
	uint16_t vendor = 0, device_id = 0, command = 0;
	uint32_t identity = 0;
	uint8_t class[3], odd[3], all[4096], line = 0, other = 0;
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);

	assert_ok(vfb_region_info(device, VFB_REGION_CONFIG, &info));
	/* PCI Express. */
	assert_int_equal(info.bytes, 4096);
	assert_int_equal(info.flags, VFB_REGION_READ | VFB_REGION_WRITE);
	assert_ok(vfb_region_read(device, VFB_REGION_CONFIG, 0, &identity, 4));
	assert_int_equal(identity, IDENTITY);
	assert_ok(vfb_region_read(device, VFB_REGION_CONFIG, 0, &vendor, 2));
	assert_ok(vfb_region_read(device, VFB_REGION_CONFIG, 2, &device_id, 2));
	assert_int_equal(vendor, 0x1b36);
	assert_int_equal(device_id, 0x0010);
	/* NVM Express. */
	assert_ok(vfb_region_read(device, VFB_REGION_CONFIG, 9, class, 3));
	assert_int_equal(class[2] << 16 | class[1] << 8 | class[0], 0x010802);
	/* The BARs are switched on when the device is opened. */
	assert_ok(vfb_region_read(device, VFB_REGION_CONFIG, PCI_COMMAND, &command, 2));
	assert_true(command & PCI_COMMAND_MEMORY);

	/* The identity cannot be changed; nobody minds the attempt. */
	vendor = 0xffff;
	assert_ok(vfb_region_write(device, VFB_REGION_CONFIG, 0, &vendor, 2));
	assert_ok(vfb_region_read(device, VFB_REGION_CONFIG, 0, &identity, 4));
	assert_int_equal(identity, IDENTITY);

	/* Any offset and length, all of it, nothing at its end. */
	assert_ok(vfb_region_read(device, VFB_REGION_CONFIG, 1, odd, 3));
	assert_int_equal(odd[2] << 16 | odd[1] << 8 | odd[0], IDENTITY >> 8);
	assert_ok(vfb_region_read(device, VFB_REGION_CONFIG, 0, all, sizeof(all)));
	assert_memory_equal(all, &identity, 4);
	assert_ok(vfb_region_read(device, VFB_REGION_CONFIG, 4096, all, 0));

	/* With memory switched off, the BARs cannot be read. */
	command &= ~PCI_COMMAND_MEMORY;
	assert_ok(vfb_region_write(device, VFB_REGION_CONFIG, PCI_COMMAND, &command, 2));
	assert_error(vfb_region_read(device, 0, 0, &identity, 4), -EIO);
	assert_says("cannot access region 0");
	command |= PCI_COMMAND_MEMORY;
	assert_ok(vfb_region_write(device, VFB_REGION_CONFIG, PCI_COMMAND, &command, 2));
	assert_ok(vfb_region_read(device, 0, 0, &identity, 4));

	/* What is written is gone when the device is opened again. */
	assert_ok(vfb_region_read(device, VFB_REGION_CONFIG, PCI_INTERRUPT_LINE, &line, 1));
	other = line ^ 5;
	assert_ok(vfb_region_write(device, VFB_REGION_CONFIG, PCI_INTERRUPT_LINE, &other, 1));
	assert_ok(vfb_region_read(device, VFB_REGION_CONFIG, PCI_INTERRUPT_LINE, &other, 1));
	assert_int_equal(other, line ^ 5);
	vfb_device_close(device);
	assert_ok(vfb_device_open(space, f->machine->devices[0], &device));
	assert_ok(vfb_region_read(device, VFB_REGION_CONFIG, PCI_INTERRUPT_LINE, &other, 1));
	assert_int_equal(other, line);
	end_space(space, device);
}

static void bar(struct fixture *f)
{
	struct vfb_region_info info = VFB_REGION_INFO_INIT;
	uint64_t capabilities = 0;
	uint32_t version = 1, queues = 0x00070007, read = 0;
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);
	volatile char *bar0;
	void *mapped, *again;

	assert_ok(vfb_region_info(device, 0, &info));
	assert_int_equal(info.bytes, 16 * KIB);
	assert_int_equal(info.flags, VFB_REGION_READ | VFB_REGION_WRITE | VFB_REGION_MMAP);
	assert_ok(vfb_region_map(device, 0, NULL, &mapped));
	bar0 = mapped;
	assert_ok(vfb_region_read(device, 0, NVME_VERSION, &version, 4));
	assert_int_equal(version, *(volatile uint32_t *)(bar0 + NVME_VERSION));
	assert_ok(vfb_region_read(device, 0, NVME_CAPABILITIES, &capabilities, 8));
	assert_int_equal(capabilities & UINT32_MAX, *(volatile uint32_t *)bar0);
	assert_int_equal(capabilities >> 32, *(volatile uint32_t *)(bar0 + 4));
	if (f->machine->has_registers) {
		/* NVMe 1.4; the queues may be 2048 entries long. */
		assert_int_equal(version >> 16, 1);
		assert_int_equal(capabilities & 0xffff, 0x7ff);
	}

	/* Written the one way, read the other. */
	assert_ok(vfb_region_write(device, 0, NVME_AQA, &queues, 4));
	assert_int_equal(*(volatile uint32_t *)(bar0 + NVME_AQA), queues);
	*(volatile uint32_t *)(bar0 + NVME_AQA) = 0x00030003;
	assert_ok(vfb_region_read(device, 0, NVME_AQA, &read, 4));
	assert_int_equal(read, 0x00030003);

	assert_error(vfb_region_map(device, 0, NULL, &again), -EEXIST);
	assert_null(again);
	assert_ok(vfb_region_unmap(device, 0));
	assert_error(vfb_region_unmap(device, 0), -ENOENT);
	assert_says("is not mapped");
	/* Closing unmaps it, and so the device can be opened again. */
	assert_ok(vfb_region_map(device, 0, NULL, &mapped));
	vfb_device_close(device);
	assert_ok(vfb_device_open(space, f->machine->devices[0], &device));
	end_space(space, device);
}

static void bounds(struct fixture *f)
{
	static const unsigned int absent[] = {8, 9, 99, UINT32_MAX};
	struct vfb_region_info info = VFB_REGION_INFO_INIT;
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);
	uint32_t value = 0;
	void *mapped;

	/* VGA is a region of VGA devices; others do not exist at all. */
	for (size_t i = 0; i < COUNT(absent); i++) {
		assert_error(vfb_region_info(device, absent[i], &info), -EINVAL);
		assert_error(vfb_region_read(device, absent[i], 0, &value, 4), -EINVAL);
		assert_error(vfb_region_write(device, absent[i], 0, &value, 4), -EINVAL);
		assert_error(vfb_region_map(device, absent[i], NULL, &mapped), -EINVAL);
		assert_null(mapped);
		assert_error(vfb_region_unmap(device, absent[i]), -ENOENT);
	}
	assert_error(vfb_region_read(device, 0, 16 * KIB - 2, &value, 4), -ERANGE);
	assert_says("are beyond it");
	assert_error(vfb_region_read(device, 0, UINT64_MAX, &value, 4), -ERANGE);
	assert_error(vfb_region_write(device, VFB_REGION_CONFIG, 4096, &value, 4), -ERANGE);
	assert_ok(vfb_region_read(device, 0, 16 * KIB - 4, &value, 4));
	assert_ok(vfb_region_read(device, VFB_REGION_CONFIG, 4092, &value, 4));

	/* BARs 2 to 5 and the ROM are not implemented. */
	for (unsigned int i = 2; i <= 6; i++) {
		assert_ok(vfb_region_info(device, i, &info));
		assert_int_equal(info.bytes, 0);
		assert_int_equal(info.flags, 0);
		assert_error(vfb_region_read(device, i, 0, &value, 4), -ERANGE);
		assert_error(vfb_region_map(device, i, NULL, &mapped), -ENOTSUP);
		assert_null(mapped);
	}
	assert_error(vfb_region_map(device, VFB_REGION_CONFIG, NULL, &mapped), -ENOTSUP);
	assert_says("cannot be mapped");
	end_space(space, device);
}

static unsigned int signals(int fd)
{
	eventfd_t value = 0;

	return eventfd_read(fd, &value) ? 0 : value;
}

static void interrupts(struct fixture *f)
{
	struct vfb_irq_info info = VFB_IRQ_INFO_INIT;
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);
	int fds[8], wrong[2];

	for (size_t i = 0; i < COUNT(fds); i++)
		fds[i] = i == 5 ? -1 : eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_ok(vfb_irq_info(device, VFB_IRQ_MSIX, &info));
	assert_true(info.vectors >= 64);
	assert_false(info.flags & VFB_IRQ_MASKABLE);
	assert_ok(vfb_irq_info(device, VFB_IRQ_MSI, &info));
	assert_int_equal(info.vectors, 0);
	assert_ok(vfb_irq_info(device, VFB_IRQ_ERROR, &info));
	assert_int_equal(info.vectors, 1);
	assert_ok(vfb_irq_info(device, VFB_IRQ_INTX, &info));
	assert_int_equal(info.vectors, 1);
	assert_int_equal(info.flags, VFB_IRQ_MASKABLE | VFB_IRQ_AUTOMASKED);

	/* Many at once, one of them without an eventfd. */
	assert_ok(vfb_irq_enable(device, VFB_IRQ_MSIX, 0, fds, COUNT(fds)));
	assert_ok(vfb_irq_trigger(device, VFB_IRQ_MSIX, 0, COUNT(fds)));
	assert_ok(vfb_irq_trigger(device, VFB_IRQ_MSIX, 7, 1));
	for (size_t i = 0; i < COUNT(fds); i++)
		assert_int_equal(signals(fds[i]), i == 5 ? 0 : i == 7 ? 2 : 1);
	assert_error(vfb_irq_mask(device, VFB_IRQ_MSIX, 0, 1), -ENOTSUP);
	assert_returns(vfb_irq_enable(device, VFB_IRQ_INTX, 0, fds, 1), -EBUSY);
	assert_ok(vfb_irq_enable(device, VFB_IRQ_REQUEST, 0, fds, 1));
	assert_ok(vfb_irq_trigger(device, VFB_IRQ_REQUEST, 0, 1));
	assert_int_equal(signals(fds[0]), 1);
	assert_ok(vfb_irq_disable(device, VFB_IRQ_MSIX));
	assert_error(vfb_irq_trigger(device, VFB_IRQ_MSIX, 0, 1), -EINVAL);

	/* INTx while it is masked. */
	assert_ok(vfb_irq_enable(device, VFB_IRQ_INTX, 0, fds, 1));
	assert_ok(vfb_irq_mask(device, VFB_IRQ_INTX, 0, 1));
	assert_ok(vfb_irq_unmask(device, VFB_IRQ_INTX, 0, 1));
	assert_ok(vfb_irq_disable(device, VFB_IRQ_INTX));

	/* What is no eventfd; nothing stays enabled. */
	wrong[0] = fds[1];
	wrong[1] = 0;
	assert_error(vfb_irq_enable(device, VFB_IRQ_MSIX, 0, wrong, 2), -EINVAL);
	wrong[1] = 1000000;
	assert_error(vfb_irq_enable(device, VFB_IRQ_MSIX, 0, wrong, 2), -EBADF);
	assert_error(vfb_irq_trigger(device, VFB_IRQ_MSIX, 0, 1), -EINVAL);
	assert_error(vfb_irq_enable(device, VFB_IRQ_MSIX, 100, fds, 1), -ERANGE);
	/* Closing disables what is enabled. */
	assert_ok(vfb_irq_enable(device, VFB_IRQ_MSIX, 0, fds, COUNT(fds)));
	end_space(space, device);
	for (size_t i = 0; i < COUNT(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static uint64_t minor_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_minflt;
}

/* Touches all of it; how many faults that costs. */
static uint64_t touch(const void *address, uint64_t bytes)
{
	const volatile char *byte = address;
	uint64_t before = minor_faults();

	for (uint64_t at = 0; at < bytes; at += PAGE)
		(void)byte[at];
	return minor_faults() - before;
}

/* As many faults as there are pages, and what the program itself may need meanwhile. */
static void assert_pages(const void *mapped, uint64_t bytes, uint64_t page_bytes)
{
	uint64_t faults = touch(mapped, bytes);

	assert_in_range(faults, bytes / page_bytes, bytes / page_bytes + 16);
}

static uint64_t measured_page(struct vfb_device *device)
{
	struct vfb_region_info info = VFB_REGION_INFO_INIT;

	assert_ok(vfb_region_info(device, 2, &info));
	return info.page_bytes;
}

/* At addresses that are congruent to offsets for no pages larger than @page_bytes. */
static void at_wrong_address(struct vfb_device *device, uint64_t bytes, uint64_t page_bytes)
{
	struct vfb_region_map_opts opts = VFB_REGION_MAP_OPTS_INIT;
	uint64_t reserved_bytes = bytes + 2 * GIB;
	char *reserved;
	void *mapped;

	reserved = mmap(NULL, reserved_bytes, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(reserved != MAP_FAILED);
	opts.address = reserved - (uintptr_t)reserved % GIB + GIB + page_bytes;
	opts.flags = VFB_REGION_MAP_MEASURE;
	assert_ok(vfb_region_map(device, 2, &opts, &mapped));
	assert_ptr_equal(mapped, opts.address);
	assert_int_equal(measured_page(device), page_bytes);
	assert_ok(vfb_region_unmap(device, 2));
	opts.flags = 0;
	assert_ok(vfb_region_map(device, 2, &opts, &mapped));
	assert_pages(mapped, bytes, page_bytes);
	assert_ok(vfb_region_unmap(device, 2));
	munmap(reserved, reserved_bytes);
}

static void map_large_bar(struct fixture *f, struct vfb_device *device)
{
	struct vfb_region_map_opts opts = VFB_REGION_MAP_OPTS_INIT;
	struct vfb_region_info info = VFB_REGION_INFO_INIT;
	uint64_t page_bytes;
	void *mapped;

	assert_ok(vfb_region_info(device, 2, &info));
	assert_true(info.bytes >= 64 * MIB);
	page_bytes = info.bytes >= GIB ? GIB : 2 * MIB;
	assert_ok(vfb_region_map(device, 2, NULL, &mapped));
	if (f->machine->has_huge_bars)
		assert_pages(mapped, info.bytes, page_bytes);
	assert_ok(vfb_region_unmap(device, 2));

	opts.flags = VFB_REGION_MAP_MEASURE;
	assert_ok(vfb_region_map(device, 2, &opts, &mapped));
	if (f->machine->has_huge_bars)
		assert_int_equal(measured_page(device), page_bytes);
	assert_ok(vfb_region_unmap(device, 2));

	/* The fake kernel's pages are the host's. */
	if (!f->machine->has_huge_bars)
		return;
	at_wrong_address(device, info.bytes, PAGE);
	if (info.bytes >= GIB)
		at_wrong_address(device, info.bytes, 2 * MIB);
}

static void large_bar(struct fixture *f)
{
	struct vfb_space *space = make_space(f);

	for (size_t i = 0; i < f->machine->bars.count; i++) {
		struct vfb_device *device;

		assert_ok(vfb_device_open(space, f->machine->bars.devices[i], &device));
		map_large_bar(f, device);
		vfb_device_close(device);
	}
	end_space(space, NULL);
}

static void without_msix(struct fixture *f)
{
	struct vfb_region_map_opts opts = VFB_REGION_MAP_OPTS_INIT;
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);
	void *mapped;

	opts.flags = VFB_REGION_MAP_WITHOUT_MSIX;
	assert_ok(vfb_region_map(device, 0, &opts, &mapped));
	/* QEMU's NVMe has its registers at the beginning, the table from 8 KiB on. */
	if (PAGE <= 8 * KIB)
		(void)*(volatile char *)mapped;
	if (f->machine->has_registers)
		assert_int_equal(madvise((char *)mapped + 8 * KIB / PAGE * PAGE, PAGE,
					 MADV_POPULATE_READ),
				 -1);
	end_space(space, device);
}

const struct scenario region_scenarios[] = {
	{.name = "configuration space", .run = configuration},
	{.name = "a BAR, read and mapped", .run = bar, .needs = MACHINE_SMALL_PAGES},
	{.name = "bounds of regions", .run = bounds},
	{.name = "interrupts", .run = interrupts},
	{.name = "a large BAR and its pages", .run = large_bar},
	{.name = "a BAR without its MSI-X table",
	 .run = without_msix,
	 .needs = MACHINE_SMALL_PAGES},
	{0},
};
