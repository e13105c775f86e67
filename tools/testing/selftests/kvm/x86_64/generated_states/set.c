// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each KVM_SET_* of a vCPU and of a VM: a state that KVM gave, with one or two
 * fields changed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "generated_states.h"

struct state {
	const char *name;
	unsigned long get, set;
	size_t size;
	pick_field pick;
	bool of_vm;
};

static const struct state states[] = {
#define STATE(name, type, pick)					\
	{ #name, KVM_GET_##name, KVM_SET_##name, sizeof(type), pick }
#define PLAIN(name, type)						\
	{ #name, KVM_GET_##name, KVM_SET_##name, sizeof(type) }
	STATE(REGS, struct kvm_regs, pick_regs),
	STATE(SREGS, struct kvm_sregs, pick_sregs),
	STATE(SREGS, struct kvm_sregs, pick_sregs),
	STATE(VCPU_EVENTS, struct kvm_vcpu_events, pick_events),
	STATE(VCPU_EVENTS, struct kvm_vcpu_events, pick_events),
	STATE(DEBUGREGS, struct kvm_debugregs, pick_debugregs),
	PLAIN(FPU, struct kvm_fpu),
	PLAIN(XSAVE, struct kvm_xsave),
	PLAIN(XCRS, struct kvm_xcrs),
	PLAIN(LAPIC, struct kvm_lapic_state),
	PLAIN(MP_STATE, struct kvm_mp_state),
	{ "CLOCK", KVM_GET_CLOCK, KVM_SET_CLOCK,
	  sizeof(struct kvm_clock_data), .of_vm = true },
	{ "PIT2", KVM_GET_PIT2, KVM_SET_PIT2, sizeof(struct kvm_pit_state2),
	  .of_vm = true },
};

/* What an ioctl that failed must not change. */
struct snapshot {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_vcpu_events events;
	struct kvm_debugregs debugregs;
	struct kvm_xcrs xcrs;
};

static void take_snapshot(struct gvcpu *vcpu, struct snapshot *s)
{
	memset(s, 0, sizeof(*s));
	/* Moves pending NMIs to where KVM_GET_SREGS does not see them. */
	ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &s->events);
	ioctl(vcpu->fd, KVM_GET_REGS, &s->regs);
	ioctl(vcpu->fd, KVM_GET_SREGS, &s->sregs);
	ioctl(vcpu->fd, KVM_GET_DEBUGREGS, &s->debugregs);
	ioctl(vcpu->fd, KVM_GET_XCRS, &s->xcrs);
}

static void compare(struct gvcpu *vcpu, const struct snapshot *before,
		    const char *name)
{
	const struct {
		const char *name;
		size_t offset, size;
	} parts[] = {
#define PART(p) { #p, offsetof(struct snapshot, p), sizeof(before->p) }
		PART(regs), PART(sregs), PART(events), PART(debugregs), PART(xcrs),
	};
	struct snapshot after;
	unsigned int i;

	take_snapshot(vcpu, &after);
	for (i = 0; i < ARRAY_LEN(parts); i++)
		if (memcmp((void *)before + parts[i].offset,
			   (void *)&after + parts[i].offset, parts[i].size))
			problem("KVM_SET_%s failed, and changed %s", name,
				parts[i].name);
}

/* Combinations that no CPU has. SDM 2.5, 9.8.5; APM 3.1 */
static void check_sregs(struct gvcpu *vcpu, const struct kvm_sregs *asked)
{
	const uint64_t pe = 1, nw = 1 << 29, cd = 1 << 30, pg = 1u << 31;
	const uint64_t lme = 1 << 8, lma = 1 << 10, pae = 1 << 5;
	struct kvm_sregs s;

	ioctl(vcpu->fd, KVM_GET_SREGS, &s);
	if (s.cr0 >> 32 || asked->cr0 >> 32)
		problem("KVM_SET_SREGS took CR0 %#llx", asked->cr0);
	else if ((s.cr0 & pg) && !(s.cr0 & pe))
		problem("KVM_SET_SREGS took PG without PE: CR0 %#llx", s.cr0);
	else if ((s.cr0 & nw) && !(s.cr0 & cd))
		problem("KVM_SET_SREGS took NW without CD: CR0 %#llx", s.cr0);
	if (s.cr4 >> 32)
		problem("KVM_SET_SREGS took CR4 %#llx", s.cr4);
	if ((s.efer & lma) && !((s.efer & lme) && (s.cr0 & pg) && (s.cr4 & pae)))
		problem("KVM_SET_SREGS took LMA: CR0 %#llx CR4 %#llx EFER %#llx",
			s.cr0, s.cr4, s.efer);
}

static void set_state(struct gvcpu *vcpu, struct rng *rng)
{
	const struct state *state = &states[below(rng, ARRAY_LEN(states))];
	int fd = state->of_vm ? vcpu->vm->fd : vcpu->fd;
	union {
		struct kvm_sregs sregs;
		unsigned char bytes[8192];
	} data = { 0 };
	struct snapshot before;
	int r;

	if (ioctl(fd, state->get, &data))
		return;
	change_fields(rng, &data, state->size, state->pick);
	if (state->set == KVM_SET_SREGS)
		keep_tr(&data.sregs);
	take_snapshot(vcpu, &before);
	r = ioctl(fd, state->set, &data);
	count(state->name, !r);
	if (r)
		compare(vcpu, &before, state->name);
	else if (state->set == KVM_SET_SREGS)
		check_sregs(vcpu, &data.sregs);
}

static void set_msrs(struct gvcpu *vcpu, struct rng *rng)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[4];
	} msrs = { { 1 + below(rng, 4) } };
	unsigned int i;

	for (i = 0; i < msrs.head.nmsrs; i++)
		msrs.entries[i].index = gen_msr(rng);
	ioctl(vcpu->fd, KVM_GET_MSRS, &msrs);
	for (i = 0; i < msrs.head.nmsrs; i++)
		flip(rng, &msrs.entries[i].data, 8);
	count("MSRS", ioctl(vcpu->fd, KVM_SET_MSRS, &msrs) == msrs.head.nmsrs);
}

static void set_cpuid(struct gvcpu *vcpu, struct rng *rng)
{
	size_t size = sizeof(struct kvm_cpuid2) +
		      MAX_CPUID * sizeof(struct kvm_cpuid_entry2);
	struct kvm_cpuid2 *cpuid = malloc(size);
	unsigned int n = 1 + below(rng, 2);
	struct kvm_cpuid_entry2 *entry;

	memcpy(cpuid, vcpu->vm->cpuid, size);
	while (n-- && cpuid->nent) {
		entry = &cpuid->entries[below(rng, cpuid->nent)];
		flip(rng, (uint32_t *)entry + below(rng, 7), 4);
	}
	if (one_in(rng, 8))
		cpuid->nent = below(rng, cpuid->nent + 2);
	count("CPUID2", !ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid));
	free(cpuid);
}

static struct field pick_nested(struct rng *rng)
{
	static const struct field fields[] = {
#define NESTED(member, kind) FIELD(struct kvm_nested_state, member, kind)
		NESTED(flags, ANY), NESTED(flags, FLAGS), NESTED(format, ANY),
		NESTED(size, ANY), NESTED(hdr.vmx.vmxon_pa, ADDR),
		NESTED(hdr.vmx.vmcs12_pa, ADDR), NESTED(hdr.vmx.smm.flags, ANY),
		NESTED(hdr.vmx.flags, ANY),
	};

	return fields[below(rng, ARRAY_LEN(fields))];
}

static void set_nested_state(struct gvcpu *vcpu, struct rng *rng)
{
	struct kvm_nested_state *state = calloc(1, 3 * PAGE_SIZE);
	size_t size;
	int r;

	state->size = 3 * PAGE_SIZE;
	if (ioctl(vcpu->fd, KVM_GET_NESTED_STATE, state))
		goto out;
	size = state->size;
	if (size > sizeof(*state) && one_in(rng, 2))
		flip(rng, (void *)state + sizeof(*state) +
			  below(rng, (size - sizeof(*state)) / 8) * 8, 8);
	else
		change_fields(rng, state, sizeof(*state), pick_nested);
	r = ioctl(vcpu->fd, KVM_SET_NESTED_STATE, state);
	count("NESTED_STATE", !r);
out:
	free(state);
}

static void set_guest_debug(struct gvcpu *vcpu, struct rng *rng)
{
	struct kvm_guest_debug debug = { 0 };
	unsigned int i;

	debug.control = below(rng, 16) << 16 | below(rng, 4);
	if (one_in(rng, 8))
		debug.control = rnd(rng);
	for (i = 0; i < 8; i++)
		debug.arch.debugreg[i] = gen_value(rng, 0);
	count("GUEST_DEBUG", !ioctl(vcpu->fd, KVM_SET_GUEST_DEBUG, &debug));
}

static void set_signal_mask(struct gvcpu *vcpu, struct rng *rng)
{
	struct {
		struct kvm_signal_mask head;
		uint64_t mask;
	} mask = { { one_in(rng, 4) ? (uint32_t)gen_value(rng, 8) : 8 } };

	/* Not the signal that ends KVM_RUN. */
	mask.mask = rnd(rng) & ~(1ull << (SIGUSR1 - 1));
	count("SIGNAL_MASK", !ioctl(vcpu->fd, KVM_SET_SIGNAL_MASK, &mask));
}

/* What is asked of a vCPU with a number or a small structure. */
static void vcpu_request(struct gvcpu *vcpu, struct rng *rng)
{
	union {
		uint64_t u64;
		struct kvm_interrupt interrupt;
		struct kvm_tpr_access_ctl tpr;
		struct kvm_vapic_addr vapic;
		struct kvm_x86_mce mce;
		struct kvm_translation translation;
		struct kvm_enable_cap cap;
	} data;
	const char *name;
	int r;

	memset(&data, 0, sizeof(data));
	switch (below(rng, 12)) {
	case 0:
	case 1:
		name = "INTERRUPT";
		data.interrupt.irq = one_in(rng, 8) ? rnd(rng) : below(rng, 258);
		r = ioctl(vcpu->fd, KVM_INTERRUPT, &data);
		break;
	case 2:
		name = "NMI";
		r = ioctl(vcpu->fd, KVM_NMI);
		break;
	case 3:
		name = "SMI";
		r = ioctl(vcpu->fd, KVM_SMI);
		break;
	case 4:
		name = "TSC_KHZ";
		r = ioctl(vcpu->fd, KVM_SET_TSC_KHZ,
			  (uint32_t)gen_value(rng, 1000000));
		break;
	case 5:
		name = "KVMCLOCK_CTRL";
		r = ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL);
		break;
	case 6:
		name = "TPR_ACCESS";
		data.tpr.enabled = gen_value(rng, 1);
		r = ioctl(vcpu->fd, KVM_TPR_ACCESS_REPORTING, &data);
		break;
	case 7:
		name = "VAPIC_ADDR";
		data.vapic.vapic_addr = one_in(rng, 2) ? gen_gpa(rng) :
							 gen_value(rng, 0);
		r = ioctl(vcpu->fd, KVM_SET_VAPIC_ADDR, &data);
		break;
	case 8:
		name = "SETUP_MCE";
		data.u64 = one_in(rng, 2) ? below(rng, 64) | 0x1000100 :
					    gen_value(rng, 0);
		r = ioctl(vcpu->fd, KVM_X86_SETUP_MCE, &data);
		break;
	case 9:
		name = "SET_MCE";
		data.mce.status = gen_value(rng, 1ull << 63) | 1ull << 63;
		data.mce.mcg_status = gen_value(rng, 0);
		data.mce.bank = below(rng, 256);
		r = ioctl(vcpu->fd, KVM_X86_SET_MCE, &data);
		break;
	case 10:
		name = "TRANSLATE";
		data.translation.linear_address = gen_value(rng, GPA_DATA);
		r = ioctl(vcpu->fd, KVM_TRANSLATE, &data);
		break;
	default:
		name = "vCPU's ENABLE_CAP";
		data.cap.cap = one_in(rng, 4) ? below(rng, 200) :
			       one_in(rng, 2) ? KVM_CAP_HYPERV_SYNIC :
						KVM_CAP_HYPERV_SYNIC2;
		data.cap.args[0] = gen_value(rng, 0);
		r = ioctl(vcpu->fd, KVM_ENABLE_CAP, &data);
	}
	count(name, !r);
}

static void gen_route(struct rng *rng, struct kvm_irq_routing_entry *e)
{
	memset(e, 0, sizeof(*e));
	e->gsi = one_in(rng, 8) ? gen_value(rng, 0) : below(rng, 32);
	e->type = 1 + below(rng, 4);
	e->flags = one_in(rng, 8) ? rnd(rng) : 0;
	switch (e->type) {
	case KVM_IRQ_ROUTING_IRQCHIP:
		e->u.irqchip.irqchip = below(rng, 4);
		e->u.irqchip.pin = below(rng, one_in(rng, 4) ? 256 : 24);
		break;
	case KVM_IRQ_ROUTING_MSI:
		e->u.msi.address_lo = 0xfee00000 | below(rng, 0x100000);
		e->u.msi.address_hi = one_in(rng, 4) ? rnd(rng) : 0;
		e->u.msi.data = below(rng, 0x10000);
		break;
	default:
		e->u.hv_sint.vcpu = below(rng, 4);
		e->u.hv_sint.sint = below(rng, 20);
	}
}

static void vm_request(struct gvm *vm, struct rng *rng)
{
	union {
		struct kvm_irqchip chip;
		struct kvm_irq_level level;
		struct kvm_msi msi;
		struct kvm_irqfd irqfd;
		struct kvm_coalesced_mmio_zone zone;
		struct kvm_enable_cap cap;
		struct kvm_dirty_log log;
		struct {
			struct kvm_irq_routing head;
			struct kvm_irq_routing_entry entries[4];
		} routing;
		struct kvm_msr_filter filter;
		struct kvm_reinject_control reinject;
	} data;
	static unsigned char bitmap[KVM_MSR_FILTER_MAX_BITMAP_SIZE];
	struct kvm_irq_routing_entry route;
	const char *name;
	unsigned int i;
	int r, fd;

	memset(&data, 0, sizeof(data));
	switch (below(rng, 10)) {
	case 0:
	case 1:
		name = "IRQCHIP";
		data.chip.chip_id = below(rng, 3);
		if (ioctl(vm->fd, KVM_GET_IRQCHIP, &data))
			return;
		change_fields(rng, &data.chip.chip, sizeof(data.chip.chip),
			      NULL);
		if (one_in(rng, 8))
			data.chip.chip_id = rnd(rng);
		r = ioctl(vm->fd, KVM_SET_IRQCHIP, &data);
		break;
	case 2:
		name = "IRQ_LINE";
		data.level.irq = one_in(rng, 8) ? rnd(rng) : below(rng, 32);
		data.level.level = below(rng, 2);
		r = ioctl(vm->fd, KVM_IRQ_LINE, &data);
		break;
	case 3:
		name = "SIGNAL_MSI";
		data.msi.address_lo = 0xfee00000 | below(rng, 0x100000);
		data.msi.address_hi = one_in(rng, 4) ? rnd(rng) : 0;
		data.msi.data = below(rng, 0x10000);
		data.msi.flags = one_in(rng, 8) ? rnd(rng) : 0;
		r = ioctl(vm->fd, KVM_SIGNAL_MSI, &data);
		break;
	case 4:
		name = "GSI_ROUTING";
		data.routing.head.nr = below(rng, 5);
		for (i = 0; i < 4; i++) {
			gen_route(rng, &route);
			memcpy(&data.routing.entries[i], &route, sizeof(route));
		}
		r = ioctl(vm->fd, KVM_SET_GSI_ROUTING, &data);
		break;
	case 5:
		name = "IRQFD";
		fd = eventfd(0, EFD_NONBLOCK);
		data.irqfd.fd = fd;
		data.irqfd.gsi = one_in(rng, 8) ? rnd(rng) : below(rng, 32);
		data.irqfd.flags = one_in(rng, 4) ? below(rng, 4) : 0;
		data.irqfd.resamplefd = fd;
		r = ioctl(vm->fd, KVM_IRQFD, &data);
		eventfd_write(fd, 1);
		close(fd);
		break;
	case 6:
		name = "COALESCED_MMIO";
		data.zone.addr = gen_gpa(rng);
		data.zone.size = below(rng, 64);
		data.zone.pio = below(rng, 2);
		r = ioctl(vm->fd, one_in(rng, 2) ? KVM_REGISTER_COALESCED_MMIO :
						   KVM_UNREGISTER_COALESCED_MMIO,
			  &data);
		break;
	case 7:
		name = "MSR_FILTER";
		data.filter.flags = below(rng, one_in(rng, 8) ? 16 : 2);
		for (i = 0; i < 1 + below(rng, 3); i++) {
			data.filter.ranges[i].flags = below(rng, 4);
			data.filter.ranges[i].base = gen_msr(rng);
			data.filter.ranges[i].nmsrs = below(rng, 512);
			data.filter.ranges[i].bitmap = bitmap;
		}
		r = ioctl(vm->fd, KVM_X86_SET_MSR_FILTER, &data);
		break;
	case 8:
		name = "REINJECT_CONTROL";
		data.reinject.pit_reinject = below(rng, 2);
		r = ioctl(vm->fd, KVM_REINJECT_CONTROL, &data);
		break;
	default:
		name = "VM's ENABLE_CAP";
		data.cap.cap = one_in(rng, 2) ? below(rng, 200) :
			       one_in(rng, 2) ? KVM_CAP_X86_USER_SPACE_MSR :
						KVM_CAP_EXCEPTION_PAYLOAD;
		/* Dirty rings have tests of their own. */
		if (data.cap.cap >= 190)
			data.cap.cap = KVM_CAP_X86_DISABLE_EXITS;
		data.cap.args[0] = one_in(rng, 2) ? below(rng, 8) :
						    gen_value(rng, 0);
		r = ioctl(vm->fd, KVM_ENABLE_CAP, &data);
	}
	count(name, !r);
}

static void throw_state(struct gvcpu *vcpu, struct rng *rng)
{
	switch (below(rng, 16)) {
	case 0:
		return set_msrs(vcpu, rng);
	case 1:
		return set_cpuid(vcpu, rng);
	case 2:
	case 3:
		return set_nested_state(vcpu, rng);
	case 4:
		return set_guest_debug(vcpu, rng);
	case 5:
		return set_signal_mask(vcpu, rng);
	case 6:
	case 7:
		return vcpu_request(vcpu, rng);
	case 8:
		return vm_request(vcpu->vm, rng);
	default:
		return set_state(vcpu, rng);
	}
}

/* A state to start from: L1, L2, real mode, SMM. */
static void prepare(struct gvcpu *vcpu, struct rng *rng)
{
	struct op_entry *ops = gvm_ops(vcpu, false);
	struct kvm_sregs sregs;
	unsigned int n = 0;

	memset(ops, 0, PAGE_SIZE);
	switch (below(rng, 5)) {
	case 0:
	case 1:
		nested_setup(vcpu, rng);
		n = nested_ops(vcpu, ops);
		break;
	case 2:
		sregs = vcpu->sregs;
		sregs.cr0 = 0x10;
		sregs.efer = 0;
		sregs.cr4 = 0;
		sregs.cs = (struct kvm_segment){ .limit = 0xffff, .present = 1,
			.type = 11, .s = 1 };
		sregs.ds = (struct kvm_segment){ .limit = 0xffff, .present = 1,
			.type = 3, .s = 1 };
		sregs.es = sregs.ds;
		sregs.fs = sregs.ds;
		sregs.gs = sregs.ds;
		sregs.ss = sregs.ds;
		ioctl(vcpu->fd, KVM_SET_SREGS, &sregs);
		break;
	case 3:
		ioctl(vcpu->fd, KVM_SMI);
		gen_ops(rng, ops, 8);
		n = 8;
		break;
	default:
		gen_ops(rng, ops, 8);
		n = 8;
	}
	ops[n] = (struct op_entry){ .op = op_loop,
				    .rax = gvm_ops_gpa(vcpu, false) };
	gvcpu_run(vcpu, 4);
}

static void throw_states(struct task *task, struct gvcpu *vcpu)
{
	unsigned int state, resets = 0;

	for (state = 0; state < task->states && !stopped(task); state++) {
		struct rng rng = task_rng(task, state);

		if (!(state % 6) || vcpu->dead) {
			if (!gvm_reset_vcpu(vcpu, &rng) && ++resets > 3)
				break;
			if (!(state % 12))
				gvm_write_tables(vcpu->vm);
			prepare(vcpu, &rng);
		}
		throw_state(vcpu, &rng);
		if (one_in(&rng, 2))
			gvcpu_run(vcpu, 3);
	}
}

void set_round(struct task *task)
{
	struct rng rng = task_rng(task, -1ull);

	task->vm = gvm_create(&rng, 1, !one_in(&rng, 4));
	throw_states(task, &task->vm->vcpus[0]);
	gvm_free(task->vm);
}
