/* SPDX-License-Identifier: MIT */
/*
 * Dirty tracking with the kernel's mock IOMMU (CONFIG_IOMMUFD_TEST), since QEMU emulates none that
 * can: a device and its domain are the program's, and the library maps and reads beside them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <vfioboost.h>

#include "mock.h"

#define PAGE   UINT64_C(4096)
#define PAGES  UINT64_C(20000)
#define ROUNDS 20
static const struct {
	uint64_t first, count;
} ranges[] = {{3, 5}, {8, 2}, {63, 2}, {70, 250}, {400, 64}, {512, 19000}};

static uint64_t expected[PAGES / 64 + 1], found[PAGES / 64 + 1];

static int fail(const char *what)
{
	fprintf(stderr, "dirty_mock: %s: %s\n", what, strerror(errno));
	return -1;
}

static int fail_library(void)
{
	fprintf(stderr, "dirty_mock: %s\n", vfb_last_error());
	return -1;
}

static int map(struct vfb_ctx *ctx, struct vfb_space *space)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_range batch[sizeof(ranges) / sizeof(ranges[0])] = {0};
	struct vfb_memory *memory;

	opts.bytes = PAGES * PAGE;
	opts.page_size = VFB_PAGE_4K;
	if (vfb_memory_create(ctx, &opts, &memory))
		return fail_library();
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		batch[i].memory = memory;
		batch[i].offset = ranges[i].first * PAGE;
		batch[i].bytes = ranges[i].count * PAGE;
		batch[i].iova = MOCK_BASE + ranges[i].first * PAGE;
	}
	return vfb_space_map(space, batch, sizeof(ranges) / sizeof(ranges[0]), NULL) ?
		       fail_library() :
		       0;
}

/* The device writes to random pages of each range. */
static int write_pages(int fd, uint32_t domain)
{
	static uint64_t bits[PAGES / 64 + 1];

	memset(expected, 0, sizeof(expected));
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		struct mock_call call = {.size = sizeof(call), .op = MOCK_DIRTY, .id = domain};

		memset(bits, 0, sizeof(bits));
		for (uint64_t page = 0; page < ranges[i].count; page++) {
			uint64_t at = ranges[i].first + page;

			if (rand() % 8)
				continue;
			bits[page / 64] |= UINT64_C(1) << page % 64;
			expected[at / 64] |= UINT64_C(1) << at % 64;
		}
		call.dirty.iova = MOCK_BASE + ranges[i].first * PAGE;
		call.dirty.bytes = ranges[i].count * PAGE;
		call.dirty.page = PAGE;
		call.dirty.bitmap = (uintptr_t)bits;
		if (ioctl(fd, MOCK_CALL, &call))
			return fail("writing as the mock device");
	}
	return 0;
}

static bool is_set(const uint64_t *bitmap, uint64_t page)
{
	return bitmap[page / 64] >> page % 64 & 1;
}

static bool is_mapped(uint64_t page)
{
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (page >= ranges[i].first && page - ranges[i].first < ranges[i].count)
			return true;
	return false;
}

/*
 * The IOMMU has one bit for contiguous pages (AMD's page tables): more pages may be dirty than were
 * written to. @any: any were.
 */
static int compare(struct vfb_space *space, bool any)
{
	struct vfb_dirty_area area = {.iova = MOCK_BASE, .bytes = PAGES * PAGE, .bitmap = found};

	memset(found, 0xff, sizeof(found));
	if (vfb_space_dirty(space, &area, 1))
		return fail_library();
	for (uint64_t page = 0; page < PAGES; page++) {
		bool may_be = any && is_mapped(page);

		if (is_set(found, page) ? may_be : !is_set(expected, page))
			continue;
		fprintf(stderr, "dirty_mock: page %ju is %s\n", (uintmax_t)page,
			is_set(found, page) ? "dirty, and nobody can have written to it" :
					      "not dirty");
		return -1;
	}
	return 0;
}

static int run(int fd)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_space *space;
	struct vfb_ctx *ctx;
	const char *what;
	struct mock mock;
	int error;

	opts.flags = VFB_SPACE_DIRTY;
	if (mock_make(&mock, fd, VFB_IOMMU_HWPT_ALLOC_DIRTY_TRACKING, 0, &what))
		return fail(what);
	opts.dirty_domain = mock.domain;
	if (vfb_ctx_create(NULL, &ctx) || vfb_space_adopt(ctx, fd, mock.ioas, &opts, &space))
		return fail_library();
	error = map(ctx, space);
	if (!error && vfb_space_track_dirty(space, 1))
		error = fail_library();
	for (int round = 0; round < ROUNDS && !error; round++) {
		error = write_pages(fd, opts.dirty_domain) ?: compare(space, true);
		memset(expected, 0, sizeof(expected));
		error = error ?: compare(space, false);
	}
	if (!error && vfb_space_track_dirty(space, 0))
		error = fail_library();
	return error;
}

int main(void)
{
	int fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		fail("/dev/iommu");
		return 1;
	}
	if (run(fd))
		return 1;
	puts("what the mock device has written to was found");
	return 0;
}
