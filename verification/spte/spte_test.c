// SPDX-License-Identifier: GPL-2.0
/*
 * The SPTEs that arch/x86/kvm/mmu/spte.c makes, in all formats and on CPUs with
 * all widths of addresses: what is present, what is MMIO, and what hardware
 * reserves. Prints what is wrong, and fails.
 */
#include SPTE_C

int warnings;
struct cpu boot_cpu_data;
bool cpu_has_l1tf, tdp_enabled;
u64 sme_me_mask;
static u64 no_mt(struct kvm_vcpu *vcpu, gfn_t gfn, bool is_mmio) { return 0; }
typeof(kvm_x86_ops) kvm_x86_ops = { .get_mt_mask = no_mt };
bool is_nx_huge_page_enabled(void) { return false; }
bool mmu_need_write_protect(struct kvm_vcpu *vcpu, gfn_t gfn, bool can_unsync)
{
	return false;
}

enum format { EPT, EPT_NO_AD, NPT, LEGACY, PAE, FORMATS };
static const char * const names[] = { "EPT", "EPT without A/D", "NPT", "legacy",
				      "PAE" };

static int failures;
static enum format format;

#define CHECK(what, spte) do {						\
	if (!(what) && failures++ < 30)					\
		printf("%s, %u address bits, %u of the cache%s: %s: %llx\n", \
		       names[format], boot_cpu_data.x86_phys_bits,	\
		       boot_cpu_data.x86_cache_bits,			\
		       cpu_has_l1tf ? ", L1TF" : "", #what,		\
		       (unsigned long long)(spte));			\
} while (0)

static bool is_ept(void) { return format <= EPT_NO_AD; }

/* What hardware wants to be 0: SDM 4.4.2, 4.5, 28.3.2; APM 2, 5.3. */
static u64 reserved(void)
{
	u64 mask = rsvd_bits(boot_cpu_data.x86_phys_bits, 51);

	return format == PAE ? mask | GENMASK_ULL(62, 52) : mask;
}

static gfn_t get_gfn(u64 spte)
{
	u64 gpa = spte & shadow_nonpresent_or_rsvd_lower_gfn_mask;

	gpa |= spte >> SHADOW_NONPRESENT_OR_RSVD_MASK_LEN &
	       shadow_nonpresent_or_rsvd_mask;
	return gpa >> PAGE_SHIFT;
}

static u64 restored(u64 spte)
{
	u64 saved = spte >> SHADOW_ACC_TRACK_SAVED_BITS_SHIFT &
		    SHADOW_ACC_TRACK_SAVED_BITS_MASK;

	return (spte & ~SHADOW_ACC_TRACK_SAVED_MASK &
		~shadow_acc_track_mask) | saved;
}

/* Each bit has one owner. */
static void test_owners(void)
{
	u64 owned[] = {
		SPTE_MMU_PRESENT_MASK, shadow_host_writable_mask,
		shadow_mmu_writable_mask, shadow_accessed_mask,
		shadow_dirty_mask, PT_WRITABLE_MASK, PT_PAGE_SIZE_MASK,
		GENMASK_ULL(51, 12), shadow_nx_mask,
		format == PAE ? 0 : SPTE_TDP_AD_MASK,
		is_ept() ? SHADOW_ACC_TRACK_SAVED_MASK : 0,
		/* Of hardware, with SPP: SDM 28.3.4. */
		is_ept() ? BIT_ULL(61) : 0,
	};
	u64 all = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(owned); i++) {
		CHECK(!(all & owned[i]), owned[i]);
		all |= owned[i];
	}
}

static void test_present(struct kvm_vcpu *vcpu, bool l2)
{
	u64 table[1], spte, tracked, w, all;
	unsigned int flags, bit;

	vcpu->arch.mmu = l2 ? &vcpu->arch.guest_mmu : &vcpu->arch.root_mmu;
	w = shadow_host_writable_mask | shadow_mmu_writable_mask;
	for (flags = 0; flags < 64; flags++)
		for (bit = 12; bit < boot_cpu_data.x86_phys_bits; bit++) {
			unsigned int access = flags & 7;

			/* EPT without R maps nothing that can be written to. */
			if (is_ept() && access & ACC_WRITE_MASK)
				access |= ACC_USER_MASK;
			warnings = 0;
			make_spte(vcpu, access, flags & 8 ? 2 : 1, 1,
				  BIT_ULL(bit - 12), 0, flags & 16, true,
				  flags & 32, !shadow_accessed_mask, &spte);
			CHECK(!warnings, spte);
			CHECK(is_shadow_present_pte(spte), spte);
			CHECK(!is_mmio_spte(spte), spte);
			CHECK(!(spte & reserved()), spte);
			CHECK(spte_to_pfn(spte) == BIT_ULL(bit - 12), spte);
			CHECK(!is_writable_pte(spte) || (spte & w) == w, spte);
			all = spte & w;
			CHECK(all != shadow_mmu_writable_mask, spte);
			CHECK(!!(spte & shadow_host_writable_mask) ==
			      !!(flags & 32), spte);

			tracked = mark_spte_for_access_track(spte);
			CHECK(is_shadow_present_pte(tracked), tracked);
			CHECK(!is_mmio_spte(tracked), tracked);
			CHECK(!is_accessed_spte(tracked) ||
			      (!is_ept() && !shadow_accessed_mask), tracked);
			if (!shadow_accessed_mask && !(flags & 16))
				CHECK(restored(tracked) ==
				      (spte & ~PT_WRITABLE_MASK), tracked);

			spte = kvm_mmu_changed_pte_notifier_make_spte(spte, 7);
			CHECK(is_shadow_present_pte(spte), spte);
			CHECK(!(spte & shadow_host_writable_mask), spte);
			CHECK(spte_to_pfn(spte) == 7, spte);
		}

	spte = make_nonleaf_spte(table, !shadow_accessed_mask);
	CHECK(is_shadow_present_pte(spte) && !is_mmio_spte(spte), spte);
}

static void test_mmio(struct kvm_vcpu *vcpu)
{
	unsigned int access, bit, gen;
	u64 spte;

	CHECK(!is_mmio_spte(0) && !is_shadow_present_pte(0), 0);
	if (!shadow_mmio_value) {
		CHECK(!is_ept() && boot_cpu_data.x86_phys_bits == 52, 0);
		CHECK(!is_mmio_spte(~0ull), 0);
		return;
	}
	CHECK(is_ept() || shadow_mmio_value & reserved(), shadow_mmio_value);
	for (access = 0; access < 8; access++)
		for (bit = 12; bit < boot_cpu_data.x86_phys_bits; bit++)
			for (gen = 0; gen < 64; gen++) {
				/* Each bit, alone and missing. */
				u64 g = MMIO_SPTE_GEN_MASK &
					(gen & 1 ? ~BIT_ULL(gen / 2) :
						   BIT_ULL(gen / 2));
				u64 gfn = BIT_ULL(bit - 12);

				vcpu->slots.generation = g;
				warnings = 0;
				spte = make_mmio_spte(vcpu, gfn, access);
				CHECK(!warnings, spte);
				CHECK(is_mmio_spte(spte), spte);
				CHECK(!is_shadow_present_pte(spte), spte);
				CHECK(get_gfn(spte) == gfn, spte);
				CHECK(get_mmio_spte_generation(spte) == g, spte);
				CHECK((spte & shadow_mmio_access_mask) ==
				      (access & shadow_mmio_access_mask), spte);
				CHECK(is_ept() ?
				      (spte & 7) == VMX_EPT_MISCONFIG_WX_VALUE :
				      (spte & PT_PRESENT_MASK) &&
				      (spte & reserved()), spte);
				CHECK((spte & shadow_nonpresent_or_rsvd_mask) ==
				      shadow_nonpresent_or_rsvd_mask, spte);
			}
}

static void test_collision(void)
{
	u64 value;

	/* Bits of the gfn, as it is and as it is moved. */
	value = (shadow_nonpresent_or_rsvd_mask <<
		 SHADOW_NONPRESENT_OR_RSVD_MASK_LEN) | PT_PRESENT_MASK;
	if (cpu_has_l1tf && !is_ept() && shadow_nonpresent_or_rsvd_mask) {
		kvm_mmu_set_mmio_spte_mask(value, value, 0);
		CHECK(!shadow_mmio_value, value);
	}
	value = BIT_ULL(PAGE_SHIFT) | PT_PRESENT_MASK;
	kvm_mmu_set_mmio_spte_mask(value, value, 0);
	CHECK(!shadow_mmio_value, value);
	kvm_mmu_reset_all_pte_masks();
}

static void test_cpu(void)
{
	struct kvm_vcpu vcpu = {};

	boot_cpu_data.extended_cpuid_level = 0x80000008;
	kvm_x86_ops.hw_dirty_log_size = format == EPT ? 512 : 0;
	tdp_enabled = format <= NPT;
	kvm_mmu_reset_all_pte_masks();
	if (is_ept())
		kvm_mmu_set_ept_masks(format == EPT, true);
	test_owners();
	test_present(&vcpu, false);
	test_present(&vcpu, true);
	test_mmio(&vcpu);
	/* The next vendor module starts from the masks of none. */
	kvm_mmu_reset_all_pte_masks();
	CHECK(shadow_x_mask == 0 && shadow_dirty_mask == PT_DIRTY_MASK &&
	      shadow_host_writable_mask == DEFAULT_SPTE_HOST_WRITABLE, 0);
	test_collision();
}

int main(void)
{
	struct cpu *cpu = &boot_cpu_data;

	for (format = 0; format < FORMATS; format++) {
		cpu_has_l1tf = false;
		for (cpu->x86_phys_bits = 36; cpu->x86_phys_bits <= 52;
		     cpu->x86_phys_bits++) {
			cpu->x86_cache_bits = cpu->x86_phys_bits;
			test_cpu();
		}
		/* L1's addresses are never narrower than those of CPUID. */
		cpu_has_l1tf = true;
		for (cpu->x86_phys_bits = 36; cpu->x86_phys_bits <= 46;
		     cpu->x86_phys_bits++)
			for (cpu->x86_cache_bits = cpu->x86_phys_bits;
			     cpu->x86_cache_bits <= 46; cpu->x86_cache_bits++)
				test_cpu();
	}
	if (failures)
		printf("%d checks failed\n", failures);
	return !!failures;
}
