// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest edits its own page tables, and its dirty ring still reports exactly
 * the pages that it writes. With shadow paging (ept=0, npt=0) KVM lets a page
 * table go out of sync and looks at all of its entries again at the next MOV
 * to CR3, at a single one at INVLPG: neither may report or lose a page, or
 * fill the ring. With two-dimensional paging KVM sees nothing of all this.
 */
#include <stdio.h>
#include <string.h>

#include <linux/bitops.h>
#include <linux/compiler.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "dirty_ring.h"
#include "kselftest.h"

#define VCPU_ID		0
#define TEST_SLOT	1
#define TEST_MEM	0x40000000ul

/* The pages, and where the guest finds the page tables that map them. */
#define TABLES		4
#define TABLE_ENTRIES	512
#define TEST_PAGES	(TABLES * TABLE_ENTRIES)
#define TABLES_GVA	0x80000000ul

/* Bits of a guest PTE. */
#define PTE_WRITABLE	BIT(1)
#define PTE_SOFTWARE	BIT(9)

#define INVLPG_STRIDE	16

/**
 * struct step - what the guest does, in this order, before the host looks
 * @name: what is special about it
 * @write_first: write each page whose number is a multiple of it; 0: none
 * @toggle: bits to toggle in all PTEs; 0: leave the page tables alone
 * @cr3: reload CR3
 * @invlpg: INVLPG for some pages of each table
 * @read: read all pages
 * @write: as @write_first
 */
static const struct step {
	const char *name;
	unsigned int write_first;
	uint64_t toggle;
	bool cr3;
	bool invlpg;
	bool read;
	unsigned int write;
} steps[] = {
	{ "all pages written", .write = 1 },
	{ "PTEs edited, not synced", .toggle = PTE_SOFTWARE, .read = true },
	{ "PTEs synced", .cr3 = true, .read = true },
	{ "a few written after it", .write = 37 },
	{ "PTEs edited and synced, a few written",
	  .toggle = PTE_SOFTWARE, .cr3 = true, .read = true, .write = 41 },
	{ "all pages written again", .write = 1 },
	{ "PTEs edited, INVLPG, a few written",
	  .toggle = PTE_SOFTWARE, .invlpg = true, .read = true, .write = 24 },
	{ "PTEs synced after INVLPG", .cr3 = true, .read = true, .write = 43 },
	{ "a few written, PTEs edited and synced, written again",
	  .write_first = 32, .toggle = PTE_SOFTWARE, .cr3 = true, .write = 32 },
	{ "PTEs made read-only", .write_first = 29, .toggle = PTE_WRITABLE,
	  .cr3 = true, .read = true },
	{ "PTEs made writable, a few written",
	  .toggle = PTE_WRITABLE, .cr3 = true, .read = true, .write = 31 },
	{ "all pages written at last", .write = 1 },
};

static uint64_t *page_at(unsigned int page)
{
	return (uint64_t *)(TEST_MEM + page * 4096ul);
}

/*
 * The guest.
 */

static void write_pages(unsigned int stride, uint64_t value)
{
	unsigned int page;

	for (page = 0; stride && page < TEST_PAGES; page += stride)
		WRITE_ONCE(*page_at(page), value);
}

static void read_pages(void)
{
	unsigned int page;

	for (page = 0; page < TEST_PAGES; page++)
		READ_ONCE(*page_at(page));
}

static void toggle_ptes(uint64_t bits)
{
	uint64_t *ptes = (uint64_t *)TABLES_GVA;
	unsigned int i;

	for (i = 0; i < TEST_PAGES; i++)
		WRITE_ONCE(ptes[i], READ_ONCE(ptes[i]) ^ bits);
}

static void reload_cr3(void)
{
	asm volatile("mov %0, %%cr3" : : "r" (get_cr3()) : "memory");
}

static void invlpg_pages(void)
{
	unsigned int page;

	for (page = 0; page < TEST_PAGES; page += INVLPG_STRIDE)
		asm volatile("invlpg (%0)" : : "r" (page_at(page)) : "memory");
}

static void guest_code(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		const struct step *step = &steps[i];

		write_pages(step->write_first, i + 1);
		if (step->toggle)
			toggle_ptes(step->toggle);
		if (step->cr3)
			reload_cr3();
		if (step->invlpg)
			invlpg_pages();
		if (step->read)
			read_pages();
		write_pages(step->write, i + 1);
		GUEST_SYNC(i);
	}
	GUEST_DONE();
}

/*
 * The host.
 */

static struct kvm_vm *vm;
static struct dirty_ring ring;

/* For each page, the last step that has written it, counted from 1. */
static uint64_t content[TEST_PAGES];

/* What was reported in this step. */
static unsigned long reported[BITS_TO_LONGS(TEST_PAGES)];

/* All that is wrong with a step. */
static struct {
	unsigned int unwritten;
	unsigned int lost;
	unsigned int twice;
	unsigned int stale;
	unsigned int ring_full;
} wrong;

/*
 * There is more room above the soft limit than an exit needs. If all of it is
 * used, pages may have been dropped.
 */
static void collect(void)
{
	unsigned long bits[BITS_TO_LONGS(TEST_PAGES)] = {};
	struct reported_pages pages = {
		.slot = TEST_SLOT, .npages = TEST_PAGES, .bits = bits,
	};
	uint32_t collected = dirty_ring_collect(&ring, vm, UINT32_MAX,
						add_reported_page, &pages);
	unsigned int i;

	wrong.ring_full += collected >= ring.entries;
	wrong.twice += pages.again;
	for (i = 0; i < ARRAY_SIZE(bits); i++)
		reported[i] |= bits[i];
}

static bool is_written(const struct step *step, unsigned int page)
{
	return (step->write_first && page % step->write_first == 0) ||
	       (step->write && page % step->write == 0);
}

static void check_pages(unsigned int nr)
{
	unsigned int page;

	for (page = 0; page < TEST_PAGES; page++) {
		bool written = is_written(&steps[nr], page);
		bool seen = test_bit(page, reported);

		if (written)
			content[page] = nr + 1;
		wrong.lost += written && !seen;
		wrong.unwritten += !written && seen;
		wrong.stale += content[page] !=
			*(uint64_t *)addr_gva2hva(vm, (vm_vaddr_t)page_at(page));
	}
}

static void end_step(unsigned int nr)
{
	bool good;

	check_pages(nr);
	good = !wrong.unwritten && !wrong.lost && !wrong.twice &&
	       !wrong.stale && !wrong.ring_full;
	if (!good)
		ksft_print_msg("%u lost, %u not written, %u twice, %u stale, ring full %u times\n",
			       wrong.lost, wrong.unwritten, wrong.twice,
			       wrong.stale, wrong.ring_full);
	ksft_test_result(good, "%s\n", steps[nr].name);

	memset(&wrong, 0, sizeof(wrong));
	memset(reported, 0, sizeof(reported));
}

/* The guest-physical address of the page table that maps @gva. */
static vm_paddr_t page_table_of(vm_vaddr_t gva)
{
	struct kvm_sregs sregs;
	vm_paddr_t table;
	int shift;

	vcpu_sregs_get(vm, VCPU_ID, &sregs);
	table = sregs.cr3;
	for (shift = 39; shift > 12; shift -= 9) {
		uint64_t *entries = addr_gpa2hva(vm, table);

		table = entries[gva >> shift & (TABLE_ENTRIES - 1)] &
			GENMASK(51, 12);
	}
	return table;
}

static void create_vm(void)
{
	uint32_t entries = dirty_ring_min_entries();
	unsigned int i;

	vm = vm_create_with_rings(VM_MODE_DEFAULT, DEFAULT_GUEST_PHY_PAGES,
				  entries);
	vcpu_add_with_ring(vm, VCPU_ID, guest_code, &ring, entries);
	vm_add_logged_slot(vm, TEST_SLOT, TEST_MEM, TEST_PAGES);
	for (i = 0; i < TABLES; i++)
		virt_map(vm, TABLES_GVA + i * 4096,
			 page_table_of((vm_vaddr_t)page_at(i * TABLE_ENTRIES)),
			 1, 0);
}

static void run_steps(void)
{
	struct kvm_run *run = vcpu_state(vm, VCPU_ID);
	unsigned int nr = 0;
	struct ucall uc;

	for (;;) {
		vcpu_run(vm, VCPU_ID);
		collect();
		if (run->exit_reason == KVM_EXIT_DIRTY_RING_FULL)
			continue;
		TEST_ASSERT(run->exit_reason == KVM_EXIT_IO, "exit %u (%s)",
			    run->exit_reason,
			    exit_reason_str(run->exit_reason));

		switch (get_ucall(vm, VCPU_ID, &uc)) {
		case UCALL_SYNC:
			end_step(nr++);
			break;
		case UCALL_DONE:
			return;
		default:
			TEST_FAIL("unknown ucall %lu", uc.cmd);
		}
	}
}

int main(void)
{
	setbuf(stdout, NULL);
	ksft_print_header();
	if (!dirty_ring_max_entries())
		ksft_exit_skip("this kernel has no dirty rings\n");
	ksft_set_plan(ARRAY_SIZE(steps));

	create_vm();
	run_steps();
	dirty_ring_unmap(&ring);
	kvm_vm_free(vm);

	ksft_exit(!ksft_get_fail_cnt());
}
