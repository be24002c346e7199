/* SPDX-License-Identifier: MIT */
#include "observe/syscalls.h"

#include "observe/span.h"
#include "sys/ioctl_name.h"

static struct vfb_timed_sys *timed_of(const struct vfb_sys *sys)
{
	return (struct vfb_timed_sys *)(uintptr_t)sys;
}

/* The call, timed. */
#define TIMED(type, name, parameters, operation_, about, ...)                        \
	static type timed_##name parameters                                          \
	{                                                                            \
		struct vfb_timed_sys *timed = timed_of(sys);                         \
		struct vfb_span span;                                                \
		type result;                                                         \
                                                                                     \
		vfb_observe_begin(&span, timed->observer, VFB_PHASE_SYSCALL);        \
		result = timed->inner->name(timed->inner, ##__VA_ARGS__);            \
		vfb_observe_end(&span, .operation = (operation_), .bytes = (about),  \
				.result = result < 0 ? (int)result : 0, .node = -1); \
		return result;                                                       \
	}
#define TIMED_VOID(name, parameters, operation_, ...)                          \
	static void timed_##name parameters                                    \
	{                                                                      \
		struct vfb_timed_sys *timed = timed_of(sys);                   \
		struct vfb_span span;                                          \
                                                                               \
		vfb_observe_begin(&span, timed->observer, VFB_PHASE_SYSCALL);  \
		timed->inner->name(timed->inner, ##__VA_ARGS__);               \
		vfb_observe_end(&span, .operation = (operation_), .node = -1); \
	}
#define UNTIMED(type, name, parameters, ...)                        \
	static type timed_##name parameters                         \
	{                                                           \
		const struct vfb_sys *inner = timed_of(sys)->inner; \
                                                                    \
		return inner->name(inner, ##__VA_ARGS__);           \
	}
#define UNTIMED_VOID(name, parameters, ...)                         \
	static void timed_##name parameters                         \
	{                                                           \
		const struct vfb_sys *inner = timed_of(sys)->inner; \
                                                                    \
		inner->name(inner, ##__VA_ARGS__);                  \
	}
#include "sys/calls.def"

void vfb_timed_sys_init(struct vfb_timed_sys *timed, const struct vfb_sys *inner,
			struct vfb_observer *observer)
{
	timed->inner = inner;
	timed->observer = observer;
	timed->sys = (struct vfb_sys){
#define TIMED(type, name, ...)	 .name = timed_##name,
#define TIMED_VOID(name, ...)	 .name = timed_##name,
#define UNTIMED(type, name, ...) .name = timed_##name,
#define UNTIMED_VOID(name, ...)	 .name = timed_##name,
#include "sys/calls.def"
	};
}
