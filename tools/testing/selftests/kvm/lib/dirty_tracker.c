// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ways to track dirty pages: bitmaps, and what else there is in this tree.
 */
#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "dirty_tracker.h"

static void collect_bitmap(struct dirty_tracking *t, uint32_t slot,
			   uint64_t npages)
{
	unsigned long *bitmap = bitmap_alloc(npages);
	uint64_t page;

	TEST_ASSERT(bitmap, "no memory");
	kvm_vm_get_dirty_log(t->vm, slot, bitmap);
	for (page = 0; page < npages; page++)
		if (test_bit(page, bitmap))
			t->report(slot, page, t->data);
	free(bitmap);
}

static void collect_bitmaps(struct dirty_tracking *t)
{
	int i;

	for (i = 0; i < t->nr_slots; i++)
		collect_bitmap(t, t->slots[i].slot, t->slots[i].npages);
}

static const struct dirty_tracker dirty_bitmap_tracker = {
	.name = "bitmap",
	.collect = collect_bitmaps,
	.reports_synced = true,
};

const struct dirty_tracker *const dirty_trackers[] = {
	&dirty_bitmap_tracker,
#if __has_include("dirty_ring.h")
	&dirty_ring_tracker,
#endif
};

const int nr_dirty_trackers = ARRAY_SIZE(dirty_trackers);

/**
 * dirty_tracker_supported() - whether this kernel has a tracker
 * @tracker: the tracker
 *
 * Return: true if it has.
 */
bool dirty_tracker_supported(const struct dirty_tracker *tracker)
{
	return !tracker->supported || tracker->supported();
}

/**
 * dirty_tracking_enable() - enable tracking, before there are vCPUs
 * @t: with all fields set
 */
void dirty_tracking_enable(struct dirty_tracking *t)
{
	if (t->tracker->enable)
		t->tracker->enable(t);
}

/**
 * dirty_tracking_begin() - begin to track, when all vCPUs are there
 * @t: after dirty_tracking_enable()
 */
void dirty_tracking_begin(struct dirty_tracking *t)
{
	if (t->tracker->begin)
		t->tracker->begin(t);
}

/**
 * dirty_tracking_end() - undo dirty_tracking_begin()
 * @t: what was begun
 */
void dirty_tracking_end(struct dirty_tracking *t)
{
	if (t->tracker->end)
		t->tracker->end(t);
}

/**
 * dirty_tracking_collect() - report the pages written since the last time
 * @t: after dirty_tracking_begin()
 */
void dirty_tracking_collect(struct dirty_tracking *t)
{
	t->tracker->collect(t);
}

/**
 * dirty_tracking_handle_exit() - handle an exit that is for the tracker
 * @t: after dirty_tracking_begin()
 * @vcpu_id: the vCPU that has left the guest
 *
 * Return: false if the exit is for something else.
 */
bool dirty_tracking_handle_exit(struct dirty_tracking *t, uint32_t vcpu_id)
{
	return t->tracker->handle_exit && t->tracker->handle_exit(t, vcpu_id);
}
