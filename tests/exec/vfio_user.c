/* SPDX-License-Identifier: MIT */
/*
 * A program that uses VFIO in every way that a preloaded object might get wrong, and prints what
 * the kernel said: it must be the same with and without `vfioboost exec`. It knows nothing of the
 * library.
 *
 * Usage: vfio_user DEVICE GROUP
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB   (1ul << 20)
#define BYTES (32 * MIB)

extern char **environ;

static int container, group, device;
static char *memory;

/* What a call returned, with errno as it is seen by the program. */
static void say(const char *what, long result)
{
	printf("%s: %ld %s\n", what, result < 0 ? -1 : result, result < 0 ? strerror(errno) : "");
	fflush(stdout);
}

static void say_status(const char *what, int status)
{
	printf("%s: %s %d\n", what, WIFSIGNALED(status) ? "signal" : "exit",
	       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	fflush(stdout);
}

static int map(void *address, uint64_t bytes, uint64_t iova, uint32_t flags)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = flags,
		.vaddr = (uintptr_t)address,
		.iova = iova,
		.size = bytes,
	};

	errno = 0;
	return ioctl(container, VFIO_IOMMU_MAP_DMA, &map);
}

static int unmap(uint64_t bytes, uint64_t iova)
{
	struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof(unmap),
						   .iova = iova,
						   .size = bytes};

	errno = 0;
	return ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap);
}

static void *allocate(int protection)
{
	return mmap(NULL, BYTES, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void use_container(const char *number, const char *name)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	char path[64];

	snprintf(path, sizeof(path), "/dev/vfio/%s", number);
	container = open("/dev/vfio/vfio", O_RDWR);
	group = open(path, O_RDWR);
	say("api version", ioctl(container, VFIO_GET_API_VERSION));
	say("map without an IOMMU", map(memory, BYTES, 0, 3));
	say("status", ioctl(group, VFIO_GROUP_GET_STATUS, &status));
	say("flags", status.flags);
	say("set container", ioctl(group, VFIO_GROUP_SET_CONTAINER, &container));
	say("set iommu", ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
	say("another device", ioctl(group, VFIO_GROUP_GET_DEVICE_FD, "0000:7f:00.0"));
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name);
	say("device", device < 0 ? -1 : 0);
}

static void map_right_and_wrong(void)
{
	const uint32_t both = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
	char *readonly = allocate(PROT_READ), *nothing = allocate(PROT_NONE);

	memory[5] = 'x';
	say("map", map(memory, BYTES, 0, both));
	printf("content %c %d\n", memory[5], memory[BYTES - 1]);
	say("map again", map(memory, BYTES, 0, both));
	say("map no flags", map(memory, BYTES, 1ul << 32, 0));
	say("map misaligned", map(memory + 1, BYTES, 1ul << 32, both));
	say("map to the end of everything", map(memory, BYTES, -MIB, both));
	say("map read-only memory", map(readonly, BYTES, 1ul << 32, both));
	say("map read-only memory to be read", map(readonly, BYTES, 1ul << 32, 1));
	say("unmap it", unmap(BYTES, 1ul << 32));
	say("map forbidden memory", map(nothing, BYTES, 1ul << 32, both));
	munmap(nothing, BYTES);
	say("map no memory", map(nothing, BYTES, 1ul << 32, both));
	errno = 0;
	say("null", ioctl(container, VFIO_IOMMU_MAP_DMA, NULL));
	errno = 0;
	say("unknown request", ioctl(container, _IO(VFIO_TYPE, VFIO_BASE + 26), NULL));
	munmap(readonly, BYTES);
}

/* Pages beyond the end of a file raise SIGBUS for who touches them. */
static void map_short_file(void)
{
	int fd = memfd_create("short", MFD_CLOEXEC);
	char *file;

	say("half of a file", ftruncate(fd, BYTES / 2));
	file = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	say("map it all", map(file, BYTES, 1ul << 32, 3));
	say("map what there is", map(file, BYTES / 2, 1ul << 32, 3));
	say("unmap it", unmap(BYTES / 2, 1ul << 32));
	munmap(file, BYTES);
	close(fd);
}

/* Over descriptors that came about in other ways. */
static void pass_around(void)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec byte = {.iov_base = "x", .iov_len = 1};
	struct msghdr message = {
		.msg_iov = &byte,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	int sockets[2], other = dup(device), third = fcntl(device, F_DUPFD_CLOEXEC, 500), got;

	say("info over dup", ioctl(other, VFIO_DEVICE_GET_INFO, &info));
	say("info over fcntl", ioctl(third, VFIO_DEVICE_GET_INFO, &info));
	printf("regions %u irqs %u\n", info.num_regions, info.num_irqs);
	say("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	*CMSG_FIRSTHDR(&message) = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
						    .cmsg_type = SCM_RIGHTS,
						    .cmsg_len = CMSG_LEN(sizeof(int))};
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &third, sizeof(int));
	say("send", sendmsg(sockets[0], &message, 0));
	byte.iov_base = &(char){0};
	say("receive", recvmsg(sockets[1], &message, 0));
	memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	say("info over a socket", ioctl(got, VFIO_DEVICE_GET_INFO, &info));
	say("close", close(got) | close(third) | close(other));
	errno = 0;
	say("close again", close(other));
	errno = 0;
	say("close nothing", close(9999));
	errno = 0;
	say("ioctl on nothing", ioctl(9999, VFIO_DEVICE_GET_INFO, &info));
}

static void *map_in_thread(void *arg)
{
	return (void *)(intptr_t)map(arg, BYTES, 2ul << 32, 3);
}

/* Children of every kind, and what they leave of this process. */
static void have_children(void)
{
	char *arguments[] = {"sh", "-c", "exit 4", NULL};
	pthread_t thread;
	void *result;
	pid_t child;
	int status;

	child = fork();
	if (!child) {
		void *own = allocate(PROT_READ | PROT_WRITE);

		say("map in a child", map(own, BYTES, 4ul << 32, 3));
		say("unmap in a child", unmap(BYTES, 4ul << 32));
		_exit(7);
	}
	waitpid(child, &status, 0);
	say_status("fork", status);
	child = fork();
	if (!child) {
		say("unshare", unshare(CLONE_NEWUSER));
		exit(6);
	}
	waitpid(child, &status, 0);
	say_status("fork, unshare, exit", status);
	child = vfork();
	if (!child)
		_exit(5);
	waitpid(child, &status, 0);
	say_status("vfork", status);
	say("spawn", posix_spawn(&child, "/bin/sh", NULL, NULL, arguments, environ));
	waitpid(child, &status, 0);
	say_status("spawn", status);
	pthread_create(&thread, NULL, map_in_thread, memory);
	pthread_join(thread, &result);
	say("map in a thread", (intptr_t)result);
	say("unmap", unmap(BYTES, 2ul << 32));
}

#define ALLOW(name)                                             \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##name, 0, 1), \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/*
 * What a VMM may allow its thread: little more than what it needs itself. fstat, gettid and futex
 * are what a preloaded object adds to that; the C library needs two of them anyhow.
 */
static void filter_calls(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(ioctl),
		ALLOW(write),
		ALLOW(close),
		ALLOW(mmap),
		ALLOW(munmap),
		ALLOW(brk),
		ALLOW(futex),
		ALLOW(fstat),
		ALLOW(newfstatat),
		ALLOW(gettid),
		ALLOW(getpid),
		ALLOW(exit_group),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

	say("no new privileges", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	say("seccomp", prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}

int main(int argc, char **argv)
{
	char *more;

	if (argc != 3)
		return 2;
	memory = allocate(PROT_READ | PROT_WRITE);
	more = allocate(PROT_READ | PROT_WRITE);
	use_container(argv[2], argv[1]);
	map_right_and_wrong();
	map_short_file();
	pass_around();
	have_children();
	filter_calls();
	say("map behind a filter", map(more, BYTES, 1ul << 32, 3));
	say("unmap behind a filter", unmap(BYTES, 1ul << 32));
	say("close the device", close(device));
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, argv[1]);
	say("device again", device < 0 ? -1 : 0);
	return 3;
}
