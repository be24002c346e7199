/* SPDX-License-Identifier: MIT */
/*
 * A tenant that looks for bytes of others in the slot that it takes, leaves its own, and tries to
 * keep hold of it. soak_slots.py starts it in a machine.
 *
 *	soak_tenant SOCKET CLASS HOLD [FRIEND]
 *
 * It prints "held" once its bytes are there, and ends when its input ends. HOLD is one of:
 *	nothing		it just ends
 *	fork		a child has the same and lives on
 *	mapping		a child has only the mapping
 *	duplicates	a child has each file twenty times
 *	friend		the files go to whoever listens at FRIEND
 *	dma		a child of another cgroup lets the device write on, and attaches it again
 *	guard		no child: it lets the device write all the time, and checks what is there
 *
 *	soak_tenant SOCKET CLASS take COUNT
 *
 * takes so many slots, one after another, and checks that it is left with what it had before.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../vm/nvme.h"
#include "sys/uapi.h"

#define SECRET UINT64_C(0x2165747372757321)
/* Where the device writes, behind which everything keeps what was written there. */
#define PAGE	   4096
#define WORDS(all) ((all) / sizeof(uint64_t))
#define WAIT_NS	   UINT64_C(120000000000)
/* A child lives as long. */
#define CHILD_S 1
/* Between two looks. */
#define PAUSE_US  200000
#define FRIENDS	  "/sys/fs/cgroup/soak-friends"
#define MOST_FDS  128
#define DUPLICATE 20

static struct tenant {
	const char *socket, *class_name, *hold;
	struct vfb_ctx *ctx;
	struct vfb_slot *slot;
	struct vfb_slot_info info;
	uint64_t *words;
	uint64_t bytes;
	struct nvme *nvme;
	/* Open before the slot was taken. */
	bool was_open[MOST_FDS];
} tenant;

static void require(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "%s %s %s: %s\n", tenant.class_name,
		tenant.info.name ? tenant.info.name : "-", tenant.hold, what);
	exit(1);
}

static void check(int error, const char *what)
{
	if (error)
		fprintf(stderr, "%s\n", vfb_last_error());
	require(!error, what);
}

static void take(void)
{
	struct vfb_slot_opts opts = VFB_SLOT_OPTS_INIT;
	struct vfb_memory_info memory = VFB_MEMORY_INFO_INIT;

	opts.class_name = tenant.class_name;
	opts.socket = tenant.socket;
	opts.wait_ns = WAIT_NS;
	for (int fd = 0; fd < MOST_FDS; fd++)
		tenant.was_open[fd] = fcntl(fd, F_GETFD) >= 0;
	check(vfb_slot_take(tenant.ctx, &opts, &tenant.slot), "cannot take a slot");
	tenant.info = (struct vfb_slot_info)VFB_SLOT_INFO_INIT;
	check(vfb_slot_info(tenant.slot, &tenant.info), "what was taken is unknown");
	check(vfb_memory_info(tenant.info.memory, &memory), "what was taken is unknown");
	/* Unlike the library's mapping, children have it too. */
	tenant.bytes = memory.bytes;
	tenant.words = mmap(NULL, tenant.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd, 0);
	require(tenant.words != MAP_FAILED, "cannot map the memory");
}

static void look_for_others(void)
{
	for (uint64_t i = 0; i < WORDS(tenant.bytes); i++)
		require(!tenant.words[i], "SOMEBODY ELSE'S BYTES ARE THERE");
}

static void check_own(void)
{
	for (uint64_t i = WORDS(PAGE); i < WORDS(tenant.bytes); i++)
		require(tenant.words[i] == (SECRET ^ i), "SOMEBODY ELSE HAS WRITTEN THERE");
}

static void write_own(void)
{
	for (uint64_t i = WORDS(PAGE); i < WORDS(tenant.bytes); i++)
		tenant.words[i] = SECRET ^ i;
}

/* ---- What a device does ---- */

static void start_dma(void)
{
	require(tenant.info.device_count, "the slot has no device");
	tenant.nvme = nvme_start(tenant.ctx, tenant.info.space, tenant.info.devices[0]);
}

static void write_by_dma(void)
{
	nvme_identify(tenant.nvme, tenant.info.ranges[0].iova);
}

static void check_dma(void)
{
	const volatile uint32_t *word = (uint32_t *)tenant.words;

	tenant.words[0] = 0;
	write_by_dma();
	require(*word == NVME_IDENTITY, "what the device has written is not there");
	memset(tenant.words, 0, PAGE);
}

/* Whatever the daemon has undone, for each file that may be a device or a container. */
static void attach_again(void)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)tenant.words,
		.iova = tenant.info.ranges[0].iova,
		.size = tenant.bytes,
	};

	for (int fd = 3; fd < MOST_FDS; fd++) {
		if (tenant.was_open[fd])
			continue;
		ioctl(fd, VFIO_IOMMU_MAP_DMA, &map);
		for (unsigned int pt = 1; pt < 8; pt++) {
			struct vfb_vfio_device_attach_iommufd_pt attach = {.argsz = sizeof(attach),
									   .pt_id = pt};

			ioctl(fd, VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
		}
	}
}

/* ---- Keeping hold ---- */

static void leave_cgroup(void)
{
	int procs;

	mkdir(FRIENDS, 0755);
	procs = open(FRIENDS "/cgroup.procs", O_WRONLY | O_CLOEXEC);
	require(procs >= 0 && write(procs, "0", 1) == 1, "cannot move to another cgroup");
	close(procs);
}

static void duplicate_files(void)
{
	for (int fd = 3; fd < MOST_FDS / DUPLICATE; fd++)
		for (int i = 0; i < DUPLICATE && !tenant.was_open[fd]; i++)
			if (fcntl(fd, F_GETFD) >= 0)
				fcntl(fd, F_DUPFD, MOST_FDS);
}

static void run_child(void)
{
	/* The device no longer answers at some point. */
	prctl(PR_SET_DUMPABLE, 0);
	alarm(CHILD_S);
	if (!strcmp(tenant.hold, "mapping"))
		close_range(3, ~0U, 0);
	if (!strcmp(tenant.hold, "duplicates"))
		duplicate_files();
	while (!strcmp(tenant.hold, "dma")) {
		write_by_dma();
		attach_again();
		usleep(PAUSE_US / 10);
	}
	while (1) {
		check_own();
		usleep(PAUSE_US);
	}
}

static void start_child(void)
{
	int ready[2];
	char byte;

	require(!pipe(ready), "cannot make a pipe");
	if (!fork()) {
		if (!strcmp(tenant.hold, "dma"))
			leave_cgroup();
		dup2(open("/dev/null", O_RDWR), 1);
		if (!strcmp(tenant.hold, "dma"))
			dup2(1, 2);
		close(ready[1]);
		close(ready[0]);
		run_child();
	}
	close(ready[1]);
	/* It has moved to its cgroup. */
	require(!read(ready[0], &byte, 1), "its child has written something");
	close(ready[0]);
}

static void send_files(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(MOST_FDS * sizeof(int))];
	} control;
	struct iovec part = {(char *)"x", 1};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room};
	int fds[MOST_FDS], count = 0, friend = socket(AF_UNIX, SOCK_STREAM, 0);

	for (int fd = 3; fd < MOST_FDS; fd++)
		if (!tenant.was_open[fd] && fd != friend && fcntl(fd, F_GETFD) >= 0)
			fds[count++] = fd;
	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	require(!connect(friend, (struct sockaddr *)&address, sizeof(address)), "has no friend");
	message.msg_controllen = CMSG_SPACE(count * sizeof(int));
	control.align = (struct cmsghdr){
		.cmsg_level = SOL_SOCKET,
		.cmsg_type = SCM_RIGHTS,
		.cmsg_len = CMSG_LEN(count * sizeof(int)),
	};
	memcpy(CMSG_DATA(&control.align), fds, count * sizeof(int));
	require(sendmsg(friend, &message, 0) == 1, "cannot pass its files");
	close(friend);
}

static void hold(const char *friend)
{
	if (!strcmp(tenant.hold, "friend"))
		send_files(friend);
	else if (strcmp(tenant.hold, "nothing") && strcmp(tenant.hold, "guard"))
		start_child();
}

static bool input_ended(int timeout_ms)
{
	struct pollfd input = {.fd = 0, .events = POLLIN};

	return poll(&input, 1, timeout_ms) != 0;
}

static void be_tenant(const char *friend)
{
	bool guard = !strcmp(tenant.hold, "guard");

	take();
	look_for_others();
	write_own();
	if (guard || !strcmp(tenant.hold, "dma"))
		start_dma();
	hold(friend);
	puts("held");
	fflush(stdout);
	while (!input_ended(guard ? PAUSE_US / 1000 : -1))
		if (guard) {
			check_dma();
			check_own();
		}
	check_own();
}

/* ---- Taking many ---- */

static unsigned int count_open(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned int count = 0;

	require(folder, "cannot read /proc/self/fd");
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static void take_many(unsigned long count)
{
	unsigned int before = count_open();

	for (unsigned long i = 0; i < count; i++) {
		take();
		look_for_others();
		write_own();
		munmap(tenant.words, tenant.bytes);
		check(vfb_slot_release(tenant.slot), "cannot release the slot");
	}
	require(count_open() == before, "files are left open");
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	tenant.socket = argv[1];
	tenant.class_name = argv[2];
	tenant.hold = argv[3];
	check(vfb_ctx_create(NULL, &tenant.ctx), "cannot make a context");
	if (strcmp(tenant.hold, "take")) {
		be_tenant(argv[4]);
		return 0;
	}
	take_many(strtoul(argv[4], NULL, 10));
	check(vfb_ctx_destroy(tenant.ctx), "cannot destroy the context");
	return 0;
}
