/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
#ifndef _UAPI_LINUX_KVM_DIRTY_RING_H
#define _UAPI_LINUX_KVM_DIRTY_RING_H

/*
 * An extension of KVM's dirty rings, see Documentation/virt/kvm/dirty-ring.rst: an
 * eventfd is signalled when a ring has as many used entries as user space asks for.
 *
 * KVM_ENABLE_CAP on the VM, once the rings are enabled; args[0] is the eventfd, or
 * -1 for none, args[1] the number of entries. The capability's number is out of the
 * way of those that <linux/kvm.h> counts from 0.
 */
#define KVM_CAP_DIRTY_LOG_RING_WATERMARK	0x10002

#endif /* _UAPI_LINUX_KVM_DIRTY_RING_H */
