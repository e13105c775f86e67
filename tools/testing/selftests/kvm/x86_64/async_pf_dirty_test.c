// SPDX-License-Identifier: GPL-2.0-only
/*
 * An asynchronous page fault must not hide a write. When the page is there,
 * KVM maps it for the old fault. By then the guest may have written to the
 * page, and the host may have harvested that: the next write must still be
 * reported.
 *
 * For each page, by bitmap and by ring:
 *  - the guest writes to it; the host has no page there (userfaultfd), so KVM
 *    injects #PF into the guest, and a worker of KVM's waits for the page;
 *  - the host gives the page, the guest writes to it, the host harvests;
 *  - the guest has blocked the message that the page is ready; now it lets KVM
 *    send it, and KVM maps the page once more;
 *  - the guest writes to the page, the host harvests.
 *
 * And many pages that become ready at once must not overrun a ring. A guest
 * without messages of missing pages waits for each of them, until an interrupt
 * makes it try the next. It waits for as many as KVM allows. Then the ring is
 * one entry below its soft limit, and all pages become ready.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>

#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/kvm_para.h>
#include <linux/userfaultfd.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "dirty_ring_vm.h"
#include "test_thread.h"
#include "kselftest.h"

#define VCPU_ID		0
#define RING_ENTRIES	4096
#define TEST_SLOT	1
#define TEST_MEM	0xc0000000
#define TEST_PAGES	8

/* KVM's ASYNC_PF_PER_VCPU; behind them, pages to fill the ring with. */
#define BURST_PAGES	64
#define FILL_PAGES	448

#define PF_VECTOR	14
#define READY_VECTOR	0x31
#define WAKE_VECTOR	0x32
#define X2APIC_TPR	0x808
#define X2APIC_EOI	0x80b
#define X2APIC_SPIV	0x80f

/* What the guest tells the host. */
enum {
	MISSING,	/* it has got a #PF: the page is missing */
	WRITTEN,	/* it has written the page */
	WAITING,	/* it waits for the message that the page is ready */
	READY,		/* it has got that message */
	AGAIN,		/* it has written the page again */
	QUEUED,		/* it has tried to write all pages */
};

/* Shared by the guest with KVM, and with the host. */
static struct kvm_vcpu_pv_apf_data apf __aligned(64);
static uint64_t apf_gpa;
static uint32_t missing;

static void pf_handler(struct ex_regs *regs)
{
	uint64_t cr2;

	asm volatile("mov %%cr2, %0" : "=r"(cr2));
	GUEST_ASSERT(READ_ONCE(apf.flags) == KVM_PV_REASON_PAGE_NOT_PRESENT);
	WRITE_ONCE(apf.flags, 0);
	missing = cr2;
	ucall(UCALL_SYNC, 1, MISSING);
}

/*
 * Interrupts must be on for KVM to inject #PF for a missing page. The TPR
 * keeps the interrupt for a page that is ready pending.
 */
static void enable_async_pf(void)
{
	wrmsr(MSR_IA32_APICBASE, rdmsr(MSR_IA32_APICBASE) | X2APIC_ENABLE);
	wrmsr(X2APIC_SPIV, 0x1ff);
	wrmsr(X2APIC_TPR, 0xff);
	wrmsr(MSR_KVM_ASYNC_PF_INT, READY_VECTOR);
	wrmsr(MSR_KVM_ASYNC_PF_EN, apf_gpa | KVM_ASYNC_PF_ENABLED |
				   KVM_ASYNC_PF_SEND_ALWAYS |
				   KVM_ASYNC_PF_DELIVERY_AS_INT);
	asm volatile("sti");

	/*
	 * KVM begins with a token for all pages, and waits until it is taken.
	 */
	while (READ_ONCE(apf.token) != ~0u)
		ucall(UCALL_SYNC, 1, WAITING);
}

static void guest_code(void)
{
	unsigned int page;

	enable_async_pf();

	for (page = 0; page < TEST_PAGES; page++) {
		uint64_t *word = (void *)(TEST_MEM + page * 4096ul);

		WRITE_ONCE(missing, 0);
		WRITE_ONCE(*word, 1);
		ucall(UCALL_SYNC, 1, WRITTEN);
		GUEST_ASSERT(missing);

		WRITE_ONCE(apf.token, 0);
		wrmsr(MSR_KVM_ASYNC_PF_ACK, 1);
		while (READ_ONCE(apf.token) != missing)
			ucall(UCALL_SYNC, 1, WAITING);
		ucall(UCALL_SYNC, 1, READY);

		WRITE_ONCE(*word, 2);
		ucall(UCALL_SYNC, 1, AGAIN);
	}
	GUEST_DONE();
}

/* A store that an interrupt ends: wake_handler() continues behind it. */
extern char try_to_write_store[], try_to_write_end[];

static noinline void try_to_write(uint64_t *word)
{
	asm volatile(".globl try_to_write_store, try_to_write_end\n\t"
		     "try_to_write_store: movq $1, (%0)\n\t"
		     "try_to_write_end:" : : "r"(word) : "memory");
}

static void wake_handler(struct ex_regs *regs)
{
	wrmsr(X2APIC_EOI, 0);
	if (regs->rip == (uintptr_t)try_to_write_store)
		regs->rip = (uintptr_t)try_to_write_end;
}

static void burst_guest_code(void)
{
	unsigned int page;

	wrmsr(MSR_IA32_APICBASE, rdmsr(MSR_IA32_APICBASE) | X2APIC_ENABLE);
	wrmsr(X2APIC_SPIV, 0x1ff);
	asm volatile("sti");

	for (page = 0; page < BURST_PAGES; page++)
		try_to_write((void *)(TEST_MEM + page * 4096ul));
	GUEST_SYNC(QUEUED);

	for (page = 0; page < BURST_PAGES; page++)
		WRITE_ONCE(*(uint64_t *)(TEST_MEM + page * 4096ul), 2);
	GUEST_SYNC(AGAIN);
}

struct test {
	struct kvm_vm *vm;
	struct dirty_ring ring;
	int uffd;
	unsigned int page;
	unsigned int missing;
	unsigned int bad;
};

static unsigned long collect(struct test *t)
{
	unsigned long pages = 0;
	struct reported_pages reported = {
		.slot = TEST_SLOT, .npages = TEST_PAGES, .bits = &pages,
	};

	if (t->ring.gfns)
		dirty_ring_collect(&t->ring, t->vm, UINT32_MAX,
				   add_reported_page, &reported);
	else
		add_dirty_log(&reported, t->vm);
	return pages;
}

/* The page is reported, and no other. */
static void check(struct test *t, const char *when)
{
	unsigned long pages = collect(t);

	if (pages != BIT(t->page)) {
		t->bad++;
		ksft_print_msg("page %u, written %s: reported 0x%02lx\n",
			       t->page, when, pages);
	}
}

/* KVM's worker waits for the page, the vCPU does not. */
static void give_page(struct test *t)
{
	static uint8_t zeroes[4096] __aligned(4096);
	struct uffd_msg msg;
	struct uffdio_copy copy = {
		.src = (uintptr_t)zeroes,
		.len = sizeof(zeroes),
	};

	TEST_ASSERT(read(t->uffd, &msg, sizeof(msg)) == sizeof(msg) &&
		    msg.event == UFFD_EVENT_PAGEFAULT, "no fault, errno: %i",
		    errno);
	copy.dst = msg.arg.pagefault.address & ~4095ul;
	TEST_ASSERT(!ioctl(t->uffd, UFFDIO_COPY, &copy),
		    "UFFDIO_COPY failed, errno: %i", errno);
	t->missing++;
}

/* The first @npages of the memslot are missing. */
static void open_userfaultfd(struct test *t, unsigned int npages)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.mode = UFFDIO_REGISTER_MODE_MISSING,
		.range.len = npages * 4096,
	};

	t->uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	TEST_ASSERT(t->uffd >= 0, "userfaultfd failed, errno: %i", errno);
	reg.range.start = (uintptr_t)addr_gpa2hva(t->vm, TEST_MEM);
	TEST_ASSERT(!ioctl(t->uffd, UFFDIO_API, &api) &&
		    !ioctl(t->uffd, UFFDIO_REGISTER, &reg),
		    "userfaultfd failed, errno: %i", errno);
}

/* @ring_entries is 0 for a VM with bitmaps. */
static void create_vm(struct test *t, uint32_t ring_entries, void *code,
		      unsigned int npages)
{
	struct kvm_vm *vm;

	vm = vm_create_with_rings(VM_MODE_DEFAULT, DEFAULT_GUEST_PHY_PAGES,
				  ring_entries);
	vcpu_add_with_ring(vm, VCPU_ID, code, &t->ring, ring_entries);
	vm_add_logged_slot(vm, TEST_SLOT, TEST_MEM, npages);
	t->vm = vm;

	vm_init_descriptor_tables(vm);
	vcpu_init_descriptor_tables(vm, VCPU_ID);
	vm_handle_exception(vm, PF_VECTOR, pf_handler);
	vm_handle_exception(vm, WAKE_VECTOR, wake_handler);
	apf_gpa = addr_gva2gpa(vm, (vm_vaddr_t)&apf);
	sync_global_to_guest(vm, apf_gpa);
}

static void free_vm(struct test *t)
{
	close(t->uffd);
	if (t->ring.gfns)
		dirty_ring_unmap(&t->ring);
	kvm_vm_free(t->vm);
}

static void run_guest_code(struct test *t)
{
	struct kvm_run *run = vcpu_state(t->vm, VCPU_ID);
	struct ucall uc;

	for (;;) {
		vcpu_run(t->vm, VCPU_ID);
		TEST_ASSERT(run->exit_reason == KVM_EXIT_IO,
			    "page %u: exit %u (%s)", t->page, run->exit_reason,
			    exit_reason_str(run->exit_reason));

		switch (get_ucall(t->vm, VCPU_ID, &uc)) {
		case UCALL_SYNC:
			break;
		case UCALL_DONE:
			return;
		case UCALL_ABORT:
			TEST_FAIL("%s at %s:%ld", (const char *)uc.args[0],
				  __FILE__, uc.args[1]);
		default:
			TEST_FAIL("unknown ucall %lu", uc.cmd);
		}

		switch (uc.args[0]) {
		case MISSING:
			give_page(t);
			break;
		case WRITTEN:
			check(t, "once");
			break;
		case WAITING:
			sched_yield();
			break;
		case READY:
			/* What the new mapping reports is early. */
			if (t->page % 2)
				collect(t);
			break;
		case AGAIN:
			check(t, "again");
			t->page++;
			break;
		}
	}
}

static void run_test(bool ring)
{
	const char *name = ring ? "ring" : "bitmap";
	struct test t = { 0 };

	if (ring && !dirty_ring_max_entries()) {
		ksft_test_result_skip("ring: not offered\n");
		return;
	}

	create_vm(&t, ring ? RING_ENTRIES : 0, guest_code, TEST_PAGES);
	open_userfaultfd(&t, TEST_PAGES);
	run_guest_code(&t);
	TEST_ASSERT(t.page == TEST_PAGES && t.missing == TEST_PAGES,
		    "%u pages, %u asynchronous faults", t.page, t.missing);
	ksft_print_msg("%u asynchronous page faults\n", t.missing);
	ksft_test_result(!t.bad, "%s\n", name);
	free_vm(&t);
}

/* When a worker of KVM's waits for a page, let the guest try the next. */
static void *wake_guest(void *data)
{
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = WAKE_VECTOR };
	struct test *t = data;
	struct uffd_msg msg;

	for (t->missing = 0; t->missing < BURST_PAGES; t->missing++) {
		TEST_ASSERT(read(t->uffd, &msg, sizeof(msg)) == sizeof(msg),
			    "no fault, errno: %i", errno);
		TEST_ASSERT(ioctl(vm_get_fd(t->vm), KVM_SIGNAL_MSI, &msi) > 0,
			    "KVM_SIGNAL_MSI failed, errno: %i", errno);
	}
	return NULL;
}

static uint32_t used_entries(struct test *t)
{
	uint32_t used = 0;

	while (used < t->ring.entries &&
	       t->ring.gfns[(t->ring.next + used) % t->ring.entries].flags)
		used++;
	return used;
}

/* Let KVM itself write pages: the soft limit does not stop that. */
static void fill_ring(struct test *t)
{
	uint32_t count = dirty_ring_soft_limit(t->ring.entries) - 1 -
			 used_entries(t);
	uint64_t gpa = TEST_MEM + BURST_PAGES * 4096ul;
	int fd = vcpu_get_fd(t->vm, VCPU_ID);
	uint32_t n;

	for (; count; count -= n, gpa += n * 4096ul) {
		n = min(count, RING_VM_MAX_CLOCKS);
		TEST_ASSERT(vcpu_write_clocks(fd, gpa, n) == n,
			    "KVM_SET_MSRS failed, errno: %i", errno);
	}
}

static void give_burst(struct test *t)
{
	static uint8_t zeroes[BURST_PAGES * 4096] __aligned(4096);
	struct uffdio_copy copy = {
		.dst = (uintptr_t)addr_gpa2hva(t->vm, TEST_MEM),
		.src = (uintptr_t)zeroes,
		.len = sizeof(zeroes),
	};
	int i;

	TEST_ASSERT(!ioctl(t->uffd, UFFDIO_COPY, &copy),
		    "UFFDIO_COPY failed, errno: %i", errno);
	/* Let the workers finish. */
	for (i = 0; i < 1000; i++)
		sched_yield();
}

/* Run to a sync. Return: the least number of free entries that was found. */
static uint32_t run_burst(struct test *t, int where,
			  struct reported_pages *reported)
{
	struct kvm_run *run = vcpu_state(t->vm, VCPU_ID);
	uint32_t room = t->ring.entries;
	struct ucall uc;

	for (;;) {
		vcpu_run(t->vm, VCPU_ID);
		if (run->exit_reason != KVM_EXIT_DIRTY_RING_FULL)
			break;
		room = min(room, t->ring.entries - used_entries(t));
		bitmap_zero(reported->bits, reported->npages);
		dirty_ring_collect(&t->ring, t->vm, UINT32_MAX,
				   add_reported_page, reported);
	}
	TEST_ASSERT(get_ucall(t->vm, VCPU_ID, &uc) == UCALL_SYNC &&
		    uc.args[1] == where, "not at %d: %s", where,
		    exit_reason_str(run->exit_reason));
	return room;
}

static void run_burst_test(void)
{
	unsigned long bits[BITS_TO_LONGS(BURST_PAGES + FILL_PAGES)] = { 0 };
	struct reported_pages reported = {
		.slot = TEST_SLOT, .npages = BURST_PAGES + FILL_PAGES,
		.bits = bits,
	};
	unsigned int page, missing = 0;
	struct test_thread thread;
	struct test t = { 0 };
	uint32_t room;

	if (!dirty_ring_max_entries()) {
		ksft_test_result_skip("burst: no rings\n");
		return;
	}

	create_vm(&t, dirty_ring_min_entries(), burst_guest_code,
		  BURST_PAGES + FILL_PAGES);
	open_userfaultfd(&t, BURST_PAGES);
	test_thread_start(&thread, "userfaultfd", wake_guest, &t);
	run_burst(&t, QUEUED, &reported);
	test_thread_join(&thread);

	fill_ring(&t);
	give_burst(&t);
	room = run_burst(&t, AGAIN, &reported);
	dirty_ring_collect(&t.ring, t.vm, UINT32_MAX, add_reported_page,
			   &reported);
	for (page = 0; page < BURST_PAGES; page++)
		missing += !test_bit(page, bits);
	ksft_print_msg("%u pages at once, %u free entries in the full ring, %u not reported\n",
		       t.missing, room, missing);
	ksft_test_result(room >= DIRTY_RING_RESERVED_ENTRIES - 8 && !missing, "burst\n");
	free_vm(&t);
}

int main(void)
{
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC);

	if (fd < 0) {
		print_skip("no userfaultfd, errno: %i", errno);
		exit(KSFT_SKIP);
	}
	close(fd);

	if (!kvm_check_cap(KVM_CAP_ASYNC_PF_INT)) {
		print_skip("no asynchronous page faults by interrupt");
		exit(KSFT_SKIP);
	}

	ksft_print_header();
	ksft_set_plan(3);
	run_test(false);
	run_test(true);
	run_burst_test();

	if (ksft_get_fail_cnt())
		ksft_exit_fail();
	ksft_exit_pass();
}
