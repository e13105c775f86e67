// SPDX-License-Identifier: GPL-2.0-only
/*
 * L1 gives L2 a VPID that was not used before. No translation is cached for it,
 * SDM vol. 3, "Caching Translation Information", so L2 sees the page tables as
 * they are, with all that L1 has changed and has not invalidated. To L2 without
 * EPT, that includes the shadow pages of a host without it. The same holds for a
 * VPID that L1 has invalidated by INVVPID.
 */
#define _GNU_SOURCE /* for program_invocation_name */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "vmx.h"

/* What L2 reads, and where L1 has the table that maps it. */
#define WINDOW_GVA	0xc0000000ul
#define TABLE_GVA	0xd0000000ul
#define NR_PAGES	2
#define ROUNDS		64

#define PTE_ADDRESS	GENMASK_ULL(51, 12)
#define INVVPID_SINGLE	1ul
#define VPID_CAP_SINGLE	BIT_ULL(41)	/* of MSR_IA32_VMX_EPT_VPID_CAP */

/* The pages that the window is, one after the other; each holds its number. */
static uint64_t page_gpa[NR_PAGES];
static uint64_t value;
static bool invvpid;

static void l2_code(void)
{
	for (;;) {
		value = READ_ONCE(*(uint64_t *)WINDOW_GVA);
		vmcall();
	}
}

static void invalidate(uint64_t vpid)
{
	struct {
		uint64_t vpid;
		uint64_t address;
	} desc = { vpid, 0 };

	asm volatile("invvpid %0, %1"
		     : : "m"(desc), "r"(INVVPID_SINGLE) : "cc", "memory");
}

static void remap(int page)
{
	uint64_t *entry = (uint64_t *)(TABLE_GVA + WINDOW_GVA / 4096 % 512 * 8);

	WRITE_ONCE(*entry, (*entry & ~PTE_ADDRESS) | page_gpa[page]);
}

static void run_l2(uint64_t vpid, int round)
{
	vmwrite(VIRTUAL_PROCESSOR_ID, vpid);
	vmx_run_to_vmcall(round);
}

static void l1_code(struct vmx_pages *vmx)
{
	unsigned long l2_stack[256];
	int round, page;

	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, l2_code, &l2_stack[256]);
	vmwrite(CPU_BASED_VM_EXEC_CONTROL, vmreadz(CPU_BASED_VM_EXEC_CONTROL) |
		CPU_BASED_ACTIVATE_SECONDARY_CONTROLS);
	vmwrite(SECONDARY_VM_EXEC_CONTROL, SECONDARY_EXEC_ENABLE_VPID);

	for (round = 0; round < ROUNDS; round++) {
		page = round % NR_PAGES;
		remap(page);
		run_l2(round + 1, round);
		GUEST_ASSERT_2(value == page, round, value);
	}

	for (; invvpid && round < 2 * ROUNDS; round++) {
		page = round % NR_PAGES;
		remap(page);
		invalidate(ROUNDS);
		run_l2(ROUNDS, round);
		GUEST_ASSERT_2(value == page, round, value);
	}
	GUEST_DONE();
}

static uint64_t table_for(struct kvm_vm *vm, uint64_t root, uint64_t address)
{
	int shift;

	for (shift = 39; shift > 12; shift -= 9)
		root = ((uint64_t *)addr_gpa2hva(vm, root))
			[(address >> shift) % 512] & PTE_ADDRESS;

	return root;
}

static void setup(struct kvm_vm *vm)
{
	struct kvm_sregs sregs;
	vm_vaddr_t vmx_gva;
	int i;

	vcpu_alloc_vmx(vm, &vmx_gva);
	vcpu_args_set(vm, 0, 1, vmx_gva);
	invvpid = vcpu_get_msr(vm, 0, MSR_IA32_VMX_EPT_VPID_CAP) &
		  VPID_CAP_SINGLE;

	for (i = 0; i < NR_PAGES; i++) {
		page_gpa[i] = vm_phy_page_alloc(vm, 0x10000, 0);
		*(uint64_t *)addr_gpa2hva(vm, page_gpa[i]) = i;
	}
	virt_map(vm, WINDOW_GVA, page_gpa[0], 1, 0);
	vcpu_sregs_get(vm, 0, &sregs);
	virt_map(vm, TABLE_GVA, table_for(vm, sregs.cr3, WINDOW_GVA), 1, 0);

	sync_global_to_guest(vm, page_gpa);
	sync_global_to_guest(vm, invvpid);
}

int main(void)
{
	struct kvm_run *run;
	struct kvm_vm *vm;
	struct ucall uc;

	nested_vmx_check_supported();
	vm = vm_create_default(0, 0, l1_code);
	vcpu_set_cpuid(vm, 0, kvm_get_supported_cpuid());
	if (!(vcpu_get_msr(vm, 0, MSR_IA32_VMX_PROCBASED_CTLS2) >> 32 &
	      SECONDARY_EXEC_ENABLE_VPID)) {
		print_skip("L1 has no VPIDs");
		exit(KSFT_SKIP);
	}
	setup(vm);

	run = vcpu_state(vm, 0);
	vcpu_run(vm, 0);
	TEST_ASSERT(run->exit_reason == KVM_EXIT_IO, "exit %u (%s)",
		    run->exit_reason, exit_reason_str(run->exit_reason));
	if (get_ucall(vm, 0, &uc) == UCALL_ABORT)
		TEST_FAIL("%s at line %lu: %ld %ld", (char *)uc.args[0],
			  uc.args[1], uc.args[2], uc.args[3]);
	TEST_ASSERT(uc.cmd == UCALL_DONE, "unknown ucall %lu", uc.cmd);

	kvm_vm_free(vm);
	return 0;
}
