// SPDX-License-Identifier: GPL-2.0-only
/*
 * An exception of L2 is pending, and KVM cannot deliver it yet. The cause is
 *
 *  - an interrupt or NMI that was being delivered. KVM takes the exception as
 *    raised by its delivery. L1 takes the exception, and learns what was being
 *    delivered, or L2 takes it;
 *  - or a VM entry that L1 has made and KVM has not finished. Once it has, the
 *    exception is delivered.
 *
 * The first is made by a write of an MSR that user space fails, while it puts
 * the interrupt in between; the second by nested state with a pending run.
 */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "kvm_trace.h"
#include "nested_guest.h"
#include "svm_util.h"

#define VCPU_ID		0
#define IRQ_VECTOR	0x20
#define ERROR_CODE	0x18

/* What the guest tells. */
enum { STAGE_EXIT = 1, STAGE_L2, STAGE_WENT_ON, STAGE_HANDLER };

enum first { NOTHING, IRQ, NMI };

static const char * const first_names[] = { "nothing", "an IRQ", "an NMI" };

static struct kvm_vm *vm;
static union nested_state nested;

/* For the guest. */
static struct l2_config config;
static struct l2_exit seen;
static bool write_msr, quiet;

static void handle(struct ex_regs *regs)
{
	if (READ_ONCE(quiet))
		return;
	ucall(UCALL_SYNC, 3, (uint64_t)STAGE_HANDLER, regs->vector,
	      regs->error_code);
}

static void l2_guest_code(void)
{
	/* Bochs lets the host interrupt a guest only with RFLAGS.IF set. */
	asm volatile("sti");
	/* Have all mapped that a handler uses, lest its delivery be cut short. */
	WRITE_ONCE(quiet, true);
	asm volatile("int %0" : : "i" (IRQ_VECTOR));
	WRITE_ONCE(quiet, false);
	if (write_msr)
		wrmsr(NO_MSR, 0);
	else
		ucall(UCALL_SYNC, 1, (uint64_t)STAGE_L2);
	ucall(UCALL_SYNC, 1, (uint64_t)STAGE_WENT_ON);
}

static void l1_guest_code(void *l2_data)
{
	unsigned long l2_stack[512];

	l1_init(l2_data);
	l2_prepare(l2_data, l2_guest_code, &l2_stack[ARRAY_SIZE(l2_stack)]);
	l2_run(l2_data, &config, &seen);
	ucall(UCALL_SYNC, 1, (uint64_t)STAGE_EXIT);
}

static void start(bool msr, bool intercept)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_EXCEPTION_PAYLOAD,
		.args[0] = 1,
	};

	vm = vm_create_with_l2(VCPU_ID, l1_guest_code);
	vm_exit_for_no_msr(vm);
	vm_enable_cap(vm, &cap);
	vm_handle_exception(vm, NMI_VECTOR, handle);
	vm_handle_exception(vm, GP_VECTOR, handle);
	vm_handle_exception(vm, IRQ_VECTOR, handle);

	config.exceptions = intercept ? BIT(GP_VECTOR) : 0;
	write_msr = msr;
	sync_global_to_guest(vm, config);
	sync_global_to_guest(vm, write_msr);
	vcpu_run(vm, VCPU_ID);
}

/* Run the vCPU, and see that the exception went to L1, or to L2. */
static void expect_exception(const char *name, bool intercept, uint32_t error,
			     uint32_t vectoring)
{
	struct kvm_run *run = vcpu_state(vm, VCPU_ID);
	struct ucall uc;

	vcpu_run(vm, VCPU_ID);
	TEST_ASSERT(get_ucall(vm, VCPU_ID, &uc) == UCALL_SYNC,
		    "%s: exit %s", name, exit_reason_str(run->exit_reason));
	TEST_ASSERT(uc.args[0] != STAGE_WENT_ON, "%s: the exception is lost",
		    name);

	if (!intercept) {
		TEST_ASSERT(uc.args[0] == STAGE_HANDLER &&
			    uc.args[1] == GP_VECTOR,
			    "%s: the guest says %lu, vector %lu", name,
			    uc.args[0], uc.args[1]);
		TEST_ASSERT(uc.args[2] == error, "%s: error code %#lx", name,
			    uc.args[2]);
		return;
	}

	TEST_ASSERT(uc.args[0] == STAGE_EXIT, "%s: the guest says %lu", name,
		    uc.args[0]);
	sync_global_from_guest(vm, seen);
	TEST_ASSERT(seen.kind == L2_EXIT_EXCEPTION && seen.vector == GP_VECTOR,
		    "%s: exit reason %#lx, vector %u", name,
		    (unsigned long)seen.reason, seen.vector);
	TEST_ASSERT(seen.error == error, "%s: error code %#x", name,
		    seen.error);
	TEST_ASSERT(seen.vectoring == vectoring,
		    "%s: %#x was being delivered, not %#x", name,
		    seen.vectoring, vectoring);
}

static void check_injected(enum first first, bool intercept)
{
	struct kvm_vcpu_events events;
	struct kvm_run *run;
	uint32_t vectoring = 0;
	char name[80];

	snprintf(name, sizeof(name), "#GP%s, while %s is delivered",
		 intercept ? " that L1 intercepts" : "", first_names[first]);
	start(true, intercept);
	run = vcpu_state(vm, VCPU_ID);
	TEST_ASSERT(run->exit_reason == KVM_EXIT_X86_WRMSR, "%s: exit %s", name,
		    exit_reason_str(run->exit_reason));

	vcpu_events_get(vm, VCPU_ID, &events);
	if (first == IRQ) {
		events.interrupt.injected = 1;
		events.interrupt.nr = IRQ_VECTOR;
		vectoring = EVENT_VALID | EVENT_TYPE_INTR | IRQ_VECTOR;
	} else if (first == NMI) {
		events.nmi.injected = 1;
		vectoring = EVENT_VALID | EVENT_TYPE_NMI | NMI_VECTOR;
	}
	vcpu_events_set(vm, VCPU_ID, &events);
	run->msr.error = 1;

	expect_exception(name, intercept, 0, vectoring);
	printf("%s: as expected\n", name);
	kvm_vm_free(vm);
}

/* Have KVM leave L2 and be about to enter it, as VMLAUNCH or VMRUN leave it. */
static void enter_l2_again(void)
{
	vcpu_leave_l2(vm, VCPU_ID, &nested);
	nested.state.flags |= KVM_STATE_NESTED_RUN_PENDING;
	vcpu_nested_state_set(vm, VCPU_ID, &nested.state, false);
}

static void check_run_pending(bool intercept, bool irq)
{
	struct kvm_vcpu_events events;
	char name[80];
	struct ucall uc;

	snprintf(name, sizeof(name), "#GP%s, while L2 is entered%s",
		 intercept ? " that L1 intercepts" : "",
		 irq ? " with an IRQ" : "");
	start(false, intercept);
	TEST_ASSERT(get_ucall(vm, VCPU_ID, &uc) == UCALL_SYNC &&
		    uc.args[0] == STAGE_L2, "%s: L2 does not run", name);
	vcpu_run_complete_io(vm, VCPU_ID);

	enter_l2_again();
	vcpu_events_get(vm, VCPU_ID, &events);
	events.flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
	events.exception.pending = 1;
	events.exception.nr = GP_VECTOR;
	events.exception.has_error_code = 1;
	events.exception.error_code = ERROR_CODE;
	events.interrupt.injected = irq;
	events.interrupt.nr = IRQ_VECTOR;
	vcpu_events_set(vm, VCPU_ID, &events);

	expect_exception(name, intercept, ERROR_CODE, 0);
	if (irq) {
		/* The entry delivered it, the #GP met its handler. */
		vcpu_run(vm, VCPU_ID);
		TEST_ASSERT(get_ucall(vm, VCPU_ID, &uc) == UCALL_SYNC &&
			    uc.args[0] == STAGE_HANDLER &&
			    uc.args[1] == IRQ_VECTOR, "%s: the IRQ is lost",
			    name);
	}
	printf("%s: as expected\n", name);
	kvm_vm_free(vm);
}

int main(int argc, char *argv[])
{
	enum first first;

	setbuf(stdout, NULL);
	if (!nested_guest_supported()) {
		print_skip("no nested guests");
		exit(KSFT_SKIP);
	}

	for (first = NOTHING; first <= NMI; first++) {
		check_injected(first, false);
		check_injected(first, true);
	}
	check_run_pending(false, false);
	check_run_pending(true, false);

	/*
	 * The TDP MMU forgets what is mapped when nested state is loaded. So the
	 * delivery of the IRQ is cut short, and KVM takes the exception as raised
	 * by it.
	 */
	if (!module_flag("kvm", "tdp_mmu"))
		check_run_pending(false, true);
	return 0;
}
