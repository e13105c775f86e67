// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty rings under unlucky circumstances: signals hit resets, harvests are
 * late or missing, memslots and vCPUs change while entries are pending, and
 * KVM writes guest memory while no guest runs. No page may be lost, no unread
 * entry may be overwritten, and a reset returns how many entries were
 * collected.
 */

#define _GNU_SOURCE /* for clone() */

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <linux/bitops.h>
#include <linux/compiler.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "dirty_ring_vm.h"
#include "test_thread.h"

/* The distance of two writes in pages: a reset then finds no run of pages. */
#define FAR	1237

/*
 * Signals that do not kill.
 */

#define STORM_RESETS	4
#define STORM_ROUNDS	4

static int signals;
static bool stop;

static void on_signal(int sig)
{
	WRITE_ONCE(signals, signals + 1);
}

static void timer_storm(bool on)
{
	struct itimerval timer = {
		.it_interval.tv_usec = on ? 1000 : 0,
		.it_value.tv_usec = on ? 100 : 0,
	};

	setitimer(ITIMER_REAL, &timer, NULL);
}

static void *kill_thread(void *data)
{
	pthread_t *victim = data;

	while (!READ_ONCE(stop)) {
		pthread_kill(*victim, SIGUSR1);

		/* Without a pause the victim could get nowhere between two. */
		usleep(100);
	}
	return NULL;
}

static void kill_storm(bool on)
{
	static struct test_thread thread;
	static pthread_t victim;

	if (on) {
		stop = false;
		victim = pthread_self();
		test_thread_start(&thread, "killer", kill_thread, &victim);
	} else {
		WRITE_ONCE(stop, true);
		test_thread_join(&thread);
	}
}

/* Return: whether a signal came while the rings were reset. */
static bool signal_hits_reset(struct ring_vm *r, void (*set)(bool on))
{
	int before = READ_ONCE(signals);

	set(true);
	ring_vm_harvest(r);
	set(false);
	return signals != before;
}

/* Whether a signal comes or not, the count is right and no page is lost. */
static void storm_resets(const char *name, void (*set)(bool on))
{
	struct ring_vm r;
	int i, hits = 0;

	ring_vm_create(&r, 8192, 8192, 1);
	signals = 0;
	for (i = 0; i < STORM_RESETS; i++) {
		ring_vm_job(&r, 0, i, 6000, FAR);
		while (ring_vm_run(&r, 0) != RING_VM_DONE)
			;
		hits += signal_hits_reset(&r, set);
		ring_vm_check(&r);
	}
	ring_vm_check_stats(&r);
	ksft_test_result_pass("%s: %lu entries, %i signals, %i of %i resets hit\n",
			      name, r.collected, signals, hits, STORM_RESETS);
	ring_vm_free(&r);
}

/* KVM_RUN returns for a signal at any point between two writes. */
static void storm_runs(void)
{
	struct ring_vm r;
	int i;

	ring_vm_create(&r, 8192, 8192, 1);
	signals = 0;
	timer_storm(true);
	for (i = 0; i < STORM_ROUNDS; i++)
		ring_vm_round(&r, 0, i, 4096, 1);
	timer_storm(false);
	ring_vm_check_stats(&r);
	ksft_test_result_pass("signals while the guest runs: %lu entries, %i signals\n",
			      r.collected, signals);
	ring_vm_free(&r);
}

/*
 * A signal that kills. The killed process shares the memory, and so the VM,
 * with this one, which lives on.
 */

#define MAX_KILLS	24
#define MIN_CUT		2
#define KILL_PAGES	8192ul
#define STACK_SIZE	65536

struct killed {
	struct ring_vm *r;
	long delay;
};

static int reset_and_die(void *data)
{
	struct killed *k = data;
	struct itimerval timer = { .it_value.tv_usec = k->delay };

	signal(SIGALRM, SIG_DFL);
	setitimer(ITIMER_REAL, &timer, NULL);
	ioctl(vm_get_fd(k->r->vm), KVM_RESET_DIRTY_RINGS);
	_exit(0);
	return 0;
}

static void reset_in_child(struct killed *k)
{
	static char stack[STACK_SIZE] __aligned(16);
	int status;
	pid_t pid;

	pid = clone(reset_and_die, stack + sizeof(stack),
		    CLONE_VM | CLONE_FILES | SIGCHLD, k);
	TEST_ASSERT(pid > 0, "clone failed, errno: %i", errno);
	TEST_ASSERT(waitpid(pid, &status, 0) == pid, "no child, errno: %i",
		    errno);
}

static void test_killed(void)
{
	struct ring_vm r;
	struct killed k = { .r = &r, .delay = 1000 };
	uint32_t i, count, rest, cut = 0;

	ring_vm_create(&r, 2 * KILL_PAGES, KILL_PAGES, 1);
	for (i = 0; i < MAX_KILLS && cut < MIN_CUT; i++) {
		/*
		 * A page freed by the child but not protected would be
		 * missing.
		 */
		ring_vm_job(&r, 0, i, KILL_PAGES, FAR);
		while (ring_vm_run(&r, 0) != RING_VM_DONE)
			;
		count = ring_vm_collect(&r, 0, r.entries);
		ring_vm_check(&r);
		reset_in_child(&k);
		rest = vm_reset_dirty_rings(r.vm);
		TEST_ASSERT(rest <= count, "%u entries left of %u", rest, count);
		r.reset_entries += count;

		/* Adjust the delay to hit the middle of a reset. */
		if (!rest)
			k.delay = k.delay / 2 + 1;
		else if (rest == count)
			k.delay = k.delay * 3 / 2 + 1;
		else
			cut++;
	}
	ring_vm_round(&r, 0, 0, KILL_PAGES, FAR);
	ring_vm_check_stat(&r, "dirty_ring_push", r.collected);
	ring_vm_check_stat(&r, "dirty_ring_reset_entry", r.reset_entries);
	ksft_test_result_pass("killed while it resets: %u times, in the middle %u times\n",
			      i, cut);
	ring_vm_free(&r);
}

/*
 * Nothing is harvested. The vCPU stops each time that it is run.
 */

#define STOPS	1000

static void test_suspended(void)
{
	uint32_t entries = dirty_ring_min_entries();
	uint32_t limit = dirty_ring_soft_limit(entries), used, i;
	size_t size = entries * sizeof(struct kvm_dirty_gfn);
	struct kvm_dirty_gfn *copy = malloc(size);
	struct ring_vm r;

	ring_vm_create(&r, entries, 8 * entries, 1);
	ring_vm_job(&r, 0, 0, 8 * entries, FAR);
	TEST_ASSERT(ring_vm_run(&r, 0) == RING_VM_FULL, "the ring is not full");
	memcpy(copy, r.vcpus[0].ring.gfns, size);
	for (i = 0; i < STOPS; i++)
		TEST_ASSERT(ring_vm_run(&r, 0) == RING_VM_FULL,
			    "the ring is not full any more");
	TEST_ASSERT(!memcmp(copy, r.vcpus[0].ring.gfns, size),
		    "the ring has changed while it was full");

	/* Collecting makes no room. A reset of one entry may. */
	used = ring_vm_collect(&r, 0, 1);
	TEST_ASSERT(ring_vm_run(&r, 0) == RING_VM_FULL,
		    "there is room without a reset");
	ring_vm_reset(&r);
	used = 0;
	while (copy[used].flags && used < entries)
		used++;
	TEST_ASSERT(used >= limit, "full at %u entries, not %u", used, limit);
	ring_vm_finish(&r, 0);
	ring_vm_check(&r);
	ring_vm_check_stats(&r);
	ksft_test_result_pass("no harvest for %u runs: %lu entries, %lu times full\n",
			      STOPS, r.collected, r.full_exits);
	ring_vm_free(&r);
	free(copy);
}

/*
 * Slots that change while the ring names their pages.
 */

#define SLOT_PAGES	512ul
#define MOVED_MEM	(RING_VM_MEM + 0x20000000ul)

static void set_slot(struct ring_vm *r, uint64_t gpa, uint64_t pages,
		     uint32_t flags)
{
	vm_set_slot(r->vm, RING_VM_SLOT, flags, gpa, pages * RING_VM_PAGE_SIZE,
		    r->mem);
}

static void slot_delete(struct ring_vm *r)
{
	set_slot(r, RING_VM_MEM, 0, 0);
}

static void slot_restore(struct ring_vm *r)
{
	set_slot(r, RING_VM_MEM, SLOT_PAGES, KVM_MEM_LOG_DIRTY_PAGES);
}

static void slot_replace(struct ring_vm *r)
{
	slot_delete(r);
	slot_restore(r);
}

static void slot_halve(struct ring_vm *r)
{
	slot_delete(r);
	set_slot(r, RING_VM_MEM, SLOT_PAGES / 2, KVM_MEM_LOG_DIRTY_PAGES);
}

static void slot_enlarge(struct ring_vm *r)
{
	slot_delete(r);
	slot_restore(r);
}

static void slot_move(struct ring_vm *r)
{
	set_slot(r, MOVED_MEM, SLOT_PAGES, KVM_MEM_LOG_DIRTY_PAGES);
}

static void slot_log_off(struct ring_vm *r)
{
	set_slot(r, RING_VM_MEM, SLOT_PAGES, 0);
}

static void slot_log_off_on(struct ring_vm *r)
{
	slot_log_off(r);
	slot_restore(r);
}

static void slot_stay(struct ring_vm *r)
{
}

/**
 * struct change - what happens to a slot
 * @name: what happens
 * @change: do it
 * @mem: where the guest writes then; 0 if it cannot, or nothing is logged
 * @tracked: this many pages of it are tracked then
 * @restore: undo it
 */
static const struct change {
	const char *name;
	void (*change)(struct ring_vm *r);
	uint64_t mem;
	uint64_t tracked;
	void (*restore)(struct ring_vm *r);
} changes[] = {
	{ "slot deleted", slot_delete, 0, 0, slot_restore },
	{ "slot replaced", slot_replace, RING_VM_MEM, SLOT_PAGES, slot_stay },
	{ "slot replaced by a smaller one", slot_halve, 0, SLOT_PAGES / 2,
	  slot_enlarge },
	{ "slot moved", slot_move, MOVED_MEM, SLOT_PAGES, slot_restore },
	{ "logging off", slot_log_off, 0, 0, slot_restore },
	{ "logging off and on", slot_log_off_on, RING_VM_MEM, SLOT_PAGES,
	  slot_stay },
};

/*
 * Entries are counted, collected or not, and ignored if no page is logged
 * there.
 */
static void change_slot(struct ring_vm *r, const struct change *c,
			bool collected)
{
	long ignored = vm_get_stat(r->vm, "dirty_ring_ignored_entry");
	const uint64_t first = SLOT_PAGES / 2 - 40, count = 100;
	uint64_t end = first + count;

	ring_vm_job(r, 0, first, count, 1);
	TEST_ASSERT(ring_vm_run(r, 0) == RING_VM_DONE, "%s: the ring is full",
		    c->name);
	if (collected)
		ring_vm_collect(r, 0, r->entries);
	c->change(r);
	ring_vm_harvest(r);
	ring_vm_check(r);
	if (ignored >= 0 && end > c->tracked)
		ignored += min(count, end - c->tracked);
	if (ignored >= 0)
		ring_vm_check_stat(r, "dirty_ring_ignored_entry", ignored);

	if (c->mem) {
		ring_vm_job(r, 0, 0, SLOT_PAGES, FAR);
		r->vcpus[0].job->mem = c->mem;
		ring_vm_finish(r, 0);
		ring_vm_check(r);
	}
	c->restore(r);
	ring_vm_round(r, 0, 0, SLOT_PAGES, FAR);
}

static void test_slots(void)
{
	struct ring_vm r;
	int i;

	ring_vm_create(&r, dirty_ring_min_entries(), SLOT_PAGES, 1);
	virt_map(r.vm, MOVED_MEM, MOVED_MEM, SLOT_PAGES, 0);
	for (i = 0; i < 2 * ARRAY_SIZE(changes); i++)
		change_slot(&r, &changes[i / 2], i % 2);
	ring_vm_check_stats(&r);
	ksft_test_result_pass("slots changed with entries pending: %zu ways, %lu entries\n",
			      2 * ARRAY_SIZE(changes), r.collected);
	ring_vm_free(&r);
}

/*
 * vCPUs that are added late. Each has a ring of its own.
 */

#define SHARE	64ul

static void note_owner(uint32_t slot, uint64_t offset, void *data)
{
	uint32_t *vcpuid = data;

	TEST_ASSERT(slot == RING_VM_SLOT && offset / SHARE == *vcpuid,
		    "slot %#x page %#lx in the ring of vCPU %u", slot, offset,
		    *vcpuid);
}

static void test_late_vcpus(void)
{
	struct ring_vm r;
	uint32_t id, count;

	ring_vm_create(&r, dirty_ring_min_entries(), 512, 1);
	ring_vm_round(&r, 0, 0, 512, 1);
	for (id = 0; id < RING_VM_MAX_VCPUS; id++) {
		if (id)
			ring_vm_add_vcpu(&r);
		TEST_ASSERT(!r.vcpus[id].ring.gfns[0].flags || !id,
			    "vCPU %u begins with entries", id);
		ring_vm_job(&r, id, id * SHARE, SHARE, 1);
		TEST_ASSERT(ring_vm_run(&r, id) == RING_VM_DONE,
			    "vCPU %u: the ring is full", id);
	}
	for (id = 0; id < r.nr_vcpus; id++) {
		count = dirty_ring_harvest(&r.vcpus[id].ring, r.entries,
					   note_owner, &id);
		TEST_ASSERT(count == SHARE, "%u pages in the ring of vCPU %u",
			    count, id);
		r.collected += count;
	}
	ring_vm_reset(&r);
	for (id = 0; id < r.nr_vcpus; id++)
		ring_vm_round(&r, id, id, 512, FAR);
	ring_vm_check_stats(&r);
	ksft_test_result_pass("%u vCPUs, %u of them late: %lu entries\n",
			      r.nr_vcpus, r.nr_vcpus - 1, r.collected);
	ring_vm_free(&r);
}

/*
 * Pages that KVM writes in a vCPU's ioctl. The vCPU has not entered the guest,
 * so the entries come in the order of the writes.
 */

/**
 * struct clocks - a VM that has pages written by KVM_SET_MSRS
 * @r: the VM, with one vCPU
 * @next: number of the next page to write, modulo the number of pages
 * @read: number of the next page to be collected
 */
struct clocks {
	struct ring_vm r;
	uint64_t next;
	uint64_t read;
};

static void clocks_create(struct clocks *c, uint32_t entries, uint64_t npages)
{
	ring_vm_create_bare(&c->r, entries, npages, 1);
	c->next = 0;
	c->read = 0;
}

static int clocks_fd(struct clocks *c)
{
	return vcpu_get_fd(c->r.vm, 0);
}

/* Writes up to @count pages. Return: as KVM_SET_MSRS. */
static int clocks_write(struct clocks *c, uint32_t count)
{
	uint64_t page = c->next % c->r.npages;
	int ret;

	count = min(count, RING_VM_MAX_CLOCKS);
	count = min((uint64_t)count, c->r.npages - page);
	ret = vcpu_write_clocks(clocks_fd(c), RING_VM_MEM +
				page * RING_VM_PAGE_SIZE, count);
	if (ret > 0)
		c->next += ret;
	return ret;
}

static void note_clock(uint32_t slot, uint64_t offset, void *data)
{
	struct clocks *c = data;

	TEST_ASSERT(slot == RING_VM_SLOT && offset == c->read % c->r.npages,
		    "slot %#x page %#lx where page %#lx was written", slot,
		    offset, c->read % c->r.npages);
	c->read++;
}

/* All that was written is reported, in the order of the writes. */
static void clocks_collect(struct clocks *c)
{
	c->r.collected += dirty_ring_harvest(&c->r.vcpus[0].ring, c->r.entries,
					     note_clock, c);
	TEST_ASSERT(c->read == c->next, "%lu pages reported, %lu written",
		    c->read, c->next);
}

/* Ring sizes. Each ring is used one and a half times over at least. */

static void test_size(uint32_t entries)
{
	uint32_t room = entries - DIRTY_RING_RESERVED_ENTRIES;
	struct clocks c;
	int ret;

	clocks_create(&c, entries, 1024);
	do {
		while (c.next - c.read < room) {
			ret = clocks_write(&c, room - (c.next - c.read));
			TEST_ASSERT(ret > 0, "KVM_SET_MSRS failed, errno: %i",
				    errno);
		}
		clocks_collect(&c);
		ring_vm_reset(&c.r);
	} while (c.next < entries + entries / 2);
	ring_vm_check_stats(&c.r);
	ring_vm_free(&c.r);
}

static void test_sizes(void)
{
	uint32_t entries, sizes = 0;
	struct ring_vm r;

	for (entries = dirty_ring_min_entries();
	     entries <= dirty_ring_max_entries(); entries *= 2, sizes++)
		test_size(entries);
	for (entries = dirty_ring_min_entries(); entries <= 2048; entries *= 2) {
		ring_vm_create(&r, entries, 4096, 1);
		ring_vm_round(&r, 0, 0, 4096, FAR);
		ring_vm_check_stats(&r);
		ring_vm_free(&r);
	}
	ksft_test_result_pass("%u sizes of rings, %u to %u entries\n", sizes,
			      dirty_ring_min_entries(),
			      dirty_ring_max_entries());
}

/*
 * Nearly full rings. An ioctl that may lack room for what it writes fails and does
 * nothing. All others work: a VMM calls them at any time. KVM_RUN exits for a full
 * ring, as it exits for anything else.
 */

#define ROOM_ROUNDS	6
#define MARK		0x5a5a5a5a5a5a5a5aull

static const uint32_t room_counts[] = { RING_VM_MAX_CLOCKS, 1, 7, 100 };

/* In this order: what is read is written back. */
static const struct {
	unsigned long cmd;
	const char *name;
} never_busy[] = {
#define IOCTL(name) { name, #name }
	IOCTL(KVM_GET_REGS), IOCTL(KVM_SET_REGS),
	IOCTL(KVM_GET_SREGS), IOCTL(KVM_SET_SREGS),
	IOCTL(KVM_GET_FPU), IOCTL(KVM_SET_FPU),
	IOCTL(KVM_GET_XSAVE), IOCTL(KVM_SET_XSAVE),
	IOCTL(KVM_GET_XCRS), IOCTL(KVM_SET_XCRS),
	IOCTL(KVM_GET_DEBUGREGS), IOCTL(KVM_SET_DEBUGREGS),
	IOCTL(KVM_GET_MP_STATE), IOCTL(KVM_SET_MP_STATE),
	IOCTL(KVM_GET_LAPIC), IOCTL(KVM_SET_LAPIC),
	IOCTL(KVM_GET_VCPU_EVENTS), IOCTL(KVM_SET_VCPU_EVENTS),
	IOCTL(KVM_GET_TSC_KHZ), IOCTL(KVM_KVMCLOCK_CTRL), IOCTL(KVM_NMI),
	IOCTL(KVM_GET_NESTED_STATE), IOCTL(KVM_GET_CPUID2),
	IOCTL(KVM_SET_SIGNAL_MASK),
};

static void check_never_busy(struct clocks *c)
{
	static uint8_t buffer[65536];
	struct kvm_vcpu_events events;
	int i, ret;

	vcpu_events_get(c->r.vm, 0, &events);
	for (i = 0; i < ARRAY_SIZE(never_busy); i++) {
		switch (never_busy[i].cmd) {
		case KVM_GET_NESTED_STATE:
			((struct kvm_nested_state *)buffer)->size = sizeof(buffer);
			break;
		case KVM_GET_CPUID2:
			((struct kvm_cpuid2 *)buffer)->nent = 100;
			break;
		case KVM_SET_SIGNAL_MASK:
			memset(buffer, 0, sizeof(buffer));
			((struct kvm_signal_mask *)buffer)->len = 8;
			break;
		}
		ret = ioctl(clocks_fd(c), never_busy[i].cmd, buffer);
		TEST_ASSERT(ret != -1 || errno != EBUSY, "%s is refused",
			    never_busy[i].name);
	}

	/* No signal is blocked any more, and no NMI is pending. */
	TEST_ASSERT(!ioctl(clocks_fd(c), KVM_SET_SIGNAL_MASK, NULL),
		    "KVM_SET_SIGNAL_MASK failed, errno: %i", errno);
	vcpu_events_set(c->r.vm, 0, &events);
}

/* Registers are taken over and given back, as at any exit. */
static void check_run_is_full(struct clocks *c, bool immediate)
{
	struct kvm_run *run = vcpu_state(c->r.vm, 0);
	struct kvm_regs regs;
	int ret;

	vcpu_regs_get(c->r.vm, 0, &regs);
	run->immediate_exit = immediate;
	run->kvm_valid_regs = KVM_SYNC_X86_REGS;
	run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
	run->s.regs.regs = regs;
	run->s.regs.regs.rbx = MARK + immediate;
	ret = _vcpu_ioctl(c->r.vm, 0, KVM_RUN, NULL);
	if (immediate) {
		TEST_ASSERT(ret == -1 && errno == EINTR,
			    "KVM_RUN with immediate_exit: %i, errno: %i", ret,
			    errno);
	} else {
		TEST_ASSERT(!ret && run->exit_reason == KVM_EXIT_DIRTY_RING_FULL,
			    "KVM_RUN does not tell that the ring is full: %i, errno: %i",
			    ret, errno);
		c->r.full_exits++;
	}

	vcpu_regs_get(c->r.vm, 0, &regs);
	TEST_ASSERT(!run->kvm_dirty_regs && regs.rbx == MARK + immediate,
		    "KVM_RUN has not taken over registers");
	TEST_ASSERT(!memcmp(&regs, &run->s.regs.regs, sizeof(regs)),
		    "KVM_RUN has not given back registers");
	run->kvm_valid_regs = 0;
	run->immediate_exit = 0;
}

static void check_refused(struct clocks *c)
{
	uint64_t left = c->r.entries - (c->next - c->read);
	struct kvm_translation translation = {};
	uint64_t next = c->next;
	int ret;

	TEST_ASSERT(left == DIRTY_RING_CLOCK_ROOM - 1,
		    "%lu free entries where KVM_SET_MSRS stopped", left);
	TEST_ASSERT(!clocks_write(c, 1) && c->next == next, "an MSR was set");
	ret = ioctl(clocks_fd(c), KVM_TRANSLATE, &translation);
	TEST_ASSERT(ret == -1 && errno == EBUSY, "KVM_TRANSLATE: %i, errno: %i",
		    ret, errno);
	check_never_busy(c);
	check_run_is_full(c, false);
	check_run_is_full(c, true);
}

/* Pages hold a clock if KVM has reported success, and nothing otherwise. */
static void check_clocks(struct clocks *c)
{
	uint32_t *version;
	uint64_t page;

	for (page = 0; page < c->r.npages; page++) {
		version = c->r.mem + page * RING_VM_PAGE_SIZE;
		TEST_ASSERT(!*version == (page >= c->next),
			    "page %#lx of %#lx holds %#x", page, c->next,
			    *version);
	}
}

/*
 * A page that is written repeatedly has one entry until that is reset: user space
 * reads the page then. So have a few pages that are written in turn.
 */
static void test_again(void)
{
	struct clocks c;
	int i;

	clocks_create(&c, dirty_ring_min_entries(), 64);
	for (i = 0; i < 64; i++) {
		clocks_write(&c, 1);
		c.next--;
		clocks_write(&c, 1);
		clocks_collect(&c);
		if (i % 3 == 0)
			ring_vm_reset(&c.r);

		c.next--;
		if (i % 3 == 0)
			c.read--;
		clocks_write(&c, 1);
		clocks_collect(&c);
		if (i % 3 == 1)
			ring_vm_reset(&c.r);
	}
	ring_vm_reset(&c.r);
	TEST_ASSERT(c.r.collected == 64 + 22, "%lu entries for 64 + 22 pages",
		    c.r.collected);

	for (i = 0; i < 1000; i++) {
		c.next = i % 4;
		clocks_write(&c, 1);
		c.next = i < 4 ? i + 1 : 4;
		c.read = i < 4 ? i : 4;
		clocks_collect(&c);
	}
	ring_vm_reset(&c.r);
	ring_vm_check_stats(&c.r);
	ksft_test_result_pass("pages written again: %lu entries\n",
			      c.r.collected);
	ring_vm_free(&c.r);
}

static void test_no_room(void)
{
	struct clocks c;
	int i, ret, want, first_short = 0;

	clocks_create(&c, dirty_ring_min_entries(),
		      ROOM_ROUNDS * dirty_ring_min_entries());
	for (i = 0; i < ROOM_ROUNDS; i++) {
		want = room_counts[i % ARRAY_SIZE(room_counts)];
		do {
			ret = clocks_write(&c, want);
		} while (ret == want);
		TEST_ASSERT(ret >= 0, "KVM_SET_MSRS failed, errno: %i", errno);
		first_short += ret > 0;
		check_refused(&c);
		check_clocks(&c);
		clocks_collect(&c);
		TEST_ASSERT(!clocks_write(&c, 1),
			    "there is room without a reset");
		ring_vm_reset(&c.r);
	}
	ring_vm_check_stats(&c.r);
	ring_vm_check_stat(&c.r, "dirty_ring_spill", 0);
	ksft_test_result_pass("ioctls that write: %lu pages, refused %u times, %i in the middle\n",
			      c.next, ROOM_ROUNDS, first_short);
	ring_vm_free(&c.r);
}

/*
 * Rings with bitmaps: nothing is refused, and what the ring cannot take is recorded
 * in the slot's bitmap.
 */

static int enable_cap(struct kvm_vm *vm, uint32_t cap, uint32_t flags,
		      uint64_t arg0, uint64_t arg3)
{
	struct kvm_enable_cap enable = {
		.cap = cap, .flags = flags, .args = { arg0, 0, 0, arg3 },
	};

	return ioctl(vm_get_fd(vm), KVM_ENABLE_CAP, &enable);
}

static void refuse_spill(struct kvm_vm *vm, uint32_t flags, uint64_t arg0,
			 uint64_t arg3, const char *why)
{
	int ret = enable_cap(vm, KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP, flags,
			     arg0, arg3);

	TEST_ASSERT(ret == -1 && errno == EINVAL, "%s: %i, errno: %i", why, ret,
		    errno);
}

static void enable_spill(struct kvm_vm *vm)
{
	TEST_ASSERT(!enable_cap(vm, KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP, 0, 0, 0),
		    "no bitmaps, errno: %i", errno);
}

static void test_spill_abi(bool offered)
{
	uint32_t bytes = dirty_ring_min_entries() * sizeof(struct kvm_dirty_gfn);
	struct kvm_vm *vm = vm_create(VM_MODE_DEFAULT, 0, O_RDWR);
	int ret;

	ret = ioctl(vm_get_fd(vm), KVM_CHECK_EXTENSION,
		    KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP);
	TEST_ASSERT(ret == offered, "KVM_CHECK_EXTENSION on a VM: %i", ret);
	refuse_spill(vm, 0, 0, 0, "without rings");
	vm_enable_dirty_ring(vm, bytes);
	if (!offered) {
		refuse_spill(vm, 0, 0, 0, "not offered");
		kvm_vm_free(vm);
		return;
	}
	refuse_spill(vm, 1, 0, 0, "flags");
	refuse_spill(vm, 0, 1, 0, "args[0]");
	refuse_spill(vm, 0, 0, 1ull << 32, "args[3]");
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, RING_VM_MEM,
				    RING_VM_SLOT, SLOT_PAGES,
				    KVM_MEM_LOG_DIRTY_PAGES);
	refuse_spill(vm, 0, 0, 0, "with a memslot that is logged");
	vm_mem_region_set_flags(vm, RING_VM_SLOT, 0);
	vm_vcpu_add(vm, 0);
	enable_spill(vm);
	enable_spill(vm);
	kvm_vm_free(vm);
}

static unsigned long *spill_bitmap;

static bool spilled(uint64_t page)
{
	return spill_bitmap[BIT_WORD(page)] & BIT_MASK(page);
}

static void get_spilled(struct ring_vm *r)
{
	kvm_vm_get_dirty_log(r->vm, RING_VM_SLOT, spill_bitmap);
}

static void check_nothing_spilled(struct ring_vm *r)
{
	uint64_t page;

	get_spilled(r);
	for (page = 0; page < r->npages; page++)
		TEST_ASSERT(!spilled(page), "page %#lx is in the bitmap", page);
}

/* The first pages are in the ring, in order, the others in the bitmap. */
static void check_spilled(struct clocks *c, uint64_t start)
{
	uint64_t i, page;

	for (i = 0; i < c->r.npages; i++) {
		page = (start + i) % c->r.npages;
		if (start + i >= c->next)
			TEST_ASSERT(!spilled(page),
				    "page %#lx is in the bitmap", page);
		else if (start + i >= c->read)
			TEST_ASSERT(spilled(page), "page %#lx is lost", page);
	}
}

static void overfill(struct clocks *c)
{
	uint32_t room = c->r.entries - DIRTY_RING_RESERVED_ENTRIES;
	size_t size = c->r.entries * sizeof(struct kvm_dirty_gfn);
	struct kvm_dirty_gfn *gfns = c->r.vcpus[0].ring.gfns;
	struct kvm_dirty_gfn *copy = malloc(size);
	uint64_t start = c->next;
	uint32_t i;
	int ret;

	while (c->next < start + 2 * c->r.entries) {
		ret = clocks_write(c, 32);
		TEST_ASSERT(ret > 0, "KVM_SET_MSRS failed, errno: %i", errno);
		if (c->next - start < room)
			memcpy(copy, gfns, size);
	}
	for (i = 0; i < c->r.entries; i++)
		TEST_ASSERT(!copy[i].flags ||
			    !memcmp(&copy[i], &gfns[i], sizeof(*copy)),
			    "unread entry %u was overwritten", i);
	c->r.collected += dirty_ring_harvest(&c->r.vcpus[0].ring, c->r.entries,
					     note_clock, c);
	get_spilled(&c->r);
	check_spilled(c, start);
	ring_vm_reset(&c->r);
	free(copy);
}

static void clear_spilled(struct ring_vm *r)
{
	size_t size = r->npages / 8;
	unsigned long *copy = malloc(size);

	memcpy(copy, spill_bitmap, size);
	get_spilled(r);
	TEST_ASSERT(!memcmp(copy, spill_bitmap, size),
		    "KVM_GET_DIRTY_LOG has cleared the bitmap");
	kvm_vm_clear_dirty_log(r->vm, RING_VM_SLOT, copy, 0, r->npages);
	free(copy);
}

static void fill_beyond(bool manual)
{
	uint32_t entries = dirty_ring_min_entries();
	struct clocks c = {};
	uint64_t total = 0;
	int i;

	ring_vm_create(&c.r, entries, 4 * entries, 0);
	vm_mem_region_set_flags(c.r.vm, RING_VM_SLOT, 0);
	enable_spill(c.r.vm);
	vm_mem_region_set_flags(c.r.vm, RING_VM_SLOT, KVM_MEM_LOG_DIRTY_PAGES);
	if (manual)
		enable_cap(c.r.vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 0,
			   KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE, 0);
	ring_vm_add_vcpu(&c.r);
	spill_bitmap = calloc(c.r.npages / BITS_PER_LONG, sizeof(long));
	for (i = 0; i < 4; i++) {
		overfill(&c);
		total += c.next - c.read;
		if (manual)
			clear_spilled(&c.r);
		check_nothing_spilled(&c.r);
		c.read = c.next;

		/* Pages that the guest writes go to the ring, as ever. */
		ring_vm_round(&c.r, 0, i, c.r.npages, FAR);
		check_nothing_spilled(&c.r);
		vm_mem_region_set_flags(c.r.vm, RING_VM_SLOT, 0);
		vm_mem_region_set_flags(c.r.vm, RING_VM_SLOT,
					KVM_MEM_LOG_DIRTY_PAGES);
	}
	ring_vm_check_stats(&c.r);
	TEST_ASSERT(vm_get_stat(c.r.vm, "dirty_ring_spill") == -1 ||
		    vm_get_stat(c.r.vm, "dirty_ring_spill") >= total,
		    "%lu pages spilled, %ld counted", total,
		    vm_get_stat(c.r.vm, "dirty_ring_spill"));
	ksft_test_result_pass("beyond the ring's end%s: %lu pages, %lu of them in the bitmap\n",
			      manual ? ", cleared by hand" : "", c.next, total);
	free(spill_bitmap);
	ring_vm_free(&c.r);
}

static void test_spill(bool with_bitmap)
{
	test_spill_abi(with_bitmap);
	if (!with_bitmap) {
		ksft_test_result_pass("beyond the ring's end: no bitmap is offered\n");
		return;
	}
	fill_beyond(false);
	fill_beyond(true);
}

/*
 * Two VMs at once, each with vCPUs of its own.
 */

#define BOTH_ROUNDS	12

static void *play_rounds(void *data)
{
	struct ring_vm *r = data;
	int i;

	for (i = 0; i < BOTH_ROUNDS; i++)
		ring_vm_round(r, i % r->nr_vcpus, i * 77, r->npages - i,
			      2 * i + 1);
	return NULL;
}

static void test_both(void)
{
	struct ring_vm r[2];
	struct test_thread threads[2];
	int i;

	for (i = 0; i < 2; i++)
		ring_vm_create(&r[i], dirty_ring_min_entries() << i,
			       1024 << i, 2);
	for (i = 0; i < 2; i++)
		test_thread_start(&threads[i], "rounds", play_rounds, &r[i]);
	for (i = 0; i < 2; i++)
		test_thread_join(&threads[i]);
	for (i = 0; i < 2; i++)
		ring_vm_check_stats(&r[i]);
	ksft_test_result_pass("two VMs at once: %lu and %lu entries\n",
			      r[0].collected, r[1].collected);
	for (i = 0; i < 2; i++)
		ring_vm_free(&r[i]);
}

int main(int argc, char *argv[])
{
	bool with_bitmap = kvm_check_cap(KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP);
	struct sigaction action = { .sa_handler = on_signal };

	setbuf(stdout, NULL);
	if (!dirty_ring_max_entries())
		ksft_exit_skip("this kernel has no dirty rings\n");
	sigaction(SIGALRM, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);

	ksft_print_header();
	ksft_set_plan(12 + with_bitmap);
	storm_resets("signals of a timer", timer_storm);
	storm_resets("signals of a thread", kill_storm);
	storm_runs();
	test_killed();
	test_suspended();
	test_slots();
	test_late_vcpus();
	test_sizes();
	test_both();
	test_again();
	test_no_room();
	test_spill(with_bitmap);
	ksft_exit(!ksft_get_fail_cnt());
}
