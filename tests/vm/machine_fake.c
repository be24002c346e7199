/* SPDX-License-Identifier: MIT */
/*
 * The fake kernel, made up like the machine of scripts/vm. Arguments: "stock", without iommufd, as
 * Debian's kernels are; "16k", "64k", with base pages of this size; "spapr", a host of POWER.
 */
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "context.h"
#include "fake.h"

#define NODES		 2
#define CPUS_PER_NODE	 4
#define DEVICES_PER_NODE 8
#define PAGES_2M	 32
#define FOREIGN		 "0000:00:02.0"
#define FOREIGN_GROUP	 2
#define FIRST_GROUP	 15

uint64_t machine_page = 4 * FAKE_KIB, machine_msi_window = 0xfee00000;

static const struct machine *described;
static struct fake *fake;

static void describe_family(struct family *family, const char *format, size_t count)
{
	family->count = count;
	for (size_t i = 0; i < count; i++)
		snprintf(family->devices[i], sizeof(family->devices[i]), format, (unsigned int)i);
}

bool machine_describe(struct machine *machine, int argc, char **argv)
{
	bool spapr = argc && !strcmp(argv[0], "spapr");
	bool stock = argc && !strcmp(argv[0], "stock");

	if (argc && !stock && !spapr)
		machine_page = strtoul(argv[0], NULL, 10) * FAKE_KIB;
	described = machine;
	snprintf(machine->name, sizeof(machine->name), "fake kernel%s, pages of %lu KiB",
		 stock ? " without iommufd" :
		 spapr ? " of POWER" :
			 "",
		 (unsigned long)(machine_page / FAKE_KIB));
	for (unsigned int i = 0; i < NODES * DEVICES_PER_NODE; i++)
		snprintf(machine->devices[i], sizeof(machine->devices[i]), "0000:%02x:00.0",
			 i / DEVICES_PER_NODE * 0x20 + i % DEVICES_PER_NODE + 1);
	machine->device_count = NODES * DEVICES_PER_NODE;
	describe_family(&machine->bridged, "0000:51:%02x.0", 4);
	describe_family(&machine->functions, "0000:52:00.%u", 4);
	describe_family(&machine->bars, "0000:53:%02x.0", 1);
	for (size_t i = 0; i < 4; i++)
		snprintf(machine->vfs.devices[i], sizeof(machine->vfs.devices[i]), "0000:54:00.%zu",
			 i + 1);
	machine->vfs.count = 4;
	strcpy(machine->pf, "0000:54:00.0");
	machine->vfs_want_token = !stock;
	strcpy(machine->mixed, "0000:55:00.0");
	strcpy(machine->foreign, FOREIGN);
	machine->nodes = NODES;
	machine->last_node = NODES - 1;
	machine->tracks_dirty = true;
	machine->is_spapr = spapr;
	if (stock || spapr)
		strcpy(machine->no_iommufd, "the fake kernel is configured without it");
	return true;
}

static void add_family(const struct family *family, unsigned int group, const char *bridge,
		       const struct fake_device *config)
{
	for (size_t i = 0; i < family->count; i++) {
		struct fake_device device = *config;

		device.address = family->devices[i];
		device.group = group;
		device.bridge = bridge;
		device.driver = "vfio-pci";
		fake_add_device(fake, &device);
	}
}

static void add_virtual_functions(void)
{
	struct fake_device device = {
		.address = described->pf,
		.group = 110,
		.bridge = "0000:00:13.0",
		.driver = described->vfs_want_token ? "vfio-pci" : "nvme",
	};

	fake_add_device(fake, &device);
	device.physfn = described->pf;
	device.driver = "vfio-pci";
	for (size_t i = 0; i < described->vfs.count; i++) {
		device.address = described->vfs.devices[i];
		device.group++;
		fake_add_device(fake, &device);
	}
}

static void add_mixed(void)
{
	struct fake_device device = {
		.address = described->mixed,
		.group = 120,
		.bridge = "0000:00:14.0",
		.driver = "vfio-pci",
	};

	fake_add_device(fake, &device);
	device.address = "0000:55:00.1";
	device.driver = "virtio-pci";
	fake_add_device(fake, &device);
}

static void add_devices(void)
{
	char bridge[16];

	for (unsigned int i = 0; i < described->device_count; i++) {
		unsigned int node = i / DEVICES_PER_NODE;

		snprintf(bridge, sizeof(bridge), "0000:%02x:%02x.%u", node * 0x20, node ? 0 : 0x10,
			 i % DEVICES_PER_NODE);
		fake_add_device(fake, &(struct fake_device){
					      .address = described->devices[i],
					      .group = FIRST_GROUP + i,
					      .node = node,
					      .driver = "vfio-pci",
					      .bridge = bridge,
					      .reset_method = "flr bus",
				      });
	}
	add_family(&described->bridged, 101, "0000:50:00.0", &(struct fake_device){0});
	add_family(&described->functions, 102, "0000:00:11.0", &(struct fake_device){0});
	add_family(&described->bars, 103, "0000:00:12.0",
		   &(struct fake_device){.bars = {{.bytes = 256}, {0}, {.bytes = 64 * FAKE_MIB}}});
	add_virtual_functions();
	add_mixed();
	fake_add_device(fake, &(struct fake_device){
				      .address = described->foreign,
				      .group = FOREIGN_GROUP,
				      .node = -1,
				      .driver = "virtio-pci",
				      .vendor_id = 0x1af4,
				      .device_id = 0x1009,
			      });
}

void machine_dma_write(struct vfb_ctx *ctx, struct vfb_space *space, struct vfb_device *device,
		       uint64_t iova)
{
	struct vfb_device_info info = VFB_DEVICE_INFO_INIT;
	uint32_t data[1024] = {MACHINE_DMA_WORD};

	(void)ctx;
	(void)space;
	vfb_device_info(device, &info);
	fake_dma_write(fake, info.address, iova, data, sizeof(data));
}

uint32_t machine_register(const char *address, uint64_t offset)
{
	return fake_register(fake, address, 0, offset);
}

/* The one that the scenario tries. */
static void deny_device(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/vfio/%u", FIRST_GROUP);
	fake_deny(fake, path, EACCES);
	fake_deny(fake, "/dev/vfio/devices/vfio0", EACCES);
}

/* Only root may write to them. */
static void deny_pools(void)
{
	char path[128];

	for (unsigned int node = 0; node < NODES; node++) {
		snprintf(path, sizeof(path),
			 "/sys/devices/system/node/node%u/hugepages/hugepages-2048kB/nr_hugepages",
			 node);
		fake_deny_writing(fake, path, EACCES);
	}
}

void machine_before(const struct limits *limits)
{
	(void)limits;
}

void machine_after(void)
{
}

void machine_begin(const struct limits *limits)
{
	struct fake_config config = {
		.spapr = described->is_spapr,
		.spapr_shared = described->is_spapr,
		.no_iommufd = described->no_iommufd[0],
		.no_cdev = described->no_iommufd[0] || limits->no_nodes,
		.base_page = machine_page,
		.nodes = NODES,
		.cpus_per_node = CPUS_PER_NODE,
		.pages_2m = {PAGES_2M, PAGES_2M},
		/* What root has in the machine of scripts/vm. */
		.memlock = limits->memlock ? limits->memlock : 8 * FAKE_MIB,
		.cap_ipc_lock = !limits->memlock && limits->user == USER_ROOT,
		.dma_entry_limit = limits->entries,
		.hugetlb_limit_2m = limits->hugetlb_2m,
		.hugetlb_reserve_2m = limits->hugetlb_reserve_2m,
		.memory_limit = limits->memory_max,
		.memory_high = limits->memory_high,
		.memory = {4 * FAKE_GIB, 4 * FAKE_GIB},
		.cpuset_mems = limits->one_node,
		.thp = limits->no_thp ? FAKE_THP_NEVER : FAKE_THP_MADVISE,
		.cpu_max = limits->cpu_max,
		.uid = limits->user == USER_ROOT ? 0 : 1000,
		.no_sys_admin = limits->user != USER_ROOT,
	};

	fake = fake_create(&config);
	add_devices();
	if (limits->user == USER_MAY_NOTHING || limits->user == USER_MAY_IOMMUFD)
		deny_device();
	if (limits->user != USER_ROOT)
		deny_pools();
	if (limits->user == USER_MAY_NOTHING)
		fake_deny(fake, "/dev/iommu", EACCES);
}

unsigned int machine_end(char *text, size_t bytes)
{
	unsigned int leaks = fake_leaks(fake, text, bytes);

	fake_destroy(fake);
	return leaks;
}

int machine_ctx_create_filtered(struct vfb_ctx **out)
{
	*out = NULL;
	return -ENOSYS;
}

int machine_ctx_create(const struct vfb_ctx_opts *opts, struct vfb_ctx **out)
{
	return vfb_ctx_create_with(fake_sys(fake), opts, out);
}

int machine_eventfd(void)
{
	return fake_sys(fake)->eventfd(fake_sys(fake));
}

bool machine_poll(int fd, uint64_t timeout_ns)
{
	return fake_poll(fake, fd, timeout_ns);
}

int machine_open(const char *path)
{
	return fake_sys(fake)->open(fake_sys(fake), path, O_RDWR);
}

void machine_close(int fd)
{
	fake_sys(fake)->close(fake_sys(fake), fd);
}

int machine_ioctl(int fd, unsigned long request, void *arg)
{
	return fake_sys(fake)->ioctl(fake_sys(fake), fd, request, arg);
}

int machine_mmap(size_t bytes, int prot, void **out)
{
	return fake_sys(fake)->mmap(fake_sys(fake), NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS,
				    -1, 0, out);
}

int machine_map_file(int fd, size_t bytes, int flags, void **out)
{
	return fake_sys(fake)->mmap(fake_sys(fake), *out, bytes, PROT_READ | PROT_WRITE,
				    flags | (*out ? MAP_FIXED : 0), fd, 0, out);
}

int machine_madvise(void *address, size_t bytes, int advice)
{
	return fake_sys(fake)->madvise(fake_sys(fake), address, bytes, advice);
}

void machine_munmap(void *address, size_t bytes)
{
	fake_sys(fake)->munmap(fake_sys(fake), address, bytes);
}

struct vm_flags {
	uintptr_t address;
	const char *flag;
	bool inside, found;
};

static bool look_for_flag(const char *line, void *arg)
{
	struct vm_flags *flags = arg;
	unsigned long start, end;

	if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
		flags->inside = flags->address >= start && flags->address < end;
	if (flags->inside && !strncmp(line, "VmFlags:", 8))
		flags->found = strstr(line, flags->flag);
	return true;
}

bool machine_vm_flag(const void *address, const char *flag)
{
	struct vm_flags flags = {.address = (uintptr_t)address, .flag = flag};

	if (vfb_sys_each_line(fake_sys(fake), "/proc/self/smaps", look_for_flag, &flags))
		abort();
	return flags.found;
}

static unsigned int index_of(const char *address)
{
	unsigned int i = 0;

	while (strcmp(described->devices[i], address))
		i++;
	return i;
}

void machine_group_path(const char *address, char *path, size_t bytes)
{
	snprintf(path, bytes, "/dev/vfio/%u", FIRST_GROUP + index_of(address));
}

void machine_node_path(const char *address, char *path, size_t bytes)
{
	snprintf(path, bytes, "/dev/vfio/devices/vfio%u", index_of(address));
}

uint64_t machine_pinned(void)
{
	struct fake_stats stats;

	fake_stats(fake, &stats);
	return stats.pinned_bytes;
}

uint64_t machine_free_2m(unsigned int node)
{
	return fake_free_2m(fake, node);
}

uint64_t machine_pool_2m(unsigned int node)
{
	char path[128], text[32];

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%u/hugepages/hugepages-2048kB/nr_hugepages", node);
	if (vfb_sys_read_file(fake_sys(fake), path, text, sizeof(text)) < 0)
		return 0;
	return strtoull(text, NULL, 10);
}

unsigned int machine_workers(void)
{
	struct fake_stats stats;

	fake_stats(fake, &stats);
	return stats.threads;
}

void machine_poison(void *address)
{
	fake_poison(fake, address);
}

bool machine_cpu_is_of_node(unsigned int cpu, unsigned int node)
{
	return cpu / CPUS_PER_NODE == node;
}

/* ---- Unplugging ---- */

static struct {
	pthread_t thread;
	char path[64];
	atomic_bool done;
} remover;

void machine_write(const char *path, const char *text)
{
	int fd = fake_sys(fake)->open(fake_sys(fake), path, O_WRONLY);

	if (fake_sys(fake)->pwrite(fake_sys(fake), fd, text, strlen(text), 0) < 0)
		abort();
	fake_sys(fake)->close(fake_sys(fake), fd);
}

static void *remove_device(void *arg)
{
	(void)arg;
	machine_write(remover.path, "1");
	remover.done = true;
	return NULL;
}

void machine_unplug(const char *address)
{
	const struct vfb_sys *sys = fake_sys(fake);

	snprintf(remover.path, sizeof(remover.path), "/sys/bus/pci/devices/%s/remove", address);
	remover.done = false;
	if (sys->thread_create(sys, "remover", NULL, remove_device, NULL, &remover.thread))
		abort();
}

bool machine_unplugged(uint64_t timeout_ns)
{
	const struct vfb_sys *sys = fake_sys(fake);
	uint64_t end = sys->now(sys) + timeout_ns;

	while (!remover.done) {
		if (sys->now(sys) >= end)
			return false;
		sys->sleep(sys, 10 * FAKE_MS);
	}
	sys->thread_join(sys, remover.thread);
	return true;
}

void machine_rescan(void)
{
	machine_write("/sys/bus/pci/rescan", "1");
}
