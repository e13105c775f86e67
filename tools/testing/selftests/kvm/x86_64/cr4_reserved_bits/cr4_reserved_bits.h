/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * cr4_reserved_bits_test: what its parts share.
 */
#ifndef SELFTEST_KVM_CR4_RESERVED_BITS_H
#define SELFTEST_KVM_CR4_RESERVED_BITS_H

#include <linux/bitops.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "kselftest.h"
#include "probe.h"

#define VCPU_ID		0

#define GP_VECTOR	13

/*
 * The bits of CR4: SDM Vol. 3A 2.5 "Control Registers", APM Vol. 2 3.1.3 "CR4
 * Register". A bit without a feature in CPUID is there on every processor; one
 * without KNOWN is reserved for all guests, whatever CPUID says.
 */
enum { NONE, EAX, EBX, ECX, EDX };

/* KVM has the bit; it is reserved if CPUID hides its feature. */
#define KNOWN		BIT(0)
/*
 * What all processors with long mode have: KVM enforces CPUID only in VMX
 * operation, by IA32_VMX_CR4_FIXED1.
 */
#define BASELINE	(KNOWN | BIT(1))
/* Must be 1 in IA-32e mode. */
#define LMA_NEEDS	BIT(2)
/* May be set only in IA-32e mode and, by MOV, with CR3[11:0] = 0. */
#define NEEDS_LMA	BIT(3)
/* Cannot be changed in IA-32e mode by MOV. */
#define LMA_LOCKS	BIT(4)
/* Must be 1 in VMX operation. */
#define VMX_NEEDS	BIT(5)

struct cr4_bit {
	const char *name;
	uint32_t function;
	uint32_t index;
	int reg;
	int bit;
	unsigned int rules;
};

extern const struct cr4_bit bits[64];

#define FSGSBASE_BIT	16
#define PCIDE_BIT	17

/* The VM under test. */
extern struct kvm_vm *vm;
extern bool is_vmx;

/* What the vCPU is in, and CR4 as it stood on arrival. */
struct here {
	const char *name;
	uint64_t cr4;
	bool lma;
	bool vmx_operation;
};

extern struct here here;

/* What KVM has, and what the guest has now, with a name for it. */
extern struct kvm_cpuid2 *cpuid, *supported;
extern const char *cpuid_name;

/* A bit that the guest is not to set, by option. */
extern int never_set;

extern unsigned int nr_writes, nr_refused, nr_sregs, nr_entries, faults;

#define CHECK(_cond, _fmt, _args...) do {				\
	if (!(_cond)) {							\
		ksft_print_msg("%s, CPUID %s: " _fmt "\n", here.name,	\
			       cpuid_name, ##_args);			\
		faults++;						\
	}								\
} while (0)

/* bits.c: which bits may be set, and CPUID that decides about it */
const char *bit_name(int n);
bool reserved(int n);
bool valid(uint64_t cr4);
bool can_move(uint64_t from, uint64_t to);
bool switchable(int n);
void init_cpuid(void);
void set_cpuid_all(void);
void set_cpuid_without(int n);
void set_cpuid_to(bool value, const char *name);
bool next_cpuid(int *step);

/* checks.c: where the vCPU is, each bit is tried */
void arrive(const char *name, bool vmx_operation);
void run_to_report(void);
int order(int what, uint64_t value, uint64_t *cr4);
uint64_t get_sregs_cr4(void);
void check_mov(int what, uint64_t from, uint64_t to);
void sweep(void);
void sweep_all(void);
void hide_in_use(void);

/* exits.c: which writes exit */
void owns_fsgsbase(void);

/* nested.c: L1 in VMX operation or with SVM, and L2 */
void test_nested(void);

void create_vm(void *guest_code);

/* The main file counts results: kselftest.h gives each file its own counters. */
void result(const char *what);
void skip(const char *why);

#endif /* SELFTEST_KVM_CR4_RESERVED_BITS_H */
