// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty rings and page tables: report a page when it becomes writable, and make
 * the next write to a reported page visible again.
 *
 * For the bitmap, kvm_arch_mmu_enable_log_dirty_pt_masked() does the latter: it
 * computes a new SPTE, exchanges it for the old one, and compares both for all
 * that may have changed. Here an atomic instruction clears a single bit and
 * leaves the others to hardware, so that only the meaning of this bit matters.
 * A ring is reset page by page, so this is most of its cost.
 */
#include <linux/kvm_host.h>

#include "mmu.h"
#include "mmu_internal.h"
#include "spte.h"
#include "tdp_iter.h"

/*
 * Clear the bit of a leaf SPTE that lets the guest write to the page unnoticed: D
 * where PML logs the pages that hardware makes dirty, else W.
 *
 * The page is dirty if D is set where A/D bits are in use, and if W is set where
 * they are not. Before that bit is lost, struct page must be marked dirty.
 *
 * A W bit that fast_page_fault() sets concurrently is harmless: it reports the
 * page after it has set the bit.
 */
static __always_inline void track_next_write(u64 *sptep, bool pml)
{
	u64 spte = READ_ONCE(*sptep);

	if (pml && !spte_ad_need_write_protect(spte)) {
		if (!(spte & shadow_dirty_mask))
			return;
		clear_bit(__ffs64(shadow_dirty_mask), (unsigned long *)sptep);
	} else {
		if (!is_writable_pte(spte))
			return;
		clear_bit(PT_WRITABLE_SHIFT, (unsigned long *)sptep);
		if (spte_ad_enabled(spte))
			return;
	}
	kvm_set_pfn_dirty(spte_to_pfn(spte));
}

/*
 * The table of 2 MiB entries that is on the way to @gfn under @root, or NULL if
 * there is none. No table is linked by an MMIO SPTE.
 */
static u64 *tdp_2m_table(struct kvm_mmu_page *root, gfn_t gfn)
{
	u64 *table = root->spt;
	int level;

	/* A memslot may lie beyond what the table can map. */
	if (gfn >> (PT64_LEVEL_BITS * root->role.level))
		return NULL;

	for (level = root->role.level; table && level > PG_LEVEL_2M; level--)
		table = spte_to_child_pt(table[SHADOW_PT_INDEX(gfn << PAGE_SHIFT,
							       level)], level);
	return table;
}

/* Pages come in any order, mostly from few GiB: remember the last table. */
static void root_track_next_writes(struct kvm_mmu_page *root,
				   const struct kvm_dirty_page *page, int nr,
				   bool pml)
{
	gfn_t table_nr = ~0ULL;
	u64 *table = NULL;

	for (; nr--; page++) {
		gfn_t gfn = page->slot->base_gfn + page->offset;
		u64 *leaves;

		if (root->role.smm != page->slot->as_id)
			continue;

		if (gfn >> (2 * PT64_LEVEL_BITS) != table_nr) {
			table_nr = gfn >> (2 * PT64_LEVEL_BITS);
			table = tdp_2m_table(root, gfn);
		}
		if (!table)
			continue;

		leaves = spte_to_child_pt(table[SHADOW_PT_INDEX(gfn << PAGE_SHIFT,
								PG_LEVEL_2M)],
					  PG_LEVEL_2M);
		if (!leaves)
			continue;

		leaves += gfn % PT64_ENT_PER_PAGE;
		if (is_shadow_present_pte(*leaves))
			track_next_write(leaves, pml);
	}
}

static void tdp_track_next_writes(struct kvm *kvm,
				  const struct kvm_dirty_page *page, int nr,
				  bool pml)
{
	struct kvm_mmu_page *root;

	list_for_each_entry(root, &kvm->arch.tdp_mmu_roots, link)
		root_track_next_writes(root, page, nr, pml);
}

/* "About rmap_head encoding" in mmu.c: an odd value is a list of SPTEs. */
static __always_inline void
rmap_track_next_writes(struct kvm *kvm, const struct kvm_dirty_page *page,
		       int nr, bool pml)
{
	const struct kvm_dirty_page *end = page + nr;

	for (; page != end; page++) {
		unsigned long val = page->slot->arch.rmap[0][page->offset].val;

		if (!val)
			continue;

		if (unlikely(val & 1))
			kvm_arch_mmu_enable_log_dirty_pt_masked(kvm, page->slot,
								page->offset, 1);
		else
			track_next_write((u64 *)val, pml);
	}
}

/* See include/linux/kvm_dirty_ring.h. */
void kvm_arch_dirty_ring_reprotect(struct kvm *kvm,
				   const struct kvm_dirty_page *page, int nr)
{
	bool pml = kvm_x86_ops.hw_dirty_log_size;

	lockdep_assert_held(&kvm->mmu_lock);

	if (kvm->arch.tdp_mmu_enabled)
		tdp_track_next_writes(kvm, page, nr, pml);

	/* A loop for each, which is free of the other's tests. */
	if (pml)
		rmap_track_next_writes(kvm, page, nr, true);
	else
		rmap_track_next_writes(kvm, page, nr, false);
}

/**
 * kvm_mmu_dirty_ring_spte - report the page of a new SPTE, if need be
 * @vcpu: the vCPU, whose VM has dirty rings
 * @gfn: the page
 * @old_spte: what maps it now, or anything that is not present
 * @spte: what is going to map it
 * @speculative: whether no guest access asks for it now
 *
 * In a bitmap, a page can be marked twice, or without having been written, at no
 * cost. Shadow paging does so when it syncs a guest page table: it marks all 512
 * pages, in one exit, table after table. A ring has no room for that. So a page
 * that was reported and is still writable is not reported again. And a page of a
 * tracked memslot that no guest access asks for is not made writable: its first
 * write faults and reports it.
 *
 * Context: mmu_lock is held.
 * Return: the SPTE to set in place of @spte.
 */
u64 kvm_mmu_dirty_ring_spte(struct kvm_vcpu *vcpu, gfn_t gfn, u64 old_spte,
			    u64 spte, bool speculative)
{
	bool was_writable = is_shadow_present_pte(old_spte) &&
			    is_writable_pte(old_spte);
	struct kvm_memory_slot *slot;

	if (!is_writable_pte(spte) ||
	    (was_writable && (is_dirty_spte(old_spte) || !is_dirty_spte(spte))))
		return spte;

	slot = kvm_vcpu_gfn_to_memslot(vcpu, gfn);
	if (speculative && !was_writable && slot && kvm_slot_tracks_dirty(slot))
		return spte & ~PT_WRITABLE_MASK;

	mark_page_dirty_in_slot(vcpu->kvm, slot, gfn);
	return spte;
}
