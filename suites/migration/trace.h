/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the host spends on dirty tracking, by its trace: marks that QEMU writes
 * into it, ioctls, and the scheduler's switches. Ticks are those of the time-stamp
 * counter, which an emulated processor advances by one an instruction. For hosts
 * of one CPU: what runs there when is told by the switches.
 */
#ifndef MIGRATE_TRACE_H
#define MIGRATE_TRACE_H

#include <stddef.h>

/* Where the list of events is that QEMU has to write, for its -trace. */
#define TRACE_QEMU_EVENTS "/tmp/qemu-events"

struct sync {
	unsigned long pages;		/* dirty pages that it found */
	unsigned long ticks;		/* of QEMU's thread, without the tracing's own */
	unsigned long kernel_ticks;	/* in its ioctls, with the tracing's own */
	unsigned int ioctls;		/* how many these were */
};

#define MAX_SYNCS	256

/* The account of one migration. */
struct account {
	unsigned int syncs;
	struct sync sync[MAX_SYNCS];
	unsigned long full_exits;	/* of vCPUs, for a full ring */
	unsigned long reap_ticks;	/* rings harvested outside of a sync */
	unsigned long clear_ticks;	/* ioctls of dirty tracking outside of both */
};

/*
 * Begin to trace. Without it, the account has the exits for a full ring only. Not for
 * a kernel with kmemleak: in 5.10, who reads trace_pipe leaks a buffer.
 */
void trace_start(void);

/* Bring the account up to date. */
void trace_read(struct account *account);

#endif /* MIGRATE_TRACE_H */
