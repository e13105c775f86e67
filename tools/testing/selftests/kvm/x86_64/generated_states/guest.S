/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What runs in the guest, L1 and L2 alike: it does one operation after the
 * other. Position-independent, as it is copied to GPA_CODE.
 *
 * R15: the operation, R14: where they end, R13: the stack's top.
 */
#include "layout.h"

#define VMCB_RIP	0x578
#define VMCB_RSP	0x5d8
#define HOST_RSP	0x6c14
#define HOST_RIP	0x6c16

	.text
	.balign 4096
	.global guest_start
guest_start:
	.global guest_interpret
guest_interpret:
	mov %r13, %rsp
	cmp %r14, %r15
	jae op_done
	lea table(%rip), %r11
	mov (%r15), %r12d
	movslq (%r11, %r12, 4), %r12
	add %r11, %r12
	mov OP_RAX(%r15), %rax
	mov OP_RBX(%r15), %rbx
	mov OP_RCX(%r15), %rcx
	mov OP_RDX(%r15), %rdx
	mov OP_RSI(%r15), %rsi
	mov OP_RDI(%r15), %rdi
	mov OP_R8(%r15), %r8
	jmp *%r12

	/* All vectors: the operation is over, whatever was pushed is dropped. */
	.global guest_vectors
guest_vectors:
next:
	add $OP_SIZE, %r15
	jmp guest_interpret

#define OPERATION(name) .long op_##name - table;
table:
#include "operations.h"

.macro OP name:req, code:vararg
op_\name:
	\code
	jmp next
.endm

	OP ld1, movb (%rsi), %al
	OP ld2, movw (%rsi), %ax
	OP ld4, movl (%rsi), %eax
	OP ld8, movq (%rsi), %rax
	OP ld16, movups (%rsi), %xmm0
	OP st1, movb %al, (%rsi)
	OP st2, movw %ax, (%rsi)
	OP st4, movl %eax, (%rsi)
	OP st8, movq %rax, (%rsi)
op_st16:
	movq %rax, %xmm0
	movq %rbx, %xmm1
	punpcklqdq %xmm1, %xmm0
	movups %xmm0, (%rsi)
	jmp next
	OP xadd, lock xaddq %rax, (%rsi)
	OP cmpxchg8b, lock cmpxchg8b (%rsi)
	OP cmpxchg16b, lock cmpxchg16b (%rsi)
	OP movs, rep movsb
	OP stos, rep stosb
op_push:
	mov %rsi, %rsp
	push %rax
	jmp next
	OP exec, jmp *%rsi
	OP rdmsr, rdmsr
	OP wrmsr, wrmsr
	OP cr0, mov %rax, %cr0
	OP cr2, mov %rax, %cr2
	OP cr3, mov %rax, %cr3
	OP cr4, mov %rax, %cr4
	OP cr8, mov %rax, %cr8
op_rdcr:
	mov %cr0, %rax
	mov %cr3, %rax
	mov %cr4, %rax
	mov %cr8, %rax
	jmp next
	OP clts, clts
	OP lmsw, lmsw %ax
	OP dr0, mov %rax, %dr0
	OP dr3, mov %rax, %dr3
	OP dr6, mov %rax, %dr6
	OP dr7, mov %rax, %dr7
	OP rddr, mov %dr7, %rax
	OP in1, inb %dx, %al
	OP in2, inw %dx, %ax
	OP in4, inl %dx, %eax
	OP out1, outb %al, %dx
	OP out2, outw %ax, %dx
	OP out4, outl %eax, %dx
	OP ins, rep insb
	OP outs, rep outsl
	OP int3, int3
	OP int20, int $0x20
	OP int80, int $0x80
	OP icebp, .byte 0xf1
	OP ud2, ud2
op_popf:
	push %rax
	popfq
	jmp next
	OP sti, sti
	OP cli, cli
	OP hlt, hlt
	OP pause, pause
	OP cpuid, cpuid
	OP rdtscp, rdtscp
	OP rdpmc, rdpmc
	OP wbinvd, wbinvd
	OP invlpg, invlpg (%rsi)
	OP invpcid, invpcid (%rsi), %rax
	OP xsetbv, xsetbv
	OP xgetbv, xgetbv
	OP fxsave, fxsave (%rsi)
	OP fxrstor, fxrstor (%rsi)
	OP xsave, xsave (%rsi)
	OP xrstor, xrstor (%rsi)
	OP lgdt, lgdt (%rsi)
	OP lidt, lidt (%rsi)
	OP lldt, lldt %ax
	OP ltr, ltr %ax
	OP movss, mov %eax, %ss
	OP movfs, mov %eax, %fs
	OP swapgs, swapgs
	OP syscall, syscall
	OP sysenter, sysenter
op_iret:
	push %r8
	push %rdi
	push %rcx
	push %rbx
	push %rax
	iretq
op_lret:
	push %rbx
	push %rax
	lretq
op_monitor:
	mov %rsi, %rax
	monitor
	jmp next
	OP mwait, mwait
	OP vmcall, vmcall
	OP vmmcall, vmmcall
op_loop:
	mov %rax, %r15
	jmp guest_interpret
op_done:
	out %al, $DONE_PORT
	jmp op_done

/* RAX: the VMCB; L2 starts with R15 = RDX, R14 = RCX, R13 = RBX, RIP = RSI. */
op_vmrun:
	push %r13
	push %r14
	push %r15
	test %rsi, %rsi
	jz 1f
	mov %rsi, VMCB_RIP(%rax)
	mov %rbx, VMCB_RSP(%rax)
1:	mov %rbx, %r13
	mov %rcx, %r14
	mov %rdx, %r15
	vmload %rax
	vmrun %rax
	vmsave %rax
	pop %r15
	pop %r14
	pop %r13
	jmp next
	OP vmload, vmload %rax
	OP vmsave, vmsave %rax
	OP stgi, stgi
	OP clgi, clgi
	OP invlpga, invlpga %rax, %ecx
	OP skinit, skinit %eax

/*
 * RDI: the VMCS, RAX: a count and that many pairs of field and value for it;
 * L2's registers as for VMRUN.
 */
op_vmxrun:
	push %r13
	push %r14
	push %r15
	push %rdi
	vmclear (%rsp)
	vmptrld (%rsp)
	mov %rcx, %r14
	mov (%rax), %rcx
	cmp $200, %rcx
	ja 3f
1:	test %rcx, %rcx
	jz 2f
	mov 8(%rax), %rsi
	vmwrite 16(%rax), %rsi
	add $16, %rax
	dec %rcx
	jmp 1b
2:	mov $HOST_RSP, %esi
	vmwrite %rsp, %rsi
	mov $HOST_RIP, %esi
	lea 3f(%rip), %rax
	vmwrite %rax, %rsi
	mov %rbx, %r13
	mov %rdx, %r15
	vmlaunch
3:	pop %rdi
	pop %r15
	pop %r14
	pop %r13
	jmp next
	OP vmxon, vmxon (%rsi)
	OP vmxoff, vmxoff
	OP vmptrld, vmptrld (%rsi)
	OP vmclear, vmclear (%rsi)
	OP vmread, vmread %rax, (%rsi)
	OP vmwrite, vmwrite (%rsi), %rax
	OP vmresume, vmresume
	OP invept, invept (%rsi), %rax
	OP invvpid, invvpid (%rsi), %rax

	.global guest_end
guest_end:
	.section .note.GNU-stack, "", @progbits
