// SPDX-License-Identifier: GPL-2.0-only
/*
 * Numbers and values of fields. A state has numbers of its own, so that what
 * KVM answers to one state does not change the next.
 */
#include <string.h>

#include "generated_states.h"

static uint64_t mix(uint64_t x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	return x ^ (x >> 32);
}

struct rng rng_of(uint64_t seed, uint64_t mode, uint64_t round,
		  uint64_t thread, uint64_t state)
{
	struct rng rng = { mix(seed + 1) };

	rng.state = mix(rng.state + mode);
	rng.state = mix(rng.state + round);
	rng.state = mix(rng.state + thread);
	rng.state = mix(rng.state + state);
	return rng;
}

uint64_t rnd(struct rng *rng)
{
	rng->state += 0x9e3779b97f4a7c15ull;
	return mix(rng->state);
}

uint64_t below(struct rng *rng, uint64_t n)
{
	return rnd(rng) % n;
}

bool one_in(struct rng *rng, unsigned int n)
{
	return !below(rng, n);
}

/* An address in the guest's memory, often at an edge of something. */
uint64_t gen_gpa(struct rng *rng)
{
	static const uint64_t edges[] = {
		0, GPA_DATA, GPA_DATA + SLOT_SIZE, GPA_DATA + 2 * SLOT_SIZE,
		GPA_DATA + 3 * SLOT_SIZE, GPA_END, GPA_BLOCK + BLOCK_IO_BITMAP,
		0xfee00000, 0xfee00300, 0xfec00000, 0xfffbc000,
		0x100000000, 0x80000000,
	};
	uint64_t gpa;

	switch (below(rng, 4)) {
	case 0:
		return GPA_DATA + below(rng, GPA_END - GPA_DATA);
	case 1:
		return (GPA_DATA + below(rng, GPA_END - GPA_DATA)) & ~0xfffull;
	case 2:
		return GPA_END - below(rng, 32);
	}
	gpa = edges[below(rng, ARRAY_LEN(edges))];
	if (!one_in(rng, 3))
		gpa += below(rng, 33) - 16;
	return gpa;
}

uint64_t gen_value(struct rng *rng, uint64_t old)
{
	static const uint64_t edges[] = {
		0x7fffffffffffull, 0x800000000000ull, 0xffff800000000000ull,
		0xffff7fffffffffffull, 0xffffffff80000000ull, 0xffffffffull,
		0x100000000ull, 0x7fffffffull, 0x80000000ull, 0xfff, 0x1000,
		0x1fffff, 0x200000, 0xffff, 0x10000, 0x7fffffffffffffffull,
		0x8000000000000000ull, 0xaaaaaaaaaaaaaaaaull,
	};

	switch (below(rng, 12)) {
	case 0:
		return 0;
	case 1:
		return ~0ull;
	case 2:
		return edges[below(rng, ARRAY_LEN(edges))];
	case 3:
		return 1ull << below(rng, 64);
	case 4:
		return (1ull << below(rng, 64)) - 1;
	case 5:
		return (1ull << caps.maxphyaddr) - below(rng, 2) * PAGE_SIZE;
	case 6:
		return gen_gpa(rng);
	case 7:
		return below(rng, 256);
	case 8:
		return old + below(rng, 3) - 1;
	case 9:
		return rnd(rng);
	default:
		return old ^ (1ull << below(rng, 64));
	}
}

/* Change some bits of an integer of any size. */
void flip(struct rng *rng, void *at, unsigned int size)
{
	uint64_t value = 0;

	memcpy(&value, at, size);
	if (one_in(rng, 2))
		value ^= 1ull << below(rng, 8 * size);
	else
		value = gen_value(rng, value);
	memcpy(at, &value, size);
}
