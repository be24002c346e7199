/* SPDX-License-Identifier: MIT */
/* What the unit tests share: a fake machine with the library on it. */
#ifndef TEST_HOST_H
#define TEST_HOST_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vfioboost.h>

#include <cmocka.h>

#include "fake.h"

#define KIB FAKE_KIB
#define MIB FAKE_MIB
#define GIB FAKE_GIB
#define MS  FAKE_MS

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* A machine, a context on it and, once host_space() was called, a space. */
struct host {
	struct fake *fake;
	const struct vfb_sys *sys;
	struct vfb_ctx *ctx;
	struct vfb_space *space;
};

/* @config: NULL for the default machine. */
void host_open(struct host *host, const struct fake_config *config);
void host_space(struct host *host, enum vfb_backend backend);
/* Both, with the first of the devices below on the machine. */
void host_ready(struct host *host, const struct fake_config *config, enum vfb_backend backend,
		size_t count);
/* The same, with those devices opened. */
void host_start(struct host *host, const struct fake_config *config, enum vfb_backend backend,
		size_t count, struct vfb_device **devices);
/*
 * The same as host_ready(), but the last device takes SLOW_NS to open, and as long to close: it
 * hangs, for a batch with a time limit.
 */
#define SLOW_NS (10000 * MS)
void host_ready_slow(struct host *host, enum vfb_backend backend, size_t count);
/* Destroys what those have made; everything must have been given back. */
void host_close(struct host *host);

/* Closes the device, unmaps and gives back the memory, then the same. */
void host_end(struct host *host, struct vfb_device *device, struct vfb_memory *memory);

/* Nothing is left in the fake kernel. */
void assert_no_leaks(struct fake *fake);

/* A device bound to vfio-pci; @bridge NULL: on the root bus. */
void add_device(struct fake *fake, const char *address, unsigned int group, const char *bridge);
/* "0000:01:00.0" to "0000:08:00.0", in groups 1 to 8, each below a bridge of its own. */
extern const char *const addresses[8];
void add_devices(struct fake *fake, size_t count);
/* The first of them, in group 1, which can request pages; @physfn: of which it is a function. */
void add_faulting_device(struct fake *fake, const char *physfn);
/* Opens the first of those devices; the handles are written to @devices. */
void open_devices(struct host *host, size_t count, struct vfb_device **devices);
void close_devices(struct vfb_device **devices, size_t count);

/* Memory of the host, anonymous, with its default policy. */
struct vfb_memory *make_memory(struct host *host, uint64_t bytes, enum vfb_page_size page_size);
struct vfb_memory_info memory_info_of(struct vfb_memory *memory);
char *address_of(struct vfb_memory *memory);
uint64_t populated_of(struct vfb_memory *memory);

struct vfb_space_info info_of(struct vfb_space *space);
struct fake_stats stats_of(struct host *host);

/* All of @range is mapped to its memory, in order, and pinned. */
void assert_mapped(struct host *host, const struct vfb_range *range);
void assert_not_mapped(struct host *host, uint64_t iova);

/*
 * @call returns @error, and the text of vfb_last_error() has each of the given strings in it;
 * an earlier text does not count.
 */
#define assert_fails(call, error, ...)                                                      \
	do {                                                                                \
		clear_last_error();                                                         \
		check_failure(#call, call, error, (const char *const[]){__VA_ARGS__, NULL}, \
			      __FILE__, __LINE__);                                          \
	} while (0)

#define assert_ok(call)                                         \
	do {                                                    \
		clear_last_error();                             \
		check_success(#call, call, __FILE__, __LINE__); \
	} while (0)

void clear_last_error(void);
void check_failure(const char *call, int result, int error, const char *const *words,
		   const char *file, int line);
void check_success(const char *call, int result, const char *file, int line);

#endif
