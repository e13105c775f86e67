// SPDX-License-Identifier: GPL-2.0-only
/*
 * The smallest VMM on the library: one vCPU and two serial ports.
 *
 * The guest sends a line to a serial port at I/O ports, another line to one
 * in memory, and halts. Both devices have the same handler. The program
 * prints both lines and checks them.
 *
 * Exit code: 0 if both lines came, 4 without KVM, else 1.
 */
#include <stdlib.h>
#include <string.h>

#include "vmm.h"

#define MIB		(1ul << 20)
#define GIB		(1ul << 30)

/* Memory: one slot. The tables map all that is below 4 GiB. */
#define MEMORY_SIZE	MIB
#define CODE		0x1000ul
#define LINES		0x2000ul
#define TABLES		0x10000ul
#define TABLES_SIZE	0x10000ul

#define PORT		0x3f8		/* COM1 */
#define MMIO		0xd0000000ul
#define REGISTERS	8

#define CODE_SIZE	64

#define FROM_PORT	"hello from a port\n"
#define FROM_MEMORY	"hello from memory\n"

/* What vcpu_run() returns when the guest has halted. */
#define HALTED		1

/*
 * What runs in the guest: dx and rdi = the serial ports, rsi = both lines,
 * rcx and rbx = their lengths. It waits until a port is ready, then sends:
 * the first line by a string instruction, the second one byte by byte.
 * Position-independent, as CODE_SIZE bytes of it are copied into the guest.
 */
static void __attribute__((naked)) guest_code(void)
{
	asm("0:	add	$5, %dx\n"	/* line status register */
	    "1:	in	(%dx), %al\n"
	    "	test	$0x20, %al\n"
	    "	jz	1b\n"
	    "	sub	$5, %dx\n"
	    "	rep outsb\n"
	    "2:	mov	5(%rdi), %al\n"
	    "	test	$0x20, %al\n"
	    "	jz	2b\n"
	    "3:	lodsb\n"
	    "	mov	%al, (%rdi)\n"
	    "	dec	%rbx\n"
	    "	jnz	3b\n"
	    "	hlt\n"
	    "4:	.skip	64 - (4b - 0b)\n");	/* CODE_SIZE */
}

static int on_halt(struct vcpu *vcpu, const struct vm_access *access,
		   void *opaque)
{
	(void)vcpu;
	(void)access;
	(void)opaque;
	return HALTED;
}

static void build_vm(struct vm *vm, struct serial *serial)
{
	struct page_tables tables = {
		.vm = vm,
		.gpa = TABLES,
		.size = TABLES_SIZE,
	};
	uint8_t *memory;

	if (vm_create(vm))
		vmm_skip("%s", vm->error);
	vm_must(vm, vm_set_rmode_pages(vm));
	vm_must(vm, vm_add_memory(vm, 0, 0, 0, MEMORY_SIZE, &memory));
	memcpy(memory + CODE, (void *)guest_code, CODE_SIZE);
	strcpy((char *)memory + LINES, FROM_PORT FROM_MEMORY);
	vm_must(vm, page_tables_map(&tables, 0, 4 * GIB));

	vm_must(vm, vm_handle(vm, VM_PORT, PORT, REGISTERS, serial_access,
			      &serial[0]));
	vm_must(vm, vm_handle(vm, VM_MMIO, MMIO, REGISTERS, serial_access,
			      &serial[1]));
	vm_must(vm, vm_handle(vm, VM_EXIT, KVM_EXIT_HLT, 1, on_halt, NULL));
}

static void run_guest(struct vm *vm)
{
	struct kvm_regs regs = {
		.rip = CODE,
		.rflags = 2,
		.rdx = PORT,
		.rdi = MMIO,
		.rsi = LINES,
		.rcx = strlen(FROM_PORT),
		.rbx = strlen(FROM_MEMORY),
	};
	struct vcpu vcpu;

	vcpu_must(&vcpu, vcpu_create(&vcpu, vm, 0));
	vcpu_must(&vcpu, vcpu_set_long_mode(&vcpu, TABLES));
	vcpu_must(&vcpu, VCPU_IOCTL(&vcpu, KVM_SET_REGS, &regs));
	vcpu_must(&vcpu, vcpu_run(&vcpu));
	vcpu_destroy(&vcpu);
}

/* What the guest sent to a serial port. */
struct said {
	char *text;
	size_t len;
};

static FILE *listen_to(struct said *said)
{
	FILE *file = open_memstream(&said->text, &said->len);

	if (!file)
		vmm_fail("no stream in memory: %m");
	return file;
}

static void check_said(struct said *said, FILE *file, const char *expected)
{
	if (fclose(file) == EOF)
		vmm_fail("a stream in memory: %m");
	fputs(said->text, stdout);
	if (strcmp(said->text, expected))
		vmm_fail("the guest said '%s', not '%s'", said->text, expected);
	free(said->text);
}

int main(void)
{
	struct said said[2];
	struct serial serial[2] = {
		{ .out = listen_to(&said[0]) },
		{ .out = listen_to(&said[1]) },
	};
	struct vm vm;

	build_vm(&vm, serial);
	run_guest(&vm);
	vm_destroy(&vm);
	check_said(&said[0], serial[0].out, FROM_PORT);
	check_said(&said[1], serial[1].out, FROM_MEMORY);
	return 0;
}
