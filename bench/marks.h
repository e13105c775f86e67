/* SPDX-License-Identifier: GPL-2.0 */
/*
 * No-operations by which the profiler (profile.c) knows what begins and ends:
 * nopl with a displacement that no compiler emits. One instruction each.
 */
#ifndef BENCH_MARKS_H
#define BENCH_MARKS_H

#define MARK_OPCODE	"\x0f\x1f\x80"	/* nopl disp32(%rax) */
#define MARK_END	0x4d524b00
#define MARK_RUN	0x4d524b01
#define MARK_COLLECT	0x4d524b02

static inline __attribute__((always_inline)) void mark(int id)
{
	asm volatile("nopl %c0(%%rax)" : : "i"(id) : "memory");
}

#endif /* BENCH_MARKS_H */
