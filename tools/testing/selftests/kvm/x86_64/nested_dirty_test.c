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
#include "nested_dirty/nested_dirty.h"
#include "kselftest.h"

#define RING_ENTRIES	4096

#define PTE_PRESENT	BIT_ULL(0)
#define PTE_WRITABLE	BIT_ULL(1)
#define PTE_ACCESS	GENMASK_ULL(2, 0)	/* of x86, and of EPT */
#define PTE_AD		GENMASK_ULL(6, 5)
#define PTE_ADDRESS	GENMASK_ULL(51, 12)
#define EPTE_DIRTY	BIT_ULL(9)

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
	{ "L2 with EPT", true, EPTP_AD, false, l1_vmx, has_ept_ad,
	  prepare_vmx },
	{ "L2 with EPT, no A/D bits", true, 0, false, l1_vmx, has_ept,
	  prepare_vmx },
	{ "L2 with EPT and PML", true, EPTP_AD, true, l1_vmx, has_pml,
	  prepare_vmx },
	{ "L2 without EPT", false, 0, false, l1_vmx, always,
	  prepare_vmx },
};

static const struct variant svm_variants[] = {
	{ "L2 with NPT", true, 0, false, l1_svm, has_npt, prepare_svm },
	{ "L2 without NPT", false, 0, false, l1_svm, always,
	  prepare_svm },
};

/* Reporting. */

static void add_page(uint32_t slot, uint64_t offset, void *data)
{
	struct test *t = data;

	TEST_ASSERT(slot < ARRAY_SIZE(t->mem) && offset < t->mem[slot].npages,
		    "entry for slot 0x%x offset 0x%lx", slot, offset);
	set_bit(offset, t->mem[slot].reported);
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

static const struct tracked_slot slots[] = {
	{ 0, DEFAULT_GUEST_PHY_PAGES },
	{ TEST_SLOT, TEST_PAGES },
};

static void create_vm(struct test *t, const struct dirty_tracker *tracker)
{
	struct kvm_vm *vm;
	uint32_t i;

	vm = vm_create(VM_MODE_DEFAULT, DEFAULT_GUEST_PHY_PAGES, O_RDWR);
	kvm_vm_elf_load(vm, program_invocation_name, 0, 0);
	vm_create_irqchip(vm);
	t->vm = vm;
	t->tracking = (struct dirty_tracking) {
		.tracker = tracker,
		.vm = vm,
		.nr_vcpus = NR_VCPUS,
		.slots = slots,
		.nr_slots = ARRAY_SIZE(slots),
		.report = add_page,
		.data = t,
		.ring_entries = RING_ENTRIES,
	};
	dirty_tracking_enable(&t->tracking);
	for (i = 0; i < NR_VCPUS; i++) {
		vm_vcpu_add_default(vm, i, t->variant->l1);
		vcpu_set_cpuid(vm, i, kvm_get_supported_cpuid());
	}
	dirty_tracking_begin(&t->tracking);
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
static void answer_ins(struct test *t, uint32_t vcpu_id, uint8_t number)
{
	struct kvm_run *run = vcpu_state(t->vm, vcpu_id);
	uint8_t *data;

	TEST_ASSERT(run->io.direction == KVM_EXIT_IO_IN && run->io.size == 1 &&
		    run->io.count == 1, "not an INSB");

	data = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
		    vcpu_get_fd(t->vm, vcpu_id), run->io.data_offset);
	TEST_ASSERT(data != MAP_FAILED, "mmap failed, errno: %i", errno);
	*data = number;
	munmap(data, 4096);
}

/* Run a vCPU to the end of the script. */
static void run_script(struct test *t, uint32_t vcpu_id)
{
	struct kvm_run *run = vcpu_state(t->vm, vcpu_id);
	unsigned int number = vcpu_id * 128;
	struct ucall uc;

	t->tracking.writer = vcpu_id;
	for (;;) {
		vcpu_run(t->vm, vcpu_id);
		TEST_ASSERT(run->exit_reason == KVM_EXIT_IO,
			    "exit %u (%s), last look at pass %u step %u",
			    run->exit_reason,
			    exit_reason_str(run->exit_reason), t->pass, t->at);

		if (run->io.port == INS_PORT) {
			answer_ins(t, vcpu_id, ++number);
			continue;
		}

		switch (get_ucall(t->vm, vcpu_id, &uc)) {
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

static void run_test(const struct variant *variant,
		     const struct dirty_tracker *tracker)
{
	struct test t = { .variant = variant };

	if (!dirty_tracker_supported(tracker)) {
		ksft_test_result_skip("%s: not offered\n", tracker->name);
		return;
	}

	create_vm(&t, tracker);
	if (!variant->supported(t.vm)) {
		ksft_test_result_skip("%s, %s: not offered to L1\n",
				      tracker->name, variant->name);
	} else {
		setup(&t);
		run_script(&t, 0);
		if (variant->pml)
			check_l1_pml(&t);
		run_script(&t, 1);
		account(&t);
		ksft_test_result(!t.bad, "%s, %s\n", tracker->name,
				 variant->name);
		teardown(&t);
	}
	dirty_tracking_end(&t.tracking);
	kvm_vm_free(t.vm);
}

int main(void)
{
	bool svm = nested_svm_supported();
	const struct variant *variants = svm ? svm_variants : vmx_variants;
	int nr = svm ? ARRAY_SIZE(svm_variants) : ARRAY_SIZE(vmx_variants);
	int i, j;

	if (!svm)
		nested_vmx_check_supported();

	ksft_print_header();
	ksft_set_plan(nr * nr_dirty_trackers);
	for (i = 0; i < nr; i++)
		for (j = 0; j < nr_dirty_trackers; j++)
			run_test(&variants[i], dirty_trackers[j]);

	if (ksft_get_fail_cnt())
		ksft_exit_fail();
	ksft_exit_pass();
}
