/* SPDX-License-Identifier: MIT */
#include "counted.h"

#include <string.h>

static struct counted *counted_of(const struct vfb_sys *sys)
{
	return (struct counted *)(uintptr_t)sys;
}

/* Only these are counted. */
static void count_call(struct counted *counted, const char *name)
{
	if (!strcmp(name, "now"))
		atomic_fetch_add(&counted->now, 1);
	else if (!strcmp(name, "current_cpu"))
		atomic_fetch_add(&counted->current_cpu, 1);
	else if (!strcmp(name, "current_thread"))
		atomic_fetch_add(&counted->current_thread, 1);
}

#define UNTIMED(type, name, parameters, ...)                          \
	static type count_##name parameters                           \
	{                                                             \
		const struct vfb_sys *inner = counted_of(sys)->inner; \
                                                                      \
		count_call(counted_of(sys), #name);                   \
		return inner->name(inner, ##__VA_ARGS__);             \
	}
#define UNTIMED_VOID(name, parameters, ...)                           \
	static void count_##name parameters                           \
	{                                                             \
		const struct vfb_sys *inner = counted_of(sys)->inner; \
                                                                      \
		inner->name(inner, ##__VA_ARGS__);                    \
	}
#define TIMED(type, name, parameters, operation, bytes, ...) \
	UNTIMED(type, name, parameters, ##__VA_ARGS__)
#define TIMED_VOID(name, parameters, operation, ...) UNTIMED_VOID(name, parameters, ##__VA_ARGS__)
#include "sys/calls.def"

void counted_init(struct counted *counted, const struct vfb_sys *inner)
{
	*counted = (struct counted){.inner = inner};
	counted->sys = (struct vfb_sys){
#define TIMED(type, name, ...)	 .name = count_##name,
#define TIMED_VOID(name, ...)	 .name = count_##name,
#define UNTIMED(type, name, ...) .name = count_##name,
#define UNTIMED_VOID(name, ...)	 .name = count_##name,
#include "sys/calls.def"
	};
}
