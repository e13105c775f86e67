// SPDX-License-Identifier: GPL-2.0
/*
 * dirty_ring_hostile_test: forged entries, while nobody else is at work.
 */
#include <linux/compiler.h>
#include <linux/kernel.h>

#include "hostile.h"

/*
 * Each forgery by itself: the test knows exactly how many entries a reset
 * takes.
 */

static void forge_exactly(struct rng *rng, uint64_t *ignored)
{
	struct dirty_ring *ring = &target.vcpus[CLOCK_VCPU].ring;
	uint32_t count = rng_below(rng, dirty_ring_soft_limit(ring->entries));
	uint32_t good = rng_below(rng, count + 1);
	struct kvm_dirty_gfn *stop;
	uint32_t i;

	push_entries(CLOCK_VCPU, count);
	forge_ring(rng, ring);
	for (i = 0; i < count; i++)
		*ignored += !names_logged_page(&ring->gfns[(ring->next + i) %
							   ring->entries]);
	stop = &ring->gfns[(ring->next + good) % ring->entries];

	/* The first entry that is not collected ends the reset. */
	stop->flags &= ~KVM_DIRTY_GFN_F_RESET;
	expect_reset(good);
	stop->flags |= KVM_DIRTY_GFN_F_RESET;
	expect_reset(count - good);
	expect_reset(0);
	ring->next += count;
}

void test_exact(void)
{
	uint64_t before = reset_entries, ignored = 0;
	long stat = vm_get_stat(target.vm, "dirty_ring_ignored_entry");
	struct rng rng;

	rng_init(&rng, 0);
	while (*forged < min_forged / 4)
		forge_exactly(&rng, &ignored);
	if (stat != -1)
		ring_vm_check_stat(&target, "dirty_ring_ignored_entry",
				   stat + ignored);
	test_passed("each forgery by itself: %lu forged, %lu reset, %lu ignored\n",
		    *forged, reset_entries - before, ignored);
}

/*
 * Memory that is not logged. The test counts the page faults of guest writes
 * there, and where the CPU logs pages (PML), how often its log is full.
 */

#define FAULT_EVENT	"kvm_page_fault"
#define PML_EVENT	"kvm_pml_full"

static bool start_trace(void)
{
	char filter[128];

	snprintf(filter, sizeof(filter),
		 "fault_address >= 0x%lx && fault_address < 0x%lx",
		 UNLOGGED_MEM, UNLOGGED_MEM + UNLOGGED_PAGES * RING_VM_PAGE_SIZE);
	return trace_clear() && trace_event_enable(FAULT_EVENT, filter) &&
	       trace_event_enable(PML_EVENT, NULL);
}

static void stop_trace(void)
{
	trace_event_disable(FAULT_EVENT);
	trace_event_disable(PML_EVENT);
}

struct faults {
	unsigned int known_pages;
	unsigned int new_page;
	unsigned int pml_full;
};

static void count_fault(const char *line, void *data)
{
	const uint64_t new_page = UNLOGGED_MEM + (UNLOGGED_PAGES - 1) *
						 RING_VM_PAGE_SIZE;
	static const char fault[] = FAULT_EVENT ": address ";
	const char *address = strstr(line, fault);
	struct faults *faults = data;

	if (strstr(line, PML_EVENT ":"))
		faults->pml_full++;
	else if (!address)
		return;
	else if (strtoul(address + strlen(fault), NULL, 16) >= new_page)
		faults->new_page++;
	else
		faults->known_pages++;
}

/* Name all its pages, in each way that could lead there. */
static void name_unlogged(void)
{
	const uint64_t distance = (UNLOGGED_MEM - RING_VM_MEM) /
				  RING_VM_PAGE_SIZE;
	const struct kvm_dirty_gfn names[] = {
		{ .slot = UNLOGGED_SLOT },
		{ .slot = 1u << 16 | UNLOGGED_SLOT },
		{ .slot = RING_VM_SLOT, .offset = distance },
		{ .slot = RING_VM_SLOT, .offset = distance + (1ull << 52) },
		{ .slot = RING_VM_SLOT, .offset = distance + (1ull << 32) },
	};
	struct dirty_ring *ring = &target.vcpus[CLOCK_VCPU].ring;
	struct kvm_dirty_gfn *gfn;
	uint32_t i, page;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		push_entries(CLOCK_VCPU, UNLOGGED_PAGES);
		for (page = 0; page < UNLOGGED_PAGES; page++) {
			gfn = &ring->gfns[ring->next++ % ring->entries];
			*gfn = names[i];
			gfn->offset += page;
			gfn->flags = KVM_DIRTY_GFN_F_RESET;
		}
		expect_reset(UNLOGGED_PAGES);
	}
	*forged += ARRAY_SIZE(names) * UNLOGGED_PAGES;
}

void test_unlogged(void)
{
	struct faults faults = {};

	name_unlogged();
	if (!start_trace()) {
		stop_trace();
		test_skipped("not logged: KVM cannot be traced here\n");
		return;
	}
	run_job(UNLOGGED_MEM, UNLOGGED_PAGES, UNLOGGED_PAGES);
	stop_trace();
	trace_read(count_fault, &faults);
	TEST_ASSERT(faults.new_page, "no fault was seen of a page that is new");
	TEST_ASSERT(!faults.known_pages && !faults.pml_full,
		    "%u faults and %u times PML full, where nothing is logged",
		    faults.known_pages, faults.pml_full);
	test_passed("not logged: %lu pages written, no fault but %u of a new page\n",
		    UNLOGGED_PAGES, faults.new_page);
}
