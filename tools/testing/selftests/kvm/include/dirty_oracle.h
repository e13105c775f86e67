/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An oracle for dirty page tracking: it knows which pages the guest has written
 * between any two points, and judges what KVM reports against it.
 *
 * How it can know: the guest's writes are scripted. vCPU w takes the steps of
 * a list one by one; step n either writes the number n to the first word of a
 * page, or reads a page. After it, the guest publishes n. A page belongs to
 * one vCPU, so the numbers in it only ever grow, and page and number name the
 * write.
 *
 * A vCPU that stopped anywhere has then done exactly n or n + 1 steps, and the
 * page of step n + 1 tells which. That step may also be half done: its page has
 * been reported but does not hold its number yet. This is the one page that may
 * be reported without a new value.
 *
 * What is checked:
 *  - memory: a page holds the number of its last write, at each stop;
 *  - nothing is made up: a reported page lies in a tracked slot, belongs to the
 *    vCPU in whose ring it was found, and was written since the last time that
 *    it was write-protected, which is when its previous report was dealt with;
 *  - nothing is missed: a page that was not reported still holds what it held
 *    right after it was last write-protected, at each stop.
 */
#ifndef SELFTEST_KVM_DIRTY_ORACLE_H
#define SELFTEST_KVM_DIRTY_ORACLE_H

#include "test_util.h"

#define ORACLE_MAX_SLOTS	4
#define ORACLE_MAX_VCPUS	8

/* In a step: read the page, do not write it. */
#define ORACLE_READ		(1u << 31)

/* For reports that do not tell which vCPU wrote. */
#define ORACLE_ANY_VCPU		(~0u)

/**
 * struct oracle_page - a page that the guest writes
 * @slot: index of its slot in struct oracle
 * @offset: from the slot's base, in pages
 * @vcpu: the only vCPU that writes it
 * @word: where the guest's numbers appear
 * @gva: the same, as the guest sees it
 * @last: number of the last write that is known to have happened
 * @floor: what it held before it was last write-protected
 * @copy: what it held after it was last write-protected
 * @before: what it holds now, in case it is write-protected next
 * @pending: it was reported, and was not write-protected since
 * @touched: it was written since logging is on, so it is mapped for sure
 */
struct oracle_page {
	uint32_t slot;
	uint64_t offset;
	uint32_t vcpu;
	uint64_t *word;
	uint64_t gva;
	uint64_t last;
	uint64_t floor;
	uint64_t copy;
	uint64_t before;
	bool pending;
	bool touched;
};

/**
 * struct oracle_slot - a memslot with dirty logging
 * @id: the slot's number, address space included
 * @npages: its size
 * @hva: its memory
 * @gva: the same, as the guest sees it
 * @index: for each of its pages, its index in oracle::pages, or -1
 */
struct oracle_slot {
	uint32_t id;
	uint64_t npages;
	void *hva;
	uint64_t gva;
	int32_t *index;
};

/**
 * struct oracle_vcpu - a vCPU's script
 * @steps: indices into oracle::pages, ORACLE_READ may be set
 * @count: number of steps; they are taken again and again
 * @start: the step number at which the script began
 * @done: the last step that is known to have been taken
 * @finished: the vCPU is past the end of the script
 */
struct oracle_vcpu {
	const uint32_t *steps;
	uint32_t count;
	uint64_t start;
	uint64_t done;
	bool finished;
};

/**
 * struct oracle - all there is to know
 * @page_size: size of a page, as the guest writes them
 * @granule: size of a page, as KVM reports them
 * @slots: the tracked slots
 * @nr_slots: how many there are
 * @pages: the pages that the guest writes
 * @nr_pages: how many there are
 * @vcpus: the vCPUs' scripts
 * @nr_vcpus: how many there are
 * @pending: pages reported and not write-protected since
 * @nr_pending: how many there are
 * @reports: pages reported and not judged yet
 * @nr_reports: how many there are
 * @max_reports: how many there is room for
 * @total: all reports judged
 * @early: those of pages whose write had not retired
 * @again: those of pages that were reported, and not write-protected, before
 */
struct oracle {
	uint64_t page_size;
	uint64_t granule;
	struct oracle_slot slots[ORACLE_MAX_SLOTS];
	uint32_t nr_slots;
	struct oracle_page *pages;
	uint32_t nr_pages;
	struct oracle_vcpu vcpus[ORACLE_MAX_VCPUS];
	uint32_t nr_vcpus;
	struct oracle_page **pending;
	uint32_t nr_pending;
	struct oracle_page **reports;
	uint32_t nr_reports;
	uint32_t max_reports;
	uint64_t total;
	uint64_t early;
	uint64_t again;
};

/* What is tracked. */
void oracle_init(struct oracle *o, uint32_t nr_vcpus, uint64_t page_size);
void oracle_free(struct oracle *o);
void oracle_add_slot(struct oracle *o, uint32_t id, uint64_t npages, void *hva,
		     uint64_t gva);
void oracle_add_page(struct oracle *o, uint32_t slot, uint64_t offset);
void oracle_log_on(struct oracle *o);

/* What the guest does. */
void oracle_script(struct oracle *o, uint32_t vcpu, const uint32_t *steps,
		   uint32_t count);
void oracle_running(struct oracle *o, uint32_t vcpu, uint64_t progress);
void oracle_stopped(struct oracle *o, uint32_t vcpu, uint64_t progress,
		    bool finished);

/* What KVM reports. */
void oracle_report(struct oracle *o, uint32_t vcpu, uint32_t slot,
		   uint64_t offset);
void oracle_judge(struct oracle *o);
void oracle_check_missed(struct oracle *o);
void oracle_before_harvest(struct oracle *o);
void oracle_before_protect(struct oracle *o);
void oracle_protected(struct oracle *o);

#endif /* SELFTEST_KVM_DIRTY_ORACLE_H */
