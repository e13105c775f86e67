// SPDX-License-Identifier: GPL-2.0
/*
 * The accesses to a dirty ring on memory that keeps to C++11's order only: each
 * load may be as old as the orders of the accesses allow. Relacy runs all
 * executions of the threads below; slot and offset are plain memory for it, and
 * two accesses to these that nothing orders are an error.
 *
 * The orders come as arguments, NAME=ORDER: the kernel's, which orders.awk takes
 * from its source, and user space's where it is not to be as
 * include/uapi/linux/kvm_dirty_ring.h wants it. In terms of the kernel's memory
 * model:
 *
 *	smp_store_release, smp_load_acquire	release, acquire
 *	WRITE_ONCE, READ_ONCE			relaxed
 *	smp_mb					a fence, seq_cst
 *
 * A load never reads what is stored later here: no out-of-thin-air values, but
 * no load that is delayed beyond a store either. Where that matters, between
 * the reading of an entry and its being filled again, the race on the entry's
 * slot and offset tells.
 */
#include <cstring>
#include <iostream>
#include <string>
#include <relacy/relacy_std.hpp>

enum order_name {
	KERNEL_DIRTY,		/* (A) */
	USER_DIRTY,		/* (A) */
	USER_RESET,		/* (B) */
	KERNEL_RESET,		/* (B) */
	KERNEL_FREE,		/* (C) */
	KERNEL_ROOM,		/* (C) */
	KERNEL_INDEX,		/* the push's dirty_index */
	KERNEL_PUSHED,		/* the reset's dirty_index */
	KERNEL_INDEX_FIRST,	/* seq_cst: dirty_index is set before flags */
	KERNEL_MB,		/* reported_recently()'s barrier */
	RESET_MB,		/* the reset's */
	ORDERS
};

static const char * const order_names[ORDERS] = {
	"KERNEL_DIRTY", "USER_DIRTY", "USER_RESET", "KERNEL_RESET",
	"KERNEL_FREE", "KERNEL_ROOM", "KERNEL_INDEX", "KERNEL_PUSHED",
	"KERNEL_INDEX_FIRST", "KERNEL_MB", "RESET_MB",
};

static const struct {
	const char *name;
	rl::memory_order order;
} kinds[] = {
	{ "relaxed", rl::mo_relaxed }, { "acquire", rl::mo_acquire },
	{ "release", rl::mo_release }, { "seq_cst", rl::mo_seq_cst },
};

static rl::memory_order orders[ORDERS];

#define ORDER(name)	orders[name], RL_INFO
#define RELAXED		rl::mo_relaxed, RL_INFO

enum { EMPTY, DIRTY, RESET };

static bool index_first()
{
	return orders[KERNEL_INDEX_FIRST] == rl::mo_seq_cst;
}

/* Relacy knows no relaxed fence. */
static void fence(enum order_name name)
{
	if (orders[name] != rl::mo_relaxed)
		std::atomic_thread_fence(ORDER(name));
}

/* A ring of one entry. */
struct ring {
	std::atomic<int> flags, dirty_index, reset_index;
	rl::var<int> slot, offset;

	ring()
	{
		flags.store(EMPTY, RELAXED);
		dirty_index.store(0, RELAXED);
		reset_index.store(0, RELAXED);
		VAR(slot) = 0;
		VAR(offset) = 0;
	}

	bool has_room(int index)
	{
		return index == reset_index.load(ORDER(KERNEL_ROOM));
	}

	void push(int index)
	{
		VAR(slot) = index + 1;
		VAR(offset) = index + 1;
		if (index_first())
			dirty_index.store(index + 1, ORDER(KERNEL_INDEX));
		flags.store(DIRTY, ORDER(KERNEL_DIRTY));
		if (!index_first())
			dirty_index.store(index + 1, ORDER(KERNEL_INDEX));
	}

	bool collect(int index)
	{
		if (flags.load(ORDER(USER_DIRTY)) != DIRTY)
			return false;
		RL_ASSERT(VAR(slot) == index + 1 && VAR(offset) == index + 1);
		flags.store(RESET, ORDER(USER_RESET));
		return true;
	}

	int reset()
	{
		int index = reset_index.load(RELAXED);

		if (index == dirty_index.load(ORDER(KERNEL_PUSHED)))
			return 0;
		if (flags.load(ORDER(KERNEL_RESET)) != RESET)
			return 0;
		RL_ASSERT(VAR(slot) == index + 1 && VAR(offset) == index + 1);
		flags.store(EMPTY, RELAXED);
		reset_index.store(index + 1, ORDER(KERNEL_FREE));
		return 1;
	}
};

/*
 * The entry goes round: the vCPU fills it, and again where it has seen room.
 * One thread collects it, another resets.
 */
struct round : rl::test_suite<round, 3> {
	ring r;

	void thread(unsigned int id)
	{
		switch (id) {
		case 0:
			r.push(0);
			if (r.has_room(1))
				r.push(1);
			break;
		case 1:
			if (r.collect(0))
				r.collect(1);
			break;
		case 2:
			r.reset();
			break;
		}
	}
};

/* Who collects an entry and then resets has reset it: the count is not short. */
struct count : rl::test_suite<count, 2> {
	ring r;

	void thread(unsigned int id)
	{
		if (id == 0)
			r.push(0);
		else if (r.collect(0))
			RL_ASSERT(r.reset() == 1);
	}
};

/*
 * reported_recently(): the vCPU writes to the page of a recent entry, or makes it
 * writable, while the entry is being reset. Either it reports the page again, or
 * the reset sees the SPTE, and who reads the page then what the vCPU wrote.
 */
struct again : rl::test_suite<again, 2> {
	ring r;
	std::atomic<int> page;
	bool reports, reads;

	again() : reports(false), reads(false) {}

	void before()
	{
		page.store(0, RELAXED);
		r.push(0);
		r.collect(0);
	}

	void thread(unsigned int id)
	{
		if (id == 0) {
			page.store(1, RELAXED);
			fence(KERNEL_MB);
			reports = r.flags.load(RELAXED) == EMPTY;
		} else {
			r.flags.store(EMPTY, RELAXED);
			fence(RESET_MB);
			reads = page.load(RELAXED) == 1;
		}
	}

	void after()
	{
		RL_ASSERT(reports || reads);
	}
};

template <typename test>
static bool holds()
{
	rl::test_params params;

	params.search_type = rl::sched_full;
	return rl::simulate<test>(params);
}

static bool set_order(const char *arg)
{
	const char *value = std::strchr(arg, '=');
	unsigned int i, k;

	for (i = 0; value && i < ORDERS; i++) {
		if (std::string(arg, value) != order_names[i])
			continue;
		for (k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
			if (!std::strcmp(value + 1, kinds[k].name)) {
				orders[i] = kinds[k].order;
				return true;
			}
		}
	}
	std::cerr << "not understood: " << arg << "\n";
	return false;
}

/* 0: all holds, 1: not, 2: bad arguments. */
int main(int argc, char **argv)
{
	bool ok;
	int i;

	for (i = 0; i < ORDERS; i++)
		orders[i] = rl::mo_relaxed;
	orders[USER_DIRTY] = rl::mo_acquire;
	orders[USER_RESET] = rl::mo_release;
	for (i = 1; i < argc; i++)
		if (!set_order(argv[i]))
			return 2;

	ok = holds<round>();
	ok = holds<count>() && ok;
	ok = holds<again>() && ok;
	return !ok;
}
