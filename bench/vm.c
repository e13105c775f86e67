// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "long_mode.h"
#include "vm.h"

/* The unlogged low slot, mapped 1:1: code, list of pages, page tables. */
#define LOW_SLOT	0
#define LOW_SIZE	(1UL << 20)
#define LOW_CODE	0x1000UL
#define LOW_LIST	0x10000UL
#define LOW_PML4	0x40000UL
#define LOW_PDPT	0x41000UL
#define LOW_PD		0x42000UL	/* one page a GiB, the low GiB first */

#define PTE_RW		0x03UL		/* present, writable */
#define PTE_2M		0x80UL

/*
 * The guest. In: rbx = list, rdx = its length, rdi = number of the pass. A
 * halt leaves to user space, as there is no interrupt controller in the kernel.
 */
asm("	.section .rodata\n"
	"guest_code:\n"
	"	mov %rbx, %rsi\n"
	"	mov %rdx, %rcx\n"
	"1:	mov (%rsi), %rax\n"
	"	add $8, %rsi\n"
	"	mov %rdi, (%rax)\n"
	"	dec %rcx\n"
	"	jnz 1b\n"
	"	inc %rdi\n"
	"	hlt\n"
	"	jmp guest_code\n"
	"guest_code_end:\n"
	".previous\n");

void fail(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("error: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

void skip(const char *why)
{
	printf("# skipped: %s\n", why);
	exit(4);
}

int call(int fd, unsigned long request, void *arg, const char *name)
{
	int ret = ioctl(fd, request, arg);

	if (ret < 0)
		fail("%s: %s", name, strerror(errno));
	return ret;
}

static void *map(size_t size, int flags, int fd, off_t offset)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, offset);

	if (p == MAP_FAILED)
		fail("mmap of %zu bytes: %s", size, strerror(errno));
	return p;
}

/* Memory of the guest. It takes what is touched, in 4 KiB pages. */
static void *map_guest(size_t size)
{
	void *p = map(size, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	/* Where huge pages were never built in, there is nothing to refuse. */
	madvise(p, size, MADV_NOHUGEPAGE);
	return p;
}

static int open_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		skip("/dev/kvm cannot be opened");
	return fd;
}

bool vm_offers(int cap)
{
	int kvm = open_kvm();
	int ret = CALL(kvm, KVM_CHECK_EXTENSION, cap);

	close(kvm);
	return ret > 0;
}

void vm_open(struct vm *vm)
{
	memset(vm, 0, sizeof(*vm));
	vm->kvm = open_kvm();
	vm->fd = CALL(vm->kvm, KVM_CREATE_VM, 0);
}

void vm_enable_ring(struct vm *vm, uint32_t entries)
{
	int ret = dirty_rings_enable(vm->fd, entries);

	if (ret)
		fail("no dirty ring of %u entries: %s", entries,
		     strerror(-ret));
	vm->ring_entries = entries;
}

static void set_slot(struct vm *vm, uint32_t slot, uint32_t flags,
		     uint64_t gpa, void *hva, uint64_t size)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (unsigned long)hva,
	};

	CALL(vm->fd, KVM_SET_USER_MEMORY_REGION, &region);
}

/* 1:1, in 2 MiB pages, so that the tables of 64 GiB are 64 pages. */
static void build_tables(struct vm *vm)
{
	uint64_t gib = (vm->log_pages << PAGE_SHIFT >> GIB_SHIFT) + 1;
	uint64_t *pdpt = (uint64_t *)(vm->low + LOW_PDPT);
	uint64_t *pd = (uint64_t *)(vm->low + LOW_PD);
	uint64_t i, j, n = 0;

	*(uint64_t *)(vm->low + LOW_PML4) = LOW_PDPT | PTE_RW;
	for (i = 0; i <= (LOG_GPA >> GIB_SHIFT) + gib - 1; i++) {
		if (i && i < LOG_GPA >> GIB_SHIFT)
			continue;
		pdpt[i] = (LOW_PD + n * PAGE_SIZE) | PTE_RW;
		for (j = 0; j < 512; j++)
			pd[n * 512 + j] = i << GIB_SHIFT | j << 21 | PTE_2M | PTE_RW;
		n++;
	}
}

static void build_list(struct vm *vm, const uint32_t *list, uint32_t count)
{
	uint64_t *gpa = (uint64_t *)(vm->low + LOW_LIST);
	uint32_t i;

	for (i = 0; i < count; i++)
		gpa[i] = LOG_GPA + ((uint64_t)list[i] << PAGE_SHIFT);
}

static void add_memory(struct vm *vm, const uint32_t *list, uint32_t count)
{
	uint64_t size = vm->log_pages << PAGE_SHIFT;

	vm->low = map_guest(LOW_SIZE);
	vm->log = map_guest(size);
	memcpy(vm->low + LOW_CODE, guest_code, guest_code_end - guest_code);
	build_tables(vm);
	build_list(vm, list, count);
	set_slot(vm, LOW_SLOT, 0, 0, vm->low, LOW_SIZE);
	set_slot(vm, LOG_SLOT, KVM_MEM_LOG_DIRTY_PAGES, LOG_GPA, vm->log, size);
}

static void set_registers(struct vm *vm, uint32_t count)
{
	struct kvm_regs regs = {
		.rip = LOW_CODE,
		.rflags = 2,
		.rbx = LOW_LIST,
		.rdx = count,
		.rdi = 1,
	};

	CALL(vm->vcpu, KVM_SET_REGS, &regs);
}

/* Touched once, so that no round pays for it. */
static void map_ring(struct vm *vm)
{
	int ret = dirty_ring_attach(&vm->ring, vm->vcpu, vm->ring_entries);
	uint32_t i;

	if (ret)
		fail("mmap of the dirty ring: %s", strerror(-ret));
	for (i = 0; i < vm->ring_entries; i++)
		__atomic_load_n(&vm->ring.gfns[i].flags, __ATOMIC_RELAXED);
}

void vm_start(struct vm *vm, uint64_t log_pages,
	      const uint32_t *list, uint32_t count)
{
	int ret;

	vm->log_pages = log_pages;
	add_memory(vm, list, count);

	vm->vcpu = CALL(vm->fd, KVM_CREATE_VCPU, 0);
	vm->run_size = CALL(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	vm->run = map(vm->run_size, MAP_SHARED, vm->vcpu, 0);
	if (vm->ring_entries)
		map_ring(vm);
	ret = long_mode_enter(vm->kvm, vm->vcpu, LOW_PML4);
	if (ret)
		fail("the vCPU in 64-bit mode: %s", strerror(-ret));
	set_registers(vm, count);
}

uint32_t vm_run(struct vm *vm)
{
	CALL(vm->vcpu, KVM_RUN, 0);
	if (vm->run->exit_reason == KVM_EXIT_HLT)
		vm->passes++;
	return vm->run->exit_reason;
}

uint64_t vm_word(const struct vm *vm, uint64_t page)
{
	return *(uint64_t *)(vm->log + (page << PAGE_SHIFT));
}

void vm_close(struct vm *vm)
{
	if (vm->ring_entries)
		dirty_ring_detach(&vm->ring);
	munmap(vm->run, vm->run_size);
	close(vm->vcpu);
	close(vm->fd);
	close(vm->kvm);
	munmap(vm->log, vm->log_pages << PAGE_SHIFT);
	munmap(vm->low, LOW_SIZE);
}
