// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_SET_CPUID2 while L2 is active: L2 keeps the controls that L1 gave it, and
 * L1 gets those of its new CPUID at the next VM exit. RDTSCP shows it: VT-x has
 * it as a control, which KVM takes from CPUID for L1 and from L1 for L2. RDRAND
 * has a control that makes it exit. L1 does not use it, so L2 has RDRAND as long
 * as L1 has.
 */
#define _GNU_SOURCE /* for program_invocation_name */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/bitops.h>
#include <linux/compiler.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "vmx.h"
#include "kselftest.h"

#define VCPU_ID			0

#define CPUID_1_ECX_RDRAND		BIT(30)
#define CPUID_80000001_EDX_RDTSCP	BIT(27)

/* handle_ud() runs on it, too, and FXSAVE before that takes 512 bytes. */
#define L2_STACK_WORDS		512

#define UD_VECTOR		6
#define INSTRUCTION_LENGTH	3	/* of RDTSCP, and of RDRAND EAX */

/* What the guest tells: where it is, and whether there was no #UD just now. */
enum { IN_L2, L2_RDTSCP, L2_RDRAND, L1_RDTSCP };

static bool has_rdrand;
static bool got_ud;

static void handle_ud(struct ex_regs *regs)
{
	WRITE_ONCE(got_ud, true);
	regs->rip += INSTRUCTION_LENGTH;
}

static bool rdtscp_works(void)
{
	uint32_t aux;

	WRITE_ONCE(got_ud, false);
	rdtscp(&aux);
	return !READ_ONCE(got_ud);
}

static bool rdrand_works(void)
{
	WRITE_ONCE(got_ud, false);
	asm volatile("rdrand %%eax" : : : "eax", "cc", "memory");
	return !READ_ONCE(got_ud);
}

/* The IDT is L1's, so #UD gets to handle_ud() in L2 as well. */
static void l2_guest_code(void)
{
	for (;;) {
		GUEST_SYNC(IN_L2);
		GUEST_SYNC_ARGS(L2_RDTSCP, rdtscp_works(), 0, 0, 0);
		if (has_rdrand)
			GUEST_SYNC_ARGS(L2_RDRAND, rdrand_works(), 0, 0, 0);
		vmcall();
	}
}

static void l1_guest_code(struct vmx_pages *vmx)
{
	unsigned long l2_stack[L2_STACK_WORDS];
	uint64_t control;
	bool launched = false;

	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, l2_guest_code, &l2_stack[L2_STACK_WORDS]);
	control = vmreadz(SECONDARY_VM_EXEC_CONTROL);
	GUEST_ASSERT(!(control & SECONDARY_EXEC_ENABLE_RDTSCP));

	for (;;) {
		vmx_run_to_vmcall(launched);
		launched = true;
		GUEST_SYNC_ARGS(L1_RDTSCP, rdtscp_works(), 0, 0, 0);
	}
}

static struct kvm_vm *vm;

/* Run to the point @where. Return: whether the instruction worked there. */
static bool run_to(int where)
{
	struct kvm_run *run = vcpu_state(vm, VCPU_ID);
	struct ucall uc;

	vcpu_run(vm, VCPU_ID);
	TEST_ASSERT(run->exit_reason == KVM_EXIT_IO, "exit %u (%s)",
		    run->exit_reason, exit_reason_str(run->exit_reason));
	switch (get_ucall(vm, VCPU_ID, &uc)) {
	case UCALL_SYNC:
		TEST_ASSERT(uc.args[1] == where, "at %lu, not at %d",
			    uc.args[1], where);
		return uc.args[2];
	case UCALL_ABORT:
		TEST_FAIL("%s at %s:%ld", (const char *)uc.args[0], __FILE__,
			  uc.args[1]);
	default:
		TEST_FAIL("unknown ucall %lu", uc.cmd);
	}
	return false;
}

/* CPUID with RDTSCP and RDRAND, as far as the host has them, or without. */
static void set_guest_cpuid(bool on)
{
	struct kvm_cpuid2 *cpuid = kvm_get_supported_cpuid();
	struct kvm_cpuid_entry2 *e = kvm_get_supported_cpuid_entry(0x80000001);

	if (on)
		e->edx |= CPUID_80000001_EDX_RDTSCP;
	else
		e->edx &= ~CPUID_80000001_EDX_RDTSCP;

	e = kvm_get_supported_cpuid_entry(1);
	if (on && has_rdrand)
		e->ecx |= CPUID_1_ECX_RDRAND;
	else
		e->ecx &= ~CPUID_1_ECX_RDRAND;
	vcpu_set_cpuid(vm, VCPU_ID, cpuid);
}

/* L2 is active: give it a CPUID, and see what is left of the instructions. */
static void set_in_l2(bool on)
{
	run_to(IN_L2);
	set_guest_cpuid(on);
	ksft_test_result(!run_to(L2_RDTSCP),
			 "RDTSCP stays off in L2, CPUID set with%s it\n",
			 on ? "" : "out");
	if (has_rdrand)
		ksft_test_result(run_to(L2_RDRAND) == on,
				 "RDRAND is then %s in L2\n", on ? "on" : "off");
	else
		ksft_test_result_skip("RDRAND, or its control, is missing\n");
	ksft_test_result(run_to(L1_RDTSCP) == on,
			 "RDTSCP is then %s in L1\n", on ? "on" : "off");
}

int main(void)
{
	struct kvm_cpuid_entry2 *e = kvm_get_supported_cpuid_entry(0x80000001);
	vm_vaddr_t gva;

	setbuf(stdout, NULL);
	nested_vmx_check_supported();
	if (!(e->edx & CPUID_80000001_EDX_RDTSCP)) {
		print_skip("no RDTSCP");
		exit(KSFT_SKIP);
	}

	ksft_print_header();
	ksft_set_plan(12);

	vm = vm_create_default(VCPU_ID, 0, l1_guest_code);
	vcpu_set_cpuid(vm, VCPU_ID, kvm_get_supported_cpuid());
	e = kvm_get_supported_cpuid_entry(1);
	has_rdrand = e->ecx & CPUID_1_ECX_RDRAND &&
		     vcpu_get_msr(vm, VCPU_ID, MSR_IA32_VMX_PROCBASED_CTLS2) >>
		     32 & SECONDARY_EXEC_RDRAND_EXITING;
	sync_global_to_guest(vm, has_rdrand);
	set_guest_cpuid(true);
	vm_init_descriptor_tables(vm);
	vcpu_init_descriptor_tables(vm, VCPU_ID);
	vm_handle_exception(vm, UD_VECTOR, handle_ud);
	vcpu_alloc_vmx(vm, &gva);
	vcpu_args_set(vm, VCPU_ID, 1, gva);

	set_in_l2(true);
	set_in_l2(false);
	set_in_l2(false);
	set_in_l2(true);
	kvm_vm_free(vm);

	if (ksft_get_fail_cnt())
		ksft_exit_fail();
	ksft_exit_pass();
}
