/* SPDX-License-Identifier: MIT */
/* Files of /proc as Linux 6.12 has them, whole: what reads them must find its line among all. */
#include <inttypes.h>
#include <unistd.h>

#include "sysfs.h"

/* ---- Memory ---- */

static const char *const meminfo_names[] = {
	"MemTotal",	 "MemFree",	    "MemAvailable",   "Buffers",	"Cached",
	"SwapCached",	 "Active",	    "Inactive",	      "Active(anon)",	"Inactive(anon)",
	"Active(file)",	 "Inactive(file)",  "Unevictable",    "Mlocked",	"SwapTotal",
	"SwapFree",	 "Zswap",	    "Zswapped",	      "Dirty",		"Writeback",
	"AnonPages",	 "Mapped",	    "Shmem",	      "KReclaimable",	"Slab",
	"SReclaimable",	 "SUnreclaim",	    "KernelStack",    "PageTables",	"SecPageTables",
	"NFS_Unstable",	 "Bounce",	    "WritebackTmp",   "CommitLimit",	"Committed_AS",
	"VmallocTotal",	 "VmallocUsed",	    "VmallocChunk",   "Percpu",		"HardwareCorrupted",
	"AnonHugePages", "ShmemHugePages",  "ShmemPmdMapped", "FileHugePages",	"FilePmdMapped",
	"Unaccepted",	 "HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp",
	"Hugepagesize",	 "Hugetlb",	    "DirectMap4k",    "DirectMap2M",	"DirectMap1G",
};

static uint64_t meminfo_value(struct fake *fake, const char *name)
{
	uint64_t kilobytes = fk_page(fake) / FAKE_KIB;
	uint64_t total = kilobytes * fk_sum_nodes(fake, -1, POOL_BASE, true);
	uint64_t free = kilobytes * fk_sum_nodes(fake, -1, POOL_BASE, false);

	if (!strcmp(name, "MemFree") || !strcmp(name, "MemAvailable"))
		return free;
	if (!strcmp(name, "MemTotal") || !strcmp(name, "DirectMap1G"))
		return total;
	if (!strcmp(name, "HugePages_Total"))
		return fk_sum_nodes(fake, -1, POOL_2M, true);
	if (!strcmp(name, "HugePages_Free"))
		return fk_sum_nodes(fake, -1, POOL_2M, false);
	if (!strcmp(name, "HugePages_Rsvd"))
		return fake->reserved[POOL_2M];
	if (!strcmp(name, "Hugepagesize"))
		return fk_pool_page(fake, POOL_2M) / FAKE_KIB;
	if (!strcmp(name, "VmallocTotal"))
		return UINT64_C(34359738367);
	return 0;
}

static int meminfo(struct fake *fake, struct text *text)
{
	for (size_t i = 0; i < ARRAY_SIZE(meminfo_names); i++) {
		const char *name = meminfo_names[i];
		int width = 23 - (int)strlen(name);

		fk_put(text, "%s:%*" PRIu64 "%s\n", name, width, meminfo_value(fake, name),
		       after(name, "HugePages_") ? "" : " kB");
	}
	return SYSFS_TEXT;
}

/* drivers/base/node.c, node_read_meminfo() */
void fk_proc_node_meminfo(struct fake *fake, unsigned int number, struct text *text)
{
	static const char *const rest[] = {
		"SwapCached",	  "Active",	   "Inactive",	     "Active(anon)",
		"Inactive(anon)", "Active(file)",  "Inactive(file)", "Unevictable",
		"Mlocked",	  "Dirty",	   "Writeback",	     "FilePages",
		"Mapped",	  "AnonPages",	   "Shmem",	     "KernelStack",
		"PageTables",	  "SecPageTables", "NFS_Unstable",   "Bounce",
		"WritebackTmp",	  "KReclaimable",  "Slab",	     "SReclaimable",
		"SUnreclaim",	  "AnonHugePages", "ShmemHugePages", "ShmemPmdMapped",
		"FileHugePages",  "FilePmdMapped", "Unaccepted",
	};
	const struct node *node = &fake->nodes[number];
	uint64_t kilobytes = fk_page(fake) / FAKE_KIB;
	uint64_t total = kilobytes * node->total[POOL_BASE];
	uint64_t free = kilobytes * node->free[POOL_BASE];

	fk_put(text, "Node %u MemTotal:       %8" PRIu64 " kB\n", number, total);
	fk_put(text, "Node %u MemFree:        %8" PRIu64 " kB\n", number, free);
	fk_put(text, "Node %u MemUsed:        %8" PRIu64 " kB\n", number, total - free);
	for (size_t i = 0; i < ARRAY_SIZE(rest); i++)
		fk_put(text, "Node %u %s:%*d kB\n", number, rest[i], 23 - (int)strlen(rest[i]), 0);
	fk_put(text, "Node %u HugePages_Total: %5" PRIu64 "\n", number, node->total[POOL_2M]);
	fk_put(text, "Node %u HugePages_Free:  %5" PRIu64 "\n", number, node->free[POOL_2M]);
	fk_put(text, "Node %u HugePages_Surp:  %5d\n", number, 0);
}

/* ---- The process ---- */

static const char status_head[] =
	"Name:\tfake\nUmask:\t0022\nState:\tR (running)\nTgid:\t100\nNgid:\t0\nPid:\t100\n"
	"PPid:\t1\nTracerPid:\t0\n";

static char groups[2000 * 8 + 1];

static void make_groups(void)
{
	struct text text = {groups, sizeof(groups)};

	for (unsigned int group = 1000000; group < 1002000; group++)
		fk_put(&text, "%u ", group);
}

/* As many as a user may be in: the line is longer than what reads it can know. */
static void put_groups(struct text *text)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make_groups);
	fk_put(text, "Groups:\t%s\n", groups);
}

static void put_status_memory(struct fake *fake, struct text *text)
{
	fk_put(text, "NStgid:\t100\nNSpid:\t100\nNSpgid:\t100\nNSsid:\t100\nKthread:\t0\n"
		     "VmPeak:\t    4096 kB\nVmSize:\t    4096 kB\n");
	fk_put(text, "VmLck:\t%8" PRIu64 " kB\n", fake->locked_vm / 1024);
	fk_put(text, "VmPin:\t%8" PRIu64 " kB\n", fake->pinned_vm / 1024);
	fk_put(text, "VmHWM:\t    4096 kB\nVmRSS:\t    4096 kB\nRssAnon:\t    1024 kB\n"
		     "RssFile:\t    3072 kB\nRssShmem:\t       0 kB\nVmData:\t    1024 kB\n"
		     "VmStk:\t     132 kB\nVmExe:\t     128 kB\nVmLib:\t    2048 kB\n"
		     "VmPTE:\t      48 kB\nVmSwap:\t       0 kB\nHugetlbPages:\t       0 kB\n"
		     "CoreDumping:\t0\nTHP_enabled:\t1\nuntag_mask:\t0xffffffffffffffff\n");
}

static void put_allowed_nodes(struct fake *fake, struct text *text)
{
	const char *comma = "";

	if (!fake->config.cpuset_mems)
		fk_put(text, "0-%d", FAKE_NODES - 1);
	for (int n = 0; n < FAKE_NODES; n++) {
		if (!(fake->config.cpuset_mems & 1u << n))
			continue;
		fk_put(text, "%s%d", comma, n);
		comma = ",";
	}
}

static int status(struct fake *fake, struct text *text)
{
	/* CAP_IPC_LOCK, CAP_DAC_OVERRIDE. */
	uint64_t caps = (fake->config.cap_ipc_lock ? UINT64_C(1) << 14 : 0) |
			(fake->config.uid ? 0 : UINT64_C(1) << 1);

	unsigned int uid = fake->config.uid;

	fk_put(text, "%sUid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\nFDSize:\t256\n", status_head,
	       uid, uid, uid, uid, uid, uid, uid, uid);
	put_groups(text);
	put_status_memory(fake, text);
	fk_put(text,
	       "Threads:\t1\nSigQ:\t0/96365\nSigPnd:\t%016d\nShdPnd:\t%016d\nSigBlk:\t%016d\n"
	       "SigIgn:\t%016d\nSigCgt:\t%016d\nCapInh:\t%016d\n",
	       0, 0, 0, 0, 0, 0);
	fk_put(text, "CapPrm:\t%016" PRIx64 "\nCapEff:\t%016" PRIx64 "\n", caps, caps);
	fk_put(text,
	       "CapBnd:\t000001ffffffffff\nCapAmb:\t%016d\nNoNewPrivs:\t0\nSeccomp:\t%d\n"
	       "Seccomp_filters:\t0\nSpeculation_Store_Bypass:\tvulnerable\n"
	       "SpeculationIndirectBranch:\talways enabled\nCpus_allowed:\tff\n",
	       0, fake->config.has_filter ? 2 : 0);
	fk_put(text, "Cpus_allowed_list:\t");
	fk_put_cpus(text, &fk_thread_self(fake)->cpus);
	fk_put(text, "Mems_allowed:\t");
	for (int i = 0; i < 31; i++)
		fk_put(text, "00000000,");
	fk_put(text, "0000ffff\nMems_allowed_list:\t");
	put_allowed_nodes(fake, text);
	fk_put(text, "\nvoluntary_ctxt_switches:\t0\n"
		     "nonvoluntary_ctxt_switches:\t0\nx86_Thread_features:\t\n"
		     "x86_Thread_features_locked:\t\n");
	return SYSFS_TEXT;
}

/* A host where version 1 still has some controllers. The process is in /vm.slice of version 2. */
static const char cgroup[] =
	"9:name=systemd:/system.slice/virtualization-host-guests.service\n8:pids:/vm.slice\n"
	"7:blkio:/vm.slice\n6:freezer:/\n5:devices:/vm.slice\n4:net_cls,net_prio:/\n"
	"3:perf_event:/\n0::/vm.slice\n";

static const char mountinfo[] =
	"22 28 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw\n"
	"23 28 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw\n"
	"24 28 0:5 / /dev rw,nosuid,relatime shared:2 - devtmpfs udev rw,size=12334460k,"
	"nr_inodes=3083615,mode=755,inode64\n"
	"25 24 0:23 / /dev/pts rw,nosuid,noexec,relatime shared:3 - devpts devpts rw,gid=5,"
	"mode=620,ptmxmode=000\n"
	"28 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n"
	"30 22 0:6 / /sys/kernel/security rw,nosuid,nodev,noexec,relatime shared:8 - securityfs "
	"securityfs rw\n"
	"32 22 0:27 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 "
	"rw,nsdelegate,memory_recursiveprot\n"
	"36 24 0:31 / /dev/hugepages rw,relatime shared:16 - hugetlbfs hugetlbfs rw,pagesize=2M\n";

static const char swaps[] = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

static const char interrupts[] =
	"           CPU0       CPU1\n  0:        120          0  %sIO-APIC    2-edge      timer\n"
	" 24:          0       9821  %sPCI-MSIX-0000:00:1f.2    0-edge      ahci[0000:00:1f.2]\n";

/* ---- Other processes ---- */

void fake_hold(struct fake *fake, int pid, const char *name, const char *path)
{
	struct hold *hold = &fake->holds[fake->hold_count++];

	if (fake->hold_count > ARRAY_SIZE(fake->holds))
		abort();
	hold->pid = pid;
	snprintf(hold->name, sizeof(hold->name), "%s", name);
	snprintf(hold->path, sizeof(hold->path), "%s", path);
}

void fake_hold_node(struct fake *fake, int pid, const char *name, const struct vfb_node *node)
{
	fake_hold(fake, pid, name, "/tmp/node");
	fake->holds[fake->hold_count - 1].is_node = true;
	fake->holds[fake->hold_count - 1].node = *node;
}

/* A node below /dev/vfio/devices. */
static int own_node(struct fake *fake, int fd, struct vfb_sys_path *info)
{
	*info = (struct vfb_sys_path){.is_node = true, .major = 511};
	if ((size_t)fd >= fake->file_room || !fake->files[fd] ||
	    sscanf(fake->files[fd]->path, "/dev/vfio/devices/vfio%u", &info->minor) != 1)
		info->is_node = false;
	return 0;
}

int fk_proc_node(struct fake *fake, const char *path, struct vfb_sys_path *info)
{
	int pid, fd;

	if (sscanf(path, "/proc/%d/fd/%d", &pid, &fd) != 2)
		return -ENOENT;
	if (pid == fake->process)
		return own_node(fake, fd, info);
	*info = (struct vfb_sys_path){0};
	for (size_t i = 0; i < fake->hold_count; i++) {
		if (fake->holds[i].pid != pid || !fake->holds[i].is_node)
			continue;
		info->is_node = true;
		info->is_block = fake->holds[i].node.is_block;
		info->major = fake->holds[i].node.major;
		info->minor = fake->holds[i].node.minor;
	}
	return 0;
}

static int list_processes(struct fake *fake, struct text *text)
{
	fk_put(text, "cpuinfo\nself\n%d\n", fake->process);
	for (size_t i = 0; i < fake->hold_count; i++)
		fk_put(text, "%d\n", fake->holds[i].pid);
	return SYSFS_DIR;
}

static int own_file(struct fake *fake, const char *fd, struct text *text)
{
	if (!*fd) {
		for (size_t i = 0; i < fake->file_room; i++)
			if (fake->files[i])
				fk_put(text, "%zu\n", i);
		return SYSFS_DIR;
	}
	if ((size_t)atoi(fd) >= fake->file_room || !fake->files[atoi(fd)])
		return SYSFS_NONE;
	fk_put(text, "%s", fake->files[atoi(fd)]->path);
	return SYSFS_LINK;
}

/* fd, fd/N and comm of a process; each that holds a file has only that. */
static int process_path(struct fake *fake, int pid, const char *path, struct text *text)
{
	const struct hold *hold = NULL;
	const char *fd = after(path, "/fd");

	for (size_t i = 0; i < fake->hold_count && !hold; i++)
		if (fake->holds[i].pid == pid)
			hold = &fake->holds[i];
	if (fd && pid == fake->process)
		return own_file(fake, *fd ? fd + 1 : fd, text);
	if (!hold)
		return SYSFS_NONE;
	if (!strcmp(path, "/comm")) {
		fk_put(text, "%s\n", hold->name);
		return SYSFS_TEXT;
	}
	if (!fd)
		return SYSFS_NONE;
	fk_put(text, "%s", *fd ? hold->path : "0\n");
	return *fd ? SYSFS_LINK : SYSFS_DIR;
}

int fk_sysfs_proc(struct fake *fake, const char *path, struct text *text)
{
	int pid, end = 0;

	if (!strcmp(path, "/proc"))
		return list_processes(fake, text);
	if (sscanf(path, "/proc/%d%n", &pid, &end) == 1 && end)
		return process_path(fake, pid, path + end, text);
	if (!strcmp(path, "/proc/self/status") || !strcmp(path, "/proc/thread-self/status"))
		return status(fake, text);
	if (!strcmp(path, "/proc/meminfo"))
		return meminfo(fake, text);
	if (!strcmp(path, "/proc/self/ns/user")) {
		fk_put(text, "user:[%u]", fake->config.user_namespace ? 4026532001U : 4026531837U);
		return SYSFS_LINK;
	}
	if (!strcmp(path, "/proc/self/uid_map") && fake->config.user_namespace)
		fk_put(text, "         0       1000          1\n");
	else if (!strcmp(path, "/proc/self/uid_map"))
		fk_put(text, "         0          0 4294967295\n");
	else if (!strcmp(path, "/proc/self/cgroup"))
		fk_put(text, "%s", cgroup);
	else if (!strcmp(path, "/proc/self/mountinfo"))
		fk_put(text, "%s", mountinfo);
	else if (!strcmp(path, "/proc/interrupts"))
		fk_put(text, interrupts, fake->config.no_remapping ? "" : "IR-",
		       fake->config.no_remapping ? "" : "IR-");
	else if (!strcmp(path, "/proc/swaps"))
		fk_put(text, "%s", swaps);
	else
		return SYSFS_NONE;
	return SYSFS_TEXT;
}
