/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of dirty_log_test share.
 */
#ifndef SELFTEST_KVM_DIRTY_LOG_H
#define SELFTEST_KVM_DIRTY_LOG_H

#include "test_util.h"
#include "kvm_util.h"
#include "dirty_oracle.h"
#include "dirty_ring.h"
#include "test_thread.h"

#define MAX_VCPUS		4
#define MAX_STEPS		8192
#define NO_GOAL			(~0ull)
#define ALL_ENTRIES		(~0u)

/*
 * How often pages are collected while vCPUs write the same ones over and over.
 */
#define HOT_COLLECTIONS		16

/**
 * struct guest_script - what a vCPU is to do, in memory that is not logged
 * @progress: the last step that it has taken
 * @goal: the step at which it tells the host
 * @count: number of steps
 * @endless: take them over and over
 * @steps: the guest's address of a page, with a bit if it is only to be read
 */
struct guest_script {
	uint64_t progress;
	uint64_t goal;
	uint64_t count;
	uint64_t endless;
	uint64_t steps[MAX_STEPS];
};

/* What the guest tells the host: it is where the host waits for it, or done. */
enum { AT_GOAL, AT_END };

/**
 * struct vcpu - a vCPU and its thread
 * @id: the vCPU's id
 * @thread: runs it
 * @run: shared with KVM
 * @script: shared with the guest
 * @ring: its dirty ring, if there are rings
 * @running: set to let it run, cleared by its thread when KVM_RUN has returned
 * @at_goal: it has reached the step that the host waits for
 * @done: it has reached the end of its script
 * @full: how often its ring was full
 * @own: indices of the pages that it may write
 * @nr_own: how many there are
 * @steps: its script, for the oracle
 * @nr_steps: how many there are
 */
struct vcpu {
	uint32_t id;
	struct test_thread thread;
	struct kvm_run *run;
	struct guest_script *script;
	struct dirty_ring ring;
	bool running;
	bool at_goal;
	bool done;
	uint64_t full;
	uint32_t *own;
	uint32_t nr_own;
	uint32_t steps[MAX_STEPS];
	uint32_t nr_steps;
};

/**
 * struct log_mode - a way to track dirty pages, and to collect them
 * @name: for option -M
 * @max_entries: the largest ring to use; 0 if there are no rings
 * @supported: tells if this kernel has it; may be missing
 * @create_vm_done: called before there are vCPUs; may be missing
 * @log_on: called when logging has been switched on; may be missing
 * @harvest: report the pages found dirty to the oracle, @max of them at most if
 *	     that can be chosen
 * @protect: write-protect them; missing if @harvest has done it
 * @after_run: called by the vCPU's thread when KVM_RUN has returned 0; tells if
 *	       the vCPU can go on without the host
 * @pace: let the vCPUs run for a while
 * @collect: collect pages, called again and again until all vCPUs are done
 * @finish: called at the end; may be missing
 */
struct log_mode {
	const char *name;
	uint32_t max_entries;
	bool (*supported)(void);
	void (*create_vm_done)(struct kvm_vm *vm);
	void (*log_on)(void);
	void (*harvest)(uint32_t max);
	void (*protect)(void);
	bool (*after_run)(struct vcpu *v);
	void (*pace)(void);
	void (*collect)(void);
	void (*finish)(void);
};

/* Options. */
extern unsigned long interval;
extern uint32_t wanted_entries;
extern uint32_t nr_vcpus;
extern uint64_t phys_offset;

/* The machine under test. */
extern const struct log_mode *mode;
extern struct kvm_vm *vm;
extern struct vcpu vcpus[MAX_VCPUS];
extern struct oracle oracle;
extern uint32_t ring_entries;

/* The script is endless: vCPUs write the same pages over and over. */
extern bool endless;

#define for_each_vcpu(v) for ((v) = vcpus; (v) < vcpus + nr_vcpus; (v)++)

/* scripts.c: what vCPUs write. */
extern const unsigned int nr_patterns;

void guest_code(struct guest_script *script);
void write_scripts(unsigned int pattern);
void end_scripts(void);

/* vcpus.c: run them, stop them, wait for them. */
void come_first(void);
void start_threads(void);
void stop_threads(void);
uint64_t progress(struct vcpu *v);
bool all_done(void);
void tell_progress(void);
void run_to(uint64_t steps);
void let_run(uint64_t steps);
void pause_all(void);
bool after_run_sync(struct vcpu *v);
bool after_run_ring(struct vcpu *v);

/* modes.c: how pages are tracked and collected. */
extern const struct log_mode log_modes[];
extern const unsigned int nr_log_modes;

void judge(void);
void collect_stopped(void);
void free_bitmaps(void);

/* vm.c: the machine. */
void create_vm(enum vm_guest_mode guest_mode);
void free_vm(void);

#endif /* SELFTEST_KVM_DIRTY_LOG_H */
