// SPDX-License-Identifier: GPL-2.0
/*
 * dirty_ring_hostile_test: several threads and processes at once.
 */
#define _GNU_SOURCE /* for mremap() */
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <linux/compiler.h>
#include <linux/kernel.h>

#include "test_thread.h"
#include "hostile.h"

/*
 * All at once. Each worker is a thread that repeats its step until all workers
 * have taken as many as they have to.
 */

struct worker {
	const char *name;
	void (*step)(struct worker *w);
	uint64_t goal;
	uint64_t done;
	struct test_thread thread;
	struct rng rng;
	void *map;
};

static sem_t at_goal;
static bool stop;
static pthread_t runner;

static void *worker_thread(void *data)
{
	struct worker *w = data;

	while (!READ_ONCE(stop)) {
		w->step(w);
		if (++w->done == w->goal)
			sem_post(&at_goal);
	}
	return NULL;
}

/* KVM_RUN, even when the ring is full: others make room. */
static void step_run(struct worker *w)
{
	struct kvm_run *run = target.vcpus[RUN_VCPU].run;
	int ret = _vcpu_ioctl(target.vm, RUN_VCPU, KVM_RUN, NULL);

	TEST_ASSERT((ret && errno == EINTR) ||
		    (!ret && run->exit_reason == KVM_EXIT_DIRTY_RING_FULL),
		    "KVM_RUN returned %i, errno: %i, exit %u (%s)", ret, errno,
		    run->exit_reason, exit_reason_str(run->exit_reason));
	sched_yield();
}

static void step_clock(struct worker *w)
{
	uint32_t count = 1 + rng_below(&w->rng, RING_VM_MAX_CLOCKS);

	if (write_clocks(CLOCK_VCPU, rng_below(&w->rng, TARGET_PAGES / 2),
			 count) != count)
		sched_yield();
}

static void step_reset(struct worker *w)
{
	reset_target();
	if (w->done % 8 == 0)
		sched_yield();
}

static void step_forge(struct worker *w)
{
	forge_ring(&w->rng, &target.vcpus[w->done % TARGET_VCPUS].ring);
}

/* Whatever entry the kernel looks at has just been collected. */
static void step_flag(struct worker *w)
{
	uint32_t i;

	for (i = 0; i < TARGET_VCPUS; i++)
		flag_ring(&target.vcpus[i].ring, ~0u);
}

/*
 * Resets of forged entries write-protect few pages: this does it to all. A
 * guest that has nothing to report would not leave KVM_RUN.
 */
static void step_log(struct worker *w)
{
	vm_mem_region_set_flags(target.vm, RING_VM_SLOT, 0);
	vm_mem_region_set_flags(target.vm, RING_VM_SLOT,
				KVM_MEM_LOG_DIRTY_PAGES);
	pthread_kill(runner, SIGUSR1);
	sched_yield();
}

static void step_honest(struct worker *w)
{
	ring_vm_round(&honest, 0, rng_below(&w->rng, HONEST_PAGES),
		      1 + rng_below(&w->rng, HONEST_PAGES),
		      rng_below(&w->rng, HONEST_PAGES) | 1);
}

/* No mapping of a ring may grow beyond what was checked. */
static void grow_map(void *map, size_t size)
{
	void *grown = mremap(map, size, 2 * size, MREMAP_MAYMOVE);

	TEST_ASSERT(grown == MAP_FAILED && errno == EFAULT,
		    "mremap grew a ring, errno: %i", errno);
	grown = mremap(map, 0, size, MREMAP_MAYMOVE);
	TEST_ASSERT(grown == MAP_FAILED, "mremap doubled a ring");
}

/* Move the ring to reserved memory, use it, and put that memory back. */
static void move_map(struct worker *w, void *map, size_t size)
{
	void *moved = mremap(map, size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
			     w->map);

	TEST_ASSERT(moved == w->map, "mremap failed, errno: %i", errno);
	forge_entry(&w->rng, moved);
	madvise(moved, size, MADV_DONTNEED);
	forge_entry(&w->rng, moved + size / 2);
	moved = mmap(w->map, size, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	TEST_ASSERT(moved == w->map, "mmap failed, errno: %i", errno);
}

static void shrink_map(struct worker *w, void *map, size_t size)
{
	size_t page = getpagesize();
	void *less = mremap(map, size, page, 0);

	TEST_ASSERT(less == map, "mremap failed, errno: %i", errno);
	forge_entry(&w->rng, map);
	mprotect(map, page, PROT_READ);
	READ_ONCE(*(uint32_t *)map);
	munmap(map, page);
}

static void step_map(struct worker *w)
{
	size_t size = TARGET_ENTRIES * sizeof(struct kvm_dirty_gfn);
	void *map = _dirty_ring_mmap(target.vm, w->done % TARGET_VCPUS, size,
				     PROT_READ | PROT_WRITE, MAP_SHARED);

	TEST_ASSERT(map != MAP_FAILED, "mmap failed, errno: %i", errno);
	forge_entry(&w->rng, map);
	grow_map(map, size);
	if (rng_below(&w->rng, 2))
		move_map(w, map, size);
	else
		shrink_map(w, map, size);
	sched_yield();
}

static void set_churn_slot(struct worker *w, uint64_t pages, uint64_t gpa,
			   uint32_t flags)
{
	vm_set_slot(target.vm, CHURN_SLOT, flags, gpa,
		    pages * RING_VM_PAGE_SIZE, w->map);
}

/* Slots go, come back smaller, move, and are logged or not. */
static void step_churn(struct worker *w)
{
	uint64_t pages = w->done % 2 ? CHURN_PAGES : CHURN_PAGES / 8;

	set_churn_slot(w, pages, CHURN_MEM, KVM_MEM_LOG_DIRTY_PAGES);
	vm_mem_region_set_flags(target.vm, RING_VM_SLOT, 0);
	set_churn_slot(w, pages, CHURN_MEM + CHURN_PAGES * RING_VM_PAGE_SIZE,
		       KVM_MEM_LOG_DIRTY_PAGES);
	vm_mem_region_set_flags(target.vm, RING_VM_SLOT,
				KVM_MEM_LOG_DIRTY_PAGES);
	set_churn_slot(w, 0, CHURN_MEM, 0);
	pthread_kill(runner, SIGUSR1);
	sched_yield();
}

/* A child has the rings mapped too, but must not use the VM. */
static void step_fork(struct worker *w)
{
	pid_t pid = fork();
	int status;

	TEST_ASSERT(pid >= 0, "fork failed, errno: %i", errno);
	if (!pid) {
		forge_ring(&w->rng, &target.vcpus[w->done % TARGET_VCPUS].ring);
		if (_vm_reset_dirty_rings(target.vm) != -1 || errno != EIO)
			_exit(1);
		forge_ring(&w->rng, &target.vcpus[w->done % TARGET_VCPUS].ring);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	TEST_ASSERT(WIFEXITED(status) && !WEXITSTATUS(status),
		    "a child could reset the rings of its parent's VM");
	rng_next(&w->rng);
}

/*
 * The first one runs the guest, which writes all its pages in a loop until
 * stop_workers().
 */
static void start_workers(struct worker *workers, int nr)
{
	int i;

	*target.vcpus[RUN_VCPU].job = (struct ring_job) {
		.mem = RING_VM_MEM, .npages = TARGET_PAGES, .stride = 1,
		.count = TARGET_PAGES, .endless = true,
	};
	target.vcpus[RUN_VCPU].run->immediate_exit = 0;
	stop = false;
	sem_init(&at_goal, 0, 0);
	for (i = 0; i < nr; i++) {
		rng_init(&workers[i].rng, 16 + i);
		workers[i].map = map_memory(CHURN_PAGES * RING_VM_PAGE_SIZE);
		test_thread_start(&workers[i].thread, workers[i].name,
				  worker_thread, &workers[i]);
		runner = workers[0].thread.id;
	}
}

static void stop_workers(struct worker *workers, int nr)
{
	int i;

	for (i = 0; i < nr; i++)
		test_sem_wait(&at_goal, "workers to reach their goals");
	WRITE_ONCE(stop, true);
	WRITE_ONCE(target.vcpus[RUN_VCPU].job->endless, false);
	target.vcpus[RUN_VCPU].run->immediate_exit = 1;
	pthread_kill(runner, SIGUSR1);

	/* The runner last: until then others may send it a signal. */
	for (i = nr - 1; i >= 0; i--) {
		test_thread_join(&workers[i].thread);
		munmap(workers[i].map, CHURN_PAGES * RING_VM_PAGE_SIZE);
		ksft_print_msg("  %s: %lu\n", workers[i].name, workers[i].done);
	}
	target.vcpus[RUN_VCPU].run->immediate_exit = 0;
}

#define WORKER(what, how, count) { .name = what, .step = how, .goal = count }

static void test_workers(const char *name, struct worker *workers, int nr)
{
	uint64_t forged_before = *forged, reset_before = reset_entries;

	start_workers(workers, nr);
	stop_workers(workers, nr);
	finish_job();
	drain_target();
	test_passed("%s: %lu forged, %lu reset\n", name,
		    *forged - forged_before,
		    reset_entries - reset_before);
}

void test_storm(void)
{
	struct worker workers[] = {
		WORKER("KVM_RUN", step_run, 50),
		WORKER("KVM_SET_MSRS", step_clock, 50),
		WORKER("resets", step_reset, 200),
		WORKER("rings forged", step_forge,
		       min_forged / 2 / TARGET_ENTRIES + 1),
		WORKER("rings forged by another", step_forge,
		       min_forged / 4 / TARGET_ENTRIES + 1),
		WORKER("rings flagged", step_flag, 100),
		WORKER("mappings", step_map, 100),
		WORKER("logging switched", step_log, 6),
		WORKER("honest rounds", step_honest, 8),
	};

	test_workers("all at once", workers, ARRAY_SIZE(workers));
}

void test_churn(void)
{
	struct worker workers[] = {
		WORKER("KVM_RUN", step_run, 5),
		WORKER("KVM_SET_MSRS", step_clock, 50),
		WORKER("resets", step_reset, 100),
		WORKER("rings flagged", step_flag, 50),
		WORKER("slots changed", step_churn, 6),
		WORKER("forks", step_fork, 6),
		WORKER("honest rounds", step_honest, 4),
	};

	test_workers("slots changed and children forging", workers,
		     ARRAY_SIZE(workers));
}

/*
 * One thread changes a few entries while another resets them: the kernel must
 * use the same value of an entry that it has checked. This takes two CPUs.
 */

#define DUEL_RESETS	20000
#define DUEL_ENTRIES	8

static uint32_t duel_next;
static bool yield;

/* All entries are good, or so bad that the kernel dies if it uses one. */
static void duel_sweep(struct dirty_ring *ring, uint32_t slot, uint64_t offset)
{
	uint32_t i, next = READ_ONCE(duel_next);
	struct kvm_dirty_gfn *gfn;

	for (i = 0; i < DUEL_ENTRIES; i++) {
		gfn = &ring->gfns[(next + i) % ring->entries];
		WRITE_ONCE(gfn->slot, slot);
		WRITE_ONCE(gfn->offset, offset);
		WRITE_ONCE(gfn->flags, KVM_DIRTY_GFN_F_RESET);
	}
	if (yield)
		sched_yield();
}

static void *duel_thread(void *data)
{
	struct dirty_ring *ring = &target.vcpus[CLOCK_VCPU].ring;
	uint64_t count;

	for (count = 0; !READ_ONCE(stop); count += 4 * DUEL_ENTRIES) {
		duel_sweep(ring, RING_VM_SLOT, 1);
		duel_sweep(ring, RING_VM_SLOT, 1ull << 40);
		duel_sweep(ring, RING_VM_SLOT, 1);
		duel_sweep(ring, ~0u, 1);
	}
	__atomic_fetch_add(forged, count, __ATOMIC_RELAXED);
	return NULL;
}

/* KVM writes each MSR's page three times; forged flags make each an entry. */
void test_duel(void)
{
	struct dirty_ring *ring = &target.vcpus[CLOCK_VCPU].ring;
	uint64_t most = 0, count = 0;
	struct test_thread thread;
	uint32_t reset, goal = DUEL_RESETS;
	int i, n;

	yield = sysconf(_SC_NPROCESSORS_ONLN) == 1;
	if (yield)
		goal /= 10;
	stop = false;
	duel_next = ring->next;
	test_thread_start(&thread, "duel", duel_thread, NULL);
	for (i = 0; count < goal; i++) {
		n = write_clocks(CLOCK_VCPU, i % 2 * DUEL_ENTRIES, DUEL_ENTRIES);
		if (n > 0)
			most += 3 * n;
		reset = reset_target();
		if (!reset)
			sched_yield();
		count += reset;
		TEST_ASSERT(count <= most,
			    "%lu entries reset, %lu pushed at most", count, most);
		WRITE_ONCE(duel_next, ring->next + count);
	}
	WRITE_ONCE(stop, true);
	test_thread_join(&thread);
	drain_target();
	test_passed("entries fought for: %lu reset%s\n", count,
		    yield ? ", on one CPU" : "");
}

/*
 * A process can be killed while it resets, another of its threads sets RESET
 * flags all the time, and KVM pushes.
 */

#define KILLS		8
#define KILL_RESETS	20

static void *forever(void *data)
{
	struct worker *w = data;

	for (;;)
		w->step(w);
	return NULL;
}

static void __attribute__((noreturn)) reset_for_ever(int ready)
{
	struct worker workers[] = {
		WORKER("KVM_SET_MSRS", step_clock, 0),
		WORKER("rings flagged", step_flag, 0),
		WORKER("rings forged", step_forge, 0),
	};
	uint64_t i;

	ring_vm_create_bare(&target, dirty_ring_max_entries(), TARGET_PAGES,
			    TARGET_VCPUS);
	for (i = 0; i < ARRAY_SIZE(workers); i++) {
		rng_init(&workers[i].rng, 64 + i);
		test_thread_start(&workers[i].thread, workers[i].name, forever,
				  &workers[i]);
	}
	for (i = 1;; i++) {
		reset_target();
		if (i == KILL_RESETS)
			test_write(ready, &ready, 1);
	}
}

void test_killed(void)
{
	int i, status, ready[2];
	pid_t pid;
	char c;

	TEST_ASSERT(!pipe(ready), "no pipe, errno: %i", errno);
	for (i = 0; i < KILLS; i++) {
		pid = fork();
		TEST_ASSERT(pid >= 0, "fork failed, errno: %i", errno);
		if (!pid)
			reset_for_ever(ready[1]);
		test_read(ready[0], &c, 1);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		TEST_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
			    "the child came to another end: %#x", status);
	}
	close(ready[0]);
	close(ready[1]);
	test_passed("killed while it resets, %u times\n", KILLS);
}
