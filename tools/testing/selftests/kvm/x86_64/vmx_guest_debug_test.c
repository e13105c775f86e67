// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_SET_GUEST_DEBUG while L2 is active: from then on, INT3 exits to user space
 * or does not, in L2 and, after the next VM exit, in L1. L1 does not intercept
 * #BP.
 */
#define _GNU_SOURCE /* for program_invocation_name */
#include <stdio.h>
#include <string.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "vmx.h"
#include "kselftest.h"

#define VCPU_ID		0
#define BP_VECTOR	3

/* handle_bp() runs on it, too, and FXSAVE before that takes 512 bytes. */
#define L2_STACK_WORDS	512

/* Where the guest is. */
enum { IN_L2, L2_INT3, L1_INT3 };

static bool got_bp;

static void handle_bp(struct ex_regs *regs)
{
	WRITE_ONCE(got_bp, true);
}

/* Return: whether the guest got the #BP itself. */
static bool int3(void)
{
	WRITE_ONCE(got_bp, false);
	asm volatile("int3" : : : "memory");
	return READ_ONCE(got_bp);
}

static void l2_code(void)
{
	for (;;) {
		GUEST_SYNC(IN_L2);
		GUEST_SYNC_ARGS(L2_INT3, int3(), 0, 0, 0);
		vmcall();
	}
}

static void l1_code(struct vmx_pages *vmx)
{
	unsigned long l2_stack[L2_STACK_WORDS];
	bool launched = false;

	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, l2_code, &l2_stack[L2_STACK_WORDS]);

	for (;;) {
		vmx_run_to_vmcall(launched);
		launched = true;
		GUEST_SYNC_ARGS(L1_INT3, int3(), 0, 0, 0);
	}
}

static struct kvm_vm *vm;

/*
 * Run to the point @where, over an INT3 that exits.
 *
 * Return: the guest's #BPs, plus 16 for each that user space got.
 */
static unsigned int run_to(int where)
{
	struct kvm_run *run = vcpu_state(vm, VCPU_ID);
	unsigned int debug_exits = 0;
	struct kvm_regs regs;
	struct ucall uc;

	for (;;) {
		vcpu_run(vm, VCPU_ID);
		if (run->exit_reason != KVM_EXIT_DEBUG ||
		    run->debug.arch.exception != BP_VECTOR)
			break;
		debug_exits++;
		vcpu_regs_get(vm, VCPU_ID, &regs);
		regs.rip++;
		vcpu_regs_set(vm, VCPU_ID, &regs);
	}

	TEST_ASSERT(run->exit_reason == KVM_EXIT_IO, "exit %u (%s)",
		    run->exit_reason, exit_reason_str(run->exit_reason));
	TEST_ASSERT(get_ucall(vm, VCPU_ID, &uc) == UCALL_SYNC, "%s at line %lu",
		    (const char *)uc.args[0], uc.args[1]);
	TEST_ASSERT(uc.args[1] == where, "at %lu, not at %d", uc.args[1], where);
	return uc.args[2] + 16 * debug_exits;
}

/* L2 is active: switch debugging, and see who gets a #BP. */
static void debug_in_l2(bool on)
{
	struct kvm_guest_debug debug = {
		.control = on ? KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP : 0,
	};
	unsigned int expected = on ? 16 : 1;

	run_to(IN_L2);
	vcpu_set_guest_debug(vm, VCPU_ID, &debug);
	ksft_test_result(run_to(L2_INT3) == expected, "INT3 of L2, debugging %s\n",
			 on ? "on" : "off");
	ksft_test_result(run_to(L1_INT3) == expected, "INT3 of L1, debugging %s\n",
			 on ? "on" : "off");
}

int main(void)
{
	vm_vaddr_t gva;

	setbuf(stdout, NULL);
	nested_vmx_check_supported();

	ksft_print_header();
	ksft_set_plan(8);

	vm = vm_create_default(VCPU_ID, 0, l1_code);
	vcpu_set_cpuid(vm, VCPU_ID, kvm_get_supported_cpuid());
	vm_init_descriptor_tables(vm);
	vcpu_init_descriptor_tables(vm, VCPU_ID);
	vm_handle_exception(vm, BP_VECTOR, handle_bp);
	vcpu_alloc_vmx(vm, &gva);
	vcpu_args_set(vm, VCPU_ID, 1, gva);

	debug_in_l2(false);
	debug_in_l2(true);
	debug_in_l2(true);
	debug_in_l2(false);
	kvm_vm_free(vm);

	if (ksft_get_fail_cnt())
		ksft_exit_fail();
	ksft_exit_pass();
}
