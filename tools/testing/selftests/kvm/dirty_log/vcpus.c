// SPDX-License-Identifier: GPL-2.0
/*
 * dirty_log_test: vCPUs run, stop, and are waited for. Each has a thread.
 */
#define _GNU_SOURCE /* for pthread_setaffinity_np() */
#include <sched.h>
#include <signal.h>
#include <linux/compiler.h>

#include "dirty_log.h"

#define MAX_SPINS		1000000
#define SIG_KICK		SIGUSR1

static cpu_set_t all_cpus, other_cpus;

/* Protects vcpu::running, vcpu::at_goal, vcpu::done and the two below. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool stop_at_goal;
static bool quit;

/**
 * progress() - how far is a vCPU?
 * @v: the vCPU
 *
 * Return: the last step that it has published.
 */
uint64_t progress(struct vcpu *v)
{
	return __atomic_load_n(&v->script->progress, __ATOMIC_ACQUIRE);
}

/* Return: whether the vCPU can go on without the host. */
static bool run_once(struct vcpu *v)
{
	int ret = _vcpu_ioctl(vm, v->id, KVM_RUN, NULL);

	TEST_ASSERT(!ret || errno == EINTR, "KVM_RUN failed, rc: %i errno: %i",
		    ret, errno);
	return !ret && mode->after_run(v);
}

static void *vcpu_thread(void *data)
{
	struct vcpu *v = data;

	for (;;) {
		pthread_mutex_lock(&lock);
		while (!v->running && !quit)
			pthread_cond_wait(&changed, &lock);
		pthread_mutex_unlock(&lock);
		if (quit)
			return NULL;

		while (run_once(v))
			;

		pthread_mutex_lock(&lock);
		v->running = false;
		pthread_cond_broadcast(&changed);
		pthread_mutex_unlock(&lock);
	}
}

/**
 * after_run_sync() - see what the guest tells
 * @v: a vCPU that has left KVM_RUN
 *
 * Return: whether it can go on without the host.
 */
bool after_run_sync(struct vcpu *v)
{
	struct ucall uc;
	bool go_on;

	TEST_ASSERT(get_ucall(vm, v->id, &uc) == UCALL_SYNC,
		    "vCPU %u: unexpected exit %u (%s)", v->id,
		    v->run->exit_reason, exit_reason_str(v->run->exit_reason));

	pthread_mutex_lock(&lock);
	if (uc.args[1] == AT_END)
		v->done = true;
	else
		v->at_goal = true;
	go_on = !v->done && !stop_at_goal;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);

	return go_on;
}

/**
 * after_run_ring() - the same, where the ring may be full
 * @v: a vCPU that has left KVM_RUN
 *
 * Return: whether it can go on without the host.
 */
bool after_run_ring(struct vcpu *v)
{
	if (v->run->exit_reason != KVM_EXIT_DIRTY_RING_FULL)
		return after_run_sync(v);
	v->full++;
	return false;
}

/*
 * Let all vCPUs run that are not at their script's end. After @steps more
 * steps, a vCPU tells the host, and stops if @stop is set.
 */
static void start(uint64_t steps, bool stop)
{
	bool started = false;
	struct vcpu *v;

	stop_at_goal = stop;
	for_each_vcpu(v) {
		v->at_goal = false;
		WRITE_ONCE(v->script->goal,
			   steps == NO_GOAL ? NO_GOAL : progress(v) + steps);
		if (v->running || v->done)
			continue;
		v->run->immediate_exit = 0;
		v->running = true;
		started = true;
	}
	/* A thread that wakes for nothing may get a vCPU out of the guest. */
	if (started)
		pthread_cond_broadcast(&changed);
}

static bool any_runs(void)
{
	bool running = false;
	struct vcpu *v;

	for_each_vcpu(v)
		running |= v->running;
	return running;
}

static bool any_at_goal(void)
{
	bool at_goal = false;
	struct vcpu *v;

	for_each_vcpu(v)
		at_goal |= v->at_goal;
	return at_goal;
}

/**
 * run_to() - let vCPUs run, and wait for all of them
 * @steps: each vCPU stops after so many more steps, if not before
 */
void run_to(uint64_t steps)
{
	pthread_mutex_lock(&lock);
	start(steps, true);
	while (any_runs())
		test_cond_wait(&changed, &lock, "vCPUs to stop");
	pthread_mutex_unlock(&lock);
}

/*
 * Where there is another CPU, let the first vCPU write all its pages and stay
 * in the guest: its TLB then has them as writable.
 */
static void fill_tlb(void)
{
	uint64_t goal, spins;
	struct vcpu *v = vcpus;

	if (!CPU_COUNT(&other_cpus) || !endless)
		return;

	goal = progress(v) + v->nr_steps;
	for (spins = 0; spins < MAX_SPINS; spins++) {
		if (!READ_ONCE(v->running) || progress(v) >= goal)
			break;
	}
}

/**
 * let_run() - let vCPUs run, and leave them running
 * @steps: wait until one of them has taken so many more steps
 *
 * It then goes on, to anywhere, or waits for the CPU that this thread has.
 */
void let_run(uint64_t steps)
{
	pthread_mutex_lock(&lock);
	start(steps, false);
	while (any_runs() && !any_at_goal())
		test_cond_wait(&changed, &lock, "a vCPU at its goal");
	pthread_mutex_unlock(&lock);

	if (interval)
		usleep(interval * 1000);
	else if (random() % 4 == 0)
		usleep(random() % 200);
	fill_tlb();
}

/**
 * pause_all() - make all vCPUs leave KVM_RUN
 *
 * The signal gets a vCPU out of the guest, and immediate_exit stops one that is
 * about to enter it. get_ucall() clears immediate_exit of one that tells the
 * host something right now: stop_at_goal stops that one.
 */
void pause_all(void)
{
	struct vcpu *v;

	pthread_mutex_lock(&lock);
	stop_at_goal = true;
	for_each_vcpu(v) {
		if (!v->running)
			continue;
		v->run->immediate_exit = 1;
		pthread_kill(v->thread.id, SIG_KICK);
	}
	while (any_runs())
		test_cond_wait(&changed, &lock, "vCPUs to leave KVM_RUN");
	pthread_mutex_unlock(&lock);
}

/**
 * all_done() - are all vCPUs at the end of their scripts?
 *
 * Return: true if they are, and do not run.
 */
bool all_done(void)
{
	struct vcpu *v;
	bool done = true;

	pthread_mutex_lock(&lock);
	for_each_vcpu(v)
		done &= v->done && !v->running;
	pthread_mutex_unlock(&lock);

	return done;
}

/**
 * tell_progress() - tell the oracle how far the vCPUs are
 */
void tell_progress(void)
{
	bool running, done;
	struct vcpu *v;

	for_each_vcpu(v) {
		pthread_mutex_lock(&lock);
		running = v->running;
		done = v->done;
		pthread_mutex_unlock(&lock);

		if (running)
			oracle_running(&oracle, v - vcpus, progress(v));
		else
			oracle_stopped(&oracle, v - vcpus, progress(v), done);
	}
}

static void on_kick(int sig)
{
}

/* Keep the first vCPU off the CPU that collects, where there are more. */
static void start_thread(struct vcpu *v)
{
	bool apart = v == vcpus && CPU_COUNT(&other_cpus);

	test_thread_start(&v->thread, "vCPU", vcpu_thread, v);
	pthread_setaffinity_np(v->thread.id, sizeof(all_cpus),
			       apart ? &other_cpus : &all_cpus);
}

/**
 * start_threads() - start the vCPUs' threads; the vCPUs do not run yet
 */
void start_threads(void)
{
	struct sigaction kick = { .sa_handler = on_kick };
	struct vcpu *v;

	sigaction(SIG_KICK, &kick, NULL);
	quit = false;
	for_each_vcpu(v)
		start_thread(v);
}

/**
 * stop_threads() - end the vCPUs' threads; no vCPU runs
 */
void stop_threads(void)
{
	struct vcpu *v;

	pthread_mutex_lock(&lock);
	quit = true;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	for_each_vcpu(v)
		test_thread_join(&v->thread);
}

/**
 * come_first() - give the main thread one CPU, and precedence there
 *
 * Otherwise it waits for the vCPUs to use up their time slices. Where the
 * process may not do that, the test takes longer.
 */
void come_first(void)
{
	struct sched_param param = { .sched_priority = 1 };
	cpu_set_t own;
	int cpu = 0;

	sched_getaffinity(0, sizeof(all_cpus), &all_cpus);
	other_cpus = all_cpus;
	while (cpu < CPU_SETSIZE - 1 && !CPU_ISSET(cpu, &all_cpus))
		cpu++;
	CPU_ZERO(&own);
	CPU_SET(cpu, &own);
	CPU_CLR(cpu, &other_cpus);

	sched_setaffinity(0, sizeof(own), &own);
	sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param);
}
