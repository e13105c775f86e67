// SPDX-License-Identifier: GPL-2.0-only
/*
 * x86 vCPUs in 64-bit mode, for guests of a few instructions without firmware.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "internal.h"

#define MAX_CPUID	128

#define TABLE_SIZE	4096ul
#define LARGE_PAGE	(2ul << 20)
#define ADDR_BITS	47	/* of the lower half */

#define PTE_PRESENT	0x01ul
#define PTE_WRITABLE	0x02ul
#define PTE_LARGE	0x80ul
#define PTE_ADDR	0x000ffffffffff000ul

/* Return: the gpa of a free table; 0 if there is none. */
static uint64_t new_table(struct page_tables *tables)
{
	uint64_t gpa = tables->gpa + tables->used;

	if (tables->used + TABLE_SIZE > tables->size ||
	    !vm_hva(tables->vm, gpa, TABLE_SIZE))
		return 0;
	tables->used += TABLE_SIZE;
	return gpa;
}

/* Return: the gpa of the table that @entry points to, made if need be; or 0. */
static uint64_t next_table(struct page_tables *tables, uint64_t *entry)
{
	uint64_t gpa;

	if (*entry & PTE_PRESENT)
		return *entry & PTE_ADDR;
	gpa = new_table(tables);
	if (gpa)
		*entry = gpa | PTE_PRESENT | PTE_WRITABLE;
	return gpa;
}

/* Return: the entry for a page of 2 MiB; NULL if the tables are full. */
static uint64_t *find_entry(struct page_tables *tables, uint64_t gpa)
{
	uint64_t table = tables->gpa;
	uint64_t *entry;
	int shift;

	if (!tables->used && !new_table(tables))
		return NULL;
	for (shift = 39; table; shift -= 9) {
		entry = vm_hva(tables->vm, table, TABLE_SIZE);
		entry += gpa >> shift & 511;
		if (shift == 21)
			return entry;
		table = next_table(tables, entry);
	}
	return NULL;
}

int page_tables_map(struct page_tables *tables, uint64_t gpa, uint64_t size)
{
	uint64_t end = gpa + size;
	uint64_t *entry;

	if ((gpa | size) % LARGE_PAGE || end < gpa || end >> ADDR_BITS)
		return error_text(tables->vm->error, -EINVAL,
				  "page tables of %#llx bytes from %#llx",
				  (unsigned long long)size,
				  (unsigned long long)gpa);

	for (; gpa < end; gpa += LARGE_PAGE) {
		entry = find_entry(tables, gpa);
		if (!entry)
			return error_text(tables->vm->error, -ENOSPC,
					  "page tables in %#llx bytes",
					  (unsigned long long)tables->size);
		*entry = gpa | PTE_PRESENT | PTE_WRITABLE | PTE_LARGE;
	}
	return 0;
}

/* All that KVM supports, the width of guest physical addresses included. */
static int set_cpuid(struct vcpu *vcpu)
{
	struct kvm_cpuid2 *cpuid;
	int ret;

	cpuid = calloc(1, sizeof(*cpuid) +
			  MAX_CPUID * sizeof(cpuid->entries[0]));
	if (!cpuid)
		return vcpu_error(vcpu, -ENOMEM, "CPUID of vCPU %u", vcpu->id);
	cpuid->nent = MAX_CPUID;
	if (ioctl(vcpu->vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) < 0)
		ret = vcpu_error(vcpu, -errno, "KVM_GET_SUPPORTED_CPUID");
	else
		ret = VCPU_IOCTL(vcpu, KVM_SET_CPUID2, cpuid);
	free(cpuid);
	return ret;
}

int vcpu_set_long_mode(struct vcpu *vcpu, uint64_t cr3)
{
	struct kvm_segment code = {
		.limit = ~0u, .selector = 8, .type = 11, .present = 1,
		.s = 1, .l = 1, .g = 1,
	};
	struct kvm_segment data = {
		.limit = ~0u, .selector = 16, .type = 3, .present = 1,
		.s = 1, .db = 1, .g = 1,
	};
	struct kvm_segment task = {
		.limit = 0x67, .selector = 24, .type = 11, .present = 1,
	};
	struct kvm_sregs sregs;
	int ret = set_cpuid(vcpu);

	if (ret < 0)
		return ret;
	ret = VCPU_IOCTL(vcpu, KVM_GET_SREGS, &sregs);
	if (ret < 0)
		return ret;
	sregs.cs = code;
	sregs.ds = data;
	sregs.es = data;
	sregs.fs = data;
	sregs.gs = data;
	sregs.ss = data;
	sregs.tr = task;
	sregs.cr0 = 0x80010033;	/* PG, WP, NE, ET, MP, PE */
	sregs.cr3 = cr3;
	sregs.cr4 = 0x20;	/* PAE */
	sregs.efer = 0x500;	/* LMA, LME */
	return VCPU_IOCTL(vcpu, KVM_SET_SREGS, &sregs);
}
