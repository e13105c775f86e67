// SPDX-License-Identifier: GPL-2.0-only
/*
 * User space changes an entry of a page table that KVM shadows: of the guest's
 * own where the host has no nested paging, of those that L1 has for L2 where it
 * has. KVM protects such a table from the guest, but not from user space. What
 * was mapped for the old entry must not be used for the new one, and the host
 * must stay up.
 *
 * A case is an entry at one of the levels that changes from one content to
 * another, and back: a large page or a table, of one memslot or the other,
 * writable or not, or nothing. The guest accesses pages meanwhile. A page that
 * it did not access before is where the entry says. Another one may still be
 * where it was, as with a TLB, but nowhere else. What the guest writes is
 * reported as dirty, again after each look. At the end of each case the memslots
 * are deleted, which shows mappings that KVM cannot find.
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
#include "kselftest.h"

#define NR_SLOTS	2
#define FIRST_SLOT	1
#define SLOT_PAGES	512
#define SLOT_SIZE	(SLOT_PAGES * 4096ul)

/* KVM maps the neighbours of a page along, in groups of eight. */
#define STEP_PAGES	8
#define NR_STEPS	3
#define CASE_PAGES	(NR_STEPS * STEP_PAGES)

/* Bits of an entry, of x86 and, where they differ, of EPT. */
#define PTE_PRESENT	BIT_ULL(0)
#define PTE_WRITABLE	BIT_ULL(1)
#define PTE_USER	BIT_ULL(2)	/* EPT: execute */
#define PTE_AD		GENMASK_ULL(6, 5)
#define EPTE_WB		(6ull << 3)	/* memory type, of a leaf */
#define PTE_LARGE	BIT_ULL(7)
#define EPTE_AD		GENMASK_ULL(9, 8)
#define PTE_ADDRESS	GENMASK_ULL(51, 12)

#define CPUID_GBPAGES		BIT(26)	/* 0x80000001.EDX */
#define VMX_EPT_1GB_PAGES	BIT(17)	/* of MSR_IA32_VMX_EPT_VPID_CAP */

/* A page of 1 GiB may map a slot. */
static const uint64_t slot_gpa[NR_SLOTS] = { 4ul << 30, 8ul << 30 };

enum content { NOTHING, PAGE, PAGE_RO, TABLE, TABLE_RO };

static const char * const content_names[] = {
	"nothing", "page", "read-only page", "table", "read-only table",
};

/**
 * struct target - what an entry may hold
 * @content: what it is
 * @slot: which memslot it maps
 */
struct target {
	enum content content;
	int slot;
};

static const struct target targets[] = {
	{ NOTHING, 0 },
	{ PAGE, 0 }, { PAGE, 1 }, { PAGE_RO, 1 },
	{ TABLE, 0 }, { TABLE, 1 }, { TABLE_RO, 1 },
};

/**
 * struct variant - how the memslots are made
 * @name: for messages
 * @huge: of huge pages, if the host has some
 * @log: their dirty pages are logged
 * @alias: both have the same memory
 */
struct variant {
	const char *name;
	bool huge;
	bool log;
	bool alias;
};

static const struct variant variants[] = {
	{ "small pages", false, false, false },
	{ "huge pages", true, false, false },
	{ "logged pages", false, true, false },
	{ "logged pages that two memslots share", false, true, true },
};

/**
 * struct test - a VM
 * @vm: the VM
 * @variant: its memslots
 * @mem: their memory
 * @ept: the tables are those of EPT
 * @gbpages: they may have pages of 1 GiB
 * @root: the top one
 * @table: tables of levels 1 to 3 that map a slot from its beginning on
 * @level: the level of the entry
 * @from: what it held first
 * @to: what it is changed to
 * @number: of the last write
 * @written: pages that were written since the last look, and where that is
 *	     reported
 * @bad: what was wrong
 */
struct test {
	struct kvm_vm *vm;
	const struct variant *variant;
	char *mem[NR_SLOTS];
	bool ept;
	bool gbpages;
	uint64_t root;
	uint64_t table[NR_SLOTS][4];
	int level;
	const struct target *from;
	const struct target *to;
	uint64_t number;
	uint8_t written[SLOT_PAGES];
	unsigned int bad;
};

/* What the guest is to do: read, and write if there is a number for it. */
struct request {
	uint64_t gva;
	uint64_t number;
	uint64_t value;
};

static struct request request;

static void access_pages(void)
{
	for (;;) {
		GUEST_SYNC(0);
		WRITE_ONCE(request.value, READ_ONCE(*(uint64_t *)request.gva));
		if (request.number)
			WRITE_ONCE(*(uint64_t *)(request.gva + 8),
				   request.number);
	}
}

static void l1_vmx(void *arg)
{
	struct vmx_pages *vmx = arg;
	unsigned long l2_stack[256];

	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, access_pages, &l2_stack[256]);
	GUEST_ASSERT(!vmlaunch());
	GUEST_ASSERT_2(false, vmreadz(VM_EXIT_REASON),
		       vmreadz(EXIT_QUALIFICATION));
}

static void l1_svm(void *arg)
{
	struct svm_test_data *svm = arg;
	unsigned long l2_stack[256];

	generic_svm_setup(svm, access_pages, &l2_stack[256]);
	run_guest(svm->vmcb, svm->vmcb_gpa);
	GUEST_ASSERT_2(false, svm->vmcb->control.exit_code,
		       svm->vmcb->control.exit_info_2);
}

/* Tables. */

/* The address that the entry of @level is the only one for. */
static uint64_t window(int level)
{
	return level == 4 ? 1ul << 39 : (uint64_t)level << 36;
}

static uint64_t make_entry(struct test *t, uint64_t gpa, int level, bool leaf,
			   bool writable)
{
	uint64_t entry = gpa | PTE_PRESENT | PTE_USER;

	if (writable)
		entry |= PTE_WRITABLE;
	if (leaf && level > 1)
		entry |= PTE_LARGE;
	if (!t->ept)
		entry |= PTE_AD;
	else if (leaf)
		entry |= EPTE_WB | EPTE_AD;

	return entry;
}

static uint64_t new_table(struct test *t)
{
	return vm_phy_page_alloc(t->vm, 0x1c0000, 0);
}

/* The entry for the window of @level. Tables that lead to it are made. */
static uint64_t *window_entry(struct test *t, int level)
{
	uint64_t gpa = t->root;
	uint64_t *entry;
	int l;

	for (l = 4; ; l--) {
		entry = (uint64_t *)addr_gpa2hva(t->vm, gpa) +
			(window(level) >> (12 + 9 * (l - 1))) % 512;
		if (l == level)
			return entry;
		if (!*entry)
			*entry = make_entry(t, new_table(t), l, false, true);
		gpa = *entry & PTE_ADDRESS;
	}
}

static void make_tables(struct test *t, int slot)
{
	int level, i;

	for (level = 1; level < 4; level++) {
		uint64_t gpa = new_table(t);
		uint64_t *table = addr_gpa2hva(t->vm, gpa);

		t->table[slot][level] = gpa;
		if (level > 1)
			table[0] = make_entry(t, t->table[slot][level - 1],
					      level, false, true);
		for (i = 0; level == 1 && i < SLOT_PAGES; i++)
			table[i] = make_entry(t, slot_gpa[slot] + i * 4096, 1,
					      true, true);
	}
}

static bool is_page(const struct target *target)
{
	return target->content == PAGE || target->content == PAGE_RO;
}

static bool is_writable(const struct target *target)
{
	return target->content == PAGE || target->content == TABLE;
}

static bool can_hold(struct test *t, int level, const struct target *target)
{
	if (is_page(target))
		return level < 3 || (level == 3 && t->gbpages);

	return level > 1 || target->content == NOTHING;
}

static void set_entry(struct test *t, const struct target *target)
{
	uint64_t entry = 0;

	if (is_page(target))
		entry = make_entry(t, slot_gpa[target->slot], t->level, true,
				   is_writable(target));
	else if (target->content != NOTHING)
		entry = make_entry(t, t->table[target->slot][t->level - 1],
				   t->level, false, is_writable(target));

	WRITE_ONCE(*window_entry(t, t->level), entry);
}

/* Memslots. */

static void set_slot(struct test *t, int slot, uint64_t size)
{
	struct kvm_userspace_memory_region region = {
		.slot = FIRST_SLOT + slot,
		.flags = t->variant->log ? KVM_MEM_LOG_DIRTY_PAGES : 0,
		.guest_phys_addr = slot_gpa[slot],
		.memory_size = size,
		.userspace_addr = (uintptr_t)t->mem[slot],
	};

	vm_ioctl(t->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static uint64_t *page_of(struct test *t, int slot, int page)
{
	return (uint64_t *)(t->mem[slot] + page * 4096ul);
}

static void make_memory(struct test *t)
{
	char *mem = mmap(NULL, (NR_SLOTS + 1) * SLOT_SIZE,
			 PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	int slot, page;

	TEST_ASSERT(mem != MAP_FAILED, "no memory, errno: %i", errno);
	mem += -(uintptr_t)mem % SLOT_SIZE;
	/* Without huge pages this is EINVAL, and there are none. */
	madvise(mem, NR_SLOTS * SLOT_SIZE,
		t->variant->huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);

	for (slot = 0; slot < NR_SLOTS; slot++) {
		t->mem[slot] = mem + (t->variant->alias ? 0 : slot * SLOT_SIZE);
		for (page = 0; page < SLOT_PAGES; page++)
			page_of(t, slot, page)[0] = slot * SLOT_PAGES + page + 1;
	}
}

/* What the guest does, and what was wrong about it. */

static void complain(struct test *t, int step, int page, const char *what)
{
	if (t->bad++ < 20)
		ksft_print_msg("level %d: %s of slot %d, then %s of slot %d: step %d page %d: %s\n",
			       t->level, content_names[t->from->content],
			       t->from->slot, content_names[t->to->content],
			       t->to->slot, step, page, what);
}

static void run(struct test *t)
{
	struct kvm_run *run = vcpu_state(t->vm, 0);
	struct ucall uc;

	vcpu_run(t->vm, 0);
	TEST_ASSERT(run->exit_reason == KVM_EXIT_IO, "exit %u (%s)",
		    run->exit_reason, exit_reason_str(run->exit_reason));
	switch (get_ucall(t->vm, 0, &uc)) {
	case UCALL_SYNC:
		break;
	case UCALL_ABORT:
		TEST_FAIL("%s at line %lu: 0x%lx 0x%lx", (char *)uc.args[0],
			  uc.args[1], uc.args[2], uc.args[3]);
	default:
		TEST_FAIL("unknown ucall %lu", uc.cmd);
	}
}

/* @stale: the page may be where it was before. */
static void access_page(struct test *t, int step, const struct target *now,
			int page, bool stale)
{
	struct request *r = addr_gva2hva(t->vm, (uintptr_t)&request);
	const struct target *other = now == t->to ? t->from : t->to;
	bool read = false;
	int slots[NR_SLOTS] = { now->slot, other->slot };
	int i;

	r->gva = window(t->level) + page * 4096;
	r->number = is_writable(now) ? ++t->number : 0;
	r->value = 0;
	run(t);

	for (i = 0; i < (stale ? 2 : 1); i++) {
		uint64_t *at = page_of(t, slots[i], page);

		read |= r->value == at[0];
		if (r->number && at[1] == r->number)
			t->written[page] |= BIT(slots[i]);
	}
	if (!read)
		complain(t, step, page, "read elsewhere");
	if (r->number && !t->written[page])
		complain(t, step, page, "written elsewhere");
}

static void look(struct test *t, int step)
{
	static unsigned long dirty[NR_SLOTS][SLOT_PAGES / BITS_PER_LONG];
	int slot, page;

	for (slot = 0; t->variant->log && slot < NR_SLOTS; slot++)
		kvm_vm_get_dirty_log(t->vm, FIRST_SLOT + slot, dirty[slot]);

	for (page = 0; page < SLOT_PAGES; page++) {
		bool reported = !t->variant->log;

		for (slot = 0; slot < NR_SLOTS; slot++)
			reported |= t->written[page] & BIT(slot) &&
				    test_bit(page, dirty[slot]);
		if (t->written[page] && !reported)
			complain(t, step, page, "written, not reported");
		t->written[page] = 0;
	}
}

static void take_step(struct test *t, int step, const struct target *now)
{
	int begin = t->level == 1 ? 0 : step * STEP_PAGES;
	int end = t->level == 1 ? 1 : begin + STEP_PAGES;
	int page, round;

	set_entry(t, now);
	if (now->content == NOTHING)
		return;

	for (page = begin; page < end; page++)
		access_page(t, step, now, page,
			    t->variant->huge || (step && t->level == 1));
	look(t, step);
	for (round = 0; round < 2; round++) {
		for (page = 0; page < end; page++)
			access_page(t, step, now, page, true);
		look(t, step);
	}
}

static void run_case(struct test *t, int number)
{
	int i;

	for (i = 0; i < NR_SLOTS; i++)
		set_slot(t, i, SLOT_SIZE);

	take_step(t, 0, t->from);
	take_step(t, 1, t->to);
	take_step(t, 2, t->from);

	for (i = 0; i < NR_SLOTS; i++)
		set_slot(t, (i + number) % NR_SLOTS, 0);
}

static int run_cases(struct test *t, int max_level)
{
	int nr = 0, from, to;

	for (t->level = 1; t->level <= max_level; t->level++) {
		for (from = 0; from < ARRAY_SIZE(targets); from++) {
			for (to = 0; to < ARRAY_SIZE(targets); to++) {
				t->from = &targets[from];
				t->to = &targets[to];
				if (from == to ||
				    !can_hold(t, t->level, t->from) ||
				    !can_hold(t, t->level, t->to))
					continue;
				run_case(t, nr++);
			}
		}
	}

	return nr;
}

/* Setting up. */

static bool has_ept(struct kvm_vm *vm)
{
	return (vcpu_get_msr(vm, 0, MSR_IA32_VMX_PROCBASED_CTLS2) >> 32) &
	       SECONDARY_EXEC_ENABLE_EPT;
}

static void prepare_vmx(struct test *t)
{
	vm_vaddr_t vmx_gva;
	struct vmx_pages *vmx = vcpu_alloc_vmx(t->vm, &vmx_gva);

	prepare_eptp(vmx, t->vm, 0);
	nested_map_memslot(vmx, t->vm, 0, 0);
	t->root = vmx->eptp_gpa;
	t->ept = true;
	t->gbpages = vcpu_get_msr(t->vm, 0, MSR_IA32_VMX_EPT_VPID_CAP) &
		     VMX_EPT_1GB_PAGES;
	vcpu_args_set(t->vm, 0, 1, vmx_gva);
}

static void prepare_svm(struct test *t)
{
	vm_vaddr_t svm_gva;
	struct svm_test_data *svm = vcpu_alloc_svm(t->vm, &svm_gva);

	prepare_npt(svm, t->vm, 0);
	npt_map_memslot(svm, t->vm, 0, 0);
	t->root = svm->ncr3_gpa;
	vcpu_args_set(t->vm, 0, 1, svm_gva);
}

static struct kvm_vm *create_vm(void *code)
{
	struct kvm_vm *vm = vm_create_default(0, 0, code);

	vcpu_set_cpuid(vm, 0, kvm_get_supported_cpuid());
	return vm;
}

/* Return: the name of the tables, whose user is where it waits for requests. */
static const char *setup(struct test *t)
{
	const char *name = "the guest's tables";
	struct kvm_sregs sregs;
	bool svm = nested_svm_supported() && nested_npt_supported();
	bool vmx = false;
	int level, slot;

	t->vm = create_vm(access_pages);
	if (nested_vmx_supported())
		vmx = has_ept(t->vm);
	if (svm || vmx) {
		kvm_vm_free(t->vm);
		t->vm = create_vm(svm ? l1_svm : l1_vmx);
	}

	/* L2 has its GPAs at the same addresses. */
	for (level = 1; (svm || vmx) && level < 5; level++)
		if (window(level) / 4096 <= vm_get_max_gfn(t->vm))
			virt_map(t->vm, window(level), window(level),
				 CASE_PAGES, 0);

	t->gbpages = kvm_get_supported_cpuid_entry(0x80000001)->edx &
		     CPUID_GBPAGES;
	if (svm) {
		name = "NPT";
		prepare_svm(t);
	} else if (vmx) {
		name = "EPT";
		prepare_vmx(t);
	} else {
		vcpu_sregs_get(t->vm, 0, &sregs);
		t->root = sregs.cr3;
	}

	make_memory(t);
	for (slot = 0; slot < NR_SLOTS; slot++)
		make_tables(t, slot);

	run(t);
	return name;
}

static void run_test(const struct variant *variant)
{
	struct test t = { .variant = variant };
	const char *name = setup(&t);
	int nr = run_cases(&t, window(4) / 4096 <= vm_get_max_gfn(t.vm) ? 4 : 3);

	ksft_test_result(!t.bad, "%s, %s: %d cases\n", name, variant->name, nr);
	kvm_vm_free(t.vm);
}

int main(void)
{
	int i;

	ksft_print_header();
	ksft_set_plan(ARRAY_SIZE(variants));
	for (i = 0; i < ARRAY_SIZE(variants); i++)
		run_test(&variants[i]);

	if (ksft_get_fail_cnt())
		ksft_exit_fail();
	ksft_exit_pass();
}
