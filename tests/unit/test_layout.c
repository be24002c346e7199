/* SPDX-License-Identifier: MIT */
/* What devices can use, and laying out memory around the rest. */
#include "host.h"

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

#define TIB	  (1024 * GIB)
#define AMD_FIRST UINT64_C(0xfd00000000)
#define AMD_LAST  UINT64_C(0xffffffffff)

/* A device with a reserved range of that kind on an IOMMU of so many bits. */
static void open_reserved(struct host *host, unsigned int bits, uint64_t first, uint64_t last,
			  const char *kind)
{
	host_open(host, &(struct fake_config){.iova_bits = bits});
	fake_add_device(host->fake, &(struct fake_device){
					    .address = addresses[0],
					    .group = 1,
					    .driver = "vfio-pci",
					    .reserved_first = first,
					    .reserved_last = last,
					    .reserved_kind = kind,
				    });
}

static void assert_range(const struct vfb_iova_range *range, uint64_t first, uint64_t last)
{
	assert_int_equal(range->first, first);
	assert_int_equal(range->last, last);
}

static void test_reach(void **state)
{
	struct vfb_iova_range ranges[4];
	struct host host;

	(void)state;
	open_reserved(&host, 48, AMD_FIRST, AMD_LAST, "reserved");
	assert_int_equal(vfb_pci_iova_ranges(host.ctx, addresses, 1, ranges, 4), 3);
	assert_range(&ranges[0], 0, 0xfedfffff);
	assert_range(&ranges[1], 0xfef00000, AMD_FIRST - 1);
	assert_range(&ranges[2], AMD_LAST + 1, (UINT64_C(1) << 48) - 1);
	assert_int_equal(vfb_pci_iova_ranges(host.ctx, addresses, 1, NULL, 0), 3);
	assert_int_equal(vfb_pci_iova_ranges(host.ctx, NULL, 0, ranges, 4), 1);
	assert_range(&ranges[0], 0, UINT64_MAX);
	host_close(&host);

	open_reserved(&host, 39, GIB, GIB + 64 * KIB - 1, "direct-relaxable");
	assert_int_equal(vfb_pci_iova_ranges(host.ctx, addresses, 1, ranges, 4), 2);
	assert_range(&ranges[1], 0xfef00000, (UINT64_C(1) << 39) - 1);
	host_close(&host);

	open_reserved(&host, 39, GIB, GIB + 64 * KIB - 1, "direct");
	assert_fails(vfb_pci_iova_ranges(host.ctx, addresses, 1, ranges, 4), -EPERM, "firmware",
		     "0x40000000-0x4000ffff");
	host_close(&host);
}

static void test_reach_refused(void **state)
{
	struct fake_device lonely = {.address = addresses[0], .no_group = true};
	const char *const bad[] = {"nothing"};
	struct vfb_iova_range range;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	assert_fails(vfb_pci_iova_ranges(host.ctx, bad, 1, &range, 1), -EINVAL, "nothing");
	assert_fails(vfb_pci_iova_ranges(host.ctx, addresses, 1, &range, 1), -ENODEV, addresses[0]);
	assert_fails(vfb_pci_iova_ranges(host.ctx, NULL, 1, &range, 1), -EINVAL, "NULL");
	fake_add_device(host.fake, &lonely);
	assert_fails(vfb_pci_iova_ranges(host.ctx, addresses, 1, &range, 1), -EOPNOTSUPP,
		     "no IOMMU group");
	host_close(&host);
}

#define IOMMU "/sys/devices/pci0000:01/0000:01:00.0/iommu/"

/* AMD-Vi reports levels; of a register that is not there nothing is known. */
static void test_width(void **state)
{
	static const struct {
		const char *file, *text;
		uint64_t last;
	} cases[] = {
		{IOMMU "amd-iommu/features", "25bf732fa2295afe:100000\n", (UINT64_C(1) << 48) - 1},
		{IOMMU "amd-iommu/features", "400\n", (UINT64_C(1) << 57) - 1},
		{IOMMU "intel-iommu/cap", "d2008c40660462\n", (UINT64_C(1) << 39) - 1},
		{IOMMU "intel-iommu/cap", "9ed008c40780c66\n", (UINT64_C(1) << 57) - 1},
		{IOMMU "arm-smmu", "", UINT64_MAX},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vfb_iova_range ranges[2];
		struct host host;

		host_open(&host, &(struct fake_config){.no_msi_window = true});
		add_device(host.fake, addresses[0], 1, NULL);
		/* Hides what the fake has there. */
		fake_add_file(host.fake, IOMMU "intel-iommu/cap",
			      strstr(cases[i].file, "intel") ? cases[i].text : "");
		fake_add_file(host.fake, cases[i].file, cases[i].text);
		assert_int_equal(vfb_pci_iova_ranges(host.ctx, addresses, 1, ranges, 2), 1);
		assert_range(&ranges[0], 0, cases[i].last);
		host_close(&host);
	}
}

static struct vfb_layout_part part(uint64_t bytes, uint64_t first, uint64_t last)
{
	return (struct vfb_layout_part){
		.bytes = bytes,
		.alignment = 2 * MIB,
		.first = first,
		.last = last,
	};
}

static void assert_placed(const struct vfb_range *range, uint64_t iova, uint64_t bytes,
			  uint64_t offset)
{
	assert_int_equal(range->iova, iova);
	assert_int_equal(range->bytes, bytes);
	assert_int_equal(range->offset, offset);
}

/* Guests on an AMD host: above 1011 GiB they are split, or moved, around its hole. */
static void test_amd(void **state)
{
	struct vfb_layout_opts opts = VFB_LAYOUT_OPTS_INIT;
	const struct vfb_iova_range valid[] = {
		{AMD_LAST + 1, (UINT64_C(1) << 48) - 1},
		{0xfef00000, AMD_FIRST - 1},
		{0, 0xfedfffff},
	};
	struct vfb_layout_part parts[] = {part(3 * GIB, 0, 4 * GIB - 1), part(0, 4 * GIB, 0)};
	struct vfb_range ranges[4];

	(void)state;
	opts.valid = valid;
	opts.valid_count = 3;
	/* As much as there is below. */
	parts[1].bytes = AMD_FIRST - 4 * GIB;
	assert_int_equal(vfb_layout(&opts, parts, 2, ranges, 4), 2);
	assert_placed(&ranges[0], 0, 3 * GIB, 0);
	assert_placed(&ranges[1], 4 * GIB, AMD_FIRST - 4 * GIB, 0);
	/* One hole is better than two, wherever that is. */
	parts[1].bytes += 2 * MIB;
	assert_int_equal(vfb_layout(&opts, parts, 2, ranges, 4), 2);
	assert_placed(&ranges[1], TIB, AMD_FIRST - 4 * GIB + 2 * MIB, 0);
	/* The largest on 41 bits needs both. */
	opts.valid = (struct vfb_iova_range[]){{0, AMD_FIRST - 1}, {TIB, 2 * TIB - 1}};
	opts.valid_count = 2;
	parts[1].bytes = TIB + 512 * GIB;
	assert_int_equal(vfb_layout(&opts, parts, 2, ranges, 1), 3);
	assert_int_equal(vfb_layout(&opts, parts, 2, ranges, 4), 3);
	assert_placed(&ranges[1], 4 * GIB, AMD_FIRST - 4 * GIB, 0);
	assert_placed(&ranges[2], TIB, TIB + 512 * GIB - (AMD_FIRST - 4 * GIB),
		      AMD_FIRST - 4 * GIB);
	parts[1].bytes = 2 * TIB;
	assert_fails(vfb_layout(&opts, parts, 2, ranges, 4), -ENOSPC, "part 1", "2 TiB",
		     "IOVA 0x100000000", "2 ranges aligned to 2 MiB", "reserved_regions");
}

static void test_invalid(void **state)
{
	struct vfb_layout_opts opts = VFB_LAYOUT_OPTS_INIT;
	struct vfb_layout_part one = part(GIB, 0, 0);
	struct vfb_range range;

	(void)state;
	assert_int_equal(vfb_layout(NULL, NULL, 0, NULL, 0), 0);
	assert_fails(vfb_layout(NULL, NULL, 1, NULL, 0), -EINVAL, "NULL");
	one.alignment = 3 * MIB;
	assert_fails(vfb_layout(NULL, &one, 1, &range, 1), -EINVAL, "part 0", "power of two");
	one = part(GIB + KIB, 0, 0);
	assert_fails(vfb_layout(NULL, &one, 1, &range, 1), -EINVAL, "multiple of its alignment");
	one = part(0, 0, 0);
	assert_fails(vfb_layout(NULL, &one, 1, &range, 1), -EINVAL, "0 bytes");
	one = part(GIB, 2 * GIB, GIB);
	assert_fails(vfb_layout(NULL, &one, 1, &range, 1), -EINVAL, "ends before it begins");
	one = part(GIB, 0, 0);
	one.reserved[1] = 1;
	assert_fails(vfb_layout(NULL, &one, 1, &range, 1), -EINVAL, "reserved fields");
	one = part(GIB, 0, 0);
	opts.valid_count = 1;
	assert_fails(vfb_layout(&opts, &one, 1, &range, 1), -EINVAL, "NULL");
	opts.valid = &(struct vfb_iova_range){GIB, 0};
	assert_fails(vfb_layout(&opts, &one, 1, &range, 1), -EINVAL, "valid range 0");
	/* The top of 64 bits. */
	one = part(GIB, UINT64_MAX - 4 * GIB, 0);
	assert_int_equal(vfb_layout(NULL, &one, 1, &range, 1), 1);
	assert_true(range.iova + range.bytes > range.iova);
}

/* ---- Random ranges ---- */

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

#define UNITS 64
#define UNIT  (2 * MIB)

/* The address space in units: which are valid, and which are taken. */
struct units {
	bool valid[UNITS], taken[UNITS];
};

static size_t random_valid(uint64_t *seed, struct units *units, struct vfb_iova_range *ranges)
{
	size_t count = next_random(seed) % 6 + 1;

	memset(units, 0, sizeof(*units));
	for (size_t i = 0; i < count; i++) {
		uint64_t first = next_random(seed) % (UNITS * UNIT);
		uint64_t last = first + next_random(seed) % (20 * UNIT);

		if (last >= UNITS * UNIT)
			last = UNITS * UNIT - 1;
		ranges[i] = (struct vfb_iova_range){first, last};
	}
	/* A unit is valid if the ranges together cover it: they may overlap, or touch. */
	for (size_t u = 0; u < UNITS; u++) {
		uint64_t at = u * UNIT;

		for (size_t again = 0; again <= count; again++)
			for (size_t i = 0; i < count; i++)
				if (ranges[i].first <= at && ranges[i].last >= at)
					at = ranges[i].last + 1;
		units->valid[u] = at >= (u + 1) * UNIT;
	}
	return count;
}

/* The fewest ranges that hold so many units: the longest runs of free ones. 0: too few. */
static size_t fewest_ranges(const struct units *units, size_t first, size_t last, size_t wanted)
{
	size_t runs[UNITS], count = 0, run = 0, used = 0;

	for (size_t u = first; u <= last + 1; u++) {
		if (u <= last && units->valid[u] && !units->taken[u]) {
			run++;
		} else if (run) {
			runs[count++] = run;
			run = 0;
		}
	}
	while (wanted) {
		size_t largest = 0;

		for (size_t i = 1; i < count; i++)
			if (runs[i] > runs[largest])
				largest = i;
		if (!count || !runs[largest])
			return 0;
		wanted -= runs[largest] < wanted ? runs[largest] : wanted;
		runs[largest] = 0;
		used++;
	}
	return used;
}

/* They add up in order, are aligned, valid, within the bounds, and overlap nothing. */
static void check_ranges(struct units *units, const struct vfb_layout_part *part,
			 const struct vfb_range *ranges, size_t count)
{
	uint64_t offset = 0;

	for (size_t i = 0; i < count; i++) {
		const struct vfb_range *range = &ranges[i];

		assert_int_equal(range->offset, offset);
		assert_true(range->bytes && range->bytes % UNIT == 0 && range->iova % UNIT == 0);
		assert_true(range->iova >= part->first);
		assert_true(!part->last || range->iova + (range->bytes - 1) <= part->last);
		for (uint64_t u = range->iova / UNIT; u < (range->iova + range->bytes) / UNIT;
		     u++) {
			assert_true(u < UNITS && units->valid[u] && !units->taken[u]);
			units->taken[u] = true;
		}
		offset += range->bytes;
	}
	assert_int_equal(offset, part->bytes);
}

static void test_random(void **state)
{
	struct vfb_layout_opts opts = VFB_LAYOUT_OPTS_INIT;
	uint64_t seed = 0x9e3779b97f4a7c15;
	unsigned int split = 0, refused = 0;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		struct vfb_iova_range valid[8];
		struct vfb_layout_part parts[3];
		struct vfb_range ranges[3 * UNITS];
		struct units units;
		size_t count = next_random(&seed) % 3 + 1, expected = 0;

		opts.valid = valid;
		opts.valid_count = random_valid(&seed, &units, valid);
		for (size_t i = 0; i < count; i++) {
			uint64_t low = next_random(&seed) % UNITS * UNIT;

			parts[i] = part((next_random(&seed) % 24 + 1) * UNIT, 0, 0);
			if (next_random(&seed) % 2)
				parts[i].first = low;
			if (next_random(&seed) % 4 == 0)
				parts[i].last = UNITS * UNIT - 1;
		}
		/* Part by part, each with the fewest ranges that what is left allows. */
		for (size_t i = 0; i < count; i++) {
			size_t one = fewest_ranges(&units, parts[i].first / UNIT, UNITS - 1,
						   parts[i].bytes / UNIT);
			int result = vfb_layout(&opts, parts, i + 1, ranges, ARRAY_SIZE(ranges));

			if (!one) {
				assert_int_equal(result, -ENOSPC);
				refused++;
				break;
			}
			assert_int_equal(result, expected + one);
			check_ranges(&units, &parts[i], ranges + expected, one);
			expected += one;
			split += one > 1;
		}
	}
	/* It was not all the same. */
	assert_true(split > 1000 && refused > 1000 && refused < 19000);
}

/* ---- In a space ---- */

static void test_space(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_layout_opts opts = VFB_LAYOUT_OPTS_INIT;
		struct vfb_layout_part one = part(64 * MIB, 0, 0);
		struct vfb_map_plan plan = VFB_MAP_PLAN_INIT;
		struct vfb_iova_range ranges[4];
		struct vfb_range placed[2], bad;
		struct vfb_device *device;
		struct host host;

		open_reserved(&host, 39, 32 * MIB, 64 * MIB - 1, "reserved");
		host_space(&host, backends[b]);
		one.memory = make_memory(&host, one.bytes, VFB_PAGE_4K);
		bad = (struct vfb_range){.memory = one.memory,
					 .bytes = 64 * MIB,
					 .iova = UINT64_C(1) << 39};
		/* Nothing is known, so nothing is refused before there is a domain. */
		assert_ok(vfb_space_map_plan(host.space, &bad, 1, NULL, &plan));
		assert_ok(vfb_space_expect_devices(host.space, addresses, 1));
		assert_int_equal(vfb_space_iova_ranges(host.space, ranges, 4), 3);
		assert_range(&ranges[0], 0, 32 * MIB - 1);
		assert_fails(vfb_space_map_plan(host.space, &bad, 1, NULL, &plan), -EINVAL,
			     "outside", "0x4000000-0xfedfffff");
		assert_fails(vfb_space_map(host.space, &bad, 1, NULL), -EINVAL, "outside");
		opts.space = host.space;
		assert_int_equal(vfb_layout(&opts, &one, 1, placed, 2), 1);
		assert_placed(&placed[0], 64 * MIB, 64 * MIB, 0);
		assert_ok(vfb_space_map(host.space, placed, 1, NULL));
		assert_ok(vfb_device_open(host.space, addresses[0], &device));
		assert_mapped(&host, &placed[0]);
		/* Beside what is mapped, now in the domain. */
		assert_int_equal(vfb_layout(&opts, &one, 1, placed + 1, 1), 1);
		assert_placed(&placed[1], 128 * MIB, 64 * MIB, 0);
		assert_ok(vfb_space_unmap(host.space, placed, 1, NULL));
		assert_ok(vfb_space_expect_devices(host.space, NULL, 0));
		vfb_device_close(device);
		assert_int_equal(vfb_space_iova_ranges(host.space, ranges, 4), 1);
		assert_ok(vfb_memory_destroy(one.memory));
		host_close(&host);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reach),	cmocka_unit_test(test_reach_refused),
		cmocka_unit_test(test_width),	cmocka_unit_test(test_amd),
		cmocka_unit_test(test_invalid), cmocka_unit_test(test_random),
		cmocka_unit_test(test_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
