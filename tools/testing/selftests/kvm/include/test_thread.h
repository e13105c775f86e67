/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads of a test. To wait for one has a limit: a thread that hangs, in the
 * guest or in the kernel, fails the test with the thread's name.
 */
#ifndef SELFTEST_KVM_TEST_THREAD_H
#define SELFTEST_KVM_TEST_THREAD_H

#include <pthread.h>
#include <semaphore.h>

/* Seconds. Far above what any wait takes, on emulated hardware too. */
#define TEST_THREAD_LIMIT	600

/**
 * struct test_thread - a thread
 * @id: for pthread_kill() and the like
 * @name: for messages
 */
struct test_thread {
	pthread_t id;
	const char *name;
};

void test_thread_start(struct test_thread *thread, const char *name,
		       void *(*fn)(void *data), void *data);
void test_thread_join(struct test_thread *thread);

void test_sem_wait(sem_t *sem, const char *what);
void test_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock,
		    const char *what);

#endif /* SELFTEST_KVM_TEST_THREAD_H */
