/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The pages that a guest writes, in order, and the check that these were
 * reported.
 */
#ifndef BENCH_PAGES_H
#define BENCH_PAGES_H

#include "guest.h"

struct pattern {
	const char *name;
	void (*fill)(uint32_t *list, uint32_t pages, uint64_t log_pages);
};

#define PATTERNS 2
extern const struct pattern patterns[PATTERNS];

/*
 * A kernel that loses or invents pages has no figures: end the program if
 * found[] and list[] are not the same pages, or if a page does not hold what
 * the last pass wrote. Sorts both.
 */
void check_pages(const struct guest *guest, uint32_t *list, uint32_t pages,
		 uint64_t *found, uint32_t n);

void sort_u64(uint64_t *values, uint32_t n);

#endif /* BENCH_PAGES_H */
