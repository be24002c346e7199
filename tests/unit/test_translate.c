/* SPDX-License-Identifier: MIT */
/* Translating addresses: pieces, gaps, aliases, and while mappings come and go. */
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>

#include "host.h"

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD,
					    VFB_BACKEND_NONE};

struct guest {
	struct host host;
	struct vfb_device *device;
	struct vfb_memory *memory;
	char *base;
};

static void start(struct guest *guest, enum vfb_backend backend)
{
	guest->device = NULL;
	if (backend == VFB_BACKEND_NONE) {
		host_open(&guest->host, NULL);
		host_space(&guest->host, backend);
	} else {
		host_start(&guest->host, NULL, backend, 1, &guest->device);
	}
	guest->memory = make_memory(&guest->host, 64 * MIB, VFB_PAGE_4K);
	guest->base = address_of(guest->memory);
}

static void map(struct guest *guest, uint64_t offset, uint64_t bytes, uint64_t iova, uint32_t flags)
{
	struct vfb_range range = {.memory = guest->memory,
				  .offset = offset,
				  .bytes = bytes,
				  .iova = iova,
				  .flags = flags};

	assert_ok(vfb_space_map(guest->host.space, &range, 1, NULL));
}

static void unmap(struct guest *guest, uint64_t iova, uint64_t bytes)
{
	struct vfb_range range = {.bytes = bytes, .iova = iova};

	assert_ok(vfb_space_unmap(guest->host.space, &range, 1, NULL));
}

/* A buffer in one piece, found both ways. */
static void assert_found(struct guest *guest, uint64_t iova, uint64_t bytes, uint64_t offset,
			 uint32_t flags)
{
	struct vfb_translation piece;

	assert_int_equal(vfb_space_translate(guest->host.space, iova, bytes, &piece, 1), 1);
	assert_ptr_equal(piece.address, guest->base + offset);
	assert_int_equal(piece.iova, iova);
	assert_int_equal(piece.bytes, bytes);
	assert_int_equal(piece.flags, flags ? flags : VFB_RANGE_READ | VFB_RANGE_WRITE);
	assert_int_equal(vfb_space_translate_address(guest->host.space, guest->base + offset, bytes,
						     &piece, 1),
			 1);
	assert_int_equal(piece.iova, iova);
	assert_ptr_equal(piece.address, guest->base + offset);
}

static void assert_not_found(struct guest *guest, uint64_t iova, uint64_t bytes)
{
	struct vfb_translation piece;

	assert_fails(vfb_space_translate(guest->host.space, iova, bytes, &piece, 1), -ENOENT,
		     "not mapped");
}

static void test_pieces(void **state)
{
	(void)state;
	for (size_t b = 0; b < 3; b++) {
		struct vfb_translation pieces[3];
		struct guest guest;

		start(&guest, backends[b]);
		assert_not_found(&guest, 0, 1);
		assert_int_equal(vfb_space_translate(guest.host.space, 0, 0, NULL, 0), 0);
		map(&guest, 0, 4 * MIB, GIB, 0);
		map(&guest, 16 * MIB, 4 * MIB, GIB + 4 * MIB, VFB_RANGE_READ);
		map(&guest, 8 * MIB, 4 * MIB, GIB + 8 * MIB, 0);
		assert_found(&guest, GIB, 4 * MIB, 0, 0);
		assert_found(&guest, GIB + 4 * MIB - 1, 1, 4 * MIB - 1, 0);
		assert_found(&guest, GIB + 4 * MIB, 1, 16 * MIB, VFB_RANGE_READ);
		assert_found(&guest, GIB + 12 * MIB - 1, 1, 12 * MIB - 1, 0);
		/* Over all three; only what there is room for is written. */
		memset(pieces, 0xff, sizeof(pieces));
		assert_int_equal(vfb_space_translate(guest.host.space, GIB + MIB, 10 * MIB, pieces,
						     2),
				 3);
		assert_ptr_equal(pieces[0].address, guest.base + MIB);
		assert_int_equal(pieces[0].bytes, 3 * MIB);
		assert_ptr_equal(pieces[1].address, guest.base + 16 * MIB);
		assert_int_equal(pieces[1].bytes, 4 * MIB);
		assert_int_equal(pieces[1].iova, GIB + 4 * MIB);
		assert_int_equal(pieces[2].bytes, UINT64_MAX);
		assert_int_equal(vfb_space_translate(guest.host.space, GIB + MIB, 10 * MIB, NULL,
						     0),
				 3);
		/* Beyond either end, in between, around the end of 64 bits. */
		assert_not_found(&guest, GIB - 1, 2);
		assert_not_found(&guest, GIB - 1, 1);
		assert_not_found(&guest, GIB + 12 * MIB - 1, 2);
		assert_not_found(&guest, GIB + 12 * MIB, 1);
		assert_not_found(&guest, GIB, UINT64_MAX);
		assert_not_found(&guest, UINT64_MAX, UINT64_MAX);
		unmap(&guest, GIB + 4 * MIB, 4 * MIB);
		assert_not_found(&guest, GIB + 4 * MIB, 1);
		assert_not_found(&guest, GIB + MIB, 10 * MIB);
		assert_found(&guest, GIB + 8 * MIB, 4 * MIB, 8 * MIB, 0);
		unmap(&guest, GIB, 4 * MIB);
		unmap(&guest, GIB + 8 * MIB, 4 * MIB);
		assert_not_found(&guest, GIB, 1);
		host_end(&guest.host, guest.device, guest.memory);
	}
}

/* Neighbours in both are one piece; at IOVA 0, and at the last one. */
static void test_ends(void **state)
{
	struct guest guest;
	struct vfb_translation piece;

	(void)state;
	start(&guest, VFB_BACKEND_NONE);
	map(&guest, 0, 4 * MIB, 0, 0);
	map(&guest, 4 * MIB, 4 * MIB, 4 * MIB, 0);
	map(&guest, 32 * MIB, 4 * MIB, -4 * MIB, 0);
	assert_found(&guest, 0, 8 * MIB, 0, 0);
	assert_found(&guest, -4 * MIB, 4 * MIB, 32 * MIB, 0);
	assert_found(&guest, UINT64_MAX, 1, 36 * MIB - 1, 0);
	/* From the last IOVA to the first. */
	assert_not_found(&guest, UINT64_MAX, 2);
	assert_fails(vfb_space_translate_address(guest.host.space, guest.base + 8 * MIB, 1, &piece,
						 1),
		     -ENOENT, "address");
	unmap(&guest, 0, 8 * MIB);
	unmap(&guest, -4 * MIB, 4 * MIB);
	host_end(&guest.host, NULL, guest.memory);
}

/* The same memory several times, in part. */
static void test_aliases(void **state)
{
	struct vfb_translation pieces[2];
	struct guest guest;

	(void)state;
	start(&guest, VFB_BACKEND_NONE);
	map(&guest, 0, 4 * MIB, 2 * GIB, 0);
	map(&guest, 2 * MIB, 4 * MIB, GIB, 0);
	map(&guest, 3 * MIB, MIB, 4 * GIB, 0);
	assert_int_equal(vfb_space_translate_address(guest.host.space, guest.base, 6 * MIB, pieces,
						     2),
			 2);
	assert_int_equal(pieces[0].iova, 2 * GIB);
	assert_int_equal(pieces[0].bytes, 4 * MIB);
	assert_int_equal(pieces[1].iova, GIB + 2 * MIB);
	assert_int_equal(pieces[1].bytes, 2 * MIB);
	unmap(&guest, 2 * GIB, 4 * MIB);
	assert_int_equal(vfb_space_translate_address(guest.host.space, guest.base + 3 * MIB, MIB,
						     pieces, 2),
			 1);
	assert_int_equal(pieces[0].iova, GIB + MIB);
	unmap(&guest, GIB, 4 * MIB);
	assert_found(&guest, 4 * GIB, MIB, 3 * MIB, 0);
	unmap(&guest, 4 * GIB, MIB);
	host_end(&guest.host, NULL, guest.memory);
}

/* What is kept for a device, and what went with the domain, is found all the same. */
static void test_without_domain(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct guest guest;

		start(&guest, backends[b]);
		map(&guest, 0, 4 * MIB, GIB, 0);
		vfb_device_close(guest.device);
		assert_found(&guest, GIB, 4 * MIB, 0, 0);
		map(&guest, 4 * MIB, 4 * MIB, 2 * GIB, 0);
		assert_found(&guest, 2 * GIB, 4 * MIB, 4 * MIB, 0);
		assert_ok(vfb_device_open(guest.host.space, addresses[0], &guest.device));
		assert_found(&guest, GIB, 4 * MIB, 0, 0);
		assert_found(&guest, 2 * GIB, 4 * MIB, 4 * MIB, 0);
		unmap(&guest, GIB, 4 * MIB);
		unmap(&guest, 2 * GIB, 4 * MIB);
		host_end(&guest.host, guest.device, guest.memory);
	}
}

/* A range of a job that has not ended: found by whoever has waited for it, until it is undone. */
static void test_early(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_range ranges[2];
		struct vfb_memory *large;
		struct vfb_job *job;
		struct guest guest;

		start(&guest, backends[b]);
		large = make_memory(&guest.host, 4 * GIB, VFB_PAGE_4K);
		ranges[0] = (struct vfb_range){.memory = guest.memory,
					       .bytes = 64 * MIB,
					       .iova = GIB,
					       .priority = 1};
		ranges[1] = (struct vfb_range){.memory = large, .bytes = 4 * GIB, .iova = 4 * GIB};
		assert_ok(vfb_space_map_start(guest.host.space, ranges, 2, NULL, &job));
		assert_ok(vfb_job_wait_entry(job, 0, UINT64_MAX));
		assert_found(&guest, GIB, 64 * MIB, 0, 0);
		assert_not_found(&guest, 4 * GIB, 1);
		vfb_job_cancel(job);
		assert_int_equal(vfb_job_wait(job, UINT64_MAX), -ECANCELED);
		vfb_job_destroy(job);
		assert_not_found(&guest, GIB, 1);
		assert_ok(vfb_memory_destroy(large));
		host_end(&guest.host, guest.device, guest.memory);
	}
}

/* An unmap that fails leaves what it was to unmap to be found. */
static void test_unmap_fails(void **state)
{
	struct vfb_range range = {.bytes = 4 * MIB, .iova = GIB};
	struct guest guest;

	(void)state;
	start(&guest, VFB_BACKEND_IOMMUFD);
	map(&guest, 0, 4 * MIB, GIB, 0);
	fake_fail_call(guest.host.fake, "IOMMU_IOAS_UNMAP", 1, EBUSY);
	assert_fails(vfb_space_unmap(guest.host.space, &range, 1, NULL), -EBUSY, "cannot unmap");
	assert_found(&guest, GIB, 4 * MIB, 0, 0);
	unmap(&guest, GIB, 4 * MIB);
	host_end(&guest.host, guest.device, guest.memory);
}

static void test_none(void **state)
{
	struct vfb_device *device;
	struct guest guest;

	(void)state;
	start(&guest, VFB_BACKEND_NONE);
	add_devices(guest.host.fake, 1);
	assert_fails(vfb_device_open(guest.host.space, addresses[0], &device), -ENOTSUP,
		     "VFB_BACKEND_NONE");
	assert_int_equal(info_of(guest.host.space).backend, VFB_BACKEND_NONE);
	map(&guest, 0, 64 * MIB, 0, 0);
	assert_int_equal(populated_of(guest.memory), 64 * MIB);
	unmap(&guest, 0, 64 * MIB);
	host_end(&guest.host, NULL, guest.memory);
}

/* Readers beside a writer: what stays is always found where it is, what comes and goes is found
 * rightly or not at all. */
struct reader {
	struct guest *guest;
	pthread_t thread;
	atomic_bool *stop;
	uint64_t found;
	bool wrong;
};

static void *read_on(void *arg)
{
	struct reader *reader = arg;
	struct guest *guest = reader->guest;
	struct vfb_translation piece;

	while (!atomic_load(reader->stop) && !reader->wrong) {
		int there = vfb_space_translate(guest->host.space, GIB + 12345, 64, &piece, 1);

		reader->wrong = there != 1 || piece.address != guest->base + 12345;
		there = vfb_space_translate(guest->host.space, 2 * GIB + 4096, 64, &piece, 1);
		if (there == 1)
			reader->wrong = reader->wrong ||
					piece.address != guest->base + 4 * MIB + 4096;
		reader->found += there == 1;
	}
	return NULL;
}

static void test_readers(void **state)
{
	struct reader readers[2];
	atomic_bool stop = false;
	struct guest guest;

	(void)state;
	start(&guest, VFB_BACKEND_NONE);
	map(&guest, 0, 4 * MIB, GIB, 0);
	for (size_t i = 0; i < 2; i++) {
		readers[i] = (struct reader){.guest = &guest, .stop = &stop};
		assert_int_equal(pthread_create(&readers[i].thread, NULL, read_on, &readers[i]), 0);
	}
	for (int i = 0; i < 300; i++) {
		map(&guest, 4 * MIB, 4 * MIB, 2 * GIB, 0);
		unmap(&guest, 2 * GIB, 4 * MIB);
	}
	atomic_store(&stop, true);
	for (size_t i = 0; i < 2; i++) {
		pthread_join(readers[i].thread, NULL);
		assert_false(readers[i].wrong);
	}
	unmap(&guest, GIB, 4 * MIB);
	host_end(&guest.host, NULL, guest.memory);
}

#define PAGES	  3000
#define MEMORY	  1024
#define RUN_PAGES 8

/* Which page of the memory is mapped at each page, and how long the range is that begins there. */
struct model {
	int page[PAGES + RUN_PAGES + 1], length[PAGES];
};

static void change_model(struct guest *guest, struct model *model)
{
	int at = random() % PAGES, length = 1 + random() % RUN_PAGES;
	int page = random() % (MEMORY - RUN_PAGES);

	if (model->length[at]) {
		unmap(guest, at * 0x1000ull, model->length[at] * 0x1000ull);
		for (int i = at; i < at + model->length[at]; i++)
			model->page[i] = -1;
		model->length[at] = 0;
		return;
	}
	for (int i = at; i < at + length; i++)
		if (i >= PAGES || model->page[i] >= 0)
			return;
	/* Often next to its neighbour in both. */
	if (at && model->page[at - 1] >= 0 && model->page[at - 1] + length < MEMORY && random() % 2)
		page = model->page[at - 1] + 1;
	map(guest, page * 0x1000ull, length * 0x1000ull, at * 0x1000ull, 0);
	model->length[at] = length;
	for (int i = 0; i < length; i++)
		model->page[at + i] = page + i;
}

/* Two pages that are mapped are one piece where they are next to each other in memory. */
static void assert_pages(struct guest *guest, const struct model *model, int at)
{
	int page = model->page[at], next = model->page[at + 1];
	struct vfb_translation pieces[2];
	int count = vfb_space_translate(guest->host.space, at * 0x1000ull, 0x2000, pieces, 2);

	assert_int_equal(count, page < 0 || next < 0 ? -ENOENT : next == page + 1 ? 1 : 2);
	if (count > 0)
		assert_ptr_equal(pieces[0].address, guest->base + page * 0x1000);
	if (count == 2)
		assert_ptr_equal(pieces[1].address, guest->base + next * 0x1000);
}

static void assert_address(struct guest *guest, const struct model *model, int page)
{
	struct vfb_translation piece;
	bool mapped = false;

	for (int i = 0; i < PAGES; i++)
		mapped = mapped || model->page[i] == page;
	assert_int_equal(vfb_space_translate_address(guest->host.space, guest->base + page * 0x1000,
						     0x1000, &piece, 1),
			 mapped ? 1 : -ENOENT);
	if (mapped)
		assert_int_equal(model->page[piece.iova / 0x1000], page);
}

/* Many ranges come and go, and share memory: what is beside a change stays right. */
static void test_random(void **state)
{
	static struct model model;
	struct guest guest;

	(void)state;
	start(&guest, VFB_BACKEND_NONE);
	memset(model.page, 0xff, sizeof(model.page));
	srandom(1);
	for (int step = 0; step < 20000; step++) {
		int at = random() % PAGES;

		change_model(&guest, &model);
		assert_pages(&guest, &model, at);
		if (step % 16 == 0)
			assert_address(&guest, &model, random() % MEMORY);
	}
	for (int at = 0; at < PAGES; at++)
		assert_pages(&guest, &model, at);
	for (int page = 0; page < MEMORY; page++)
		assert_address(&guest, &model, page);
	assert_ok(vfb_space_unmap_all(guest.host.space));
	assert_not_found(&guest, 0, PAGES * 0x1000ull);
	host_end(&guest.host, NULL, guest.memory);
}

/* Replaced tables are freed in the course of changes, not only at the end. */
static void test_memory(void **state)
{
	struct guest guest;
	size_t before, after;

	(void)state;
	start(&guest, VFB_BACKEND_NONE);
	map(&guest, 0, 4 * KIB, GIB, 0);
	assert_found(&guest, GIB, 8, 0, 0);
	before = mallinfo2().uordblks;
	for (int i = 0; i < 5000; i++) {
		map(&guest, 8 * KIB, 4 * KIB, 2 * GIB, 0);
		unmap(&guest, 2 * GIB, 4 * KIB);
	}
	after = mallinfo2().uordblks;
	assert_true(after < before + 4 * MIB);
	unmap(&guest, GIB, 4 * KIB);
	assert_ok(vfb_memory_destroy(guest.memory));
	host_close(&guest.host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces),	cmocka_unit_test(test_ends),
		cmocka_unit_test(test_aliases), cmocka_unit_test(test_without_domain),
		cmocka_unit_test(test_early),	cmocka_unit_test(test_unmap_fails),
		cmocka_unit_test(test_none),	cmocka_unit_test(test_readers),
		cmocka_unit_test(test_random),	cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests_name("translate", tests, NULL, NULL);
}
