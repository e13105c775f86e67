/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ways to track dirty pages, for tests that go through all that KVM has.
 */
#ifndef SELFTEST_KVM_DIRTY_TRACKER_H
#define SELFTEST_KVM_DIRTY_TRACKER_H

#include "kvm_util.h"

#define ANY_VCPU	UINT32_MAX

/**
 * struct tracked_slot - a memslot with dirty logging
 * @slot: its id
 * @npages: its size
 */
struct tracked_slot {
	uint32_t slot;
	uint64_t npages;
};

/**
 * struct dirty_tracking - what tracks the dirty pages of a VM
 * @tracker: how
 * @vm: the VM
 * @nr_vcpus: its vCPUs are 0 to @nr_vcpus - 1
 * @slots: what it tracks
 * @nr_slots: how many these are
 * @report: called for each dirty page
 * @data: passed to @report
 * @writer: the only vCPU that has written pages, or ANY_VCPU
 * @ring_entries: size of a ring, 0 for the smallest
 * @full: how often a vCPU stopped for want of room
 * @priv: the tracker's own
 */
struct dirty_tracking {
	const struct dirty_tracker *tracker;
	struct kvm_vm *vm;
	uint32_t nr_vcpus;
	const struct tracked_slot *slots;
	int nr_slots;
	void (*report)(uint32_t slot, uint64_t offset, void *data);
	void *data;
	uint32_t writer;
	uint32_t ring_entries;
	uint64_t full;
	void *priv;
};

/**
 * struct dirty_tracker - a way to track dirty pages
 * @name: for messages and options
 * @supported: whether this kernel has it; may be missing
 * @enable: called before there are vCPUs; may be missing
 * @begin: called when they are there; may be missing
 * @end: undoes @begin; may be missing
 * @collect: report the pages that were written since the last time
 * @handle_exit: handle an exit of a vCPU that is for the tracker, if it is one;
 *	may be missing
 * @lasting: reports remain when logging stops
 * @reports_synced: reports pages that shadow paging syncs, though not written
 */
struct dirty_tracker {
	const char *name;
	bool (*supported)(void);
	void (*enable)(struct dirty_tracking *t);
	void (*begin)(struct dirty_tracking *t);
	void (*end)(struct dirty_tracking *t);
	void (*collect)(struct dirty_tracking *t);
	bool (*handle_exit)(struct dirty_tracking *t, uint32_t vcpu_id);
	bool lasting;
	bool reports_synced;
};

/* All that the tests were built with. */
extern const struct dirty_tracker *const dirty_trackers[];
extern const int nr_dirty_trackers;

/* Comes with the library for dirty rings. */
extern const struct dirty_tracker dirty_ring_tracker;

bool dirty_tracker_supported(const struct dirty_tracker *tracker);
void dirty_tracking_enable(struct dirty_tracking *t);
void dirty_tracking_begin(struct dirty_tracking *t);
void dirty_tracking_end(struct dirty_tracking *t);
void dirty_tracking_collect(struct dirty_tracking *t);
bool dirty_tracking_handle_exit(struct dirty_tracking *t, uint32_t vcpu_id);

#endif /* SELFTEST_KVM_DIRTY_TRACKER_H */
