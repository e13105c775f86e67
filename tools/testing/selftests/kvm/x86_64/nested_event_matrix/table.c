// SPDX-License-Identifier: GPL-2.0-only
/*
 * nested_event_matrix_test: what the manuals expect.
 *
 * SDM Vol. 3A 6.15 (interrupt 8), Tables 6-4 and 6-5; Vol. 3C 25.2, 26.2.1.3,
 * 27.2.2 and 27.2.4. APM Vol. 2 8.2.9, 8.5, 15.7.2, 15.12 and 15.14.3.
 *
 * Cases that are easy to get wrong:
 *
 *  1. #SS, then #GP that L1 intercepts: an exit for #GP, not for #DF. What is
 *     raised is checked, not what it becomes (SDM 25.2, APM 15.12).
 *  2. The same with L1 intercepting #DF as well: still #GP.
 *  3. #SS, then #GP; L1 intercepts #DF only: an exit for #DF. No event was being
 *     delivered, as #SS has become part of it (SDM 27.2.4).
 *  4. #SS, then #GP; L1 intercepts #SS only: #DF in L2. An event that is being
 *     delivered again is not intercepted (SDM 26.6.1.2, APM 15.20).
 *  5. #PF, then #GP: #DF, as page faults merge with contributory exceptions.
 *  6. #GP, then #PF is serial, but #PF, then #PF is not (Table 6-5). KVM raises
 *     no #PF as second here.
 *  7. #DF, then #GP that L1 intercepts: an exit for #GP, and #DF was being
 *     delivered. The shutdown does not happen.
 *  8. #DF, then #GP; L1 intercepts #DF only: a shutdown. The #DF that is being
 *     delivered is not intercepted.
 *  9. #DF, then #GP on SVM without the SHUTDOWN intercept: the VM shuts down.
 *     VMX has no such choice (SDM 25.2).
 * 10. #DF, then #MC: benign, so #MC in L2 (Table 6-5).
 * 11. #AC, then #GP: serial. #AC has an error code, but is benign.
 * 12. #DB, then #GP that L1 intercepts: #DB was being delivered.
 * 13. IRQ, then #GP not intercepted: #GP in L2. The interrupt was acknowledged
 *     and is gone, as on hardware.
 * 14. NMI, then #GP that L1 intercepts: the NMI was being delivered. SVM does not
 *     define its vector (APM 15.7.2).
 * 15. #PF, then #MC: serial, because #MC is benign.
 * 16. #BP, then #GP that L1 intercepts: a software exception was being delivered
 *     on VMX (type 6), an exception on SVM (type 3).
 */
#include "nested_event_matrix.h"
#include "nested_guest.h"

#define EVENT_TYPE_SOFT_EXCEPTION	(6 << 8)

enum event_class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

/*
 * Table 6-4, APM 8.2.9. Vectors not named are benign: they are reserved, or
 * (#VE, #CP, #VC) exceptions that guests of this KVM do not have.
 */
static const enum event_class classes[256] = {
	[0]  = CONTRIBUTORY,	/* #DE */
	[8]  = DOUBLE_FAULT,	/* #DF */
	[10] = CONTRIBUTORY,	/* #TS */
	[11] = CONTRIBUTORY,	/* #NP */
	[12] = CONTRIBUTORY,	/* #SS */
	[13] = CONTRIBUTORY,	/* #GP */
	[14] = PAGE_FAULT,	/* #PF */
};

enum merged { SERIAL, DOUBLE, SHUTDOWN };

/* Table 6-5, and the text below it: the first down, the second across. */
static const enum merged merges[4][3] = {
	/*		     BENIGN	CONTRIBUTORY	PAGE_FAULT */
	[BENIGN]	= { SERIAL,	SERIAL,		SERIAL },
	[CONTRIBUTORY]	= { SERIAL,	DOUBLE,		SERIAL },
	[PAGE_FAULT]	= { SERIAL,	DOUBLE,		DOUBLE },
	[DOUBLE_FAULT]	= { SERIAL,	SHUTDOWN,	SHUTDOWN },
};

/* SDM Vol. 3A 6.13, for vectors that KVM's guests have. */
bool has_error_code(int vector)
{
	return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

static u32 event_info(int vector, bool svm)
{
	if (vector == NO_EVENT)
		return 0;
	if (vector == FIRST_IRQ)
		return EVENT_VALID | EVENT_TYPE_INTR | vector;
	if (vector == FIRST_NMI)
		return EVENT_VALID | EVENT_TYPE_NMI | vector;
	if (!svm && (vector == BP_VECTOR || vector == OF_VECTOR))
		return EVENT_VALID | EVENT_TYPE_SOFT_EXCEPTION | vector;
	return EVENT_VALID | EVENT_TYPE_EXCEPTION | vector |
	       (has_error_code(vector) ? EVENT_ERROR_CODE : 0);
}

/**
 * expect() - what becomes of the events of a case
 * @c: the case
 * @svm: whether L1 uses SVM
 * @o: what the manuals say
 */
void expect(const struct event_case *c, bool svm, struct outcome *o)
{
	enum merged merged = SERIAL;

	*o = (struct outcome) { .kind = WENT_ON };

	if (c->second == NO_EVENT) {
		if (c->first == NO_EVENT)
			return;
		/* An event that is injected is not intercepted. */
		o->kind = L2_HANDLES;
		o->vector = c->first;
		if (has_error_code(c->first))
			o->error = c->first_error;
		return;
	}

	/* L1's intercept of what is raised comes before all. */
	if (c->second_hit) {
		o->kind = L1_EXCEPTION;
		o->vector = c->second;
		o->vectoring = event_info(c->first, svm);
		if (o->vectoring & EVENT_ERROR_CODE)
			o->vectoring_error = c->first_error;
		return;
	}

	if (c->first != NO_EVENT)
		merged = merges[classes[c->first]][classes[c->second]];

	switch (merged) {
	case SERIAL:
		o->kind = L2_HANDLES;
		o->vector = c->second;
		break;
	case DOUBLE:
		o->kind = c->df_hit ? L1_EXCEPTION : L2_HANDLES;
		o->vector = DF_VECTOR;
		break;
	case SHUTDOWN:
		o->kind = !svm || c->shutdown_hit ? L1_SHUTDOWN : VM_SHUTDOWN;
		break;
	}
}
