// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>
#include <stdlib.h>

#include "pages.h"

/* splitmix64: the same numbers in every run. */
static uint64_t random_state;

static uint64_t random_below(uint64_t limit)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return (z ^ z >> 31) % limit;
}

/* From the whole slot, each page at most once. */
static void fill_random(uint32_t *list, uint32_t pages, uint64_t log_pages)
{
	uint8_t *drawn = calloc(log_pages, 1);
	uint32_t i = 0, page;

	if (!drawn)
		vmm_fail("out of memory");
	random_state = 1;
	while (i < pages) {
		page = random_below(log_pages);
		if (!drawn[page])
			list[i++] = page;
		drawn[page] = 1;
	}
	free(drawn);
}

static void fill_sequential(uint32_t *list, uint32_t pages, uint64_t log_pages)
{
	uint32_t i;

	(void)log_pages;
	for (i = 0; i < pages; i++)
		list[i] = i;
}

const struct pattern patterns[PATTERNS] = {
	{ "random", fill_random },
	{ "sequential", fill_sequential },
};

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

void sort_u64(uint64_t *values, uint32_t n)
{
	qsort(values, n, sizeof(*values), compare_u64);
}

/* A page may be reported twice, which is no error, but is worth a line. */
static uint32_t drop_repeated(uint64_t *found, uint32_t n)
{
	uint32_t i, unique = 0;

	for (i = 0; i < n; i++)
		if (!unique || found[i] != found[unique - 1])
			found[unique++] = found[i];
	if (unique != n)
		printf("# %u reports are repetitions\n", n - unique);
	return unique;
}

void check_pages(const struct guest *guest, uint32_t *list, uint32_t pages,
		 uint64_t *found, uint32_t n)
{
	uint32_t i;

	qsort(list, pages, sizeof(*list), compare_u32);
	sort_u64(found, n);
	n = drop_repeated(found, n);
	if (n != pages)
		vmm_fail("%u pages were written, %u reported", pages, n);
	for (i = 0; i < pages; i++) {
		if (found[i] != list[i])
			vmm_fail("page %#llx was reported, expected is %#x",
				 (unsigned long long)found[i], list[i]);
		if (guest_word(guest, list[i]) != guest->passes)
			vmm_fail("page %#x does not hold what was written",
				 list[i]);
	}
}
