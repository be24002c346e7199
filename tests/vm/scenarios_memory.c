/* SPDX-License-Identifier: MIT */
/* Memory of all page sizes and kinds, on its nodes. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scenario.h"

#define BYTES (16 * MIB)
/* Less does not wait for workers of its node. */
#define LARGE (24 * MIB)
#define IOVA  scenario_iova

static struct vfb_memory_info info_of(struct vfb_memory *memory)
{
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;

	assert_ok(vfb_memory_info(memory, &info));
	return info;
}

static void count_populated(const struct vfb_event *event, void *data)
{
	if (event->phase == VFB_PHASE_POPULATE)
		__atomic_add_fetch((int *)data, 1, __ATOMIC_RELAXED);
}

static uint64_t bytes_on_nodes(const struct fixture *f, struct vfb_memory *memory)
{
	uint64_t bytes[8], sum = 0;

	assert_int_equal(vfb_memory_nodes(memory, bytes, COUNT(bytes)), f->machine->nodes);
	for (size_t i = 0; i < COUNT(bytes); i++)
		sum += bytes[i];
	return sum;
}

/* Made, looked at, mapped without being populated before, unmapped. */
static void use(struct fixture *f, struct vfb_space *space, struct vfb_memory_opts *opts,
		enum vfb_page_size page_size)
{
	struct vfb_memory_info info;
	struct vfb_memory *memory;

	assert_ok(vfb_memory_create(f->ctx, opts, &memory));
	info = info_of(memory);
	assert_int_equal(info.page_size, page_size);
	assert_int_equal(info.page_bytes, page_size == VFB_PAGE_2M ? 2 * MIB : PAGE);
	assert_int_equal(info.bytes, opts->bytes);
	assert_int_equal((uintptr_t)info.address % (2 * MIB), 0);
	assert_int_equal(info.fd >= 0, opts->kind == VFB_MEMORY_MEMFD);
	if (info.fd >= 0)
		assert_int_equal(info.populated_bytes, 0);
	assert_int_equal(bytes_on_nodes(f, memory), 0);
	assert_ok(map_one(space, memory, opts->bytes, IOVA));
	assert_int_equal(info_of(memory).populated_bytes, opts->bytes);
	assert_int_equal(bytes_on_nodes(f, memory), opts->bytes);
	/* It is there to be used. */
	((volatile char *)info.address)[0] = 'a';
	((volatile char *)info.address)[opts->bytes - 1] = 'z';
	assert_ok(unmap_one(space, IOVA, opts->bytes));
	assert_ok(vfb_memory_destroy(memory));
}

static void every_kind(struct fixture *f, enum vfb_memory_kind kind)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	bool thp = kind == VFB_MEMORY_ANONYMOUS || f->machine->shmem_thp;
	struct vfb_memory *memory;
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);

	opts.kind = kind;
	opts.bytes = BYTES;
	opts.page_size = VFB_PAGE_4K;
	use(f, space, &opts, VFB_PAGE_4K);
	opts.page_size = VFB_PAGE_2M;
	use(f, space, &opts, VFB_PAGE_2M);
	opts.page_size = VFB_PAGE_THP;
	if (thp) {
		use(f, space, &opts, VFB_PAGE_THP);
	} else {
		assert_error(vfb_memory_create(f->ctx, &opts, &memory), -ENOTSUP);
		assert_says("shmem_enabled");
	}
	opts.page_size = VFB_PAGE_AUTO;
	use(f, space, &opts, VFB_PAGE_2M);
	/* Not of a size for hugepages. */
	opts.bytes = BYTES + PAGE;
	use(f, space, &opts, thp ? VFB_PAGE_THP : VFB_PAGE_4K);
	opts.bytes = PAGE;
	use(f, space, &opts, thp ? VFB_PAGE_THP : VFB_PAGE_4K);
	end_space(space, device);
}

static void anonymous(struct fixture *f)
{
	every_kind(f, VFB_MEMORY_ANONYMOUS);
}

static void memfd(struct fixture *f)
{
	every_kind(f, VFB_MEMORY_MEMFD);
}

static void populate(struct fixture *f)
{
	struct vfb_memory *memory[] = {make_memory(f, BYTES, VFB_PAGE_4K),
				       make_memory(f, BYTES, VFB_PAGE_2M)};
	struct vfb_job_progress progress = VFB_JOB_PROGRESS_INIT;
	struct vfb_job *job;

	assert_ok(vfb_memory_populate_start(memory, 2, &job));
	assert_true(machine_poll(vfb_job_fd(job), 60000 * MS));
	assert_ok(vfb_job_wait(job, 0));
	assert_ok(vfb_job_progress(job, &progress));
	assert_int_equal(progress.entries_done, 2);
	assert_int_equal(progress.bytes_done, 2 * BYTES);
	vfb_job_destroy(job);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(info_of(memory[i]).populated_bytes, BYTES);
		assert_int_equal(bytes_on_nodes(f, memory[i]), BYTES);
		assert_ok(vfb_memory_populate(memory[i]));
		assert_ok(vfb_memory_destroy(memory[i]));
	}
}

/* What a process that gets the memfd can do to it. */
static void sealed(struct fixture *f)
{
	static const enum vfb_page_size sizes[] = {VFB_PAGE_4K, VFB_PAGE_2M};
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;

	opts.bytes = BYTES;
	opts.kind = VFB_MEMORY_MEMFD;
	for (size_t i = 0; i < COUNT(sizes); i++) {
		struct vfb_memory *memory;
		struct stat stat;
		int fd;

		opts.page_size = sizes[i];
		assert_ok(vfb_memory_create(f->ctx, &opts, &memory));
		fd = info_of(memory).fd;
		assert_int_equal(ftruncate(fd, 0), -1);
		assert_int_equal(errno, EPERM);
		assert_int_equal(ftruncate(fd, 2 * BYTES), -1);
		assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
		assert_int_equal(fstat(fd, &stat), 0);
		assert_int_equal(stat.st_mode & 07777, 0600);
		assert_int_equal(stat.st_size, BYTES);
		assert_ok(vfb_memory_destroy(memory));
	}
}

/* What fork() and a core dump have of it. */
static void use_flags(struct fixture *f)
{
	static const uint32_t flags[] = {0, VFB_MEMORY_NO_DUMP, VFB_MEMORY_KEEP_ON_FORK};
	static const enum vfb_page_size sizes[] = {VFB_PAGE_4K, VFB_PAGE_2M};
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;

	opts.bytes = BYTES;
	for (size_t i = 0; i < 4 * COUNT(flags); i++) {
		struct vfb_memory *memory;
		char *address;

		opts.kind = i % 2 ? VFB_MEMORY_MEMFD : VFB_MEMORY_ANONYMOUS;
		opts.page_size = sizes[i / 2 % 2];
		opts.flags = flags[i / 4];
		assert_ok(vfb_memory_create(f->ctx, &opts, &memory));
		address = info_of(memory).address;
		for (size_t at = 0; at < BYTES; at += BYTES / 4) {
			assert_int_equal(machine_vm_flag(address + at, " dc"),
					 !(opts.flags & VFB_MEMORY_KEEP_ON_FORK));
			assert_int_equal(machine_vm_flag(address + at, " dd"),
					 !!(opts.flags & VFB_MEMORY_NO_DUMP));
		}
		assert_ok(vfb_memory_destroy(memory));
	}
}

static void use_in_child(struct fixture *f, struct vfb_space *space, struct vfb_memory *memory)
{
	struct vfb_memory *own;

	alarm(60);
	assert_error(vfb_memory_populate(memory), -ECHILD);
	assert_error(unmap_one(space, IOVA, BYTES), -ECHILD);
	assert_error(vfb_space_destroy(space), -ECHILD);
	assert_error(vfb_memory_destroy(memory), -ECHILD);
	assert_error(vfb_ctx_destroy(f->ctx), -ECHILD);
	/* One of its own works. */
	assert_ok(machine_ctx_create(NULL, &f->ctx));
	own = make_memory(f, BYTES, VFB_PAGE_4K);
	assert_ok(vfb_memory_populate(own));
	assert_ok(vfb_memory_destroy(own));
	assert_ok(vfb_ctx_destroy(f->ctx));
}

/* A child that cleans up what it has inherited neither hangs nor takes anything from the parent. */
static void forked(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_4K);
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);
	int status = 1;
	pid_t child;

	assert_ok(map_one(space, memory, BYTES, IOVA));
	child = f->machine->has_processes ? fork() : 1;
	if (!child) {
		use_in_child(f, space, memory);
		_exit(0);
	}
	if (f->machine->has_processes) {
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	}
	assert_int_equal(machine_pinned(), BYTES);
	assert_ok(unmap_one(space, IOVA, BYTES));
	assert_ok(vfb_memory_destroy(memory));
	end_space(space, device);
}

/* Part of it is given back behind the back of the library. */
static void give_back(struct vfb_memory *memory, bool is_file)
{
	char *address = info_of(memory).address;

	assert_returns(machine_madvise(address + BYTES / 2, BYTES / 4,
				       is_file ? MADV_REMOVE : MADV_DONTNEED),
		       0);
}

/* It is populated again, by populating and by mapping. */
static void given_back(struct fixture *f)
{
	static const enum vfb_page_size sizes[] = {VFB_PAGE_4K, VFB_PAGE_THP, VFB_PAGE_2M};
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_subscription *subscription;
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);
	int populated = 0;

	assert_ok(vfb_subscribe(f->ctx, NULL, count_populated, &populated, &subscription));
	opts.bytes = BYTES;
	for (size_t i = 0; i < 2 * COUNT(sizes); i++) {
		bool is_file = i % 2;
		struct vfb_memory *memory;

		opts.page_size = sizes[i / 2];
		opts.kind = is_file ? VFB_MEMORY_MEMFD : VFB_MEMORY_ANONYMOUS;
		if (is_file && opts.page_size == VFB_PAGE_THP)
			continue;
		assert_ok(vfb_memory_create(f->ctx, &opts, &memory));
		assert_ok(vfb_memory_populate(memory));
		give_back(memory, is_file);
		assert_int_equal(bytes_on_nodes(f, memory), 3 * BYTES / 4);
		assert_ok(vfb_memory_populate(memory));
		assert_int_equal(bytes_on_nodes(f, memory), BYTES);
		give_back(memory, is_file);
		populated = 0;
		assert_ok(map_one(space, memory, BYTES, IOVA));
		/* Not by the map call. */
		assert_true(populated > 0);
		assert_int_equal(info_of(memory).populated_bytes, BYTES);
		assert_ok(unmap_one(space, IOVA, BYTES));
		assert_ok(vfb_memory_destroy(memory));
	}
	vfb_unsubscribe(subscription);
	end_space(space, device);
}

/* The caller's memory, of which a part is gone. */
static void unmapped(struct fixture *f)
{
	struct vfb_memory_adopt_opts opts = VFB_MEMORY_ADOPT_OPTS_INIT;
	struct vfb_memory *memory;

	assert_returns(machine_mmap(BYTES, PROT_READ | PROT_WRITE, &opts.address), 0);
	opts.bytes = BYTES;
	assert_ok(vfb_memory_adopt(f->ctx, &opts, &memory));
	assert_ok(vfb_memory_populate(memory));
	machine_munmap((char *)opts.address + BYTES / 2, BYTES / 2);
	assert_error(vfb_memory_populate(memory), -EFAULT);
	assert_says("not mapped any more");
	assert_ok(vfb_memory_destroy(memory));
	machine_munmap(opts.address, BYTES / 2);
}

/* A memory in the midst of a job. */
static void busy(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, 4 * BYTES, VFB_PAGE_4K);
	struct vfb_job *job;

	assert_ok(vfb_memory_populate_start(&memory, 1, &job));
	assert_error(vfb_memory_destroy(memory), -EBUSY);
	vfb_job_cancel(job);
	assert_error(vfb_job_wait(job, UINT64_MAX), -ECANCELED);
	vfb_job_destroy(job);
	assert_ok(vfb_memory_destroy(memory));
}

static void wrong_options(struct fixture *f)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	const unsigned int absent = 99;
	struct vfb_memory *memory;

	assert_error(vfb_memory_create(f->ctx, &opts, &memory), -EINVAL);
	assert_null(memory);
	opts.bytes = PAGE + 1;
	assert_error(vfb_memory_create(f->ctx, &opts, &memory), -EINVAL);
	opts.bytes = 3 * MIB;
	opts.page_size = VFB_PAGE_2M;
	assert_error(vfb_memory_create(f->ctx, &opts, &memory), -EINVAL);
	assert_says("not a multiple of the page size, 2 MiB");
	opts.bytes = 2 * MIB;
	opts.policy = VFB_NUMA_BIND;
	assert_error(vfb_memory_create(f->ctx, &opts, &memory), -EINVAL);
	opts.nodes = &absent;
	opts.node_count = 1;
	assert_error(vfb_memory_create(f->ctx, &opts, &memory), -EINVAL);
	assert_says("no NUMA node 99, the highest is 1");
	/* Without pages of 1 GiB in the pool. */
	opts = (struct vfb_memory_opts)VFB_MEMORY_OPTS_INIT;
	opts.bytes = GIB;
	opts.page_size = VFB_PAGE_1G;
	assert_error(vfb_memory_create(f->ctx, &opts, &memory),
		     f->machine->lacks & MACHINE_1G ? -ENOTSUP : -ENOMEM);
	assert_says("1 GiB");
}

static void pool_too_small(struct fixture *f, enum vfb_memory_kind kind)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	bool thp = kind == VFB_MEMORY_ANONYMOUS || f->machine->shmem_thp;
	uint64_t pages = machine_free_2m(0) + machine_free_2m(1);
	const unsigned int node = 1;
	struct vfb_memory *memory, *rest;
	char numbers[80];

	opts.kind = kind;
	opts.bytes = (pages + 1) * 2 * MIB;
	opts.page_size = VFB_PAGE_2M;
	assert_error(vfb_memory_create(f->ctx, &opts, &memory), -ENOMEM);
	assert_null(memory);
	snprintf(numbers, sizeof(numbers), "need %u hugepages of 2 MiB, %u are free",
		 (unsigned int)pages + 1, (unsigned int)pages);
	assert_says(numbers);
	assert_says("nr_hugepages");
	opts.page_size = VFB_PAGE_AUTO;
	assert_ok(vfb_memory_create(f->ctx, &opts, &memory));
	assert_int_equal(info_of(memory).page_size, thp ? VFB_PAGE_THP : VFB_PAGE_4K);
	assert_ok(vfb_memory_destroy(memory));

	/* One node has too few. */
	opts.page_size = VFB_PAGE_2M;
	opts.bytes = (machine_free_2m(node) + 1) * 2 * MIB;
	opts.policy = VFB_NUMA_BIND;
	opts.nodes = &node;
	opts.node_count = 1;
	assert_error(vfb_memory_create(f->ctx, &opts, &memory), -ENOMEM);
	assert_says("on its nodes");
	assert_says("node1");

	/* What is reserved is not free, though it is not populated. */
	opts = (struct vfb_memory_opts)VFB_MEMORY_OPTS_INIT;
	opts.kind = kind;
	opts.page_size = VFB_PAGE_2M;
	opts.bytes = (pages - 1) * 2 * MIB;
	assert_ok(vfb_memory_create(f->ctx, &opts, &memory));
	opts.bytes = 4 * MIB;
	assert_error(vfb_memory_create(f->ctx, &opts, &rest), -ENOMEM);
	assert_says("need 2 hugepages of 2 MiB, 1 are free");
	opts.bytes = 2 * MIB;
	assert_ok(vfb_memory_create(f->ctx, &opts, &rest));
	assert_ok(vfb_memory_destroy(rest));
	assert_ok(vfb_memory_destroy(memory));
}

static void pool_too_small_for_anonymous(struct fixture *f)
{
	pool_too_small(f, VFB_MEMORY_ANONYMOUS);
}

static void pool_too_small_for_memfd(struct fixture *f)
{
	pool_too_small(f, VFB_MEMORY_MEMFD);
}

/* Populating is done by CPUs of the node that it is for. */
static void check_cpu(const struct vfb_event *event, void *data)
{
	int *wrong = data;

	if (event->phase == VFB_PHASE_POPULATE && !machine_cpu_is_of_node(event->cpu, event->node))
		__atomic_add_fetch(wrong, 1, __ATOMIC_RELAXED);
}

static void bind_to_nodes(struct fixture *f)
{
	static const enum vfb_page_size sizes[] = {VFB_PAGE_4K, VFB_PAGE_THP, VFB_PAGE_2M};
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_subscription *subscription;
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);
	int wrong = 0;

	assert_ok(vfb_subscribe(f->ctx, NULL, check_cpu, &wrong, &subscription));
	opts.bytes = LARGE;
	opts.policy = VFB_NUMA_BIND;
	opts.node_count = 1;
	for (size_t i = 0; i < 2 * COUNT(sizes); i++) {
		const unsigned int node = i % 2;
		struct vfb_memory *memory;
		uint64_t bytes[2];

		opts.page_size = sizes[i / 2];
		opts.nodes = &node;
		assert_ok(vfb_memory_create(f->ctx, &opts, &memory));
		assert_ok(map_one(space, memory, LARGE, IOVA));
		assert_int_equal(vfb_memory_nodes(memory, bytes, 2), 2);
		assert_int_equal(bytes[node], LARGE);
		assert_int_equal(bytes[!node], 0);
		assert_ok(unmap_one(space, IOVA, LARGE));
		assert_ok(vfb_memory_destroy(memory));
	}
	vfb_unsubscribe(subscription);
	assert_int_equal(wrong, 0);
	end_space(space, device);
}

struct populated {
	int node, count, wrong;
};

static void check_node(const struct vfb_event *event, void *data)
{
	struct populated *populated = data;

	if (event->phase != VFB_PHASE_POPULATE)
		return;
	__atomic_add_fetch(&populated->count, 1, __ATOMIC_RELAXED);
	if (event->node != populated->node || !machine_cpu_is_of_node(event->cpu, event->node))
		__atomic_add_fetch(&populated->wrong, 1, __ATOMIC_RELAXED);
}

/* The caller's memory, which he has bound himself: with its policy it comes from the library. */
static void adopt_bound(struct fixture *f)
{
	static const enum vfb_memory_kind kinds[] = {VFB_MEMORY_ANONYMOUS, VFB_MEMORY_MEMFD};
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_subscription *subscription;
	struct populated populated = {0};

	assert_ok(vfb_subscribe(f->ctx, NULL, check_node, &populated, &subscription));
	opts.bytes = LARGE;
	opts.page_size = VFB_PAGE_4K;
	opts.policy = VFB_NUMA_BIND;
	opts.node_count = 1;
	for (size_t i = 0; i < 2 * COUNT(kinds); i++) {
		struct vfb_memory_adopt_opts adopt_opts = VFB_MEMORY_ADOPT_OPTS_INIT;
		struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
		const unsigned int node = i % 2;
		struct vfb_memory *memory, *adopted;

		populated.node = node;
		opts.kind = kinds[i / 2];
		opts.nodes = &node;
		assert_ok(vfb_memory_create(f->ctx, &opts, &memory));
		assert_ok(vfb_memory_info(memory, &info));
		adopt_opts.address = info.address;
		adopt_opts.bytes = LARGE;
		assert_ok(vfb_memory_adopt(f->ctx, &adopt_opts, &adopted));
		assert_ok(vfb_memory_populate(adopted));
		assert_ok(vfb_memory_destroy(adopted));
		assert_ok(vfb_memory_destroy(memory));
	}
	vfb_unsubscribe(subscription);
	assert_true(populated.count >= 4);
	assert_int_equal(populated.wrong, 0);
}

static void interleave(struct fixture *f)
{
	static const enum vfb_page_size sizes[] = {VFB_PAGE_4K, VFB_PAGE_2M};
	static const unsigned int nodes[] = {0, 1};
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory *memory;
	uint64_t bytes[2];

	opts.bytes = BYTES;
	opts.policy = VFB_NUMA_INTERLEAVE;
	opts.nodes = nodes;
	opts.node_count = 2;
	for (size_t i = 0; i < COUNT(sizes); i++) {
		opts.page_size = sizes[i];
		assert_ok(vfb_memory_create(f->ctx, &opts, &memory));
		assert_ok(vfb_memory_populate(memory));
		assert_int_equal(vfb_memory_nodes(memory, bytes, 2), 2);
		assert_int_equal(bytes[0], BYTES / 2);
		assert_int_equal(bytes[1], BYTES / 2);
		assert_ok(vfb_memory_destroy(memory));
	}
	/* There is room on it: so all of it. */
	opts.policy = VFB_NUMA_PREFERRED;
	opts.nodes = &nodes[1];
	opts.node_count = 1;
	assert_ok(vfb_memory_create(f->ctx, &opts, &memory));
	assert_ok(vfb_memory_populate(memory));
	assert_int_equal(vfb_memory_nodes(memory, bytes, 2), 2);
	assert_int_equal(bytes[1], BYTES);
	assert_ok(vfb_memory_destroy(memory));
}

/* Bound to both nodes: on either, but nowhere else, with nothing left to chance. */
static void bind_to_both(struct fixture *f)
{
	static const unsigned int nodes[] = {0, 1};
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory *memory;
	uint64_t bytes[2];

	opts.bytes = 4 * BYTES;
	opts.page_size = VFB_PAGE_THP;
	opts.policy = VFB_NUMA_BIND;
	opts.nodes = nodes;
	opts.node_count = 2;
	assert_ok(vfb_memory_create(f->ctx, &opts, &memory));
	assert_ok(vfb_memory_populate(memory));
	assert_int_equal(vfb_memory_nodes(memory, bytes, 2), 2);
	assert_int_equal(bytes[0] + bytes[1], 4 * BYTES);
	/* Workers of both nodes take their turns, and each gets the memory that is near. */
	assert_int_equal(bytes[0], 2 * BYTES);
	assert_ok(vfb_memory_destroy(memory));
}

const struct scenario memory_scenarios[] = {
	{.name = "anonymous memory of all page sizes", .run = anonymous},
	{.name = "memfds of all page sizes", .run = memfd},
	{.name = "populating several memories", .no_space = true, .run = populate},
	{.name = "memfds that nobody can resize", .no_space = true, .run = sealed},
	{.name = "memory, fork() and core dumps", .no_space = true, .run = use_flags},
	{.name = "a child with what it has inherited", .run = forked},
	{.name = "memory of which pages are given back", .run = given_back},
	{.name = "memory of which a part is unmapped", .no_space = true, .run = unmapped},
	{.name = "memory that a job works on", .no_space = true, .run = busy},
	{.name = "options of memory that are wrong", .no_space = true, .run = wrong_options},
	{.name = "too few hugepages, anonymous",
	 .no_space = true,
	 .run = pool_too_small_for_anonymous},
	{.name = "too few hugepages, memfd", .no_space = true, .run = pool_too_small_for_memfd},
	{.name = "memory bound to a node", .run = bind_to_nodes},
	{.name = "memory bound to two nodes",
	 .no_space = true,
	 .run = bind_to_both,
	 .needs = MACHINE_THP},
	{.name = "memory that its owner has bound to a node", .no_space = true, .run = adopt_bound},
	{.name = "memory interleaved, and preferred", .no_space = true, .run = interleave},
	{0},
};
