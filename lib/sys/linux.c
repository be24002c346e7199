/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "sys/linux_event.h"
#include "sys/linux_numa.h"
#include "sys/linux_process.h"
#include "sys/linux_socket.h"
#include "sys/linux_touch.h"
#include "sys/sys.h"

#define UNUSED __attribute__((unused))

static int linux_open(UNUSED const struct vfb_sys *sys, const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static void linux_close(UNUSED const struct vfb_sys *sys, int fd)
{
	/* Linux has closed the descriptor whatever close() returns. */
	close(fd);
}

static ssize_t linux_pread(UNUSED const struct vfb_sys *sys, int fd, void *buf, size_t bytes,
			   off_t offset)
{
	ssize_t done;

	do
		done = pread(fd, buf, bytes, offset);
	while (done < 0 && errno == EINTR);
	return done < 0 ? -errno : done;
}

static ssize_t linux_pwrite(UNUSED const struct vfb_sys *sys, int fd, const void *buf, size_t bytes,
			    off_t offset)
{
	ssize_t done;

	do
		done = pwrite(fd, buf, bytes, offset);
	while (done < 0 && errno == EINTR);
	return done < 0 ? -errno : done;
}

static int linux_readlink(UNUSED const struct vfb_sys *sys, const char *path, char *buf,
			  size_t bytes)
{
	ssize_t length = readlink(path, buf, bytes);

	if (length < 0)
		return -errno;
	if ((size_t)length >= bytes)
		return -ENAMETOOLONG;
	buf[length] = '\0';
	return 0;
}

static int linux_realpath(UNUSED const struct vfb_sys *sys, const char *path, char *buf,
			  size_t bytes)
{
	char *resolved = realpath(path, NULL);
	size_t length;

	if (!resolved)
		return -errno;
	length = strlen(resolved);
	if (length < bytes)
		memcpy(buf, resolved, length + 1);
	free(resolved);
	return length < bytes ? 0 : -ENAMETOOLONG;
}

static int linux_path_info(UNUSED const struct vfb_sys *sys, const char *path,
			   struct vfb_sys_path *info)
{
	struct statx status;

	/* It may be a file of any process, on a server that does not answer. */
	if (statx(AT_FDCWD, path, AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC,
		  STATX_TYPE | STATX_MODE | STATX_UID | STATX_GID, &status))
		return -errno;
	*info = (struct vfb_sys_path){
		.uid = status.stx_uid,
		.gid = status.stx_gid,
		.mode = status.stx_mode & 07777,
		.is_node = S_ISCHR(status.stx_mode) || S_ISBLK(status.stx_mode),
		.is_block = S_ISBLK(status.stx_mode),
		.major = status.stx_rdev_major,
		.minor = status.stx_rdev_minor,
	};
	return 0;
}

static int linux_list(UNUSED const struct vfb_sys *sys, const char *path,
		      int (*each)(const char *name, void *arg), void *arg)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int result = 0;

	if (!dir)
		return -errno;
	while (!result && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			result = each(entry->d_name, arg);
	closedir(dir);
	return result;
}

static int linux_ioctl(UNUSED const struct vfb_sys *sys, int fd, unsigned long request, void *arg)
{
	int result;

	do
		result = ioctl(fd, request, arg);
	while (result < 0 && errno == EINTR);
	return result < 0 ? -errno : result;
}

static int linux_mmap(UNUSED const struct vfb_sys *sys, void *addr, size_t bytes, int prot,
		      int flags, int fd, off_t offset, void **out)
{
	void *mapped = mmap(addr, bytes, prot, flags, fd, offset);

	if (mapped == MAP_FAILED)
		return -errno;
	*out = mapped;
	return 0;
}

static int linux_munmap(UNUSED const struct vfb_sys *sys, void *addr, size_t bytes)
{
	return munmap(addr, bytes) ? -errno : 0;
}

static int linux_madvise(UNUSED const struct vfb_sys *sys, void *addr, size_t bytes, int advice)
{
	return madvise(addr, bytes, advice) ? -errno : 0;
}

static int linux_mremap_same(UNUSED const struct vfb_sys *sys, void *addr, size_t bytes)
{
	return mremap(addr, bytes, bytes, 0) == MAP_FAILED ? -errno : 0;
}

static int linux_mincore(UNUSED const struct vfb_sys *sys, void *addr, size_t bytes,
			 unsigned char *present)
{
	return mincore(addr, bytes, present) ? -errno : 0;
}

/*
 * An atomic OR with 0, done by the kernel. futex_wake_op() faults the page in for writing when it
 * must (fault_in_user_writeable()), and returns EFAULT instead of raising a signal. Nobody waits
 * for either futex, so nobody is woken.
 */
static int linux_touch(UNUSED const struct vfb_sys *sys, void *addr)
{
	uint32_t nobody = 0;
	long woken;

	woken = syscall(SYS_futex, &nobody, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, addr,
			FUTEX_OP(FUTEX_OP_OR, 0, FUTEX_OP_CMP_LT, 0));
	return woken < 0 ? -errno : 0;
}

static int linux_memfd_create(UNUSED const struct vfb_sys *sys, const char *name,
			      unsigned int flags)
{
	int fd = memfd_create(name, flags | MFD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int linux_ftruncate(UNUSED const struct vfb_sys *sys, int fd, off_t bytes)
{
	return ftruncate(fd, bytes) ? -errno : 0;
}

static int linux_file_info(UNUSED const struct vfb_sys *sys, int fd, struct vfb_sys_file *file)
{
	struct statfs statfs;
	struct stat stat;
	bool unlimited;

	if (fstat(fd, &stat) || fstatfs(fd, &statfs))
		return -errno;
	/* A tmpfs without a limit has no number of blocks. */
	unlimited = !statfs.f_blocks;
	*file = (struct vfb_sys_file){
		.major = major(stat.st_dev),
		.minor = minor(stat.st_dev),
		.inode = stat.st_ino,
		.bytes = stat.st_size,
		.page_bytes = statfs.f_type == HUGETLBFS_MAGIC ? statfs.f_bsize :
								 sysconf(_SC_PAGESIZE),
		.total_bytes = unlimited ? UINT64_MAX : statfs.f_blocks * statfs.f_bsize,
		.free_bytes = unlimited ? UINT64_MAX : statfs.f_bfree * statfs.f_bsize,
		.is_regular = S_ISREG(stat.st_mode),
		.is_memory = statfs.f_type == HUGETLBFS_MAGIC || statfs.f_type == TMPFS_MAGIC,
	};
	return 0;
}

static int linux_add_seals(UNUSED const struct vfb_sys *sys, int fd, int seals)
{
	return fcntl(fd, F_ADD_SEALS, seals) ? -errno : 0;
}

static int linux_fchmod(UNUSED const struct vfb_sys *sys, int fd, mode_t mode)
{
	return fchmod(fd, mode) ? -errno : 0;
}

static int linux_lock_file(UNUSED const struct vfb_sys *sys, int fd, bool wait)
{
	int result;

	do
		result = flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB));
	while (result && errno == EINTR);
	return result ? -errno : 0;
}

static uint64_t linux_base_page(UNUSED const struct vfb_sys *sys)
{
	return sysconf(_SC_PAGESIZE);
}

static bool linux_is_power(UNUSED const struct vfb_sys *sys)
{
#ifdef __powerpc64__
	return true;
#else
	return false;
#endif
}

static int linux_get_affinity(UNUSED const struct vfb_sys *sys, cpu_set_t *cpus)
{
	/* The kernel refuses a set that is smaller than its own (sched_getaffinity()): 8192 CPUs
	 * are the most that it can be built for. Those beyond the first 1024 are not used. */
	cpu_set_t sets[8192 / CPU_SETSIZE];

	if (sched_getaffinity(0, sizeof(sets), sets))
		return -errno;
	*cpus = sets[0];
	return 0;
}

static int linux_memlock_limit(UNUSED const struct vfb_sys *sys, uint64_t *bytes)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit))
		return -errno;
	*bytes = limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
	return 0;
}

static uint64_t linux_now(UNUSED const struct vfb_sys *sys)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static struct timespec to_timespec(uint64_t ns)
{
	return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

static void linux_sleep(UNUSED const struct vfb_sys *sys, uint64_t ns)
{
	struct timespec time = to_timespec(ns);

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &time, &time) == EINTR)
		;
}

/* Under mlockall(MCL_FUTURE) all of a stack is locked memory. Callbacks of the user run here, too.
 */
#define STACK_BYTES	  (256 << 10)
#define LARGE_STACK_BYTES (8 << 20)

struct thread_start {
	void *(*run)(void *arg);
	void *arg;
	char name[16];
};

/*
 * The thread names itself: another one would have to open, write and close a file in proc. What it
 * is passed is freed by whoever joins it, since with its first free() a thread maps a heap.
 */
static void *begin_thread(void *arg)
{
	const struct thread_start *start = arg;

	prctl(PR_SET_NAME, start->name);
	start->run(start->arg);
	return arg;
}

/* With all signals blocked. */
static int create_blocked(pthread_attr_t *attr, struct thread_start *start, pthread_t *out)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(out, attr, begin_thread, start);
	/* Too small for the thread-local variables of the program. */
	if (error == EINVAL && !pthread_attr_setstacksize(attr, LARGE_STACK_BYTES))
		error = pthread_create(out, attr, begin_thread, start);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

static int linux_thread_create(UNUSED const struct vfb_sys *sys, const char *name,
			       const cpu_set_t *cpus, void *(*run)(void *arg), void *arg,
			       pthread_t *out)
{
	struct thread_start *start = malloc(sizeof(*start));
	pthread_attr_t attr;
	int error = start ? pthread_attr_init(&attr) : ENOMEM;

	if (error) {
		free(start);
		return -error;
	}
	*start = (struct thread_start){.run = run, .arg = arg};
	strncpy(start->name, name, sizeof(start->name) - 1);
	if (cpus)
		error = pthread_attr_setaffinity_np(&attr, sizeof(*cpus), cpus);
	if (!error)
		error = pthread_attr_setstacksize(&attr, STACK_BYTES);
	if (!error)
		error = create_blocked(&attr, start, out);
	if (error)
		free(start);
	pthread_attr_destroy(&attr);
	return -error;
}

static void linux_thread_join(UNUSED const struct vfb_sys *sys, pthread_t thread)
{
	void *start;

	pthread_join(thread, &start);
	free(start);
}

static int linux_cond_wait(UNUSED const struct vfb_sys *sys, pthread_cond_t *cond,
			   pthread_mutex_t *mutex, uint64_t deadline_ns)
{
	struct timespec deadline = to_timespec(deadline_ns);

	if (deadline_ns == UINT64_MAX)
		return -pthread_cond_wait(cond, mutex);
	return -pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, &deadline);
}

static void linux_cond_signal(UNUSED const struct vfb_sys *sys, pthread_cond_t *cond)
{
	pthread_cond_signal(cond);
}

static void linux_cond_broadcast(UNUSED const struct vfb_sys *sys, pthread_cond_t *cond)
{
	pthread_cond_broadcast(cond);
}

static int linux_current_cpu(UNUSED const struct vfb_sys *sys)
{
	return sched_getcpu();
}

/* Each event asks for it: without a system call, but after a fork. */
static int linux_current_thread(const struct vfb_sys *sys)
{
	static _Thread_local int process, thread;
	int current = vfb_linux_process_id(sys);

	if (process != current) {
		process = current;
		thread = gettid();
	}
	return thread;
}

static uint64_t linux_minor_faults(UNUSED const struct vfb_sys *sys)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) ? 0 : usage.ru_minflt;
}

const struct vfb_sys vfb_sys_linux = {
	.open = linux_open,
	.close = linux_close,
	.pread = linux_pread,
	.pwrite = linux_pwrite,
	.readlink = linux_readlink,
	.realpath = linux_realpath,
	.path_info = linux_path_info,
	.list = linux_list,
	.ioctl = linux_ioctl,
	.mmap = linux_mmap,
	.munmap = linux_munmap,
	.madvise = linux_madvise,
	.mremap_same = linux_mremap_same,
	.mincore = linux_mincore,
	.touch = linux_touch,
	.touch_range = vfb_linux_touch_range,
	.memfd_create = linux_memfd_create,
	.ftruncate = linux_ftruncate,
	.file_info = linux_file_info,
	.add_seals = linux_add_seals,
	.fchmod = linux_fchmod,
	.lock_file = linux_lock_file,
	.mbind = vfb_linux_mbind,
	.get_mempolicy = vfb_linux_get_mempolicy,
	.page_nodes = vfb_linux_page_nodes,
	.max_node = vfb_linux_max_node,
	.base_page = linux_base_page,
	.is_power = linux_is_power,
	.node_cpus = vfb_linux_node_cpus,
	.get_affinity = linux_get_affinity,
	.memlock_limit = linux_memlock_limit,
	.now = linux_now,
	.sleep = linux_sleep,
	.thread_create = linux_thread_create,
	.thread_join = linux_thread_join,
	.cond_wait = linux_cond_wait,
	.cond_signal = linux_cond_signal,
	.cond_broadcast = linux_cond_broadcast,
	.current_cpu = linux_current_cpu,
	.current_thread = linux_current_thread,
	.minor_faults = linux_minor_faults,
	.pipe = vfb_linux_pipe,
	.write = vfb_linux_write,
	.spawn = vfb_linux_spawn,
	.wait_process = vfb_linux_wait_process,
	.process_id = vfb_linux_process_id,
	.connect = vfb_linux_connect,
	.send = vfb_linux_send,
	.receive = vfb_linux_receive,
	.eventfd = vfb_linux_eventfd,
	.eventfd_signal = vfb_linux_eventfd_signal,
	.wait_readable = vfb_linux_wait_readable,
	.read = vfb_linux_read,
};
