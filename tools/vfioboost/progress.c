/* SPDX-License-Identifier: MIT */
#include "progress.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"

#define STEP_NS UINT64_C(200000000)
#define AFTER_S 1.0
/* How often a line is written where lines cannot be overwritten. */
#define LINE_S 10.0

static void show(const char *what, struct vfb_job **jobs, size_t count, double seconds)
{
	uint64_t bytes = 0, done = 0, entries = 0, entries_done = 0;

	for (size_t i = 0; i < count; i++) {
		struct vfb_job_progress progress = VFB_JOB_PROGRESS_INIT;

		if (!jobs[i] || vfb_job_progress(jobs[i], &progress))
			continue;
		bytes += progress.bytes;
		done += progress.bytes_done;
		if (!progress.bytes) {
			entries += progress.entries;
			entries_done += progress.entries_done;
		}
	}
	fprintf(stderr, isatty(STDERR_FILENO) ? "\r\033[K%s:" : "%s:", what);
	if (bytes)
		fprintf(stderr, " %.1f of %.1f GiB, %.2f GiB/s", done / 1073741824.0,
			bytes / 1073741824.0, done / 1073741824.0 / seconds);
	if (bytes && done)
		fprintf(stderr, ", %.0f s left", seconds * (bytes - done) / done);
	if (entries)
		fprintf(stderr, "%s %ju of %ju devices", bytes ? ";" : "", (uintmax_t)entries_done,
			(uintmax_t)entries);
	if (!isatty(STDERR_FILENO))
		fputc('\n', stderr);
	fflush(stderr);
}

/* vfb_job_wait() with the line kept up to date. */
static int wait_one(const char *what, struct vfb_job **jobs, size_t count, size_t which,
		    double begin, double *shown)
{
	int result;

	while ((result = vfb_job_wait(jobs[which], STEP_NS)) == -ETIMEDOUT) {
		double now = clock_seconds();

		if (now - begin < AFTER_S || (!isatty(STDERR_FILENO) && now - *shown < LINE_S))
			continue;
		*shown = now;
		show(what, jobs, count, now - begin);
	}
	return result;
}

int progress_wait(const char *what, struct vfb_job **jobs, size_t count)
{
	double begin = clock_seconds(), shown = begin;
	char error[512] = "";
	int result = 0;

	for (size_t i = 0; i < count; i++) {
		int one = jobs[i] ? wait_one(what, jobs, count, i, begin, &shown) : 0;

		/* What was cancelled because of the first is not its own reason. */
		if (!one || result)
			continue;
		result = one;
		snprintf(error, sizeof(error), "%s", vfb_last_error());
		for (size_t other = i + 1; other < count; other++)
			if (jobs[other])
				vfb_job_cancel(jobs[other]);
	}
	if (isatty(STDERR_FILENO) && clock_seconds() - begin > AFTER_S)
		fprintf(stderr, "\r\033[K");
	if (result)
		fprintf(stderr, "vfioboost: %s\n", error);
	for (size_t i = 0; i < count; i++)
		vfb_job_destroy(jobs[i]);
	return result;
}
