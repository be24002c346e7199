/* SPDX-License-Identifier: MIT */
/* One errno, several causes: the text names the one that there is evidence of. */
#include <sys/mman.h>

#include "host.h"

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

#define BYTES (4 * MIB)

/* A mapping of the caller's, with a hole of one page at 2 MiB when @hole is set. */
static char *map_pages(struct host *host, int prot, int fd, bool hole)
{
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	void *address, *part;

	assert_ok(host->sys->mmap(host->sys, NULL, BYTES, PROT_READ | PROT_WRITE, flags, fd, 0,
				  &address));
	if (prot != (PROT_READ | PROT_WRITE))
		assert_ok(host->sys->mmap(host->sys, (char *)address + 2 * MIB, 2 * MIB, prot,
					  flags | MAP_FIXED, fd, 2 * MIB, &part));
	if (hole)
		assert_ok(host->sys->munmap(host->sys, (char *)address + 2 * MIB, 4 * KIB));
	return address;
}

static void unmap_pages(struct host *host, char *address, bool hole)
{
	if (hole) {
		assert_ok(host->sys->munmap(host->sys, address, 2 * MIB));
		assert_ok(host->sys->munmap(host->sys, address + 2 * MIB + 4 * KIB,
					    2 * MIB - 4 * KIB));
	} else {
		assert_ok(host->sys->munmap(host->sys, address, BYTES));
	}
}

static struct vfb_memory *adopt(struct host *host, void *address, int fd, uint32_t flags)
{
	struct vfb_memory_adopt_opts opts = VFB_MEMORY_ADOPT_OPTS_INIT;
	struct vfb_memory *memory;

	opts.address = address;
	opts.bytes = BYTES;
	opts.flags = flags | (fd >= 0 ? VFB_MEMORY_ADOPT_HAS_FD : 0);
	opts.fd = fd;
	assert_ok(vfb_memory_adopt(host->ctx, &opts, &memory));
	return memory;
}

static int make_file(struct host *host, uint64_t bytes)
{
	int fd = host->sys->memfd_create(host->sys, "test", 0);

	assert_true(fd >= 0);
	assert_ok(host->sys->ftruncate(host->sys, fd, bytes));
	return fd;
}

/* What of a mapping keeps it from being populated, and from being mapped unpopulated. */
static void test_mapping(void **state)
{
	static const struct {
		int prot;
		bool hole;
		int populate;
		const char *word;
	} cases[] = {
		{PROT_READ | PROT_WRITE, true, -EFAULT, "mapped"},
		{PROT_NONE, false, -EACCES, "PROT_NONE"},
		{PROT_READ, false, -EACCES, "read-only"},
	};

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		struct vfb_range range = {.bytes = BYTES, .iova = GIB};
		struct vfb_device *device;
		struct host host;
		char at[32], *address;

		host_start(&host, NULL, backends[i % 2], 1, &device);
		address = map_pages(&host, cases[i / 2].prot, -1, cases[i / 2].hole);
		snprintf(at, sizeof(at), "0x%lx", (unsigned long)(address + 2 * MIB));
		range.memory = adopt(&host, address, -1, 0);
		assert_fails(vfb_memory_populate(range.memory), cases[i / 2].populate,
			     cases[i / 2].word, at);
		assert_fails(vfb_space_map(host.space, &range, 1, NULL), cases[i / 2].populate,
			     cases[i / 2].word, at);
		assert_ok(vfb_memory_destroy(range.memory));
		range.memory = adopt(&host, address, -1, VFB_MEMORY_ADOPT_POPULATED);
		assert_fails(vfb_space_map(host.space, &range, 1, NULL), -EFAULT, "cannot map",
			     cases[i / 2].word, at);
		assert_int_equal(stats_of(&host).mappings, 0);
		/* To be read, it need not be writable. */
		range.flags = VFB_RANGE_READ;
		if (cases[i / 2].prot == PROT_READ) {
			assert_ok(vfb_space_map(host.space, &range, 1, NULL));
			assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
		}
		assert_ok(vfb_memory_destroy(range.memory));
		unmap_pages(&host, address, cases[i / 2].hole);
		vfb_device_close(device);
		host_close(&host);
	}
}

/* Its file was shrunk after it was adopted, or is known by the path of the mapping only. */
static void test_short_file(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_range range = {.bytes = BYTES, .iova = GIB};
		struct vfb_device *device;
		struct host host;
		char *address;
		int fd;

		host_start(&host, NULL, backends[b], 1, &device);
		fd = make_file(&host, BYTES);
		address = map_pages(&host, PROT_READ | PROT_WRITE, fd, false);
		range.memory = adopt(&host, address, fd, 0);
		assert_ok(host.sys->ftruncate(host.sys, fd, 3 * MIB));
		assert_fails(vfb_memory_populate(range.memory), -EFAULT,
			     "/memfd:", "has only 3145728 bytes", "ftruncate");
		assert_ok(host.sys->ftruncate(host.sys, fd, BYTES));
		assert_ok(vfb_memory_populate(range.memory));
		assert_ok(vfb_memory_destroy(range.memory));
		unmap_pages(&host, address, false);
		host.sys->close(host.sys, fd);
		vfb_device_close(device);
		host_close(&host);
	}
}

/* A BAR that the caller has mapped, and maps as if it were memory: type1 can do that. */
static void test_bar(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_range range = {.bytes = BYTES, .iova = GIB};
		struct fake_device card = {
			.address = addresses[0],
			.group = 1,
			.driver = "vfio-pci",
			.bars = {{.bytes = BYTES}},
		};
		struct vfb_device *device;
		struct host host;
		void *bar;

		host_open(&host, NULL);
		fake_add_device(host.fake, &card);
		host_space(&host, backends[b]);
		open_devices(&host, 1, &device);
		assert_ok(vfb_region_map(device, 0, NULL, &bar));
		range.memory = adopt(&host, bar, -1, 0);
		assert_fails(vfb_memory_populate(range.memory), -EFAULT, "region of a device",
			     "vfb_bars_map()");
		assert_ok(vfb_memory_destroy(range.memory));
		range.memory = adopt(&host, bar, -1, VFB_MEMORY_ADOPT_POPULATED);
		if (backends[b] == VFB_BACKEND_TYPE1) {
			assert_ok(vfb_space_map(host.space, &range, 1, NULL));
			assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
		} else {
			assert_fails(vfb_space_map(host.space, &range, 1, NULL), -EFAULT,
				     "region of a device", "vfb_bars_map()", "peer-to-peer");
		}
		assert_ok(vfb_memory_destroy(range.memory));
		vfb_device_close(device);
		host_close(&host);
	}
}

/* What is mapped there can be neither populated nor pinned. */
static void test_special(void **state)
{
	static const struct {
		const char *path, *word;
	} cases[] = {
		{"/secretmem (deleted)", "neither populates nor pins"},
		{"anon_inode:[perf_event]", "neither populates nor pins"},
		{"/sys/devices/pci0000:00/0000:00:02.0/resource2", "region of a device"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vfb_memory *memory;
		struct host host;
		char maps[160], *address;

		host_open(&host, NULL);
		address = map_pages(&host, PROT_READ | PROT_WRITE, -1, false);
		memory = adopt(&host, address, -1, 0);
		snprintf(maps, sizeof(maps), "%lx-%lx rw-s 00000000 00:05 1234  %s\n",
			 (unsigned long)address, (unsigned long)(address + BYTES), cases[i].path);
		fake_add_file(host.fake, "/proc/self/maps", maps);
		fake_fail_call(host.fake, "madvise", 1, EFAULT);
		assert_fails(vfb_memory_populate(memory), -EFAULT, cases[i].path, cases[i].word);
		assert_ok(vfb_memory_destroy(memory));
		unmap_pages(&host, address, false);
		host_close(&host);
	}
}

/* Huge pages: the node's pool is empty, a cgroup's limit of version 1 or 2 is reached, or neither
 * is to be seen. */
static void test_hugepages(void **state)
{
	struct vfb_memory_opts opts = {.size = sizeof(opts),
				       .bytes = BYTES,
				       .page_size = VFB_PAGE_2M,
				       .policy = VFB_NUMA_BIND,
				       .nodes = (unsigned int[]){1},
				       .node_count = 1};
	struct vfb_memory *memory, *other;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.nodes = 2, .pages_2m = {8, 2}});
	assert_ok(vfb_memory_create(host.ctx, &opts, &memory));
	assert_ok(vfb_memory_create(host.ctx, &opts, &other));
	assert_ok(vfb_memory_populate(other));
	assert_fails(vfb_memory_populate(memory), -ENOMEM, "out of free pages of 2 MiB on node 1",
		     "nr_hugepages");
	assert_ok(vfb_memory_destroy(other));
	fake_fail_call(host.fake, "madvise", 1, EFAULT);
	assert_fails(vfb_memory_populate(memory), -ENOMEM, "2 of them are free", "possible causes",
		     "cpuset (0-15)");
	fake_add_file(host.fake, "/proc/self/cgroup", "4:hugetlb:/guest\n0::/vm.slice\n");
	fake_add_file(host.fake, "/sys/fs/cgroup/hugetlb/guest/hugetlb.2MB.limit_in_bytes",
		      "4194304\n");
	fake_add_file(host.fake, "/sys/fs/cgroup/hugetlb/guest/hugetlb.2MB.usage_in_bytes",
		      "4194304\n");
	fake_fail_call(host.fake, "madvise", 1, EFAULT);
	assert_fails(vfb_memory_populate(memory), -ENOMEM,
		     "hugetlb.2MB.limit_in_bytes allows 4 MiB", "0 bytes are left");
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

/* Why addresses cannot be had. */
static void test_addresses(void **state)
{
	static const struct {
		const char *path, *text;
		enum vfb_page_size page_size;
		int error;
		const char *words[2];
	} cases[] = {
		{"/proc/sys/vm/max_map_count",
		 "1\n",
		 VFB_PAGE_4K,
		 ENOMEM,
		 {"vm.max_map_count allows 1", "sysctl"}},
		{"/proc/self/limits",
		 "Max address space         8388608 unlimited bytes\n",
		 VFB_PAGE_4K,
		 ENOMEM,
		 {"RLIMIT_AS allows the process 8 MiB", "ulimit -v"}},
		{"/proc/sys/vm/overcommit_memory",
		 "2\n",
		 VFB_PAGE_4K,
		 ENOMEM,
		 {"vm.overcommit_memory is 2", "overcommit_ratio"}},
		{"/nothing", "", VFB_PAGE_4K, EAGAIN, {"mlockall", "RLIMIT_MEMLOCK"}},
		{"/nothing", "", VFB_PAGE_4K, ENOMEM, {"Cannot allocate memory"}},
	};
	struct vfb_memory_opts opts = {.size = sizeof(opts), .bytes = 16 * MIB};
	struct vfb_memory *memory;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct host host;

		host_open(&host, NULL);
		fake_add_file(host.fake, cases[i].path, cases[i].text);
		fake_fail_call(host.fake, "mmap", 1, cases[i].error);
		opts.page_size = cases[i].page_size;
		assert_fails(vfb_memory_create(host.ctx, &opts, &memory), -cases[i].error,
			     "cannot map 1", cases[i].words[0], cases[i].words[1]);
		assert_null(memory);
		host_close(&host);
	}
}

/* The errno of a map call, and what is to be seen then. */
static void test_map(void **state)
{
	static const struct {
		struct fake_config config;
		const char *call;
		int error;
		enum vfb_backend backend;
		const char *words[3];
	} cases[] = {
		{{.memlock = GIB},
		 "VFIO_IOMMU_MAP_DMA",
		 ENOMEM,
		 VFB_BACKEND_TYPE1,
		 {"RLIMIT_MEMLOCK of 1 GiB", "VmLck", "out of memory, or"}},
		{{.memlock = GIB},
		 "IOMMU_IOAS_MAP",
		 ENOMEM,
		 VFB_BACKEND_IOMMUFD,
		 {"RLIMIT_MEMLOCK of 1 GiB", "VmPin", "other processes of the user"}},
		{{.memlock = GIB, .cap_ipc_lock = true},
		 "IOMMU_IOAS_MAP",
		 ENOMEM,
		 VFB_BACKEND_IOMMUFD,
		 {"no RLIMIT_MEMLOCK applies", "memory.max"}},
		{{0},
		 "VFIO_IOMMU_MAP_DMA",
		 ENOMEM,
		 VFB_BACKEND_TYPE1,
		 {"no RLIMIT_MEMLOCK applies"}},
		{{0},
		 "VFIO_IOMMU_MAP_DMA",
		 EFAULT,
		 VFB_BACKEND_TYPE1,
		 {"mapped and accessible", "possible causes"}},
		{{0}, "VFIO_IOMMU_MAP_DMA", ENOSPC, VFB_BACKEND_TYPE1, {"No space left"}},
		{{0}, "VFIO_IOMMU_MAP_DMA", EINVAL, VFB_BACKEND_TYPE1, {"Invalid argument"}},
		{{0}, "IOMMU_IOAS_MAP", EEXIST, VFB_BACKEND_IOMMUFD, {"does not know of"}},
		{{0}, "IOMMU_IOAS_MAP", EIO, VFB_BACKEND_IOMMUFD, {"Input/output error"}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vfb_range range = {.bytes = BYTES, .iova = GIB};
		struct vfb_device *device;
		struct host host;

		host_start(&host, &cases[i].config, cases[i].backend, 1, &device);
		range.memory = make_memory(&host, BYTES, VFB_PAGE_4K);
		fake_fail_call(host.fake, cases[i].call, 1, cases[i].error);
		assert_fails(vfb_space_map(host.space, &range, 1, NULL), -cases[i].error,
			     "cannot map 4 MiB at IOVA 0x40000000", cases[i].words[0],
			     cases[i].words[1], cases[i].words[2]);
		assert_ok(vfb_space_map(host.space, &range, 1, NULL));
		host_end(&host, device, range.memory);
	}
}

/* A capability of another user namespace lifts no limit of the kernel's. */
static void test_user_namespace(void **state)
{
	const struct fake_config config = {.memlock = 2 * MIB, .cap_ipc_lock = true};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_range range = {.bytes = 32 * MIB, .iova = GIB};
		struct vfb_device *device;
		struct host host;

		host_start(&host, &config, backends[b], 1, &device);
		range.memory = make_memory(&host, range.bytes, VFB_PAGE_4K);
		fake_add_file(host.fake, "/proc/self/ns/user", "user:[4026532284]");
		assert_fails(vfb_space_map(host.space, &range, 1, NULL), -ENOMEM, "RLIMIT_MEMLOCK",
			     "2 MiB");
		vfb_device_close(device);
		assert_ok(vfb_memory_destroy(range.memory));
		host_close(&host);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mapping),	  cmocka_unit_test(test_short_file),
		cmocka_unit_test(test_bar),	  cmocka_unit_test(test_special),
		cmocka_unit_test(test_hugepages), cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_map),	  cmocka_unit_test(test_user_namespace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
