/* SPDX-License-Identifier: MIT */
/*
 * What a preloaded object may get wrong and what needs no VFIO: any file refuses the requests.
 * Each part prints the same with and without `vfioboost exec`.
 *
 * Usage: corners PART
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BYTES (8ul << 20)
#define LARGE (512ul << 20)

/* struct iommu_ioas_map, which Debian 12 lacks. */
struct ioas_map {
	uint32_t size, flags, ioas_id, reserved;
	uint64_t user_va, length, iova;
};
#define IOAS_MAP       _IO(';', 0x85)
#define IOAS_MAP_FLAGS (2 | 4)

static int file;

static int map_bytes(void *address, uint64_t bytes)
{
	struct ioas_map map = {
		.size = sizeof(map),
		.flags = IOAS_MAP_FLAGS,
		.user_va = (uintptr_t)address,
		.length = bytes,
	};

	errno = 0;
	return ioctl(file, IOAS_MAP, &map);
}

static int map(void *address)
{
	return map_bytes(address, BYTES);
}

static void *allocate_bytes(uint64_t bytes)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

static void *allocate(void)
{
	return allocate_bytes(BYTES);
}

static void say(const char *what, long result)
{
	printf("%s: %ld %s\n", what, result, result < 0 ? strerror(errno) : "");
	fflush(stdout);
}

static int threads(void)
{
	struct stat folder;

	return stat("/proc/self/task", &folder) ? -1 : (int)folder.st_nlink - 2;
}

/* A child that has this memory without its threads, by fork(3) and in other ways. */
static void run_child(const char *how, pid_t child)
{
	int status;

	if (!child) {
		alarm(5);
		say(how, map(allocate()));
		_exit(0);
	}
	waitpid(child, &status, 0);
	say(WIFSIGNALED(status) ? "hung" : "ended", 0);
}

static void fork_children(void)
{
	say("parent", map(allocate()));
	run_child("fork", fork());
	run_child("_Fork", _Fork());
	run_child("clone", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}

static void pass_bad_pointers(void)
{
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const unsigned long requests[] = {
		IOAS_MAP,
		IOAS_MAP + 1,
		_IO(';', 0x8f),
		VFIO_IOMMU_MAP_DMA,
		VFIO_IOMMU_UNMAP_DMA,
		VFIO_DEVICE_FEATURE,
		VFIO_GROUP_GET_DEVICE_FD,
	};

	munmap(page + 4096, 4096);
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		say("no page", ioctl(file, requests[i], (void *)0x10000));
		say("no page", ioctl(file, requests[i], (void *)-1ul));
		say("end of a page", ioctl(file, requests[i], page + 4096 - 4));
		say("unaligned", ioctl(file, requests[i], page + 1));
		mprotect(page, 4096, PROT_NONE);
		say("no access", ioctl(file, requests[i], page));
		mprotect(page, 4096, PROT_READ | PROT_WRITE);
	}
}

/* Nobody provides the pages: a program that populated them would wait for ever. */
static void map_missing(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register range = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	char *memory = allocate();

	range.range.start = (uintptr_t)memory;
	range.range.len = BYTES;
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &range)) {
		say("no userfaultfd", 0);
		return;
	}
	alarm(10);
	say("map", map(memory));
}

/* Memory that nobody has used yet is zero, by luck. */
static void use_heap(void)
{
	unsigned char *memory;
	size_t used = 0;

	for (size_t bytes = 16; bytes < 100000; bytes *= 2) {
		memory = malloc(bytes);
		for (size_t i = 0; i < bytes; i++)
			used += memory[i] != 0;
	}
	say("bytes that are not zero", used);
}

static void use_heap_first(void)
{
	use_heap();
	say("threads", threads());
}

static void use_heap_after_map(void)
{
	say("map", map(allocate()));
	use_heap();
}

static void call_often(void)
{
	int result = 0;

	for (int i = 0; i < 70000; i++)
		result |= ioctl(file, VFIO_CHECK_EXTENSION, 1);
	say("calls", result);
}

/* The kernel refuses it to a process with several threads, among them one that is about to end. */
static void leave_namespace(void)
{
	int failures = 0, status;

	for (int i = 0; i < 20; i++) {
		pid_t child = fork();

		if (!child) {
			map(allocate());
			_exit(unshare(CLONE_NEWUSER) ? 1 : 0);
		}
		waitpid(child, &status, 0);
		failures += status != 0;
	}
	say("unshare that failed", failures);
}

/* Every thread of the process has no more than it is left with. */
static void give_up_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};

	map(allocate());
	say("capset", syscall(SYS_capset, &header, data));
	say("threads", threads());
}

/* The kernel refuses the map with ENOMEM, after 1 MiB. */
static void exceed_lock_limit(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};
	struct rlimit limit = {1 << 20, 1 << 20};

	say("setrlimit", setrlimit(RLIMIT_MEMLOCK, &limit));
	say("capset", syscall(SYS_capset, &header, data));
	say("map", map(allocate()));
}

/* More than there is: all of it would end in the OOM killer. */
static void map_much(void)
{
	say("map", map_bytes(allocate_bytes(LARGE), LARGE));
}

static void *map_on(void *stop)
{
	while (!*(volatile bool *)stop) {
		void *memory = allocate();

		map(memory);
		munmap(memory, BYTES);
	}
	return NULL;
}

/* Rights are given up while another thread maps. */
static void give_up_meanwhile(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};
	bool stop = false;
	pthread_t thread;
	int failures = 0;

	pthread_create(&thread, NULL, map_on, &stop);
	for (int i = 0; i < 50; i++) {
		usleep(1000);
		failures += syscall(SYS_capset, &header, data) != 0;
	}
	stop = true;
	pthread_join(thread, NULL);
	say("capset that failed", failures);
}

/* One number, which means something else to a container, a misc device, than to a device. */
static void reuse_descriptor(void)
{
	static const char *const misc[] = {"/dev/fuse", "/dev/net/tun", "/dev/kvm", "/dev/hpet"};
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC), other = -1;
	FILE *stream;

	for (size_t i = 0; i < sizeof(misc) / sizeof(misc[0]) && other < 0; i++)
		other = open(misc[i], O_RDWR | O_CLOEXEC);
	if (other < 0)
		return;
	ioctl(fd, VFIO_IOMMU_DIRTY_PAGES, NULL);
	syscall(SYS_close, fd);
	fcntl(other, F_DUPFD, fd);
	ioctl(fd, VFIO_IOMMU_DIRTY_PAGES, NULL);
	dup2(file, fd);
	ioctl(fd, VFIO_IOMMU_DIRTY_PAGES, NULL);
	stream = fdopen(fd, "r+");
	fclose(stream);
	fcntl(other, F_DUPFD, fd);
	ioctl(fd, VFIO_IOMMU_DIRTY_PAGES, NULL);
	close_range(fd, fd, 0);
	fcntl(file, F_DUPFD, fd);
	ioctl(fd, VFIO_IOMMU_DIRTY_PAGES, NULL);
	close(fd);
}

/* As VMMs do it that preallocate the guest's memory. */
static void populate_first(void)
{
	void *memory = allocate(), *more;

	say("populate", madvise(memory, BYTES, MADV_POPULATE_WRITE));
	more = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
		    -1, 0);
	say("map", map(memory));
	say("map", map(more));
}

/* A guest that was saved: its file is in the page cache, and each page has yet to be copied. */
static void map_copy(void)
{
	char name[] = "/tmp/corners.XXXXXX", *memory;
	int fd = mkstemp(name);

	unlink(name);
	for (size_t i = 0; i < BYTES; i += sizeof(name))
		if (write(fd, name, sizeof(name)) != sizeof(name))
			say("write", -1);
	memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	say("map", map(memory));
	say("content", memory[0] == '/');
}

/* How programs find out what a device has: by calls that fail where it has not. */
static void ask(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct vfio_device_feature feature = {
		.argsz = sizeof(feature),
		.flags = VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_MIGRATION,
	};

	say("feature", ioctl(fd, VFIO_DEVICE_FEATURE, &feature));
}

/* The first use of VFIO is behind a filter of which the C library knows nothing. */
static void filter_calls(void)
{
	struct sock_filter allow[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
	struct sock_fprog program = {1, allow};

	say("seccomp?", prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL));
	say("no new privileges", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	say("seccomp", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
	say("map", map(allocate()));
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} parts[] = {
		{"children", fork_children},
		{"pointers", pass_bad_pointers},
		{"missing", map_missing},
		{"heap", use_heap_first},
		{"heap-after-map", use_heap_after_map},
		{"often", call_often},
		{"namespace", leave_namespace},
		{"rights", give_up_capabilities},
		{"filter", filter_calls},
		{"locked", exceed_lock_limit},
		{"much", map_much},
		{"prealloc", populate_first},
		{"restored", map_copy},
		{"reuse", reuse_descriptor},
		{"rights-meanwhile", give_up_meanwhile},
		{"ask", ask},
	};

	/* Standard output does without the heap. */
	setvbuf(stdout, (char[BUFSIZ]){0}, _IOFBF, BUFSIZ);
	file = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (argc == 2 && !strcmp(argv[1], parts[i].name)) {
			parts[i].run();
			return 0;
		}
	return 2;
}
