// SPDX-License-Identifier: GPL-2.0-only
/*
 * If the processor refuses a VM entry, KVM restores the MSRs that L1's VM-entry
 * list has set. It looks for L1's values in the VM-exit list. L1 may give that
 * list any length, but KVM must read no more of it than a VM exit would load:
 * 512 MSRs times (IA32_VMX_MISC[27:25] + 1), SDM vol. 3, "Miscellaneous Data".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "vmx.h"
#include "kselftest.h"

#define VCPU_ID		0

#define EXIT_LIST_SLOT	1
#define EXIT_LIST_MEM	0x40000000ul
#define EXIT_LIST_PAGES	256u

/* SDM vol. 3, "VM-Instruction Error Numbers". */
#define VMXERR_ENTRY_INVALID_CONTROL_FIELD	7

/* SDM vol. 3, "Format of an MSR Entry". */
struct msr_entry {
	uint32_t index;
	uint32_t reserved;
	uint64_t value;
};

static struct msr_entry entry_list __aligned(16) = { .index = MSR_IA32_SYSENTER_CS };

static void l1_guest_code(struct vmx_pages *vmx, uint64_t entry_list_gpa)
{
	unsigned long l2_stack[64];
	uint64_t max;

	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, NULL, &l2_stack[ARRAY_SIZE(l2_stack)]);

	vmwrite(VM_ENTRY_MSR_LOAD_ADDR, entry_list_gpa);
	vmwrite(VM_ENTRY_MSR_LOAD_COUNT, 1);
	vmwrite(VM_EXIT_MSR_LOAD_ADDR, EXIT_LIST_MEM);
	vmwrite(VM_EXIT_MSR_LOAD_COUNT,
		EXIT_LIST_PAGES * 4096ul / sizeof(struct msr_entry));
	vmx_fail_entry(true);
	GUEST_ASSERT(vmlaunch());
	GUEST_ASSERT(vmreadz(VM_INSTRUCTION_ERROR) ==
		     VMXERR_ENTRY_INVALID_CONTROL_FIELD);

	max = 512 * (((rdmsr(MSR_IA32_VMX_MISC) >> 25) & 7) + 1);
	GUEST_SYNC(max * sizeof(struct msr_entry) / 4096);
}

/* Nobody but KVM touches the list, so the pages that are there were read. */
static unsigned int count_pages(void *mem)
{
	unsigned char resident[EXIT_LIST_PAGES];
	unsigned int i, pages = 0;
	int ret;

	ret = mincore(mem, sizeof(resident) * 4096ul, resident);
	TEST_ASSERT(!ret, "mincore() failed: %s", strerror(errno));
	for (i = 0; i < EXIT_LIST_PAGES; i++)
		pages += resident[i] & 1;
	return pages;
}

int main(void)
{
	unsigned int pages;
	struct kvm_run *run;
	struct kvm_vm *vm;
	struct ucall uc;
	vm_vaddr_t vmx;
	void *list;
	int ret;

	setbuf(stdout, NULL);
	nested_vmx_check_supported();
	ksft_print_header();
	ksft_set_plan(1);

	vm = vm_create_default(VCPU_ID, 0, l1_guest_code);
	vcpu_set_cpuid(vm, VCPU_ID, kvm_get_supported_cpuid());
	run = vcpu_state(vm, VCPU_ID);
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, EXIT_LIST_MEM,
				    EXIT_LIST_SLOT, EXIT_LIST_PAGES, 0);
	list = addr_gpa2hva(vm, EXIT_LIST_MEM);
	ret = madvise(list, EXIT_LIST_PAGES * 4096ul, MADV_NOHUGEPAGE);
	TEST_ASSERT(!ret || errno == EINVAL, "madvise() failed: %s",
		    strerror(errno));
	TEST_ASSERT(!count_pages(list), "the list was touched too early");

	vcpu_alloc_vmx(vm, &vmx);
	sync_global_to_guest(vm, entry_list);
	vcpu_args_set(vm, VCPU_ID, 2, vmx,
		      addr_gva2gpa(vm, (vm_vaddr_t)&entry_list));
	vcpu_run(vm, VCPU_ID);
	TEST_ASSERT(run->exit_reason == KVM_EXIT_IO, "exit %u (%s)",
		    run->exit_reason, exit_reason_str(run->exit_reason));
	ret = get_ucall(vm, VCPU_ID, &uc);
	TEST_ASSERT(ret != UCALL_ABORT, "%s at %s:%ld",
		    (const char *)uc.args[0], __FILE__, uc.args[1]);
	TEST_ASSERT(ret == UCALL_SYNC, "unknown ucall %d", ret);

	pages = count_pages(list);
	ksft_print_msg("KVM has read %u pages, a VM exit would read %lu\n",
		       pages, uc.args[1]);
	ksft_test_result(pages && pages <= uc.args[1],
			 "VMfail with a long VM-exit list\n");

	kvm_vm_free(vm);
	ksft_exit(!ksft_get_fail_cnt());
}
