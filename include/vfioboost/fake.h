/* SPDX-License-Identifier: MIT */
/**
 * @file fake.h
 * A model of the kernel for unit tests: VFIO, iommufd, sysfs, memory and NUMA on a virtual clock.
 *
 * The tests of a program that uses libvfioboost link libvfioboost-fake in its place. It consists of
 * the same code, but every system call goes to a fake kernel: no device, no privilege and no time
 * is needed. A reset of 10 s passes at once, and takes exactly 10 s on the clock of the events and
 * of vfb_fake_now(). The library's own tests use the same model, and compare it with real kernels.
 *
 * vfb_fake_create() makes a machine. From then on vfb_ctx_create() in the same thread creates
 * contexts on it. In a thread without a machine vfb_ctx_create() fails with -ENODEV: a test never
 * reaches the kernel it runs on. Trace files are the exception: they are written for real.
 *
 * Time passes only while every thread that the machine knows waits in the library or in a function
 * of this header: the clock then jumps to the next deadline. It knows the threads of the library
 * and those that called vfb_fake_create() or vfb_fake_enter(). Other threads may call the library,
 * but the clock does not wait for them. When all threads wait and no deadline is left, the
 * process is aborted, with a list of what each thread waits for on standard error.
 *
 * Memory that the library creates has real addresses, and can be read and written. Memory that a
 * program has mapped by itself, and adopts, must be announced by vfb_fake_add_memory(). A device
 * does nothing by itself: vfb_fake_dma_write() and vfb_irq_trigger() stand for what it would do.
 */
#ifndef VFIOBOOST_FAKE_H
#define VFIOBOOST_FAKE_H

#include <vfioboost/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A machine with a fake kernel. */
struct vfb_fake;

/** The kernel has no containers and groups: no type1. */
#define VFB_FAKE_NO_TYPE1 (1u << 0)
/** The kernel has no iommufd: before Linux 6.2. */
#define VFB_FAKE_NO_IOMMUFD (1u << 1)
/** The kernel has no device nodes in /dev/vfio/devices: before Linux 6.6. */
#define VFB_FAKE_NO_CDEV (1u << 2)
/** iommufd does not map by file: before Linux 6.13. */
#define VFB_FAKE_NO_MAP_FILE (1u << 3)
/** iommufd does not map BARs: before Linux 6.19. */
#define VFB_FAKE_NO_DMA_BUF (1u << 4)
/** No MADV_POPULATE_WRITE: before Linux 5.14. */
#define VFB_FAKE_NO_POPULATE (1u << 5)
/** The CPU has no pages of 1 GiB. */
#define VFB_FAKE_NO_1G (1u << 6)
/** The process has CAP_IPC_LOCK, so that memlock_bytes does not limit it. */
#define VFB_FAKE_CAP_IPC_LOCK (1u << 7)

/** A machine. Zero stands for a good default in every field. */
struct vfb_fake_opts {
	size_t size;
	/** VFB_FAKE_... */
	uint32_t flags;
	/** Number of NUMA nodes, at most 16, and of CPUs on each, at most 64; 0: 1 node, 4 CPUs. */
	unsigned int nodes, cpus_per_node;
	/** Free memory of each node in bytes, without huge pages; 0: 64 GiB. */
	uint64_t node_bytes;
	/** Number of pages of 2 MiB and 1 GiB in the hugetlb pool of each node. */
	uint64_t pages_2m, pages_1g;
	/** RLIMIT_MEMLOCK in bytes; 0: no limit. */
	uint64_t memlock_bytes;
	/** Parameter of the module vfio_iommu_type1; 0: 65535. */
	uint32_t dma_entry_limit;
	/** Width of IOVAs in bits, 32 to 57; 0: 48. */
	unsigned int iova_bits;
	/** How long a thread takes to zero 1 GiB, in nanoseconds; 0: 250 ms. */
	uint64_t zero_ns_per_gib;
	/** How long a map or unmap call takes in any case; 0: 10 us. */
	uint64_t map_call_ns;
	/** How long pinning and mapping 1 GiB takes, and unmapping it; 0: 20 ms, 10 ms. */
	uint64_t pin_ns_per_gib, unmap_ns_per_gib;
};

#define VFB_FAKE_OPTS_INIT VFB_SIZED(struct vfb_fake_opts)

/**
 * Creates a machine, which the calling thread then uses and counts as a thread of: see
 * vfb_fake_enter(). A thread uses one machine at a time.
 *
 * @param opts  settings, or NULL for the defaults
 * @param out   receives the machine; release it with vfb_fake_destroy()
 *
 * @return 0; -EINVAL: a value is out of range, or an unknown flag; -EBUSY: the thread uses another
 * machine; -E2BIG.
 */
VFB_API int vfb_fake_create(const struct vfb_fake_opts *opts, struct vfb_fake **out);

/**
 * Destroys a machine, in the thread that created it. Compare vfb_fake_leaks() first.
 *
 * @param fake  the machine; NULL is allowed and does nothing
 *
 * @return 0; -EBUSY: a context still exists on it.
 */
VFB_API int vfb_fake_destroy(struct vfb_fake *fake);

/**
 * Makes the calling thread use a machine: vfb_ctx_create() creates contexts on it, and the clock
 * waits for the thread while it does not wait itself.
 *
 * @param fake  the machine
 *
 * @return 0; -EBUSY: the thread uses a machine already.
 */
VFB_API int vfb_fake_enter(struct vfb_fake *fake);

/**
 * Ends vfb_fake_enter(). A thread that ends while it uses a machine leaves it by itself.
 *
 * @param fake  the machine
 *
 * @return 0; -EINVAL: the thread does not use it.
 */
VFB_API int vfb_fake_leave(struct vfb_fake *fake);

/** The device cannot be reset. */
#define VFB_FAKE_DEVICE_NO_RESET (1u << 0)
/** The device has no IOMMU group, as without an IOMMU. */
#define VFB_FAKE_DEVICE_NO_GROUP (1u << 1)
/** Another process has opened the device. */
#define VFB_FAKE_DEVICE_BUSY (1u << 2)

/** A PCI device of the machine. address must be set; zero is a good default for all else. */
struct vfb_fake_device {
	size_t size;
	/** The PCI address, "0000:01:00.0". */
	const char *address;
	/** The driver that it is bound to; NULL: "vfio-pci". "": none. */
	const char *driver;
	/** PCI address of the bridge above it. Devices below one bridge are reset one after
	 *  another. NULL: on the root bus. */
	const char *bridge;
	/** VFB_FAKE_DEVICE_... */
	uint32_t flags;
	/** The IOMMU group. Devices with the same number share it. */
	unsigned int group;
	/** The NUMA node. */
	int node;
	/** How long opening and closing it take, in nanoseconds; 0: 100 ms. */
	uint64_t reset_ns;
	/** Sizes of the BARs, powers of two or 0; all 0: one of 16 KiB. */
	uint64_t bar_bytes[6];
	/** Number of MSI-X vectors, at most 128; 0: 64. */
	unsigned int msix_vectors;
	/** Vendor, device and class; 0: those of QEMU's NVMe disk. */
	uint16_t vendor_id, device_id;
	uint32_t class_code;
};

#define VFB_FAKE_DEVICE_INIT VFB_SIZED(struct vfb_fake_device)

/**
 * Adds a device to the machine, or changes one that nobody has opened.
 *
 * @param fake    the machine
 * @param device  the device; strings are copied
 *
 * @return 0; -EINVAL: an address is invalid, a value is out of range, or an unknown flag; -EBUSY:
 * the device is open; -E2BIG.
 */
VFB_API int vfb_fake_add_device(struct vfb_fake *fake, const struct vfb_fake_device *device);

/**
 * Announces memory that the program has mapped by itself, so that vfb_memory_adopt() and the calls
 * of the library find it. Huge pages behind it count as base pages.
 *
 * @param fake     the machine
 * @param address  its address, a multiple of 4 KiB
 * @param bytes    its length, a multiple of 4 KiB
 * @param fd       -1: private anonymous memory; otherwise the file, a memfd, that is mapped there
 *                 with MAP_SHARED. It must stay open until vfb_fake_remove_memory()
 * @param offset   where in the file the memory begins, a multiple of 4 KiB
 *
 * @return 0; -EINVAL: not aligned, or beyond the end of the file; -EEXIST: the machine has memory
 * there; -EBADF: not an open file.
 */
VFB_API int vfb_fake_add_memory(struct vfb_fake *fake, void *address, uint64_t bytes, int fd,
				uint64_t offset);

/**
 * Forgets memory that vfb_fake_add_memory() has announced. Nothing is unmapped.
 *
 * @param fake     the machine
 * @param address  as announced
 *
 * @return 0; -ENOENT: there is none; -EBUSY: it is mapped in a space.
 */
VFB_API int vfb_fake_remove_memory(struct vfb_fake *fake, void *address);

/**
 * Lets a call of the kernel fail. Up to 16 failures may be armed at a time; each fails once.
 *
 * @param fake   the machine
 * @param call   an ioctl by the name of its request, "VFIO_IOMMU_MAP_DMA"; a system call by its
 *               name, "mmap", "madvise", "memfd_create", "eventfd"; "thread_create"; or one with a
 *               path, "open:/dev/iommu", "open" for any path; "pread" and "readlink" likewise
 * @param nth    which of these calls from now on, counted from 1; 0: all of them
 * @param error  errno that it fails with, such as EIO; 0: one that is usual for the call
 *
 * @return 0; -ENOSPC: 16 failures are armed; -EINVAL: no name, one of 96 bytes or more, or a
 * colon without a path.
 */
VFB_API int vfb_fake_fail(struct vfb_fake *fake, const char *call, unsigned int nth, int error);

/**
 * Lets the n-th call from now on fail, whichever that is. A test that counts @p n up until
 * vfb_fake_failed() returns NULL tries the failure of each call.
 *
 * @param fake   the machine
 * @param n      which call, counted from 1; 0 disarms it
 * @param error  errno that it fails with; 0: one that is usual for the call
 */
VFB_API void vfb_fake_fail_nth(struct vfb_fake *fake, unsigned int n, int error);

/** Disarms all failures. */
VFB_API void vfb_fake_fail_none(struct vfb_fake *fake);

/** Returns the name of the call that failed last on demand, or NULL if none has. The string is
 *  valid until the next such failure. */
VFB_API const char *vfb_fake_failed(struct vfb_fake *fake);

/** Returns the time on the virtual clock in nanoseconds. */
VFB_API uint64_t vfb_fake_now(struct vfb_fake *fake);

/** Waits in virtual time. */
VFB_API void vfb_fake_sleep(struct vfb_fake *fake, uint64_t ns);

/**
 * Waits in virtual time until a file descriptor of a job (vfb_job_fd()) or an eventfd of an
 * interrupt is readable.
 *
 * @param fake        the machine
 * @param fd          the file descriptor
 * @param timeout_ns  how long to wait; UINT64_MAX: forever
 *
 * @return 1: readable; 0: the timeout expired.
 */
VFB_API int vfb_fake_poll(struct vfb_fake *fake, int fd, uint64_t timeout_ns);

/**
 * The clock no longer waits for the calling thread. Call it before the thread waits by itself for
 * something that other threads do, in poll(2), epoll_wait(2) or with a condition variable of the
 * program: the clock would stand still meanwhile, and the process is aborted after 30 s.
 */
VFB_API void vfb_fake_outside_begin(struct vfb_fake *fake);

/** Ends vfb_fake_outside_begin(). */
VFB_API void vfb_fake_outside_end(struct vfb_fake *fake);

/**
 * Calls of the program itself, for one that opens a container, an iommufd, a group or a device and
 * has the library adopt it. As open(2), close(2) and ioctl(2), except that they return a negative
 * errno.
 *
 * @param fake   the machine
 * @param path   absolute path
 * @param flags  as for open(2)
 */
VFB_API int vfb_fake_open(struct vfb_fake *fake, const char *path, int flags);

/** Closes what vfb_fake_open() or an ioctl has opened. */
VFB_API void vfb_fake_close(struct vfb_fake *fake, int fd);

/** As ioctl(2); see vfb_fake_open(). */
VFB_API int vfb_fake_ioctl(struct vfb_fake *fake, int fd, unsigned long request, void *arg);

/**
 * Finds what devices of any space find at an IOVA.
 *
 * @param fake     the machine
 * @param iova     where the range begins
 * @param bytes    its length, at least 1
 * @param address  receives the address in the process that the range is mapped to
 *
 * @return 0; -ENOENT: part of the range is not mapped; -ENXIO: it is mapped, but to several
 * addresses.
 */
VFB_API int vfb_fake_iova(struct vfb_fake *fake, uint64_t iova, uint64_t bytes, void **address);

/**
 * Writes as a device does: to the memory, or the BAR of another device, at an IOVA of its space.
 *
 * @param fake    the machine
 * @param device  its PCI address
 * @param iova    where to write, within one mapping
 * @param data    what to write
 * @param bytes   its length, at least 1
 *
 * @return 0; -EFAULT: the device cannot write there; -ENODEV: there is no such device.
 */
VFB_API int vfb_fake_dma_write(struct vfb_fake *fake, const char *device, uint64_t iova,
			       const void *data, size_t bytes);

/** What has happened on a machine, and what there is now. */
struct vfb_fake_counts {
	size_t size;
	/** Map and unmap calls that succeeded, and calls of all kinds that can fail. */
	uint64_t map_calls, unmap_calls, calls;
	/** Resets of devices. */
	uint64_t resets;
	/** Bytes that are mapped for devices, that are pinned, and that are populated, now. */
	uint64_t mapped_bytes, pinned_bytes, populated_bytes;
	/** File descriptors that are open, and threads of the library, now. */
	uint64_t fds, threads;
};

#define VFB_FAKE_COUNTS_INIT VFB_SIZED(struct vfb_fake_counts)

/**
 * Reports what has happened.
 *
 * @param fake    the machine
 * @param counts  is filled in
 *
 * @return 0; -E2BIG.
 */
VFB_API int vfb_fake_counts(struct vfb_fake *fake, struct vfb_fake_counts *counts);

/**
 * Lists what has not been released: open files, memory, mappings for devices, threads, reserved
 * huge pages; and misuse of the kernel that would go unnoticed on a real machine, such as
 * unmapping memory that a device can reach. Memory of vfb_fake_add_memory() counts.
 *
 * @param fake   the machine
 * @param text   receives a line for each, as far as they fit; NULL is allowed
 * @param bytes  capacity of @p text
 *
 * @return how many there are.
 */
VFB_API unsigned int vfb_fake_leaks(struct vfb_fake *fake, char *text, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
