/* SPDX-License-Identifier: MIT */
/*
 * What the scenarios need to know of the machine that they run on: the fake kernel
 * (machine_fake.c), or the real one with devices bound to vfio-pci (machine_real.c). Where the
 * two differ, one of them is wrong; what may differ is in struct machine, with its reason.
 */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vfioboost.h>

#define MACHINE_DEVICES 32

/* Bytes of a base page, and where the MiB of IOVAs begins that writes of interrupts take:
 * 0xfee00000 on x86, 0x8000000 on arm64 (MSI_IOVA_BASE). machine_describe() sets them. */
extern uint64_t machine_page, machine_msi_window;

/* What a scenario wants the machine to be short of. Zero: nothing. */
struct limits {
	/* dma_entry_limit of vfio_iommu_type1. */
	unsigned int entries;
	/* RLIMIT_MEMLOCK in bytes, without CAP_IPC_LOCK. */
	uint64_t memlock;
	/* memory.max, memory.high, hugetlb.2MB.max and hugetlb.2MB.rsvd.max in bytes, and cpu.max,
	 * of the cgroup that it runs in. */
	uint64_t memory_max, memory_high, hugetlb_2m, hugetlb_reserve_2m;
	const char *cpu_max;
	/* cpuset.mems of it allows node 0 only. */
	bool one_node;
	/* Devices have no nodes below /dev/vfio/devices, as on Linux 6.2 to 6.5. */
	bool no_nodes;
	/* transparent_hugepage/enabled says never. */
	bool no_thp;
	/* A user without any privilege, who may open these nodes besides /dev/vfio/vfio. */
	enum {
		USER_ROOT,
		USER_MAY_NOTHING,
		USER_MAY_IOMMUFD,
		USER_MAY_ALL,
	} user;
};

/* Devices that have something in common. */
struct family {
	char devices[8][16];
	size_t count;
};

/* What not every machine has: devices below one bridge; a bus for each device, which can be reset;
 * a group for each device; devices with several functions, virtual ones, or a group that is not
 * viable. */
#define MACHINE_BRIDGE	  (1u << 0)
#define MACHINE_BUSES	  (1u << 1)
#define MACHINE_GROUPS	  (1u << 2)
#define MACHINE_FUNCTIONS (1u << 3)
#define MACHINE_VFS	  (1u << 4)
#define MACHINE_MIXED	  (1u << 5)
/* Pages that are not larger than the BAR of a controller. */
#define MACHINE_SMALL_PAGES (1u << 6)
/* Hugetlb pages of 1 GiB; transparent huge pages of 2 MiB. */
#define MACHINE_1G  (1u << 7)
#define MACHINE_THP (1u << 8)
/* An IOMMU with IOVAs of less than 60 bits, and no gap but that of interrupts: not AMD's. */
#define MACHINE_NARROW (1u << 9)

struct machine {
	/* "fake, as Linux 7.3", or the version from uname(2). */
	char name[64];
	/* NVMe controllers of QEMU, each below its own bridge; those of node 0 first. */
	char devices[MACHINE_DEVICES][16];
	size_t device_count;
	/* NVMe controllers below one bridge; functions of one device; devices whose BAR 2 is plain
	 * memory. */
	struct family bridged, functions, bars;
	/* Virtual functions, and what they are functions of; whether they want a token. */
	struct family vfs;
	char pf[16];
	bool vfs_want_token;
	/* One whose IOMMU group has a device of another driver too. */
	char mixed[16];
	/*
	 * Domains of iommufd can track what devices write to. VT-d can if its extended capabilities
	 * are SMTS, SSADS (then called SLADS) and SMPWC, bits 43, 45 and 48: ssads_supported() of
	 * drivers/iommu/intel/iommu.h. QEMU's has no SSADS, in scalable
	 * mode either: vtd_cap_init() of hw/i386/intel_iommu.c. In scripts/vm it reports 0xf00f4e.
	 */
	bool tracks_dirty;
	/* Large BARs are mapped with huge pages. */
	bool has_huge_bars;
	/* A device that is bound to another driver. */
	char foreign[16];
	unsigned int nodes;
	/* That of the last devices: scripts/vm has all on node 0 of machines with a device tree. */
	int last_node;
	/* MACHINE_... */
	unsigned int lacks;
	/* Why there is no iommufd; "" when there is. */
	char no_iommufd[128];
	/* The IOMMU is that of POWER: there is neither type1 nor iommufd. */
	bool is_spapr;
	/* The kernel takes transparent huge pages for memfds (shmem_enabled). */
	bool shmem_thp;
	/*
	 * Steps that the kernel does not sleep in take no time on the fake's clock: attaching
	 * has a duration of 0 there.
	 */
	bool attach_takes_time;
	/*
	 * The configuration space and BARs of the fake are plain memory; a real NVMe controller
	 * has registers with contents of their own.
	 */
	bool has_registers;
	/* There are system calls to filter: the fake's are functions. */
	bool has_filters;
	/* A process can be forked that meets the same kernel; the fake's is a copy. */
	bool has_processes;
};

/*
 * Describes the machine. @argc, @argv: of the program, without what it knows by itself.
 * Returns whether scenarios can run there; the reason is printed.
 */
bool machine_describe(struct machine *machine, int argc, char **argv);

/*
 * Each scenario has a process of its own: these are called in the parent around it, and in the
 * child at its beginning and its end.
 */
void machine_before(const struct limits *limits);
void machine_after(void);
void machine_begin(const struct limits *limits);
/* What the scenario has not given back: how many things, and a line for each in @text. */
unsigned int machine_end(char *text, size_t bytes);

int machine_ctx_create(const struct vfb_ctx_opts *opts, struct vfb_ctx **out);
/*
 * As this, with threads below a filter that ends the process for a system call that
 * vfb_seccomp_calls() does not list for them. The caller has such a filter then, too.
 */
int machine_ctx_create_filtered(struct vfb_ctx **out);
int machine_eventfd(void);
/* Waits until @fd is readable; false after the timeout. */
bool machine_poll(int fd, uint64_t timeout_ns);

/*
 * The kernel itself, for what the library never asks of it unless it is wrong or late: negative
 * errno values on failure.
 */
int machine_open(const char *path);
void machine_close(int fd);
int machine_ioctl(int fd, unsigned long request, void *arg);
int machine_mmap(size_t bytes, int prot, void **out);
/* As mmap(2) of a file, readable and writable, from its beginning; at *@out if that is not NULL. */
int machine_map_file(int fd, size_t bytes, int flags, void **out);
int machine_madvise(void *address, size_t bytes, int advice);
void machine_munmap(void *address, size_t bytes);
/* Whether the line VmFlags of smaps has @flag for the mapping at @address. */
bool machine_vm_flag(const void *address, const char *flag);
/* The nodes of a device: /dev/vfio/GROUP, /dev/vfio/devices/vfioN. */
void machine_group_path(const char *address, char *path, size_t bytes);
void machine_node_path(const char *address, char *path, size_t bytes);

/*
 * The device, an NVMe controller that is open in the space, writes 4 KiB to @iova that begin with
 * MACHINE_DMA_WORD. What it cannot reach it does not write.
 */
#define MACHINE_DMA_WORD 0x1af41b36
void machine_dma_write(struct vfb_ctx *ctx, struct vfb_space *space, struct vfb_device *device,
		       uint64_t iova);

/* Bytes that the kernel holds for devices: what is really mapped. */
uint64_t machine_pinned(void);
/* Pages of 2 MiB that are free in the pool of a node. */
uint64_t machine_free_2m(unsigned int node);
/* All pages of that pool. */
uint64_t machine_pool_2m(unsigned int node);
/* Threads of the library that populate and map. */
unsigned int machine_workers(void);
/* The page at @address gets a memory error. */
void machine_poison(void *address);
bool machine_cpu_is_of_node(unsigned int cpu, unsigned int node);

/*
 * Takes a device off the bus, as unplugging it does: asks for that; waits until it is done, false
 * after the timeout; and looks for devices on the bus, which finds it again.
 */
void machine_unplug(const char *address);
bool machine_unplugged(uint64_t timeout_ns);
void machine_rescan(void);

/* Writes to a file of sysfs. */
void machine_write(const char *path, const char *text);

/*
 * A register of 4 bytes in BAR 0 of a device that nobody has open: read behind the back of VFIO,
 * which would reset it.
 */
uint32_t machine_register(const char *address, uint64_t offset);

#endif
