/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An L1 that enters L2 and sees why it exits, in terms that VMX and SVM share.
 */
#ifndef SELFTEST_KVM_NESTED_GUEST_H
#define SELFTEST_KVM_NESTED_GUEST_H

#include <stdbool.h>

#include <linux/bitops.h>
#include <linux/types.h>

#include "kvm_util.h"

#define DB_VECTOR	1
#define NMI_VECTOR	2
#define BP_VECTOR	3
#define OF_VECTOR	4
#define UD_VECTOR	6
#define DF_VECTOR	8
#define TS_VECTOR	10
#define NP_VECTOR	11
#define SS_VECTOR	12
#define GP_VECTOR	13
#define PF_VECTOR	14
#define AC_VECTOR	17
#define MC_VECTOR	18

/*
 * An event in the format of VMX's interruption-information fields and of SVM's
 * EVENTINJ and EXITINTINFO (SDM Vol. 3C 24.8.3, APM Vol. 2 15.20).
 */
#define EVENT_VALID		BIT(31)
#define EVENT_ERROR_CODE	BIT(11)
#define EVENT_TYPE		(7 << 8)
#define EVENT_TYPE_INTR		(0 << 8)
#define EVENT_TYPE_NMI		(2 << 8)
#define EVENT_TYPE_EXCEPTION	(3 << 8)

/**
 * struct l2_config - what L1 wants of L2
 * @exceptions: the exceptions that L1 intercepts, a bit a vector
 * @shutdown: whether L1 intercepts SHUTDOWN. VMX always does.
 * @bad_cr3: enter L2 with a CR3 that points where no memory is
 * @inject: the event that L1 injects, or 0
 * @inject_error: its error code
 */
struct l2_config {
	u32 exceptions;
	bool shutdown;
	bool bad_cr3;
	u32 inject;
	u32 inject_error;
};

enum l2_exit_kind {
	L2_EXIT_OTHER,
	L2_EXIT_CALL,		/* of l2_leave() */
	L2_EXIT_EXCEPTION,
	L2_EXIT_SHUTDOWN,
};

/**
 * struct l2_exit - what L1 sees of an exit
 * @kind: why
 * @reason: VMX's exit reason, SVM's exit code
 * @vector: of an exception
 * @has_error: VMX: whether the exception has an error code
 * @error: of an exception
 * @info: of an exception: VMX's exit qualification, SVM's EXITINFO2
 * @vectoring: the event in whose delivery L2 was
 * @vectoring_error: its error code
 * @cr2: VMX: CR2 at the exit, SVM: CR2 of L2
 */
struct l2_exit {
	enum l2_exit_kind kind;
	u64 reason;
	u8 vector;
	bool has_error;
	u32 error;
	u64 info;
	u32 vectoring;
	u32 vectoring_error;
	u64 cr2;
};

/* An address where no test has memory; KVM_RUN exits for no access to it. */
#define NO_MEMORY_CR3	0xfe000000ul

/* An MSR that does not exist, which L1 leaves to KVM. */
#define NO_MSR		0x1f00

/* What KVM_GET_NESTED_STATE returns at most. */
union nested_state {
	struct kvm_nested_state state;
	char space[16384];
};

/* For the host */
bool nested_guest_supported(void);
struct kvm_vm *vm_create_with_l2(uint32_t vcpuid, void *l1_code);
void vm_exit_for_no_msr(struct kvm_vm *vm);
void vcpu_leave_l2(struct kvm_vm *vm, uint32_t vcpuid,
		   union nested_state *nested);

/* For L1: set VMX or SVM up once, then prepare and enter L2 at will. */
void l1_init(void *l2_data);
void l2_prepare(void *l2_data, void *rip, void *stack_end);
void l2_run(void *l2_data, const struct l2_config *config,
	    struct l2_exit *seen);

/* For L2: exit to L1. */
void l2_leave(void);

#endif
