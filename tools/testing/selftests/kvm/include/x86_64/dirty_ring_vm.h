/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A VM with dirty rings whose guest writes the pages that a job names, and the
 * accounts of what was reported.
 */
#ifndef SELFTEST_KVM_DIRTY_RING_VM_H
#define SELFTEST_KVM_DIRTY_RING_VM_H

#include "kvm_util.h"
#include "kvm_trace.h"
#include "dirty_ring.h"

/* The logged slot; the guest sees it where it is in guest physical memory. */
#define RING_VM_SLOT		1
#define RING_VM_MEM		0x10000000ul

#define RING_VM_PAGE_SIZE	4096ul
#define RING_VM_MAX_VCPUS	4

/* KVM_SET_MSRS takes fewer than 256. */
#define RING_VM_MAX_CLOCKS	255u

/* With fewer free entries, KVM refuses to write a page for KVM_SET_MSRS. */
#define DIRTY_RING_CLOCK_ROOM	(8 + 3)

/**
 * struct ring_job - pages for a vCPU to write, in memory that is not logged
 * @mem: where they are
 * @npages: how many there are at @mem, a power of two
 * @first: the first one to write
 * @count: how many to write
 * @stride: from one to the next, odd, and around the end of @npages
 * @value: what to write, to the first word of each
 * @endless: over and over, until this is cleared
 */
struct ring_job {
	uint64_t mem;
	uint64_t npages;
	uint64_t first;
	uint64_t count;
	uint64_t stride;
	uint64_t value;
	uint64_t endless;
};

/**
 * struct ring_vcpu - a vCPU
 * @run: shared with KVM
 * @job: shared with the guest; NULL if there is no guest
 * @ring: its ring
 */
struct ring_vcpu {
	struct kvm_run *run;
	struct ring_job *job;
	struct dirty_ring ring;
};

/**
 * struct ring_vm - a VM, and what is known of it
 * @vm: the VM; its vCPUs have the ids 0 to @nr_vcpus - 1
 * @entries: size of each ring
 * @npages: size of the logged slot, a power of two
 * @mem: the logged slot's memory
 * @nr_vcpus: number of vCPUs
 * @vcpus: the vCPUs
 * @value: what the pages of the round hold
 * @wanted: for each page of the slot, @value of the last round that wrote it
 * @seen: for each page, @value of the last round in which it was reported
 * @collected: entries collected since the VM was created
 * @resets: calls of KVM_RESET_DIRTY_RINGS that succeeded
 * @reset_entries: entries that these have reset
 * @full_exits: exits with KVM_EXIT_DIRTY_RING_FULL
 */
struct ring_vm {
	struct kvm_vm *vm;
	uint32_t entries;
	uint64_t npages;
	void *mem;
	uint32_t nr_vcpus;
	struct ring_vcpu vcpus[RING_VM_MAX_VCPUS];
	uint64_t value;
	uint64_t *wanted;
	uint64_t *seen;
	uint64_t collected;
	uint64_t resets;
	uint64_t reset_entries;
	uint64_t full_exits;
};

/* Why a vCPU came back. */
enum ring_vm_exit { RING_VM_DONE, RING_VM_FULL, RING_VM_SIGNAL };

int vcpu_write_clocks(int vcpu_fd, uint64_t gpa, uint32_t count);

void ring_vm_create(struct ring_vm *r, uint32_t entries, uint64_t npages,
		    uint32_t nr_vcpus);
void ring_vm_create_bare(struct ring_vm *r, uint32_t entries, uint64_t npages,
			 uint32_t nr_vcpus);
void ring_vm_add_vcpu(struct ring_vm *r);
void ring_vm_free(struct ring_vm *r);

void ring_vm_job(struct ring_vm *r, uint32_t vcpuid, uint64_t first,
		 uint64_t count, uint64_t stride);
enum ring_vm_exit ring_vm_run(struct ring_vm *r, uint32_t vcpuid);

uint32_t ring_vm_collect(struct ring_vm *r, uint32_t vcpuid, uint32_t max);
uint32_t ring_vm_reset(struct ring_vm *r);
uint32_t ring_vm_harvest(struct ring_vm *r);
void ring_vm_finish(struct ring_vm *r, uint32_t vcpuid);
void ring_vm_check(struct ring_vm *r);
void ring_vm_round(struct ring_vm *r, uint32_t vcpuid, uint64_t first,
		   uint64_t count, uint64_t stride);
void ring_vm_check_stat(struct ring_vm *r, const char *name, uint64_t value);
void ring_vm_check_stats(struct ring_vm *r);

#endif /* SELFTEST_KVM_DIRTY_RING_VM_H */
