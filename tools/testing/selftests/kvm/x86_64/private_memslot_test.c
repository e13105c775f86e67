// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM itself maps some memory of a VM into the VMM: on VT-x the APIC access
 * page, and the TSS of KVM_SET_TSS_ADDR where guests are not unrestricted. KVM
 * unmaps it when the VM ends, and must unmap nothing else, such as what the
 * process has at address 0.
 */
#define _GNU_SOURCE /* for MAP_ANONYMOUS */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <linux/compiler.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "kselftest.h"

#define VCPU_ID		0
#define TSS_ADDRESS	0xfffbd000ul

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
	ksft_set_plan(2);

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

	ksft_exit(!ksft_get_fail_cnt());
}
