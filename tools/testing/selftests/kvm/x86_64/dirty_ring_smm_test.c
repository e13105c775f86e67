// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a vCPU writes in system management mode goes to address space 1, and is
 * a dirty page of the memslot that it has there; what it writes outside SMM is
 * a page of address space 0. For memslots that have the same number and the
 * same guest-physical address in both, with memory of their own and with the
 * same memory, tracked in one address space or in both, by ring and by bitmap.
 *
 * Each round, the guest writes some pages, then the host sends it an SMI, and
 * the handler writes some pages, twice. The host collects after each of these,
 * or for the first time in the handler.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <linux/bitmap.h>
#include <linux/bitops.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "dirty_ring.h"
#include "kselftest.h"

#define VCPU_ID		0
#define RING_ENTRIES	4096

#define SMM		1	/* the address space */
#define SMI_PORT	0x99

/* Two memslots in both address spaces, side by side. */
#define OWN_SLOT	1	/* other memory in SMM */
#define SHARED_SLOT	2	/* the same memory in SMM */
#define SLOT_PAGES	16
#define MEM_GPA		0xc0000000

/* Where the SMI handler lives, in SMM only. */
#define SMRAM_SLOT	3
#define SMRAM_GPA	0x1000000
#define SMRAM_PAGES	16
#define SMI_ENTRY	0x8000
#define LIST_PAGE	0	/* what the handler is to write */
#define SAVE_PAGE	15	/* KVM saves the vCPU's state at 0xfe00 */

/*
 * Runs in real mode with 4 GiB segments, cs at SMBASE. It adds 1 to each dword
 * whose address is in a list at SMBASE, which ends with 0, and repeats that as
 * long as the port reads as non-zero.
 */
static const uint8_t smi_handler[] = {
	0x66, 0x31, 0xf6,		/* 0:	xor %esi, %esi		*/
	0x67, 0x66, 0x2e, 0x8b, 0x3e,	/* 1:	mov %cs:(%esi), %edi	*/
	0x66, 0x85, 0xff,		/*	test %edi, %edi		*/
	0x74, 0x0a,			/*	jz 2f			*/
	0x67, 0x66, 0xff, 0x07,		/*	incl (%edi)		*/
	0x66, 0x83, 0xc6, 0x04,		/*	add $4, %esi		*/
	0xeb, 0xec,			/*	jmp 1b			*/
	0xe4, SMI_PORT,			/* 2:	in $SMI_PORT, %al	*/
	0x84, 0xc0,			/*	test %al, %al		*/
	0x75, 0xe3,			/*	jnz 0b			*/
	0x0f, 0xaa,			/*	rsm			*/
};

/**
 * struct round - what is written: OWN_SLOT, and in the high half SHARED_SLOT
 * @normal: outside SMM
 * @smm: in SMM, twice
 * @together: the host looks for the first time in SMM
 */
struct round {
	uint32_t normal;
	uint32_t smm;
	bool together;
};

static const struct round rounds[] = {
	{ 0x00030003, 0 },
	{ 0, 0x00030003 },
	{ 0, 0x00030003 },
	{ 0x00030003, 0 },
	{ 0, 0 },
	{ 0x00010001, 0x00010001 },
	{ 0x00010001, 0x00010001, true },
	{ 0x00060006, 0x00050005, true },
	{ 0x00050005, 0x00060006, true },
	{ 0x80000000, 0x00008000 },
	{ 0x00008000, 0x80000000 },
	{ 0x80008000, 0, true },
	{ 0, 0x80008000, true },
	{ 0, 0 },
};

/**
 * struct slot - a memslot
 * @as_id: its address space
 * @id: its number there
 * @gpa: where it begins
 * @pages: its size
 * @mem: its memory
 * @tracked: whether its dirty pages are
 * @reported: those that KVM has reported
 * @want: those that it should
 * @may: those that it may: they are read, and a page that is accessed for the
 *	first time, or for the first time in this SMM, is mapped for writing
 *	where it can be
 */
struct slot {
	uint32_t as_id;
	uint32_t id;
	uint64_t gpa;
	uint64_t pages;
	void *mem;
	bool tracked;
	unsigned long reported;
	unsigned long want;
	unsigned long may;
};

/* In this order in struct test. */
enum { OWN, SHARED, OWN_SMM, SHARED_SMM, SMRAM, NR_SLOTS };

struct test {
	struct kvm_vm *vm;
	struct dirty_ring ring;
	struct slot slots[NR_SLOTS];
	unsigned int round;
	unsigned int bad;
	unsigned int reports;
};

static uint64_t page_addr(unsigned int page)
{
	return MEM_GPA + page * 4096;
}

static void guest_code(void)
{
	unsigned int round, page;

	for (round = 0; round < ARRAY_SIZE(rounds); round++) {
		for (page = 0; page < 2 * SLOT_PAGES; page++) {
			uint32_t *word = (void *)page_addr(page);

			if (rounds[round].normal & BIT(page))
				WRITE_ONCE(*word, *word + 1);
		}
		GUEST_SYNC(round);
	}
	GUEST_DONE();
}

static void add_page(uint32_t slot_id, uint64_t offset, void *data)
{
	struct test *t = data;
	int i;

	for (i = 0; i < NR_SLOTS; i++) {
		struct slot *slot = &t->slots[i];

		if (slot_id == (slot->as_id << 16 | slot->id) &&
		    slot->tracked && offset < slot->pages) {
			slot->reported |= BIT(offset);
			return;
		}
	}
	TEST_FAIL("entry for slot 0x%x offset 0x%lx", slot_id, offset);
}

static void collect_bitmap(struct test *t)
{
	int i;

	for (i = 0; i < NR_SLOTS; i++) {
		struct slot *slot = &t->slots[i];
		struct kvm_dirty_log log = {
			.slot = slot->as_id << 16 | slot->id,
			.dirty_bitmap = &slot->reported,
		};
		int ret = ioctl(vm_get_fd(t->vm), KVM_GET_DIRTY_LOG, &log);

		if (slot->tracked)
			TEST_ASSERT(!ret, "dirty log of slot 0x%x, errno: %i",
				    log.slot, errno);
		else
			TEST_ASSERT(ret == -1 && errno == ENOENT,
				    "dirty log of slot 0x%x: %i, errno: %i",
				    log.slot, ret, errno);
	}
}

/* What was written since the last look must be reported, and nothing else. */
static void look(struct test *t, const char *where)
{
	int i;

	if (t->ring.gfns)
		dirty_ring_collect(&t->ring, t->vm, UINT32_MAX, add_page, t);
	else
		collect_bitmap(t);

	for (i = 0; i < NR_SLOTS; i++) {
		struct slot *slot = &t->slots[i];
		unsigned long want = slot->tracked ? slot->want : 0;

		t->reports += __builtin_popcountl(slot->reported);
		slot->reported &= ~slot->may | want;
		if (slot->reported != want) {
			t->bad++;
			ksft_print_msg("round %u, %s: slot 0x%x: reported 0x%lx, written 0x%lx\n",
				       t->round, where,
				       slot->as_id << 16 | slot->id,
				       slot->reported, want);
		}
		slot->reported = 0;
		slot->want = 0;
		slot->may = 0;
	}
}

static void add_slot(struct test *t, int i, uint32_t as_id, uint32_t id,
		     uint64_t gpa, void *mem, bool tracked)
{
	struct slot *slot = &t->slots[i];

	slot->as_id = as_id;
	slot->id = id;
	slot->gpa = gpa;
	slot->pages = i == SMRAM ? SMRAM_PAGES : SLOT_PAGES;
	slot->tracked = tracked;
	slot->mem = mem ? mem : map_memory(slot->pages * 4096);
	vm_set_slot(t->vm, as_id << 16 | id,
		    tracked ? KVM_MEM_LOG_DIRTY_PAGES : 0, gpa,
		    slot->pages * 4096, slot->mem);
}

/* @tracked: a bit for each address space */
static void create_vm(struct test *t, bool ring, unsigned int tracked)
{
	const uint64_t shared_gpa = page_addr(SLOT_PAGES);
	const bool in_smm = tracked & BIT(SMM);
	const uint32_t entries = ring ? RING_ENTRIES : 0;
	struct kvm_vm *vm;

	vm = vm_create_with_rings(VM_MODE_DEFAULT, DEFAULT_GUEST_PHY_PAGES,
				  entries);
	vcpu_add_with_ring(vm, VCPU_ID, guest_code, &t->ring, entries);
	t->vm = vm;

	add_slot(t, OWN, 0, OWN_SLOT, MEM_GPA, NULL, tracked & BIT(0));
	add_slot(t, SHARED, 0, SHARED_SLOT, shared_gpa, NULL, tracked & BIT(0));
	add_slot(t, OWN_SMM, SMM, OWN_SLOT, MEM_GPA, NULL, in_smm);
	add_slot(t, SHARED_SMM, SMM, SHARED_SLOT, shared_gpa,
		 t->slots[SHARED].mem, in_smm);
	add_slot(t, SMRAM, SMM, SMRAM_SLOT, SMRAM_GPA, NULL, in_smm);

	virt_map(vm, MEM_GPA, MEM_GPA, 2 * SLOT_PAGES, 0);
	memcpy(t->slots[SMRAM].mem + SMI_ENTRY, smi_handler,
	       sizeof(smi_handler));
	vcpu_set_msr(vm, VCPU_ID, MSR_IA32_SMBASE, SMRAM_GPA);
}

static void free_vm(struct test *t)
{
	int i;

	if (t->ring.gfns)
		dirty_ring_unmap(&t->ring);
	kvm_vm_free(t->vm);
	for (i = 0; i < NR_SLOTS; i++)
		if (i != SHARED_SMM)
			munmap(t->slots[i].mem, t->slots[i].pages * 4096);
}

/* Tell the handler which pages to write, and send the SMI. */
static void send_smi(struct test *t, uint32_t pages)
{
	uint32_t *list = t->slots[SMRAM].mem + LIST_PAGE * 4096;
	unsigned int page;

	for (page = 0; page < 2 * SLOT_PAGES; page++)
		if (pages & BIT(page))
			*list++ = page_addr(page);
	*list = 0;

	vcpu_ioctl(t->vm, VCPU_ID, KVM_SMI, NULL);
}

static void run_to_io(struct test *t, uint16_t port)
{
	struct kvm_run *run = vcpu_state(t->vm, VCPU_ID);

	vcpu_run(t->vm, VCPU_ID);
	TEST_ASSERT(run->exit_reason == KVM_EXIT_IO &&
		    (!port || run->io.port == port), "round %u: exit %u (%s)",
		    t->round, run->exit_reason,
		    exit_reason_str(run->exit_reason));
	TEST_ASSERT(!(run->flags & KVM_RUN_X86_SMM) == (port != SMI_PORT),
		    "round %u: in SMM or not: flags 0x%x", t->round,
		    run->flags);
}

/* The library does not map the data of struct kvm_run. */
static void answer_in(struct test *t, uint8_t value)
{
	struct kvm_run *run = vcpu_state(t->vm, VCPU_ID);
	uint8_t *data;

	data = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
		    vcpu_get_fd(t->vm, VCPU_ID), run->io.data_offset);
	TEST_ASSERT(data != MAP_FAILED, "mmap failed, errno: %i", errno);
	*data = value;
	munmap(data, 4096);
}

static uint32_t count_of(struct test *t, int i, unsigned int page)
{
	return *(uint32_t *)(t->slots[i].mem + page * 4096);
}

/* The memory holds how often each page was written, in either mode. */
static void check_memory(struct test *t)
{
	unsigned int round, page;

	for (page = 0; page < SLOT_PAGES; page++) {
		uint32_t own = 0, own_smm = 0, shared = 0;

		for (round = 0; round < ARRAY_SIZE(rounds); round++) {
			const struct round *r = &rounds[round];

			own += !!(r->normal & BIT(page));
			own_smm += 2 * !!(r->smm & BIT(page));
			shared += !!(r->normal & BIT(page + SLOT_PAGES));
			shared += 2 * !!(r->smm & BIT(page + SLOT_PAGES));
		}
		TEST_ASSERT(count_of(t, OWN, page) == own &&
			    count_of(t, OWN_SMM, page) == own_smm &&
			    count_of(t, SHARED, page) == shared,
			    "page %u was not written as it should be", page);
	}
}

static void run_rounds(struct test *t)
{
	struct ucall uc;

	for (t->round = 0; t->round < ARRAY_SIZE(rounds); t->round++) {
		const struct round *r = &rounds[t->round];

		run_to_io(t, 0);
		TEST_ASSERT(get_ucall(t->vm, VCPU_ID, &uc) == UCALL_SYNC &&
			    uc.args[1] == t->round, "ucall %lu, round %lu",
			    uc.cmd, uc.args[1]);
		t->slots[OWN].want = r->normal & 0xffff;
		t->slots[SHARED].want = r->normal >> 16;
		if (!r->together)
			look(t, "outside SMM");

		send_smi(t, r->smm);
		run_to_io(t, SMI_PORT);
		t->slots[OWN_SMM].want = r->smm & 0xffff;
		t->slots[SHARED_SMM].want = r->smm >> 16;
		t->slots[SMRAM].want = BIT(SAVE_PAGE);
		t->slots[SMRAM].may = BIT(LIST_PAGE) | BIT(SMI_ENTRY / 4096);
		look(t, "in SMM");

		answer_in(t, 1);
		run_to_io(t, SMI_PORT);
		t->slots[OWN_SMM].want = r->smm & 0xffff;
		t->slots[SHARED_SMM].want = r->smm >> 16;
		look(t, "in SMM again");
		answer_in(t, 0);
	}

	run_to_io(t, 0);
	TEST_ASSERT(get_ucall(t->vm, VCPU_ID, &uc) == UCALL_DONE, "ucall %lu",
		    uc.cmd);
	look(t, "at the end");
	check_memory(t);
}

static void run_test(bool ring, unsigned int tracked, const char *name)
{
	struct test t = { 0 };

	if (ring && !dirty_ring_max_entries()) {
		ksft_test_result_skip("ring: not offered\n");
		return;
	}

	create_vm(&t, ring, tracked);
	run_rounds(&t);
	ksft_print_msg("%u pages reported\n", t.reports);
	ksft_test_result(!t.bad, "%s, tracked %s\n", ring ? "ring" : "bitmap",
			 name);
	free_vm(&t);
}

int main(void)
{
	int ring;

	if (!kvm_check_cap(KVM_CAP_X86_SMM) ||
	    kvm_check_cap(KVM_CAP_MULTI_ADDRESS_SPACE) < 2) {
		print_skip("no SMM");
		exit(KSFT_SKIP);
	}

	ksft_print_header();
	ksft_set_plan(6);
	for (ring = 0; ring <= 1; ring++) {
		run_test(ring, BIT(0) | BIT(SMM), "in both address spaces");
		run_test(ring, BIT(SMM), "in SMM only");
		run_test(ring, BIT(0), "outside SMM only");
	}

	if (ksft_get_fail_cnt())
		ksft_exit_fail();
	ksft_exit_pass();
}
