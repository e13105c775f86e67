/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * nested_dirty_test: what its parts share.
 */
#ifndef SELFTEST_KVM_NESTED_DIRTY_H
#define SELFTEST_KVM_NESTED_DIRTY_H

#include <linux/bitops.h>

#include "kvm_util.h"
#include "dirty_tracker.h"

#define NR_VCPUS	2

/*
 * How often the first vCPU runs the script: pages are not mapped yet, and then
 * they are. The second one runs it once after that, on the same tables.
 */
#define PASSES		2

/* The tracked pages, mapped one to one by L1's page tables, which L2 shares. */
#define TEST_SLOT	1
#define TEST_MEM	0xc0000000
#define TEST_PAGES	64

/* Where L1 has the table that it changes, and L2 the page that KVM writes. */
#define TABLE_GVA	0xd0000000
#define INS_GVA		0xe0000000
#define INS_PORT	0x2000

/* With nested paging, page p of the memslot is page p ^ L2_SWAP to L2. */
#define L2_SWAP		32

/*
 * What the pages are for. The rest is written by nobody; these are all below
 * L2_SWAP, so L2 has none of them at the GPA of another.
 */
#define L2_PAGES	GENMASK(14, 0)
#define READ_PAGE	15
#define L1_PAGES	GENMASK(23, 16)
#define PML_PAGE	24	/* of L1, for L2 */
#define L2_TABLE_PAGE	25	/* the page table that maps INS_GVA */
#define INS_PAGE	26	/* what it maps */
#define WINDOW		27	/* to L2, this page or the next */

#define EPTP_AD		BIT_ULL(6)

enum who { BY_L1, BY_L2 };

enum op {
	OP_WRITE,	/* the pages in .pages */
	OP_READ,	/* likewise */
	OP_INS,		/* have KVM write to INS_PAGE */
	OP_REMAP,	/* exchange the page that L2 has at WINDOW */
	OP_SYNC,	/* have the host look */
	OP_DONE,
};

struct step {
	enum who who;
	enum op op;
	uint64_t pages;
};

/* Ends with OP_DONE. */
extern const struct step script[];

/* What the guests share, in a page of its own, which each step writes. */
struct shared {
	uint64_t step;
	uint64_t pass;
	uint64_t number;	/* of the last write */
	uint64_t swap;		/* L2_SWAP, or 0 without nested paging */
	uint64_t entry;		/* where L1 has the entry that maps WINDOW */
	uint64_t keep;		/* bits of it that stay when it is changed */
	bool flush;		/* it was changed */
	uint64_t ad;		/* bits of EPTP, see EPTP_AD */
	uint64_t pml;		/* GPA of L1's PML page, or 0 */
};

extern struct shared shared;

/* L1, with what vcpu_alloc_vmx() or vcpu_alloc_svm() has made. */
void l1_vmx(void *vmx);
void l1_svm(void *svm);

struct variant;

/**
 * struct memory - a memslot, and what is known of its pages
 * @name: for messages
 * @slot: its id
 * @gpa: where it begins
 * @npages: its size
 * @hva: its memory
 * @copy: what it held at the last look
 * @reported: pages that KVM has reported since
 * @may: why a page may be reported and unchanged, or NULL
 * @mapped: how often a page was, because it was mapped
 */
struct memory {
	const char *name;
	uint32_t slot;
	uint64_t gpa;
	uint64_t npages;
	char *hva;
	char *copy;
	unsigned long *reported;
	const char **may;
	uint8_t *mapped;
};

#define MAX_REASONS	8

/**
 * struct reason - why pages were reported and had not changed
 * @why: the reason
 * @pages: how many pages
 */
struct reason {
	const char *why;
	unsigned int pages;
};

/**
 * struct test - a VM under test
 * @variant: what L1 does
 * @vm: the VM
 * @tracking: how its dirty pages are tracked; its @writer is the vCPU that runs
 * @mem: its memory: all the rest, and the tracked pages
 * @pass: how often the script was run to its end
 * @at: the next step of the script
 * @remapped: whether WINDOW is the next page to L2
 * @was_remapped: whether L1 has changed a table
 * @written: pages that were written since the last look
 * @touched: pages that were accessed
 * @by_l2: pages that L2 has written
 * @bad: what was wrong
 * @looks: how often the host has looked
 * @pages: how many pages were reported then
 * @unchanged: those of them that had not changed
 */
struct test {
	const struct variant *variant;
	struct kvm_vm *vm;
	struct dirty_tracking tracking;
	struct memory mem[2];
	unsigned int pass;
	unsigned int at;
	bool remapped;
	bool was_remapped;
	uint64_t written;
	uint64_t touched;
	uint64_t by_l2;
	unsigned int bad;
	unsigned int looks;
	unsigned int pages;
	struct reason unchanged[MAX_REASONS];
};

/**
 * struct variant - how L1 runs L2
 * @name: for messages
 * @paging: with nested paging
 * @ad: bit of EPTP
 * @pml: L1 has the pages that L2 writes logged
 * @l1: L1's code
 * @supported: whether KVM can do that
 * @prepare: allocates what L1 needs, on each vCPU
 */
struct variant {
	const char *name;
	bool paging;
	uint64_t ad;
	bool pml;
	void (*l1)(void *arg);
	bool (*supported)(struct kvm_vm *vm);
	uint64_t (*prepare)(struct test *t, vm_vaddr_t *args);
};

void follow(struct test *t, unsigned int to);
void look(struct test *t);
void check_l1_pml(struct test *t);

#endif /* SELFTEST_KVM_NESTED_DIRTY_H */
