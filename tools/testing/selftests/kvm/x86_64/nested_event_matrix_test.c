// SPDX-License-Identifier: GPL-2.0-only
/*
 * While an event is delivered to L2, KVM raises an exception. What L1 and L2 see
 * is compared with a table from the manuals, nested_event_matrix/table.c: for each
 * first event, with each set of L1's intercepts.
 *
 * L2 writes an MSR that user space handles. User space injects the first event.
 * Then it does one of these:
 *  - It fails the write, so that KVM raises #GP.
 *  - It has KVM raise #MC, and lets the write succeed.
 *  - It lets the write succeed.
 * So KVM merges the events, never the CPU: emulators of CPUs get that wrong.
 */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "nested_guest.h"
#include "svm_util.h"
#include "nested_event_matrix/nested_event_matrix.h"

#define VCPU_ID		0
#define ERROR_CODE	0x18
#define LAST_EXCEPTION	31

#define MCG_CAP_BANKS	1
#define MCI_STATUS_VAL	BIT_ULL(63)
#define MCI_STATUS_UC	BIT_ULL(61)

/* What the guest tells. */
enum { STAGE_EXIT = 1, STAGE_WENT_ON, STAGE_HANDLER };

static struct kvm_vm *vm;
static struct kvm_run *run;
static bool svm;
static unsigned int cases, wrong;

/* For the guest. */
static struct l2_config config;
static struct l2_exit seen;

static void handle(struct ex_regs *regs)
{
	ucall(UCALL_SYNC, 3, (uint64_t)STAGE_HANDLER, regs->vector,
	      regs->error_code);
	l2_leave();
}

static void l2_guest_code(void)
{
	/* VMX injects an interrupt only with RFLAGS.IF set, SDM 26.3.1.4. */
	asm volatile("sti");
	wrmsr(NO_MSR, 0);
	ucall(UCALL_SYNC, 1, (uint64_t)STAGE_WENT_ON);
	l2_leave();
}

static void l1_guest_code(void *l2_data)
{
	unsigned long l2_stack[512];

	l1_init(l2_data);
	for (;;) {
		l2_prepare(l2_data, l2_guest_code,
			   &l2_stack[ARRAY_SIZE(l2_stack)]);
		l2_run(l2_data, &config, &seen);
		ucall(UCALL_SYNC, 1, (uint64_t)STAGE_EXIT);
	}
}

static void start_vm(void)
{
	uint64_t mcg_cap = MCG_CAP_BANKS;
	struct kvm_sregs sregs;
	int vector;

	vm = vm_create_with_l2(VCPU_ID, l1_guest_code);
	run = vcpu_state(vm, VCPU_ID);
	vm_exit_for_no_msr(vm);
	vcpu_ioctl(vm, VCPU_ID, KVM_X86_SETUP_MCE, &mcg_cap);
	vcpu_sregs_get(vm, VCPU_ID, &sregs);
	sregs.cr4 |= X86_CR4_MCE;
	vcpu_sregs_set(vm, VCPU_ID, &sregs);

	for (vector = 0; vector <= FIRST_IRQ; vector++)
		vm_handle_exception(vm, vector, handle);
}

static void restart_vm(void)
{
	kvm_vm_free(vm);
	start_vm();
}

/* Let L1 enter L2, up to where L2 writes the MSR. */
static void enter_l2(const struct event_case *c)
{
	memset(&config, 0, sizeof(config));
	if (c->first_hit)
		config.exceptions |= BIT(c->first);
	if (c->second_hit)
		config.exceptions |= BIT(c->second);
	if (c->df_hit)
		config.exceptions |= BIT(DF_VECTOR);
	config.shutdown = c->shutdown_hit;
	sync_global_to_guest(vm, config);

	vcpu_run(vm, VCPU_ID);
	TEST_ASSERT(run->exit_reason == KVM_EXIT_X86_WRMSR,
		    "L2 does not run: exit %s",
		    exit_reason_str(run->exit_reason));
}

static void make_events(const struct event_case *c)
{
	struct kvm_x86_mce mce = {
		.status = MCI_STATUS_VAL | MCI_STATUS_UC,
	};
	struct kvm_vcpu_events events;

	vcpu_events_get(vm, VCPU_ID, &events);
	events.nmi.masked = 0;
	events.nmi.injected = c->first == FIRST_NMI;
	events.interrupt.injected = c->first == FIRST_IRQ;
	events.interrupt.nr = FIRST_IRQ;
	events.exception.injected = c->first != NO_EVENT &&
				    c->first != FIRST_NMI &&
				    c->first != FIRST_IRQ;
	if (events.exception.injected) {
		events.exception.nr = c->first;
		events.exception.has_error_code = has_error_code(c->first);
		events.exception.error_code = c->first_error;
	}
	vcpu_events_set(vm, VCPU_ID, &events);

	run->msr.error = c->second == GP_VECTOR;
	if (c->second == MC_VECTOR)
		vcpu_ioctl(vm, VCPU_ID, KVM_X86_SET_MCE, &mce);
}

/* What the guest tells, or 0. */
static uint64_t stage(struct ucall *uc)
{
	return get_ucall(vm, VCPU_ID, uc) == UCALL_SYNC ? uc->args[0] : 0;
}

static void observe(struct outcome *o)
{
	struct ucall uc;

	*o = (struct outcome) { .kind = OTHER };
	vcpu_run(vm, VCPU_ID);
	if (run->exit_reason == KVM_EXIT_SHUTDOWN) {
		o->kind = VM_SHUTDOWN;
		restart_vm();
		return;
	}

	switch (stage(&uc)) {
	case STAGE_HANDLER:
		o->kind = L2_HANDLES;
		o->vector = uc.args[1];
		o->error = uc.args[2];
		break;
	case STAGE_WENT_ON:
		o->kind = WENT_ON;
		break;
	case STAGE_EXIT:
		sync_global_from_guest(vm, seen);
		if (seen.kind == L2_EXIT_SHUTDOWN) {
			o->kind = L1_SHUTDOWN;
		} else if (seen.kind == L2_EXIT_EXCEPTION) {
			o->kind = L1_EXCEPTION;
			o->vector = seen.vector;
			if (svm || seen.has_error)
				o->error = seen.error;
			if (seen.vectoring & EVENT_VALID)
				o->vectoring = seen.vectoring;
			if (o->vectoring & EVENT_ERROR_CODE)
				o->vectoring_error = seen.vectoring_error;
		}
		return;
	default:
		/* Such as the write of the MSR again: both events are lost. */
		restart_vm();
		return;
	}

	/* L2 leaves. */
	vcpu_run(vm, VCPU_ID);
	TEST_ASSERT(stage(&uc) == STAGE_EXIT, "L2 does not leave");
}

static void print_outcome(const char *what, const struct outcome *o)
{
	static const char * const kinds[] = {
		[WENT_ON] = "L2 goes on", [L2_HANDLES] = "L2 handles",
		[L1_EXCEPTION] = "L1 sees", [L1_SHUTDOWN] = "L1 sees a shutdown",
		[VM_SHUTDOWN] = "the VM shuts down", [OTHER] = "none of it",
	};

	printf("  %s: %s, vector %u, error code %#x; %#x was delivered, error code %#x\n",
	       what, kinds[o->kind], o->vector, o->error, o->vectoring,
	       o->vectoring_error);
}

static void check(const struct event_case *c)
{
	struct outcome should, is;

	expect(c, svm, &should);
	enter_l2(c);
	make_events(c);
	observe(&is);
	cases++;

	if (!memcmp(&should, &is, sizeof(is)))
		return;
	wrong++;
	printf("first %d (error code %#x), second %d, intercepted: %s%s%s%s\n",
	       c->first, c->first_error, c->second,
	       c->first_hit ? "first " : "", c->second_hit ? "second " : "",
	       c->df_hit ? "#DF " : "", c->shutdown_hit ? "SHUTDOWN" : "");
	print_outcome("expected", &should);
	print_outcome("is", &is);
}

static void check_first(int first, u32 first_error)
{
	bool exception = first != NO_EVENT && first != FIRST_IRQ &&
			 first != FIRST_NMI;
	static const int seconds[] = { GP_VECTOR, MC_VECTOR, NO_EVENT };
	int i, hits;

	for (i = 0; i < ARRAY_SIZE(seconds); i++) {
		/*
		 * KVM has no instruction length for an #BP or #OF that user
		 * space sets, so it cannot be delivered.
		 */
		if (seconds[i] == NO_EVENT &&
		    (first == BP_VECTOR || first == OF_VECTOR))
			continue;
		/* QEMU's TCG refuses to inject the last vector. */
		if (seconds[i] == NO_EVENT && svm && first == LAST_EXCEPTION)
			continue;

		for (hits = 0; hits < 16; hits++) {
			struct event_case c = {
				.first = first,
				.first_error = first_error,
				.second = seconds[i],
				.first_hit = hits & 1,
				.second_hit = hits & 2,
				.df_hit = hits & 4,
				.shutdown_hit = hits & 8,
			};

			if ((c.first_hit && !exception) ||
			    (c.second_hit && c.second == NO_EVENT))
				continue;
			/* The same bit of the intercepts decides about both. */
			if (exception && ((first == c.second &&
					   c.first_hit != c.second_hit) ||
					  (first == DF_VECTOR &&
					   c.first_hit != c.df_hit)))
				continue;
			/* Only a #DF shuts down, and only SVM has the choice. */
			if (c.shutdown_hit && (first != DF_VECTOR || !svm))
				continue;
			check(&c);
		}
	}
}

int main(int argc, char *argv[])
{
	int first;

	setbuf(stdout, NULL);
	if (!nested_guest_supported()) {
		print_skip("no nested guests");
		exit(KSFT_SKIP);
	}
	svm = nested_svm_supported();

	start_vm();
	check_first(NO_EVENT, 0);
	for (first = 0; first <= FIRST_IRQ; first++) {
		check_first(first, has_error_code(first) ? ERROR_CODE : 0);
		/* SVM keeps bits 31:16 of an error code, VMX does not. */
		if (has_error_code(first) && svm)
			check_first(first, ERROR_CODE | 0x10000);
	}
	kvm_vm_free(vm);

	printf("%u cases, %u wrong\n", cases, wrong);
	return wrong ? 1 : 0;
}
