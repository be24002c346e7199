/* SPDX-License-Identifier: MIT */
/* Ranges that cannot be mapped or unmapped: errno, text, and nothing left behind. */
#include "host.h"

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

/* A space with a device and a memory of 64 MiB. */
static struct vfb_memory *open_guest(struct host *host, const struct fake_config *config,
				     enum vfb_backend backend, struct vfb_device **device)
{
	host_start(host, config, backend, 1, device);
	return make_memory(host, 64 * MIB, VFB_PAGE_4K);
}

static void close_guest(struct host *host, struct vfb_memory *memory, struct vfb_device *device)
{
	assert_int_equal(info_of(host->space).mappings, 0);
	assert_int_equal(info_of(host->space).mapped_bytes, 0);
	assert_int_equal(stats_of(host).mappings, 0);
	vfb_device_close(device);
	assert_ok(vfb_memory_destroy(memory));
	host_close(host);
}

static void test_wrong_by_itself(void **state)
{
	struct vfb_memory *other_memory;
	struct vfb_device *device;
	struct vfb_memory *memory;
	struct host host, other;

	(void)state;
	memory = open_guest(&host, NULL, VFB_BACKEND_TYPE1, &device);
	host_open(&other, NULL);
	other_memory = make_memory(&other, 2 * MIB, VFB_PAGE_4K);
	struct {
		struct vfb_range range;
		const char *words[2];
	} bad[] = {
		{{.memory = memory}, {"empty", "one page"}},
		{{.memory = memory, .bytes = 4097}, {"4097 bytes", "not aligned"}},
		{{.memory = memory, .bytes = 4096, .iova = 0x1234}, {"0x1234", "not aligned"}},
		{{.memory = memory, .bytes = 4096, .offset = 512}, {"offset 0x200", "4 KiB"}},
		{{.memory = memory, .bytes = 65 * MIB}, {"65 MiB", "the memory has 64 MiB"}},
		{{.memory = memory, .bytes = MIB, .offset = 64 * MIB}, {"beyond", "0x4000000"}},
		{{.memory = memory, .bytes = MIB, .offset = -MIB}, {"beyond", "64 MiB"}},
		{{.memory = memory, .bytes = -4096}, {"beyond", "64 MiB"}},
		{{.memory = memory, .bytes = 2 * MIB, .iova = -MIB}, {"64-bit", "2 MiB"}},
		{{.memory = memory, .bytes = MIB, .flags = 0x100},
		 {"flags 0x100", "unknown flags"}},
		{{.memory = memory, .bytes = MIB, .reserved = {0, 1}},
		 {"reserved", "unknown flags"}},
		{{.bytes = MIB}, {"no memory", "entry 0"}},
		{{.memory = other_memory, .bytes = MIB}, {"another context", "entry 0"}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct vfb_range ranges[2] = {{.memory = memory, .bytes = MIB, .iova = 4 * GIB},
					      bad[i].range};
		struct vfb_job *job = (void *)1;

		assert_fails(vfb_space_map(host.space, &bad[i].range, 1, NULL), -EINVAL, "entry 0",
			     bad[i].words[0], bad[i].words[1]);
		assert_int_equal(bad[i].range.status, -EINVAL);
		/* At once, beside a good one. */
		assert_fails(vfb_space_map_start(host.space, ranges, 2, NULL, &job), -EINVAL,
			     "entry 1", bad[i].words[0][0] == 'e' ? "" : bad[i].words[0]);
		assert_null(job);
		assert_int_equal(ranges[0].status, -ECANCELED);
		assert_int_equal(ranges[1].status, -EINVAL);
	}
	assert_int_equal(stats_of(&host).map_calls, 0);
	assert_ok(vfb_memory_destroy(other_memory));
	/* Two known fakes in one thread: the other one first. */
	host_close(&other);
	close_guest(&host, memory, device);
}

static void test_outside(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		static const uint64_t bad[] = {
			0xfee00000,
			0xfedff000,
			0xfeeff000,
			UINT64_C(1) << 48,
			(UINT64_C(1) << 48) - 4096,
			-2 * MIB,
		};
		struct vfb_device *device;
		struct host host;
		struct vfb_memory *memory = open_guest(&host, NULL, backends[b], &device);
		struct vfb_iova_range valid[4];

		assert_int_equal(vfb_space_iova_ranges(host.space, valid, 4), 2);
		assert_true(valid[0].first == 0 && valid[0].last == 0xfedfffff);
		assert_true(valid[1].first == 0xfef00000);
		assert_true(valid[1].last == (UINT64_C(1) << 48) - 1);
		assert_int_equal(vfb_space_iova_ranges(host.space, NULL, 0), 2);
		for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
			struct vfb_range range = {.memory = memory, .bytes = 8 * KIB};

			range.iova = bad[i];
			assert_fails(vfb_space_map(host.space, &range, 1, NULL), -EINVAL, "entry 0",
				     "outside", "0xfedfffff", "0xffffffffffff");
			assert_int_equal(range.status, -EINVAL);
			assert_int_equal(info_of(host.space).mappings, 0);
		}
		close_guest(&host, memory, device);
	}
}

static void test_overlap(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_device *device;
		struct host host;
		struct vfb_memory *memory = open_guest(&host, NULL, backends[b], &device);
		struct vfb_range mapped = {.memory = memory, .bytes = 8 * MIB, .iova = GIB};
		struct vfb_range ranges[2] = {mapped, mapped};

		assert_ok(vfb_space_map(host.space, &mapped, 1, NULL));
		for (int64_t shift = -4; shift <= 4; shift += 2) {
			ranges[0].iova = GIB + shift * MIB;
			ranges[0].offset = 16 * MIB;
			assert_fails(vfb_space_map(host.space, ranges, 1, NULL), -EEXIST, "entry 0",
				     "overlaps", "is mapped");
			assert_int_equal(ranges[0].status, -EEXIST);
		}
		/* In the batch. */
		ranges[0].iova = 4 * GIB + 4 * MIB;
		ranges[1].iova = 4 * GIB;
		assert_fails(vfb_space_map(host.space, ranges, 2, NULL), -EEXIST, "overlaps",
			     "another entry");
		assert_int_equal(info_of(host.space).mappings, 1);
		/* Neighbours don't overlap. */
		ranges[0].iova = GIB - 8 * MIB;
		ranges[1].iova = GIB + 8 * MIB;
		assert_ok(vfb_space_map(host.space, ranges, 2, NULL));
		/* Unmapped as a whole. */
		ranges[0].bytes = 24 * MIB;
		assert_ok(vfb_space_unmap(host.space, ranges, 1, NULL));
		close_guest(&host, memory, device);
	}
}

static void test_memlock(void **state)
{
	struct fake_config config = {.memlock = 48 * MIB};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_device *device;
		struct host host;
		struct vfb_memory *memory = open_guest(&host, &config, backends[b], &device);
		struct vfb_range range = {.memory = memory, .bytes = 64 * MIB, .iova = GIB};

		assert_fails(vfb_space_map(host.space, &range, 1, NULL), -ENOMEM, "RLIMIT_MEMLOCK",
			     "it is 48 MiB", "ulimit -l", "CAP_IPC_LOCK");
		assert_int_equal(range.status, -ENOMEM);
		assert_int_equal(stats_of(&host).pinned_bytes, 0);
		range.bytes = 48 * MIB;
		assert_ok(vfb_space_map(host.space, &range, 1, NULL));
		assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
		close_guest(&host, memory, device);
		/* The capability lifts it. */
		config.cap_ipc_lock = true;
		memory = open_guest(&host, &config, backends[b], &device);
		range = (struct vfb_range){.memory = memory, .bytes = 64 * MIB};
		assert_ok(vfb_space_map(host.space, &range, 1, NULL));
		assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
		close_guest(&host, memory, device);
		config.cap_ipc_lock = false;
	}
}

static void test_entry_limit(void **state)
{
	struct fake_config config = {.dma_entry_limit = 8};
	struct vfb_range ranges[9] = {0};
	struct vfb_device *device;
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	memory = open_guest(&host, &config, VFB_BACKEND_TYPE1, &device);
	for (uint64_t i = 0; i < 9; i++)
		ranges[i] = (struct vfb_range){.memory = memory,
					       .offset = i * 4 * MIB,
					       .bytes = 4 * MIB,
					       .iova = i * GIB / 4};
	assert_int_equal(info_of(host.space).entries_left, 8);
	assert_fails(vfb_space_map(host.space, ranges, 9, NULL), -ENOSPC, "9 ranges", "8 mappings",
		     "dma_entry_limit");
	assert_int_equal(info_of(host.space).entries_left, 8);
	assert_ok(vfb_space_map(host.space, ranges, 8, NULL));
	assert_int_equal(info_of(host.space).entries_left, 0);
	assert_fails(vfb_space_map(host.space, ranges + 8, 1, NULL), -ENOSPC, "0 mappings",
		     "dma_entry_limit");
	assert_ok(vfb_space_unmap(host.space, ranges, 1, NULL));
	assert_int_equal(info_of(host.space).entries_left, 1);
	assert_ok(vfb_space_map(host.space, ranges + 8, 1, NULL));
	assert_ok(vfb_space_unmap(host.space, ranges + 1, 8, NULL));
	assert_int_equal(info_of(host.space).entries_left, 8);
	close_guest(&host, memory, device);
	/* iommufd has none. */
	memory = open_guest(&host, &config, VFB_BACKEND_IOMMUFD, &device);
	for (size_t i = 0; i < 9; i++)
		ranges[i].memory = memory;
	assert_true(info_of(host.space).entries_left == UINT64_MAX);
	assert_ok(vfb_space_map(host.space, ranges, 9, NULL));
	assert_ok(vfb_space_unmap(host.space, ranges, 9, NULL));
	close_guest(&host, memory, device);
}

/* IOVAs of 32 bits, with the window for interrupts in them. */
static void test_no_iovas(void **state)
{
	struct fake_config config = {.iova_bits = 32};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_device *device;
		struct host host;
		struct vfb_memory *memory = open_guest(&host, &config, backends[b], &device);
		struct vfb_memory *large = make_memory(&host, 4 * GIB, VFB_PAGE_4K);
		struct vfb_range range = {.memory = large,
					  .bytes = 4 * GIB - 16 * MIB,
					  .flags = VFB_RANGE_ANY_IOVA};

		assert_fails(vfb_space_map(host.space, &range, 1, NULL), -ENOSPC, "entry 0",
			     "no free IOVAs");
		assert_int_equal(range.status, -ENOSPC);
		assert_int_equal(info_of(host.space).mappings, 0);
		range.bytes = 64 * MIB;
		range.memory = memory;
		assert_ok(vfb_space_map(host.space, &range, 1, NULL));
		assert_mapped(&host, &range);
		assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
		assert_ok(vfb_memory_destroy(large));
		close_guest(&host, memory, device);
	}
}

static void test_unmap(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_device *device;
		struct host host;
		struct vfb_memory *memory = open_guest(&host, NULL, backends[b], &device);
		struct vfb_range ranges[3];
		struct vfb_range mapped = {.memory = memory, .bytes = 8 * MIB, .iova = GIB};
		static const struct {
			uint64_t iova, bytes;
			int error;
			const char *word;
		} bad[] = {
			{GIB, 0, -EINVAL, "empty"},
			{-4096, 8192, -EINVAL, "64-bit"},
			{GIB, 4 * MIB, -EINVAL, "part of the mapping of 8 MiB"},
			{GIB + 4 * MIB, 4 * MIB, -EINVAL, "part of"},
			{GIB, 12 * MIB, -ENOENT, "0x40800000"},
			{GIB - 4096, 8 * MIB, -ENOENT, "0x3ffff000"},
			{2 * GIB, 8 * MIB, -ENOENT, "nothing is mapped"},
		};

		assert_ok(vfb_space_map(host.space, &mapped, 1, NULL));
		for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
			struct vfb_job *job = (void *)1;

			memset(ranges, 0, sizeof(ranges));
			ranges[0] = ranges[2] = mapped;
			ranges[1].iova = bad[i].iova;
			ranges[1].bytes = bad[i].bytes;
			ranges[2].iova = 3 * GIB;
			assert_fails(vfb_space_unmap_start(host.space, ranges + 1, 1, NULL, &job),
				     bad[i].error, "entry 0", bad[i].word);
			assert_null(job);
			if (bad[i].iova < GIB || bad[i].iova >= GIB + 8 * MIB) {
				/* Beside a good one: nothing is unmapped. */
				assert_fails(vfb_space_unmap(host.space, ranges, 3, NULL),
					     bad[i].error, "entry 1", bad[i].word);
				assert_int_equal(ranges[0].status, -ECANCELED);
				assert_int_equal(ranges[1].status, bad[i].error);
				assert_int_equal(ranges[2].status, -ECANCELED);
			}
			assert_mapped(&host, &mapped);
		}
		/* The same one twice. */
		ranges[0] = ranges[1] = mapped;
		assert_fails(vfb_space_unmap(host.space, ranges, 2, NULL), -EBUSY, "entry 1");
		assert_mapped(&host, &mapped);
		assert_ok(vfb_space_unmap(host.space, &mapped, 1, NULL));
		assert_int_equal(mapped.status, 0);
		assert_ok(vfb_space_unmap(host.space, &mapped, 0, NULL));
		close_guest(&host, memory, device);
	}
}

/* While it is being mapped. */
static void test_unmap_early(void **state)
{
	struct vfb_device *device;
	struct host host;
	struct vfb_memory *memory = open_guest(&host, NULL, VFB_BACKEND_IOMMUFD, &device);
	struct vfb_range range = {.memory = memory, .bytes = 64 * MIB}, copy = range;
	struct vfb_job *job;

	(void)state;
	assert_ok(vfb_space_map_start(host.space, &range, 1, NULL, &job));
	assert_fails(vfb_space_unmap(host.space, &copy, 1, NULL), -EBUSY, "wait for it");
	assert_ok(vfb_job_wait(job, UINT64_MAX));
	vfb_job_destroy(job);
	assert_ok(vfb_space_unmap(host.space, &copy, 1, NULL));
	close_guest(&host, memory, device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrong_by_itself), cmocka_unit_test(test_outside),
		cmocka_unit_test(test_overlap),		cmocka_unit_test(test_memlock),
		cmocka_unit_test(test_entry_limit),	cmocka_unit_test(test_no_iovas),
		cmocka_unit_test(test_unmap),		cmocka_unit_test(test_unmap_early),
	};

	return cmocka_run_group_tests_name("refused ranges", tests, NULL, NULL);
}
