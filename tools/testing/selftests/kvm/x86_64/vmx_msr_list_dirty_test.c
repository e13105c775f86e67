// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM sets a list of MSRs for L1 when it enters L2, and another when L2 exits,
 * or when KVM undoes a VM entry that the processor has refused. Each of these
 * MSRs can make KVM write a page of L1's: more pages than a dirty ring keeps
 * room for. KVM_RUN exits for a full ring before the list, and before it enters L2
 * if the list is for L2's exit. All pages are written then, and reported. A list for
 * which an empty ring has no room makes KVM_RUN fail before L1 has entered L2.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/bitops.h>
#include <linux/compiler.h>
#include <linux/kernel.h>

#include <asm/kvm_para.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "vmx.h"
#include "dirty_ring.h"
#include "kselftest.h"

#define VCPU_ID		0
#define RING_ENTRIES	4096

/*
 * The tracked pages: those that MSRs name, and those that fill the ring first.
 */
#define TEST_SLOT	1
#define TEST_MEM	0x40000000ul
#define LIST_PAGES	512u	/* as many as KVM's IA32_VMX_MISC allows */
#define FILL_PAGES	4596u	/* so that PML's log is nearly full, too */
#define LAST_PAGE	8191u
#define TEST_PAGES	8192u

/* The long list; zeroes follow its entries, for KVM to stop there. */
#define LIST_SLOT	2
#define LIST_MEM	0x50000000ul
#define LIST_BYTES	(64ul << 20)

/* L1 enters L2 with this list if the entry is to fail: few MSRs name a page. */
#define SHORT_LIST_SLOT	3
#define SHORT_LIST_MEM	0x60000000ul

/* SDM vol. 3, "VM-Instruction Error Numbers". */
#define VMXERR_ENTRY_INVALID_CONTROL_FIELD	7

/* SDM vol. 3, "Format of an MSR Entry". */
struct msr_entry {
	uint32_t index;
	uint32_t reserved;
	uint64_t value;
};

/*
 * L1 or L2 reports: pages are mapped, or L2 has exited.
 */
enum { MAPPED, RETURNED };

/*
 * For the guests: when KVM sets the list, and whether to fill the ring before.
 */
static enum when { AT_ENTRY, AT_EXIT, AT_VMFAIL } when;
static bool fill;

static void write_pages(void)
{
	unsigned int page;

	for (page = LIST_PAGES; page < LIST_PAGES + FILL_PAGES; page++)
		WRITE_ONCE(*(uint64_t *)(TEST_MEM + page * 4096ul), 1);
}

/* Later writes then make no exit, at which KVM would push PML's log. */
static void map_pages(void)
{
	write_pages();
	GUEST_SYNC(MAPPED);
}

static void l2_guest_code(void)
{
	if (when == AT_EXIT && fill) {
		map_pages();
		write_pages();
	}
	vmcall();
}

/*
 * Like vmlaunch(), but write @count pages between its VMWRITEs, which make
 * exits, and the VMLAUNCH.
 */
static int write_pages_and_launch(uint64_t count)
{
	uint64_t page = TEST_MEM + LIST_PAGES * 4096ul;
	int ret;

	asm volatile("push %%rbp\n\t"
		     "push %%rdx\n\t"
		     "push %%rsi\n\t"
		     "push $0\n\t"
		     "vmwrite %%rsp, %[host_rsp]\n\t"
		     "lea 2f(%%rip), %%rax\n\t"
		     "vmwrite %%rax, %[host_rip]\n\t"
		     "jrcxz 1f\n\t"
		     "0: movq $1, (%%rdi)\n\t"
		     "add $4096, %%rdi\n\t"
		     "loop 0b\n\t"
		     "1: vmlaunch\n\t"
		     "incq (%%rsp)\n\t"
		     "2: pop %%rax\n\t"
		     "pop %%rsi\n\t"
		     "pop %%rdx\n\t"
		     "pop %%rbp\n\t"
		     : "=&a"(ret), "+c"(count), "+D"(page)
		     : [host_rsp]"r"((uint64_t)HOST_RSP),
		       [host_rip]"r"((uint64_t)HOST_RIP)
		     : "memory", "cc", "rbx", "r8", "r9", "r10", "r11", "r12",
		       "r13", "r14", "r15");
	return ret;
}

/* The entry fails after KVM has loaded the short list. */
static void fail_vm_entry(void)
{
	vmwrite(VM_ENTRY_MSR_LOAD_ADDR, SHORT_LIST_MEM);
	vmwrite(VM_ENTRY_MSR_LOAD_COUNT, LIST_PAGES);
	vmwrite(VM_EXIT_MSR_LOAD_COUNT, LIST_BYTES / sizeof(struct msr_entry));
	vmx_fail_entry(true);
}

static void l1_guest_code(struct vmx_pages *vmx)
{
	unsigned long l2_stack[64];
	unsigned int to_write = 0;

	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, l2_guest_code, &l2_stack[ARRAY_SIZE(l2_stack)]);

	if (when != AT_ENTRY) {
		vmwrite(VM_EXIT_MSR_LOAD_ADDR, LIST_MEM);
		vmwrite(VM_EXIT_MSR_LOAD_COUNT, LIST_PAGES);
	}
	if (when == AT_VMFAIL)
		fail_vm_entry();
	if (when != AT_EXIT && fill) {
		map_pages();
		to_write = FILL_PAGES;
	}

	if (when == AT_VMFAIL) {
		GUEST_ASSERT(write_pages_and_launch(to_write));
		GUEST_ASSERT(vmreadz(VM_INSTRUCTION_ERROR) ==
			     VMXERR_ENTRY_INVALID_CONTROL_FIELD);
		GUEST_SYNC(RETURNED);
	}

	if (when == AT_ENTRY) {
		vmwrite(VM_ENTRY_MSR_LOAD_ADDR, LIST_MEM);
		vmwrite(VM_ENTRY_MSR_LOAD_COUNT, LIST_PAGES);
	}
	GUEST_ASSERT(!write_pages_and_launch(to_write));
	GUEST_ASSERT(vmreadz(VM_EXIT_REASON) == EXIT_REASON_VMCALL);
	GUEST_SYNC(RETURNED);
}

struct test {
	struct kvm_vm *vm;
	struct dirty_ring ring;
	bool spill;
	unsigned int full;	/* exits for a full ring */
	struct reported_pages reported;
};

static void collect_all(struct test *t)
{
	dirty_ring_collect(&t->ring, t->vm, UINT32_MAX, add_reported_page,
			   &t->reported);
	if (t->spill)
		add_dirty_log(&t->reported, t->vm);
}

/* Run until L2 has exited. Return: false if KVM refuses to go on. */
static bool run_guest_code(struct test *t)
{
	struct kvm_run *run = vcpu_state(t->vm, VCPU_ID);
	struct ucall uc;

	for (;;) {
		vcpu_run(t->vm, VCPU_ID);

		switch (run->exit_reason) {
		case KVM_EXIT_DIRTY_RING_FULL:
			/* Keep it one entry below its soft limit. */
			t->full++;
			dirty_ring_collect(&t->ring, t->vm, 1,
					   add_reported_page, &t->reported);
			continue;
		case KVM_EXIT_INTERNAL_ERROR:
			return false;
		}

		TEST_ASSERT(run->exit_reason == KVM_EXIT_IO, "exit %u (%s)",
			    run->exit_reason,
			    exit_reason_str(run->exit_reason));
		switch (get_ucall(t->vm, VCPU_ID, &uc)) {
		case UCALL_SYNC:
			break;
		case UCALL_ABORT:
			TEST_FAIL("%s at %s:%ld", (const char *)uc.args[0],
				  __FILE__, uc.args[1]);
		default:
			TEST_FAIL("unknown ucall %lu", uc.cmd);
		}

		if (uc.args[1] == RETURNED)
			return true;
		collect_all(t);
	}
}

static void create_vm(struct test *t, uint32_t entries)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP,
	};
	struct msr_entry *list, *short_list;
	vm_vaddr_t vmx;
	unsigned int i;

	t->vm = vm_create_with_rings(VM_MODE_DEFAULT, DEFAULT_GUEST_PHY_PAGES,
				     entries);
	if (t->spill)
		vm_enable_cap(t->vm, &cap);
	vcpu_add_with_ring(t->vm, VCPU_ID, l1_guest_code, &t->ring, entries);
	vm_add_logged_slot(t->vm, TEST_SLOT, TEST_MEM, TEST_PAGES);
	vm_userspace_mem_region_add(t->vm, VM_MEM_SRC_ANONYMOUS, LIST_MEM,
				    LIST_SLOT, LIST_BYTES / 4096, 0);
	vm_userspace_mem_region_add(t->vm, VM_MEM_SRC_ANONYMOUS, SHORT_LIST_MEM,
				    SHORT_LIST_SLOT,
				    LIST_PAGES * sizeof(*list) / 4096, 0);
	list = addr_gpa2hva(t->vm, LIST_MEM);
	short_list = addr_gpa2hva(t->vm, SHORT_LIST_MEM);
	for (i = 0; i < LIST_PAGES; i++) {
		list[i].index = MSR_KVM_WALL_CLOCK_NEW;
		list[i].value = TEST_MEM + i * 4096ul;
		short_list[i].index = i ? MSR_IA32_SYSENTER_CS :
					  MSR_KVM_WALL_CLOCK_NEW;
		/* KVM leaves alone what the other list sets again. */
		short_list[i].value = i ? 0 : TEST_MEM + LAST_PAGE * 4096ul;
	}

	vcpu_alloc_vmx(t->vm, &vmx);
	vcpu_args_set(t->vm, VCPU_ID, 1, vmx);
	sync_global_to_guest(t->vm, when);
	sync_global_to_guest(t->vm, fill);
}

/* Count the pages that KVM has written, and those of them not reported. */
static unsigned int count_written(struct test *t, unsigned int *missing)
{
	unsigned int i, written = 0;
	uint32_t *version;

	*missing = 0;
	for (i = 0; i < LIST_PAGES; i++) {
		/* A wall clock begins with its version, which is not 0. */
		version = addr_gpa2hva(t->vm, TEST_MEM + i * 4096ul);
		if (!*version)
			continue;
		written++;
		*missing += !test_bit(i, t->reported.bits);
	}
	return written;
}

static const struct variant {
	const char *name;
	enum when when;
	bool fill, small, spill;
} variants[] = {
	{ "VM entry, full ring", AT_ENTRY, true },
	{ "VM exit, full ring", AT_EXIT, true },
	{ "VMfail, full ring", AT_VMFAIL, true },
	{ "VM entry, empty ring", AT_ENTRY },
	{ "VM exit, empty ring", AT_EXIT },
	{ "VMfail, empty ring", AT_VMFAIL },
	{ "VM entry, small ring", AT_ENTRY, true, true },
	{ "VM exit, small ring", AT_EXIT, true, true },
	{ "VMfail, small ring", AT_VMFAIL, true, true },
	{ "VM entry, small ring and bitmap", AT_ENTRY, true, true, true },
	{ "VM exit, small ring and bitmap", AT_EXIT, true, true, true },
	{ "VMfail, small ring and bitmap", AT_VMFAIL, true, true, true },
};

static void run_variant(const struct variant *v)
{
	unsigned long bits[BITS_TO_LONGS(TEST_PAGES)] = {};
	struct test t = {
		.spill = v->spill,
		.reported = { .slot = TEST_SLOT, .npages = TEST_PAGES,
			      .bits = bits },
	};
	bool fits = !v->small || v->spill, returned;
	unsigned int written, missing;

	when = v->when;
	fill = v->fill;
	create_vm(&t, v->small ? dirty_ring_min_entries() : RING_ENTRIES);
	returned = run_guest_code(&t);
	collect_all(&t);
	written = count_written(&t, &missing);
	ksft_print_msg("%u full rings, %u pages written, %u not reported\n",
		       t.full, written, missing);
	ksft_test_result(!missing && (t.full || !fill || !fits) &&
			 returned == fits &&
			 written == (fits ? LIST_PAGES : 0), "%s\n", v->name);

	dirty_ring_unmap(&t.ring);
	kvm_vm_free(t.vm);
}

int main(void)
{
	bool with_bitmap = kvm_check_cap(KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP);
	int i, plan = 0;

	setbuf(stdout, NULL);
	nested_vmx_check_supported();
	ksft_print_header();
	if (!dirty_ring_max_entries())
		ksft_exit_skip("this kernel has no dirty rings\n");
	for (i = 0; i < ARRAY_SIZE(variants); i++)
		plan += with_bitmap || !variants[i].spill;
	ksft_set_plan(plan);

	for (i = 0; i < ARRAY_SIZE(variants); i++)
		if (with_bitmap || !variants[i].spill)
			run_variant(&variants[i]);

	ksft_exit(!ksft_get_fail_cnt());
}
