/* SPDX-License-Identifier: MIT */
/* Jobs: how they end, who is notified, and what a cancel changes. */
#include "engine/job.h"

#include <pthread.h>

#include "context.h"
#include "host.h"

/* A job that finishes in @rounds, the last of which ends it. */
struct work {
	struct vfb_job job;
	struct vfb_job_ops ops;
	unsigned int rounds, finished;
	/* Whether the job settles before it ends, and the result of that. */
	bool settles;
	int settled;
	bool freed;
};

static struct fake *fake;
static struct vfb_ctx ctx;

static bool finish(struct vfb_job *job)
{
	struct work *work = (struct work *)job;

	work->finished++;
	if (work->settles)
		work->settled = vfb_job_settle(job);
	return work->finished >= work->rounds;
}

static void free_work(struct vfb_job *job)
{
	((struct work *)job)->freed = true;
}

static struct vfb_job *start(struct work *work, unsigned int rounds)
{
	*work = (struct work){.rounds = rounds};
	work->ops = (struct vfb_job_ops){.operation = "work",
					 .cancellable = true,
					 .finish = finish,
					 .free = free_work};
	assert_ok(vfb_job_init(&work->job, &work->ops, &ctx, 3));
	assert_int_equal(atomic_load(&ctx.objects), 1);
	return &work->job;
}

static int setup(void **state)
{
	(void)state;
	fake = fake_create(NULL);
	ctx.sys = fake_sys(fake);
	assert_int_equal(vfb_observer_init(&ctx.observer, ctx.sys), 0);
	assert_ok(vfb_engine_create(ctx.sys, 1, &ctx.engine));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(atomic_load(&ctx.objects), 0);
	vfb_engine_destroy(ctx.engine);
	vfb_observer_destroy(&ctx.observer);
	assert_no_leaks(fake);
	fake_destroy(fake);
	return 0;
}

static void end(struct work *work)
{
	vfb_job_destroy(&work->job);
	assert_true(work->freed);
}

static void test_ends(void **state)
{
	struct work work;
	struct vfb_job *job = start(&work, 1);

	(void)state;
	vfb_job_hold(job);
	vfb_job_hold(job);
	vfb_job_release(job);
	vfb_job_release(job);
	assert_int_equal(work.finished, 0);
	assert_false(fake_poll(fake, vfb_job_fd(job), 0));
	assert_fails(vfb_job_wait(job, 0), -ETIMEDOUT, "not ended");
	vfb_job_release(job);
	assert_int_equal(work.finished, 1);
	assert_true(fake_poll(fake, vfb_job_fd(job), 0));
	assert_ok(vfb_job_wait(job, 0));
	assert_ok(vfb_job_wait(job, UINT64_MAX));
	end(&work);
	vfb_job_destroy(NULL);
}

/* It finishes again as long as there is more to do. */
static void test_rounds(void **state)
{
	struct work work;
	struct vfb_job *job = start(&work, 4);

	(void)state;
	vfb_job_release(job);
	assert_int_equal(work.finished, 4);
	assert_ok(vfb_job_wait(job, 0));
	end(&work);
}

static bool finish_with_task(struct vfb_job *job)
{
	struct work *work = (struct work *)job;

	/* Hands out work, which holds it. */
	if (++work->finished == 1) {
		vfb_job_hold(job);
		return false;
	}
	return true;
}

static void test_handed_out(void **state)
{
	struct work work;
	struct vfb_job *job = start(&work, 0);

	(void)state;
	work.ops.finish = finish_with_task;
	vfb_job_release(job);
	assert_int_equal(work.finished, 1);
	assert_fails(vfb_job_wait(job, 0), -ETIMEDOUT, "not ended");
	vfb_job_release(job);
	assert_int_equal(work.finished, 2);
	assert_ok(vfb_job_wait(job, 0));
	end(&work);
}

static void test_timeout(void **state)
{
	struct work work;
	struct vfb_job *job = start(&work, 1);
	uint64_t begin = fake_now(fake);

	(void)state;
	assert_fails(vfb_job_wait(job, 5 * MS), -ETIMEDOUT, "not ended");
	assert_int_equal(fake_now(fake) - begin, 5 * MS);
	assert_fails(vfb_job_wait(job, 0), -ETIMEDOUT, "not ended");
	assert_int_equal(fake_now(fake) - begin, 5 * MS);
	vfb_job_release(job);
	end(&work);
}

static void *release_later(void *arg)
{
	struct vfb_job *job = arg;

	/* Woken without reason, as conditions may be, it goes on waiting. */
	job->sys->sleep(job->sys, 2 * MS);
	pthread_mutex_lock(&job->lock);
	job->sys->cond_broadcast(job->sys, &job->changed);
	pthread_mutex_unlock(&job->lock);
	job->sys->sleep(job->sys, 5 * MS);
	vfb_fail(-EIO, "in a thread");
	vfb_job_fail(job, -EIO, true);
	vfb_job_release(job);
	return NULL;
}

/* A failure in one thread is reported in another. */
static void test_woken(void **state)
{
	struct work work;
	struct vfb_job *job = start(&work, 1);
	uint64_t begin = fake_now(fake);
	pthread_t thread;

	(void)state;
	assert_int_equal(job->sys->thread_create(job->sys, "work", NULL, release_later, job,
						 &thread),
			 0);
	/* Beyond all time: without end. */
	assert_fails(vfb_job_wait(job, UINT64_MAX - 1), -EIO, "in a thread");
	assert_int_equal(fake_now(fake) - begin, 7 * MS);
	job->sys->thread_join(job->sys, thread);
	assert_fails(vfb_job_wait(job, 0), -EIO, "in a thread");
	end(&work);
}

/* The first failure counts. */
static void test_failures(void **state)
{
	struct work work;
	struct vfb_job *job = start(&work, 1);

	(void)state;
	vfb_fail(-EIO, "the first");
	assert_int_equal(vfb_job_fail(job, -EIO, false), -EIO);
	assert_false(vfb_job_stopped(job));
	vfb_fail(-EPERM, "the second");
	assert_int_equal(vfb_job_fail(job, -EPERM, true), -EPERM);
	assert_true(vfb_job_stopped(job));
	vfb_job_release(job);
	assert_fails(vfb_job_wait(job, 0), -EIO, "the first");
	end(&work);
}

static void test_cancel(void **state)
{
	struct work work;
	struct vfb_job *job = start(&work, 1);

	(void)state;
	work.settles = true;
	vfb_job_cancel(job);
	assert_true(vfb_job_stopped(job));
	/* Too late to fail. */
	vfb_fail(-EIO, "late");
	vfb_job_fail(job, -EIO, true);
	vfb_job_release(job);
	assert_int_equal(work.settled, -ECANCELED);
	assert_fails(vfb_job_wait(job, 0), -ECANCELED, "cancelled");
	end(&work);
}

static void test_cancel_late(void **state)
{
	struct work work;
	struct vfb_job *job = start(&work, 1);

	(void)state;
	assert_int_equal(vfb_job_settle(job), 0);
	vfb_job_cancel(job);
	assert_false(vfb_job_stopped(job));
	vfb_job_release(job);
	assert_ok(vfb_job_wait(job, 0));
	vfb_job_cancel(job);
	assert_ok(vfb_job_wait(job, 0));
	end(&work);
}

static void test_not_cancellable(void **state)
{
	struct work work;
	struct vfb_job *job = start(&work, 1);

	(void)state;
	work.ops.cancellable = false;
	vfb_job_cancel(job);
	assert_false(vfb_job_stopped(job));
	vfb_job_release(job);
	assert_ok(vfb_job_wait(job, 0));
	end(&work);
}

/* A failure that stopped it says why; a cancel after it changes nothing. */
static void test_cancel_failed(void **state)
{
	struct work work;
	struct vfb_job *job = start(&work, 1);

	(void)state;
	vfb_fail(-EIO, "the failure");
	vfb_job_fail(job, -EIO, true);
	vfb_job_cancel(job);
	vfb_job_release(job);
	assert_fails(vfb_job_wait(job, 0), -EIO, "the failure");
	end(&work);
}

static void test_no_eventfd(void **state)
{
	struct work work = {0};

	(void)state;
	fake_fail_call(fake, "eventfd", 1, EMFILE);
	assert_fails(vfb_job_init(&work.job, &work.ops, &ctx, 1), -EMFILE, "eventfd");
	assert_int_equal(atomic_load(&ctx.objects), 0);
}

/* What a job failed with says nothing about waiting for it. */
static void test_failed_like_waiting(void **state)
{
	static const int errors[] = {-ECHILD, -EDEADLK};
	struct work work;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		struct vfb_job *job = start(&work, 1);

		vfb_job_fail(job, errors[i], true);
		vfb_job_release(job);
		vfb_job_destroy(job);
		assert_true(work.freed);
	}
}

static void test_complete(void **state)
{
	struct vfb_job_progress progress = VFB_JOB_PROGRESS_INIT;
	struct work work;
	struct vfb_job *job = start(&work, 1);

	(void)state;
	job->bytes = GIB;
	atomic_store(&job->entries_done, 2);
	atomic_store(&job->bytes_done, MIB);
	assert_ok(vfb_job_progress(job, &progress));
	assert_int_equal(progress.entries, 3);
	assert_int_equal(progress.entries_done, 2);
	assert_int_equal(progress.bytes, GIB);
	assert_int_equal(progress.bytes_done, MIB);
	vfb_fail(-EIO, "why");
	vfb_job_fail(job, -EIO, true);
	vfb_job_release(job);
	assert_fails(vfb_job_complete(job), -EIO, "why");
	assert_true(work.freed);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(ends),
		TEST(rounds),
		TEST(handed_out),
		TEST(timeout),
		TEST(woken),
		TEST(failures),
		TEST(cancel),
		TEST(cancel_late),
		TEST(not_cancellable),
		TEST(cancel_failed),
		TEST(no_eventfd),
		TEST(complete),
		TEST(failed_like_waiting),
	};

	return cmocka_run_group_tests_name("job", tests, NULL, NULL);
}
