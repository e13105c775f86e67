// SPDX-License-Identifier: GPL-2.0
/*
 * The write faults of dirty tracking: a 4K page that direct page tables map, and
 * that lacks nothing but the W bit. This is the most frequent fault of a guest
 * whose dirty pages are tracked, so it is answered before anything is looked up
 * that only other faults need.
 *
 * Whatever this file does not recognize at once is left to direct_page_fault().
 */
#include <linux/irqflags.h>
#include <linux/kvm_host.h>

#include "mmu.h"
#include "mmu_internal.h"
#include "mmutrace.h"
#include "spte.h"
#include "tdp_mmu.h"

#ifdef CONFIG_X86_64

/* A write to a page that was mapped, and nothing else. */
static bool is_write_protection_fault(u32 error_code)
{
	return (error_code & (PFERR_PRESENT_MASK | PFERR_WRITE_MASK |
			      PFERR_RSVD_MASK | PFERR_FETCH_MASK)) ==
	       (PFERR_PRESENT_MASK | PFERR_WRITE_MASK);
}

/*
 * The SPTE of a 4K page, or NULL if there is no last-level table. The entries
 * above it are never MMIO SPTEs, and have the present bit with each kind of page
 * table.
 */
static __always_inline u64 *last_level_sptep(struct kvm_mmu *mmu, gpa_t gpa)
{
	u64 *table = __va(mmu->root_hpa);
	int level = mmu->shadow_root_level;

	/* Or the table would be read as if it mapped another page. */
	if (unlikely(gpa >> PT64_LEVEL_SHIFT(level) >> PT64_LEVEL_BITS))
		return NULL;

	for (; level > PG_LEVEL_4K; level--) {
		u64 spte = READ_ONCE(table[SHADOW_PT_INDEX(gpa, level)]);

		if ((spte & (PT_PRESENT_MASK | PT_PAGE_SIZE_MASK)) !=
		    PT_PRESENT_MASK)
			return NULL;
		table = __va(spte & PT64_BASE_ADDR_MASK);
	}
	return &table[SHADOW_PT_INDEX(gpa, PG_LEVEL_4K)];
}

/*
 * Both bits: the page was made writable by KVM and by the host, and W was taken
 * away to see the next write. Without A/D bits, the R bit may be missing as well
 * to see the next access; that is not for here.
 *
 * A gfn whose writes are tracked for another reason (shadowed page tables,
 * page_track.c) has lost SPTE_MMU_WRITEABLE.
 */
static __always_inline bool lacks_only_w(u64 spte)
{
	return is_shadow_present_pte(spte) &&
	       spte_can_locklessly_be_made_writable(spte) &&
	       (spte & (PT_PRESENT_MASK | PT_WRITABLE_MASK)) == PT_PRESENT_MASK;
}

/* The SPTE that a write to @gpa lacks W in, as it is now in *@spte, or NULL. */
static __always_inline u64 *find_sptep(struct kvm_vcpu *vcpu, gpa_t gpa,
				       u64 *spte)
{
	u64 *sptep = last_level_sptep(vcpu->arch.mmu, gpa);

	if (unlikely(!sptep))
		return NULL;

	*spte = READ_ONCE(*sptep);
	return likely(lacks_only_w(*spte)) ? sptep : NULL;
}

/*
 * Page tables that are freed outside of mmu_lock's sight stay until all vCPUs
 * have taken an interrupt; fast_page_fault() has the same rules.
 */
static bool fix_lockless(struct kvm_vcpu *vcpu, gpa_t gpa, u32 error_code)
{
	bool fixed = false;
	u64 *sptep;
	u64 spte;

	local_irq_disable();
	/* Look at no SPTE before those who free page tables can see the mode. */
	smp_store_mb(vcpu->mode, READING_SHADOW_PAGE_TABLES);

	sptep = find_sptep(vcpu, gpa, &spte);
	if (unlikely(!sptep))
		goto out;

	/* The page is reported after W is set, see track_next_write(). */
	fixed = cmpxchg64(sptep, spte, spte | PT_WRITABLE_MASK) == spte;
	if (likely(fixed)) {
		kvm_vcpu_mark_page_dirty(vcpu, gpa >> PAGE_SHIFT);
		trace_fast_page_fault(vcpu, gpa, error_code, sptep, spte,
				      RET_PF_FIXED);
	}
out:
	/* Pairs with the read of the mode in kvm_make_all_cpus_request(). */
	smp_store_release(&vcpu->mode, OUTSIDE_GUEST_MODE);
	local_irq_enable();
	return fixed;
}

/*
 * The TDP MMU changes its SPTEs by plain stores, so mmu_lock is needed. But for
 * a page that is mapped, the host's page tables are not: the host takes a page
 * away only after it is unmapped here, under mmu_lock.
 */
static bool fix_tdp_mmu(struct kvm_vcpu *vcpu, gpa_t gpa, u32 error_code)
{
	struct kvm *kvm = vcpu->kvm;
	bool fixed = false;
	u64 *sptep;
	u64 spte;

	spin_lock(&kvm->mmu_lock);

	sptep = find_sptep(vcpu, gpa, &spte);
	if (unlikely(!sptep))
		goto out;

	/* Atomic, as hardware may set the A bit. */
	set_bit(PT_WRITABLE_SHIFT, (unsigned long *)sptep);
	kvm_vcpu_mark_page_dirty(vcpu, gpa >> PAGE_SHIFT);
	trace_fast_page_fault(vcpu, gpa, error_code, sptep, spte, RET_PF_FIXED);
	fixed = true;
out:
	spin_unlock(&kvm->mmu_lock);
	return fixed;
}

/**
 * kvm_mmu_fix_write_fault - make a write-protected page writable, if that is all
 * @vcpu: the vCPU, whose MMU maps guest physical addresses by direct tables
 * @gpa: what the guest writes to
 * @error_code: of the fault
 *
 * Return: true if the guest can write now, and the page is marked dirty; false
 * if the fault is to be handled in the usual way.
 */
bool kvm_mmu_fix_write_fault(struct kvm_vcpu *vcpu, gpa_t gpa, u32 error_code)
{
	if (!is_write_protection_fault(error_code))
		return false;

	if (is_tdp_mmu_root(vcpu->kvm, vcpu->arch.mmu->root_hpa))
		return fix_tdp_mmu(vcpu, gpa, error_code);

	return fix_lockless(vcpu, gpa, error_code);
}

#else /* !CONFIG_X86_64: tables of three levels, whose roots are no SPTEs */

bool kvm_mmu_fix_write_fault(struct kvm_vcpu *vcpu, gpa_t gpa, u32 error_code)
{
	return false;
}

#endif /* CONFIG_X86_64 */
