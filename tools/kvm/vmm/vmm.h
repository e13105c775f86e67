/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A library for small VMMs on KVM: examples, measurements, tools.
 *
 *	struct vm vm;
 *	struct vcpu vcpu;
 *
 *	vm_create(&vm);
 *	vm_add_memory(&vm, 0, 0, 0, 1 << 20, NULL);
 *	vm_handle(&vm, VM_PORT, 0x3f8, 8, serial_access, &serial);
 *	vcpu_create(&vcpu, &vm, 0);
 *	vcpu_set_long_mode(&vcpu, cr3);
 *	vcpu_run(&vcpu);		until a handler ends it
 *
 * vmm_hello.c is this as a whole program.
 *
 * The library prints nothing and ends no program, except by the functions at
 * the end of this file. A function that fails returns a negative errno and
 * leaves a message, "what failed: why", in vm::error or vcpu::error, whichever
 * struct it was passed. Each function lists its errnos; "of ioctl X" stands for
 * whatever that ioctl fails with.
 *
 * Addresses and sizes are in bytes. The guest's addresses are uint64_t and
 * called gpa, the host's are pointers and called hva.
 *
 * A VM is set up by one thread. Then each vCPU runs in one thread, and neither
 * memory nor handlers may be added.
 */
#ifndef TOOLS_KVM_VMM_H
#define TOOLS_KVM_VMM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define VMM_ERROR_SIZE	160

#define VM_MAX_MEMORY	8
#define VM_MAX_HANDLERS	32

/* vcpu_stop() sends it to the vCPU's thread. Programs must not use it. */
#define VCPU_SIGNAL	SIGUSR1

struct vcpu;

/**
 * enum vm_space - what the address of an exit is
 * @VM_PORT: an I/O port
 * @VM_MMIO: a guest physical address without memory
 * @VM_EXIT: an exit reason, KVM_EXIT_*, other than those for ports and memory
 */
enum vm_space { VM_PORT, VM_MMIO, VM_EXIT };

/**
 * struct vm_access - an exit to user space
 * @space: port, memory, or any other exit
 * @addr: port, gpa or exit reason
 * @offset: @addr, counted from the first address of the handler
 * @write: the guest writes; if not, the handler stores what it reads in @data
 * @len: number of bytes at @data: 1, 2, 4 or 8; 0 for VM_EXIT
 * @data: the bytes; NULL for VM_EXIT, whose data is in vcpu::run
 */
struct vm_access {
	enum vm_space space;
	uint64_t addr;
	uint64_t offset;
	bool write;
	uint32_t len;
	uint8_t *data;
};

/**
 * typedef vm_handler_fn - handles an exit, in the thread of its vCPU
 * @vcpu: the vCPU
 * @access: the exit
 * @opaque: as passed to vm_handle()
 *
 * Return: 0 to go on; a positive number, which vcpu_run() then returns; or a
 * negative errno, which vcpu_run() returns, too. vcpu_error() sets its message.
 */
typedef int (*vm_handler_fn)(struct vcpu *vcpu, const struct vm_access *access,
			     void *opaque);

/**
 * struct vm_handler - a row of the table of handlers
 * @space: what @first is
 * @first: first port, gpa or exit reason
 * @size: how many of them; 0: all that no other handler has
 * @fn: what to call
 * @opaque: passed to @fn
 */
struct vm_handler {
	enum vm_space space;
	uint64_t first;
	uint64_t size;
	vm_handler_fn fn;
	void *opaque;
};

/**
 * struct vm_memory - a memslot
 * @gpa: where the guest sees it
 * @size: how large it is
 * @hva: where the host sees it
 */
struct vm_memory {
	uint64_t gpa;
	uint64_t size;
	uint8_t *hva;
};

/**
 * struct vm - a virtual machine
 * @kvm_fd: /dev/kvm
 * @fd: the VM
 * @run_size: size of each vCPU's struct kvm_run, with what follows it
 * @memory: the memslots
 * @nr_memory: how many there are
 * @handlers: of exits
 * @nr_handlers: how many there are
 * @error: what failed last, and why
 */
struct vm {
	int kvm_fd;
	int fd;
	size_t run_size;
	struct vm_memory memory[VM_MAX_MEMORY];
	unsigned int nr_memory;
	struct vm_handler handlers[VM_MAX_HANDLERS];
	unsigned int nr_handlers;
	char error[VMM_ERROR_SIZE];
};

/**
 * typedef vcpu_ended_fn - called at the end of a vCPU's thread, and there
 * @vcpu: the vCPU
 * @ret: what vcpu_run() returned
 */
typedef void (*vcpu_ended_fn)(struct vcpu *vcpu, int ret);

/**
 * struct vcpu - a vCPU, and its thread if it has one
 * @vm: what it belongs to
 * @id: its number
 * @fd: the vCPU
 * @run: shared with KVM
 * @stop: vcpu_stop() was called
 * @thread: of vcpu_start()
 * @ended: passed to vcpu_start()
 * @ret: what vcpu_run() returned in the thread
 * @error: what failed last, and why
 */
struct vcpu {
	struct vm *vm;
	uint32_t id;
	int fd;
	struct kvm_run *run;
	bool stop;
	pthread_t thread;
	vcpu_ended_fn ended;
	int ret;
	char error[VMM_ERROR_SIZE];
};

/*
 * The machine
 */

/**
 * vm_create() - create a VM without memory and vCPUs
 * @vm: filled in
 *
 * Return: 0; what open("/dev/kvm") failed with (-ENOENT, -EACCES, ...);
 * -ENOTSUP if the API version is not KVM_API_VERSION; or of ioctl KVM_CREATE_VM
 * or KVM_GET_VCPU_MMAP_SIZE. There is nothing to destroy if it fails.
 */
int vm_create(struct vm *vm);

/**
 * vm_destroy() - free a VM and its memory
 * @vm: the VM, after vcpu_destroy() of all its vCPUs
 */
void vm_destroy(struct vm *vm);

/**
 * vm_ioctl() - an ioctl of a VM
 * @vm: the VM
 * @request: KVM_*
 * @arg: its argument, or the address of it
 * @name: the request's name for vm::error; VM_IOCTL() fills it in
 *
 * Return: what the ioctl returned, or its negative errno.
 */
int vm_ioctl(struct vm *vm, unsigned long request, unsigned long arg,
	     const char *name);
#define VM_IOCTL(vm, request, arg) \
	vm_ioctl(vm, request, (unsigned long)(arg), #request)

/**
 * vm_set_rmode_pages() - give KVM the pages that it needs for real mode
 * @vm: a VM without vCPUs
 *
 * A vCPU starts in real mode. On Intel CPUs without unrestricted guest, KVM
 * needs a page table and a TSS in guest memory for it. They take the four
 * pages from 0xfffbc000, where no memory may be added. Other CPUs do not
 * need this call.
 *
 * Return: 0, or of ioctl KVM_SET_IDENTITY_MAP_ADDR or KVM_SET_TSS_ADDR.
 */
int vm_set_rmode_pages(struct vm *vm);

/**
 * vm_add_memory() - add a memslot of anonymous memory, zeroed
 * @vm: the VM
 * @slot: number of the memslot, an unused one
 * @flags: KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY or 0
 * @gpa: where the guest sees it; a multiple of the page size
 * @size: a multiple of the page size
 * @hva: where to store its address in the host; may be NULL
 *
 * The host allocates a page when it is first touched.
 *
 * Return: 0; -ENOSPC if there are VM_MAX_MEMORY slots; -EINVAL for an unaligned
 * address or size, or for size 0; -EEXIST for an overlap with another memslot;
 * else of mmap() or of ioctl KVM_SET_USER_MEMORY_REGION.
 */
int vm_add_memory(struct vm *vm, uint32_t slot, uint32_t flags, uint64_t gpa,
		  uint64_t size, uint8_t **hva);

/**
 * vm_hva() - find guest memory
 * @vm: the VM
 * @gpa: where it is in the guest
 * @size: how much is needed
 *
 * Return: where it is in the host, or NULL unless all of it is in one memslot.
 */
void *vm_hva(const struct vm *vm, uint64_t gpa, uint64_t size);

/**
 * vm_handle() - register a handler for exits
 * @vm: the VM
 * @space: kind of address
 * @first: first port, gpa or exit reason
 * @size: how many; 0 for all of the @space that no other handler has
 * @fn: what to call
 * @opaque: passed to @fn
 *
 * A handler gets accesses that are within its range from first byte to last. A
 * string instruction (rep outsb) makes one call for each element.
 *
 * Return: 0; -EINVAL for a range that exceeds the space; -EEXIST if another
 * handler has a part of it; -ENOSPC if there are VM_MAX_HANDLERS.
 */
int vm_handle(struct vm *vm, enum vm_space space, uint64_t first,
	      uint64_t size, vm_handler_fn fn, void *opaque);

/*
 * vCPUs
 */

/**
 * vcpu_create() - add a vCPU
 * @vcpu: filled in
 * @vm: the VM
 * @id: its number, an unused one
 *
 * Return: 0, or of ioctl KVM_CREATE_VCPU or mmap().
 */
int vcpu_create(struct vcpu *vcpu, struct vm *vm, uint32_t id);

/**
 * vcpu_destroy() - free a vCPU
 * @vcpu: the vCPU, after vcpu_join() if it was started
 *
 * KVM keeps its number in use until the VM is destroyed.
 */
void vcpu_destroy(struct vcpu *vcpu);

/**
 * vcpu_ioctl() - an ioctl of a vCPU
 * @vcpu: the vCPU
 * @request: KVM_*
 * @arg: its argument, or the address of it
 * @name: the request's name for vcpu::error; VCPU_IOCTL() fills it in
 *
 * Return: what the ioctl returned, or its negative errno.
 */
int vcpu_ioctl(struct vcpu *vcpu, unsigned long request, unsigned long arg,
	       const char *name);
#define VCPU_IOCTL(vcpu, request, arg) \
	vcpu_ioctl(vcpu, request, (unsigned long)(arg), #request)

/**
 * vcpu_error() - set vcpu::error, for handlers that fail
 * @vcpu: the vCPU that the handler was called for
 * @error: negative errno
 * @fmt: what failed; the text of @error follows it
 *
 * Return: @error, for the handler to return.
 */
int vcpu_error(struct vcpu *vcpu, int error, const char *fmt, ...)
	__attribute__((cold, format(printf, 3, 4)));

/**
 * vcpu_set_long_mode() - put a new vCPU into 64-bit mode, at privilege level 0
 * @vcpu: the vCPU; it gets all the CPUID features that KVM supports here
 * @cr3: guest physical address of its page tables, see page_tables_map()
 *
 * Segments are flat, paging is on. There is no GDT and no IDT: a guest that
 * loads a segment or faults shuts down. rip, rsp and rflags are left to
 * KVM_SET_REGS.
 *
 * Return: 0, -ENOMEM, or of ioctl KVM_GET_SUPPORTED_CPUID, KVM_SET_CPUID2,
 * KVM_GET_SREGS or KVM_SET_SREGS.
 */
int vcpu_set_long_mode(struct vcpu *vcpu, uint64_t cr3);

/**
 * struct page_tables - x86 page tables in guest memory
 * @vm: the VM
 * @gpa: where to put them; the value of CR3; a multiple of 4096
 * @size: how much memory there may be used for tables; all of it is zero
 * @used: how much of @size is used; 0 at first
 */
struct page_tables {
	struct vm *vm;
	uint64_t gpa;
	uint64_t size;
	uint64_t used;
};

/**
 * page_tables_map() - map guest memory 1:1, in pages of 2 MiB
 * @tables: the tables; the caller has set vm, gpa and size
 * @gpa: where to begin; a multiple of 2 MiB
 * @size: how much to map; a multiple of 2 MiB
 *
 * The pages are writable, at privilege level 0 only. Tables for the first GiB
 * take 3 * 4096 bytes, for each further one of the same 512 GiB 4096 bytes.
 *
 * Return: 0; -EINVAL if @gpa or @size is no multiple of 2 MiB, or if the end is
 * above 2^47; -ENOSPC if @tables is full, or is not in guest memory.
 */
int page_tables_map(struct page_tables *tables, uint64_t gpa, uint64_t size);

/*
 * Running
 */

/**
 * vcpu_enter() - KVM_RUN, once
 * @vcpu: the vCPU
 *
 * Return: 0, with the exit in vcpu::run; or of ioctl KVM_RUN: -EINTR after a
 * signal, ...
 */
int vcpu_enter(struct vcpu *vcpu);

/**
 * vcpu_dispatch() - call the handler for the exit in vcpu::run
 * @vcpu: the vCPU
 *
 * Return: what the handler returned; without a handler -ENXIO for a port or
 * memory, -EOPNOTSUPP for another exit.
 */
int vcpu_dispatch(struct vcpu *vcpu);

/**
 * vcpu_run() - vcpu_enter() and vcpu_dispatch(), again and again
 * @vcpu: the vCPU
 *
 * Signals do not end it: on -EINTR it enters the guest again.
 *
 * Return: 0 after vcpu_stop(), or else the first value of vcpu_enter() or
 * vcpu_dispatch() that is not 0.
 */
int vcpu_run(struct vcpu *vcpu);

/**
 * vcpu_start() - vcpu_run() in a thread of its own
 * @vcpu: the vCPU
 * @ended: called when vcpu_run() has returned; NULL if vcpu_join() is enough
 *
 * Return: 0, or what sigaction() or pthread_create() failed with.
 */
int vcpu_start(struct vcpu *vcpu, vcpu_ended_fn ended);

/**
 * vcpu_stop() - have vcpu_run() return in a vCPU's thread
 * @vcpu: a vCPU that was started and not joined; it may have ended
 *
 * It does not wait: vcpu_join() does. A vCPU that is in the guest leaves it. A
 * handler that sleeps is not woken; that is up to the program.
 */
void vcpu_stop(struct vcpu *vcpu);

/**
 * vcpu_join() - wait until a vCPU's thread has ended
 * @vcpu: a vCPU that was started
 *
 * Return: what vcpu_run() returned.
 */
int vcpu_join(struct vcpu *vcpu);

/*
 * A device
 */

/**
 * struct serial - a serial port (16550) that only sends
 * @out: where to
 * @regs: what the guest wrote to its eight registers
 *
 * It takes eight ports or eight bytes of memory, and never interrupts.
 */
struct serial {
	FILE *out;
	uint8_t regs[8];
};

/**
 * serial_access() - a vm_handler_fn; its opaque is a struct serial
 * @vcpu: the vCPU
 * @access: which register
 * @opaque: the struct serial
 *
 * Return: 0; -EIO if writing to serial::out fails; -EINVAL for an access of
 * more than one byte, or beyond the eight.
 */
int serial_access(struct vcpu *vcpu, const struct vm_access *access,
		  void *opaque);

/*
 * For programs that end at the first error
 */

/**
 * vmm_fail() - print an error to stderr and exit with code 1
 * @fmt: the error
 */
void vmm_fail(const char *fmt, ...)
	__attribute__((noreturn, format(printf, 1, 2)));

/**
 * vmm_skip() - print to stdout why the program cannot run, and exit with code 4
 * @fmt: the reason
 */
void vmm_skip(const char *fmt, ...)
	__attribute__((noreturn, format(printf, 1, 2)));

/**
 * vm_must() - vmm_fail() if a call failed
 * @vm: the VM that has the message
 * @ret: what the call returned
 *
 * Return: @ret.
 */
static inline int vm_must(const struct vm *vm, int ret)
{
	if (ret < 0)
		vmm_fail("%s", vm->error);
	return ret;
}

/**
 * vcpu_must() - vmm_fail() if a call failed
 * @vcpu: the vCPU that has the message
 * @ret: what the call returned
 *
 * Return: @ret.
 */
static inline int vcpu_must(const struct vcpu *vcpu, int ret)
{
	if (ret < 0)
		vmm_fail("%s", vcpu->error);
	return ret;
}

#endif /* TOOLS_KVM_VMM_H */
