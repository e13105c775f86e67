// SPDX-License-Identifier: GPL-2.0-only
/*
 * L1 is a 32-bit hypervisor with PAE, so that its nested page tables begin with
 * four PDPTEs. KVM reads those at each walk of the tables, but makes the roots
 * of its shadow tables of them once. User space, or another vCPU of L1, changes
 * one while L2 runs: it was not present and is, and it leads elsewhere. A fault
 * of L2 is then handled by the PDPTE as it is, and the host stays up.
 *
 * All of L1 that is needed is VMRUN. User space prepares the rest.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "svm_util.h"

/* Where L2 reads, from a memslot for each table that PDPTE 1 leads to. */
#define L2_ADDR		BIT_ULL(30)
#define SLOT_PAGES	512
#define NR_SLOTS	2

#define PTE_PRESENT	BIT_ULL(0)
#define PTE_ALL		(BIT_ULL(0) | BIT_ULL(1) | BIT_ULL(2))
#define PTE_LARGE	BIT_ULL(7)

#define SVM_EXIT_NPF	0x400

#define PORT		0x10

/* VMRUN (EAX) */
static const uint8_t l1_code[] = { 0x0f, 0x01, 0xd8 };

/* OUT PORT; MOV ECX, [EBX]; JMP to the OUT */
static const uint8_t l2_code[] = { 0xe6, PORT, 0x8b, 0x0b, 0xeb, 0xfa };

static struct kvm_vm *vm;

static uint64_t slot_gpa(int slot)
{
	return (slot + 2) * L2_ADDR;
}

static uint64_t new_page(void)
{
	return vm_phy_page_alloc(vm, 0x10000, 0);
}

static uint64_t new_code(const uint8_t *code, size_t size)
{
	uint64_t gpa = new_page();

	memcpy(addr_gpa2hva(vm, gpa), code, size);
	return gpa;
}

/* A page directory that maps 2 MiB. */
static uint64_t new_directory(uint64_t gpa)
{
	uint64_t pd = new_page();

	*(uint64_t *)addr_gpa2hva(vm, pd) = gpa | PTE_ALL | PTE_LARGE;
	return pd;
}

/* The four PDPTEs, the first of which maps the lowest memory one to one. */
static uint64_t new_pdptes(void)
{
	uint64_t gpa = new_page();

	*(uint64_t *)addr_gpa2hva(vm, gpa) = new_directory(0) | PTE_PRESENT;
	return gpa;
}

static struct vmcb_seg flat_segment(uint8_t type)
{
	return (struct vmcb_seg) {
		.attrib = type | SVM_SELECTOR_S_MASK | SVM_SELECTOR_P_MASK |
			  SVM_SELECTOR_DB_MASK | SVM_SELECTOR_G_MASK,
		.limit = -1u,
	};
}

/* L2 is in protected mode without paging. */
static uint64_t new_vmcb(uint64_t ncr3)
{
	uint64_t gpa = new_page();
	struct vmcb *vmcb = addr_gpa2hva(vm, gpa);

	vmcb->control.intercept = BIT_ULL(INTERCEPT_VMRUN);
	vmcb->control.asid = 1;
	vmcb->control.nested_ctl = SVM_NESTED_CTL_NP_ENABLE;
	vmcb->control.nested_cr3 = ncr3;
	vmcb->save.cs = flat_segment(11);
	vmcb->save.ds = flat_segment(3);
	vmcb->save.es = flat_segment(3);
	vmcb->save.ss = flat_segment(3);
	vmcb->save.efer = EFER_SVME;
	vmcb->save.cr0 = X86_CR0_PE;
	vmcb->save.dr6 = 0xffff0ff0;
	vmcb->save.dr7 = 0x400;
	vmcb->save.rflags = 2;
	vmcb->save.g_pat = 0x0007040600070406;
	vmcb->save.rip = new_code(l2_code, sizeof(l2_code));

	return gpa;
}

static void add_vcpu(uint64_t vmcb)
{
	struct kvm_segment data = {
		.limit = -1u, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1,
	};
	struct kvm_regs regs = {
		.rip = new_code(l1_code, sizeof(l1_code)),
		.rax = vmcb,
		.rflags = 2,
	};
	struct kvm_sregs sregs;

	vm_vcpu_add(vm, 0);
	vcpu_set_cpuid(vm, 0, kvm_get_supported_cpuid());

	vcpu_sregs_get(vm, 0, &sregs);
	sregs.ds = data;
	sregs.es = data;
	sregs.ss = data;
	sregs.cs = data;
	sregs.cs.type = 11;
	sregs.cr0 = X86_CR0_PE | X86_CR0_PG;
	sregs.cr3 = new_pdptes();
	sregs.cr4 = X86_CR4_PAE;
	sregs.efer = EFER_SVME;
	vcpu_sregs_set(vm, 0, &sregs);
	vcpu_regs_set(vm, 0, &regs);
	vcpu_set_msr(vm, 0, MSR_VM_HSAVE_PA, new_page());
}

static void run_to_out(void)
{
	struct kvm_run *run = vcpu_state(vm, 0);

	vcpu_run(vm, 0);
	TEST_ASSERT(run->exit_reason == KVM_EXIT_IO && run->io.port == PORT,
		    "exit %u (%s)", run->exit_reason,
		    exit_reason_str(run->exit_reason));
}

/* L2 is to read from a page, one that it did not read before. */
static void request_page(int page)
{
	struct kvm_regs regs;

	vcpu_regs_get(vm, 0, &regs);
	regs.rbx = L2_ADDR + page * 4096;
	regs.rcx = 0;
	vcpu_regs_set(vm, 0, &regs);
}

static void expect(int slot, int page)
{
	uint32_t *there = addr_gpa2hva(vm, slot_gpa(slot) + page * 4096ul);
	struct kvm_regs regs;

	*there = 0x1000 * (slot + 1) + page;
	request_page(page);
	run_to_out();
	vcpu_regs_get(vm, 0, &regs);
	TEST_ASSERT(regs.rcx == *there, "page %d: 0x%llx, not 0x%x", page,
		    regs.rcx, *there);
}

int main(void)
{
	uint64_t pdptes, directory[NR_SLOTS], vmcb;
	uint64_t *pdpte;
	struct vmcb *vmcb_hva;
	int i;

	nested_svm_check_supported();
	if (!nested_npt_supported()) {
		print_skip("L1 has no nested paging");
		exit(KSFT_SKIP);
	}

	vm = vm_create(VM_MODE_DEFAULT, DEFAULT_GUEST_PHY_PAGES, O_RDWR);
	for (i = 0; i < NR_SLOTS; i++) {
		vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS,
					    slot_gpa(i), i + 1, SLOT_PAGES, 0);
		directory[i] = new_directory(slot_gpa(i));
	}
	pdptes = new_pdptes();
	pdpte = (uint64_t *)addr_gpa2hva(vm, pdptes) + 1;
	vmcb = new_vmcb(pdptes);
	vmcb_hva = addr_gpa2hva(vm, vmcb);
	add_vcpu(vmcb);
	run_to_out();

	/* There was no root for this PDPTE, then that of another directory. */
	WRITE_ONCE(*pdpte, directory[0] | PTE_PRESENT);
	expect(0, 0);
	WRITE_ONCE(*pdpte, directory[1] | PTE_PRESENT);
	expect(1, 16);
	WRITE_ONCE(*pdpte, directory[0] | PTE_PRESENT);
	expect(0, 32);

	/* Not present any more: L1 gets a nested page fault. */
	WRITE_ONCE(*pdpte, 0);
	request_page(48);
	vcpu_run(vm, 0);
	TEST_ASSERT(vmcb_hva->control.exit_code == SVM_EXIT_NPF &&
		    vmcb_hva->control.exit_info_2 == L2_ADDR + 48 * 4096,
		    "L1 has exit 0x%x for 0x%lx", vmcb_hva->control.exit_code,
		    vmcb_hva->control.exit_info_2);

	for (i = 0; i < NR_SLOTS; i++)
		vm_mem_region_delete(vm, i + 1);
	kvm_vm_free(vm);
	return 0;
}
