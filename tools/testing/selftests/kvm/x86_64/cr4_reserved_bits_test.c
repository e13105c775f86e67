// SPDX-License-Identifier: GPL-2.0-only
/*
 * CR4, bit by bit: a write that sets a reserved bit gets #GP and changes
 * nothing, an allowed one takes effect, whether KVM intercepts the bit or lets
 * the guest own it. By the guest's MOV to CR4, by KVM_SET_SREGS and by nested
 * VM entry; for L1 and L2; for each feature in CPUID and hidden, CPUID being
 * changed under a vCPU that has run, L2 active included.
 */
#define _GNU_SOURCE /* for program_invocation_name */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test_util.h"
#include "kvm_util.h"
#include "svm_util.h"
#include "vmx.h"
#include "cr4_reserved_bits/cr4_reserved_bits.h"

struct kvm_vm *vm;
bool is_vmx;

void result(const char *what)
{
	ksft_test_result(!faults, "%s: %s\n", here.name, what);
	faults = 0;
}

void skip(const char *why)
{
	ksft_test_result_skip("%s: %s\n", here.name, why);
}

/* In the unpaged VM's memory. */
#define FLAT_MEM	0xc0000000
#define FLAT_SLOT	1
#define FLAT_CODE	0x0000
#define FLAT_IDT	0x1000
#define FLAT_GDT	0x2000
#define FLAT_STACK_TOP	0x4000
#define FLAT_PAGES	4

#define CODE_SELECTOR	0x08
#define DATA_SELECTOR	0x10

static void fill_idt32(void *idt)
{
	uint32_t *gate = idt, i, entry;

	for (i = 0; i < NR_FAULT_STUBS; i++, gate += 2) {
		entry = FLAT_MEM + FLAT_CODE + (fault_stubs32 - probe32) +
			i * FAULT_STUB_SIZE;
		gate[0] = CODE_SELECTOR << 16 | (entry & 0xffff);
		gate[1] = (entry & 0xffff0000) | 0x8e00;
	}
}

static void fill_idt64(uint32_t *gate)
{
	uint64_t i, entry;

	for (i = 0; i < NR_FAULT_STUBS; i++, gate += 4) {
		entry = (uint64_t)fault_stubs + i * FAULT_STUB_SIZE;
		gate[0] = CODE_SELECTOR << 16 | (entry & 0xffff);
		gate[1] = (entry & 0xffff0000) | 0x8e00;
		gate[2] = entry >> 32;
		gate[3] = 0;
	}
}

static void set_flat_segment(struct kvm_segment *s, int selector, int type)
{
	*s = (struct kvm_segment) {
		.selector = selector,
		.limit = 0xffffffff,
		.type = type,
		.present = 1,
		.s = 1,
		.db = 1,
		.g = 1,
	};
}

/* Take a fresh vCPU to protected mode without paging. */
static void go_flat(void)
{
	static const uint64_t gdt[] = { 0, 0xcf9b000000ffff, 0xcf93000000ffff };
	struct kvm_regs regs = {
		.rip = FLAT_MEM + FLAT_CODE,
		.rsp = FLAT_MEM + FLAT_STACK_TOP,
		.rbp = FLAT_MEM + FLAT_STACK_TOP,
		.rflags = X86_EFLAGS_FIXED,
	};
	struct kvm_sregs sregs;
	char *mem;

	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, FLAT_MEM,
				    FLAT_SLOT, FLAT_PAGES, 0);
	mem = addr_gpa2hva(vm, FLAT_MEM);
	memcpy(mem + FLAT_CODE, probe32, probe32_end - probe32);
	memcpy(mem + FLAT_GDT, gdt, sizeof(gdt));
	fill_idt32(mem + FLAT_IDT);

	vcpu_sregs_get(vm, VCPU_ID, &sregs);
	sregs.cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE;
	sregs.cr3 = 0;
	sregs.efer = 0;
	sregs.gdt.base = FLAT_MEM + FLAT_GDT;
	sregs.gdt.limit = sizeof(gdt) - 1;
	sregs.idt.base = FLAT_MEM + FLAT_IDT;
	sregs.idt.limit = NR_FAULT_STUBS * 8 - 1;
	set_flat_segment(&sregs.cs, CODE_SELECTOR, 11);
	set_flat_segment(&sregs.ds, DATA_SELECTOR, 3);
	sregs.es = sregs.ds;
	sregs.fs = sregs.ds;
	sregs.gs = sregs.ds;
	sregs.ss = sregs.ds;
	vcpu_sregs_set(vm, VCPU_ID, &sregs);
	vcpu_regs_set(vm, VCPU_ID, &regs);
}

void create_vm(void *guest_code)
{
	struct kvm_sregs sregs;

	vm = vm_create_default(VCPU_ID, 0, guest_code);
	set_cpuid_all();
	vm_init_descriptor_tables(vm);
	vcpu_init_descriptor_tables(vm, VCPU_ID);
	vcpu_sregs_get(vm, VCPU_ID, &sregs);
	fill_idt64(addr_gva2hva(vm, sregs.idt.base));
}

static void test_unpaged(void)
{
	create_vm(probe);
	go_flat();
	run_to_report();
	arrive("L1, no paging", false);
	sweep_all();
	kvm_vm_free(vm);
}

static void test_long_mode(void)
{
	create_vm(probe);
	run_to_report();
	arrive("L1, long mode", false);
	sweep_all();
	hide_in_use();
	kvm_vm_free(vm);
}

/* The same CPUID from the start, and not changed under the vCPU. */
static void test_cpuid_first(void)
{
	create_vm(probe);
	arrive("L1, first CPUID", false);
	set_cpuid_to(false, "without any");
	run_to_report();
	sweep();
	result("each bit");
	kvm_vm_free(vm);
}

/* A bit that CR3's low bits forbid to set: SDM Vol. 3A 4.10.1. */
static void test_pcide_and_cr3(void)
{
	struct kvm_sregs sregs;
	uint64_t seen, to;
	int vector;

	create_vm(probe);
	run_to_report();
	arrive("L1, CR3[11:0] not 0", false);
	if (reserved(PCIDE_BIT)) {
		skip("no PCID");
	} else {
		vcpu_sregs_get(vm, VCPU_ID, &sregs);
		sregs.cr3 |= 0x018;
		vcpu_sregs_set(vm, VCPU_ID, &sregs);
		to = here.cr4 | BIT_ULL(PCIDE_BIT);
		vector = order(ORDER_MOV, to, &seen);
		CHECK(vector == GP_VECTOR && seen == here.cr4,
		      "PCIDE: exception %d, CR4 %#lx", vector, seen);
		result("PCIDE");
	}
	kvm_vm_free(vm);
}

static void test_ownership(void)
{
	create_vm(probe);
	run_to_report();
	arrive("L1", false);
	owns_fsgsbase();
	kvm_vm_free(vm);
}

static int bit_by_name(const char *name)
{
	int n;

	for (n = 0; n < 64; n++)
		if (bits[n].name && !strcmp(bits[n].name, name))
			return n;
	TEST_FAIL("no bit %s", name);
	return -1;
}

int main(int argc, char *argv[])
{
	bool has_nested;
	int opt;

	setbuf(stdout, NULL);

	while ((opt = getopt(argc, argv, "s:h")) != -1) {
		switch (opt) {
		case 's':
			never_set = bit_by_name(optarg);
			break;
		default:
			printf("usage: %s [-s BIT]\n"
			       " -s: let no guest set BIT, e.g. LA57, where it could: for an\n"
			       "     emulator that dies of it\n", argv[0]);
			exit(opt != 'h');
		}
	}

	init_cpuid();
	is_vmx = is_intel_cpu();
	has_nested = is_vmx ? nested_vmx_supported() : nested_svm_supported();

	ksft_print_header();
	ksft_set_plan(6 + (!has_nested ? 1 : is_vmx ? 9 : 7));

	test_long_mode();
	test_unpaged();
	test_cpuid_first();
	test_pcide_and_cr3();
	test_ownership();
	if (has_nested)
		test_nested();
	else
		ksft_test_result_skip("L2: no nested virtualization\n");

	if (never_set >= 0)
		ksft_print_msg("%s was never set by a guest\n",
			       bits[never_set].name);
	ksft_print_msg("%u writes by guests, %u of them refused; %u KVM_SET_SREGS, %u VM entries\n",
		       nr_writes, nr_refused, nr_sregs, nr_entries);
	if (ksft_get_fail_cnt())
		ksft_exit_fail();
	ksft_exit_pass();
}
