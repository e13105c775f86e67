// SPDX-License-Identifier: GPL-2.0-only
/*
 * An oracle for dirty page tracking. dirty_oracle.h says what it knows and
 * what it checks.
 */
#include <linux/compiler.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "dirty_oracle.h"

static uint32_t slot_id(struct oracle *o, struct oracle_page *page)
{
	return o->slots[page->slot].id;
}

/**
 * oracle_init() - begin
 * @o: the oracle
 * @nr_vcpus: how many vCPUs write
 * @page_size: the guest's page size
 */
void oracle_init(struct oracle *o, uint32_t nr_vcpus, uint64_t page_size)
{
	TEST_ASSERT(nr_vcpus <= ORACLE_MAX_VCPUS, "%u vCPUs are too many",
		    nr_vcpus);
	memset(o, 0, sizeof(*o));
	o->nr_vcpus = nr_vcpus;
	o->granule = getpagesize();
	o->page_size = max(page_size, o->granule);
}

/**
 * oracle_free() - end
 * @o: the oracle
 */
void oracle_free(struct oracle *o)
{
	uint32_t i;

	for (i = 0; i < o->nr_slots; i++)
		free(o->slots[i].index);
	free(o->pages);
	free(o->pending);
	free(o->reports);
}

/**
 * oracle_add_slot() - announce a slot with dirty logging
 * @o: the oracle
 * @id: its number, as KVM reports it
 * @npages: its size
 * @hva: its memory
 * @gva: the same, as the guest sees it
 */
void oracle_add_slot(struct oracle *o, uint32_t id, uint64_t npages, void *hva,
		     uint64_t gva)
{
	struct oracle_slot *slot = &o->slots[o->nr_slots];

	TEST_ASSERT(o->nr_slots < ORACLE_MAX_SLOTS, "too many slots");
	slot->id = id;
	slot->npages = npages;
	slot->hva = hva;
	slot->gva = gva;
	slot->index = malloc(npages * sizeof(*slot->index));
	TEST_ASSERT(slot->index, "Insufficient Memory");
	memset(slot->index, 0xff, npages * sizeof(*slot->index));
	o->nr_slots++;
}

/**
 * oracle_add_page() - announce a page that the guest may write
 * @o: the oracle
 * @slot: index of the slot
 * @offset: page in the slot; may be announced already
 *
 * Neighbours belong to different vCPUs, so that these share blocks of pages.
 */
void oracle_add_page(struct oracle *o, uint32_t slot, uint64_t offset)
{
	struct oracle_slot *s = &o->slots[slot];
	struct oracle_page *page;

	TEST_ASSERT(offset < s->npages, "no page %#lx in slot %u", offset, slot);
	if (s->index[offset] >= 0)
		return;

	o->pages = realloc(o->pages, (o->nr_pages + 1) * sizeof(*o->pages));
	o->pending = realloc(o->pending,
			     (o->nr_pages + 1) * sizeof(*o->pending));
	TEST_ASSERT(o->pages && o->pending, "Insufficient Memory");
	s->index[offset] = o->nr_pages;
	page = &o->pages[o->nr_pages++];

	memset(page, 0, sizeof(*page));
	page->slot = slot;
	page->offset = offset;
	page->vcpu = offset % o->nr_vcpus;
	page->word = s->hva + offset * o->page_size;
	page->gva = s->gva + offset * o->page_size;
}

/**
 * oracle_log_on() - logging has been switched on, all pages are protected
 * @o: the oracle
 */
void oracle_log_on(struct oracle *o)
{
	uint32_t i;

	for (i = 0; i < o->nr_pages; i++) {
		o->pages[i].floor = READ_ONCE(*o->pages[i].word);
		o->pages[i].copy = READ_ONCE(*o->pages[i].word);
		o->pages[i].touched = false;
	}
}

/**
 * oracle_script() - what a vCPU does next, once it has ended what it did
 * @o: the oracle
 * @vcpu: which
 * @steps: indices into oracle::pages, with ORACLE_READ set or not
 * @count: number of steps
 */
void oracle_script(struct oracle *o, uint32_t vcpu, const uint32_t *steps,
		   uint32_t count)
{
	struct oracle_vcpu *v = &o->vcpus[vcpu];

	v->steps = steps;
	v->count = count;
	v->start = v->done;
	v->finished = !count;
}

/* The page that step @n writes; NULL if it reads, or there is no such step. */
static struct oracle_page *step_page(struct oracle *o, struct oracle_vcpu *v,
				     uint64_t n)
{
	uint32_t step;

	if (v->finished)
		return NULL;
	step = v->steps[(n - v->start - 1) % v->count];
	return step & ORACLE_READ ? NULL : &o->pages[step];
}

/**
 * oracle_running() - take note of the steps that a vCPU has published
 * @o: the oracle
 * @vcpu: which
 * @progress: as published, read after the harvest that is to be judged
 */
void oracle_running(struct oracle *o, uint32_t vcpu, uint64_t progress)
{
	struct oracle_vcpu *v = &o->vcpus[vcpu];
	struct oracle_page *page;

	/* It may have stopped after a write, and not published that yet. */
	TEST_ASSERT(progress + 1 >= v->done && (progress <= v->done || v->count),
		    "vCPU %u: step %lu after %lu", vcpu, progress, v->done);

	/* The last time through the script covers what came before. */
	if (progress > v->done + v->count)
		v->done = progress - v->count;

	while (v->done < progress) {
		page = step_page(o, v, ++v->done);
		if (page) {
			page->last = v->done;
			page->touched = true;
		}
	}
}

/* Memory must be what the script made of it. */
static void check_memory(struct oracle *o, uint32_t vcpu)
{
	struct oracle_page *page;
	uint32_t i;

	for (i = 0; i < o->nr_pages; i++) {
		page = &o->pages[i];
		TEST_ASSERT(page->vcpu != vcpu || READ_ONCE(*page->word) == page->last,
			    "slot %#x page %#lx holds %lu, %lu was written (step %lu)",
			    slot_id(o, page), page->offset,
			    READ_ONCE(*page->word), page->last,
			    o->vcpus[vcpu].done);
	}
}

/**
 * oracle_stopped() - take note of all steps of a vCPU that does not run
 * @o: the oracle
 * @vcpu: which
 * @progress: as published
 * @finished: it has reached the end of its script
 */
void oracle_stopped(struct oracle *o, uint32_t vcpu, uint64_t progress,
		    bool finished)
{
	struct oracle_vcpu *v = &o->vcpus[vcpu];
	struct oracle_page *page;

	oracle_running(o, vcpu, progress);
	page = finished ? NULL : step_page(o, v, progress + 1);
	if (page && READ_ONCE(*page->word) == progress + 1)
		oracle_running(o, vcpu, progress + 1);
	v->finished |= finished;

	check_memory(o, vcpu);
}

static struct oracle_slot *find_slot(struct oracle *o, uint32_t id)
{
	uint32_t i;

	for (i = 0; i < o->nr_slots; i++) {
		if (o->slots[i].id == id)
			return &o->slots[i];
	}
	TEST_FAIL("slot %#x reported, which is not logged", id);
	return NULL;
}

/**
 * oracle_report() - KVM has reported a page
 * @o: the oracle
 * @vcpu: in whose ring, or ORACLE_ANY_VCPU
 * @slot: the slot's number, as reported
 * @offset: the page in the slot, as reported
 */
void oracle_report(struct oracle *o, uint32_t vcpu, uint32_t slot,
		   uint64_t offset)
{
	struct oracle_slot *s = find_slot(o, slot);
	uint64_t page = offset / (o->page_size / o->granule);

	TEST_ASSERT(page < s->npages,
		    "slot %#x page %#lx reported, it has only %#lx", slot,
		    offset, s->npages);
	TEST_ASSERT(s->index[page] >= 0 &&
		    !(offset % (o->page_size / o->granule)),
		    "slot %#x page %#lx reported, the guest never wrote it",
		    slot, offset);
	TEST_ASSERT(vcpu == ORACLE_ANY_VCPU ||
		    o->pages[s->index[page]].vcpu == vcpu,
		    "slot %#x page %#lx reported by vCPU %u, another wrote it",
		    slot, offset, vcpu);

	if (o->nr_reports == o->max_reports) {
		o->max_reports = o->max_reports * 2 + 64;
		o->reports = realloc(o->reports, o->max_reports *
				     sizeof(*o->reports));
		TEST_ASSERT(o->reports, "Insufficient Memory");
	}
	o->reports[o->nr_reports++] = &o->pages[s->index[page]];
}

static void judge(struct oracle *o, struct oracle_page *page)
{
	struct oracle_vcpu *v = &o->vcpus[page->vcpu];

	if (page->last <= page->floor) {
		TEST_ASSERT(page == step_page(o, v, v->done + 1),
			    "slot %#x page %#lx reported, but not written: holds %lu, held %lu (step %lu)",
			    slot_id(o, page), page->offset, page->last,
			    page->floor, v->done);
		o->early++;
	}

	o->total++;
	if (page->pending) {
		o->again++;
		return;
	}
	page->pending = true;
	o->pending[o->nr_pending++] = page;
}

/**
 * oracle_judge() - judge all reports since the last time
 * @o: the oracle
 *
 * oracle_running() or oracle_stopped() must have been called for all vCPUs
 * after the reports were taken.
 */
void oracle_judge(struct oracle *o)
{
	uint32_t i;

	for (i = 0; i < o->nr_reports; i++)
		judge(o, o->reports[i]);
	o->nr_reports = 0;
}

/**
 * oracle_check_missed() - assert that no write went unreported
 * @o: the oracle
 *
 * No vCPU may run, and all of KVM's reports must be judged.
 */
void oracle_check_missed(struct oracle *o)
{
	struct oracle_page *page;
	uint32_t i;

	for (i = 0; i < o->nr_pages; i++) {
		page = &o->pages[i];
		TEST_ASSERT(page->pending || READ_ONCE(*page->word) == page->copy,
			    "slot %#x page %#lx written, but not reported: holds %lu, held %lu (step %lu)",
			    slot_id(o, page), page->offset,
			    READ_ONCE(*page->word), page->copy,
			    o->vcpus[page->vcpu].done);
	}
}

/**
 * oracle_before_harvest() - pages are to be reported and write-protected at
 * once
 * @o: the oracle
 *
 * Which ones is not known before, so this may be any page.
 */
void oracle_before_harvest(struct oracle *o)
{
	uint32_t i;

	for (i = 0; i < o->nr_pages; i++)
		o->pages[i].before = READ_ONCE(*o->pages[i].word);
}

/**
 * oracle_before_protect() - the reported pages are to be write-protected
 * @o: the oracle
 */
void oracle_before_protect(struct oracle *o)
{
	uint32_t i;

	for (i = 0; i < o->nr_pending; i++)
		o->pending[i]->before = READ_ONCE(*o->pending[i]->word);
}

/**
 * oracle_protected() - all reported pages have been write-protected
 * @o: the oracle
 */
void oracle_protected(struct oracle *o)
{
	struct oracle_page *page;

	while (o->nr_pending) {
		page = o->pending[--o->nr_pending];
		page->pending = false;
		page->floor = page->before;
		page->copy = READ_ONCE(*page->word);
	}
}
