// SPDX-License-Identifier: GPL-2.0-only
/*
 * vCPUs run for a while: a thread that is in KVM_RUN for too long is sent a
 * signal. One that does not return then is a failure.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "generated_states.h"

bool verbose;

#define MAX_RUNNERS	16
#define TICK_NS		4000000
/* KVM_RUN may take that many ticks, of which a busy host makes few. */
#define STUCK_TICKS	8000

static struct runner {
	bool used;
	pthread_t thread;
	/* Odd while in KVM_RUN. */
	unsigned long runs;
	unsigned long seen;
	unsigned int ticks;
} runners[MAX_RUNNERS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static __thread struct runner *self;
static __thread struct kvm_run *running;

static void kick(int signal)
{
	if (running)
		running->immediate_exit = 1;
}

static void *kicker(void *unused)
{
	struct timespec tick = { 0, TICK_NS };
	struct runner *r;

	for (;;) {
		nanosleep(&tick, NULL);
		pthread_mutex_lock(&lock);
		for (r = runners; r < runners + MAX_RUNNERS; r++) {
			unsigned long runs = READ_ONCE(r->runs);

			if (!r->used || !(runs & 1)) {
				r->ticks = 0;
				continue;
			}
			if (runs != r->seen) {
				r->seen = runs;
				r->ticks = 0;
				continue;
			}
			pthread_kill(r->thread, SIGUSR1);
			if (++r->ticks < STUCK_TICKS)
				continue;
			printf("Bail out! KVM_RUN does not return after signals\n");
			fflush(stdout);
			_exit(1);
		}
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

void kicker_start(void)
{
	struct sigaction action = { .sa_handler = kick };
	pthread_t thread;

	sigaction(SIGUSR1, &action, NULL);
	if (pthread_create(&thread, NULL, kicker, NULL)) {
		perror("pthread_create");
		exit(1);
	}
}

static void runner_get(void)
{
	struct runner *r;

	pthread_mutex_lock(&lock);
	for (r = runners; r < runners + MAX_RUNNERS && r->used; r++)
		;
	if (r == runners + MAX_RUNNERS)
		exit(1);
	r->thread = pthread_self();
	r->runs = 0;
	r->used = true;
	self = r;
	pthread_mutex_unlock(&lock);
}

static void runner_put(void)
{
	pthread_mutex_lock(&lock);
	if (self)
		self->used = false;
	self = NULL;
	pthread_mutex_unlock(&lock);
}

static int run_once(struct gvcpu *vcpu)
{
	int r;

	if (!self)
		runner_get();
	WRITE_ONCE(running, vcpu->run);
	WRITE_ONCE(self->runs, self->runs + 1);
	r = ioctl(vcpu->fd, KVM_RUN, 0);
	if (r)
		r = -errno;
	WRITE_ONCE(self->runs, self->runs + 1);
	WRITE_ONCE(running, NULL);
	return r;
}

/* Up to that many exits to user space, or a signal. */
int gvcpu_run(struct gvcpu *vcpu, unsigned int exits)
{
	struct kvm_run *run = vcpu->run;
	int r;

	while (exits--) {
		r = run_once(vcpu);
		if (r == -EINTR || r == -EAGAIN) {
			run->immediate_exit = 0;
			return RUN_KICKED;
		}
		if (r) {
			vcpu->dead = true;
			return RUN_FAILED;
		}
		switch (READ_ONCE(run->exit_reason)) {
		case KVM_EXIT_IO:
			if (run->io.port == DONE_PORT)
				return RUN_DONE;
			break;
		case KVM_EXIT_SHUTDOWN:
		case KVM_EXIT_FAIL_ENTRY:
		case KVM_EXIT_INTERNAL_ERROR:
			vcpu->dead = true;
			return RUN_DEAD;
		}
	}
	return RUN_KICKED;
}

static void *help(void *data)
{
	struct helper *helper = data;

	helper->work(&helper->task);
	runner_put();
	return NULL;
}

void helper_start(struct helper *helper, const struct task *task,
		  unsigned int number, void (*work)(struct task *))
{
	helper->task = *task;
	helper->task.thread = number;
	helper->task.stop = false;
	helper->work = work;
	if (pthread_create(&helper->thread, NULL, help, helper)) {
		perror("pthread_create");
		exit(1);
	}
}

void helper_stop(struct helper *helper)
{
	__atomic_store_n(&helper->task.stop, true, __ATOMIC_RELAXED);
	pthread_join(helper->thread, NULL);
}

struct rng task_rng(const struct task *task, uint64_t state)
{
	if (verbose)
		printf("# mode %u round %u thread %u state %ld\n", task->mode,
		       task->round, task->thread, (long)state);
	return rng_of(task->seed, task->mode, task->round, task->thread, state);
}
