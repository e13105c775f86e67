// SPDX-License-Identifier: GPL-2.0
/*
 * What a dirtied page costs, in ticks of the time-stamp counter: the run that
 * dirties it (KVM_RUN, write faults included) and its collection (harvest and
 * re-protect), by dirty bitmap and by dirty ring. README.md says how the
 * figures are read.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "marks.h"
#include "pages.h"
#include "trackers.h"

#define MAX_ROUNDS	64
#define MAX_SIZES	8
#define SMALL_RING	1024
#define SMALL_CALLS	1000

/* What is measured of a round. */
enum { RUN, HARVEST, REPROTECT, COLLECT, PARTS };

static struct options {
	uint32_t pages, rounds, warmup;
	const char *tracker, *pattern;		/* NULL: all */
	uint32_t mib[MAX_SIZES], sizes;
} opt = {
	.pages = 20000, .rounds = 3, .warmup = 2,
	.mib = { 1 << 10, 64 << 10 },
};

static uint32_t list[MAX_LIST];
static uint64_t found[MAX_FOUND];
static uint64_t cost[PARTS][MAX_ROUNDS];

static inline uint64_t ticks(void)
{
	uint32_t lo, hi;

	asm volatile("lfence; rdtsc; lfence" : "=a"(lo), "=d"(hi) : : "memory");
	return (uint64_t)hi << 32 | lo;
}

static void one_round(struct guest *guest, const struct tracker *tracker,
		      uint32_t round)
{
	uint64_t start, ran, harvested, end;
	uint32_t reason, n;

	start = ticks();
	mark(MARK_RUN);
	reason = guest_run(guest);
	mark(MARK_END);
	ran = ticks();
	mark(MARK_COLLECT);
	n = tracker->harvest(guest, found);
	harvested = ticks();
	tracker->reprotect(guest, n);
	mark(MARK_END);
	end = ticks();

	if (reason != KVM_EXIT_HLT)
		vmm_fail("the guest left with exit reason %u", reason);
	check_pages(guest, list, opt.pages, found, n);
	cost[RUN][round] = ran - start;
	cost[HARVEST][round] = harvested - ran;
	cost[REPROTECT][round] = end - harvested;
	cost[COLLECT][round] = end - ran;
}

/* The best round, or the one in the middle. */
static double best(int part)
{
	return (double)cost[part][0] / opt.pages;
}

static double median(int part)
{
	return (double)cost[part][opt.rounds / 2] / opt.pages;
}

static void report(const char *tracker, const char *pattern, uint32_t mib)
{
	int part;

	for (part = 0; part < PARTS; part++)
		sort_u64(cost[part], opt.rounds);
	printf("cost,%s,%s,%g,%.1f,%.1f,%.1f,%.1f,%.1f,%.1f\n",
	       tracker, pattern, mib / 1024.0, best(RUN), best(COLLECT),
	       median(RUN), median(COLLECT), best(HARVEST), best(REPROTECT));
	fflush(stdout);
}

static void measure(const struct tracker *tracker,
		    const struct pattern *pattern, uint32_t mib)
{
	uint64_t log_pages = (uint64_t)mib << 20 >> PAGE_SHIFT;
	struct guest guest;
	uint32_t i;

	pattern->fill(list, opt.pages, log_pages);
	guest_open(&guest);
	tracker->enable(&guest);
	tracker->prepare(log_pages);
	guest_start(&guest, log_pages, list, opt.pages);
	for (i = 0; i < opt.warmup; i++)
		one_round(&guest, tracker, 0);
	for (i = 0; i < opt.rounds; i++)
		one_round(&guest, tracker, i);
	guest_close(&guest);
	report(tracker->name, pattern->name, mib);
}

static void small_reset(struct guest *guest)
{
	vm_must(&guest->vm, VM_IOCTL(&guest->vm, KVM_RESET_DIRTY_RINGS, 0));
}

static void small_full(struct guest *guest)
{
	if (guest_run(guest) != KVM_EXIT_DIRTY_RING_FULL)
		vmm_fail("a ring of %u entries should be full", SMALL_RING);
}

static void measure_small(struct guest *guest, const char *name,
			  void (*fn)(struct guest *guest))
{
	uint64_t start;
	uint32_t i;

	fn(guest);
	start = ticks();
	for (i = 0; i < SMALL_CALLS; i++)
		fn(guest);
	printf("small,ring,%s,%.1f\n", name,
	       (double)(ticks() - start) / SMALL_CALLS);
}

/* What a ring costs beside its pages. */
static void measure_ring_calls(void)
{
	struct guest guest;

	patterns[1].fill(list, MAX_LIST, MAX_LIST);
	guest_open(&guest);
	guest_enable_ring(&guest, SMALL_RING);
	guest_start(&guest, MAX_LIST, list, MAX_LIST);
	measure_small(&guest, "reset of nothing", small_reset);
	measure_small(&guest, "exit from a full ring", small_full);
	guest_close(&guest);
}

static bool chosen(const char *wanted, const char *name)
{
	return !wanted || !strcmp(wanted, name);
}

static void measure_tracker(const struct tracker *tracker)
{
	uint32_t p, s;

	if (!guest_offers(tracker->cap)) {
		printf("# %s: not offered by this kernel\n", tracker->name);
		return;
	}
	for (s = 0; s < opt.sizes; s++)
		for (p = 0; p < PATTERNS; p++)
			if (chosen(opt.pattern, patterns[p].name))
				measure(tracker, &patterns[p], opt.mib[s]);
	if (tracker->cap == KVM_CAP_DIRTY_LOG_RING)
		measure_ring_calls();
}

static void usage(void)
{
	vmm_fail("dirty_cost [-m bitmap|ring] [-p random|sequential]\n"
		 "\t[-s MIB]... [-n PAGES] [-r ROUNDS] [-w WARM-UP ROUNDS]");
}

static uint32_t number(const char *text, uint32_t min, uint32_t max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (end == text || *end || n < min || n > max)
		vmm_fail("'%s' is not one of %u to %u", text, min, max);
	return n;
}

static const char *one_of(const char *word, const char *a, const char *b)
{
	if (strcmp(word, a) && strcmp(word, b))
		vmm_fail("'%s' is neither %s nor %s", word, a, b);
	return word;
}

static void parse(int argc, char **argv)
{
	uint32_t s;
	int c;

	while ((c = getopt(argc, argv, "m:p:s:n:r:w:")) != -1) {
		if (c == 'm')
			opt.tracker = one_of(optarg, trackers[0].name,
					     trackers[1].name);
		else if (c == 'p')
			opt.pattern = one_of(optarg, patterns[0].name,
					     patterns[1].name);
		else if (c == 's' && opt.sizes < MAX_SIZES)
			opt.mib[opt.sizes++] = number(optarg, 1,
						      MAX_LOG_GIB << 10);
		else if (c == 'n')
			opt.pages = number(optarg, 1, MAX_LIST);
		else if (c == 'r')
			opt.rounds = number(optarg, 1, MAX_ROUNDS);
		else if (c == 'w')
			opt.warmup = number(optarg, 0, MAX_ROUNDS);
		else
			usage();
	}
	if (optind != argc)
		usage();
	if (!opt.sizes)
		opt.sizes = 2;
	for (s = 0; s < opt.sizes; s++)
		if ((uint64_t)opt.mib[s] << 20 >> PAGE_SHIFT < opt.pages)
			vmm_fail("%u pages do not fit %u MiB", opt.pages,
				 opt.mib[s]);
}

int main(int argc, char **argv)
{
	uint32_t i;

	parse(argc, argv);
	for (i = 0; i < TRACKERS; i++)
		if (chosen(opt.tracker, trackers[i].name))
			measure_tracker(&trackers[i]);
	return 0;
}
