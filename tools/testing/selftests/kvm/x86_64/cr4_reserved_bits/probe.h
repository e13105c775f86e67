/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest code that writes CR4 as the host tells it, in L1, in L2 and without
 * paging. The host drives it through its registers, at each exit to REPORT_PORT.
 *
 * It tells what it reads from CR4 (RAX) and which exception it has got since the
 * last report (RDX, 0: none), and is told in RSI what to do with RDI.
 */
#ifndef SELFTEST_KVM_CR4_RESERVED_BITS_PROBE_H
#define SELFTEST_KVM_CR4_RESERVED_BITS_PROBE_H

#define REPORT_PORT	0xe0

#define ORDER_MOV	0	/* write RDI to CR4 */
#define ORDER_READ	1	/* report again */
#define ORDER_LEAVE	2	/* return, L2: leave to L1 and call again */
#define ORDER_TOGGLE	3	/* TOGGLES times: RDI to CR4, WRFSBASE, R8 to CR4 */

#define TOGGLES		64

/* An IDT needs gates for so many vectors, each entry so many bytes. */
#define NR_FAULT_STUBS	32
#define FAULT_STUB_SIZE	16

#ifndef __ASSEMBLER__
#include <stdbool.h>

/* In 64-bit mode. */
void probe(void);
extern char fault_stubs[];

/* What ORDER_TOGGLE executes. */
extern char toggle[], toggle_end[];
extern char toggle_wrfsbase[], toggle_wrfsbase_end[];

/* L2, which leaves by VMCALL or VMMCALL. */
void l2_vmx(void);
void l2_svm(void);

/*
 * L1, VMX: enter L2. Nothing is written to the VMCS unless @launch, so L0 may
 * take it as unchanged; to be called from one place only, for HOST_RSP.
 *
 * Return: false on VMfail.
 */
bool vmx_enter(bool launch);

/*
 * In 32-bit protected mode, position-independent, with its entry at probe32.
 * It knows ORDER_MOV only; EBP is its initial ESP.
 */
extern char probe32[], fault_stubs32[], probe32_end[];
#endif

#endif /* SELFTEST_KVM_CR4_RESERVED_BITS_PROBE_H */
