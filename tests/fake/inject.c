/* SPDX-License-Identifier: MIT */
/* Failures on demand, and notes of misuse. */
#include <stdarg.h>

#include "model.h"

static bool arm_matches(const struct arm *arm, const char *kind, const char *name)
{
	return !strcmp(arm->name, name) || !strcmp(arm->name, kind);
}

/* Looks for an armed failure of this very call; every arm that matches counts it. */
static int by_name(struct injection *in, const char *kind, const char *name, int usual)
{
	int error = 0;

	for (unsigned int i = 0; i < in->arm_count; i++) {
		struct arm *arm = &in->arms[i];

		if (!arm_matches(arm, kind, name) || (!arm->always && !arm->left))
			continue;
		if (arm->always || --arm->left == 0)
			error = arm->error ? arm->error : usual;
	}
	return error;
}

/* Who makes the calls: threads of the library, callers; any of them may create threads. A reaper
 * begins before the filter. */
enum {
	T = 1,
	C = 2,
	N = 4,
	NOBODY = T | C
};

static const struct {
	const char *call;
	unsigned int who;
} listed[] = {
#define OP(member, roles, ...) {#member, roles},
#include "sys/seccomp.def"
};

static bool library_has_threads(const struct fake *fake)
{
	for (const struct thread *t = fake->threads; t; t = t->next)
		if (t->created)
			return true;
	return false;
}

/* A filter that was built from the lists of system calls would end the program. */
static void check_lists(struct fake *fake, const char *call)
{
	bool created = fk_thread_self(fake)->created;

	for (size_t i = 0; i < ARRAY_SIZE(listed); i++)
		if (!strcmp(listed[i].call, call) && !(listed[i].who & (created ? T | N : C | N)) &&
		    library_has_threads(fake))
			fk_misuse(fake, "%s by a thread of %s, which lib/sys/seccomp.def lacks",
				  call, created ? "the library" : "the caller");
}

static int check(struct fake *fake, const char *kind, const char *detail, int usual, bool counted)
{
	struct injection *in = &fake->injection;
	char name[160];
	int error;

	check_lists(fake, kind);
	snprintf(name, sizeof(name), detail ? "%s:%s" : "%s", kind, detail);
	error = by_name(in, kind, name, usual);
	if (counted) {
		in->calls++;
		if (in->left && --in->left == 0)
			error = in->error ? in->error : usual;
	}
	if (error)
		memcpy(in->failed, name, sizeof(name));
	return -error;
}

int fk_inject(struct fake *fake, const char *kind, const char *detail, int usual)
{
	return check(fake, kind, detail, usual, true);
}

int fk_inject_slow(struct fake *fake, const char *kind, const char *detail, int usual)
{
	int error = check(fake, kind, detail, usual, true);

	if (error)
		fk_clock_spend(fake, fake->injection.delay);
	return error;
}

int fk_inject_named(struct fake *fake, const char *kind, int usual)
{
	return check(fake, kind, NULL, usual, false);
}

void fake_fail_nth(struct fake *fake, unsigned int n, int error)
{
	pthread_mutex_lock(&fake->lock);
	fake->injection.left = n;
	fake->injection.error = error;
	pthread_mutex_unlock(&fake->lock);
}

/* Failures that have happened make room. Returns how many are left. */
static unsigned int keep_armed(struct injection *in)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < in->arm_count; i++)
		if (in->arms[i].always || in->arms[i].left)
			in->arms[kept++] = in->arms[i];
	in->arm_count = kept;
	return kept;
}

unsigned int fake_fails_armed(struct fake *fake)
{
	unsigned int armed;

	pthread_mutex_lock(&fake->lock);
	armed = keep_armed(&fake->injection);
	pthread_mutex_unlock(&fake->lock);
	return armed;
}

void fake_fail_call(struct fake *fake, const char *name, unsigned int nth, int error)
{
	struct injection *in = &fake->injection;
	struct arm *arm;

	pthread_mutex_lock(&fake->lock);
	if (keep_armed(in) == ARRAY_SIZE(in->arms)) {
		fprintf(stderr, "fake_fail_call: too many\n");
		abort();
	}
	arm = &in->arms[in->arm_count++];
	snprintf(arm->name, sizeof(arm->name), "%s", name);
	arm->left = nth;
	arm->always = !nth;
	arm->error = error;
	pthread_mutex_unlock(&fake->lock);
}

void fake_fail_none(struct fake *fake)
{
	struct injection *in = &fake->injection;

	pthread_mutex_lock(&fake->lock);
	in->left = 0;
	in->arm_count = 0;
	in->failed[0] = '\0';
	pthread_mutex_unlock(&fake->lock);
}

void fake_fail_delay(struct fake *fake, uint64_t ns)
{
	pthread_mutex_lock(&fake->lock);
	fake->injection.delay = ns;
	pthread_mutex_unlock(&fake->lock);
}

const char *fake_failed(struct fake *fake)
{
	const char *failed;

	pthread_mutex_lock(&fake->lock);
	failed = fake->injection.failed[0] ? fake->injection.failed : NULL;
	pthread_mutex_unlock(&fake->lock);
	return failed;
}

unsigned int fake_calls(struct fake *fake)
{
	unsigned int calls;

	pthread_mutex_lock(&fake->lock);
	calls = fake->injection.calls;
	pthread_mutex_unlock(&fake->lock);
	return calls;
}

void fk_misuse(struct fake *fake, const char *format, ...)
{
	size_t used = strlen(fake->misuses);
	char line[160];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	fake->misuse_count++;
	snprintf(fake->misuses + used, sizeof(fake->misuses) - used, "misuse: %s\n", line);
}
