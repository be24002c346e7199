/* SPDX-License-Identifier: MIT */
/* Virtual time, threads, conditions, eventfds. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test_fake.h"

struct sleeper {
	const struct vfb_sys *sys;
	uint64_t ns, woke;
};

static void *sleep_thread(void *arg)
{
	struct sleeper *sleeper = arg;

	sleeper->sys->sleep(sleeper->sys, sleeper->ns);
	sleeper->woke = sleeper->sys->now(sleeper->sys);
	return NULL;
}

static void test_sleep(void **state)
{
	struct fake *fake = fake_create(NULL);
	const struct vfb_sys *sys = fake_sys(fake);
	uint64_t start = sys->now(sys);
	struct sleeper sleepers[4];
	pthread_t threads[4];

	(void)state;
	for (int i = 0; i < 4; i++) {
		sleepers[i] = (struct sleeper){.sys = sys, .ns = (i + 1) * MS};
		assert_int_equal(sys->thread_create(sys, "sleeper", NULL, sleep_thread,
						    &sleepers[i], &threads[i]),
				 0);
	}
	for (int i = 0; i < 4; i++)
		sys->thread_join(sys, threads[i]);
	for (int i = 0; i < 4; i++)
		assert_int_equal(sleepers[i].woke - start, (i + 1) * MS);
	assert_int_equal(sys->now(sys) - start, 4 * MS);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

struct queue {
	const struct vfb_sys *sys;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	unsigned int tokens, taken;
	bool stop;
	pthread_t consumers[4];
};

static void *consumer(void *arg)
{
	struct queue *queue = arg;

	pthread_mutex_lock(&queue->mutex);
	for (;;) {
		while (!queue->tokens && !queue->stop)
			queue->sys->cond_wait(queue->sys, &queue->cond, &queue->mutex, UINT64_MAX);
		if (!queue->tokens)
			break;
		queue->tokens--;
		queue->taken++;
		pthread_mutex_unlock(&queue->mutex);
		queue->sys->sleep(queue->sys, MS);
		pthread_mutex_lock(&queue->mutex);
	}
	pthread_mutex_unlock(&queue->mutex);
	return NULL;
}

/* Four of them, which all wait. */
static void begin_consuming(struct queue *queue, const struct vfb_sys *sys)
{
	*queue = (struct queue){.sys = sys,
				.mutex = PTHREAD_MUTEX_INITIALIZER,
				.cond = PTHREAD_COND_INITIALIZER};
	for (int i = 0; i < 4; i++)
		assert_int_equal(sys->thread_create(sys, "consumer", NULL, consumer, queue,
						    &queue->consumers[i]),
				 0);
	sys->sleep(sys, MS);
}

static void end_consuming(struct queue *queue)
{
	const struct vfb_sys *sys = queue->sys;

	pthread_mutex_lock(&queue->mutex);
	queue->stop = true;
	sys->cond_broadcast(sys, &queue->cond);
	pthread_mutex_unlock(&queue->mutex);
	for (int i = 0; i < 4; i++)
		sys->thread_join(sys, queue->consumers[i]);
}

/* 4 threads take 40 tokens of 1 ms each: 10 ms, not more for all the waking up. */
static void test_conditions(void **state)
{
	struct fake *fake = fake_create(NULL);
	const struct vfb_sys *sys = fake_sys(fake);
	uint64_t start = sys->now(sys);
	struct queue queue;

	(void)state;
	begin_consuming(&queue, sys);
	pthread_mutex_lock(&queue.mutex);
	queue.tokens = 40;
	sys->cond_broadcast(sys, &queue.cond);
	pthread_mutex_unlock(&queue.mutex);
	sys->sleep(sys, 20 * MS);
	pthread_mutex_lock(&queue.mutex);
	assert_int_equal(queue.taken, 40);
	pthread_mutex_unlock(&queue.mutex);
	end_consuming(&queue);
	assert_int_equal(sys->now(sys) - start, 21 * MS);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

/* Two of the four are woken, and take all tokens. */
static void test_signal(void **state)
{
	struct fake *fake = fake_create(NULL);
	const struct vfb_sys *sys = fake_sys(fake);
	uint64_t start = sys->now(sys);
	struct queue queue;

	(void)state;
	begin_consuming(&queue, sys);
	pthread_mutex_lock(&queue.mutex);
	queue.tokens = 4;
	sys->cond_signal(sys, &queue.cond);
	sys->cond_signal(sys, &queue.cond);
	pthread_mutex_unlock(&queue.mutex);
	sys->sleep(sys, MS / 2);
	assert_int_equal(queue.taken, 2);
	sys->sleep(sys, MS);
	assert_int_equal(queue.taken, 4);
	end_consuming(&queue);
	assert_int_equal(sys->now(sys) - start, 3 * MS);
	fake_destroy(fake);
}

static void test_cond_timeout(void **state)
{
	struct fake *fake = fake_create(NULL);
	const struct vfb_sys *sys = fake_sys(fake);
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
	uint64_t start = sys->now(sys);

	(void)state;
	pthread_mutex_lock(&mutex);
	assert_int_equal(sys->cond_wait(sys, &cond, &mutex, start + 5 * MS), -ETIMEDOUT);
	assert_int_equal(sys->now(sys), start + 5 * MS);
	assert_int_equal(sys->cond_wait(sys, &cond, &mutex, 0), -ETIMEDOUT);
	assert_int_equal(sys->now(sys), start + 5 * MS);
	pthread_mutex_unlock(&mutex);
	fake_destroy(fake);
}

struct signaller {
	const struct vfb_sys *sys;
	int fd;
};

static void *signal_thread(void *arg)
{
	struct signaller *signaller = arg;

	signaller->sys->sleep(signaller->sys, 3 * MS);
	signaller->sys->eventfd_signal(signaller->sys, signaller->fd);
	return NULL;
}

static void test_poll(void **state)
{
	struct fake *fake = fake_create(NULL);
	const struct vfb_sys *sys = fake_sys(fake);
	struct signaller signaller = {.sys = sys, .fd = sys->eventfd(sys)};
	uint64_t start = sys->now(sys);
	uint64_t value = 0;
	pthread_t thread;

	(void)state;
	assert_true(signaller.fd >= 0);
	assert_false(fake_poll(fake, signaller.fd, MS));
	assert_int_equal(sys->now(sys) - start, MS);
	assert_int_equal(sys->thread_create(sys, "signaller", NULL, signal_thread, &signaller,
					    &thread),
			 0);
	assert_true(fake_poll(fake, signaller.fd, UINT64_MAX));
	assert_int_equal(sys->now(sys) - start, 4 * MS);
	assert_int_equal(read(signaller.fd, &value, sizeof(value)), sizeof(value));
	assert_int_equal(value, 1);
	sys->thread_join(sys, thread);
	sys->close(sys, signaller.fd);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

/* A thread that blocks for real is not waited for. */
static void test_outside(void **state)
{
	struct fake *fake = fake_create(NULL);
	const struct vfb_sys *sys = fake_sys(fake);
	struct sleeper sleeper = {.sys = sys, .ns = 7 * MS};
	uint64_t start = sys->now(sys);
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, sleep_thread, &sleeper), 0);
	fake_outside_begin(fake);
	pthread_join(thread, NULL);
	fake_outside_end(fake);
	assert_int_equal(sleeper.woke - start, 7 * MS);
	fake_destroy(fake);
}

struct walker {
	const struct vfb_sys *sys;
	unsigned int seed;
	uint64_t slept, woke;
};

static void *walk(void *arg)
{
	struct walker *walker = arg;
	const struct vfb_sys *sys = walker->sys;

	for (int i = 0; i < 200; i++) {
		uint64_t ns = rand_r(&walker->seed) % 5 * MS / 2;

		sys->sleep(sys, ns);
		walker->slept += ns;
	}
	walker->woke = sys->now(sys);
	return NULL;
}

/* Nobody is late, nobody early, whatever the host's scheduler does. */
static void test_many_sleepers(void **state)
{
	struct fake *fake = fake_create(NULL);
	const struct vfb_sys *sys = fake_sys(fake);
	uint64_t start = sys->now(sys);
	struct walker walkers[16];
	pthread_t threads[16];

	(void)state;
	for (int i = 0; i < 16; i++) {
		walkers[i] = (struct walker){.sys = sys, .seed = i};
		assert_int_equal(sys->thread_create(sys, "walker", NULL, walk, &walkers[i],
						    &threads[i]),
				 0);
	}
	for (int i = 0; i < 16; i++)
		sys->thread_join(sys, threads[i]);
	for (int i = 0; i < 16; i++)
		assert_int_equal(walkers[i].woke - start, walkers[i].slept);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

static void *never_call(void *arg)
{
	pause();
	return arg;
}

/* A thread that blocks for real, and nobody said so. */
static void stuck(void)
{
	struct fake *fake = fake_create(&(struct fake_config){.watchdog_s = 1});
	const struct vfb_sys *sys = fake_sys(fake);
	pthread_t thread;

	sys->thread_create(sys, "silent", NULL, never_call, NULL, &thread);
	sys->thread_join(sys, thread);
}

static void deadlock(void)
{
	struct fake *fake = fake_create(NULL);
	const struct vfb_sys *sys = fake_sys(fake);
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t cond = PTHREAD_COND_INITIALIZER;

	pthread_mutex_lock(&mutex);
	sys->cond_wait(sys, &cond, &mutex, UINT64_MAX);
}

/* In a child, so that it may. */
static void assert_aborts(void (*run)(void))
{
	pid_t child = fork();
	int status;

	if (!child) {
		signal(SIGABRT, SIG_DFL);
		fclose(stderr);
		run();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void test_hangs(void **state)
{
	(void)state;
	assert_aborts(deadlock);
	assert_aborts(stuck);
}

int run_clock_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sleep),	      cmocka_unit_test(test_conditions),
		cmocka_unit_test(test_signal),	      cmocka_unit_test(test_cond_timeout),
		cmocka_unit_test(test_poll),	      cmocka_unit_test(test_outside),
		cmocka_unit_test(test_many_sleepers), cmocka_unit_test(test_hangs),
	};

	return cmocka_run_group_tests_name("fake: clock", tests, NULL, NULL);
}
