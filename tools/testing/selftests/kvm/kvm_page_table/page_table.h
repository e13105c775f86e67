/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kvm_page_table_test: what its parts share.
 */
#ifndef SELFTEST_KVM_PAGE_TABLE_H
#define SELFTEST_KVM_PAGE_TABLE_H

#include "test_util.h"
#include "kvm_util.h"
#include "dirty_tracker.h"

#define TEST_SLOT		1

/* Where the guest sees the memory; does not conflict with its code. */
#define GUEST_TEST_MEM		0xc0000000ul

#define SIZE_2M			(1ul << 21)
#define SIZE_1G			(1ul << 30)

#define MAX_VCPUS		16

#define KVM_DEBUGFS		"/sys/kernel/debug/kvm"

/* What the command line says. */
extern enum vm_mem_backing_src_type src;
extern uint64_t mem_size;
extern unsigned int nr_vcpus;

/* The VM, its memory, and what tracks its dirty pages. */
extern struct kvm_vm *vm;
extern uint64_t page_size;
extern uint64_t nr_pages;
extern void *mem;
extern struct dirty_tracking tracking;

/**
 * struct state - what must be true
 * @blocks: how many blocks map the memory if all that can be are there
 * @block_pages: pages in a block
 * @expected: for each page, what the guest wrote last
 * @written: the pages that the current stage writes
 * @reported: the pages reported since the last stage
 * @next_value: not used yet as a value of the guest
 * @host_value: the current one of the host
 * @nr_reported: pages reported in all stages
 */
struct state {
	uint64_t blocks;
	uint64_t block_pages;
	uint64_t *expected;
	unsigned long *written;
	unsigned long *reported;
	uint64_t next_value;
	uint64_t host_value;
	uint64_t nr_reported;
};

extern struct state state;

/* vCPUs run this; the argument is their number. */
void guest_code(uint64_t vcpu_id);

void setup_stages(void);
void run_stages(void);
void cleanup_stages(void);
void report_page(uint32_t slot, uint64_t offset, void *data);

bool have_memory(void);
size_t count_thps(void);
uint64_t block_size(bool large_guest_pages, uint64_t gpa);
void use_large_guest_pages(uint64_t gpa);

#endif /* SELFTEST_KVM_PAGE_TABLE_H */
