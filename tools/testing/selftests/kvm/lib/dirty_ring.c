// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty rings for tests: enable, map, harvest, reset. The life of an entry is
 * told in <linux/kvm_dirty_ring.h>.
 */
#include <sys/mman.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "dirty_ring.h"

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
	int fd = open("/sys/module/kvm_intel/parameters/pml", O_RDONLY);
	char pml = 'N';

	if (fd >= 0 && is_intel_cpu() && read(fd, &pml, 1) == 1 && pml == 'Y')
		reserved += DIRTY_RING_PML_ENTRIES;
	close(fd);
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
