/* SPDX-License-Identifier: MIT */
/* libvfioboost-fake: machines, and which one a thread uses. */
#include <errno.h>
#include <stdlib.h>
#include <vfioboost/fake.h>

#include "context.h"
#include "device/pci.h"
#include "fake.h"
#include "observe/error.h"
#include "options.h"

#define MACHINE_FLAGS (VFB_FAKE_CAP_IPC_LOCK * 2 - 1)
#define DEVICE_FLAGS  (VFB_FAKE_DEVICE_BUSY * 2 - 1)
#define MAX_CPUS      64
#define MAX_VECTORS   128

/* The machine that this thread uses; see vfb_fake_enter(). */
static _Thread_local struct fake *current;

/* The interface's name for the model. */
static struct fake *model_of(struct vfb_fake *fake)
{
	return (struct fake *)fake;
}

static int check_machine(const struct vfb_fake_opts *opts)
{
	if (opts->flags & ~MACHINE_FLAGS)
		return vfb_fail(-EINVAL, "unknown flags 0x%x of a machine: this version knows 0x%x",
				opts->flags, MACHINE_FLAGS);
	if (opts->nodes > FAKE_NODES || opts->cpus_per_node > MAX_CPUS)
		return vfb_fail(-EINVAL,
				"a machine has at most %d nodes with %d CPUs each, not %u with %u",
				FAKE_NODES, MAX_CPUS, opts->nodes, opts->cpus_per_node);
	if (opts->iova_bits && (opts->iova_bits < 32 || opts->iova_bits > 57))
		return vfb_fail(-EINVAL, "IOVAs have 32 to 57 bits, not %u", opts->iova_bits);
	return 0;
}

static struct fake_config config_of(const struct vfb_fake_opts *opts)
{
	struct fake_config config = {
		.no_type1 = opts->flags & VFB_FAKE_NO_TYPE1,
		.no_iommufd = opts->flags & VFB_FAKE_NO_IOMMUFD,
		.no_cdev = opts->flags & VFB_FAKE_NO_CDEV,
		.no_map_file = opts->flags & VFB_FAKE_NO_MAP_FILE,
		.no_dma_buf = opts->flags & VFB_FAKE_NO_DMA_BUF,
		.no_populate = opts->flags & VFB_FAKE_NO_POPULATE,
		.no_1g = opts->flags & VFB_FAKE_NO_1G,
		.cap_ipc_lock = opts->flags & VFB_FAKE_CAP_IPC_LOCK,
		.nodes = opts->nodes,
		.cpus_per_node = opts->cpus_per_node,
		.memlock = opts->memlock_bytes,
		.dma_entry_limit = opts->dma_entry_limit,
		.iova_bits = opts->iova_bits,
		.zero_ns_per_gib = opts->zero_ns_per_gib,
		.map_call_ns = opts->map_call_ns,
		.pin_ns_per_gib = opts->pin_ns_per_gib,
		.unmap_ns_per_gib = opts->unmap_ns_per_gib,
	};

	for (int node = 0; node < FAKE_NODES; node++) {
		config.memory[node] = opts->node_bytes;
		config.pages_2m[node] = opts->pages_2m;
		config.pages_1g[node] = opts->pages_1g;
	}
	return config;
}

static int check_current(void)
{
	return current ? vfb_fail(-EBUSY, "this thread uses a machine already: destroy or leave it "
					  "first") :
			 0;
}

int vfb_fake_create(const struct vfb_fake_opts *opts, struct vfb_fake **out)
{
	struct vfb_fake_opts known = VFB_FAKE_OPTS_INIT;
	struct fake_config config;
	int error;

	*out = NULL;
	error = vfb_struct_read(&known, sizeof(known), opts);
	if (!error)
		error = check_machine(&known);
	if (!error)
		error = check_current();
	if (error)
		return error;
	config = config_of(&known);
	current = fake_create(&config);
	*out = (struct vfb_fake *)current;
	return 0;
}

int vfb_fake_destroy(struct vfb_fake *fake)
{
	struct fake_stats stats;

	if (!fake)
		return 0;
	fake_stats(model_of(fake), &stats);
	if (stats.threads)
		return vfb_fail(-EBUSY,
				"%u threads of the library still run on the machine: destroy its "
				"contexts first",
				stats.threads);
	fake_destroy(model_of(fake));
	if (current == model_of(fake))
		current = NULL;
	return 0;
}

int vfb_fake_enter(struct vfb_fake *fake)
{
	int error = check_current();

	if (error)
		return error;
	current = model_of(fake);
	fake_thread_begin(current, "program");
	/* One that the machine knows because it has called the library before. */
	fake_outside_end(current);
	return 0;
}

int vfb_fake_leave(struct vfb_fake *fake)
{
	if (current != model_of(fake))
		return vfb_fail(-EINVAL, "this thread does not use that machine");
	fake_thread_end(current);
	current = NULL;
	return 0;
}

int vfb_ctx_create(const struct vfb_ctx_opts *opts, struct vfb_ctx **out)
{
	if (!current) {
		*out = NULL;
		return vfb_fail(-ENODEV, "libvfioboost-fake has no machine in this thread: call "
					 "vfb_fake_create() or vfb_fake_enter() first");
	}
	return vfb_ctx_create_with(fake_sys(current), opts, out);
}

static int check_device(const struct vfb_fake_device *device)
{
	char address[VFB_PCI_ADDRESS_BYTES];
	int error = vfb_pci_parse(device->address, address);

	if (!error && device->bridge)
		error = vfb_pci_parse(device->bridge, address);
	if (error)
		return error;
	if (device->flags & ~DEVICE_FLAGS)
		return vfb_fail(-EINVAL, "unknown flags 0x%x of a device: this version knows 0x%x",
				device->flags, DEVICE_FLAGS);
	if (device->msix_vectors > MAX_VECTORS)
		return vfb_fail(-EINVAL, "a device has at most %d vectors, not %u", MAX_VECTORS,
				device->msix_vectors);
	if (device->node < -1 || device->node >= FAKE_NODES)
		return vfb_fail(-EINVAL, "a device is on node -1 to %d, not %d", FAKE_NODES - 1,
				device->node);
	for (int bar = 0; bar < VFB_PCI_BARS; bar++)
		if (device->bar_bytes[bar] & (device->bar_bytes[bar] - 1))
			return vfb_fail(-EINVAL, "BAR %d has %s, which is not a power of two", bar,
					vfb_size_text(device->bar_bytes[bar]).text);
	return 0;
}

int vfb_fake_add_device(struct vfb_fake *fake, const struct vfb_fake_device *device)
{
	struct vfb_fake_device known = VFB_FAKE_DEVICE_INIT;
	char address[VFB_PCI_ADDRESS_BYTES], bridge[VFB_PCI_ADDRESS_BYTES];
	struct fake_device add;
	int error = vfb_struct_read(&known, sizeof(known), device);

	if (!error)
		error = check_device(&known);
	if (error)
		return error;
	vfb_pci_parse(known.address, address);
	if (known.bridge)
		vfb_pci_parse(known.bridge, bridge);
	add = (struct fake_device){
		.address = address,
		.group = known.group,
		.no_group = known.flags & VFB_FAKE_DEVICE_NO_GROUP,
		.node = known.node,
		.driver = !known.driver	  ? "vfio-pci" :
			  known.driver[0] ? known.driver :
					    NULL,
		.bridge = known.bridge ? bridge : NULL,
		.reset_ns = known.reset_ns,
		.no_reset = known.flags & VFB_FAKE_DEVICE_NO_RESET,
		.busy = known.flags & VFB_FAKE_DEVICE_BUSY ? FAKE_BUSY_GROUP : FAKE_FREE,
		.vendor_id = known.vendor_id,
		.device_id = known.device_id,
		.class_code = known.class_code,
		.msix_vectors = known.msix_vectors,
	};
	for (int bar = 0; bar < VFB_PCI_BARS; bar++)
		add.bars[bar].bytes = known.bar_bytes[bar];
	if (fake_device_opens(model_of(fake), address))
		return vfb_fail(-EBUSY, "%s is open: close it before changing it", address);
	fake_add_device(model_of(fake), &add);
	return 0;
}
