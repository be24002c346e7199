/* SPDX-License-Identifier: MIT */
#ifndef VFB_RCU_TSAN_H
#define VFB_RCU_TSAN_H

/*
 * ThreadSanitizer does not see that a grace period happens after earlier read-side critical
 * sections. An address makes it visible: annotate it with release before each read_unlock(), and
 * with acquire after synchronize_rcu(). It must never be stored to atomically, since that would
 * make ThreadSanitizer forget the annotation.
 */
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#define VFB_RCU_TSAN(what, address) __tsan_##what((void *)(uintptr_t)(address))
#else
#define VFB_RCU_TSAN(what, address) (void)(address)
#endif

#endif
