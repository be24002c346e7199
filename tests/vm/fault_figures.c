/* SPDX-License-Identifier: MIT */
/*
 * How long the mock device waits for the answer to a fault: of the library, of a bare handler, and
 * mapping alone, in turn.
 *
 *	scripts/vm --kernel latest -- build/tests/vm/fault_figures
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fault_bed.h"

#define FIGURES 32

/* The least that a handler can do: one thread, which maps the window and answers. */
struct bare {
	struct mock mock;
	int faults;
	uint32_t queue;
	char *memory;
	sem_t handled;
	pthread_t thread;
};

static int map_bare(const struct mock *mock, char *address, uint64_t iova)
{
	struct vfb_iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = VFB_IOMMU_IOAS_MAP_FIXED_IOVA | VFB_IOMMU_IOAS_MAP_READABLE |
			 VFB_IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = mock->ioas,
		.user_va = (uintptr_t)address,
		.length = 2 * MIB,
		.iova = iova,
	};

	return ioctl(mock->iommufd, VFB_IOMMU_IOAS_MAP, &map);
}

static void *bare_run(void *arg)
{
	struct bare *bare = arg;

	for (unsigned int i = 0; i < FIGURES; i++) {
		struct pollfd ready = {.fd = bare->faults, .events = POLLIN};
		struct vfb_iommu_hwpt_page_response answer = {0};
		struct vfb_iommu_hwpt_pgfault fault;

		check(poll(&ready, 1, -1) == 1);
		check(read(bare->faults, &fault, sizeof(fault)) == sizeof(fault));
		check(!map_bare(&bare->mock, bare->memory + (fault.addr - MOCK_BASE), fault.addr));
		answer.cookie = fault.cookie;
		check(write(bare->faults, &answer, sizeof(answer)) == sizeof(answer));
		sem_post(&bare->handled);
	}
	return NULL;
}

static char *map_memory(uint64_t bytes)
{
	char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			    0);

	check(memory != MAP_FAILED && !madvise(memory, bytes, MADV_NOHUGEPAGE));
	return memory;
}

static int by_value(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static double median(double *values)
{
	qsort(values, FIGURES, sizeof(*values), by_value);
	return values[FIGURES / 2];
}

/* From raising a fault to its answer; the bare map alone; all in turn. */
static void compare(bool populated, unsigned int threads)
{
	uint64_t bytes = FIGURES * 2 * MIB;
	double library[FIGURES], bare_handler[FIGURES], map[FIGURES], began, of[3];
	struct bare bare;
	struct bed bed;
	char *memory = map_memory(bytes);

	bed_make_queue(&bed.mock, &bed.faults, &bed.queue);
	bed_add_space(&bed, bytes, 2 * MIB, 0, threads);
	bed_make_queue(&bare.mock, &bare.faults, &bare.queue);
	bare.memory = map_memory(bytes);
	if (populated) {
		memset(memory, 1, bytes);
		memset(bare.memory, 1, bytes);
		check(!vfb_memory_populate(bed.memory));
	}
	sem_init(&bare.handled, 0, 0);
	check(!pthread_create(&bare.thread, NULL, bare_run, &bare));
	for (unsigned int i = 0; i < FIGURES; i++) {
		uint64_t iova = MOCK_BASE + i * 2 * MIB;

		began = bed_now_us();
		bed_raise_fault(&bed.mock, iova, 1);
		bed_wait_handled(&bed);
		library[i] = bed_now_us() - began;
		began = bed_now_us();
		bed_raise_fault(&bare.mock, iova, 1);
		while (sem_wait(&bare.handled))
			check(errno == EINTR);
		bare_handler[i] = bed_now_us() - began;
		began = bed_now_us();
		check(!map_bare(&bare.mock, memory + i * 2 * MIB, iova + bytes));
		map[i] = bed_now_us() - began;
	}
	pthread_join(bare.thread, NULL);
	of[0] = median(library);
	of[1] = median(bare_handler);
	of[2] = median(map);
	printf("2 MiB of 4K pages, %s, %u threads, medians: library %.0f us, bare handler %.0f us (x%.2f, %+.0f "
	       "us), bare map %.0f us (x%.2f, %+.0f us); read to answer %.0f us, p99 %.0f us\n",
	       populated ? "populated" : "not populated", threads, of[0], of[1], of[0] / of[1],
	       of[0] - of[1], of[2], of[0] / of[2], of[0] - of[2],
	       bed_info(&bed).fault_median_ns / 1e3, bed_info(&bed).fault_p99_ns / 1e3);
	bed_free(&bed);
	close(bare.faults);
	close(bare.mock.iommufd);
	munmap(memory, bytes);
	munmap(bare.memory, bytes);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned int threads = 1; threads <= 2; threads++) {
		compare(false, threads);
		compare(true, threads);
	}
	return 0;
}
