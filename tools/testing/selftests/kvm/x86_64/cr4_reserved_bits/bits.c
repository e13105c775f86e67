// SPDX-License-Identifier: GPL-2.0-only
/*
 * cr4_reserved_bits_test: the bits of CR4, and which of them CPUID allows.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cr4_reserved_bits.h"

struct kvm_cpuid2 *cpuid, *supported;
const char *cpuid_name = "all";

const struct cr4_bit bits[64] = {
	[0]  = { "VME", 1, 0, EDX, 1, BASELINE },
	[1]  = { "PVI", 1, 0, EDX, 1, BASELINE },
	[2]  = { "TSD", 1, 0, EDX, 4, BASELINE },
	[3]  = { "DE", 1, 0, EDX, 2, BASELINE },
	[4]  = { "PSE", 1, 0, EDX, 3, BASELINE },
	[5]  = { "PAE", 0, 0, NONE, 0, BASELINE | LMA_NEEDS },
	[6]  = { "MCE", 1, 0, EDX, 7, BASELINE },
	[7]  = { "PGE", 1, 0, EDX, 13, BASELINE },
	[8]  = { "PCE", 0, 0, NONE, 0, BASELINE },
	[9]  = { "OSFXSR", 0, 0, NONE, 0, BASELINE },
	[10] = { "OSXMMEXCPT", 1, 0, EDX, 25, BASELINE },
	[11] = { "UMIP", 7, 0, ECX, 2, KNOWN },
	[12] = { "LA57", 7, 0, ECX, 16, KNOWN | LMA_LOCKS },
	[13] = { "VMXE", 1, 0, ECX, 5, KNOWN | VMX_NEEDS },
	[14] = { "SMXE", 1, 0, ECX, 6 },
	[16] = { "FSGSBASE", 7, 0, EBX, 0, KNOWN },
	[17] = { "PCIDE", 1, 0, ECX, 17, KNOWN | NEEDS_LMA },
	[18] = { "OSXSAVE", 1, 0, ECX, 26, KNOWN },
	[19] = { "KL", 7, 0, ECX, 23 },
	[20] = { "SMEP", 7, 0, EBX, 7, KNOWN },
	[21] = { "SMAP", 7, 0, EBX, 20, KNOWN },
	[22] = { "PKE", 7, 0, ECX, 3, KNOWN },
	[23] = { "CET", 7, 0, ECX, 7 },
	[24] = { "PKS", 7, 0, ECX, 31 },
	[25] = { "UINTR", 7, 0, EDX, 5 },
	[27] = { "LASS", 7, 1, EAX, 6 },
	[28] = { "LAM_SUP", 7, 1, EAX, 26 },
	[32] = { "FRED", 7, 1, EAX, 17 },
};

static uint32_t *cpuid_reg(struct kvm_cpuid2 *c, const struct cr4_bit *b)
{
	struct kvm_cpuid_entry2 *e;

	for (e = c->entries; e < c->entries + c->nent; e++) {
		if (e->function != b->function || e->index != b->index)
			continue;
		switch (b->reg) {
		case EAX:
			return &e->eax;
		case EBX:
			return &e->ebx;
		case ECX:
			return &e->ecx;
		case EDX:
			return &e->edx;
		}
	}
	return NULL;
}

static bool in_cpuid(struct kvm_cpuid2 *c, const struct cr4_bit *b)
{
	uint32_t *reg = cpuid_reg(c, b);

	return b->reg == NONE || (reg && *reg & BIT(b->bit));
}

const char *bit_name(int n)
{
	static char name[8];

	if (bits[n].name)
		return bits[n].name;
	snprintf(name, sizeof(name), "bit %d", n);
	return name;
}

/* Return: whether CR4 bit @n is reserved, for this CPUID and where we are. */
bool reserved(int n)
{
	const struct cr4_bit *b = &bits[n];

	if (!(b->rules & KNOWN))
		return true;
	if ((b->rules & BASELINE) == BASELINE)
		return here.vmx_operation && !in_cpuid(cpuid, b);
	return !in_cpuid(supported, b) || !in_cpuid(cpuid, b);
}

/* Return: whether CR4 can be @cr4 at all, in the mode that we are in. */
bool valid(uint64_t cr4)
{
	int n;

	for (n = 0; n < 64; n++) {
		bool set = cr4 & BIT_ULL(n);

		if (set && reserved(n))
			return false;
		if (set && !here.lma && bits[n].rules & NEEDS_LMA)
			return false;
		if (!set && here.lma && bits[n].rules & LMA_NEEDS)
			return false;
		if (!set && here.vmx_operation && bits[n].rules & VMX_NEEDS)
			return false;
	}
	return true;
}

/* Return: whether MOV can take CR4 from @from to @to. */
bool can_move(uint64_t from, uint64_t to)
{
	int n;

	for (n = 0; n < 64; n++)
		if ((from ^ to) & BIT_ULL(n) && here.lma &&
		    bits[n].rules & LMA_LOCKS)
			return false;
	return valid(to);
}

static void set_bit_in_cpuid(const struct cr4_bit *b, bool value)
{
	uint32_t *reg = cpuid_reg(cpuid, b);

	if (reg && value)
		*reg |= BIT(b->bit);
	else if (reg)
		*reg &= ~BIT(b->bit);
}

/* Before any other of these: get what KVM has. */
void init_cpuid(void)
{
	supported = kvm_get_supported_cpuid();
	cpuid = malloc(sizeof(*cpuid) +
		       supported->nent * sizeof(*supported->entries));
	TEST_ASSERT(cpuid, "out of memory");
}

static void reset_cpuid(void)
{
	memcpy(cpuid, supported, sizeof(*cpuid) +
	       supported->nent * sizeof(*supported->entries));
	cpuid_name = "all";
}

void set_cpuid_all(void)
{
	reset_cpuid();
	vcpu_set_cpuid(vm, VCPU_ID, cpuid);
}

void set_cpuid_without(int n)
{
	static char name[32];

	reset_cpuid();
	set_bit_in_cpuid(&bits[n], false);
	snprintf(name, sizeof(name), "without %s", bits[n].name);
	cpuid_name = name;
	vcpu_set_cpuid(vm, VCPU_ID, cpuid);
}

/* CPUID cannot hide VMX in VMX operation. */
static bool can_hide(int n)
{
	return bits[n].reg != NONE &&
	       !(here.vmx_operation && bits[n].rules & VMX_NEEDS);
}

void set_cpuid_to(bool value, const char *name)
{
	int n;

	reset_cpuid();
	for (n = 0; n < 64; n++)
		if (can_hide(n))
			set_bit_in_cpuid(&bits[n], value);
	cpuid_name = name;
	vcpu_set_cpuid(vm, VCPU_ID, cpuid);
}

/*
 * Take the vCPU from one CPUID to the next: all that KVM has, each feature
 * hidden, all hidden, and more than KVM has.
 *
 * Return: false after the last, with all that KVM has again; @step starts at 0.
 */
bool next_cpuid(int *step)
{
	int n = (*step)++ - 1;

	for (; n >= 0 && n < 64; n = (*step)++ - 1) {
		if (can_hide(n) && in_cpuid(supported, &bits[n])) {
			set_cpuid_without(n);
			return true;
		}
	}

	if (n == 64)
		set_cpuid_to(false, "without any");
	else if (n == 65)
		set_cpuid_to(true, "with what KVM lacks");
	else
		set_cpuid_all();
	return n <= 65;
}

/* Features that the guest can turn on and off here. */
bool switchable(int n)
{
	return (bits[n].rules & BASELINE) == KNOWN && can_hide(n) &&
	       in_cpuid(supported, &bits[n]) &&
	       can_move(here.cr4, here.cr4 ^ BIT_ULL(n));
}
