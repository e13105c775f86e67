/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From the reset vector to 32-bit C: the image is the firmware of its machine,
 * 64 KiB that end at 4 GiB. It runs from there, read only; the stack and all
 * variables are in low memory. This section is the image's last 256 bytes.
 */
#define CODE	0x08
#define DATA	0x10
#define STACK	0x20000

	.section .boot, "ax"
boot:
	.code32
start32:
	mov	$DATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %fs
	mov	%eax, %gs
	mov	%eax, %ss
	mov	$STACK, %esp
	call	guest_main
	hlt

	.balign	8
gdt:
	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
gdt_address:
	.word	. - gdt - 1
	.long	gdt

	.code16
start16:
	cli
	lgdtl	%cs:0xff00 + gdt_address - boot
	mov	%cr0, %eax
	or	$1, %al
	mov	%eax, %cr0
	ljmpl	$CODE, $start32

	.org	0xf0				/* the reset vector */
	jmp	start16
	.org	0x100
