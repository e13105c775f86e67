// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exits of a guest that once made the host crash:
 *
 *  - Hyper-V's hypercall to send an IPI, in a VM without an APIC in the kernel;
 *  - a store of 16 bytes, the last 12 of which are where no memory is, so that
 *    KVM looks for an ioeventfd with an unaligned value.
 */
#define _GNU_SOURCE /* for program_invocation_name */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/bitops.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"

#define VCPU_ID			0

#define HV_GUEST_OS_ID		0x40000000
#define HV_SEND_IPI_FAST	(0x000b | BIT(16))
#define HV_INVALID_INPUT	3

/* A page that memory backs, and the next one, which it does not. */
#define PAIR_GVA		0x40000000ul
#define NO_MEMORY_GPA		0x40000000ul
#define DATAMATCH		0x1122334455667788ull

static struct kvm_vm *vm;

static void send_ipi(void)
{
	register uint64_t mask asm("r8") = 1;
	uint64_t status;

	if (is_intel_cpu())
		asm volatile("vmcall" : "=a" (status) : "c" (HV_SEND_IPI_FAST),
			     "d" (0x40ul), "r" (mask) : "memory");
	else
		asm volatile("vmmcall" : "=a" (status) : "c" (HV_SEND_IPI_FAST),
			     "d" (0x40ul), "r" (mask) : "memory");
	GUEST_SYNC(status & 0xffff);
}

static void store_across(void)
{
	static const uint64_t value[2] __aligned(16) = {
		DATAMATCH << 32, DATAMATCH >> 32,
	};

	asm volatile("movups %0, %%xmm0\n\t"
		     "movups %%xmm0, (%1)"
		     : : "m" (value), "r" (PAIR_GVA + 4096 - 4)
		     : "memory", "xmm0");
	GUEST_SYNC(0);
}

static uint64_t run_until_sync(void)
{
	struct kvm_run *run = vcpu_state(vm, VCPU_ID);
	struct ucall uc;

	do {
		vcpu_run(vm, VCPU_ID);
	} while (run->exit_reason == KVM_EXIT_MMIO);
	TEST_ASSERT(get_ucall(vm, VCPU_ID, &uc) == UCALL_SYNC, "exit %s",
		    exit_reason_str(run->exit_reason));
	return uc.args[1];
}

static void check_ipi(void)
{
	uint64_t status;

	vm = vm_create(VM_MODE_DEFAULT, DEFAULT_GUEST_PHY_PAGES, O_RDWR);
	kvm_vm_elf_load(vm, program_invocation_name, 0, 0);
	vm_vcpu_add_default(vm, VCPU_ID, send_ipi);
	vcpu_set_cpuid(vm, VCPU_ID, kvm_get_supported_cpuid());
	vcpu_set_msr(vm, VCPU_ID, HV_GUEST_OS_ID, 1);
	status = run_until_sync();
	TEST_ASSERT(status == HV_INVALID_INPUT, "SEND_IPI: status %lu",
		    status);
	printf("SEND_IPI without an APIC: refused\n");
	kvm_vm_free(vm);
}

static void check_ioeventfd(void)
{
	struct kvm_ioeventfd ioeventfd = {
		.datamatch = DATAMATCH,
		.addr = NO_MEMORY_GPA,
		.len = 8,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};
	uint64_t count = 0;
	vm_paddr_t gpa;

	vm = vm_create_default(VCPU_ID, 0, store_across);
	vcpu_set_cpuid(vm, VCPU_ID, kvm_get_supported_cpuid());
	gpa = vm_phy_page_alloc(vm, 0x1a0000, 0);
	virt_pg_map(vm, PAIR_GVA, gpa, 0);
	virt_pg_map(vm, PAIR_GVA + 4096, NO_MEMORY_GPA, 0);

	ioeventfd.fd = eventfd(0, EFD_NONBLOCK);
	TEST_ASSERT(ioeventfd.fd >= 0, "eventfd() failed, errno: %i", errno);
	vm_ioctl(vm, KVM_IOEVENTFD, &ioeventfd);
	run_until_sync();
	TEST_ASSERT(read(ioeventfd.fd, &count, sizeof(count)) ==
		    sizeof(count) && count == 1,
		    "the ioeventfd was signalled %lu times", count);
	printf("ioeventfd with an unaligned value: signalled\n");
	close(ioeventfd.fd);
	kvm_vm_free(vm);
}

int main(int argc, char *argv[])
{
	setbuf(stdout, NULL);
	check_ipi();
	check_ioeventfd();
	return 0;
}
