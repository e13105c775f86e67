// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which CR0 KVM_SET_SREGS takes: what a vCPU can have, L2 included, and nothing
 * else. A refused call fails with EINVAL and changes nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <linux/bitops.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "svm_util.h"
#include "vmx.h"

#define VCPU_ID		0

#define CR0_CACHE	(X86_CR0_NW | X86_CR0_CD)
#define EFER_LONG	(EFER_LME | EFER_LMA)

enum { ANY, SVM, VMX };

/* CPUID.1:ECX */
#define PCID		BIT(17)

static struct kvm_vm *vm;

static void guest_code(void)
{
	for (;;)
		GUEST_SYNC(0);
}

/*
 * Changes to the registers of a guest in 64-bit mode. Where the guest leaves
 * long mode, CS becomes a 32-bit segment.
 */
static const struct row {
	const char *name;
	int vendor;
	uint64_t cr0_set, cr0_clear;
	uint64_t cr4_set;
	uint64_t efer_set, efer_clear;
	int error;
} rows[] = {
	{ "unchanged" },
	{ "CR0 bit 32", ANY, .cr0_set = BIT(32), .error = EINVAL },
	{ "CR0 bit 63", ANY, .cr0_set = BIT(63), .error = EINVAL },
	{ "PG without PE, long mode", ANY, .cr0_clear = X86_CR0_PE,
	  .error = EINVAL },
	{ "PG without PE", ANY, .cr0_clear = X86_CR0_PE,
	  .efer_clear = EFER_LONG, .error = EINVAL },
	{ "PG, PE, no long mode", ANY, .efer_clear = EFER_LONG },
	{ "PE alone", ANY, .cr0_clear = X86_CR0_PG, .efer_clear = EFER_LONG },
	{ "neither PG nor PE", ANY, .cr0_clear = X86_CR0_PG | X86_CR0_PE,
	  .efer_clear = EFER_LONG },
	{ "NW without CD", ANY, .cr0_set = X86_CR0_NW, .error = EINVAL },
	{ "CD alone", ANY, .cr0_set = X86_CR0_CD },
	{ "NW and CD", ANY, .cr0_set = CR0_CACHE },
	{ "PCIDE, no long mode", ANY, .cr4_set = X86_CR4_PCIDE,
	  .efer_clear = EFER_LONG, .error = EINVAL },

	{ "SVM: CR0 bit 32", SVM, .cr0_set = BIT(32), .efer_set = EFER_SVME,
	  .error = EINVAL },
	{ "SVM: PG without PE", SVM, .cr0_clear = X86_CR0_PE,
	  .efer_set = EFER_SVME, .efer_clear = EFER_LONG },
	{ "SVM: PG without PE, long mode", SVM, .cr0_clear = X86_CR0_PE,
	  .efer_set = EFER_SVME, .error = EINVAL },
	{ "SVM: NW without CD", SVM, .cr0_set = X86_CR0_NW,
	  .efer_set = EFER_SVME, .error = EINVAL },
	{ "SVM: PCIDE, no long mode", SVM, .cr4_set = X86_CR4_PCIDE,
	  .efer_set = EFER_SVME, .efer_clear = EFER_LONG },

	{ "VMX: CR0 bit 32", VMX, .cr0_set = BIT(32), .cr4_set = X86_CR4_VMXE,
	  .error = EINVAL },
	{ "VMX: PG without PE", VMX, .cr0_clear = X86_CR0_PE,
	  .cr4_set = X86_CR4_VMXE, .efer_clear = EFER_LONG, .error = EINVAL },
	{ "VMX: PG without PE, EFER.SVME", VMX, .cr0_clear = X86_CR0_PE,
	  .efer_set = EFER_SVME, .efer_clear = EFER_LONG, .error = EINVAL },
	{ "VMX: NW without CD", VMX, .cr0_set = X86_CR0_NW,
	  .cr4_set = X86_CR4_VMXE },
	{ "VMX: PCIDE, no long mode", VMX,
	  .cr4_set = X86_CR4_VMXE | X86_CR4_PCIDE, .efer_clear = EFER_LONG,
	  .error = EINVAL },
};

static bool possible(const struct row *row)
{
	if (row->vendor == SVM && !nested_svm_supported())
		return false;
	if (row->vendor == VMX && !nested_vmx_supported())
		return false;
	return !(row->cr4_set & X86_CR4_PCIDE) ||
	       (kvm_get_supported_cpuid_entry(1)->ecx & PCID);
}

static void check(const struct row *row)
{
	struct kvm_sregs before, sregs, after;
	int ret, error;

	vcpu_sregs_get(vm, VCPU_ID, &before);
	sregs = before;
	sregs.cr0 = (sregs.cr0 | row->cr0_set) & ~row->cr0_clear;
	sregs.cr4 |= row->cr4_set;
	sregs.efer = (sregs.efer | row->efer_set) & ~row->efer_clear;
	if (row->efer_clear & EFER_LMA) {
		sregs.cs.l = 0;
		sregs.cs.db = 1;
	}

	ret = _vcpu_sregs_set(vm, VCPU_ID, &sregs);
	error = ret ? errno : 0;
	TEST_ASSERT(error == row->error, "%s: error %d, not %d", row->name,
		    error, row->error);

	vcpu_sregs_get(vm, VCPU_ID, &after);
	if (error) {
		TEST_ASSERT(!memcmp(&before, &after, sizeof(after)),
			    "%s: refused, but registers changed", row->name);
		return;
	}
	TEST_ASSERT(after.cr0 == sregs.cr0 && after.cr4 == sregs.cr4 &&
		    after.efer == sregs.efer,
		    "%s: CR0 %#llx, CR4 %#llx, EFER %#llx", row->name,
		    after.cr0, after.cr4, after.efer);
	vcpu_sregs_set(vm, VCPU_ID, &before);
}

int main(int argc, char *argv[])
{
	unsigned int i;

	setbuf(stdout, NULL);

	vm = vm_create_default(VCPU_ID, 0, guest_code);
	vcpu_set_cpuid(vm, VCPU_ID, kvm_get_supported_cpuid());

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		if (!possible(&rows[i]))
			continue;
		check(&rows[i]);
		printf("%s: %s\n", rows[i].name,
		       rows[i].error ? "refused" : "taken");
	}

	vcpu_run(vm, VCPU_ID);
	TEST_ASSERT(get_ucall(vm, VCPU_ID, NULL) == UCALL_SYNC,
		    "the guest does not run any more");

	kvm_vm_free(vm);
	return 0;
}
