// SPDX-License-Identifier: GPL-2.0-only
/*
 * User space saves and loads what is pending for L2:
 *
 *  - an exception goes to L1 if L1 intercepts it and to L2 if not, whether the
 *    nested state is loaded before the events or after them, and whether or not
 *    the vCPU was halted. CR2 and DR6 change as the manuals say;
 *  - on VMX, a #DB that is a trap comes after a pending MTF exit, one that is a
 *    fault before it;
 *  - of an interrupt and an exception that its delivery has raised, only the
 *    interrupt is reported;
 *  - KVM_SET_GUEST_DEBUG injects nothing over an exception;
 *  - a triple fault is reported, and set, with KVM_CAP_X86_TRIPLE_FAULT_EVENT.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "nested_guest.h"
#include "svm_util.h"

#define VCPU_ID		0
#define IRQ_VECTOR	0x20
#define OLD_CR2		0x1111000ul
#define NEW_CR2		0x2222000ul
#define DR6_INIT	0xffff0ff0ul
#define VMX_EXIT_MTF	37
#define DR6_BD		BIT(13)
#define DR6_BS		BIT(14)

/* What the guest tells. */
enum { STAGE_EXIT = 1, STAGE_L2, STAGE_WENT_ON, STAGE_HANDLER };

/* How the vCPU is loaded. */
enum order { IN_PLACE, EVENTS_FIRST, NESTED_FIRST, HALTED, NR_ORDERS };

static const char * const orders[] = {
	"in place", "events first", "nested state first", "halted",
};

struct exception {
	const char *name;
	uint8_t nr;
	bool has_error;
	uint32_t error;
	bool has_payload;
	uint64_t payload;
};

static const struct exception exceptions[] = {
	{ "#UD", UD_VECTOR },
	{ "#GP", GP_VECTOR, true, 0x18 },
	{ "#PF", PF_VECTOR, true, 2, true, NEW_CR2 },
	{ "#DB", DB_VECTOR, false, 0, true, DR6_BS },
};

static struct kvm_vm *vm;
static bool svm;
static union nested_state nested;

/* For the guest. */
static struct l2_config config;
static struct l2_exit seen;

static void handle(struct ex_regs *regs)
{
	ucall(UCALL_SYNC, 3, (uint64_t)STAGE_HANDLER, regs->vector,
	      regs->error_code);
}

static void l2_guest_code(void)
{
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

static void enable(uint32_t capability)
{
	struct kvm_enable_cap cap = { .cap = capability, .args[0] = 1 };

	vm_enable_cap(vm, &cap);
}

/* Have L1 enter L2, and stop there. */
static void start(uint32_t intercepts)
{
	struct kvm_sregs sregs;
	struct ucall uc;
	int i;

	vm = vm_create_with_l2(VCPU_ID, l1_guest_code);
	enable(KVM_CAP_EXCEPTION_PAYLOAD);
	for (i = 0; i <= IRQ_VECTOR; i++)
		vm_handle_exception(vm, i, handle);

	memset(&config, 0, sizeof(config));
	config.exceptions = intercepts;
	config.shutdown = true;
	sync_global_to_guest(vm, config);

	vcpu_run(vm, VCPU_ID);
	TEST_ASSERT(get_ucall(vm, VCPU_ID, &uc) == UCALL_SYNC &&
		    uc.args[0] == STAGE_L2, "L2 does not run");
	vcpu_run_complete_io(vm, VCPU_ID);

	vcpu_sregs_get(vm, VCPU_ID, &sregs);
	sregs.cr2 = OLD_CR2;
	vcpu_sregs_set(vm, VCPU_ID, &sregs);
}

static void set_pending(struct kvm_vcpu_events *events,
			const struct exception *ex)
{
	events->flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
	events->exception.injected = 0;
	events->exception.pending = 1;
	events->exception.nr = ex->nr;
	events->exception.has_error_code = ex->has_error;
	events->exception.error_code = ex->error;
	events->exception_has_payload = ex->has_payload;
	events->exception_payload = ex->payload;
}

static void expect_pending(const char *name, const struct exception *ex)
{
	struct kvm_vcpu_events events;

	vcpu_events_get(vm, VCPU_ID, &events);
	TEST_ASSERT(events.exception.pending && !events.exception.injected &&
		    events.exception.nr == ex->nr &&
		    events.exception.has_error_code == ex->has_error &&
		    (!ex->has_error ||
		     events.exception.error_code == ex->error) &&
		    events.exception_has_payload == ex->has_payload &&
		    (!ex->has_payload ||
		     events.exception_payload == ex->payload),
		    "%s: reported as pending %u, injected %u, vector %u, payload %#llx",
		    name, events.exception.pending, events.exception.injected,
		    events.exception.nr, events.exception_payload);
}

static void load(struct kvm_vcpu_events *events, enum order order)
{
	struct kvm_mp_state halted = { KVM_MP_STATE_HALTED };

	if (order == HALTED)
		vcpu_ioctl(vm, VCPU_ID, KVM_SET_MP_STATE, &halted);

	switch (order) {
	case EVENTS_FIRST:
		vcpu_leave_l2(vm, VCPU_ID, &nested);
		vcpu_events_set(vm, VCPU_ID, events);
		vcpu_nested_state_set(vm, VCPU_ID, &nested.state, false);
		break;
	case NESTED_FIRST:
		vcpu_leave_l2(vm, VCPU_ID, &nested);
		vcpu_nested_state_set(vm, VCPU_ID, &nested.state, false);
		vcpu_events_set(vm, VCPU_ID, events);
		break;
	default:
		vcpu_events_set(vm, VCPU_ID, events);
	}
}

static void check_registers(const char *name, const struct exception *ex,
			    bool intercepted)
{
	uint64_t cr2 = OLD_CR2, dr6 = DR6_INIT;
	struct kvm_debugregs debugregs;
	struct kvm_sregs sregs;

	vcpu_sregs_get(vm, VCPU_ID, &sregs);
	vcpu_ioctl(vm, VCPU_ID, KVM_GET_DEBUGREGS, &debugregs);

	if (ex->nr == PF_VECTOR && !intercepted)
		cr2 = ex->payload;
	/* SVM updates DR6 before the intercept (APM 15.12.2), VMX does not. */
	if (ex->nr == DB_VECTOR && (!intercepted || svm))
		dr6 |= ex->payload;

	if (intercepted)
		sregs.cr2 = seen.cr2;
	TEST_ASSERT(sregs.cr2 == cr2, "%s: CR2 is %#llx, not %#lx", name,
		    sregs.cr2, cr2);
	TEST_ASSERT(debugregs.dr6 == dr6, "%s: DR6 is %#llx, not %#lx", name,
		    debugregs.dr6, dr6);
}

static void check_exception(const struct exception *ex, bool intercepted,
			    enum order order)
{
	struct kvm_vcpu_events events;
	struct ucall uc;
	char name[80];

	snprintf(name, sizeof(name), "%s%s, %s", ex->name,
		 intercepted ? " that L1 intercepts" : "", orders[order]);
	start(intercepted ? BIT(ex->nr) : 0);

	vcpu_events_get(vm, VCPU_ID, &events);
	set_pending(&events, ex);
	load(&events, order);
	expect_pending(name, ex);

	vcpu_run(vm, VCPU_ID);
	TEST_ASSERT(get_ucall(vm, VCPU_ID, &uc) == UCALL_SYNC, "%s: exit %s",
		    name,
		    exit_reason_str(vcpu_state(vm, VCPU_ID)->exit_reason));
	if (intercepted) {
		sync_global_from_guest(vm, seen);
		TEST_ASSERT(uc.args[0] == STAGE_EXIT &&
			    seen.kind == L2_EXIT_EXCEPTION &&
			    seen.vector == ex->nr,
			    "%s: the guest says %lu, exit reason %#lx, vector %u",
			    name, uc.args[0], (unsigned long)seen.reason,
			    seen.vector);
		TEST_ASSERT(seen.error == ex->error &&
			    (svm || seen.has_error == ex->has_error),
			    "%s: error code %#x", name, seen.error);
		if (ex->nr == PF_VECTOR || (ex->nr == DB_VECTOR && !svm))
			TEST_ASSERT(seen.info == ex->payload,
				    "%s: exit information %#lx", name,
				    (unsigned long)seen.info);
		TEST_ASSERT(!(seen.vectoring & EVENT_VALID),
			    "%s: %#x was being delivered", name,
			    seen.vectoring);
	} else {
		TEST_ASSERT(uc.args[0] == STAGE_HANDLER &&
			    uc.args[1] == ex->nr && uc.args[2] == ex->error,
			    "%s: the guest says %lu, vector %lu, error code %#lx",
			    name, uc.args[0], uc.args[1], uc.args[2]);
	}
	check_registers(name, ex, intercepted);
	kvm_vm_free(vm);
}

/* An interrupt is being delivered, and has raised an exception. */
static void check_interrupt(bool nmi, bool intercepted)
{
	struct kvm_vcpu_events events;

	start(intercepted ? BIT(GP_VECTOR) : 0);
	vcpu_events_get(vm, VCPU_ID, &events);
	set_pending(&events, &exceptions[1]);
	events.nmi.injected = nmi;
	events.interrupt.injected = !nmi;
	events.interrupt.nr = IRQ_VECTOR;
	vcpu_events_set(vm, VCPU_ID, &events);

	vcpu_events_get(vm, VCPU_ID, &events);
	TEST_ASSERT(!events.exception.pending && !events.exception.injected,
		    "an exception is reported beside the interrupt");
	TEST_ASSERT(events.nmi.injected == nmi &&
		    events.interrupt.injected == !nmi,
		    "the interrupt is not reported");
	kvm_vm_free(vm);
}

/*
 * VMX: an MTF exit is pending beside a #DB. A trap comes after MTF, General
 * Detect, a fault, before it (SDM Vol. 3A 6.9, Vol. 3C 25.5.2).
 */
static void check_mtf(uint64_t payload, bool mtf_first)
{
	const struct exception db = {
		.name = "#DB", .nr = DB_VECTOR,
		.has_payload = true, .payload = payload,
	};
	struct kvm_vcpu_events events;
	struct ucall uc;

	start(BIT(DB_VECTOR));
	vcpu_events_get(vm, VCPU_ID, &events);
	set_pending(&events, &db);
	vcpu_leave_l2(vm, VCPU_ID, &nested);
	nested.state.flags |= KVM_STATE_NESTED_MTF_PENDING;
	vcpu_nested_state_set(vm, VCPU_ID, &nested.state, false);
	vcpu_events_set(vm, VCPU_ID, &events);

	vcpu_run(vm, VCPU_ID);
	TEST_ASSERT(get_ucall(vm, VCPU_ID, &uc) == UCALL_SYNC &&
		    uc.args[0] == STAGE_EXIT, "L1 sees no exit");
	sync_global_from_guest(vm, seen);
	TEST_ASSERT(mtf_first ? seen.reason == VMX_EXIT_MTF :
		    seen.kind == L2_EXIT_EXCEPTION && seen.info == payload,
		    "#DB %#lx beside MTF: exit reason %#lx, qualification %#lx",
		    payload, (unsigned long)seen.reason,
		    (unsigned long)seen.info);
	kvm_vm_free(vm);
}

static void check_guest_debug(bool pending)
{
	struct kvm_guest_debug debug = { .control = KVM_GUESTDBG_INJECT_DB };
	struct kvm_vcpu_events events;
	int ret;

	start(0);
	vcpu_events_get(vm, VCPU_ID, &events);
	set_pending(&events, &exceptions[1]);
	events.exception.pending = pending;
	events.exception.injected = !pending;
	vcpu_events_set(vm, VCPU_ID, &events);
	ret = _vcpu_ioctl(vm, VCPU_ID, KVM_SET_GUEST_DEBUG, &debug);
	TEST_ASSERT(ret == -1 && errno == EBUSY,
		    "KVM_SET_GUEST_DEBUG over an exception: %d, errno %d", ret,
		    errno);
	kvm_vm_free(vm);
}

static void check_triple_fault(void)
{
	struct kvm_vcpu_events events;
	struct ucall uc;
	int ret;

	start(0);
	vcpu_events_get(vm, VCPU_ID, &events);
	TEST_ASSERT(!(events.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT),
		    "a triple fault is reported without the capability");
	events.flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
	events.triple_fault.pending = 1;
	ret = _vcpu_ioctl(vm, VCPU_ID, KVM_SET_VCPU_EVENTS, &events);
	TEST_ASSERT(ret == -1 && errno == EINVAL,
		    "a triple fault without the capability: %d, errno %d", ret,
		    errno);

	enable(KVM_CAP_X86_TRIPLE_FAULT_EVENT);
	vcpu_events_get(vm, VCPU_ID, &events);
	TEST_ASSERT(events.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT &&
		    !events.triple_fault.pending, "a triple fault is invented");
	events.triple_fault.pending = 1;
	vcpu_events_set(vm, VCPU_ID, &events);
	vcpu_events_get(vm, VCPU_ID, &events);
	TEST_ASSERT(events.triple_fault.pending, "a triple fault is lost");
	events.triple_fault.pending = 0;
	vcpu_events_set(vm, VCPU_ID, &events);
	vcpu_events_get(vm, VCPU_ID, &events);
	TEST_ASSERT(!events.triple_fault.pending, "a triple fault stays");

	events.triple_fault.pending = 1;
	vcpu_events_set(vm, VCPU_ID, &events);
	vcpu_run(vm, VCPU_ID);
	TEST_ASSERT(get_ucall(vm, VCPU_ID, &uc) == UCALL_SYNC &&
		    uc.args[0] == STAGE_EXIT, "L1 sees no triple fault");
	sync_global_from_guest(vm, seen);
	TEST_ASSERT(seen.kind == L2_EXIT_SHUTDOWN, "exit reason %#lx",
		    (unsigned long)seen.reason);
	kvm_vm_free(vm);
}

int main(int argc, char *argv[])
{
	enum order order;
	int i;

	setbuf(stdout, NULL);
	if (!nested_guest_supported()) {
		print_skip("no nested guests");
		exit(KSFT_SKIP);
	}
	svm = nested_svm_supported();

	for (i = 0; i < ARRAY_SIZE(exceptions); i++)
		for (order = 0; order < NR_ORDERS; order++) {
			check_exception(&exceptions[i], false, order);
			check_exception(&exceptions[i], true, order);
		}
	printf("exceptions: as expected\n");

	for (i = 0; i < 4; i++)
		check_interrupt(i & 1, i & 2);
	printf("interrupts beside an exception: as expected\n");

	if (!svm) {
		check_mtf(DR6_BS, true);
		check_mtf(DR6_BD, false);
		printf("MTF beside a #DB: as expected\n");
	}

	check_guest_debug(false);
	check_guest_debug(true);
	printf("guest debugging: as expected\n");

	if (kvm_check_cap(KVM_CAP_X86_TRIPLE_FAULT_EVENT)) {
		check_triple_fault();
		printf("triple fault: as expected\n");
	}
	return 0;
}
