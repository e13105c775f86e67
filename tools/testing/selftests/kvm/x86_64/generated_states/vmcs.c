// SPDX-License-Identifier: GPL-2.0-only
/*
 * VMX: a list of fields in guest memory that L1 writes to its VMCS, and the
 * VMCS12 itself.
 */
#include <string.h>
#include <sys/ioctl.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "vmx.h"
#include "generated_states.h"

#define AR_CODE		0xa09b
#define AR_DATA		0xc093
#define AR_TSS		0x8b
#define AR_UNUSABLE	0x10000
#define MAX_FIELDS	160

struct field_list {
	uint64_t nr;
	struct {
		uint64_t field, value;
	} entries[MAX_FIELDS];
};

static struct field_list *list_of(struct gvcpu *vcpu)
{
	return gvm_hva(vcpu->vm,
		       GPA_BLOCK + vcpu->id * VCPU_BLOCK + BLOCK_FIELDS);
}

static void put(struct field_list *list, uint64_t field, uint64_t value)
{
	list->entries[list->nr].field = field;
	list->entries[list->nr].value = value;
	list->nr++;
}

static uint64_t get_msr(struct gvcpu *vcpu, uint32_t index)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msr = { { 1 }, { .index = index } };

	ioctl(vcpu->fd, KVM_GET_MSRS, &msr);
	return msr.entry.data;
}

/* What L1 wants, and what the capability MSR demands and allows. */
static uint32_t controls(struct gvcpu *vcpu, uint32_t msr, uint32_t wanted)
{
	uint64_t capability = get_msr(vcpu, msr);

	return (wanted | (uint32_t)capability) & (capability >> 32);
}

static void put_controls(struct gvcpu *vcpu, struct field_list *list,
			 struct rng *rng)
{
	uint64_t block = GPA_BLOCK + vcpu->id * VCPU_BLOCK;
	uint32_t secondary = 0, primary, random = 0, pin = 0;

	primary = CPU_BASED_ACTIVATE_SECONDARY_CONTROLS |
		  CPU_BASED_HLT_EXITING;
	if (one_in(rng, 2))
		primary |= CPU_BASED_USE_MSR_BITMAPS;
	if (one_in(rng, 2))
		primary |= CPU_BASED_USE_IO_BITMAPS;
	if (one_in(rng, 2))
		primary |= CPU_BASED_TPR_SHADOW;
	if (vcpu->vm->nested_paging)
		secondary |= SECONDARY_EXEC_ENABLE_EPT;
	if (one_in(rng, 2))
		secondary |= SECONDARY_EXEC_ENABLE_VPID;
	if (one_in(rng, 4))
		random = rnd(rng);
	if (one_in(rng, 2))
		pin = PIN_BASED_EXT_INTR_MASK | PIN_BASED_NMI_EXITING;
	secondary |= random & ~SECONDARY_EXEC_ENABLE_EPT;
	put(list, PIN_BASED_VM_EXEC_CONTROL, controls(vcpu, 0x48d, pin));
	put(list, CPU_BASED_VM_EXEC_CONTROL, controls(vcpu, 0x48e, primary));
	put(list, SECONDARY_VM_EXEC_CONTROL, controls(vcpu, 0x48b, secondary));
	put(list, VM_EXIT_CONTROLS,
	    controls(vcpu, 0x48f, VM_EXIT_HOST_ADDR_SPACE_SIZE |
				  VM_EXIT_LOAD_IA32_EFER));
	put(list, VM_ENTRY_CONTROLS,
	    controls(vcpu, 0x490, VM_ENTRY_IA32E_MODE |
				  VM_ENTRY_LOAD_IA32_EFER));
	put(list, EPT_POINTER, GPA_NPML4 | 3 << 3 | 6 |
				(one_in(rng, 2) ? 1 << 6 : 0));
	put(list, VIRTUAL_PROCESSOR_ID, 1 + below(rng, 3));
	put(list, MSR_BITMAP, block + BLOCK_MSR_BITMAP);
	put(list, IO_BITMAP_A, block + BLOCK_IO_BITMAP);
	put(list, IO_BITMAP_B, block + BLOCK_IO_BITMAP + PAGE_SIZE);
	put(list, VIRTUAL_APIC_PAGE_ADDR, block + BLOCK_VAPIC);
	put(list, APIC_ACCESS_ADDR, block + BLOCK_VAPIC);
	put(list, POSTED_INTR_DESC_ADDR, block + BLOCK_PI_DESC);
	put(list, VM_EXIT_MSR_STORE_ADDR, block + BLOCK_MSR_LISTS);
	put(list, VM_EXIT_MSR_LOAD_ADDR, block + BLOCK_MSR_LISTS + 0x400);
	put(list, VM_ENTRY_MSR_LOAD_ADDR, block + BLOCK_MSR_LISTS + 0x800);
	put(list, VM_EXIT_MSR_STORE_COUNT, one_in(rng, 4) ? below(rng, 8) : 0);
	put(list, VM_EXIT_MSR_LOAD_COUNT, one_in(rng, 4) ? below(rng, 8) : 0);
	put(list, VM_ENTRY_MSR_LOAD_COUNT, one_in(rng, 4) ? below(rng, 8) : 0);
	put(list, EXCEPTION_BITMAP, one_in(rng, 4) ? rnd(rng) : 0);
	put(list, PAGE_FAULT_ERROR_CODE_MASK, 0);
	put(list, PAGE_FAULT_ERROR_CODE_MATCH, 0);
	put(list, CR3_TARGET_COUNT, 0);
	put(list, VM_ENTRY_INTR_INFO_FIELD, 0);
	put(list, VM_ENTRY_EXCEPTION_ERROR_CODE, 0);
	put(list, VM_ENTRY_INSTRUCTION_LEN, 1);
	put(list, TPR_THRESHOLD, 0);
	put(list, VMCS_LINK_POINTER, -1ull);
	put(list, CR0_GUEST_HOST_MASK, 0);
	put(list, CR4_GUEST_HOST_MASK, 0);
	put(list, CR0_READ_SHADOW, 0);
	put(list, CR4_READ_SHADOW, 0);
	put(list, TSC_OFFSET, 0);
	put(list, VMX_PREEMPTION_TIMER_VALUE, 100000);
}

static void put_segment(struct field_list *list, unsigned int nr,
			const struct kvm_segment *s, uint32_t ar)
{
	put(list, GUEST_ES_SELECTOR + 2 * nr, s->selector);
	put(list, GUEST_ES_BASE + 2 * nr, s->base);
	put(list, GUEST_ES_LIMIT + 2 * nr, s->limit);
	put(list, GUEST_ES_AR_BYTES + 2 * nr, ar);
}

static void put_guest(struct gvcpu *vcpu, struct field_list *list)
{
	const struct kvm_sregs *s = &vcpu->sregs;

	put_segment(list, 0, &s->es, AR_DATA);
	put_segment(list, 1, &s->cs, AR_CODE);
	put_segment(list, 2, &s->ss, AR_DATA);
	put_segment(list, 3, &s->ds, AR_DATA);
	put_segment(list, 4, &s->fs, AR_DATA);
	put_segment(list, 5, &s->gs, AR_DATA);
	put_segment(list, 6, &s->ldt, AR_UNUSABLE);
	put_segment(list, 7, &s->tr, AR_TSS);
	put(list, GUEST_GDTR_BASE, s->gdt.base);
	put(list, GUEST_GDTR_LIMIT, s->gdt.limit);
	put(list, GUEST_IDTR_BASE, s->idt.base);
	put(list, GUEST_IDTR_LIMIT, s->idt.limit);
	put(list, GUEST_CR0, s->cr0);
	put(list, GUEST_CR3, s->cr3);
	put(list, GUEST_CR4, s->cr4);
	put(list, GUEST_IA32_EFER, s->efer);
	put(list, GUEST_DR7, 0x400);
	put(list, GUEST_RSP, gvm_stack_gpa(vcpu, true));
	put(list, GUEST_RIP, vcpu->regs.rip);
	put(list, GUEST_RFLAGS, 0x202);
	put(list, GUEST_INTERRUPTIBILITY_INFO, 0);
	put(list, GUEST_PENDING_DBG_EXCEPTIONS, 0);
	put(list, GUEST_IA32_DEBUGCTL, 0);
	put(list, 0x4826 /* activity state */, 0);
	put(list, GUEST_SYSENTER_CS, 0);
}

static void put_host(struct gvcpu *vcpu, struct field_list *list)
{
	const struct kvm_sregs *s = &vcpu->sregs;

	put(list, HOST_CR0, s->cr0);
	put(list, HOST_CR3, s->cr3);
	put(list, HOST_CR4, s->cr4);
	put(list, HOST_IA32_EFER, s->efer);
	put(list, HOST_CS_SELECTOR, SEL_CS);
	put(list, HOST_SS_SELECTOR, SEL_DS);
	put(list, HOST_DS_SELECTOR, SEL_DS);
	put(list, HOST_ES_SELECTOR, SEL_DS);
	put(list, HOST_FS_SELECTOR, SEL_DS);
	put(list, HOST_GS_SELECTOR, SEL_DS);
	put(list, HOST_TR_SELECTOR, SEL_TR);
	put(list, HOST_FS_BASE, 0);
	put(list, HOST_GS_BASE, 0);
	put(list, HOST_TR_BASE, GPA_TSS);
	put(list, HOST_GDTR_BASE, GPA_GDT);
	put(list, HOST_IDTR_BASE, GPA_IDT);
}

void vmcs_setup(struct gvcpu *vcpu, struct rng *rng)
{
	uint64_t block = GPA_BLOCK + vcpu->id * VCPU_BLOCK;
	uint32_t revision = get_msr(vcpu, 0x480);
	struct field_list *list = list_of(vcpu);
	struct kvm_msr_entry *msrs;
	unsigned int i;

	memset(gvm_hva(vcpu->vm, block), 0, PAGE_SIZE);
	memcpy(gvm_hva(vcpu->vm, block + BLOCK_VMCB), &revision, 4);
	memcpy(gvm_hva(vcpu->vm, block + BLOCK_VMXON), &revision, 4);
	msrs = gvm_hva(vcpu->vm, block + BLOCK_MSR_LISTS);
	for (i = 0; i < PAGE_SIZE / sizeof(*msrs); i++) {
		msrs[i].index = one_in(rng, 2) ? 0xc0000081 + below(rng, 4) :
						 gen_msr(rng);
		msrs[i].reserved = 0;
		msrs[i].data = one_in(rng, 2) ? 0 : gen_gpa(rng);
	}
	list->nr = 0;
	put_controls(vcpu, list, rng);
	put_guest(vcpu, list);
	put_host(vcpu, list);
	/* The operand of VMXON. */
	block += BLOCK_VMXON;
	memcpy(gvm_hva(vcpu->vm, block - BLOCK_VMXON + BLOCK_FIELDS + 0xff8),
	       &block, 8);
}

void vmcs_change(struct gvcpu *vcpu, struct rng *rng)
{
	uint64_t block = GPA_BLOCK + vcpu->id * VCPU_BLOCK;
	struct field_list *list = list_of(vcpu);
	unsigned int i = below(rng, MAX_FIELDS);
	uint64_t *value;

	switch (below(rng, 8)) {
	case 0:
		/* The VMCS12's own layout, which is KVM's. */
		flip(rng, gvm_hva(vcpu->vm, block + below(rng, 512) * 8), 8);
		return;
	case 1:
		flip(rng, gvm_hva(vcpu->vm, block + BLOCK_MSR_LISTS +
					    below(rng, 512) * 8), 8);
		return;
	}
	i = below(rng, list->nr < MAX_FIELDS && list->nr ? list->nr : 1);
	value = &list->entries[i].value;
	switch (list->entries[i].field) {
	case GUEST_CR0:
	case HOST_CR0:
		change_field(rng, value, &(struct field){ 0, 8, CR0 });
		break;
	case GUEST_CR4:
	case HOST_CR4:
		change_field(rng, value, &(struct field){ 0, 8, CR4 });
		break;
	case GUEST_IA32_EFER:
	case HOST_IA32_EFER:
		change_field(rng, value, &(struct field){ 0, 8, EFER });
		break;
	case GUEST_RFLAGS:
		change_field(rng, value, &(struct field){ 0, 8, FLAGS });
		break;
	case VM_ENTRY_INTR_INFO_FIELD:
		*value = 1u << 31 | below(rng, 8) << 8 | below(rng, 2) << 11 |
			 below(rng, 40);
		break;
	default:
		flip(rng, value, (list->entries[i].field & 0x6000) == 0x4000 ? 4 : 8);
	}
}

unsigned int vmcs_ops(struct gvcpu *vcpu, struct op_entry *ops)
{
	uint64_t block = GPA_BLOCK + vcpu->id * VCPU_BLOCK;

	ops[0] = (struct op_entry){
		.op = op_vmxon, .rsi = block + BLOCK_FIELDS + 0xff8,
	};
	ops[1] = (struct op_entry){
		.op = op_vmxrun,
		.rdi = block + BLOCK_VMCB,
		.rax = block + BLOCK_FIELDS,
		.rbx = gvm_stack_gpa(vcpu, true),
		.rdx = gvm_ops_gpa(vcpu, true),
		.rcx = gvm_ops_gpa(vcpu, true) + PAGE_SIZE,
	};
	return 2;
}
