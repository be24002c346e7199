/* SPDX-License-Identifier: MIT */
/* Devices that the caller, or another process, has opened. */
#include <linux/vfio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "caller.h"

#define BYTES CALLER_BYTES
#define IOVA  GIB

static struct vfb_device_adopt_opts opts_for(const struct caller *caller, struct vfb_space *space)
{
	struct vfb_device_adopt_opts opts = VFB_DEVICE_ADOPT_OPTS_INIT;

	opts.address = caller->address;
	opts.space = space;
	return opts;
}

static struct vfb_device *adopt(struct fixture *f, const struct caller *caller,
				struct vfb_space *space)
{
	struct vfb_device_adopt_opts opts = opts_for(caller, space);
	struct vfb_device *device;

	assert_ok(vfb_device_adopt(f->ctx, caller->device, &opts, &device));
	return device;
}

/* The device is the caller's still: open, attached, and not reset. */
static void assert_kept(struct fixture *f, const struct caller *caller)
{
	struct vfb_device *device = adopt(f, caller, NULL);

	assert_true(is_marked(device));
	assert_ok(vfb_device_close(device));
}

static void use_registers(struct vfb_device *device)
{
	uint64_t vendor = 0;
	void *bar;

	mark(device);
	assert_ok(vfb_region_load(device, VFB_REGION_CONFIG, 0, 2, &vendor));
	assert_int_equal(vendor, 0x1b36);
	assert_ok(vfb_region_map(device, 0, NULL, &bar));
	assert_non_null(bar);
}

static void use_interrupts(struct vfb_device *device)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	eventfd_t value;

	assert_ok(vfb_irq_enable(device, VFB_IRQ_MSIX, 0, &fd, 1));
	assert_ok(vfb_irq_trigger(device, VFB_IRQ_MSIX, 0, 1));
	assert_int_equal(eventfd_read(fd, &value), 0);
	close(fd);
}

/* All works as with one of the library's own; afterwards the caller has it as it was. */
static void use(struct fixture *f)
{
	struct vfb_device_info info = VFB_DEVICE_INFO_INIT;
	struct vfb_memory *memory = make_memory(f, 2 * BYTES, VFB_PAGE_4K);
	struct vfb_device *device, *second;
	struct caller caller;
	struct vfb_space *space;

	caller_open_device(f, &caller, 0);
	caller_map(f, &caller);
	assert_ok(vfb_space_adopt(f->ctx, caller.space, caller.ioas, NULL, &space));
	device = adopt(f, &caller, space);
	assert_ok(vfb_device_info(device, &info));
	assert_string_equal(info.address, caller.address);
	assert_int_equal(info.fd, caller.device);
	assert_int_equal(info.irqs, 5);
	assert_holds(space, 1, 0, 0);
	assert_ok(map_one(space, memory, BYTES, IOVA));
	assert_int_equal(machine_pinned(), 2 * BYTES);
	assert_error(vfb_device_open(space, caller.address, &second), -EBUSY);
	assert_says("already");
	assert_error(vfb_space_destroy(space), -EBUSY);
	assert_says("devices are open");
	use_registers(device);
	use_interrupts(device);
	assert_ok(vfb_device_close(device));
	assert_holds(space, 0, 1, BYTES);
	assert_int_equal(machine_pinned(), 2 * BYTES);
	assert_kept(f, &caller);
	/* Nor is it reset when it is closed beside one that is. */
	device = adopt(f, &caller, space);
	assert_ok(vfb_device_open(space, f->machine->devices[1], &second));
	mark(second);
	assert_ok(vfb_devices_close((struct vfb_device *[]){device, second}, 2, NULL));
	assert_int_equal(machine_register(f->machine->devices[1], NVME_INTMS), 0);
	assert_kept(f, &caller);
	assert_int_equal(machine_pinned(), 2 * BYTES);
	assert_ok(vfb_space_destroy(space));
	assert_int_equal(machine_pinned(), BYTES);
	caller_unmap(f, &caller);
	caller_close(&caller);
	assert_ok(vfb_memory_destroy(memory));
}

/* It brings the domain: what was kept for a device is mapped at once. */
static void after_mapping(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_4K);
	struct vfb_device *device, *own;
	struct caller caller, other;
	struct vfb_space *space;

	caller_open(f, &caller, 0);
	assert_ok(vfb_space_adopt(f->ctx, caller.space, caller.ioas, NULL, &space));
	assert_ok(map_one(space, memory, BYTES, IOVA));
	assert_int_equal(machine_pinned(), 0);
	caller_open_device(f, &other, 1);
	assert_error(vfb_device_adopt(f->ctx, other.device,
				      (struct vfb_device_adopt_opts[]){opts_for(&other, space)},
				      &device),
		     -ENXIO);
	assert_says("attach it first");
	assert_null(device);
	caller_close(&other);
	caller_attach(f, &caller);
	if (f->backend == VFB_BACKEND_TYPE1)
		caller_get_device(&caller);
	device = adopt(f, &caller, space);
	assert_int_equal(machine_pinned(), BYTES);
	/* It keeps the domain when the library's device goes. */
	assert_ok(vfb_device_open(space, f->machine->devices[1], &own));
	vfb_device_close(own);
	assert_int_equal(machine_pinned(), BYTES);
	assert_ok(vfb_device_close(device));
	assert_int_equal(machine_pinned(), BYTES);
	assert_ok(vfb_space_destroy(space));
	assert_int_equal(machine_pinned(), 0);
	caller_close(&caller);
	assert_ok(vfb_memory_destroy(memory));
}

/* Registers and interrupts need no space; iommufd: bound, and attached to nothing. */
static void without_space(struct fixture *f)
{
	bool is_attached = f->backend == VFB_BACKEND_TYPE1, has_interrupts = true;
	struct vfb_device *device;
	struct caller caller;

	if (is_attached) {
		caller_open_device(f, &caller, 0);
	} else {
		caller_open(f, &caller, 0);
		caller_bind(f, &caller);
	}
#ifdef __aarch64__
	/* SMMUv3 translates interrupts as well. */
	has_interrupts = is_attached;
#endif
	device = adopt(f, &caller, NULL);
	use_registers(device);
	if (has_interrupts)
		use_interrupts(device);
	assert_error(vfb_ctx_destroy(f->ctx), -EBUSY);
	assert_ok(vfb_device_close(device));
	assert_kept(f, &caller);
	caller_close(&caller);
}

static void reset(struct fixture *f)
{
	struct vfb_reset_request bus = {.method = VFB_RESET_BUS};
	struct vfb_device_adopt_opts opts;
	struct caller caller;

	caller_open_device(f, &caller, 0);
	bus.device = adopt(f, &caller, NULL);
	mark(bus.device);
	assert_ok(vfb_device_reset(bus.device));
	assert_false(is_marked(bus.device));
	mark(bus.device);
	if (f->backend == VFB_BACKEND_TYPE1) {
		assert_error(vfb_devices_reset(&bus, 1, NULL), -EPERM);
		assert_says("group_fd");
		assert_true(is_marked(bus.device));
		assert_ok(vfb_device_close(bus.device));
		opts = opts_for(&caller, NULL);
		opts.flags = VFB_DEVICE_ADOPT_HAS_GROUP_FD;
		opts.group_fd = caller.group;
		assert_ok(vfb_device_adopt(f->ctx, caller.device, &opts, &bus.device));
	}
	assert_ok(vfb_devices_reset(&bus, 1, NULL));
	assert_false(is_marked(bus.device));
	assert_ok(vfb_device_close(bus.device));
	caller_close(&caller);
}

/* VFIO_DEVICE_SET_IRQS for vector 0 of MSI-X. */
static int set_vector(const struct caller *caller, uint32_t flags, int fd)
{
	char raw[sizeof(struct vfio_irq_set) + sizeof(fd)];
	struct vfio_irq_set set = {
		.argsz = flags & VFIO_IRQ_SET_DATA_EVENTFD ? sizeof(raw) : sizeof(set),
		.flags = flags | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = VFIO_PCI_MSIX_IRQ_INDEX,
		.count = 1,
	};

	memcpy(raw, &set, sizeof(set));
	memcpy(raw + sizeof(set), &fd, sizeof(fd));
	return machine_ioctl(caller->device, VFIO_DEVICE_SET_IRQS, raw);
}

static void callers_interrupts(struct fixture *f)
{
	int own = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int request = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct vfb_device *device;
	struct caller caller;
	eventfd_t value;

	caller_open_device(f, &caller, 0);
	assert_returns(set_vector(&caller, VFIO_IRQ_SET_DATA_EVENTFD, own), 0);
	device = adopt(f, &caller, NULL);
	assert_ok(vfb_irq_enable(device, VFB_IRQ_REQUEST, 0, &request, 1));
	assert_ok(vfb_device_close(device));
	assert_returns(set_vector(&caller, VFIO_IRQ_SET_DATA_NONE, 0), 0);
	assert_int_equal(eventfd_read(own, &value), 0);
	assert_int_equal(value, 1);
	caller_close(&caller);
	close(own);
	close(request);
}

/* ---- What cannot be adopted ---- */

static void refuse(struct fixture *f, int fd, const struct vfb_device_adopt_opts *opts, int error,
		   const char *says)
{
	struct vfb_device *device = (void *)1;

	check_result("vfb_device_adopt", vfb_device_adopt(f->ctx, fd, opts, &device), error,
		     __FILE__, __LINE__);
	assert_null(device);
	check_text(says, __FILE__, __LINE__);
}

static void wrong_files(struct fixture *f)
{
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory *memory;
	struct caller caller;

	opts.bytes = BYTES;
	opts.kind = VFB_MEMORY_MEMFD;
	assert_ok(vfb_memory_create(f->ctx, &opts, &memory));
	assert_ok(vfb_memory_info(memory, &info));
	refuse(f, -1, NULL, -EBADF, "-1 is not open");
	refuse(f, 900, NULL, -EBADF, "900 is not open");
	refuse(f, info.fd, NULL, -ENOTTY, "no VFIO device");
	assert_ok(vfb_memory_destroy(memory));
	caller_open(f, &caller, 0);
	if (f->backend == VFB_BACKEND_TYPE1) {
		refuse(f, caller.space, NULL, -EINVAL, "is a container");
		refuse(f, caller.group, NULL, -EINVAL, "is a group");
		caller_attach(f, &caller);
		refuse(f, caller.space, NULL, -EINVAL, "is a container");
		refuse(f, caller.group, NULL, -EINVAL, "is a group");
	} else {
		refuse(f, caller.space, NULL, -EINVAL, "an iommufd");
		refuse(f, caller.device, NULL, -EINVAL, "not bound");
		assert_says(caller.address);
	}
	caller_close(&caller);
}

static void wrong_settings(struct fixture *f)
{
	struct vfb_device_adopt_opts opts = VFB_DEVICE_ADOPT_OPTS_INIT;
	struct vfb_space *own = make_space(f);
	struct vfb_device *device;
	struct vfb_ctx *ctx;
	struct caller caller;

	caller_open_device(f, &caller, 0);
	if (f->backend == VFB_BACKEND_TYPE1) {
		refuse(f, caller.device, NULL, -EINVAL, "give it");
	} else {
		/* The node determines the address. */
		assert_ok(vfb_device_adopt(f->ctx, caller.device, NULL, &device));
		assert_ok(vfb_device_close(device));
		opts.address = f->machine->devices[1];
		refuse(f, caller.device, &opts, -EINVAL, caller.address);
		opts.address = NULL;
	}
	opts.flags = 1u << 20;
	refuse(f, caller.device, &opts, -EINVAL, "0x100000");
	opts.flags = 0;
	opts.address = "1:0";
	refuse(f, caller.device, &opts, -EINVAL, "not a PCI address");
	if (f->backend == VFB_BACKEND_TYPE1) {
		opts.address = "0000:ff:1f.7";
		refuse(f, caller.device, &opts, -ENODEV, "no PCI device 0000:ff:1f.7");
	}
	opts = opts_for(&caller, own);
	refuse(f, caller.device, &opts, -EINVAL, "vfb_space_adopt()");
	assert_ok(vfb_space_destroy(own));
	assert_ok(machine_ctx_create(NULL, &ctx));
	assert_ok(vfb_space_adopt(ctx, caller.space, caller.ioas, NULL, &opts.space));
	refuse(f, caller.device, &opts, -EINVAL, "another context");
	assert_ok(vfb_space_destroy(opts.space));
	assert_ok(vfb_ctx_destroy(ctx));
	/* Once in a space. */
	assert_ok(vfb_space_adopt(f->ctx, caller.space, caller.ioas, NULL, &opts.space));
	device = adopt(f, &caller, opts.space);
	refuse(f, caller.device, &opts, -EBUSY, "already");
	assert_ok(vfb_device_close(device));
	assert_ok(vfb_space_destroy(opts.space));
	caller_close(&caller);
}

/* ---- Another process ---- */

/* A message with two file descriptors (SCM_RIGHTS). */
struct message {
	struct msghdr header;
	struct iovec data;
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} rights;
};

static void fill_in(struct message *message, uint32_t *ioas)
{
	*message = (struct message){.data = {.iov_base = ioas, .iov_len = sizeof(*ioas)}};
	message->header.msg_iov = &message->data;
	message->header.msg_iovlen = 1;
	message->header.msg_control = &message->rights;
	message->header.msg_controllen = sizeof(message->rights);
}

static void send_files(int socket, struct caller *caller)
{
	int fds[2] = {caller->space, caller->device};
	struct message message;

	fill_in(&message, &caller->ioas);
	message.rights.header.cmsg_len = CMSG_LEN(sizeof(fds));
	message.rights.header.cmsg_level = SOL_SOCKET;
	message.rights.header.cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(&message.rights.header), fds, sizeof(fds));
	assert_int_equal(sendmsg(socket, &message.header, 0), sizeof(caller->ioas));
}

static void receive_files(int socket, struct caller *caller)
{
	struct message message;
	int fds[2];

	fill_in(&message, &caller->ioas);
	assert_int_equal(recvmsg(socket, &message.header, MSG_CMSG_CLOEXEC), sizeof(caller->ioas));
	assert_int_equal(message.rights.header.cmsg_len, CMSG_LEN(sizeof(fds)));
	memcpy(fds, CMSG_DATA(&message.rights.header), sizeof(fds));
	caller->space = fds[0];
	caller->device = fds[1];
	caller->group = -1;
}

/* Opens the device, hands it over, and finds it as it was when the other end is closed. */
static void be_opener(struct fixture *f, int socket)
{
	struct caller caller;
	char byte;

	caller_open_device(f, &caller, 0);
	send_files(socket, &caller);
	assert_int_equal(read(socket, &byte, 1), 0);
	assert_ok(machine_ctx_create(NULL, &f->ctx));
	assert_kept(f, &caller);
	caller_close(&caller);
	_exit(0);
}

static void other_process(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_4K);
	struct caller caller = {.address = f->machine->devices[0]};
	struct vfb_device *device;
	struct vfb_space *space;
	int ends[2], status;
	pid_t child = 0;

	if (f->machine->has_processes) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
		fflush(NULL);
		child = fork();
		if (!child) {
			close(ends[0]);
			be_opener(f, ends[1]);
		}
		close(ends[1]);
		receive_files(ends[0], &caller);
	} else {
		caller_open_device(f, &caller, 0);
	}
	assert_ok(vfb_space_adopt(f->ctx, caller.space, caller.ioas, NULL, &space));
	device = adopt(f, &caller, space);
	assert_ok(map_one(space, memory, BYTES, IOVA));
	assert_int_equal(machine_pinned(), BYTES);
	use_registers(device);
	use_interrupts(device);
	assert_ok(vfb_device_close(device));
	assert_ok(vfb_space_destroy(space));
	assert_int_equal(machine_pinned(), 0);
	caller_close(&caller);
	if (child) {
		close(ends[0]);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	}
	assert_ok(vfb_memory_destroy(memory));
}

const struct scenario adopt_device_scenarios[] = {
	{.name = "a device of the caller's", .run = use},
	{.name = "a device of the caller's after mapping", .run = after_mapping},
	{.name = "a device of the caller's without a space", .run = without_space},
	{.name = "a device of the caller's is reset when asked", .run = reset},
	{.name = "interrupts of the caller's stay", .run = callers_interrupts},
	{.name = "what is no device of the caller's", .run = wrong_files},
	{.name = "wrong settings for a device of the caller's", .run = wrong_settings},
	{.name = "a device that another process has opened", .run = other_process},
	{0},
};
