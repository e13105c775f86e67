// SPDX-License-Identifier: GPL-2.0-only
/*
 * L1 runs L2 with a control block that is valid but for a field or two, while
 * another thread changes it, too.
 */
#include <sched.h>
#include <string.h>

#include "generated_states.h"

#define MARK	0x1234567890abcdefull

/* Where L2 says that it ran. */
static uint64_t mark_gpa(struct gvcpu *vcpu)
{
	return gvm_stack_gpa(vcpu, true) - PAGE_SIZE;
}

/* A page of operations of L2, which end in L1 or in a shutdown. */
static void l2_ops(struct gvcpu *vcpu, struct rng *rng)
{
	struct op_entry *ops = gvm_ops(vcpu, true);
	unsigned int n = below(rng, 24), i;

	memset(ops, 0, PAGE_SIZE);
	gen_ops(rng, ops, n + 1);
	ops[0] = (struct op_entry){
		.op = op_st8, .rax = MARK, .rsi = mark_gpa(vcpu),
	};
	*(uint64_t *)gvm_hva(vcpu->vm, mark_gpa(vcpu)) = 0;
	n++;
	for (i = 1; i < n; i++)
		if (ops[i].op >= op_vmrun && !one_in(rng, 4))
			ops[i].op = op_cpuid;
	switch (below(rng, 4)) {
	case 0:
		/* A triple fault: no IDT */
		ops[n++] = (struct op_entry){ .op = op_lidt, .rsi = 0 };
		ops[n++] = (struct op_entry){ .op = op_ud2 };
		break;
	case 1:
		ops[n++] = (struct op_entry){ .op = op_loop,
					      .rax = gvm_ops_gpa(vcpu, true) };
		break;
	}
	ops[n++] = (struct op_entry){ .op = caps.vmx ? op_vmcall : op_vmmcall };
	ops[n++] = (struct op_entry){ .op = op_hlt };
}

void nested_setup(struct gvcpu *vcpu, struct rng *rng)
{
	if (caps.vmx)
		vmcs_setup(vcpu, rng);
	else
		vmcb_setup(vcpu, rng);
	l2_ops(vcpu, rng);
}

unsigned int nested_ops(struct gvcpu *vcpu, struct op_entry *ops)
{
	return caps.vmx ? vmcs_ops(vcpu, ops) : vmcb_ops(vcpu, ops);
}

void nested_change(struct gvcpu *vcpu, struct rng *rng)
{
	uint64_t block = GPA_BLOCK + vcpu->id * VCPU_BLOCK;

	if (one_in(rng, 16))
		flip(rng, gvm_hva(vcpu->vm, block + BLOCK_MSR_BITMAP +
					    below(rng, 5 * 512) * 8), 8);
	else if (caps.vmx)
		vmcs_change(vcpu, rng);
	else
		vmcb_change(vcpu, rng);
}

/* Changes of the running L2's block: for a while, then the old value again. */
static void change_blocks(struct task *task)
{
	struct gvcpu *vcpu = &task->vm->vcpus[0];
	uint64_t block = GPA_BLOCK + vcpu->id * VCPU_BLOCK;
	unsigned char saved[BLOCK_IO_BITMAP];
	unsigned char *now = gvm_hva(task->vm, block);
	unsigned int state, i;

	for (state = 0; !stopped(task); state++) {
		struct rng rng = task_rng(task, state);
		size_t size = caps.vmx ? sizeof(saved) : PAGE_SIZE;

		if (caps.vmx)
			now = gvm_hva(task->vm, block + BLOCK_FIELDS);
		size = PAGE_SIZE;
		memcpy(saved, now, size);
		nested_change(vcpu, &rng);
		count("control block, running", true);
		for (i = 0; i < 20 && !stopped(task); i++)
			sched_yield();
		memcpy(now, saved, size);
		for (i = 0; i < 20 && !stopped(task); i++)
			sched_yield();
	}
}

void nested_round(struct task *task)
{
	struct rng rng = task_rng(task, -1ull);
	struct helper helper;
	struct gvcpu *vcpu;
	unsigned int state;
	bool helped = one_in(&rng, 2);

	task->vm = gvm_create(&rng, 1, true);
	vcpu = &task->vm->vcpus[0];
	if (helped)
		helper_start(&helper, task, task->thread + 16, change_blocks);
	for (state = 0; state < task->states; state++) {
		struct op_entry *ops = gvm_ops(vcpu, false);
		unsigned int n, changes;
		int r;

		rng = task_rng(task, state);
		if (!gvm_reset_vcpu(vcpu, &rng))
			break;
		if (!helped && one_in(&rng, 4) && !gvm_sane(vcpu, rnd(&rng)))
			break;
		if (!gvm_reset_vcpu(vcpu, &rng))
			break;
		nested_setup(vcpu, &rng);
		for (changes = below(&rng, 3); changes; changes--)
			nested_change(vcpu, &rng);
		memset(ops, 0, PAGE_SIZE);
		n = nested_ops(vcpu, ops);
		gen_ops(&rng, ops + n, 4);
		ops[n + 4] = (struct op_entry){ .op = op_loop,
						.rax = gvm_ops_gpa(vcpu, false) };
		r = gvcpu_run(vcpu, 16);
		count("control block", r != RUN_DEAD && r != RUN_FAILED);
		count("control block: L2 ran",
		      *(uint64_t *)gvm_hva(task->vm, mark_gpa(vcpu)) == MARK);
		if (helped || gvm_intact(task->vm))
			continue;
		/* The guest has overwritten what it lives on. */
		gvm_free(task->vm);
		task->vm = gvm_create(&rng, 1, true);
		vcpu = &task->vm->vcpus[0];
	}
	if (helped)
		helper_stop(&helper);
	gvm_free(task->vm);
}
