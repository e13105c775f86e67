/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What profile.c uses of QEMU's plugin interface, version 7 (QEMU 11.1). Debian
 * ships no header of it.
 */
#ifndef BENCH_QEMU_PLUGIN_H
#define BENCH_QEMU_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

#define PLUGIN_VERSION	7
#define INLINE_ADD_U64	0	/* an operation of .._inline_per_vcpu() */
#define NO_REGISTERS	0	/* what .._insn_exec_cb()'s callback uses */

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_scoreboard;

/* A counter at this offset into each CPU's element of the scoreboard. */
struct counter {
	struct qemu_plugin_scoreboard *score;
	size_t offset;
};

typedef void (*on_translation_fn)(struct qemu_plugin_tb *tb, void *data);
typedef void (*on_execution_fn)(unsigned int cpu, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, on_translation_fn fn,
					   void *data);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    on_execution_fn fn, int flags, void *data);
void
qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct qemu_plugin_insn *insn,
						    int op, struct counter counter,
						    uint64_t imm);
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t element_size);
void *qemu_plugin_scoreboard_find(struct qemu_plugin_scoreboard *score,
				  unsigned int cpu);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb,
						 size_t i);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *buffer,
			     size_t size);

#endif /* BENCH_QEMU_PLUGIN_H */
