// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM makes a #GP for L2 that L1 intercepts. The VM exit has an error code if
 * L2 is in protected mode, and none in real mode. User space puts L2 into real
 * mode and makes the #GP, so that L2 need not run there.
 */
#include <stdio.h>
#include <string.h>

#include <linux/bitops.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "vmx.h"

#define VCPU_ID			0
#define GP_VECTOR		13
#define EFER_LONG		(EFER_LME | EFER_LMA)

#define INTR_INFO_VALID		BIT(31)
#define INTR_INFO_ERROR_CODE	BIT(11)

static struct kvm_vm *vm;

static void l2_guest_code(void)
{
	GUEST_SYNC(2);
}

static void l1_guest_code(struct vmx_pages *vmx_pages)
{
	unsigned long l2_stack[64];

	GUEST_ASSERT(prepare_for_vmx_operation(vmx_pages));
	GUEST_ASSERT(load_vmcs(vmx_pages));
	prepare_vmcs(vmx_pages, l2_guest_code, &l2_stack[64]);
	GUEST_ASSERT(!vmwrite(EXCEPTION_BITMAP, BIT(GP_VECTOR)));
	GUEST_ASSERT(!vmlaunch());
	ucall(UCALL_SYNC, 2, vmreadz(VM_EXIT_REASON),
	      vmreadz(VM_EXIT_INTR_INFO));
}

static void enter_real_mode(void)
{
	struct kvm_sregs sregs;

	vcpu_sregs_get(vm, VCPU_ID, &sregs);
	sregs.cr0 &= ~(X86_CR0_PG | X86_CR0_PE);
	sregs.efer &= ~EFER_LONG;
	sregs.cs.l = 0;
	vcpu_sregs_set(vm, VCPU_ID, &sregs);
}

static void check(const char *name, bool real_mode)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_EXCEPTION_PAYLOAD,
		.args[0] = 1,
	};
	struct kvm_vcpu_events events;
	vm_vaddr_t vmx_pages_gva;
	struct ucall uc;

	vm = vm_create_default(VCPU_ID, 0, l1_guest_code);
	vcpu_set_cpuid(vm, VCPU_ID, kvm_get_supported_cpuid());
	vm_enable_cap(vm, &cap);
	vcpu_alloc_vmx(vm, &vmx_pages_gva);
	vcpu_args_set(vm, VCPU_ID, 1, vmx_pages_gva);

	vcpu_run(vm, VCPU_ID);
	TEST_ASSERT(get_ucall(vm, VCPU_ID, &uc) == UCALL_SYNC,
		    "%s: L2 does not run", name);
	vcpu_run_complete_io(vm, VCPU_ID);

	if (real_mode)
		enter_real_mode();
	vcpu_events_get(vm, VCPU_ID, &events);
	events.flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
	events.exception.pending = 1;
	events.exception.nr = GP_VECTOR;
	events.exception.has_error_code = 1;
	vcpu_events_set(vm, VCPU_ID, &events);

	vcpu_run(vm, VCPU_ID);
	TEST_ASSERT(get_ucall(vm, VCPU_ID, &uc) == UCALL_SYNC,
		    "%s: L1 does not go on", name);
	TEST_ASSERT(uc.args[0] == EXIT_REASON_EXCEPTION_NMI,
		    "%s: exit reason %#lx", name, uc.args[0]);
	TEST_ASSERT(uc.args[1] & INTR_INFO_VALID &&
		    (uc.args[1] & 0xff) == GP_VECTOR,
		    "%s: interruption information %#lx", name, uc.args[1]);
	TEST_ASSERT(!(uc.args[1] & INTR_INFO_ERROR_CODE) == real_mode,
		    "%s: interruption information %#lx", name, uc.args[1]);
	printf("%s: interruption information %#lx\n", name, uc.args[1]);

	kvm_vm_free(vm);
}

int main(int argc, char *argv[])
{
	setbuf(stdout, NULL);
	nested_vmx_check_supported();
	if (!vm_is_unrestricted_guest(NULL)) {
		print_skip("no unrestricted guests");
		exit(KSFT_SKIP);
	}

	check("long mode", false);
	check("real mode", true);
	return 0;
}
