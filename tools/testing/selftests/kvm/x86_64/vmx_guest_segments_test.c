// SPDX-License-Identifier: GPL-2.0-only
/*
 * VM entry of L2: the checks on guest segment registers, SDM Vol. 3C 26.3.1.2,
 * with "unrestricted guest" off and on in L1's controls. Each bad value makes
 * the entry fail with exit reason 33 and qualification 0, leaving the guest-state
 * area alone, and each good one enters. And what the control is for: an L2
 * without paging.
 */
#define _GNU_SOURCE /* for program_invocation_name */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/bitops.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "vmx.h"
#include "kselftest.h"

#define VCPU_ID		0

/* L2's code, at the same address with and without paging, below 1 MiB. */
#define CODE		0xf0000

/* Modes of L2. */
#define LONG		BIT(0)	/* IA-32e mode, 64-bit code segment */
#define PAGED		BIT(1)	/* protected mode, 32-bit paging */
#define FLAT		BIT(2)	/* protected mode without paging */
#define V86		BIT(3)	/* virtual-8086 mode */
#define REAL		BIT(4)	/* real-address mode */
#define NR_MODES	5

#define PROT32		(PAGED | FLAT)
#define PROT		(LONG | PROT32)
#define NOT_V86		(PROT | REAL)
#define ALL		(NOT_V86 | V86)

/* The modes that are for "unrestricted guest" only. */
#define UNPAGED		(FLAT | REAL)

static const char * const mode_names[] = {
	"64-bit", "paged 32-bit", "unpaged 32-bit", "virtual-8086", "real",
};

/* Segment registers, in the order of their VMCS fields, and sets of them. */
enum { ES_NR, CS_NR, SS_NR, DS_NR, FS_NR, GS_NR, LDTR_NR, TR_NR, NR_REGS };

#define ES		BIT(ES_NR)
#define CS		BIT(CS_NR)
#define SS		BIT(SS_NR)
#define DS		BIT(DS_NR)
#define FS		BIT(FS_NR)
#define GS		BIT(GS_NR)
#define LDTR		BIT(LDTR_NR)
#define TR		BIT(TR_NR)

#define DATA		(DS | ES | FS | GS)
#define CODE_DATA	(CS | SS | DATA)

static const char * const reg_names[] = {
	"ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR",
};

/* The four fields of a register; those of the next one are 2 further on. */
enum { SEL, BASE, LIMIT, AR, NR_PARTS };

static const uint32_t part_fields[] = {
	[SEL] = GUEST_ES_SELECTOR,
	[BASE] = GUEST_ES_BASE,
	[LIMIT] = GUEST_ES_LIMIT,
	[AR] = GUEST_ES_AR_BYTES,
};

static const char * const part_names[] = {
	"selector", "base", "limit", "access rights",
};

/* What a good L2 has in each mode, where no row says otherwise. */
struct segment {
	uint16_t sel;
	uint64_t base;
	uint32_t limit;
	uint32_t ar;
};

#define UNUSABLE	0x10000

#define X86_EFLAGS_VM	BIT(17)

#define CODE_64		{ 0x08, 0, 0xffffffff, 0xa09b }
#define CODE_32		{ 0x08, 0, 0xffffffff, 0xc09b }
#define DATA_32		{ 0x10, 0, 0xffffffff, 0xc093 }
#define LDT		{ 0x18, 0, 0xffff, 0x0082 }
#define TSS		{ 0x20, 0, 0x67, 0x008b }
#define CODE_V86	{ CODE >> 4, CODE, 0xffff, 0x00f3 }
#define DATA_V86	{ 0x1000, 0x10000, 0xffff, 0x00f3 }
#define CODE_REAL	{ CODE >> 4, CODE, 0xffff, 0x0093 }
#define DATA_REAL	{ 0x1000, 0x10000, 0xffff, 0x0093 }

static const struct segment good[NR_MODES][NR_REGS] = {
	{ DATA_32, CODE_64, DATA_32, DATA_32, DATA_32, DATA_32, LDT, TSS },
	{ DATA_32, CODE_32, DATA_32, DATA_32, DATA_32, DATA_32, LDT, TSS },
	{ DATA_32, CODE_32, DATA_32, DATA_32, DATA_32, DATA_32, LDT, TSS },
	{ DATA_V86, CODE_V86, DATA_V86, DATA_V86, DATA_V86, DATA_V86, LDT, TSS },
	{ DATA_REAL, CODE_REAL, DATA_REAL, DATA_REAL, DATA_REAL, DATA_REAL,
	  LDT, TSS },
};

/*
 * One row, one value: of each register in @regs, in each mode in @modes, with
 * what @also sets in other fields. @off and @on: what becomes of it with
 * "unrestricted guest" off and on.
 */
enum verdict { BAD, GOOD };

struct also {
	int reg, part;
	uint64_t value;
};

struct row {
	unsigned int modes, regs;
	int part;
	uint64_t value;
	enum verdict off, on;
	struct also also[3];
};

/* Not canonical with 48 bits of linear address, nor with 57. */
#define NONCANONICAL	0x0100000000000000
#define HIGH_HALF	0xffff800000000000
#define FOUR_GIB	0x0000000100000000

/* An access-rights byte with each type. */
#define AR_TYPE(_modes, _regs, _ar, _type, _off, _on)	\
	{ _modes, _regs, AR, (_ar) | (_type), _off, _on }

/* A bit that some processors do not store: then there is nothing to check. */
#define RESERVED_BITS	(~0x1f0ffull & 0xffffffff)

static const struct row rows[] = {
	/* Selector fields. TR: the TI flag must be 0. */
	{ ALL, TR, SEL, 0x24, BAD, BAD },
	{ ALL, TR, SEL, 0x27, BAD, BAD },
	{ ALL, TR, SEL, 0x23, GOOD, GOOD },
	{ ALL, TR, SEL, 0x00, GOOD, GOOD },
	/* LDTR: if usable, the TI flag must be 0. */
	{ ALL, LDTR, SEL, 0x1c, BAD, BAD },
	{ ALL, LDTR, SEL, 0x1c, GOOD, GOOD, {{ LDTR_NR, AR, UNUSABLE }} },
	{ ALL, LDTR, SEL, 0x00, GOOD, GOOD },
	/*
	 * SS: not virtual-8086 and the control 0, the RPL must be that of CS.
	 * A conforming CS goes with any CPL.
	 */
	{ PROT, SS, SEL, 0x11, BAD, GOOD, {{ SS_NR, AR, 0xc0b3 },
		{ CS_NR, AR, 0xc09f }} },
	{ PROT, SS, SEL, 0x11, GOOD, GOOD, {{ SS_NR, AR, 0xc0b3 },
		{ CS_NR, AR, 0xc09f }, { CS_NR, SEL, 0x09 }} },
	{ PROT, CS, SEL, 0x09, BAD, GOOD },
	{ V86, SS, SEL, 0x1003, GOOD, GOOD, {{ SS_NR, BASE, 0x10030 }} },

	/* Base-address fields. Virtual-8086: the selector times 16. */
	{ V86, CODE_DATA, BASE, 0x10010, BAD, BAD },
	{ V86, CODE_DATA, BASE, 0, BAD, BAD },
	{ V86, CODE_DATA, BASE, FOUR_GIB | 0x10000, BAD, BAD },
	{ V86, SS | DATA, SEL, 0x1001, BAD, BAD },
	{ V86, SS, SEL, 0xffff, GOOD, GOOD, {{ SS_NR, BASE, 0xffff0 }} },
	{ V86, DS, SEL, 0xffff, GOOD, GOOD, {{ DS_NR, BASE, 0xffff0 }} },
	{ V86, ES, SEL, 0xffff, GOOD, GOOD, {{ ES_NR, BASE, 0xffff0 }} },
	{ V86, FS, SEL, 0xffff, GOOD, GOOD, {{ FS_NR, BASE, 0xffff0 }} },
	{ V86, GS, SEL, 0xffff, GOOD, GOOD, {{ GS_NR, BASE, 0xffff0 }} },
	{ V86, CS, SEL, 0xefff, GOOD, GOOD, {{ CS_NR, BASE, 0xefff0 }} },
	/* TR, FS, GS: canonical. */
	{ ALL, TR, BASE, NONCANONICAL, BAD, BAD },
	{ ALL, TR, BASE, HIGH_HALF, GOOD, GOOD },
	{ NOT_V86, FS | GS, BASE, NONCANONICAL, BAD, BAD },
	{ NOT_V86, FS, BASE, NONCANONICAL, BAD, BAD, {{ FS_NR, AR, UNUSABLE }} },
	{ NOT_V86, GS, BASE, NONCANONICAL, BAD, BAD, {{ GS_NR, AR, UNUSABLE }} },
	{ LONG, FS | GS, BASE, HIGH_HALF, GOOD, GOOD },
	/* LDTR: if usable, canonical. */
	{ ALL, LDTR, BASE, NONCANONICAL, BAD, BAD },
	{ ALL, LDTR, BASE, NONCANONICAL, GOOD, GOOD,
		{{ LDTR_NR, AR, UNUSABLE }} },
	{ ALL, LDTR, BASE, HIGH_HALF, GOOD, GOOD },
	/* CS, and SS, DS, ES if usable: bits 63:32 must be 0. */
	{ NOT_V86, CS | SS | DS | ES, BASE, FOUR_GIB, BAD, BAD },
	{ NOT_V86, CS | SS | DS | ES, BASE, HIGH_HALF, BAD, BAD },
	{ NOT_V86, SS, BASE, FOUR_GIB, GOOD, GOOD, {{ SS_NR, AR, UNUSABLE }} },
	{ NOT_V86, DS, BASE, FOUR_GIB, GOOD, GOOD, {{ DS_NR, AR, UNUSABLE }} },
	{ NOT_V86, ES, BASE, FOUR_GIB, GOOD, GOOD, {{ ES_NR, AR, UNUSABLE }} },
	{ PROT, CS | SS | DATA, BASE, 0xfffff000, GOOD, GOOD },

	/* Limit fields. Virtual-8086: 0xffff. */
	{ V86, CODE_DATA, LIMIT, 0xfffe, BAD, BAD },
	{ V86, CODE_DATA, LIMIT, 0x1ffff, BAD, BAD },
	{ V86, CODE_DATA, LIMIT, 0xffffffff, BAD, BAD },
	{ V86, CODE_DATA, LIMIT, 0, BAD, BAD },

	/* Access rights. Virtual-8086: 0xf3. */
	{ V86, CODE_DATA, AR, 0xf1, BAD, BAD },
	{ V86, CODE_DATA, AR, 0xf2, BAD, BAD },
	{ V86, CODE_DATA, AR, 0xf7, BAD, BAD },
	{ V86, CODE_DATA, AR, 0xfb, BAD, BAD },
	{ V86, CODE_DATA, AR, 0xe3, BAD, BAD },
	{ V86, CODE_DATA, AR, 0x93, BAD, BAD },
	{ V86, CODE_DATA, AR, 0xd3, BAD, BAD },
	{ V86, CODE_DATA, AR, 0x73, BAD, BAD },
	{ V86, CODE_DATA, AR, 0x10f3, BAD, BAD },
	{ V86, CODE_DATA, AR, 0x20f3, BAD, BAD },
	{ V86, CODE_DATA, AR, 0x40f3, BAD, BAD },
	{ V86, CODE_DATA, AR, 0x80f3, BAD, BAD },
	{ V86, CODE_DATA, AR, 0x100f3, BAD, BAD },
	{ V86, CODE_DATA, AR, 0x1f3, BAD, BAD },
	{ V86, CODE_DATA, AR, 0x800000f3, BAD, BAD },
	/* CS: accessed code; with the control, also accessed read/write data. */
	AR_TYPE(PROT32, CS, 0xc090, 0x0, BAD, BAD),
	AR_TYPE(PROT32, CS, 0xc090, 0x1, BAD, BAD),
	AR_TYPE(PROT32, CS, 0xc090, 0x2, BAD, BAD),
	AR_TYPE(PROT32, CS, 0xc090, 0x3, BAD, GOOD),
	AR_TYPE(PROT32, CS, 0xc090, 0x4, BAD, BAD),
	AR_TYPE(PROT32, CS, 0xc090, 0x5, BAD, BAD),
	AR_TYPE(PROT32, CS, 0xc090, 0x6, BAD, BAD),
	AR_TYPE(PROT32, CS, 0xc090, 0x7, BAD, BAD),
	AR_TYPE(PROT32, CS, 0xc090, 0x8, BAD, BAD),
	AR_TYPE(PROT32, CS, 0xc090, 0x9, GOOD, GOOD),
	AR_TYPE(PROT32, CS, 0xc090, 0xa, BAD, BAD),
	AR_TYPE(PROT32, CS, 0xc090, 0xb, GOOD, GOOD),
	AR_TYPE(PROT32, CS, 0xc090, 0xc, BAD, BAD),
	AR_TYPE(PROT32, CS, 0xc090, 0xd, GOOD, GOOD),
	AR_TYPE(PROT32, CS, 0xc090, 0xe, BAD, BAD),
	AR_TYPE(PROT32, CS, 0xc090, 0xf, GOOD, GOOD),
	AR_TYPE(REAL, CS, 0x0090, 0x3, BAD, GOOD),
	AR_TYPE(REAL, CS, 0x0090, 0x2, BAD, BAD),
	AR_TYPE(LONG, CS, 0xa090, 0x9, GOOD, GOOD),
	AR_TYPE(LONG, CS, 0xa090, 0xa, BAD, BAD),
	AR_TYPE(LONG, CS, 0xa090, 0xd, GOOD, GOOD),
	/* SS: if usable, accessed read/write data. */
	AR_TYPE(PROT, SS, 0xc090, 0x0, BAD, BAD),
	AR_TYPE(PROT, SS, 0xc090, 0x1, BAD, BAD),
	AR_TYPE(PROT, SS, 0xc090, 0x2, BAD, BAD),
	AR_TYPE(PROT, SS, 0xc090, 0x3, GOOD, GOOD),
	AR_TYPE(PROT, SS, 0xc090, 0x4, BAD, BAD),
	AR_TYPE(PROT, SS, 0xc090, 0x5, BAD, BAD),
	AR_TYPE(PROT, SS, 0xc090, 0x6, BAD, BAD),
	AR_TYPE(PROT, SS, 0xc090, 0x7, GOOD, GOOD),
	AR_TYPE(PROT, SS, 0xc090, 0x8, BAD, BAD),
	AR_TYPE(PROT, SS, 0xc090, 0x9, BAD, BAD),
	AR_TYPE(PROT, SS, 0xc090, 0xa, BAD, BAD),
	AR_TYPE(PROT, SS, 0xc090, 0xb, BAD, BAD),
	AR_TYPE(PROT, SS, 0xc090, 0xc, BAD, BAD),
	AR_TYPE(PROT, SS, 0xc090, 0xd, BAD, BAD),
	AR_TYPE(PROT, SS, 0xc090, 0xe, BAD, BAD),
	AR_TYPE(PROT, SS, 0xc090, 0xf, BAD, BAD),
	AR_TYPE(NOT_V86, SS, UNUSABLE, 0x0, GOOD, GOOD),
	AR_TYPE(NOT_V86, SS, UNUSABLE, 0xb, GOOD, GOOD),
	/* DS, ES, FS, GS: if usable, accessed, and code must be readable. */
	AR_TYPE(PROT32, DATA, 0xc090, 0x0, BAD, BAD),
	AR_TYPE(PROT, DATA, 0xc090, 0x1, GOOD, GOOD),
	AR_TYPE(PROT, DATA, 0xc090, 0x2, BAD, BAD),
	AR_TYPE(PROT32, DATA, 0xc090, 0x4, BAD, BAD),
	AR_TYPE(PROT32, DATA, 0xc090, 0x5, GOOD, GOOD),
	AR_TYPE(PROT32, DATA, 0xc090, 0x6, BAD, BAD),
	AR_TYPE(PROT32, DATA, 0xc090, 0x7, GOOD, GOOD),
	AR_TYPE(PROT32, DATA, 0xc090, 0x8, BAD, BAD),
	AR_TYPE(PROT, DATA, 0xc090, 0x9, BAD, BAD),
	AR_TYPE(PROT32, DATA, 0xc090, 0xa, BAD, BAD),
	AR_TYPE(PROT, DATA, 0xc090, 0xb, GOOD, GOOD),
	AR_TYPE(PROT32, DATA, 0xc090, 0xc, BAD, BAD),
	AR_TYPE(PROT32, DATA, 0xc090, 0xd, BAD, BAD),
	AR_TYPE(PROT32, DATA, 0xc090, 0xe, BAD, BAD),
	AR_TYPE(PROT32, DATA, 0xc090, 0xf, GOOD, GOOD),
	AR_TYPE(NOT_V86, DATA, UNUSABLE, 0x0, GOOD, GOOD),
	AR_TYPE(NOT_V86, DATA, UNUSABLE, 0x8, GOOD, GOOD),
	/* S: CS, and the others if usable, must have it. */
	{ PROT, CS, AR, 0xa08b, BAD, BAD },
	{ PROT, SS, AR, 0xc083, BAD, BAD },
	{ PROT, DATA, AR, 0xc083, BAD, BAD },
	/* DPL of CS: 0 for data; that of SS, or no greater if conforming. */
	{ PROT32, CS, AR, 0xc0b3, BAD, BAD },
	{ PROT32, CS, AR, 0xc0b3, BAD, BAD, {{ SS_NR, AR, 0xc0b3 },
		{ SS_NR, SEL, 0x11 }, { CS_NR, SEL, 0x09 }} },
	{ PROT32, CS, AR, 0xc0b9, BAD, BAD },
	{ PROT32, CS, AR, 0xc0bb, BAD, BAD },
	{ PROT32, CS, AR, 0xc0bd, BAD, BAD },
	{ PROT32, CS, AR, 0xc0bf, BAD, BAD },
	{ LONG, CS, AR, 0xa0bb, BAD, BAD },
	{ PROT32, CS, AR, 0xc09b, BAD, BAD, {{ SS_NR, AR, 0xc0b3 },
		{ SS_NR, SEL, 0x11 }, { CS_NR, SEL, 0x09 }} },
	{ PROT32, CS, AR, 0xc0bb, GOOD, GOOD, {{ SS_NR, AR, 0xc0b3 },
		{ SS_NR, SEL, 0x11 }, { CS_NR, SEL, 0x09 }} },
	{ PROT32, CS, AR, 0xc0f9, GOOD, GOOD, {{ SS_NR, AR, 0xc0f3 },
		{ SS_NR, SEL, 0x13 }, { CS_NR, SEL, 0x0b }} },
	{ PROT32, CS, AR, 0xc09d, GOOD, GOOD, {{ SS_NR, AR, 0xc0b3 },
		{ SS_NR, SEL, 0x11 }, { CS_NR, SEL, 0x09 }} },
	{ PROT32, CS, AR, 0xc0bf, GOOD, GOOD, {{ SS_NR, AR, 0xc0f3 },
		{ SS_NR, SEL, 0x13 }, { CS_NR, SEL, 0x0b }} },
	/*
	 * DPL of SS: the RPL, if the control is 0; 0 with CR0.PE = 0, and if CS
	 * is a data segment.
	 */
	{ PROT32, SS, AR, 0xc0b3, BAD, GOOD, {{ CS_NR, AR, 0xc09f }} },
	{ PROT32, SS, AR, 0xc0b3, BAD, BAD, {{ CS_NR, AR, 0xc093 } } },
	{ PROT32, SS, AR, 0xc0b3, BAD, BAD, {{ CS_NR, AR, 0xc093 },
		{ SS_NR, SEL, 0x11 }, { CS_NR, SEL, 0x09 }} },
	{ REAL, SS, AR, 0xb3, BAD, BAD, {{ CS_NR, AR, 0x9f }} },
	{ REAL, SS, AR, 0xf3, BAD, BAD, {{ CS_NR, AR, 0xfb }} },
	/*
	 * DPL of DS, ES, FS, GS: no less than the RPL, if the control is 0, they
	 * are usable and not conforming code.
	 */
	{ PROT, DATA, SEL, 0x13, BAD, GOOD },
	{ PROT, DATA, SEL, 0x11, BAD, GOOD },
	{ PROT, DS, SEL, 0x13, BAD, GOOD, {{ DS_NR, AR, 0xc09b }} },
	{ PROT, ES, SEL, 0x13, BAD, GOOD, {{ ES_NR, AR, 0xc09b }} },
	{ PROT, FS, SEL, 0x13, BAD, GOOD, {{ FS_NR, AR, 0xc0db }} },
	{ PROT, GS, SEL, 0x13, BAD, GOOD, {{ GS_NR, AR, 0xc0d1 }} },
	{ PROT, DS, SEL, 0x13, GOOD, GOOD, {{ DS_NR, AR, 0xc09f }} },
	{ PROT, ES, SEL, 0x13, GOOD, GOOD, {{ ES_NR, AR, 0xc09f }} },
	{ PROT, FS, SEL, 0x13, GOOD, GOOD, {{ FS_NR, AR, 0xc0f3 }} },
	{ PROT, GS, SEL, 0x10, GOOD, GOOD, {{ GS_NR, AR, 0xc0f3 }} },
	{ PROT, DS, SEL, 0x13, GOOD, GOOD, {{ DS_NR, AR, UNUSABLE }} },
	{ PROT, ES, SEL, 0x13, GOOD, GOOD, {{ ES_NR, AR, UNUSABLE }} },
	{ PROT, FS, SEL, 0x13, GOOD, GOOD, {{ FS_NR, AR, UNUSABLE }} },
	{ PROT, GS, SEL, 0x13, GOOD, GOOD, {{ GS_NR, AR, UNUSABLE }} },
	/* P: CS, and the others if usable, must have it. */
	{ LONG, CS, AR, 0xa01b, BAD, BAD },
	{ PROT32, CS, AR, 0xc01b, BAD, BAD },
	{ PROT, SS, AR, 0xc013, BAD, BAD },
	{ PROT, DATA, AR, 0xc013, BAD, BAD },
	{ REAL, CODE_DATA, AR, 0x13, BAD, BAD },
	{ PROT, SS | DATA, AR, 0x1c013, GOOD, GOOD },
	/* Bits 11:8 and 31:17: 0 for CS, and for the others if usable. */
	{ PROT32, CS, AR, 0xc19b, BAD, BAD },
	{ PROT32, CS, AR, 0xc89b, BAD, BAD },
	{ PROT32, CS, AR, 0x2c09b, BAD, BAD },
	{ PROT32, CS, AR, 0x8000c09b, BAD, BAD },
	{ PROT32, SS | DATA, AR, 0xc293, BAD, BAD },
	{ PROT32, SS | DATA, AR, 0xc493, BAD, BAD },
	{ PROT32, SS | DATA, AR, 0x4c093, BAD, BAD },
	{ PROT32, SS | DATA, AR, 0x4000c093, BAD, BAD },
	{ PROT, SS | DATA, AR, 0xfffff000, GOOD, GOOD },
	/* D/B: CS, in IA-32e mode, not together with L. */
	{ LONG, CS, AR, 0xe09b, BAD, BAD },
	{ LONG, CS, AR, 0xc09b, GOOD, GOOD },
	{ LONG, CS, AR, 0x809b, GOOD, GOOD },
	/* G: 0 if a bit in limit[11:0] is 0, 1 if one in limit[31:20] is 1. */
	{ PROT32, CODE_DATA, LIMIT, 0xfffffffe, BAD, BAD },
	{ PROT32, CODE_DATA, LIMIT, 0xffffe, BAD, BAD },
	{ PROT32, CODE_DATA, LIMIT, 0xff7ff, BAD, BAD },
	{ PROT32, CODE_DATA, LIMIT, 0xfffff, GOOD, GOOD },
	{ PROT32, CODE_DATA, LIMIT, 0x1fffff, GOOD, GOOD },
	{ PROT, DATA, LIMIT, 0, BAD, BAD },
	{ PROT32, CS, LIMIT, 0xffffe, GOOD, GOOD, {{ CS_NR, AR, 0x409b }} },
	{ PROT32, CS, LIMIT, 0xfffff, GOOD, GOOD, {{ CS_NR, AR, 0x409b }} },
	{ PROT32, CS, LIMIT, 0x1fffff, BAD, BAD, {{ CS_NR, AR, 0x409b }} },
	{ PROT32, CS, LIMIT, 0x80000000, BAD, BAD, {{ CS_NR, AR, 0x409b }} },
	{ PROT32, SS, LIMIT, 0, GOOD, GOOD, {{ SS_NR, AR, 0x4093 }} },
	{ PROT32, SS, LIMIT, 0x1fffff, BAD, BAD, {{ SS_NR, AR, 0x4093 }} },
	{ PROT, DS, LIMIT, 0xfffff, GOOD, GOOD, {{ DS_NR, AR, 0x4093 }} },
	{ PROT, DS, LIMIT, 0x1fffff, BAD, BAD, {{ DS_NR, AR, 0x4093 }} },
	{ PROT, ES, LIMIT, 0, GOOD, GOOD, {{ ES_NR, AR, 0x4093 }} },
	{ PROT, ES, LIMIT, 0x100000, BAD, BAD, {{ ES_NR, AR, 0x4093 }} },
	{ PROT, FS, LIMIT, 0x7ff, GOOD, GOOD, {{ FS_NR, AR, 0x4093 }} },
	{ PROT, FS, LIMIT, 0x80000fff, BAD, BAD, {{ FS_NR, AR, 0x4093 }} },
	{ PROT, GS, LIMIT, 0xffffe, GOOD, GOOD, {{ GS_NR, AR, 0x4093 }} },
	{ PROT, GS, LIMIT, 0xffffffff, BAD, BAD, {{ GS_NR, AR, 0x4093 }} },
	{ PROT, SS, LIMIT, 0xfffffffe, GOOD, GOOD, {{ SS_NR, AR, UNUSABLE }} },
	{ PROT, DS, LIMIT, 0xfffffffe, GOOD, GOOD, {{ DS_NR, AR, UNUSABLE }} },
	{ PROT, ES, LIMIT, 0x100000, GOOD, GOOD, {{ ES_NR, AR, UNUSABLE }} },

	/* TR. Type: a busy TSS, in IA-32e mode a 64-bit one. */
	AR_TYPE(ALL, TR, 0x80, 0x0, BAD, BAD),
	AR_TYPE(ALL, TR, 0x80, 0x1, BAD, BAD),
	AR_TYPE(ALL, TR, 0x80, 0x2, BAD, BAD),
	AR_TYPE(ALL & ~LONG, TR, 0x80, 0x3, GOOD, GOOD),
	AR_TYPE(LONG, TR, 0x80, 0x3, BAD, BAD),
	AR_TYPE(ALL, TR, 0x80, 0x7, BAD, BAD),
	AR_TYPE(ALL, TR, 0x80, 0x9, BAD, BAD),
	AR_TYPE(ALL, TR, 0x80, 0xa, BAD, BAD),
	AR_TYPE(ALL, TR, 0x80, 0xb, GOOD, GOOD),
	AR_TYPE(ALL, TR, 0x80, 0xf, BAD, BAD),
	/* S must be 0, P 1, bits 11:8 and 31:17 0; it must be usable. */
	{ ALL, TR, AR, 0x9b, BAD, BAD },
	{ ALL, TR, AR, 0x0b, BAD, BAD },
	{ ALL, TR, AR, 0x18b, BAD, BAD },
	{ ALL, TR, AR, 0x88b, BAD, BAD },
	{ ALL, TR, AR, 0x2008b, BAD, BAD },
	{ ALL, TR, AR, 0x8000008b, BAD, BAD },
	{ ALL, TR, AR, 0x1008b, BAD, BAD },
	{ ALL, TR, AR, UNUSABLE, BAD, BAD },
	/* G as above. */
	{ ALL, TR, AR, 0x808b, BAD, BAD },
	{ ALL, TR, LIMIT, 0x1fffff, BAD, BAD },
	{ ALL, TR, LIMIT, 0xfffff, GOOD, GOOD },
	{ ALL, TR, LIMIT, 0x1fffff, GOOD, GOOD, {{ TR_NR, AR, 0x808b }} },
	{ ALL, TR, LIMIT, 0xfffff, GOOD, GOOD, {{ TR_NR, AR, 0x808b }} },

	/* LDTR, if usable: type 2, S 0, P 1, bits 11:8 and 31:17 0. */
	AR_TYPE(ALL, LDTR, 0x80, 0x0, BAD, BAD),
	AR_TYPE(ALL, LDTR, 0x80, 0x1, BAD, BAD),
	AR_TYPE(ALL, LDTR, 0x80, 0x2, GOOD, GOOD),
	AR_TYPE(ALL, LDTR, 0x80, 0x3, BAD, BAD),
	AR_TYPE(ALL, LDTR, 0x80, 0xa, BAD, BAD),
	AR_TYPE(ALL, LDTR, 0x80, 0xb, BAD, BAD),
	{ ALL, LDTR, AR, 0x92, BAD, BAD },
	{ ALL, LDTR, AR, 0x02, BAD, BAD },
	{ ALL, LDTR, AR, 0x182, BAD, BAD },
	{ ALL, LDTR, AR, 0x882, BAD, BAD },
	{ ALL, LDTR, AR, 0x20082, BAD, BAD },
	{ ALL, LDTR, AR, 0x80000082, BAD, BAD },
	{ ALL, LDTR, AR, UNUSABLE, GOOD, GOOD },
	{ ALL, LDTR, AR, UNUSABLE | 0x9b, GOOD, GOOD },
	/* G as above. */
	{ ALL, LDTR, LIMIT, 0x1fffff, BAD, BAD },
	{ ALL, LDTR, LIMIT, 0xfffe, BAD, BAD, {{ LDTR_NR, AR, 0x8082 }} },
	{ ALL, LDTR, LIMIT, 0xfffe, GOOD, GOOD },
	{ ALL, LDTR, LIMIT, 0x1fffff, GOOD, GOOD, {{ LDTR_NR, AR, 0x8082 }} },
	{ ALL, LDTR, LIMIT, 0x1fffff, GOOD, GOOD, {{ LDTR_NR, AR, UNUSABLE }} },
};

/* What L1 does for the host: write the fields, enter L2, tell what happened. */
#define MAX_FIELDS	(NR_REGS * NR_PARTS + 8)

static struct {
	uint32_t nr_fields;
	bool unrestricted;
	uint32_t field[MAX_FIELDS];
	uint64_t value[MAX_FIELDS];
	/* What VMREAD says, before and after. */
	uint64_t before[MAX_FIELDS];
	uint64_t after[MAX_FIELDS];
	uint64_t error;			/* VM-instruction error, 0: none */
	uint64_t reason, qualification, vector, cr0;
} job __aligned(4096);

/* L2's code; what it is depends on the byte and on the mode. */
static const uint8_t cpuid_code[] = { 0x0f, 0xa2 };

/* 32-bit: mov eax, cr0; btr eax, 31; mov cr0, eax; cpuid */
static const uint8_t clear_pg_code[] = {
	0x0f, 0x20, 0xc0, 0x0f, 0xba, 0xf0, 0x1f, 0x0f, 0x22, 0xc0, 0x0f, 0xa2,
};

static void l1_set_unrestricted(bool on)
{
	uint64_t control = vmreadz(SECONDARY_VM_EXEC_CONTROL);

	if (on)
		control |= SECONDARY_EXEC_UNRESTRICTED_GUEST;
	else
		control &= ~SECONDARY_EXEC_UNRESTRICTED_GUEST;
	GUEST_ASSERT(!vmwrite(SECONDARY_VM_EXEC_CONTROL, control));
}

static void l1_guest_code(struct vmx_pages *vmx)
{
	bool launched = false;
	int i;

	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, NULL, NULL);
	/* Whatever L2 does wrong is an exit; page faults by 0 == 0. */
	vmwrite(EXCEPTION_BITMAP, ~0u);
	vmwrite(PAGE_FAULT_ERROR_CODE_MATCH, 0);

	for (;;) {
		GUEST_SYNC(0);
		l1_set_unrestricted(job.unrestricted);
		for (i = 0; i < job.nr_fields; i++) {
			GUEST_ASSERT(!vmwrite(job.field[i], job.value[i]));
			job.before[i] = vmreadz(job.field[i]);
		}
		job.error = 0;
		job.reason = 0;
		job.qualification = 0;
		if (launched ? vmresume() : vmlaunch()) {
			job.error = vmreadz(VM_INSTRUCTION_ERROR);
			continue;
		}
		job.reason = vmreadz(VM_EXIT_REASON);
		job.qualification = vmreadz(EXIT_QUALIFICATION);
		job.vector = vmreadz(VM_EXIT_INTR_INFO) & 0xff;
		job.cr0 = vmreadz(GUEST_CR0);
		for (i = 0; i < job.nr_fields; i++)
			job.after[i] = vmreadz(job.field[i]);
		/* A VMCS counts as launched when an entry did not fail. */
		if (!(job.reason & EXIT_REASON_FAILED_VMENTRY))
			launched = true;
	}
}

static struct kvm_vm *vm;
static uint64_t page_directory;
static uint64_t l1_cr0, l1_cr3, l1_cr4, l1_entry;
static unsigned int nr_good, nr_bad, nr_dropped, faults;

static typeof(job) *guest_job(void)
{
	return addr_gva2hva(vm, (vm_vaddr_t)&job);
}

static void run_l1(void)
{
	struct kvm_run *run = vcpu_state(vm, VCPU_ID);
	struct ucall uc;

	vcpu_run(vm, VCPU_ID);
	TEST_ASSERT(run->exit_reason == KVM_EXIT_IO, "exit %u (%s)",
		    run->exit_reason, exit_reason_str(run->exit_reason));
	switch (get_ucall(vm, VCPU_ID, &uc)) {
	case UCALL_SYNC:
		return;
	case UCALL_ABORT:
		TEST_FAIL("%s at %s:%ld", (const char *)uc.args[0], __FILE__,
			  uc.args[1]);
	default:
		TEST_FAIL("unknown ucall %lu", uc.cmd);
	}
}

static uint32_t field_of(int reg, int part)
{
	return part_fields[part] + 2 * reg;
}

static void set_field(uint32_t field, uint64_t value)
{
	typeof(job) *j = guest_job();
	int i;

	for (i = 0; i < j->nr_fields && j->field[i] != field; i++)
		;
	TEST_ASSERT(i < MAX_FIELDS, "more than %d fields", MAX_FIELDS);
	j->field[i] = field;
	j->value[i] = value;
	if (i == j->nr_fields)
		j->nr_fields++;
}

static uint64_t get_value(uint64_t *values, uint32_t field)
{
	typeof(job) *j = guest_job();
	int i;

	for (i = 0; i < j->nr_fields; i++)
		if (j->field[i] == field)
			return values[i];
	TEST_FAIL("no field 0x%x", field);
	return 0;
}

/* A good L2 for mode @m. */
static void prepare(int m, bool unrestricted)
{
	typeof(job) *j = guest_job();
	uint64_t cr0 = l1_cr0, cr4 = l1_cr4;
	int reg;

	j->nr_fields = 0;
	j->unrestricted = unrestricted;
	for (reg = 0; reg < NR_REGS; reg++) {
		const struct segment *s = &good[m][reg];

		set_field(field_of(reg, SEL), s->sel);
		set_field(field_of(reg, BASE), s->base);
		set_field(field_of(reg, LIMIT), s->limit);
		set_field(field_of(reg, AR), s->ar);
	}
	if (BIT(m) & UNPAGED)
		cr0 &= ~X86_CR0_PG;
	if (BIT(m) == REAL)
		cr0 &= ~X86_CR0_PE;
	if (BIT(m) != LONG)
		cr4 = (cr4 & ~X86_CR4_PAE) | X86_CR4_PSE;
	set_field(GUEST_CR0, cr0);
	set_field(GUEST_CR3, BIT(m) == LONG ? l1_cr3 : page_directory);
	set_field(GUEST_CR4, cr4);
	set_field(GUEST_RFLAGS, X86_EFLAGS_FIXED |
				(BIT(m) == V86 ? X86_EFLAGS_VM : 0));
	set_field(VM_ENTRY_CONTROLS, BIT(m) == LONG ?
		  l1_entry | VM_ENTRY_IA32E_MODE :
		  l1_entry & ~VM_ENTRY_IA32E_MODE);
}

/* RIP such that L2 fetches from CODE; 64-bit code has no segment base. */
static void set_rip(int m)
{
	typeof(job) *j = guest_job();
	uint64_t base = get_value(j->value, GUEST_CS_BASE);
	uint64_t ar = get_value(j->value, GUEST_CS_AR_BYTES);
	bool code_64 = BIT(m) == LONG && ar & BIT(13);

	set_field(GUEST_RIP, code_64 ? CODE : (uint32_t)(CODE - base));
}

/* Return: whether VMWRITE dropped the reserved bits that made a row bad. */
static bool dropped(uint32_t field, uint64_t value)
{
	typeof(job) *j = guest_job();

	return field >= GUEST_ES_AR_BYTES && field <= GUEST_TR_AR_BYTES &&
	       value & RESERVED_BITS &&
	       get_value(j->before, field) == (value & ~RESERVED_BITS);
}

/* Return: NULL if L1's last entry failed as it should, or what is wrong. */
static const char *failed(void)
{
	typeof(job) *j = guest_job();
	static char text[128];
	int i;

	if (j->error)
		snprintf(text, sizeof(text), "VM-instruction error %lu",
			 j->error);
	else if (j->reason != (EXIT_REASON_FAILED_VMENTRY |
			       EXIT_REASON_INVALID_STATE))
		snprintf(text, sizeof(text), "exit reason %#lx", j->reason);
	else if (j->qualification)
		snprintf(text, sizeof(text), "qualification %lu",
			 j->qualification);
	else
		text[0] = 0;

	for (i = 0; !text[0] && i < j->nr_fields; i++)
		if (j->after[i] != j->before[i])
			snprintf(text, sizeof(text),
				 "field %#x went from %#lx to %#lx",
				 j->field[i], j->before[i], j->after[i]);
	return text[0] ? text : NULL;
}

/* Return: NULL if L1's last entry took L2 to its code, or what is wrong. */
static const char *entered(void)
{
	typeof(job) *j = guest_job();
	static char text[128];
	int reg, part;

	if (j->error || j->reason != EXIT_REASON_CPUID) {
		snprintf(text, sizeof(text),
			 "VM-instruction error %lu, exit reason %#lx, qualification %lu, vector %lu",
			 j->error, j->reason, j->qualification, j->vector);
		return text;
	}

	/* L2 has not touched its segments: they come out as they went in. */
	for (reg = 0; reg < NR_REGS; reg++) {
		if (get_value(j->before, field_of(reg, AR)) & UNUSABLE)
			continue;
		for (part = 0; part < NR_PARTS; part++) {
			uint32_t field = field_of(reg, part);
			uint64_t before = get_value(j->before, field);
			uint64_t after = get_value(j->after, field);

			if (before == after)
				continue;
			snprintf(text, sizeof(text),
				 "%s's %s went from %#lx to %#lx",
				 reg_names[reg], part_names[part], before,
				 after);
			return text;
		}
	}
	return NULL;
}

static void run_row(const struct row *row, int m, int reg, bool unrestricted)
{
	enum verdict want = unrestricted ? row->on : row->off;
	uint32_t field = field_of(reg, row->part);
	const char *wrong;
	int i;

	prepare(m, unrestricted);
	set_field(field, row->value);
	for (i = 0; i < ARRAY_SIZE(row->also) && row->also[i].value; i++)
		set_field(field_of(row->also[i].reg, row->also[i].part),
			  row->also[i].value);
	set_rip(m);
	run_l1();

	if (want == BAD && dropped(field, row->value)) {
		want = GOOD;
		nr_dropped++;
	}

	wrong = want == GOOD ? entered() : failed();
	if (want == GOOD)
		nr_good++;
	else
		nr_bad++;
	if (!wrong)
		return;
	faults++;
	ksft_print_msg("row %ld, %s, unrestricted guest %s: %s %s %#lx: should %s: %s\n",
		       row - rows, mode_names[m], unrestricted ? "on" : "off",
		       reg_names[reg], part_names[row->part], row->value,
		       want == GOOD ? "enter" : "fail", wrong);
}

static void run_rows(int m, bool unrestricted)
{
	const struct row *row;
	int reg;

	faults = 0;
	for (row = rows; row < rows + ARRAY_SIZE(rows); row++) {
		if (!(row->modes & BIT(m)))
			continue;
		for (reg = 0; reg < NR_REGS; reg++)
			if (row->regs & BIT(reg))
				run_row(row, m, reg, unrestricted);
	}
	ksft_test_result(!faults, "%s L2, unrestricted guest %s\n",
			 mode_names[m], unrestricted ? "on" : "off");
}

static bool possible(int m, bool unrestricted)
{
	return unrestricted || !(BIT(m) & UNPAGED);
}

/* L2 as it is in @good: it enters, if it has paging or need not. */
static void run_good(int m, bool unrestricted)
{
	bool ok = possible(m, unrestricted);
	const char *wrong;

	prepare(m, unrestricted);
	set_rip(m);
	run_l1();
	wrong = ok ? entered() : failed();
	if (wrong)
		ksft_print_msg("should %s: %s\n", ok ? "enter" : "fail", wrong);
	ksft_test_result(!wrong, "%s L2 %s, unrestricted guest %s\n",
			 mode_names[m], ok ? "enters" : "fails",
			 unrestricted ? "on" : "off");
}

/* A failed entry is no launch: the next one takes VMLAUNCH again. */
static void run_failed_launch(bool unrestricted)
{
	static const struct also launches[] = {
		/* KVM sees the first by itself, if the control is 0. */
		{ TR_NR, AR, UNUSABLE },
		{ TR_NR, BASE, NONCANONICAL },
		{ CS_NR, BASE, FOUR_GIB },
	};
	const char *wrong = NULL;
	int i;

	for (i = 0; i < ARRAY_SIZE(launches) && !wrong; i++) {
		prepare(__builtin_ctz(LONG), unrestricted);
		set_field(field_of(launches[i].reg, launches[i].part),
			  launches[i].value);
		set_rip(__builtin_ctz(LONG));
		run_l1();
		wrong = failed();
	}
	if (wrong)
		ksft_print_msg("launch %d should fail: %s\n", i, wrong);
	ksft_test_result(!wrong, "VMLAUNCH after VMLAUNCH that failed, unrestricted guest %s\n",
			 unrestricted ? "on" : "off");
}

static void set_code(const void *code, size_t size)
{
	memcpy(addr_gpa2hva(vm, CODE), code, size);
}

/* MOV to CR0 that clears PG: #GP without the control, else it does. */
static void run_clear_pg(bool unrestricted)
{
	typeof(job) *j = guest_job();
	bool ok;

	set_code(clear_pg_code, sizeof(clear_pg_code));
	prepare(__builtin_ctz(PAGED), unrestricted);
	set_rip(__builtin_ctz(PAGED));
	run_l1();
	if (unrestricted)
		ok = j->reason == EXIT_REASON_CPUID && !(j->cr0 & X86_CR0_PG);
	else
		ok = j->reason == EXIT_REASON_EXCEPTION_NMI &&
		     j->vector == 13 && j->cr0 & X86_CR0_PG;
	if (!ok)
		ksft_print_msg("exit reason %#lx, vector %lu, CR0 %#lx\n",
			       j->reason, j->vector, j->cr0);
	ksft_test_result(ok, "L2 turns paging off, unrestricted guest %s\n",
			 unrestricted ? "on" : "off");
	set_code(cpuid_code, sizeof(cpuid_code));
}

static void create_vm(bool ept)
{
	struct vmx_pages *vmx;
	struct kvm_sregs sregs;
	vm_vaddr_t vmx_gva;

	vm = vm_create_default(VCPU_ID, 0, l1_guest_code);
	vcpu_set_cpuid(vm, VCPU_ID, kvm_get_supported_cpuid());
	vmx = vcpu_alloc_vmx(vm, &vmx_gva);
	vcpu_args_set(vm, VCPU_ID, 1, vmx_gva);

	virt_pg_map(vm, CODE, CODE, 0);
	set_code(cpuid_code, sizeof(cpuid_code));
	/* The first 4 MiB, for L2 with 32-bit paging: P, RW, US, A, D, PS. */
	page_directory = vm_phy_page_alloc(vm, 0x100000, 0);
	*(uint32_t *)addr_gpa2hva(vm, page_directory) = 0xe7;

	if (ept) {
		prepare_eptp(vmx, vm, 0);
		nested_map_memslot(vmx, vm, 0, 0);
		nested_map(vmx, vm, CODE, CODE, 4096, 0);
	}
	run_l1();

	/* What L1 has in VMX operation is right for its 64-bit L2. */
	vcpu_sregs_get(vm, VCPU_ID, &sregs);
	l1_cr0 = sregs.cr0;
	l1_cr3 = sregs.cr3;
	l1_cr4 = sregs.cr4;
	l1_entry = (uint32_t)vcpu_get_msr(vm, VCPU_ID, MSR_IA32_VMX_ENTRY_CTLS);
}

static bool offered(uint32_t control)
{
	uint64_t ctls2;

	vm = vm_create_default(VCPU_ID, 0, l1_guest_code);
	vcpu_set_cpuid(vm, VCPU_ID, kvm_get_supported_cpuid());
	ctls2 = vcpu_get_msr(vm, VCPU_ID, MSR_IA32_VMX_PROCBASED_CTLS2);
	kvm_vm_free(vm);
	return (ctls2 >> 32) & control;
}

/* "Unrestricted guest" takes EPT; without the control, L2 has it both ways. */
static const struct {
	const char *name;
	bool ept, unrestricted;
} setups[] = {
	{ "L2 without EPT", false, false },
	{ "L2 with EPT", true, false },
	{ "L2 with EPT", true, true },
};

static int nr_tests(bool unrestricted)
{
	int m, n = 2 + NR_MODES;

	for (m = 0; m < NR_MODES; m++)
		n += possible(m, unrestricted);
	return n;
}

static void run_setup(bool ept, bool unrestricted)
{
	int m;

	create_vm(ept);
	run_failed_launch(unrestricted);
	for (m = 0; m < NR_MODES; m++)
		run_good(m, unrestricted);
	for (m = 0; m < NR_MODES; m++)
		if (possible(m, unrestricted))
			run_rows(m, unrestricted);
	run_clear_pg(unrestricted);
	kvm_vm_free(vm);
}

int main(void)
{
	bool ept, unrestricted;
	int i, n = 0;

	setbuf(stdout, NULL);
	nested_vmx_check_supported();

	ept = offered(SECONDARY_EXEC_ENABLE_EPT);
	unrestricted = offered(SECONDARY_EXEC_UNRESTRICTED_GUEST);

	ksft_print_header();
	for (i = 0; i < ARRAY_SIZE(setups); i++)
		n += nr_tests(setups[i].unrestricted);
	ksft_set_plan(n);

	for (i = 0; i < ARRAY_SIZE(setups); i++) {
		ksft_print_msg("%s, unrestricted guest %s\n", setups[i].name,
			       setups[i].unrestricted ? "on" : "off");
		if ((setups[i].ept && !ept) ||
		    (setups[i].unrestricted && !unrestricted)) {
			for (n = nr_tests(setups[i].unrestricted); n; n--)
				ksft_test_result_skip("not offered to L1\n");
			continue;
		}
		run_setup(setups[i].ept, setups[i].unrestricted);
	}

	ksft_print_msg("%u entries, %u of them to fail; in %u, VMWRITE dropped the reserved bits\n",
		       nr_good + nr_bad, nr_bad, nr_dropped);
	if (ksft_get_fail_cnt())
		ksft_exit_fail();
	ksft_exit_pass();
}
