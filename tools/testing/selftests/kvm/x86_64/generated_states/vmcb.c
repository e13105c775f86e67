// SPDX-License-Identifier: GPL-2.0-only
/*
 * SVM: VMCB12, which is in guest memory.
 */
#include <string.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "svm.h"
#include "generated_states.h"

#define ATTR_CODE	0xa9b
#define ATTR_DATA	0xc93
#define ATTR_TSS	0x8b

static struct vmcb *vmcb_of(struct gvcpu *vcpu)
{
	return gvm_hva(vcpu->vm, GPA_BLOCK + vcpu->id * VCPU_BLOCK + BLOCK_VMCB);
}

void vmcb_setup(struct gvcpu *vcpu, struct rng *rng)
{
	uint64_t block = GPA_BLOCK + vcpu->id * VCPU_BLOCK;
	const struct kvm_sregs *s = &vcpu->sregs;
	struct vmcb *vmcb = vmcb_of(vcpu);
	struct vmcb_save_area *save = &vmcb->save;
	struct vmcb_control_area *c = &vmcb->control;
	struct vmcb_seg data = { SEL_DS, ATTR_DATA, ~0u, 0 };

	memset(vmcb, 0, PAGE_SIZE);
	c->intercept = 1ull << INTERCEPT_VMRUN | 1ull << INTERCEPT_VMMCALL |
		       1ull << INTERCEPT_HLT;
	if (one_in(rng, 2))
		c->intercept |= 1ull << INTERCEPT_SHUTDOWN;
	if (one_in(rng, 2))
		c->intercept |= 1ull << INTERCEPT_INTR | 1ull << INTERCEPT_NMI;
	if (one_in(rng, 2))
		c->intercept |= 1ull << INTERCEPT_MSR_PROT |
				1ull << INTERCEPT_IOIO_PROT;
	if (one_in(rng, 4))
		c->intercept |= rnd(rng) & ((1ull << (INTERCEPT_RDPRU + 1)) - 1);
	if (one_in(rng, 2))
		c->int_ctl = V_INTR_MASKING_MASK;
	c->asid = 1;
	c->msrpm_base_pa = block + BLOCK_MSR_BITMAP;
	c->iopm_base_pa = block + BLOCK_IO_BITMAP;
	if (vcpu->vm->nested_paging) {
		c->nested_ctl = SVM_NESTED_CTL_NP_ENABLE;
		c->nested_cr3 = GPA_NPML4;
	}
	save->cs = (struct vmcb_seg){ SEL_CS, ATTR_CODE, ~0u, 0 };
	save->ds = data;
	save->es = data;
	save->fs = data;
	save->gs = data;
	save->ss = data;
	save->tr = (struct vmcb_seg){ SEL_TR, ATTR_TSS, 0x67, GPA_TSS };
	save->gdtr = (struct vmcb_seg){ .limit = s->gdt.limit, .base = s->gdt.base };
	save->idtr = (struct vmcb_seg){ .limit = s->idt.limit, .base = s->idt.base };
	save->cr0 = s->cr0;
	save->cr3 = s->cr3;
	save->cr4 = s->cr4;
	save->efer = s->efer;
	save->rflags = 0x202;
	save->dr6 = 0xffff0ff0;
	save->dr7 = 0x400;
	save->g_pat = 0x0007040600070406ull;
}

void vmcb_change(struct gvcpu *vcpu, struct rng *rng)
{
	static const struct field fields[] = {
#define C(member, kind) FIELD(struct vmcb, control.member, kind)
#define S(member, kind) FIELD(struct vmcb, save.member, kind)
		C(intercept_cr, ANY), C(intercept_dr, ANY),
		C(intercept_exceptions, ANY), C(intercept, ANY),
		C(intercept, ANY), C(intercept, ANY),
		C(iopm_base_pa, ADDR), C(msrpm_base_pa, ADDR),
		C(tsc_offset, ANY), C(asid, ANY), C(tlb_ctl, ANY),
		C(int_ctl, ANY), C(int_vector, VECTOR), C(int_state, ANY),
		C(exit_code, ANY), C(exit_code_hi, ANY),
		C(exit_int_info, ANY), C(nested_ctl, ANY),
		C(event_inj, ANY), C(event_inj_err, ANY), C(event_inj, FLAGS),
		C(nested_cr3, ADDR), C(virt_ext, ANY), C(clean, ANY),
		C(next_rip, ADDR), C(avic_backing_page, ADDR),
		C(pause_filter_count, ANY),
		S(cs.attrib, ANY), S(cs.base, ADDR), S(cs.limit, ANY),
		S(ss.attrib, ANY), S(ds.base, ADDR), S(es.limit, ANY),
		S(gdtr.base, ADDR), S(gdtr.limit, ANY), S(idtr.base, ADDR),
		S(idtr.limit, ANY), S(ldtr.attrib, ANY), S(cpl, ANY),
		S(idtr.limit, BOOL),
		S(efer, EFER), S(efer, EFER), S(cr4, CR4), S(cr4, CR4),
		S(cr3, ADDR), S(cr0, CR0), S(cr0, CR0), S(dr7, ANY),
		S(dr6, ANY), S(rflags, FLAGS), S(rip, ADDR), S(rsp, ADDR),
		S(rax, ADDR), S(lstar, ADDR), S(sysenter_eip, ADDR),
		S(kernel_gs_base, ADDR), S(cr2, ADDR), S(g_pat, ANY),
		S(dbgctl, ANY),
	};
	struct vmcb *vmcb = vmcb_of(vcpu);

	change_field(rng, vmcb, &fields[below(rng, ARRAY_LEN(fields))]);
}

unsigned int vmcb_ops(struct gvcpu *vcpu, struct op_entry *ops)
{
	ops[0] = (struct op_entry){
		.op = op_vmrun,
		.rax = GPA_BLOCK + vcpu->id * VCPU_BLOCK + BLOCK_VMCB,
		.rsi = vcpu->regs.rip,
		.rbx = gvm_stack_gpa(vcpu, true),
		.rdx = gvm_ops_gpa(vcpu, true),
		.rcx = gvm_ops_gpa(vcpu, true) + PAGE_SIZE,
	};
	return 1;
}
