// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the fields of KVM's structures are, and values that are worth trying.
 */
#include <stdio.h>
#include <string.h>

#include "generated_states.h"

static const struct field regs_fields[] = {
#define REG(member, kind) FIELD(struct kvm_regs, member, kind)
	REG(rax, ANY), REG(rcx, ANY), REG(rsi, ADDR), REG(rdi, ADDR),
	REG(rsp, ADDR), REG(r15, ADDR), REG(rip, ADDR), REG(rip, ADDR),
	REG(rflags, FLAGS), REG(rflags, FLAGS),
};

static const struct field segment_fields[] = {
#define SEGMENT(member, kind) FIELD(struct kvm_segment, member, kind)
	SEGMENT(base, ADDR), SEGMENT(limit, ANY), SEGMENT(selector, SELECTOR),
	SEGMENT(type, ANY), SEGMENT(present, BOOL), SEGMENT(dpl, ANY),
	SEGMENT(db, BOOL), SEGMENT(s, BOOL), SEGMENT(l, BOOL),
	SEGMENT(g, BOOL), SEGMENT(unusable, BOOL),
};

static const struct field sregs_fields[] = {
#define SREG(member, kind) FIELD(struct kvm_sregs, member, kind)
	SREG(gdt.base, ADDR), SREG(gdt.limit, ANY), SREG(idt.base, ADDR),
	SREG(idt.limit, ANY), SREG(cr0, CR0), SREG(cr0, CR0), SREG(cr0, CR0),
	SREG(cr2, ADDR), SREG(cr3, ADDR), SREG(cr4, CR4), SREG(cr4, CR4),
	SREG(cr8, ANY), SREG(efer, EFER), SREG(efer, EFER),
	SREG(apic_base, ADDR), SREG(interrupt_bitmap[0], ANY),
	SREG(interrupt_bitmap[1], ANY), SREG(interrupt_bitmap[3], ANY),
};

static const struct field events_fields[] = {
#define EVENT(member, kind) FIELD(struct kvm_vcpu_events, member, kind)
	EVENT(exception.injected, BOOL), EVENT(exception.nr, VECTOR),
	EVENT(exception.nr, VECTOR), EVENT(exception.has_error_code, BOOL),
	EVENT(exception.pending, BOOL), EVENT(exception.error_code, ANY),
	EVENT(interrupt.injected, BOOL), EVENT(interrupt.injected, BOOL),
	EVENT(interrupt.nr, VECTOR), EVENT(interrupt.soft, BOOL),
	EVENT(interrupt.shadow, ANY), EVENT(nmi.injected, BOOL),
	EVENT(nmi.pending, ANY), EVENT(nmi.masked, BOOL),
	EVENT(sipi_vector, VECTOR), EVENT(flags, ANY), EVENT(smi.smm, BOOL),
	EVENT(smi.smm, BOOL), EVENT(smi.pending, BOOL),
	EVENT(smi.smm_inside_nmi, BOOL), EVENT(smi.latched_init, BOOL),
	EVENT(exception_has_payload, BOOL), EVENT(exception_payload, ANY),
};

static const struct field debugregs_fields[] = {
#define DEBUGREG(member, kind) FIELD(struct kvm_debugregs, member, kind)
	DEBUGREG(db[0], ADDR), DEBUGREG(db[3], ADDR), DEBUGREG(dr6, ANY),
	DEBUGREG(dr7, ANY), DEBUGREG(dr7, FLAGS), DEBUGREG(flags, ANY),
};

static const struct field run_fields[] = {
#define RUN(member, kind) FIELD(struct kvm_run, member, kind)
	RUN(request_interrupt_window, BOOL), RUN(immediate_exit, BOOL),
	RUN(exit_reason, ANY), RUN(ready_for_interrupt_injection, BOOL),
	RUN(if_flag, BOOL), RUN(cr8, ANY), RUN(apic_base, ADDR),
	RUN(io.direction, ANY), RUN(io.size, ANY), RUN(io.port, ANY),
	RUN(io.count, ANY), RUN(io.data_offset, ADDR),
	RUN(mmio.phys_addr, ADDR), RUN(mmio.len, ANY), RUN(mmio.is_write, ANY),
	RUN(hypercall.ret, ANY), RUN(msr.error, ANY), RUN(msr.data, ANY),
	RUN(internal.ndata, ANY), RUN(kvm_valid_regs, ANY),
	RUN(kvm_dirty_regs, ANY),
};

static struct field pick(struct rng *rng, const struct field *fields,
			 unsigned int nr, size_t offset)
{
	struct field field = fields[below(rng, nr)];

	field.offset += offset;
	return field;
}

struct field pick_regs(struct rng *rng)
{
	return pick(rng, regs_fields, ARRAY_LEN(regs_fields), 0);
}

struct field pick_sregs(struct rng *rng)
{
	/* cs, ds, es, fs, gs, ss, tr, ldt are the first members. */
	if (one_in(rng, 2))
		return pick(rng, segment_fields, ARRAY_LEN(segment_fields),
			    below(rng, 8) * sizeof(struct kvm_segment));
	return pick(rng, sregs_fields, ARRAY_LEN(sregs_fields), 0);
}

struct field pick_events(struct rng *rng)
{
	return pick(rng, events_fields, ARRAY_LEN(events_fields), 0);
}

struct field pick_debugregs(struct rng *rng)
{
	return pick(rng, debugregs_fields, ARRAY_LEN(debugregs_fields), 0);
}

struct field pick_run(struct rng *rng)
{
	struct field field;

	switch (below(rng, 8)) {
	case 0:
		field = pick_regs(rng);
		field.offset += offsetof(struct kvm_run, s.regs.regs);
		return field;
	case 1:
		do {
			field = pick_sregs(rng);
			field.offset += offsetof(struct kvm_run, s.regs.sregs);
		} while (caps.keep_tr && in_tr(field.offset));
		return field;
	case 2 ... 4:
		field = pick_events(rng);
		field.offset += offsetof(struct kvm_run, s.regs.events);
		return field;
	case 5:
		/* What is delivered at the next entry. */
		field = pick(rng, events_fields, 5, 0);
		field.offset += offsetof(struct kvm_run, s.regs.events);
		return field;
	}
	return pick(rng, run_fields, ARRAY_LEN(run_fields), 0);
}

static uint64_t gen_vector(struct rng *rng)
{
	/* Exceptions that are special, what is none, interrupts. */
	static const uint8_t vectors[] = {
		0, 1, 2, 3, 4, 6, 8, 10, 12, 13, 14, 15, 17, 18, 19, 29, 30, 31,
		32, 0x80, 0xf2, 0xff,
	};

	return vectors[below(rng, ARRAY_LEN(vectors))];
}

static uint64_t gen_kind(struct rng *rng, enum kind kind, uint64_t old)
{
	static const uint8_t cr0_bits[] = { 0, 1, 2, 3, 4, 5, 16, 18, 29, 30,
					    31, 32, 63 };
	static const uint8_t efer_bits[] = { 0, 8, 10, 11, 12, 13, 14, 15, 63 };
	static const uint8_t flag_bits[] = { 1, 8, 9, 14, 16, 17, 18, 19, 20,
					     21, 3, 13, 12, 32 };

	switch (kind) {
	case BOOL:
		return one_in(rng, 8) ? rnd(rng) : !old;
	case VECTOR:
		return gen_vector(rng);
	case ADDR:
		return one_in(rng, 3) ? gen_gpa(rng) : gen_value(rng, old);
	case SELECTOR:
		return one_in(rng, 2) ? below(rng, 8) * 8 + below(rng, 8) :
					gen_value(rng, old);
	case CR0:
		return old ^ (1ull << cr0_bits[below(rng, ARRAY_LEN(cr0_bits))]);
	case CR4:
		return old ^ (1ull << below(rng, one_in(rng, 8) ? 64 : 25));
	case EFER:
		return old ^ (1ull << efer_bits[below(rng, ARRAY_LEN(efer_bits))]);
	case FLAGS:
		return old ^ (1ull << flag_bits[below(rng, ARRAY_LEN(flag_bits))]);
	default:
		return gen_value(rng, old);
	}
}

void change_field(struct rng *rng, void *data, const struct field *field)
{
	uint64_t value = 0;

	memcpy(&value, data + field->offset, field->size);
	if (one_in(rng, 4))
		value = gen_value(rng, value);
	else
		value = gen_kind(rng, field->kind, value);
	memcpy(data + field->offset, &value, field->size);
	if (verbose && field->name)
		printf("#  %s = %#lx\n", field->name, value);
}

/* One or two fields; anywhere where nobody says what the fields are. */
void change_fields(struct rng *rng, void *data, size_t size, pick_field pick)
{
	unsigned int n = 1 + below(rng, 2), width;
	struct field field;

	while (n--) {
		if (pick && !one_in(rng, 16)) {
			field = pick(rng);
			change_field(rng, data, &field);
			continue;
		}
		width = 1u << below(rng, 4);
		if (width > size)
			width = size;
		flip(rng, data + below(rng, size / width) * width, width);
	}
}
