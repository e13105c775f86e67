/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtual machine of one vCPU whose guest does nothing but dirty pages: in
 * each pass it writes one word into every page of a list, and halts.
 *
 * Raw KVM calls and the system's <linux/kvm.h>: what is measured here is what a
 * VMM meets that was built without any knowledge of the kernel below.
 */
#ifndef BENCH_VM_H
#define BENCH_VM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "ring_reader.h"

#define PAGE_SHIFT	12
#define PAGE_SIZE	(1UL << PAGE_SHIFT)
#define GIB_SHIFT	30

/* The logged memslot: its id, and where the guest sees it. */
#define LOG_SLOT	1
#define LOG_GPA		(4UL << GIB_SHIFT)

/* What the unlogged low slot has room for. */
#define MAX_LIST	24576
#define MAX_LOG_GIB	128

struct vm {
	int kvm;
	int fd;
	int vcpu;
	struct kvm_run *run;
	long run_size;

	uint8_t *low;
	uint8_t *log;
	uint64_t log_pages;
	uint64_t passes;

	struct dirty_ring ring;
	uint32_t ring_entries;
};

/* Both end the program, with a reason: nothing here is worth going on after. */
void fail(const char *fmt, ...)
	__attribute__((noreturn, format(printf, 1, 2)));
void skip(const char *why) __attribute__((noreturn));

/* ioctl() that must not fail. */
int call(int fd, unsigned long request, void *arg, const char *name);
#define CALL(fd, request, arg) \
	call(fd, request, (void *)(unsigned long)(arg), #request)

/* Does KVM here have this capability? */
bool vm_offers(int cap);

/* A new VM, to which no memory and no vCPU was added yet. */
void vm_open(struct vm *vm);

/* Dirty rings of so many entries; before vm_start(). */
void vm_enable_ring(struct vm *vm, uint32_t entries);

/* Memory, dirty logging on, and a vCPU ready for its first pass. */
void vm_start(struct vm *vm, uint64_t log_pages,
	      const uint32_t *list, uint32_t count);

/* Let the guest run until it leaves to user space; returns the exit reason. */
uint32_t vm_run(struct vm *vm);

/* The first word of a page of the logged slot: in which pass it was written. */
uint64_t vm_word(const struct vm *vm, uint64_t page);

void vm_close(struct vm *vm);

/* The guest, in vm.c. */
extern const uint8_t guest_code[], guest_code_end[];

#endif /* BENCH_VM_H */
