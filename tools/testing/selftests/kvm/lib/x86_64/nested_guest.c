// SPDX-License-Identifier: GPL-2.0-only
/*
 * An L1 that enters L2 and sees why it exits, in terms that VMX and SVM share.
 */
#include <string.h>

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

/**
 * vm_create_with_l2() - create a VM whose L1 can have an L2
 * @vcpuid: its vCPU
 * @l1_code: what L1 runs; gets the pointer for l1_init() and its like
 *
 * Return: the VM, with descriptor tables.
 */
struct kvm_vm *vm_create_with_l2(uint32_t vcpuid, void *l1_code)
{
	struct kvm_vm *vm = vm_create_default(vcpuid, 0, l1_code);
	vm_vaddr_t gva;

	vcpu_set_cpuid(vm, vcpuid, kvm_get_supported_cpuid());
	vm_init_descriptor_tables(vm);
	vcpu_init_descriptor_tables(vm, vcpuid);
	if (nested_svm_supported())
		vcpu_alloc_svm(vm, &gva);
	else
		vcpu_alloc_vmx(vm, &gva);
	vcpu_args_set(vm, vcpuid, 1, gva);
	return vm;
}

/**
 * vm_exit_for_no_msr() - have KVM_RUN exit where a guest accesses NO_MSR
 * @vm: the VM
 */
void vm_exit_for_no_msr(struct kvm_vm *vm)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_USER_SPACE_MSR,
		.args[0] = KVM_MSR_EXIT_REASON_UNKNOWN,
	};

	vm_enable_cap(vm, &cap);
}

/**
 * vcpu_leave_l2() - leave L2, as a vCPU that was never there
 * @vm: the VM
 * @vcpuid: the vCPU, which is in L2
 * @nested: where the nested state is saved
 */
void vcpu_leave_l2(struct kvm_vm *vm, uint32_t vcpuid,
		   union nested_state *nested)
{
	struct kvm_nested_state out = { .size = sizeof(out) };

	if (nested_svm_supported()) {
		out.format = KVM_STATE_NESTED_FORMAT_SVM;
		out.flags = KVM_STATE_NESTED_GIF_SET;
	} else {
		out.format = KVM_STATE_NESTED_FORMAT_VMX;
		out.hdr.vmx.vmxon_pa = -1ull;
		out.hdr.vmx.vmcs12_pa = -1ull;
	}

	nested->state.size = sizeof(*nested);
	vcpu_nested_state_get(vm, vcpuid, &nested->state);
	TEST_ASSERT(nested->state.flags & KVM_STATE_NESTED_GUEST_MODE,
		    "L2 does not run");
	vcpu_nested_state_set(vm, vcpuid, &out, false);
}

/**
 * l1_init() - let L1 use VMX or SVM
 * @l2_data: what L1 got
 */
void l1_init(void *l2_data)
{
	/* generic_svm_setup() does all there is on SVM. */
	if (!cpu_has_svm())
		GUEST_ASSERT(prepare_for_vmx_operation(l2_data));
}

/**
 * l2_prepare() - make an L2 that has not run yet, with L1's registers
 * @l2_data: what L1 got
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
	/* The vector of an NMI is not defined, APM Vol. 2 15.7.2. */
	if ((seen->vectoring & EVENT_VALID) &&
	    (seen->vectoring & EVENT_TYPE) == EVENT_TYPE_NMI)
		seen->vectoring = (seen->vectoring & ~0xff) | NMI_VECTOR;
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
 * @l2_data: what L1 got
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
