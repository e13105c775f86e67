// SPDX-License-Identifier: GPL-2.0-only
/*
 * VMRUN reads the VMCB from L1's memory. A thread of the host changes a field
 * there all the time, as another vCPU could, from a good value to a bad one and
 * back. VMRUN must fail, or L2 must run with the good value: never with one
 * that VMRUN refuses.
 *
 * Two CPUs are needed for the change to come between KVM's check and its use.
 */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <linux/compiler.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "svm_util.h"
#include "test_thread.h"

#define VCPU_ID		0
#define RUNS		20000

/* What L1 says at the end of a race. */
enum { TAKEN = 1, REFUSED, BAD, NR_WORDS };

static struct kvm_vm *vm;
static bool stop;

/*
 * The races. The bad value of each is one that L2 can run with: hardware has
 * the bit of CR4 that CPUID hides.
 */
static const struct race {
	const char *name;
	size_t offset;
	uint64_t bad;
} races[] = {
	{ "CR4: a bit that CPUID lacks", offsetof(struct vmcb, save.cr4),
	  X86_CR4_SMEP },
};

/*
 * The guest. L2 writes down its CR4.
 */

static uint64_t l2_cr4;

static void l2_guest_code(void)
{
	WRITE_ONCE(l2_cr4, get_cr4());
	asm volatile("vmmcall" : : : "memory");
}

static void l1_guest_code(struct svm_test_data *svm)
{
	unsigned long l2_stack[64];
	struct vmcb *vmcb = svm->vmcb;
	unsigned long count[NR_WORDS];
	const struct race *race;
	uint64_t rsp;
	int i, j;

	generic_svm_setup(svm, l2_guest_code, &l2_stack[64]);
	rsp = vmcb->save.rsp;

	for (i = 0; i < ARRAY_SIZE(races); i++) {
		race = &races[i];
		for (j = 0; j < NR_WORDS; j++)
			count[j] = 0;
		ucall(UCALL_SYNC, 1, (uint64_t)i);
		for (j = 0; j < RUNS; j++) {
			vmcb->save.rip = (uint64_t)l2_guest_code;
			vmcb->save.rsp = rsp;
			run_guest(vmcb, svm->vmcb_gpa);
			if (vmcb->control.exit_code != SVM_EXIT_VMMCALL) {
				count[REFUSED]++;
				continue;
			}
			count[TAKEN]++;
			if (READ_ONCE(l2_cr4) & race->bad)
				count[BAD]++;
		}
		ucall(UCALL_SYNC, 4, (uint64_t)ARRAY_SIZE(races) + i,
		      count[TAKEN], count[REFUSED], count[BAD]);
	}
	GUEST_DONE();
}

/*
 * The host.
 */

static struct svm_test_data *svm;

static void *flip(void *data)
{
	const struct race *race = data;
	uint64_t *field = svm->vmcb_hva + race->offset;
	uint64_t good = READ_ONCE(*field);

	while (!READ_ONCE(stop)) {
		WRITE_ONCE(*field, good | race->bad);
		WRITE_ONCE(*field, good);
	}
	return NULL;
}

static void hide_smep(void)
{
	struct kvm_cpuid2 *cpuid = kvm_get_supported_cpuid();
	struct kvm_cpuid_entry2 *entry;
	int i;

	for (i = 0; i < cpuid->nent; i++) {
		entry = &cpuid->entries[i];
		if (entry->function == 7 && !entry->index)
			entry->ebx &= ~BIT(7);
	}
	vcpu_set_cpuid(vm, VCPU_ID, cpuid);
}

int main(int argc, char *argv[])
{
	struct test_thread thread;
	const struct race *race;
	vm_vaddr_t svm_gva;
	unsigned int stage;
	struct ucall uc;

	setbuf(stdout, NULL);
	nested_svm_check_supported();
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
		print_skip("one CPU, nothing can happen at once");
		exit(KSFT_SKIP);
	}

	vm = vm_create_default(VCPU_ID, 0, l1_guest_code);
	hide_smep();
	svm = vcpu_alloc_svm(vm, &svm_gva);
	vcpu_args_set(vm, VCPU_ID, 1, svm_gva);

	for (;;) {
		vcpu_run(vm, VCPU_ID);
		switch (get_ucall(vm, VCPU_ID, &uc)) {
		case UCALL_SYNC:
			break;
		case UCALL_DONE:
			kvm_vm_free(vm);
			return 0;
		default:
			TEST_FAIL("exit %u, ucall %lu: %s",
				  vcpu_state(vm, VCPU_ID)->exit_reason, uc.cmd,
				  (const char *)uc.args[0]);
		}

		stage = uc.args[0];
		if (stage < ARRAY_SIZE(races)) {
			race = &races[stage];
			WRITE_ONCE(stop, false);
			test_thread_start(&thread, race->name, flip,
					  (void *)race);
			continue;
		}

		WRITE_ONCE(stop, true);
		test_thread_join(&thread);
		race = &races[stage - ARRAY_SIZE(races)];
		printf("%s: taken %lu times, refused %lu times, ran with the bad value %lu times\n",
		       race->name, uc.args[TAKEN], uc.args[REFUSED],
		       uc.args[BAD]);
		TEST_ASSERT(uc.args[TAKEN] && uc.args[REFUSED],
			    "%s: the field did not change", race->name);
		TEST_ASSERT(!uc.args[BAD], "%s: L2 ran with the bad value",
			    race->name);
	}
}
