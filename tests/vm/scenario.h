/* SPDX-License-Identifier: MIT */
/* What the scenarios share. They use the public interface and machine.h, nothing else. */
#ifndef SCENARIO_H
#define SCENARIO_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "machine.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define MS  UINT64_C(1000000)
/* A base page of the machine. */
#define PAGE	   machine_page
#define MSI_WINDOW machine_msi_window

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Where scenarios map: at 1 GiB; on POWER within the DMA window of the library. */
extern uint64_t scenario_iova;

/* What a scenario is given. It has to give back all that it makes, but for the context. */
struct fixture {
	const struct machine *machine;
	enum vfb_backend backend;
	/* iommufd has to open devices by their groups. */
	bool by_group;
	struct vfb_ctx *ctx;
};

struct scenario {
	/* NULL ends a list. */
	const char *name;
	void (*run)(struct fixture *f);
	struct limits limits;
	/* The only backend that it is for; zero: each. */
	enum vfb_backend only;
	/* It makes no space: one backend is enough. */
	bool no_space;
	/* It maps the same memory several times, which sPAPR counts once. */
	bool counts_aliases;
	/* MACHINE_... */
	unsigned int needs;
	/* It needs processes that no list of system calls allows: a reaper, or children that
	 * populate memory. */
	bool unfiltered;
};

extern const struct scenario start_scenarios[];
extern const struct scenario adopt_scenarios[];
extern const struct scenario adopt_memory_scenarios[];
extern const struct scenario adopt_device_scenarios[];
extern const struct scenario device_scenarios[];
extern const struct scenario group_scenarios[];
extern const struct scenario region_scenarios[];
extern const struct scenario reset_scenarios[];
extern const struct scenario unplug_scenarios[];
extern const struct scenario bar_scenarios[];
extern const struct scenario dirty_scenarios[];
extern const struct scenario discard_scenarios[];
extern const struct scenario dma_scenarios[];
extern const struct scenario on_demand_scenarios[];
extern const struct scenario iova_scenarios[];
extern const struct scenario batch_scenarios[];
extern const struct scenario memory_scenarios[];
extern const struct scenario populate_scenarios[];
extern const struct scenario placement_scenarios[];
extern const struct scenario doctor_scenarios[];
extern const struct scenario event_scenarios[];
extern const struct scenario limit_scenarios[];
extern const struct scenario type1_scenarios[];
extern const struct scenario iommufd_scenarios[];

/* A call that returns 0, one that returns the given error, and what vfb_last_error() says. */
#define assert_ok(call)		     check_result(#call, call, 0, __FILE__, __LINE__)
#define assert_error(call, expected) check_result(#call, call, expected, __FILE__, __LINE__)
#define assert_says(part)	     check_text(part, __FILE__, __LINE__)

/* As assert_error(), of the kernel itself. */
#define assert_returns(call, expected) check_return(#call, call, expected, __FILE__, __LINE__)

void check_return(const char *call, int result, int expected, const char *file, int line);
void check_result(const char *call, int result, int expected, const char *file, int line);
void check_text(const char *part, const char *file, int line);

/* The n-th of @count devices that lie as far apart as they can: on several nodes. */
const char *device_of(const struct fixture *f, size_t n, size_t count);
/* Waits for what sPAPR does a moment later: it unpins what was unregistered (mm_iommu_release()).
 */
void await_unpinned(const struct fixture *f);
/* Without the domain if that is 0. */
const char *short_address(const char *address);

struct vfb_space *make_space(struct fixture *f);
void open_devices(struct fixture *f, struct vfb_space *space, struct vfb_device **devices,
		  size_t count);
/* A space with one device in it. */
struct vfb_space *make_space_with_device(struct fixture *f, struct vfb_device **device);
void end_space(struct vfb_space *space, struct vfb_device *device);
struct vfb_memory *make_memory(struct fixture *f, uint64_t bytes, enum vfb_page_size page_size);

/* A range of memory from its beginning. */
struct vfb_range range_of(struct vfb_memory *memory, uint64_t bytes, uint64_t iova);
int map_one(struct vfb_space *space, struct vfb_memory *memory, uint64_t bytes, uint64_t iova);
int unmap_one(struct vfb_space *space, uint64_t iova, uint64_t bytes);

/* Interrupt mask set of an NVMe controller: what is written there is gone after a reset. */
#define NVME_INTMS 0x0c
#define MARK	   0x00070007

void mark(struct vfb_device *device);
bool is_marked(struct vfb_device *device);

/* What the space holds. */
void assert_holds(struct vfb_space *space, size_t devices, size_t mappings, uint64_t bytes);
uint64_t entries_left(struct vfb_space *space);

#endif
