/* SPDX-License-Identifier: GPL-2.0-only */
#include "probe.h"

#define HOST_RSP	0x6c14
#define HOST_RIP	0x6c16

/* An exception leaves its vector in EDX; what it pushed is dropped. */
.macro FAULT_STUBS target
	vector = 0
	.rept NR_FAULT_STUBS
	.balign FAULT_STUB_SIZE
	mov $vector, %edx
	jmp \target
	vector = vector + 1
	.endr
.endm

.macro SAVE_REGS
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
.endm

.macro RESTORE_REGS
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
.endm

	.text
	.global probe
probe:
	SAVE_REGS
	mov %rsp, %r15
	xor %edx, %edx
.Lreport:
	mov %cr4, %rax
	out %al, $REPORT_PORT
	xor %edx, %edx
	cmp $ORDER_READ, %esi
	je .Lreport
	cmp $ORDER_LEAVE, %esi
	je .Lleave
	cmp $ORDER_TOGGLE, %esi
	je .Ltoggle
	mov %rdi, %cr4
	jmp .Lreport

.Ltoggle:
	mov $TOGGLES, %ecx
	.global toggle
toggle:
	mov %rdi, %cr4
	.global toggle_wrfsbase
toggle_wrfsbase:
	wrfsbase %rbx
	.global toggle_wrfsbase_end
toggle_wrfsbase_end:
	mov %r8, %cr4
	dec %ecx
	jnz toggle
	.global toggle_end
toggle_end:
	jmp .Lreport

.Lleave:
	RESTORE_REGS
	ret

	.balign FAULT_STUB_SIZE
	.global fault_stubs
fault_stubs:
	FAULT_STUBS .Lfaulted
.Lfaulted:
	mov %r15, %rsp
	jmp .Lreport

	.global l2_vmx
l2_vmx:
	call probe
	vmcall
	jmp l2_vmx

	.global l2_svm
l2_svm:
	call probe
	vmmcall
	jmp l2_svm

	.global vmx_enter
vmx_enter:
	SAVE_REGS
	test %edi, %edi
	jz 1f
	mov $HOST_RSP, %eax
	vmwrite %rsp, %rax
	mov $HOST_RIP, %eax
	lea 2f(%rip), %rcx
	vmwrite %rcx, %rax
	vmlaunch
	jmp 3f
1:	vmresume
3:	xor %eax, %eax
	jmp 4f
2:	mov $1, %eax
4:	RESTORE_REGS
	ret

	.code32
	.balign FAULT_STUB_SIZE
	.global probe32
probe32:
	mov %cr4, %eax
	out %al, $REPORT_PORT
	xor %edx, %edx
	mov %edi, %cr4
	jmp probe32

	.balign FAULT_STUB_SIZE
	.global fault_stubs32
fault_stubs32:
	FAULT_STUBS .Lfaulted32
.Lfaulted32:
	mov %ebp, %esp
	jmp probe32
	.global probe32_end
probe32_end:

	.section .note.GNU-stack, "", @progbits
