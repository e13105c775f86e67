// SPDX-License-Identifier: GPL-2.0
/*
 * What KVM on x86 may push to a dirty ring, step by step, and how it asks for
 * room before. See include/linux/kvm_dirty_ring.h.
 *
 * The table. Writes are counted one by one, though the ring drops repeated ones:
 * user space can forge the flags by which it does.
 *
 *	kept for the last steps (KEPT_ENTRIES, 8)
 *	  leave nested mode		 4: shadow VMCS12, virtual APIC page,
 *					    posted-interrupt descriptor,
 *					    enlightened VMCS
 *	  steal time, preempted		 1
 *
 *	from one look at the soft limit to the next (EXIT_ENTRIES, 64)
 *	  clocks, steal time		11: kvmclock 6, Hyper-V TSC page 4, 1
 *	  Hyper-V synthetic timers	 8: a message of each of the 4, 2 writes
 *	  APIC				 3: PV EOI 2, virtual APIC page
 *	  nested exit for an event	 8: as above 4, VMCS12 or VMCB12, MSR stores 3
 *	  SMM				 4: nested exit 2, save area 2
 *	  asynchronous page fault	 2: page and token; more if below the limit
 *	  hardware's log		    PML: 512 more
 *	  the exit itself		18: nested exit 8; or page fault 8; or
 *					    operand of a VMX instruction 12, and 2
 *					    pages; or wall clock 4; ...
 *	  the last steps		 8
 *
 *	one access by a linear address	 6: 5 page tables, the page
 *	  L2, nested paging		42: 5 page tables, 5 of L1 for each of these
 *					    and for the page, 6 times L1's PML log
 *	  task switch			 3: without long mode, 2 page tables
 *	  L2's task switch, SVM		18: 2 + (2 + 1) * 5 + 1
 *
 *	emulated instruction		    each access asks, unless it comes after
 *					    an access to a device
 *	  from there on			 2 accesses: a destination that straddles
 *	  far call, far jump		 8 accesses: descriptor read and written,
 *					    CS and RIP pushed, all straddling
 *	task switch			46 accesses: 23 that straddle
 *	MSR that writes a page		 4: wall clock, that straddles
 *	L1's lists of MSRs		    what these hold
 *
 * A step that fits into no empty ring exits with KVM_EXIT_INTERNAL_ERROR.
 */
#include <asm/hyperv-tlfs.h>
#include <asm/kvm_para.h>
#include <asm/vmx.h>

#include "dirty_ring.h"
#include "kvm_emulate.h"
#include "mmu.h"
#include "x86.h"

#define ACCESS			6
#define ACCESS_L2		42
#define TASK_ACCESS		3
#define TASK_ACCESS_L2		18
#define IO_ACCESSES		2
#define FAR_IO_ACCESSES		8
#define TASK_ACCESSES		46
#define NESTED_STATE		8
#define WALL_CLOCK_WRITES	3

u32 kvm_arch_dirty_ring_hw_log_size(void)
{
	return kvm_x86_ops.hw_dirty_log_size;
}

/**
 * kvm_dirty_step_entries - look up the table
 * @vcpu: the vCPU
 * @step: what it is going to do
 *
 * Return: how many entries @step may fill.
 */
u32 kvm_dirty_step_entries(struct kvm_vcpu *vcpu, enum kvm_dirty_step step)
{
	bool l2 = mmu_is_nested(vcpu);
	u32 access = l2 ? ACCESS_L2 : ACCESS;

	switch (step) {
	case KVM_DIRTY_ACCESS:
		return access;
	case KVM_DIRTY_IO:
		return IO_ACCESSES * access;
	case KVM_DIRTY_FAR_IO:
		return FAR_IO_ACCESSES * access;
	case KVM_DIRTY_TASK_SWITCH:
		return TASK_ACCESSES * (l2 ? TASK_ACCESS_L2 : TASK_ACCESS);
	case KVM_DIRTY_NESTED_STATE:
	default:
		return NESTED_STATE;
	}
}
EXPORT_SYMBOL_GPL(kvm_dirty_step_entries);

/**
 * kvm_dirty_msr_entries - look at an MSR that is to be set
 * @vcpu: the vCPU
 * @index: the MSR
 * @value: its new value
 *
 * Return: how many entries setting it may fill, mostly 0.
 */
u32 kvm_dirty_msr_entries(struct kvm_vcpu *vcpu, u32 index, u64 value)
{
	u32 xen = vcpu->kvm->arch.xen_hvm_config.msr;

	switch (index) {
	case MSR_KVM_WALL_CLOCK:
	case MSR_KVM_WALL_CLOCK_NEW:
		return WALL_CLOCK_WRITES +
		       (offset_in_page(value) + sizeof(struct pvclock_wall_clock) >
			PAGE_SIZE);
	case HV_X64_MSR_HYPERCALL:
	case HV_X64_MSR_VP_ASSIST_PAGE:
	case HV_X64_MSR_SIEFP:
	case HV_X64_MSR_SIMP:
		return 1;
	default:
		return xen && index == xen;
	}
}

/**
 * kvm_dirty_msr_list_entries - look at a list of MSRs that L1 wants to have set
 * @vcpu: the vCPU
 * @gpa: the list
 * @count: its length
 * @nr: set to the number of MSRs that fill entries
 *
 * Return: how many entries setting them may fill.
 */
u32 kvm_dirty_msr_list_entries(struct kvm_vcpu *vcpu, gpa_t gpa, u32 count,
			       u32 *nr)
{
	struct vmx_msr_entry e;
	u32 i, n, entries = 0;

	*nr = 0;
	if (!vcpu->kvm->dirty_ring_size)
		return 0;

	/* As many as IA32_VMX_MISC allows at most; KVM loads no more. */
	count = min(count, 4096u);
	for (i = 0; i < count; i++) {
		if (kvm_vcpu_read_guest(vcpu, gpa + i * sizeof(e), &e,
					sizeof(e)))
			break;
		n = kvm_dirty_msr_entries(vcpu, e.index, e.value);
		entries += n;
		*nr += !!n;
	}
	return entries;
}
EXPORT_SYMBOL_GPL(kvm_dirty_msr_list_entries);

/*
 * Emulated instructions. An access by a linear address for which the ring may
 * have no room fails as if it faulted. No fault is injected: KVM_RUN exits, and
 * the instruction starts again after the reset, as after a fault. The accessed
 * bits that it has set already need no entry then.
 *
 * A device must not be accessed twice. Before the first access to one, ask for
 * all that the rest of the instruction may need.
 */

static void restart(struct kvm_vcpu *vcpu, struct x86_exception *e)
{
	vcpu->arch.dirty_insn.restart = true;
	if (e) {
		memset(e, 0, sizeof(*e));
		e->vector = PF_VECTOR;
	}
}

/* See kvm_dirty_insn_refuse(). */
bool __kvm_dirty_insn_refuse(struct kvm_vcpu *vcpu, struct x86_exception *e)
{
	struct kvm_dirty_insn *insn = &vcpu->arch.dirty_insn;
	u32 entries;

	if (!insn->restart) {
		entries = kvm_dirty_step_entries(vcpu, KVM_DIRTY_ACCESS);
		if (kvm_dirty_ring_has_room(vcpu, entries))
			return false;
		insn->entries = entries;
	}

	restart(vcpu, e);
	return true;
}

/**
 * kvm_dirty_insn_begin - begin or continue to emulate an instruction
 * @vcpu: the vCPU
 * @emulation_type: of the call of x86_emulate_instruction()
 */
void kvm_dirty_insn_begin(struct kvm_vcpu *vcpu, int emulation_type)
{
	struct kvm_dirty_insn *insn = &vcpu->arch.dirty_insn;

	if (!vcpu->kvm->dirty_ring_size)
		return;

	insn->may_restart = !(emulation_type & (EMULTYPE_NO_DECODE |
						EMULTYPE_SKIP));
	insn->restart = false;
	if (!(emulation_type & EMULTYPE_NO_DECODE))
		insn->entries = 0;
}

/**
 * kvm_dirty_insn_end - leave x86_emulate_instruction()
 * @vcpu: the vCPU
 * @r: what it returns
 *
 * Return: what it is to return.
 */
int kvm_dirty_insn_end(struct kvm_vcpu *vcpu, int r)
{
	struct kvm_dirty_insn *insn = &vcpu->arch.dirty_insn;

	insn->may_restart = false;
	if (!insn->restart) {
		if (!vcpu->arch.complete_userspace_io)
			insn->entries = 0;
		return r;
	}

	insn->restart = false;
	vcpu->mmio_needed = 0;
	vcpu->arch.emulate_regs_need_sync_to_vcpu = false;

	/* A reset may have made room meanwhile. */
	return !kvm_dirty_ring_exit_before(vcpu, insn->entries);
}

/**
 * kvm_dirty_insn_commit - ask for room before an access to a device
 * @vcpu: the vCPU
 * @e: the exception that the access can raise, or NULL
 *
 * Return: true if the instruction can be finished; false if the access must fail,
 * for the instruction to restart.
 */
bool kvm_dirty_insn_commit(struct kvm_vcpu *vcpu, struct x86_exception *e)
{
	struct kvm_dirty_insn *insn = &vcpu->arch.dirty_insn;
	struct x86_emulate_ctxt *ctxt = vcpu->arch.emulate_ctxt;
	bool far;

	if (!insn->may_restart)
		return true;

	if (!insn->restart) {
		/* Group 5 has far calls and jumps, by a pointer in memory. */
		far = ctxt->opcode_len == 1 && ctxt->b == 0xff;
		insn->entries = kvm_dirty_step_entries(vcpu, far ?
						       KVM_DIRTY_FAR_IO :
						       KVM_DIRTY_IO);
		if (kvm_dirty_ring_has_room(vcpu, insn->entries)) {
			insn->may_restart = false;
			return true;
		}
	}

	restart(vcpu, e);
	return false;
}

/**
 * kvm_dirty_insn_iterates - ask whether to go on with a string instruction
 * @vcpu: the vCPU, whose registers say where it is
 *
 * What was read ahead from a port can only be written, not be read again.
 *
 * Return: true for another iteration, false to leave the emulator.
 */
bool kvm_dirty_insn_iterates(struct kvm_vcpu *vcpu)
{
	struct read_cache *ahead = &vcpu->arch.emulate_ctxt->io_read;
	struct kvm_dirty_insn *insn = &vcpu->arch.dirty_insn;

	if (!vcpu->kvm->dirty_ring_size)
		return true;

	insn->may_restart = ahead->pos == ahead->end;
	insn->entries = kvm_dirty_step_entries(vcpu, KVM_DIRTY_IO);
	return kvm_dirty_ring_has_room(vcpu, insn->entries) &&
	       (!insn->may_restart || kvm_dirty_ring_below_limit(vcpu));
}
