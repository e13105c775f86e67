// SPDX-License-Identifier: GPL-2.0-only
/*
 * CR4, bit by bit: a write that sets a reserved bit gets #GP and changes
 * nothing, an allowed one takes effect, whether KVM intercepts the bit or lets
 * the guest own it. By the guest's MOV to CR4, by KVM_SET_SREGS and by nested
 * VM entry; for L1 and L2; for each feature in CPUID and hidden, CPUID being
 * changed under a vCPU that has run, L2 active included.
 */
#define _GNU_SOURCE /* for program_invocation_name */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/bitops.h>

#include "test_util.h"
#include "kvm_util.h"
#include "cr4_probe.h"
#include "processor.h"
#include "svm_util.h"
#include "vmx.h"
#include "kselftest.h"

#define VCPU_ID		0

#define X86_CR4_LA57	BIT_ULL(12)

#define GP_VECTOR	13

#define SVM_EXIT_INVALID	(-1ull)

/* VM-instruction error: VM entry with invalid control fields. */
#define VM_ENTRY_BAD_CONTROL	7

/*
 * The bits of CR4: SDM Vol. 3A 2.5 "Control Registers", APM Vol. 2 3.1.3 "CR4
 * Register". A bit without a feature in CPUID is there on every processor; one
 * without KNOWN is reserved for all guests, whatever CPUID says.
 */
enum { NONE, EAX, EBX, ECX, EDX };

/* KVM has the bit; it is reserved if CPUID hides its feature. */
#define KNOWN		BIT(0)
/*
 * What all processors with long mode have: KVM enforces CPUID only in VMX
 * operation, by IA32_VMX_CR4_FIXED1.
 */
#define BASELINE	(KNOWN | BIT(1))
/* Must be 1 in IA-32e mode. */
#define LMA_NEEDS	BIT(2)
/* May be set only in IA-32e mode and, by MOV, with CR3[11:0] = 0. */
#define NEEDS_LMA	BIT(3)
/* Cannot be changed in IA-32e mode by MOV. */
#define LMA_LOCKS	BIT(4)
/* Must be 1 in VMX operation. */
#define VMX_NEEDS	BIT(5)

struct cr4_bit {
	const char *name;
	uint32_t function;
	uint32_t index;
	int reg;
	int bit;
	unsigned int rules;
};

static const struct cr4_bit bits[64] = {
	[0]  = { "VME", 1, 0, EDX, 1, BASELINE },
	[1]  = { "PVI", 1, 0, EDX, 1, BASELINE },
	[2]  = { "TSD", 1, 0, EDX, 4, BASELINE },
	[3]  = { "DE", 1, 0, EDX, 2, BASELINE },
	[4]  = { "PSE", 1, 0, EDX, 3, BASELINE },
	[5]  = { "PAE", 0, 0, NONE, 0, BASELINE | LMA_NEEDS },
	[6]  = { "MCE", 1, 0, EDX, 7, BASELINE },
	[7]  = { "PGE", 1, 0, EDX, 13, BASELINE },
	[8]  = { "PCE", 0, 0, NONE, 0, BASELINE },
	[9]  = { "OSFXSR", 0, 0, NONE, 0, BASELINE },
	[10] = { "OSXMMEXCPT", 1, 0, EDX, 25, BASELINE },
	[11] = { "UMIP", 7, 0, ECX, 2, KNOWN },
	[12] = { "LA57", 7, 0, ECX, 16, KNOWN | LMA_LOCKS },
	[13] = { "VMXE", 1, 0, ECX, 5, KNOWN | VMX_NEEDS },
	[14] = { "SMXE", 1, 0, ECX, 6 },
	[16] = { "FSGSBASE", 7, 0, EBX, 0, KNOWN },
	[17] = { "PCIDE", 1, 0, ECX, 17, KNOWN | NEEDS_LMA },
	[18] = { "OSXSAVE", 1, 0, ECX, 26, KNOWN },
	[19] = { "KL", 7, 0, ECX, 23 },
	[20] = { "SMEP", 7, 0, EBX, 7, KNOWN },
	[21] = { "SMAP", 7, 0, EBX, 20, KNOWN },
	[22] = { "PKE", 7, 0, ECX, 3, KNOWN },
	[23] = { "CET", 7, 0, ECX, 7 },
	[24] = { "PKS", 7, 0, ECX, 31 },
	[25] = { "UINTR", 7, 0, EDX, 5 },
	[27] = { "LASS", 7, 1, EAX, 6 },
	[28] = { "LAM_SUP", 7, 1, EAX, 26 },
	[32] = { "FRED", 7, 1, EAX, 17 },
};

#define FSGSBASE_BIT	16
#define PCIDE_BIT	17

/* How L1 enters L2, and what came of it. */
static struct {
	uint64_t cr4;		/* L2's CR4 at the next entry, 0: as it was */
	uint64_t cr4_mask;	/* VMX: the bits that L1 owns */
	bool fail;		/* VMX: make hardware refuse vmcs02's controls */
	uint64_t exits;		/* how often L1 got control back */
	uint64_t reason;	/* and why */
	uint64_t error;		/* VMX: VM-instruction error, 0: none */
} nested;

/*
 * KVM cannot check that the virtual-APIC page has memory behind it other than
 * by hardware: the entry fails after KVM has loaded L2's state. CR0.TS is the
 * guest's own, like some bits of CR4, and tells whether L1's state comes back.
 */
#define NO_MEMORY	0xfff00000

static void l1_fail_vmx(bool fail)
{
	uint64_t control = vmreadz(CPU_BASED_VM_EXEC_CONTROL);

	if (fail) {
		vmwrite(VIRTUAL_APIC_PAGE_ADDR, NO_MEMORY);
		control |= CPU_BASED_TPR_SHADOW;
		asm volatile("mov %0, %%cr0" : : "r"(get_cr0() | X86_CR0_TS));
	} else {
		control &= ~CPU_BASED_TPR_SHADOW;
		asm volatile("clts");
	}
	vmwrite(CPU_BASED_VM_EXEC_CONTROL, control);
}

static void l1_vmx(struct vmx_pages *vmx)
{
	unsigned long l2_stack[64];
	bool launched = false;

	probe();
	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, l2_vmx, &l2_stack[ARRAY_SIZE(l2_stack)]);
	probe();

	for (;;) {
		if (nested.cr4) {
			vmwrite(GUEST_CR4, nested.cr4);
			vmwrite(CR4_READ_SHADOW, nested.cr4);
			vmwrite(CR4_GUEST_HOST_MASK, nested.cr4_mask);
		}
		if (nested.fail)
			l1_fail_vmx(true);
		nested.error = 0;
		if (!vmx_enter(!launched)) {
			nested.error = vmreadz(VM_INSTRUCTION_ERROR);
			nested.exits++;
			probe();
			l1_fail_vmx(false);
			continue;
		}
		nested.reason = vmreadz(VM_EXIT_REASON);
		if (nested.reason == EXIT_REASON_VMCALL ||
		    nested.reason == EXIT_REASON_CR_ACCESS)
			vmwrite(GUEST_RIP, vmreadz(GUEST_RIP) +
					   vmreadz(VM_EXIT_INSTRUCTION_LEN));
		if (!(nested.reason & EXIT_REASON_FAILED_VMENTRY))
			launched = true;
		nested.exits++;
		probe();
	}
}

static void l1_svm(struct svm_test_data *svm)
{
	unsigned long l2_stack[64];

	probe();
	generic_svm_setup(svm, l2_svm, &l2_stack[ARRAY_SIZE(l2_stack)]);
	probe();

	for (;;) {
		if (nested.cr4)
			svm->vmcb->save.cr4 = nested.cr4;
		run_guest(svm->vmcb, svm->vmcb_gpa);
		nested.reason = svm->vmcb->control.exit_code |
			(uint64_t)svm->vmcb->control.exit_code_hi << 32;
		if (nested.reason == SVM_EXIT_VMMCALL)
			svm->vmcb->save.rip += 3;
		nested.exits++;
		probe();
	}
}

/* The host's part. */
static struct kvm_vm *vm;
static bool is_vmx, has_nested;

/* What the vCPU is in, and CR4 as it stood on arrival. */
static struct {
	const char *name;
	uint64_t cr4;
	bool lma;
	bool vmx_operation;
} here;

static struct kvm_cpuid2 *cpuid, *supported;
static const char *cpuid_name = "all";
/* A bit that the guest is not to set, by option. */
static int never_set = -1;
static unsigned int nr_writes, nr_refused, nr_sregs, nr_entries, faults;

#define CHECK(_cond, _fmt, _args...) do {				\
	if (!(_cond)) {							\
		ksft_print_msg("%s, CPUID %s: " _fmt "\n", here.name,	\
			       cpuid_name, ##_args);			\
		faults++;						\
	}								\
} while (0)

static uint32_t *cpuid_reg(struct kvm_cpuid2 *c, const struct cr4_bit *b)
{
	struct kvm_cpuid_entry2 *e;

	for (e = c->entries; e < c->entries + c->nent; e++) {
		if (e->function != b->function || e->index != b->index)
			continue;
		switch (b->reg) {
		case EAX:
			return &e->eax;
		case EBX:
			return &e->ebx;
		case ECX:
			return &e->ecx;
		case EDX:
			return &e->edx;
		}
	}
	return NULL;
}

static bool in_cpuid(struct kvm_cpuid2 *c, const struct cr4_bit *b)
{
	uint32_t *reg = cpuid_reg(c, b);

	return b->reg == NONE || (reg && *reg & BIT(b->bit));
}

static const char *bit_name(int n)
{
	static char name[8];

	if (bits[n].name)
		return bits[n].name;
	snprintf(name, sizeof(name), "bit %d", n);
	return name;
}

/* Return: whether CR4 bit @n is reserved, for this CPUID and where we are. */
static bool reserved(int n)
{
	const struct cr4_bit *b = &bits[n];

	if (!(b->rules & KNOWN))
		return true;
	if ((b->rules & BASELINE) == BASELINE)
		return here.vmx_operation && !in_cpuid(cpuid, b);
	return !in_cpuid(supported, b) || !in_cpuid(cpuid, b);
}

/* Return: whether CR4 can be @cr4 at all, in the mode that we are in. */
static bool valid(uint64_t cr4)
{
	int n;

	for (n = 0; n < 64; n++) {
		bool set = cr4 & BIT_ULL(n);

		if (set && reserved(n))
			return false;
		if (set && !here.lma && bits[n].rules & NEEDS_LMA)
			return false;
		if (!set && here.lma && bits[n].rules & LMA_NEEDS)
			return false;
		if (!set && here.vmx_operation && bits[n].rules & VMX_NEEDS)
			return false;
	}
	return true;
}

/* Return: whether MOV can take CR4 from @from to @to. */
static bool can_move(uint64_t from, uint64_t to)
{
	int n;

	for (n = 0; n < 64; n++)
		if ((from ^ to) & BIT_ULL(n) && here.lma &&
		    bits[n].rules & LMA_LOCKS)
			return false;
	return valid(to);
}

static void set_bit_in_cpuid(const struct cr4_bit *b, bool value)
{
	uint32_t *reg = cpuid_reg(cpuid, b);

	if (reg && value)
		*reg |= BIT(b->bit);
	else if (reg)
		*reg &= ~BIT(b->bit);
}

static void reset_cpuid(void)
{
	memcpy(cpuid, supported, sizeof(*cpuid) +
	       supported->nent * sizeof(*supported->entries));
	cpuid_name = "all";
}

static void set_cpuid_all(void)
{
	reset_cpuid();
	vcpu_set_cpuid(vm, VCPU_ID, cpuid);
}

static void set_cpuid_without(int n)
{
	static char name[32];

	reset_cpuid();
	set_bit_in_cpuid(&bits[n], false);
	snprintf(name, sizeof(name), "without %s", bits[n].name);
	cpuid_name = name;
	vcpu_set_cpuid(vm, VCPU_ID, cpuid);
}

/* CPUID cannot hide VMX in VMX operation. */
static bool can_hide(int n)
{
	return bits[n].reg != NONE &&
	       !(here.vmx_operation && bits[n].rules & VMX_NEEDS);
}

static void set_cpuid_to(bool value, const char *name)
{
	int n;

	reset_cpuid();
	for (n = 0; n < 64; n++)
		if (can_hide(n))
			set_bit_in_cpuid(&bits[n], value);
	cpuid_name = name;
	vcpu_set_cpuid(vm, VCPU_ID, cpuid);
}

static uint64_t get_sregs_cr4(void)
{
	struct kvm_sregs sregs;

	vcpu_sregs_get(vm, VCPU_ID, &sregs);
	return sregs.cr4;
}

static void run_to_report(void)
{
	struct kvm_run *run = vcpu_state(vm, VCPU_ID);
	struct ucall uc;

	vcpu_run(vm, VCPU_ID);
	if (run->exit_reason == KVM_EXIT_IO && run->io.port == REPORT_PORT)
		return;
	if (get_ucall(vm, VCPU_ID, &uc) == UCALL_ABORT)
		TEST_FAIL("%s at %s:%ld", (const char *)uc.args[0], __FILE__,
			  uc.args[1]);
	TEST_FAIL("%s, CPUID %s: exit %u (%s)", here.name, cpuid_name,
		  run->exit_reason, exit_reason_str(run->exit_reason));
}

/* Return: the exception that the guest got, 0: none; *@cr4: as it reads it. */
static int order(int what, uint64_t value, uint64_t *cr4)
{
	struct kvm_regs regs;

	vcpu_regs_get(vm, VCPU_ID, &regs);
	regs.rsi = what;
	regs.rdi = value;
	vcpu_regs_set(vm, VCPU_ID, &regs);
	run_to_report();
	vcpu_regs_get(vm, VCPU_ID, &regs);
	*cr4 = regs.rax;
	return regs.rdx;
}

/* The guest writes @to where CR4 is @from; @what is the bit that matters. */
static void check_mov(int what, uint64_t from, uint64_t to)
{
	bool ok = can_move(from, to);
	uint64_t seen, now, want = ok ? to : from;
	int vector;

	vector = order(ORDER_MOV, to, &seen);
	now = get_sregs_cr4();
	CHECK(vector == (ok ? 0 : GP_VECTOR),
	      "%s: MOV of %#lx to CR4 got exception %d, not %d",
	      bit_name(what), to, vector, ok ? 0 : GP_VECTOR);
	CHECK(seen == want, "%s: guest reads CR4 %#lx after MOV of %#lx to %#lx",
	      bit_name(what), seen, to, from);
	CHECK(now == want,
	      "%s: KVM_GET_SREGS has CR4 %#lx after MOV of %#lx to %#lx",
	      bit_name(what), now, to, from);
	nr_writes++;
	nr_refused += !ok;

	/* Start from the same place next time, whatever went wrong. */
	if (now != from) {
		vector = order(ORDER_MOV, from, &seen);
		now = get_sregs_cr4();
		CHECK(!vector && seen == from && now == from,
		      "%s: MOV back to %#lx: exception %d, CR4 %#lx, guest reads %#lx",
		      bit_name(what), from, vector, now, seen);
	}
}

static void check_sregs(int what, uint64_t cr4)
{
	struct kvm_sregs before, sregs, after;
	bool ok = valid(cr4);
	int r;

	vcpu_sregs_get(vm, VCPU_ID, &before);
	sregs = before;
	sregs.cr4 = cr4;
	sregs.cr2 ^= 0x1000;
	sregs.gs.base ^= 0x1000;
	sregs.ldt.limit ^= 0x1000;
	sregs.idt.limit ^= 0x1000;

	r = _vcpu_sregs_set(vm, VCPU_ID, &sregs);
	CHECK(ok ? !r : r == -1 && errno == EINVAL,
	      "%s: KVM_SET_SREGS with CR4 %#lx returned %d, errno %d",
	      bit_name(what), cr4, r, errno);
	vcpu_sregs_get(vm, VCPU_ID, &after);
	if (ok)
		CHECK(after.cr4 == cr4, "%s: KVM_SET_SREGS set CR4 %#llx, not %#lx",
		      bit_name(what), after.cr4, cr4);
	else
		CHECK(!memcmp(&before, &after, sizeof(before)),
		      "%s: KVM_SET_SREGS refused CR4 %#lx and changed something",
		      bit_name(what), cr4);
	vcpu_sregs_set(vm, VCPU_ID, &before);
	nr_sregs++;
}

static void sweep(void)
{
	int n, width = here.lma ? 64 : 32;
	uint64_t to;

	for (n = 0; n < 64; n++) {
		to = here.cr4 ^ BIT_ULL(n);
		check_sregs(n, to);
		if (n >= width || (n == never_set && can_move(here.cr4, to)))
			continue;
		check_mov(n, here.cr4, to);
		/* What is refused is refused whole. */
		if (!can_move(here.cr4, to))
			check_mov(n, here.cr4, to ^ X86_CR4_TSD);
	}
}

static void arrive(const char *name, bool vmx_operation)
{
	struct kvm_sregs sregs;

	vcpu_sregs_get(vm, VCPU_ID, &sregs);
	here.name = name;
	here.cr4 = sregs.cr4;
	here.lma = sregs.efer & EFER_LMA;
	here.vmx_operation = vmx_operation;
}

static void result(const char *what)
{
	ksft_test_result(!faults, "%s: %s\n", here.name, what);
	faults = 0;
}

/*
 * Take the vCPU from one CPUID to the next: all that KVM has, each feature
 * hidden, all hidden, and more than KVM has.
 *
 * Return: false after the last, with all that KVM has again; @step starts at 0.
 */
static bool next_cpuid(int *step)
{
	int n = (*step)++ - 1;

	for (; n >= 0 && n < 64; n = (*step)++ - 1) {
		if (can_hide(n) && in_cpuid(supported, &bits[n])) {
			set_cpuid_without(n);
			return true;
		}
	}

	if (n == 64)
		set_cpuid_to(false, "without any");
	else if (n == 65)
		set_cpuid_to(true, "with what KVM lacks");
	else
		set_cpuid_all();
	return n <= 65;
}

static void sweep_all(void)
{
	int step = 0;

	while (next_cpuid(&step))
		sweep();
	result("each bit, for each CPUID");
}

/* Features that the guest can turn on and off here. */
static bool switchable(int n)
{
	return (bits[n].rules & BASELINE) == KNOWN && can_hide(n) &&
	       in_cpuid(supported, &bits[n]) &&
	       can_move(here.cr4, here.cr4 ^ BIT_ULL(n));
}

/*
 * A feature that is in use disappears from CPUID: CR4 stays as it is, for the
 * guest and for the host, until the guest clears the bit, once and for all.
 */
static void hide_in_use(void)
{
	uint64_t seen, on;
	int n, vector;

	set_cpuid_all();
	for (n = 0; n < 64; n++) {
		if (!switchable(n))
			continue;
		on = here.cr4 | BIT_ULL(n);
		vector = order(ORDER_MOV, on, &seen);
		CHECK(!vector && seen == on, "%s: cannot be set", bits[n].name);

		set_cpuid_without(n);
		CHECK(get_sregs_cr4() == on,
		      "%s: hidden while set, KVM_GET_SREGS has CR4 %#lx, not %#lx",
		      bits[n].name, get_sregs_cr4(), on);
		order(ORDER_READ, 0, &seen);
		CHECK(seen == on,
		      "%s: hidden while set, guest reads CR4 %#lx, not %#lx",
		      bits[n].name, seen, on);
		/* VT-x lets a write pass that leaves the bit as it is. */
		vector = order(ORDER_MOV, on ^ X86_CR4_PSE, &seen);
		CHECK(vector == GP_VECTOR && seen == on,
		      "%s: hidden while set, set again: exception %d, CR4 %#lx",
		      bits[n].name, vector, seen);
		vector = order(ORDER_MOV, here.cr4, &seen);
		CHECK(!vector && seen == here.cr4 && get_sregs_cr4() == here.cr4,
		      "%s: hidden while set, cleared: exception %d, guest reads %#lx, KVM_GET_SREGS %#lx",
		      bits[n].name, vector, seen, get_sregs_cr4());
		check_mov(n, here.cr4, on);

		set_cpuid_all();
		check_mov(n, here.cr4, on);
	}
	result("features hidden while in use");
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

static void create_vm(void *guest_code)
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
		ksft_test_result_skip("%s: no PCID\n", here.name);
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

static void *guest_nested(void)
{
	return addr_gva2hva(vm, (vm_vaddr_t)&nested);
}

/* Return: whether L2 was entered. */
static bool enter_l2(uint64_t cr4, uint64_t cr4_mask, uint64_t *seen)
{
	typeof(nested) *n = guest_nested();
	uint64_t exits = n->exits;

	n->cr4 = cr4;
	n->cr4_mask = cr4_mask;
	order(ORDER_LEAVE, 0, seen);
	n->cr4 = 0;
	return n->exits == exits;
}

static void leave_l2(uint64_t reason)
{
	typeof(nested) *n = guest_nested();
	uint64_t exits = n->exits, seen;

	order(ORDER_LEAVE, 0, &seen);
	TEST_ASSERT(n->exits == exits + 1 && n->reason == reason,
		    "L2 should have left by %#lx: exits %lu then %lu, reason %#lx",
		    reason, exits, n->exits, n->reason);
}

static uint64_t l2_leaves_by(void)
{
	return is_vmx ? EXIT_REASON_VMCALL : SVM_EXIT_VMMCALL;
}

/* VM entry with each bit in L2's CR4. */
static void sweep_entry(void)
{
	typeof(nested) *n = guest_nested();
	uint64_t want = is_vmx ? EXIT_REASON_FAILED_VMENTRY |
				 EXIT_REASON_INVALID_STATE : SVM_EXIT_INVALID;
	uint64_t seen, cr4;
	bool entered, ok;
	int i;

	for (i = 0; i < 64; i++) {
		cr4 = here.cr4 ^ BIT_ULL(i);
		ok = valid(cr4);
		/* The page tables have four levels. */
		if (ok && bits[i].rules & LMA_LOCKS)
			continue;
		entered = enter_l2(cr4, 0, &seen);
		nr_entries++;
		CHECK(entered == ok, "%s: VM entry with CR4 %#lx %s",
		      bit_name(i), cr4, entered ? "went in" : "failed");
		if (!entered) {
			CHECK(n->reason == want, "%s: VM entry failed by %#lx",
			      bit_name(i), n->reason);
			continue;
		}
		CHECK(seen == cr4 && get_sregs_cr4() == cr4,
		      "%s: entered with CR4 %#lx, L2 reads %#lx, KVM_GET_SREGS %#lx",
		      bit_name(i), cr4, seen, get_sregs_cr4());
		leave_l2(l2_leaves_by());
	}
}

/* CPUID changes on one side; it must be known on the other. */
static void hide_across(bool in_l2)
{
	uint64_t seen;
	int n, hide;

	for (n = 0; n < 64; n++) {
		if (!switchable(n))
			continue;
		for (hide = 1; hide >= 0; hide--) {
			/* In L1 here; the first entry gets the VMCS clean. */
			enter_l2(0, 0, &seen);
			if (!in_l2)
				leave_l2(l2_leaves_by());
			if (hide)
				set_cpuid_without(n);
			else
				set_cpuid_all();
			if (in_l2)
				leave_l2(l2_leaves_by());
			else
				enter_l2(0, 0, &seen);
			check_mov(n, here.cr4, here.cr4 | BIT_ULL(n));
			if (!in_l2)
				leave_l2(l2_leaves_by());
		}
	}
	result(in_l2 ? "CPUID changed in L2, used in L1" :
		       "CPUID changed in L1, used in L2");
}

/* A bit that L1 owns exits to L1, though KVM would let L2 own it. */
static void l1_owns_fsgsbase(void)
{
	typeof(nested) *n = guest_nested();
	uint64_t bit = BIT_ULL(FSGSBASE_BIT), seen;

	if (reserved(FSGSBASE_BIT)) {
		ksft_test_result_skip("%s: no FSGSBASE\n", here.name);
		return;
	}
	TEST_ASSERT(enter_l2(here.cr4, bit, &seen), "L2 not entered");
	n->reason = -1;
	order(ORDER_MOV, here.cr4 | bit, &seen);
	CHECK(n->reason == EXIT_REASON_CR_ACCESS,
	      "L2 changed a bit of L1: exit reason %ld", n->reason);
	/* L2 is past its MOV; back to its report, and out. */
	enter_l2(here.cr4, 0, &seen);
	leave_l2(EXIT_REASON_VMCALL);
	result("FSGSBASE owned by L1");
}

/* VM entry fails without an exit: L1 is as it was, with all bits of its own. */
static void fail_entry(void)
{
	typeof(nested) *n = guest_nested();
	uint64_t seen, cr4 = here.cr4;
	struct kvm_sregs sregs;
	int i;

	for (i = 0; i < 64; i++)
		if (can_move(cr4, cr4 | BIT_ULL(i)))
			cr4 |= BIT_ULL(i);
	order(ORDER_MOV, cr4, &seen);
	/* And once more, with bits that L1 may own. */
	cr4 ^= X86_CR4_TSD;
	if (!reserved(FSGSBASE_BIT))
		cr4 ^= BIT_ULL(FSGSBASE_BIT);
	order(ORDER_MOV, cr4, &seen);

	n->fail = true;
	TEST_ASSERT(!enter_l2(0, 0, &seen) && n->error == VM_ENTRY_BAD_CONTROL,
		    "VM entry should have failed: error %lu", n->error);
	n->fail = false;
	vcpu_sregs_get(vm, VCPU_ID, &sregs);
	CHECK(seen == cr4 && sregs.cr4 == cr4,
	      "failed entry: CR4 %#lx, L1 reads %#lx, KVM_GET_SREGS %#llx",
	      cr4, seen, sregs.cr4);
	CHECK(sregs.cr0 & X86_CR0_TS, "failed entry: CR0.TS is lost");
	order(ORDER_MOV, here.cr4, &seen);
	result("CR0 and CR4 of L1 after a VM entry that failed");
}

/*
 * Exits, counted by the tracepoint kvm_exit for a range of RIP. An interrupt of
 * the host's may come anywhere.
 */
#define EXIT_FILTER	"guest_rip >= 0x%lx && guest_rip < 0x%lx && "	\
			"exit_reason != 0x%x"
#define VMX_EXTERNAL_INTERRUPT	1
#define SVM_INTR		0x60

static const char *tracefs(void)
{
	static const char * const dirs[] = {
		"/sys/kernel/tracing", "/sys/kernel/debug/tracing",
	};
	char path[64];
	int i;

	for (i = 0; i < ARRAY_SIZE(dirs); i++) {
		snprintf(path, sizeof(path), "%s/events/kvm/kvm_exit", dirs[i]);
		if (!access(path, W_OK))
			return dirs[i];
	}
	return NULL;
}

static void trace_write(const char *file, const char *text)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", tracefs(), file);
	fd = open(path, O_WRONLY | O_TRUNC);
	TEST_ASSERT(fd >= 0, "open %s, errno %d", path, errno);
	TEST_ASSERT(write(fd, text, strlen(text)) == strlen(text),
		    "write \"%s\" to %s, errno %d", text, path, errno);
	close(fd);
}

static int count_exits(void)
{
	char path[128], line[512];
	int exits = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/trace", tracefs());
	f = fopen(path, "r");
	TEST_ASSERT(f, "open %s, errno %d", path, errno);
	while (fgets(line, sizeof(line), f))
		exits += line[0] != '#' && strstr(line, "kvm_exit:");
	fclose(f);
	return exits;
}

/* Return: the exits within [@start, @end) while the guest toggles FSGSBASE. */
static int toggle_fsgsbase(char *start, char *end, uint64_t fs_base)
{
	struct kvm_regs regs;
	char filter[128];
	uint64_t seen;
	int exits;

	vcpu_regs_get(vm, VCPU_ID, &regs);
	regs.rbx = fs_base;
	regs.r8 = here.cr4;
	vcpu_regs_set(vm, VCPU_ID, &regs);

	snprintf(filter, sizeof(filter), EXIT_FILTER, (unsigned long)start,
		 (unsigned long)end,
		 is_vmx ? VMX_EXTERNAL_INTERRUPT : SVM_INTR);
	trace_write("events/kvm/kvm_exit/filter", filter);
	trace_write("trace", "");
	trace_write("events/kvm/kvm_exit/enable", "1");
	order(ORDER_TOGGLE, here.cr4 | BIT_ULL(FSGSBASE_BIT), &seen);
	trace_write("events/kvm/kvm_exit/enable", "0");
	exits = count_exits();
	trace_write("events/kvm/kvm_exit/filter", "0");
	return exits;
}

/* SVM has no masks: KVM intercepts all writes to CR4. */
static void owns_fsgsbase(void)
{
	int want = is_vmx ? 0 : 2 * TOGGLES, exits;
	uint64_t fs_base = 0x123456789000;
	struct kvm_sregs sregs;

	if (reserved(FSGSBASE_BIT) || !tracefs()) {
		ksft_test_result_skip("%s: %s\n", here.name, tracefs() ?
				      "no FSGSBASE" : "no tracefs");
		return;
	}
	exits = toggle_fsgsbase(toggle, toggle_end, fs_base);
	CHECK(exits == want, "%d writes of CR4.FSGSBASE: %d exits, not %d",
	      2 * TOGGLES, exits, want);
	vcpu_sregs_get(vm, VCPU_ID, &sregs);
	CHECK(sregs.fs.base == fs_base, "WRFSBASE wrote %#llx, not %#lx",
	      sregs.fs.base, fs_base);
	exits = toggle_fsgsbase(toggle_wrfsbase, toggle_wrfsbase_end, 0);
	CHECK(!exits, "%d WRFSBASE: %d exits", TOGGLES, exits);
	result("FSGSBASE without exits");
}

static void test_ownership(void)
{
	create_vm(probe);
	run_to_report();
	arrive("L1", false);
	owns_fsgsbase();
	kvm_vm_free(vm);
}

static void test_nested(void)
{
	vm_vaddr_t gva;
	uint64_t seen;
	int step = 0;

	if (is_vmx) {
		create_vm(l1_vmx);
		vcpu_alloc_vmx(vm, &gva);
	} else {
		create_vm(l1_svm);
		vcpu_alloc_svm(vm, &gva);
	}
	vcpu_args_set(vm, VCPU_ID, 1, gva);
	run_to_report();
	order(ORDER_LEAVE, 0, &seen);

	arrive(is_vmx ? "L1, VMX operation" : "L1, SVM enabled", is_vmx);
	sweep_all();

	TEST_ASSERT(enter_l2(0, 0, &seen), "L2 not entered");
	arrive("L2", is_vmx);
	sweep_all();
	hide_in_use();
	owns_fsgsbase();
	leave_l2(l2_leaves_by());

	arrive("L2, VM entry", is_vmx);
	while (next_cpuid(&step))
		sweep_entry();
	result("each bit, for each CPUID");
	TEST_ASSERT(enter_l2(here.cr4, 0, &seen), "L2 not entered");
	leave_l2(l2_leaves_by());

	hide_across(true);
	hide_across(false);
	if (is_vmx) {
		l1_owns_fsgsbase();
		fail_entry();
	}
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

	supported = kvm_get_supported_cpuid();
	cpuid = malloc(sizeof(*cpuid) +
		       supported->nent * sizeof(*supported->entries));
	TEST_ASSERT(cpuid, "out of memory");
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
