// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the VM's ioctls write to guest memory, where no vCPU is loaded and so
 * no dirty ring can take it. In this kernel they write nothing. If one does,
 * the page must be in the bitmap of KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP, if that
 * is offered and enabled. Otherwise the page is lost, and the host must not suffer.
 *
 * The ioctls are those that change what KVM keeps in guest memory for the
 * guest, and those that deliver interrupts. KVM_SET_CLOCK is the one to watch:
 * newer kernels invalidate Hyper-V's TSC page in it.
 */
#include <stdio.h>
#include <string.h>

#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/compiler.h>
#include <linux/kernel.h>

#include <asm/kvm_para.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "dirty_ring.h"
#include "kselftest.h"

#define VCPU_ID		0
#define TEST_SLOT	1
#define TEST_MEM	0x40000000ul

/* Pages of the memslot, by what KVM keeps there; the last is the guest's. */
enum { CLOCK_PAGE, TSC_PAGE, WALL_PAGE, STEAL_PAGE, GUEST_PAGE, TEST_PAGES };

/* TLFS, "Partition Reference TSC Mechanism" and "Reporting the Guest OS". */
#define HV_X64_MSR_GUEST_OS_ID		0x40000000
#define HV_X64_MSR_REFERENCE_TSC	0x40000021

static struct kvm_vm *vm;
static struct dirty_ring ring;
static char before[TEST_PAGES * 4096];

static void guest_code(void)
{
	uint64_t *word = (uint64_t *)(TEST_MEM + GUEST_PAGE * 4096);

	for (;;) {
		WRITE_ONCE(*word, READ_ONCE(*word) + 1);
		GUEST_SYNC(0);
	}
}

static void set_clock(void)
{
	struct kvm_clock_data clock;

	vm_ioctl(vm, KVM_GET_CLOCK, &clock);
	clock.clock += 1000000000;
	clock.flags = 0;
	vm_ioctl(vm, KVM_SET_CLOCK, &clock);
}

static void set_irqchip(void)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };

	vm_ioctl(vm, KVM_GET_IRQCHIP, &chip);
	vm_ioctl(vm, KVM_SET_IRQCHIP, &chip);
}

static void irq_line(void)
{
	struct kvm_irq_level irq = { .irq = 4, .level = 1 };

	vm_ioctl(vm, KVM_IRQ_LINE, &irq);
	irq.level = 0;
	vm_ioctl(vm, KVM_IRQ_LINE, &irq);
}

static void signal_msi(void)
{
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = 0x40 };

	vm_ioctl(vm, KVM_SIGNAL_MSI, &msi);
}

static const struct vm_writer {
	const char *name;
	void (*call)(void);
} vm_writers[] = {
	{ "KVM_SET_CLOCK", set_clock },
	{ "KVM_SET_IRQCHIP", set_irqchip },
	{ "KVM_IRQ_LINE", irq_line },
	{ "KVM_SIGNAL_MSI", signal_msi },
};

/* Pages that were reported since the last time, in the ring or the bitmap. */
static unsigned long collect(bool spill)
{
	unsigned long pages = 0;
	struct reported_pages reported = {
		.slot = TEST_SLOT, .npages = TEST_PAGES, .bits = &pages,
	};

	dirty_ring_collect(&ring, vm, UINT32_MAX, add_reported_page, &reported);
	if (spill)
		add_dirty_log(&reported, vm);
	return pages;
}

static void *memory(void)
{
	return addr_gpa2hva(vm, TEST_MEM);
}

static unsigned long changed_pages(void)
{
	unsigned long pages = 0;
	int i;

	for (i = 0; i < TEST_PAGES; i++)
		if (memcmp(memory() + i * 4096, before + i * 4096, 4096))
			pages |= BIT(i);
	return pages;
}

static void run_vcpu(void)
{
	struct ucall uc;

	vcpu_run(vm, VCPU_ID);
	TEST_ASSERT(get_ucall(vm, VCPU_ID, &uc) == UCALL_SYNC, "no sync: %s",
		    exit_reason_str(vcpu_state(vm, VCPU_ID)->exit_reason));
}

static void set_page_msr(uint32_t msr, int page, uint64_t flags)
{
	vcpu_set_msr(vm, VCPU_ID, msr, (TEST_MEM + page * 4096) | flags);
}

static void create_vm(bool spill)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP,
	};
	uint32_t entries = dirty_ring_min_entries();

	vm = vm_create_with_rings(VM_MODE_DEFAULT, DEFAULT_GUEST_PHY_PAGES,
				  entries);
	if (spill)
		vm_enable_cap(vm, &cap);
	vcpu_add_with_ring(vm, VCPU_ID, guest_code, &ring, entries);
	vm_add_logged_slot(vm, TEST_SLOT, TEST_MEM, TEST_PAGES);

	set_page_msr(MSR_KVM_SYSTEM_TIME_NEW, CLOCK_PAGE, 1);
	set_page_msr(MSR_KVM_WALL_CLOCK_NEW, WALL_PAGE, 0);
	set_page_msr(MSR_KVM_STEAL_TIME, STEAL_PAGE, KVM_MSR_ENABLED);
	vcpu_set_msr(vm, VCPU_ID, HV_X64_MSR_GUEST_OS_ID, 1);
	set_page_msr(HV_X64_MSR_REFERENCE_TSC, TSC_PAGE, 1);
}

/* Whatever pages change while the vCPU runs, its ring reports them. */
static void check_vcpu(bool spill)
{
	unsigned long changed, pages;

	memcpy(before, memory(), sizeof(before));
	set_page_msr(MSR_KVM_WALL_CLOCK_NEW, WALL_PAGE, 0);
	run_vcpu();
	changed = changed_pages();
	pages = collect(spill);
	ksft_print_msg("the vCPU changed pages 0x%lx, reported 0x%lx\n",
		       changed, pages);
	ksft_test_result(!(changed & ~pages) && changed & BIT(GUEST_PAGE),
			 "%s: the vCPU's pages are reported\n",
			 spill ? "ring and bitmap" : "ring");
}

static void check_writer(const struct vm_writer *writer, bool spill)
{
	unsigned long changed, pages;

	memcpy(before, memory(), sizeof(before));
	writer->call();
	changed = changed_pages();
	pages = collect(spill);
	if (changed)
		ksft_print_msg("%s changed pages 0x%lx, reported 0x%lx\n",
			       writer->name, changed, pages);
	ksft_test_result(!spill || !(changed & ~pages), "%s: %s\n",
			 spill ? "ring and bitmap" : "ring", writer->name);
}

static void run_tests(bool spill)
{
	int i;

	create_vm(spill);
	check_vcpu(spill);
	for (i = 0; i < ARRAY_SIZE(vm_writers); i++)
		check_writer(&vm_writers[i], spill);
	check_vcpu(spill);
	dirty_ring_unmap(&ring);
	kvm_vm_free(vm);
}

int main(void)
{
	bool with_bitmap;

	setbuf(stdout, NULL);
	ksft_print_header();
	if (!dirty_ring_max_entries())
		ksft_exit_skip("this kernel has no dirty rings\n");
	with_bitmap = kvm_check_cap(KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP);
	ksft_set_plan((1 + with_bitmap) * (2 + ARRAY_SIZE(vm_writers)));

	run_tests(false);
	if (with_bitmap)
		run_tests(true);

	ksft_exit(!ksft_get_fail_cnt());
}
