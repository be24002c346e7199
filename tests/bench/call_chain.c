/* SPDX-License-Identifier: MIT */
/*
 * Which functions of the library run for one map, unmap, open and close, over the fake. Prints
 * a line for each call of a function: the step, a tab, and the function's address;
 * scripts/call-chain builds the library with -finstrument-functions and counts.
 */
#include <stdatomic.h>

#include "host.h"

#define MAX_CALLS 100000

static void *calls[MAX_CALLS];
static atomic_size_t count;
static atomic_bool recording;

__attribute__((no_instrument_function)) void __cyg_profile_func_enter(void *function, void *site);
__attribute__((no_instrument_function)) void __cyg_profile_func_exit(void *function, void *site);

void __cyg_profile_func_enter(void *function, void *site)
{
	size_t n;

	(void)site;
	if (!atomic_load_explicit(&recording, memory_order_relaxed))
		return;
	n = atomic_fetch_add(&count, 1);
	if (n < MAX_CALLS)
		calls[n] = function;
}

void __cyg_profile_func_exit(void *function, void *site)
{
	(void)function;
	(void)site;
}

/* Whoever worked before sleeps by then. */
static void begin(struct host *host)
{
	host->sys->sleep(host->sys, MS);
	atomic_store(&count, 0);
	atomic_store(&recording, true);
}

static void end(const char *step)
{
	atomic_store(&recording, false);
	for (size_t i = 0; i < atomic_load(&count) && i < MAX_CALLS; i++)
		printf("%s\t%p\n", step, calls[i]);
}

static void run(enum vfb_backend backend, const char *const *steps)
{
	struct vfb_device *device;
	struct vfb_range range = {.bytes = 4 * KIB, .iova = GIB};
	struct host host;
	int error;

	host_ready(&host, NULL, backend, 1);
	range.memory = make_memory(&host, 2 * MIB, VFB_PAGE_4K);
	assert_ok(vfb_memory_populate(range.memory));
	begin(&host);
	error = vfb_device_open(host.space, addresses[0], &device);
	end(steps[0]);
	begin(&host);
	error |= vfb_space_map(host.space, &range, 1, NULL);
	end(steps[1]);
	begin(&host);
	error |= vfb_space_unmap(host.space, &range, 1, NULL);
	end(steps[2]);
	begin(&host);
	error |= vfb_device_close(device);
	end(steps[3]);
	assert_int_equal(error, 0);
	assert_ok(vfb_memory_destroy(range.memory));
	host_close(&host);
}

int main(void)
{
	run(VFB_BACKEND_TYPE1,
	    (const char *const[]){"type1 open", "type1 map", "type1 unmap", "type1 close"});
	run(VFB_BACKEND_IOMMUFD,
	    (const char *const[]){"iommufd open", "iommufd map", "iommufd unmap", "iommufd close"});
	return 0;
}
