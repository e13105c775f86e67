// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page tables of a guest, its own and those for its nested guest, are in
 * memory that user space writes, too: entries of all levels change while vCPUs
 * use them, memslots come and go, and dirty logging is switched.
 *
 * KVM learns nothing of such a write. What it has linked for an entry may not
 * be what the entry asks for now.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "generated_states.h"

#define ENTRY_P		0x1ull
#define ENTRY_W		0x2ull
#define ENTRY_U		0x4ull
#define ENTRY_PS	0x80ull
#define ENTRY_GFN	0xffffffffff000ull
#define FAR_GPA		0x40000000ull

/* An entry that guests use: mostly those that map the data slots. */
static uint64_t *pick_entry(struct gvm *vm, struct rng *rng, uint64_t base,
			    unsigned int *level)
{
	uint64_t *pml4 = gvm_hva(vm, base);
	uint64_t *pdpt = pml4 + 512, *pd = pdpt + 512, *pt = pd + 512;

	switch (below(rng, 16)) {
	case 0:
		*level = 4;
		return &pml4[one_in(rng, 2) ? 0 : below(rng, 512)];
	case 1:
		*level = 3;
		return &pdpt[one_in(rng, 2) ? 0 : below(rng, 4)];
	case 2:
	case 3:
		/* Pages below the data slots that nobody needs. */
		*level = 1;
		return &pt[0x80 + below(rng, 0x180)];
	case 4:
		*level = 2;
		return &pd[below(rng, 8)];
	default:
		*level = 2;
		return &pd[1 + below(rng, NR_DATA_SLOTS)];
	}
}

static uint64_t gen_entry(struct rng *rng, uint64_t old, unsigned int level,
			  bool ept, uint64_t tables)
{
	uint64_t gfn = old & ENTRY_GFN, bits = old & ~ENTRY_GFN;
	uint64_t data = GPA_DATA + below(rng, NR_DATA_SLOTS) * SLOT_SIZE;

	switch (below(rng, 12)) {
	case 0:
		/* Another role: what may be done through the entry. */
		return old ^ (1ull << below(rng, 3));
	case 1:
		return old ^ (one_in(rng, 2) ? 1ull << 63 : 0x60);
	case 2:
		return old ^ ENTRY_PS;
	case 3:
		return old ^ (1ull << below(rng, 64));
	case 4:
		/* A table in place of a large page, or a table of its own. */
		gfn = tables + below(rng, 4) * PAGE_SIZE;
		return gfn | (bits & ~ENTRY_PS);
	case 5:
		gfn = gen_gpa(rng) & ENTRY_GFN;
		return gfn | bits;
	case 6:
		return gen_value(rng, old);
	case 7:
		return 0;
	default:
		/* Another memslot, as large as before. */
		if (level == 1)
			data += below(rng, 512) * PAGE_SIZE;
		if (!(bits & 7))
			bits = 7 | ENTRY_PS;
		if (level == 2)
			bits |= ENTRY_PS | (ept ? 6 << 3 : 0);
		return data | bits;
	}
}

static void change_tables(struct gvm *vm, struct rng *rng)
{
	bool nested = vm->nested_paging && !one_in(rng, 4);
	uint64_t base = nested ? GPA_NPML4 : GPA_PML4;
	unsigned int level;
	uint64_t *entry;

	if (one_in(rng, 12)) {
		gvm_write_tables(vm);
		gvm_write_nested_tables(vm, below(rng, NR_DATA_SLOTS));
		count("tables, as they were", true);
		return;
	}
	entry = pick_entry(vm, rng, base, &level);
	WRITE_ONCE(*entry, gen_entry(rng, *entry, level,
				     nested && caps.vmx, base));
	count(nested ? "entry of nested tables" : "entry of guest's tables",
	      true);
}

static void change_slots(struct gvm *vm, struct rng *rng)
{
	static const uint32_t all_flags[] = {
		0, KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_LOG_DIRTY_PAGES,
		KVM_MEM_READONLY, KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY,
	};
	static __thread unsigned char bitmap[SLOT_SIZE / PAGE_SIZE / 8];
	unsigned int nr = 1 + below(rng, NR_DATA_SLOTS);
	struct gslot *slot = &vm->slots[nr];
	uint32_t flags = all_flags[below(rng, ARRAY_LEN(all_flags))];
	struct kvm_dirty_log log = { .slot = nr, .dirty_bitmap = bitmap };
	uint64_t home = GPA_DATA + (nr - 1) * SLOT_SIZE;
	int r;

	if (one_in(rng, 8))
		nr = 0;
	switch (below(rng, 6)) {
	case 0:
		if (!nr)
			break;
		r = gvm_set_slot(vm, nr, false, 0);
		count("memslot deleted", !r);
		return;
	case 1:
		/* To another place and back. */
		if (!nr)
			break;
		slot->gpa = slot->gpa == home ? home + FAR_GPA : home;
		r = gvm_set_slot(vm, nr, true, slot->flags);
		if (r)
			slot->gpa = slot->gpa == home ? home + FAR_GPA : home;
		count("memslot moved", !r);
		return;
	case 2:
		count("GET_DIRTY_LOG",
		      !ioctl(vm->fd, KVM_GET_DIRTY_LOG, &log));
		return;
	}
	if (!nr) {
		r = gvm_set_slot(vm, 0, true, flags & KVM_MEM_LOG_DIRTY_PAGES);
		count("memslot 0's logging", !r);
		return;
	}
	r = gvm_set_slot(vm, nr, true, flags);
	/* What cannot be changed is made once more. */
	if (r && errno == EINVAL && slot->exists) {
		gvm_set_slot(vm, nr, false, 0);
		r = gvm_set_slot(vm, nr, true, flags);
	}
	count("memslot made or changed", !r);
}

/* Loads and stores to the data slots, with a flush of the TLB now and then. */
static void gen_accesses(struct rng *rng, struct op_entry *ops,
			 unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		uint64_t gpa = GPA_DATA + below(rng, NR_DATA_SLOTS * SLOT_SIZE);

		ops[i] = (struct op_entry){
			.op = one_in(rng, 2) ? op_st8 : op_ld8,
			.rsi = gpa, .rdi = gpa, .rax = GPA_PML4,
		};
		if (one_in(rng, 4))
			ops[i].rsi = 0x80000 + below(rng, 0x180000);
		if (one_in(rng, 16))
			ops[i].op = op_cr3;
		else if (one_in(rng, 16))
			ops[i].op = op_invlpg;
	}
}

static void use_tables(struct gvcpu *vcpu, struct rng *rng)
{
	struct op_entry *ops = gvm_ops(vcpu, false), *l2 = gvm_ops(vcpu, true);
	unsigned int n = 0;

	memset(ops, 0, PAGE_SIZE);
	if (vcpu->vm->nested) {
		nested_setup(vcpu, rng);
		memset(l2, 0, PAGE_SIZE);
		gen_accesses(rng, l2, 24);
		l2[24] = (struct op_entry){
			.op = caps.vmx ? op_vmcall : op_vmmcall };
		n = nested_ops(vcpu, ops);
	}
	if (!vcpu->vm->nested || one_in(rng, 4)) {
		gen_accesses(rng, ops + n, 24);
		n += 24;
	}
	ops[n] = (struct op_entry){ .op = op_loop,
				    .rax = gvm_ops_gpa(vcpu, false) };
}

static void run_second(struct task *task)
{
	struct gvcpu *vcpu = &task->vm->vcpus[1];
	unsigned int i, state;

	for (state = 0; !stopped(task); state++) {
		struct rng rng = task_rng(task, state);

		if (!gvm_reset_vcpu(vcpu, &rng))
			break;
		use_tables(vcpu, &rng);
		for (i = 0; i < 8 && !vcpu->dead && !stopped(task); i++)
			gvcpu_run(vcpu, 8);
	}
}

static void change_meanwhile(struct task *task)
{
	unsigned int state;

	for (state = 0; !stopped(task); state++) {
		struct rng rng = task_rng(task, state);

		change_tables(task->vm, &rng);
		sched_yield();
	}
}

void tables_round(struct task *task)
{
	struct rng rng = task_rng(task, -1ull);
	bool second = one_in(&rng, 2), meanwhile = one_in(&rng, 3);
	struct helper helpers[2];
	struct gvcpu *vcpu;
	unsigned int state, i;

	task->vm = gvm_create(&rng, 2, !one_in(&rng, 4));
	vcpu = &task->vm->vcpus[0];
	if (second)
		helper_start(&helpers[0], task, task->thread + 16, run_second);
	if (meanwhile)
		helper_start(&helpers[1], task, task->thread + 32,
			     change_meanwhile);
	for (state = 0; state < task->states; state++) {
		rng = task_rng(task, state);
		if (!(state % 32) || vcpu->dead) {
			if (!(state % 32)) {
				gvm_write_tables(task->vm);
				gvm_write_nested_tables(task->vm, 0);
			}
			if (!gvm_reset_vcpu(vcpu, &rng))
				break;
			use_tables(vcpu, &rng);
			gvcpu_run(vcpu, 8);
		}
		for (i = below(&rng, 3); i; i--)
			change_tables(task->vm, &rng);
		if (one_in(&rng, 2))
			gvcpu_run(vcpu, 8);
		if (one_in(&rng, 3))
			change_slots(task->vm, &rng);
		if (one_in(&rng, 2))
			gvcpu_run(vcpu, 8);
	}
	if (second)
		helper_stop(&helpers[0]);
	if (meanwhile)
		helper_stop(&helpers[1]);
	gvm_free(task->vm);
}
