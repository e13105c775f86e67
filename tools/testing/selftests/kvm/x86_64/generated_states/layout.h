/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where things are in the guest's memory, for C and for assembly.
 */
#ifndef SELFTEST_KVM_GENERATED_STATES_LAYOUT_H
#define SELFTEST_KVM_GENERATED_STATES_LAYOUT_H

#define GPA_GDT		0x1000
#define GPA_TSS		0x1800
#define GPA_IDT		0x2000
#define GPA_CODE	0x10000
#define GPA_PML4	0x20000	/* then PDPT, PD, PT of the first 2 MiB, APICs' PD */
#define NR_TABLES	5
#define GPA_OPS		0x30000	/* a page a vCPU, L2's after L1's */
#define GPA_STACK	0x38000	/* the top; then down, a page each */
#define GPA_BLOCK	0x40000	/* VMCB12 or VMCS12, and what it points to */
#define GPA_NPML4	0x60000	/* L1's nested tables, in the same order */
#define GPA_DATA	0x200000	/* memslots that come and go */
#define SLOT_SIZE	0x200000
#define NR_DATA_SLOTS	4
#define GPA_END		(GPA_DATA + NR_DATA_SLOTS * SLOT_SIZE)

/* Pages of GPA_BLOCK, each VCPU_BLOCK further on for the next vCPU. */
#define BLOCK_VMCB	0x0000
#define BLOCK_VMXON	0x1000
#define BLOCK_HSAVE	0x1000
#define BLOCK_MSR_BITMAP 0x2000	/* SVM: two pages */
#define BLOCK_IO_BITMAP	0x4000	/* SVM: three pages, VMX: two */
#define BLOCK_FIELDS	0x7000	/* VMX: what L1 writes to its VMCS */
#define BLOCK_MSR_LISTS	0x8000
#define BLOCK_VAPIC	0x9000
#define BLOCK_PI_DESC	0xa000
#define VCPU_BLOCK	0x10000

#define SEL_CS		0x08
#define SEL_DS		0x10
#define SEL_TR		0x18

/* An operation: its number, then what is in the registers. */
#define OP_SIZE		64
#define OP_RAX		8
#define OP_RBX		16
#define OP_RCX		24
#define OP_RDX		32
#define OP_RSI		40
#define OP_RDI		48
#define OP_R8		56

#define DONE_PORT	0xe9

#endif
