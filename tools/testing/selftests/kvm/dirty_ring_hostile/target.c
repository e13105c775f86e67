// SPDX-License-Identifier: GPL-2.0
/*
 * dirty_ring_hostile_test: forgeries, and the VM under attack.
 */
#include <linux/compiler.h>
#include <linux/kernel.h>

#include "hostile.h"

/* Slot ids have 16 bits; user space has 509 of them, KVM some more. */
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
	/* From the logged slot on, these pages would be other slots' memory. */
	-(RING_VM_MEM / RING_VM_PAGE_SIZE),
	(UNLOGGED_MEM - RING_VM_MEM) / RING_VM_PAGE_SIZE,
};

/**
 * rng_init() - begin a stream of random numbers
 * @rng: to be set up
 * @stream: which one, of those that the seed gives
 */
void rng_init(struct rng *rng, uint32_t stream)
{
	rng->state = (uint64_t)seed << 32 | (stream * 2 + 1);
}

/**
 * rng_next() - the next random number
 * @rng: the stream
 *
 * Return: all 64 bits of it.
 */
uint64_t rng_next(struct rng *rng)
{
	rng->state ^= rng->state >> 12;
	rng->state ^= rng->state << 25;
	rng->state ^= rng->state >> 27;
	return rng->state * 0x2545f4914f6cdd1dull;
}

/**
 * rng_below() - the next random number below a limit
 * @rng: the stream
 * @limit: the limit, up to 2^32
 *
 * Return: the number.
 */
uint64_t rng_below(struct rng *rng, uint64_t limit)
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

/**
 * forge_entry() - forge an entry, which looks collected
 * @rng: random numbers
 * @gfn: the entry
 */
void forge_entry(struct rng *rng, struct kvm_dirty_gfn *gfn)
{
	WRITE_ONCE(gfn->slot, forge_slot(rng));
	WRITE_ONCE(gfn->offset, forge_offset(rng));
	WRITE_ONCE(gfn->flags, rng_next(rng) | KVM_DIRTY_GFN_F_RESET);
}

/**
 * forge_ring() - forge all entries of a ring
 * @rng: random numbers
 * @ring: the ring
 */
void forge_ring(struct rng *rng, struct dirty_ring *ring)
{
	uint32_t i;

	for (i = 0; i < ring->entries; i++)
		forge_entry(rng, &ring->gfns[i]);
	__atomic_fetch_add(forged, ring->entries, __ATOMIC_RELAXED);
}

/**
 * flag_ring() - set the flags of all entries of a ring
 * @ring: the ring
 * @flags: the flags
 */
void flag_ring(struct dirty_ring *ring, uint32_t flags)
{
	uint32_t i;

	for (i = 0; i < ring->entries; i++)
		WRITE_ONCE(ring->gfns[i].flags, flags);
}

/**
 * names_logged_page() - would a reset write-protect a page for this entry?
 * @gfn: the entry, of the target
 *
 * Return: whether it names a page that is logged.
 */
bool names_logged_page(const struct kvm_dirty_gfn *gfn)
{
	return (gfn->slot == RING_VM_SLOT && gfn->offset < TARGET_PAGES) ||
	       (gfn->slot == SMM_SLOT && gfn->offset < SMM_PAGES);
}

/**
 * reset_target() - KVM_RESET_DIRTY_RINGS on the target
 *
 * Asserts that it takes no more entries than there are.
 *
 * Return: how many entries were reset.
 */
uint32_t reset_target(void)
{
	uint32_t count = vm_reset_dirty_rings(target.vm);

	TEST_ASSERT(count <= target.nr_vcpus * target.entries,
		    "%u entries reset at once, of %u", count,
		    target.nr_vcpus * target.entries);
	__atomic_fetch_add(&reset_entries, count, __ATOMIC_RELAXED);
	return count;
}

/**
 * expect_reset() - assert what a reset of the target takes
 * @count: this many entries
 */
void expect_reset(uint32_t count)
{
	uint32_t ret = reset_target();

	TEST_ASSERT(ret == count, "%u entries reset, not %u", ret, count);
}

/**
 * write_clocks() - vcpu_write_clocks() on the target's logged slot
 * @vcpuid: the vCPU that is to report the pages
 * @page: the first page
 * @count: how many
 *
 * Return: as vcpu_write_clocks().
 */
int write_clocks(uint32_t vcpuid, uint64_t page, uint32_t count)
{
	return vcpu_write_clocks(vcpu_get_fd(target.vm, vcpuid),
				 RING_VM_MEM + page * RING_VM_PAGE_SIZE, count);
}

/**
 * push_entries() - make KVM push entries into a ring that has room for them
 * @vcpuid: id of the ring's vCPU
 * @count: how many
 */
void push_entries(uint32_t vcpuid, uint32_t count)
{
	uint32_t n;

	for (; count; count -= n) {
		n = min(count, RING_VM_MAX_CLOCKS);
		TEST_ASSERT(write_clocks(vcpuid, count % 256, n) == n,
			    "KVM_SET_MSRS failed, errno: %i", errno);
	}
}

/* Find the kernel's position in an empty ring, and go there. */
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

/**
 * drain_target() - empty the rings, while nobody is at work
 *
 * Asserts that what was pushed and not reset can be reset once, that forged
 * flags add nothing to that, and that the kernel has counted the same.
 */
void drain_target(void)
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

/**
 * finish_job() - run the guest until it has finished its job
 */
void finish_job(void)
{
	while (ring_vm_run(&target, RUN_VCPU) != RING_VM_DONE) {
		flag_ring(&target.vcpus[RUN_VCPU].ring, KVM_DIRTY_GFN_F_RESET);
		reset_target();
	}
}

/**
 * run_job() - have the guest write pages once, in their order
 * @mem: the first page
 * @npages: how many pages there are, a power of two
 * @count: how many of them to write
 */
void run_job(uint64_t mem, uint64_t npages, uint64_t count)
{
	*target.vcpus[RUN_VCPU].job = (struct ring_job) {
		.mem = mem, .npages = npages, .count = count, .stride = 1,
	};
	finish_job();
}

/**
 * create_target() - make the VM under attack
 */
void create_target(void)
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
