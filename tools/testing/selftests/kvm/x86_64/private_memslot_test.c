// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM itself maps some memory of a VM into the VMM: on VT-x the APIC access
 * page, and the TSS of KVM_SET_TSS_ADDR where guests are not unrestricted. KVM
 * unmaps it when the VM ends, and must unmap nothing else, such as what the
 * process has at address 0.
 *
 * KVM makes a memslot in each address space. Where allocations can be made to
 * fail (CONFIG_FAIL_PAGE_ALLOC), the memslot of the TSS fails in the second
 * one, and so does its deletion from the first. The call must succeed when it
 * is tried again, and only one copy of the memory is mapped.
 */
#define _GNU_SOURCE /* for MAP_ANONYMOUS */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/compiler.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "kvm_trace.h"
#include "kselftest.h"

#define VCPU_ID		0
#define TSS_ADDRESS	0xfffbd000ul
#define TSS_PAGES	3

/*
 * What fails in a row: the memslots of the second address space, contiguous
 * and then mapped page by page, and the same for the deletion from the first.
 */
#define FAILURES	"4"

/* Pages that the call may take before. It takes fewer in all. */
#define MAX_SPACE	200

#define FAULTS		"/sys/kernel/debug/fail_page_alloc/"

static void guest_code(void)
{
	GUEST_DONE();
}

/* Pages of shared anonymous memory that the process has mapped. */
static unsigned long shared_pages(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long from, to, pages = 0;
	char line[512];

	TEST_ASSERT(maps, "no /proc/self/maps, errno: %i", errno);
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "/dev/zero (deleted)") &&
		    sscanf(line, "%lx-%lx", &from, &to) == 2)
			pages += (to - from) / 4096;
	fclose(maps);
	return pages;
}

/* msync() fails if the page is not mapped; MS_ASYNC writes nothing if it is. */
static bool page_0_is_mapped(void)
{
	return !msync(NULL, 4096, MS_ASYNC);
}

static bool set_up_faults(void)
{
	return write_text(FAULTS "ignore-gfp-wait", "N") &&
	       write_text(FAULTS "ignore-gfp-highmem", "N") &&
	       write_text(FAULTS "min-order", "0") &&
	       write_text(FAULTS "verbose", "0") &&
	       write_text(FAULTS "interval", "1") &&
	       write_text(FAULTS "task-filter", "Y") &&
	       write_text(FAULTS "probability", "100");
}

/* Let allocations of pages fail, once @space of them have succeeded. */
static void arm(unsigned int space)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", space);
	TEST_ASSERT(write_text(FAULTS "space", text) &&
		    write_text(FAULTS "times", FAILURES) &&
		    write_text("/proc/self/make-it-fail", "1"),
		    "cannot make allocations fail, errno: %i", errno);
}

static void disarm(void)
{
	TEST_ASSERT(write_text("/proc/self/make-it-fail", "0"),
		    "cannot stop the failures, errno: %i", errno);
}

static int set_tss_addr(struct kvm_vm *vm)
{
	return ioctl(vm_get_fd(vm), KVM_SET_TSS_ADDR, TSS_ADDRESS) ? errno : 0;
}

/* Return: whether all went well. */
static bool try_again(void)
{
	unsigned int space, failed = 0;
	unsigned long before, pages;
	struct kvm_vm *vm;
	int error, again;

	for (space = 0; space <= MAX_SPACE; space++) {
		before = shared_pages();
		vm = vm_create(VM_MODE_DEFAULT, 16, O_RDWR);
		arm(space);
		error = set_tss_addr(vm);
		disarm();
		again = error ? set_tss_addr(vm) : 0;
		pages = shared_pages() - before;
		kvm_vm_free(vm);

		failed += !!error;
		if (again || pages != TSS_PAGES || shared_pages() != before) {
			ksft_print_msg("after %u pages: error %i, then %i, %lu pages mapped\n",
				       space, error, again, pages);
			return false;
		}
	}
	ksft_print_msg("%u calls failed\n", failed);
	return failed;
}

static void check_failures(void)
{
	const char *name = "a call that failed can be tried again";
	struct kvm_vm *vm = vm_create(VM_MODE_DEFAULT, 16, O_RDWR);
	unsigned long before = shared_pages();

	TEST_ASSERT(!set_tss_addr(vm), "KVM_SET_TSS_ADDR failed");
	if (shared_pages() == before)
		ksft_test_result_skip("%s: unrestricted guests have no TSS\n",
				      name);
	else if (!set_up_faults())
		ksft_test_result_skip("%s: pages cannot be made to fail\n",
				      name);
	else
		ksft_test_result(try_again(), "%s\n", name);
	kvm_vm_free(vm);
}

int main(void)
{
	unsigned long before, with_vm, after;
	struct kvm_vm *vm;
	void *page;

	setbuf(stdout, NULL);
	if (!is_intel_cpu()) {
		print_skip("no memory of KVM's own, but with VT-x");
		exit(KSFT_SKIP);
	}
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (page) {
		print_skip("nothing can be mapped at address 0, errno: %i",
			   errno);
		exit(KSFT_SKIP);
	}
	ksft_print_header();
	ksft_set_plan(3);

	before = shared_pages();
	vm = vm_create_default(VCPU_ID, 0, guest_code);
	TEST_ASSERT(!ioctl(vm_get_fd(vm), KVM_SET_TSS_ADDR, TSS_ADDRESS),
		    "KVM_SET_TSS_ADDR failed, errno: %i", errno);
	vcpu_run(vm, VCPU_ID);
	with_vm = shared_pages();
	kvm_vm_free(vm);
	after = shared_pages();

	ksft_print_msg("shared pages: %lu, with a VM %lu, then %lu\n", before,
		       with_vm, after);
	ksft_test_result(with_vm > before && after == before,
			 "KVM's mappings go with the VM\n");
	ksft_test_result(page_0_is_mapped(),
			 "what is at address 0 stays\n");
	check_failures();

	ksft_exit(!ksft_get_fail_cnt());
}
