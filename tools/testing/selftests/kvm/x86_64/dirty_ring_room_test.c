// SPDX-License-Identifier: GPL-2.0-only
/*
 * A full ring loses nothing, and the guest does not notice it. Each guest below is
 * made to have KVM write as much as it can in one step. It runs twice: with a large
 * ring, and with a small one that is filled to just below its soft limit before the
 * guest goes on. Where KVM_RUN exits for the full ring, user space runs the vCPU
 * again, doing nothing or collecting without a reset; then it resets, and fills the
 * ring again. Registers, memory and what devices have seen must be the same in the
 * end, and each page that has changed must be reported.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/compiler.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "vmx.h"
#include "svm_util.h"
#include "dirty_ring_vm.h"
#include "test_thread.h"
#include "kselftest.h"

#define VCPU_ID		0
#define LARGE_RING	16384u
#define REFILLS		400u

/* All memory of the guest is tracked. These pages only fill the ring. */
#define GUEST_SLOT	0
#define GUEST_PAGES	2048u
#define FILL_SLOT	1
#define FILL_MEM	0x40000000ul
#define FILL_PAGES	2048u

/* Device memory, 2 pages. */
#define MMIO_MEM	0xd0000000ul
#define APIC_MEM	0xfee00000ul
#define PTE_D		BIT_ULL(6)
#define IN_PORT		0x3f0
#define OUT_PORT	0x3f1

/* What a guest tells the host. */
enum { READY, END };

/* Memory for the guests to write to, and where far calls lead to. */
#define BUFFER_PAGES	3
static uint8_t buffer[BUFFER_PAGES * 4096] __aligned(4096);

/* No far return: QEMU's takes the stack pointer for one of 16 bits. */
static void __attribute__((naked)) far_target(void)
{
	asm volatile("mov %r12, %rsp\n\tjmp *%r13");
}

static void string_guest(void)
{
	uint64_t to = (uint64_t)buffer + 12, from = APIC_MEM, count = 1000;

	GUEST_SYNC(READY);
	asm volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
	GUEST_SYNC(END);
}

static void mmio_string_guest(void)
{
	uint64_t to = (uint64_t)buffer + 4000, from = MMIO_MEM + 4080;
	uint64_t count = 64;

	GUEST_SYNC(READY);
	asm volatile("rep movsw" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
	to = MMIO_MEM + 4080;
	from = (uint64_t)buffer + 4000;
	count = 64;
	asm volatile("rep movsw" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
	GUEST_SYNC(END);
}

/* KVM reads ahead, up to 1024 bytes. Backwards, it takes them one by one. */
static void ins_guest(void)
{
	uint64_t to = (uint64_t)buffer + 5, count = 6000;

	GUEST_SYNC(READY);
	asm volatile("rep insb" : "+D"(to), "+c"(count) : "d"(IN_PORT) : "memory");
	to = (uint64_t)buffer + 11000;
	count = 3000;
	asm volatile("std; rep insw; cld"
		     : "+D"(to), "+c"(count) : "d"(IN_PORT) : "memory");
	GUEST_SYNC(END);
}

static void outs_guest(void)
{
	uint64_t from = (uint64_t)buffer + 4090, count = 50;

	GUEST_SYNC(READY);
	asm volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(OUT_PORT));
	GUEST_SYNC(END);
}

/*
 * Page tables that nobody has walked: on both sides of a boundary of 512 GiB, so
 * that an access that straddles it walks two sets of them.
 */
enum { POINTER, STACK, GDT, BOUNDARIES };

static uint64_t boundary(unsigned int i)
{
	return (2ul * i + 2) << 39;
}

/* Pushes CS and RIP across the boundary; the pointer straddles one, too. */
static void far_call(void)
{
	asm volatile("mov %%rsp, %%r12\n\t"
		     "lea 2(%[stack]), %%rsp\n\t"
		     "lea 1f(%%rip), %%r13\n\t"
		     "lcall *-3(%[pointer])\n\t"
		     "1:\n\t"
		     : : [stack]"r"(boundary(STACK)),
			 [pointer]"r"(boundary(POINTER))
		     : "r12", "r13", "memory");
}

static void far_call_guest(void)
{
	GUEST_SYNC(READY);
	far_call();
	GUEST_SYNC(END);
}

static void l2_vmx(void)
{
	GUEST_SYNC(READY);
	far_call();
	vmcall();
}

static void l2_svm(void)
{
	GUEST_SYNC(READY);
	far_call();
	asm volatile("vmmcall" : : : "memory");
}

/* A descriptor of a 64-bit code segment, not accessed. L2's straddles a boundary. */
#define CODE_SEGMENT	0x00209a0000000000ull
#define L2_GDT	(boundary(GDT) - 12)

static void l1_vmx(struct vmx_pages *vmx)
{
	unsigned long l2_stack[256];

	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, l2_vmx, &l2_stack[ARRAY_SIZE(l2_stack)]);
	vmwrite(GUEST_GDTR_BASE, L2_GDT);
	vmwrite(GUEST_GDTR_LIMIT, 0xffff);
	GUEST_ASSERT(!vmlaunch());
	GUEST_ASSERT(vmreadz(VM_EXIT_REASON) == EXIT_REASON_VMCALL);
	GUEST_SYNC(END);
}

static void l1_svm(struct svm_test_data *svm)
{
	unsigned long l2_stack[256];

	generic_svm_setup(svm, l2_svm, &l2_stack[ARRAY_SIZE(l2_stack)]);
	svm->vmcb->save.gdtr.base = L2_GDT;
	svm->vmcb->save.gdtr.limit = 0xffff;
	run_guest(svm->vmcb, svm->vmcb_gpa);
	GUEST_ASSERT(svm->vmcb->control.exit_code == SVM_EXIT_VMMCALL);
	GUEST_SYNC(END);
}

/**
 * struct test - a VM, and what is known of it
 * @vm: the VM
 * @run: its vCPU's
 * @io: the data of its port I/O
 * @ring: its ring
 * @small: whether it is to be full
 * @collector: collects, and does not reset, while the vCPU runs
 * @stop: ends @collector
 * @reported: bits of the pages of GUEST_SLOT
 * @fill: the next page to fill the ring with
 * @before: GUEST_SLOT's memory when the guest was READY
 * @regs: when it came to its END
 * @refills: how often the ring was filled
 * @full: exits for the full ring
 * @device: hash of what devices have seen
 * @next: what a device will be read as
 * @far_pointer: a device is read as a far pointer instead
 */
struct test {
	struct kvm_vm *vm;
	struct kvm_run *run;
	uint8_t *io;
	struct dirty_ring ring;
	bool small;
	struct test_thread collector;
	bool stop;
	unsigned long *reported;
	uint64_t fill;
	uint8_t *before;
	struct kvm_regs regs;
	unsigned int refills;
	unsigned int full;
	uint64_t device;
	uint8_t next;
	bool far_pointer;
};

static void note(uint32_t slot, uint64_t offset, void *data)
{
	struct test *t = data;

	TEST_ASSERT(slot == FILL_SLOT || (slot == GUEST_SLOT &&
					  offset < GUEST_PAGES),
		    "entry for slot %#x page %#lx", slot, offset);
	if (slot == GUEST_SLOT)
		__set_bit(offset, t->reported);
}

static uint32_t used_entries(struct test *t)
{
	uint32_t i, used = 0;

	/* Collected entries are used, too, until they are reset. */
	for (i = 0; i < t->ring.entries; i++)
		used += !!READ_ONCE(t->ring.gfns[i].flags);
	return used;
}

/* Fill the ring until @left entries are empty. */
static void fill_ring(struct test *t, uint32_t left)
{
	uint32_t used = used_entries(t), n;
	uint64_t page;

	while (t->ring.entries - used > left) {
		page = t->fill % FILL_PAGES;
		n = min((uint64_t)RING_VM_MAX_CLOCKS, FILL_PAGES - page);
		n = min(n, t->ring.entries - used - left);
		TEST_ASSERT(vcpu_write_clocks(vcpu_get_fd(t->vm, VCPU_ID),
					      FILL_MEM + page * 4096, n) == n,
			    "KVM_SET_MSRS failed, errno: %i", errno);
		t->fill += n;
		used = used_entries(t);
	}
}

/*
 * A reset protects the page tables that lead to the guest's next instruction. So
 * leave more room each time, until the guest comes to it with one entry left.
 */
static void fill_to_limit(struct test *t)
{
	if (t->small && t->refills < REFILLS) {
		t->refills++;
		fill_ring(t, t->ring.entries -
			     dirty_ring_soft_limit(t->ring.entries) + t->refills);
	}
}

/* Nothing changes until a reset, whether entries are collected or not. */
static void handle_full(struct test *t)
{
	struct kvm_regs before, after;
	int i;

	TEST_ASSERT(t->small, "the large ring is full");
	t->full++;
	vcpu_regs_get(t->vm, VCPU_ID, &before);
	for (i = 0; i < 2; i++) {
		if (t->full % 2)
			dirty_ring_harvest(&t->ring, UINT32_MAX, note, t);
		vcpu_run(t->vm, VCPU_ID);
		vcpu_regs_get(t->vm, VCPU_ID, &after);
		TEST_ASSERT(t->run->exit_reason == KVM_EXIT_DIRTY_RING_FULL &&
			    !memcmp(&before, &after, sizeof(before)),
			    "the vCPU has run without a reset: exit %u",
			    t->run->exit_reason);
	}
	dirty_ring_harvest(&t->ring, UINT32_MAX, note, t);
	vm_reset_dirty_rings(t->vm);
	fill_to_limit(t);
}

static void see(struct test *t, const void *data, size_t len, uint64_t where)
{
	const uint8_t *byte = data;

	t->device = t->device * 31 + where;
	while (len--)
		t->device = t->device * 31 + *byte++;
}

/* A far pointer, straddling the pages, or a number that counts. */
static void read_device(struct test *t, uint8_t *data, size_t len, uint64_t gpa)
{
	uint64_t target = (uintptr_t)far_target | 8ull << 32;

	for (; len--; gpa++)
		*data++ = t->far_pointer ? ((uint8_t *)&target)[(gpa + 3) % 8] :
					   t->next++;
}

static void handle_mmio(struct test *t)
{
	uint64_t gpa = t->run->mmio.phys_addr;

	TEST_ASSERT(gpa >= MMIO_MEM && gpa < MMIO_MEM + 8192, "MMIO at %#lx",
		    gpa);
	if (t->run->mmio.is_write)
		see(t, t->run->mmio.data, t->run->mmio.len, gpa);
	else
		read_device(t, t->run->mmio.data, t->run->mmio.len, gpa);
}

static void handle_port(struct test *t)
{
	uint8_t *data = t->io + t->run->io.data_offset % 4096;
	uint32_t i, len = t->run->io.size * t->run->io.count;

	if (t->run->io.direction == KVM_EXIT_IO_OUT) {
		see(t, data, len, OUT_PORT);
		return;
	}
	for (i = 0; i < len; i++)
		data[i] = t->next++;

	/* Ioctls may leave less room than the instruction needs. */
	if (t->small && t->refills < REFILLS && t->refills % 3 == 1)
		fill_ring(t, DIRTY_RING_CLOCK_ROOM - 1);
}

/* Run the guest to where it says so. */
static void run_to(struct test *t, uint64_t where)
{
	struct ucall uc;

	for (;;) {
		vcpu_run(t->vm, VCPU_ID);
		switch (t->run->exit_reason) {
		case KVM_EXIT_DIRTY_RING_FULL:
			handle_full(t);
			continue;
		case KVM_EXIT_MMIO:
			handle_mmio(t);
			continue;
		case KVM_EXIT_IO:
			if (t->run->io.port == IN_PORT ||
			    t->run->io.port == OUT_PORT) {
				handle_port(t);
				continue;
			}
			break;
		}
		TEST_ASSERT(t->run->exit_reason == KVM_EXIT_IO, "exit %u (%s)",
			    t->run->exit_reason,
			    exit_reason_str(t->run->exit_reason));
		if (get_ucall(t->vm, VCPU_ID, &uc) == UCALL_ABORT)
			TEST_FAIL("%s at %s:%ld", (const char *)uc.args[0],
				  __FILE__, uc.args[1]);
		TEST_ASSERT(uc.cmd == UCALL_SYNC && uc.args[1] == where,
			    "ucall %lu, %lu", uc.cmd, uc.args[1]);
		return;
	}
}

static void *collect_thread(void *data)
{
	struct test *t = data;

	while (!READ_ONCE(t->stop))
		dirty_ring_harvest(&t->ring, UINT32_MAX, note, t);
	return NULL;
}

/**
 * struct tables - page tables of a guest, which it has not walked so far
 * @vm: the VM
 * @pgd: the table of the highest level
 * @next: where L2 finds the next page, GiB by GiB
 * @map: maps memory for L2; NULL without L2
 * @nested: the library's structure, for @map
 */
struct tables {
	struct kvm_vm *vm;
	uint64_t pgd;
	uint64_t next;
	void (*map)(struct tables *tables, uint64_t gpa, uint64_t paddr,
		    uint64_t size);
	void *nested;
};

static void map_vmx(struct tables *tables, uint64_t gpa, uint64_t paddr,
		    uint64_t size)
{
	nested_map(tables->nested, tables->vm, gpa, paddr, size, 0);
}

static void map_svm(struct tables *tables, uint64_t gpa, uint64_t paddr,
		    uint64_t size)
{
	npt_map(tables->nested, tables->vm, gpa, paddr, size, 0);
}

/* Return: the address by which the page is entered in the guest's tables. */
static uint64_t place(struct tables *tables, uint64_t paddr)
{
	uint64_t gpa;

	if (!tables->map)
		return paddr;
	gpa = tables->next;
	tables->next += 1ul << 30;
	tables->map(tables, gpa, paddr, 4096);
	return gpa;
}

static void map_cold(struct tables *tables, uint64_t gva, uint64_t paddr)
{
	uint64_t *table = addr_gpa2hva(tables->vm, tables->pgd), page;
	int shift;

	for (shift = 39; shift > 12; shift -= 9) {
		page = vm_phy_page_alloc(tables->vm, 0x10000, 0);
		table[(gva >> shift) % 512] = place(tables, page) | 3;
		table = addr_gpa2hva(tables->vm, page);
		memset(table, 0, 4096);
	}
	table[(gva >> 12) % 512] = place(tables, paddr) | 3;
}

static void map_boundaries(struct test *t, struct tables *tables)
{
	struct kvm_sregs sregs;
	uint64_t page, mmio = MMIO_MEM;
	unsigned int i, side;

	vcpu_sregs_get(t->vm, VCPU_ID, &sregs);
	tables->pgd = sregs.cr3;
	tables->next = 8ul << 30;
	for (i = 0; i < BOUNDARIES; i++) {
		for (side = 0; side < 2; side++) {
			if (i == POINTER) {
				page = mmio;
				mmio += 4096;
			} else {
				page = vm_phy_page_alloc(t->vm, 0x10000, 0);
				memset(addr_gpa2hva(t->vm, page), 0, 4096);
			}
			/* The descriptor's second half, not accessed so far. */
			if (i == GDT && side)
				*(uint32_t *)addr_gpa2hva(t->vm, page) =
					CODE_SEGMENT >> 32;
			map_cold(tables, boundary(i) + side * 4096ul - 4096, page);
		}
	}
}

static void setup_io(struct test *t)
{
	virt_map(t->vm, MMIO_MEM, MMIO_MEM, 2, 0);
	virt_map(t->vm, APIC_MEM, APIC_MEM, 1, 0);
}

static void setup_far_call(struct test *t)
{
	struct tables tables = { .vm = t->vm };

	map_boundaries(t, &tables);
	t->far_pointer = true;
}

/* The guest has a structure of the library's. Memory is to be the same in each run. */
static void hide_pointers(uint64_t *words, size_t size)
{
	for (; size; size -= sizeof(*words), words++)
		if (*words >> 40)
			*words = 0;
}

/* @size: of the library's structure, which the guest finds at @gva */
static void setup_l2(struct test *t, struct tables *tables, vm_vaddr_t gva,
		     size_t size)
{
	vcpu_args_set(t->vm, VCPU_ID, 1, gva);
	tables->map(tables, 0, 0, GUEST_PAGES * 4096);
	map_boundaries(t, tables);
	hide_pointers(tables->nested, size);
	t->far_pointer = true;
}

static void setup_vmx(struct test *t)
{
	struct tables tables = { .vm = t->vm, .map = map_vmx };
	vm_vaddr_t gva;

	tables.nested = vcpu_alloc_vmx(t->vm, &gva);
	prepare_eptp(tables.nested, t->vm, 0);
	setup_l2(t, &tables, gva, sizeof(struct vmx_pages));
}

static void setup_svm(struct test *t)
{
	struct tables tables = { .vm = t->vm, .map = map_svm };
	vm_vaddr_t gva;

	tables.nested = vcpu_alloc_svm(t->vm, &gva);
	prepare_npt(tables.nested, t->vm, 0);
	setup_l2(t, &tables, gva, sizeof(struct svm_test_data));
}

enum needs { NOTHING, VMX, SVM };

static const struct variant {
	const char *name;
	void *guest;
	void (*setup)(struct test *t);
	uint32_t entries;
	bool collector;
	enum needs needs;
} variants[] = {
	{ "string instruction from the APIC", string_guest, setup_io, 0 },
	{ "string instruction from the APIC, collected", string_guest, setup_io,
	  0, true },
	{ "string instructions with device memory", mmio_string_guest, setup_io,
	  0 },
	{ "INS", ins_guest, setup_io, 0 },
	{ "INS, collected", ins_guest, setup_io, 0, true },
	{ "OUTS", outs_guest, setup_io, 0 },
	{ "far call", far_call_guest, setup_far_call, 0 },
	{ "far call of L2", l1_vmx, setup_vmx, 1024, false, VMX },
	{ "far call of L2", l1_svm, setup_svm, 1024, false, SVM },
};

static uint8_t *guest_mem(const struct test *t)
{
	return addr_gpa2hva(t->vm, 0);
}

static void create(struct test *t, void *guest, uint32_t entries,
		   void (*setup)(struct test *t))
{
	t->vm = vm_create_with_rings(VM_MODE_DEFAULT, GUEST_PAGES, entries);
	vcpu_add_with_ring(t->vm, VCPU_ID, guest, &t->ring, entries);
	vm_add_logged_slot(t->vm, FILL_SLOT, FILL_MEM, FILL_PAGES);
	setup(t);
	t->run = vcpu_state(t->vm, VCPU_ID);
}

static void run(struct test *t, const struct variant *v)
{
	uint32_t entries = t->small ? max(v->entries, dirty_ring_min_entries()) :
				      LARGE_RING;

	create(t, v->guest, entries, v->setup);
	vm_mem_region_set_flags(t->vm, GUEST_SLOT, KVM_MEM_LOG_DIRTY_PAGES);
	t->io = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
		     vcpu_get_fd(t->vm, VCPU_ID), 4096);
	TEST_ASSERT(t->io != MAP_FAILED, "mmap failed, errno: %i", errno);
	t->reported = bitmap_alloc(GUEST_PAGES);
	t->before = map_memory(GUEST_PAGES * 4096);

	run_to(t, READY);
	dirty_ring_collect(&t->ring, t->vm, UINT32_MAX, note, t);
	bitmap_zero(t->reported, GUEST_PAGES);
	memcpy(t->before, guest_mem(t), GUEST_PAGES * 4096);
	fill_to_limit(t);
	if (v->collector) {
		t->refills = REFILLS;
		test_thread_start(&t->collector, "collector", collect_thread, t);
	}
	run_to(t, END);
	if (v->collector) {
		WRITE_ONCE(t->stop, true);
		test_thread_join(&t->collector);
	}
	dirty_ring_harvest(&t->ring, UINT32_MAX, note, t);
	vcpu_regs_get(t->vm, VCPU_ID, &t->regs);
}

static void end(struct test *t)
{
	munmap(t->io, 4096);
	munmap(t->before, GUEST_PAGES * 4096);
	free(t->reported);
	dirty_ring_unmap(&t->ring);
	kvm_vm_free(t->vm);
}

static unsigned int count_unreported(struct test *t)
{
	unsigned int page, missing = 0;

	for (page = 0; page < GUEST_PAGES; page++) {
		if (!memcmp(t->before + page * 4096, guest_mem(t) + page * 4096,
			    4096) || test_bit(page, t->reported))
			continue;
		ksft_print_msg("page %#x is not reported\n", page);
		missing++;
	}
	return missing;
}

/*
 * With shadow paging, KVM caches the last MMIO address, and an access that it
 * finds there spares the walk that sets the D flag. The cache forgets at will, so
 * this flag of a device's entry may differ.
 */
static bool same_page(const void *page_a, const void *page_b)
{
	const uint64_t *a = page_a, *b = page_b;
	unsigned int i;

	for (i = 0; i < 512; i++) {
		if (a[i] == b[i])
			continue;
		if ((a[i] ^ b[i]) != PTE_D || a[i] < MMIO_MEM ||
		    a[i] >= MMIO_MEM + 8192)
			return false;
	}
	return true;
}

static bool same(const struct test *a, const struct test *b)
{
	unsigned int page, differ = 0;

	for (page = 0; page < GUEST_PAGES; page++) {
		if (same_page(guest_mem(a) + page * 4096,
			      guest_mem(b) + page * 4096))
			continue;
		ksft_print_msg("page %#x differs\n", page);
		differ++;
	}
	if (memcmp(&a->regs, &b->regs, sizeof(a->regs)))
		ksft_print_msg("registers differ\n");
	else if (a->device != b->device || a->next != b->next)
		ksft_print_msg("devices have seen different things\n");
	else
		return !differ;
	return false;
}

static void run_variant(const struct variant *v)
{
	struct test large = {}, small = { .small = true };
	unsigned int missing;
	long spilled;

	if ((v->needs == VMX && !nested_vmx_supported()) ||
	    (v->needs == SVM && !(nested_svm_supported() &&
				  nested_npt_supported()))) {
		ksft_test_result_skip("%s: not offered\n", v->name);
		return;
	}
	run(&large, v);
	run(&small, v);
	missing = count_unreported(&large) + count_unreported(&small);
	spilled = vm_get_stat(small.vm, "dirty_ring_spill");
	ksft_print_msg("%u full rings, %u pages missing, %ld lost\n", small.full,
		       missing, spilled);
	ksft_test_result(same(&large, &small) && !missing && spilled <= 0 &&
			 (v->collector || small.full), "%s\n", v->name);
	end(&large);
	end(&small);
}

/*
 * Port and memory-mapped I/O is completed before KVM_RUN exits for a full ring: no
 * half of an instruction is left.
 */
static void run_pending(const char *name, void *guest, uint64_t count)
{
	uint32_t entries = dirty_ring_min_entries();
	struct test t = { .small = true };
	struct kvm_regs regs;

	create(&t, guest, entries, setup_io);
	run_to(&t, READY);
	vcpu_run(t.vm, VCPU_ID);
	TEST_ASSERT(t.run->exit_reason == KVM_EXIT_IO ||
		    t.run->exit_reason == KVM_EXIT_MMIO, "exit %u",
		    t.run->exit_reason);
	fill_ring(&t, entries - dirty_ring_soft_limit(entries));
	vcpu_run(t.vm, VCPU_ID);
	vcpu_regs_get(t.vm, VCPU_ID, &regs);
	ksft_test_result(t.run->exit_reason == KVM_EXIT_DIRTY_RING_FULL &&
			 regs.rcx < count,
			 "%s is completed before the exit\n", name);
	dirty_ring_unmap(&t.ring);
	kvm_vm_free(t.vm);
}

int main(void)
{
	int i;

	setbuf(stdout, NULL);
	ksft_print_header();
	if (!dirty_ring_max_entries())
		ksft_exit_skip("this kernel has no dirty rings\n");
	ksft_set_plan(ARRAY_SIZE(variants) + 3);
	for (i = 0; i < ARRAY_SIZE(variants); i++)
		run_variant(&variants[i]);
	run_pending("INS", ins_guest, 6000);
	run_pending("MMIO", mmio_string_guest, 64);
	run_pending("OUTS", outs_guest, 50);
	ksft_exit(!ksft_get_fail_cnt());
}
