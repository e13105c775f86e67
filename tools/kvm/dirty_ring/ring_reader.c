// SPDX-License-Identifier: GPL-2.0-only
/*
 * A reader of KVM's dirty rings. The life of an entry, which all of this
 * follows, is drawn in <linux/kvm.h>.
 */
#include <errno.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/kvm_dirty_ring.h>

#include "ring_reader.h"

/* For architectures without dirty rings, where dirty_rings_max() returns 0. */
#ifndef KVM_DIRTY_LOG_PAGE_OFFSET
#define KVM_DIRTY_LOG_PAGE_OFFSET 0
#endif

/**
 * dirty_rings_max() - ask for the largest dirty ring
 * @vm_fd: a VM, or /dev/kvm
 *
 * Return: a number of entries; 0 if this kernel has no dirty rings; or what
 * KVM_CHECK_EXTENSION failed with, as -errno.
 */
int dirty_rings_max(int vm_fd)
{
	int ret = ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING);

	return ret < 0 ? -errno : ret / (int)sizeof(struct kvm_dirty_gfn);
}

/**
 * dirty_rings_enable() - have vCPUs report in rings which pages they write
 * @vm_fd: a VM without vCPUs
 * @entries: size of each ring, a power of two
 *
 * From now on, KVM_GET_DIRTY_LOG and KVM_CLEAR_DIRTY_LOG fail with ENXIO. As
 * before, KVM_MEM_LOG_DIRTY_PAGES says which memslots are tracked.
 *
 * Return: 0; -EINVAL if the size is no power of two or not above what the
 * kernel reserves, if there is a vCPU, if rings are enabled already, or if the
 * kernel has none; -E2BIG for a size above dirty_rings_max().
 */
int dirty_rings_enable(int vm_fd, uint32_t entries)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_DIRTY_LOG_RING,
		.args[0] = entries * sizeof(struct kvm_dirty_gfn),
	};

	return ioctl(vm_fd, KVM_ENABLE_CAP, &cap) < 0 ? -errno : 0;
}

/**
 * dirty_rings_set_watermark() - have KVM say when rings fill up
 * @vm_fd: a VM with rings
 * @eventfd: is signalled when a ring has @entries in use, once until a reset
 *	frees entries of this ring; or -1 for none
 * @entries: from 1 to what the kernel lets a vCPU fill before it stops it
 *
 * Return: 0; -EINVAL if the kernel has no watermark, if the VM has no rings, if
 * @entries is not in that range, or if @eventfd is none; -EBADF if it is not open.
 */
int dirty_rings_set_watermark(int vm_fd, int eventfd, uint32_t entries)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_DIRTY_LOG_RING_WATERMARK,
		.args = { eventfd, entries },
	};

	return ioctl(vm_fd, KVM_ENABLE_CAP, &cap) ? -errno : 0;
}

/**
 * dirty_rings_reset() - give all collected entries back to the kernel
 * @vm_fd: a VM with dirty rings
 *
 * The pages are protected again: a later write makes a new entry. So read the
 * contents of a page after this call, not before. One thread should harvest and
 * reset all rings. Then this returns the sum of what dirty_ring_harvest() has
 * returned since the last reset.
 *
 * Return: how many entries were reset, of all vCPUs; or -EINVAL if the VM has
 * no dirty rings.
 */
int dirty_rings_reset(int vm_fd)
{
	int ret = ioctl(vm_fd, KVM_RESET_DIRTY_RINGS);

	return ret < 0 ? -errno : ret;
}

/**
 * dirty_ring_attach() - map the ring of a vCPU
 * @ring: filled in
 * @vcpu_fd: a vCPU of a VM with dirty rings
 * @entries: as passed to dirty_rings_enable()
 *
 * Return: 0, or what mmap() failed with, as -errno.
 */
int dirty_ring_attach(struct dirty_ring *ring, int vcpu_fd, uint32_t entries)
{
	void *gfns;

	gfns = mmap(NULL, entries * sizeof(*ring->gfns), PROT_READ | PROT_WRITE,
		    MAP_SHARED, vcpu_fd,
		    (off_t)KVM_DIRTY_LOG_PAGE_OFFSET * getpagesize());
	if (gfns == MAP_FAILED)
		return -errno;

	ring->gfns = gfns;
	ring->entries = entries;
	ring->next = 0;
	return 0;
}

/**
 * dirty_ring_detach() - undo dirty_ring_attach()
 * @ring: the ring
 *
 * Return: 0, or what munmap() failed with, as -errno.
 */
int dirty_ring_detach(struct dirty_ring *ring)
{
	size_t size = ring->entries * sizeof(*ring->gfns);

	return munmap(ring->gfns, size) < 0 ? -errno : 0;
}
