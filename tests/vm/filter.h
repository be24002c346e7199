/* SPDX-License-Identifier: MIT */
/* Seccomp filters that kill, built from lists of calls. */
#ifndef FILTER_H
#define FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vfioboost/seccomp.h>

#define FILTER_CALLS 512

struct calls {
	struct vfb_seccomp_call list[FILTER_CALLS];
	size_t count;
};

void calls_add_role(struct calls *calls, enum vfb_seccomp_role role);
/* What creates threads and is not a caller's anyway. */
void calls_add_creation(struct calls *calls);
void calls_add_number(struct calls *calls, uint32_t number);
/* A request of ioctl(2). */
void calls_add_request(struct calls *calls, uint64_t request);

/* Before filters are installed: what they end the process for is written to standard error. */
void filter_report(void);
/* For this thread, and those that it creates. -errno on failure. */
int filter_install(const struct calls *calls);

#endif
