// SPDX-License-Identifier: GPL-2.0-only
/*
 * state_file_test: L1 and L2, on VMX and SVM.
 */
#include <linux/bitops.h>
#include <linux/compiler.h>
#include <linux/kernel.h>

#include "state_file.h"
#include "vmx.h"
#include "svm_util.h"

#define NMI_VECTOR		2
#define NMI_EXITING		BIT(3)	/* pin-based control */
#define SVM_EXIT_OF_NMI		0x61
#define SVM_INTERCEPT_OF_NMI	1	/* bit of the intercepts at 00CH */

/* Where L1 or L2 asks to be saved, and what L1 does before; for the guest. */
enum where { NO_L2, VMCS_LOADED, IN_L2, AFTER_EXIT, AFTER_VMFAIL, GIF_CLEAR };

static enum where where;
static bool nmi_exits, virtual_apic;

static uint64_t nmis;

static void handle_nmi(struct ex_regs *regs)
{
	WRITE_ONCE(nmis, READ_ONCE(nmis) + 1);
}

static void l2_guest_code(void)
{
	if (READ_ONCE(where) == IN_L2)
		GUEST_SYNC(SAVE_HERE);
	vmcall();
	GUEST_SYNC(0x12);
	vmcall();
}

static void l1_vmx(void *arg)
{
	struct vmx_pages *vmx = arg;
	unsigned long l2_stack[256];

	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	if (where == NO_L2)
		GUEST_SYNC(SAVE_HERE);
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, l2_guest_code, &l2_stack[ARRAY_SIZE(l2_stack)]);
	if (nmi_exits)
		vmwrite(PIN_BASED_VM_EXEC_CONTROL,
			vmreadz(PIN_BASED_VM_EXEC_CONTROL) | NMI_EXITING);
	if (virtual_apic) {
		vmwrite(VIRTUAL_APIC_PAGE_ADDR, vmx->apic_access_gpa);
		vmwrite(CPU_BASED_VM_EXEC_CONTROL, CPU_BASED_TPR_SHADOW |
			vmreadz(CPU_BASED_VM_EXEC_CONTROL));
		vmwrite(TPR_THRESHOLD, 0);
	}
	if (where == VMCS_LOADED)
		GUEST_SYNC(SAVE_HERE);
	if (where == AFTER_VMFAIL) {
		vmx_fail_entry(true);
		GUEST_ASSERT(vmlaunch());
		GUEST_SYNC(SAVE_HERE);
		GUEST_SYNC(vmreadz(VM_INSTRUCTION_ERROR));
		vmx_fail_entry(false);
	}

	GUEST_ASSERT(!vmlaunch());
	GUEST_SYNC(vmreadz(VM_EXIT_REASON));
	if (vmreadz(VM_EXIT_REASON) == EXIT_REASON_EXCEPTION_NMI) {
		GUEST_ASSERT(!vmresume());
		GUEST_SYNC(vmreadz(VM_EXIT_REASON));
	}
	if (where == AFTER_EXIT)
		GUEST_SYNC(SAVE_HERE);
	vmwrite(GUEST_RIP, vmreadz(GUEST_RIP) +
			   vmreadz(VM_EXIT_INSTRUCTION_LEN));
	GUEST_ASSERT(vmlaunch());	/* it is launched already */
	GUEST_SYNC(vmreadz(VM_INSTRUCTION_ERROR));
	GUEST_ASSERT(!vmresume());
	GUEST_SYNC(vmreadz(VM_EXIT_REASON));
	GUEST_SYNC(READ_ONCE(nmis));
	GUEST_DONE();
}

static void l1_svm(void *arg)
{
	struct svm_test_data *svm = arg;
	unsigned long l2_stack[256];

	generic_svm_setup(svm, l2_guest_code, &l2_stack[ARRAY_SIZE(l2_stack)]);
	if (nmi_exits)
		svm->vmcb->control.intercept |= BIT_ULL(SVM_INTERCEPT_OF_NMI);
	if (where == NO_L2)
		GUEST_SYNC(SAVE_HERE);
	if (where == GIF_CLEAR) {
		asm volatile("clgi");
		GUEST_SYNC(SAVE_HERE);
		GUEST_SYNC(READ_ONCE(nmis));
		asm volatile("stgi");
		GUEST_SYNC(READ_ONCE(nmis));
	}

	run_guest(svm->vmcb, svm->vmcb_gpa);
	GUEST_SYNC(svm->vmcb->control.exit_code);
	if (svm->vmcb->control.exit_code == SVM_EXIT_OF_NMI) {
		/* It is pending for L1 now, and comes with STGI. */
		asm volatile("stgi; nop");
		run_guest(svm->vmcb, svm->vmcb_gpa);
		GUEST_SYNC(svm->vmcb->control.exit_code);
	}
	if (where == AFTER_EXIT)
		GUEST_SYNC(SAVE_HERE);
	svm->vmcb->save.rip += 3;
	run_guest(svm->vmcb, svm->vmcb_gpa);
	GUEST_SYNC(svm->vmcb->control.exit_code);
	GUEST_SYNC(READ_ONCE(nmis));
	GUEST_DONE();
}

static void l1_guest_code(void *arg)
{
	if (cpu_has_svm())
		l1_svm(arg);
	else
		l1_vmx(arg);
}

static void prepare(struct kvm_vm *vm, enum where at, bool paging)
{
	vm_vaddr_t gva;

	where = at;
	sync_global_to_guest(vm, where);
	sync_global_to_guest(vm, nmi_exits);
	sync_global_to_guest(vm, virtual_apic);
	vm_handle_exception(vm, NMI_VECTOR, handle_nmi);

	if (nested_svm_supported()) {
		struct svm_test_data *svm = vcpu_alloc_svm(vm, &gva);

		if (paging) {
			prepare_npt(svm, vm, 0);
			npt_map_memslot(svm, vm, 0, 0);
		}
	} else {
		struct vmx_pages *vmx = vcpu_alloc_vmx(vm, &gva);

		if (paging) {
			prepare_eptp(vmx, vm, 0);
			nested_map_memslot(vmx, vm, 0, 0);
		}
		if (virtual_apic)
			prepare_virtualize_apic_accesses(vmx, vm, 0);
	}
	vcpu_args_set(vm, VCPU_ID, 1, gva);
	nmi_exits = false;
	virtual_apic = false;
}

static void no_l2(struct kvm_vm *vm)
{
	prepare(vm, NO_L2, false);
}

static void vmcs_loaded(struct kvm_vm *vm)
{
	prepare(vm, VMCS_LOADED, false);
}

static void in_l2(struct kvm_vm *vm)
{
	prepare(vm, IN_L2, false);
}

static void in_l2_paging(struct kvm_vm *vm)
{
	prepare(vm, IN_L2, true);
}

static void in_l2_apic(struct kvm_vm *vm)
{
	virtual_apic = true;
	prepare(vm, IN_L2, false);
}

static void in_l2_nmi(struct kvm_vm *vm)
{
	nmi_exits = true;
	prepare(vm, IN_L2, false);
}

static void in_l2_smm(struct kvm_vm *vm)
{
	add_smram(vm);
	prepare(vm, IN_L2, false);
}

static void after_exit(struct kvm_vm *vm)
{
	prepare(vm, AFTER_EXIT, false);
}

static void after_vmfail(struct kvm_vm *vm)
{
	prepare(vm, AFTER_VMFAIL, false);
}

static void gif_clear(struct kvm_vm *vm)
{
	prepare(vm, GIF_CLEAR, false);
}

static const char *needs_nested(struct kvm_vm *vm)
{
	return nested_svm_supported() || nested_vmx_supported() ?
	       NULL : "no nested virtualization";
}

static const char *needs_vmx(struct kvm_vm *vm)
{
	return nested_vmx_supported() ? NULL : "no nested VMX";
}

static const char *needs_svm(struct kvm_vm *vm)
{
	return nested_svm_supported() ? NULL : "no nested SVM";
}

/*
 * On SVM, KVM keeps L1's state in memory of its own while SMM is over L2. No
 * ioctl reads it there.
 */
static const char *needs_vmx_and_smm(struct kvm_vm *vm)
{
	if (!kvm_check_cap(KVM_CAP_X86_SMM))
		return "no SMM";
	return nested_vmx_supported() ? NULL :
	       "KVM does not let L1's state travel on SVM";
}

static const char *needs_paging(struct kvm_vm *vm)
{
	if (nested_svm_supported())
		return nested_npt_supported() ? NULL : "L1 has no NPT";
	if (!nested_vmx_supported())
		return "no nested virtualization";
	return vcpu_get_msr(vm, VCPU_ID, MSR_IA32_VMX_PROCBASED_CTLS2) >> 32 &
	       SECONDARY_EXEC_ENABLE_EPT ? NULL : "L1 has no EPT";
}

const struct state nested_states[] = {
	{ "L1, no L2 yet", needs_nested, l1_guest_code, no_l2 },
	{ "L1, VMCS loaded", needs_vmx, l1_guest_code, vmcs_loaded },
	{ "L1, VMfail", needs_vmx, l1_guest_code, after_vmfail },
	{ "L1, GIF clear", needs_svm, l1_guest_code, gif_clear },
	{ "L1, GIF clear, NMI pending", needs_svm, l1_guest_code, gif_clear,
	  make_nmi_pending },
	{ "L1 after an exit of L2", needs_nested, l1_guest_code, after_exit },
	{ "L2", needs_nested, l1_guest_code, in_l2 },
	{ "L2 with nested paging", needs_paging, l1_guest_code, in_l2_paging },
	{ "L2 with a virtual-APIC page", needs_vmx, l1_guest_code, in_l2_apic },
	{ "L2, NMI pending for L2", needs_nested, l1_guest_code, in_l2,
	  make_nmi_pending },
	{ "L2, NMI pending for L1", needs_nested, l1_guest_code, in_l2_nmi,
	  make_nmi_pending },
	{ "SMM over L2", needs_vmx_and_smm, l1_guest_code, in_l2_smm, start_smi },
	{ }
};
