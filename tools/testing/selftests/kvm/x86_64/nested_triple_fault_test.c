// SPDX-License-Identifier: GPL-2.0-only
/*
 * L2 shuts down. That is an exit to L1: always on VMX (SDM Vol. 3C 25.2), if L1
 * intercepts SHUTDOWN on SVM (APM Vol. 2 15.14.3). The VM goes on. If L1 does
 * not intercept it, KVM_RUN ends with KVM_EXIT_SHUTDOWN.
 *
 * Where KVM shadows page tables, a CR3 without memory behind is such a shutdown,
 * whether L2 loads it or L1 enters L2 with it. Everywhere, a #GP that KVM makes
 * while a #DF is delivered is one.
 */
#include <stdio.h>
#include <string.h>

#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "kvm_trace.h"
#include "nested_guest.h"
#include "svm_util.h"

#define VCPU_ID		0

/* What the guest tells. */
enum { STAGE_EXIT = 1, STAGE_LOST };

static struct kvm_vm *vm;

/* For the guest. */
static struct l2_config config;
static struct l2_exit seen;
static bool load_cr3;

static void l2_guest_code(void)
{
	if (load_cr3)
		asm volatile("mov %0, %%cr3" : : "r" (NO_MEMORY_CR3) : "memory");
	else
		wrmsr(NO_MSR, 0);
	ucall(UCALL_SYNC, 1, (uint64_t)STAGE_LOST);
}

static void l1_guest_code(void *l2_data)
{
	unsigned long l2_stack[64];

	l1_init(l2_data);
	l2_prepare(l2_data, l2_guest_code, &l2_stack[ARRAY_SIZE(l2_stack)]);
	l2_run(l2_data, &config, &seen);
	ucall(UCALL_SYNC, 1, (uint64_t)STAGE_EXIT);
}

/* L2 writes the MSR: a #DF is being delivered, and the write takes a #GP. */
static void make_shutdown(void)
{
	struct kvm_run *run = vcpu_state(vm, VCPU_ID);
	struct kvm_vcpu_events events;

	TEST_ASSERT(run->exit_reason == KVM_EXIT_X86_WRMSR,
		    "L2 writes no MSR: exit %s",
		    exit_reason_str(run->exit_reason));
	vcpu_events_get(vm, VCPU_ID, &events);
	events.exception.injected = 1;
	events.exception.nr = DF_VECTOR;
	events.exception.has_error_code = 1;
	events.exception.error_code = 0;
	vcpu_events_set(vm, VCPU_ID, &events);
	run->msr.error = 1;
	vcpu_run(vm, VCPU_ID);
}

static void check(const char *name, bool intercept, bool l2_loads, bool l1_loads)
{
	struct kvm_run *run;
	struct ucall uc;

	vm = vm_create_with_l2(VCPU_ID, l1_guest_code);
	vm_exit_for_no_msr(vm);

	config.shutdown = intercept;
	config.bad_cr3 = l1_loads;
	load_cr3 = l2_loads;
	sync_global_to_guest(vm, config);
	sync_global_to_guest(vm, load_cr3);

	run = vcpu_state(vm, VCPU_ID);
	vcpu_run(vm, VCPU_ID);
	if (!l2_loads && !l1_loads)
		make_shutdown();

	if (!intercept) {
		TEST_ASSERT(run->exit_reason == KVM_EXIT_SHUTDOWN,
			    "%s: exit %s", name,
			    exit_reason_str(run->exit_reason));
	} else {
		TEST_ASSERT(get_ucall(vm, VCPU_ID, &uc) == UCALL_SYNC &&
			    uc.args[0] == STAGE_EXIT,
			    "%s: L1 sees no exit: KVM's is %s", name,
			    exit_reason_str(run->exit_reason));
		sync_global_from_guest(vm, seen);
		TEST_ASSERT(seen.kind == L2_EXIT_SHUTDOWN,
			    "%s: L1 sees exit reason %#lx", name,
			    (unsigned long)seen.reason);
		TEST_ASSERT(!(seen.vectoring & EVENT_VALID) ||
			    nested_svm_supported(),
			    "%s: an event was delivered: %#x", name,
			    seen.vectoring);
	}
	printf("%s: as expected\n", name);

	kvm_vm_free(vm);
}

int main(int argc, char *argv[])
{
	setbuf(stdout, NULL);
	if (!nested_guest_supported()) {
		print_skip("no nested guests");
		exit(KSFT_SKIP);
	}

	check("#GP while a #DF is delivered", true, false, false);
	if (nested_svm_supported())
		check("#GP while a #DF is delivered, not intercepted",
		      false, false, false);
	if (have_tdp())
		return 0;

	check("L2 loads a bad CR3", true, true, false);
	check("L1 enters L2 with a bad CR3", true, false, true);
	if (nested_svm_supported()) {
		check("L2 loads a bad CR3, not intercepted",
		      false, true, false);
		check("L1 enters L2 with a bad CR3, not intercepted",
		      false, false, true);
	}
	return 0;
}
