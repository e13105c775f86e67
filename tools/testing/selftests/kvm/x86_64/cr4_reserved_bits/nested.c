// SPDX-License-Identifier: GPL-2.0-only
/*
 * cr4_reserved_bits_test: CR4 of L1 and L2, and nested VM entry.
 */
#include <string.h>

#include "test_util.h"
#include "kvm_util.h"
#include "svm_util.h"
#include "vmx.h"
#include "cr4_reserved_bits.h"

#define SVM_EXIT_INVALID	(-1ull)

/* VM-instruction error: VM entry with invalid control fields. */
#define VM_ENTRY_BAD_CONTROL	7

/* How L1 enters L2, and what came of it. */
static struct {
	uint64_t cr4;		/* L2's CR4 at the next entry, 0: as it was */
	uint64_t cr4_mask;	/* VMX: the bits that L1 owns */
	bool fail;		/* VMX: make hardware refuse vmcs02's controls */
	uint64_t exits;		/* how often L1 got control back */
	uint64_t reason;	/* and why */
	uint64_t error;		/* VMX: VM-instruction error, 0: none */
} nested;

/*
 * KVM cannot check that the virtual-APIC page has memory behind it other than
 * by hardware: the entry fails after KVM has loaded L2's state. CR0.TS is the
 * guest's own, like some bits of CR4, and tells whether L1's state comes back.
 */
#define NO_MEMORY	0xfff00000

static void l1_fail_vmx(bool fail)
{
	uint64_t control = vmreadz(CPU_BASED_VM_EXEC_CONTROL);

	if (fail) {
		vmwrite(VIRTUAL_APIC_PAGE_ADDR, NO_MEMORY);
		control |= CPU_BASED_TPR_SHADOW;
		asm volatile("mov %0, %%cr0" : : "r"(get_cr0() | X86_CR0_TS));
	} else {
		control &= ~CPU_BASED_TPR_SHADOW;
		asm volatile("clts");
	}
	vmwrite(CPU_BASED_VM_EXEC_CONTROL, control);
}

static void l1_vmx(struct vmx_pages *vmx)
{
	unsigned long l2_stack[64];
	bool launched = false;

	probe();
	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, l2_vmx, &l2_stack[ARRAY_SIZE(l2_stack)]);
	probe();

	for (;;) {
		if (nested.cr4) {
			vmwrite(GUEST_CR4, nested.cr4);
			vmwrite(CR4_READ_SHADOW, nested.cr4);
			vmwrite(CR4_GUEST_HOST_MASK, nested.cr4_mask);
		}
		if (nested.fail)
			l1_fail_vmx(true);
		nested.error = 0;
		if (!vmx_enter(!launched)) {
			nested.error = vmreadz(VM_INSTRUCTION_ERROR);
			nested.exits++;
			probe();
			l1_fail_vmx(false);
			continue;
		}
		nested.reason = vmreadz(VM_EXIT_REASON);
		if (nested.reason == EXIT_REASON_VMCALL ||
		    nested.reason == EXIT_REASON_CR_ACCESS)
			vmwrite(GUEST_RIP, vmreadz(GUEST_RIP) +
					   vmreadz(VM_EXIT_INSTRUCTION_LEN));
		if (!(nested.reason & EXIT_REASON_FAILED_VMENTRY))
			launched = true;
		nested.exits++;
		probe();
	}
}

static void l1_svm(struct svm_test_data *svm)
{
	unsigned long l2_stack[64];

	probe();
	generic_svm_setup(svm, l2_svm, &l2_stack[ARRAY_SIZE(l2_stack)]);
	probe();

	for (;;) {
		if (nested.cr4)
			svm->vmcb->save.cr4 = nested.cr4;
		run_guest(svm->vmcb, svm->vmcb_gpa);
		nested.reason = svm->vmcb->control.exit_code |
			(uint64_t)svm->vmcb->control.exit_code_hi << 32;
		if (nested.reason == SVM_EXIT_VMMCALL)
			svm->vmcb->save.rip += 3;
		nested.exits++;
		probe();
	}
}

static void *guest_nested(void)
{
	return addr_gva2hva(vm, (vm_vaddr_t)&nested);
}

/* Return: whether L2 was entered. */
static bool enter_l2(uint64_t cr4, uint64_t cr4_mask, uint64_t *seen)
{
	typeof(nested) *n = guest_nested();
	uint64_t exits = n->exits;

	n->cr4 = cr4;
	n->cr4_mask = cr4_mask;
	order(ORDER_LEAVE, 0, seen);
	n->cr4 = 0;
	return n->exits == exits;
}

static void leave_l2(uint64_t reason)
{
	typeof(nested) *n = guest_nested();
	uint64_t exits = n->exits, seen;

	order(ORDER_LEAVE, 0, &seen);
	TEST_ASSERT(n->exits == exits + 1 && n->reason == reason,
		    "L2 should have left by %#lx: exits %lu then %lu, reason %#lx",
		    reason, exits, n->exits, n->reason);
}

static uint64_t l2_leaves_by(void)
{
	return is_vmx ? EXIT_REASON_VMCALL : SVM_EXIT_VMMCALL;
}

/* VM entry with each bit in L2's CR4. */
static void sweep_entry(void)
{
	typeof(nested) *n = guest_nested();
	uint64_t want = is_vmx ? EXIT_REASON_FAILED_VMENTRY |
				 EXIT_REASON_INVALID_STATE : SVM_EXIT_INVALID;
	uint64_t seen, cr4;
	bool entered, ok;
	int i;

	for (i = 0; i < 64; i++) {
		cr4 = here.cr4 ^ BIT_ULL(i);
		ok = valid(cr4);
		/* The page tables have four levels. */
		if (ok && bits[i].rules & LMA_LOCKS)
			continue;
		entered = enter_l2(cr4, 0, &seen);
		nr_entries++;
		CHECK(entered == ok, "%s: VM entry with CR4 %#lx %s",
		      bit_name(i), cr4, entered ? "went in" : "failed");
		if (!entered) {
			CHECK(n->reason == want, "%s: VM entry failed by %#lx",
			      bit_name(i), n->reason);
			continue;
		}
		CHECK(seen == cr4 && get_sregs_cr4() == cr4,
		      "%s: entered with CR4 %#lx, L2 reads %#lx, KVM_GET_SREGS %#lx",
		      bit_name(i), cr4, seen, get_sregs_cr4());
		leave_l2(l2_leaves_by());
	}
}

/* CPUID changes on one side; it must be known on the other. */
static void hide_across(bool in_l2)
{
	uint64_t seen;
	int n, hide;

	for (n = 0; n < 64; n++) {
		if (!switchable(n))
			continue;
		for (hide = 1; hide >= 0; hide--) {
			/* In L1 here; the first entry gets the VMCS clean. */
			enter_l2(0, 0, &seen);
			if (!in_l2)
				leave_l2(l2_leaves_by());
			if (hide)
				set_cpuid_without(n);
			else
				set_cpuid_all();
			if (in_l2)
				leave_l2(l2_leaves_by());
			else
				enter_l2(0, 0, &seen);
			check_mov(n, here.cr4, here.cr4 | BIT_ULL(n));
			if (!in_l2)
				leave_l2(l2_leaves_by());
		}
	}
	result(in_l2 ? "CPUID changed in L2, used in L1" :
		       "CPUID changed in L1, used in L2");
}

/* A bit that L1 owns exits to L1, though KVM would let L2 own it. */
static void l1_owns_fsgsbase(void)
{
	typeof(nested) *n = guest_nested();
	uint64_t bit = BIT_ULL(FSGSBASE_BIT), seen;

	if (reserved(FSGSBASE_BIT)) {
		skip("no FSGSBASE");
		return;
	}
	TEST_ASSERT(enter_l2(here.cr4, bit, &seen), "L2 not entered");
	n->reason = -1;
	order(ORDER_MOV, here.cr4 | bit, &seen);
	CHECK(n->reason == EXIT_REASON_CR_ACCESS,
	      "L2 changed a bit of L1: exit reason %ld", n->reason);
	/* L2 is past its MOV; back to its report, and out. */
	enter_l2(here.cr4, 0, &seen);
	leave_l2(EXIT_REASON_VMCALL);
	result("FSGSBASE owned by L1");
}

/* VM entry fails without an exit: L1 is as it was, with all bits of its own. */
static void fail_entry(void)
{
	typeof(nested) *n = guest_nested();
	uint64_t seen, cr4 = here.cr4;
	struct kvm_sregs sregs;
	int i;

	for (i = 0; i < 64; i++)
		if (can_move(cr4, cr4 | BIT_ULL(i)))
			cr4 |= BIT_ULL(i);
	order(ORDER_MOV, cr4, &seen);
	/* And once more, with bits that L1 may own. */
	cr4 ^= X86_CR4_TSD;
	if (!reserved(FSGSBASE_BIT))
		cr4 ^= BIT_ULL(FSGSBASE_BIT);
	order(ORDER_MOV, cr4, &seen);

	n->fail = true;
	TEST_ASSERT(!enter_l2(0, 0, &seen) && n->error == VM_ENTRY_BAD_CONTROL,
		    "VM entry should have failed: error %lu", n->error);
	n->fail = false;
	vcpu_sregs_get(vm, VCPU_ID, &sregs);
	CHECK(seen == cr4 && sregs.cr4 == cr4,
	      "failed entry: CR4 %#lx, L1 reads %#lx, KVM_GET_SREGS %#llx",
	      cr4, seen, sregs.cr4);
	CHECK(sregs.cr0 & X86_CR0_TS, "failed entry: CR0.TS is lost");
	order(ORDER_MOV, here.cr4, &seen);
	result("CR0 and CR4 of L1 after a VM entry that failed");
}

void test_nested(void)
{
	vm_vaddr_t gva;
	uint64_t seen;
	int step = 0;

	if (is_vmx) {
		create_vm(l1_vmx);
		vcpu_alloc_vmx(vm, &gva);
	} else {
		create_vm(l1_svm);
		vcpu_alloc_svm(vm, &gva);
	}
	vcpu_args_set(vm, VCPU_ID, 1, gva);
	run_to_report();
	order(ORDER_LEAVE, 0, &seen);

	arrive(is_vmx ? "L1, VMX operation" : "L1, SVM enabled", is_vmx);
	sweep_all();

	TEST_ASSERT(enter_l2(0, 0, &seen), "L2 not entered");
	arrive("L2", is_vmx);
	sweep_all();
	hide_in_use();
	owns_fsgsbase();
	leave_l2(l2_leaves_by());

	arrive("L2, VM entry", is_vmx);
	while (next_cpuid(&step))
		sweep_entry();
	result("each bit, for each CPUID");
	TEST_ASSERT(enter_l2(here.cr4, 0, &seen), "L2 not entered");
	leave_l2(l2_leaves_by());

	hide_across(true);
	hide_across(false);
	if (is_vmx) {
		l1_owns_fsgsbase();
		fail_entry();
	}
	kvm_vm_free(vm);
}
