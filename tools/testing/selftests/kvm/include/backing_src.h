/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the memory of a guest is made of: pages of which kind and size.
 */
#ifndef SELFTEST_KVM_BACKING_SRC_H
#define SELFTEST_KVM_BACKING_SRC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each is a row of the table in lib/backing_src.c. */
enum vm_mem_backing_src_type {
	VM_MEM_SRC_ANONYMOUS,
	VM_MEM_SRC_ANONYMOUS_THP,
	VM_MEM_SRC_ANONYMOUS_HUGETLB,
	VM_MEM_SRC_ANONYMOUS_HUGETLB_16KB,
	VM_MEM_SRC_ANONYMOUS_HUGETLB_64KB,
	VM_MEM_SRC_ANONYMOUS_HUGETLB_512KB,
	VM_MEM_SRC_ANONYMOUS_HUGETLB_1MB,
	VM_MEM_SRC_ANONYMOUS_HUGETLB_2MB,
	VM_MEM_SRC_ANONYMOUS_HUGETLB_8MB,
	VM_MEM_SRC_ANONYMOUS_HUGETLB_16MB,
	VM_MEM_SRC_ANONYMOUS_HUGETLB_32MB,
	VM_MEM_SRC_ANONYMOUS_HUGETLB_256MB,
	VM_MEM_SRC_ANONYMOUS_HUGETLB_512MB,
	VM_MEM_SRC_ANONYMOUS_HUGETLB_1GB,
	VM_MEM_SRC_ANONYMOUS_HUGETLB_2GB,
	VM_MEM_SRC_ANONYMOUS_HUGETLB_16GB,
	NUM_SRC_TYPES,
};

size_t hugetlb_default_size(void);

const char *backing_src_name(enum vm_mem_backing_src_type type);
int backing_src_by_name(const char *name, enum vm_mem_backing_src_type *type);
void backing_src_help(void);

bool backing_src_is_hugetlb(enum vm_mem_backing_src_type type);
int backing_src_mmap_flags(enum vm_mem_backing_src_type type);
size_t backing_src_granule(enum vm_mem_backing_src_type type);

#endif /* SELFTEST_KVM_BACKING_SRC_H */
