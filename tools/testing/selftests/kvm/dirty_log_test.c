// SPDX-License-Identifier: GPL-2.0
/*
 * KVM dirty page tracking test
 *
 * vCPUs write pages by a script while the host collects the pages that KVM
 * reports as dirty, in each mode of tracking: by bitmap, cleared at once or by
 * hand, and by dirty ring. The oracle of dirty_oracle.h judges each report, and
 * each page that was not reported.
 *
 * Here are rounds and options. The rest is in dirty_log/: what vCPUs write
 * (scripts.c), their threads (vcpus.c), how pages are tracked and collected
 * (modes.c), and the machine (vm.c).
 */

#include <limits.h>
#include <time.h>
#include <linux/kernel.h>

#include "options.h"
#include "dirty_log/dirty_log.h"

#define DEFAULT_ROUNDS		32
#define DEFAULT_RING_ENTRIES	4096
#define DEFAULT_VCPUS		2

/* Logging is switched on that often, with a share of the rounds each time. */
#define LIVES			2

/* Options. */
static unsigned long nr_rounds = DEFAULT_ROUNDS;
static unsigned int seed;
unsigned long interval;
uint32_t wanted_entries = DEFAULT_RING_ENTRIES;
uint32_t nr_vcpus = DEFAULT_VCPUS;
uint64_t phys_offset;

/* The machine under test. */
const struct log_mode *mode;
struct kvm_vm *vm;
struct vcpu vcpus[MAX_VCPUS];
struct oracle oracle;
uint32_t ring_entries;
bool endless;

/*
 * Rounds.
 */

/* Write and collect, until the script is at its end and nothing is left. */
static void play_round(unsigned int pattern)
{
	uint32_t i;

	write_scripts(pattern);
	for (i = 0; !all_done(); i++) {
		if (i == HOT_COLLECTIONS)
			end_scripts();
		mode->pace();
		mode->collect();
	}
	collect_stopped();
}

/* With logging off, nothing is reported; only a ring could show it. */
static void play_unlogged(void)
{
	write_scripts(0);
	while (!all_done())
		run_to(NO_GOAL);
	if (mode->max_entries)
		mode->harvest(ALL_ENTRIES);
	TEST_ASSERT(!oracle.nr_reports, "pages reported that are not logged");
	judge();
}

static void set_logging(bool on)
{
	uint32_t i;

	for (i = 0; i < oracle.nr_slots; i++)
		vm_mem_region_set_flags(vm, oracle.slots[i].id,
					on ? KVM_MEM_LOG_DIRTY_PAGES : 0);
	if (!on)
		return;

	if (mode->log_on)
		mode->log_on();
	mode->harvest(ALL_ENTRIES);
#ifdef __s390x__
	/* What was written before counts, and the segments around it. */
	oracle.nr_reports = 0;
#endif
	TEST_ASSERT(!oracle.nr_reports, "page reported before it was written");
	oracle_log_on(&oracle);
}

static void run_test(enum vm_guest_mode guest_mode)
{
	unsigned long round, life;
	uint64_t full = 0;
	struct vcpu *v;

	create_vm(guest_mode);
	start_threads();
	for (life = 0, round = 0; life < LIVES; life++) {
		play_unlogged();
		set_logging(true);
		for (; round < (life + 1) * nr_rounds / LIVES; round++)
			play_round(round % nr_patterns);
		set_logging(false);
	}
	if (mode->finish)
		mode->finish();
	stop_threads();

	for_each_vcpu(v)
		full += v->full;
	pr_info("# %s: %lu rounds, %u pages, %lu reports, %lu early, %lu again, ring of %u, %lu times full\n",
		mode->name, round, oracle.nr_pages, oracle.total, oracle.early,
		oracle.again, ring_entries, full);
	free_vm();
}

/*
 * Options.
 */

struct guest_mode {
	bool supported;
	bool enabled;
};

static struct guest_mode guest_modes[NUM_VM_MODES];

static void support_guest_mode(enum vm_guest_mode guest_mode)
{
	guest_modes[guest_mode] = (struct guest_mode){ true, true };
}

static void support_guest_modes(void)
{
#ifdef __x86_64__
	support_guest_mode(VM_MODE_PXXV48_4K);
#endif
#ifdef __aarch64__
	unsigned int limit = kvm_check_cap(KVM_CAP_ARM_VM_IPA_SIZE);

	support_guest_mode(VM_MODE_P40V48_4K);
	support_guest_mode(VM_MODE_P40V48_64K);
	if (limit >= 52)
		support_guest_mode(VM_MODE_P52V48_64K);
	if (limit >= 48) {
		support_guest_mode(VM_MODE_P48V48_4K);
		support_guest_mode(VM_MODE_P48V48_64K);
	}
#endif
#ifdef __s390x__
	support_guest_mode(VM_MODE_P40V48_4K);
#endif
}

static void help(const char *name)
{
	int i;

	printf("usage: %s [-h] [-M mode] [-c entries] [-i rounds] [-I interval]\n"
	       "       [-p offset] [-m mode] [-v vcpus] [-s seed]\n"
	       " -M: how dirty pages are tracked: all (default)", name);
	for (i = 0; i < nr_log_modes; i++)
		printf(", %s", log_modes[i].name);
	printf("\n"
	       " -c: entries of a dirty ring (default: %u)\n"
	       " -i: rounds to play (default: %u)\n"
	       " -I: milliseconds to wait before pages are collected (default: 0)\n"
	       " -p: guest physical offset of the test memory\n"
	       "     Warning: a low offset can conflict with the loaded test code.\n"
	       " -v: vCPUs, 1 to %u (default: %u)\n"
	       " -s: seed of the random numbers (default: the time)\n"
	       " -m: guest mode ID (default: all supported ones); may be repeated\n",
	       DEFAULT_RING_ENTRIES, DEFAULT_ROUNDS, MAX_VCPUS, DEFAULT_VCPUS);
	for (i = 0; i < NUM_VM_MODES; i++)
		printf("       %d: %s%s\n", i, vm_guest_mode_string(i),
		       guest_modes[i].supported ? " (supported)" : "");
	exit(0);
}

static void enable_guest_mode(unsigned int guest_mode)
{
	static bool selected;
	int i;

	if (!guest_modes[guest_mode].supported)
		usage_error("guest mode %u (%s) is not supported", guest_mode,
			    vm_guest_mode_string(guest_mode));
	for (i = 0; !selected && i < NUM_VM_MODES; i++)
		guest_modes[i].enabled = false;
	guest_modes[guest_mode].enabled = true;
	selected = true;
}

/* Return: the mode, or NULL for all of them. */
static const struct log_mode *find_mode(const char *name)
{
	int i;

	if (!strcmp(name, "all"))
		return NULL;
	for (i = 0; i < nr_log_modes; i++) {
		if (!strcmp(name, log_modes[i].name))
			return &log_modes[i];
	}
	usage_error("no mode '%s', -h lists them", name);
}

static const struct log_mode *parse_options(int argc, char *argv[])
{
	const struct log_mode *only = NULL;
	int opt;

	while ((opt = getopt(argc, argv, "hM:c:i:I:p:m:v:s:")) != -1) {
		switch (opt) {
		case 'M':
			only = find_mode(optarg);
			break;
		case 'c':
			wanted_entries = parse_number(opt, 1, 1u << 31);
			break;
		case 'i':
			nr_rounds = parse_number(opt, 1, LONG_MAX / LIVES);
			break;
		case 'I':
			interval = parse_number(opt, 0, INT_MAX / 1000);
			break;
		case 'p':
			phys_offset = parse_number(opt, 0, ~0ul);
			break;
		case 'm':
			enable_guest_mode(parse_number(opt, 0, NUM_VM_MODES - 1));
			break;
		case 'v':
			nr_vcpus = parse_number(opt, 1, MAX_VCPUS);
			break;
		case 's':
			seed = parse_number(opt, 0, UINT_MAX);
			break;
		case 'h':
			help(argv[0]);
			break;
		default:
			exit(KSFT_FAIL);
		}
	}
	if (optind != argc)
		usage_error("'%s' is no option", argv[optind]);
	return only;
}

static void check_ring_entries(void)
{
	uint32_t most = dirty_ring_max_entries();

	if (most && (wanted_entries & (wanted_entries - 1) ||
		     wanted_entries > most ||
		     wanted_entries < dirty_ring_min_entries()))
		usage_error("-c takes a power of two from %u to %u here",
			    dirty_ring_min_entries(), most);
}

static unsigned int count_tests(const struct log_mode *only)
{
	unsigned int i, count = 0;

	for (i = 0; i < NUM_VM_MODES; i++)
		count += guest_modes[i].enabled;
	return count * (only ? 1 : nr_log_modes);
}

/* Return: whether the mode could be tested. */
static bool test_mode(enum vm_guest_mode guest_mode)
{
	if (mode->supported && !mode->supported()) {
		ksft_test_result_skip("%s: not supported\n", mode->name);
		return false;
	}

	pr_info("# %s: %s, seed %u\n", mode->name,
		vm_guest_mode_string(guest_mode), seed);
	srandom(seed);
	run_test(guest_mode);
	ksft_test_result_pass("%s\n", mode->name);
	return true;
}

int main(int argc, char *argv[])
{
	const struct log_mode *only;
	bool tested = false;
	unsigned int i;

	setbuf(stdout, NULL);
	seed = time(NULL);
	support_guest_modes();
	only = parse_options(argc, argv);
	check_ring_entries();
	come_first();

	ksft_print_header();
	ksft_set_plan(count_tests(only));
	for (i = 0; i < NUM_VM_MODES; i++) {
		if (!guest_modes[i].enabled)
			continue;
		for (mode = log_modes; mode < log_modes + nr_log_modes; mode++) {
			if (!only || only == mode)
				tested |= test_mode(i);
		}
	}

	ksft_print_cnts();
	return tested ? KSFT_PASS : KSFT_SKIP;
}
