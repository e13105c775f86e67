// SPDX-License-Identifier: GPL-2.0-only
/*
 * struct kvm_run is shared with user space: another thread changes it while
 * KVM_RUN uses it.
 */
#include <sched.h>
#include <string.h>

#include "generated_states.h"

/*
 * One or two fields go back and forth between what they are and what they must
 * not be: KVM may check the one and use the other.
 */
static void change_run(struct task *task)
{
	struct gvcpu *vcpu = &task->vm->vcpus[0];
	struct field fields[2];
	uint64_t good[2], bad[2];
	unsigned int state, i, f, n, flips;

	for (state = 0; !stopped(task); state++) {
		struct rng rng = task_rng(task, state);

		n = 1 + below(&rng, 2);
		/* What KVM reads twice is caught by many tries only. */
		flips = one_in(&rng, 4) ? 200000 : 5000;
		for (f = 0; f < n; f++) {
			fields[f] = pick_run(&rng);
			memcpy(&good[f], (void *)vcpu->run + fields[f].offset,
			       8);
			bad[f] = good[f];
			change_field(&rng, &bad[f],
				     &(struct field){ 0, fields[f].size,
						      fields[f].kind });
		}
		i = below(&rng, vcpu->run_size / 8) * 8;
		if (one_in(&rng, 8) && !(caps.keep_tr && in_tr(i)))
			flip(&rng, (void *)vcpu->run + i, 8);
		for (i = 0; i < flips && !stopped(task); i++)
			for (f = 0; f < n; f++)
				memcpy((void *)vcpu->run + fields[f].offset,
				       i & 1 ? &good[f] : &bad[f],
				       fields[f].size);
		count("kvm_run, running", true);
	}
}

/* A #UD that is to be delivered. */
static void queue_exception(struct rng *rng, struct kvm_vcpu_events *events,
			    bool payload)
{
	events->exception.nr = 6;
	if (payload && !one_in(rng, 3)) {
		events->flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
		events->exception.pending = 1;
	} else {
		events->exception.injected = 1;
	}
}

void run_round(struct task *task)
{
	struct rng rng = task_rng(task, -1ull);
	struct kvm_enable_cap cap = { .cap = KVM_CAP_EXCEPTION_PAYLOAD };
	bool payload = !one_in(&rng, 3);
	struct helper helper;
	struct gvcpu *vcpu;
	unsigned int state, i;

	task->vm = gvm_create(&rng, 1, one_in(&rng, 4));
	vcpu = &task->vm->vcpus[0];
	cap.args[0] = payload;
	ioctl(task->vm->fd, KVM_ENABLE_CAP, &cap);
	helper_start(&helper, task, task->thread + 16, change_run);
	for (state = 0; state < task->states; state++) {
		struct kvm_run *run = vcpu->run;
		int r = 0;

		rng = task_rng(task, state);
		if (!gvm_reset_vcpu(vcpu, &rng))
			break;
		gen_ops(&rng, gvm_ops(vcpu, false), OPS_PER_PAGE - 1);
		gvm_ops(vcpu, false)[OPS_PER_PAGE - 1].op = op_done;
		for (i = 0; i < 32 && r != RUN_DEAD; i++) {
			run->s.regs.regs = vcpu->regs;
			run->s.regs.sregs = vcpu->sregs;
			run->s.regs.events = vcpu->events;
			if (one_in(&rng, 2))
				queue_exception(&rng, &run->s.regs.events, payload);
			run->kvm_valid_regs = below(&rng, 8);
			run->kvm_dirty_regs = below(&rng, 8);
			if (one_in(&rng, 2))
				change_fields(&rng, run,
					      offsetof(struct kvm_run, padding),
					      pick_run);
			if (one_in(&rng, 4))
				run->immediate_exit = 1;
			r = gvcpu_run(vcpu, 2);
			count("kvm_run", r != RUN_FAILED);
		}
	}
	helper_stop(&helper);
	gvm_free(task->vm);
}
