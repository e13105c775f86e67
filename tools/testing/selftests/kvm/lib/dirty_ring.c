// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty rings for tests, and VMs that have them. <linux/kvm.h> describes the life
 * of an entry.
 */
#define _GNU_SOURCE /* for program_invocation_name */
#include <sys/mman.h>
#include <linux/bitmap.h>
#include <linux/bitops.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "dirty_ring.h"
#include "kvm_trace.h"

/* Architectures without dirty rings build the tests, which then skip. */
#ifndef KVM_DIRTY_LOG_PAGE_OFFSET
#define KVM_DIRTY_LOG_PAGE_OFFSET 0
#endif

/**
 * dirty_ring_max_entries() - the largest ring that this kernel offers
 *
 * Return: a number of entries, 0 if there are no dirty rings.
 */
uint32_t dirty_ring_max_entries(void)
{
	return kvm_check_cap(KVM_CAP_DIRTY_LOG_RING) /
	       sizeof(struct kvm_dirty_gfn);
}

/* Entries that are kept free: more where the CPU logs pages by itself (PML). */
static uint32_t reserved_entries(void)
{
	uint32_t reserved = DIRTY_RING_RESERVED_ENTRIES;
#ifdef __x86_64__

	if (is_intel_cpu() && module_flag("kvm_intel", "pml"))
		reserved += DIRTY_RING_PML_ENTRIES;
#endif

	return reserved;
}

/**
 * dirty_ring_min_entries() - the smallest ring that this host takes
 *
 * Return: a number of entries.
 */
uint32_t dirty_ring_min_entries(void)
{
	uint32_t entries = getpagesize() / sizeof(struct kvm_dirty_gfn);

	while (entries <= reserved_entries())
		entries *= 2;
	return entries;
}

/**
 * dirty_ring_soft_limit() - with how many entries in use vCPUs stop running
 * @entries: size of the ring, not less than dirty_ring_min_entries()
 *
 * Return: the soft limit.
 */
uint32_t dirty_ring_soft_limit(uint32_t entries)
{
	return entries - reserved_entries();
}

/**
 * _vm_enable_dirty_ring() - ask for dirty rings
 * @vm: the VM
 * @cap: KVM_CAP_DIRTY_LOG_RING or KVM_CAP_DIRTY_LOG_RING_ACQ_REL
 * @size: bytes per ring
 *
 * Return: what KVM_ENABLE_CAP returns.
 */
int _vm_enable_dirty_ring(struct kvm_vm *vm, uint32_t cap, uint64_t size)
{
	struct kvm_enable_cap enable = { .cap = cap, .args[0] = size };

	return ioctl(vm_get_fd(vm), KVM_ENABLE_CAP, &enable);
}

/**
 * vm_enable_dirty_ring() - have all vCPUs to come report pages in dirty rings
 * @vm: the VM, without vCPUs so far
 * @ring_size: bytes per ring
 */
void vm_enable_dirty_ring(struct kvm_vm *vm, uint32_t ring_size)
{
	int ret = _vm_enable_dirty_ring(vm, KVM_CAP_DIRTY_LOG_RING, ring_size);

	TEST_ASSERT(!ret, "no dirty rings of %u bytes, errno: %i", ring_size,
		    errno);
}

/**
 * _vm_reset_dirty_rings() - try to give back all collected entries
 * @vm: the VM
 *
 * Return: what KVM_RESET_DIRTY_RINGS returns.
 */
int _vm_reset_dirty_rings(struct kvm_vm *vm)
{
	return ioctl(vm_get_fd(vm), KVM_RESET_DIRTY_RINGS);
}

/**
 * vm_reset_dirty_rings() - give back all collected entries, of all vCPUs
 * @vm: the VM
 *
 * Return: how many entries the kernel took back.
 */
uint32_t vm_reset_dirty_rings(struct kvm_vm *vm)
{
	int ret = dirty_rings_reset(vm_get_fd(vm));

	TEST_ASSERT(ret >= 0, "KVM_RESET_DIRTY_RINGS failed, errno: %i", -ret);
	return ret;
}

/**
 * _dirty_ring_mmap() - try to map a vCPU's ring
 * @vm: the VM
 * @vcpuid: id of the vCPU
 * @size: bytes to map
 * @prot: PROT_*
 * @flags: MAP_*
 *
 * Return: what mmap() returns.
 */
void *_dirty_ring_mmap(struct kvm_vm *vm, uint32_t vcpuid, size_t size,
		       int prot, int flags)
{
	return mmap(NULL, size, prot, flags, vcpu_get_fd(vm, vcpuid),
		    KVM_DIRTY_LOG_PAGE_OFFSET * getpagesize());
}

/**
 * dirty_ring_map() - map a vCPU's ring
 * @ring: to be set up
 * @vm: a VM with dirty rings enabled
 * @vcpuid: id of the vCPU
 * @entries: as enabled
 */
void dirty_ring_map(struct dirty_ring *ring, struct kvm_vm *vm,
		    uint32_t vcpuid, uint32_t entries)
{
	int ret = dirty_ring_attach(ring, vcpu_get_fd(vm, vcpuid), entries);

	TEST_ASSERT(!ret, "mmap of dirty ring failed, vcpu id: %u errno: %i",
		    vcpuid, -ret);
}

/**
 * dirty_ring_unmap() - undo dirty_ring_map()
 * @ring: the ring
 */
void dirty_ring_unmap(struct dirty_ring *ring)
{
	int ret = dirty_ring_detach(ring);

	TEST_ASSERT(!ret, "munmap of dirty ring failed, errno: %i", -ret);
}

/**
 * dirty_ring_collect() - collect entries of a ring, and give them back
 * @ring: the ring
 * @vm: its VM, of which no other entries are collected and not reset
 * @max: stop after this many entries
 * @fn: called for each reported page
 * @data: passed to @fn
 *
 * Asserts that just the collected entries were reset.
 *
 * Return: how many entries that was.
 */
uint32_t dirty_ring_collect(struct dirty_ring *ring, struct kvm_vm *vm,
			    uint32_t max, dirty_ring_fn fn, void *data)
{
	uint32_t collected = dirty_ring_harvest(ring, max, fn, data);
	uint32_t reset = vm_reset_dirty_rings(vm);

	TEST_ASSERT(reset == collected, "reset %u of %u entries", reset,
		    collected);
	return collected;
}

/**
 * add_reported_page() - keep a reported page, for dirty_ring_collect()
 * @slot: as reported
 * @offset: as reported
 * @data: struct reported_pages
 *
 * Asserts that the memslot has such a page.
 */
void add_reported_page(uint32_t slot, uint64_t offset, void *data)
{
	struct reported_pages *pages = data;
	unsigned long *word, bit;

	TEST_ASSERT(slot == pages->slot && offset < pages->npages,
		    "entry for slot %#x page %#lx", slot, offset);
	word = &pages->bits[BIT_WORD(offset)];
	bit = BIT_MASK(offset);
	pages->again += !!(*word & bit);
	*word |= bit;
}

/**
 * add_dirty_log() - add what the memslot's bitmap reports
 * @pages: the memslot
 * @vm: its VM
 */
void add_dirty_log(struct reported_pages *pages, struct kvm_vm *vm)
{
	unsigned long *log = bitmap_alloc(pages->npages);
	uint64_t i;

	TEST_ASSERT(log, "Insufficient Memory");
	kvm_vm_get_dirty_log(vm, pages->slot, log);
	for (i = 0; i < BITS_TO_LONGS(pages->npages); i++)
		pages->bits[i] |= log[i];
	free(log);
}

/**
 * vm_create_with_rings() - make a VM that runs the test's guest code
 * @mode: the guest's page tables
 * @pages: memory for code, stacks and page tables
 * @entries: size of its rings, or 0 for a VM without
 *
 * Return: the VM, without vCPUs.
 */
struct kvm_vm *vm_create_with_rings(enum vm_guest_mode mode, uint64_t pages,
				    uint32_t entries)
{
	struct kvm_vm *vm = vm_create(mode, pages, O_RDWR);

	kvm_vm_elf_load(vm, program_invocation_name, 0, 0);
#ifdef __x86_64__
	vm_create_irqchip(vm);
#endif
	if (entries)
		vm_enable_dirty_ring(vm, entries * sizeof(struct kvm_dirty_gfn));
	return vm;
}

/**
 * map_memory() - map memory of this process, for a memslot or else
 * @size: bytes
 *
 * Return: where it is.
 */
void *map_memory(size_t size)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	TEST_ASSERT(mem != MAP_FAILED, "Insufficient Memory");
	return mem;
}

/**
 * vm_set_slot() - make, change or delete a memslot that kvm_util does not know
 * @vm: the VM
 * @slot: address space (bits 31:16) and id (bits 15:0)
 * @flags: KVM_MEM_*
 * @gpa: where it is in guest physical memory
 * @size: bytes; 0 deletes it
 * @mem: its memory
 */
void vm_set_slot(struct kvm_vm *vm, uint32_t slot, uint32_t flags, uint64_t gpa,
		 uint64_t size, void *mem)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot, .flags = flags, .guest_phys_addr = gpa,
		.memory_size = size, .userspace_addr = (uintptr_t)mem,
	};

	vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

/**
 * vm_add_logged_slot() - add a memslot with dirty logging
 * @vm: the VM
 * @slot: its number
 * @gpa: where it is in guest physical memory, and where the guest sees it
 * @npages: its size
 */
void vm_add_logged_slot(struct kvm_vm *vm, uint32_t slot, uint64_t gpa,
			uint64_t npages)
{
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, gpa, slot,
				    npages, KVM_MEM_LOG_DIRTY_PAGES);
	virt_map(vm, gpa, gpa, npages, 0);
}

/**
 * vcpu_add_with_ring() - add a vCPU that runs guest code, and map its ring
 * @vm: the VM, of vm_create_with_rings()
 * @vcpuid: its id
 * @guest_code: what it runs
 * @ring: where to map its ring
 * @entries: as vm_create_with_rings(); if 0, @ring is left alone
 */
void vcpu_add_with_ring(struct kvm_vm *vm, uint32_t vcpuid, void *guest_code,
			struct dirty_ring *ring, uint32_t entries)
{
	vm_vcpu_add_default(vm, vcpuid, guest_code);
#ifdef __x86_64__
	vcpu_set_cpuid(vm, vcpuid, kvm_get_supported_cpuid());
#endif
	if (entries)
		dirty_ring_map(ring, vm, vcpuid, entries);
}
