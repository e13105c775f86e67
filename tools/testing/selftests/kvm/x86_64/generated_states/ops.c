// SPDX-License-Identifier: GPL-2.0-only
/*
 * Generated operations of the guest, and a mode of them.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "generated_states.h"

#define HV_GUEST_OS_ID	0x40000000
#define HV_HYPERCALL	0x40000001

uint64_t gen_msr(struct rng *rng)
{
	static const uint32_t msrs[] = {
		0x10, 0x11, 0x12, 0x1b, 0x3a, 0x3b, 0x48, 0x49, 0x79, 0x8b, 0xc1,
		0xfe, 0x10a, 0x10b, 0x174, 0x175, 0x176, 0x179, 0x17a, 0x17b,
		0x186, 0x1a0, 0x1d9, 0x200, 0x20f, 0x250, 0x277, 0x2ff, 0x345,
		0x38f, 0x390, 0x400, 0x401, 0x404, 0x480, 0x485, 0x486, 0x48b,
		0x48c, 0x490, 0x491, 0x6e0, 0x802, 0x80b, 0x830, 0x83f, 0x832,
		0x838, 0xda0, 0xe1, 0x122, 0x140, 0x1c4, 0x1c5,
		0xc0000080, 0xc0000081, 0xc0000082, 0xc0000084, 0xc0000100,
		0xc0000101, 0xc0000102, 0xc0000103, 0xc0010000, 0xc0010004,
		0xc0010010, 0xc0010015, 0xc001001f, 0xc0010114, 0xc0010115,
		0xc0010117, 0xc0010140, 0xc001102c, 0xc0010200,
		0x40000000, 0x40000001, 0x40000002, 0x40000003, 0x40000010,
		0x40000020, 0x40000021, 0x40000070, 0x40000071, 0x40000072,
		0x40000073, 0x40000080, 0x40000081, 0x40000082, 0x40000083,
		0x40000084, 0x40000090, 0x4000009f, 0x400000b0, 0x400000b1,
		0x400000b7, 0x40000100, 0x40000105, 0x40000106, 0x40000107,
		0x40000108, 0x400000f1,
		0x4b564d00, 0x4b564d01, 0x4b564d02, 0x4b564d03, 0x4b564d04,
		0x4b564d05, 0x4b564d06, 0x4b564d07,
	};

	if (caps.nr_msrs && one_in(rng, 4))
		return caps.msrs[below(rng, caps.nr_msrs)];
	return msrs[below(rng, ARRAY_LEN(msrs))] + (one_in(rng, 8) ? 1 : 0);
}

/* A hypercall of Hyper-V's or KVM's: code, fast, count and start in RCX. */
static void gen_hypercall(struct rng *rng, struct op_entry *op)
{
	static const uint16_t codes[] = {
		0x02, 0x03, 0x08, 0x0b, 0x13, 0x14, 0x15, 0x57, 0x5c, 0x5d,
		0x69, 0x6a, 0x6b, 0x50, 0xaf,
	};

	op->op = caps.vmx ? op_vmcall : op_vmmcall;
	if (one_in(rng, 3)) {
		op->rax = below(rng, 14);
		op->rbx = gen_value(rng, 0);
		op->rcx = gen_value(rng, 0);
		return;
	}
	op->rcx = codes[below(rng, ARRAY_LEN(codes))];
	if (one_in(rng, 2))
		op->rcx |= 1 << 16;
	if (one_in(rng, 3))
		op->rcx |= below(rng, 4096) << 32;
	if (one_in(rng, 6))
		op->rcx |= below(rng, 4096) << 48;
	op->rdx = one_in(rng, 2) ? gen_gpa(rng) & ~7ull : gen_value(rng, 0);
	op->r8 = one_in(rng, 2) ? gen_gpa(rng) & ~7ull : gen_value(rng, 0);
}

static void gen_cr(struct rng *rng, struct op_entry *op)
{
	switch (op->op) {
	case op_cr0:
		op->rax = 0x80010033 ^ (1ull << below(rng, 34));
		break;
	case op_cr4:
		op->rax = 0x620 ^ (1ull << below(rng, 26));
		break;
	case op_cr3:
		op->rax = one_in(rng, 2) ? GPA_PML4 | below(rng, 4096) :
					   gen_value(rng, GPA_PML4);
		break;
	default:
		op->rax = gen_value(rng, 0);
	}
}

static void gen_wrmsr(struct rng *rng, struct op_entry *op)
{
	uint64_t value = one_in(rng, 2) ? gen_gpa(rng) | below(rng, 8) :
					  gen_value(rng, 0);

	op->rcx = gen_msr(rng);
	op->rax = value;
	op->rdx = value >> 32;
}

/* Loads and stores half of the time, anything else otherwise. */
void gen_op(struct rng *rng, struct op_entry *op)
{
	static const uint16_t ports[] = {
		0x20, 0x21, 0x40, 0x43, 0x61, 0x70, 0x71, 0x7e, 0x92, 0xa0,
		0xa1, 0x4d0, 0xcf8, 0xcfc, 0x3f8, 0xffff, 0xb2,
	};

	memset(op, 0, sizeof(*op));
	op->rax = gen_value(rng, rnd(rng));
	op->rbx = gen_value(rng, 0);
	op->rcx = gen_value(rng, 0);
	op->rdx = gen_value(rng, 0);
	op->rsi = gen_gpa(rng);
	op->rdi = gen_gpa(rng);
	if (one_in(rng, 3))
		op->op = op_ld1 + below(rng, op_push - op_ld1);
	else if (one_in(rng, 4))
		op->op = op_vmcall;
	else if (one_in(rng, 3))
		op->op = op_wrmsr;
	else
		op->op = below(rng, NR_OPS);
	switch (op->op) {
	case op_vmcall:
	case op_vmmcall:
		gen_hypercall(rng, op);
		break;
	case op_loop:
	case op_done:
	case op_exec:
	case op_hlt:
		/* Not often: what follows would not run. */
		if (!one_in(rng, 8))
			op->op = op_st8;
		else if (op->op == op_loop)
			op->rax = GPA_OPS;
		break;
	case op_movs:
	case op_stos:
	case op_ins:
	case op_outs:
		op->rcx = below(rng, one_in(rng, 4) && !caps.keep_tr ? 8192 : 64);
		break;
	case op_ltr:
		/* A null selector, which CPUs refuse, is taken there. */
		if (caps.keep_tr)
			op->op = op_pause;
		break;
	case op_rdmsr:
		op->rcx = gen_msr(rng);
		break;
	case op_wrmsr:
		gen_wrmsr(rng, op);
		break;
	case op_cr0 ... op_cr8:
		gen_cr(rng, op);
		break;
	case op_cpuid:
		op->rax = below(rng, 2) << 31 | below(rng, 32);
		op->rcx = below(rng, 4);
		break;
	case op_popf:
		op->rax = 1ull << below(rng, 22) | 2;
		break;
	case op_xsetbv:
		op->rcx = 0;
		op->rdx = 0;
		break;
	}
	if (op->op >= op_in1 && op->op <= op_outs) {
		op->rdx = one_in(rng, 4) ? 0x7e : ports[below(rng, ARRAY_LEN(ports))];
		if (one_in(rng, 4))
			op->rdx = below(rng, 0x10000);
	}
	if (op->op >= op_vmrun && (caps.keep_tr || !one_in(rng, 4))) {
		op->rax = GPA_BLOCK;
		op->rdi = GPA_BLOCK;
	}
}

void gen_ops(struct rng *rng, struct op_entry *ops, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		gen_op(rng, &ops[i]);
}

/* ioeventfds of any size where memory ends, where nothing is, and at ports. */
static void add_eventfds(struct gvm *vm, struct rng *rng, int fd)
{
	static const uint8_t lengths[] = { 0, 1, 2, 4, 8, 8, 8, 3, 16 };
	struct kvm_ioeventfd event;
	unsigned int i;
	int r;

	for (i = 0; i < 8; i++) {
		memset(&event, 0, sizeof(event));
		event.fd = fd;
		event.len = lengths[below(rng, ARRAY_LEN(lengths))];
		event.addr = one_in(rng, 8) ? gen_gpa(rng) : GPA_END + 4 * i;
		if (one_in(rng, 8))
			event.flags = below(rng, 16);
		else if (!one_in(rng, 3))
			event.flags = KVM_IOEVENTFD_FLAG_DATAMATCH;
		event.datamatch = gen_value(rng, 0);
		r = ioctl(vm->fd, KVM_IOEVENTFD, &event);
		count("IOEVENTFD", !r);
	}
}

static void enable_hyperv(struct gvcpu *vcpu, struct rng *rng)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[3];
	} msrs = { { 2 }, {
		{ .index = HV_GUEST_OS_ID, .data = rnd(rng) | 1 },
		{ .index = HV_HYPERCALL,
		  .data = (GPA_DATA + 0x5000) | one_in(rng, 2) },
	} };

	ioctl(vcpu->fd, KVM_SET_MSRS, &msrs);
}

/* A vCPU does generated operations, and is reset when it cannot go on. */
static void run_ops(struct task *task, struct gvcpu *vcpu)
{
	unsigned int state;
	int r;

	for (state = 0; state < task->states && !stopped(task); state++) {
		struct rng rng = task_rng(task, state);

		if (!gvm_reset_vcpu(vcpu, &rng))
			break;
		enable_hyperv(vcpu, &rng);
		gen_ops(&rng, gvm_ops(vcpu, false), OPS_PER_PAGE - 1);
		/* A copy of another place may have hit the guest's own. */
		if (!(state % 16))
			gvm_write_tables(vcpu->vm);
		memset(gvm_ops(vcpu, false) + OPS_PER_PAGE - 1, 0, OP_SIZE);
		gvm_ops(vcpu, false)[OPS_PER_PAGE - 1].op = op_done;
		r = gvcpu_run(vcpu, 200);
		count("operations", r == RUN_DONE || r == RUN_KICKED);
	}
}

static void second_vcpu(struct task *task)
{
	run_ops(task, &task->vm->vcpus[1]);
}

void ops_round(struct task *task)
{
	struct rng rng = task_rng(task, -1ull);
	struct helper helper;
	int fd = eventfd(0, EFD_NONBLOCK);

	task->vm = gvm_create(&rng, 2, one_in(&rng, 4));
	add_eventfds(task->vm, &rng, fd);
	helper_start(&helper, task, task->thread + 16, second_vcpu);
	run_ops(task, &task->vm->vcpus[0]);
	helper_stop(&helper);
	gvm_free(task->vm);
	close(fd);
}
