// SPDX-License-Identifier: GPL-2.0
/*
 * What KVM on x86 may push to a dirty ring, for the arithmetic of room in
 * virt/kvm/dirty_ring.c. See include/linux/kvm_dirty_ring.h.
 */
#include <linux/kvm_host.h>

u32 kvm_arch_dirty_ring_hw_log_size(void)
{
	return kvm_x86_ops.hw_dirty_log_size;
}

bool kvm_arch_dirty_ring_ioctl_reads(unsigned int ioctl)
{
	switch (ioctl) {
	case KVM_GET_REGS:
	case KVM_GET_SREGS:
	case KVM_GET_FPU:
	case KVM_GET_XSAVE:
	case KVM_GET_XCRS:
	case KVM_GET_MSRS:
	case KVM_GET_LAPIC:
	case KVM_GET_VCPU_EVENTS:
	case KVM_GET_DEBUGREGS:
		return true;
	default:
		return false;
	}
}
