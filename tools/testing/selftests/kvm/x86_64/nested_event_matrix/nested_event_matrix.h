/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * nested_event_matrix_test: what its parts share.
 */
#ifndef SELFTEST_KVM_NESTED_EVENT_MATRIX_H
#define SELFTEST_KVM_NESTED_EVENT_MATRIX_H

#include <stdbool.h>

#include <linux/types.h>

/* The first event, beside the vectors of exceptions. */
#define NO_EVENT	(-1)
#define FIRST_IRQ	0x20
#define FIRST_NMI	2	/* the vector of NMI, which is no exception */

/**
 * struct event_case - two events of L2, and what L1 intercepts
 * @first: what is being delivered: NO_EVENT, an exception, FIRST_IRQ, FIRST_NMI
 * @first_error: its error code, if it has one
 * @second: the exception that this raises, or NO_EVENT
 * @first_hit: L1 intercepts the first, if it is an exception
 * @second_hit: L1 intercepts the second
 * @df_hit: L1 intercepts #DF
 * @shutdown_hit: L1 intercepts SHUTDOWN
 */
struct event_case {
	int first;
	u32 first_error;
	int second;
	bool first_hit;
	bool second_hit;
	bool df_hit;
	bool shutdown_hit;
};

enum outcome_kind {
	WENT_ON,	/* L2 sees no event */
	L2_HANDLES,	/* L2's handler of @vector runs */
	L1_EXCEPTION,	/* L1 sees an exit for @vector */
	L1_SHUTDOWN,	/* L1 sees a shutdown or triple fault */
	VM_SHUTDOWN,	/* KVM_RUN ends with KVM_EXIT_SHUTDOWN */
	OTHER,		/* what no manual allows */
};

/**
 * struct outcome - what becomes of the events
 * @kind: what L1, L2 or user space sees
 * @vector: of the exception or interrupt
 * @error: its error code, or 0
 * @vectoring: of an exit: the event that was being delivered, or 0
 * @vectoring_error: its error code, or 0
 */
struct outcome {
	enum outcome_kind kind;
	u8 vector;
	u32 error;
	u32 vectoring;
	u32 vectoring_error;
};

bool has_error_code(int vector);
void expect(const struct event_case *c, bool svm, struct outcome *o);

#endif
