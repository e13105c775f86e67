// SPDX-License-Identifier: GPL-2.0
/*
 * QEMU TCG plugin: how often each instruction was executed between a mark of
 * marks.h and its end. The last such stretch is left in the file, one line
 * "ADDRESS COUNT" for each instruction. For machines of one CPU.
 *
 *	-plugin profile.so,out=FILE,mark=run|collect
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "marks.h"
#include "qemu_plugin.h"

EXPORT int qemu_plugin_version = 1;

/* One block a translation, never freed: the translated code adds to it. */
struct block {
	struct block *next;
	size_t n;
	struct insn {
		uint64_t address;
		uint64_t count;
	} insn[];
};

static struct block *blocks;
static const char *out;
static uint32_t wanted, active;

static void clear(void)
{
	struct block *b;
	size_t i;

	for (b = blocks; b; b = b->next)
		for (i = 0; i < b->n; i++)
			b->insn[i].count = 0;
}

static void dump(void)
{
	FILE *f = fopen(out, "w");
	struct block *b;
	size_t i;

	if (!f) {
		perror(out);
		exit(1);
	}
	for (b = blocks; b; b = b->next)
		for (i = 0; i < b->n; i++)
			if (b->insn[i].count)
				fprintf(f, "%016" PRIx64 " %" PRIu64 "\n",
					b->insn[i].address, b->insn[i].count);
	fclose(f);
}

static void on_mark(unsigned int cpu, void *data)
{
	uint32_t mark = (uintptr_t)data;

	(void)cpu;
	if (mark == wanted)
		clear();
	else if (mark == MARK_END && active == wanted)
		dump();
	active = mark;
}

/* The displacement of a mark, 0 for any other instruction. */
static uint32_t mark_of(const struct qemu_plugin_insn *insn)
{
	const char *code = qemu_plugin_insn_data(insn);
	uint32_t disp;

	if (qemu_plugin_insn_size(insn) != 7 || memcmp(code, MARK_OPCODE, 3))
		return 0;
	memcpy(&disp, code + 3, sizeof(disp));
	return disp >= MARK_END && disp <= MARK_COLLECT ? disp : 0;
}

static void on_translation(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t i, n = qemu_plugin_tb_n_insns(tb);
	struct block *b = calloc(1, sizeof(*b) + n * sizeof(b->insn[0]));

	(void)id;
	if (!b)
		abort();
	b->n = n;
	b->next = blocks;
	blocks = b;
	for (i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uintptr_t mark = mark_of(insn);

		b->insn[i].address = qemu_plugin_insn_vaddr(insn);
		qemu_plugin_register_vcpu_insn_exec_inline(insn, INLINE_ADD_U64,
							   &b->insn[i].count, 1);
		if (mark)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark,
							       NO_REGISTERS,
							       (void *)mark);
	}
}

EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	int i;

	(void)info;
	for (i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			out = strdup(argv[i] + 4);
		else if (!strcmp(argv[i], "mark=run"))
			wanted = MARK_RUN;
		else if (!strcmp(argv[i], "mark=collect"))
			wanted = MARK_COLLECT;
		else
			return -1;
	}
	if (!out || !wanted)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	return 0;
}
