/* SPDX-License-Identifier: MIT */
/* What the tests of the fake kernel share. */
#ifndef TEST_FAKE_H
#define TEST_FAKE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake.h"
#include "sys/uapi.h"

#define MS	FAKE_MS
#define HUGE_2M (MAP_HUGETLB | (21 << 26))

void assert_no_leaks(struct fake *fake);
void *map_anon(const struct vfb_sys *sys, size_t bytes, int flags);
int map_dma(const struct vfb_sys *sys, int container, uint64_t iova, void *vaddr, uint64_t bytes);
int64_t unmap_dma(const struct vfb_sys *sys, int container, uint64_t iova, uint64_t bytes);
void open_type1(const struct vfb_sys *sys, unsigned int number, int *container, int *group);
uint32_t ioas_alloc(const struct vfb_sys *sys, int iommufd);
int ioas_map(const struct vfb_sys *sys, int iommufd, uint32_t ioas, uint64_t iova, void *vaddr,
	     uint64_t bytes);
int64_t ioas_unmap(const struct vfb_sys *sys, int iommufd, uint32_t ioas, uint64_t iova,
		   uint64_t bytes);
int destroy(const struct vfb_sys *sys, int iommufd, uint32_t id);
int bind_device(const struct vfb_sys *sys, int device, int iommufd);
int attach_device(const struct vfb_sys *sys, int device, uint32_t id);
void add_device(struct fake *fake, const char *address, unsigned int group, const char *bridge);

/* Each file's tests; how many failed. */
int run_clock_tests(void);
int run_memory_tests(void);
int run_sysfs_tests(void);
int run_type1_tests(void);
int run_spapr_tests(void);
int run_iommufd_tests(void);
int run_device_tests(void);
int run_inject_tests(void);

#endif
