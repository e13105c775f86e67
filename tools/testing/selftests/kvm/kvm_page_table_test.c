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
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "kvm_trace.h"
#include "processor.h"
#include "backing_src.h"
#include "options.h"
#include "kvm_page_table/page_table.h"

#define DEFAULT_VCPUS		2
#define DEFAULT_MEM_SIZE	(16ul << 20)

static enum vm_guest_mode guest_mode = VM_MODE_DEFAULT;
static uint64_t phys_offset;
enum vm_mem_backing_src_type src = VM_MEM_SRC_ANONYMOUS;
uint64_t mem_size = DEFAULT_MEM_SIZE;
unsigned int nr_vcpus = DEFAULT_VCPUS;

struct kvm_vm *vm;
uint64_t page_size;
uint64_t nr_pages;
void *mem;
struct dirty_tracking tracking;

static void create_vm(const struct dirty_tracker *tracker)
{
	static struct tracked_slot slot = { .slot = TEST_SLOT };
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
	page_size = vm_get_page_size(vm);
	nr_pages = mem_size / page_size;
	slot.npages = nr_pages;
	tracking = (struct dirty_tracking) {
		.tracker = tracker,
		.vm = vm,
		.nr_vcpus = nr_vcpus,
		.slots = &slot,
		.nr_slots = 1,
		.report = report_page,
		.writer = ANY_VCPU,
	};
	dirty_tracking_enable(&tracking);
	for (i = 0; i < nr_vcpus; i++) {
		vm_vcpu_add_default(vm, i, guest_code);
#ifdef __x86_64__
		vcpu_set_cpuid(vm, i, kvm_get_supported_cpuid());
#endif
		vcpu_args_set(vm, i, 1, (uint64_t)i);
	}
	dirty_tracking_begin(&tracking);
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

static void cleanup(void)
{
	cleanup_stages();
	dirty_tracking_end(&tracking);
	kvm_vm_free(vm);
}

/* Return: whether it could be tested. */
static bool run_test(const struct dirty_tracker *tracker, bool large_guest_pages)
{
	size_t thps;

	if (!dirty_tracker_supported(tracker)) {
		ksft_test_result_skip("%s: not supported\n", tracker->name);
		return false;
	}

	create_vm(tracker);
	add_memory(large_guest_pages);
	setup_stages();
	thps = count_thps();
	if (src == VM_MEM_SRC_ANONYMOUS_THP && thps < mem_size) {
		ksft_test_result_skip("%s: %zu of %lu bytes are huge pages\n",
				      tracker->name, thps, mem_size);
		cleanup();
		return false;
	}
	run_stages();
	pr_info("# %lu blocks of %lu pages; %lu pages reported, ring full %lu times\n",
		state.blocks, state.blocks ? state.block_pages : 1,
		state.nr_reported, tracking.full);
	cleanup();
	ksft_test_result_pass("%s, %s, %s guest pages\n", tracker->name,
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
	       " -l: how dirty pages are tracked: all (default)",
	       DEFAULT_MEM_SIZE >> 20, MAX_VCPUS, DEFAULT_VCPUS);
	for (i = 0; i < nr_dirty_trackers; i++)
		printf(", %s", dirty_trackers[i]->name);
	printf("\n -s: what the memory is made of (default: anonymous)\n");
	backing_src_help();
	exit(0);
}

/* NULL stands for all. */
static const struct dirty_tracker *find_tracker(const char *name)
{
	int i;

	if (!strcmp(name, "all"))
		return NULL;
	for (i = 0; i < nr_dirty_trackers; i++)
		if (!strcmp(name, dirty_trackers[i]->name))
			return dirty_trackers[i];
	usage_error("-l takes no '%s', -h tells what", name);
}

static const struct dirty_tracker *parse_options(int argc, char *argv[])
{
	const struct dirty_tracker *only = NULL;
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
			only = find_tracker(optarg);
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
	const struct dirty_tracker *only;
	bool tested = false;
	int sizes, i, j;

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
	ksft_set_plan((only ? 1 : nr_dirty_trackers) * sizes);
	for (i = 0; i < nr_dirty_trackers; i++) {
		if (only && only != dirty_trackers[i])
			continue;
		for (j = 0; j < sizes; j++)
			tested |= run_test(dirty_trackers[i], j);
	}

	ksft_print_cnts();
	return tested ? KSFT_PASS : KSFT_SKIP;
}
