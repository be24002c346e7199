/* SPDX-License-Identifier: MIT */
#include "meter.h"

#include <linux/vfio.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "fake.h"
#include "sys/uapi.h"

static struct vfb_sys table;
static const struct vfb_sys *kernel;
/* What looking at the clock twice adds to a thread's time, and a call that does nothing. */
static uint64_t clock_ns;
static double nothing_ns;
static atomic_uint_fast64_t cpu_ns, calls, locks, waits, wakes, threads, steps, looks;

static _Thread_local struct {
	bool inside;
	uint64_t began_ns, steps, looks;
	struct fake_locks locks;
} self;

static uint64_t thread_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

void meter_begin(void)
{
	self.locks = fake_locks();
	self.inside = true;
	self.began_ns = thread_ns();
}

void meter_end(void)
{
	uint64_t ns = thread_ns() - self.began_ns;
	struct fake_locks now = fake_locks();

	self.inside = false;
	atomic_fetch_add(&cpu_ns, ns > clock_ns ? ns - clock_ns : 0);
	atomic_fetch_add(&locks, now.taken - self.locks.taken);
	atomic_fetch_add(&waits, now.waited - self.locks.waited);
	atomic_fetch_add(&calls, 1);
	atomic_fetch_add(&steps, self.steps);
	atomic_fetch_add(&looks, self.looks);
	self.steps = self.looks = 0;
}

/* The fastest of many. */
static uint64_t measure_clock(void)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < 1000; i++) {
		uint64_t begin = thread_ns(), ns = thread_ns() - begin;

		if (ns < least)
			least = ns;
	}
	return least;
}

/* ---- Calls ---- */

#define UNTIMED(type, name, parameters, ...)                  \
	static type pass_##name parameters                    \
	{                                                     \
		type result;                                  \
                                                              \
		(void)sys;                                    \
		meter_end();                                  \
		result = kernel->name(kernel, ##__VA_ARGS__); \
		meter_begin();                                \
		return result;                                \
	}
#define UNTIMED_VOID(name, parameters, ...)          \
	static void pass_##name parameters           \
	{                                            \
		(void)sys;                           \
		meter_end();                         \
		kernel->name(kernel, ##__VA_ARGS__); \
		meter_begin();                       \
	}
#define TIMED(type, name, parameters, operation, bytes, ...) \
	UNTIMED(type, name, parameters, ##__VA_ARGS__)
#define TIMED_VOID(name, parameters, operation, ...) UNTIMED_VOID(name, parameters, ##__VA_ARGS__)
#include "sys/calls.def"

static uint64_t base_page(const struct vfb_sys *sys)
{
	(void)sys;
	return 4096;
}

static int madvise_nothing(const struct vfb_sys *sys, void *addr, size_t bytes, int advice)
{
	if (advice != MADV_POPULATE_WRITE || !bytes)
		return pass_madvise(sys, addr, bytes, advice);
	self.steps++;
	return 0;
}

/* As many steps as the same by madvise(2). */
static int touch_nothing(const struct vfb_sys *sys, struct vfb_touch *touch)
{
	uint64_t step = touch->page_bytes > FAKE_MIB ? touch->page_bytes : 2 * FAKE_MIB;

	(void)sys;
	self.steps += (touch->bytes + step - 1) / step;
	touch->touched = touch->bytes;
	return 0;
}

/* Asked for twice in each part that is populated: too often to be timed, as well. */
static uint64_t now_here(const struct vfb_sys *sys)
{
	struct timespec time;

	(void)sys;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static int mincore_all(const struct vfb_sys *sys, void *addr, size_t bytes, unsigned char *present)
{
	(void)sys;
	(void)addr;
	self.looks++;
	memset(present, 1, (bytes + 4095) / 4096);
	return 0;
}

static int ioctl_quick(const struct vfb_sys *sys, int fd, unsigned long request, void *arg)
{
	switch (request) {
	case VFIO_IOMMU_MAP_DMA:
	case VFIO_IOMMU_UNMAP_DMA:
	case VFB_IOMMU_IOAS_MAP:
	case VFB_IOMMU_IOAS_MAP_FILE:
	case VFB_IOMMU_IOAS_UNMAP:
		return 0;
	default:
		return pass_ioctl(sys, fd, request, arg);
	}
}

static void count_signal(const struct vfb_sys *sys, pthread_cond_t *cond)
{
	atomic_fetch_add(&wakes, 1);
	pass_cond_signal(sys, cond);
}

static void count_broadcast(const struct vfb_sys *sys, pthread_cond_t *cond)
{
	atomic_fetch_add(&wakes, 1);
	pass_cond_broadcast(sys, cond);
}

struct start {
	void *(*run)(void *arg);
	void *arg;
};

static void *run_thread(void *arg)
{
	struct start start = *(struct start *)arg;
	void *result;

	free(arg);
	meter_begin();
	result = start.run(start.arg);
	meter_end();
	return result;
}

static int create_thread(const struct vfb_sys *sys, const char *name, const cpu_set_t *cpus,
			 void *(*run)(void *arg), void *arg, pthread_t *out)
{
	struct start *start;

	meter_end();
	start = malloc(sizeof(*start));
	meter_begin();
	*start = (struct start){run, arg};
	atomic_fetch_add(&threads, 1);
	return pass_thread_create(sys, name, cpus, run_thread, start, out);
}

/* Of many calls, as the library makes them. */
static double measure_nothing(void)
{
	const struct vfb_sys *volatile sys = &table;
	uint64_t begin = thread_ns();

	for (int i = 0; i < 1000000; i++)
		sys->madvise(sys, NULL, 4096, MADV_POPULATE_WRITE);
	self.steps = 0;
	return (thread_ns() - begin) / 1e6;
}

const struct vfb_sys *meter_create(const struct vfb_sys *inner, bool quick)
{
	kernel = inner;
	clock_ns = measure_clock();
	table = (struct vfb_sys){
#define TIMED(type, name, ...)	 .name = pass_##name,
#define TIMED_VOID(name, ...)	 .name = pass_##name,
#define UNTIMED(type, name, ...) .name = pass_##name,
#define UNTIMED_VOID(name, ...)	 .name = pass_##name,
#include "sys/calls.def"
	};
	table.thread_create = create_thread;
	table.cond_signal = count_signal;
	table.cond_broadcast = count_broadcast;
	if (quick) {
		table.base_page = base_page;
		table.madvise = madvise_nothing;
		table.now = now_here;
		table.mincore = mincore_all;
		table.touch_range = touch_nothing;
		table.ioctl = ioctl_quick;
		nothing_ns = measure_nothing();
	}
	return &table;
}

/* ---- Memory ---- */

/* What the library allocates, it also frees. */
static atomic_uint_fast64_t allocations, bytes_now, bytes_most;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__real_reallocarray(void *old, size_t count, size_t bytes);
void __real_free(void *memory);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_reallocarray(void *old, size_t count, size_t bytes);
void __wrap_free(void *memory);

static void *note(void *memory)
{
	uint64_t now, most;

	if (!memory || !self.inside)
		return memory;
	now = malloc_usable_size(memory);
	now += atomic_fetch_add(&bytes_now, now);
	most = atomic_load(&bytes_most);
	while (now > most && !atomic_compare_exchange_weak(&bytes_most, &most, now))
		;
	atomic_fetch_add(&allocations, 1);
	return memory;
}

static void forget(void *memory)
{
	if (memory && self.inside)
		atomic_fetch_sub(&bytes_now, malloc_usable_size(memory));
}

void *__wrap_malloc(size_t bytes)
{
	return note(__real_malloc(bytes));
}

void *__wrap_calloc(size_t count, size_t bytes)
{
	return note(__real_calloc(count, bytes));
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
	return note(__real_aligned_alloc(alignment, bytes));
}

void *__wrap_realloc(void *old, size_t bytes)
{
	forget(old);
	return note(__real_realloc(old, bytes));
}

void *__wrap_reallocarray(void *old, size_t count, size_t bytes)
{
	forget(old);
	return note(__real_reallocarray(old, count, bytes));
}

void __wrap_free(void *memory)
{
	forget(memory);
	__real_free(memory);
}

struct meter_counts meter_read(void)
{
	uint64_t nothing = (uint64_t)(nothing_ns * atomic_load(&steps)), cpu = atomic_load(&cpu_ns);

	return (struct meter_counts){
		.cpu_ns = cpu > nothing ? cpu - nothing : 0,
		.calls = atomic_load(&calls),
		.locks = atomic_load(&locks),
		.waits = atomic_load(&waits),
		.wakes = atomic_load(&wakes),
		.threads = atomic_load(&threads),
		.steps = atomic_load(&steps),
		.looks = atomic_load(&looks),
		.allocations = atomic_load(&allocations),
		.bytes = atomic_load(&bytes_now),
		.most_bytes = atomic_load(&bytes_most),
	};
}

struct meter_counts meter_since(const struct meter_counts *now, const struct meter_counts *before)
{
	struct meter_counts since = *now;

	since.cpu_ns -= before->cpu_ns;
	since.calls -= before->calls;
	since.locks -= before->locks;
	since.waits -= before->waits;
	since.wakes -= before->wakes;
	since.threads -= before->threads;
	since.steps -= before->steps;
	since.looks -= before->looks;
	since.allocations -= before->allocations;
	return since;
}
