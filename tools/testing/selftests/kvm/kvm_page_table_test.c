// SPDX-License-Identifier: GPL-2.0
/*
 * KVM page table test
 *
 * Guest memory that is made of huge pages is mapped by blocks: leaf entries
 * above the lowest level of the page tables. Dirty logging wants pages. So KVM
 * creates blocks when the guest first touches its memory, splits each at its
 * first write while dirty logging is on, and rebuilds them when the guest comes
 * back after logging has stopped. Go through all of this, with one vCPU or with
 * several that share each block, and check after each stage
 *
 *  - how many blocks there are, by KVM's own counter, where the stage fixes it;
 *  - that the pages reported as dirty are those that were written, all of them
 *    and no others;
 *  - memory: each page has two words. One holds the number that the guest wrote
 *    last, which the host compares. The host writes another number to the other
 *    before each stage, and the guest compares it whenever it uses the page, so
 *    a mapping that leads elsewhere is noticed from both ends.
 *
 * At last the vCPUs write all memory while logging is switched on and off.
 *
 * With shadow paging, a block needs a large page in the guest's own page tables.
 * The test runs twice there: with small guest pages there must be no blocks.
 */

#define _GNU_SOURCE /* for program_invocation_name */

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
#include "dirty_ring.h"
#include "options.h"

#define TEST_SLOT		1

/* Where the guest sees the memory; does not conflict with its code. */
#define GUEST_TEST_MEM		0xc0000000ul

#define SIZE_2M			(1ul << 21)
#define SIZE_1G			(1ul << 30)

#define MAX_VCPUS		16
#define DEFAULT_VCPUS		2
#define DEFAULT_MEM_SIZE	(16ul << 20)

/* How often logging comes and goes under vCPUs that write, and pages for each. */
#define SWITCHES		12
#define SWITCH_PAGES		128

/* Pages between two written ones, where a few are enough. */
#define SPARSE_STEP		7

#define KVM_DEBUGFS		"/sys/kernel/debug/kvm"
#define HUGETLB_DIR		"/sys/kernel/mm/hugepages/hugepages-%zukB"

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

/* The guest's; the host has them at shared_tasks. */
static struct task tasks[MAX_VCPUS];

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

static void guest_code(uint64_t vcpu_id)
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

/* What the command line says. */
static enum vm_guest_mode guest_mode = VM_MODE_DEFAULT;
static enum vm_mem_backing_src_type src = VM_MEM_SRC_ANONYMOUS;
static uint64_t mem_size = DEFAULT_MEM_SIZE;
static uint64_t phys_offset;
static unsigned int nr_vcpus = DEFAULT_VCPUS;

/* The VM. */
static struct kvm_vm *vm;
static uint64_t page_size;
static uint64_t nr_pages;
static void *mem;
static struct task *shared_tasks;
static struct dirty_ring rings[MAX_VCPUS];

/**
 * struct state - what must be true
 * @blocks: how many blocks map the memory if all that can be are there
 * @block_pages: pages in a block
 * @expected: for each page, what the guest wrote last
 * @written: the pages that the current stage writes
 * @reported: the pages reported since the last stage
 * @next_value: not used yet as a value of the guest
 * @host_value: the current one of the host
 */
static struct {
	uint64_t blocks;
	uint64_t block_pages;
	uint64_t *expected;
	unsigned long *written;
	unsigned long *reported;
	uint64_t next_value;
	uint64_t host_value;
} state;

/* For the account at the end of a run. */
static struct {
	uint64_t reported;
	uint64_t full;
} totals;

/*
 * KVM's counters
 */

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

/*
 * Two ways to track dirty pages
 */

static void report_page(uint32_t slot, uint64_t offset, void *data)
{
	TEST_ASSERT(slot == TEST_SLOT, "page of slot %u reported", slot);
	TEST_ASSERT(offset < nr_pages, "page %lu of %lu reported", offset,
		    nr_pages);
	set_bit(offset, state.reported);
	totals.reported++;
}

/* Bitmaps. */

static void collect_bitmap(void)
{
	unsigned long *bitmap = bitmap_alloc(nr_pages);
	uint64_t i;

	TEST_ASSERT(bitmap, "no memory");
	kvm_vm_get_dirty_log(vm, TEST_SLOT, bitmap);
	for (i = 0; i < nr_pages; i++)
		if (test_bit(i, bitmap))
			report_page(TEST_SLOT, i, NULL);
	free(bitmap);
}

/* Rings, as small as can be: they are full again and again. */

/* Up to which entry each was collected when it was full last. */
static uint32_t full_at[MAX_VCPUS];

/* vCPUs' threads and the main one collect. */
static pthread_mutex_t collecting = PTHREAD_MUTEX_INITIALIZER;

static bool have_rings(void)
{
	return dirty_ring_max_entries() >= dirty_ring_min_entries();
}

static void enable_rings(void)
{
	vm_enable_dirty_ring(vm, dirty_ring_min_entries() *
				 sizeof(struct kvm_dirty_gfn));
}

static void map_rings(void)
{
	int i;

	for (i = 0; i < nr_vcpus; i++) {
		dirty_ring_map(&rings[i], vm, i, dirty_ring_min_entries());
		full_at[i] = 0;
	}
}

static void unmap_rings(void)
{
	int i;

	for (i = 0; i < nr_vcpus; i++)
		dirty_ring_unmap(&rings[i]);
}

static void collect_rings(void)
{
	uint32_t count = 0, reset;
	int i;

	pthread_mutex_lock(&collecting);
	for (i = 0; i < nr_vcpus; i++)
		count += dirty_ring_harvest(&rings[i], rings[i].entries,
					    report_page, NULL);
	reset = vm_reset_dirty_rings(vm);
	TEST_ASSERT(reset == count, "%u entries collected, %u reset", count,
		    reset);
	pthread_mutex_unlock(&collecting);
}

/* Whoever collects, between two exits for a full ring there are new entries. */
static void collect_full_ring(uint32_t vcpu_id)
{
	uint32_t next;

	collect_rings();
	next = READ_ONCE(rings[vcpu_id].next);
	TEST_ASSERT(next != full_at[vcpu_id],
		    "vCPU %u: its ring is full, with nothing to collect from entry %u on",
		    vcpu_id, next);
	full_at[vcpu_id] = next;
}

/**
 * struct tracking - a way to track dirty pages
 * @name: for option -l
 * @supported: tells if this kernel has it; may be missing
 * @enable: called before there are vCPUs; may be missing
 * @begin: called when they are there; may be missing
 * @end: undoes @begin; may be missing
 * @collect: report what was written since the last time
 * @lasting: reports remain when logging stops
 */
static const struct tracking {
	const char *name;
	bool (*supported)(void);
	void (*enable)(void);
	void (*begin)(void);
	void (*end)(void);
	void (*collect)(void);
	bool lasting;
} trackings[] = {
	{
		.name = "bitmap",
		.collect = collect_bitmap,
	}, {
		.name = "ring",
		.supported = have_rings,
		.enable = enable_rings,
		.begin = map_rings,
		.end = unmap_rings,
		.collect = collect_rings,
		.lasting = true,
	},
};

static const struct tracking *tracking;

static void log_dirty_pages(void)
{
	vm_mem_region_set_flags(vm, TEST_SLOT, KVM_MEM_LOG_DIRTY_PAGES);
}

static void stop_logging(void)
{
	vm_mem_region_set_flags(vm, TEST_SLOT, 0);
}

/*
 * Stages
 */

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

	if (run->exit_reason == KVM_EXIT_DIRTY_RING_FULL) {
		__sync_fetch_and_add(&totals.full, 1);
		collect_full_ring(vcpu_id);
		return true;
	}

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

	tracking->collect();
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
		while_used(tracking->collect);
		while_used(stop_logging);
	}
	let_finish();
	end_stage(threads, "switched while used");
	if (tracking->lasting)
		tracking->collect();

	run_stage("calm again", GUEST_WRITE, 0, 1);
	check_blocks("calm again", state.blocks);
}

/*
 * The VM
 */

#ifdef __x86_64__

static bool read_flag(const char *path)
{
	char flag = 'N';
	int fd;

	fd = open(path, O_RDONLY);
	if (fd < 0)
		return false;
	if (read(fd, &flag, 1) != 1)
		flag = 'N';
	close(fd);
	return flag == 'Y' || flag == '1';
}

/* Return: whether the CPU has page tables for guest physical addresses. */
static bool have_tdp(void)
{
	return read_flag(is_intel_cpu() ?
			 "/sys/module/kvm_intel/parameters/ept" :
			 "/sys/module/kvm_amd/parameters/npt");
}

/* Return: whether the CPU has leaf entries for 1 GiB. */
static bool have_1g_blocks(void)
{
	return kvm_get_supported_cpuid_entry(0x80000001)->edx & (1 << 26);
}

#define PTE_PRESENT	(1ul << 0)
#define PTE_WRITABLE	(1ul << 1)
#define PTE_LARGE	(1ul << 7)
#define PTE_ADDRESS	0xffffffffff000ul

/* The guest's PDE of a virtual address. */
static uint64_t *guest_pde(uint64_t gva)
{
	uint64_t *table, index;
	struct kvm_sregs sregs;
	int shift;

	vcpu_sregs_get(vm, 0, &sregs);
	table = addr_gpa2hva(vm, sregs.cr3 & PTE_ADDRESS);
	for (shift = 39; ; shift -= 9) {
		index = gva >> shift & 511;
		if (shift == 21)
			return &table[index];
		table = addr_gpa2hva(vm, table[index] & PTE_ADDRESS);
	}
}

/* Give the guest large pages in place of the small ones that it has. */
static void use_large_guest_pages(uint64_t gpa)
{
	uint64_t offset;

	for (offset = 0; offset < mem_size; offset += SIZE_2M)
		*guest_pde(GUEST_TEST_MEM + offset) =
			(gpa + offset) | PTE_LARGE | PTE_WRITABLE | PTE_PRESENT;
}

/*
 * The largest block that KVM can use, in bytes. KVM has none
 * where guest physical and host virtual addresses are not aligned alike.
 */
static uint64_t block_size(bool large_guest_pages, uint64_t gpa)
{
	uint64_t size = backing_src_granule(src);
	uint64_t skew = gpa ^ (uintptr_t)mem;

	if (size >= SIZE_1G && have_tdp() && have_1g_blocks() &&
	    !(skew & (SIZE_1G - 1)))
		return SIZE_1G;
	if (size >= SIZE_2M && (have_tdp() || large_guest_pages) &&
	    !(skew & (SIZE_2M - 1)))
		return SIZE_2M;
	return page_size;
}

#else

#error "which blocks does this architecture have?"

#endif

static void create_vm(void)
{
	uint64_t pages;
	int i;

	/* Memory for page tables comes from the first slot, as the rest does. */
	pages = DEFAULT_GUEST_PHY_PAGES + nr_vcpus * DEFAULT_STACK_PGS;
	pages += 2 * (pages + (mem_size >> 12)) / 512;
	vm = vm_create(guest_mode, vm_adjust_num_guest_pages(guest_mode, pages),
		       O_RDWR);
	kvm_vm_elf_load(vm, program_invocation_name, 0, 0);
#ifdef __x86_64__
	vm_create_irqchip(vm);
#endif
	if (tracking->enable)
		tracking->enable();
	for (i = 0; i < nr_vcpus; i++) {
		vm_vcpu_add_default(vm, i, guest_code);
#ifdef __x86_64__
		vcpu_set_cpuid(vm, i, kvm_get_supported_cpuid());
#endif
		vcpu_args_set(vm, i, 1, (uint64_t)i);
	}
	if (tracking->begin)
		tracking->begin();
	shared_tasks = addr_gva2hva(vm, (vm_vaddr_t)tasks);
	page_size = vm_get_page_size(vm);
	nr_pages = mem_size / page_size;
}

/* The top of the guest's address space, if nothing else is asked for. */
static uint64_t choose_gpa(void)
{
	uint64_t align = max(backing_src_granule(src), SIZE_2M);
	uint64_t top = (uint64_t)vm_get_max_gfn(vm) * page_size;

	return phys_offset ?: (top - mem_size) & ~(align - 1);
}

static void add_memory(bool large_guest_pages)
{
	uint64_t gpa = choose_gpa(), size;

	vm_userspace_mem_region_add(vm, src, gpa, TEST_SLOT, nr_pages, 0);
	virt_map(vm, GUEST_TEST_MEM, gpa, nr_pages, 0);
	if (large_guest_pages)
		use_large_guest_pages(gpa);
	mem = addr_gpa2hva(vm, gpa);
	memset(mem, 0, mem_size);

	size = block_size(large_guest_pages, gpa);
	state.blocks = size > page_size ? mem_size / size : 0;
	state.block_pages = (size > page_size ? size : SIZE_2M) / page_size;
}

static void setup(bool large_guest_pages)
{
	int i;

	create_vm();
	add_memory(large_guest_pages);
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
	memset(&totals, 0, sizeof(totals));
}

static void cleanup(void)
{
	free(state.expected);
	free(state.written);
	free(state.reported);
	if (tracking->end)
		tracking->end();
	kvm_vm_free(vm);
}

/* Return: how many bytes of the memory are transparent huge pages. */
static size_t count_thps(void)
{
	uintptr_t start = 0, end = 0, from = (uintptr_t)mem;
	size_t kib, bytes = 0;
	char line[512];
	FILE *file;

	file = fopen("/proc/self/smaps", "r");
	TEST_ASSERT(file, "no /proc/self/smaps, errno: %i", errno);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			continue;
		if (start < from + mem_size && end > from &&
		    sscanf(line, "AnonHugePages: %zu kB", &kib) == 1)
			bytes += kib << 10;
	}
	fclose(file);

	return bytes;
}

/*
 * Pages of hugetlbfs, reserved while the test runs.
 */

static size_t old_reserve;

static void hugetlb_file(char *path, size_t len, const char *name)
{
	snprintf(path, len, HUGETLB_DIR "/%s", backing_src_granule(src) >> 10,
		 name);
}

static size_t read_hugetlb(const char *name)
{
	char path[128];
	size_t value = 0;
	FILE *file;

	hugetlb_file(path, sizeof(path), name);
	file = fopen(path, "r");
	TEST_ASSERT(file && fscanf(file, "%zu", &value) == 1,
		    "no number in %s, errno: %i", path, errno);
	fclose(file);

	return value;
}

/* The system reserves as many as it can. */
static void set_reserve(size_t pages)
{
	char path[128];
	FILE *file;

	hugetlb_file(path, sizeof(path), "nr_hugepages");
	file = fopen(path, "w");
	if (!file)
		return;
	fprintf(file, "%zu\n", pages);
	fclose(file);
}

static void restore_reserve(void)
{
	set_reserve(old_reserve);
}

/* Return: whether there are pages enough. */
static bool reserve_hugetlb(void)
{
	size_t need = mem_size / backing_src_granule(src), free_pages;
	char path[128];

	hugetlb_file(path, sizeof(path), "nr_hugepages");
	if (access(path, F_OK)) {
		print_skip("no pages of %zu KiB in this system",
			   backing_src_granule(src) >> 10);
		return false;
	}

	free_pages = read_hugetlb("free_hugepages");
	if (free_pages < need) {
		old_reserve = read_hugetlb("nr_hugepages");
		atexit(restore_reserve);
		set_reserve(old_reserve + need - free_pages);
		free_pages = read_hugetlb("free_hugepages");
	}
	if (free_pages < need) {
		print_skip("%zu pages of %zu KiB can be had, not %zu",
			   free_pages, backing_src_granule(src) >> 10, need);
		return false;
	}

	return true;
}

static bool have_memory(void)
{
	size_t granule = backing_src_granule(src);

	if (!granule) {
		print_skip("no %s memory in this system", backing_src_name(src));
		return false;
	}
	mem_size = roundup(mem_size, max(granule, SIZE_2M));

	return !backing_src_is_hugetlb(src) || reserve_hugetlb();
}

/*
 * The test
 */

static void run_stages(void)
{
	create_blocks();
	start_logging();
	split_half();
	split_all();
	rebuild_blocks();
	rebuild_half();
	switch_while_used();
}

/* Return: whether it could be tested. */
static bool run_test(bool large_guest_pages)
{
	size_t thps;

	if (tracking->supported && !tracking->supported()) {
		ksft_test_result_skip("%s: not supported\n", tracking->name);
		return false;
	}

	setup(large_guest_pages);
	thps = count_thps();
	if (src == VM_MEM_SRC_ANONYMOUS_THP && thps < mem_size) {
		ksft_test_result_skip("%s: %zu of %lu bytes are huge pages\n",
				      tracking->name, thps, mem_size);
		cleanup();
		return false;
	}
	run_stages();
	pr_info("# %lu blocks of %lu pages; %lu pages reported, ring full %lu times\n",
		state.blocks, state.blocks ? state.block_pages : 1,
		totals.reported, totals.full);
	cleanup();
	ksft_test_result_pass("%s, %s, %s guest pages\n", tracking->name,
			      backing_src_name(src),
			      large_guest_pages ? "large" : "small");
	return true;
}

static void __attribute__((noreturn))
help(const char *name)
{
	int i;

	printf("usage: %s [-h] [-m mode] [-p offset] [-b size] [-v vcpus]\n"
	       "       [-s source] [-l tracking]\n"
	       " -m: guest mode ID (default: %d)\n", name, VM_MODE_DEFAULT);
	for (i = 0; i < NUM_VM_MODES; i++)
		printf("         %d: %s%s\n", i, vm_guest_mode_string(i),
		       i == VM_MODE_DEFAULT ? " (supported)" : "");
	printf(" -p: guest physical offset of the test memory\n"
	       "     Warning: a low offset can conflict with the loaded test code.\n"
	       " -b: size of the test memory, e.g. 10M or 3G (default: %luM);\n"
	       "     it is rounded up to whole pages of its source\n"
	       " -v: vCPUs, 1 to %u (default: %u)\n"
	       " -l: how dirty pages are tracked: all (default), bitmap, ring\n"
	       " -s: what the memory is made of (default: anonymous)\n",
	       DEFAULT_MEM_SIZE >> 20, MAX_VCPUS, DEFAULT_VCPUS);
	backing_src_help();
	exit(0);
}

/* NULL stands for all. */
static const struct tracking *find_tracking(const char *name)
{
	int i;

	if (!strcmp(name, "all"))
		return NULL;
	for (i = 0; i < ARRAY_SIZE(trackings); i++)
		if (!strcmp(name, trackings[i].name))
			return &trackings[i];
	usage_error("-l takes all, bitmap or ring, not '%s'", name);
}

static const struct tracking *parse_options(int argc, char *argv[])
{
	const struct tracking *only = NULL;
	int opt;

	while ((opt = getopt(argc, argv, "hm:p:b:v:s:l:")) != -1) {
		switch (opt) {
		case 'm':
			guest_mode = parse_number(opt, 0, NUM_VM_MODES - 1);
			if (guest_mode != VM_MODE_DEFAULT)
				usage_error("guest mode %u (%s) is not supported",
					    guest_mode,
					    vm_guest_mode_string(guest_mode));
			break;
		case 'p':
			phys_offset = parse_number(opt, 0, ULONG_MAX);
			if (phys_offset % getpagesize())
				usage_error("-p takes whole pages, not %#lx",
					    phys_offset);
			break;
		case 'b':
			mem_size = parse_size(optarg);
			if (!mem_size)
				usage_error("-b takes a size, not '%s'", optarg);
			break;
		case 'v':
			nr_vcpus = parse_number(opt, 1, MAX_VCPUS);
			break;
		case 's':
			if (backing_src_by_name(optarg, &src))
				usage_error("no memory source '%s', -h lists them",
					    optarg);
			break;
		case 'l':
			only = find_tracking(optarg);
			break;
		case 'h':
			help(argv[0]);
		default:
			exit(KSFT_FAIL);
		}
	}
	if (optind < argc)
		usage_error("what is '%s'?", argv[optind]);

	return only;
}

int main(int argc, char *argv[])
{
	const struct tracking *only;
	bool tested = false;
	int sizes, i;

	setbuf(stdout, NULL);
	only = parse_options(argc, argv);
	if (access(KVM_DEBUGFS, F_OK)) {
		print_skip("no " KVM_DEBUGFS);
		return KSFT_SKIP;
	}
	if (!have_memory())
		return KSFT_SKIP;

	/* The guest's page tables matter where KVM shadows them. */
	sizes = have_tdp() ? 1 : 2;
	ksft_print_header();
	ksft_set_plan((only ? 1 : ARRAY_SIZE(trackings)) * sizes);
	for (tracking = trackings;
	     tracking < trackings + ARRAY_SIZE(trackings); tracking++) {
		if (only && only != tracking)
			continue;
		for (i = 0; i < sizes; i++)
			tested |= run_test(i);
	}

	ksft_print_cnts();
	return tested ? KSFT_PASS : KSFT_SKIP;
}
