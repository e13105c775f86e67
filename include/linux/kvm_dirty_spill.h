/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_KVM_DIRTY_SPILL_H
#define _LINUX_KVM_DIRTY_SPILL_H

#include <linux/errno.h>
#include <linux/types.h>
#include <uapi/linux/kvm_dirty_spill.h>

struct kvm;
struct kvm_enable_cap;

#ifdef CONFIG_HAVE_KVM_DIRTY_RING

int kvm_dirty_spill_enable(struct kvm *kvm, const struct kvm_enable_cap *cap);

#else /* !CONFIG_HAVE_KVM_DIRTY_RING */

static inline int kvm_dirty_spill_enable(struct kvm *kvm,
					 const struct kvm_enable_cap *cap)
{
	return -EINVAL;
}

#endif /* CONFIG_HAVE_KVM_DIRTY_RING */

#endif /* _LINUX_KVM_DIRTY_SPILL_H */
