// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty rings in hostile hands. All of a ring is memory that user space writes:
 * here it writes anything, at any time, from several threads and processes,
 * while vCPUs push and others reset, map, unmap, and close. Who does this may
 * lose track of his own guest's pages. He must not get more than that: resets
 * return, and count what the kernel has pushed and no more; memory that is not
 * logged is left alone; other VMs lose nothing; and the kernel stays healthy,
 * which the kernel log tells.
 */

#define _GNU_SOURCE /* for mremap(), vmsplice() */

#include <getopt.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <linux/compiler.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "dirty_ring_vm.h"
#include "options.h"

/* The VM under attack: one vCPU runs a guest, KVM_SET_MSRS writes for the other. */
#define RUN_VCPU		0
#define CLOCK_VCPU		1
#define TARGET_VCPUS		2
#define TARGET_PAGES		4096ul
#define TARGET_ENTRIES		4096

/* A slot that is not logged. Its last page is written only when it counts. */
#define UNLOGGED_SLOT		3
#define UNLOGGED_PAGES		2048ul
#define UNLOGGED_MEM		0x30000000ul

/* A logged slot in the second address space. */
#define SMM_SLOT		(1u << 16 | 2)
#define SMM_PAGES		128ul
#define SMM_MEM			0x40000000ul

/* A slot that comes and goes. */
#define CHURN_SLOT		5
#define CHURN_PAGES		512ul
#define CHURN_MEM		0x50000000ul

/* The VM that is to notice nothing. */
#define HONEST_PAGES		1024ul

/* A slot's number has 16 bits, 509 of them can exist, and KVM has some more. */
static const uint16_t slot_ids[] = {
	0, RING_VM_SLOT, 2, UNLOGGED_SLOT, 4, CHURN_SLOT, 6, 63, 64, 507, 508,
	509, 510, 511, 512, 513, 1023, 0x7fff, 0x8000, 0xfffe, 0xffff,
};

static const uint16_t as_ids[] = { 0, 1, 2, 3, 0x7fff, 0x8000, 0xffff };

static const uint64_t offsets[] = {
	0, 1, 31, 32, 63, 64, 65, SMM_PAGES - 1, SMM_PAGES, SMM_PAGES + 1,
	CHURN_PAGES - 1, CHURN_PAGES, TARGET_PAGES - 64, TARGET_PAGES - 1,
	TARGET_PAGES, TARGET_PAGES + 1, TARGET_PAGES + 63, TARGET_PAGES + 64,
	0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 1ull << 52, 1ull << 63,
	~0ull, 0xffffffffffffffc0, 0xffffffffffffffc1, 0xffffffffffffffc2,
	/* These pages of the logged slot would be others' memory. */
	-(RING_VM_MEM / RING_VM_PAGE_SIZE),
	(UNLOGGED_MEM - RING_VM_MEM) / RING_VM_PAGE_SIZE,
};

/* Options. */
static unsigned int seed;
static uint64_t min_forged = 1000000;

static struct ring_vm target, honest;

/* Entries written by this process and its children. */
static uint64_t *forged;
/* Entries of the VM under attack that were reset. */
static uint64_t reset_entries;

/*
 * Forgeries, the same ones for the same seed.
 */

struct rng {
	uint64_t state;
};

static void rng_init(struct rng *rng, uint32_t stream)
{
	rng->state = (uint64_t)seed << 32 | (stream * 2 + 1);
}

static uint64_t rng_next(struct rng *rng)
{
	rng->state ^= rng->state >> 12;
	rng->state ^= rng->state << 25;
	rng->state ^= rng->state >> 27;
	return rng->state * 0x2545f4914f6cdd1dull;
}

static uint64_t rng_below(struct rng *rng, uint64_t limit)
{
	return (rng_next(rng) >> 32) % limit;
}

#define rng_of(rng, array) ((array)[rng_below(rng, ARRAY_SIZE(array))])

static uint32_t forge_slot(struct rng *rng)
{
	switch (rng_below(rng, 8)) {
	case 0:
		return SMM_SLOT;
	case 1:
		return UNLOGGED_SLOT;
	case 2:
		return rng_next(rng);
	case 3:
	case 4:
		return rng_of(rng, as_ids) << 16 | rng_of(rng, slot_ids);
	default:
		return RING_VM_SLOT;
	}
}

static uint64_t forge_offset(struct rng *rng)
{
	switch (rng_below(rng, 8)) {
	case 0:
		return rng_next(rng);
	case 1:
		return (1ull << rng_below(rng, 64)) - rng_below(rng, 2);
	case 2:
		return -rng_below(rng, 256);
	case 3:
	case 4:
		return rng_below(rng, TARGET_PAGES);
	default:
		return rng_of(rng, offsets);
	}
}

static void forge_entry(struct rng *rng, struct kvm_dirty_gfn *gfn)
{
	WRITE_ONCE(gfn->slot, forge_slot(rng));
	WRITE_ONCE(gfn->offset, forge_offset(rng));
	WRITE_ONCE(gfn->flags, rng_next(rng) | KVM_DIRTY_GFN_F_RESET);
}

static void forge_ring(struct rng *rng, struct dirty_ring *ring)
{
	uint32_t i;

	for (i = 0; i < ring->entries; i++)
		forge_entry(rng, &ring->gfns[i]);
	__atomic_fetch_add(forged, ring->entries, __ATOMIC_RELAXED);
}

static void flag_ring(struct dirty_ring *ring, uint32_t flags)
{
	uint32_t i;

	for (i = 0; i < ring->entries; i++)
		WRITE_ONCE(ring->gfns[i].flags, flags);
}

static bool names_logged_page(const struct kvm_dirty_gfn *gfn)
{
	return (gfn->slot == RING_VM_SLOT && gfn->offset < TARGET_PAGES) ||
	       (gfn->slot == SMM_SLOT && gfn->offset < SMM_PAGES);
}

/*
 * The VM under attack.
 */

static uint32_t reset_target(void)
{
	uint32_t count = vm_reset_dirty_rings(target.vm);

	TEST_ASSERT(count <= target.nr_vcpus * target.entries,
		    "%u entries reset at once, of %u", count,
		    target.nr_vcpus * target.entries);
	__atomic_fetch_add(&reset_entries, count, __ATOMIC_RELAXED);
	return count;
}

static void expect_reset(uint32_t count)
{
	uint32_t ret = reset_target();

	TEST_ASSERT(ret == count, "%u entries reset, not %u", ret, count);
}

static int write_clocks(uint32_t vcpuid, uint64_t page, uint32_t count)
{
	return vcpu_write_clocks(vcpu_get_fd(target.vm, vcpuid),
				 RING_VM_MEM + page * RING_VM_PAGE_SIZE, count);
}

/* Have KVM push this many entries into a ring that has room for them. */
static void push_entries(uint32_t vcpuid, uint32_t count)
{
	uint32_t n;

	for (; count; count -= n) {
		n = min(count, RING_VM_MAX_CLOCKS);
		TEST_ASSERT(write_clocks(vcpuid, count % 256, n) == n,
			    "KVM_SET_MSRS failed, errno: %i", errno);
	}
}

/* Find where the kernel is in a ring that is empty, and go there. */
static void find_next(uint32_t vcpuid)
{
	struct dirty_ring *ring = &target.vcpus[vcpuid].ring;
	uint32_t i;

	flag_ring(ring, 0);
	push_entries(vcpuid, 1);
	for (i = 0; !ring->gfns[i].flags; i++)
		TEST_ASSERT(i < ring->entries, "the ring has stopped");
	ring->gfns[i].flags = KVM_DIRTY_GFN_F_RESET;
	expect_reset(1);
	ring->next = i + 1;
}

/*
 * Nobody is at work: what was pushed and not reset can be reset once, and forged
 * flags give nothing more.
 */
static void drain_target(void)
{
	uint32_t i;

	for (i = 0; i < target.nr_vcpus; i++)
		flag_ring(&target.vcpus[i].ring, ~0u);
	reset_target();
	for (i = 0; i < target.nr_vcpus; i++)
		flag_ring(&target.vcpus[i].ring, ~0u);
	expect_reset(0);

	/* The kernel's own count, where there is one. */
	ring_vm_check_stat(&target, "dirty_ring_push", reset_entries);
	ring_vm_check_stat(&target, "dirty_ring_reset_entry", reset_entries);

	for (i = 0; i < target.nr_vcpus; i++)
		find_next(i);
}

/* Let the guest come to the end of its job. */
static void finish_job(void)
{
	while (ring_vm_run(&target, RUN_VCPU) != RING_VM_DONE) {
		flag_ring(&target.vcpus[RUN_VCPU].ring, KVM_DIRTY_GFN_F_RESET);
		reset_target();
	}
}

static void run_job(uint64_t mem, uint64_t npages, uint64_t count)
{
	*target.vcpus[RUN_VCPU].job = (struct ring_job) {
		.mem = mem, .npages = npages, .count = count, .stride = 1,
	};
	finish_job();
}

static void create_target(void)
{
	ring_vm_create(&target, TARGET_ENTRIES, TARGET_PAGES, TARGET_VCPUS);
	vm_userspace_mem_region_add(target.vm, VM_MEM_SRC_ANONYMOUS,
				    UNLOGGED_MEM, UNLOGGED_SLOT,
				    UNLOGGED_PAGES, 0);
	virt_map(target.vm, UNLOGGED_MEM, UNLOGGED_MEM, UNLOGGED_PAGES, 0);
	vm_userspace_mem_region_add(target.vm, VM_MEM_SRC_ANONYMOUS, SMM_MEM,
				    SMM_SLOT, SMM_PAGES,
				    KVM_MEM_LOG_DIRTY_PAGES);
	run_job(UNLOGGED_MEM, UNLOGGED_PAGES, UNLOGGED_PAGES - 1);
}

/*
 * Each forgery by itself: how many entries a reset takes is known exactly.
 */

static void forge_exactly(struct rng *rng, uint64_t *ignored)
{
	struct dirty_ring *ring = &target.vcpus[CLOCK_VCPU].ring;
	uint32_t count = rng_below(rng, dirty_ring_soft_limit(ring->entries));
	uint32_t good = rng_below(rng, count + 1);
	struct kvm_dirty_gfn *stop;
	uint32_t i;

	push_entries(CLOCK_VCPU, count);
	forge_ring(rng, ring);
	for (i = 0; i < count; i++)
		*ignored += !names_logged_page(&ring->gfns[(ring->next + i) %
							   ring->entries]);
	stop = &ring->gfns[(ring->next + good) % ring->entries];

	/* The first entry that was not collected ends it, if it was pushed. */
	stop->flags &= ~KVM_DIRTY_GFN_F_RESET;
	expect_reset(good);
	stop->flags |= KVM_DIRTY_GFN_F_RESET;
	expect_reset(count - good);
	expect_reset(0);
	ring->next += count;
}

static void test_exact(void)
{
	uint64_t before = reset_entries, ignored = 0;
	long stat = vm_get_stat(target.vm, "dirty_ring_ignored_entry");
	struct rng rng;

	rng_init(&rng, 0);
	while (*forged < min_forged / 4)
		forge_exactly(&rng, &ignored);
	if (stat != -1)
		ring_vm_check_stat(&target, "dirty_ring_ignored_entry",
				   stat + ignored);
	ksft_test_result_pass("each forgery by itself: %lu forged, %lu reset, %lu ignored\n",
			      *forged, reset_entries - before, ignored);
}

/*
 * All at once. Each worker is a thread that repeats its step until all workers
 * have taken as many as they have to.
 */

struct worker {
	const char *name;
	void (*step)(struct worker *w);
	uint64_t goal;
	uint64_t done;
	pthread_t thread;
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

static void wait_for(sem_t *sem)
{
	int ret;

	do {
		ret = sem_wait(sem);
	} while (ret && errno == EINTR);
}

/* KVM_RUN, also when the ring is full: others make room. */
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

/* Whatever the kernel looks at has just been collected. */
static void step_flag(struct worker *w)
{
	uint32_t i;

	for (i = 0; i < TARGET_VCPUS; i++)
		flag_ring(&target.vcpus[i].ring, ~0u);
}

/*
 * Forged entries have few pages reported again: here all are. A guest that has
 * nothing to report would not leave KVM_RUN.
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

/* No mapping of a ring may become larger than what was checked. */
static void grow_map(void *map, size_t size)
{
	void *grown = mremap(map, size, 2 * size, MREMAP_MAYMOVE);

	TEST_ASSERT(grown == MAP_FAILED && errno == EFAULT,
		    "mremap grew a ring, errno: %i", errno);
	grown = mremap(map, 0, size, MREMAP_MAYMOVE);
	TEST_ASSERT(grown == MAP_FAILED, "mremap doubled a ring");
}

/* To where there is room for it, and give way to what was there. */
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
	struct kvm_userspace_memory_region region = {
		.slot = CHURN_SLOT, .flags = flags, .guest_phys_addr = gpa,
		.memory_size = pages * RING_VM_PAGE_SIZE,
		.userspace_addr = (uintptr_t)w->map,
	};

	vm_ioctl(target.vm, KVM_SET_USER_MEMORY_REGION, &region);
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

/* A child has the rings mapped too. It has no right to the VM. */
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

static void *reserve(size_t size)
{
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	TEST_ASSERT(map != MAP_FAILED, "Insufficient Memory");
	return map;
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
		workers[i].map = reserve(CHURN_PAGES * RING_VM_PAGE_SIZE);
		pthread_create(&workers[i].thread, NULL, worker_thread,
			       &workers[i]);
		runner = workers[0].thread;
	}
}

static void stop_workers(struct worker *workers, int nr)
{
	int i;

	for (i = 0; i < nr; i++)
		wait_for(&at_goal);
	WRITE_ONCE(stop, true);
	WRITE_ONCE(target.vcpus[RUN_VCPU].job->endless, false);
	target.vcpus[RUN_VCPU].run->immediate_exit = 1;
	pthread_kill(runner, SIGUSR1);

	/* The runner last: until then others may send it a signal. */
	for (i = nr - 1; i >= 0; i--) {
		pthread_join(workers[i].thread, NULL);
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
	ksft_test_result_pass("%s: %lu forged, %lu reset\n", name,
			      *forged - forged_before,
			      reset_entries - reset_before);
}

static void test_storm(void)
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

static void test_churn(void)
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
 * Memory that is not logged. What is counted are the faults of guest writes there,
 * and where the CPU logs pages (PML) how often its log is full.
 */

#define TRACING		"/sys/kernel/tracing/"
#define FAULT_EVENT	TRACING "events/kvm/kvm_page_fault/"
#define PML_EVENT	TRACING "events/kvm/kvm_pml_full/"

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, text, strlen(text)) == strlen(text);
	close(fd);
	return ok;
}

static bool start_trace(void)
{
	char filter[128];

	snprintf(filter, sizeof(filter),
		 "fault_address >= 0x%lx && fault_address < 0x%lx",
		 UNLOGGED_MEM, UNLOGGED_MEM + UNLOGGED_PAGES * RING_VM_PAGE_SIZE);
	return write_file(TRACING "trace", "\n") &&
	       write_file(FAULT_EVENT "filter", filter) &&
	       write_file(FAULT_EVENT "enable", "1") &&
	       write_file(PML_EVENT "enable", "1");
}

static void stop_trace(void)
{
	write_file(FAULT_EVENT "enable", "0");
	write_file(FAULT_EVENT "filter", "0");
	write_file(PML_EVENT "enable", "0");
}

struct faults {
	unsigned int known_pages;
	unsigned int new_page;
	unsigned int pml_full;
};

static void count_faults(struct faults *faults)
{
	const uint64_t new_page = UNLOGGED_MEM + (UNLOGGED_PAGES - 1) *
						 RING_VM_PAGE_SIZE;
	FILE *f = fopen(TRACING "trace", "r");
	char line[256], *address;

	TEST_ASSERT(f, "no trace, errno: %i", errno);
	while (fgets(line, sizeof(line), f)) {
		address = strstr(line, "kvm_page_fault: address ");
		if (strstr(line, "kvm_pml_full:"))
			faults->pml_full++;
		else if (address && strtoul(address + 24, NULL, 16) >= new_page)
			faults->new_page++;
		else if (address)
			faults->known_pages++;
	}
	fclose(f);
}

/* In each way that could lead there, all pages of it. */
static void name_unlogged(void)
{
	const uint64_t distance = (UNLOGGED_MEM - RING_VM_MEM) /
				  RING_VM_PAGE_SIZE;
	const struct kvm_dirty_gfn names[] = {
		{ .slot = UNLOGGED_SLOT },
		{ .slot = 1u << 16 | UNLOGGED_SLOT },
		{ .slot = RING_VM_SLOT, .offset = distance },
		{ .slot = RING_VM_SLOT, .offset = distance + (1ull << 52) },
		{ .slot = RING_VM_SLOT, .offset = distance + (1ull << 32) },
	};
	struct dirty_ring *ring = &target.vcpus[CLOCK_VCPU].ring;
	struct kvm_dirty_gfn *gfn;
	uint32_t i, page;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		push_entries(CLOCK_VCPU, UNLOGGED_PAGES);
		for (page = 0; page < UNLOGGED_PAGES; page++) {
			gfn = &ring->gfns[ring->next++ % ring->entries];
			*gfn = names[i];
			gfn->offset += page;
			gfn->flags = KVM_DIRTY_GFN_F_RESET;
		}
		expect_reset(UNLOGGED_PAGES);
	}
	*forged += ARRAY_SIZE(names) * UNLOGGED_PAGES;
}

static void test_unlogged(void)
{
	struct faults faults = {};

	name_unlogged();
	if (!start_trace()) {
		stop_trace();
		ksft_test_result_skip("not logged: KVM cannot be traced here\n");
		return;
	}
	run_job(UNLOGGED_MEM, UNLOGGED_PAGES, UNLOGGED_PAGES);
	stop_trace();
	count_faults(&faults);
	TEST_ASSERT(faults.new_page, "no fault was seen of a page that is new");
	TEST_ASSERT(!faults.known_pages && !faults.pml_full,
		    "%u faults and %u times PML full, where nothing is logged",
		    faults.known_pages, faults.pml_full);
	ksft_test_result_pass("not logged: %lu pages written, no fault but %u of a new page\n",
			      UNLOGGED_PAGES, faults.new_page);
}

/*
 * Two threads fight for a few entries: what is checked and what is used of an
 * entry must be the same. This takes two CPUs.
 */

#define DUEL_RESETS	20000
#define DUEL_ENTRIES	8

static uint32_t duel_next;
static bool yield;

/* All good, or all so bad that who uses it does not live. */
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

/* Each MSR is three writes: forged flags can make each of them an entry. */
static void test_duel(void)
{
	struct dirty_ring *ring = &target.vcpus[CLOCK_VCPU].ring;
	uint64_t most = 0, count = 0;
	pthread_t thread;
	uint32_t reset, goal = DUEL_RESETS;
	int i, n;

	yield = sysconf(_SC_NPROCESSORS_ONLN) == 1;
	if (yield)
		goal /= 10;
	stop = false;
	duel_next = ring->next;
	pthread_create(&thread, NULL, duel_thread, NULL);
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
	pthread_join(thread, NULL);
	drain_target();
	ksft_test_result_pass("entries fought for: %lu reset%s\n", count,
			      yield ? ", on one CPU" : "");
}

/*
 * A process that resets while another of its threads sets RESET flags all the
 * time, and KVM pushes, can be killed.
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
		pthread_create(&workers[i].thread, NULL, forever, &workers[i]);
	}
	for (i = 1;; i++) {
		reset_target();
		if (i == KILL_RESETS)
			test_write(ready, &ready, 1);
	}
}

static void test_killed(void)
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
	ksft_test_result_pass("killed while it resets, %u times\n", KILLS);
}

/*
 * The VM's fd, the vCPU's and the mapping of its ring end in each order. They are
 * handled here without the library, which has an order of its own.
 */

enum part { PART_VM, PART_VCPU, PART_RING, NR_PARTS };

static const enum part orders[][NR_PARTS] = {
	{ PART_VM, PART_VCPU, PART_RING }, { PART_VM, PART_RING, PART_VCPU },
	{ PART_VCPU, PART_VM, PART_RING }, { PART_VCPU, PART_RING, PART_VM },
	{ PART_RING, PART_VM, PART_VCPU }, { PART_RING, PART_VCPU, PART_VM },
};

/**
 * struct parts - a VM without guest
 * @vm: its fd, or -1
 * @vcpu: its vCPU's fd, or -1
 * @ring: its ring; no entries if it is not mapped
 * @mem: its memory
 * @page: the next page to write
 * @pushed: entries pushed and not reset
 * @flagged: how many of them are collected
 * @used: posted by each thread for each thing that it does
 */
struct parts {
	int vm;
	int vcpu;
	struct dirty_ring ring;
	void *mem;
	uint64_t page;
	uint32_t pushed;
	uint32_t flagged;
	sem_t used;
};

static void make_parts(struct parts *p)
{
	const uint32_t entries = dirty_ring_min_entries();
	const size_t size = entries * sizeof(*p->ring.gfns);
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_DIRTY_LOG_RING, .args[0] = size,
	};
	struct kvm_userspace_memory_region region = {
		.slot = RING_VM_SLOT, .flags = KVM_MEM_LOG_DIRTY_PAGES,
		.guest_phys_addr = RING_VM_MEM,
		.memory_size = CHURN_PAGES * RING_VM_PAGE_SIZE,
	};
	int kvm = open("/dev/kvm", O_RDWR);

	memset(p, 0, sizeof(*p));
	p->mem = reserve(region.memory_size);
	region.userspace_addr = (uintptr_t)p->mem;
	p->vm = ioctl(kvm, KVM_CREATE_VM, 0);
	TEST_ASSERT(!ioctl(p->vm, KVM_ENABLE_CAP, &cap) &&
		    !ioctl(p->vm, KVM_SET_USER_MEMORY_REGION, &region),
		    "no VM, errno: %i", errno);
	p->vcpu = ioctl(p->vm, KVM_CREATE_VCPU, 0);
	p->ring.gfns = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			    p->vcpu, KVM_DIRTY_LOG_PAGE_OFFSET * getpagesize());
	TEST_ASSERT(p->vcpu >= 0 && p->ring.gfns != MAP_FAILED,
		    "no vCPU, errno: %i", errno);
	p->ring.entries = entries;
	sem_init(&p->used, 0, 0);
	close(kvm);
}

static void end_part(struct parts *p, enum part which)
{
	switch (which) {
	case PART_VM:
		close(p->vm);
		p->vm = -1;
		break;
	case PART_VCPU:
		close(p->vcpu);
		p->vcpu = -1;
		break;
	default:
		munmap(p->ring.gfns, p->ring.entries * sizeof(*p->ring.gfns));
		p->ring.entries = 0;
	}
}

/* What is left goes on as before. */
static void use_parts(struct parts *p)
{
	const uint32_t count = 3;
	int ret;

	if (p->vcpu >= 0) {
		ret = vcpu_write_clocks(p->vcpu, RING_VM_MEM +
					p->page * RING_VM_PAGE_SIZE, count);
		TEST_ASSERT(ret == count, "KVM_SET_MSRS returned %i, errno: %i",
			    ret, errno);
		p->page += count;
		p->pushed += count;
	}
	if (p->ring.entries) {
		flag_ring(&p->ring, KVM_DIRTY_GFN_F_RESET);
		p->flagged = p->pushed;
	}
	if (p->vm >= 0) {
		ret = ioctl(p->vm, KVM_RESET_DIRTY_RINGS);
		TEST_ASSERT(ret == p->flagged,
			    "%i entries reset, not %u, errno: %i", ret,
			    p->flagged, errno);
		p->pushed -= p->flagged;
		p->flagged = 0;
	}
}

/* A pipe may hold a page of the ring for longer than anything else. */
static void hold_page(struct parts *p, int fd)
{
	struct iovec iov = {
		.iov_base = p->ring.gfns, .iov_len = getpagesize(),
	};

	TEST_ASSERT(vmsplice(fd, &iov, 1, 0) == iov.iov_len,
		    "vmsplice failed, errno: %i", errno);
}

static void check_held_page(int fd)
{
	char page[getpagesize()];
	struct kvm_dirty_gfn *gfns = (void *)page;

	test_read(fd, page, sizeof(page));
	TEST_ASSERT(gfns[0].slot == RING_VM_SLOT && gfns[1].offset == 1,
		    "a page of the ring changed when the VM was gone");
}

static void test_order(const enum part *order)
{
	int i, fds[2];
	struct parts p;

	TEST_ASSERT(!pipe(fds), "no pipe, errno: %i", errno);
	make_parts(&p);
	use_parts(&p);
	hold_page(&p, fds[1]);
	for (i = 0; i < NR_PARTS; i++) {
		end_part(&p, order[i]);
		use_parts(&p);
	}
	munmap(p.mem, CHURN_PAGES * RING_VM_PAGE_SIZE);
	check_held_page(fds[0]);
	close(fds[0]);
	close(fds[1]);
}

static void *use_vm(void *data)
{
	struct parts *p = data;

	while (ioctl(p->vm, KVM_RESET_DIRTY_RINGS) >= 0)
		sem_post(&p->used);
	TEST_ASSERT(errno == EBADF, "a reset failed, errno: %i", errno);
	return NULL;
}

static void *use_vcpu(void *data)
{
	struct parts *p = data;

	do {
		errno = 0;
		vcpu_write_clocks(p->vcpu, RING_VM_MEM, 64);
		sem_post(&p->used);
	} while (errno != EBADF);
	return NULL;
}

static void *use_ring(void *data)
{
	struct parts *p = data;

	while (!READ_ONCE(stop)) {
		flag_ring(&p->ring, ~0u);
		sem_post(&p->used);
		sched_yield();
	}
	end_part(p, PART_RING);
	return NULL;
}

/* The same while a thread is at work with each of them. */
static void test_order_in_use(const enum part *order)
{
	void *(*const users[])(void *) = { use_vm, use_vcpu, use_ring };
	pthread_t threads[NR_PARTS];
	struct parts p;
	int i, j;

	make_parts(&p);
	stop = false;
	for (i = 0; i < NR_PARTS; i++)
		pthread_create(&threads[i], NULL, users[i], &p);
	for (i = 0; i < NR_PARTS; i++) {
		for (j = 0; j < 50; j++)
			wait_for(&p.used);
		if (order[i] == PART_RING)
			WRITE_ONCE(stop, true);
		else
			end_part(&p, order[i]);
		pthread_join(threads[order[i]], NULL);
	}
	munmap(p.mem, CHURN_PAGES * RING_VM_PAGE_SIZE);
}

static void test_closed(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(orders); i++) {
		test_order(orders[i]);
		test_order_in_use(orders[i]);
	}
	ksft_test_result_pass("VM, vCPU and ring closed in %zu orders, idle and in use\n",
			      ARRAY_SIZE(orders));
}

/*
 * And the others.
 */

static void test_honest(void)
{
	ring_vm_round(&honest, 0, 0, HONEST_PAGES, 1);
	ring_vm_check_stats(&honest);
	ksft_test_result_pass("another VM lost nothing: %lu rounds, %lu entries, %lu times full\n",
			      honest.value, honest.collected,
			      honest.full_exits);
}

static void test_fresh(void)
{
	struct ring_vm fresh;
	int i;

	ring_vm_create(&fresh, dirty_ring_min_entries(), HONEST_PAGES, 2);
	for (i = 0; i < 8; i++)
		ring_vm_round(&fresh, i % 2, i * 100, HONEST_PAGES - i, 2 * i + 1);
	ring_vm_check_stats(&fresh);
	ksft_test_result_pass("a VM created now loses nothing: %lu entries\n",
			      fresh.collected);
	ring_vm_free(&fresh);
}

static void on_kick(int sig)
{
}

static void parse_options(int argc, char *argv[])
{
	int opt;

	seed = time(NULL);
	while ((opt = getopt(argc, argv, "hn:s:")) != -1) {
		switch (opt) {
		case 'n':
			min_forged = parse_number(opt, 1, ULONG_MAX);
			break;
		case 's':
			seed = parse_number(opt, 0, UINT_MAX);
			break;
		default:
			printf("usage: %s [-h] [-n entries] [-s seed]\n"
			       " -n: forge that many entries at least (default: 1000000)\n"
			       " -s: seed of the random numbers (default: the time)\n",
			       argv[0]);
			exit(opt == 'h' ? KSFT_PASS : KSFT_FAIL);
		}
	}
}

int main(int argc, char *argv[])
{
	struct sigaction kick = { .sa_handler = on_kick };

	setbuf(stdout, NULL);
	parse_options(argc, argv);
	if (!dirty_ring_max_entries())
		ksft_exit_skip("this kernel has no dirty rings\n");

	ksft_print_header();
	ksft_set_plan(9);
	ksft_print_msg("seed %u\n", seed);
	sigaction(SIGUSR1, &kick, NULL);
	forged = mmap(NULL, sizeof(*forged), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(forged != MAP_FAILED, "Insufficient Memory");

	create_target();
	ring_vm_create(&honest, dirty_ring_min_entries(), HONEST_PAGES, 1);
	test_exact();
	test_duel();
	test_storm();
	test_unlogged();
	test_churn();
	test_honest();
	ring_vm_free(&honest);
	ring_vm_free(&target);
	test_killed();
	test_closed();
	test_fresh();

	ksft_print_msg("seed %u: %lu entries forged\n", seed, *forged);
	TEST_ASSERT(*forged >= min_forged, "less than %lu entries forged",
		    min_forged);
	ksft_exit(!ksft_get_fail_cnt());
}
