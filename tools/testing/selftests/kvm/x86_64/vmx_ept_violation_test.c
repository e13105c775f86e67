// SPDX-License-Identifier: GPL-2.0-only
/*
 * What L1 learns of an EPT violation of L2: the exit qualification, SDM vol. 3,
 * table "Exit Qualification for EPT Violations". Each kind of EPT entry is tried
 * with each kind of access, for the page that L2 accesses and for the page table
 * that L2 has for it, with accessed and dirty flags for EPT and without. INS is
 * an access that KVM makes for L2.
 */
#define _GNU_SOURCE /* for program_invocation_name */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "vmx.h"
#include "kselftest.h"
#include "nested_page_fault.h"

#define EPTE_R		BIT_ULL(0)
#define EPTE_W		BIT_ULL(1)
#define EPTE_X		BIT_ULL(2)
#define EPTE_RWX	(EPTE_R | EPTE_W | EPTE_X)
#define EPTE_RESERVED	BIT_ULL(51)
#define PTE_AD		GENMASK_ULL(6, 5)
#define EPTP_AD		BIT_ULL(6)

/* Exit qualification: the accesses are at the same bits as in an entry. */
#define QUAL_ENTRY_SHIFT	3
#define QUAL_LINEAR		BIT_ULL(7)
#define QUAL_FINAL		BIT_ULL(8)

struct kind {
	const char *name;
	uint64_t rwx;
	bool bad;	/* an EPT misconfiguration */
};

static const struct kind kinds[] = {
	{ "RWX", EPTE_RWX, false },
	{ "---", 0, false },
	{ "R--", EPTE_R, false },
	{ "RW-", EPTE_R | EPTE_W, false },
	{ "R-X", EPTE_R | EPTE_X, false },
	{ "--X", EPTE_X, false },
	{ "-W-", EPTE_W, true },
	{ "-WX", EPTE_W | EPTE_X, true },
	{ "RWX and a reserved bit", EPTE_RWX | EPTE_RESERVED, true },
};

#define NR_KINDS	ARRAY_SIZE(kinds)

struct result {
	uint64_t reason;
	uint64_t qualification;
	uint64_t gpa;
};

static struct result results[2][NR_KINDS][NR_ACCESSES];

/* Set by the host. */
static bool has_ad, has_execonly;

static void l2_code(void)
{
	access_target();
	vmcall();
}

/* SDM vol. 3, "INVEPT": type 2 is all contexts. */
static void invept_all(void)
{
	static const uint64_t desc[2];

	asm volatile("invept %0, %1" : : "m"(desc), "r"(2ul) : "cc", "memory");
}

static void run_l2(struct vmx_pages *vmx, bool ad, int kind, enum access access,
		   void *stack)
{
	struct result *result = &results[ad][kind][access];
	uint64_t *entry = entries[is_walk(access)];
	uint64_t good = *entry;

	l2_access = access;
	WRITE_ONCE(*entry, (good & ~EPTE_RWX) | kinds[kind].rwx);

	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, l2_code, stack);
	vmwrite(EPT_POINTER, (vmreadz(EPT_POINTER) & ~EPTP_AD) |
			     (ad ? EPTP_AD : 0));
	invept_all();
	GUEST_ASSERT(!vmlaunch());

	result->reason = vmreadz(VM_EXIT_REASON);
	result->qualification = vmreadz(EXIT_QUALIFICATION);
	result->gpa = vmreadz(GUEST_PHYSICAL_ADDRESS);
	WRITE_ONCE(*entry, good);
}

static void l1_code(struct vmx_pages *vmx)
{
	unsigned long l2_stack[256];
	enum access access;
	int ad, kind;

	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	for (ad = 0; ad <= has_ad; ad++)
		for (kind = 0; kind < NR_KINDS; kind++)
			for (access = 0; access < NR_ACCESSES; access++)
				run_l2(vmx, ad, kind, access, &l2_stack[256]);
	GUEST_DONE();
}

static struct result expected(bool ad, int kind, enum access access)
{
	uint64_t rwx = kinds[kind].rwx;
	uint64_t how;

	if (kinds[kind].bad || (rwx == EPTE_X && !has_execonly))
		return (struct result){ .reason = EXIT_REASON_EPT_MISCONFIG };

	switch (access) {
	case WRITE:
	case INS:
		how = EPTE_W;
		break;
	case FETCH:
		how = EPTE_X;
		break;
	case WALK:
	case INS_WALK:
		/* L2's A and D flags are set already. */
		how = ad ? EPTE_R | EPTE_W : EPTE_R;
		break;
	default:
		how = EPTE_R;
	}
	if ((rwx & how) == how)
		return (struct result){ .reason = EXIT_REASON_VMCALL };

	return (struct result){
		.reason = EXIT_REASON_EPT_VIOLATION,
		.qualification = how | rwx << QUAL_ENTRY_SHIFT | QUAL_LINEAR |
				 (is_walk(access) ? 0 : QUAL_FINAL),
		.gpa = is_walk(access) ?
		       table_gpa + TARGET_GVA / 4096 % 512 * 8 :
		       TARGET_GVA + (how == EPTE_W),
	};
}

static bool same(const struct result *is, const struct result *expect)
{
	if (is->reason != expect->reason)
		return false;

	return is->reason != EXIT_REASON_EPT_VIOLATION ||
	       (is->qualification == expect->qualification &&
		is->gpa == expect->gpa);
}

/*
 * When KVM walks L2's page tables, it may have to set an A flag, and wants L1's
 * permission to write before it looks, even if the flag is set.
 */
static bool is_too_strict(bool ad, int kind, enum access access,
			  const struct result *is)
{
	uint64_t rwx = kinds[kind].rwx;

	return !ad && access == INS_WALK && (rwx & EPTE_R) &&
	       is->reason == EXIT_REASON_EPT_VIOLATION &&
	       is->qualification == (EPTE_W | rwx << QUAL_ENTRY_SHIFT |
				     QUAL_LINEAR);
}

static void check(bool ad, enum access access)
{
	unsigned int bad = 0;
	int kind;

	for (kind = 0; kind < NR_KINDS; kind++) {
		struct result *is = &results[ad][kind][access];
		struct result expect = expected(ad, kind, access);

		if (same(is, &expect) || is_too_strict(ad, kind, access, is))
			continue;
		bad++;
		ksft_print_msg("%s: exit %lu 0x%lx 0x%lx, expected %lu 0x%lx 0x%lx\n",
			       kinds[kind].name, is->reason, is->qualification,
			       is->gpa, expect.reason, expect.qualification,
			       expect.gpa);
	}
	ksft_test_result(!bad, "%s, %s A/D flags\n", access_names[access],
			 ad ? "with" : "without");
}

static void set_ad(struct kvm_vm *vm, uint64_t gpa, int level)
{
	uint64_t *table = addr_gpa2hva(vm, gpa);
	int i;

	for (i = 0; i < 512; i++) {
		if (!(table[i] & 1))
			continue;
		table[i] |= PTE_AD;
		if (level > 1)
			set_ad(vm, table[i] & PTE_ADDRESS, level - 1);
	}
}

static void setup(struct kvm_vm *vm)
{
	uint64_t caps = vcpu_get_msr(vm, 0, MSR_IA32_VMX_EPT_VPID_CAP);
	struct vmx_pages *vmx;
	struct kvm_sregs sregs;
	vm_vaddr_t vmx_gva;
	uint64_t page;

	has_ad = caps & VMX_EPT_VPID_CAP_AD_BITS;
	has_execonly = caps & 1;
	vmx = vcpu_alloc_vmx(vm, &vmx_gva);
	vcpu_args_set(vm, 0, 1, vmx_gva);

	/* Before L1 maps all that is there: it needs page tables. */
	page = make_target(vm);
	prepare_eptp(vmx, vm, 0);
	nested_map_memslot(vmx, vm, 0, 0);
	nested_map(vmx, vm, TARGET_GVA, page, 4096, 0);

	vcpu_sregs_get(vm, 0, &sregs);
	map_entries(vm, vmx->eptp_gpa, sregs.cr3);
	set_ad(vm, sregs.cr3, 4);
	sync_global_to_guest(vm, has_ad);
}

int main(void)
{
	enum access access;
	struct kvm_vm *vm;
	int ad;

	nested_vmx_check_supported();
	vm = vm_create_default(0, 0, l1_code);
	vcpu_set_cpuid(vm, 0, kvm_get_supported_cpuid());
	if (!(vcpu_get_msr(vm, 0, MSR_IA32_VMX_PROCBASED_CTLS2) >> 32 &
	      SECONDARY_EXEC_ENABLE_EPT)) {
		print_skip("L1 has no EPT");
		exit(KSFT_SKIP);
	}
	setup(vm);

	run_accesses(vm);
	sync_global_from_guest(vm, results);

	ksft_print_header();
	ksft_set_plan((has_ad + 1) * NR_ACCESSES);
	for (ad = 0; ad <= has_ad; ad++)
		for (access = 0; access < NR_ACCESSES; access++)
			check(ad, access);
	kvm_vm_free(vm);

	if (ksft_get_fail_cnt())
		ksft_exit_fail();
	ksft_exit_pass();
}
