// SPDX-License-Identifier: GPL-2.0
/*
 * dirty_log_test: what vCPUs write, in which order.
 */
#include <linux/compiler.h>
#include <linux/kernel.h>

#include "dirty_log.h"

/* In a step: read the page. */
#define GUEST_READ		1

static void guest_step(struct guest_script *script, uint64_t step, uint64_t n)
{
	uint64_t *word = (void *)(step & ~GUEST_READ);

	if (step & GUEST_READ)
		READ_ONCE(*word);
	else
		WRITE_ONCE(*word, n);
	WRITE_ONCE(script->progress, n);

	if (n >= READ_ONCE(script->goal)) {
		WRITE_ONCE(script->goal, NO_GOAL);
		GUEST_SYNC(AT_GOAL);
	}
}

void guest_code(struct guest_script *script)
{
	uint64_t i, n = 0;

#ifdef __x86_64__
	/* Emulated VT-x may hold back the host's interrupts otherwise. */
	asm volatile("sti");
#endif

	for (;;) {
		do {
			for (i = 0; i < READ_ONCE(script->count); i++)
				guest_step(script, script->steps[i], ++n);
		} while (READ_ONCE(script->endless));
		GUEST_SYNC(AT_END);
	}
}

static void shuffle(uint32_t *list, uint32_t count)
{
	uint32_t i, j, swap;

	for (i = count; i > 1; i--) {
		j = random() % i;
		swap = list[i - 1];
		list[i - 1] = list[j];
		list[j] = swap;
	}
}

static uint32_t fill_upwards(struct vcpu *v, uint32_t *steps)
{
	memcpy(steps, v->own, v->nr_own * sizeof(*steps));
	return v->nr_own;
}

static uint32_t fill_downwards(struct vcpu *v, uint32_t *steps)
{
	uint32_t i;

	for (i = 0; i < v->nr_own; i++)
		steps[i] = v->own[v->nr_own - 1 - i];
	return v->nr_own;
}

static uint32_t fill_random(struct vcpu *v, uint32_t *steps)
{
	shuffle(steps, fill_upwards(v, steps));
	return v->nr_own / 2;
}

/* Pages that are 64 apart follow each other. */
static uint32_t fill_across(struct vcpu *v, uint32_t *steps)
{
	uint32_t i, bit, count = 0;

	for (bit = 0; bit < 64; bit++) {
		for (i = 0; i < v->nr_own; i++) {
			if (oracle.pages[v->own[i]].offset % 64 == bit)
				steps[count++] = v->own[i];
		}
	}
	return count;
}

/* The first and the last pages of blocks of 64. */
static uint32_t fill_edges(struct vcpu *v, uint32_t *steps)
{
	uint32_t i, count = 0;

	for (i = v->nr_own; i-- > 0;) {
		if ((oracle.pages[v->own[i]].offset + 2) % 64 < 4)
			steps[count++] = v->own[i];
	}
	return count;
}

static uint32_t fill_sparse(struct vcpu *v, uint32_t *steps)
{
	uint32_t i, count = 0;

	for (i = random() % 7; i < v->nr_own; i += 7)
		steps[count++] = v->own[i];
	return count;
}

/* A few pages. */
static uint32_t fill_some(struct vcpu *v, uint32_t *steps)
{
	fill_random(v, steps);
	return 48;
}

/* A few pages, side by side. */
static uint32_t fill_run(struct vcpu *v, uint32_t *steps)
{
	memcpy(steps, v->own + random() % (v->nr_own - 150),
	       150 * sizeof(*steps));
	return 150;
}

/* The pages that a round writes, and their order: once, or over and over. */
static const struct pattern {
	uint32_t (*fill)(struct vcpu *v, uint32_t *steps);
	bool endless;
} patterns[] = {
	{ fill_upwards },
	{ fill_random },
	{ fill_some, true },
	{ fill_across },
	{ fill_run, true },
	{ fill_edges },
	{ fill_downwards },
	{ fill_sparse },
};

const unsigned int nr_patterns = ARRAY_SIZE(patterns);

/*
 * Add a read after some steps. A read is reported only if it maps the page, so
 * read pages that were written before, but not in this round.
 */
static uint32_t add_reads(struct vcpu *v, uint32_t *steps, uint32_t *writes,
			  uint32_t count)
{
	bool *used = calloc(oracle.nr_pages, sizeof(*used));
	uint32_t i, page, n = 0;

	TEST_ASSERT(used, "Insufficient Memory");
	for (i = 0; i < count; i++)
		used[writes[i]] = true;
	for (i = 0; i < count; i++) {
		steps[n++] = writes[i];
		page = v->own[random() % v->nr_own];
		if (oracle.pages[page].touched && !used[page])
			steps[n++] = page | ORACLE_READ;
	}
	free(used);

	return n;
}

static void write_script(struct vcpu *v, const struct pattern *pattern)
{
	uint32_t writes[MAX_STEPS / 2], i;

	v->nr_steps = add_reads(v, v->steps, writes, pattern->fill(v, writes));
	for (i = 0; i < v->nr_steps; i++)
		v->script->steps[i] =
			oracle.pages[v->steps[i] & ~ORACLE_READ].gva |
			(v->steps[i] & ORACLE_READ ? GUEST_READ : 0);

	v->script->count = v->nr_steps;
	v->script->endless = pattern->endless;
	v->done = false;
	oracle_script(&oracle, v - vcpus, v->steps, v->nr_steps);
}

/**
 * write_scripts() - give vCPUs something to write
 * @pattern: number of the pattern
 *
 * Only the first vCPU runs without end: all of them would leave little CPU
 * time.
 */
void write_scripts(unsigned int pattern)
{
	struct vcpu *v;

	endless = patterns[pattern].endless;
	for_each_vcpu(v) {
		if (!endless || v == vcpus)
			write_script(v, &patterns[pattern]);
	}
}

/**
 * end_scripts() - end the scripts that run without end
 */
void end_scripts(void)
{
	struct vcpu *v;

	for_each_vcpu(v)
		WRITE_ONCE(v->script->endless, false);
}
