/* SPDX-License-Identifier: MIT */
/*
 * What the errors say on a real kernel when memory or devices cannot be had, each for one cause of
 * an errno that has several. Prints "CASE: TEXT", and fails if a text does not name the cause. Uses
 * the public interface only, so that it also shows what an older library says.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vfioboost.h>

#define MIB   (UINT64_C(1) << 20)
#define BYTES (4 * MIB)
#define IOVA  (UINT64_C(1) << 30)

/* The devices, and one whose BAR 2 is memory, "" if there is none. */
static const char *device, *bar;
static enum vfb_backend backend;

static struct vfb_ctx *make_ctx(void)
{
	struct vfb_ctx *ctx;

	if (vfb_ctx_create(NULL, &ctx))
		exit(2);
	return ctx;
}

static void *map_anonymous(int prot)
{
	void *address = mmap(NULL, BYTES, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (address == MAP_FAILED)
		exit(2);
	return address;
}

static struct vfb_memory *adopt(struct vfb_ctx *ctx, void *address, uint64_t bytes, int fd,
				uint32_t flags)
{
	struct vfb_memory_adopt_opts opts = VFB_MEMORY_ADOPT_OPTS_INIT;
	struct vfb_memory *memory;

	opts.address = address;
	opts.bytes = bytes;
	opts.fd = fd;
	opts.flags = flags | (fd >= 0 ? VFB_MEMORY_ADOPT_HAS_FD : 0);
	return vfb_memory_adopt(ctx, &opts, &memory) ? NULL : memory;
}

static struct vfb_space *make_space(struct vfb_ctx *ctx, const char *address,
				    struct vfb_device **out)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_space *space;

	opts.backend = backend;
	if (vfb_space_create(ctx, &opts, &space) || vfb_device_open(space, address, out)) {
		printf("cannot open %s: %s\n", address, vfb_last_error());
		exit(2);
	}
	return space;
}

/* ---- Populating ---- */

static int populate_protected(int prot)
{
	return vfb_memory_populate(adopt(make_ctx(), map_anonymous(prot), BYTES, -1, 0));
}

static int populate_no_access(void)
{
	return populate_protected(PROT_NONE);
}

static int populate_read_only(void)
{
	return populate_protected(PROT_READ);
}

static int populate_hole(void)
{
	char *address = map_anonymous(PROT_READ | PROT_WRITE);

	munmap(address + MIB, 4096);
	return vfb_memory_populate(adopt(make_ctx(), address, BYTES, -1, 0));
}

static int populate_file(int fd, uint64_t shrink)
{
	struct vfb_memory *memory;
	void *address;

	if (fd < 0 || ftruncate(fd, BYTES))
		exit(2);
	address = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	/* By address alone, as if the caller had no file. */
	memory = adopt(make_ctx(), address, BYTES, -1, 0);
	if (shrink && ftruncate(fd, shrink))
		exit(2);
	return vfb_memory_populate(memory);
}

static int populate_short_file(void)
{
	return populate_file(memfd_create("short", 0), MIB);
}

static int populate_full_tmpfs(void)
{
	int result;

	mkdir("/tmp/full", 0700);
	if (mount("tmpfs", "/tmp/full", "tmpfs", 0, "size=1M"))
		exit(2);
	result = populate_file(open("/tmp/full/memory", O_RDWR | O_CREAT, 0600), 0);
	umount2("/tmp/full", MNT_DETACH);
	return result;
}

/* ---- Limits ---- */

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		exit(2);
	close(fd);
}

static int create(uint64_t bytes, enum vfb_page_size page_size)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory *memory;

	opts.bytes = bytes;
	opts.page_size = page_size;
	return vfb_memory_create(make_ctx(), &opts, &memory);
}

static int create_max_map_count(void)
{
	struct vfb_ctx *ctx = make_ctx();
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory *memory;

	opts.bytes = BYTES;
	opts.page_size = VFB_PAGE_4K;
	/* As many as the kernel allows, by alternating protections. */
	write_text("/proc/sys/vm/max_map_count", "400");
	for (int i = 0; i < 400; i++)
		if (mmap(NULL, 4096, i % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0) == MAP_FAILED)
			break;
	return vfb_memory_create(ctx, &opts, &memory);
}

static int create_address_space(void)
{
	struct vfb_ctx *ctx = make_ctx();
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory *memory;
	struct rlimit limit = {256 * MIB, 256 * MIB};

	opts.bytes = 1024 * MIB;
	opts.page_size = VFB_PAGE_4K;
	setrlimit(RLIMIT_AS, &limit);
	return vfb_memory_create(ctx, &opts, &memory);
}

static int create_huge(void)
{
	return create(64 * MIB, VFB_PAGE_2M);
}

/* ---- Mapping for a device ---- */

static int map_memory(void *address, uint64_t bytes)
{
	struct vfb_ctx *ctx = make_ctx();
	struct vfb_device *opened;
	struct vfb_space *space = make_space(ctx, device, &opened);
	struct vfb_range range = {
		.memory = adopt(ctx, address, bytes, -1, VFB_MEMORY_ADOPT_POPULATED),
		.bytes = bytes,
		.iova = IOVA,
	};

	return vfb_space_map(space, &range, 1, NULL);
}

static int map_no_access(void)
{
	return map_memory(map_anonymous(PROT_NONE), BYTES);
}

static int map_read_only(void)
{
	return map_memory(map_anonymous(PROT_READ), BYTES);
}

static int map_hole(void)
{
	char *address = map_anonymous(PROT_READ | PROT_WRITE);

	munmap(address + MIB, 4096);
	return map_memory(address, BYTES);
}

static int map_short_file(void)
{
	int fd = memfd_create("short", 0);
	void *address;

	if (ftruncate(fd, BYTES))
		exit(2);
	address = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (ftruncate(fd, MIB))
		exit(2);
	return map_memory(address, BYTES);
}

/* By address, as a VMM does for peer-to-peer DMA. */
static int map_bar(void)
{
	struct vfb_ctx *ctx = make_ctx();
	struct vfb_region_info info = VFB_REGION_INFO_INIT;
	struct vfb_range range = {.iova = IOVA};
	struct vfb_device *opened;
	struct vfb_space *space = make_space(ctx, bar, &opened);
	void *address;

	if (vfb_region_info(opened, 2, &info) || vfb_region_map(opened, 2, NULL, &address))
		exit(2);
	range.bytes = info.bytes;
	range.memory = adopt(ctx, address, info.bytes, -1, VFB_MEMORY_ADOPT_POPULATED);
	return vfb_space_map(space, &range, 1, NULL);
}

/* Root without the capability. */
static void drop_ipc_lock(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data))
		exit(2);
	data[0].effective &= ~(1u << CAP_IPC_LOCK);
	data[0].permitted &= ~(1u << CAP_IPC_LOCK);
	if (syscall(SYS_capset, &header, data))
		exit(2);
}

/* Small maps are not checked beforehand: the kernel refuses them. */
static int map_beyond_memlock(void)
{
	struct rlimit limit = {2 * MIB, 2 * MIB};

	setrlimit(RLIMIT_MEMLOCK, &limit);
	drop_ipc_lock();
	return map_memory(map_anonymous(PROT_READ | PROT_WRITE), BYTES);
}

static int map_beyond_width(void)
{
	struct vfb_ctx *ctx = make_ctx();
	struct vfb_device *opened;
	struct vfb_space *space = make_space(ctx, device, &opened);
	struct vfb_range range = {
		.memory = adopt(ctx, map_anonymous(PROT_READ | PROT_WRITE), BYTES, -1, 0),
		.bytes = BYTES,
		.iova = UINT64_C(1) << 56,
	};

	return vfb_space_map(space, &range, 1, NULL);
}

/* Mapped before the device is there. */
static int open_beyond_width(void)
{
	struct vfb_ctx *ctx = make_ctx();
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_range range = {.bytes = BYTES, .iova = UINT64_C(1) << 56};
	struct vfb_device *opened;
	struct vfb_space *space;

	opts.backend = backend;
	range.memory = adopt(ctx, map_anonymous(PROT_READ | PROT_WRITE), BYTES, -1, 0);
	if (vfb_space_create(ctx, &opts, &space) || vfb_space_map(space, &range, 1, NULL))
		return -1;
	return vfb_device_open(space, device, &opened);
}

/* ---- Devices ---- */

static int open_held(void)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_device *opened;
	struct vfb_space *space;
	int ready[2], result;
	pid_t holder;
	char byte;

	if (pipe(ready))
		exit(2);
	holder = fork();
	if (!holder) {
		prctl(PR_SET_NAME, "holder");
		make_space(make_ctx(), device, &opened);
		if (write(ready[1], "", 1) != 1)
			exit(2);
		pause();
	}
	opts.backend = backend;
	if (read(ready[0], &byte, 1) != 1 || vfb_space_create(make_ctx(), &opts, &space))
		exit(2);
	result = vfb_device_open(space, device, &opened);
	kill(holder, SIGKILL);
	waitpid(holder, NULL, 0);
	return result;
}

static const struct {
	const char *name;
	int (*run)(void);
	/* What the text must contain. */
	const char *word;
	/* The case needs devices; a device with a BAR of memory, and iommufd. */
	bool devices, bars;
} cases[] = {
	{"populate PROT_NONE", populate_no_access, "PROT_NONE", false, false},
	{"populate read-only", populate_read_only, "read-only", false, false},
	{"populate a hole", populate_hole, "not mapped any more", false, false},
	{"populate a short memfd", populate_short_file, "has only 1048576 bytes", false, false},
	{"populate a full tmpfs", populate_full_tmpfs, "is full", false, false},
	{"create beyond max_map_count", create_max_map_count, "max_map_count", false, false},
	{"create beyond RLIMIT_AS", create_address_space, "RLIMIT_AS", false, false},
	{"create hugepages without a pool", create_huge, "nr_hugepages", false, false},
	{"map PROT_NONE", map_no_access, "PROT_NONE", true, false},
	{"map read-only", map_read_only, "read-only", true, false},
	{"map a hole", map_hole, "nothing is mapped", true, false},
	{"map a short memfd", map_short_file, "has only 1048576 bytes", true, false},
	{"map beyond RLIMIT_MEMLOCK", map_beyond_memlock, "RLIMIT_MEMLOCK", true, false},
	{"map beyond the width", map_beyond_width, "vfb_layout()", true, false},
	{"open with memory beyond the width", open_beyond_width, "IOVAs", true, false},
	{"map a BAR by address", map_bar, "vfb_bars_map()", true, true},
	{"open a device in use", open_held, "(holder)", true, false},
};

/* In a child, since it leaves everything as it is. */
static bool run_case(size_t i, const char *way)
{
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (!child) {
		int result = cases[i].run();
		const char *text = result < 0 ? vfb_last_error() : "no error";

		printf("%s%s: %s (%s)\n", way, cases[i].name, text, strerror(-result));
		exit(strstr(text, cases[i].word) ? 0 : 1);
	}
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
		status = -1;
	else
		status = WEXITSTATUS(status);
	if (status)
		printf("FAILED: %s%s: the text lacks \"%s\"\n", way, cases[i].name, cases[i].word);
	write_text("/proc/sys/vm/max_map_count", "65530");
	return !status;
}

static bool run_cases(bool with_devices, const char *way)
{
	bool good = true;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (cases[i].devices != with_devices ||
		    (cases[i].bars && (!bar || backend != VFB_BACKEND_IOMMUFD)))
			continue;
		good = run_case(i, way) && good;
	}
	return good;
}

int main(int argc, char **argv)
{
	bool good = run_cases(false, "");

	device = argc > 1 ? argv[1] : NULL;
	bar = argc > 2 ? argv[2] : NULL;
	backend = VFB_BACKEND_TYPE1;
	if (device)
		good = run_cases(true, "type1, ") && good;
	backend = VFB_BACKEND_IOMMUFD;
	if (device && !access("/dev/iommu", F_OK))
		good = run_cases(true, "iommufd, ") && good;
	return !good;
}
