// SPDX-License-Identifier: GPL-2.0-only
/*
 * state_file_test: registers of long mode, events that are pending, injected or
 * masked, SMM, and vCPUs that wait.
 */
#include <string.h>

#include <linux/bitops.h>
#include <linux/compiler.h>
#include <linux/kernel.h>

#include "state_file.h"

#define IRQ_VECTOR	0x40
#define INJECTED_VECTOR	0x41

#define NMI_VECTOR	2
#define UD_VECTOR	6
#define PF_VECTOR	14

#define RFLAGS_IF	BIT(9)

#define X2APIC_MSR(reg)	(APIC_BASE_MSR + ((reg) >> 4))
#define APIC_EOI	0xb0
#define APIC_SPIV	0xf0
#define APIC_SW_ENABLE	0x100

#define SMRAM_GPA	0x1000000ul
#define SMRAM_SLOT	(BIT(16) | 1)
#define SMRAM_PAGES	16u

/* Counts of the guest's handlers, and what the last #PF was told. */
static uint64_t nmis, irqs, injected_irqs, uds, pf_error;
/* An NMI handler that asks to be saved, once. */
static uint64_t save_in_nmi;

static uint64_t count(uint64_t *counter)
{
	uint64_t now = READ_ONCE(*counter) + 1;

	WRITE_ONCE(*counter, now);
	return now;
}

static void handle_nmi(struct ex_regs *regs)
{
	if (count(&nmis) == 1 && READ_ONCE(save_in_nmi))
		GUEST_SYNC(SAVE_HERE);
}

static void handle_irq(struct ex_regs *regs)
{
	count(&irqs);
	wrmsr(X2APIC_MSR(APIC_EOI), 0);
}

static void handle_injected_irq(struct ex_regs *regs)
{
	count(&injected_irqs);
}

static void handle_ud(struct ex_regs *regs)
{
	count(&uds);
}

static void handle_pf(struct ex_regs *regs)
{
	WRITE_ONCE(pf_error, regs->error_code + 1);
}

static void add_handlers(struct kvm_vm *vm)
{
	vm_handle_exception(vm, NMI_VECTOR, handle_nmi);
	vm_handle_exception(vm, IRQ_VECTOR, handle_irq);
	vm_handle_exception(vm, INJECTED_VECTOR, handle_injected_irq);
	vm_handle_exception(vm, UD_VECTOR, handle_ud);
	vm_handle_exception(vm, PF_VECTOR, handle_pf);
}

static void tell_counts(void)
{
	GUEST_SYNC(READ_ONCE(nmis));
	GUEST_SYNC(READ_ONCE(irqs));
	GUEST_SYNC(READ_ONCE(injected_irqs));
	GUEST_SYNC(READ_ONCE(uds));
	GUEST_SYNC(READ_ONCE(pf_error));
	GUEST_DONE();
}

static void enable_x2apic(void)
{
	wrmsr(MSR_IA32_APICBASE, rdmsr(MSR_IA32_APICBASE) | X2APIC_ENABLE);
	wrmsr(X2APIC_MSR(APIC_SPIV), APIC_SW_ENABLE | 0xff);
}

static void send_self(uint64_t what)
{
	wrmsr(X2APIC_MSR(APIC_ICR), APIC_DEST_SELF | APIC_INT_ASSERT | what);
}

static void plain_guest(void *arg)
{
	enable_x2apic();
	GUEST_SYNC(SAVE_HERE);
	tell_counts();
}

static void nmi_guest(void *arg)
{
	enable_x2apic();
	WRITE_ONCE(save_in_nmi, true);
	send_self(APIC_DM_NMI);
	tell_counts();
}

/* An interrupt is in the IRR. */
static void irq_guest(void *arg)
{
	enable_x2apic();
	send_self(IRQ_VECTOR);
	GUEST_SYNC(SAVE_HERE);
	GUEST_SYNC(READ_ONCE(irqs));
	asm volatile("sti; nop; cli");
	tell_counts();
}

/* The host sets IF and the shadow: the first of the reads is in it. */
static void shadow_guest(void *arg)
{
	uint64_t first, second;

	enable_x2apic();
	send_self(IRQ_VECTOR);
	asm volatile("in $0x10, %%al\n\t"
		     "mov %[irqs], %[first]\n\t"
		     "nop\n\t"
		     "mov %[irqs], %[second]\n\t"
		     "cli"
		     : [first]"=&r"(first), [second]"=&r"(second)
		     : [irqs]"m"(irqs) : "rax", "memory");
	GUEST_SYNC(first);
	GUEST_SYNC(second);
	tell_counts();
}

static void smi_guest(void *arg)
{
	enable_x2apic();
	send_self(APIC_DM_SMI);
	tell_counts();
}

static const uint32_t msrs[] = {
	MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
	MSR_STAR, MSR_LSTAR, MSR_SYSCALL_MASK, MSR_KERNEL_GS_BASE,
	MSR_IA32_CR_PAT, MSR_IA32_TSC_DEADLINE,
};

#define PAT_VALUE	0x0007010600070106ull

static void registers_guest(void *arg)
{
	uint64_t dr0, dr3, cr8 = 5;
	unsigned int i;

	enable_x2apic();
	for (i = 0; i < ARRAY_SIZE(msrs) - 2; i++)
		wrmsr(msrs[i], 0x12340 + i);
	wrmsr(MSR_IA32_CR_PAT, PAT_VALUE);
	for (i = 0; i < 8; i++)
		set_xmm(i, 0x1111111111111111ul * (i + 1));
	asm volatile("mov %0, %%db0" : : "r"(0x1234500ul));
	asm volatile("mov %0, %%db3" : : "r"(0x5432100ul));
	asm volatile("mov %0, %%cr8" : : "r"(cr8));
	asm volatile("in $0x10, %%al" : : : "rax", "memory");

	for (i = 0; i < 8; i++)
		GUEST_SYNC(get_xmm(i));
	for (i = 0; i < ARRAY_SIZE(msrs); i++)
		GUEST_SYNC(rdmsr(msrs[i]));
	asm volatile("mov %%db0, %0" : "=r"(dr0));
	asm volatile("mov %%db3, %0" : "=r"(dr3));
	asm volatile("mov %%cr8, %0" : "=r"(cr8));
	GUEST_SYNC(dr0);
	GUEST_SYNC(dr3);
	GUEST_SYNC(cr8);
	GUEST_SYNC(rdmsr(X2APIC_MSR(APIC_SPIV)));
	GUEST_DONE();
}

/**
 * make_nmi_pending - send the vCPU an NMI
 * @vm: its VM
 */
void make_nmi_pending(struct kvm_vm *vm)
{
	vcpu_ioctl(vm, VCPU_ID, KVM_NMI, NULL);
}

static void make_smi_pending(struct kvm_vm *vm)
{
	vcpu_ioctl(vm, VCPU_ID, KVM_SMI, NULL);
}

/**
 * start_smi - let the vCPU enter SMM, up to the handler's first instruction
 * @vm: its VM, with add_smram()
 */
void start_smi(struct kvm_vm *vm)
{
	struct kvm_run *run = vcpu_state(vm, VCPU_ID);

	make_smi_pending(vm);
	vcpu_run(vm, VCPU_ID);
	TEST_ASSERT(run->exit_reason == KVM_EXIT_IO &&
		    run->io.port == SAVE_PORT, "not in SMM: exit %u (%s)",
		    run->exit_reason, exit_reason_str(run->exit_reason));
	vcpu_run_complete_io(vm, VCPU_ID);
}

static void change_events(struct kvm_vm *vm,
			  void (*change)(struct kvm_vcpu_events *events))
{
	struct kvm_vcpu_events events;

	vcpu_events_get(vm, VCPU_ID, &events);
	change(&events);
	vcpu_events_set(vm, VCPU_ID, &events);
}

static void inject_ud(struct kvm_vcpu_events *events)
{
	events->exception.injected = 1;
	events->exception.nr = UD_VECTOR;
}

static void inject_pf(struct kvm_vcpu_events *events)
{
	events->exception.injected = 1;
	events->exception.nr = PF_VECTOR;
	events->exception.has_error_code = 1;
	events->exception.error_code = 4;
}

static void inject_irq(struct kvm_vcpu_events *events)
{
	events->interrupt.injected = 1;
	events->interrupt.nr = INJECTED_VECTOR;
}

static void inject_nmi(struct kvm_vcpu_events *events)
{
	events->nmi.injected = 1;
	events->nmi.masked = 1;
}

static void set_shadow(struct kvm_vcpu_events *events)
{
	events->interrupt.shadow = KVM_X86_SHADOW_INT_STI;
}

static void set_if(struct kvm_vm *vm)
{
	struct kvm_regs regs;

	vcpu_regs_get(vm, VCPU_ID, &regs);
	regs.rflags |= RFLAGS_IF;
	vcpu_regs_set(vm, VCPU_ID, &regs);
}

static void arrive_ud(struct kvm_vm *vm)
{
	change_events(vm, inject_ud);
}

static void arrive_pf(struct kvm_vm *vm)
{
	change_events(vm, inject_pf);
}

/* A processor takes no interrupt with IF clear. */
static void arrive_irq(struct kvm_vm *vm)
{
	set_if(vm);
	change_events(vm, inject_irq);
}

static void arrive_nmi(struct kvm_vm *vm)
{
	change_events(vm, inject_nmi);
}

static void arrive_shadow(struct kvm_vm *vm)
{
	set_if(vm);
	change_events(vm, set_shadow);
}

static void set_mp_state(struct kvm_vm *vm, uint32_t to)
{
	struct kvm_mp_state state = { .mp_state = to };

	vcpu_set_mp_state(vm, VCPU_ID, &state);
}

static void halt(struct kvm_vm *vm)
{
	set_mp_state(vm, KVM_MP_STATE_HALTED);
}

static void receive_init(struct kvm_vm *vm)
{
	set_mp_state(vm, KVM_MP_STATE_INIT_RECEIVED);
}

static void make_runnable(struct kvm_vm *vm)
{
	set_mp_state(vm, KVM_MP_STATE_RUNNABLE);
}

/* SDM vol. 3, "SMI Handler Execution Environment": it starts at SMBASE + 8000H. */
static const uint8_t smi_handler[] = {
	0xe4, SAVE_PORT,	/* in $SAVE_PORT, %al */
	0x0f, 0xaa,		/* rsm */
};

/**
 * add_smram - give the vCPU SMRAM, with a handler that asks to be saved
 * @vm: its VM
 */
void add_smram(struct kvm_vm *vm)
{
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, SMRAM_GPA,
				    SMRAM_SLOT, SMRAM_PAGES, 0);
	memcpy((char *)addr_gpa2hva(vm, SMRAM_GPA) + 0x8000, smi_handler,
	       sizeof(smi_handler));
	vcpu_set_msr(vm, VCPU_ID, MSR_IA32_SMBASE, SMRAM_GPA);
}

static void add_smram_and_handlers(struct kvm_vm *vm)
{
	add_smram(vm);
	add_handlers(vm);
}

static const char *needs_smm(struct kvm_vm *vm)
{
	return kvm_check_cap(KVM_CAP_X86_SMM) ? NULL : "no SMM";
}

const struct state event_states[] = {
	{ "registers of long mode", .guest = registers_guest },
	{ "NMI pending", NULL, plain_guest, add_handlers, make_nmi_pending },
	{ "NMI injected", NULL, plain_guest, add_handlers, arrive_nmi },
	{ "NMI masked", NULL, nmi_guest, add_handlers },
	{ "NMI masked and pending", NULL, nmi_guest, add_handlers,
	  make_nmi_pending },
	{ "interrupt requested", NULL, irq_guest, add_handlers },
	{ "interrupt injected", NULL, plain_guest, add_handlers, arrive_irq },
	{ "interrupt shadow", NULL, shadow_guest, add_handlers, arrive_shadow },
	{ "UD injected", NULL, plain_guest, add_handlers, arrive_ud },
	{ "PF injected", NULL, plain_guest, add_handlers, arrive_pf },
	{ "halted", NULL, plain_guest, add_handlers, halt, make_nmi_pending },
	{ "INIT received", NULL, plain_guest, add_handlers, receive_init,
	  make_runnable },
	{ "SMI pending", needs_smm, plain_guest, add_smram_and_handlers,
	  make_smi_pending },
	{ "SMM", needs_smm, smi_guest, add_smram_and_handlers },
	{ "SMM and NMI pending", needs_smm, smi_guest, add_smram_and_handlers,
	  make_nmi_pending },
	{ }
};
