/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
#ifndef _UAPI_LINUX_KVM_DIRTY_SPILL_H
#define _UAPI_LINUX_KVM_DIRTY_SPILL_H

/*
 * An extension of dirty rings, see Documentation/virt/kvm/dirty-ring.rst: dirty
 * pages that no ring takes are recorded in the bitmap of their memslot, for
 * KVM_GET_DIRTY_LOG and KVM_CLEAR_DIRTY_LOG. Included by <linux/kvm.h>.
 *
 * KVM_ENABLE_CAP on the VM, after the rings were enabled; no arguments. Mainline
 * numbers its capabilities from 0 up, this one does not stand in their way.
 */
#define KVM_CAP_DIRTY_LOG_RING_SPILL	0x10000

#endif /* _UAPI_LINUX_KVM_DIRTY_SPILL_H */
