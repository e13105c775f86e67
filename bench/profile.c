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

EXPORT int qemu_plugin_version = PLUGIN_VERSION;

/* One block a translation, never freed: the translated code adds to its counts. */
struct block {
	struct block *next;
	struct qemu_plugin_scoreboard *counts;	/* of one CPU: u64 counts[n] */
	size_t n;
	uint64_t address[];
};

static struct block *blocks;
static const char *out;
static uint32_t wanted, active;

static uint64_t *counts_of(const struct block *b)
{
	return qemu_plugin_scoreboard_find(b->counts, 0);
}

static void clear(void)
{
	struct block *b;

	for (b = blocks; b; b = b->next)
		memset(counts_of(b), 0, b->n * sizeof(uint64_t));
}

static void dump(void)
{
	FILE *f = fopen(out, "w");
	struct block *b;
	uint64_t *count;
	size_t i;

	if (!f) {
		perror(out);
		exit(1);
	}
	for (b = blocks; b; b = b->next) {
		count = counts_of(b);
		for (i = 0; i < b->n; i++)
			if (count[i])
				fprintf(f, "%016" PRIx64 " %" PRIu64 "\n",
					b->address[i], count[i]);
	}
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
	char code[7];
	uint32_t disp;

	if (qemu_plugin_insn_size(insn) != sizeof(code) ||
	    qemu_plugin_insn_data(insn, code, sizeof(code)) != sizeof(code) ||
	    memcmp(code, MARK_OPCODE, 3))
		return 0;
	memcpy(&disp, code + 3, sizeof(disp));
	return disp >= MARK_END && disp <= MARK_COLLECT ? disp : 0;
}

static void on_translation(struct qemu_plugin_tb *tb, void *data)
{
	size_t i, n = qemu_plugin_tb_n_insns(tb);
	struct block *b = calloc(1, sizeof(*b) + n * sizeof(b->address[0]));
	struct counter counter;

	(void)data;
	if (!b)
		abort();
	b->counts = qemu_plugin_scoreboard_new(n * sizeof(uint64_t));
	b->n = n;
	b->next = blocks;
	blocks = b;
	for (i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uintptr_t mark = mark_of(insn);

		b->address[i] = qemu_plugin_insn_vaddr(insn);
		counter.score = b->counts;
		counter.offset = i * sizeof(uint64_t);
		qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn,
								    INLINE_ADD_U64,
								    counter, 1);
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
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation, NULL);
	return 0;
}
