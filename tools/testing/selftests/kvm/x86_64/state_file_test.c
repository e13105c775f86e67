// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU's state travels between hosts. This program saves vCPUs in files, in
 * states of many kinds, and loads them, maybe on another kernel: no ioctl may
 * refuse what it has read there, and the guest must do what it does without.
 *
 *	state_file_test			save all, and load them here
 *	state_file_test -w DIR		save all in DIR
 *	state_file_test -r DIR		load what DIR has
 *	state_file_test -x FILE ...	leave this state out
 *
 * Each state is a result. What the guest does if it is not saved is in the file,
 * too.
 */
#define _GNU_SOURCE /* for program_invocation_name */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/kernel.h>

#include "state_file/state_file.h"
#include "kselftest.h"

static const struct state * const lists[] = {
	mode_states, event_states, nested_states,
};

static void no_guest(void *arg)
{
}

static struct kvm_vm *create_vm(const struct state *s)
{
	struct kvm_vm *vm = vm_create_default(VCPU_ID, 0,
					      s->guest ? s->guest : no_guest);

	vcpu_set_cpuid(vm, VCPU_ID, kvm_get_supported_cpuid());
	return vm;
}

static void prepare_vm(const struct state *s, struct kvm_vm *vm)
{
	/* Real mode without unrestricted guests takes memory there. */
	vm_ioctl(vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000ul);
	vm_init_descriptor_tables(vm);
	vcpu_init_descriptor_tables(vm, VCPU_ID);
	if (s->prepare)
		s->prepare(vm);
}

static void tell(struct transcript *t, uint64_t value)
{
	if (t->nr < MAX_TOLD)
		t->told[t->nr++] = value;
}

/*
 * Run to where the guest asks to be saved, or, where it never does again, to its
 * end. Write down what it tells. Return: whether it asks to be saved.
 */
static bool run_guest_code(struct kvm_vm *vm, struct transcript *t)
{
	struct kvm_run *run = vcpu_state(vm, VCPU_ID);
	struct kvm_regs regs;
	struct ucall uc;

	for (;;) {
		_vcpu_run(vm, VCPU_ID);
		t->exit_reason = run->exit_reason;
		if (run->exit_reason != KVM_EXIT_IO)
			return false;

		switch (run->io.port) {
		case SAVE_PORT:
			vcpu_run_complete_io(vm, VCPU_ID);
			return true;
		case DONE_PORT:
			vcpu_regs_get(vm, VCPU_ID, &regs);
			tell(t, regs.rip);
			tell(t, regs.rflags);
			return false;
		}

		switch (get_ucall(vm, VCPU_ID, &uc)) {
		case UCALL_SYNC:
			if (uc.args[1] == SAVE_HERE)
				return true;
			tell(t, uc.args[1]);
			break;
		case UCALL_ABORT:
			TEST_FAIL("%s at %s:%ld", (const char *)uc.args[0],
				  __FILE__, uc.args[1]);
		default:
			return false;
		}
	}
}

static void run_to_the_end(const struct state *s, struct kvm_vm *vm,
			   struct transcript *t)
{
	memset(t, 0, sizeof(*t));
	if (s->leave)
		s->leave(vm);
	while (run_guest_code(vm, t))
		tell(t, SAVE_HERE);
}

static void print_transcript(const char *who, const struct transcript *t)
{
	unsigned int i;

	printf("#   %s:", who);
	for (i = 0; i < t->nr; i++)
		printf(" %#lx", t->told[i]);
	printf(", exit %u (%s)\n", t->exit_reason,
	       exit_reason_str(t->exit_reason));
}

/* Load the file into a new VM. Return: whether the guest does what it should. */
static bool load_and_run(const struct state *s, const char *path)
{
	static struct saved_vcpu saved;
	struct transcript now;
	struct kvm_vm *vm = create_vm(s);
	const char *refused;
	bool ok = false;

	prepare_vm(s, vm);
	read_file(path, vm, &saved);
	kvm_vm_release(vm);
	kvm_vm_restart(vm, O_RDWR);
	vm_vcpu_add(vm, VCPU_ID);
	vm_ioctl(vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000ul);

	refused = load_vcpu(vm, &saved);
	if (refused) {
		ksft_print_msg("%s: %s\n", s->name, refused);
	} else {
		run_to_the_end(s, vm, &now);
		ok = !memcmp(&now, &saved.transcript, sizeof(now));
		if (!ok) {
			ksft_print_msg("%s: the guest goes another way\n",
				       s->name);
			print_transcript("saved", &saved.transcript);
			print_transcript("loaded", &now);
		}
	}
	kvm_vm_free(vm);
	return ok;
}

/* Save a VM in this state. Return: NULL, or why there is no such state. */
static const char *save(const struct state *s, const char *path)
{
	static struct saved_vcpu saved;
	struct transcript before = {};
	struct kvm_vm *vm = create_vm(s), *fresh;
	const char *missing = s->needs ? s->needs(vm) : NULL;

	if (!missing) {
		prepare_vm(s, vm);
		TEST_ASSERT(run_guest_code(vm, &before),
			    "%s: never saved, exit %u (%s)", s->name,
			    before.exit_reason,
			    exit_reason_str(before.exit_reason));
		if (s->arrive)
			s->arrive(vm);
		save_vcpu(vm, &saved);
		fresh = create_vm(s);
		prepare_vm(s, fresh);
		write_file(path, vm, fresh, &saved);
		drop_refused_msrs(fresh, &saved);
		kvm_vm_free(fresh);
		run_to_the_end(s, vm, &saved.transcript);
		TEST_ASSERT(saved.transcript.exit_reason == KVM_EXIT_IO,
			    "%s: exit %u (%s)", s->name,
			    saved.transcript.exit_reason,
			    exit_reason_str(saved.transcript.exit_reason));
		rewrite_vcpu(path, &saved);
	}
	kvm_vm_free(vm);
	return missing;
}

static void do_state(const struct state *s, const char *write_dir,
		     const char *read_dir, const char *left_out)
{
	char file[64], path[256], *blank;
	const char *missing;

	snprintf(file, sizeof(file), "%s", s->name);
	for (blank = file; (blank = strchr(blank, ' ')); )
		*blank = '-';
	snprintf(path, sizeof(path), "%s/%s", write_dir ?: read_dir, file);

	if (left_out && !strcmp(left_out, file)) {
		ksft_test_result_skip("%s: left out\n", s->name);
		return;
	}
	if (write_dir) {
		missing = save(s, path);
		if (missing) {
			ksft_test_result_skip("%s: %s\n", s->name, missing);
			return;
		}
	}
	if (!read_dir)
		ksft_test_result_pass("%s\n", s->name);
	else if (access(path, F_OK))
		ksft_test_result_skip("%s: was not saved\n", s->name);
	else
		ksft_test_result(load_and_run(s, path), "%s\n", s->name);
}

int main(int argc, char *argv[])
{
	const char *write_dir = NULL, *read_dir = NULL, *left_out = NULL;
	char own_dir[] = "/tmp/state-file-XXXXXX";
	const struct state *s;
	unsigned int i, plan = 0;
	int opt;

	setbuf(stdout, NULL);
	while ((opt = getopt(argc, argv, "r:w:x:")) != -1) {
		switch (opt) {
		case 'r':
			read_dir = optarg;
			break;
		case 'w':
			write_dir = optarg;
			break;
		case 'x':
			left_out = optarg;
			break;
		default:
			fprintf(stderr, "usage: %s [-w DIR | -r DIR] [-x FILE]\n",
				argv[0]);
			return 1;
		}
	}
	if (!read_dir && !write_dir) {
		TEST_ASSERT(mkdtemp(own_dir), "no folder %s: %s", own_dir,
			    strerror(errno));
		read_dir = own_dir;
		write_dir = own_dir;
	}

	if (!kvm_check_cap(KVM_CAP_NESTED_STATE)) {
		print_skip("KVM_CAP_NESTED_STATE not available");
		exit(KSFT_SKIP);
	}
	ksft_print_header();
	for (i = 0; i < ARRAY_SIZE(lists); i++)
		for (s = lists[i]; s->name; s++)
			plan++;
	ksft_set_plan(plan);
	for (i = 0; i < ARRAY_SIZE(lists); i++)
		for (s = lists[i]; s->name; s++)
			do_state(s, write_dir, read_dir, left_out);
	ksft_exit(!ksft_get_fail_cnt());
}
