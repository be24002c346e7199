/* SPDX-License-Identifier: MIT */
/* A mock device whose faults the library handles. Failures end the program with a message. */
#ifndef FAULT_BED_H
#define FAULT_BED_H

#include <semaphore.h>
#include <stdbool.h>
#include <vfioboost.h>

#include "mock.h"

#define MIB UINT64_C(1048576)

/* The range begins at MOCK_BASE. */
struct bed {
	struct mock mock;
	int faults;
	uint32_t queue;
	struct vfb_ctx *ctx;
	struct vfb_space *space;
	struct vfb_memory *memory;
	struct vfb_range range;
	struct vfb_subscription *subscription;
	/* Posted for each fault that was handled or denied. */
	sem_t handled;
};

#define check(condition) bed_check(condition, __FILE__, __LINE__, #condition)
void bed_check(bool ok, const char *file, int line, const char *text);

double bed_now_us(void);

/* A queue of faults in a new iommufd, with a mock device whose domain uses it. */
void bed_make_queue(struct mock *mock, int *faults, uint32_t *queue);
/* The library handles that queue; a range on demand. */
void bed_add_space(struct bed *bed, uint64_t bytes, uint32_t window, uint32_t ahead,
		   uint32_t threads);
void bed_free(struct bed *bed);

struct vfb_on_demand_info bed_info(struct bed *bed);
void *bed_address(const struct bed *bed);

/* The device requests a page to read and write. */
void bed_raise_fault(const struct mock *mock, uint64_t iova, uint32_t group);
void bed_wait_handled(struct bed *bed);

#endif
