/* SPDX-License-Identifier: MIT */
/* What the caller has made itself and the library adopts; drivers, helper processes, traces. */
#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "record/trace.h"
#include "sys/uapi.h"
#include "world_calls.h"

/* ---- What is released in the end ---- */

static struct world_raw *new_raw(struct world *world)
{
	struct world_raw *raw = NULL;

	pthread_mutex_lock(&world->lock);
	if (world->raw_count < WORLD_RAW)
		raw = &world->raws[world->raw_count++];
	pthread_mutex_unlock(&world->lock);
	if (raw)
		*raw = (struct world_raw){.fds = {-1, -1, -1}};
	return raw;
}

void world_release_raw(struct world *world)
{
	const struct vfb_sys *sys = fake_sys(world->fake);

	while (world->raw_count) {
		struct world_raw *raw = &world->raws[--world->raw_count];

		if (raw->bytes)
			sys->munmap(sys, raw->address, raw->bytes);
		for (int i = 2; i >= 0; i--)
			if (raw->fds[i] >= 0)
				sys->close(sys, raw->fds[i]);
	}
}

/* ---- Memory ---- */

/* Private or shared, of a file or none, at an offset that may not be the one that is stated. */
static void map_raw(struct world *world, struct input *input, struct world_raw *raw, size_t bytes,
		    uint64_t *offset)
{
	const struct vfb_sys *sys = fake_sys(world->fake);
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;

	*offset = input_below(input, 3) * 64 * FAKE_KIB;
	if (input_chance(input, 2)) {
		raw->fds[0] = sys->memfd_create(sys, "fuzz", 0);
		if (raw->fds[0] < 0 || sys->ftruncate(sys, raw->fds[0], 4 * FAKE_MIB))
			return;
		flags = input_chance(input, 4) ? MAP_PRIVATE : MAP_SHARED;
	}
	if (!sys->mmap(sys, NULL, bytes, PROT_READ | PROT_WRITE, flags, raw->fds[0],
		       raw->fds[0] < 0 ? 0 : *offset, &raw->address))
		raw->bytes = bytes;
	if (input_chance(input, 8))
		*offset = choose_number(input);
}

void world_adopt_memory(struct world *world, struct input *input)
{
	union big big = {0};
	struct vfb_memory_adopt_opts *opts = (void *)&big;
	struct world_raw *raw = new_raw(world);
	size_t bytes = (1 + input_below(input, 32)) * 64 * FAKE_KIB;
	struct vfb_memory *memory;
	uint64_t offset;

	if (!raw)
		return;
	map_raw(world, input, raw, bytes, &offset);
	choose_size(input, &big, sizeof(*opts));
	opts->size &= ~(size_t)7;
	opts->bytes = input_chance(input, 8) ? choose_number(input) : bytes;
	if (opts->bytes > bytes && opts->bytes < UINT64_C(1) << 40)
		opts->bytes = bytes;
	opts->address = raw->bytes && !input_chance(input, 4) ? raw->address : NULL;
	opts->page_size = input_below(input, 7);
	opts->flags = input_chance(input, 16) ? input_u8(input) : 0;
	/* What is said to be populated has to be so. */
	opts->flags &= ~VFB_MEMORY_ADOPT_POPULATED;
	if (raw->fds[0] >= 0)
		opts->flags |= VFB_MEMORY_ADOPT_HAS_FD;
	opts->fd = raw->fds[0];
	opts->fd_offset = offset;
	if (!vfb_memory_adopt(world->ctx, opts, &memory) && !world_put(world, WORLD_MEMORY, memory))
		vfb_memory_destroy(memory);
}

/* ---- Spaces and devices ---- */

static void open_type1(struct world *world, struct input *input, struct world_raw *raw,
		       unsigned int which)
{
	const struct vfb_sys *sys = fake_sys(world->fake);
	char path[32];

	snprintf(path, sizeof(path), "/dev/vfio/%u", which / 2 + 1);
	raw->fds[0] = sys->open(sys, "/dev/vfio/vfio", O_RDWR);
	raw->fds[1] = sys->open(sys, path, O_RDWR);
	if (raw->fds[0] < 0 || raw->fds[1] < 0 || input_chance(input, 16))
		return;
	sys->ioctl(sys, raw->fds[1], VFIO_GROUP_SET_CONTAINER, &raw->fds[0]);
	if (input_chance(input, 16))
		return;
	sys->ioctl(sys, raw->fds[0], VFIO_SET_IOMMU, (void *)VFIO_TYPE1v2_IOMMU);
	raw->fds[2] = sys->ioctl(sys, raw->fds[1], VFIO_GROUP_GET_DEVICE_FD,
				 (void *)(uintptr_t)world_addresses[which]);
}

static uint32_t open_iommufd(struct world *world, struct input *input, struct world_raw *raw,
			     unsigned int which)
{
	const struct vfb_sys *sys = fake_sys(world->fake);
	struct vfb_iommu_ioas_alloc alloc = {.size = sizeof(alloc)};
	struct vfb_vfio_device_bind_iommufd bind = {.argsz = sizeof(bind)};
	struct vfb_vfio_device_attach_iommufd_pt attach = {.argsz = sizeof(attach)};
	char path[48];

	snprintf(path, sizeof(path), "/dev/vfio/devices/vfio%u", which);
	raw->fds[0] = sys->open(sys, "/dev/iommu", O_RDWR);
	raw->fds[2] = sys->open(sys, path, O_RDWR);
	if (raw->fds[0] < 0)
		return 0;
	sys->ioctl(sys, raw->fds[0], VFB_IOMMU_IOAS_ALLOC, &alloc);
	if (raw->fds[2] < 0 || input_chance(input, 16))
		return alloc.out_ioas_id;
	bind.iommufd = raw->fds[0];
	sys->ioctl(sys, raw->fds[2], VFB_VFIO_DEVICE_BIND_IOMMUFD, &bind);
	attach.pt_id = alloc.out_ioas_id;
	if (!input_chance(input, 16))
		sys->ioctl(sys, raw->fds[2], VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
	return alloc.out_ioas_id;
}

static struct vfb_space *adopt_space(struct world *world, struct input *input,
				     const struct world_raw *raw, uint32_t ioas)
{
	union big big = {0};
	struct vfb_space_opts *opts = (void *)&big;
	struct vfb_space *space;

	choose_size(input, &big, sizeof(*opts));
	opts->map_by = input_below(input, 3);
	opts->flags = input_below(input, 3);
	if (input_chance(input, 16))
		ioas = input_u8(input);
	if (vfb_space_adopt(world->ctx, raw->fds[input_chance(input, 16)], ioas, opts, &space))
		return NULL;
	if (world_put(world, WORLD_SPACE, space))
		return space;
	vfb_space_destroy(space);
	return NULL;
}

/* A container or an iommufd of the caller's, with a device; both are adopted. */
void world_adopt_space(struct world *world, struct input *input)
{
	unsigned int which = input_below(input, WORLD_ADDRESSES);
	struct world_raw *raw = new_raw(world);
	union big big = {0};
	struct vfb_device_adopt_opts *opts = (void *)&big;
	struct vfb_device *device;
	uint32_t ioas = 0;

	if (!raw)
		return;
	if (input_chance(input, 2))
		open_type1(world, input, raw, which);
	else
		ioas = open_iommufd(world, input, raw, which);
	choose_size(input, &big, sizeof(*opts));
	if (!input_chance(input, 8) && adopt_space(world, input, raw, ioas))
		/* Another thread may have destroyed it meanwhile. */
		opts->space = world_borrow(world, WORLD_SPACE, input_u8(input));
	/* No version of the struct ends within a pointer. */
	opts->size &= ~(size_t)7;
	opts->address = input_chance(input, 4) ? NULL : world_addresses[which];
	opts->flags = raw->fds[1] >= 0 ? VFB_DEVICE_ADOPT_HAS_GROUP_FD : input_below(input, 2);
	opts->group_fd = raw->fds[1];
	if (!vfb_device_adopt(world->ctx, raw->fds[input_chance(input, 16) ? 0 : 2], opts,
			      &device) &&
	    !world_put(world, WORLD_DEVICE, device))
		vfb_device_close(device);
	world_give_back(world, WORLD_SPACE, opts->space);
}

/* Mappings are released to another process, which takes them over: this one itself. */
void world_hand_over(struct world *world, struct input *input)
{
	struct vfb_space *space = world_borrow(world, WORLD_SPACE, input_u8(input));
	struct world_job *job = create_job();

	fill_ranges(world, input, job);
	if (space && !input_chance(input, 4))
		vfb_space_release_addresses(space);
	if (space)
		vfb_space_adopt_addresses(space, job->ranges,
					  input_chance(input, 2) ? 0 : choose_count(input));
	settle_job(world, job, -EINVAL);
	world_give_back(world, WORLD_SPACE, space);
}

/* ---- Drivers ---- */

/* One device is only used here: the kernel would wait for whoever else had it open meanwhile. */
void world_bind(struct world *world, struct input *input)
{
	static const char *const drivers[] = {"vfio-pci", "nvme", NULL, "absent", "..", "vfio-pci"};
	const char *driver = drivers[input_below(input, 6)];
	uint32_t flags = input_chance(input, 16) ? input_u8(input) : 0;
	struct vfb_space *space = world_borrow(world, WORLD_SPACE, input_u8(input));
	struct vfb_device *device;

	if (!atomic_flag_test_and_set(&world->binding)) {
		vfb_pci_bind(world->ctx, WORLD_BOUND, driver, flags);
		if (space && !vfb_device_open(space, WORLD_BOUND, &device)) {
			if (vfb_pci_bind(world->ctx, WORLD_BOUND, "nvme", 0) == 0)
				abort();
			vfb_device_close(device);
		}
		atomic_flag_clear(&world->binding);
	}
	world_give_back(world, WORLD_SPACE, space);
}

/* ---- Helper processes ---- */

void world_start_reaper(struct world *world, struct input *input)
{
	struct world_job *job = create_job();
	union big big = {0};
	struct vfb_reaper_opts *opts = (void *)&big;
	struct vfb_reaper *reaper;
	size_t count = choose_count(input);

	choose_size(input, &big, sizeof(*opts));
	opts->flags = input_chance(input, 8) ? input_u8(input) : 0;
	opts->report_fd = -(int)input_below(input, 2);
	fill_devices(world, input, job);
	/* The fake has one helper at a time. */
	if (!atomic_flag_test_and_set(&world->reaping)) {
		if (vfb_reaper_start(job->devices, count, opts, &reaper))
			atomic_flag_clear(&world->reaping);
		else
			world->reaper = reaper;
	} else if (input_chance(input, 2)) {
		world_stop_reaper(world);
	}
	settle_job(world, job, -EINVAL);
}

void world_stop_reaper(struct world *world)
{
	struct vfb_reaper *reaper = atomic_exchange(&world->reaper, NULL);

	if (!reaper)
		return;
	vfb_reaper_destroy(reaper);
	atomic_flag_clear(&world->reaping);
}

/* ---- Traces ---- */

static struct vfb_trace *get_trace(struct world *world)
{
	struct vfb_trace *trace;

	pthread_mutex_lock(&world->trace_lock);
	trace = world->trace;
	if (!trace && world->trace_fd < 0)
		world->trace_fd = memfd_create("fuzz-trace", MFD_CLOEXEC);
	if (!trace && !vfb_trace_create(world->trace_fd, &trace))
		world->trace = trace;
	pthread_mutex_unlock(&world->trace_lock);
	return trace;
}

void world_use_trace(struct world *world, struct input *input)
{
	struct vfb_trace *trace = get_trace(world);
	struct vfb_subscription *subscription;
	char name[8];

	if (!trace)
		return;
	input_read(input, name, sizeof(name));
	name[7] = '\0';
	if (!vfb_trace_subscribe(trace, world->ctx, name, NULL, &subscription) &&
	    !world_put(world, WORLD_SUBSCRIPTION, subscription))
		vfb_unsubscribe(subscription);
	vfb_trace_append(trace, "{\"name\":\"fuzz\",\"ph\":\"M\",\"pid\":1}");
	if (input_chance(input, 4))
		vfb_trace_flush(trace);
}

/* ---- Shutdown ---- */

/* While there is a space, the context and whatever else is in use stays. */
void world_shut_down(struct world *world, struct input *input)
{
	struct vfb_space *space = world_borrow(world, WORLD_SPACE, input_u8(input));
	struct world_job *job = world_borrow(world, WORLD_JOB, input_u8(input));

	if (space && vfb_ctx_destroy(world->ctx) != -EBUSY)
		abort();
	if (job) {
		fake_poll(world->fake, vfb_job_fd(job->job), input_below(input, 2) * FAKE_MS);
		fake_poll(world->fake, vfb_job_ready_fd(job->job), 0);
	}
	world_give_back(world, WORLD_JOB, job);
	world_give_back(world, WORLD_SPACE, space);
}
