// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM remembers in SPTEs which guest pages are MMIO: the first access sets such
 * an SPTE, later ones are recognized by it. With kvm.mmio_caching=0 it sets none,
 * and the guest sees no difference. Nor does it where a page is MMIO and RAM in
 * turns, or where its page tables change from one to the other.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <linux/bitops.h>
#include <linux/compiler.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "kvm_trace.h"
#include "kselftest.h"

#define VCPU_ID		0
#define TEST_SLOT	1
#define PAGES		2

/* Guest-physical pages without a memslot, and where the guest has them. */
#define MMIO_GPA	0xc0000000ul
#define MMIO_GVA	0x80000000ul

/* A page of RAM whose guest PTE is changed to MMIO and back. */
#define REMAP_GPA	0xd0000000ul
#define REMAP_GVA	0x90000000ul
#define REMAP_SLOT	2

#define LOADS		50
#define FLIPS		20
#define DEVICE		0xde71ceull
#define RAM		0x4a4aull

#define X86_CR0_WP_BIT	BIT(16)
#define PTE_WRITABLE	BIT_ULL(1)

static struct kvm_vm *vm;

/* The guest stops before each of these; what follows is measured. */
enum { STAGE_LOADS, STAGE_FLIPS, STAGE_REMAP, STAGE_DONE };

static uint64_t load(unsigned int page)
{
	return READ_ONCE(*(uint64_t *)(MMIO_GVA + page * 4096ul));
}

static void guest_code(bool shadow_paging)
{
	uint64_t *remap = (uint64_t *)REMAP_GVA;
	int i;

	GUEST_SYNC(STAGE_LOADS);
	/* In turns: a vCPU remembers the last MMIO page of its own. */
	for (i = 0; i < LOADS * PAGES; i++)
		GUEST_ASSERT(load(i % PAGES) == DEVICE);

	GUEST_SYNC(STAGE_FLIPS);
	for (i = 0; i < FLIPS; i++) {
		GUEST_ASSERT(load(0) == (i & 1 ? RAM + i : DEVICE));
		GUEST_ASSERT(load(1) == DEVICE);
		GUEST_SYNC(STAGE_FLIPS);
	}

	if (shadow_paging) {
		asm volatile("mov %0, %%cr0" : :
			     "r" (get_cr0() | X86_CR0_WP_BIT) : "memory");
		for (i = 0; i < FLIPS; i++) {
			/* Read-only RAM, until the host changes the PTE. */
			GUEST_ASSERT(READ_ONCE(*remap) == RAM);
			GUEST_SYNC(STAGE_REMAP);
			WRITE_ONCE(*remap, DEVICE);
			GUEST_SYNC(STAGE_REMAP);
			asm volatile("invlpg (%0)" : : "r" (remap) : "memory");
		}
	}
	GUEST_SYNC(STAGE_DONE);
}

static struct {
	int mmio;
	int writes;
} exits;

/* Return: where the guest is then. */
static int run_guest(void)
{
	struct kvm_run *run = vcpu_state(vm, VCPU_ID);
	uint64_t value = DEVICE;
	struct ucall uc;

	exits.mmio = 0;
	exits.writes = 0;
	for (;;) {
		vcpu_run(vm, VCPU_ID);
		if (run->exit_reason == KVM_EXIT_MMIO) {
			exits.mmio++;
			exits.writes += run->mmio.is_write;
			if (!run->mmio.is_write)
				memcpy(run->mmio.data, &value, run->mmio.len);
			continue;
		}
		TEST_ASSERT(run->exit_reason == KVM_EXIT_IO, "exit %u (%s)",
			    run->exit_reason,
			    exit_reason_str(run->exit_reason));
		switch (get_ucall(vm, VCPU_ID, &uc)) {
		case UCALL_SYNC:
			return uc.args[1];
		case UCALL_ABORT:
			TEST_FAIL("%s at line %ld", (char *)uc.args[0],
				  uc.args[1]);
		default:
			TEST_FAIL("unknown ucall %lu", uc.cmd);
		}
	}
}

static struct {
	int set;
	int recognized;
	int other;
} traced;

/* Only of the pages of MMIO: the vCPU has others, its APIC for one. */
static void count_line(const char *line, void *data)
{
	bool mmio = strstr(line, "gfn c0000 ") || strstr(line, "gfn c0001 ");

	if (strstr(line, "mark_mmio_spte:"))
		traced.set += mmio;
	if (strstr(line, "handle_mmio_page_fault:"))
		traced.recognized += mmio;
	if (strstr(line, "kvm_mmu_set_spte:"))
		traced.other += mmio;
}

static void check_loads(bool caching)
{
	static const char * const events[] = {
		"kvmmmu/mark_mmio_spte",
		"kvmmmu/handle_mmio_page_fault",
		"kvmmmu/kvm_mmu_set_spte",
	};
	int set = caching ? PAGES : 0;
	int recognized = caching ? LOADS * PAGES - PAGES : 0;
	bool ok = trace_clear();
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(events); i++)
		ok = ok && trace_event_enable(events[i], NULL);
	TEST_ASSERT(run_guest() == STAGE_FLIPS, "the guest lost its way");
	for (i = 0; i < ARRAY_SIZE(events); i++)
		trace_event_disable(events[i]);

	ksft_test_result(exits.mmio == LOADS * PAGES, "%d of %d loads exited\n",
			 exits.mmio, LOADS * PAGES);
	if (!ok) {
		ksft_test_result_skip("no tracefs\n");
		return;
	}
	trace_read(count_line, NULL);
	ksft_test_result(traced.set == set && traced.recognized == recognized &&
			 !traced.other,
			 "%d MMIO SPTEs set, not %d; %d recognized, not %d; %d traced as mappings\n",
			 traced.set, set, traced.recognized, recognized,
			 traced.other);
}

static void check_flips(void)
{
	bool ok = true;
	uint64_t *ram;
	int i;

	for (i = 0; i < FLIPS; i++) {
		if (i & 1) {
			vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS,
						    MMIO_GPA, TEST_SLOT, 1, 0);
			ram = addr_gpa2hva(vm, MMIO_GPA);
			*ram = RAM + i;
		}
		TEST_ASSERT(run_guest() == STAGE_FLIPS, "the guest lost its way");
		ok &= exits.mmio == (i & 1 ? 1 : 2);
		if (i & 1)
			vm_mem_region_delete(vm, TEST_SLOT);
	}
	ksft_test_result(ok, "a page is MMIO and RAM in turns\n");
}

/* The guest's PTE that maps @gva. */
static uint64_t *pte_of(vm_vaddr_t gva)
{
	struct kvm_sregs sregs;
	vm_paddr_t table;
	uint64_t *pte;
	int shift;

	vcpu_sregs_get(vm, VCPU_ID, &sregs);
	table = sregs.cr3;
	for (shift = 39; ; shift -= 9) {
		pte = (uint64_t *)addr_gpa2hva(vm, table) +
		      (gva >> shift & 511);
		if (shift == 12)
			return pte;
		table = *pte & GENMASK(51, 12);
	}
}

/*
 * The host changes the PTE: KVM does not notice, and has a page mapped where the
 * guest's next write, which the page does not allow, finds MMIO.
 */
static void check_remap(bool shadow_paging)
{
	uint64_t ram_pte, mmio_pte, *pte = pte_of(REMAP_GVA), *ram;
	bool ok = true;
	int i;

	if (!shadow_paging) {
		TEST_ASSERT(run_guest() == STAGE_DONE, "the guest lost its way");
		ksft_test_result_skip("no shadow paging\n");
		return;
	}

	ram = addr_gpa2hva(vm, REMAP_GPA);
	*ram = RAM;
	ram_pte = *pte & ~PTE_WRITABLE;
	mmio_pte = (*pte & ~GENMASK(51, 12)) | PTE_WRITABLE | MMIO_GPA;
	*pte = ram_pte;
	for (i = 0; i < FLIPS; i++) {
		TEST_ASSERT(run_guest() == STAGE_REMAP, "the guest lost its way");
		ok &= exits.mmio == 0;
		*pte = mmio_pte;
		TEST_ASSERT(run_guest() == STAGE_REMAP, "the guest lost its way");
		ok &= exits.writes == 1;
		*pte = ram_pte;
		/* Deleting a memslot zaps what KVM has made of the PTE. */
		vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, MMIO_GPA,
					    TEST_SLOT, 1, 0);
		vm_mem_region_delete(vm, TEST_SLOT);
	}
	TEST_ASSERT(run_guest() == STAGE_DONE, "the guest lost its way");
	ksft_test_result(ok && *ram == RAM,
			 "a PTE maps RAM and MMIO in turns\n");
}

int main(void)
{
	bool caching = access("/sys/module/kvm/parameters/mmio_caching",
			      F_OK) ? true : module_flag("kvm", "mmio_caching");
	bool shadow_paging = !have_tdp();

	setbuf(stdout, NULL);
	ksft_print_header();
	ksft_set_plan(4);
	ksft_print_msg("MMIO is %scached\n", caching ? "" : "not ");

	vm = vm_create_default(VCPU_ID, 0, guest_code);
	vcpu_args_set(vm, VCPU_ID, 1, shadow_paging);
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, REMAP_GPA,
				    REMAP_SLOT, 1, 0);
	virt_map(vm, MMIO_GVA, MMIO_GPA, PAGES, 0);
	virt_map(vm, REMAP_GVA, REMAP_GPA, 1, 0);

	TEST_ASSERT(run_guest() == STAGE_LOADS, "the guest lost its way");
	check_loads(caching);
	check_flips();
	check_remap(shadow_paging);

	kvm_vm_free(vm);
	ksft_exit(!ksft_get_fail_cnt());
}
