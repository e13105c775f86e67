// SPDX-License-Identifier: GPL-2.0-only
/*
 * An L1 that enters L2 and sees why it exits, in terms that VMX and SVM share.
 */
#include <stdio.h>

#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "nested_guest.h"
#include "svm_util.h"
#include "vmx.h"

#define SVM_EXIT_OF_EXCEPTION	0x40
#define SVM_EXIT_OF_SHUTDOWN	0x7f
#define SVM_EXIT_OF_VMMCALL	0x81

/**
 * nested_guest_supported() - whether L1 can have an L2, by VMX or SVM
 */
bool nested_guest_supported(void)
{
	return nested_vmx_supported() || nested_svm_supported();
}

static bool parameter_is(const char *path, char value)
{
	FILE *f = fopen(path, "r");
	int c = EOF;

	if (f) {
		c = fgetc(f);
		fclose(f);
	}
	return c == value;
}

/**
 * host_uses_shadow_paging() - whether KVM has no EPT or NPT for its guests
 */
bool host_uses_shadow_paging(void)
{
	return parameter_is("/sys/module/kvm_intel/parameters/ept", 'N') ||
	       parameter_is("/sys/module/kvm_amd/parameters/npt", '0') ||
	       parameter_is("/sys/module/kvm_amd/parameters/npt", 'N');
}

/**
 * vcpu_alloc_l2() - allocate what L1 needs for an L2
 * @vm: the VM
 * @gva: where its address in the guest is put, for l1_init() and its like
 *
 * Return: its address in the host.
 */
void *vcpu_alloc_l2(struct kvm_vm *vm, vm_vaddr_t *gva)
{
	if (nested_svm_supported())
		return vcpu_alloc_svm(vm, gva);
	return vcpu_alloc_vmx(vm, gva);
}

/**
 * l1_init() - let L1 use VMX or SVM
 * @l2_data: what vcpu_alloc_l2() allocated
 */
void l1_init(void *l2_data)
{
	/* generic_svm_setup() does all there is on SVM. */
	if (!cpu_has_svm())
		GUEST_ASSERT(prepare_for_vmx_operation(l2_data));
}

/**
 * l2_prepare() - make an L2 that has not run yet, with L1's registers
 * @l2_data: what vcpu_alloc_l2() allocated
 * @rip: where it starts
 * @stack_end: the end of its stack
 */
void l2_prepare(void *l2_data, void *rip, void *stack_end)
{
	if (cpu_has_svm()) {
		generic_svm_setup(l2_data, rip, stack_end);
		return;
	}

	GUEST_ASSERT(load_vmcs(l2_data));
	prepare_vmcs(l2_data, rip, stack_end);
	vmwrite(CPU_BASED_VM_EXEC_CONTROL,
		vmreadz(CPU_BASED_VM_EXEC_CONTROL) | CPU_BASED_USE_MSR_BITMAPS);
}

static u64 read_cr2(void)
{
	u64 cr2;

	asm volatile("mov %%cr2, %0" : "=r" (cr2));
	return cr2;
}

static void run_vmx(const struct l2_config *config, struct l2_exit *seen)
{
	u32 info;

	vmwrite(EXCEPTION_BITMAP, config->exceptions);
	/* With no bit in the mask, the bitmap alone decides about #PF. */
	vmwrite(PAGE_FAULT_ERROR_CODE_MASK, 0);
	vmwrite(PAGE_FAULT_ERROR_CODE_MATCH, 0);
	vmwrite(VM_ENTRY_INTR_INFO_FIELD, config->inject);
	vmwrite(VM_ENTRY_EXCEPTION_ERROR_CODE, config->inject_error);
	if (config->bad_cr3)
		vmwrite(GUEST_CR3, NO_MEMORY_CR3);

	GUEST_ASSERT(!vmlaunch());

	seen->cr2 = read_cr2();
	seen->reason = vmreadz(VM_EXIT_REASON);
	seen->vectoring = vmreadz(IDT_VECTORING_INFO_FIELD);
	seen->vectoring_error = vmreadz(IDT_VECTORING_ERROR_CODE);
	switch (seen->reason) {
	case EXIT_REASON_EXCEPTION_NMI:
		info = vmreadz(VM_EXIT_INTR_INFO);
		seen->kind = L2_EXIT_EXCEPTION;
		seen->vector = info;
		seen->has_error = info & EVENT_ERROR_CODE;
		seen->error = vmreadz(VM_EXIT_INTR_ERROR_CODE);
		seen->info = vmreadz(EXIT_QUALIFICATION);
		break;
	case EXIT_REASON_TRIPLE_FAULT:
		seen->kind = L2_EXIT_SHUTDOWN;
		break;
	case EXIT_REASON_VMCALL:
		seen->kind = L2_EXIT_CALL;
		break;
	default:
		seen->kind = L2_EXIT_OTHER;
	}
}

static void run_svm(struct svm_test_data *svm, const struct l2_config *config,
		    struct l2_exit *seen)
{
	struct vmcb_control_area *control = &svm->vmcb->control;

	control->intercept_exceptions = config->exceptions;
	if (config->shutdown)
		control->intercept |= BIT_ULL(INTERCEPT_SHUTDOWN);
	control->event_inj = config->inject;
	control->event_inj_err = config->inject_error;
	if (config->bad_cr3)
		svm->vmcb->save.cr3 = NO_MEMORY_CR3;

	run_guest(svm->vmcb, svm->vmcb_gpa);

	seen->cr2 = svm->vmcb->save.cr2;
	seen->reason = control->exit_code;
	seen->vectoring = control->exit_int_info;
	seen->vectoring_error = control->exit_int_info_err;
	switch (seen->reason) {
	case SVM_EXIT_OF_EXCEPTION ... SVM_EXIT_OF_EXCEPTION + 31:
		seen->kind = L2_EXIT_EXCEPTION;
		seen->vector = seen->reason - SVM_EXIT_OF_EXCEPTION;
		seen->error = control->exit_info_1;
		seen->info = control->exit_info_2;
		break;
	case SVM_EXIT_OF_SHUTDOWN:
		seen->kind = L2_EXIT_SHUTDOWN;
		break;
	case SVM_EXIT_OF_VMMCALL:
		seen->kind = L2_EXIT_CALL;
		break;
	default:
		seen->kind = L2_EXIT_OTHER;
	}
}

/**
 * l2_run() - enter L2, for the first time since it was prepared
 * @l2_data: what vcpu_alloc_l2() allocated
 * @config: what L1 wants of L2
 * @seen: what L1 saw
 */
void l2_run(void *l2_data, const struct l2_config *config,
	    struct l2_exit *seen)
{
	memset(seen, 0, sizeof(*seen));
	if (cpu_has_svm())
		run_svm(l2_data, config, seen);
	else
		run_vmx(config, seen);
}

/**
 * l2_leave() - exit to L1
 */
void l2_leave(void)
{
	if (cpu_has_svm())
		asm volatile("vmmcall" : : : "memory");
	else
		vmcall();
}
