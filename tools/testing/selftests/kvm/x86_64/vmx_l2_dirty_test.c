// SPDX-License-Identifier: GPL-2.0-only
/*
 * What L2 writes are dirty pages of L1's VM: exactly the pages it wrote, as
 * GPAs of L1, at its first write and again after each harvest. For L2 with and
 * without EPT in L1, tracked by bitmap and by ring; what logs the pages, PML or
 * write protection, is the host's choice.
 */
#define _GNU_SOURCE /* for program_invocation_name */
#include <stdio.h>
#include <string.h>

#include <linux/bitmap.h>
#include <linux/bitops.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "vmx.h"
#include "dirty_ring.h"
#include "kselftest.h"

#define VCPU_ID		0
#define TEST_SLOT	1
#define TEST_PAGES	16
#define RING_BYTES	65536

/* Where L1 has the pages, and where L2 has them if L1 uses EPT for it. */
#define L1_MEM		0xc0000000
#define L2_MEM		0xd0000000

/* By round, the pages that L2 writes; a bit in bit 31 has it read page 15. */
static const uint32_t written[] = { 0x000a, 0x000a, 0x010b, 0x0000, 0x8000010a };

#define READS_TOO	BIT(31)

static void l2_guest_code(uint64_t mem)
{
	unsigned int round, page;

	for (round = 0; round < ARRAY_SIZE(written); round++) {
		for (page = 0; page < TEST_PAGES; page++)
			if (written[round] & BIT(page))
				WRITE_ONCE(*(uint64_t *)(mem + page * 4096),
					   round + 1);
		if (written[round] & READS_TOO)
			READ_ONCE(*(uint64_t *)(mem + 15 * 4096));
		GUEST_SYNC(round);
	}

	/* Exit to L1 and never come back. */
	vmcall();
}

static void l2_guest_code_ept(void)
{
	l2_guest_code(L2_MEM);
}

static void l2_guest_code_no_ept(void)
{
	l2_guest_code(L1_MEM);
}

static void l1_guest_code(struct vmx_pages *vmx)
{
	unsigned long l2_stack[64];

	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, vmx->eptp_gpa ? l2_guest_code_ept :
					  l2_guest_code_no_ept,
		     &l2_stack[ARRAY_SIZE(l2_stack)]);
	GUEST_ASSERT(!vmlaunch());
	GUEST_ASSERT(vmreadz(VM_EXIT_REASON) == EXIT_REASON_VMCALL);
	GUEST_DONE();
}

struct tracker {
	const char *name;
	struct kvm_vm *vm;
	struct dirty_ring ring;
	uint32_t (*collect)(struct tracker *t);
};

static uint32_t collect_bitmap(struct tracker *t)
{
	unsigned long *bitmap = bitmap_alloc(TEST_PAGES);
	uint32_t pages;

	kvm_vm_get_dirty_log(t->vm, TEST_SLOT, bitmap);
	pages = *bitmap;
	free(bitmap);
	return pages;
}

static void add_page(uint32_t slot, uint64_t offset, void *data)
{
	uint32_t *pages = data;

	TEST_ASSERT(slot == TEST_SLOT && offset < TEST_PAGES,
		    "entry for slot %u offset 0x%lx", slot, offset);
	*pages |= BIT(offset);
}

static uint32_t collect_ring(struct tracker *t)
{
	uint32_t pages = 0, collected, reset;

	collected = dirty_ring_harvest(&t->ring, UINT32_MAX, add_page, &pages);
	reset = vm_reset_dirty_rings(t->vm);
	TEST_ASSERT(reset == collected, "reset %u of %u entries", reset,
		    collected);
	return pages;
}

static void create_vm(struct tracker *t)
{
	struct kvm_vm *vm;

	vm = vm_create(VM_MODE_DEFAULT, DEFAULT_GUEST_PHY_PAGES, O_RDWR);
	kvm_vm_elf_load(vm, program_invocation_name, 0, 0);
	vm_create_irqchip(vm);
	if (t->collect == collect_ring)
		vm_enable_dirty_ring(vm, RING_BYTES);
	vm_vcpu_add_default(vm, VCPU_ID, l1_guest_code);
	vcpu_set_cpuid(vm, VCPU_ID, kvm_get_supported_cpuid());

	t->vm = vm;
	if (t->collect == collect_ring)
		dirty_ring_map(&t->ring, vm, VCPU_ID,
			       RING_BYTES / sizeof(struct kvm_dirty_gfn));
}

static void add_memory(struct kvm_vm *vm, bool ept)
{
	struct vmx_pages *vmx;
	vm_vaddr_t vmx_gva;

	vmx = vcpu_alloc_vmx(vm, &vmx_gva);
	vcpu_args_set(vm, VCPU_ID, 1, vmx_gva);
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, L1_MEM,
				    TEST_SLOT, TEST_PAGES,
				    KVM_MEM_LOG_DIRTY_PAGES);
	virt_map(vm, L1_MEM, L1_MEM, TEST_PAGES, 0);
	if (ept) {
		virt_map(vm, L2_MEM, L2_MEM, TEST_PAGES, 0);
		prepare_eptp(vmx, vm, 0);
		nested_map_memslot(vmx, vm, 0, 0);
		nested_map(vmx, vm, L2_MEM, L1_MEM, TEST_PAGES * 4096, 0);
	}
}

/* EPT for L2 takes EPT on the host. */
static bool l1_has_ept(struct kvm_vm *vm)
{
	uint64_t ctls2 = vcpu_get_msr(vm, VCPU_ID, MSR_IA32_VMX_PROCBASED_CTLS2);

	return (ctls2 >> 32) & SECONDARY_EXEC_ENABLE_EPT;
}

/* Return: whether each round reported what L2 wrote in it, and no more. */
static bool run_rounds(struct tracker *t)
{
	struct kvm_run *run = vcpu_state(t->vm, VCPU_ID);
	unsigned int round = 0;
	bool exact = true;
	struct ucall uc;

	for (;;) {
		uint32_t pages, want;

		vcpu_run(t->vm, VCPU_ID);
		TEST_ASSERT(run->exit_reason == KVM_EXIT_IO, "exit %u (%s)",
			    run->exit_reason,
			    exit_reason_str(run->exit_reason));

		switch (get_ucall(t->vm, VCPU_ID, &uc)) {
		case UCALL_SYNC:
			want = written[round] & ~READS_TOO;
			pages = t->collect(t);
			if (pages != want) {
				ksft_print_msg("round %u: reported 0x%04x, written 0x%04x\n",
					       round, pages, want);
				exact = false;
			}
			round++;
			break;
		case UCALL_DONE:
			return exact && round == ARRAY_SIZE(written);
		case UCALL_ABORT:
			TEST_FAIL("%s at %s:%ld", (const char *)uc.args[0],
				  __FILE__, uc.args[1]);
		default:
			TEST_FAIL("unknown ucall %lu", uc.cmd);
		}
	}
}

int main(void)
{
	struct tracker trackers[] = {
		{ .name = "bitmap", .collect = collect_bitmap },
		{ .name = "ring", .collect = collect_ring },
	};
	int i, ept;

	nested_vmx_check_supported();

	ksft_print_header();
	ksft_set_plan(2 * ARRAY_SIZE(trackers));

	for (i = 0; i < ARRAY_SIZE(trackers); i++) {
		for (ept = 1; ept >= 0; ept--) {
			struct tracker *t = &trackers[i];

			if (t->collect == collect_ring &&
			    !dirty_ring_max_entries()) {
				ksft_test_result_skip("ring: not offered\n");
				continue;
			}

			create_vm(t);
			if (ept && !l1_has_ept(t->vm)) {
				ksft_test_result_skip("%s, L2 with EPT: none for L1\n",
						      t->name);
			} else {
				add_memory(t->vm, ept);
				ksft_test_result(run_rounds(t),
						 "%s, L2 %s EPT\n", t->name,
						 ept ? "with" : "without");
			}
			if (t->collect == collect_ring)
				dirty_ring_unmap(&t->ring);
			kvm_vm_free(t->vm);
		}
	}

	if (ksft_get_fail_cnt())
		ksft_exit_fail();
	ksft_exit_pass();
}
