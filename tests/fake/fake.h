/* SPDX-License-Identifier: MIT */
/*
 * The fake kernel: an implementation of struct vfb_sys as a model of VFIO, iommufd, sysfs, memory
 * and NUMA, on a virtual clock. Errnos and rules follow Linux 7.3.4; tests/vm checks them against
 * a real kernel.
 *
 * Time passes only when every thread that the fake knows is blocked in it (asleep, waiting for a
 * condition, for another thread or for a modelled kernel lock): then the clock jumps to the next
 * deadline. The thread that called fake_create() is known, and so are those made through the
 * table. When none can run and nobody has a deadline, the fake prints what each waits for and
 * aborts.
 */
#ifndef FAKE_H
#define FAKE_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sys/sys.h"

struct fake;

#define FAKE_NODES 16
#define FAKE_KIB   (UINT64_C(1) << 10)
#define FAKE_MIB   (UINT64_C(1) << 20)
#define FAKE_GIB   (UINT64_C(1) << 30)
#define FAKE_MS	   UINT64_C(1000000)

/* ---- The machine ---- */

enum fake_thp {
	FAKE_THP_MADVISE,
	FAKE_THP_ALWAYS,
	FAKE_THP_NEVER,
	/* A kernel without transparent huge pages: no files in sysfs, MADV_HUGEPAGE gives EINVAL.
	 */
	FAKE_THP_ABSENT,
};

/* A machine; zero stands for what is in parentheses. */
struct fake_config {
	/* The kernel lacks: groups and containers; /dev/iommu; the nodes /dev/vfio/devices/vfioN.
	 */
	bool no_type1, no_iommufd, no_cdev;
	/* The IOMMU is that of POWER: sPAPR instead of type1, and no iommufd. VFIO has version 1
	 * only; the platform has no dynamic windows; groups can share a container, as on PowerNV;
	 * and the largest window that it creates, in bytes (1 TiB). */
	bool spapr, spapr_v1, spapr_no_windows, spapr_shared;
	uint64_t spapr_window;
	/* Linux before 6.13: no IOMMU_IOAS_MAP_FILE, no IOMMU_IOAS_CHANGE_PROCESS. */
	bool no_map_file;
	/* The IOMMU does not track what devices write to. */
	bool no_dirty;
	/* Linux before 6.11: no IOMMU_FAULT_QUEUE_ALLOC. The IOMMU has no scalable mode. */
	bool no_faults, no_scalable;
	/* Linux before 6.19: no VFIO_DEVICE_FEATURE_DMA_BUF. */
	bool no_dma_buf;
	/* Linux before 7.0: closing a device always resets it. Zero: it trylocks the bridge above
	 * it first, and skips the reset while another device below that is being reset by closing
	 * (opening takes no lock of the bridge). */
	bool old_close;
	/* uname -r ("7.3.4"); it is reported, and changes nothing else. */
	const char *release;
	/* transparent_hugepage/defrag ("always defer defer+madvise [madvise] never"). */
	const char *defrag;
	/* Linux before 5.14: MADV_POPULATE_WRITE gives EINVAL. */
	bool no_populate;
	/* A seccomp filter (of which the calls take no notice). */
	bool has_filter;
	/* Linux before 6.3: MFD_NOEXEC_SEAL gives EINVAL. */
	bool no_noexec_seal;
	/* cpu.max of the process's cgroup, "150000 100000" ("max 100000"). */
	const char *cpu_max;
	/* memory.max of it in bytes (0, none). The kernel kills what uses more: misuse. */
	uint64_t memory_limit;
	/* memory.high of it in bytes (0, none); it is reported, and delays nothing. */
	uint64_t memory_high;
	/* hugetlb.2MB.max of it in bytes, and hugetlb.2MB.rsvd.max, what mmap() may reserve (0,
	 * none). */
	uint64_t hugetlb_limit_2m, hugetlb_reserve_2m;
	/* Bit n: node n is in cpuset.mems of it (0, all of them). */
	uint32_t cpuset_mems;
	/* The kernel or CPU has no hugetlb pages of 2 MiB, of 1 GiB. */
	bool no_2m, no_1g;
	enum fake_thp thp;
	/* hugepages-64kB/shmem_enabled says advise, not never; shmem_enabled always says never. */
	bool shmem_64k;

	/* Bytes of a base page (4 KiB). Large pages of other base pages than 4 KiB are of other
	 * sizes: those of the two hugetlb pools (2 MiB, 1 GiB), which the fields here call 2m and
	 * 1g all the same. Transparent huge pages have 2 MiB. */
	uint64_t base_page, huge_bytes[2];

	/* Nodes 0 to nodes - 1 (1), each with so many CPUs (4), numbered node by node. */
	unsigned int nodes, cpus_per_node;
	/* Bit n: node n has no CPUs; there is no node n. */
	uint32_t cpuless_nodes, absent_nodes;
	/* The affinity of the thread that calls fake_create() (every CPU). */
	cpu_set_t affinity;
	/* Free base memory of each node in bytes (64 GiB; 1 for none). */
	uint64_t memory[FAKE_NODES];
	/* Pages in the hugetlb pool of each node (0). */
	uint64_t pages_2m[FAKE_NODES], pages_1g[FAKE_NODES];
	/* nr_overcommit_hugepages: what mmap() may add to the pool of 2 MiB (0). */
	uint64_t overcommit_2m;

	/* Pages that each pool can grow by (as its free memory has room for). */
	uint64_t blocks_2m[FAKE_NODES], blocks_1g[FAKE_NODES];
	/* Physical pages come in runs of so many (all of a mapping). */
	uint64_t run_pages;
	/* Without CAP_SYS_ADMIN: physical addresses are hidden. */
	bool no_sys_admin;

	/* RLIMIT_MEMLOCK in bytes (UINT64_MAX, none). */
	uint64_t memlock;
	bool cap_ipc_lock;
	/* The user, whom the mode of nodes does not bind if it is root (0). */
	unsigned int uid;
	/* The process is in a user namespace of its own, where the host's user 1000 is root. */
	bool user_namespace;
	/* Module parameter of vfio_iommu_type1 (65535). */
	uint32_t dma_entry_limit;
	/* Width of IOVAs (48), which the IOMMU of all devices reports as VT-d does. */
	unsigned int iova_bits;
	/* Interrupts are not remapped, as far as /proc/interrupts shows. */
	bool no_remapping;
	/* Leave out the reserved range 0xfee00000-0xfeefffff that x86 has in every group. */
	bool no_msi_window;

	/* Costs on the virtual clock: a thread zeroing 1 GiB (250 ms); a map or unmap call
	 * (10 us), and in addition pinning and mapping 1 GiB (20 ms), unmapping 1 GiB (10 ms). */
	uint64_t zero_ns_per_gib, map_call_ns, pin_ns_per_gib, unmap_ns_per_gib;
	/* What each MADV_POPULATE_WRITE waits for mmap_lock; the exception of each touched page. */
	uint64_t mmap_wait_ns, fault_ns;
	/* The clock at fake_create() (1 s). */
	uint64_t start_ns;
	/* Abort when the clock stands still, and no call is made, for so many real seconds (30). */
	unsigned int watchdog_s;
};

/* Never fails (it aborts); NULL for the default machine. The caller becomes a known thread. */
struct fake *fake_create(const struct fake_config *config);

/* Frees everything, leaked or not; threads must have been joined. NULL is allowed. */
void fake_destroy(struct fake *fake);

/* The table to give to the library. */
const struct vfb_sys *fake_sys(struct fake *fake);

/* ---- Devices ---- */

enum fake_busy {
	FAKE_FREE,
	/* Another process has the device open by its group: opening the group gives EBUSY. */
	FAKE_BUSY_GROUP,
	/* Another process has bound its device node: the group EBUSY, BIND EINVAL (Linux 7.3). */
	FAKE_BUSY_CDEV,
};

struct fake_bar {
	/* 0: not implemented. */
	uint64_t bytes;
	/* VFIO does not let it be mapped. */
	bool no_mmap;
};

/* A PCI device; zero stands for what is in parentheses. Strings are copied. */
struct fake_device {
	/* "0000:01:00.0"; required. */
	const char *address;
	/* The IOMMU group; or none at all, as without an IOMMU. */
	unsigned int group;
	bool no_group;
	/* NUMA node; -1: the host does not report it. */
	int node;
	/* "vfio-pci"; any name with "vfio" in it is a VFIO driver. NULL: unbound. */
	const char *driver;
	/* The address of the bridge above it; NULL: on the root bus. The bridge may, and need not,
	 * be added as a device (driver "pcieport"). */
	const char *bridge;
	/* The physical function of a virtual one. */
	const char *physfn;
	/* Devices with the same key reset one after another (on the root bus: the device itself;
	 * else everything below the bridge). */
	const char *dev_set;
	/* How long opening resets it, and closing (100 ms). */
	uint64_t reset_ns;
	/* It cannot be reset. */
	bool no_reset;
	enum fake_busy busy;
	/* Identity (0x1b36, 0x0010, 0x010802: QEMU's NVMe). */
	uint16_t vendor_id, device_id;
	uint32_t class_code;
	/* If none is set: BAR 0 of 16 KiB. */
	struct fake_bar bars[6];
	uint64_t rom_bytes;
	/* Vectors of MSI-X (64); none can be added to those that are enabled. */
	unsigned int msix_vectors;
	bool fixed_msix;
	/* VFIO lets only the first and the last page of each BAR be mapped. */
	bool sparse_bars;
	/* And the list of them is broken: the last area reaches beyond the BAR; there are more
	 * areas than the list has room for. */
	bool sparse_beyond, sparse_too_many;
	/* The bus that it is on cannot be reset. */
	bool no_bus_reset;
	/* IOVAs it cannot use besides the MSI window, both ends included; none if last is 0. Their
	 * kind in reserved_regions ("reserved"): with "direct" the kernel refuses the group, since
	 * the firmware maps them; "direct-relaxable" forbids nothing. Not copied. */
	uint64_t reserved_first, reserved_last;
	const char *reserved_kind;
	/* It can request pages (PRI), which IOMMUs with scalable mode enable. */
	bool requests_pages;
	/* Contents of the sysfs file ("flr bus", "flr" on the root bus). */
	const char *reset_method;
};

/*
 * Adds a device, or changes one that nobody uses (its driver, say). Those with a VFIO driver get
 * the nodes /dev/vfio/devices/vfio0, vfio1, ... in the order in which they are added.
 */
void fake_add_device(struct fake *fake, const struct fake_device *device);

bool fake_has_device(struct fake *fake, const char *address);
/* How often it is open now; 0 when there is no such device. */
unsigned int fake_device_opens(struct fake *fake, const char *address);

/*
 * A file; a link when its text begins with "../" or "/dev/", or is like "user:[1]"; an empty folder
 * when its path ends with "/".
 */
void fake_add_file(struct fake *fake, const char *path, const char *text);

/* The command line of the helper process that runs, without its first word; NULL: none does. */
const char *fake_helper(struct fake *fake);

/* Changes mmap_wait_ns, or has_filter, of the configuration. */
void fake_set_mmap_wait(struct fake *fake, uint64_t ns);
void fake_set_filter(struct fake *fake, bool has_filter);

/* The number of the process from now on (77): what the child of a fork is. */
void fake_set_process(struct fake *fake, int process);

/* Another process has @path open, as /proc/PID/fd shows; it keeps nobody from opening it. */
void fake_hold(struct fake *fake, int pid, const char *name, const char *path);
/* The same for the file of a character or block device, whatever it is called. */
void fake_hold_node(struct fake *fake, int pid, const char *name, const struct vfb_node *node);

/* From now on opening @path gives -@error; 0 allows it again. */
void fake_deny(struct fake *fake, const char *path, int error);
/* The owner and the mode of a node (0, 0, 0600), which have no other effect. */
void fake_own(struct fake *fake, const char *path, unsigned int uid, unsigned int gid,
	      unsigned int mode);
/* As fake_deny(), of opening it to write. */
void fake_deny_writing(struct fake *fake, const char *path, int error);

/* Memory that the program has mapped by itself, with MAP_SHARED if @fd is not -1. -EEXIST, -EINVAL,
 * -EBADF. Forgetting it: -ENOENT, -EBUSY. */
int fake_add_memory(struct fake *fake, void *address, uint64_t bytes, int fd, uint64_t offset);
int fake_remove_memory(struct fake *fake, void *address);

/* ---- Failures ---- */

/*
 * Every call that can fail in the real world has a name: "mmap", "madvise", "memfd_create",
 * "thread_create", "eventfd", ...; "open:PATH", "readlink:PATH", "realpath:PATH", "list:PATH",
 * "pread:PATH", "pwrite:PATH"; the request's for an ioctl ("VFIO_IOMMU_MAP_DMA",
 * "IOMMU_IOAS_MAP"). A failing call has no effect.
 */

/*
 * The @n-th (1, 2, ...) call from now on fails with -@error, 0: an errno usual for that call.
 * Replaces an earlier fake_fail_nth(); n = 0 disarms it. munmap, max_node and memlock_limit do not
 * count, since they cannot fail, but fake_fail_call() knows them.
 */
void fake_fail_nth(struct fake *fake, unsigned int n, int error);

/*
 * The @nth call of @name from now on fails; 0: all of them. @name is the whole name, or what is
 * before its colon ("open"). Several may be armed; each fails once.
 */
void fake_fail_call(struct fake *fake, const char *name, unsigned int nth, int error);

#define FAKE_FAILS	16
#define FAKE_NAME_BYTES 96
/* How many fake_fail_call() are still to come, at most FAKE_FAILS. */
unsigned int fake_fails_armed(struct fake *fake);

/* Forgets fake_fail_nth() and fake_fail_call(), and what failed. */
void fake_fail_none(struct fake *fake);

/* Failing calls that may sleep (open, ioctl, madvise) take so long on the clock first (0). */
void fake_fail_delay(struct fake *fake, uint64_t ns);

/*
 * The name of the call that failed last by fake_fail_nth() or fake_fail_call(), NULL when none
 * was reached. Valid until the next failure. A test of all call sites:
 *
 *	for (n = 1;; n++) {
 *		fake = fake_create(...); fake_fail_nth(fake, n, 0);
 *		scenario();
 *		if (!fake_failed(fake)) break;
 *	}
 */
const char *fake_failed(struct fake *fake);

/* How many failable calls were made since fake_create(). */
unsigned int fake_calls(struct fake *fake);

/* Mutexes that this thread holds: in a subscriber's callback there must be none. */
unsigned int fake_locks_held(void);
/* How often this thread has taken a mutex so far, and how often it had to wait for one; those of
 * the model included. */
struct fake_locks {
	uint64_t taken, waited;
};
struct fake_locks fake_locks(void);

/* ---- Time and threads ---- */

uint64_t fake_now(struct fake *fake);

/* So many page faults are reported for the calling thread from now on, one number after another,
 * each that is asked for: {0, 1, 1} is a fault between the first two. */
void fake_page_faults(struct fake *fake, const uint64_t *faults, size_t count);

/* Makes the calling thread known until fake_thread_end(). */
void fake_thread_begin(struct fake *fake, const char *name);
void fake_thread_end(struct fake *fake);

/* Around something that blocks for real (poll, read of a pipe) what another thread ends: the
 * clock does not wait for the calling thread in between. */
void fake_outside_begin(struct fake *fake);
void fake_outside_end(struct fake *fake);

/* poll(2) of an eventfd of the table for POLLIN, in virtual time. UINT64_MAX: no timeout. */
bool fake_poll(struct fake *fake, int fd, uint64_t timeout_ns);

/* ---- What is left ---- */

/*
 * What has not been given back: open files, address mappings, IOMMU mappings, pinned memory,
 * threads, reserved hugepages; and misuse that would go unnoticed on a real machine (closing what
 * is not open, waking a condition without its mutex, unmapping memory that a device reaches).
 *
 * Returns how many, and a line for each in @text (NULL is allowed).
 */
unsigned int fake_leaks(struct fake *fake, char *text, size_t bytes);

/* ---- Looking inside ---- */

struct fake_stats {
	/* MAP ioctls that succeeded, UNMAP likewise; and the most that were in flight at once,
	 * those included that waited for iommu->lock. */
	unsigned int map_calls, unmap_calls, max_maps_in_flight, max_unmaps_in_flight;
	/* sPAPR: areas that were registered, unregistered; windows created and removed by calls;
	 * and the most calls to register that were in flight at once. */
	unsigned int register_calls, unregister_calls, window_creates, window_removes;
	unsigned int max_registers_in_flight;
	/* IOMMU mappings and their bytes. */
	unsigned int mappings;
	uint64_t mapped_bytes;
	/* Bytes pinned for IOMMU domains; VmLck of the process (type1); what iommufd has charged
	 * to the user, which stays 0 with CAP_IPC_LOCK. */
	uint64_t pinned_bytes, locked_vm, user_locked;
	/* MADV_POPULATE_WRITE: calls that succeeded, the most in flight at once, the longest. */
	unsigned int populate_calls, max_populates_in_flight;
	/* Of memory that was touched in user mode. */
	unsigned int touch_calls;
	uint64_t touched_bytes;
	uint64_t max_populate_bytes;
	/* Bytes zeroed so far by populating; and by MAP, since they were not populated. */
	uint64_t populated_bytes, populated_by_map_bytes;
	/* Changes of a pool's size while nobody held the lock that spans containers. */
	unsigned int unlocked_pool_changes;
	/* Times that memory was compacted. */
	unsigned int compactions;
	/* Resets of a whole bus (VFIO_DEVICE_PCI_HOT_RESET). */
	unsigned int bus_resets;
	/* Device resets done, skipped by closing, and the most going on at once. */
	unsigned int resets, skipped_resets, max_resets_at_once;
	/* Now: open fds, address mappings, threads of the table. */
	unsigned int fds, vmas, threads;
	uint64_t reserved_2m, reserved_1g;
};

void fake_stats(struct fake *fake, struct fake_stats *stats);

struct fake_device_stats {
	/* Resets in total, at opening, at closing; skipped at closing. */
	unsigned int resets, open_resets, close_resets, skipped_resets;
	/* Device files that are open (an mmap of a BAR keeps its file open). */
	unsigned int opens;
	/* IOASes it is attached to: 0 or 1. */
	unsigned int attached;
};

void fake_device_stats(struct fake *fake, const char *address, struct fake_device_stats *stats);

/* 4 bytes of a BAR, whoever has the device. */
uint32_t fake_register(struct fake *fake, const char *address, unsigned int bar, uint64_t offset);

struct fake_iova {
	/* All of the range is mapped, by so many map calls. */
	bool mapped;
	unsigned int entries;
	/* What the first byte is mapped to; and the rest follows it in order. */
	void *address;
	bool in_order;
	bool readable, writable;
	/* Bytes of it that are pinned. */
	uint64_t pinned;
};

#define FAKE_ANY_SPACE (-1)

/*
 * What a device would find at @iova. Spaces (containers with an IOMMU set, and IOASes) are
 * numbered from 0 in order of creation; FAKE_ANY_SPACE: the first one that maps the range.
 */
void fake_iova(struct fake *fake, int space, uint64_t iova, uint64_t bytes, struct fake_iova *out);

/*
 * The device @address writes @bytes of @data to @iova, to memory or a BAR: false when it cannot
 * reach all of that.
 */
bool fake_dma_write(struct fake *fake, const char *address, uint64_t iova, const void *data,
		    size_t bytes);

/* A request of a device for a page; perm is VFB_IOMMU_PGFAULT_PERM_... */
struct fake_page_request {
	uint64_t iova;
	uint32_t perm;
};
enum fake_page_answer {
	FAKE_PAGES_PENDING,
	FAKE_PAGES_SUCCESS,
	FAKE_PAGES_INVALID,
};

/*
 * The device @address sends a group of requests, and gets its number. The answer, for which this
 * waits; and how many writes have answered any.
 */
unsigned int fake_request_pages(struct fake *fake, const char *address,
				const struct fake_page_request *requests, size_t count);
enum fake_page_answer fake_page_answer(struct fake *fake, unsigned int group, uint64_t timeout_ns);
unsigned int fake_page_answer_calls(struct fake *fake);

/* The node of a page, -ENOENT: not populated, -EFAULT: no such address. */
int fake_page_node(struct fake *fake, const void *address);

/* The page at @address has a memory error from now on. */
void fake_poison(struct fake *fake, const void *address);

/* Bytes populated in a range of addresses. */
uint64_t fake_populated(struct fake *fake, const void *address, uint64_t bytes);

/* Bytes populated of all that is mapped now or held by a memfd. */
uint64_t fake_populated_now(struct fake *fake);

/*
 * Bytes on @page_node that were zeroed by threads whose CPUs all belong to @thread_node; -1: by
 * threads that may run on CPUs of several nodes.
 */
uint64_t fake_zeroed_by(struct fake *fake, int thread_node, unsigned int page_node);

/* Bytes zeroed by threads while on @cpu. */
uint64_t fake_zeroed_on_cpu(struct fake *fake, unsigned int cpu);

/* Free memory of a node: base memory in bytes, pages in its pools, those reserved included. */
uint64_t fake_free_memory(struct fake *fake, unsigned int node);
uint64_t fake_free_2m(struct fake *fake, unsigned int node);
uint64_t fake_free_1g(struct fake *fake, unsigned int node);

/* ---- Local sockets ---- */

/*
 * The answer to the last packet that was sent to any socket: its length, or a negative errno.
 * @fds: room for @count; the receiver gets duplicates of those that are written there.
 */
typedef ssize_t fake_answer(void *arg, const void *request, size_t bytes, void *answer, size_t room,
			    int *fds, size_t *count);

/* A daemon that listens at every path. NULL, as at first: none, connecting gives ECONNREFUSED. */
void fake_listen(struct fake *fake, fake_answer *answer, void *arg);

#endif
