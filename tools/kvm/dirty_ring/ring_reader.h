/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A reader of KVM's dirty rings, for VMMs to use or to learn from.
 *
 * It needs the kernel's uapi headers and nothing else, keeps no state outside
 * struct dirty_ring, allocates nothing and starts no threads. dirty_ring_demo.c
 * is a VMM that uses it; what the calls promise is in
 * Documentation/virt/kvm/dirty-ring.rst.
 *
 * In short, for each VM:
 *
 *	entries = dirty_rings_max(vm_fd)	or fewer, a power of two
 *	dirty_rings_enable(vm_fd, entries)	before the first KVM_CREATE_VCPU
 *
 * for each vCPU, before it runs:
 *
 *	dirty_ring_attach(&ring, vcpu_fd, entries)
 *
 * in one thread, while the vCPUs run, again and again:
 *
 *	dirty_ring_harvest(&ring, ...)		each ring; remember the pages
 *	dirty_rings_reset(vm_fd)		then read their contents
 *
 * dirty_rings_set_watermark(vm_fd, eventfd, entries) says when it is time to.
 *
 * and when a vCPU leaves KVM_RUN with KVM_EXIT_DIRTY_RING_FULL, it waits for
 * the next reset before it runs again. The rings are complete only after each
 * vCPU has left KVM_RUN: until then, the CPU may hold some reports (PML).
 */
#ifndef TOOLS_KVM_RING_READER_H
#define TOOLS_KVM_RING_READER_H

#include <stdint.h>
#include <linux/kvm.h>

/**
 * struct dirty_ring - a vCPU's dirty ring, as user space sees it
 * @gfns: the mapped entries
 * @entries: how many there are
 * @next: the first one not collected yet; free-running: modulo @entries
 */
struct dirty_ring {
	struct kvm_dirty_gfn *gfns;
	uint32_t entries;
	uint32_t next;
};

/**
 * typedef dirty_ring_fn - what to do with a reported page
 * @slot: address space (bits 31:16) and id (bits 15:0) of the memslot
 * @offset: the page, counted from the first of the memslot
 * @data: passed through
 */
typedef void (*dirty_ring_fn)(uint32_t slot, uint64_t offset, void *data);

int dirty_rings_max(int vm_fd);
int dirty_rings_enable(int vm_fd, uint32_t entries);
int dirty_rings_set_watermark(int vm_fd, int eventfd, uint32_t entries);
int dirty_rings_reset(int vm_fd);

int dirty_ring_attach(struct dirty_ring *ring, int vcpu_fd, uint32_t entries);
int dirty_ring_detach(struct dirty_ring *ring);

/**
 * dirty_ring_harvest() - collect what a vCPU has reported
 * @ring: the vCPU's ring
 * @max: stop after this many entries
 * @fn: called for each reported page, in the order of the ring
 * @data: passed to @fn
 *
 * The vCPU may run meanwhile, but no other harvest of the same ring. A page can
 * be reported before it is written, and more than once. This function is inline
 * so that @fn is, too: a call for each entry would cost half as much again.
 *
 * Return: how many entries were collected.
 */
static inline uint32_t dirty_ring_harvest(struct dirty_ring *ring, uint32_t max,
					  dirty_ring_fn fn, void *data)
{
	struct kvm_dirty_gfn *gfn;
	uint32_t count;

	for (count = 0; count < max; count++) {
		gfn = &ring->gfns[ring->next % ring->entries];
		/* Pairs with the kernel's release when it reports a page. */
		if (__atomic_load_n(&gfn->flags, __ATOMIC_ACQUIRE) !=
		    KVM_DIRTY_GFN_F_DIRTY)
			break;

		fn(gfn->slot, gfn->offset, data);

		/* Pairs with the kernel's acquire when it resets the entry. */
		__atomic_store_n(&gfn->flags, KVM_DIRTY_GFN_F_RESET,
				 __ATOMIC_RELEASE);
		ring->next++;
	}

	return count;
}

#endif /* TOOLS_KVM_RING_READER_H */
