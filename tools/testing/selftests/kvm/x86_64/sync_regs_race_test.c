// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_RUN takes registers from kvm_run (KVM_CAP_SYNC_REGS), which user space
 * has mapped. A thread changes one field there all the time, from a good value
 * to a bad one and back. KVM_RUN must refuse the bad one or take the good one:
 * the vCPU never has a value that KVM refuses.
 *
 * Two CPUs are needed for the change to come between KVM's check and its use.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/bitops.h>
#include <linux/compiler.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "test_thread.h"

#define VCPU_ID		0
#define RUNS		100000

/* APM and SDM: reserved in all CPUs. */
#define CR4_RESERVED	BIT(31)

static struct kvm_vm *vm;
static struct kvm_run *run;
static bool stop;

static void guest_code(void)
{
	for (;;)
		GUEST_SYNC(0);
}

/*
 * The races: what to change, and what the vCPU must not have afterwards.
 */

static void flip_vector(bool bad)
{
	WRITE_ONCE(run->s.regs.events.exception.nr, bad ? 255 : 6);
}

static bool bad_vector(void)
{
	struct kvm_vcpu_events events;

	vcpu_events_get(vm, VCPU_ID, &events);
	return events.exception.nr > 31;
}

static void flip_cr4(bool bad)
{
	__u64 *cr4 = &run->s.regs.sregs.cr4;

	WRITE_ONCE(*cr4, bad ? *cr4 | CR4_RESERVED : *cr4 & ~CR4_RESERVED);
}

static bool bad_cr4(void)
{
	struct kvm_sregs sregs;

	vcpu_sregs_get(vm, VCPU_ID, &sregs);
	return sregs.cr4 & CR4_RESERVED;
}

/* Long mode without PAE. */
static void flip_pae(bool bad)
{
	__u64 *cr4 = &run->s.regs.sregs.cr4;

	WRITE_ONCE(*cr4, bad ? *cr4 & ~X86_CR4_PAE : *cr4 | X86_CR4_PAE);
}

static bool bad_pae(void)
{
	struct kvm_sregs sregs;

	vcpu_sregs_get(vm, VCPU_ID, &sregs);
	return !(sregs.cr4 & X86_CR4_PAE);
}

static const struct race {
	const char *name;
	uint64_t regs;
	void (*flip)(bool bad);
	bool (*bad)(void);
} races[] = {
	{ "exception vector", KVM_SYNC_X86_EVENTS, flip_vector, bad_vector },
	{ "CR4, reserved bit", KVM_SYNC_X86_SREGS, flip_cr4, bad_cr4 },
	{ "CR4.PAE in long mode", KVM_SYNC_X86_SREGS, flip_pae, bad_pae },
};

static void *flip(void *data)
{
	const struct race *race = data;
	bool bad = false;

	while (!READ_ONCE(stop)) {
		bad = !bad;
		race->flip(bad);
	}
	race->flip(false);
	return NULL;
}

static void check(const struct race *race)
{
	unsigned int i, taken = 0, refused = 0;
	struct test_thread thread;
	int fd = vcpu_get_fd(vm, VCPU_ID);
	int ret;

	run->kvm_valid_regs = race->regs;
	run->immediate_exit = 1;
	run->kvm_dirty_regs = 0;
	ret = ioctl(fd, KVM_RUN, 0);
	TEST_ASSERT(ret == -1 && errno == EINTR, "%s: KVM_RUN: %d, errno %d",
		    race->name, ret, errno);
	run->kvm_valid_regs = 0;
	run->s.regs.events.flags = KVM_VCPUEVENT_VALID_PAYLOAD;
	run->s.regs.events.exception.pending = 1;

	WRITE_ONCE(stop, false);
	test_thread_start(&thread, race->name, flip, (void *)race);

	for (i = 0; i < RUNS; i++) {
		run->kvm_dirty_regs = race->regs;
		ret = ioctl(fd, KVM_RUN, 0);
		TEST_ASSERT(ret == -1 && (errno == EINTR || errno == EINVAL),
			    "%s: KVM_RUN: %d, errno %d", race->name, ret,
			    errno);
		if (errno == EINVAL) {
			refused++;
			continue;
		}
		taken++;
		TEST_ASSERT(!race->bad(),
			    "%s: KVM took the bad value, after %u runs",
			    race->name, i);
	}

	WRITE_ONCE(stop, true);
	test_thread_join(&thread);
	printf("%s: taken %u times, refused %u times\n", race->name, taken,
	       refused);
	TEST_ASSERT(taken && refused, "%s: the field did not change",
		    race->name);
}

int main(int argc, char *argv[])
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_EXCEPTION_PAYLOAD,
		.args[0] = 1,
	};
	unsigned int i;

	setbuf(stdout, NULL);

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
		print_skip("one CPU, nothing can happen at once");
		exit(KSFT_SKIP);
	}

	vm = vm_create_default(VCPU_ID, 0, guest_code);
	vcpu_set_cpuid(vm, VCPU_ID, kvm_get_supported_cpuid());
	vm_enable_cap(vm, &cap);
	run = vcpu_state(vm, VCPU_ID);

	for (i = 0; i < ARRAY_SIZE(races); i++)
		check(&races[i]);

	kvm_vm_free(vm);
	return 0;
}
