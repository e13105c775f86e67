// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty rings as a way to track dirty pages, see dirty_tracker.h.
 */
#include <pthread.h>

#include "test_util.h"
#include "dirty_ring.h"
#include "dirty_tracker.h"

/**
 * struct tracker_ring - a vCPU's ring
 * @ring: for the reader
 * @full_at: the next entry to collect when the ring was full last
 */
struct tracker_ring {
	struct dirty_ring ring;
	uint32_t full_at;
};

/* The vCPUs' threads and the main one collect. */
static pthread_mutex_t collecting = PTHREAD_MUTEX_INITIALIZER;

static bool have_rings(void)
{
	return dirty_ring_max_entries() >= dirty_ring_min_entries();
}

static void enable_rings(struct dirty_tracking *t)
{
	if (!t->ring_entries)
		t->ring_entries = dirty_ring_min_entries();
	vm_enable_dirty_ring(t->vm, t->ring_entries *
				    sizeof(struct kvm_dirty_gfn));
}

static void map_rings(struct dirty_tracking *t)
{
	struct tracker_ring *rings = calloc(t->nr_vcpus, sizeof(*rings));
	uint32_t i;

	TEST_ASSERT(rings, "no memory");
	for (i = 0; i < t->nr_vcpus; i++)
		dirty_ring_map(&rings[i].ring, t->vm, i, t->ring_entries);
	t->priv = rings;
}

static void unmap_rings(struct dirty_tracking *t)
{
	struct tracker_ring *rings = t->priv;
	uint32_t i;

	for (i = 0; i < t->nr_vcpus; i++)
		dirty_ring_unmap(&rings[i].ring);
	free(rings);
}

static void collect_rings(struct dirty_tracking *t)
{
	struct tracker_ring *rings = t->priv;
	uint32_t i, n, count = 0, reset;

	pthread_mutex_lock(&collecting);
	for (i = 0; i < t->nr_vcpus; i++) {
		n = dirty_ring_harvest(&rings[i].ring, t->ring_entries,
				       t->report, t->data);
		TEST_ASSERT(!n || t->writer == ANY_VCPU || t->writer == i,
			    "%u entries of vCPU %u, vCPU %u runs", n, i,
			    t->writer);
		count += n;
	}
	reset = vm_reset_dirty_rings(t->vm);
	TEST_ASSERT(reset == count, "%u entries collected, %u reset", count,
		    reset);
	pthread_mutex_unlock(&collecting);
}

/* Whoever collects, there are new entries between two exits for a full ring. */
static bool handle_full_ring(struct dirty_tracking *t, uint32_t vcpu_id)
{
	struct tracker_ring *ring = (struct tracker_ring *)t->priv + vcpu_id;
	uint32_t next;

	if (vcpu_state(t->vm, vcpu_id)->exit_reason != KVM_EXIT_DIRTY_RING_FULL)
		return false;

	__sync_fetch_and_add(&t->full, 1);
	collect_rings(t);
	next = READ_ONCE(ring->ring.next);
	TEST_ASSERT(next != ring->full_at,
		    "vCPU %u: its ring is full, with nothing to collect from entry %u on",
		    vcpu_id, next);
	ring->full_at = next;
	return true;
}

const struct dirty_tracker dirty_ring_tracker = {
	.name = "ring",
	.supported = have_rings,
	.enable = enable_rings,
	.begin = map_rings,
	.end = unmap_rings,
	.collect = collect_rings,
	.handle_exit = handle_full_ring,
	.lasting = true,
};
