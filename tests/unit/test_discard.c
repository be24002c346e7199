/* SPDX-License-Identifier: MIT */
/*
 * Discarding parts of memory that is mapped, and restoring them. The fake kernel reports it if
 * pages are returned that a device reaches.
 */
#include <sys/mman.h>

#include "host.h"

#define IOVA  (4 * GIB)
#define BLOCK (2 * MIB)
#define BYTES (32 * BLOCK)

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

/* A machine with memory that is mapped in blocks, and a device. */
struct guest {
	struct host host;
	struct vfb_device *device;
	struct vfb_memory *memory;
	struct vfb_range range;
};

static struct vfb_memory *make_kind(struct host *host, enum vfb_page_size page_size,
				    enum vfb_memory_kind kind)
{
	struct vfb_memory_opts opts = {.size = sizeof(opts),
				       .bytes = BYTES,
				       .page_size = page_size,
				       .kind = kind};
	struct vfb_memory *memory;

	assert_ok(vfb_memory_create(host->ctx, &opts, &memory));
	return memory;
}

static void guest_start(struct guest *guest, enum vfb_backend backend, uint64_t block,
			enum vfb_page_size page_size, enum vfb_memory_kind kind)
{
	struct fake_config config = {.pages_2m = {64}};
	struct vfb_space_opts opts = {.size = sizeof(opts),
				      .backend = backend,
				      .block_bytes = block};

	host_open(&guest->host, &config);
	add_devices(guest->host.fake, 1);
	assert_ok(vfb_space_create(guest->host.ctx, &opts, &guest->host.space));
	open_devices(&guest->host, 1, &guest->device);
	guest->memory = make_kind(&guest->host, page_size, kind);
	guest->range = (struct vfb_range){.memory = guest->memory, .bytes = BYTES, .iova = IOVA};
	assert_ok(vfb_space_map(guest->host.space, &guest->range, 1, NULL));
}

static void guest_end(struct guest *guest)
{
	assert_ok(vfb_space_unmap(guest->host.space, &guest->range, 1, NULL));
	host_end(&guest->host, guest->device, guest->memory);
}

static struct vfb_memory_range part(uint64_t first, uint64_t blocks)
{
	return (struct vfb_memory_range){.offset = first * BLOCK, .bytes = blocks * BLOCK};
}

static uint64_t present(struct guest *guest, uint64_t first, uint64_t blocks)
{
	return fake_populated(guest->host.fake, address_of(guest->memory) + first * BLOCK,
			      blocks * BLOCK);
}

static bool dma_reaches(struct guest *guest, uint64_t block)
{
	return fake_dma_write(guest->host.fake, addresses[0], IOVA + block * BLOCK, "dma", 4);
}

static void assert_discarded(struct guest *guest, uint64_t first, uint64_t blocks)
{
	assert_int_equal(present(guest, first, blocks), 0);
	for (uint64_t i = first; i < first + blocks; i++) {
		assert_not_mapped(&guest->host, IOVA + i * BLOCK);
		assert_false(dma_reaches(guest, i));
	}
}

static void assert_whole(struct guest *guest)
{
	assert_mapped(&guest->host, &guest->range);
	assert_int_equal(present(guest, 0, BYTES / BLOCK), BYTES);
	assert_int_equal(populated_of(guest->memory), BYTES);
	assert_int_equal(info_of(guest->host.space).mappings, 1);
	assert_int_equal(info_of(guest->host.space).mapped_bytes, BYTES);
	assert_int_equal(info_of(guest->host.space).discarded_bytes, 0);
}

/* Every kind of memory, in the calling thread and by workers. */
static void test_round(void **state)
{
	static const struct {
		enum vfb_page_size page_size;
		enum vfb_memory_kind kind;
	} kinds[] = {
		{VFB_PAGE_4K, VFB_MEMORY_ANONYMOUS},  {VFB_PAGE_4K, VFB_MEMORY_MEMFD},
		{VFB_PAGE_THP, VFB_MEMORY_ANONYMOUS}, {VFB_PAGE_2M, VFB_MEMORY_ANONYMOUS},
		{VFB_PAGE_2M, VFB_MEMORY_MEMFD},
	};

	(void)state;
	for (size_t i = 0; i < 4 * ARRAY_SIZE(kinds); i++) {
		struct vfb_batch_opts opts = VFB_BATCH_OPTS_INIT;
		const struct vfb_batch_opts *given = i & 2 ? &opts : NULL;
		struct vfb_memory_range parts[] = {part(20, 2), part(3, 1), part(4, 4)};
		struct guest guest;

		guest_start(&guest, backends[i & 1], BLOCK, kinds[i / 4].page_size,
			    kinds[i / 4].kind);
		assert_whole(&guest);
		assert_ok(vfb_memory_discard(guest.memory, parts, ARRAY_SIZE(parts), given));
		for (size_t n = 0; n < ARRAY_SIZE(parts); n++)
			assert_int_equal(parts[n].status, 0);
		assert_discarded(&guest, 3, 5);
		assert_discarded(&guest, 20, 2);
		assert_true(dma_reaches(&guest, 2) && dma_reaches(&guest, 8));
		assert_int_equal(present(&guest, 0, 32), BYTES - 7 * BLOCK);
		assert_int_equal(populated_of(guest.memory), BYTES - 7 * BLOCK);
		assert_int_equal(info_of(guest.host.space).mappings, 1);
		assert_int_equal(info_of(guest.host.space).mapped_bytes, BYTES - 7 * BLOCK);
		assert_int_equal(info_of(guest.host.space).discarded_bytes, 7 * BLOCK);
		/* Other parts than before, and some that are there. */
		parts[0] = part(18, 8);
		parts[1] = part(0, 5);
		parts[2] = part(5, 3);
		assert_ok(vfb_memory_restore(guest.memory, parts, ARRAY_SIZE(parts), given));
		assert_whole(&guest);
		guest_end(&guest);
	}
}

/* Base pages within a unit of 2 MiB, which is counted again when it is complete. */
static void test_small(void **state)
{
	struct vfb_space_opts opts = {.size = sizeof(opts), .backend = VFB_BACKEND_IOMMUFD};
	struct vfb_memory_range range = {.offset = 8 * KIB, .bytes = 8 * KIB};
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	assert_ok(vfb_space_create(host.ctx, &opts, &host.space));
	memory = make_kind(&host, VFB_PAGE_4K, VFB_MEMORY_ANONYMOUS);
	assert_ok(vfb_memory_populate(memory));
	assert_ok(vfb_memory_discard(memory, &range, 1, NULL));
	assert_int_equal(fake_populated(host.fake, address_of(memory), BYTES), BYTES - 8 * KIB);
	assert_int_equal(populated_of(memory), BYTES - 2 * MIB);
	range.bytes = 4 * KIB;
	assert_ok(vfb_memory_restore(memory, &range, 1, NULL));
	assert_int_equal(populated_of(memory), BYTES - 2 * MIB);
	range.offset += 4 * KIB;
	assert_ok(vfb_memory_restore(memory, &range, 1, NULL));
	assert_int_equal(populated_of(memory), BYTES);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

static void test_refused(void **state)
{
	static const struct {
		struct vfb_memory_range parts[2];
		const char *word;
	} wrong[] = {
		{{{.bytes = 0}, {.bytes = BLOCK}}, "entry 0"},
		{{{.bytes = BLOCK}, {.offset = BYTES, .bytes = BLOCK}}, "beyond"},
		{{{.bytes = BLOCK}, {.offset = BLOCK, .bytes = UINT64_MAX}}, "beyond"},
		{{{.bytes = BLOCK}, {.offset = BLOCK + 4096, .bytes = BLOCK}}, "aligned"},
		{{{.bytes = BLOCK}, {.offset = BLOCK, .bytes = BLOCK + 4096}}, "aligned"},
		{{{.bytes = 2 * BLOCK}, {.offset = BLOCK, .bytes = BLOCK}}, "two entries"},
		{{{.bytes = BLOCK}, {.offset = BLOCK, .bytes = BLOCK, .reserved = 1}}, "reserved"},
	};
	struct vfb_batch_opts opts = {.size = sizeof(opts), .flags = 1u << 31};
	struct vfb_memory_range range = part(0, 1);
	struct vfb_job *job;
	struct guest guest;

	(void)state;
	guest_start(&guest, VFB_BACKEND_IOMMUFD, BLOCK, VFB_PAGE_2M, VFB_MEMORY_MEMFD);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct vfb_memory_range parts[2] = {wrong[i].parts[0], wrong[i].parts[1]};

		assert_fails(vfb_memory_discard(guest.memory, parts, 2, NULL), -EINVAL,
			     wrong[i].word);
		assert_fails(vfb_memory_restore_start(guest.memory, parts, 2, NULL, &job), -EINVAL,
			     wrong[i].word);
		assert_null(job);
	}
	assert_fails(vfb_memory_discard(guest.memory, &range, 1, &opts), -EINVAL, "flags");
	assert_fails(vfb_memory_discard(guest.memory, NULL, 1, NULL), -EINVAL, "NULL");
	assert_ok(vfb_memory_discard(guest.memory, NULL, 0, NULL));
	assert_ok(vfb_memory_restore(guest.memory, NULL, 0, NULL));
	assert_whole(&guest);
	guest_end(&guest);
}

/* The kernel splits no mapping: what it has mapped together is discarded together. */
static void test_joined(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_memory_range parts[] = {part(2, 1), part(1, 1), part(0, 1), part(3, 1)};
		struct guest guest;

		guest_start(&guest, backends[b], 4 * BLOCK, VFB_PAGE_4K, VFB_MEMORY_MEMFD);
		assert_fails(vfb_memory_discard(guest.memory, parts, 3, NULL), -EBUSY,
			     "block_bytes", "8 MiB", "IOVA 0x100000000");
		assert_whole(&guest);
		/* One block by four entries. */
		assert_ok(vfb_memory_discard(guest.memory, parts, 4, NULL));
		assert_discarded(&guest, 0, 4);
		assert_ok(vfb_memory_restore(guest.memory, &parts[1], 1, NULL));
		assert_true(dma_reaches(&guest, 1));
		assert_discarded(&guest, 0, 1);
		assert_ok(vfb_memory_restore(guest.memory, parts, 4, NULL));
		assert_whole(&guest);
		/* The parts of a range are unmapped together, discarded or not. */
		assert_ok(vfb_memory_discard(guest.memory, parts, 2, NULL));
		assert_fails(vfb_space_unmap(guest.host.space,
					     &(struct vfb_range){.iova = IOVA, .bytes = BLOCK}, 1,
					     NULL),
			     -EINVAL, "part of the mapping");
		assert_fails(vfb_space_unmap(guest.host.space,
					     &(struct vfb_range){.iova = IOVA + BLOCK,
								 .bytes = 2 * BLOCK},
					     1, NULL),
			     -EINVAL, "part of the mapping");
		guest_end(&guest);
	}
}

/* Memory in two spaces, twice in one of them, and under another name. */
static void test_spaces(void **state)
{
	struct vfb_space_opts opts = {.size = sizeof(opts),
				      .backend = VFB_BACKEND_TYPE1,
				      .block_bytes = BLOCK};
	struct vfb_memory_adopt_opts adopt = VFB_MEMORY_ADOPT_OPTS_INIT;
	struct vfb_memory_range range = part(1, 30);
	struct vfb_range ranges[3];
	struct vfb_memory *alias;
	struct vfb_device *device;
	struct vfb_space *other;
	struct guest guest;

	(void)state;
	guest_start(&guest, VFB_BACKEND_IOMMUFD, BLOCK, VFB_PAGE_4K, VFB_MEMORY_ANONYMOUS);
	add_device(guest.host.fake, addresses[1], 2, NULL);
	assert_ok(vfb_space_create(guest.host.ctx, &opts, &other));
	assert_ok(vfb_device_open(other, addresses[1], &device));
	adopt.address = address_of(guest.memory);
	adopt.bytes = BYTES;
	assert_ok(vfb_memory_adopt(guest.host.ctx, &adopt, &alias));
	for (size_t i = 0; i < 3; i++)
		ranges[i] = (struct vfb_range){.memory = i == 1 ? alias : guest.memory,
					       .bytes = BYTES,
					       .iova = (5 + i) * GIB};
	assert_ok(vfb_space_map(other, ranges, 3, NULL));
	assert_ok(vfb_memory_discard(guest.memory, &range, 1, NULL));
	assert_discarded(&guest, 1, 30);
	for (size_t i = 0; i < 3; i++) {
		assert_false(fake_dma_write(guest.host.fake, addresses[1],
					    ranges[i].iova + 30 * BLOCK, "dma", 4));
		assert_true(fake_dma_write(guest.host.fake, addresses[1],
					   ranges[i].iova + 31 * BLOCK, "dma", 4));
	}
	assert_int_equal(info_of(other).discarded_bytes, 90 * BLOCK);
	assert_ok(vfb_memory_restore(guest.memory, &range, 1, NULL));
	assert_whole(&guest);
	for (size_t i = 0; i < 3; i++)
		assert_true(fake_dma_write(guest.host.fake, addresses[1],
					   ranges[i].iova + 30 * BLOCK, "dma", 4));
	assert_ok(vfb_space_unmap_all(other));
	vfb_device_close(device);
	assert_ok(vfb_space_destroy(other));
	assert_ok(vfb_memory_destroy(alias));
	guest_end(&guest);
}

/* Without a device ranges are only kept; what is restored is mapped for the first one. */
static void test_no_device(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_memory_range parts[] = {part(0, 4), part(8, 4)};
		struct guest guest;

		guest_start(&guest, backends[b], BLOCK, VFB_PAGE_4K, VFB_MEMORY_MEMFD);
		assert_ok(vfb_memory_discard(guest.memory, parts, 2, NULL));
		vfb_device_close(guest.device);
		assert_ok(vfb_memory_discard(guest.memory,
					     &(struct vfb_memory_range){.offset = 4 * BLOCK,
									.bytes = 4 * BLOCK},
					     1, NULL));
		assert_int_equal(present(&guest, 0, 12), 0);
		assert_ok(vfb_memory_restore(guest.memory, parts, 1, NULL));
		open_devices(&guest.host, 1, &guest.device);
		assert_true(dma_reaches(&guest, 0) && dma_reaches(&guest, 12));
		assert_discarded(&guest, 4, 8);
		parts[0] = part(0, 32);
		assert_ok(vfb_memory_restore(guest.memory, parts, 1, NULL));
		assert_whole(&guest);
		guest_end(&guest);
	}
}

/* What is looked up is found as long as it is mapped. */
static void test_translate(void **state)
{
	struct vfb_memory_range range = part(4, 1);
	struct vfb_translation piece;
	struct guest guest;
	char *address;

	(void)state;
	guest_start(&guest, VFB_BACKEND_IOMMUFD, BLOCK, VFB_PAGE_4K, VFB_MEMORY_MEMFD);
	address = address_of(guest.memory);
	assert_int_equal(vfb_space_translate(guest.host.space, IOVA, BYTES, &piece, 1), 1);
	for (size_t i = 0; i < 3; i++) {
		assert_ok(vfb_memory_discard(guest.memory, &range, 1, NULL));
		assert_fails(vfb_space_translate(guest.host.space, IOVA + 5 * BLOCK - 1, 1, &piece,
						 1),
			     -ENOENT, "not mapped");
		assert_fails(vfb_space_translate_address(guest.host.space, address + 4 * BLOCK, 1,
							 &piece, 1),
			     -ENOENT, "not mapped");
		assert_int_equal(vfb_space_translate(guest.host.space, IOVA, 4 * BLOCK, &piece, 1),
				 1);
		assert_int_equal(vfb_space_translate_address(guest.host.space, address + 5 * BLOCK,
							     27 * BLOCK, &piece, 1),
				 1);
		assert_int_equal(piece.iova, IOVA + 5 * BLOCK);
		assert_ok(vfb_memory_restore(guest.memory, &range, 1, NULL));
		assert_int_equal(vfb_space_translate(guest.host.space, IOVA, BYTES, &piece, 1), 1);
		assert_int_equal(piece.bytes, BYTES);
	}
	guest_end(&guest);
}

/* Each call of the kernel fails in turn: an entry is discarded, or mapped as it was. */
static void fail_discard(enum vfb_backend backend, const char *call, unsigned int nth,
			 bool best_effort)
{
	struct vfb_batch_opts opts = {.size = sizeof(opts),
				      .width = 1,
				      .flags = best_effort ? VFB_BATCH_BEST_EFFORT : 0};
	struct vfb_memory_range parts[] = {part(1, 2), part(5, 2), part(9, 2)};
	bool returns = !strcmp(call, "madvise");
	struct guest guest;

	guest_start(&guest, backend, BLOCK, VFB_PAGE_4K, VFB_MEMORY_MEMFD);
	fake_fail_call(guest.host.fake, call, nth, EINVAL);
	assert_fails(vfb_memory_discard(guest.memory, parts, 3, &opts), -EINVAL, "");
	for (size_t i = 0; i < 3; i++) {
		uint64_t first = parts[i].offset / BLOCK;

		if (!parts[i].status) {
			assert_discarded(&guest, first, 2);
			assert_true(best_effort || returns);
			continue;
		}
		assert_true(dma_reaches(&guest, first) && dma_reaches(&guest, first + 1));
		assert_int_equal(present(&guest, first, 2), 2 * BLOCK);
	}
	assert_true(parts[0].status || parts[1].status || parts[2].status);
	assert_ok(vfb_memory_restore(guest.memory, parts, 3, NULL));
	assert_whole(&guest);
	guest_end(&guest);
}

static void test_discard_fails(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 12; i++) {
		unsigned int nth = 1 + i / 4;

		fail_discard(backends[i & 1], i & 1 ? "IOMMU_IOAS_UNMAP" : "VFIO_IOMMU_UNMAP_DMA",
			     nth, i & 2);
		fail_discard(backends[i & 1], "madvise", nth, i & 2);
	}
}

/* The kernel neither unmaps an entry nor maps again what it has unmapped. */
static void test_stuck(void **state)
{
	struct vfb_memory_range range = part(1, 2);
	struct guest guest;

	(void)state;
	guest_start(&guest, VFB_BACKEND_TYPE1, BLOCK, VFB_PAGE_4K, VFB_MEMORY_MEMFD);
	fake_fail_call(guest.host.fake, "VFIO_IOMMU_UNMAP_DMA", 2, EIO);
	fake_fail_call(guest.host.fake, "VFIO_IOMMU_MAP_DMA", 1, ENOMEM);
	assert_fails(vfb_memory_discard(guest.memory, &range, 1, NULL), -EIO, "");
	assert_int_equal(range.status, -EIO);
	/* Nothing was returned; the second block was left. */
	assert_int_equal(present(&guest, 0, 32), BYTES);
	assert_false(dma_reaches(&guest, 1));
	assert_true(dma_reaches(&guest, 2));
	assert_ok(vfb_memory_restore(guest.memory, &range, 1, NULL));
	assert_whole(&guest);
	/* Once more, and unmapped before its pages are returned. */
	fake_fail_call(guest.host.fake, "VFIO_IOMMU_UNMAP_DMA", 2, EIO);
	fake_fail_call(guest.host.fake, "VFIO_IOMMU_MAP_DMA", 1, ENOMEM);
	assert_fails(vfb_memory_discard(guest.memory, &range, 1, NULL), -EIO, "");
	assert_ok(vfb_memory_discard(guest.memory, &range, 1, NULL));
	assert_discarded(&guest, 1, 2);
	guest_end(&guest);
}

static void fail_restore(enum vfb_backend backend, const char *call, unsigned int nth,
			 bool best_effort)
{
	struct vfb_batch_opts opts = {.size = sizeof(opts),
				      .width = 1,
				      .flags = best_effort ? VFB_BATCH_BEST_EFFORT : 0};
	struct vfb_memory_range parts[] = {part(1, 2), part(5, 2), part(9, 2)};
	size_t restored = 0;
	struct guest guest;

	guest_start(&guest, backend, BLOCK, VFB_PAGE_2M, VFB_MEMORY_MEMFD);
	assert_ok(vfb_memory_discard(guest.memory, parts, 3, NULL));
	fake_fail_call(guest.host.fake, call, nth, ENOMEM);
	assert_fails(vfb_memory_restore(guest.memory, parts, 3, &opts), -ENOMEM, "");
	for (size_t i = 0; i < 3; i++) {
		if (parts[i].status) {
			assert_discarded(&guest, parts[i].offset / BLOCK, 2);
			continue;
		}
		restored++;
		assert_true(dma_reaches(&guest, parts[i].offset / BLOCK + 1));
	}
	assert_int_equal(restored, best_effort ? 2 : 0);
	assert_int_equal(populated_of(guest.memory), BYTES - (6 - 2 * restored) * BLOCK);
	assert_ok(vfb_memory_restore(guest.memory, parts, 3, NULL));
	assert_whole(&guest);
	guest_end(&guest);
}

static void test_restore_fails(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 12; i++) {
		fail_restore(backends[i & 1], i & 1 ? "IOMMU_IOAS_MAP_FILE" : "VFIO_IOMMU_MAP_DMA",
			     1 + i / 4, i & 2);
		fail_restore(backends[i & 1], "madvise", 1 + i / 4, i & 2);
	}
}

/* A pool whose pages others have taken in the meantime. */
static void test_pool_is_empty(void **state)
{
	struct vfb_memory_range range = part(0, 16);
	struct vfb_memory *thief;
	struct guest guest;

	(void)state;
	guest_start(&guest, VFB_BACKEND_IOMMUFD, BLOCK, VFB_PAGE_2M, VFB_MEMORY_MEMFD);
	/* 64 pages, of which the memory has 32. */
	assert_ok(vfb_memory_discard(guest.memory, &range, 1, NULL));
	thief = make_memory(&guest.host, 48 * BLOCK, VFB_PAGE_2M);
	assert_fails(vfb_memory_restore(guest.memory, &range, 1, NULL), -ENOMEM, "nr_hugepages");
	assert_int_equal(range.status, -ENOMEM);
	assert_discarded(&guest, 0, 16);
	assert_ok(vfb_memory_destroy(thief));
	assert_ok(vfb_memory_restore(guest.memory, &range, 1, NULL));
	assert_whole(&guest);
	guest_end(&guest);
}

/* A cancel takes everything back. */
static void test_cancel(void **state)
{
	struct vfb_memory_range range = part(0, 32);
	struct vfb_job *job;
	struct guest guest;

	(void)state;
	guest_start(&guest, VFB_BACKEND_IOMMUFD, BLOCK, VFB_PAGE_4K, VFB_MEMORY_MEMFD);
	assert_ok(vfb_memory_discard(guest.memory, &range, 1, NULL));
	assert_ok(vfb_ctx_set_populate_rate(guest.host.ctx, MIB));
	assert_ok(vfb_memory_restore_start(guest.memory, &range, 1, NULL, &job));
	/* Meanwhile the range is nobody else's. */
	assert_fails(vfb_memory_discard(guest.memory, &range, 1, NULL), -EBUSY, "another job");
	assert_fails(vfb_space_unmap(guest.host.space, &guest.range, 1, NULL), -EBUSY, "");
	assert_fails(vfb_space_map(guest.host.space,
				   &(struct vfb_range){.memory = guest.memory,
						       .bytes = BLOCK,
						       .iova = 16 * GIB},
				   1, NULL),
		     -EBUSY, "discarded or restored");
	assert_fails(vfb_memory_destroy(guest.memory), -EBUSY, "");
	assert_int_equal(vfb_job_cancel_and_destroy(job), -ECANCELED);
	assert_int_equal(range.status, -ECANCELED);
	assert_discarded(&guest, 0, 32);
	assert_ok(vfb_ctx_set_populate_rate(guest.host.ctx, UINT64_MAX));
	assert_ok(vfb_memory_restore(guest.memory, &range, 1, NULL));
	assert_whole(&guest);
	guest_end(&guest);
}

/* A device that is added to others does not wait for what is being restored. */
static void test_device_is_added(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_memory_range range = part(0, 32);
		struct vfb_device *device;
		struct vfb_job *job;
		struct guest guest;

		guest_start(&guest, backends[b], BLOCK, VFB_PAGE_4K, VFB_MEMORY_MEMFD);
		add_device(guest.host.fake, addresses[1], 2, NULL);
		assert_ok(vfb_memory_discard(guest.memory, &range, 1, NULL));
		assert_ok(vfb_ctx_set_populate_rate(guest.host.ctx, MIB));
		assert_ok(vfb_memory_restore_start(guest.memory, &range, 1, NULL, &job));
		assert_ok(vfb_device_open(guest.host.space, addresses[1], &device));
		assert_int_equal(vfb_job_cancel_and_destroy(job), -ECANCELED);
		assert_ok(vfb_ctx_set_populate_rate(guest.host.ctx, UINT64_MAX));
		assert_ok(vfb_memory_restore(guest.memory, &range, 1, NULL));
		assert_whole(&guest);
		assert_true(fake_dma_write(guest.host.fake, addresses[1], IOVA, "dma", 4));
		assert_ok(vfb_device_close(device));
		guest_end(&guest);
	}
}

/* The limit of mappings counts blocks. */
static void test_blocks(void **state)
{
	struct vfb_space_opts opts = {.size = sizeof(opts), .block_bytes = 3 * MIB};
	struct vfb_map_plan plan = VFB_MAP_PLAN_INIT;
	struct vfb_space *space;
	struct guest guest;

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_range range;

		guest_start(&guest, backends[b], 4 * MIB, VFB_PAGE_4K, VFB_MEMORY_ANONYMOUS);
		assert_int_equal(stats_of(&guest.host).mappings, BYTES / (4 * MIB));
		/* From the middle of a block to the middle of another. */
		range = (struct vfb_range){.memory = guest.memory,
					   .offset = MIB,
					   .bytes = 8 * MIB,
					   .iova = 16 * GIB};
		assert_ok(vfb_space_map_plan(guest.host.space, &range, 1, NULL, &plan));
		assert_int_equal(plan.map_calls, 3);
		guest_end(&guest);
	}
	host_open(&guest.host, NULL);
	for (size_t i = 0; i < 3; i++) {
		assert_fails(vfb_space_create(guest.host.ctx, &opts, &space), -EINVAL,
			     "power of two");
		opts.block_bytes = i ? 2 * GIB : MIB;
	}
	host_close(&guest.host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round),	      cmocka_unit_test(test_small),
		cmocka_unit_test(test_refused),	      cmocka_unit_test(test_joined),
		cmocka_unit_test(test_spaces),	      cmocka_unit_test(test_no_device),
		cmocka_unit_test(test_translate),     cmocka_unit_test(test_discard_fails),
		cmocka_unit_test(test_stuck),	      cmocka_unit_test(test_restore_fails),
		cmocka_unit_test(test_pool_is_empty), cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_blocks),	      cmocka_unit_test(test_device_is_added),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
