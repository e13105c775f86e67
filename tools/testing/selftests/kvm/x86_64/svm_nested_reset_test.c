// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU is reset while L2 runs, which L1 does not intercept: by a shutdown in
 * L2, and by INIT. User space then sets the vCPU up as it was in L1, and L1
 * must see its own memory. L2's nested page tables map another page at the
 * address where L1 looks.
 */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "svm_util.h"

#define VCPU_ID		0

#define L1_VALUE	0x11
#define L2_VALUE	0x22

/* What the guest tells. */
enum { STAGE_READY, STAGE_L2, STAGE_SEEN };

static struct kvm_vm *vm;
static bool shutdown_l2;
static uint64_t *page, *other_page;

static void l2_guest_code(void)
{
	static const struct desc_ptr no_idt;

	if (shutdown_l2) {
		asm volatile("lidt %0" : : "m" (no_idt));
		asm volatile("ud2");
	}
	ucall(UCALL_SYNC, 2, (uint64_t)STAGE_L2, READ_ONCE(*page));
}

static void l1_guest_code(struct svm_test_data *svm)
{
	unsigned long l2_stack[64];

	*page = L1_VALUE;
	*other_page = L2_VALUE;
	generic_svm_setup(svm, l2_guest_code, &l2_stack[64]);
	ucall(UCALL_SYNC, 1, (uint64_t)STAGE_READY);
	run_guest(svm->vmcb, svm->vmcb_gpa);
	GUEST_ASSERT(0);
}

/* Where L1 goes on after the reset. */
static void l1_after_reset(void)
{
	ucall(UCALL_SYNC, 2, (uint64_t)STAGE_SEEN, READ_ONCE(*page));
}

static void expect_stage(uint64_t stage, uint64_t value)
{
	struct ucall uc;

	vcpu_run(vm, VCPU_ID);
	TEST_ASSERT(get_ucall(vm, VCPU_ID, &uc) == UCALL_SYNC,
		    "stage %lu: exit %s, ucall %lu", stage,
		    exit_reason_str(vcpu_state(vm, VCPU_ID)->exit_reason),
		    uc.cmd);
	TEST_ASSERT(uc.args[0] == stage, "stage %lu, not %lu", uc.args[0],
		    stage);
	TEST_ASSERT(!value || uc.args[1] == value,
		    "stage %lu: the guest reads %#lx, not %#lx", stage,
		    uc.args[1], value);
}

/* INIT: latched by user space, accepted by the next KVM_GET_MP_STATE. */
static void init_vcpu(void)
{
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp_state;

	vcpu_run_complete_io(vm, VCPU_ID);
	vcpu_events_get(vm, VCPU_ID, &events);
	events.flags |= KVM_VCPUEVENT_VALID_SMM;
	events.smi.latched_init = 1;
	vcpu_events_set(vm, VCPU_ID, &events);
	vcpu_ioctl(vm, VCPU_ID, KVM_GET_MP_STATE, &mp_state);
}

static void check(const char *name, bool shutdown)
{
	struct kvm_nested_state nested = {
		.flags = KVM_STATE_NESTED_GIF_SET,
		.format = KVM_STATE_NESTED_FORMAT_SVM,
		.size = sizeof(nested),
	};
	struct kvm_vcpu_events events;
	struct kvm_run *run;
	struct kvm_sregs sregs, after;
	struct kvm_regs regs;
	struct svm_test_data *svm;
	vm_vaddr_t svm_gva, gva, other;

	vm = vm_create_default(VCPU_ID, 0, l1_guest_code);
	vcpu_set_cpuid(vm, VCPU_ID, kvm_get_supported_cpuid());
	run = vcpu_state(vm, VCPU_ID);

	gva = vm_vaddr_alloc(vm, getpagesize(), 0x10000, 0, 0);
	other = vm_vaddr_alloc(vm, getpagesize(), 0x10000, 0, 0);
	page = (void *)gva;
	other_page = (void *)other;
	shutdown_l2 = shutdown;
	sync_global_to_guest(vm, page);
	sync_global_to_guest(vm, other_page);
	sync_global_to_guest(vm, shutdown_l2);

	svm = vcpu_alloc_svm(vm, &svm_gva);
	prepare_npt(svm, vm, 0);
	npt_map_memslot(svm, vm, 0, 0);
	npt_map(svm, vm, addr_gva2gpa(vm, gva), addr_gva2gpa(vm, other),
		getpagesize(), 0);
	vcpu_args_set(vm, VCPU_ID, 1, svm_gva);

	expect_stage(STAGE_READY, 0);
	vcpu_run_complete_io(vm, VCPU_ID);
	vcpu_sregs_get(vm, VCPU_ID, &sregs);
	vcpu_regs_get(vm, VCPU_ID, &regs);
	vcpu_events_get(vm, VCPU_ID, &events);

	if (shutdown) {
		vcpu_run(vm, VCPU_ID);
		TEST_ASSERT(run->exit_reason == KVM_EXIT_SHUTDOWN,
			    "%s: exit %s", name,
			    exit_reason_str(run->exit_reason));
	} else {
		expect_stage(STAGE_L2, L2_VALUE);
		init_vcpu();
	}

	vcpu_sregs_get(vm, VCPU_ID, &after);
	TEST_ASSERT(!(after.cr0 & X86_CR0_PE), "%s: no reset, CR0 is %#llx",
		    name, after.cr0);

	regs.rip = (uint64_t)l1_after_reset;
	vcpu_sregs_set(vm, VCPU_ID, &sregs);
	vcpu_regs_set(vm, VCPU_ID, &regs);
	vcpu_events_set(vm, VCPU_ID, &events);
	vcpu_nested_state_set(vm, VCPU_ID, &nested, false);
	expect_stage(STAGE_SEEN, L1_VALUE);
	printf("%s: L1 sees its own page\n", name);

	kvm_vm_free(vm);
}

int main(int argc, char *argv[])
{
	setbuf(stdout, NULL);
	nested_svm_check_supported();
	if (!nested_npt_supported()) {
		print_skip("L1 has no nested paging");
		exit(KSFT_SKIP);
	}

	check("shutdown in L2", true);
	check("INIT in L2", false);
	return 0;
}
