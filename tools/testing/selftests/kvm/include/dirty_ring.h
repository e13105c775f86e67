/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Dirty rings for tests: enable, map, harvest, reset; and VMs that have them.
 * The ring itself is read by the reader of tools/kvm/dirty_ring/, as in a VMM.
 */
#ifndef SELFTEST_KVM_DIRTY_RING_H
#define SELFTEST_KVM_DIRTY_RING_H

#include <linux/kvm_dirty_ring.h>

#include "kvm_util.h"
#include "ring_reader.h"

/* The kernel keeps this many entries (and PML's) free below the ring's end. */
#define DIRTY_RING_RESERVED_ENTRIES	64
#define DIRTY_RING_PML_ENTRIES		512

/*
 * As in the rest of the library: a function with an underscore returns what the
 * system call did and leaves errno, the one without asserts success.
 */
uint32_t dirty_ring_max_entries(void);
uint32_t dirty_ring_min_entries(void);
uint32_t dirty_ring_soft_limit(uint32_t entries);

int _vm_enable_dirty_ring(struct kvm_vm *vm, uint32_t cap, uint64_t size);
void vm_enable_dirty_ring(struct kvm_vm *vm, uint32_t ring_size);
int _vm_reset_dirty_rings(struct kvm_vm *vm);
uint32_t vm_reset_dirty_rings(struct kvm_vm *vm);

void *_dirty_ring_mmap(struct kvm_vm *vm, uint32_t vcpuid, size_t size,
		       int prot, int flags);
void dirty_ring_map(struct dirty_ring *ring, struct kvm_vm *vm,
		    uint32_t vcpuid, uint32_t entries);
void dirty_ring_unmap(struct dirty_ring *ring);
uint32_t dirty_ring_collect(struct dirty_ring *ring, struct kvm_vm *vm,
			    uint32_t max, dirty_ring_fn fn, void *data);

/**
 * struct reported_pages - pages of a memslot that KVM has reported
 * @slot: the memslot
 * @npages: its size
 * @bits: a bit for each page, as in the bitmap of KVM_GET_DIRTY_LOG
 * @again: how many ring entries named a page whose bit was already set
 */
struct reported_pages {
	uint32_t slot;
	uint64_t npages;
	unsigned long *bits;
	uint32_t again;
};

void add_reported_page(uint32_t slot, uint64_t offset, void *data);
void add_dirty_log(struct reported_pages *pages, struct kvm_vm *vm);

/* A VM with rings, or with bitmaps where the number of entries is 0. */
struct kvm_vm *vm_create_with_rings(enum vm_guest_mode mode, uint64_t pages,
				    uint32_t entries);
void *map_memory(size_t size);
void vm_set_slot(struct kvm_vm *vm, uint32_t slot, uint32_t flags, uint64_t gpa,
		 uint64_t size, void *mem);
void vm_add_logged_slot(struct kvm_vm *vm, uint32_t slot, uint64_t gpa,
			uint64_t npages);
void vcpu_add_with_ring(struct kvm_vm *vm, uint32_t vcpuid, void *guest_code,
			struct dirty_ring *ring, uint32_t entries);

#endif /* SELFTEST_KVM_DIRTY_RING_H */
