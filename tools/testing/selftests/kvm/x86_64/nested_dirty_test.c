// SPDX-License-Identifier: GPL-2.0-only
/*
 * What L2 writes are dirty pages of L1's VM: exactly the pages it wrote, as
 * GPAs of L1, at its first write and again after each harvest. For VMX and SVM,
 * L2 with and without nested paging in L1, tracked by bitmap and by ring; what
 * logs the pages, PML or write protection, is the host's choice.
 *
 * L1 and L2 take the steps of a script. At some of them the host looks at all
 * of the VM's memory. A page whose content has changed must have been reported.
 * A page that was reported must have changed, or have a name: it is one that
 * hardware or KVM writes without changing it, and the host says which.
 *
 * With nested paging, L2 has the tracked pages at other GPAs than L1, and those
 * are GPAs of tracked pages as well: a GPA of L2 that is taken for one of L1
 * shows as one page that is missing and one that nobody wrote.
 */
#define _GNU_SOURCE /* for program_invocation_name */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <linux/bitmap.h>
#include <linux/bitops.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "vmx.h"
#include "svm_util.h"
#include "dirty_ring.h"
#include "kselftest.h"

#define NR_VCPUS	2
#define RING_BYTES	65536
#define L2_STACK_WORDS	256

/*
 * How often the first vCPU runs the script: pages are not mapped yet, and then
 * they are. The second one runs it once after that, on the same tables.
 */
#define PASSES		2

/* The tracked pages, mapped one to one by L1's page tables, which L2 shares. */
#define TEST_SLOT	1
#define TEST_MEM	0xc0000000
#define TEST_PAGES	64

/* Where L1 has the table that it changes, and L2 the page that KVM writes. */
#define TABLE_GVA	0xd0000000
#define INS_GVA		0xe0000000
#define INS_PORT	0x2000

/* With nested paging, page p of the memslot is page p ^ L2_SWAP to L2. */
#define L2_SWAP		32

/*
 * What the pages are for. The rest is written by nobody; these are all below
 * L2_SWAP, so L2 has none of them at the GPA of another.
 */
#define L2_PAGES	GENMASK(14, 0)
#define READ_PAGE	15
#define L1_PAGES	GENMASK(23, 16)
#define PML_PAGE	24	/* of L1, for L2 */
#define L2_TABLE_PAGE	25	/* the page table that maps INS_GVA */
#define INS_PAGE	26	/* what it maps */
#define WINDOW		27	/* to L2, this page or the next */

#define PTE_PRESENT	BIT_ULL(0)
#define PTE_WRITABLE	BIT_ULL(1)
#define PTE_ACCESS	GENMASK_ULL(2, 0)	/* of x86, and of EPT */
#define PTE_AD		GENMASK_ULL(6, 5)
#define PTE_ADDRESS	GENMASK_ULL(51, 12)
#define EPTE_DIRTY	BIT_ULL(9)
#define EPTP_AD		BIT_ULL(6)

enum who { BY_L1, BY_L2 };

enum op {
	OP_WRITE,	/* the pages in .pages */
	OP_READ,	/* likewise */
	OP_INS,		/* have KVM write to INS_PAGE */
	OP_REMAP,	/* exchange the page that L2 has at WINDOW */
	OP_SYNC,	/* have the host look */
	OP_DONE,
};

struct step {
	enum who who;
	enum op op;
	uint64_t pages;
};

static const struct step script[] = {
	/* The first write, the next one, other pages, none, reads. */
	{ BY_L2, OP_WRITE, 0x000a }, { BY_L2, OP_SYNC },
	{ BY_L2, OP_WRITE, 0x000a }, { BY_L2, OP_SYNC },
	{ BY_L2, OP_WRITE, 0x010b }, { BY_L2, OP_SYNC },
	{ BY_L2, OP_SYNC },
	{ BY_L2, OP_READ, BIT(READ_PAGE) },
	{ BY_L2, OP_WRITE, 0x010a }, { BY_L2, OP_SYNC },

	/* L1 alone, both, L2 alone. */
	{ BY_L1, OP_WRITE, 0x30000 }, { BY_L1, OP_SYNC },
	{ BY_L2, OP_WRITE, 0x0001 },
	{ BY_L1, OP_WRITE, 0x20000 }, { BY_L1, OP_SYNC },
	{ BY_L2, OP_WRITE, 0x0101 }, { BY_L2, OP_SYNC },

	/* A page that both have mapped is tracked in both mappings. */
	{ BY_L1, OP_WRITE, 0x0001 }, { BY_L1, OP_SYNC },
	{ BY_L2, OP_WRITE, 0x0001 }, { BY_L2, OP_SYNC },
	{ BY_L1, OP_WRITE, 0x0001 }, { BY_L1, OP_SYNC },
	{ BY_L2, OP_WRITE, 0x0001 },
	{ BY_L1, OP_WRITE, 0x0001 }, { BY_L1, OP_SYNC },
	{ BY_L2, OP_WRITE, 0x0001 }, { BY_L2, OP_SYNC },

	/* KVM writes for L2, and walks L2's page tables for that. */
	{ BY_L2, OP_INS, BIT(INS_PAGE) }, { BY_L2, OP_SYNC },
	{ BY_L2, OP_INS, BIT(INS_PAGE) }, { BY_L2, OP_SYNC },

	/* L1 changes what L2 has mapped, between two writes of L2. */
	{ BY_L2, OP_WRITE, BIT(WINDOW) }, { BY_L2, OP_SYNC },
	{ BY_L2, OP_WRITE, BIT(WINDOW) | 0x0003 },
	{ BY_L1, OP_REMAP },
	{ BY_L2, OP_WRITE, BIT(WINDOW) | 0x0003 }, { BY_L2, OP_SYNC },
	{ BY_L2, OP_WRITE, BIT(WINDOW) | 0x0103 }, { BY_L2, OP_SYNC },
	{ BY_L1, OP_REMAP }, { BY_L1, OP_SYNC },
	{ BY_L2, OP_WRITE, BIT(WINDOW) | 0x0002 }, { BY_L2, OP_SYNC },
	{ BY_L2, OP_SYNC },

	{ BY_L1, OP_DONE },
};

/* What the guests share, in a page of its own, which each step writes. */
static struct {
	uint64_t step;
	uint64_t pass;
	uint64_t number;	/* of the last write */
	uint64_t swap;		/* L2_SWAP, or 0 without nested paging */
	uint64_t entry;		/* where L1 has the entry that maps WINDOW */
	uint64_t keep;		/* bits of it that stay when it is changed */
	bool flush;		/* it was changed */
	uint64_t ad;		/* bits of EPTP, see EPTP_AD */
	uint64_t pml;		/* GPA of L1's PML page, or 0 */
} shared __aligned(4096);

/* Guests. */

static void access_pages(uint64_t pages, enum op op, uint64_t swap)
{
	uint64_t page;

	for (page = 0; page < TEST_PAGES; page++) {
		uint64_t *word = (void *)(TEST_MEM + (page ^ swap) * 4096);

		if (!(pages & BIT(page)))
			continue;
		if (op == OP_READ)
			READ_ONCE(*word);
		else
			WRITE_ONCE(*word, ++shared.number);
	}
}

static void ins(void)
{
	uint64_t gva = INS_GVA;

	asm volatile("insb" : "+D"(gva) : "d"(INS_PORT) : "memory");
}

/* To WINDOW from the page after it, or back. */
static void remap(void)
{
	uint64_t *entry = (uint64_t *)shared.entry;
	uint64_t pages = TEST_MEM / 4096 + WINDOW;

	WRITE_ONCE(*entry, (*entry & shared.keep) |
			   ((*entry & PTE_ADDRESS) == pages * 4096 ?
			    pages + 1 : pages) * 4096);
	shared.flush = true;
}

static bool test_and_clear_flush(void)
{
	bool flush = shared.flush;

	shared.flush = false;
	return flush;
}

/* Return: false at the end of the script, true if the other is to go on. */
static bool take_steps(enum who me)
{
	const struct step *step;

	for (;;) {
		step = &script[shared.step];
		if (step->who != me)
			return true;

		switch (step->op) {
		case OP_WRITE:
		case OP_READ:
			access_pages(step->pages, step->op,
				     me == BY_L2 ? shared.swap : 0);
			break;
		case OP_INS:
			ins();
			break;
		case OP_REMAP:
			remap();
			break;
		case OP_SYNC:
			GUEST_SYNC(shared.step);
			break;
		case OP_DONE:
			if (++shared.pass >= PASSES)
				return false;
			shared.step = 0;
			continue;
		}
		shared.step++;
	}
}

static void l2_vmx(void)
{
	for (;;) {
		take_steps(BY_L2);
		vmcall();
	}
}

static void l2_svm(void)
{
	for (;;) {
		take_steps(BY_L2);
		asm volatile("vmmcall" : : : "memory");
	}
}

/* SDM vol. 3, "INVEPT": type 2 is all contexts. */
static void invept_all(void)
{
	static const uint64_t desc[2];

	asm volatile("invept %0, %1" : : "m"(desc), "r"(2ul) : "cc", "memory");
}

static void l1_vmx_options(void)
{
	vmwrite(EPT_POINTER, (vmreadz(EPT_POINTER) & ~EPTP_AD) | shared.ad);

	if (shared.pml) {
		vmwrite(SECONDARY_VM_EXEC_CONTROL,
			vmreadz(SECONDARY_VM_EXEC_CONTROL) |
			SECONDARY_EXEC_ENABLE_PML);
		vmwrite(PML_ADDRESS, shared.pml);
		vmwrite(GUEST_PML_INDEX, 511);
	}
}

static void l1_vmx(struct vmx_pages *vmx)
{
	unsigned long l2_stack[L2_STACK_WORDS];
	bool launched = false;

	shared.step = 0;
	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, l2_vmx, &l2_stack[L2_STACK_WORDS]);
	if (vmx->eptp_gpa)
		l1_vmx_options();

	while (take_steps(BY_L1)) {
		if (vmx->eptp_gpa && test_and_clear_flush())
			invept_all();
		GUEST_ASSERT(!(launched ? vmresume() : vmlaunch()));
		launched = true;
		GUEST_ASSERT(vmreadz(VM_EXIT_REASON) == EXIT_REASON_VMCALL);
		GUEST_ASSERT(!vmwrite(GUEST_RIP, vmreadz(GUEST_RIP) +
				      vmreadz(VM_EXIT_INSTRUCTION_LEN)));
	}

	/* KVM writes vmcs12 to its page. */
	GUEST_ASSERT(!vmclear(vmx->vmcs_gpa));
	GUEST_SYNC(shared.step);
	GUEST_DONE();
}

static void l1_svm(struct svm_test_data *svm)
{
	unsigned long l2_stack[L2_STACK_WORDS];
	struct vmcb *vmcb = svm->vmcb;

	shared.step = 0;
	generic_svm_setup(svm, l2_svm, &l2_stack[L2_STACK_WORDS]);

	while (take_steps(BY_L1)) {
		vmcb->control.tlb_ctl = test_and_clear_flush() ?
					TLB_CONTROL_FLUSH_ALL_ASID :
					TLB_CONTROL_DO_NOTHING;
		run_guest(vmcb, svm->vmcb_gpa);
		GUEST_ASSERT(vmcb->control.exit_code == SVM_EXIT_VMMCALL);
		vmcb->save.rip += 3;	/* vmmcall */
	}

	GUEST_SYNC(shared.step);
	GUEST_DONE();
}

/* The host. */

/**
 * struct memory - a memslot, and what is known of its pages
 * @name: for messages
 * @slot: its id
 * @gpa: where it begins
 * @npages: its size
 * @hva: its memory
 * @copy: what it held at the last look
 * @reported: pages that KVM has reported since
 * @may: why a page may be reported and unchanged, or NULL
 * @mapped: how often a page was, because it was mapped
 */
struct memory {
	const char *name;
	uint32_t slot;
	uint64_t gpa;
	uint64_t npages;
	char *hva;
	char *copy;
	unsigned long *reported;
	const char **may;
	uint8_t *mapped;
};

struct variant;

#define MAX_REASONS	8
#define MAX_COMPLAINTS	20

/**
 * struct reason - why pages were reported and had not changed
 * @why: the reason
 * @pages: how many pages
 */
struct reason {
	const char *why;
	unsigned int pages;
};

/**
 * struct test - a VM under test
 * @variant: what L1 does
 * @vm: the VM
 * @rings: its vCPUs' dirty rings, if they have any
 * @vcpu: the vCPU that runs
 * @mem: its memory: all the rest, and the tracked pages
 * @pass: how often the script was run to its end
 * @at: the next step of the script
 * @remapped: whether WINDOW is the next page to L2
 * @was_remapped: whether L1 has changed a table
 * @written: pages that were written since the last look
 * @touched: pages that were accessed
 * @by_l2: pages that L2 has written
 * @bad: what was wrong
 * @looks: how often the host has looked
 * @pages: how many pages were reported then
 * @unchanged: those of them that had not changed
 */
struct test {
	const struct variant *variant;
	struct kvm_vm *vm;
	struct dirty_ring rings[NR_VCPUS];
	uint32_t vcpu;
	struct memory mem[2];
	unsigned int pass;
	unsigned int at;
	bool remapped;
	bool was_remapped;
	uint64_t written;
	uint64_t touched;
	uint64_t by_l2;
	unsigned int bad;
	unsigned int looks;
	unsigned int pages;
	struct reason unchanged[MAX_REASONS];
};

/**
 * struct variant - how L1 runs L2
 * @name: for messages
 * @paging: with nested paging
 * @ad: bit of EPTP
 * @pml: L1 has the pages that L2 writes logged
 * @l1: L1's code
 * @supported: whether KVM can do that
 * @prepare: allocates what L1 needs, on each vCPU
 */
struct variant {
	const char *name;
	bool paging;
	uint64_t ad;
	bool pml;
	void (*l1)(void *arg);
	bool (*supported)(struct kvm_vm *vm);
	uint64_t (*prepare)(struct test *t, vm_vaddr_t *args);
};

/* The entry for @addr in a table of @level, of x86 or EPT. */
static uint64_t *table_entry(struct kvm_vm *vm, uint64_t root_gpa,
			     uint64_t addr, int level)
{
	uint64_t gpa = root_gpa;
	uint64_t *entry;
	int l;

	for (l = 4; ; l--) {
		entry = (uint64_t *)addr_gpa2hva(vm, gpa) +
			(addr >> (12 + 9 * (l - 1))) % 512;
		if (l == level)
			return entry;
		TEST_ASSERT(*entry, "no table for 0x%lx", addr);
		gpa = *entry & PTE_ADDRESS;
	}
}

static uint64_t cr3_of(struct kvm_vm *vm)
{
	struct kvm_sregs sregs;

	vcpu_sregs_get(vm, 0, &sregs);
	return sregs.cr3;
}

static void name_page(struct test *t, uint64_t gpa, const char *why)
{
	struct memory *mem = &t->mem[gpa >= TEST_MEM];

	mem->may[(gpa - mem->gpa) / 4096] = why;
}

/* Name a page table and those below it, and set @bits in all entries. */
static void name_tables(struct test *t, uint64_t gpa, int level, uint64_t bits)
{
	uint64_t *table = addr_gpa2hva(t->vm, gpa);
	int i;

	name_page(t, gpa, "a page table: a walk is a write");
	for (i = 0; i < 512; i++) {
		if (!(table[i] & PTE_PRESENT))
			continue;
		table[i] |= bits;
		if (level > 1)
			name_tables(t, table[i] & PTE_ADDRESS, level - 1, bits);
	}
}

static bool always(struct kvm_vm *vm)
{
	return true;
}

static uint64_t vmx_msr(struct kvm_vm *vm, uint32_t msr)
{
	return vcpu_get_msr(vm, 0, msr);
}

static bool has_ctls2(struct kvm_vm *vm, uint32_t bit)
{
	return (vmx_msr(vm, MSR_IA32_VMX_PROCBASED_CTLS2) >> 32) & bit;
}

static bool has_ept(struct kvm_vm *vm)
{
	return has_ctls2(vm, SECONDARY_EXEC_ENABLE_EPT);
}

static bool has_ept_ad(struct kvm_vm *vm)
{
	return has_ept(vm) && (vmx_msr(vm, MSR_IA32_VMX_EPT_VPID_CAP) &
			       VMX_EPT_VPID_CAP_AD_BITS);
}

static bool has_pml(struct kvm_vm *vm)
{
	return has_ept_ad(vm) && has_ctls2(vm, SECONDARY_EXEC_ENABLE_PML);
}

static bool has_npt(struct kvm_vm *vm)
{
	return nested_npt_supported();
}

/*
 * Without A/D bits in EPT, a walk is a read, and it is a write of its own if it
 * sets an A or D bit of the guest. Emulators of VMX are known to forget to ask
 * EPT for that (Bochs 3.0), so there the bits are set beforehand.
 */
static bool walks_are_writes(struct test *t)
{
	return nested_svm_supported() ||
	       (t->variant->paging ? t->variant->ad : has_ept_ad(t->vm));
}

/* Return: the GPA of the tables that map L2's GPAs, or 0. */
static uint64_t prepare_vmx(struct test *t, vm_vaddr_t *args)
{
	struct vmx_pages *vmx = vcpu_alloc_vmx(t->vm, &args[0]);
	struct vmx_pages *other = vcpu_alloc_vmx(t->vm, &args[1]);
	uint64_t page;

	if (!t->variant->paging)
		return 0;

	prepare_eptp(vmx, t->vm, 0);
	other->eptp_gpa = vmx->eptp_gpa;
	nested_map_memslot(vmx, t->vm, 0, 0);
	for (page = 0; page < TEST_PAGES; page++) {
		uint64_t gpa = TEST_MEM + page * 4096;

		nested_map(vmx, t->vm, gpa ^ (L2_SWAP * 4096), gpa, 4096, 0);
		*table_entry(t->vm, vmx->eptp_gpa, gpa ^ (L2_SWAP * 4096), 1) &=
			~EPTE_DIRTY;
	}
	return vmx->eptp_gpa;
}

static const char vmcb_name[] = "the VMCB";

static uint64_t prepare_svm(struct test *t, vm_vaddr_t *args)
{
	struct svm_test_data *svm = vcpu_alloc_svm(t->vm, &args[0]);
	struct svm_test_data *other = vcpu_alloc_svm(t->vm, &args[1]);
	uint64_t page;

	name_page(t, svm->vmcb_gpa, vmcb_name);
	name_page(t, other->vmcb_gpa, vmcb_name);

	if (!t->variant->paging)
		return 0;

	prepare_npt(svm, t->vm, 0);
	other->ncr3_gpa = svm->ncr3_gpa;
	npt_map_memslot(svm, t->vm, 0, 0);
	for (page = 0; page < TEST_PAGES; page++) {
		uint64_t gpa = TEST_MEM + page * 4096;

		npt_map(svm, t->vm, gpa ^ (L2_SWAP * 4096), gpa, 4096, 0);
	}
	return svm->ncr3_gpa;
}

static const struct variant vmx_variants[] = {
	{ "L2 with EPT", true, EPTP_AD, false, (void *)l1_vmx, has_ept_ad,
	  prepare_vmx },
	{ "L2 with EPT, no A/D bits", true, 0, false, (void *)l1_vmx, has_ept,
	  prepare_vmx },
	{ "L2 with EPT and PML", true, EPTP_AD, true, (void *)l1_vmx, has_pml,
	  prepare_vmx },
	{ "L2 without EPT", false, 0, false, (void *)l1_vmx, always,
	  prepare_vmx },
};

static const struct variant svm_variants[] = {
	{ "L2 with NPT", true, 0, false, (void *)l1_svm, has_npt, prepare_svm },
	{ "L2 without NPT", false, 0, false, (void *)l1_svm, always,
	  prepare_svm },
};

/* Harvesting. */

static void collect_bitmap(struct test *t)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(t->mem); i++)
		kvm_vm_get_dirty_log(t->vm, t->mem[i].slot, t->mem[i].reported);
}

static void add_page(uint32_t slot, uint64_t offset, void *data)
{
	struct test *t = data;

	TEST_ASSERT(slot < ARRAY_SIZE(t->mem) && offset < t->mem[slot].npages,
		    "entry for slot 0x%x offset 0x%lx", slot, offset);
	set_bit(offset, t->mem[slot].reported);
}

/* The pages that L1 and L2 write are in the ring of the vCPU that runs them. */
static void collect_ring(struct test *t)
{
	uint32_t i, n;

	for (i = 0; i < NR_VCPUS; i++) {
		n = dirty_ring_collect(&t->rings[i], t->vm, UINT32_MAX,
				       add_page, t);
		TEST_ASSERT(!n || i == t->vcpu,
			    "%u entries of vCPU %u, vCPU %u runs", n, i,
			    t->vcpu);
	}
}

static bool has_ring(struct test *t)
{
	return t->rings[0].gfns;
}

/* Judging. */

static void complain(struct test *t, struct memory *mem, uint64_t page,
		     const char *what)
{
	if (t->bad++ < MAX_COMPLAINTS)
		ksft_print_msg("pass %u step %u: page %lu of %s: %s\n", t->pass,
			       t->at, page, mem->name, what);
}

static const char *why_unchanged(struct test *t, struct memory *mem,
				 uint64_t page)
{
	if (mem->may[page])
		return mem->may[page];

	/*
	 * A page that is accessed for the first time is mapped for writing
	 * where it can be, and is reported then. L1 and L2 have mappings of
	 * their own.
	 */
	if (mem->slot != TEST_SLOT && mem->mapped[page] < 2) {
		mem->mapped[page]++;
		return "mapped for the first time, by L1 or by L2";
	}

	/*
	 * Shadow paging syncs all of a table that L1 has changed, and marks
	 * each page that the table maps as dirty. A ring has no room for that.
	 */
	if (!has_ring(t) && mem->slot == TEST_SLOT && t->was_remapped &&
	    t->touched & BIT(page))
		return "synced after L1 changed the table that maps it";

	return NULL;
}

static void check_unchanged(struct test *t, struct memory *mem, uint64_t page)
{
	const char *why = why_unchanged(t, mem, page);
	struct reason *reason = t->unchanged;

	if (!why) {
		complain(t, mem, page, "reported, not written");
		return;
	}

	while (reason->why && reason->why != why)
		reason++;
	reason->why = why;
	reason->pages++;
}

static void look_at(struct test *t, struct memory *mem)
{
	uint64_t page;

	for (page = 0; page < mem->npages; page++) {
		char *copy = mem->copy + page * 4096;
		char *now = mem->hva + page * 4096;
		bool reported = test_bit(page, mem->reported);
		bool changed = memcmp(now, copy, 4096);

		t->pages += reported;
		if (changed && !reported)
			complain(t, mem, page, "written, not reported");
		if (reported && !changed)
			check_unchanged(t, mem, page);
		if (changed)
			memcpy(copy, now, 4096);
	}
	bitmap_zero(mem->reported, mem->npages);
}

/* The guest has done what the script says, and nothing else. */
static void check_script(struct test *t)
{
	const uint64_t others = BIT(L2_TABLE_PAGE) |
				(t->variant->pml ? BIT(PML_PAGE) : 0);
	struct memory *mem = &t->mem[TEST_SLOT];
	uint64_t page, changed = 0;

	for (page = 0; page < TEST_PAGES; page++)
		if (memcmp(mem->hva + page * 4096, mem->copy + page * 4096,
			   4096))
			changed |= BIT(page);

	TEST_ASSERT((changed & ~others) == t->written,
		    "step %u: pages 0x%lx changed, 0x%lx written", t->at,
		    changed, t->written);
	t->written = 0;
}

static void look(struct test *t)
{
	int i;

	if (has_ring(t))
		collect_ring(t);
	else
		collect_bitmap(t);

	check_script(t);
	for (i = 0; i < ARRAY_SIZE(t->mem); i++)
		look_at(t, &t->mem[i]);
	/* The first look of a pass sees the last of what was synced. */
	if (t->at == 1)
		t->was_remapped = false;
	t->looks++;
}

/* Follow the script to the step at which the guest is. */
static void follow(struct test *t, unsigned int to)
{
	while (t->at != to) {
		const struct step *step = &script[t->at++];
		uint64_t pages = step->pages;

		if (step->op == OP_DONE) {
			t->at = 0;
			t->pass++;
		}
		if (step->op == OP_REMAP) {
			t->remapped = !t->remapped;
			t->was_remapped = true;
		}
		if (pages & BIT(WINDOW) && t->remapped)
			pages ^= BIT(WINDOW) | BIT(WINDOW + 1);
		t->touched |= pages;
		if (step->op == OP_WRITE || step->op == OP_INS) {
			t->written |= pages;
			if (step->who == BY_L2)
				t->by_l2 |= pages;
		}
	}
}

/*
 * KVM has logged for L1, as hardware would: each page that L2 wrote, as a GPA
 * of L2, and the page table that KVM has walked for L2.
 */
static void check_l1_pml(struct test *t)
{
	uint64_t *log = (void *)(t->mem[TEST_SLOT].hva + PML_PAGE * 4096);
	const uint64_t window = BIT(WINDOW) | BIT(WINDOW + 1);
	uint64_t logged = 0;
	int i;

	for (i = 511; i >= 0 && log[i]; i--) {
		uint64_t page = (log[i] - TEST_MEM) / 4096;

		TEST_ASSERT(!(log[i] % 4096) && page < TEST_PAGES,
			    "L1's PML entry %d is 0x%lx", i, log[i]);
		logged |= BIT(page ^ L2_SWAP);
	}
	/* Its GPA did not change by what L1 mapped there. */
	logged |= logged & window ? window : 0;

	if ((logged & ~BIT(L2_TABLE_PAGE)) != t->by_l2) {
		t->bad++;
		ksft_print_msg("L1's PML: pages 0x%lx logged, 0x%lx written\n",
			       logged, t->by_l2);
	}
}

/* Setting up. */

static void add_memory(struct test *t, int i, const char *name, uint64_t gpa,
		       uint64_t npages)
{
	struct memory *mem = &t->mem[i];

	mem->name = name;
	mem->slot = i;
	mem->gpa = gpa;
	mem->npages = npages;
	mem->hva = addr_gpa2hva(t->vm, gpa);
	mem->copy = malloc(npages * 4096);
	mem->reported = bitmap_alloc(npages);
	mem->may = calloc(npages, sizeof(*mem->may));
	mem->mapped = calloc(npages, sizeof(*mem->mapped));
	TEST_ASSERT(mem->copy && mem->may && mem->mapped, "no memory");
}

static void create_vm(struct test *t, bool ring)
{
	struct kvm_vm *vm;
	uint32_t i;

	vm = vm_create(VM_MODE_DEFAULT, DEFAULT_GUEST_PHY_PAGES, O_RDWR);
	kvm_vm_elf_load(vm, program_invocation_name, 0, 0);
	vm_create_irqchip(vm);
	if (ring)
		vm_enable_dirty_ring(vm, RING_BYTES);
	for (i = 0; i < NR_VCPUS; i++) {
		vm_vcpu_add_default(vm, i, t->variant->l1);
		vcpu_set_cpuid(vm, i, kvm_get_supported_cpuid());
		if (ring)
			dirty_ring_map(&t->rings[i], vm, i, RING_BYTES /
				       sizeof(struct kvm_dirty_gfn));
	}
	t->vm = vm;
}

/* L2 has a page table of its own: in TEST_SLOT, at a GPA that is not L1's. */
static void add_l2_table(struct test *t)
{
	char *page = t->mem[TEST_SLOT].hva + L2_TABLE_PAGE * 4096;
	uint64_t *table = (uint64_t *)page;
	uint64_t swap = shared.swap;

	virt_map(t->vm, INS_GVA, TEST_MEM, 1, 0);
	*table_entry(t->vm, cr3_of(t->vm), INS_GVA, 2) =
		(TEST_MEM + (L2_TABLE_PAGE ^ swap) * 4096) | PTE_PRESENT |
		PTE_WRITABLE;
	table[INS_GVA / 4096 % 512] =
		(TEST_MEM + (INS_PAGE ^ swap) * 4096) | PTE_PRESENT |
		PTE_WRITABLE;
	name_page(t, TEST_MEM + L2_TABLE_PAGE * 4096,
		  "L2's page table: a walk is a write");
}

/* What maps WINDOW for L2: an entry of its nested tables, or of L1's own. */
static void add_window(struct test *t, uint64_t root_gpa)
{
	uint64_t addr = TEST_MEM + (WINDOW ^ shared.swap) * 4096;
	uint64_t root = root_gpa ? root_gpa : cr3_of(t->vm);
	uint64_t gpa = *table_entry(t->vm, root, addr, 2) & PTE_ADDRESS;

	virt_map(t->vm, TABLE_GVA, gpa, 1, 0);
	shared.entry = TABLE_GVA + addr / 4096 % 512 * 8;
	shared.keep = PTE_ACCESS;
	if (!root_gpa && !walks_are_writes(t))
		shared.keep |= PTE_AD;
}

static void setup(struct test *t)
{
	struct kvm_vm *vm = t->vm;
	vm_vaddr_t args[NR_VCPUS];
	uint64_t root_gpa;
	int i;

	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, TEST_MEM,
				    TEST_SLOT, TEST_PAGES,
				    KVM_MEM_LOG_DIRTY_PAGES);
	virt_map(vm, TEST_MEM, TEST_MEM, TEST_PAGES, 0);
	add_memory(t, 0, "the rest", 0, DEFAULT_GUEST_PHY_PAGES);
	add_memory(t, TEST_SLOT, "the tracked", TEST_MEM, TEST_PAGES);

	shared.swap = t->variant->paging ? L2_SWAP : 0;
	shared.ad = t->variant->ad;
	shared.pml = t->variant->pml ? TEST_MEM + PML_PAGE * 4096 : 0;

	root_gpa = t->variant->prepare(t, args);
	for (i = 0; i < NR_VCPUS; i++)
		vcpu_args_set(vm, i, 1, args[i]);
	add_window(t, root_gpa);
	name_tables(t, cr3_of(vm), 4, walks_are_writes(t) ? 0 : PTE_AD);
	add_l2_table(t);
	sync_global_to_guest(vm, shared);

	vm_mem_region_set_flags(vm, 0, KVM_MEM_LOG_DIRTY_PAGES);
	for (i = 0; i < ARRAY_SIZE(t->mem); i++)
		memcpy(t->mem[i].copy, t->mem[i].hva, t->mem[i].npages * 4096);
}

static void teardown(struct test *t)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(t->mem); i++) {
		free(t->mem[i].copy);
		free(t->mem[i].reported);
		free(t->mem[i].may);
		free(t->mem[i].mapped);
	}
}

/* The library does not map the data of struct kvm_run. */
static void answer_ins(struct test *t, uint8_t number)
{
	struct kvm_run *run = vcpu_state(t->vm, t->vcpu);
	uint8_t *data;

	TEST_ASSERT(run->io.direction == KVM_EXIT_IO_IN && run->io.size == 1 &&
		    run->io.count == 1, "not an INSB");

	data = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
		    vcpu_get_fd(t->vm, t->vcpu), run->io.data_offset);
	TEST_ASSERT(data != MAP_FAILED, "mmap failed, errno: %i", errno);
	*data = number;
	munmap(data, 4096);
}

/* Run a vCPU to the end of the script. */
static void run_script(struct test *t)
{
	struct kvm_run *run = vcpu_state(t->vm, t->vcpu);
	unsigned int number = t->vcpu * 128;
	struct ucall uc;

	for (;;) {
		vcpu_run(t->vm, t->vcpu);
		TEST_ASSERT(run->exit_reason == KVM_EXIT_IO,
			    "exit %u (%s), last look at pass %u step %u",
			    run->exit_reason,
			    exit_reason_str(run->exit_reason), t->pass, t->at);

		if (run->io.port == INS_PORT) {
			answer_ins(t, ++number);
			continue;
		}

		switch (get_ucall(t->vm, t->vcpu, &uc)) {
		case UCALL_SYNC:
			follow(t, uc.args[1]);
			look(t);
			break;
		case UCALL_DONE:
			TEST_ASSERT(script[t->at].op == OP_DONE,
				    "done at step %u", t->at);
			look(t);
			return;
		case UCALL_ABORT:
			TEST_FAIL("%s at %s:%ld", (const char *)uc.args[0],
				  __FILE__, uc.args[1]);
		default:
			TEST_FAIL("unknown ucall %lu", uc.cmd);
		}
	}
}

static void account(struct test *t)
{
	struct reason *reason;

	ksft_print_msg("%u looks, %u pages reported\n", t->looks, t->pages);
	for (reason = t->unchanged; reason->why; reason++)
		ksft_print_msg("%u of them not changed: %s\n", reason->pages,
			       reason->why);
}

static void run_test(const struct variant *variant, bool ring)
{
	const char *tracker = ring ? "ring" : "bitmap";
	struct test t = { .variant = variant };
	int i;

	if (ring && !dirty_ring_max_entries()) {
		ksft_test_result_skip("ring: not offered\n");
		return;
	}

	create_vm(&t, ring);
	if (!variant->supported(t.vm)) {
		ksft_test_result_skip("%s, %s: not offered to L1\n", tracker,
				      variant->name);
	} else {
		setup(&t);
		run_script(&t);
		if (variant->pml)
			check_l1_pml(&t);
		t.vcpu = 1;
		run_script(&t);
		account(&t);
		ksft_test_result(!t.bad, "%s, %s\n", tracker, variant->name);
		teardown(&t);
	}
	for (i = 0; ring && i < NR_VCPUS; i++)
		dirty_ring_unmap(&t.rings[i]);
	kvm_vm_free(t.vm);
}

int main(void)
{
	bool svm = nested_svm_supported();
	const struct variant *variants = svm ? svm_variants : vmx_variants;
	int i, nr = svm ? ARRAY_SIZE(svm_variants) : ARRAY_SIZE(vmx_variants);

	if (!svm)
		nested_vmx_check_supported();

	ksft_print_header();
	ksft_set_plan(2 * nr);
	for (i = 0; i < nr; i++) {
		run_test(&variants[i], false);
		run_test(&variants[i], true);
	}

	if (ksft_get_fail_cnt())
		ksft_exit_fail();
	ksft_exit_pass();
}
