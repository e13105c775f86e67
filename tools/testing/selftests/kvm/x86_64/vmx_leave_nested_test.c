// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_SET_VCPU_EVENTS enters SMM while L2 is active, so that KVM has to leave
 * nested VMX: it unmaps L1's virtual-APIC page, which looks at memslots.
 * KVM_RUN with KVM_SYNC_X86_EVENTS does the same.
 *
 * A kernel with CONFIG_PROVE_RCU reports memslots that are used without
 * kvm->srcu: that fails the test. Others can only show that KVM leaves.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "vmx.h"

#define VCPU_ID		0

static struct kvm_vm *vm;
static uint64_t virtual_apic_gpa;

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
	GUEST_ASSERT(!vmwrite(CPU_BASED_VM_EXEC_CONTROL,
			      vmreadz(CPU_BASED_VM_EXEC_CONTROL) |
			      CPU_BASED_TPR_SHADOW));
	GUEST_ASSERT(!vmwrite(VIRTUAL_APIC_PAGE_ADDR, virtual_apic_gpa));
	GUEST_ASSERT(!vmwrite(TPR_THRESHOLD, 0));
	GUEST_ASSERT(!vmlaunch());
	GUEST_ASSERT(0);
}

static uint16_t nested_flags(void)
{
	union {
		struct kvm_nested_state state;
		char room[sizeof(struct kvm_nested_state) + 2 * 4096];
	} nested = { .state.size = sizeof(nested) };

	vcpu_nested_state_get(vm, VCPU_ID, &nested.state);
	return nested.state.flags;
}

static void set_events(struct kvm_vcpu_events *events)
{
	vcpu_events_set(vm, VCPU_ID, events);
}

static void sync_events(struct kvm_vcpu_events *events)
{
	struct kvm_run *run = vcpu_state(vm, VCPU_ID);
	int ret;

	run->s.regs.events = *events;
	run->kvm_dirty_regs = KVM_SYNC_X86_EVENTS;
	run->immediate_exit = 1;
	ret = ioctl(vcpu_get_fd(vm, VCPU_ID), KVM_RUN, 0);
	TEST_ASSERT(ret == -1 && errno == EINTR, "KVM_RUN: %d, errno %d", ret,
		    errno);
	run->immediate_exit = 0;
}

static void check(const char *name, void (*set)(struct kvm_vcpu_events *events))
{
	struct kvm_vcpu_events events;
	vm_vaddr_t vmx_pages_gva, gva;
	struct ucall uc;

	vm = vm_create_default(VCPU_ID, 0, l1_guest_code);
	vcpu_set_cpuid(vm, VCPU_ID, kvm_get_supported_cpuid());
	gva = vm_vaddr_alloc(vm, getpagesize(), 0x10000, 0, 0);
	virtual_apic_gpa = addr_gva2gpa(vm, gva);
	sync_global_to_guest(vm, virtual_apic_gpa);
	vcpu_alloc_vmx(vm, &vmx_pages_gva);
	vcpu_args_set(vm, VCPU_ID, 1, vmx_pages_gva);

	vcpu_run(vm, VCPU_ID);
	TEST_ASSERT(get_ucall(vm, VCPU_ID, &uc) == UCALL_SYNC,
		    "%s: L2 does not run: %s", name,
		    uc.cmd == UCALL_ABORT ? (const char *)uc.args[0] : "");
	vcpu_run_complete_io(vm, VCPU_ID);
	TEST_ASSERT(nested_flags() & KVM_STATE_NESTED_GUEST_MODE,
		    "%s: L2 is not active", name);

	vcpu_events_get(vm, VCPU_ID, &events);
	events.flags |= KVM_VCPUEVENT_VALID_SMM;
	events.smi.smm = 1;
	set(&events);
	TEST_ASSERT(!(nested_flags() & KVM_STATE_NESTED_GUEST_MODE),
		    "%s: L2 is still active", name);
	printf("%s: left nested mode\n", name);

	kvm_vm_free(vm);
}

int main(int argc, char *argv[])
{
	setbuf(stdout, NULL);
	nested_vmx_check_supported();

	check("KVM_SET_VCPU_EVENTS", set_events);
	check("KVM_RUN", sync_events);
	return 0;
}
