/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Common parts of generated_states_test.
 */
#ifndef SELFTEST_KVM_GENERATED_STATES_H
#define SELFTEST_KVM_GENERATED_STATES_H

#include <linux/compiler.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "layout.h"

#ifndef PAGE_SIZE
#define PAGE_SIZE	4096
#endif
#define ARRAY_LEN(a)	(sizeof(a) / sizeof((a)[0]))
#define MAX_VCPUS	2
#define MAX_CPUID	128
#define MAX_MSRS	256

/* random.c: the same seed gives the same numbers. */
struct rng {
	uint64_t state;
};

struct rng rng_of(uint64_t seed, uint64_t mode, uint64_t round,
		  uint64_t thread, uint64_t state);
uint64_t rnd(struct rng *rng);
uint64_t below(struct rng *rng, uint64_t n);
bool one_in(struct rng *rng, unsigned int n);
uint64_t gen_gpa(struct rng *rng);
uint64_t gen_value(struct rng *rng, uint64_t old);
void flip(struct rng *rng, void *at, unsigned int size);

/* Fields of a structure that user space hands to KVM. */
enum kind {
	ANY, BOOL, VECTOR, ADDR, SELECTOR, CR0, CR4, EFER, FLAGS,
};

struct field {
	unsigned int offset;
	unsigned char size;
	unsigned char kind;
	const char *name;
};

#define FIELD(type, member, kind)					\
	{ offsetof(type, member), sizeof(((type *)0)->member), kind, #member }

void change_field(struct rng *rng, void *data, const struct field *field);
/* One that is worth changing. */
typedef struct field (*pick_field)(struct rng *rng);

struct field pick_regs(struct rng *rng);
struct field pick_sregs(struct rng *rng);
struct field pick_events(struct rng *rng);
struct field pick_debugregs(struct rng *rng);
struct field pick_run(struct rng *rng);
void change_fields(struct rng *rng, void *data, size_t size, pick_field pick);

/* vm.c: a VM whose ioctls may fail. */
enum op {
#define OPERATION(name) op_##name,
#include "operations.h"
#undef OPERATION
	NR_OPS
};

struct op_entry {
	uint32_t op;
	uint32_t pad;
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, r8;
};

#define OPS_PER_PAGE	(PAGE_SIZE / OP_SIZE)

/* guest.S */
extern const char guest_start[], guest_end[], guest_interpret[],
	guest_vectors[];

struct gvm;

struct gvcpu {
	struct gvm *vm;
	unsigned int id;
	int fd;
	struct kvm_run *run;
	size_t run_size;
	/* The state that a vCPU starts with and is reset to. */
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_vcpu_events events;
	struct kvm_debugregs debugregs;
	struct kvm_xcrs xcrs;
	bool dead;
};

struct gslot {
	void *map, *hva;
	uint64_t gpa, size;
	uint32_t flags;
	bool exists;
};

#define NR_SLOTS	(1 + NR_DATA_SLOTS)

struct gvm {
	int fd;
	bool irqchip;
	bool nested;	/* CPUID has VMX or SVM */
	bool nested_paging;
	unsigned int nr_vcpus;
	struct gvcpu vcpus[MAX_VCPUS];
	/* Slot 0 always exists; the other ones come and go. */
	struct gslot slots[NR_SLOTS];
	struct kvm_cpuid2 *cpuid;
};

struct capabilities {
	bool vmx, svm, npt;
	bool sync_regs, nested_state, debugregs, xcrs, xsave, events, smm;
	unsigned int run_size;
	struct kvm_cpuid2 *cpuid, *hv_cpuid;
	unsigned int nr_msrs;
	uint32_t msrs[MAX_MSRS];
	unsigned int maxphyaddr;
	/* An emulator that dies of a TR that is no present TSS. */
	bool keep_tr;
};

extern struct capabilities caps;
extern int kvm_fd;

void get_capabilities(void);
void keep_tr(struct kvm_sregs *sregs);
bool in_tr(size_t offset);
struct gvm *gvm_create(struct rng *rng, unsigned int nr_vcpus, bool nested);
void gvm_free(struct gvm *vm);
void *gvm_hva(struct gvm *vm, uint64_t gpa);
int gvm_set_slot(struct gvm *vm, unsigned int slot, bool exists, uint32_t flags);
bool gvm_reset_vcpu(struct gvcpu *vcpu, struct rng *rng);
bool gvm_guards_intact(struct gvm *vm);
void gvm_write_tables(struct gvm *vm);
void gvm_write_nested_tables(struct gvm *vm, uint64_t data_shift);
struct op_entry *gvm_ops(struct gvcpu *vcpu, bool l2);
uint64_t gvm_ops_gpa(struct gvcpu *vcpu, bool l2);
uint64_t gvm_stack_gpa(struct gvcpu *vcpu, bool l2);
uint64_t guest_address(const char *symbol);
bool gvm_intact(struct gvm *vm);
bool gvm_sane(struct gvcpu *vcpu, uint64_t salt);

extern bool verbose;

/* run.c: vCPUs run for a while and are interrupted by signals. */
void kicker_start(void);
int gvcpu_run(struct gvcpu *vcpu, unsigned int exits);
#define RUN_DONE	1	/* the guest's operations are done */
#define RUN_KICKED	2
#define RUN_DEAD	3
#define RUN_FAILED	4

/* nested.c: L1 runs L2. */
void nested_setup(struct gvcpu *vcpu, struct rng *rng);
unsigned int nested_ops(struct gvcpu *vcpu, struct op_entry *ops);
void vmcb_setup(struct gvcpu *vcpu, struct rng *rng);
unsigned int vmcb_ops(struct gvcpu *vcpu, struct op_entry *ops);
void vmcb_change(struct gvcpu *vcpu, struct rng *rng);
void vmcs_setup(struct gvcpu *vcpu, struct rng *rng);
unsigned int vmcs_ops(struct gvcpu *vcpu, struct op_entry *ops);
void vmcs_change(struct gvcpu *vcpu, struct rng *rng);
void nested_change(struct gvcpu *vcpu, struct rng *rng);

/* ops.c: generated operations. */
void gen_ops(struct rng *rng, struct op_entry *ops, unsigned int nr);
void gen_op(struct rng *rng, struct op_entry *op);
uint64_t gen_msr(struct rng *rng);

/* count.c: what was tried, and what went wrong. */
enum {
	TRIED_REFUSED, TRIED_ACCEPTED,
};

void count(const char *what, bool accepted);
void print_counts(const char *mode);
void __printf(1, 2) problem(const char *format, ...);
unsigned int problems(void);

/* What a mode is asked to do. */
struct task {
	uint64_t seed;
	unsigned int mode, round, thread;
	unsigned int states;
	struct gvm *vm;
	bool stop;
};

struct rng task_rng(const struct task *task, uint64_t state);

static inline bool stopped(struct task *task)
{
	return __atomic_load_n(&task->stop, __ATOMIC_RELAXED);
}

struct mode {
	const char *name;
	const char *says;
	void (*round)(struct task *task);
	bool needs_nested;
};

void set_round(struct task *task);
void run_round(struct task *task);
void ops_round(struct task *task);
void nested_round(struct task *task);
void tables_round(struct task *task);

/* Another thread of a round: it works until the task stops. */
struct helper {
	pthread_t thread;
	void (*work)(struct task *task);
	struct task task;
};

void helper_start(struct helper *helper, const struct task *task,
		  unsigned int number, void (*work)(struct task *));
void helper_stop(struct helper *helper);

#endif
