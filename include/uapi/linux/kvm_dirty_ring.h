/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
#ifndef _UAPI_LINUX_KVM_DIRTY_RING_H
#define _UAPI_LINUX_KVM_DIRTY_RING_H

/*
 * KVM dirty rings: dirty guest pages, reported by each vCPU in memory that it
 * shares with user space. Included by <linux/kvm.h>. How to use them is told in
 * Documentation/virt/kvm/dirty-ring.rst.
 */

#include <linux/const.h>
#include <linux/types.h>

/* In kvm_run::exit_reason: the ring is at its soft limit, reset it. */
#define KVM_EXIT_DIRTY_RING_FULL	31

/*
 * KVM_CHECK_EXTENSION returns the largest ring, in bytes. KVM_ENABLE_CAP on the
 * VM takes the size of each ring in args[0], in bytes.
 */
#define KVM_CAP_DIRTY_LOG_RING		192
#define KVM_CAP_DIRTY_LOG_RING_ACQ_REL	223

/* On the VM fd; no argument. Returns how many entries were reset. */
#define KVM_RESET_DIRTY_RINGS		_IO(KVMIO, 0xc7)

/*
 * The life of an entry, by its flags:
 *
 *	reset  dirty
 *	  0      0	empty: slot and offset mean nothing
 *	  0      1	dirty: the kernel has reported a page
 *	  1      x	collected: user space has read slot and offset
 *
 *	       page dirtied       user space collects       KVM_RESET_DIRTY_RINGS
 *	  00 ---------------> 01 --------------------> 1x ----------------------> 00
 *
 * Entries are filled, collected and reset in the order of the ring. User space
 * makes no step but the second, leaves no entry out, and may stop anywhere. It
 * reads flags with acquire and writes them with release semantics.
 */
#define KVM_DIRTY_GFN_F_DIRTY		_BITUL(0)
#define KVM_DIRTY_GFN_F_RESET		_BITUL(1)
#define KVM_DIRTY_GFN_F_MASK		0x3

/**
 * struct kvm_dirty_gfn - one entry of a dirty ring
 * @flags: KVM_DIRTY_GFN_F_*, see above
 * @slot: address space (bits 31:16) and slot id (bits 15:0) of the memslot
 * @offset: the page, counted from the first of the memslot
 *
 * A vCPU's ring is an array of these. It is mapped from the vCPU's fd at page
 * offset KVM_DIRTY_LOG_PAGE_OFFSET.
 */
struct kvm_dirty_gfn {
	__u32 flags;
	__u32 slot;
	__u64 offset;
};

#endif /* _UAPI_LINUX_KVM_DIRTY_RING_H */
