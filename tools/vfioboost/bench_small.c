/* SPDX-License-Identifier: MIT */
/* vfioboost bench map --small: one page mapped and unmapped, beside the two bare system calls. */
#include "bench_small.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <vfioboost.h>

#include "arguments.h"
#include "clock.h"
#include "command.h"
#include "output.h"
#include "rounds.h"
#include "sys/uapi.h"

/* In one measurement, which begins with a few that are not counted. */
#define PAIRS	512
#define WARM_UP 16

/* The lines. */
enum {
	LIBRARY,
	SYSCALLS,
	LINES,
};

/* What is measured of each: seconds for a page. */
enum {
	MAP,
	UNMAP,
	PAIR,
	VALUES,
};

int small_create(struct small_bench *bench, const struct small_options *options)
{
	struct vfb_space_opts space = VFB_SPACE_OPTS_INIT;
	struct vfb_memory_opts memory = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	int error;

	bench->info = (struct vfb_space_info)VFB_SPACE_INFO_INIT;
	space.backend = options->backend;
	memory.bytes = SMALL_PAGE;
	memory.page_size = VFB_PAGE_BASE;
	error = vfb_ctx_create(NULL, &bench->ctx);
	if (!error)
		error = vfb_space_create(bench->ctx, &space, &bench->space);
	if (!error)
		error = vfb_device_open(bench->space, options->device, &bench->device);
	if (!error)
		error = vfb_memory_create(bench->ctx, &memory, &bench->memory);
	if (!error)
		error = vfb_memory_populate(bench->memory);
	if (!error)
		error = vfb_memory_info(bench->memory, &info);
	if (!error)
		error = vfb_space_info(bench->space, &bench->info);
	bench->address = info.address;
	return complain(error);
}

void small_destroy(struct small_bench *bench)
{
	vfb_device_close(bench->device);
	vfb_space_destroy(bench->space);
	vfb_memory_destroy(bench->memory);
	vfb_ctx_destroy(bench->ctx);
}

int small_map_bare(const struct small_bench *bench)
{
	struct vfio_iommu_type1_dma_map type1 = {
		.argsz = sizeof(type1),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)bench->address,
		.iova = SMALL_IOVA,
		.size = SMALL_PAGE,
	};
	struct vfb_iommu_ioas_map iommufd = {
		.size = sizeof(iommufd),
		.flags = VFB_IOMMU_IOAS_MAP_FIXED_IOVA | VFB_IOMMU_IOAS_MAP_READABLE |
			 VFB_IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = bench->info.ioas,
		.user_va = (uintptr_t)bench->address,
		.length = SMALL_PAGE,
		.iova = SMALL_IOVA,
	};

	return bench->info.backend == VFB_BACKEND_IOMMUFD ?
		       ioctl(bench->info.fd, VFB_IOMMU_IOAS_MAP, &iommufd) :
		       ioctl(bench->info.fd, VFIO_IOMMU_MAP_DMA, &type1);
}

int small_unmap_bare(const struct small_bench *bench)
{
	struct vfio_iommu_type1_dma_unmap type1 = {
		.argsz = sizeof(type1),
		.iova = SMALL_IOVA,
		.size = SMALL_PAGE,
	};
	struct vfb_iommu_ioas_unmap iommufd = {
		.size = sizeof(iommufd),
		.ioas_id = bench->info.ioas,
		.iova = SMALL_IOVA,
		.length = SMALL_PAGE,
	};

	return bench->info.backend == VFB_BACKEND_IOMMUFD ?
		       ioctl(bench->info.fd, VFB_IOMMU_IOAS_UNMAP, &iommufd) :
		       ioctl(bench->info.fd, VFIO_IOMMU_UNMAP_DMA, &type1);
}

/* Maps and unmaps once, and adds what that took. */
static int run_pair(const struct small_bench *bench, size_t line, double *values)
{
	struct vfb_range range = {.memory = bench->memory, .bytes = SMALL_PAGE, .iova = SMALL_IOVA};
	uint64_t begin = clock_ns(), mapped, end;
	int error;

	error = line == LIBRARY ? vfb_space_map(bench->space, &range, 1, NULL) :
				  small_map_bare(bench);
	mapped = clock_ns();
	if (!error)
		error = line == LIBRARY ? vfb_space_unmap(bench->space, &range, 1, NULL) :
					  small_unmap_bare(bench);
	end = clock_ns();
	values[MAP] += (mapped - begin) * 1e-9 / PAIRS;
	values[UNMAP] += (end - mapped) * 1e-9 / PAIRS;
	values[PAIR] += (end - begin) * 1e-9 / PAIRS;
	return error;
}

static int measure(void *data, size_t line, double *values)
{
	int error = 0;

	for (int i = 0; i < WARM_UP + PAIRS && !error; i++) {
		if (i == WARM_UP)
			memset(values, 0, VALUES * sizeof(*values));
		error = run_pair(data, line, values);
	}
	if (error && line == LIBRARY)
		return complain(error);
	if (error)
		perror("vfioboost: cannot map or unmap by a bare system call");
	return error;
}

static int print(const struct small_options *options, const struct small_bench *bench,
		 const struct rounds *rounds)
{
	static const char *const names[LINES] = {"library", "syscalls"};
	static const char *const parts[VALUES] = {"map", "unmap", "pair"};
	double seconds[LINES][VALUES];
	struct output output;
	char key[64];

	output_begin(&output, options->json);
	output_text(&output,
		    "%ju KiB, %s, Linux %s, medians of %u runs of %d\n\n%-9s %10s %10s %10s\n",
		    (uintmax_t)SMALL_PAGE >> 10, backend_names[bench->info.backend],
		    output_kernel(), options->repeat, PAIRS, "us", "map", "unmap", "both");
	output_add(&output, "backend", json_object_new_string(backend_names[bench->info.backend]));
	output_add(&output, "memory_bytes", json_object_new_uint64(SMALL_PAGE));
	output_add(&output, "repeat", json_object_new_int(options->repeat));
	output_add(&output, "pairs", json_object_new_int(PAIRS));
	for (size_t line = 0; line < LINES; line++) {
		for (size_t value = 0; value < VALUES; value++) {
			seconds[line][value] = rounds_median(rounds, line, value);
			snprintf(key, sizeof(key), "%s_%s_s", names[line], parts[value]);
			output_add(&output, key, json_object_new_double(seconds[line][value]));
		}
		output_text(&output, "%-9s %10.2f %10.2f %10.2f\n", names[line],
			    seconds[line][MAP] * 1e6, seconds[line][UNMAP] * 1e6,
			    seconds[line][PAIR] * 1e6);
	}
	output_text(&output, "library / syscalls: %.3f\n",
		    seconds[LIBRARY][PAIR] / seconds[SYSCALLS][PAIR]);
	output_add(&output, "ratio",
		   json_object_new_double(seconds[LIBRARY][PAIR] / seconds[SYSCALLS][PAIR]));
	return output_end(&output);
}

int bench_small(const struct small_options *options)
{
	struct small_bench bench = {0};
	struct rounds rounds = {LINES, VALUES, options->repeat, measure, &bench, NULL};
	int status = EXIT_FAILED;

	if (!small_create(&bench, options) && !rounds_run(&rounds, 0, LINES))
		status = print(options, &bench, &rounds);
	rounds_free(&rounds);
	small_destroy(&bench);
	return status;
}
