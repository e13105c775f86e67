// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU whose VM entry fails names the host CPU that refused it: in
 * kvm_run.fail_entry.cpu, and behind the data of those internal errors that the
 * hardware's behaviour leads to. It is the CPU of the last entry, not the one
 * where the vCPU ran well before, nor the one where its thread is later.
 *
 * The thread moves between host CPUs with sched_setaffinity(). Where there is
 * only one, the test still sees that it is named.
 */
#define _GNU_SOURCE /* for sched_setaffinity() */
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include <linux/bitops.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "vmx.h"

#define VCPU_ID		0
#define MAX_CPUS	4
#define NO_CPU		(~0u)

/* A page of the guest that no memslot backs. */
#define MMIO_GVA	0x40000000ul

/* SDM Vol. 3, "VM-Entry Failures During or After Loading Guest State". */
#define VMX_INVALID_STATE	(BIT(31) | EXIT_REASON_INVALID_STATE)

/* APM Vol. 2, "Canonicalization and Consistency Checks": VMEXIT_INVALID. */
#define SVM_INVALID		0xffffffffu

#define EFLAGS_RESERVED	BIT(15)
#define EFER_RESERVED	BIT(9)

struct state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_vcpu_events events;
};

static struct kvm_vm *vm;
static unsigned int cpus[MAX_CPUS];
static unsigned int nr_cpus;
static uint32_t last_suberror;

/*
 * The guest.
 */

static void guest_code(void)
{
	for (;;)
		GUEST_SYNC(0);
}

/* Its #DE cannot be delivered: the host puts the IDT where no memory is. */
static void guest_divide(void)
{
	asm volatile("divl %2" : : "a" (1), "d" (0), "r" (0));
	GUEST_SYNC(1);
}

/*
 * The host.
 */

static void find_cpus(void)
{
	cpu_set_t set;
	int cpu;

	TEST_ASSERT(!sched_getaffinity(0, sizeof(set), &set),
		    "sched_getaffinity() failed");
	for (cpu = 0; cpu < CPU_SETSIZE && nr_cpus < MAX_CPUS; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpus[nr_cpus++] = cpu;
}

static void move_to(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	TEST_ASSERT(!sched_setaffinity(0, sizeof(set), &set),
		    "sched_setaffinity() failed for CPU %u", cpu);
	TEST_ASSERT(sched_getcpu() == cpu, "on CPU %d, not %u", sched_getcpu(),
		    cpu);
}

static void save(struct state *state)
{
	vcpu_regs_get(vm, VCPU_ID, &state->regs);
	vcpu_sregs_get(vm, VCPU_ID, &state->sregs);
	vcpu_events_get(vm, VCPU_ID, &state->events);
}

static void restore(struct state *state)
{
	vcpu_sregs_set(vm, VCPU_ID, &state->sregs);
	vcpu_regs_set(vm, VCPU_ID, &state->regs);
	vcpu_events_set(vm, VCPU_ID, &state->events);
}

static void run_well(void)
{
	struct kvm_run *run = vcpu_state(vm, VCPU_ID);
	struct ucall uc;

	vcpu_run(vm, VCPU_ID);
	TEST_ASSERT(get_ucall(vm, VCPU_ID, &uc) == UCALL_SYNC && !uc.args[1],
		    "the guest should run, but: %s",
		    exit_reason_str(run->exit_reason));
	vcpu_run_complete_io(vm, VCPU_ID);
}

static void set_eflags_reserved(struct state *state)
{
	state->regs.rflags |= EFLAGS_RESERVED;
}

/* RFLAGS.IF is clear in the guest. */
static void set_sti_shadow(struct state *state)
{
	state->events.flags |= KVM_VCPUEVENT_VALID_SHADOW;
	state->events.interrupt.shadow = KVM_X86_SHADOW_INT_STI;
}

static void set_cs_l_and_d(struct state *state)
{
	state->sregs.cs.db = 1;
}

static void set_efer_reserved(struct state *state)
{
	state->sregs.efer |= EFER_RESERVED;
}

static bool always(void)
{
	return true;
}

/* Otherwise KVM emulates instructions until the segments are valid. */
static bool unrestricted_guest(void)
{
	return vm_is_unrestricted_guest(NULL);
}

/**
 * struct failure - a guest state that KVM takes and the hardware refuses
 * @name: what is wrong with it
 * @intel: for VMX, otherwise for SVM
 * @reason: what the hardware says
 * @possible: is it refused with the module's parameters?
 * @spoil: makes it of a good state
 */
static const struct failure {
	const char *name;
	bool intel;
	uint64_t reason;
	bool (*possible)(void);
	void (*spoil)(struct state *state);
} failures[] = {
	{ "VMX: reserved bit in RFLAGS", true, VMX_INVALID_STATE,
	  always, set_eflags_reserved },
	{ "VMX: blocking by STI, RFLAGS.IF clear", true, VMX_INVALID_STATE,
	  always, set_sti_shadow },
	{ "VMX: CS.L with CS.D", true, VMX_INVALID_STATE,
	  unrestricted_guest, set_cs_l_and_d },
	{ "SVM: reserved bit in EFER", false, SVM_INVALID,
	  always, set_efer_reserved },
	{ "SVM: CS.L with CS.D", false, SVM_INVALID,
	  always, set_cs_l_and_d },
};

/* Run on one CPU, fail on another (or the same), then move away again. */
static void check_failure(const struct failure *failure, struct state *bad,
			  unsigned int good_cpu, unsigned int bad_cpu)
{
	struct kvm_run *run = vcpu_state(vm, VCPU_ID);
	struct state good;

	move_to(good_cpu);
	run_well();
	save(&good);
	restore(bad);

	move_to(bad_cpu);
	run->fail_entry.cpu = NO_CPU;
	vcpu_run(vm, VCPU_ID);
	TEST_ASSERT(run->exit_reason == KVM_EXIT_FAIL_ENTRY,
		    "%s: the entry should fail, but: %s", failure->name,
		    exit_reason_str(run->exit_reason));
	TEST_ASSERT(run->fail_entry.hardware_entry_failure_reason ==
		    failure->reason, "%s: reason %#llx, not %#lx",
		    failure->name,
		    run->fail_entry.hardware_entry_failure_reason,
		    failure->reason);

	move_to(good_cpu);
	restore(&good);
	TEST_ASSERT(run->fail_entry.cpu == bad_cpu,
		    "%s: ran on CPU %u, failed on CPU %u, reported CPU %u",
		    failure->name, good_cpu, bad_cpu, run->fail_entry.cpu);
	run_well();
}

static void for_all_pairs(const struct failure *failure, struct state *bad,
			  void (*check)(const struct failure *failure,
					struct state *bad,
					unsigned int good_cpu,
					unsigned int bad_cpu))
{
	unsigned int i, j;

	for (i = 0; i < nr_cpus; i++)
		for (j = 0; j < nr_cpus; j++)
			check(failure, bad, cpus[i], cpus[j]);
}

static unsigned int check_failures(void)
{
	const struct failure *failure;
	unsigned int i, count = 0;
	struct state bad;

	for (i = 0; i < ARRAY_SIZE(failures); i++) {
		failure = &failures[i];
		if (failure->intel != is_intel_cpu())
			continue;
		if (!failure->possible()) {
			printf("%s: left out, KVM would emulate it\n",
			       failure->name);
			continue;
		}
		save(&bad);
		failure->spoil(&bad);
		for_all_pairs(failure, &bad, check_failure);
		printf("%s: each entry named its CPU\n", failure->name);
		count++;
	}
	return count;
}

/*
 * The index of the CPU among the error's data: "unexpected VM exit while an
 * event was delivered" is told with the guest's physical address if it was an
 * EPT misconfiguration, which KVM makes for MMIO. With shadow paging it is a
 * page fault, an unexpected second exception.
 */
static unsigned int cpu_index(struct kvm_run *run)
{
	switch (run->internal.suberror) {
	case KVM_INTERNAL_ERROR_DELIVERY_EV:
		return 4;
	case KVM_INTERNAL_ERROR_SIMUL_EX:
		return 3;
	}
	TEST_FAIL("internal error %u", run->internal.suberror);
	return 0;
}

static void check_internal_error(const struct failure *unused,
				 struct state *bad, unsigned int good_cpu,
				 unsigned int bad_cpu)
{
	struct kvm_run *run = vcpu_state(vm, VCPU_ID);
	struct state good;
	unsigned int index;

	move_to(good_cpu);
	run_well();
	save(&good);
	restore(bad);

	move_to(bad_cpu);
	memset(run->internal.data, 0xff, sizeof(run->internal.data));
	vcpu_run(vm, VCPU_ID);
	TEST_ASSERT(run->exit_reason == KVM_EXIT_INTERNAL_ERROR,
		    "the delivery should fail, but: %s",
		    exit_reason_str(run->exit_reason));

	move_to(good_cpu);
	last_suberror = run->internal.suberror;
	index = cpu_index(run);
	TEST_ASSERT(run->internal.ndata == index + 1,
		    "internal error %u has %u words of data, not %u",
		    run->internal.suberror, run->internal.ndata, index + 1);
	TEST_ASSERT(run->internal.data[index] == bad_cpu,
		    "internal error %u: ran on CPU %u, failed on CPU %u, reported CPU %llu",
		    run->internal.suberror, good_cpu, bad_cpu,
		    run->internal.data[index]);
	restore(&good);
	run_well();
}

/* On SVM such a guest makes KVM try again for ever. */
static void check_internal_errors(void)
{
	struct state bad;

	if (!is_intel_cpu()) {
		printf("internal errors: left out, SVM has none to provoke\n");
		return;
	}
	save(&bad);
	bad.regs.rip = (uint64_t)guest_divide;
	bad.sregs.idt.base = MMIO_GVA;
	bad.sregs.idt.limit = 4095;
	for_all_pairs(NULL, &bad, check_internal_error);
	printf("internal error %u: each named its CPU\n", last_suberror);
}

int main(int argc, char *argv[])
{
	unsigned int count;

	setbuf(stdout, NULL);
	TEST_ASSERT(kvm_check_cap(KVM_CAP_LAST_CPU), "KVM names no CPU");
	find_cpus();
	printf("%u host CPUs%s\n", nr_cpus,
	       nr_cpus > 1 ? "" : ", so the vCPU cannot move");

	vm = vm_create_default(VCPU_ID, 0, guest_code);
	vcpu_set_cpuid(vm, VCPU_ID, kvm_get_supported_cpuid());
	virt_pg_map(vm, MMIO_GVA, MMIO_GVA, 0);

	count = check_failures();
	TEST_ASSERT(count, "no entry was made to fail");
	check_internal_errors();

	kvm_vm_free(vm);
	return 0;
}
