// SPDX-License-Identifier: GPL-2.0-only
/*
 * nested_dirty_test: the judge, which compares what was written to what was
 * reported.
 */
#include <string.h>

#include <linux/bitmap.h>

#include "test_util.h"
#include "nested_dirty.h"
#include "kselftest.h"

#define MAX_COMPLAINTS	20

static void complain(struct test *t, struct memory *mem, uint64_t page,
		     const char *what)
{
	if (t->bad++ < MAX_COMPLAINTS)
		ksft_print_msg("pass %u step %u: page %lu of %s: %s\n", t->pass,
			       t->at, page, mem->name, what);
}

static const char *why_unchanged(struct test *t, struct memory *mem,
				 uint64_t page)
{
	if (mem->may[page])
		return mem->may[page];

	/*
	 * A page that is accessed for the first time is mapped for writing
	 * where it can be, and is reported then. L1 and L2 have mappings of
	 * their own.
	 */
	if (mem->slot != TEST_SLOT && mem->mapped[page] < 2) {
		mem->mapped[page]++;
		return "mapped for the first time, by L1 or by L2";
	}

	/*
	 * Shadow paging syncs all of a table that L1 has changed, and marks
	 * each page that the table maps as dirty. A ring has no room for that.
	 */
	if (t->tracking.tracker->reports_synced && mem->slot == TEST_SLOT &&
	    t->was_remapped && t->touched & BIT(page))
		return "synced after L1 changed the table that maps it";

	return NULL;
}

static void check_unchanged(struct test *t, struct memory *mem, uint64_t page)
{
	const char *why = why_unchanged(t, mem, page);
	struct reason *reason = t->unchanged;

	if (!why) {
		complain(t, mem, page, "reported, not written");
		return;
	}

	while (reason->why && reason->why != why)
		reason++;
	reason->why = why;
	reason->pages++;
}

static void look_at(struct test *t, struct memory *mem)
{
	uint64_t page;

	for (page = 0; page < mem->npages; page++) {
		char *copy = mem->copy + page * 4096;
		char *now = mem->hva + page * 4096;
		bool reported = test_bit(page, mem->reported);
		bool changed = memcmp(now, copy, 4096);

		t->pages += reported;
		if (changed && !reported)
			complain(t, mem, page, "written, not reported");
		if (reported && !changed)
			check_unchanged(t, mem, page);
		if (changed)
			memcpy(copy, now, 4096);
	}
	bitmap_zero(mem->reported, mem->npages);
}

/* The guest has done what the script says, and nothing else. */
static void check_script(struct test *t)
{
	const uint64_t others = BIT(L2_TABLE_PAGE) |
				(t->variant->pml ? BIT(PML_PAGE) : 0);
	struct memory *mem = &t->mem[TEST_SLOT];
	uint64_t page, changed = 0;

	for (page = 0; page < TEST_PAGES; page++)
		if (memcmp(mem->hva + page * 4096, mem->copy + page * 4096,
			   4096))
			changed |= BIT(page);

	TEST_ASSERT((changed & ~others) == t->written,
		    "step %u: pages 0x%lx changed, 0x%lx written", t->at,
		    changed, t->written);
	t->written = 0;
}

void look(struct test *t)
{
	int i;

	dirty_tracking_collect(&t->tracking);
	check_script(t);
	for (i = 0; i < ARRAY_SIZE(t->mem); i++)
		look_at(t, &t->mem[i]);
	/* The first look of a pass sees the last of what was synced. */
	if (t->at == 1)
		t->was_remapped = false;
	t->looks++;
}

/* Follow the script to the step at which the guest is. */
void follow(struct test *t, unsigned int to)
{
	while (t->at != to) {
		const struct step *step = &script[t->at++];
		uint64_t pages = step->pages;

		if (step->op == OP_DONE) {
			t->at = 0;
			t->pass++;
		}
		if (step->op == OP_REMAP) {
			t->remapped = !t->remapped;
			t->was_remapped = true;
		}
		if (pages & BIT(WINDOW) && t->remapped)
			pages ^= BIT(WINDOW) | BIT(WINDOW + 1);
		t->touched |= pages;
		if (step->op == OP_WRITE || step->op == OP_INS) {
			t->written |= pages;
			if (step->who == BY_L2)
				t->by_l2 |= pages;
		}
	}
}

/*
 * KVM has logged for L1, as hardware would: each page that L2 wrote, as a GPA
 * of L2, and the page table that KVM has walked for L2.
 */
void check_l1_pml(struct test *t)
{
	uint64_t *log = (void *)(t->mem[TEST_SLOT].hva + PML_PAGE * 4096);
	const uint64_t window = BIT(WINDOW) | BIT(WINDOW + 1);
	uint64_t logged = 0;
	int i;

	for (i = 511; i >= 0 && log[i]; i--) {
		uint64_t page = (log[i] - TEST_MEM) / 4096;

		TEST_ASSERT(!(log[i] % 4096) && page < TEST_PAGES,
			    "L1's PML entry %d is 0x%lx", i, log[i]);
		logged |= BIT(page ^ L2_SWAP);
	}
	/* Its GPA did not change by what L1 mapped there. */
	logged |= logged & window ? window : 0;

	if ((logged & ~BIT(L2_TABLE_PAGE)) != t->by_l2) {
		t->bad++;
		ksft_print_msg("L1's PML: pages 0x%lx logged, 0x%lx written\n",
			       logged, t->by_l2);
	}
}
