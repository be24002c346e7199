/* SPDX-License-Identifier: MIT */
#include "touch.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "sys/linux_touch.h"
#include "sys/uapi.h"

#define TOUCH_STEP (UINT64_C(2) << 20)

static bool touch_is_faster(void)
{
	unsigned int major, minor;
	struct utsname name;

	return !uname(&name) && sscanf(name.release, "%u.%u", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 7));
}

/*
 * The advice means nothing for pages that are not there, and is refused for hugetlb, regions of
 * devices and locked memory (can_madv_lru_vma()), and where there is no memory. What has VM_IO
 * alone is refused by the first page's populating.
 */
bool touch_is_allowed(char *address, uint64_t bytes)
{
	return touch_is_faster() && !madvise(address, bytes, MADV_COLD) &&
	       !madvise(address, sysconf(_SC_PAGESIZE), MADV_POPULATE_WRITE);
}

/* Leaves what is in the page; as an atomic operation it loses no write of others. */
static void touch_page(char *page)
{
	static volatile char nothing;

	atomic_fetch_or((_Atomic char *)page, nothing);
}

/* Upwards, since the kernel hands out pages upwards, and contiguous ones are pinned sooner. */
static void touch_step(struct touching *touching, char *address, uint64_t bytes)
{
	size_t page_bytes = touching->look.page_bytes;
	unsigned char present[LOOK_PAGES];

	if (!look_at_pages(&touching->look, address, bytes, present))
		return;
	for (uint64_t offset = 0; offset < bytes && !atomic_load(touching->stop);
	     offset += page_bytes) {
		if (present[offset / page_bytes] & 1)
			continue;
		touch_page(address + offset);
		atomic_fetch_add_explicit(&touching->touched, page_bytes, memory_order_relaxed);
	}
}

static void touch_all_steps(void *arg)
{
	struct touching *touching = arg;
	uint_fast64_t left;

	while (!atomic_load(touching->stop) && (left = atomic_load(&touching->left))) {
		uint64_t bytes = left % TOUCH_STEP ? left % TOUCH_STEP : TOUCH_STEP;

		if (atomic_compare_exchange_strong(&touching->left, &left, left - bytes))
			touch_step(touching, touching->address + left - bytes, bytes);
	}
}

/* What is not touched, for want of a child or of memory, is left to the command's own call. */
void touch_steps(struct touching *touching)
{
	vfb_linux_run_child(touch_all_steps, touching);
}
