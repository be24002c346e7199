/* SPDX-License-Identifier: MIT */
#ifndef BENCH_SMALL_H
#define BENCH_SMALL_H

#include <stdbool.h>
#include <vfioboost.h>

struct small_options {
	const char *device;
	enum vfb_backend backend;
	/* The size of the job beside which small maps are measured; 0: none. */
	uint64_t beside;
	unsigned int repeat;
	bool json;
};

/* Maps and unmaps one page by the library and by bare system calls, in turns, and prints how they
 * compare. Returns the command's exit status. */
int bench_small(const struct small_options *options);

/* What small maps are measured with. */
struct small_bench {
	struct vfb_ctx *ctx;
	struct vfb_space *space;
	struct vfb_space_info info;
	struct vfb_device *device;
	/* One page, which is populated. */
	struct vfb_memory *memory;
	void *address;
};

#define SMALL_PAGE base_page_bytes()
#define SMALL_IOVA (UINT64_C(1) << 30)

/* Prints why it fails. Destroy it in any case. */
int small_create(struct small_bench *bench, const struct small_options *options);
void small_destroy(struct small_bench *bench);

/* The bare system calls. */
int small_map_bare(const struct small_bench *bench);
int small_unmap_bare(const struct small_bench *bench);

/* The same maps alone and while a job maps options->beside bytes. Returns the exit status. */
int bench_map_beside(const struct small_options *options);

#endif
