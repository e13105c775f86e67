// SPDX-License-Identifier: GPL-2.0
/*
 * KVM dirty page tracking test
 *
 * vCPUs write pages by a script while the host collects the pages that KVM
 * reports as dirty, in each mode of tracking: by bitmap, cleared at once or by
 * hand, and by dirty ring. The oracle of dirty_oracle.h judges each report, and
 * each page that was not reported.
 */

#define _GNU_SOURCE /* for program_invocation_name */

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <limits.h>
#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "dirty_oracle.h"
#include "dirty_ring.h"
#include "options.h"

/*
 * Two logged slots: one of small pages, larger than 2^16 of them and no multiple
 * of 64, which does not begin at one either, and one that is backed by huge
 * pages where the host has them.
 */
#define SMALL_SLOT		1
#define SMALL_SLOT_PAGES	((1ul << 16) + 67)
#define SMALL_SLOT_SHIFT	13
#define HUGE_SLOT		2
#define HUGE_SLOT_PAGES		(2 * 512 + 67ul)
#define HUGE_PAGE_SIZE		(1ul << 21)

/* Where the guest sees the slots, and the scripts of its vCPUs. */
#define GUEST_TEST_MEM		0xc0000000ul
#define GUEST_SCRIPTS		0x80000000ul

#define MAX_VCPUS		4
#define MAX_STEPS		8192
#define MAX_SPINS		1000000
#define NO_GOAL			(~0ull)
#define ALL_ENTRIES		(~0u)

#define DEFAULT_ROUNDS		32
#define DEFAULT_RING_ENTRIES	4096
#define DEFAULT_VCPUS		2

/* How often pages are collected while vCPUs write the same ones over and over. */
#define HOT_COLLECTIONS		16

/* Logging is switched on that often, with a share of the rounds each time. */
#define LIVES			2

#define SIG_KICK		SIGUSR1

/* In a step: read the page. */
#define GUEST_READ		1

/* What a vCPU is to do, and how far it is; in memory that is not logged. */
struct guest_script {
	uint64_t progress;
	uint64_t goal;
	uint64_t count;
	uint64_t endless;
	uint64_t steps[MAX_STEPS];
};

/* What the guest tells the host: it is where the host waits for it, or done. */
enum { AT_GOAL, AT_END };

static void guest_step(struct guest_script *script, uint64_t step, uint64_t n)
{
	uint64_t *word = (void *)(step & ~GUEST_READ);

	if (step & GUEST_READ)
		READ_ONCE(*word);
	else
		WRITE_ONCE(*word, n);
	WRITE_ONCE(script->progress, n);

	if (n >= READ_ONCE(script->goal)) {
		WRITE_ONCE(script->goal, NO_GOAL);
		GUEST_SYNC(AT_GOAL);
	}
}

static void guest_code(struct guest_script *script)
{
	uint64_t i, n = 0;

#ifdef __x86_64__
	/* Emulated VT-x may hold back the host's interrupts otherwise. */
	asm volatile("sti");
#endif

	for (;;) {
		do {
			for (i = 0; i < READ_ONCE(script->count); i++)
				guest_step(script, script->steps[i], ++n);
		} while (READ_ONCE(script->endless));
		GUEST_SYNC(AT_END);
	}
}

/**
 * struct vcpu - a vCPU and its thread
 * @id: the vCPU's id
 * @thread: runs it
 * @run: shared with KVM
 * @script: shared with the guest
 * @ring: its dirty ring, if there are rings
 * @running: set to let it run, cleared by its thread when KVM_RUN has returned
 * @at_goal: it got as far as the host waits for
 * @done: it has come to the end of its script
 * @full: how often its ring was full
 * @own: indices of the pages that it may write
 * @nr_own: how many there are
 * @steps: its script, for the oracle
 * @nr_steps: how many there are
 */
struct vcpu {
	uint32_t id;
	pthread_t thread;
	struct kvm_run *run;
	struct guest_script *script;
	struct dirty_ring ring;
	bool running;
	bool at_goal;
	bool done;
	uint64_t full;
	uint32_t *own;
	uint32_t nr_own;
	uint32_t steps[MAX_STEPS];
	uint32_t nr_steps;
};

/**
 * struct log_mode - a way to track dirty pages, and to collect them
 * @name: for option -M
 * @max_entries: the largest ring to use; 0 if there are no rings
 * @supported: tells if this kernel has it; may be missing
 * @create_vm_done: called before there are vCPUs; may be missing
 * @log_on: called when logging has been switched on; may be missing
 * @harvest: report the pages found dirty to the oracle, @max of them at most if
 *	     that can be chosen
 * @protect: write-protect them; missing if @harvest has done it
 * @after_run: called by the vCPU's thread when KVM_RUN has returned 0; tells if it
 *	       can go on without the host
 * @pace: let the vCPUs run for a while
 * @collect: collect pages, called again and again until all vCPUs are done
 * @finish: called at the end, may be missing
 */
struct log_mode {
	const char *name;
	uint32_t max_entries;
	bool (*supported)(void);
	void (*create_vm_done)(struct kvm_vm *vm);
	void (*log_on)(void);
	void (*harvest)(uint32_t max);
	void (*protect)(void);
	bool (*after_run)(struct vcpu *v);
	void (*pace)(void);
	void (*collect)(void);
	void (*finish)(void);
};

/* Options. */
static unsigned long nr_rounds = DEFAULT_ROUNDS;
static unsigned long interval;
static uint32_t wanted_entries = DEFAULT_RING_ENTRIES;
static uint32_t nr_vcpus = DEFAULT_VCPUS;
static uint64_t phys_offset;
static unsigned int seed;

/* The machine under test. */
static const struct log_mode *mode;
static struct kvm_vm *vm;
static struct vcpu vcpus[MAX_VCPUS];
static struct oracle oracle;
static uint32_t ring_entries;
static uint32_t harvested;
static bool endless;
static cpu_set_t all_cpus, other_cpus;

/* For vcpu::running, vcpu::at_goal and vcpu::done, and for the end of the threads. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool stop_at_goal;
static bool quit;

#define for_each_vcpu(v) for ((v) = vcpus; (v) < vcpus + nr_vcpus; (v)++)

static uint64_t progress(struct vcpu *v)
{
	return __atomic_load_n(&v->script->progress, __ATOMIC_ACQUIRE);
}

/*
 * vCPUs: run, stop, wait.
 */

/* Return: whether there is nothing to do for the host. */
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

static bool after_run_sync(struct vcpu *v)
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

static bool after_run_ring(struct vcpu *v)
{
	if (v->run->exit_reason != KVM_EXIT_DIRTY_RING_FULL)
		return after_run_sync(v);
	v->full++;
	return false;
}

/*
 * Let all vCPUs run that are not at their script's end. When a vCPU has taken
 * @steps more steps it says so, and stops if @stop is set.
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

/* Each vCPU takes @steps more steps, or stops because it needs the host. */
static void run_to(uint64_t steps)
{
	pthread_mutex_lock(&lock);
	start(steps, true);
	while (any_runs())
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

/*
 * Where there is another CPU, have the vCPU write all its pages now and not leave
 * the guest after that: its TLB knows them as writable.
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

/*
 * Leave the vCPUs running: one has taken @steps more and goes on, to anywhere. It
 * may have to wait for the CPU that this thread has.
 */
static void let_run(uint64_t steps)
{
	pthread_mutex_lock(&lock);
	start(steps, false);
	while (any_runs() && !any_at_goal())
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);

	if (interval)
		usleep(interval * 1000);
	else if (random() % 4 == 0)
		usleep(random() % 200);
	fill_tlb();
}

/*
 * Have all vCPUs leave KVM_RUN. The signal gets a vCPU out of the guest, and
 * immediate_exit catches one that is about to enter it. One that tells something
 * right now has immediate_exit cleared by get_ucall(), and must not go on.
 */
static void pause_all(void)
{
	struct vcpu *v;

	pthread_mutex_lock(&lock);
	stop_at_goal = true;
	for_each_vcpu(v) {
		if (!v->running)
			continue;
		v->run->immediate_exit = 1;
		pthread_kill(v->thread, SIG_KICK);
	}
	while (any_runs())
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

static bool all_done(void)
{
	struct vcpu *v;
	bool done = true;

	pthread_mutex_lock(&lock);
	for_each_vcpu(v)
		done &= v->done && !v->running;
	pthread_mutex_unlock(&lock);

	return done;
}

/* Some part of the script, or if it is endless all of it. */
static void pace_steps(void)
{
	uint32_t count = 0;
	struct vcpu *v;

	for_each_vcpu(v)
		count = max(count, v->nr_steps);
	run_to(endless ? count + 1 : 1 + random() % (count / 3 + 1));
}

/* Until something happens that only the host can deal with. */
static void pace_stop(void)
{
	if (endless)
		pace_steps();
	else
		run_to(NO_GOAL);
}

/*
 * Collecting.
 */

static void harvest(uint32_t max)
{
	if (!mode->protect)
		oracle_before_harvest(&oracle);
	mode->harvest(max);
}

static void protect(void)
{
	if (mode->protect) {
		oracle_before_protect(&oracle);
		mode->protect();
	}
	oracle_protected(&oracle);
}

/* Judge what was harvested, now that it is known how far the vCPUs are. */
static void judge(void)
{
	struct vcpu *v;

	for_each_vcpu(v) {
		bool running, done;

		pthread_mutex_lock(&lock);
		running = v->running;
		done = v->done;
		pthread_mutex_unlock(&lock);

		if (running)
			oracle_running(&oracle, v - vcpus, progress(v));
		else
			oracle_stopped(&oracle, v - vcpus, progress(v), done);
	}
	oracle_judge(&oracle);
}

static void harvest_all(void)
{
	harvest(ALL_ENTRIES);
	judge();
	oracle_check_missed(&oracle);
}

/* The vCPUs stand still; sometimes stop in the middle of the ring. */
static void collect_stopped(void)
{
	if (interval || random() % 3 == 0)
		let_run(1 + random() % 16);
	pause_all();
	if (random() % 2) {
		harvest(random() % 200);
		judge();
		protect();
	}
	harvest_all();
	protect();
}

/* The vCPUs run. */
static void collect_running(uint64_t steps)
{
	let_run(1 + random() % steps);
	harvest(random() % 2 ? ALL_ENTRIES : random() % 200);
	judge();
	protect();
}

/*
 * The vCPUs stand still for the harvest, and run when pages are protected. If they
 * write the same pages again, not one of the writes may go unnoticed.
 */
static void collect_overlapped(void)
{
	pause_all();
	harvest_all();
	let_run(1 + random() % 16);
	protect();
	if (endless) {
		pace_steps();
		harvest_all();
		protect();
	}
}

static void collect_mixed(void)
{
	switch (random() % 3) {
	case 0:
		collect_stopped();
		break;
	case 1:
		collect_running(16);
		break;
	default:
		collect_overlapped();
	}
}

/*
 * Tracking by bitmaps.
 */

static unsigned long *bitmaps[ORACLE_MAX_SLOTS];

static uint64_t bitmap_bits(struct oracle_slot *slot)
{
	return slot->npages * (oracle.page_size / oracle.granule);
}

/* Dirty bitmaps are little endian. */
static bool bitmap_test(const unsigned long *bitmap, uint64_t nr)
{
	return ((const uint8_t *)bitmap)[nr / 8] & (1 << nr % 8);
}

static void report_bitmap(struct oracle_slot *slot, unsigned long *bitmap)
{
	uint64_t nr;

	for (nr = 0; nr < bitmap_bits(slot); nr++) {
		if (!bitmap[BIT_WORD(nr)])
			nr |= BITS_PER_LONG - 1;
		else if (bitmap_test(bitmap, nr))
			oracle_report(&oracle, ORACLE_ANY_VCPU, slot->id, nr);
	}
}

static void get_bitmap(uint32_t i)
{
	struct oracle_slot *slot = &oracle.slots[i];

	if (!bitmaps[i])
		bitmaps[i] = bitmap_alloc(bitmap_bits(slot));
	bitmap_zero(bitmaps[i], bitmap_bits(slot));
	kvm_vm_get_dirty_log(vm, slot->id, bitmaps[i]);
}

static void bitmap_harvest(uint32_t max)
{
	uint32_t i;

	for (i = 0; i < oracle.nr_slots; i++) {
		get_bitmap(i);
		report_bitmap(&oracle.slots[i], bitmaps[i]);
	}
}

static bool clear_log_supported(void)
{
	return kvm_check_cap(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);
}

static void clear_log_create_vm_done(struct kvm_vm *vm)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
		.args[0] = kvm_check_cap(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) &
			   (KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE |
			    KVM_DIRTY_LOG_INITIALLY_SET),
	};

	vm_enable_cap(vm, &cap);
}

/* In two goes, cut at a random block of 64 pages. */
static void clear_log_protect(void)
{
	uint64_t bits, cut;
	uint32_t i;

	for (i = 0; i < oracle.nr_slots; i++) {
		bits = bitmap_bits(&oracle.slots[i]);
		cut = random() % (bits / 64) * 64;
		if (cut)
			kvm_vm_clear_dirty_log(vm, oracle.slots[i].id,
					       bitmaps[i], 0, cut);
		kvm_vm_clear_dirty_log(vm, oracle.slots[i].id,
				       bitmaps[i] + BIT_WORD(cut), cut,
				       bits - cut);
	}
}

/* All pages begin dirty, if the kernel can do that. */
static void clear_log_log_on(void)
{
	bool all = kvm_check_cap(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) &
		   KVM_DIRTY_LOG_INITIALLY_SET;
	uint64_t nr;
	uint32_t i;

	for (i = 0; i < oracle.nr_slots; i++) {
		get_bitmap(i);
		for (nr = 0; all && nr < bitmap_bits(&oracle.slots[i]); nr++)
			TEST_ASSERT(bitmap_test(bitmaps[i], nr),
				    "slot %#x page %#lx is not initially set",
				    oracle.slots[i].id, nr);
	}
	clear_log_protect();
}

/*
 * Tracking by rings.
 */

static bool ring_supported(void)
{
	return dirty_ring_max_entries();
}

static void ring_create_vm_done(struct kvm_vm *vm)
{
	vm_enable_dirty_ring(vm, ring_entries * sizeof(struct kvm_dirty_gfn));
}

static void ring_report(uint32_t slot, uint64_t offset, void *data)
{
	struct vcpu *v = data;

	oracle_report(&oracle, v - vcpus, slot, offset);
}

static void ring_harvest(uint32_t max)
{
	struct vcpu *v;

	for_each_vcpu(v)
		harvested += dirty_ring_harvest(&v->ring, max, ring_report, v);
}

static void ring_protect(void)
{
	uint32_t count = vm_reset_dirty_rings(vm);

	TEST_ASSERT(count == harvested, "%u entries reset, %u were collected",
		    count, harvested);
	count = vm_reset_dirty_rings(vm);
	TEST_ASSERT(!count, "%u entries reset once more", count);
	harvested = 0;
}

/* Has the vCPU stopped because of a full ring, and is that ring full? */
static bool after_run_full(struct vcpu *v)
{
	uint32_t limit = dirty_ring_soft_limit(ring_entries);
	uint32_t i, used = 0;

	if (v->run->exit_reason == KVM_EXIT_DIRTY_RING_FULL) {
		for (i = 0; i < ring_entries; i++)
			used += v->ring.gfns[i].flags == KVM_DIRTY_GFN_F_DIRTY;
		TEST_ASSERT(used >= limit, "ring full with %u entries of %u",
			    used, limit);
	}

	return after_run_ring(v);
}

static void full_finish(void)
{
	struct vcpu *v;

	for_each_vcpu(v)
		TEST_ASSERT(v->full, "vCPU %u: its ring was never full", v->id);
}

/* Pages are collected all the while, and the vCPUs never stopped for it. */
static void pace_reaper(void)
{
	int i;

	for (i = 0; !all_done() && !(endless && i == HOT_COLLECTIONS); i++)
		collect_running(400);
}

static const struct log_mode log_modes[] = {
	{
		.name = "dirty-log",
		.harvest = bitmap_harvest,
		.after_run = after_run_sync,
		.pace = pace_steps,
		.collect = collect_mixed,
	}, {
		.name = "clear-log",
		.supported = clear_log_supported,
		.create_vm_done = clear_log_create_vm_done,
		.log_on = clear_log_log_on,
		.harvest = bitmap_harvest,
		.protect = clear_log_protect,
		.after_run = after_run_sync,
		.pace = pace_steps,
		.collect = collect_mixed,
	}, {
		.name = "dirty-ring",
		.max_entries = ALL_ENTRIES,
		.supported = ring_supported,
		.create_vm_done = ring_create_vm_done,
		.harvest = ring_harvest,
		.protect = ring_protect,
		.after_run = after_run_ring,
		.pace = pace_steps,
		.collect = collect_mixed,
	}, {
		.name = "dirty-ring-reaper",
		.max_entries = ALL_ENTRIES,
		.supported = ring_supported,
		.create_vm_done = ring_create_vm_done,
		.harvest = ring_harvest,
		.protect = ring_protect,
		.after_run = after_run_ring,
		.pace = pace_reaper,
		.collect = collect_stopped,
	}, {
		/* A ring so small that all vCPUs fill it in each round. */
		.name = "dirty-ring-full",
		.max_entries = 256,
		.supported = ring_supported,
		.create_vm_done = ring_create_vm_done,
		.harvest = ring_harvest,
		.protect = ring_protect,
		.after_run = after_run_full,
		.pace = pace_stop,
		.collect = collect_stopped,
		.finish = full_finish,
	},
};

/*
 * Scripts.
 */

static void shuffle(uint32_t *list, uint32_t count)
{
	uint32_t i, j, swap;

	for (i = count; i > 1; i--) {
		j = random() % i;
		swap = list[i - 1];
		list[i - 1] = list[j];
		list[j] = swap;
	}
}

static uint32_t fill_upwards(struct vcpu *v, uint32_t *steps)
{
	memcpy(steps, v->own, v->nr_own * sizeof(*steps));
	return v->nr_own;
}

static uint32_t fill_downwards(struct vcpu *v, uint32_t *steps)
{
	uint32_t i;

	for (i = 0; i < v->nr_own; i++)
		steps[i] = v->own[v->nr_own - 1 - i];
	return v->nr_own;
}

static uint32_t fill_random(struct vcpu *v, uint32_t *steps)
{
	shuffle(steps, fill_upwards(v, steps));
	return v->nr_own / 2;
}

/* Pages that are 64 apart follow each other. */
static uint32_t fill_across(struct vcpu *v, uint32_t *steps)
{
	uint32_t i, bit, count = 0;

	for (bit = 0; bit < 64; bit++) {
		for (i = 0; i < v->nr_own; i++) {
			if (oracle.pages[v->own[i]].offset % 64 == bit)
				steps[count++] = v->own[i];
		}
	}
	return count;
}

/* The first and the last pages of blocks of 64. */
static uint32_t fill_edges(struct vcpu *v, uint32_t *steps)
{
	uint32_t i, count = 0;

	for (i = v->nr_own; i-- > 0;) {
		if ((oracle.pages[v->own[i]].offset + 2) % 64 < 4)
			steps[count++] = v->own[i];
	}
	return count;
}

static uint32_t fill_sparse(struct vcpu *v, uint32_t *steps)
{
	uint32_t i, count = 0;

	for (i = random() % 7; i < v->nr_own; i += 7)
		steps[count++] = v->own[i];
	return count;
}

/* A few pages. */
static uint32_t fill_some(struct vcpu *v, uint32_t *steps)
{
	fill_random(v, steps);
	return 48;
}

/* A few pages, side by side. */
static uint32_t fill_run(struct vcpu *v, uint32_t *steps)
{
	memcpy(steps, v->own + random() % (v->nr_own - 150),
	       150 * sizeof(*steps));
	return 150;
}

/* Which pages are written in a round, in which order: once, or over and over. */
static const struct pattern {
	uint32_t (*fill)(struct vcpu *v, uint32_t *steps);
	bool endless;
} patterns[] = {
	{ fill_upwards },
	{ fill_random },
	{ fill_some, true },
	{ fill_across },
	{ fill_run, true },
	{ fill_edges },
	{ fill_downwards },
	{ fill_sparse },
};

/*
 * Let some steps be followed by a read. A read is reported only if it is what
 * maps the page: so read pages that have been written, but not in this round.
 */
static uint32_t add_reads(struct vcpu *v, uint32_t *steps, uint32_t *writes,
			  uint32_t count)
{
	bool *used = calloc(oracle.nr_pages, sizeof(*used));
	uint32_t i, page, n = 0;

	TEST_ASSERT(used, "Insufficient Memory");
	for (i = 0; i < count; i++)
		used[writes[i]] = true;
	for (i = 0; i < count; i++) {
		steps[n++] = writes[i];
		page = v->own[random() % v->nr_own];
		if (oracle.pages[page].touched && !used[page])
			steps[n++] = page | ORACLE_READ;
	}
	free(used);

	return n;
}

static void write_script(struct vcpu *v, const struct pattern *pattern)
{
	uint32_t writes[MAX_STEPS / 2], i;

	v->nr_steps = add_reads(v, v->steps, writes, pattern->fill(v, writes));
	for (i = 0; i < v->nr_steps; i++)
		v->script->steps[i] =
			oracle.pages[v->steps[i] & ~ORACLE_READ].gva |
			(v->steps[i] & ORACLE_READ ? GUEST_READ : 0);

	v->script->count = v->nr_steps;
	v->script->endless = pattern->endless;
	v->done = false;
	oracle_script(&oracle, v - vcpus, v->steps, v->nr_steps);
}

/* The first vCPU alone runs without end: all would not leave much CPU. */
static void write_scripts(const struct pattern *pattern)
{
	struct vcpu *v;

	endless = pattern->endless;
	for_each_vcpu(v) {
		if (!endless || v == vcpus)
			write_script(v, pattern);
	}
}

static void end_scripts(void)
{
	struct vcpu *v;

	for_each_vcpu(v)
		WRITE_ONCE(v->script->endless, false);
}

/*
 * Rounds.
 */

/* Write and collect, till the script is at its end and nothing is left. */
static void play_round(const struct pattern *pattern)
{
	uint32_t i;

	write_scripts(pattern);
	for (i = 0; !all_done(); i++) {
		if (i == HOT_COLLECTIONS)
			end_scripts();
		mode->pace();
		mode->collect();
	}
	collect_stopped();
}

/* With logging off, nothing is reported: in a ring, it would be seen. */
static void play_unlogged(void)
{
	write_scripts(&patterns[0]);
	while (!all_done())
		run_to(NO_GOAL);
	if (mode->max_entries)
		mode->harvest(ALL_ENTRIES);
	TEST_ASSERT(!oracle.nr_reports, "pages reported that are not logged");
	judge();
}

static void set_logging(bool on)
{
	uint32_t i;

	for (i = 0; i < oracle.nr_slots; i++)
		vm_mem_region_set_flags(vm, oracle.slots[i].id,
					on ? KVM_MEM_LOG_DIRTY_PAGES : 0);
	if (!on)
		return;

	if (mode->log_on)
		mode->log_on();
	mode->harvest(ALL_ENTRIES);
#ifdef __s390x__
	/* What was written before counts, and the segments around it. */
	oracle.nr_reports = 0;
#endif
	TEST_ASSERT(!oracle.nr_reports, "page reported before it was written");
	oracle_log_on(&oracle);
}

/*
 * Set-up.
 */

static bool have_huge_pages(void)
{
	return !access("/sys/kernel/mm/transparent_hugepage", F_OK);
}

static void add_memory(void)
{
	uint64_t unit = vm_get_page_size(vm) > getpagesize() ?
			1 : getpagesize() / vm_get_page_size(vm);
	uint64_t page_size = vm_get_page_size(vm);
	uint64_t small_size = SMALL_SLOT_PAGES * unit * page_size;
	uint64_t huge_size = HUGE_SLOT_PAGES * unit * page_size;
	uint64_t small, huge;

	/* The top of the guest's address space, if nothing else is asked for. */
	small = phys_offset;
	if (!small)
		small = (((uint64_t)vm_get_max_gfn(vm) * page_size - small_size -
			 huge_size - HUGE_PAGE_SIZE) & ~(HUGE_PAGE_SIZE - 1)) +
			SMALL_SLOT_SHIFT * unit * page_size;
	huge = (small + small_size + HUGE_PAGE_SIZE - 1) &
	       ~(HUGE_PAGE_SIZE - 1);
	pr_info("# guest physical test memory offset: 0x%lx\n", small);

	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, small, SMALL_SLOT,
				    SMALL_SLOT_PAGES * unit, 0);
	vm_userspace_mem_region_add(vm, have_huge_pages() ?
				    VM_MEM_SRC_ANONYMOUS_THP :
				    VM_MEM_SRC_ANONYMOUS, huge, HUGE_SLOT,
				    HUGE_SLOT_PAGES * unit, 0);

	oracle_add_slot(&oracle, SMALL_SLOT, SMALL_SLOT_PAGES,
			addr_gpa2hva(vm, small), GUEST_TEST_MEM);
	oracle_add_slot(&oracle, HUGE_SLOT, HUGE_SLOT_PAGES,
			addr_gpa2hva(vm, huge), GUEST_TEST_MEM + huge - small);
}

static void add_pages(uint32_t slot, uint64_t first, uint64_t count,
		      uint64_t step)
{
	for (; count--; first += step)
		oracle_add_page(&oracle, slot, first);
}

static void add_random_pages(uint32_t slot, uint64_t first, uint64_t range,
			     uint32_t count)
{
	while (count--)
		oracle_add_page(&oracle, slot, first + random() % range);
}

/* The pages to write: dense, far apart, and at the ends of things. */
static void choose_pages(void)
{
	uint32_t i;

	add_pages(0, 0, 1536, 1);
	add_pages(0, 4096, 256, 64);
	for (i = 0; i < 8; i++)
		add_random_pages(0, 24576 + i * 4096, 512, 24);
	add_pages(0, (1 << 16) - 16, 32, 1);
	add_pages(0, SMALL_SLOT_PAGES - 32, 32, 1);

	add_pages(1, 0, 192, 1);
	add_random_pages(1, 192, HUGE_SLOT_PAGES - 192, 100);
	add_pages(1, HUGE_SLOT_PAGES - 67, 67, 1);
}

static void map_pages(void)
{
	uint32_t i, unit = oracle.page_size / vm_get_page_size(vm);
	struct oracle_page *page;

	for (i = 0; i < oracle.nr_pages; i++) {
		page = &oracle.pages[i];
		virt_map(vm, page->gva, addr_hva2gpa(vm, page->word),
			 unit, 0);
		vcpus[page->vcpu].own[vcpus[page->vcpu].nr_own++] = i;
	}
}

static void add_script(struct vcpu *v)
{
	uint64_t gva = GUEST_SCRIPTS + v->id * HUGE_PAGE_SIZE;
	uint64_t pages = vm_calc_num_guest_pages(VM_MODE_DEFAULT,
						 sizeof(*v->script));
	vm_paddr_t gpa = vm_phy_pages_alloc(vm, pages, 0, 0);

	virt_map(vm, gva, gpa, pages, 0);
	v->script = addr_gpa2hva(vm, gpa);
	vcpu_args_set(vm, v->id, 1, gva);
}

static void add_vcpu(struct vcpu *v)
{
	memset(v, 0, sizeof(*v));
	v->id = v - vcpus;
	vm_vcpu_add_default(vm, v->id, guest_code);
#ifdef __x86_64__
	vcpu_set_cpuid(vm, v->id, kvm_get_supported_cpuid());
#endif
	v->run = vcpu_state(vm, v->id);
	v->own = calloc(MAX_STEPS / 2, sizeof(*v->own));
	TEST_ASSERT(v->own, "Insufficient Memory");
	add_script(v);
	if (mode->max_entries)
		dirty_ring_map(&v->ring, vm, v->id, ring_entries);
}

static void choose_ring(void)
{
	ring_entries = min(wanted_entries, mode->max_entries);
	if (mode->max_entries)
		ring_entries = max(ring_entries, dirty_ring_min_entries());
}

static void create_vm(enum vm_guest_mode guest_mode)
{
	struct vcpu *v;

	choose_ring();
	vm = vm_create(guest_mode, 3 * DEFAULT_GUEST_PHY_PAGES, O_RDWR);
	kvm_vm_elf_load(vm, program_invocation_name, 0, 0);
#ifdef __x86_64__
	vm_create_irqchip(vm);
#endif
	if (mode->create_vm_done)
		mode->create_vm_done(vm);
	oracle_init(&oracle, nr_vcpus, vm_get_page_size(vm));
	for_each_vcpu(v)
		add_vcpu(v);
	ucall_init(vm, NULL);
	add_memory();
	choose_pages();
	map_pages();
}

static void free_vm(void)
{
	struct vcpu *v;
	uint32_t i;

	for_each_vcpu(v) {
		if (mode->max_entries)
			dirty_ring_unmap(&v->ring);
		free(v->own);
	}
	for (i = 0; i < oracle.nr_slots; i++) {
		free(bitmaps[i]);
		bitmaps[i] = NULL;
	}
	oracle_free(&oracle);
	ucall_uninit(vm);
	kvm_vm_free(vm);
}

/* The first vCPU is never where the pages are collected, if that can be. */
static void start_thread(struct vcpu *v)
{
	bool apart = v == vcpus && CPU_COUNT(&other_cpus);

	pthread_create(&v->thread, NULL, vcpu_thread, v);
	pthread_setaffinity_np(v->thread, sizeof(all_cpus),
			       apart ? &other_cpus : &all_cpus);
}

static void start_threads(void)
{
	struct vcpu *v;

	quit = false;
	for_each_vcpu(v)
		start_thread(v);
}

static void stop_threads(void)
{
	struct vcpu *v;

	pthread_mutex_lock(&lock);
	quit = true;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	for_each_vcpu(v)
		pthread_join(v->thread, NULL);
}

static void run_test(enum vm_guest_mode guest_mode)
{
	unsigned long round, life;
	uint64_t full = 0;
	struct vcpu *v;

	create_vm(guest_mode);
	start_threads();
	for (life = 0, round = 0; life < LIVES; life++) {
		play_unlogged();
		set_logging(true);
		for (; round < (life + 1) * nr_rounds / LIVES; round++)
			play_round(&patterns[round % ARRAY_SIZE(patterns)]);
		set_logging(false);
	}
	if (mode->finish)
		mode->finish();
	stop_threads();

	for_each_vcpu(v)
		full += v->full;
	pr_info("# %s: %lu rounds, %u pages, %lu reports, %lu early, %lu again, ring of %u, %lu times full\n",
		mode->name, round, oracle.nr_pages, oracle.total, oracle.early,
		oracle.again, ring_entries, full);
	free_vm();
}

/*
 * Options.
 */

struct guest_mode {
	bool supported;
	bool enabled;
};

static struct guest_mode guest_modes[NUM_VM_MODES];

static void support_guest_mode(enum vm_guest_mode guest_mode)
{
	guest_modes[guest_mode] = (struct guest_mode){ true, true };
}

static void support_guest_modes(void)
{
#ifdef __x86_64__
	support_guest_mode(VM_MODE_PXXV48_4K);
#endif
#ifdef __aarch64__
	unsigned int limit = kvm_check_cap(KVM_CAP_ARM_VM_IPA_SIZE);

	support_guest_mode(VM_MODE_P40V48_4K);
	support_guest_mode(VM_MODE_P40V48_64K);
	if (limit >= 52)
		support_guest_mode(VM_MODE_P52V48_64K);
	if (limit >= 48) {
		support_guest_mode(VM_MODE_P48V48_4K);
		support_guest_mode(VM_MODE_P48V48_64K);
	}
#endif
#ifdef __s390x__
	support_guest_mode(VM_MODE_P40V48_4K);
#endif
}

static void help(const char *name)
{
	int i;

	printf("usage: %s [-h] [-M mode] [-c entries] [-i rounds] [-I interval]\n"
	       "       [-p offset] [-m mode] [-v vcpus] [-s seed]\n"
	       " -M: how dirty pages are tracked: all (default)", name);
	for (i = 0; i < ARRAY_SIZE(log_modes); i++)
		printf(", %s", log_modes[i].name);
	printf("\n"
	       " -c: entries of a dirty ring (default: %u)\n"
	       " -i: rounds to play (default: %u)\n"
	       " -I: milliseconds to wait before pages are collected (default: 0)\n"
	       " -p: guest physical offset of the test memory\n"
	       "     Warning: a low offset can conflict with the loaded test code.\n"
	       " -v: vCPUs, 1 to %u (default: %u)\n"
	       " -s: seed of the random numbers (default: the time)\n"
	       " -m: guest mode ID (default: all supported ones); may be repeated\n",
	       DEFAULT_RING_ENTRIES, DEFAULT_ROUNDS, MAX_VCPUS, DEFAULT_VCPUS);
	for (i = 0; i < NUM_VM_MODES; i++)
		printf("       %d: %s%s\n", i, vm_guest_mode_string(i),
		       guest_modes[i].supported ? " (supported)" : "");
	exit(0);
}

static void enable_guest_mode(unsigned int guest_mode)
{
	static bool selected;
	int i;

	if (!guest_modes[guest_mode].supported)
		usage_error("guest mode %u (%s) is not supported", guest_mode,
			    vm_guest_mode_string(guest_mode));
	for (i = 0; !selected && i < NUM_VM_MODES; i++)
		guest_modes[i].enabled = false;
	guest_modes[guest_mode].enabled = true;
	selected = true;
}

/* NULL stands for all. */
static const struct log_mode *find_mode(const char *name)
{
	int i;

	if (!strcmp(name, "all"))
		return NULL;
	for (i = 0; i < ARRAY_SIZE(log_modes); i++) {
		if (!strcmp(name, log_modes[i].name))
			return &log_modes[i];
	}
	usage_error("no mode '%s', -h lists them", name);
}

static const struct log_mode *parse_options(int argc, char *argv[])
{
	const struct log_mode *only = NULL;
	int opt;

	while ((opt = getopt(argc, argv, "hM:c:i:I:p:m:v:s:")) != -1) {
		switch (opt) {
		case 'M':
			only = find_mode(optarg);
			break;
		case 'c':
			wanted_entries = parse_number(opt, 1, 1u << 31);
			break;
		case 'i':
			nr_rounds = parse_number(opt, 1, LONG_MAX / LIVES);
			break;
		case 'I':
			interval = parse_number(opt, 0, INT_MAX / 1000);
			break;
		case 'p':
			phys_offset = parse_number(opt, 0, ~0ul);
			break;
		case 'm':
			enable_guest_mode(parse_number(opt, 0, NUM_VM_MODES - 1));
			break;
		case 'v':
			nr_vcpus = parse_number(opt, 1, MAX_VCPUS);
			break;
		case 's':
			seed = parse_number(opt, 0, UINT_MAX);
			break;
		case 'h':
			help(argv[0]);
			break;
		default:
			exit(KSFT_FAIL);
		}
	}
	if (optind != argc)
		usage_error("'%s' is no option", argv[optind]);
	return only;
}

static void check_ring_entries(void)
{
	uint32_t most = dirty_ring_max_entries();

	if (most && (wanted_entries & (wanted_entries - 1) ||
		     wanted_entries > most ||
		     wanted_entries < dirty_ring_min_entries()))
		usage_error("-c takes a power of two from %u to %u here",
			    dirty_ring_min_entries(), most);
}

static void on_kick(int sig)
{
}

/*
 * This thread runs at once when there is something to do, or it would wait for
 * the vCPUs to use up their time slices. Where there are more CPUs it leaves all
 * but one alone. Without the right to do so the test takes longer.
 */
static void come_first(void)
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

static unsigned int count_tests(const struct log_mode *only)
{
	unsigned int i, count = 0;

	for (i = 0; i < NUM_VM_MODES; i++)
		count += guest_modes[i].enabled;
	return count * (only ? 1 : ARRAY_SIZE(log_modes));
}

/* Return: whether the mode could be tested. */
static bool test_mode(enum vm_guest_mode guest_mode)
{
	if (mode->supported && !mode->supported()) {
		ksft_test_result_skip("%s: not supported\n", mode->name);
		return false;
	}

	pr_info("# %s: %s, seed %u\n", mode->name,
		vm_guest_mode_string(guest_mode), seed);
	srandom(seed);
	run_test(guest_mode);
	ksft_test_result_pass("%s\n", mode->name);
	return true;
}

int main(int argc, char *argv[])
{
	struct sigaction kick = { .sa_handler = on_kick };
	const struct log_mode *only;
	bool tested = false;
	unsigned int i;

	setbuf(stdout, NULL);
	seed = time(NULL);
	support_guest_modes();
	only = parse_options(argc, argv);
	check_ring_entries();
	sigaction(SIG_KICK, &kick, NULL);
	come_first();

	ksft_print_header();
	ksft_set_plan(count_tests(only));
	for (i = 0; i < NUM_VM_MODES; i++) {
		if (!guest_modes[i].enabled)
			continue;
		for (mode = log_modes; mode < log_modes + ARRAY_SIZE(log_modes);
		     mode++) {
			if (!only || only == mode)
				tested |= test_mode(i);
		}
	}

	ksft_print_cnts();
	return tested ? KSFT_PASS : KSFT_SKIP;
}
