// SPDX-License-Identifier: GPL-2.0
/*
 * What no dirty ring takes. A ring belongs to a vCPU and has an end: a page that
 * is written where no vCPU is loaded has no ring, and one that is written by an
 * ioctl, which no soft limit stops, may have no entry. With this extension they
 * are recorded in a bitmap, which has room for each page and for any writer.
 *
 * The bitmap is the memslot's own, and is read and cleared as ever. It is set
 * seldom, so user space looks at it once, when all vCPUs have stopped.
 *
 * Here it is switched on; kvm_dirty_ring_push() sets the bits.
 */
#include <linux/kvm_host.h>
#include <linux/string.h>

static bool tracks_memslots(struct kvm *kvm)
{
	struct kvm_memory_slot *slot;
	int as_id;

	for (as_id = 0; as_id < KVM_ADDRESS_SPACE_NUM; as_id++)
		kvm_for_each_memslot(slot, __kvm_memslots(kvm, as_id))
			if (kvm_slot_tracks_dirty(slot))
				return true;
	return false;
}

/**
 * kvm_dirty_spill_enable - have a VM record in bitmaps what no ring takes
 * @kvm: the VM
 * @cap: KVM_ENABLE_CAP's argument
 *
 * From here on tracked memslots have a bitmap, and no ioctl of a vCPU is refused
 * because the vCPU's ring is short of entries.
 *
 * Context: Takes kvm->lock and kvm->slots_lock, may sleep.
 * Return: 0, or -EINVAL if flags or an argument are set, or if the VM has no
 * rings, has a vCPU, tracks a memslot already, or records already.
 */
int kvm_dirty_spill_enable(struct kvm *kvm, const struct kvm_enable_cap *cap)
{
	int r = -EINVAL;

	if (cap->flags || memchr_inv(cap->args, 0, sizeof(cap->args)))
		return -EINVAL;

	mutex_lock(&kvm->lock);
	mutex_lock(&kvm->slots_lock);
	if (kvm->dirty_ring_size && !kvm->dirty_spill && !kvm->created_vcpus &&
	    !tracks_memslots(kvm)) {
		kvm->dirty_spill = true;
		kvm->dirty_ring_brink = 0;
		r = 0;
	}
	mutex_unlock(&kvm->slots_lock);
	mutex_unlock(&kvm->lock);

	return r;
}
