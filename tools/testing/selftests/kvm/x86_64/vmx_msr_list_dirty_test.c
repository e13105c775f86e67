// SPDX-License-Identifier: GPL-2.0-only
/*
 * L1 can have KVM set a list of MSRs when it enters L2, and another when L2 exits, or
 * when KVM undoes a VM entry that the processor has refused. Each can be one that has
 * KVM write a page of L1's: more of them than a dirty ring keeps room for. None may be
 * missing. KVM stops where the ring has no room: the VM entry fails for that MSR, as
 * SDM vol. 3, "Loading MSRs", lets it, and can be tried again; the others end in a VMX
 * abort. With KVM_CAP_DIRTY_LOG_RING_SPILL, and with a ring that is large enough, the
 * whole list is set.
 */
#define _GNU_SOURCE /* for program_invocation_name */
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
#define LARGE_RING	4096

/* The tracked pages: those that MSRs name, and those that fill the ring before. */
#define TEST_SLOT	1
#define TEST_MEM	0x40000000ul
#define LIST_PAGES	512u	/* as many as KVM's IA32_VMX_MISC allows */
#define FILL_PAGES	1524u	/* so that PML's log is nearly full, too */
#define LAST_PAGE	2047u
#define TEST_PAGES	2048u

/* One list, to which zeroes are added for KVM to stop somewhere. */
#define LIST_SLOT	2
#define LIST_MEM	0x50000000ul
#define LIST_BYTES	(64ul << 20)

/* What L1 enters L2 with if that is to be refused: few of them name a page. */
#define SHORT_LIST_SLOT	3
#define SHORT_LIST_MEM	0x60000000ul

/* No memory is there, so nothing KVM could have the processor use for L2's APIC. */
#define NO_MEMORY	0xfff00000ul

#define MSR_IA32_SYSENTER_CS		0x174
#define EXIT_REASON_MSR_LOAD_FAIL	34
/* SDM vol. 3, "VM-Instruction Error Numbers". */
#define VMXERR_ENTRY_INVALID_CONTROL_FIELD	7

/* SDM vol. 3, "Format of an MSR Entry". */
struct msr_entry {
	uint32_t index;
	uint32_t reserved;
	uint64_t value;
};

/* What is told: pages are mapped, a VM entry has failed, or L2 has come back. */
enum { MAPPED, FAILED, RETURNED };

/* To the guests: when the list is set, and whether the ring is to be filled. */
static enum when { AT_ENTRY, AT_EXIT, AT_VMFAIL } when;
static bool fill;

static void write_pages(void)
{
	unsigned int page;

	for (page = LIST_PAGES; page < LIST_PAGES + FILL_PAGES; page++)
		WRITE_ONCE(*(uint64_t *)(TEST_MEM + page * 4096ul), 1);
}

/* So that it can be written without an exit, which is when PML's log is pushed. */
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
 * As vmlaunch(), whose VMWRITEs make exits. Between these and the VMLAUNCH, write
 * @count pages.
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

/* KVM does not check what the processor will, and has loaded its list by then. */
static void fail_vm_entry(void)
{
	vmwrite(VM_ENTRY_MSR_LOAD_ADDR, SHORT_LIST_MEM);
	vmwrite(VM_ENTRY_MSR_LOAD_COUNT, LIST_PAGES);
	vmwrite(VM_EXIT_MSR_LOAD_COUNT, LIST_BYTES / sizeof(struct msr_entry));
	vmwrite(VIRTUAL_APIC_PAGE_ADDR, NO_MEMORY);
	vmwrite(CPU_BASED_VM_EXEC_CONTROL,
		vmreadz(CPU_BASED_VM_EXEC_CONTROL) | CPU_BASED_TPR_SHADOW);
}

static void l1_guest_code(struct vmx_pages *vmx)
{
	unsigned long l2_stack[64];
	unsigned int first = 0, to_write = 0;

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

	for (;;) {
		if (when == AT_ENTRY) {
			vmwrite(VM_ENTRY_MSR_LOAD_ADDR, LIST_MEM +
				first * sizeof(struct msr_entry));
			vmwrite(VM_ENTRY_MSR_LOAD_COUNT, LIST_PAGES - first);
		}
		GUEST_ASSERT(!write_pages_and_launch(to_write));
		if (vmreadz(VM_EXIT_REASON) != (EXIT_REASON_FAILED_VMENTRY |
						EXIT_REASON_MSR_LOAD_FAIL))
			break;

		/* The qualification is the MSR's number, from 1. */
		GUEST_ASSERT(vmreadz(EXIT_QUALIFICATION) > 1);
		first += vmreadz(EXIT_QUALIFICATION) - 1;
		to_write = 0;
		GUEST_SYNC(FAILED);
	}

	GUEST_ASSERT(vmreadz(VM_EXIT_REASON) == EXIT_REASON_VMCALL);
	GUEST_SYNC(RETURNED);
}

struct test {
	struct kvm_vm *vm;
	struct dirty_ring ring;
	bool spill;
	unsigned int failed;	/* VM entries */
	unsigned int full;	/* exits for a full ring */
	bool reported[TEST_PAGES];
};

static void add_page(uint32_t slot, uint64_t offset, void *data)
{
	struct test *t = data;

	TEST_ASSERT(slot == TEST_SLOT && offset < TEST_PAGES,
		    "entry for slot %u offset 0x%lx", slot, offset);
	t->reported[offset] = true;
}

static void collect_all(struct test *t)
{
	unsigned long spilled[TEST_PAGES / BITS_PER_LONG];
	unsigned int page;

	dirty_ring_collect(&t->ring, t->vm, UINT32_MAX, add_page, t);
	if (!t->spill)
		return;

	kvm_vm_get_dirty_log(t->vm, TEST_SLOT, spilled);
	for (page = 0; page < TEST_PAGES; page++)
		if (spilled[page / BITS_PER_LONG] & BIT(page % BITS_PER_LONG))
			t->reported[page] = true;
}

/* Run to where L2 has come back, or L1 has died. Return: which. */
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
			dirty_ring_collect(&t->ring, t->vm, 1, add_page, t);
			continue;
		case KVM_EXIT_SHUTDOWN:
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
		t->failed += uc.args[1] == FAILED;
		collect_all(t);
	}
}

static void create_vm(struct test *t, uint32_t entries)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_DIRTY_LOG_RING_SPILL };
	struct msr_entry *list, *short_list;
	vm_vaddr_t vmx;
	unsigned int i;

	t->vm = vm_create(VM_MODE_DEFAULT, DEFAULT_GUEST_PHY_PAGES, O_RDWR);
	kvm_vm_elf_load(t->vm, program_invocation_name, 0, 0);
	vm_create_irqchip(t->vm);
	vm_enable_dirty_ring(t->vm, entries * sizeof(struct kvm_dirty_gfn));
	if (t->spill)
		vm_enable_cap(t->vm, &cap);
	vm_vcpu_add_default(t->vm, VCPU_ID, l1_guest_code);
	vcpu_set_cpuid(t->vm, VCPU_ID, kvm_get_supported_cpuid());
	dirty_ring_map(&t->ring, t->vm, VCPU_ID, entries);

	vm_userspace_mem_region_add(t->vm, VM_MEM_SRC_ANONYMOUS, TEST_MEM,
				    TEST_SLOT, TEST_PAGES,
				    KVM_MEM_LOG_DIRTY_PAGES);
	virt_map(t->vm, TEST_MEM, TEST_MEM, TEST_PAGES, 0);

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
		/* What the other list has again is left alone. */
		short_list[i].value = i ? 0 : TEST_MEM + LAST_PAGE * 4096ul;
	}

	vcpu_alloc_vmx(t->vm, &vmx);
	vcpu_args_set(t->vm, VCPU_ID, 1, vmx);
	sync_global_to_guest(t->vm, when);
	sync_global_to_guest(t->vm, fill);
}

/* How many pages KVM has written, and how many of these it has not reported. */
static unsigned int count_written(struct test *t, unsigned int *missing)
{
	unsigned int i, written = 0;
	uint32_t *version;

	*missing = 0;
	for (i = 0; i < LIST_PAGES; i++) {
		/* A wall clock begins with it, and it is even and not 0. */
		version = addr_gpa2hva(t->vm, TEST_MEM + i * 4096ul);
		if (!*version)
			continue;
		written++;
		*missing += !t->reported[i];
	}
	return written;
}

static const struct variant {
	const char *name;
	enum when when;
	bool large, spill;
	bool short_of_room;
} variants[] = {
	{ "VM entry, full ring", AT_ENTRY, false, false, true },
	{ "VM exit, full ring", AT_EXIT, false, false, true },
	{ "VMfail, full ring", AT_VMFAIL, false, false, true },
	{ "VM entry, large ring", AT_ENTRY, true },
	{ "VM exit, large ring", AT_EXIT, true },
	{ "VMfail, large ring", AT_VMFAIL, true },
	{ "VM entry, full ring and bitmap", AT_ENTRY, false, true },
	{ "VM exit, full ring and bitmap", AT_EXIT, false, true },
	{ "VMfail, full ring and bitmap", AT_VMFAIL, false, true },
};

static void run_variant(const struct variant *v)
{
	struct test t = { .spill = v->spill };
	unsigned int written, missing;
	bool returned, whole;

	when = v->when;
	fill = !v->large;
	create_vm(&t, v->large ? LARGE_RING : dirty_ring_min_entries());
	returned = run_guest_code(&t);
	collect_all(&t);
	written = count_written(&t, &missing);
	ksft_print_msg("%u full rings, %u VM entries failed, %u pages written, %u not reported\n",
		       t.full, t.failed, written, missing);

	/* An exit at the right moment makes room for the whole list. */
	whole = written == LIST_PAGES && !t.failed;
	ksft_test_result(!missing && !!t.full == fill &&
			 returned == (written == LIST_PAGES) &&
			 (whole || v->short_of_room),
			 "%s\n", v->name);

	dirty_ring_unmap(&t.ring);
	kvm_vm_free(t.vm);
}

int main(void)
{
	int i;

	setbuf(stdout, NULL);
	nested_vmx_check_supported();
	ksft_print_header();
	if (!dirty_ring_max_entries())
		ksft_exit_skip("this kernel has no dirty rings\n");
	ksft_set_plan(ARRAY_SIZE(variants));

	for (i = 0; i < ARRAY_SIZE(variants); i++)
		run_variant(&variants[i]);

	ksft_exit(!ksft_get_fail_cnt());
}
