/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtual machine of one vCPU whose guest does nothing but dirty pages: in
 * each pass it writes one word into every page of a list, and halts.
 *
 * It uses the system's <linux/kvm.h>, so that the figures are those of a VMM
 * that was built without knowing the kernel. Each function ends the program
 * with a message if it fails.
 */
#ifndef BENCH_GUEST_H
#define BENCH_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "ring_reader.h"
#include "vmm.h"

#define PAGE_SHIFT	12
#define PAGE_SIZE	(1UL << PAGE_SHIFT)
#define GIB_SHIFT	30

/* The logged memslot: its id, and where the guest sees it. */
#define LOG_SLOT	1
#define LOG_GPA		(4UL << GIB_SHIFT)

/* What the unlogged low slot has room for. */
#define MAX_LIST	24576
#define MAX_LOG_GIB	128

/**
 * struct guest - the machine
 * @vm: the VM
 * @vcpu: its vCPU
 * @log: the logged memslot
 * @log_pages: its size
 * @passes: how often the guest has halted
 * @ring: the vCPU's dirty ring, if there are @ring_entries
 * @ring_entries: its size; 0: no ring
 */
struct guest {
	struct vm vm;
	struct vcpu vcpu;
	uint8_t *log;
	uint64_t log_pages;
	uint64_t passes;
	struct dirty_ring ring;
	uint32_t ring_entries;
};

/* Does KVM here have this capability? */
bool guest_offers(int cap);

/* A new VM, to which no memory and no vCPU was added yet. */
void guest_open(struct guest *guest);

/* Dirty rings of so many entries; before guest_start(). */
void guest_enable_ring(struct guest *guest, uint32_t entries);

/* Memory, dirty logging on, and a vCPU ready for its first pass. */
void guest_start(struct guest *guest, uint64_t log_pages,
		 const uint32_t *list, uint32_t count);

/* Let the guest run until it leaves to user space; returns the exit reason. */
uint32_t guest_run(struct guest *guest);

/* The first word of a page of the logged slot: in which pass it was written. */
uint64_t guest_word(const struct guest *guest, uint64_t page);

void guest_close(struct guest *guest);

/* What it runs, in guest.c. */
extern const uint8_t guest_code[], guest_code_end[];

#endif /* BENCH_GUEST_H */
