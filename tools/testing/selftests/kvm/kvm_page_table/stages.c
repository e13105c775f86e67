// SPDX-License-Identifier: GPL-2.0
/*
 * kvm_page_table_test: the stages. What vCPUs do with memory in each, and what
 * must be true after it.
 */
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "page_table.h"

/* How often logging comes and goes under vCPUs that write, and pages for each. */
#define SWITCHES		12
#define SWITCH_PAGES		128

/* Pages between two written ones, where a few are enough. */
#define SPARSE_STEP		7

enum guest_op { GUEST_READ, GUEST_WRITE };

/**
 * struct task - what a vCPU is to do with memory
 * @op: read pages, or write them
 * @first: the first page
 * @step: pages from one to the next
 * @count: pages in all
 * @page_size: bytes
 * @rounds: how many times; may change while the vCPU runs
 * @value: what to write, less the page's number; grows by @count each round
 * @host_value: what the host has written, less the page's number
 * @pause: after how many pages to wait for the host; 0 if never. May change, too
 * @progress: pages used so far, told by the guest
 * @done: rounds done so far, told by the guest
 */
struct task {
	uint64_t op;
	uint64_t first;
	uint64_t step;
	uint64_t count;
	uint64_t page_size;
	uint64_t rounds;
	uint64_t value;
	uint64_t host_value;
	uint64_t pause;
	uint64_t progress;
	uint64_t done;
};

/* The guest's, and where the host has them. */
static struct task tasks[MAX_VCPUS];
static struct task *shared_tasks;

/* Why a vCPU has left the guest. */
enum { AT_PAUSE, AT_END };

/* In each page: the guest's word, and the host's. */
enum { GUEST_WORD, HOST_WORD };

static void guest_do(struct task *task, uint64_t value)
{
	uint64_t *page, pause, i;

	for (i = task->first; i < task->count; i += task->step) {
		page = (void *)(GUEST_TEST_MEM + i * task->page_size);
		if (task->op == GUEST_WRITE)
			WRITE_ONCE(page[GUEST_WORD], value + i);
		GUEST_ASSERT_3(READ_ONCE(page[HOST_WORD]) ==
			       task->host_value + i, i, page[HOST_WORD],
			       task->host_value + i);
		WRITE_ONCE(task->progress, task->progress + 1);
		pause = READ_ONCE(task->pause);
		if (pause && task->progress % pause == 0)
			GUEST_SYNC(AT_PAUSE);
	}
}

void guest_code(uint64_t vcpu_id)
{
	struct task *task = &tasks[vcpu_id];
	uint64_t i;

#ifdef __x86_64__
	/* Emulated VT-x may hold back the host's interrupts otherwise. */
	asm volatile("sti");
#endif

	for (;;) {
		for (i = 0; i < READ_ONCE(task->rounds); i++) {
			guest_do(task, task->value + i * task->count);
			WRITE_ONCE(task->done, i + 1);
		}
		GUEST_SYNC(AT_END);
	}
}

struct state state;

static uint64_t read_counter(const char *name)
{
	uint64_t value;
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), KVM_DEBUGFS "/%d-%d/%s", getpid(),
		 vm_get_fd(vm), name);
	file = fopen(path, "r");
	TEST_ASSERT(file, "no %s, errno: %i", path, errno);
	TEST_ASSERT(fscanf(file, "%lu", &value) == 1, "no number in %s", path);
	fclose(file);

	return value;
}

static uint64_t count_blocks(void)
{
	return read_counter("largepages");
}

static void check_blocks(const char *stage, uint64_t expected)
{
	uint64_t blocks = count_blocks();

	TEST_ASSERT(blocks == expected, "%s: %lu blocks, not %lu", stage,
		    blocks, expected);
}

void report_page(uint32_t slot, uint64_t offset, void *data)
{
	TEST_ASSERT(slot == TEST_SLOT, "page of slot %u reported", slot);
	TEST_ASSERT(offset < nr_pages, "page %lu of %lu reported", offset,
		    nr_pages);
	set_bit(offset, state.reported);
	state.nr_reported++;
}

static void collect(void)
{
	dirty_tracking_collect(&tracking);
}

static void log_dirty_pages(void)
{
	vm_mem_region_set_flags(vm, TEST_SLOT, KVM_MEM_LOG_DIRTY_PAGES);
}

static void stop_logging(void)
{
	vm_mem_region_set_flags(vm, TEST_SLOT, 0);
}

static void *page_hva(uint64_t i)
{
	return mem + i * page_size;
}

/* Where vCPUs wait for the host, and the host for them. */
static sem_t go[MAX_VCPUS], paused[MAX_VCPUS];

static void wait_for(sem_t *sem)
{
	while (sem_wait(sem))
		TEST_ASSERT(errno == EINTR, "sem_wait failed, errno: %i", errno);
}

/* Return: whether the vCPU is to run on. */
static bool handle_exit(uint32_t vcpu_id)
{
	struct kvm_run *run = vcpu_state(vm, vcpu_id);
	struct ucall uc;

	if (dirty_tracking_handle_exit(&tracking, vcpu_id))
		return true;

	switch (get_ucall(vm, vcpu_id, &uc)) {
	case UCALL_SYNC:
		if (uc.args[1] == AT_END)
			return false;
		sem_post(&paused[vcpu_id]);
		wait_for(&go[vcpu_id]);
		return true;
	case UCALL_ABORT:
		TEST_FAIL("guest: page %lu holds %#lx for the host, not %#lx",
			  uc.args[2], uc.args[3], uc.args[4]);
	default:
		TEST_FAIL("vCPU %u left the guest: %s", vcpu_id,
			  exit_reason_str(run->exit_reason));
	}
	return false;
}

static void *run_vcpu(void *arg)
{
	uint32_t vcpu_id = (uintptr_t)arg;

	do {
		vcpu_run(vm, vcpu_id);
	} while (handle_exit(vcpu_id));
	return NULL;
}

/* Deal the pages out: neighbours of one block go to different vCPUs. */
static void set_tasks(enum guest_op op, uint64_t first, uint64_t step,
		      uint64_t rounds, uint64_t pause)
{
	int i;

	for (i = 0; i < nr_vcpus; i++) {
		shared_tasks[i] = (struct task) {
			.op = op,
			.first = first + i * step,
			.step = step * nr_vcpus,
			.count = nr_pages,
			.page_size = page_size,
			.rounds = rounds,
			.value = state.next_value,
			.host_value = state.host_value,
			.pause = pause,
		};
	}
}

/* What the vCPUs have written by their own account. */
static void expect_writes(void)
{
	struct task *task;
	uint64_t i;

	for (task = shared_tasks; task < shared_tasks + nr_vcpus; task++) {
		if (task->op != GUEST_WRITE || !task->done)
			continue;
		for (i = task->first; i < nr_pages; i += task->step) {
			state.expected[i] =
				task->value + (task->done - 1) * nr_pages + i;
			set_bit(i, state.written);
		}
		state.next_value = max(state.next_value,
				       task->value + task->done * nr_pages);
	}
}

static void write_host_words(void)
{
	uint64_t *page, i;

	state.host_value += nr_pages;
	for (i = 0; i < nr_pages; i++) {
		page = page_hva(i);
		WRITE_ONCE(page[HOST_WORD], state.host_value + i);
	}
}

static void start_stage(pthread_t *threads, enum guest_op op, uint64_t first,
			uint64_t step, uint64_t rounds, uint64_t pause)
{
	uintptr_t i;

	bitmap_zero(state.written, nr_pages);
	bitmap_zero(state.reported, nr_pages);
	write_host_words();
	set_tasks(op, first, step, rounds, pause);
	for (i = 0; i < nr_vcpus; i++)
		pthread_create(&threads[i], NULL, run_vcpu, (void *)i);
}

static void end_stage(pthread_t *threads, const char *stage)
{
	uint64_t *page, i;

	for (i = 0; i < nr_vcpus; i++)
		pthread_join(threads[i], NULL);
	expect_writes();
	for (i = 0; i < nr_pages; i++) {
		page = page_hva(i);
		TEST_ASSERT(page[GUEST_WORD] == state.expected[i],
			    "%s: page %lu holds %#lx, not %#lx", stage, i,
			    page[GUEST_WORD], state.expected[i]);
	}
}

/* vCPUs go over every @step'th page from @first on; memory is checked. */
static void run_stage(const char *stage, enum guest_op op, uint64_t first,
		      uint64_t step)
{
	pthread_t threads[MAX_VCPUS];

	start_stage(threads, op, first, step, 1, 0);
	end_stage(threads, stage);
}

/* The pages that the stage wrote, and no others, must be reported. */
static void check_reported(const char *stage)
{
	uint64_t i;

	collect();
	for (i = 0; i < nr_pages; i++)
		TEST_ASSERT(test_bit(i, state.reported) ==
			    test_bit(i, state.written),
			    "%s: page %lu was %s, and %s", stage, i,
			    test_bit(i, state.written) ? "written" :
			    "not written",
			    test_bit(i, state.reported) ? "reported" :
			    "not reported");
}

/* How many blocks are left when every second is split, from the first on. */
static uint64_t other_half(void)
{
	return state.blocks / 2;
}

static void create_blocks(void)
{
	run_stage("create", GUEST_WRITE, 0, 1);
	check_blocks("create", state.blocks);
}

/* Logging alone splits nothing, and reading is no reason to. */
static void start_logging(void)
{
	log_dirty_pages();
	check_blocks("logging on", state.blocks);
	run_stage("read", GUEST_READ, 0, 1);
	check_blocks("read", state.blocks);
	check_reported("read");
}

/* The first write to a block splits it, whole as it may be otherwise. */
static void split_half(void)
{
	run_stage("split half", GUEST_WRITE, 1, 2 * state.block_pages);
	check_blocks("split half", other_half());
	check_reported("split half");
}

static void split_all(void)
{
	run_stage("split", GUEST_WRITE, 0, 1);
	check_blocks("split", 0);
	check_reported("split");
	run_stage("split, sparse", GUEST_WRITE, 3, SPARSE_STEP);
	check_blocks("split, sparse", 0);
	check_reported("split, sparse");
}

/*
 * Blocks come back one by one: KVM drops the small mappings when logging stops,
 * and the next access, a read or a write, maps the block.
 */
static void rebuild_blocks(void)
{
	stop_logging();
	check_blocks("logging off", 0);
	run_stage("rebuild by read", GUEST_READ, 2, 2 * state.block_pages);
	check_blocks("rebuild by read", state.blocks - other_half());
	run_stage("rebuild by write", GUEST_WRITE, state.block_pages + 4,
		  2 * state.block_pages);
	check_blocks("rebuild by write", state.blocks);
	run_stage("rebuilt", GUEST_WRITE, 0, 1);
	check_blocks("rebuilt", state.blocks);
}

/*
 * Logging stops with half of the blocks split. Whether the others remain is
 * KVM's choice; when all were used, all must be there.
 */
static void rebuild_half(void)
{
	log_dirty_pages();
	split_half();
	stop_logging();
	run_stage("rebuild half", GUEST_WRITE, 0, 1);
	check_blocks("rebuild half", state.blocks);
}

/* Do something while each vCPU goes over some more pages. */
static void while_used(void (*action)(void))
{
	int i;

	for (i = 0; i < nr_vcpus; i++)
		wait_for(&paused[i]);
	for (i = 0; i < nr_vcpus; i++)
		sem_post(&go[i]);
	action();
}

/* Have the vCPUs come to the end of memory, and of the stage. */
static void let_finish(void)
{
	int i;

	for (i = 0; i < nr_vcpus; i++)
		wait_for(&paused[i]);
	for (i = 0; i < nr_vcpus; i++) {
		WRITE_ONCE(shared_tasks[i].rounds, 0);
		WRITE_ONCE(shared_tasks[i].pause, 0);
		sem_post(&go[i]);
	}
}

/*
 * Split and rebuild blocks while they are in use. Nothing is known then of what
 * is mapped how, but memory must be right, and blocks come back afterwards.
 */
static void switch_while_used(void)
{
	pthread_t threads[MAX_VCPUS];
	int i;

	start_stage(threads, GUEST_WRITE, 0, 1, ULONG_MAX, SWITCH_PAGES);
	for (i = 0; i < SWITCHES; i++) {
		while_used(log_dirty_pages);
		while_used(collect);
		while_used(stop_logging);
	}
	let_finish();
	end_stage(threads, "switched while used");
	if (tracking.tracker->lasting)
		collect();

	run_stage("calm again", GUEST_WRITE, 0, 1);
	check_blocks("calm again", state.blocks);
}

/* Before the first stage, when the VM is there. */
void setup_stages(void)
{
	int i;

	shared_tasks = addr_gva2hva(vm, (vm_vaddr_t)tasks);
	state.expected = calloc(nr_pages, sizeof(*state.expected));
	state.written = bitmap_alloc(nr_pages);
	state.reported = bitmap_alloc(nr_pages);
	TEST_ASSERT(state.expected && state.written && state.reported,
		    "no memory");
	for (i = 0; i < nr_vcpus; i++) {
		sem_init(&paused[i], 0, 0);
		sem_init(&go[i], 0, 0);
	}
	state.next_value = 1;
	state.host_value = 1ul << 62;
	state.nr_reported = 0;
}

void cleanup_stages(void)
{
	free(state.expected);
	free(state.written);
	free(state.reported);
}

void run_stages(void)
{
	create_blocks();
	start_logging();
	split_half();
	split_all();
	rebuild_blocks();
	rebuild_half();
	switch_while_used();
}
