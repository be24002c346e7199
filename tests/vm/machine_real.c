/* SPDX-License-Identifier: MIT */
/* The running kernel: devices from $VFIO_DEVICES, which scripts/vm sets. */
#include "machine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "nvme.h"
#include "proc.h"

#define ENTRY_LIMIT "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit"
#define NOBODY	    65534
#define THP	    "/sys/kernel/mm/transparent_hugepage/enabled"
#define CGROUPS	    "/sys/fs/cgroup"
#define CGROUP	    CGROUPS "/vfioboost"

/* What the scenario should find at its end as it was at its beginning. */
struct state {
	long fds, threads, mappings, locked_kib, pinned_kib, hugepages_free, hugepages_reserved;
};

uint64_t machine_page;
#ifdef __aarch64__
uint64_t machine_msi_window = 0x8000000;
#else
uint64_t machine_msi_window = 0xfee00000;
#endif

static struct state before;
static long entry_limit;
/* What transparent huge pages are set to but for a scenario. */
static char thp[16];

static bool file_says(const char *path, const char *part)
{
	FILE *file = fopen(path, "re");
	char text[256] = "";

	if (file) {
		if (!fgets(text, sizeof(text), file))
			text[0] = '\0';
		fclose(file);
	}
	return strstr(text, part);
}

/* ---- What the machine is ---- */

/* The addresses that scripts/vm has put into a variable; how many. */
static size_t list_devices(const char *variable, char (*devices)[16], size_t room)
{
	const char *listed = getenv(variable);
	char *copy = strdup(listed ? listed : ""), *rest = copy, *address;
	size_t count = 0;

	if (!copy)
		die("strdup");
	while ((address = strsep(&rest, " ")) && count < room)
		if (*address)
			snprintf(devices[count++], sizeof(devices[0]), "%s", address);
	free(copy);
	return count;
}

static void list_family(const char *variable, struct family *family)
{
	family->count = list_devices(variable, family->devices, 8);
}

/* A PCI device with an IOMMU group and a driver that is not vfio-pci. */
static void find_foreign(struct machine *machine)
{
	static const char folder[] = "/sys/bus/pci/devices";
	DIR *dir = opendir(folder);
	struct dirent *entry;
	char path[512], driver[512];
	ssize_t length;

	while (dir && !machine->foreign[0] && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "%s/%.64s/driver", folder, entry->d_name);
		length = readlink(path, driver, sizeof(driver) - 1);
		if (length < 0)
			continue;
		driver[length] = '\0';
		snprintf(path, sizeof(path), "%s/%.64s/iommu_group", folder, entry->d_name);
		if (!strstr(driver, "vfio") && !access(path, F_OK))
			snprintf(machine->foreign, sizeof(machine->foreign), "%.15s",
				 entry->d_name);
	}
	if (dir)
		closedir(dir);
}

/* QEMU has one IOMMU. */
static bool iommus_track_dirty(void)
{
	const uint64_t needed = UINT64_C(1) << 43 | UINT64_C(1) << 45 | UINT64_C(1) << 48;
	unsigned long long ecap = 0;
	FILE *file;
	bool found = (file = fopen("/sys/class/iommu/dmar0/intel-iommu/ecap", "re")) &&
		     fscanf(file, "%llx", &ecap) == 1;

	if (file)
		fclose(file);
	return found && (ecap & needed) == needed;
}

static unsigned int count_nodes(void)
{
	unsigned int nodes = 0;
	char path[64];

	do
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%u", nodes++);
	while (!access(path, F_OK));
	return nodes - 1;
}

static void require(bool there, const char *what, bool *all)
{
	if (there)
		return;
	fprintf(stderr,
		"the scenarios need %s; run them by: scripts/vm --nodes 2 --devices 4 "
		"--bridged 4 --functions 4 --bar 64M --vfs 4 --mixed --hugepages 2m:128 -- %s\n",
		what, program_invocation_name);
	*all = false;
}

/* type1 and sPAPR count what is locked, iommufd what is pinned. */
static uint64_t count_pinned(void)
{
	return 1024 * (uint64_t)(proc_number("/proc/self/status", "VmLck:") +
				 proc_number("/proc/self/status", "VmPin:"));
}

/* sPAPR: what the tables of DMA windows count for, while a device is open. */
static uint64_t windows_bytes;

static void measure_windows(const char *address)
{
	struct vfb_space *space;
	struct vfb_device *device;
	struct vfb_ctx *ctx;

	if (vfb_ctx_create(NULL, &ctx))
		die("a context");
	if (vfb_space_create(ctx, NULL, &space) || vfb_device_open(space, address, &device))
		die(address);
	windows_bytes = count_pinned();
	vfb_device_close(device);
	if (vfb_space_destroy(space) || vfb_ctx_destroy(ctx))
		die("the space");
}

static bool has_open_group(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	bool found = false;

	while (dir && !found && (entry = readdir(dir))) {
		char target[64] = "";

		found = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1) > 0 &&
			!strncmp(target, "/dev/vfio/", 10) && target[10] >= '0' &&
			target[10] <= '9';
	}
	if (dir)
		closedir(dir);
	return found;
}

uint64_t machine_pinned(void)
{
	return count_pinned() - (windows_bytes && has_open_group() ? windows_bytes : 0);
}

bool machine_describe(struct machine *machine, int argc, char **argv)
{
	struct utsname name;
	bool all = true;

	(void)argc;
	(void)argv;
	machine_page = sysconf(_SC_PAGESIZE);
	uname(&name);
	snprintf(machine->name, sizeof(machine->name), "Linux %.50s", name.release);
	machine->device_count = list_devices("VFIO_DEVICES", machine->devices, MACHINE_DEVICES);
	list_family("VFIO_BRIDGED", &machine->bridged);
	list_family("VFIO_FUNCTIONS", &machine->functions);
	list_family("VFIO_BARS", &machine->bars);
	list_family("VFIO_VFS", &machine->vfs);
	list_devices("VFIO_PF", &machine->pf, 1);
	list_devices("VFIO_MIXED", &machine->mixed, 1);
	/* The kernel without modules has no driver for it. */
	machine->vfs_want_token = access("/sys/bus/pci/drivers/nvme", F_OK);
	find_foreign(machine);
	machine->nodes = count_nodes();
	machine->attach_takes_time = true;
	machine->has_registers = true;
	machine->has_filters = true;
	machine->has_processes = true;
	machine->tracks_dirty = iommus_track_dirty();
	machine->shmem_thp = !file_says("/sys/kernel/mm/transparent_hugepage/shmem_enabled",
					"[never]");
	if (access("/dev/iommu", F_OK) || access("/dev/vfio/devices", F_OK))
		snprintf(machine->no_iommufd, sizeof(machine->no_iommufd),
			 "there is no /dev/iommu or no /dev/vfio/devices");
	machine->is_spapr = !access("/sys/module/vfio_iommu_spapr_tce", F_OK);
#ifdef __aarch64__
	machine->lacks = MACHINE_BRIDGE;
#else
	machine->last_node = machine->is_spapr ? 0 : machine->nodes - 1;
#endif
	if (machine->is_spapr)
		machine->lacks = ~(MACHINE_SMALL_PAGES | MACHINE_1G | MACHINE_THP | MACHINE_NARROW);
	if (!access("/sys/class/iommu/ivhd0", F_OK))
		machine->lacks |= MACHINE_NARROW;
	/* The BARs of virtual functions fill pages, else there are none (sriov_init()). */
	if (machine_page > 16384)
		machine->lacks |= MACHINE_SMALL_PAGES | MACHINE_VFS;
#ifndef __x86_64__
	if (access("/sys/kernel/mm/hugepages/hugepages-1048576kB", F_OK))
		machine->lacks |= MACHINE_1G;
	if (!file_says("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "2097152"))
		machine->lacks |= MACHINE_THP;
#endif
	machine->has_huge_bars = !(machine->lacks & MACHINE_THP);
	require(!geteuid(), "root", &all);
	require(machine->device_count >= 4, "four devices in $VFIO_DEVICES", &all);
	/* It has no other devices, and one node. */
	if (machine->is_spapr) {
		if (all)
			measure_windows(machine->devices[0]);
		return all;
	}
#ifndef __aarch64__
	/* There, arm_smmu_insert_master() refuses all but the first device of a bridge. */
	require(machine->bridged.count >= 2, "two devices in $VFIO_BRIDGED", &all);
#endif
	require(machine->functions.count >= 2, "two devices in $VFIO_FUNCTIONS", &all);
	require(machine->bars.count >= 1, "a device in $VFIO_BARS", &all);
	require(machine->lacks & MACHINE_VFS || machine->vfs.count >= 2, "two devices in $VFIO_VFS",
		&all);
	require(machine->mixed[0], "a device in $VFIO_MIXED", &all);
	require(machine->foreign[0], "a PCI device that is not bound to vfio-pci", &all);
	require(machine->nodes >= 2, "two NUMA nodes", &all);
	for (unsigned int node = 0; node < machine->nodes; node++)
		require(machine_free_2m(node) >= 32, "32 hugepages of 2 MiB on each node", &all);
	return all;
}

/* ---- Limits ---- */

static void write_entry_limit(long limit)
{
	FILE *file = fopen(ENTRY_LIMIT, "we");

	if (!file || fprintf(file, "%ld\n", limit) < 0 || fclose(file))
		die(ENTRY_LIMIT);
}

/* The nodes in a folder below /dev/vfio; not /dev/vfio/vfio, which is everybody's. */
static void change_nodes(const char *folder, mode_t mode)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (entry->d_type == DT_CHR && strcmp(entry->d_name, "vfio") &&
		    fchmodat(dirfd(dir), entry->d_name, mode, 0))
			die(folder);
	if (dir)
		closedir(dir);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

static bool has_cgroup(const struct limits *limits)
{
	return limits->memory_max || limits->memory_high || limits->hugetlb_2m ||
	       limits->hugetlb_reserve_2m || limits->cpu_max || limits->one_node;
}

static void write_limit(const char *path, uint64_t limit)
{
	char bytes[32];

	snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)limit);
	if (limit)
		write_file(path, bytes);
}

static void make_cgroup(const struct limits *limits)
{
	write_file(CGROUPS "/cgroup.subtree_control", "+cpu +hugetlb");
	if (limits->memory_max || limits->memory_high)
		write_file(CGROUPS "/cgroup.subtree_control", "+memory");
	if (limits->one_node)
		write_file(CGROUPS "/cgroup.subtree_control", "+cpuset");
	if (mkdir(CGROUP, 0755))
		die(CGROUP);
	write_limit(CGROUP "/memory.max", limits->memory_max);
	write_limit(CGROUP "/memory.high", limits->memory_high);
	write_limit(CGROUP "/hugetlb.2MB.max", limits->hugetlb_2m);
	write_limit(CGROUP "/hugetlb.2MB.rsvd.max", limits->hugetlb_reserve_2m);
	if (limits->cpu_max)
		write_file(CGROUP "/cpu.max", limits->cpu_max);
	if (limits->one_node)
		write_file(CGROUP "/cpuset.mems", "0");
}

/* What is set is in brackets. */
static void switch_thp_off(void)
{
	FILE *file = fopen(THP, "re");
	char line[64] = "", *set;

	if (!file || !fgets(line, sizeof(line), file) || !(set = strchr(line, '[')) ||
	    sscanf(set, "[%15[a-z]", thp) != 1)
		die(THP);
	fclose(file);
	write_file(THP, "never");
}

void machine_before(const struct limits *limits)
{
	mode_t devices = limits->user == USER_MAY_ALL ? 0666 : 0600;
	mode_t iommufd = limits->user == USER_MAY_IOMMUFD ? 0666 : devices;

	change_nodes("/dev/vfio", devices);
	change_nodes("/dev/vfio/devices", devices);
	if (chmod("/dev/iommu", iommufd) && errno != ENOENT)
		die("/dev/iommu");
	if (has_cgroup(limits))
		make_cgroup(limits);
	if (limits->no_thp)
		switch_thp_off();
	if (!limits->entries)
		return;
	entry_limit = proc_number(ENTRY_LIMIT, NULL);
	write_entry_limit(limits->entries);
}

void machine_after(void)
{
	if (entry_limit)
		write_entry_limit(entry_limit);
	entry_limit = 0;
	if (thp[0])
		write_file(THP, thp);
	thp[0] = '\0';
	if (rmdir(CGROUP) && errno != ENOENT)
		die(CGROUP);
}

/* Without CAP_IPC_LOCK, root is bound by RLIMIT_MEMLOCK like everybody else. */
static void drop_ipc_lock(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data))
		die("capget");
	data[0].effective &= ~(1u << CAP_IPC_LOCK);
	data[0].permitted &= ~(1u << CAP_IPC_LOCK);
	data[0].inheritable &= ~(1u << CAP_IPC_LOCK);
	if (syscall(SYS_capset, &header, data))
		die("capset");
}

/* ---- What is left behind ---- */

/* Memory of the library, and regions of devices. */
static long count_mappings(void)
{
	static const char *const ours[] = {"/dev/vfio", "vfio-device", "memfd:", "hugepage"};
	FILE *file = fopen("/proc/self/maps", "re");
	char line[512];
	long count = 0;

	if (!file)
		die("/proc/self/maps");
	while (fgets(line, sizeof(line), file))
		for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
			if (strstr(line, ours[i]))
				count++;
	fclose(file);
	return count;
}

static struct state read_state(void)
{
	return (struct state){
		.fds = proc_entries("/proc/self/fd"),
		.threads = proc_entries("/proc/self/task"),
		.mappings = count_mappings(),
		.locked_kib = proc_number("/proc/self/status", "VmLck:"),
		.pinned_kib = proc_number("/proc/self/status", "VmPin:"),
		.hugepages_free = proc_number("/proc/meminfo", "HugePages_Free:"),
		.hugepages_reserved = proc_number("/proc/meminfo", "HugePages_Rsvd:"),
	};
}

/* From this process alone. */
static void hide_nodes(void)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "/dev/vfio/devices", "tmpfs", 0, NULL))
		die("hiding /dev/vfio/devices");
}

void machine_begin(const struct limits *limits)
{
	struct rlimit memlock = {.rlim_cur = limits->memlock, .rlim_max = limits->memlock};

	if (limits->no_nodes)
		hide_nodes();
	if (has_cgroup(limits))
		write_file(CGROUP "/cgroup.procs", "0");
	if (limits->memlock && setrlimit(RLIMIT_MEMLOCK, &memlock))
		die("setrlimit");
	if (limits->memlock)
		drop_ipc_lock();
	if (limits->user != USER_ROOT && (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
					  setresuid(NOBODY, NOBODY, NOBODY)))
		die("setresuid");
	before = read_state();
}

static unsigned int note(char **text, size_t *left, const char *what, long from, long to)
{
	int length;

	if (from == to)
		return 0;
	length = snprintf(*text, *left, "%s: %ld before, %ld after\n", what, from, to);
	if (length > 0 && (size_t)length < *left) {
		*text += length;
		*left -= length;
	}
	return 1;
}

unsigned int machine_end(char *text, size_t bytes)
{
	struct timespec pause = {.tv_nsec = 10000000};
	struct state after = read_state();
	unsigned int leaks = 0;

	/* A thread that was joined is still listed for a moment: do_exit() wakes whoever joins
	 * (mm_release()) before release_task() takes it from the list. */
	for (int i = 0; i < 100 && after.threads != before.threads; i++) {
		nanosleep(&pause, NULL);
		after = read_state();
	}
	leaks += note(&text, &bytes, "open fds", before.fds, after.fds);
	leaks += note(&text, &bytes, "threads", before.threads, after.threads);
	leaks += note(&text, &bytes, "mappings", before.mappings, after.mappings);
	leaks += note(&text, &bytes, "VmLck in KiB", before.locked_kib, after.locked_kib);
	leaks += note(&text, &bytes, "VmPin in KiB", before.pinned_kib, after.pinned_kib);
	leaks += note(&text, &bytes, "free hugepages", before.hugepages_free, after.hugepages_free);
	leaks += note(&text, &bytes, "reserved hugepages", before.hugepages_reserved,
		      after.hugepages_reserved);
	return leaks;
}

/* ---- The rest ---- */

int machine_ctx_create(const struct vfb_ctx_opts *opts, struct vfb_ctx **out)
{
	return vfb_ctx_create(opts, out);
}

void machine_dma_write(struct vfb_ctx *ctx, struct vfb_space *space, struct vfb_device *device,
		       uint64_t iova)
{
	nvme_identify_to(ctx, space, device, iova);
}

uint64_t machine_free_2m(unsigned int node)
{
	char path[128];

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%u/hugepages/hugepages-2048kB/free_hugepages", node);
	return proc_number(path, NULL);
}

uint64_t machine_pool_2m(unsigned int node)
{
	char path[128];

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%u/hugepages/hugepages-2048kB/nr_hugepages", node);
	return proc_number(path, NULL);
}

unsigned int machine_workers(void)
{
	return proc_threads("vfb-n");
}

static void ignore(int signal)
{
	(void)signal;
}

/* Whoever injects an error gets a SIGBUS for it, as if it had touched the page. */
void machine_poison(void *address)
{
	struct sigaction ignored = {.sa_handler = ignore}, before_it;

	*(volatile char *)address = 1;
	sigaction(SIGBUS, &ignored, &before_it);
	if (madvise(address, 4096, MADV_HWPOISON))
		die("MADV_HWPOISON");
	sigaction(SIGBUS, &before_it, NULL);
}

bool machine_cpu_is_of_node(unsigned int cpu, unsigned int node)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/cpu%u", node, cpu);
	return !access(path, F_OK);
}
