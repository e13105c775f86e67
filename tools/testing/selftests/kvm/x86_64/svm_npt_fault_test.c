// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which nested page faults L1 gets, and with which error code. Nested page
 * tables are walked as the host is set up, APM vol. 2, 15.25.5 and 15.25.6: for
 * KVM's walk of L1's tables that is EFER.NX and CR4.SMEP of L1 at its VMRUN, and
 * nothing of L2. All combinations of these bits in L1 and in L2 are tried with
 * each kind of nested entry, for the page that L2 accesses and for the page
 * table that L2 has for it. INS is an access that KVM makes for L2.
 */
#define _GNU_SOURCE /* for program_invocation_name */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "svm_util.h"
#include "kselftest.h"
#include "nested_page_fault.h"

#define SVM_EXIT_NPF	0x400

#define PTE_P		BIT_ULL(0)
#define PTE_W		BIT_ULL(1)
#define PTE_U		BIT_ULL(2)
#define PTE_RESERVED	BIT_ULL(51)
#define PTE_NX		BIT_ULL(63)

/* Error code of a nested page fault, APM vol. 2, 15.25.6. */
#define NPF_P		BIT_ULL(0)
#define NPF_W		BIT_ULL(1)
#define NPF_U		BIT_ULL(2)
#define NPF_RSVD	BIT_ULL(3)
#define NPF_FETCH	BIT_ULL(4)
#define NPF_FINAL	BIT_ULL(32)
#define NPF_WALK	BIT_ULL(33)

/* Bits of a mode: those of L1, and those of L2 above them. */
#define NX		BIT(0)
#define SMEP		BIT(1)
#define L2_SHIFT	2
#define NR_MODES	16

enum kind { GOOD, ABSENT, READONLY, SUPERVISOR, NOEXEC, RESERVED, NR_KINDS };

static const char * const kind_names[NR_KINDS] = {
	"good", "not present", "read-only", "supervisor", "no-execute",
	"reserved bit",
};

struct result {
	uint64_t exit_code;
	uint64_t error_code;
	uint64_t address;
};

static struct result results[NR_MODES][NR_KINDS][NR_ACCESSES];

static void l2_code(void)
{
	access_target();
	asm volatile("vmmcall" : : : "memory", XMM_REGISTERS);
}

static uint64_t bad_entry(uint64_t entry, enum kind kind)
{
	switch (kind) {
	case ABSENT:
		return entry & ~PTE_P;
	case READONLY:
		return entry & ~PTE_W;
	case SUPERVISOR:
		return entry & ~PTE_U;
	case NOEXEC:
		return entry | PTE_NX;
	case RESERVED:
		return entry | PTE_RESERVED;
	default:
		return entry;
	}
}

static uint64_t efer(int mode)
{
	return (rdmsr(MSR_EFER) & ~EFER_NX) | (mode & NX ? EFER_NX : 0);
}

static uint64_t cr4(int mode)
{
	return (get_cr4() & ~X86_CR4_SMEP) | (mode & SMEP ? X86_CR4_SMEP : 0);
}

static void run_l2(struct svm_test_data *svm, int mode, enum kind kind,
		   enum access access, void *stack)
{
	struct vmcb *vmcb = svm->vmcb;
	uint64_t *entry = entries[is_walk(access)];
	uint64_t good = *entry;
	struct result *result = &results[mode][kind][access];

	l2_access = access;
	WRITE_ONCE(*entry, bad_entry(good, kind));
	wrmsr(MSR_EFER, efer(mode));
	set_cr4(cr4(mode));

	vmcb->save.efer = efer(mode >> L2_SHIFT);
	vmcb->save.cr4 = cr4(mode >> L2_SHIFT);
	vmcb->save.rip = (uintptr_t)l2_code;
	vmcb->save.rsp = guest_entry_rsp((uintptr_t)stack);
	vmcb->control.tlb_ctl = TLB_CONTROL_FLUSH_ALL_ASID;
	run_guest(vmcb, svm->vmcb_gpa);

	result->exit_code = vmcb->control.exit_code;
	result->error_code = vmcb->control.exit_info_1;
	result->address = vmcb->control.exit_info_2;
	WRITE_ONCE(*entry, good);
}

static void l1_code(struct svm_test_data *svm)
{
	unsigned long l2_stack[256];
	enum access access;
	enum kind kind;
	int mode;

	generic_svm_setup(svm, l2_code, &l2_stack[256]);
	for (mode = 0; mode < NR_MODES; mode++)
		for (kind = 0; kind < NR_KINDS; kind++)
			for (access = 0; access < NR_ACCESSES; access++)
				run_l2(svm, mode, kind, access, &l2_stack[256]);
	GUEST_DONE();
}

/* What L1 is to see; only the bits of L1 count. */
static struct result expected(int mode, enum kind kind, enum access access)
{
	bool fetch = access == FETCH;
	bool write = access != READ && access != FETCH;
	uint64_t error_code = NPF_U;
	bool fault;

	if (kind == NOEXEC && !(mode & NX))
		kind = RESERVED;

	switch (kind) {
	case ABSENT:
	case SUPERVISOR:
	case RESERVED:
		fault = true;
		break;
	case READONLY:
		fault = write;
		break;
	case NOEXEC:
		fault = fetch;
		break;
	default:
		fault = false;
	}
	if (!fault)
		return (struct result){ .exit_code = SVM_EXIT_VMMCALL };

	error_code |= kind == ABSENT ? 0 : NPF_P;
	error_code |= kind == RESERVED ? NPF_RSVD : 0;
	error_code |= write ? NPF_W : 0;
	error_code |= fetch && mode & (NX | SMEP) ? NPF_FETCH : 0;
	error_code |= is_walk(access) ? NPF_WALK : NPF_FINAL;

	return (struct result){
		.exit_code = SVM_EXIT_NPF,
		.error_code = error_code,
		.address = is_walk(access) ?
			   table_gpa + (TARGET_GVA >> 12) % 512 * 8 :
			   TARGET_GVA + write,
	};
}

static bool same(const struct result *is, const struct result *expect)
{
	if (is->exit_code != expect->exit_code)
		return false;

	return is->exit_code != SVM_EXIT_NPF ||
	       (is->error_code == expect->error_code &&
		is->address == expect->address);
}

static void check_mode(int mode)
{
	unsigned int bad = 0;
	enum access access;
	enum kind kind;

	for (kind = 0; kind < NR_KINDS; kind++) {
		for (access = 0; access < NR_ACCESSES; access++) {
			struct result *is = &results[mode][kind][access];
			struct result expect = expected(mode, kind, access);

			if (same(is, &expect))
				continue;
			bad++;
			ksft_print_msg("%s, %s: exit 0x%lx 0x%lx 0x%lx\n",
				       kind_names[kind], access_names[access],
				       is->exit_code, is->error_code,
				       is->address);
			ksft_print_msg("\texpected 0x%lx 0x%lx 0x%lx\n",
				       expect.exit_code, expect.error_code,
				       expect.address);
		}
	}

	ksft_test_result(!bad, "L1 NX %d SMEP %d, L2 NX %d SMEP %d\n",
			 !!(mode & NX), !!(mode & SMEP),
			 !!(mode >> L2_SHIFT & NX), !!(mode >> L2_SHIFT & SMEP));
}

static void setup(struct kvm_vm *vm)
{
	struct svm_test_data *svm;
	struct kvm_sregs sregs;
	vm_vaddr_t svm_gva;

	svm = vcpu_alloc_svm(vm, &svm_gva);
	vcpu_args_set(vm, 0, 1, svm_gva);
	prepare_npt(svm, vm, 0);
	npt_map_memslot(svm, vm, 0, 0);

	npt_map(svm, vm, TARGET_GVA, make_target(vm), 4096, 0);
	vcpu_sregs_get(vm, 0, &sregs);
	map_entries(vm, svm->ncr3_gpa, sregs.cr3);
}

int main(void)
{
	struct kvm_cpuid_entry2 *leaf7 = kvm_get_supported_cpuid_entry(7);
	struct kvm_vm *vm;
	int mode;

	nested_svm_check_supported();
	if (!nested_npt_supported() || !(leaf7->ebx & BIT(7))) {
		print_skip("no nested paging in L1, or no SMEP");
		exit(KSFT_SKIP);
	}

	vm = vm_create_default(0, 0, l1_code);
	vcpu_set_cpuid(vm, 0, kvm_get_supported_cpuid());
	setup(vm);
	run_accesses(vm);
	sync_global_from_guest(vm, results);

	ksft_print_header();
	ksft_set_plan(NR_MODES);
	for (mode = 0; mode < NR_MODES; mode++)
		check_mode(mode);
	kvm_vm_free(vm);

	if (ksft_get_fail_cnt())
		ksft_exit_fail();
	ksft_exit_pass();
}
