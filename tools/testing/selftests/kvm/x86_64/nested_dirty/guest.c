// SPDX-License-Identifier: GPL-2.0-only
/*
 * nested_dirty_test: the guests. L1 and L2 take the steps of a script.
 */
#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "vmx.h"
#include "svm_util.h"
#include "nested_dirty.h"

#define L2_STACK_WORDS	256

#define PTE_ADDRESS	GENMASK_ULL(51, 12)

const struct step script[] = {
	/* The first write, the next one, other pages, none, reads. */
	{ BY_L2, OP_WRITE, 0x000a }, { BY_L2, OP_SYNC },
	{ BY_L2, OP_WRITE, 0x000a }, { BY_L2, OP_SYNC },
	{ BY_L2, OP_WRITE, 0x010b }, { BY_L2, OP_SYNC },
	{ BY_L2, OP_SYNC },
	{ BY_L2, OP_READ, BIT(READ_PAGE) },
	{ BY_L2, OP_WRITE, 0x010a }, { BY_L2, OP_SYNC },

	/* L1 alone, both, L2 alone. */
	{ BY_L1, OP_WRITE, 0x30000 }, { BY_L1, OP_SYNC },
	{ BY_L2, OP_WRITE, 0x0001 },
	{ BY_L1, OP_WRITE, 0x20000 }, { BY_L1, OP_SYNC },
	{ BY_L2, OP_WRITE, 0x0101 }, { BY_L2, OP_SYNC },

	/* A page that both have mapped is tracked in both mappings. */
	{ BY_L1, OP_WRITE, 0x0001 }, { BY_L1, OP_SYNC },
	{ BY_L2, OP_WRITE, 0x0001 }, { BY_L2, OP_SYNC },
	{ BY_L1, OP_WRITE, 0x0001 }, { BY_L1, OP_SYNC },
	{ BY_L2, OP_WRITE, 0x0001 },
	{ BY_L1, OP_WRITE, 0x0001 }, { BY_L1, OP_SYNC },
	{ BY_L2, OP_WRITE, 0x0001 }, { BY_L2, OP_SYNC },

	/* KVM writes for L2, and walks L2's page tables for that. */
	{ BY_L2, OP_INS, BIT(INS_PAGE) }, { BY_L2, OP_SYNC },
	{ BY_L2, OP_INS, BIT(INS_PAGE) }, { BY_L2, OP_SYNC },

	/* L1 changes what L2 has mapped, between two writes of L2. */
	{ BY_L2, OP_WRITE, BIT(WINDOW) }, { BY_L2, OP_SYNC },
	{ BY_L2, OP_WRITE, BIT(WINDOW) | 0x0003 },
	{ BY_L1, OP_REMAP },
	{ BY_L2, OP_WRITE, BIT(WINDOW) | 0x0003 }, { BY_L2, OP_SYNC },
	{ BY_L2, OP_WRITE, BIT(WINDOW) | 0x0103 }, { BY_L2, OP_SYNC },
	{ BY_L1, OP_REMAP }, { BY_L1, OP_SYNC },
	{ BY_L2, OP_WRITE, BIT(WINDOW) | 0x0002 }, { BY_L2, OP_SYNC },
	{ BY_L2, OP_SYNC },

	{ BY_L1, OP_DONE },
};

struct shared shared __aligned(4096);

static void access_pages(uint64_t pages, enum op op, uint64_t swap)
{
	uint64_t page;

	for (page = 0; page < TEST_PAGES; page++) {
		uint64_t *word = (void *)(TEST_MEM + (page ^ swap) * 4096);

		if (!(pages & BIT(page)))
			continue;
		if (op == OP_READ)
			READ_ONCE(*word);
		else
			WRITE_ONCE(*word, ++shared.number);
	}
}

static void ins(void)
{
	uint64_t gva = INS_GVA;

	asm volatile("insb" : "+D"(gva) : "d"(INS_PORT) : "memory");
}

/* To WINDOW from the page after it, or back. */
static void remap(void)
{
	uint64_t *entry = (uint64_t *)shared.entry;
	uint64_t pages = TEST_MEM / 4096 + WINDOW;

	WRITE_ONCE(*entry, (*entry & shared.keep) |
			   ((*entry & PTE_ADDRESS) == pages * 4096 ?
			    pages + 1 : pages) * 4096);
	shared.flush = true;
}

static bool test_and_clear_flush(void)
{
	bool flush = shared.flush;

	shared.flush = false;
	return flush;
}

/* Return: false at the end of the script, true if the other is to go on. */
static bool take_steps(enum who me)
{
	const struct step *step;

	for (;;) {
		step = &script[shared.step];
		if (step->who != me)
			return true;

		switch (step->op) {
		case OP_WRITE:
		case OP_READ:
			access_pages(step->pages, step->op,
				     me == BY_L2 ? shared.swap : 0);
			break;
		case OP_INS:
			ins();
			break;
		case OP_REMAP:
			remap();
			break;
		case OP_SYNC:
			GUEST_SYNC(shared.step);
			break;
		case OP_DONE:
			if (++shared.pass >= PASSES)
				return false;
			shared.step = 0;
			continue;
		}
		shared.step++;
	}
}

static void l2_vmx(void)
{
	for (;;) {
		take_steps(BY_L2);
		vmcall();
	}
}

static void l2_svm(void)
{
	for (;;) {
		take_steps(BY_L2);
		asm volatile("vmmcall" : : : "memory", XMM_REGISTERS);
	}
}

/* SDM vol. 3, "INVEPT": type 2 is all contexts. */
static void invept_all(void)
{
	static const uint64_t desc[2];

	asm volatile("invept %0, %1" : : "m"(desc), "r"(2ul) : "cc", "memory");
}

static void l1_vmx_options(void)
{
	vmwrite(EPT_POINTER, (vmreadz(EPT_POINTER) & ~EPTP_AD) | shared.ad);

	if (shared.pml) {
		vmwrite(SECONDARY_VM_EXEC_CONTROL,
			vmreadz(SECONDARY_VM_EXEC_CONTROL) |
			SECONDARY_EXEC_ENABLE_PML);
		vmwrite(PML_ADDRESS, shared.pml);
		vmwrite(GUEST_PML_INDEX, 511);
	}
}

void l1_vmx(void *arg)
{
	struct vmx_pages *vmx = arg;
	unsigned long l2_stack[L2_STACK_WORDS];
	bool launched = false;

	shared.step = 0;
	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, l2_vmx, &l2_stack[L2_STACK_WORDS]);
	if (vmx->eptp_gpa)
		l1_vmx_options();

	while (take_steps(BY_L1)) {
		if (vmx->eptp_gpa && test_and_clear_flush())
			invept_all();
		vmx_run_to_vmcall(launched);
		launched = true;
	}

	/* KVM writes vmcs12 to its page. */
	GUEST_ASSERT(!vmclear(vmx->vmcs_gpa));
	GUEST_SYNC(shared.step);
	GUEST_DONE();
}

void l1_svm(void *arg)
{
	struct svm_test_data *svm = arg;
	unsigned long l2_stack[L2_STACK_WORDS];
	struct vmcb *vmcb = svm->vmcb;

	shared.step = 0;
	generic_svm_setup(svm, l2_svm, &l2_stack[L2_STACK_WORDS]);

	while (take_steps(BY_L1)) {
		vmcb->control.tlb_ctl = test_and_clear_flush() ?
					TLB_CONTROL_FLUSH_ALL_ASID :
					TLB_CONTROL_DO_NOTHING;
		run_guest(vmcb, svm->vmcb_gpa);
		GUEST_ASSERT(vmcb->control.exit_code == SVM_EXIT_VMMCALL);
		vmcb->save.rip += 3;	/* vmmcall */
	}

	GUEST_SYNC(shared.step);
	GUEST_DONE();
}
