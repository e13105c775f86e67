// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VM with dirty rings whose guest writes the pages that a job names, and the
 * accounts of what was reported.
 */
#include <linux/compiler.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "dirty_ring_vm.h"

/* asm/kvm_para.h has it too, but cannot be included in user space here. */
#define MSR_WALL_CLOCK	0x4b564d00

/*
 * The guest. A job's pages, in their order; the host calls this one too.
 */

static uint64_t job_page(const struct ring_job *job, uint64_t i)
{
	return (job->first + i * job->stride) & (job->npages - 1);
}

static void write_job(const struct ring_job *job)
{
	uint64_t *word, i;

	for (i = 0; i < job->count; i++) {
		word = (void *)(job->mem + job_page(job, i) * RING_VM_PAGE_SIZE);
		WRITE_ONCE(*word, job->value);
	}
}

static void guest_code(struct ring_job *job)
{
	/* Emulated VT-x may hold back the host's interrupts otherwise. */
	asm volatile("sti");

	for (;;) {
		do {
			write_job(job);
		} while (READ_ONCE(job->endless));
		GUEST_SYNC(job->value);
	}
}

/*
 * The host.
 */

/**
 * vcpu_write_clocks() - have KVM write guest pages without entering the guest
 * @vcpu_fd: the vCPU that is to report them
 * @gpa: the first page
 * @count: how many pages, up to RING_VM_MAX_CLOCKS
 *
 * Sets MSR_KVM_WALL_CLOCK_NEW once for each page: KVM writes the time there at
 * once, and whichever page was named before stays as it is.
 *
 * Return: what KVM_SET_MSRS returns, the number of pages written or -1.
 */
int vcpu_write_clocks(int vcpu_fd, uint64_t gpa, uint32_t count)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entries[RING_VM_MAX_CLOCKS];
	} msrs;
	uint32_t i;

	msrs.header.nmsrs = count;
	for (i = 0; i < count; i++) {
		msrs.entries[i].index = MSR_WALL_CLOCK;
		msrs.entries[i].data = gpa + i * RING_VM_PAGE_SIZE;
	}
	return ioctl(vcpu_fd, KVM_SET_MSRS, &msrs);
}

static void set_up(struct ring_vm *r, uint32_t entries, uint64_t npages)
{
	r->entries = entries;
	r->npages = npages;
	r->mem = addr_gpa2hva(r->vm, RING_VM_MEM);
	r->wanted = calloc(npages, sizeof(*r->wanted));
	r->seen = calloc(npages, sizeof(*r->seen));
	TEST_ASSERT(r->wanted && r->seen, "Insufficient Memory");
}

/**
 * ring_vm_create() - make a VM with a guest
 * @r: to be set up
 * @entries: size of each ring
 * @npages: size of the logged slot, a power of two
 * @nr_vcpus: how many vCPUs it begins with
 */
void ring_vm_create(struct ring_vm *r, uint32_t entries, uint64_t npages,
		    uint32_t nr_vcpus)
{
	memset(r, 0, sizeof(*r));
	r->vm = vm_create_with_rings(VM_MODE_DEFAULT,
				     2 * DEFAULT_GUEST_PHY_PAGES, entries);
	vm_add_logged_slot(r->vm, RING_VM_SLOT, RING_VM_MEM, npages);
	set_up(r, entries, npages);
	while (r->nr_vcpus < nr_vcpus)
		ring_vm_add_vcpu(r);
}

/**
 * ring_vm_create_bare() - make a VM without a guest
 * @r: to be set up
 * @entries: size of each ring
 * @npages: size of the logged slot, a power of two
 * @nr_vcpus: how many vCPUs it has
 *
 * Only vcpu_write_clocks() writes its memory.
 */
void ring_vm_create_bare(struct ring_vm *r, uint32_t entries, uint64_t npages,
			 uint32_t nr_vcpus)
{
	memset(r, 0, sizeof(*r));
	r->vm = vm_create(VM_MODE_DEFAULT, 0, O_RDWR);
	vm_enable_dirty_ring(r->vm, entries * sizeof(struct kvm_dirty_gfn));
	vm_userspace_mem_region_add(r->vm, VM_MEM_SRC_ANONYMOUS, RING_VM_MEM,
				    RING_VM_SLOT, npages,
				    KVM_MEM_LOG_DIRTY_PAGES);
	set_up(r, entries, npages);
	for (; r->nr_vcpus < nr_vcpus; r->nr_vcpus++) {
		vm_vcpu_add(r->vm, r->nr_vcpus);
		dirty_ring_map(&r->vcpus[r->nr_vcpus].ring, r->vm, r->nr_vcpus,
			       entries);
	}
}

/**
 * ring_vm_add_vcpu() - add a vCPU to a VM with a guest
 * @r: the VM
 */
void ring_vm_add_vcpu(struct ring_vm *r)
{
	uint32_t id = r->nr_vcpus++;
	struct ring_vcpu *v = &r->vcpus[id];
	vm_vaddr_t job;

	TEST_ASSERT(id < RING_VM_MAX_VCPUS, "too many vCPUs");
	job = vm_vaddr_alloc(r->vm, sizeof(*v->job), KVM_UTIL_MIN_VADDR, 0, 0);
	vcpu_add_with_ring(r->vm, id, guest_code, &v->ring, r->entries);
	vcpu_args_set(r->vm, id, 1, job);
	v->job = addr_gva2hva(r->vm, job);
	v->run = vcpu_state(r->vm, id);
}

/**
 * ring_vm_free() - undo ring_vm_create() or ring_vm_create_bare()
 * @r: the VM
 */
void ring_vm_free(struct ring_vm *r)
{
	uint32_t i;

	for (i = 0; i < r->nr_vcpus; i++)
		dirty_ring_unmap(&r->vcpus[i].ring);
	kvm_vm_free(r->vm);
	free(r->wanted);
	free(r->seen);
}

/**
 * ring_vm_job() - tell a vCPU which pages of the logged slot to write next
 * @r: the VM
 * @vcpuid: id of the vCPU, which is at the end of its last job
 * @first: the first page
 * @count: how many pages, no more than there are in the slot
 * @stride: from one page to the next, odd
 */
void ring_vm_job(struct ring_vm *r, uint32_t vcpuid, uint64_t first,
		 uint64_t count, uint64_t stride)
{
	struct ring_job *job = r->vcpus[vcpuid].job;
	uint64_t i;

	*job = (struct ring_job) {
		.mem = RING_VM_MEM, .npages = r->npages, .first = first,
		.count = count, .stride = stride, .value = ++r->value,
	};
	for (i = 0; i < count; i++)
		r->wanted[job_page(job, i)] = r->value;
}

/**
 * ring_vm_run() - run a vCPU once
 * @r: the VM
 * @vcpuid: id of the vCPU
 *
 * Return: why it came back.
 */
enum ring_vm_exit ring_vm_run(struct ring_vm *r, uint32_t vcpuid)
{
	struct kvm_run *run = r->vcpus[vcpuid].run;
	int ret = _vcpu_ioctl(r->vm, vcpuid, KVM_RUN, NULL);

	TEST_ASSERT(!ret || errno == EINTR, "KVM_RUN failed, rc: %i errno: %i",
		    ret, errno);
	if (ret)
		return RING_VM_SIGNAL;
	if (run->exit_reason == KVM_EXIT_DIRTY_RING_FULL) {
		r->full_exits++;
		return RING_VM_FULL;
	}
	TEST_ASSERT(get_ucall(r->vm, vcpuid, NULL) == UCALL_SYNC,
		    "vCPU %u: unexpected exit %u (%s)", vcpuid,
		    run->exit_reason, exit_reason_str(run->exit_reason));
	return RING_VM_DONE;
}

/* An entry must name a page that was written in this round. */
static void note_page(uint32_t slot, uint64_t offset, void *data)
{
	struct ring_vm *r = data;

	TEST_ASSERT(slot == RING_VM_SLOT && offset < r->npages,
		    "reported: slot %#x page %#lx, which does not exist", slot,
		    offset);
	TEST_ASSERT(r->wanted[offset] == r->value,
		    "page %#lx reported in round %lu, last written in round %lu",
		    offset, r->value, r->wanted[offset]);
	r->seen[offset] = r->value;
}

/**
 * ring_vm_collect() - collect entries of a ring
 * @r: the VM
 * @vcpuid: id of the ring's vCPU
 * @max: stop after this many
 *
 * Asserts that each names a page which is written in this round.
 *
 * Return: how many were collected.
 */
uint32_t ring_vm_collect(struct ring_vm *r, uint32_t vcpuid, uint32_t max)
{
	uint32_t count = dirty_ring_harvest(&r->vcpus[vcpuid].ring, max,
					    note_page, r);

	r->collected += count;
	return count;
}

/**
 * ring_vm_reset() - KVM_RESET_DIRTY_RINGS
 * @r: the VM, all of whose entries are collected by this thread
 *
 * Asserts that just the collected entries were reset.
 *
 * Return: how many entries were reset.
 */
uint32_t ring_vm_reset(struct ring_vm *r)
{
	uint32_t count = vm_reset_dirty_rings(r->vm);

	r->resets++;
	r->reset_entries += count;
	TEST_ASSERT(r->reset_entries == r->collected,
		    "%u entries reset, which makes %lu, but %lu were collected",
		    count, r->reset_entries, r->collected);
	return count;
}

/**
 * ring_vm_harvest() - collect all there is, and reset it
 * @r: the VM
 *
 * Return: how many entries that was.
 */
uint32_t ring_vm_harvest(struct ring_vm *r)
{
	uint32_t i;

	for (i = 0; i < r->nr_vcpus; i++)
		ring_vm_collect(r, i, r->entries);
	return ring_vm_reset(r);
}

/**
 * ring_vm_finish() - let a vCPU do its job to the end, and harvest
 * @r: the VM
 * @vcpuid: id of the vCPU
 */
void ring_vm_finish(struct ring_vm *r, uint32_t vcpuid)
{
	enum ring_vm_exit why;

	do {
		why = ring_vm_run(r, vcpuid);
		ring_vm_harvest(r);
	} while (why != RING_VM_DONE);
}

/**
 * ring_vm_check() - assert that no page of the round is missing
 * @r: the VM, harvested
 *
 * Each page that was to be written holds the round's value, and was reported.
 */
void ring_vm_check(struct ring_vm *r)
{
	uint64_t page, *word;

	for (page = 0; page < r->npages; page++) {
		if (r->wanted[page] != r->value)
			continue;
		TEST_ASSERT(r->seen[page] == r->value,
			    "page %#lx was written in round %lu, last reported in round %lu",
			    page, r->value, r->seen[page]);
		word = r->mem + page * RING_VM_PAGE_SIZE;
		TEST_ASSERT(READ_ONCE(*word) == r->value,
			    "page %#lx holds %lu in round %lu", page, *word,
			    r->value);
	}
}

/**
 * ring_vm_round() - write pages, harvest, and check
 * @r: the VM
 * @vcpuid: id of the vCPU that writes
 * @first: the first page
 * @count: how many pages
 * @stride: from one page to the next, odd
 */
void ring_vm_round(struct ring_vm *r, uint32_t vcpuid, uint64_t first,
		   uint64_t count, uint64_t stride)
{
	ring_vm_job(r, vcpuid, first, count, stride);
	ring_vm_finish(r, vcpuid);
	ring_vm_check(r);
}

/**
 * ring_vm_check_stat() - assert the value of a statistic, if there is such
 * @r: the VM, created by the main thread
 * @name: the statistic
 * @value: the expected value
 */
void ring_vm_check_stat(struct ring_vm *r, const char *name, uint64_t value)
{
	long stat = vm_get_stat(r->vm, name);

	TEST_ASSERT(stat == -1 || stat == value, "%s is %ld, not %lu", name,
		    stat, value);
}

/**
 * ring_vm_check_stats() - compare the kernel's accounts with ours
 * @r: the VM, created by the main thread, all of whose entries were reset
 */
void ring_vm_check_stats(struct ring_vm *r)
{
	ring_vm_check_stat(r, "dirty_ring_push", r->collected);
	ring_vm_check_stat(r, "dirty_ring_full_exit", r->full_exits);
	ring_vm_check_stat(r, "dirty_ring_reset", r->resets);
	ring_vm_check_stat(r, "dirty_ring_reset_entry", r->reset_entries);
}
