// SPDX-License-Identifier: GPL-2.0
/*
 * Have pages that a dirty ring has reported be reported again.
 *
 * kvm_arch_mmu_enable_log_dirty_pt_masked() does that for the bitmap: it works
 * out a new SPTE, exchanges it for the old one and compares the two for all
 * that may have changed. Here a single bit goes, by an atomic instruction that
 * leaves the others to hardware, and what this bit means is all there is to
 * keep up with. A ring is reset page by page, so this is most of its cost.
 */
#include <linux/kvm_host.h>

#include "mmu.h"
#include "mmu_internal.h"
#include "spte.h"
#include "tdp_iter.h"

/*
 * Take from a leaf SPTE the bit that lets the guest write to the page with
 * nobody noticing: D where PML logs the pages that hardware makes dirty, else W.
 *
 * A dirty page that the SPTE no longer tells of is to be told of by struct
 * page. That is D where A/D bits are in use and W where they are not.
 *
 * A W bit that fast_page_fault() sets behind our back is none of ours: the page
 * is reported after it was set.
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

/* The last-level table that maps @gfn under @root, or NULL if there is none. */
static u64 *tdp_last_level_table(struct kvm_mmu_page *root, gfn_t gfn)
{
	u64 *table = root->spt;
	int level;

	for (level = root->role.level; table && level > PG_LEVEL_4K; level--)
		table = spte_to_child_pt(table[SHADOW_PT_INDEX(gfn << PAGE_SHIFT,
							       level)], level);
	return table;
}

static void root_track_next_writes(struct kvm_mmu_page *root,
				   const struct kvm_dirty_block *block,
				   bool pml)
{
	gfn_t first = block->slot->base_gfn + block->first;
	gfn_t table_nr = ~0ULL;
	u64 *table = NULL;
	unsigned long mask;

	/* A block starts where its memslot does, and may span two tables. */
	for (mask = block->mask; mask; mask &= mask - 1) {
		gfn_t gfn = first + __ffs(mask);
		u64 *sptep;

		if (gfn / PT64_ENT_PER_PAGE != table_nr) {
			table_nr = gfn / PT64_ENT_PER_PAGE;
			table = tdp_last_level_table(root, gfn);
		}
		if (!table)
			continue;

		sptep = &table[gfn % PT64_ENT_PER_PAGE];
		if (is_shadow_present_pte(*sptep))
			track_next_write(sptep, pml);
	}
}

static void tdp_track_next_writes(struct kvm *kvm,
				  const struct kvm_dirty_block *block, bool pml)
{
	struct kvm_mmu_page *root;

	list_for_each_entry(root, &kvm->arch.tdp_mmu_roots, link)
		if (root->role.smm == block->slot->as_id)
			root_track_next_writes(root, block, pml);
}

/* "About rmap_head encoding" in mmu.c: an odd value is a list of SPTEs. */
static void rmap_track_next_writes(struct kvm *kvm,
				   const struct kvm_dirty_block *block,
				   bool pml)
{
	struct kvm_rmap_head *rmap = &block->slot->arch.rmap[0][block->first];
	unsigned long mask, many = 0;

	for (mask = block->mask; mask; mask &= mask - 1) {
		unsigned long val = rmap[__ffs(mask)].val;

		if (val & 1)
			many |= mask & -mask;
		else if (val)
			track_next_write((u64 *)val, pml);
	}

	if (many)
		kvm_arch_mmu_enable_log_dirty_pt_masked(kvm, block->slot,
							block->first, many);
}

/**
 * kvm_arch_dirty_ring_reprotect - have the next write to pages reported
 * @kvm: the VM
 * @block: which pages
 * @nr: number of blocks
 *
 * Huge pages are not looked at, as none is writable while a memslot's dirty
 * pages are tracked.
 *
 * Context: mmu_lock is held. The caller flushes the TLBs.
 */
void kvm_arch_dirty_ring_reprotect(struct kvm *kvm,
				   const struct kvm_dirty_block *block, int nr)
{
	bool pml = kvm_x86_ops.enable_log_dirty_pt_masked;

	lockdep_assert_held(&kvm->mmu_lock);

	for (; nr--; block++) {
		if (kvm->arch.tdp_mmu_enabled)
			tdp_track_next_writes(kvm, block, pml);
		rmap_track_next_writes(kvm, block, pml);
	}
}
