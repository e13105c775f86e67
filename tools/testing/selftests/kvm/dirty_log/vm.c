// SPDX-License-Identifier: GPL-2.0
/*
 * dirty_log_test: the machine under test.
 */
#include <linux/kernel.h>

#include "dirty_log.h"

/*
 * Two logged slots. The first has small pages: more than 2^16 of them, no
 * multiple of 64, from a GFN on that is no multiple of 64 either. The second
 * is backed by huge pages where the host has them.
 */
#define SMALL_SLOT		1
#define SMALL_SLOT_PAGES	((1ul << 16) + 67)
#define SMALL_SLOT_SHIFT	13
#define HUGE_SLOT		2
#define HUGE_SLOT_PAGES		(2 * 512 + 67ul)
#define HUGE_PAGE_SIZE		(1ul << 21)

/* Where the guest sees the slots, and the scripts of its vCPUs. */
#define GUEST_TEST_MEM		0xc0000000ul
#define GUEST_SCRIPTS		0x80000000ul

static bool have_huge_pages(void)
{
	return !access("/sys/kernel/mm/transparent_hugepage", F_OK);
}

static void add_memory(void)
{
	uint64_t unit = vm_get_page_size(vm) > getpagesize() ?
			1 : getpagesize() / vm_get_page_size(vm);
	uint64_t page_size = vm_get_page_size(vm);
	uint64_t small_size = SMALL_SLOT_PAGES * unit * page_size;
	uint64_t huge_size = HUGE_SLOT_PAGES * unit * page_size;
	uint64_t small, huge;

	/*
	 * The top of the guest's address space, if nothing else is asked for.
	 */
	small = phys_offset;
	if (!small)
		small = (((uint64_t)vm_get_max_gfn(vm) * page_size - small_size -
			 huge_size - HUGE_PAGE_SIZE) & ~(HUGE_PAGE_SIZE - 1)) +
			SMALL_SLOT_SHIFT * unit * page_size;
	huge = (small + small_size + HUGE_PAGE_SIZE - 1) &
	       ~(HUGE_PAGE_SIZE - 1);
	pr_info("# guest physical test memory offset: 0x%lx\n", small);

	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, small, SMALL_SLOT,
				    SMALL_SLOT_PAGES * unit, 0);
	vm_userspace_mem_region_add(vm, have_huge_pages() ?
				    VM_MEM_SRC_ANONYMOUS_THP :
				    VM_MEM_SRC_ANONYMOUS, huge, HUGE_SLOT,
				    HUGE_SLOT_PAGES * unit, 0);

	oracle_add_slot(&oracle, SMALL_SLOT, SMALL_SLOT_PAGES,
			addr_gpa2hva(vm, small), GUEST_TEST_MEM);
	oracle_add_slot(&oracle, HUGE_SLOT, HUGE_SLOT_PAGES,
			addr_gpa2hva(vm, huge), GUEST_TEST_MEM + huge - small);
}

static void add_pages(uint32_t slot, uint64_t first, uint64_t count,
		      uint64_t step)
{
	for (; count--; first += step)
		oracle_add_page(&oracle, slot, first);
}

static void add_random_pages(uint32_t slot, uint64_t first, uint64_t range,
			     uint32_t count)
{
	while (count--)
		oracle_add_page(&oracle, slot, first + random() % range);
}

/* The pages to write: dense, far apart, and at the ends of things. */
static void choose_pages(void)
{
	uint32_t i;

	add_pages(0, 0, 1536, 1);
	add_pages(0, 4096, 256, 64);
	for (i = 0; i < 8; i++)
		add_random_pages(0, 24576 + i * 4096, 512, 24);
	add_pages(0, (1 << 16) - 16, 32, 1);
	add_pages(0, SMALL_SLOT_PAGES - 32, 32, 1);

	add_pages(1, 0, 192, 1);
	add_random_pages(1, 192, HUGE_SLOT_PAGES - 192, 100);
	add_pages(1, HUGE_SLOT_PAGES - 67, 67, 1);
}

static void map_pages(void)
{
	uint32_t i, unit = oracle.page_size / vm_get_page_size(vm);
	struct oracle_page *page;

	for (i = 0; i < oracle.nr_pages; i++) {
		page = &oracle.pages[i];
		virt_map(vm, page->gva, addr_hva2gpa(vm, page->word),
			 unit, 0);
		vcpus[page->vcpu].own[vcpus[page->vcpu].nr_own++] = i;
	}
}

static void add_script(struct vcpu *v)
{
	uint64_t gva = GUEST_SCRIPTS + v->id * HUGE_PAGE_SIZE;
	uint64_t pages = vm_calc_num_guest_pages(VM_MODE_DEFAULT,
						 sizeof(*v->script));
	vm_paddr_t gpa = vm_phy_pages_alloc(vm, pages, 0, 0);

	virt_map(vm, gva, gpa, pages, 0);
	v->script = addr_gpa2hva(vm, gpa);
	vcpu_args_set(vm, v->id, 1, gva);
}

static void add_vcpu(struct vcpu *v)
{
	memset(v, 0, sizeof(*v));
	v->id = v - vcpus;
	vcpu_add_with_ring(vm, v->id, guest_code, &v->ring, ring_entries);
	v->run = vcpu_state(vm, v->id);
	v->own = calloc(MAX_STEPS / 2, sizeof(*v->own));
	TEST_ASSERT(v->own, "Insufficient Memory");
	add_script(v);
}

static void choose_ring(void)
{
	ring_entries = min(wanted_entries, mode->max_entries);
	if (mode->max_entries)
		ring_entries = max(ring_entries, dirty_ring_min_entries());
}

/**
 * create_vm() - make a VM for the mode, with nothing logged yet
 * @guest_mode: its page tables
 */
void create_vm(enum vm_guest_mode guest_mode)
{
	struct vcpu *v;

	choose_ring();
	vm = vm_create_with_rings(guest_mode, 3 * DEFAULT_GUEST_PHY_PAGES,
				  ring_entries);
	if (mode->create_vm_done)
		mode->create_vm_done(vm);
	oracle_init(&oracle, nr_vcpus, vm_get_page_size(vm));
	for_each_vcpu(v)
		add_vcpu(v);
	ucall_init(vm, NULL);
	add_memory();
	choose_pages();
	map_pages();
}

/**
 * free_vm() - undo create_vm()
 */
void free_vm(void)
{
	struct vcpu *v;

	for_each_vcpu(v) {
		if (ring_entries)
			dirty_ring_unmap(&v->ring);
		free(v->own);
	}
	free_bitmaps();
	oracle_free(&oracle);
	ucall_uninit(vm);
	kvm_vm_free(vm);
}
