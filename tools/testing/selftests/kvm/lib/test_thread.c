// SPDX-License-Identifier: GPL-2.0-only
/*
 * Threads of a test, and waiting with a limit.
 */
#define _GNU_SOURCE /* for pthread_timedjoin_np() */
#include <errno.h>
#include <time.h>

#include "test_util.h"
#include "test_thread.h"

static struct timespec limit_from_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += TEST_THREAD_LIMIT;
	return ts;
}

/**
 * test_thread_start() - start a thread
 * @thread: to be set up
 * @name: what it is called in messages
 * @fn: what it runs
 * @data: passed to @fn
 */
void test_thread_start(struct test_thread *thread, const char *name,
		       void *(*fn)(void *data), void *data)
{
	int ret = pthread_create(&thread->id, NULL, fn, data);

	TEST_ASSERT(!ret, "no thread '%s', error: %i", name, ret);
	thread->name = name;
}

/**
 * test_thread_join() - wait for a thread's end
 * @thread: the thread
 *
 * Asserts that it ends in time.
 */
void test_thread_join(struct test_thread *thread)
{
	struct timespec limit = limit_from_now();
	int ret = pthread_timedjoin_np(thread->id, NULL, &limit);

	TEST_ASSERT(!ret, "thread '%s' does not end, error: %i", thread->name,
		    ret);
}

/**
 * test_sem_wait() - wait for a semaphore, whatever signals come
 * @sem: the semaphore
 * @what: what is waited for, for messages
 *
 * Asserts that it is posted in time.
 */
void test_sem_wait(sem_t *sem, const char *what)
{
	struct timespec limit = limit_from_now();
	int ret;

	do {
		ret = sem_timedwait(sem, &limit);
	} while (ret && errno == EINTR);
	TEST_ASSERT(!ret, "waited in vain for %s, errno: %i", what, errno);
}

/**
 * test_cond_wait() - wait for a condition variable
 * @cond: the condition variable
 * @lock: its mutex, held
 * @what: what is waited for, for messages
 *
 * Asserts that it is signalled in time. As with pthread_cond_wait(), the
 * caller checks its condition afterwards.
 */
void test_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock,
		    const char *what)
{
	struct timespec limit = limit_from_now();
	int ret = pthread_cond_timedwait(cond, lock, &limit);

	TEST_ASSERT(!ret, "waited in vain for %s, error: %i", what, ret);
}
