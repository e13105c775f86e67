// SPDX-License-Identifier: GPL-2.0
/*
 * KVM dirty rings: each vCPU reports the guest pages that it dirties in an
 * array that it shares with user space. The life of an entry is told in
 * include/uapi/linux/kvm_dirty_ring.h, the use of the rings in
 * Documentation/virt/kvm/dirty-ring.rst.
 *
 * Three parties touch a ring: the vCPU pushes, user space collects, and
 * KVM_RESET_DIRTY_RINGS resets. Each store-release below has one load-acquire
 * as its partner:
 *
 *	vCPU (push)		user space		reset
 *
 *	slot, offset
 *	dirty_index
 *	flags = DIRTY (A)  ->	flags (A)
 *				slot, offset
 *				flags = RESET (B)  ->	dirty_index
 *							flags (B)
 *							slot, offset
 *							flags = 0
 *	reset_index (C)   <--------------------------	reset_index (C)
 *	slot, offset
 *
 * (A) Who sees a page as dirty sees which page it is. And as dirty_index is past
 *     the entry by then, a reset that user space calls after it has collected
 *     the entry does not stop short of it.
 * (B) Who sees an entry as collected may have it filled again: user space has
 *     read it.
 * (C) An entry is filled only after the reset is through with it, so that its
 *     "flags = 0" cannot wipe out a new "flags = DIRTY".
 *
 * The reset looks only at entries up to dirty_index: it never takes a RESET flag
 * that user space has forged on an entry to come for a collected page.
 *
 * reported_last() below has a pairing of its own: its full barrier, and the one
 * that user space implies by KVM_RESET_DIRTY_RINGS between its "flags = RESET"
 * and its reading of the page. One of the two sees what the other wrote.
 *
 * What was pushed can be rewritten by user space at any time. The reset reads
 * slot, offset and flags once each, checks its copy and uses its copy. The
 * indices are not shared, so no entry makes the kernel believe in more or fewer
 * entries than there are.
 */
#include <linux/export.h>
#include <linux/kvm_dirty_ring.h>
#include <linux/kvm_host.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/sched/signal.h>
#include <linux/vmalloc.h>

#define CREATE_TRACE_POINTS
#include <trace/events/kvm_dirty_ring.h>

/* 64-gfn blocks that one hold of mmu_lock re-protects at most. */
#define RESET_BLOCKS	32

/**
 * struct reset_batch - what a reset has gathered and not yet re-protected
 * @kvm: the VM
 * @reset: entries reset so far, over all rings
 * @dirty: whether SPTEs were changed, and TLBs have to be flushed
 * @nr: number of @blocks in use
 * @recent: by a hash of the block, where in @blocks to look for it first. A
 *	guess, so that pages that come out of order share a block; a block that
 *	is not found there is opened anew, which does no harm
 * @blocks: the pages
 */
struct reset_batch {
	struct kvm *kvm;
	int reset;
	bool dirty;
	u8 nr;
	u8 recent[RESET_BLOCKS];
	struct kvm_dirty_block blocks[RESET_BLOCKS];
};

static struct kvm_dirty_gfn *ring_entry(struct kvm_dirty_ring *ring, u32 index)
{
	return &ring->gfns[index & (ring->size - 1)];
}

/* For the vCPU's thread, which owns dirty_index. */
static u32 ring_used(struct kvm_dirty_ring *ring)
{
	return ring->dirty_index - smp_load_acquire(&ring->reset_index); /* (C) */
}

static u32 ring_reserved_entries(void)
{
	return KVM_DIRTY_RING_RESERVED + kvm_arch_dirty_ring_hw_log_size();
}

/**
 * kvm_dirty_ring_max_bytes - answer to KVM_CHECK_EXTENSION
 *
 * Return: the size of the largest ring in bytes.
 */
long kvm_dirty_ring_max_bytes(void)
{
	return KVM_DIRTY_RING_MAX_ENTRIES * sizeof(struct kvm_dirty_gfn);
}

/*
 * The bitmaps of memslots that are older than the rings. What was written to
 * these memslots so far is known to the VMM: no vCPU exists.
 */
static void free_bitmaps(struct kvm *kvm)
{
	struct kvm_memory_slot *slot;
	unsigned long *bitmap;
	int as_id;

	lockdep_assert_held(&kvm->slots_lock);

	for (as_id = 0; as_id < KVM_ADDRESS_SPACE_NUM; as_id++) {
		kvm_for_each_memslot(slot, __kvm_memslots(kvm, as_id)) {
			bitmap = slot->dirty_bitmap;
			if (!bitmap)
				continue;
			WRITE_ONCE(slot->dirty_bitmap, NULL);
			synchronize_srcu_expedited(&kvm->srcu);
			kvfree(bitmap);
		}
	}
}

/**
 * kvm_dirty_ring_enable - have the VM report dirty pages in rings
 * @kvm: the VM
 * @cap: KVM_ENABLE_CAP's argument; args[0] is the size of each ring in bytes
 *
 * From here on vCPUs get a ring when they are created, and memslots have no
 * bitmap.
 *
 * Context: Takes kvm->lock and kvm->slots_lock, may sleep.
 * Return: 0, or -EINVAL if the size is not a power of two, is less than a page
 * or leaves no entry below the soft limit, if flags are set, if the VM has
 * rings already or has a vCPU; -E2BIG if the size is beyond
 * KVM_DIRTY_RING_MAX_ENTRIES.
 */
int kvm_dirty_ring_enable(struct kvm *kvm, const struct kvm_enable_cap *cap)
{
	u64 size = cap->args[0];
	int r = -EINVAL;

	if (cap->flags)
		return -EINVAL;

	if (!is_power_of_2(size) || size < PAGE_SIZE ||
	    size <= ring_reserved_entries() * sizeof(struct kvm_dirty_gfn))
		return -EINVAL;

	if (size > kvm_dirty_ring_max_bytes())
		return -E2BIG;

	mutex_lock(&kvm->lock);
	if (!kvm->created_vcpus && !kvm->dirty_ring_size) {
		mutex_lock(&kvm->slots_lock);
		WRITE_ONCE(kvm->dirty_ring_size, size);
		kvm->dirty_ring_brink = KVM_DIRTY_RING_BRINK;
		free_bitmaps(kvm);
		mutex_unlock(&kvm->slots_lock);
		r = 0;
	}
	mutex_unlock(&kvm->lock);

	return r;
}

/**
 * kvm_dirty_ring_create - give a new vCPU its ring
 * @vcpu: the vCPU, not visible to anybody yet
 *
 * Return: 0, also where the VM has no rings, or -ENOMEM.
 */
int kvm_dirty_ring_create(struct kvm_vcpu *vcpu)
{
	struct kvm_dirty_ring *ring = &vcpu->dirty_ring;
	u32 bytes = vcpu->kvm->dirty_ring_size;

	if (!bytes)
		return 0;

	/*
	 * Not charged to a cgroup: the page type that marks a charged page is
	 * the count of its user mappings, and these pages will have some.
	 */
	ring->gfns = vmalloc_user(bytes);
	if (!ring->gfns)
		return -ENOMEM;

	ring->size = bytes / sizeof(*ring->gfns);
	ring->soft_limit = ring->size - ring_reserved_entries();
	return 0;
}

/**
 * kvm_dirty_ring_destroy - free a vCPU's ring
 * @vcpu: the vCPU, not visible to anybody any more
 *
 * A mapping of the ring holds the vCPU's file, so none is left.
 */
void kvm_dirty_ring_destroy(struct kvm_vcpu *vcpu)
{
	vfree(vcpu->dirty_ring.gfns);
	vcpu->dirty_ring.gfns = NULL;
}

/**
 * kvm_dirty_ring_mmap - check a new mapping of the vCPU's fd
 * @vcpu: the vCPU
 * @vma: the mapping
 *
 * A private copy of a ring is of no use to anybody, nor is code in it.
 *
 * Return: 0, or -EINVAL if @vma touches the ring and is private or executable.
 */
int kvm_dirty_ring_mmap(struct kvm_vcpu *vcpu, struct vm_area_struct *vma)
{
	pgoff_t ring_end = KVM_DIRTY_LOG_PAGE_OFFSET +
			   vcpu->kvm->dirty_ring_size / PAGE_SIZE;

	if (!vcpu->kvm->dirty_ring_size)
		return 0;

	/* Or mremap() could grow a mapping into the ring, past this check. */
	vma->vm_flags |= VM_DONTEXPAND;

	if (vma->vm_pgoff >= ring_end ||
	    vma->vm_pgoff + vma_pages(vma) <= KVM_DIRTY_LOG_PAGE_OFFSET)
		return 0;

	if ((vma->vm_flags & VM_EXEC) || !(vma->vm_flags & VM_SHARED))
		return -EINVAL;

	vma->vm_flags &= ~VM_MAYEXEC;
	return 0;
}

/**
 * kvm_dirty_ring_page - find a page of a vCPU's ring
 * @vcpu: the vCPU
 * @pgoff: page offset into the vCPU's fd
 *
 * Return: the page, with no reference taken, or NULL if it is not the ring's.
 */
struct page *kvm_dirty_ring_page(struct kvm_vcpu *vcpu, pgoff_t pgoff)
{
	pgoff_t page = pgoff - KVM_DIRTY_LOG_PAGE_OFFSET;

	if (page >= vcpu->kvm->dirty_ring_size / PAGE_SIZE)
		return NULL;

	return vmalloc_to_page((void *)vcpu->dirty_ring.gfns + page * PAGE_SIZE);
}

/*
 * Pages that KVM writes itself (clocks, steal time, MSR areas of nested guests)
 * come again and again, with nothing in between. While user space has not
 * collected the first report, a second one says nothing new.
 */
static bool reported_last(struct kvm_dirty_ring *ring, u32 slot, u64 offset,
			  u32 used)
{
	if (offset != ring->last_offset || slot != ring->last_slot || !used)
		return false;

	/*
	 * Either we see that the entry was collected, or who collects it and
	 * then reads the page sees what was written to it until now.
	 */
	smp_mb();
	return READ_ONCE(ring_entry(ring, ring->dirty_index - 1)->flags) ==
	       KVM_DIRTY_GFN_F_DIRTY;
}

/*
 * What no ring takes is recorded in the memslot's bitmap. In a VM with rings there
 * is one only with KVM_CAP_DIRTY_LOG_RING_SPILL; the page is lost without it.
 */
static noinline void spill_page(struct kvm *kvm,
				const struct kvm_memory_slot *slot, u64 offset)
{
	unsigned long *bitmap = READ_ONCE(slot->dirty_bitmap);

	/* Two writers may count one. */
	data_race(kvm->dirty_ring_stat.spills++);
	if (bitmap)
		set_bit_le(offset, bitmap);
}

/**
 * kvm_dirty_ring_push - report a dirty page in the current vCPU's ring
 * @kvm: the VM
 * @slot: the page's memslot
 * @offset: the page, an offset into @slot
 *
 * An entry that was not reset is never overwritten. That there is a free one is
 * seen to beforehand: who enters the guest stops at the soft limit, with room for
 * what one exit pushes (see KVM_DIRTY_RING_RESERVED), and who does not is refused
 * by kvm_dirty_ring_refuses().
 *
 * Where no vCPU of @kvm is loaded on this CPU, or its ring has no free entry all
 * the same, the page spills.
 *
 * Context: Any that may mark a page dirty; mmu_lock may be held.
 */
void kvm_dirty_ring_push(struct kvm *kvm, const struct kvm_memory_slot *slot,
			 u64 offset)
{
	u32 slot_id = slot->as_id << 16 | (u16)slot->id;
	struct kvm_dirty_ring *ring;
	struct kvm_dirty_gfn *entry;
	struct kvm_vcpu *vcpu;
	u32 used, index;

	/* A vCPU that is scheduled out pushes too: its steal time. */
	preempt_disable();

	vcpu = __this_cpu_read(kvm_running_vcpu);
	if (unlikely(!vcpu || vcpu->kvm != kvm))
		goto spill;

	ring = &vcpu->dirty_ring;
	index = ring->dirty_index;
	used = ring_used(ring);
	if (unlikely(used >= ring->size))
		goto spill;
	if (unlikely(reported_last(ring, slot_id, offset, used)))
		goto out;

	entry = ring_entry(ring, index);
	WRITE_ONCE(entry->slot, slot_id);
	WRITE_ONCE(entry->offset, offset);
	WRITE_ONCE(ring->dirty_index, index + 1);
	smp_store_release(&entry->flags, KVM_DIRTY_GFN_F_DIRTY); /* (A) */

	ring->last_slot = slot_id;
	ring->last_offset = offset;
	ring->pushes++;

	if (++used >= ring->soft_limit)
		kvm_make_request(KVM_REQ_DIRTY_RING_FULL, vcpu);

	trace_kvm_dirty_ring_push(vcpu->vcpu_id, slot_id, offset, used);
out:
	preempt_enable();
	return;
spill:
	preempt_enable();
	spill_page(kvm, slot, offset);
}

/**
 * kvm_dirty_ring_exhausted - see whether an ioctl could overrun the ring
 * @vcpu: the vCPU, whose mutex is held
 *
 * Ioctls such as KVM_SET_MSRS write guest memory and never come to the soft
 * limit, which is looked at before the guest is entered. L1 can have a list of
 * MSRs set in one go.
 *
 * Return: true if the ring may have no room for what one ioctl pushes, one MSR of
 * a list, or one page for which the guest has waited; false otherwise, also where
 * the VM has no rings, or what they do not take is not lost.
 */
bool kvm_dirty_ring_exhausted(struct kvm_vcpu *vcpu)
{
	struct kvm_dirty_ring *ring = &vcpu->dirty_ring;

	return ring->size - ring_used(ring) < vcpu->kvm->dirty_ring_brink;
}
EXPORT_SYMBOL_GPL(kvm_dirty_ring_exhausted);

/**
 * kvm_dirty_ring_pushes - count the entries of a vCPU's ring
 * @vcpu: the vCPU, whose mutex is held
 *
 * Return: how many entries were filled since the vCPU was created, modulo 2^32.
 */
u32 kvm_dirty_ring_pushes(struct kvm_vcpu *vcpu)
{
	return vcpu->dirty_ring.dirty_index;
}
EXPORT_SYMBOL_GPL(kvm_dirty_ring_pushes);

/**
 * kvm_dirty_ring_refuses - see whether an ioctl has to wait for a reset
 * @vcpu: the vCPU, whose mutex is held
 * @ioctl: what user space asks of it
 *
 * Return: true if @ioctl may push more than there is room for. Not so KVM_RUN,
 * which exits for a full ring, nor what only reads the vCPU's state.
 */
bool kvm_dirty_ring_refuses(struct kvm_vcpu *vcpu, unsigned int ioctl)
{
	return kvm_dirty_ring_exhausted(vcpu) && ioctl != KVM_RUN &&
	       !kvm_arch_dirty_ring_ioctl_reads(ioctl);
}

/**
 * kvm_dirty_ring_full_exit - see whether KVM_RUN must exit for a full ring
 * @vcpu: the vCPU, which has KVM_REQ_DIRTY_RING_FULL pending
 *
 * The request stays pending until a reset has made room, so that each KVM_RUN
 * until then exits.
 *
 * Return: true if kvm_run now holds KVM_EXIT_DIRTY_RING_FULL, false if there is
 * room and the guest can be entered.
 */
bool kvm_dirty_ring_full_exit(struct kvm_vcpu *vcpu)
{
	u32 used = ring_used(&vcpu->dirty_ring);

	if (used < vcpu->dirty_ring.soft_limit) {
		kvm_clear_request(KVM_REQ_DIRTY_RING_FULL, vcpu);
		return false;
	}

	vcpu->run->exit_reason = KVM_EXIT_DIRTY_RING_FULL;
	vcpu->dirty_ring.full_exits++;
	trace_kvm_dirty_ring_exit(vcpu->vcpu_id, used);
	return true;
}

/* Re-protect what was gathered, and let others run. */
static void batch_apply(struct reset_batch *batch)
{
	if (!batch->nr)
		return;

	spin_lock(&batch->kvm->mmu_lock);
	kvm_arch_dirty_ring_reprotect(batch->kvm, batch->blocks, batch->nr);
	spin_unlock(&batch->kvm->mmu_lock);

	batch->nr = 0;
	batch->dirty = true;
	cond_resched();
}

/* The caller has seen to it that there is a free block. */
static void batch_add(struct reset_batch *batch, struct kvm_memory_slot *slot,
		      u64 offset)
{
	u64 first = round_down(offset, BITS_PER_LONG);
	u8 *recent = &batch->recent[offset / BITS_PER_LONG % RESET_BLOCKS];
	struct kvm_dirty_block *block = &batch->blocks[*recent];

	if (*recent >= batch->nr || block->first != first ||
	    block->slot != slot) {
		*recent = batch->nr++;
		block = &batch->blocks[*recent];
		block->slot = slot;
		block->first = first;
		block->mask = 0;
	}
	block->mask |= BIT(offset % BITS_PER_LONG);
}

/*
 * The memslot that an entry names, if its dirty pages are tracked, else NULL.
 * User space may have written any @slot_id.
 */
static struct kvm_memory_slot *entry_to_memslot(struct kvm *kvm, u32 slot_id)
{
	struct kvm_memory_slot *slot;
	u32 as_id = slot_id >> 16;
	u32 id = (u16)slot_id;

	if (as_id >= KVM_ADDRESS_SPACE_NUM || id >= KVM_USER_MEM_SLOTS)
		return NULL;

	id = array_index_nospec(id, KVM_USER_MEM_SLOTS);
	slot = id_to_memslot(__kvm_memslots(kvm, as_id), id);

	return slot && kvm_slot_tracks_dirty(slot) ? slot : NULL;
}

/*
 * Reset the entries that user space has collected, in sequence, up to what the
 * vCPU had pushed when we came. It may push more meanwhile, and user space may
 * collect that: it is left to the next call, or this one might never return.
 */
static void reset_ring(struct reset_batch *batch, struct kvm_vcpu *vcpu)
{
	struct kvm_dirty_ring *ring = &vcpu->dirty_ring;
	u32 pushed = READ_ONCE(ring->dirty_index);
	struct kvm_memory_slot *slot = NULL;
	u32 start = ring->reset_index;
	u32 slot_id = U32_MAX;
	u32 index;

	for (index = start; index != pushed; index++) {
		struct kvm_dirty_gfn *entry = ring_entry(ring, index);
		u32 entry_slot;
		u64 offset;

		if (batch->nr == RESET_BLOCKS) {
			batch_apply(batch);
			smp_store_release(&ring->reset_index, index); /* (C) */
			if (fatal_signal_pending(current))
				break;
		}

		/* (B) */
		if (!(smp_load_acquire(&entry->flags) & KVM_DIRTY_GFN_F_RESET))
			break;

		entry_slot = READ_ONCE(entry->slot);
		offset = READ_ONCE(entry->offset);
		WRITE_ONCE(entry->flags, 0);

		if (entry_slot != slot_id) {
			slot_id = entry_slot;
			slot = entry_to_memslot(batch->kvm, slot_id);
		}
		if (slot && offset < slot->npages)
			batch_add(batch, slot,
				  array_index_nospec(offset, slot->npages));
		else
			batch->kvm->dirty_ring_stat.ignored_entries++;
	}

	smp_store_release(&ring->reset_index, index); /* (C) */
	batch->reset += index - start;
	trace_kvm_dirty_ring_reset(vcpu->vcpu_id, index - start, pushed - index);
}

/**
 * kvm_dirty_ring_reset - KVM_RESET_DIRTY_RINGS
 * @kvm: the VM
 *
 * Re-protects the pages of all entries that user space has collected, in all
 * rings, and frees these entries. An entry that names no page of a memslot
 * whose dirty pages are tracked is freed and otherwise ignored.
 *
 * Once this returns, a write to any of the pages is reported again. Only a
 * fatal signal stops it early; what it has freed until then is re-protected.
 *
 * Context: Takes kvm->slots_lock and mmu_lock, may sleep.
 * Return: how many entries were freed, or -EINVAL if the VM has no rings.
 */
int kvm_dirty_ring_reset(struct kvm *kvm)
{
	struct reset_batch batch = { .kvm = kvm };
	struct kvm_vcpu *vcpu;
	int i;

	if (!READ_ONCE(kvm->dirty_ring_size))
		return -EINVAL;

	mutex_lock(&kvm->slots_lock);

	kvm_for_each_vcpu(i, vcpu, kvm) {
		reset_ring(&batch, vcpu);
		if (fatal_signal_pending(current))
			break;
		cond_resched();
	}
	batch_apply(&batch);

	if (batch.dirty)
		kvm_flush_remote_tlbs(kvm);

	kvm->dirty_ring_stat.resets++;
	kvm->dirty_ring_stat.reset_entries += batch.reset;
	mutex_unlock(&kvm->slots_lock);

	return batch.reset;
}
