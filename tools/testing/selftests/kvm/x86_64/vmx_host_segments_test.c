// SPDX-License-Identifier: GPL-2.0-only
/*
 * The segment and descriptor-table registers that a VM exit leaves L1 with, SDM
 * vol. 3, "Loading Host Segment and Descriptor-Table Registers": for exits of L2,
 * entries that fail while guest state or MSRs are loaded, host selectors that are
 * zero and such that are not. A VMfail is no VM exit and changes none of them.
 *
 * L1 has an LDT before each entry, and data segments with other limits than
 * those that a VM exit loads.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "vmx.h"
#include "kselftest.h"

/* Selectors of descriptors that the library leaves free. */
#define LDT_SELECTOR	0x40
#define DATA_SELECTOR	0x50

/* An LDT of 16 bytes; a data segment of one page. */
#define LDT_DESCRIPTOR	0x000082000000000full
#define DATA_DESCRIPTOR	0x0040930000000fffull

#define FS_BASE		0x123000ull
#define GS_BASE		0x456000ull

/* A missing MSR, so that its load fails. */
#define NO_MSR		0x12345678

enum how { EXIT, BAD_STATE, BAD_MSR, VMFAIL, NR_HOWS };

static const char * const how_names[NR_HOWS] = {
	"VM exit", "invalid guest state", "MSR that cannot be loaded", "VMfail",
};

static struct {
	uint32_t index;
	uint32_t reserved;
	uint64_t value;
} msr_entry = { .index = NO_MSR };

/* What the host compares. */
static uint64_t gdt_base, idt_base, tr_base;
static uint16_t code_selector, tr_selector;
static uint64_t msr_entry_gpa;

static void l2_code(void)
{
	for (;;)
		vmcall();
}

static void load_segments(void)
{
	asm volatile("lldt %w0" : : "r"(LDT_SELECTOR));
	asm volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%gs"
		     : : "r"(DATA_SELECTOR));
}

/* Entries that fail end at the host's RIP, as exits do. */
static void expect_exit(enum how how)
{
	uint32_t reason = vmreadz(VM_EXIT_REASON);

	GUEST_ASSERT_2(how == EXIT ? reason == EXIT_REASON_VMCALL :
		       how == BAD_STATE ? reason == (BIT(31) | 33) :
		       reason == (BIT(31) | 34), how, reason);
}

static void try(enum how how, uint16_t data, uint16_t stack)
{
	vmwrite(HOST_DS_SELECTOR, data);
	vmwrite(HOST_ES_SELECTOR, data);
	vmwrite(HOST_FS_SELECTOR, data);
	vmwrite(HOST_GS_SELECTOR, data);
	vmwrite(HOST_SS_SELECTOR, stack);
	vmwrite(GUEST_RFLAGS, how == BAD_STATE ? 0 : 2);
	vmwrite(VM_ENTRY_MSR_LOAD_COUNT, how == BAD_MSR);
	vmwrite(VM_ENTRY_MSR_LOAD_ADDR, msr_entry_gpa);
	vmx_fail_entry(how == VMFAIL);

	load_segments();
	if (how == VMFAIL) {
		GUEST_ASSERT(vmlaunch());
	} else {
		GUEST_ASSERT(!vmlaunch());
		expect_exit(how);
	}
	GUEST_SYNC_ARGS(how, data, stack, 0, 0);
}

static void l1_code(struct vmx_pages *vmx)
{
	unsigned long l2_stack[256];
	uint64_t *gdt = (uint64_t *)get_gdt().address;
	uint16_t data = get_ds();
	enum how how;

	gdt[LDT_SELECTOR / 8] = LDT_DESCRIPTOR;
	gdt[LDT_SELECTOR / 8 + 1] = 0;
	gdt[DATA_SELECTOR / 8] = DATA_DESCRIPTOR;

	GUEST_ASSERT(data);
	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	for (how = 0; how < NR_HOWS; how++) {
		/* A VMCS that was launched cannot be again. */
		GUEST_ASSERT(load_vmcs(vmx));
		prepare_vmcs(vmx, l2_code, &l2_stack[256]);
		vmwrite(HOST_FS_BASE, FS_BASE);
		vmwrite(HOST_GS_BASE, GS_BASE);
		try(how, data, data);

		GUEST_ASSERT(load_vmcs(vmx));
		prepare_vmcs(vmx, l2_code, &l2_stack[256]);
		vmwrite(HOST_FS_BASE, FS_BASE);
		vmwrite(HOST_GS_BASE, GS_BASE);
		try(how, 0, 0);
	}
	GUEST_DONE();
}

static unsigned int bad;

static void check(bool good, const char *what)
{
	if (!good) {
		ksft_print_msg("wrong: %s\n", what);
		bad++;
	}
}

#define CHECK(condition) check(condition, #condition)

static void check_data(const char *name, const struct kvm_segment *seg,
		       uint16_t selector, bool has_base, uint64_t base)
{
	unsigned int before = bad;

	CHECK(seg->selector == selector);
	CHECK(seg->unusable == !selector);
	if (has_base)
		CHECK(seg->base == base);
	if (selector) {
		CHECK(seg->base == base);
		CHECK(seg->limit == 0xffffffff);
		CHECK(seg->type == 3);
		CHECK(seg->s && seg->present && seg->db && seg->g);
		CHECK(!seg->dpl && !seg->l && !seg->avl);
	}
	if (bad != before)
		ksft_print_msg("%s: selector 0x%x, unusable %d\n", name,
			       seg->selector, seg->unusable);
}

static void check_exit(const struct kvm_sregs *s, uint16_t data, uint16_t stack)
{
	CHECK(!s->ldt.selector);
	CHECK(s->ldt.unusable);

	check_data("DS", &s->ds, data, false, 0);
	check_data("ES", &s->es, data, false, 0);
	check_data("SS", &s->ss, stack, false, 0);
	check_data("FS", &s->fs, data, true, FS_BASE);
	check_data("GS", &s->gs, data, true, GS_BASE);

	CHECK(s->cs.selector == code_selector);
	CHECK(!s->cs.base && s->cs.limit == 0xffffffff && s->cs.type == 11);
	CHECK(s->cs.s && s->cs.present && s->cs.g && s->cs.l);
	CHECK(!s->cs.db && !s->cs.dpl && !s->cs.avl && !s->cs.unusable);

	CHECK(s->tr.selector == tr_selector && s->tr.base == tr_base);
	CHECK(s->tr.limit == 0x67 && s->tr.type == 11 && s->tr.present);
	CHECK(!s->tr.s && !s->tr.db && !s->tr.g && !s->tr.dpl);
	CHECK(!s->tr.avl && !s->tr.unusable);

	CHECK(s->gdt.base == gdt_base && s->gdt.limit == 0xffff);
	CHECK(s->idt.base == idt_base && s->idt.limit == 0xffff);
}

static void check_vmfail(const struct kvm_sregs *s)
{
	CHECK(s->ldt.selector == LDT_SELECTOR);
	CHECK(!s->ldt.unusable && s->ldt.limit == 0xf);
	CHECK(s->ds.selector == DATA_SELECTOR && s->ds.limit == 0xfff);
	CHECK(s->es.selector == DATA_SELECTOR && s->es.limit == 0xfff);
	CHECK(s->fs.selector == DATA_SELECTOR && s->fs.limit == 0xfff);
	CHECK(s->gs.selector == DATA_SELECTOR && s->gs.limit == 0xfff);
}

static void setup(struct kvm_vm *vm)
{
	struct kvm_sregs sregs;
	vm_vaddr_t vmx_gva;

	vcpu_alloc_vmx(vm, &vmx_gva);
	vcpu_args_set(vm, 0, 1, vmx_gva);

	vm_init_descriptor_tables(vm);
	vcpu_init_descriptor_tables(vm, 0);
	vcpu_sregs_get(vm, 0, &sregs);
	gdt_base = sregs.gdt.base;
	idt_base = sregs.idt.base;
	tr_base = sregs.tr.base;
	tr_selector = sregs.tr.selector;
	code_selector = sregs.cs.selector;

	msr_entry_gpa = addr_gva2gpa(vm, (uintptr_t)&msr_entry);
	sync_global_to_guest(vm, msr_entry_gpa);
}

int main(void)
{
	struct kvm_sregs sregs;
	struct kvm_run *run;
	struct kvm_vm *vm;
	struct ucall uc;

	nested_vmx_check_supported();
	vm = vm_create_default(0, 0, l1_code);
	vcpu_set_cpuid(vm, 0, kvm_get_supported_cpuid());
	setup(vm);
	run = vcpu_state(vm, 0);

	ksft_print_header();
	ksft_set_plan(2 * NR_HOWS);
	for (;;) {
		vcpu_run(vm, 0);
		TEST_ASSERT(run->exit_reason == KVM_EXIT_IO, "exit %u (%s)",
			    run->exit_reason, exit_reason_str(run->exit_reason));
		if (get_ucall(vm, 0, &uc) != UCALL_SYNC)
			break;

		vcpu_sregs_get(vm, 0, &sregs);
		bad = 0;
		if (uc.args[1] == VMFAIL)
			check_vmfail(&sregs);
		else
			check_exit(&sregs, uc.args[2], uc.args[3]);
		ksft_test_result(!bad, "%s, host selectors 0x%lx\n",
				 how_names[uc.args[1]], uc.args[2]);
	}
	TEST_ASSERT(uc.cmd == UCALL_DONE, "%s at line %lu: 0x%lx 0x%lx",
		    (char *)uc.args[0], uc.args[1], uc.args[2], uc.args[3]);
	kvm_vm_free(vm);

	if (ksft_get_fail_cnt())
		ksft_exit_fail();
	ksft_exit_pass();
}
