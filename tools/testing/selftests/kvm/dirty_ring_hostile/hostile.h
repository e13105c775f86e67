/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of dirty_ring_hostile_test share.
 */
#ifndef SELFTEST_KVM_HOSTILE_H
#define SELFTEST_KVM_HOSTILE_H

#include <linux/compiler.h>

#include "test_util.h"
#include "kvm_util.h"
#include "dirty_ring_vm.h"

/* In the target, one vCPU runs a guest, KVM_SET_MSRS writes for the other. */
#define RUN_VCPU		0
#define CLOCK_VCPU		1
#define TARGET_VCPUS		2
#define TARGET_PAGES		4096ul
#define TARGET_ENTRIES		4096

/* A slot that is not logged. Its last page is written only when it counts. */
#define UNLOGGED_SLOT		3
#define UNLOGGED_PAGES		2048ul
#define UNLOGGED_MEM		0x30000000ul

/* A logged slot in the second address space. */
#define SMM_SLOT		(1u << 16 | 2)
#define SMM_PAGES		128ul
#define SMM_MEM			0x40000000ul

/* A slot that comes and goes. */
#define CHURN_SLOT		5
#define CHURN_PAGES		512ul
#define CHURN_MEM		0x50000000ul

/* The VM that must not notice anything. */
#define HONEST_PAGES		1024ul

/* Options. */
extern unsigned int seed;
extern uint64_t min_forged;

/* The VM under attack, and the VM beside it. */
extern struct ring_vm target, honest;

/* Entries written by this process and its children. */
extern uint64_t *forged;
/* Entries of the target that were reset. */
extern uint64_t reset_entries;

/*
 * Results: kselftest.h keeps a count in each file that includes it, so only the
 * main file reports them.
 */
void __printf(1, 2) test_passed(const char *fmt, ...);
void __printf(1, 2) test_skipped(const char *fmt, ...);

/* target.c: random numbers, the same ones for the same seed, ... */
struct rng {
	uint64_t state;
};

void rng_init(struct rng *rng, uint32_t stream);
uint64_t rng_next(struct rng *rng);
uint64_t rng_below(struct rng *rng, uint64_t limit);

/* ... what is forged from them, ... */
void forge_entry(struct rng *rng, struct kvm_dirty_gfn *gfn);
void forge_ring(struct rng *rng, struct dirty_ring *ring);
void flag_ring(struct dirty_ring *ring, uint32_t flags);
bool names_logged_page(const struct kvm_dirty_gfn *gfn);

/* ... and the target. */
void create_target(void);
uint32_t reset_target(void);
void expect_reset(uint32_t count);
int write_clocks(uint32_t vcpuid, uint64_t page, uint32_t count);
void push_entries(uint32_t vcpuid, uint32_t count);
void drain_target(void);
void finish_job(void);
void run_job(uint64_t mem, uint64_t npages, uint64_t count);

/* forged.c: forged entries, nobody else at work. */
void test_exact(void);
void test_unlogged(void);

/* races.c: several threads and processes at once. */
void test_duel(void);
void test_storm(void);
void test_churn(void);
void test_killed(void);

/* closed.c: the ends of VM, vCPU and mapping. */
void test_closed(void);

#endif /* SELFTEST_KVM_HOSTILE_H */
