/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __KVM_X86_DIRTY_RING_H
#define __KVM_X86_DIRTY_RING_H

#include <linux/kvm_host.h>

/**
 * enum kvm_dirty_step - what KVM does that may fill entries of a dirty ring
 * @KVM_DIRTY_ACCESS: access one page by a linear address of the guest
 * @KVM_DIRTY_IO: finish an instruction that has accessed a device
 * @KVM_DIRTY_FAR_IO: likewise, a far call or jump through device memory
 * @KVM_DIRTY_TASK_SWITCH: switch the guest's task
 * @KVM_DIRTY_NESTED_STATE: load nested state, leave nested mode before
 *
 * dirty_ring.c has how many entries each of them fills at most.
 */
enum kvm_dirty_step {
	KVM_DIRTY_ACCESS,
	KVM_DIRTY_IO,
	KVM_DIRTY_FAR_IO,
	KVM_DIRTY_TASK_SWITCH,
	KVM_DIRTY_NESTED_STATE,
};

#ifdef CONFIG_HAVE_KVM_DIRTY_RING

u32 kvm_dirty_step_entries(struct kvm_vcpu *vcpu, enum kvm_dirty_step step);
u32 kvm_dirty_msr_entries(struct kvm_vcpu *vcpu, u32 index, u64 value);
u32 kvm_dirty_msr_list_entries(struct kvm_vcpu *vcpu, gpa_t gpa, u32 count,
			       u32 *nr);
void kvm_dirty_insn_begin(struct kvm_vcpu *vcpu, int emulation_type);
int kvm_dirty_insn_end(struct kvm_vcpu *vcpu, int r);
bool kvm_dirty_insn_iterates(struct kvm_vcpu *vcpu);
bool kvm_dirty_insn_commit(struct kvm_vcpu *vcpu, struct x86_exception *e);
bool __kvm_dirty_insn_refuse(struct kvm_vcpu *vcpu, struct x86_exception *e);

/* Is the instruction being emulated to be restarted after a reset? */
static inline bool kvm_dirty_insn_restarts(struct kvm_vcpu *vcpu)
{
	return vcpu->arch.dirty_insn.restart;
}

/* Is an access by a linear address to fail, so that the instruction restarts? */
static inline bool kvm_dirty_insn_refuse(struct kvm_vcpu *vcpu,
					 struct x86_exception *e)
{
	return unlikely(vcpu->arch.dirty_insn.may_restart) &&
	       __kvm_dirty_insn_refuse(vcpu, e);
}

#else /* !CONFIG_HAVE_KVM_DIRTY_RING */

static inline u32 kvm_dirty_step_entries(struct kvm_vcpu *vcpu,
					 enum kvm_dirty_step step)
{
	return 0;
}

static inline u32 kvm_dirty_msr_entries(struct kvm_vcpu *vcpu, u32 index,
					u64 value)
{
	return 0;
}

static inline u32 kvm_dirty_msr_list_entries(struct kvm_vcpu *vcpu, gpa_t gpa,
					     u32 count, u32 *nr)
{
	*nr = 0;
	return 0;
}

static inline void kvm_dirty_insn_begin(struct kvm_vcpu *vcpu,
					int emulation_type)
{
}

static inline int kvm_dirty_insn_end(struct kvm_vcpu *vcpu, int r)
{
	return r;
}

static inline bool kvm_dirty_insn_iterates(struct kvm_vcpu *vcpu)
{
	return true;
}

static inline bool kvm_dirty_insn_commit(struct kvm_vcpu *vcpu,
					 struct x86_exception *e)
{
	return true;
}

static inline bool kvm_dirty_insn_restarts(struct kvm_vcpu *vcpu)
{
	return false;
}

static inline bool kvm_dirty_insn_refuse(struct kvm_vcpu *vcpu,
					 struct x86_exception *e)
{
	return false;
}

#endif /* CONFIG_HAVE_KVM_DIRTY_RING */

static inline bool kvm_dirty_step_has_room(struct kvm_vcpu *vcpu,
					   enum kvm_dirty_step step)
{
	return kvm_dirty_ring_has_room(vcpu, kvm_dirty_step_entries(vcpu, step));
}

/* See kvm_dirty_ring_exit_before(). */
static inline bool kvm_dirty_step_exit_before(struct kvm_vcpu *vcpu,
					      enum kvm_dirty_step step)
{
	return kvm_dirty_ring_exit_before(vcpu,
					  kvm_dirty_step_entries(vcpu, step));
}

#endif /* __KVM_X86_DIRTY_RING_H */
