/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What profile.c uses of QEMU's plugin interface, version 1. Debian ships no
 * header of it.
 */
#ifndef BENCH_QEMU_PLUGIN_H
#define BENCH_QEMU_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

#define INLINE_ADD_U64	0	/* an operation of .._insn_exec_inline() */
#define NO_REGISTERS	0	/* what .._insn_exec_cb()'s callback uses */

struct qemu_plugin_tb;
struct qemu_plugin_insn;

typedef void (*on_translation_fn)(uint64_t id, struct qemu_plugin_tb *tb);
typedef void (*on_execution_fn)(unsigned int cpu, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, on_translation_fn fn);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    on_execution_fn fn, int flags, void *data);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn,
						int op, void *ptr, uint64_t imm);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb,
						 size_t i);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);

#endif /* BENCH_QEMU_PLUGIN_H */
