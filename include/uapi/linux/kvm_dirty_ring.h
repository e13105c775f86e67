/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
#ifndef _UAPI_LINUX_KVM_DIRTY_RING_H
#define _UAPI_LINUX_KVM_DIRTY_RING_H

/*
 * An extension of KVM's dirty rings, see Documentation/virt/kvm/dirty-ring.rst:
 * dirty pages that no ring takes are recorded in a backup bitmap, that of their
 * memslot, for KVM_GET_DIRTY_LOG and KVM_CLEAR_DIRTY_LOG.
 *
 * KVM_ENABLE_CAP on the VM, after the rings were enabled; no arguments. The number
 * is out of the way of those that <linux/kvm.h> counts from 0.
 */
#define KVM_CAP_DIRTY_LOG_RING_SPILL	0x10000

#endif /* _UAPI_LINUX_KVM_DIRTY_RING_H */
