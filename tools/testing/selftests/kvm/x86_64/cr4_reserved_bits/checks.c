// SPDX-License-Identifier: GPL-2.0-only
/*
 * cr4_reserved_bits_test: the checks. Wherever the vCPU is, the guest and the host
 * try each bit.
 */
#include <errno.h>
#include <string.h>

#include "cr4_reserved_bits.h"

struct here here;
int never_set = -1;
unsigned int nr_writes, nr_refused, nr_sregs, nr_entries, faults;

uint64_t get_sregs_cr4(void)
{
	struct kvm_sregs sregs;

	vcpu_sregs_get(vm, VCPU_ID, &sregs);
	return sregs.cr4;
}

void run_to_report(void)
{
	struct kvm_run *run = vcpu_state(vm, VCPU_ID);
	struct ucall uc;

	vcpu_run(vm, VCPU_ID);
	if (run->exit_reason == KVM_EXIT_IO && run->io.port == REPORT_PORT)
		return;
	if (get_ucall(vm, VCPU_ID, &uc) == UCALL_ABORT)
		TEST_FAIL("%s at %s:%ld", (const char *)uc.args[0], __FILE__,
			  uc.args[1]);
	TEST_FAIL("%s, CPUID %s: exit %u (%s)", here.name, cpuid_name,
		  run->exit_reason, exit_reason_str(run->exit_reason));
}

/* Return: the exception that the guest got, 0: none; *@cr4: as it reads it. */
int order(int what, uint64_t value, uint64_t *cr4)
{
	struct kvm_regs regs;

	vcpu_regs_get(vm, VCPU_ID, &regs);
	regs.rsi = what;
	regs.rdi = value;
	vcpu_regs_set(vm, VCPU_ID, &regs);
	run_to_report();
	vcpu_regs_get(vm, VCPU_ID, &regs);
	*cr4 = regs.rax;
	return regs.rdx;
}

/* The guest writes @to where CR4 is @from; @what is the bit that matters. */
void check_mov(int what, uint64_t from, uint64_t to)
{
	bool ok = can_move(from, to);
	uint64_t seen, now, want = ok ? to : from;
	int vector;

	vector = order(ORDER_MOV, to, &seen);
	now = get_sregs_cr4();
	CHECK(vector == (ok ? 0 : GP_VECTOR),
	      "%s: MOV of %#lx to CR4 got exception %d, not %d",
	      bit_name(what), to, vector, ok ? 0 : GP_VECTOR);
	CHECK(seen == want, "%s: guest reads CR4 %#lx after MOV of %#lx to %#lx",
	      bit_name(what), seen, to, from);
	CHECK(now == want,
	      "%s: KVM_GET_SREGS has CR4 %#lx after MOV of %#lx to %#lx",
	      bit_name(what), now, to, from);
	nr_writes++;
	nr_refused += !ok;

	/* Start from the same place next time, whatever went wrong. */
	if (now != from) {
		vector = order(ORDER_MOV, from, &seen);
		now = get_sregs_cr4();
		CHECK(!vector && seen == from && now == from,
		      "%s: MOV back to %#lx: exception %d, CR4 %#lx, guest reads %#lx",
		      bit_name(what), from, vector, now, seen);
	}
}

static void check_sregs(int what, uint64_t cr4)
{
	struct kvm_sregs before, sregs, after;
	bool ok = valid(cr4);
	int r;

	vcpu_sregs_get(vm, VCPU_ID, &before);
	sregs = before;
	sregs.cr4 = cr4;
	sregs.cr2 ^= 0x1000;
	sregs.gs.base ^= 0x1000;
	sregs.ldt.limit ^= 0x1000;
	sregs.idt.limit ^= 0x1000;

	r = _vcpu_sregs_set(vm, VCPU_ID, &sregs);
	CHECK(ok ? !r : r == -1 && errno == EINVAL,
	      "%s: KVM_SET_SREGS with CR4 %#lx returned %d, errno %d",
	      bit_name(what), cr4, r, errno);
	vcpu_sregs_get(vm, VCPU_ID, &after);
	if (ok)
		CHECK(after.cr4 == cr4, "%s: KVM_SET_SREGS set CR4 %#llx, not %#lx",
		      bit_name(what), after.cr4, cr4);
	else
		CHECK(!memcmp(&before, &after, sizeof(before)),
		      "%s: KVM_SET_SREGS refused CR4 %#lx and changed something",
		      bit_name(what), cr4);
	vcpu_sregs_set(vm, VCPU_ID, &before);
	nr_sregs++;
}

void sweep(void)
{
	int n, width = here.lma ? 64 : 32;
	uint64_t to;

	for (n = 0; n < 64; n++) {
		to = here.cr4 ^ BIT_ULL(n);
		check_sregs(n, to);
		if (n >= width || (n == never_set && can_move(here.cr4, to)))
			continue;
		check_mov(n, here.cr4, to);
		/* What is refused is refused whole. */
		if (!can_move(here.cr4, to))
			check_mov(n, here.cr4, to ^ X86_CR4_TSD);
	}
}

void arrive(const char *name, bool vmx_operation)
{
	struct kvm_sregs sregs;

	vcpu_sregs_get(vm, VCPU_ID, &sregs);
	here.name = name;
	here.cr4 = sregs.cr4;
	here.lma = sregs.efer & EFER_LMA;
	here.vmx_operation = vmx_operation;
}

void sweep_all(void)
{
	int step = 0;

	while (next_cpuid(&step))
		sweep();
	result("each bit, for each CPUID");
}

/*
 * A feature that is in use disappears from CPUID: CR4 stays as it is, for the
 * guest and for the host, until the guest clears the bit, once and for all.
 */
void hide_in_use(void)
{
	uint64_t seen, on;
	int n, vector;

	set_cpuid_all();
	for (n = 0; n < 64; n++) {
		if (!switchable(n))
			continue;
		on = here.cr4 | BIT_ULL(n);
		vector = order(ORDER_MOV, on, &seen);
		CHECK(!vector && seen == on, "%s: cannot be set", bits[n].name);

		set_cpuid_without(n);
		CHECK(get_sregs_cr4() == on,
		      "%s: hidden while set, KVM_GET_SREGS has CR4 %#lx, not %#lx",
		      bits[n].name, get_sregs_cr4(), on);
		order(ORDER_READ, 0, &seen);
		CHECK(seen == on,
		      "%s: hidden while set, guest reads CR4 %#lx, not %#lx",
		      bits[n].name, seen, on);
		/* VT-x lets a write pass that leaves the bit as it is. */
		vector = order(ORDER_MOV, on ^ X86_CR4_PSE, &seen);
		CHECK(vector == GP_VECTOR && seen == on,
		      "%s: hidden while set, set again: exception %d, CR4 %#lx",
		      bits[n].name, vector, seen);
		vector = order(ORDER_MOV, here.cr4, &seen);
		CHECK(!vector && seen == here.cr4 && get_sregs_cr4() == here.cr4,
		      "%s: hidden while set, cleared: exception %d, guest reads %#lx, KVM_GET_SREGS %#lx",
		      bits[n].name, vector, seen, get_sregs_cr4());
		check_mov(n, here.cr4, on);

		set_cpuid_all();
		check_mov(n, here.cr4, on);
	}
	result("features hidden while in use");
}
