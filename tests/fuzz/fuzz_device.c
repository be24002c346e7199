/* SPDX-License-Identifier: MIT */
/* Devices of a kernel that is not to be believed are opened and used. */
#include <errno.h>
#include <stdio.h>
#include <vfioboost.h>

#include "context.h"
#include "fake.h"
#include "liar.h"

/* ---- A device ---- */

static void use_regions(struct vfb_device *device)
{
	struct vfb_region_map_opts opts = VFB_REGION_MAP_OPTS_INIT;
	struct vfb_irq_info irq = VFB_IRQ_INFO_INIT;

	opts.flags = VFB_REGION_MAP_WITHOUT_MSIX | VFB_REGION_MAP_MEASURE;
	for (unsigned int index = 0; index < 10; index++) {
		struct vfb_region_info info = VFB_REGION_INFO_INIT;
		uint64_t value;
		void *address;

		vfb_region_info(device, index, &info);
		vfb_region_load(device, index, 0, 4, &value);
		vfb_region_map(device, index, index & 1 ? &opts : NULL, &address);
	}
	for (unsigned int i = 0; i < 5; i++)
		vfb_irq_info(device, i, &irq);
	vfb_irq_enable(device, VFB_IRQ_MSIX, 0, (const int[]){-1, -1}, 2);
	vfb_irq_disable(device, VFB_IRQ_MSIX);
}

static void use_device(struct vfb_space *space, struct vfb_device *device)
{
	struct vfb_reset_request reset = {.device = device, .method = VFB_RESET_BUS};
	struct vfb_bar bars[VFB_PCI_BARS] = {{0}};
	int count;

	use_regions(device);
	count = vfb_device_bars(device, bars, VFB_PCI_BARS);
	for (int i = 0; i < count && i < VFB_PCI_BARS; i++)
		bars[i].flags |= VFB_RANGE_ANY_IOVA;
	if (count > 0)
		vfb_bars_map(space, bars, count < VFB_PCI_BARS ? count : VFB_PCI_BARS, NULL);
	vfb_devices_reset(&reset, 1, NULL);
}

static void use_space(struct vfb_ctx *ctx, struct vfb_space *space)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_iova_range valid[4];
	struct vfb_range range = {.flags = VFB_RANGE_ANY_IOVA, .bytes = FAKE_MIB};
	struct vfb_device *device;

	opts.bytes = FAKE_MIB;
	opts.page_size = VFB_PAGE_4K;
	if (vfb_memory_create(ctx, &opts, &range.memory))
		abort();
	if (!vfb_device_open(space, "0000:01:00.0", &device)) {
		vfb_space_iova_ranges(space, valid, 4);
		vfb_space_map(space, &range, 1, NULL);
		use_device(space, device);
		vfb_space_unmap_all(space);
		vfb_device_close(device);
	}
	vfb_space_destroy(space);
	if (vfb_memory_destroy(range.memory))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = {data, data + bytes};
	struct vfb_ctx_opts opts = VFB_CTX_OPTS_INIT;
	struct vfb_space_opts space_opts = VFB_SPACE_OPTS_INIT;
	uint8_t bits = input_u8(&input);
	struct fake *fake = fake_create(&(struct fake_config){.no_cdev = bits & 1});
	struct vfb_space *space;
	struct liar liar;
	struct vfb_ctx *ctx;
	char text[4096];

	fake_add_device(fake, &(struct fake_device){.address = "0000:01:00.0",
						    .bridge = "0000:00:01.0",
						    .driver = "vfio-pci",
						    .sparse_bars = bits & 2,
						    .bars = {{.bytes = 64 * FAKE_KIB},
							     {.bytes = FAKE_MIB}}});
	liar_init(&liar, fake_sys(fake), input);
	opts.threads = 1;
	space_opts.backend = bits & 4 ? VFB_BACKEND_TYPE1 : VFB_BACKEND_IOMMUFD;
	if (vfb_ctx_create_with(&liar.sys, &opts, &ctx))
		abort();
	if (!vfb_space_create(ctx, &space_opts, &space))
		use_space(ctx, space);
	if (vfb_ctx_destroy(ctx))
		abort();
	if (fake_leaks(fake, text, sizeof(text))) {
		fprintf(stderr, "left over:\n%s", text);
		abort();
	}
	fake_destroy(fake);
	pthread_mutex_destroy(&liar.lock);
	return 0;
}
