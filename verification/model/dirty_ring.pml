/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The protocol of KVM's dirty rings: virt/kvm/dirty_ring.c, the part of the MMU
 * that it relies on (arch/x86/kvm/mmu/), and user space as it is told to
 * behave, or, with HOSTILE, as it likes.
 *
 *	vCPU	runs the guest, whose writes go through a TLB and SPTEs, handles
 *		its faults, writes guest memory itself, pushes, and exits at the
 *		soft limit
 *	user	a thread that collects, calls KVM_RESET_DIRTY_RINGS and reads,
 *		once that has returned, the pages collected before the call; or
 *		two that share the work (USERS). With HOSTILE, user space writes
 *		entries at will: what is read from one can be anything then
 *
 * Each access to memory that another party writes is a step of its own, in
 * program order: memory is sequentially consistent here. What weaker memory may
 * do to the order is the matter of ../ordering/.
 *
 * Free-running indices are taken modulo 2 * SIZE here, the least that tells
 * full from empty. Pages are bits of masks.
 *
 * Defines:
 *	SIZE RESERVED	entries of a ring, and those beyond the soft limit
 *	VCPUS PAGES
 *	USERS		ALONE: one thread does all
 *			SHARED: thread 0 collects, thread 1 resets and reads
 *			RIVAL: thread 0 does all, thread 1 resets too and can be
 *			killed at any time
 *	BLOCKS		RESET_PAGES: pages that a reset gathers at most
 *	PML		hardware logs up to PML pages before it exits; else 0
 *	HOSTILE		see above
 *	PROGRESS	a property of infinite runs in place of assertions
 *	BREAK_...	leave something out, or do it wrong: breaks.tab has them
 */
#ifndef VCPUS
#define VCPUS		1
#endif
#ifndef PAGES
#define PAGES		2
#endif
#ifndef SIZE
#define SIZE		4
#endif
#ifndef RESERVED
#define RESERVED	1
#endif
#define ALONE		1
#define SHARED		2
#define RIVAL		3
#ifndef USERS
#define USERS		ALONE
#endif
#ifndef BLOCKS
#define BLOCKS		1
#endif
#ifndef PML
#define PML		0
#endif
#ifdef HOSTILE
#define HONEST		false
#else
#define HONEST		true
#endif

/* What may be pushed from one look at the soft limit to the next. */
#define BURST		(RESERVED + 1)
#if defined(BREAK_NO_SOFT_LIMIT)
#define SOFT_LIMIT	(SIZE + 1)
#elif defined(BREAK_SOFT_LIMIT_HIGH)
#define SOFT_LIMIT	(SIZE - RESERVED - PML + 1)
#else
#define SOFT_LIMIT	(SIZE - RESERVED - PML)
#endif

#define INDICES		(2 * SIZE)
#define NEXT(i)		((i + 1) % INDICES)
#define BETWEEN(i, j)	((j + INDICES - i) % INDICES)
#define ENTRY(i)	((i) % SIZE)
#define USED(r)		BETWEEN(r.reset_index, r.dirty_index)

#ifndef RECENT
#define RECENT		1
#endif

#define BIT(p)		(1 << (p))

#define F_DIRTY		1
#define F_RESET		2

/* An entry's life as it should be, whatever its flags say. */
#define EMPTY		0
#define FULL		1
#define TAKEN		2

typedef ring_t {
	byte flags[SIZE];
	byte page[SIZE];
	byte dirty_index;
	byte reset_index;
	byte recent[RECENT];	/* pages + 1 of the last entries */
	bool full_req;		/* KVM_REQ_DIRTY_RING_FULL */
	/* User space's own. */
	byte fetch_index;
	/* Only to judge by. */
	byte life[SIZE];
	byte pushing;		/* the pages that are about to be pushed */
};

ring_t ring[VCPUS];

/*
 * The bits of the SPTEs that let the guest write with nobody noticing: W, or
 * with PML, where hardware sets it, D. What the TLBs hold of them. PML's buffers.
 */
byte spte;
byte tlb[VCPUS];
#if PML
byte log[VCPUS * PML];
byte logged[VCPUS];
#endif

bool slots_lock;
bool mmu_lock;
#ifdef PROGRESS
bool mmu_lock_wanted;		/* by a reset: the lock is a fair one */
bool resetting;
#define PROGRESS_ONLY(x)	x
#else
#define mmu_lock_wanted		false
#define PROGRESS_ONLY(x)	skip
#endif

/*
 * Only to judge by: pages written since user space last read them; pages that
 * were collected; those that will be read when the reset has returned; a ring's
 * entries that were collected when that reset was asked for, and are to be reset
 * when it returns; entries collected minus what the resets returned.
 */
byte stale;
byte collected;
byte reading;
byte owed[VCPUS];
byte balance;

/* What must not happen. One is set right before it is asserted. */
bool write_is_lost, ring_overflows, entry_is_overwritten, entry_is_not_collected,
     count_is_wrong, reset_is_short, index_is_beyond, page_is_unchecked;

#define NEVER(what, cond) \
	what = (cond); assert(!what)

hidden byte v_, k_, n_, known_;

/*
 * A page that was written since user space read it is known to somebody: an
 * entry that is to be collected tells of it, user space has it on its list, or
 * the vCPU is about to push it, or will as it exits.
 */
inline written_is_known(p)
{
	known_ = (collected | reading) & BIT(p);
	v_ = 0;
	do
	:: v_ < VCPUS ->
		known_ = known_ || (ring[v_].pushing & BIT(p));
		k_ = 0;
		do
		:: k_ < SIZE ->
			known_ = known_ ||
				 (ring[v_].life[k_] == FULL &&
				  ring[v_].page[k_] == p);
			k_++
		:: else -> break
		od;
#if PML
		k_ = 0;
		do
		:: k_ < logged[v_] ->
			known_ = known_ || log[v_ * PML + k_] == p;
			k_++
		:: else -> break
		od;
#endif
		v_++
	:: else -> break
	od;
	NEVER(write_is_lost, (stale & BIT(p)) && !known_)
}

/* The current ring. */
#define R	ring[v]

inline about_to_push(p)
{
#ifndef HOSTILE
	R.pushing = R.pushing | BIT(p)
#else
	skip
#endif
}

/* The three steps of a push, which are followed by a fourth: push_ends(). */
inline set_page()
{
#ifndef HOSTILE
	R.page[ENTRY(index)] = p
#else
	skip
#endif
}

inline set_index()
{
	R.recent[index % RECENT] = p + 1;
	R.dirty_index = NEXT(index);
	NEVER(index_is_beyond, USED(R) > SIZE);
	if
	:: used + 1 >= SOFT_LIMIT -> R.full_req = true
	:: else
	fi
}

inline set_dirty()
{
#ifndef HOSTILE
	NEVER(entry_is_overwritten, R.life[ENTRY(index)] != EMPTY);
	R.flags[ENTRY(index)] = F_DIRTY;			/* (A) */
	R.life[ENTRY(index)] = FULL
#else
	skip
#endif
}

inline push_ends()
{
#ifndef HOSTILE
	R.pushing = R.pushing & ~BIT(p);
	written_is_known(p);
#endif
	index = 0;
	used = 0
}

/*
 * reported_recently(): the pages of the last entries, and its looking at the flags
 * of the one that names the page.
 */
inline find_recent(p)
{
	if
	:: R.recent[(index + INDICES - 1) % RECENT] == p + 1 ->
		recent = ENTRY(index + INDICES - 1) + 1
	:: else ->
		if
		:: RECENT == 2 && R.recent[index % RECENT] == p + 1 ->
			recent = ENTRY(index + INDICES - RECENT) + 1
		:: else
		fi
	fi
}

#if defined(HOSTILE) || defined(BREAK_NO_RECHECK)
#define IS_COVERED	true
#else
#define IS_COVERED	(R.flags[recent - 1] != 0)
#endif

#ifdef BREAK_OVERWRITE
#define NO_ROOM		false
#else
#define NO_ROOM		(used >= SIZE)
#endif

/* kvm_dirty_ring_push() of the page p */
inline push()
{
	d_step {
		about_to_push(p);
		index = R.dirty_index;
		find_recent(p)
	};
	atomic {
		if
		:: recent -> done = IS_COVERED
#ifdef HOSTILE
		:: true
#endif
		:: else
		fi;
		recent = 0;
		if
		:: !done ->
			used = USED(R);				/* (C) */
			NEVER(index_is_beyond, used > SIZE);
			done = NO_ROOM;
			NEVER(ring_overflows, HONEST && done)
		:: else
		fi;
		if
		:: done -> push_ends()
		:: else
#ifndef BREAK_FLAGS_FIRST
			/* As good as a step of its own: nobody looks yet. */
			-> set_page()
#endif
		fi
	};
	if
	:: done -> done = false
	:: else ->
#if defined(BREAK_FLAGS_FIRST)
		d_step { set_index() };
		d_step { set_dirty() };
		d_step { set_page(); push_ends() }
#elif defined(BREAK_INDEX_LAST)
		d_step { set_dirty() };
		d_step { set_index(); push_ends() }
#else
		d_step { set_index() };
		d_step { set_dirty(); push_ends() }
#endif
	fi
}

/* Any of the pages. */
inline pick(p)
{
	p = 0;
	do
	:: p < PAGES - 1 -> p++
	:: break
	od
}

#define LOCK_MMU	atomic { !mmu_lock && !mmu_lock_wanted -> mmu_lock = true }

/* make_spte(), or the TDP MMU's like, under mmu_lock: the page, then the SPTE. */
inline slow_fault()
{
	LOCK_MMU;
	if
	:: spte & BIT(p) -> mmu_lock = false
	:: else ->
		push();
#ifdef BREAK_SLOW_UNLOCKED
		mmu_lock = false;
		LOCK_MMU;
#endif
		d_step { spte = spte | BIT(p); mmu_lock = false }
	fi
}

/* fast_page_fault(), without a lock: the SPTE, then the page. */
inline fast_fault()
{
	if
	:: d_step { !(spte & BIT(p)) ->
#ifndef BREAK_FAST_PUSHES_FIRST
		spte = spte | BIT(p);
		about_to_push(p) };
		push()
#else
		skip };
		push();
		spte = spte | BIT(p)
#endif
	:: spte & BIT(p)
	fi
}

/* The guest retires a write, or KVM has copied to guest memory. */
inline write(p)
{
#ifndef HOSTILE
	stale = stale | BIT(p);
	written_is_known(p)
#else
	skip
#endif
}

/* What the guest does until it exits: only what goes without KVM. */
inline guest()
{
	do
	:: atomic { true -> pick(p);
		if
		:: tlb[v] & BIT(p) ->
			write(p)
		:: !(tlb[v] & BIT(p)) && (spte & BIT(p)) ->
			tlb[v] = tlb[v] | BIT(p)
#if PML
		:: !(tlb[v] & BIT(p)) && !(spte & BIT(p)) && logged[v] < PML ->
			log[v * PML + logged[v]] = p;
			logged[v]++;
			spte = spte | BIT(p);
			tlb[v] = tlb[v] | BIT(p);
			write(p)
#endif
		:: else
		fi;
		p = 0 }
	:: break
	od
}

#if defined(HOSTILE)
#define CAN_WRITE	false		/* see below */
#elif defined(BREAK_NO_ROOM)
#define CAN_WRITE	true
#else
#define CAN_WRITE	(SIZE - USED(R) >= 1)
#endif

proctype vcpu(byte v)
{
	byte p, index, used, recent, n;
	bool done;

	do
	:: /* another ioctl, for which kvm_dirty_ring_has_room() */
		d_step { CAN_WRITE -> about_to_push(p); write(p) };
		push()
	:: /* vcpu_run(): KVM_RUN exits, again and again, for a full ring */
		atomic {
			if
			:: R.full_req && USED(R) < SOFT_LIMIT -> R.full_req = false
			:: !R.full_req
#ifdef HOSTILE
			:: true		/* not KVM_RUN, and no test of room */
#endif
			fi
		};
		guest();
#if PML
		/* vmx_flush_pml_buffer() */
		do
		:: logged[v] ->
			d_step {
				p = log[v * PML + logged[v] - 1];
				about_to_push(p);
				logged[v]--;
				log[v * PML + logged[v]] = 0
			};
			push()
		:: else -> break
		od;
#endif
		n = 0;
		do
		:: atomic { n < BURST -> n++; pick(p) };
			if
#if !PML
			:: !(tlb[v] & BIT(p)) -> slow_fault()
			:: !(tlb[v] & BIT(p)) -> fast_fault()
#endif
			:: d_step {
				true ->
				about_to_push(p);
				write(p) };
				push()
			fi
		:: break
		od;
		atomic { p = 0; n = 0 }
	od
}

/*
 * batch_apply(). Pages have nothing to do with each other, so that it is one
 * step for all of them.
 */
inline apply()
{
	if
	:: batch ->
#ifdef PROGRESS
		mmu_lock_wanted = true;
#endif
		atomic {
#ifndef BREAK_REPROTECT_UNLOCKED
			!mmu_lock ->
#endif
#ifndef BREAK_NO_REPROTECT
			spte = spte & ~batch;
#endif
			PROGRESS_ONLY(mmu_lock_wanted = false);
			batch = 0;
			nr = 0;
			dirty = true
		}
	:: else
	fi
}

inline flush()
{
	if
	:: dirty ->
#ifndef BREAK_NO_FLUSH
		v = 0;
		do
		:: v < VCPUS -> atomic { tlb[v] = 0; v++ }
		:: else -> break
		od;
#endif
		dirty = false
	:: else
	fi
}

/* Once killed, it stays so. */
inline look_for_signals()
{
	if
	:: USERS == RIVAL && t == 1 -> killed = true
#ifdef BREAK_ANY_SIGNAL
	:: t == 0 -> killed = true
#endif
	:: true
	fi
}

/* Entry index, whose flags were seen to hold F_RESET, is empty from here on. */
inline clear_flags()
{
#ifndef HOSTILE
	NEVER(entry_is_not_collected, R.life[ENTRY(index)] != TAKEN);
	R.flags[ENTRY(index)] = 0;
	R.page[ENTRY(index)] = 0;	/* nobody reads it: fewer states */
	R.life[ENTRY(index)] = EMPTY;
	if
	:: owed[v] -> owed[v]--
	:: else
	fi
#else
	skip
#endif
}

#if defined(BREAK_BEYOND)
#define LAST_PUSHED	(start + SIZE) % INDICES
#elif defined(BREAK_UNBOUNDED)
#define LAST_PUSHED	R.dirty_index
#else
#define LAST_PUSHED	pushed
#endif

inline free_up_to(i)
{
	d_step {
		R.reset_index = i;			/* (C) */
		NEVER(index_is_beyond, USED(R) > SIZE)
	}
}

/* reset_ring() */
inline reset_ring()
{
	d_step {
		pushed = R.dirty_index;
		start = R.reset_index;
		index = start
	};
	do
	:: index == LAST_PUSHED -> break
	:: else ->
		if
		:: nr == BLOCKS ->
#ifndef BREAK_SIGNAL_DROPS_BATCH
			apply();
			free_up_to(index);
#endif
			look_for_signals();
#ifdef BREAK_SIGNAL_DROPS_BATCH
			if
			:: killed -> d_step { batch = 0; nr = 0 }; break
			:: else
			fi;
			apply();
			free_up_to(index)
#else
			if
			:: killed -> break
			:: else
			fi
#endif
		:: else
		fi;
		if
#ifndef HOSTILE
		:: atomic {
			R.flags[ENTRY(index)] & F_RESET ->	/* (B) */
			page = R.page[ENTRY(index)] }
		:: else -> break
#else
		:: page = 0
		:: page = PAGES - 1
		:: page = PAGES
		:: break
#endif
		fi;
#ifdef BREAK_FREE_FIRST
		free_up_to(NEXT(index));
#endif
#ifdef BREAK_READ_TWICE
		page_ok = page < PAGES;
		if
		:: page = 0
		:: page = PAGES
		fi;
#define PAGE_OK		page_ok
#else
#define PAGE_OK		(page < PAGES)
#endif
		d_step {
			clear_flags();
			if
			:: PAGE_OK && !(batch & BIT(page)) ->
				NEVER(page_is_unchecked, page >= PAGES);
				batch = batch | BIT(page);
				nr++
			:: else
			fi;
			page = 0;
			index = NEXT(index)
		}
	od;
	atomic {
		R.reset_index = index;			/* (C) */
		NEVER(index_is_beyond, USED(R) > SIZE);
		freed = freed + BETWEEN(start, index);
		start = 0; index = 0; pushed = 0
	}
}

inline take_slots_lock()
{
#ifdef BREAK_NO_SLOTS_LOCK
	skip
#else
	atomic { !slots_lock -> slots_lock = true }
#endif
}

/* Entries in a life, of the ring v_ */
inline count(sum, what)
{
	k_ = 0;
	do
	:: k_ < SIZE -> sum = sum + (ring[v_].life[k_] == what); k_++
	:: else -> break
	od
}

/* All that was collected, and not returned so far, is still to be reset. */
inline count_is_right()
{
#ifndef HOSTILE
	balance = balance - freed;
	n_ = 0;
	v_ = 0;
	do
	:: v_ < VCPUS -> count(n_, TAKEN); v_++
	:: else -> break
	od;
	NEVER(count_is_wrong, balance != n_);
#endif
	freed = 0
}

/* kvm_dirty_ring_reset() */
inline reset()
{
	take_slots_lock();
	d_step { PROGRESS_ONLY(resetting = true); v = 0 };
	do
	:: v < VCPUS ->
		reset_ring();
		look_for_signals();
		if
		:: killed -> break
		:: else
		fi;
		v++
	:: else -> break
	od;
#ifdef BREAK_NO_LAST_REPROTECT
	atomic { batch = 0; nr = 0 };
#else
	apply();
#endif
#ifndef BREAK_FLUSH_UNLOCKED
	flush();
#endif
	d_step {
		count_is_right();
		PROGRESS_ONLY(resetting = false);
		slots_lock = false;
		v = 0
	};
#ifdef BREAK_FLUSH_UNLOCKED
	flush();
	v = 0
#endif
}

#define COLLECTS(t)	(HONEST && t == 0)
#define READS(t)	(t == (USERS == SHARED))
#define RESETS(t)	(USERS != SHARED || t == 1)

inline collect()
{
	atomic {
		do
		:: v < VCPUS - 1 -> v++
		:: break
		od;
		if
		:: R.flags[ENTRY(R.fetch_index)] == F_DIRTY ->	/* (A) */
			page = R.page[ENTRY(R.fetch_index)]
		:: else -> page = PAGES
		fi
	};
	d_step {
		if
		:: page < PAGES ->
			NEVER(entry_is_overwritten,
			      R.life[ENTRY(R.fetch_index)] != FULL);
			R.flags[ENTRY(R.fetch_index)] = F_RESET; /* (B) */
			R.life[ENTRY(R.fetch_index)] = TAKEN;
			R.fetch_index = (R.fetch_index + 1) % SIZE;
			collected = collected | BIT(page);
			balance++
		:: else
		fi;
		page = 0; v = 0
	}
}

inline before_reset()
{
	d_step {
		reading = collected;
		collected = 0;
		v_ = 0;
		do
		:: v_ < VCPUS -> owed[v_] = 0; count(owed[v_], TAKEN); v_++
		:: else -> break
		od
	}
}

inline after_reset()
{
	d_step {
		v_ = 0;
		do
		:: v_ < VCPUS ->
			NEVER(reset_is_short, owed[v_]);
			v_++
		:: else -> break
		od;
		stale = stale & ~reading;
		reading = 0
	}
}

proctype user(byte t)
{
	byte v, index, start, pushed, page, batch, nr, freed;
	bool dirty, killed;
#ifdef BREAK_READ_TWICE
	bool page_ok;
#endif

	do
	:: COLLECTS(t) -> collect()
	:: RESETS(t) ->
		if
		:: READS(t) -> before_reset(); reset(); after_reset()
		:: else -> reset()
		fi;
		if
		:: killed && t == 1 -> break
		:: else -> killed = false
		fi
	od
}

#ifdef PROGRESS
/* Whoever is given CPU time again and again: a reset ends. */
ltl reset_ends { [] (resetting -> <> !resetting) }
#endif

init
{
	atomic {
		byte v;
		do
		:: v < VCPUS -> run vcpu(v); v++
		:: else -> break
		od;
		v = 0;
		run user(0);
#if USERS != ALONE
		run user(1);
#endif
		v = 0
	}
}
