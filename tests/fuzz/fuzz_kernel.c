/* SPDX-License-Identifier: MIT */
/*
 * What VFIO and iommufd report in structs is not what it should be: a space and a device are
 * adopted and looked at. All of it happens in this thread, and the machine stays, so that a run
 * takes microseconds; fuzz_device opens devices.
 */
#include <fcntl.h>
#include <stdio.h>
#include <vfioboost.h>

#include "context.h"
#include "fake.h"
#include "liar.h"
#include "sys/uapi.h"

#define ADDRESS "0000:01:00.0"

/* Of a container, and of an iommufd. */
struct caller {
	int space, group, device;
	uint32_t ioas;
};

static struct machine {
	struct fake *fake;
	struct liar liar;
	struct vfb_ctx *ctx;
	struct caller callers[2];
} machine;

static void must(int result)
{
	if (result < 0)
		abort();
}

static void open_container(const struct vfb_sys *sys, struct caller *caller)
{
	must(caller->space = sys->open(sys, "/dev/vfio/vfio", O_RDWR));
	must(caller->group = sys->open(sys, "/dev/vfio/1", O_RDWR));
	must(sys->ioctl(sys, caller->group, VFIO_GROUP_SET_CONTAINER, &caller->space));
	must(sys->ioctl(sys, caller->space, VFIO_SET_IOMMU, (void *)VFIO_TYPE1v2_IOMMU));
	caller->device = sys->ioctl(sys, caller->group, VFIO_GROUP_GET_DEVICE_FD,
				    (void *)(uintptr_t)ADDRESS);
	must(caller->device);
}

static void open_iommufd(const struct vfb_sys *sys, struct caller *caller)
{
	struct vfb_iommu_ioas_alloc alloc = {.size = sizeof(alloc)};
	struct vfb_vfio_device_bind_iommufd bind = {.argsz = sizeof(bind)};
	struct vfb_vfio_device_attach_iommufd_pt attach = {.argsz = sizeof(attach)};

	must(caller->space = sys->open(sys, "/dev/iommu", O_RDWR));
	must(caller->device = sys->open(sys, "/dev/vfio/devices/vfio1", O_RDWR));
	must(sys->ioctl(sys, caller->space, VFB_IOMMU_IOAS_ALLOC, &alloc));
	bind.iommufd = caller->space;
	must(sys->ioctl(sys, caller->device, VFB_VFIO_DEVICE_BIND_IOMMUFD, &bind));
	attach.pt_id = caller->ioas = alloc.out_ioas_id;
	must(sys->ioctl(sys, caller->device, VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach));
	caller->group = -1;
}

static void add_device(struct fake *fake, const char *address, unsigned int group)
{
	fake_add_device(fake, &(struct fake_device){.address = address,
						    .group = group,
						    .bridge = "0000:00:01.0",
						    .driver = "vfio-pci",
						    .sparse_bars = group == 1,
						    .bars = {{.bytes = 64 * FAKE_KIB},
							     {.bytes = FAKE_MIB}}});
}

static void start(void)
{
	struct vfb_ctx_opts opts = VFB_CTX_OPTS_INIT;
	const struct vfb_sys *sys;

	machine.fake = fake_create(NULL);
	sys = fake_sys(machine.fake);
	add_device(machine.fake, ADDRESS, 1);
	add_device(machine.fake, "0000:02:00.0", 2);
	liar_init(&machine.liar, sys, (struct input){0});
	opts.threads = 1;
	must(vfb_ctx_create_with(&machine.liar.sys, &opts, &machine.ctx));
	open_container(sys, &machine.callers[0]);
	open_iommufd(sys, &machine.callers[1]);
}

static void look_at_regions(struct vfb_device *device)
{
	struct vfb_region_map_opts opts = VFB_REGION_MAP_OPTS_INIT;
	struct vfb_irq_info irq = VFB_IRQ_INFO_INIT;
	struct vfb_bar bars[VFB_PCI_BARS];
	uint64_t value;

	opts.flags = VFB_REGION_MAP_WITHOUT_MSIX;
	for (unsigned int index = 0; index < 10; index++) {
		struct vfb_region_info info = VFB_REGION_INFO_INIT;
		void *address;

		vfb_region_info(device, index, &info);
		vfb_region_load(device, index, 0, 4, &value);
		if (index == 0 || index == 1 || index == 8)
			vfb_region_map(device, index, index ? &opts : NULL, &address);
	}
	for (unsigned int i = 0; i < 5; i++)
		vfb_irq_info(device, i, &irq);
	vfb_device_bars(device, bars, VFB_PCI_BARS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = {data, data + bytes};
	struct vfb_device_adopt_opts opts = VFB_DEVICE_ADOPT_OPTS_INIT;
	const struct caller *caller;
	struct vfb_iova_range valid[4];
	struct vfb_device *device;

	if (!machine.ctx)
		start();
	caller = &machine.callers[input_below(&input, 2)];
	machine.liar.input = input;
	opts.address = caller->group < 0 ? "0000:02:00.0" : ADDRESS;
	if (!vfb_space_adopt(machine.ctx, caller->space, caller->ioas, NULL, &opts.space))
		vfb_space_iova_ranges(opts.space, valid, 4);
	if (!vfb_device_adopt(machine.ctx, caller->device, &opts, &device)) {
		look_at_regions(device);
		must(vfb_device_close(device));
	}
	machine.liar.input = (struct input){0};
	must(vfb_space_destroy(opts.space));
	return 0;
}
