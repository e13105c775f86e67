/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * state_file_test: what its parts share.
 */
#ifndef SELFTEST_KVM_STATE_FILE_H
#define SELFTEST_KVM_STATE_FILE_H

#include <linux/types.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"

#define VCPU_ID		0

/* The guest asks to be saved, by GUEST_SYNC() or by a read of this port. */
#define SAVE_HERE	0x5a5e
#define SAVE_PORT	0x10
/* The guest is done, where it cannot say so by GUEST_DONE(). */
#define DONE_PORT	0x11

#define MAX_CPUID	128
#define MAX_MSRS	256
#define MAX_TOLD	32

/* What a guest has told since it was saved: values of GUEST_SYNC(). */
struct transcript {
	uint32_t nr;
	uint32_t exit_reason;	/* that ended it */
	uint64_t told[MAX_TOLD];
};

/* All that is saved of a vCPU, in the order of its file. */
struct saved_vcpu {
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp_state;
	struct kvm_regs regs;
	struct kvm_xsave xsave;
	struct kvm_xcrs xcrs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debugregs;
	struct kvm_lapic_state lapic;
	union {
		struct kvm_nested_state nested;
		char nested_space[16384];
	};
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[MAX_CPUID];
	} cpuid;
	uint32_t nr_msrs;
	uint32_t pad;
	struct kvm_msr_entry msrs[MAX_MSRS];
	struct transcript transcript;
};

/**
 * struct state - a state that a vCPU can be in
 * @name: also the name of its file
 * @needs: Return: NULL, or what is missing to get there
 * @guest: its code, for a guest in long mode; NULL: @prepare sets the registers
 * @prepare: make the VM, before it runs or is loaded; may be NULL
 * @arrive: change the state by ioctls once the guest asks to be saved; or NULL
 * @leave: wake the guest after it was saved or loaded; or NULL
 */
struct state {
	const char *name;
	const char *(*needs)(struct kvm_vm *vm);
	void (*guest)(void *arg);
	void (*prepare)(struct kvm_vm *vm);
	void (*arrive)(struct kvm_vm *vm);
	void (*leave)(struct kvm_vm *vm);
};

/* Each list ends with a state that has no name. */
extern const struct state mode_states[];
extern const struct state event_states[];
extern const struct state nested_states[];

/* file.c */
void save_vcpu(struct kvm_vm *vm, struct saved_vcpu *s);
void drop_refused_msrs(struct kvm_vm *fresh, struct saved_vcpu *s);
const char *load_vcpu(struct kvm_vm *vm, struct saved_vcpu *s);
void write_file(const char *path, struct kvm_vm *vm, struct kvm_vm *fresh,
		const struct saved_vcpu *s);
void rewrite_vcpu(const char *path, const struct saved_vcpu *s);
void read_file(const char *path, struct kvm_vm *vm, struct saved_vcpu *s);

/* events.c */
void add_smram(struct kvm_vm *vm);
void start_smi(struct kvm_vm *vm);
void make_nmi_pending(struct kvm_vm *vm);

#endif
