/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A program without an operating system that QEMU's TCG never leaves, see
 * code-in-page-table.sh. A page of code is a page table as well. Its last byte
 * begins an instruction that ends in the next page, which that table maps.
 * Whoever gets through writes to the port of isa-debug-exit.
 */
	.set TABLE, 0x00300000
	.set NEXT, 0x00301000
	.set PRESENT, 3
	.set ACCESSED, 0x20

	.text
	.long 0x1badb002, 0, -0x1badb002	/* multiboot */

	.globl _start
_start:
	cli
	/* 4 MiB one to one, and the page table for the next 4 MiB. */
	movl $0x80 + PRESENT, directory
	movl $TABLE + PRESENT, directory + 4

	movl $TABLE + PRESENT + ACCESSED, TABLE
	movl $NEXT + PRESENT + ACCESSED, TABLE + 4

	/* A jump to the last byte: the page has translated code before. */
	movw $0x0deb, TABLE + 0xff0
	movb $FIRST_BYTE, TABLE + 0xfff
	mov $next, %esi
	mov $NEXT, %edi
	mov $next_end - next, %ecx
	rep movsb

	mov %cr4, %eax
	or $0x10, %eax		/* PSE */
	mov %eax, %cr4
	mov $directory, %eax
	mov %eax, %cr3
	mov %cr0, %eax
	or $0x80000000, %eax	/* PG */
	mov %eax, %cr0
	mov $0x400ff0, %eax
	jmp *%eax

next:	.byte 0xf8		/* CLC, or after 0x89 a part of MOV EAX, EDI */
	mov $0x10, %al
	mov $0xf4, %dx
	out %al, %dx
1:	hlt
	jmp 1b
next_end:

	.bss
	.balign 4096
directory:
	.space 4096
