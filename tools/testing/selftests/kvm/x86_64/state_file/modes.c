// SPDX-License-Identifier: GPL-2.0-only
/*
 * state_file_test: the modes of a processor, with odd bits in CR0, CR4 and EFER.
 * The guest is a few bytes that mean the same in all modes.
 */
#include <string.h>

#include <linux/bitops.h>
#include <linux/kernel.h>

#include "state_file.h"

#define CODE_GPA	0x8000ul
#define TABLE_GPA	0x9000ul	/* three pages */

#define PAGE_PRESENT	BIT(0)
#define PAGE_WRITABLE	BIT(1)
#define PAGE_LARGE	BIT(7)
#define PAGE_RW		(PAGE_PRESENT | PAGE_WRITABLE)

static const uint8_t code[] = {
	0xe4, SAVE_PORT,	/* in $SAVE_PORT, %al */
	0xf9,			/* stc */
	0xe4, DONE_PORT,	/* in $DONE_PORT, %al */
};

enum paging { NO_PAGING, PAGING_32, PAGING_PAE, PAGING_LONG };

static void set_code_segment(struct kvm_segment *cs, bool real, bool is_64)
{
	memset(cs, 0, sizeof(*cs));
	cs->selector = real ? CODE_GPA >> 4 : 0x8;
	cs->base = real ? CODE_GPA : 0;
	cs->limit = real ? 0xffff : 0xffffffff;
	cs->type = real ? 3 : 11;
	cs->present = 1;
	cs->s = 1;
	cs->l = is_64;
	cs->db = !real && !is_64;
	cs->g = !real;
}

static void set_data_segment(struct kvm_segment *seg, bool real)
{
	memset(seg, 0, sizeof(*seg));
	seg->selector = real ? 0 : 0x10;
	seg->limit = real ? 0xffff : 0xffffffff;
	seg->type = 3;
	seg->present = 1;
	seg->s = 1;
	seg->db = !real;
	seg->g = !real;
}

/* Map the first 2 MiB at their own addresses. */
static uint64_t make_tables(struct kvm_vm *vm, enum paging paging)
{
	uint64_t *table = addr_gpa2hva(vm, TABLE_GPA);

	memset(table, 0, 3 * 4096);
	switch (paging) {
	case PAGING_32:
		*(uint32_t *)table = PAGE_RW | PAGE_LARGE;
		break;
	case PAGING_PAE:
		table[0] = (TABLE_GPA + 4096) | PAGE_PRESENT;
		table[512] = PAGE_RW | PAGE_LARGE;
		break;
	case PAGING_LONG:
		table[0] = (TABLE_GPA + 4096) | PAGE_RW;
		table[512] = (TABLE_GPA + 2 * 4096) | PAGE_RW;
		table[1024] = PAGE_RW | PAGE_LARGE;
		break;
	case NO_PAGING:
		break;
	}
	return paging == NO_PAGING ? 0 : TABLE_GPA;
}

/* @cr0, @cr4 and @efer: bits beside those that the mode needs; @is_64: CS.L */
static void set_mode(struct kvm_vm *vm, bool real, enum paging paging,
		     bool is_64, uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = { .rflags = 2, .rsp = CODE_GPA };

	memcpy(addr_gpa2hva(vm, CODE_GPA), code, sizeof(code));
	vcpu_sregs_get(vm, VCPU_ID, &sregs);

	sregs.cr0 = X86_CR0_ET | X86_CR0_NE | cr0;
	sregs.cr4 = cr4;
	sregs.efer = efer;
	sregs.cr3 = make_tables(vm, paging);
	if (!real)
		sregs.cr0 |= X86_CR0_PE;
	if (paging != NO_PAGING)
		sregs.cr0 |= X86_CR0_PG;
	if (paging == PAGING_32)
		sregs.cr4 |= X86_CR4_PSE;
	if (paging >= PAGING_PAE)
		sregs.cr4 |= X86_CR4_PAE;
	if (paging == PAGING_LONG)
		sregs.efer |= EFER_LME | EFER_LMA;

	set_code_segment(&sregs.cs, real, is_64);
	set_data_segment(&sregs.ds, real);
	set_data_segment(&sregs.es, real);
	set_data_segment(&sregs.fs, real);
	set_data_segment(&sregs.gs, real);
	set_data_segment(&sregs.ss, real);
	vcpu_sregs_set(vm, VCPU_ID, &sregs);

	regs.rip = real ? 0 : CODE_GPA;
	vcpu_regs_set(vm, VCPU_ID, &regs);
}

static bool cpuid_has(uint32_t function, uint32_t index, int reg, int bit)
{
	struct kvm_cpuid_entry2 *e =
		kvm_get_supported_cpuid_index(function, index);
	const uint32_t regs[] = { e->eax, e->ebx, e->ecx, e->edx };

	return regs[reg] & BIT(bit);
}

static const char *needs_pcid(struct kvm_vm *vm)
{
	return cpuid_has(1, 0, 2, 17) ? NULL : "no PCID";
}

static const char *needs_smep(struct kvm_vm *vm)
{
	return cpuid_has(7, 0, 1, 7) ? NULL : "no SMEP";
}

#define ODD_CR0	(X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_AM)

static void real(struct kvm_vm *vm)
{
	set_mode(vm, true, NO_PAGING, false, 0, 0, 0);
}

static void real_smep(struct kvm_vm *vm)
{
	set_mode(vm, true, NO_PAGING, false, 0, X86_CR4_SMEP, 0);
}

static void real_lme(struct kvm_vm *vm)
{
	set_mode(vm, true, NO_PAGING, false, 0, X86_CR4_PAE,
		 EFER_LME | EFER_NX);
}

static void flat(struct kvm_vm *vm)
{
	set_mode(vm, false, NO_PAGING, false, 0, 0, 0);
}

static void flat_no_cache(struct kvm_vm *vm)
{
	set_mode(vm, false, NO_PAGING, false, X86_CR0_CD, 0, 0);
}

static void flat_nw(struct kvm_vm *vm)
{
	set_mode(vm, false, NO_PAGING, false, X86_CR0_CD | X86_CR0_NW, 0, 0);
}

static void flat_odd(struct kvm_vm *vm)
{
	set_mode(vm, false, NO_PAGING, false, ODD_CR0,
		 X86_CR4_TSD | X86_CR4_DE | X86_CR4_PGE | X86_CR4_PCE,
		 EFER_SCE);
}

static void paged(struct kvm_vm *vm)
{
	set_mode(vm, false, PAGING_32, false, 0, 0, 0);
}

static void paged_wp(struct kvm_vm *vm)
{
	set_mode(vm, false, PAGING_32, false, X86_CR0_WP, X86_CR4_SMEP,
		 EFER_NX);
}

static void pae(struct kvm_vm *vm)
{
	set_mode(vm, false, PAGING_PAE, false, 0, 0, 0);
}

static void pae_nx(struct kvm_vm *vm)
{
	set_mode(vm, false, PAGING_PAE, false, X86_CR0_WP, X86_CR4_PGE,
		 EFER_NX);
}

static void compat(struct kvm_vm *vm)
{
	set_mode(vm, false, PAGING_LONG, false, 0, 0, 0);
}

static void long_odd(struct kvm_vm *vm)
{
	set_mode(vm, false, PAGING_LONG, true,
		 ODD_CR0 | X86_CR0_WP | X86_CR0_CD, X86_CR4_PGE,
		 EFER_SCE | EFER_NX);
}

static void long_pcid(struct kvm_vm *vm)
{
	set_mode(vm, false, PAGING_LONG, true, 0, X86_CR4_PCIDE, 0);
}

const struct state mode_states[] = {
	{ "real mode", .prepare = real },
	{ "real mode, SMEP", needs_smep, .prepare = real_smep },
	{ "real mode, LME", .prepare = real_lme },
	{ "no paging", .prepare = flat },
	{ "no paging, CD", .prepare = flat_no_cache },
	{ "no paging, CD and NW", .prepare = flat_nw },
	{ "no paging, odd bits", .prepare = flat_odd },
	{ "32-bit paging", .prepare = paged },
	{ "32-bit paging, WP and SMEP", needs_smep, .prepare = paged_wp },
	{ "PAE paging", .prepare = pae },
	{ "PAE paging, NX", .prepare = pae_nx },
	{ "compatibility mode", .prepare = compat },
	{ "long mode, odd bits", .prepare = long_odd },
	{ "long mode, PCID", needs_pcid, .prepare = long_pcid },
	{ }
};
