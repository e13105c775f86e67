/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What svm_npt_fault_test and vmx_ept_violation_test share: L2 accesses a page,
 * while L1 changes the nested entry for that page or for L2's page table.
 */
#ifndef SELFTEST_KVM_NESTED_PAGE_FAULT_H
#define SELFTEST_KVM_NESTED_PAGE_FAULT_H

#include <string.h>
#include <linux/bits.h>
#include <linux/compiler.h>

#include "kvm_util.h"

/* What L2 accesses, and where L1 has the nested entries for it. */
#define TARGET_GVA	0xc0123000ul
#define ENTRY_GVA	0xd0000000ul	/* the table that maps the page */
#define TABLE_ENTRY_GVA	0xe0000000ul	/* that which maps L2's page table */
#define INS_PORT	0x2000

#define PTE_ADDRESS	GENMASK_ULL(51, 12)

/* INS is an access that KVM makes for L2; a walk is one of L2's page table. */
enum access { READ, WRITE, FETCH, INS, WALK, INS_WALK, NR_ACCESSES };

static const char * const access_names[NR_ACCESSES] = {
	"read", "write", "fetch", "INS", "walk", "walk for INS",
};

/* Set by the host, but for the last, which L1 sets for L2. */
static uint64_t *entries[2];
static uint64_t table_gpa;
static enum access l2_access;

static inline bool is_walk(enum access access)
{
	return access == WALK || access == INS_WALK;
}

static inline void access_target(void)
{
	uint8_t *target = (uint8_t *)TARGET_GVA;
	uint8_t *to = target + 1;

	switch (l2_access) {
	case WRITE:
		WRITE_ONCE(target[1], 0);
		break;
	case FETCH:
		((void (*)(void))target)();
		break;
	case INS:
	case INS_WALK:
		asm volatile("insb" : "+D"(to) : "d"(INS_PORT) : "memory");
		break;
	default:
		READ_ONCE(target[0]);
	}
}

/* The GPA of the last table on the way to @address, below that at @root. */
static inline uint64_t table_for(struct kvm_vm *vm, uint64_t root,
				 uint64_t address)
{
	uint64_t *table;
	int shift;

	for (shift = 39; shift > 12; shift -= 9) {
		table = addr_gpa2hva(vm, root);
		root = table[(address >> shift) % 512] & PTE_ADDRESS;
	}
	return root;
}

/* Let L1 have the entry for @address, of the nested tables at @root, at @gva. */
static inline uint64_t *map_entry(struct kvm_vm *vm, uint64_t root,
				  uint64_t gva, uint64_t address)
{
	virt_map(vm, gva, table_for(vm, root, address), 1, 0);
	return (uint64_t *)(gva + address / 4096 % 512 * 8);
}

/* L1 has nothing at the target. Return: a page of RET instructions for L2. */
static inline uint64_t make_target(struct kvm_vm *vm)
{
	uint64_t page = vm_phy_page_alloc(vm, 0x10000, 0);

	memset(addr_gpa2hva(vm, page), 0xc3, 4096);
	virt_map(vm, TARGET_GVA, TARGET_GVA, 1, 0);
	return page;
}

/* L1's nested tables are at @root, and map the target. */
static inline void map_entries(struct kvm_vm *vm, uint64_t root, uint64_t cr3)
{
	table_gpa = table_for(vm, cr3, TARGET_GVA);
	entries[0] = map_entry(vm, root, ENTRY_GVA, TARGET_GVA);
	entries[1] = map_entry(vm, root, TABLE_ENTRY_GVA, table_gpa);
	sync_global_to_guest(vm, entries);
}

/* Run L1 until it is done. INS reads whatever is there. */
static inline void run_accesses(struct kvm_vm *vm)
{
	struct kvm_run *run = vcpu_state(vm, 0);
	struct ucall uc;

	do {
		vcpu_run(vm, 0);
		TEST_ASSERT(run->exit_reason == KVM_EXIT_IO, "exit %u (%s)",
			    run->exit_reason, exit_reason_str(run->exit_reason));
	} while (run->io.port == INS_PORT);

	if (get_ucall(vm, 0, &uc) == UCALL_ABORT)
		TEST_FAIL("%s at line %lu", (char *)uc.args[0], uc.args[1]);
	TEST_ASSERT(uc.cmd == UCALL_DONE, "unknown ucall %lu", uc.cmd);
}

#endif /* SELFTEST_KVM_NESTED_PAGE_FAULT_H */
