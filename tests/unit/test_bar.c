/* SPDX-License-Identifier: MIT */
/* BARs that devices reach: what of them, for how long, and what becomes of those that fail. */
#include <linux/pci_regs.h>
#include <sys/mman.h>

#include "context.h"
#include "host.h"

#define BRIDGE "0000:00:01.0"

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

/* Device 0 and 1 are made as @like says and share a bus; device 2 has one to itself. */
static void begin(struct host *host, const struct fake_config *config, enum vfb_backend backend,
		  const struct fake_device *like, struct vfb_device **devices)
{
	host_open(host, config);
	for (size_t i = 0; i < 3; i++) {
		struct fake_device device = i < 2 ? *like : (struct fake_device){0};

		device.address = addresses[i];
		device.group = i + 1;
		device.driver = "vfio-pci";
		device.bridge = i < 2 ? BRIDGE : NULL;
		fake_add_device(host->fake, &device);
	}
	host_space(host, backend);
	open_devices(host, 3, devices);
}

static void end(struct host *host, struct vfb_device **devices)
{
	close_devices(devices, 3);
	host_close(host);
}

static const struct fake_device plain = {.bars = {{.bytes = MIB}, {.bytes = MIB}}};

static struct vfb_bar bar_of(struct vfb_device *device, unsigned int index, uint64_t iova)
{
	return (struct vfb_bar){.device = device, .index = index, .iova = iova};
}

/* What device 2 writes arrives in the BAR. */
static bool reaches(struct host *host, uint64_t iova)
{
	uint32_t word = 0x600d;

	return fake_dma_write(host->fake, addresses[2], iova, &word, sizeof(word));
}

static void test_list(void **state)
{
	static const struct fake_device like = {
		.bars = {{.bytes = 256},
			 {.bytes = MIB, .no_mmap = true},
			 {0},
			 {.bytes = 4 * KIB},
			 {0},
			 {.bytes = GIB}},
	};
	struct vfb_device *devices[3];
	struct vfb_bar bars[6];
	struct host host;

	(void)state;
	begin(&host, NULL, VFB_BACKEND_TYPE1, &like, devices);
	assert_int_equal(vfb_device_bars(devices[0], NULL, 0), 2);
	assert_int_equal(vfb_device_bars(devices[0], bars, 6), 2);
	assert_int_equal(bars[0].index, 3);
	assert_int_equal(bars[1].index, 5);
	assert_true(bars[1].bytes == GIB && bars[1].device == devices[0]);
	assert_int_equal(bars[1].flags, VFB_BAR_ANY_IOVA);
	fake_fail_call(host.fake, "VFIO_DEVICE_GET_REGION_INFO", 3, EIO);
	assert_fails(vfb_device_bars(devices[0], bars, 6), -EIO, addresses[0]);
	end(&host, devices);
}

/* All BARs of two devices, where the caller says and anywhere; then they are unmapped. */
static void test_several(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_device *devices[3];
		struct vfb_bar bars[12];
		struct host host;
		int count;

		begin(&host, NULL, backends[b], &plain, devices);
		count = vfb_device_bars(devices[0], bars, 6);
		count += vfb_device_bars(devices[1], bars + count, 6);
		assert_int_equal(count, 4);
		bars[1].flags = VFB_BAR_WRITE;
		bars[1].iova = 8 * GIB;
		assert_ok(vfb_bars_map(host.space, bars, count, NULL));
		for (int i = 0; i < count; i++) {
			assert_int_equal(bars[i].status, 0);
			assert_true(reaches(&host, bars[i].iova + MIB - 4 * KIB));
		}
		assert_true(bars[1].iova == 8 * GIB);
		/* Nothing is pinned or charged for them. */
		assert_int_equal(stats_of(&host).pinned_bytes, 0);
		assert_int_equal(info_of(host.space).mappings, 4);
		assert_ok(vfb_bars_unmap(bars, 3));
		assert_fails(vfb_bars_unmap(bars, count), -ENOENT, addresses[0], "BAR 0");
		assert_int_equal(bars[0].status, -ENOENT);
		assert_int_equal(bars[3].status, 0);
		assert_false(reaches(&host, bars[3].iova));
		assert_int_equal(info_of(host.space).mappings, 0);
		end(&host, devices);
	}
}

/* What the process does not have mapped is not mapped for devices; IOVAs follow the offsets. */
static void test_parts(void **state)
{
	static const struct fake_device sparse = {.bars = {{.bytes = MIB}}, .sparse_bars = true};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_device *devices[3];
		struct vfb_bar bar;
		struct host host;

		begin(&host, NULL, backends[b], &sparse, devices);
		bar = bar_of(devices[0], 0, 0);
		bar.flags = VFB_BAR_ANY_IOVA;
		assert_ok(vfb_bars_map(host.space, &bar, 1, NULL));
		assert_true(bar.bytes == MIB);
		assert_int_equal(info_of(host.space).mappings, 2);
		assert_true(reaches(&host, bar.iova));
		assert_false(reaches(&host, bar.iova + 4 * KIB));
		assert_true(reaches(&host, bar.iova + MIB - 4 * KIB));
		assert_int_equal(fake_register(host.fake, addresses[0], 0, MIB - 4 * KIB), 0x600d);
		assert_ok(vfb_device_reset(devices[0]));
		assert_true(reaches(&host, bar.iova));
		assert_true(reaches(&host, bar.iova + MIB - 4 * KIB));
		assert_ok(vfb_bars_unmap(&bar, 1));
		assert_int_equal(info_of(host.space).mappings, 0);

		/* The kernel has something at an IOVA that seems free. */
		fake_fail_call(host.fake, b ? "IOMMU_IOAS_MAP_FILE" : "VFIO_IOMMU_MAP_DMA", 1,
			       EEXIST);
		bar.flags |= VFB_BAR_REQUIRED;
		assert_fails(vfb_bars_map(host.space, &bar, 1, NULL), -EEXIST, "does not know of");
		end(&host, devices);
	}
}

/* Without its MSI-X table nothing is left. */
static void test_table_only(void **state)
{
	static const struct fake_device table = {.bars = {{.bytes = 4 * KIB}}};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_device *devices[3];
		struct vfb_bar bar;
		struct host host;

		begin(&host, NULL, backends[b], &table, devices);
		assert_ok(vfb_region_store(devices[0], VFB_REGION_CONFIG, PCI_STATUS, 2,
					   PCI_STATUS_CAP_LIST));
		assert_ok(vfb_region_store(devices[0], VFB_REGION_CONFIG, PCI_CAPABILITY_LIST, 1,
					   0x40));
		assert_ok(
			vfb_region_store(devices[0], VFB_REGION_CONFIG, 0x40, 2, PCI_CAP_ID_MSIX));
		bar = bar_of(devices[0], 0, 0);
		bar.flags = VFB_BAR_ANY_IOVA | VFB_BAR_REQUIRED;
		assert_fails(vfb_bars_map(host.space, &bar, 1, NULL), -ENOTSUP, "MSI-X");
		assert_int_equal(info_of(host.space).mappings, 0);
		end(&host, devices);
	}
}

/* Wherever the process has it, its IOVA admits the largest pages. */
static void test_any_iova(void **state)
{
	static const struct fake_device large = {.bars = {{.bytes = GIB}, {.bytes = 2 * MIB}}};
	struct vfb_region_map_opts opts = VFB_REGION_MAP_OPTS_INIT;
	struct vfb_device *devices[3];
	struct vfb_bar bars[2];
	struct host host;
	void *reserved, *address;

	(void)state;
	begin(&host, NULL, VFB_BACKEND_TYPE1, &large, devices);
	assert_int_equal(host.sys->mmap(host.sys, NULL, 8 * MIB, PROT_NONE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &reserved),
			 0);
	/* A page beside a multiple of 2 MiB. */
	opts.address = (char *)reserved + 4 * KIB + (2 * MIB - (uintptr_t)reserved % (2 * MIB));
	assert_ok(vfb_region_map(devices[0], 1, &opts, &address));
	assert_int_equal(vfb_device_bars(devices[0], bars, 2), 2);
	assert_ok(vfb_bars_map(host.space, bars, 2, NULL));
	assert_true(bars[0].iova % GIB == 0);
	assert_true(bars[1].iova % (2 * MIB) == 0);
	assert_true(reaches(&host, bars[1].iova));
	close_devices(devices, 3);
	assert_int_equal(host.sys->munmap(host.sys, reserved, 8 * MIB), 0);
	host_close(&host);
}

static void test_no_room(void **state)
{
	static const struct fake_device large = {.bars = {{.bytes = 4 * GIB}}};
	struct vfb_device *devices[3];
	struct vfb_bar bar;
	struct host host;

	(void)state;
	begin(&host, &(struct fake_config){.iova_bits = 30}, VFB_BACKEND_IOMMUFD, &large, devices);
	bar = bar_of(devices[0], 0, 0);
	bar.flags = VFB_BAR_ANY_IOVA;
	assert_int_equal(vfb_bars_map(host.space, &bar, 1, NULL), 0);
	assert_int_equal(bar.status, -ENOSPC);
	assert_non_null(strstr(vfb_last_error(), "4 GiB"));
	end(&host, devices);
}

/* What a kernel or driver lacks is said; nothing is left of the attempt. */
static void test_lacking(void **state)
{
	static const struct {
		bool old;
		const char *call;
		int error, expected;
		const char *text;
	} cases[] = {
		{true, NULL, 0, -ENOTSUP, "Linux 6.19"},
		{false, "VFIO_DEVICE_FEATURE", EOPNOTSUPP, -ENOTSUP, "vfio-pci"},
		{false, "VFIO_DEVICE_FEATURE", ENODEV, -ENODEV, "1 MiB of region 0"},
		{false, "IOMMU_IOAS_MAP_FILE", ENODEV, -ENODEV, "IOVA 0x100000"},
		{false, "VFIO_DEVICE_GET_REGION_INFO", EIO, -EIO, "region 0"},
		{false, "mmap", ENOMEM, -ENOMEM, "region 0"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vfb_device *devices[3];
		unsigned int vmas, fds;
		struct vfb_bar bar;
		struct host host;

		begin(&host, &(struct fake_config){.no_dma_buf = cases[i].old}, VFB_BACKEND_IOMMUFD,
		      &plain, devices);
		vmas = stats_of(&host).vmas;
		fds = stats_of(&host).fds;
		bar = bar_of(devices[0], 0, MIB);
		for (int required = 0; required < 2; required++) {
			if (cases[i].call)
				fake_fail_call(host.fake, cases[i].call, 1, cases[i].error);
			bar.flags = required ? VFB_BAR_REQUIRED : 0;
			clear_last_error();
			assert_int_equal(vfb_bars_map(host.space, &bar, 1, NULL),
					 required ? cases[i].expected : 0);
			assert_int_equal(bar.status, cases[i].expected);
			assert_non_null(strstr(vfb_last_error(), cases[i].text));
			assert_non_null(strstr(vfb_last_error(), "BAR 0 of device 0000:01:00.0"));
			assert_int_equal(stats_of(&host).vmas, vmas);
			assert_int_equal(stats_of(&host).fds, fds);
			assert_int_equal(info_of(host.space).mappings, 0);
		}
		end(&host, devices);
	}
}

/* One fails: a warning, or the end of all, or of itself. */
static void test_one_fails(void **state)
{
	static const struct {
		uint32_t bar_flags, batch_flags;
		int result, first, last;
	} cases[] = {
		{0, 0, 0, 0, 0},
		{VFB_BAR_REQUIRED, 0, -ENOMEM, -ECANCELED, -ECANCELED},
		{VFB_BAR_REQUIRED, VFB_BATCH_BEST_EFFORT, -ENOMEM, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		enum vfb_backend backend = backends[i / ARRAY_SIZE(cases)];
		size_t n = i % ARRAY_SIZE(cases);
		struct vfb_batch_opts opts = VFB_BATCH_OPTS_INIT;
		struct vfb_device *devices[3];
		struct vfb_bar bars[3];
		struct host host;
		void *address;

		begin(&host, NULL, backend, &plain, devices);
		/* Of its own accord; that stays. */
		assert_ok(vfb_region_map(devices[0], 0, NULL, &address));
		bars[0] = bar_of(devices[0], 0, MIB);
		bars[1] = bar_of(devices[0], 1, 2 * MIB);
		bars[2] = bar_of(devices[1], 0, 3 * MIB);
		bars[1].flags = cases[n].bar_flags;
		opts.flags = cases[n].batch_flags;
		fake_fail_call(host.fake,
			       backend == VFB_BACKEND_TYPE1 ? "VFIO_IOMMU_MAP_DMA" :
							      "IOMMU_IOAS_MAP_FILE",
			       2, ENOMEM);
		assert_int_equal(vfb_bars_map(host.space, bars, 3, &opts), cases[n].result);
		assert_non_null(strstr(vfb_last_error(), "BAR 1 of device"));
		assert_int_equal(bars[0].status, cases[n].first);
		assert_int_equal(bars[1].status, -ENOMEM);
		assert_int_equal(bars[2].status, cases[n].last);
		assert_true(reaches(&host, MIB) == !cases[n].first);
		assert_true(reaches(&host, 3 * MIB) == !cases[n].last);
		assert_fails(vfb_region_unmap(devices[0], 1), -ENOENT, "not mapped");
		if (cases[n].first)
			assert_ok(vfb_region_unmap(devices[0], 0));
		else
			assert_fails(vfb_region_unmap(devices[0], 0), -EBUSY, "vfb_bars_unmap");
		end(&host, devices);
	}
}

/* iommufd's are revoked by a reset, and mapped again; type1's are not touched. */
static void test_resets(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_reset_request resets[2] = {{0}};
		struct vfb_device *devices[3];
		struct vfb_bar bars[2];
		struct host host;
		unsigned int calls;

		begin(&host, NULL, backends[b], &plain, devices);
		for (size_t i = 0; i < 2; i++) {
			bars[i] = bar_of(devices[i], 0, (1 + i) * MIB);
			resets[i].device = devices[i];
		}
		assert_ok(vfb_bars_map(host.space, bars, 2, NULL));
		calls = stats_of(&host).map_calls;
		assert_ok(vfb_devices_reset(resets, 2, NULL));
		assert_int_equal(resets[1].method, VFB_RESET_BUS);
		assert_true(reaches(&host, MIB) && reaches(&host, 2 * MIB));
		assert_ok(vfb_device_reset(devices[1]));
		assert_true(reaches(&host, MIB) && reaches(&host, 2 * MIB));
		assert_int_equal(stats_of(&host).map_calls - calls, b ? 3 : 0);
		/* One that is refused leaves everything alone. */
		resets[0].method = VFB_RESET_BUS;
		assert_fails(vfb_devices_reset(resets, 1, NULL), -EPERM, addresses[1]);
		/* One that fails may have revoked them, too. */
		fake_fail_call(host.fake, "VFIO_DEVICE_RESET", 1, EIO);
		assert_fails(vfb_device_reset(devices[0]), -EIO, addresses[0]);
		assert_true(reaches(&host, MIB) && reaches(&host, 2 * MIB));
		assert_int_equal(stats_of(&host).map_calls - calls, b ? 4 : 0);
		end(&host, devices);
	}
}

/* What cannot be mapped again after a reset is unmapped, and the reset succeeds. */
static void test_not_restored(void **state)
{
	static const char *const calls[] = {"VFIO_DEVICE_FEATURE", "IOMMU_IOAS_MAP_FILE",
					    "IOMMU_IOAS_UNMAP"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		struct vfb_device *devices[3];
		struct vfb_translation found;
		struct vfb_bar bars[2];
		struct host host;

		begin(&host, NULL, VFB_BACKEND_IOMMUFD, &plain, devices);
		bars[0] = bar_of(devices[0], 0, MIB);
		bars[1] = bar_of(devices[0], 1, 2 * MIB);
		assert_ok(vfb_bars_map(host.space, bars, 2, NULL));
		fake_fail_call(host.fake, calls[i], 1, EBUSY);
		clear_last_error();
		assert_int_equal(vfb_device_reset(devices[0]), 0);
		assert_int_not_equal(*vfb_last_error(), 0);
		assert_false(reaches(&host, MIB));
		assert_true(reaches(&host, 2 * MIB));
		assert_fails(vfb_space_translate(host.space, MIB, 4 * KIB, &found, 1), -ENOENT,
			     "not mapped");
		assert_fails(vfb_bars_unmap(bars, 2), -ENOENT, "BAR 0");
		end(&host, devices);
	}
}

/* Closing a device waits for what is being mapped, and keeps the rest from being begun. */
static void test_close_meanwhile(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_device *devices[3];
		struct vfb_bar bars[4];
		struct vfb_job *job, *close;
		struct host host;

		begin(&host, &(struct fake_config){.map_call_ns = 10 * MS}, backends[b], &plain,
		      devices);
		for (size_t i = 0; i < 4; i++)
			bars[i] = bar_of(devices[i / 2], i % 2, (1 + i) * MIB);
		assert_ok(vfb_bars_map_start(host.space, bars, 4, NULL, &job));
		host.sys->sleep(host.sys, 5 * MS);
		assert_ok(vfb_devices_close_start(&devices[0], 1, NULL, &close));
		assert_int_equal(vfb_job_wait(job, UINT64_MAX), 0);
		assert_int_equal(bars[0].status, 0);
		assert_int_equal(bars[1].status, -ECANCELED);
		assert_int_equal(bars[2].status, 0);
		assert_int_equal(bars[3].status, 0);
		vfb_job_destroy(job);
		assert_ok(vfb_job_wait(close, UINT64_MAX));
		vfb_job_destroy(close);
		assert_not_mapped(&host, MIB);
		assert_true(reaches(&host, 3 * MIB));
		end(&host, devices);
	}
}

/* Who unmaps waits, too; a cancel undoes what was mapped, as does a timeout. */
static void test_stopped(void **state)
{
	(void)state;
	for (int how = 0; how < 3; how++) {
		struct vfb_batch_opts opts = VFB_BATCH_OPTS_INIT;
		struct vfb_job_progress progress = VFB_JOB_PROGRESS_INIT;
		struct vfb_device *devices[3];
		struct vfb_bar bars[4];
		struct vfb_job *job;
		struct host host;

		begin(&host, &(struct fake_config){.map_call_ns = 10 * MS}, VFB_BACKEND_TYPE1,
		      &plain, devices);
		for (size_t i = 0; i < 4; i++)
			bars[i] = bar_of(devices[i / 2], i % 2, (1 + i) * MIB);
		opts.timeout_ns = how == 2 ? 15 * MS : 0;
		assert_ok(vfb_bars_map_start(host.space, bars, 4, &opts, &job));
		host.sys->sleep(host.sys, 15 * MS);
		if (how == 0)
			vfb_job_cancel(job);
		if (how == 1) {
			assert_ok(vfb_bars_unmap(bars, 4));
			assert_ok(vfb_job_wait(job, 0));
		} else {
			assert_fails(vfb_job_wait(job, UINT64_MAX), how ? -ETIMEDOUT : -ECANCELED,
				     how ? "timeout" : "cancelled");
			for (size_t i = 0; i < 4; i++)
				assert_int_equal(bars[i].status, -ECANCELED);
		}
		assert_ok(vfb_job_progress(job, &progress));
		assert_int_equal(progress.entries, 4);
		assert_int_equal(progress.entries_done, how == 1 ? 4 : 2);
		vfb_job_destroy(job);
		assert_int_equal(info_of(host.space).mappings, 0);
		end(&host, devices);
	}
}

/* Devices of another space reach them, until that or the device goes. */
static void test_other_space(void **state)
{
	(void)state;
	for (int space_first = 0; space_first < 2; space_first++) {
		struct vfb_space_opts opts = {.size = sizeof(opts), .backend = VFB_BACKEND_TYPE1};
		struct vfb_device *devices[3];
		struct vfb_space *other;
		struct vfb_bar bar;
		struct host host;

		begin(&host, NULL, VFB_BACKEND_TYPE1, &plain, devices);
		vfb_device_close(devices[2]);
		assert_ok(vfb_space_create(host.ctx, &opts, &other));
		assert_ok(vfb_device_open(other, addresses[2], &devices[2]));
		bar = bar_of(devices[0], 0, MIB);
		assert_ok(vfb_bars_map(other, &bar, 1, NULL));
		assert_true(reaches(&host, MIB));
		assert_int_equal(info_of(host.space).mappings, 0);
		assert_int_equal(info_of(other).mappings, 1);
		if (!space_first) {
			vfb_device_close(devices[0]);
			assert_not_mapped(&host, MIB);
		}
		vfb_device_close(devices[2]);
		assert_ok(vfb_space_destroy(other));
		if (space_first)
			vfb_device_close(devices[0]);
		close_devices(&devices[1], 1);
		host_close(&host);
	}
}

/* They are not charged, so the limit does not matter. */
static void test_memlock(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_device *devices[3];
		struct vfb_bar bar;
		struct host host;

		begin(&host, &(struct fake_config){.memlock = 64 * KIB}, backends[b], &plain,
		      devices);
		bar = bar_of(devices[0], 0, MIB);
		assert_ok(vfb_bars_map(host.space, &bar, 1, NULL));
		assert_int_equal(bar.status, 0);
		end(&host, devices);
	}
}

static void test_handover(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_device *devices[3];
		struct vfb_bar bar;
		struct host host;

		begin(&host, NULL, backends[b], &plain, devices);
		bar = bar_of(devices[0], 0, MIB);
		assert_ok(vfb_bars_map(host.space, &bar, 1, NULL));
		assert_fails(vfb_space_release_addresses(host.space), -EBUSY, addresses[0],
			     "0x100000");
		assert_ok(vfb_bars_unmap(&bar, 1));
		assert_ok(vfb_space_release_addresses(host.space));
		assert_int_equal(vfb_bars_map(host.space, &bar, 1, NULL), 0);
		assert_int_equal(bar.status, -EBUSY);
		end(&host, devices);
	}
}

static void test_input(void **state)
{
	struct vfb_device *devices[3];
	struct vfb_bar bars[2];
	struct vfb_job *job;
	struct host host, other;

	(void)state;
	begin(&host, NULL, VFB_BACKEND_TYPE1, &plain, devices);
	host_ready(&other, NULL, VFB_BACKEND_TYPE1, 1);
	bars[0] = bar_of(NULL, 0, MIB);
	assert_fails(vfb_bars_map(host.space, bars, 1, NULL), -EINVAL, "entry 0", "no device");
	assert_fails(vfb_bars_unmap(bars, 1), -EINVAL, "entry 0");
	bars[0] = bar_of(devices[0], 6, MIB);
	assert_fails(vfb_bars_map(host.space, bars, 1, NULL), -EINVAL, "BAR 6", "0 to 5");
	assert_fails(vfb_bars_unmap(bars, 1), -EINVAL, "0 to 5");
	bars[0] = bar_of(devices[0], 0, MIB);
	bars[0].flags = 0x40;
	assert_fails(vfb_bars_map(host.space, bars, 1, NULL), -EINVAL, "0x40");
	bars[0].flags = 0;
	assert_fails(vfb_bars_map(other.space, bars, 1, NULL), -EINVAL, "another context");
	bars[1] = bars[0];
	assert_fails(vfb_bars_map(host.space, bars, 2, NULL), -EINVAL, "twice");
	assert_fails(vfb_bars_map_start(host.space, bars, 0, NULL, &job), -EINVAL, "no BARs");
	assert_null(job);
	assert_ok(vfb_bars_map(host.space, NULL, 0, NULL));
	bars[0].iova = UINT64_MAX - 4 * KIB + 1;
	bars[0].flags = VFB_BAR_REQUIRED;
	assert_fails(vfb_bars_map(host.space, bars, 1, NULL), -EINVAL, "beyond 64 bits");
	fake_fail_call(host.fake, "eventfd", 1, EMFILE);
	assert_fails(vfb_bars_map(host.space, bars, 1, NULL), -EMFILE, "eventfd");
	host_close(&other);
	end(&host, devices);
}

struct seen {
	struct vfb_space *space;
	struct vfb_bar *bar;
	unsigned int steps, maps;
	int last;
	char device[16];
};

static void note(const struct vfb_event *event, void *data)
{
	struct seen *seen = data;

	assert_int_equal(fake_locks_held(), 0);
	seen->steps += event->phase == VFB_PHASE_BAR;
	seen->maps += event->phase == VFB_PHASE_MAP;
	seen->last = event->result;
	snprintf(seen->device, sizeof(seen->device), "%s", event->device ? event->device : "");
	assert_int_equal(vfb_bars_unmap(seen->bar, 1), -EDEADLK);
	assert_int_equal(vfb_bars_map(seen->space, seen->bar, 1, NULL), -EDEADLK);
}

static void test_events(void **state)
{
	struct vfb_filter filter = VFB_FILTER_INIT;
	struct vfb_subscription *subscription;
	struct vfb_device *devices[3];
	struct seen seen = {0};
	struct vfb_bar bar;
	struct host host;

	(void)state;
	begin(&host, NULL, VFB_BACKEND_IOMMUFD, &plain, devices);
	bar = bar_of(devices[0], 0, MIB);
	seen.space = host.space;
	seen.bar = &bar;
	filter.phases = VFB_PHASE_BIT(VFB_PHASE_BAR) | VFB_PHASE_BIT(VFB_PHASE_MAP);
	assert_ok(vfb_subscribe(host.ctx, &filter, note, &seen, &subscription));
	assert_ok(vfb_bars_map(host.space, &bar, 1, NULL));
	assert_int_equal(seen.steps, 1);
	assert_int_equal(seen.maps, 1);
	assert_string_equal(seen.device, addresses[0]);
	assert_ok(vfb_device_reset(devices[0]));
	assert_int_equal(seen.steps, 2);
	assert_int_equal(seen.maps, 2);
	/* A failure before there is any call has its event as well. */
	assert_int_equal(vfb_bars_map(host.space, &bar, 1, NULL), 0);
	assert_int_equal(seen.last, -EEXIST);
	assert_int_equal(seen.steps, 3);
	vfb_unsubscribe(subscription);
	end(&host, devices);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_table_only),
		cmocka_unit_test(test_any_iova),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_lacking),
		cmocka_unit_test(test_one_fails),
		cmocka_unit_test(test_resets),
		cmocka_unit_test(test_not_restored),
		cmocka_unit_test(test_close_meanwhile),
		cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_other_space),
		cmocka_unit_test(test_memlock),
		cmocka_unit_test(test_handover),
		cmocka_unit_test(test_input),
		cmocka_unit_test(test_events),
	};

	return cmocka_run_group_tests_name("bar", tests, NULL, NULL);
}
