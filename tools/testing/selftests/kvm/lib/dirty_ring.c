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
	int ret = _vm_reset_dirty_rings(vm);

	TEST_ASSERT(ret >= 0, "KVM_RESET_DIRTY_RINGS failed, rc: %i errno: %i",
		    ret, errno);
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
	ring->gfns = _dirty_ring_mmap(vm, vcpuid, entries * sizeof(*ring->gfns),
				      PROT_READ | PROT_WRITE, MAP_SHARED);
	TEST_ASSERT(ring->gfns != MAP_FAILED,
		    "mmap of dirty ring failed, vcpu id: %u errno: %i", vcpuid,
		    errno);
	ring->entries = entries;
	ring->next = 0;
}

/**
 * dirty_ring_unmap() - undo dirty_ring_map()
 * @ring: the ring
 */
void dirty_ring_unmap(struct dirty_ring *ring)
{
	int ret = munmap(ring->gfns, ring->entries * sizeof(*ring->gfns));

	TEST_ASSERT(!ret, "munmap of dirty ring failed, errno: %i", errno);
}

/**
 * dirty_ring_harvest() - collect what a vCPU has reported
 * @ring: the vCPU's ring
 * @max: stop after this many entries
 * @fn: called for each reported page, in the order of the ring
 * @data: passed to @fn
 *
 * Runs beside the vCPU, but not beside another harvest of the same ring.
 *
 * Return: how many entries were collected.
 */
uint32_t dirty_ring_harvest(struct dirty_ring *ring, uint32_t max,
			    dirty_ring_fn fn, void *data)
{
	struct kvm_dirty_gfn *gfn;
	uint32_t count;

	for (count = 0; count < max; count++) {
		gfn = &ring->gfns[ring->next % ring->entries];
		/* Pairs with the kernel's release when it reports a page. */
		if (__atomic_load_n(&gfn->flags, __ATOMIC_ACQUIRE) !=
		    KVM_DIRTY_GFN_F_DIRTY)
			break;

		fn(gfn->slot, gfn->offset, data);

		/* Pairs with the kernel's acquire when it resets the entry. */
		__atomic_store_n(&gfn->flags, KVM_DIRTY_GFN_F_RESET,
				 __ATOMIC_RELEASE);
		ring->next++;
	}

	return count;
}
