/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An option ROM that starts a Linux kernel which the machine finds in its
 * memory: registers as Documentation/x86/boot.rst wants them, then the entry
 * point of the real-mode part, loaded at 0x90000.
 */
	.code16
	.text
	.globl	_start
_start:
	.byte	0x55, 0xaa, 1			/* a ROM of one 512-byte block */
	cli
	mov	$0x9000, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %fs
	mov	%ax, %gs
	mov	%ax, %ss
	mov	$0xdff0, %sp
	ljmp	$0x9020, $0
	.org	512
