/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ways to learn of dirty pages, and to have later writes reported again.
 */
#ifndef BENCH_TRACKERS_H
#define BENCH_TRACKERS_H

#include <stdbool.h>

#include "guest.h"

#define RING_ENTRIES	65536U
#define MAX_FOUND	RING_ENTRIES

struct tracker {
	const char *name;
	int cap;
	void (*enable)(struct guest *guest);	/* before guest_start() */
	void (*prepare)(uint64_t log_pages);	/* before the first pass */
	/* Store the number of each dirty page; returns how many there were. */
	uint32_t (*harvest)(struct guest *guest, uint64_t *found);
	void (*reprotect)(struct guest *guest, uint32_t harvested);
};

#define TRACKERS 2
extern const struct tracker trackers[TRACKERS];

#endif /* BENCH_TRACKERS_H */
