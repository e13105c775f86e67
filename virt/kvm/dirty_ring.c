// SPDX-License-Identifier: GPL-2.0
/*
 * KVM dirty rings: each vCPU reports the guest pages that it dirties in an
 * array that it shares with user space. include/uapi/linux/kvm.h has the life of
 * an entry, Documentation/virt/kvm/dirty-ring.rst the use of the rings.
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
 * (A) User space that sees DIRTY also sees slot and offset. And dirty_index is
 *     past the entry by then, so a reset that follows the collection does not
 *     stop short of the entry.
 * (B) A reset that sees RESET comes after user space has read the entry, which
 *     may be filled again.
 * (C) A push fills an entry only after the reset has finished with it, so the
 *     reset's "flags = 0" cannot overwrite a new "flags = DIRTY".
 *
 * The reset looks only at entries up to dirty_index: it never takes a RESET flag
 * that user space has forged on an entry to come for a collected page.
 *
 * reported_recently() below has a pairing of its own: its full barrier, and the
 * one that the reset has between its "flags = 0" and its look at the SPTE, and so
 * before user space reads the page. One of the two sees what the other wrote.
 *
 * What was pushed can be rewritten by user space at any time. The reset reads
 * slot, offset and flags once each, checks its copy and uses its copy. The
 * indices are not shared, so no entry makes the kernel believe in more or fewer
 * entries than there are.
 */
#include <linux/export.h>
#include <linux/kernel.h>
#include <linux/kvm_dirty_ring.h>
#include <linux/kvm_host.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/sched/signal.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#define CREATE_TRACE_POINTS
#include <trace/events/kvm_dirty_ring.h>

/* The largest ring: 1 MiB of entries. */
#define MAX_ENTRIES	65536

/*
 * Entries that stay empty below the soft limit, besides those for hardware's log:
 * what KVM pushes from one look at the limit to the next. And those of them that
 * no step but the last ones takes: leaving nested mode, and being scheduled out.
 * arch/x86/kvm/dirty_ring.c has the sums.
 */
#define EXIT_ENTRIES	64
#define KEPT_ENTRIES	8

/* Above each offset into a memslot: guest physical addresses have 52 bits. */
#define RECENT_SLOT_SHIFT	40
#define NO_PAGE			U64_MAX

/* Pages that one hold of mmu_lock re-protects at most. */
#define RESET_PAGES	48

/**
 * struct reset_batch - what a reset has gathered and not yet re-protected
 * @kvm: the VM
 * @reset: entries reset so far, over all rings
 * @dirty: whether SPTEs were changed, and TLBs have to be flushed
 * @nr: number of @pages in use
 * @pages: the pages, in the order of their entries
 */
struct reset_batch {
	struct kvm *kvm;
	int reset;
	bool dirty;
	u32 nr;
	struct kvm_dirty_page pages[RESET_PAGES];
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

static u32 ring_empty(struct kvm_dirty_ring *ring)
{
	return ring->size - ring_used(ring);
}

/* Entries that stay empty below the soft limit. */
static u32 reserved_entries(void)
{
	return EXIT_ENTRIES + kvm_arch_dirty_ring_hw_log_size();
}

/**
 * kvm_dirty_ring_soft_limit - how many used entries keep a vCPU out of the guest
 * @kvm: a VM with rings
 *
 * Return: the number; some steps of a guest ask for more room, see
 * kvm_dirty_ring_reserve().
 */
u32 kvm_dirty_ring_soft_limit(struct kvm *kvm)
{
	return kvm->dirty_ring_size / sizeof(struct kvm_dirty_gfn) -
	       reserved_entries();
}

/**
 * kvm_dirty_ring_max_bytes - answer to KVM_CHECK_EXTENSION
 *
 * Return: the size of the largest ring in bytes.
 */
long kvm_dirty_ring_max_bytes(void)
{
	return MAX_ENTRIES * sizeof(struct kvm_dirty_gfn);
}

/*
 * Free bitmaps that were allocated before rings were enabled. They report
 * nothing that the VMM does not know: no vCPU exists.
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
 * rings already or has a vCPU; -E2BIG if the size is beyond that of the largest
 * ring.
 */
int kvm_dirty_ring_enable(struct kvm *kvm, const struct kvm_enable_cap *cap)
{
	u64 size = cap->args[0];
	int r = -EINVAL;

	if (cap->flags)
		return -EINVAL;

	if (!is_power_of_2(size) || size < PAGE_SIZE ||
	    size <= reserved_entries() * sizeof(struct kvm_dirty_gfn))
		return -EINVAL;

	if (size > kvm_dirty_ring_max_bytes())
		return -E2BIG;

	mutex_lock(&kvm->lock);
	if (!kvm->created_vcpus && !kvm->dirty_ring_size) {
		mutex_lock(&kvm->slots_lock);
		kvm_dirty_ring_watermark_init(kvm);
		WRITE_ONCE(kvm->dirty_ring_size, size);
		free_bitmaps(kvm);
		mutex_unlock(&kvm->slots_lock);
		r = 0;
	}
	mutex_unlock(&kvm->lock);

	return r;
}

static bool tracks_memslots(struct kvm *kvm)
{
	struct kvm_memory_slot *slot;
	int as_id;

	for (as_id = 0; as_id < KVM_ADDRESS_SPACE_NUM; as_id++)
		kvm_for_each_memslot(slot, __kvm_memslots(kvm, as_id))
			if (kvm_slot_tracks_dirty(slot))
				return true;
	return false;
}

/**
 * kvm_dirty_ring_enable_backup - back the rings of a VM up by bitmaps
 * @kvm: the VM
 * @cap: KVM_ENABLE_CAP's argument
 *
 * A ring belongs to a vCPU and has an end. A page that is written where no vCPU
 * is loaded has no ring, and one that an ioctl writes may find no empty entry.
 * From here on tracked memslots have a bitmap, which records such pages, and
 * nothing waits for room in a ring but the entry of the guest.
 *
 * The bitmap is read and cleared as without rings. Few pages are recorded, so
 * user space reads it once, when all vCPUs have stopped.
 *
 * Context: Takes kvm->slots_lock, may sleep.
 * Return: 0, also if they are backed up already, or -EINVAL if flags or an argument
 * are set, if the VM has no rings or tracks a memslot, or if the kernel is built
 * without NEED_KVM_DIRTY_RING_WITH_BITMAP.
 */
int kvm_dirty_ring_enable_backup(struct kvm *kvm,
				 const struct kvm_enable_cap *cap)
{
	int r = -EINVAL;

	if (!IS_ENABLED(CONFIG_NEED_KVM_DIRTY_RING_WITH_BITMAP) ||
	    cap->flags || memchr_inv(cap->args, 0, sizeof(cap->args)))
		return -EINVAL;

	mutex_lock(&kvm->slots_lock);
	if (kvm->dirty_ring_size &&
	    (kvm->dirty_ring_backup || !tracks_memslots(kvm))) {
		kvm->dirty_ring_backup = true;
		r = 0;
	}
	mutex_unlock(&kvm->slots_lock);

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
	ring->entry_room = reserved_entries() + 1;
	memset64(ring->recent, NO_PAGE, ARRAY_SIZE(ring->recent));
	return 0;
}

/**
 * kvm_dirty_ring_destroy - free a vCPU's ring
 * @vcpu: the vCPU, not visible to anybody, with or without a ring
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
 * Pages that KVM writes itself (clocks, steal time, pages of nested guests) come
 * again and again, a few in turn. While an entry names the page, another one says
 * nothing new, whether the first is collected or not: user space reads the page
 * after the reset.
 *
 * @recent has the pages of the last entries, at their indices modulo its size: no
 * later push has filled these entries again.
 */
static bool reported_recently(struct kvm_dirty_ring *ring, u64 page)
{
	u32 last = ring->dirty_index - 1;
	u32 i;

	for (i = 0; ring->recent[i] != page; i++)
		if (i == ARRAY_SIZE(ring->recent) - 1)
			return false;

	/*
	 * Either we see that the entry was reset, or the reset, which clears the
	 * flags first, finds the SPTE that made the page writable, and user
	 * space, which reads the page then, sees all writes until now.
	 */
	smp_mb();
	if (READ_ONCE(ring_entry(ring, last - (last - i) %
				 ARRAY_SIZE(ring->recent))->flags))
		return true;

	ring->recent[i] = NO_PAGE;
	return false;
}

/* No ring has an entry for the page. The backup bitmap takes it, if there is one. */
static bool mark_in_backup(struct kvm *kvm, const struct kvm_memory_slot *slot,
			   u64 offset)
{
	unsigned long *bitmap = READ_ONCE(slot->dirty_bitmap);

	/* Unlocked: concurrent pages may be undercounted. */
	data_race(kvm->dirty_ring_stat.no_entry++);
	if (!bitmap)
		return false;

	set_bit_le(offset, bitmap);
	return true;
}

/*
 * A step of the vCPU has filled more entries than it has asked for. The page is
 * lost, and what a VMM has copied would be no copy of the memory. So end the VM, as
 * kvm_vm_bugged() does; but a vCPU that is scheduled out may come here.
 */
static noinline void ring_overflows(struct kvm *kvm)
{
	struct kvm_vcpu *vcpu;
	int i;

	WARN_ONCE(!kvm->vm_bugged, "no entry for a dirty page");
	kvm->vm_bugged = true;
	kvm_for_each_vcpu(i, vcpu, kvm)
		kvm_make_request(KVM_REQ_VM_BUGGED, vcpu);
}

/**
 * kvm_dirty_ring_push - report a dirty page in the current vCPU's ring
 * @kvm: the VM
 * @slot: the page's memslot
 * @offset: the page, an offset into @slot
 *
 * An entry that was not reset is never overwritten. Whatever may push asks
 * kvm_dirty_ring_has_room() before, so that there is an empty one.
 *
 * If no vCPU of @kvm is loaded on this CPU, or its ring has no empty entry all
 * the same, the page is recorded in the backup bitmap. Without one it is lost,
 * which in the latter case ends the VM.
 *
 * Context: Any that may mark a page dirty; mmu_lock may be held.
 */
void kvm_dirty_ring_push(struct kvm *kvm, const struct kvm_memory_slot *slot,
			 u64 offset)
{
	u32 slot_id = slot->as_id << 16 | (u16)slot->id;
	u64 page = (u64)slot_id << RECENT_SLOT_SHIFT | offset;
	struct kvm_dirty_ring *ring;
	struct kvm_dirty_gfn *entry;
	struct kvm_vcpu *vcpu;
	u32 used, index;

	/* A vCPU that is scheduled out pushes too: its steal time. */
	preempt_disable();

	vcpu = __this_cpu_read(kvm_running_vcpu);
	if (unlikely(!vcpu || vcpu->kvm != kvm)) {
		mark_in_backup(kvm, slot, offset);
		goto out;
	}

	ring = &vcpu->dirty_ring;
	if (unlikely(reported_recently(ring, page)))
		goto out;

	index = ring->dirty_index;
	used = ring_used(ring);
	if (unlikely(used >= ring->size)) {
		if (!mark_in_backup(kvm, slot, offset))
			ring_overflows(kvm);
		goto out;
	}

	entry = ring_entry(ring, index);
	WRITE_ONCE(entry->slot, slot_id);
	WRITE_ONCE(entry->offset, offset);
	WRITE_ONCE(ring->dirty_index, index + 1);
	smp_store_release(&entry->flags, KVM_DIRTY_GFN_F_DIRTY); /* (A) */

	ring->recent[index % ARRAY_SIZE(ring->recent)] = page;
	ring->pushes++;

	if (ring->size - ++used < ring->entry_room)
		kvm_make_request(KVM_REQ_DIRTY_RING_FULL, vcpu);
	if (unlikely(used >= READ_ONCE(ring->watermark)))
		kvm_dirty_ring_watermark_reached(vcpu, used);

	trace_kvm_dirty_ring_push(vcpu->vcpu_id, ring, slot_id, offset);
out:
	preempt_enable();
}
EXPORT_SYMBOL_GPL(kvm_dirty_ring_push);

/**
 * kvm_dirty_ring_has_room - ask whether a vCPU may take a step that pushes
 * @vcpu: the vCPU, whose mutex is held
 * @entries: how many entries the step may fill
 *
 * Return: true if the ring has room for these and for the entries that are kept,
 * if the VM has no rings, if a bitmap takes what the ring does not, or if @entries
 * is 0; false if the step must wait for a reset.
 */
bool kvm_dirty_ring_has_room(struct kvm_vcpu *vcpu, u32 entries)
{
	struct kvm_dirty_ring *ring = &vcpu->dirty_ring;

	return !entries || !ring->size || kvm_dirty_ring_has_backup(vcpu->kvm) ||
	       ring_empty(ring) >= entries + KEPT_ENTRIES;
}
EXPORT_SYMBOL_GPL(kvm_dirty_ring_has_room);

/**
 * kvm_dirty_ring_below_limit - ask whether a ring is below its soft limit
 * @vcpu: the vCPU, whose mutex is held
 *
 * Return: true if it is, or if the VM has no rings.
 */
bool kvm_dirty_ring_below_limit(struct kvm_vcpu *vcpu)
{
	struct kvm_dirty_ring *ring = &vcpu->dirty_ring;

	return ring_empty(ring) >= ring->entry_room;
}

/* An empty ring without room, after an exit, has none after a reset either. */
static void exit_for_room(struct kvm_vcpu *vcpu, u32 room)
{
	struct kvm_dirty_ring *ring = &vcpu->dirty_ring;

	if (room > ring->size) {
		vcpu->run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
		vcpu->run->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
		vcpu->run->internal.ndata = 0;
		return;
	}

	vcpu->run->exit_reason = KVM_EXIT_DIRTY_RING_FULL;
	ring->full_exits++;
	trace_kvm_dirty_ring_exit(vcpu->vcpu_id);
}

/**
 * kvm_dirty_ring_exit_before - exit to user space before a step without room
 * @vcpu: the vCPU, whose mutex is held
 * @entries: how many entries the step may fill
 *
 * Return: false if there is room for the step. True if kvm_run now holds
 * KVM_EXIT_DIRTY_RING_FULL, or KVM_EXIT_INTERNAL_ERROR where an empty ring has no
 * room for the step either: KVM_RUN is to return 0, and do the step in a later
 * call.
 */
bool kvm_dirty_ring_exit_before(struct kvm_vcpu *vcpu, u32 entries)
{
	if (kvm_dirty_ring_has_room(vcpu, entries))
		return false;

	exit_for_room(vcpu, entries + KEPT_ENTRIES + EXIT_ENTRIES);
	return true;
}
EXPORT_SYMBOL_GPL(kvm_dirty_ring_exit_before);

/**
 * kvm_dirty_ring_full_exit - ask whether KVM_RUN must exit for a full ring
 * @vcpu: the vCPU
 *
 * KVM_REQ_DIRTY_RING_FULL is pending while the ring is not below its soft limit,
 * and stays so until a reset has made room: each KVM_RUN until then exits.
 *
 * Return: true if KVM_RUN is to return 0, see kvm_dirty_ring_exit_before().
 */
bool kvm_dirty_ring_full_exit(struct kvm_vcpu *vcpu)
{
	if (kvm_dirty_ring_below_limit(vcpu)) {
		kvm_clear_request(KVM_REQ_DIRTY_RING_FULL, vcpu);
		return false;
	}

	exit_for_room(vcpu, vcpu->dirty_ring.entry_room);
	return true;
}

/**
 * kvm_dirty_ring_reserve - lower the soft limit
 * @vcpu: the vCPU, which is loaded
 * @entries: what the next exit may fill in addition to what any exit may
 */
void kvm_dirty_ring_reserve(struct kvm_vcpu *vcpu, u32 entries)
{
	if (!vcpu->dirty_ring.size || kvm_dirty_ring_has_backup(vcpu->kvm))
		return;

	vcpu->dirty_ring.entry_room = reserved_entries() + 1 + entries;
	if (!kvm_dirty_ring_below_limit(vcpu))
		kvm_make_request(KVM_REQ_DIRTY_RING_FULL, vcpu);
}
EXPORT_SYMBOL_GPL(kvm_dirty_ring_reserve);

/* Re-protect what was gathered, and let others run. */
static void batch_apply(struct reset_batch *batch)
{
	if (!batch->nr)
		return;

	spin_lock(&batch->kvm->mmu_lock);
	smp_mb__after_spinlock(); /* see reported_recently() */
	kvm_arch_dirty_ring_reprotect(batch->kvm, batch->pages, batch->nr);
	spin_unlock(&batch->kvm->mmu_lock);

	batch->nr = 0;
	batch->dirty = true;
	cond_resched();
}

/* The caller makes sure that there is room. */
static void batch_add(struct reset_batch *batch, struct kvm_memory_slot *slot,
		      u64 offset)
{
	struct kvm_dirty_page *page = &batch->pages[batch->nr++];

	page->slot = slot;
	page->offset = offset;
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

		if (batch->nr == RESET_PAGES) {
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
	if (index != start)
		kvm_dirty_ring_watermark_rearm(batch->kvm, ring);
	batch->reset += index - start;
	trace_kvm_dirty_ring_reset(vcpu->vcpu_id, ring);
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
	struct reset_batch batch;
	struct kvm_vcpu *vcpu;
	int i;

	if (!READ_ONCE(kvm->dirty_ring_size))
		return -EINVAL;

	/* The pages are not worth clearing. */
	batch.kvm = kvm;
	batch.reset = 0;
	batch.dirty = false;
	batch.nr = 0;

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
