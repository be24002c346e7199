/* SPDX-License-Identifier: MIT */
/* Memory that workers populate by touching it in user mode. */
#include <sys/mman.h>
#include <sys/wait.h>

#include "scenario.h"

#define BYTES (64 * MIB)

static void count_touched(const struct vfb_event *event, void *data)
{
	if (!strcmp(event->operation, "touch"))
		__atomic_add_fetch((uint64_t *)data, event->bytes, __ATOMIC_RELAXED);
}

static void assert_no_child(void)
{
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void touch_one(struct fixture *f, struct vfb_memory *memory, uint64_t *touched)
{
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	volatile char *bytes;

	assert_ok(vfb_memory_info(memory, &info));
	bytes = info.address;
	bytes[BYTES / 2] = 'x';
	*touched = 0;
	assert_ok(vfb_memory_populate(memory));
	/* Of a machine with few CPUs most of it may be populated the other way. */
	assert_true(*touched > 0);
	assert_ok(vfb_memory_info(memory, &info));
	assert_int_equal(info.populated_bytes, BYTES);
	assert_int_equal(bytes[BYTES / 2], 'x');
	assert_int_equal(bytes[BYTES - 1], 0);
	/* The program has no child, and had none that it could wait for. */
	assert_no_child();
	(void)f;
}

static void touch(struct fixture *f)
{
	static const enum vfb_page_size sizes[] = {VFB_PAGE_4K, VFB_PAGE_2M};
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_filter filter = VFB_FILTER_INIT;
	struct vfb_subscription *subscription;
	uint64_t touched;

	filter.phases = VFB_PHASE_BIT(VFB_PHASE_POPULATE);
	assert_ok(vfb_subscribe(f->ctx, &filter, count_touched, &touched, &subscription));
	opts.bytes = BYTES;
	for (size_t i = 0; i < 2 * COUNT(sizes); i++) {
		struct vfb_memory *memory;
		uint64_t nodes[8], sum = 0;

		opts.page_size = sizes[i / 2];
		opts.kind = i % 2 ? VFB_MEMORY_MEMFD : VFB_MEMORY_ANONYMOUS;
		assert_ok(vfb_memory_create(f->ctx, &opts, &memory));
		touch_one(f, memory, &touched);
		assert_int_equal(vfb_memory_nodes(memory, nodes, COUNT(nodes)), f->machine->nodes);
		for (size_t n = 0; n < f->machine->nodes; n++)
			sum += nodes[n];
		assert_int_equal(sum, BYTES);
		assert_ok(vfb_memory_destroy(memory));
	}
	vfb_unsubscribe(subscription);
}

/* What a child meets as a signal is an error for the program. */
static void touch_hole(struct fixture *f)
{
	struct vfb_memory_adopt_opts opts = VFB_MEMORY_ADOPT_OPTS_INIT;
	struct vfb_memory *memory;
	void *address;

	assert_int_equal(machine_mmap(BYTES, PROT_READ | PROT_WRITE, &address), 0);
	opts.address = address;
	opts.bytes = BYTES;
	assert_ok(vfb_memory_adopt(f->ctx, &opts, &memory));
	/* Its first part is looked at, and found to be memory. */
	assert_ok(vfb_memory_populate(memory));
	assert_int_equal(machine_madvise(address, BYTES, MADV_DONTNEED), 0);
	machine_munmap((char *)address + 33 * MIB, 2 * MIB);
	assert_error(vfb_memory_populate(memory), -EFAULT);
	assert_says("not mapped any more");
	assert_no_child();
	assert_ok(vfb_memory_destroy(memory));
	machine_munmap(address, 33 * MIB);
	machine_munmap((char *)address + 35 * MIB, BYTES - 35 * MIB);
}

const struct scenario populate_scenarios[] = {
	{.name = "memory populated by touching",
	 .no_space = true,
	 .run = touch,
	 .unfiltered = true},
	{.name = "touching memory of which a part is unmapped",
	 .no_space = true,
	 .run = touch_hole},
	{0},
};
