// SPDX-License-Identifier: GPL-2.0
/*
 * dirty_log_test: how dirty pages are tracked and collected. To add a mode, add
 * a row to log_modes[].
 */
#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/kernel.h>

#include "dirty_log.h"

/*
 * Pacing.
 */

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

/**
 * judge() - judge what was harvested
 */
void judge(void)
{
	tell_progress();
	oracle_judge(&oracle);
}

static void harvest_all(void)
{
	harvest(ALL_ENTRIES);
	judge();
	oracle_check_missed(&oracle);
}

/**
 * collect_stopped() - collect pages while no vCPU runs
 *
 * Sometimes stop in the middle of the ring first.
 */
void collect_stopped(void)
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

/* Collect pages while the vCPUs run. */
static void collect_running(uint64_t steps)
{
	let_run(1 + random() % steps);
	harvest(random() % 2 ? ALL_ENTRIES : random() % 200);
	judge();
	protect();
}

/*
 * Harvest while no vCPU runs, and protect pages while they run. If they write
 * the same pages again, each of these writes must be noticed.
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

/**
 * free_bitmaps() - undo what tracking by bitmaps has allocated
 */
void free_bitmaps(void)
{
	uint32_t i;

	for (i = 0; i < ARRAY_SIZE(bitmaps); i++) {
		free(bitmaps[i]);
		bitmaps[i] = NULL;
	}
}

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

/* In two calls, cut at a random block of 64 pages. */
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

/* Entries collected and not reset. */
static uint32_t harvested;

static bool ring_supported(void)
{
	return dirty_ring_max_entries();
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

/* If the vCPU has stopped because of a full ring, that ring must be full. */
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

/* Pages are collected all the time, without stopping the vCPUs. */
static void pace_reaper(void)
{
	int i;

	for (i = 0; !all_done() && !(endless && i == HOT_COLLECTIONS); i++)
		collect_running(400);
}

const struct log_mode log_modes[] = {
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
		.harvest = ring_harvest,
		.protect = ring_protect,
		.after_run = after_run_ring,
		.pace = pace_steps,
		.collect = collect_mixed,
	}, {
		.name = "dirty-ring-reaper",
		.max_entries = ALL_ENTRIES,
		.supported = ring_supported,
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
		.harvest = ring_harvest,
		.protect = ring_protect,
		.after_run = after_run_full,
		.pace = pace_stop,
		.collect = collect_stopped,
		.finish = full_finish,
	},
};

const unsigned int nr_log_modes = ARRAY_SIZE(log_modes);
