/* SPDX-License-Identifier: MIT */
#ifndef VFB_SDT_H
#define VFB_SDT_H

#include <stdbool.h>

/*
 * Static probes for bpftrace, perf and SystemTap (docs/tracing.md). Each is a nop, with a semaphore
 * that the kernel increments while something is attached. Without sys/sdt.h at build time there are
 * none.
 */
#ifdef VFB_HAVE_SDT
#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>

extern volatile unsigned short vfioboost_begin_semaphore, vfioboost_end_semaphore;

#define VFB_PROBES_USED __builtin_expect(vfioboost_begin_semaphore | vfioboost_end_semaphore, 0)

#define VFB_PROBE_BEGIN(id, parent, phase) STAP_PROBE3(vfioboost, begin, id, parent, phase)
#define VFB_PROBE_END(event)                                                              \
	STAP_PROBE9(vfioboost, end, (event)->id, (event)->phase, (event)->operation,      \
		    (event)->duration_ns, (event)->bytes, (event)->iova, (event)->device, \
		    (event)->node, (event)->result)
#else
#define VFB_PROBES_USED			   false
#define VFB_PROBE_BEGIN(id, parent, phase) ((void)0)
#define VFB_PROBE_END(event)		   ((void)0)
#endif

#endif
