/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_KVM_DIRTY_RING_H
#define _LINUX_KVM_DIRTY_RING_H

#include <linux/cache.h>
#include <linux/errno.h>
#include <linux/irq_work.h>
#include <linux/types.h>

struct eventfd_ctx;
struct kvm;
struct kvm_dirty_gfn;
struct kvm_enable_cap;
struct kvm_memory_slot;
struct kvm_vcpu;
struct page;
struct vm_area_struct;

/**
 * struct kvm_dirty_ring_stat - what a VM's rings have seen, for debugfs
 * @resets: calls of KVM_RESET_DIRTY_RINGS
 * @reset_entries: entries that these have freed
 * @ignored_entries: those of them that named no page of a tracked memslot
 * @no_entry: dirty pages that no ring took; counted without a lock
 */
struct kvm_dirty_ring_stat {
	ulong resets;
	ulong reset_entries;
	ulong ignored_entries;
	ulong no_entry;
};

/**
 * struct kvm_dirty_ring_watermark - when a VM's rings are to be collected
 * @eventfd: what is signalled then; NULL if there is no watermark
 * @work: gives the signal
 * @entries: how many used entries of a ring make it do so; 0 if there is no
 *	watermark; written under kvm->slots_lock
 */
struct kvm_dirty_ring_watermark {
	struct eventfd_ctx *eventfd;
	struct irq_work work;
	u32 entries;
};

/* Lines of debugfs_entries[]. */
#define DIRTY_RING_VM_STAT(n, x) \
	{ n, offsetof(struct kvm, dirty_ring_stat.x), KVM_STAT_VM }
#define DIRTY_RING_VCPU_STAT(n, x) \
	{ n, offsetof(struct kvm_vcpu, dirty_ring.x), KVM_STAT_VCPU }

/**
 * struct kvm_dirty_page - a page whose next write is to be reported
 * @slot: its memslot
 * @offset: the page, an offset into @slot; not beyond the end
 */
struct kvm_dirty_page {
	struct kvm_memory_slot *slot;
	u64 offset;
};

#ifdef CONFIG_HAVE_KVM_DIRTY_RING

/**
 * struct kvm_dirty_ring - a vCPU's dirty ring
 * @gfns: the entries, shared with user space, which may write any of them
 * @size: number of entries, a power of two; 0 if the VM has no rings
 * @entry_room: how many entries must be empty for an entry of the guest
 * @dirty_index: the next entry to fill; written by the thread that has the
 *	vCPU loaded
 * @watermark: how many used entries give a signal, see dirty_ring_watermark.c
 * @recent: the kernel's copy of what was filled in last
 * @pushes: entries filled since the vCPU was created, for debugfs
 * @full_exits: exits because the ring was full, for debugfs
 * @reset_index: the next entry to reset; written under kvm->slots_lock
 *
 * Both indices run freely and are taken modulo @size where an entry is looked
 * up: @dirty_index - @reset_index is the number of used entries, 0 to @size.
 * They are the kernel's alone. Nothing that user space writes into @gfns moves
 * one of them past the other.
 */
struct kvm_dirty_ring {
	struct kvm_dirty_gfn *gfns;
	u32 size;
	u32 dirty_index;
	u32 entry_room;
	u32 watermark;
	u64 recent[4];
	u64 pushes;
	u64 full_exits;
	/* The harvester's CPU writes this one, so keep it off the vCPU's line. */
	u32 reset_index ____cacheline_aligned_in_smp;
};

long kvm_dirty_ring_max_bytes(void);
int kvm_dirty_ring_enable(struct kvm *kvm, const struct kvm_enable_cap *cap);
int kvm_dirty_ring_enable_backup(struct kvm *kvm,
				 const struct kvm_enable_cap *cap);
int kvm_dirty_ring_create(struct kvm_vcpu *vcpu);
void kvm_dirty_ring_destroy(struct kvm_vcpu *vcpu);
int kvm_dirty_ring_mmap(struct kvm_vcpu *vcpu, struct vm_area_struct *vma);
struct page *kvm_dirty_ring_page(struct kvm_vcpu *vcpu, pgoff_t pgoff);
void kvm_dirty_ring_push(struct kvm *kvm, const struct kvm_memory_slot *slot,
			 u64 offset);
bool kvm_dirty_ring_has_room(struct kvm_vcpu *vcpu, u32 entries);
bool kvm_dirty_ring_below_limit(struct kvm_vcpu *vcpu);
bool kvm_dirty_ring_exit_before(struct kvm_vcpu *vcpu, u32 entries);
bool kvm_dirty_ring_full_exit(struct kvm_vcpu *vcpu);
void kvm_dirty_ring_reserve(struct kvm_vcpu *vcpu, u32 entries);
int kvm_dirty_ring_reset(struct kvm *kvm);
u32 kvm_dirty_ring_soft_limit(struct kvm *kvm);

void kvm_dirty_ring_watermark_init(struct kvm *kvm);
void kvm_dirty_ring_watermark_destroy(struct kvm *kvm);
void kvm_dirty_ring_watermark_reached(struct kvm_vcpu *vcpu, u32 used);
void kvm_dirty_ring_watermark_rearm(struct kvm *kvm,
				    struct kvm_dirty_ring *ring);
int kvm_dirty_ring_set_watermark(struct kvm *kvm,
				 const struct kvm_enable_cap *cap);

/**
 * kvm_arch_dirty_ring_hw_log_size - size of the hardware's own dirty log
 *
 * Return: how many pages that hardware has logged one exit from the guest may
 * push, in entries; 0 without such hardware.
 */
u32 kvm_arch_dirty_ring_hw_log_size(void);

/**
 * kvm_arch_dirty_ring_reprotect - have the next write to pages reported
 * @kvm: the VM
 * @page: the first of the pages
 * @nr: number of pages
 *
 * Huge pages are not looked at, as none is writable while a memslot's dirty
 * pages are tracked.
 *
 * Context: mmu_lock is held. The caller flushes the TLBs.
 */
void kvm_arch_dirty_ring_reprotect(struct kvm *kvm,
				   const struct kvm_dirty_page *page, int nr);

#else /* !CONFIG_HAVE_KVM_DIRTY_RING */

struct kvm_dirty_ring {
};

static inline long kvm_dirty_ring_max_bytes(void)
{
	return 0;
}

static inline int kvm_dirty_ring_enable(struct kvm *kvm,
					const struct kvm_enable_cap *cap)
{
	return -EINVAL;
}

static inline int kvm_dirty_ring_enable_backup(struct kvm *kvm,
					       const struct kvm_enable_cap *cap)
{
	return -EINVAL;
}

static inline int kvm_dirty_ring_create(struct kvm_vcpu *vcpu)
{
	return 0;
}

static inline void kvm_dirty_ring_destroy(struct kvm_vcpu *vcpu)
{
}

static inline int kvm_dirty_ring_mmap(struct kvm_vcpu *vcpu,
				      struct vm_area_struct *vma)
{
	return 0;
}

static inline struct page *kvm_dirty_ring_page(struct kvm_vcpu *vcpu,
					       pgoff_t pgoff)
{
	return NULL;
}

static inline void kvm_dirty_ring_push(struct kvm *kvm,
				       const struct kvm_memory_slot *slot,
				       u64 offset)
{
}

static inline bool kvm_dirty_ring_has_room(struct kvm_vcpu *vcpu, u32 entries)
{
	return true;
}

static inline bool kvm_dirty_ring_below_limit(struct kvm_vcpu *vcpu)
{
	return true;
}

static inline bool kvm_dirty_ring_exit_before(struct kvm_vcpu *vcpu,
					      u32 entries)
{
	return false;
}

static inline bool kvm_dirty_ring_full_exit(struct kvm_vcpu *vcpu)
{
	return false;
}

static inline void kvm_dirty_ring_reserve(struct kvm_vcpu *vcpu, u32 entries)
{
}

static inline int kvm_dirty_ring_reset(struct kvm *kvm)
{
	return -ENOTTY;
}

static inline void kvm_dirty_ring_watermark_destroy(struct kvm *kvm)
{
}

static inline int kvm_dirty_ring_set_watermark(struct kvm *kvm,
					       const struct kvm_enable_cap *cap)
{
	return -EINVAL;
}

#endif /* CONFIG_HAVE_KVM_DIRTY_RING */

#endif /* _LINUX_KVM_DIRTY_RING_H */
