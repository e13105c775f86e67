// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty rings in hostile hands. All of a ring is memory that user space
 * writes: here it writes anything, at any time, from several threads and
 * processes, while vCPUs push and others reset, map, unmap, and close. A VMM
 * that does this may lose track of its own guest's pages, but nothing else may
 * happen: resets return, and count no more than the kernel has pushed; memory
 * that is not logged is left alone; other VMs lose nothing; the kernel log has
 * no complaint.
 *
 * Here are options and the VMs that must not notice anything. The rest is in
 * dirty_ring_hostile/: the VM under attack (target.c), forged entries
 * (forged.c), threads and processes at work (races.c), and file descriptors
 * that are closed (closed.c).
 */

#include <limits.h>
#include <signal.h>
#include <time.h>
#include <sys/mman.h>

#include "options.h"
#include "dirty_ring_hostile/hostile.h"

#define NR_TESTS	9

unsigned int seed;
uint64_t min_forged = 1000000;

struct ring_vm target, honest;

uint64_t *forged;
uint64_t reset_entries;

/**
 * test_passed() - report that a test has passed
 * @fmt: as for printf()
 */
void test_passed(const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	ksft_test_result_pass("%s", text);
}

/**
 * test_skipped() - report that a test was skipped
 * @fmt: as for printf()
 */
void test_skipped(const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	ksft_test_result_skip("%s", text);
}

static void test_honest(void)
{
	ring_vm_round(&honest, 0, 0, HONEST_PAGES, 1);
	ring_vm_check_stats(&honest);
	ksft_test_result_pass("another VM lost nothing: %lu rounds, %lu entries, %lu times full\n",
			      honest.value, honest.collected,
			      honest.full_exits);
}

static void test_fresh(void)
{
	struct ring_vm fresh;
	int i;

	ring_vm_create(&fresh, dirty_ring_min_entries(), HONEST_PAGES, 2);
	for (i = 0; i < 8; i++)
		ring_vm_round(&fresh, i % 2, i * 100, HONEST_PAGES - i, 2 * i + 1);
	ring_vm_check_stats(&fresh);
	ksft_test_result_pass("a VM created now loses nothing: %lu entries\n",
			      fresh.collected);
	ring_vm_free(&fresh);
}

static void on_kick(int sig)
{
}

static void parse_options(int argc, char *argv[])
{
	int opt;

	seed = time(NULL);
	while ((opt = getopt(argc, argv, "hn:s:")) != -1) {
		switch (opt) {
		case 'n':
			min_forged = parse_number(opt, 1, ULONG_MAX);
			break;
		case 's':
			seed = parse_number(opt, 0, UINT_MAX);
			break;
		default:
			printf("usage: %s [-h] [-n entries] [-s seed]\n"
			       " -n: forge that many entries at least (default: 1000000)\n"
			       " -s: seed of the random numbers (default: the time)\n",
			       argv[0]);
			exit(opt == 'h' ? KSFT_PASS : KSFT_FAIL);
		}
	}
}

int main(int argc, char *argv[])
{
	struct sigaction kick = { .sa_handler = on_kick };

	setbuf(stdout, NULL);
	parse_options(argc, argv);
	if (!dirty_ring_max_entries())
		ksft_exit_skip("this kernel has no dirty rings\n");

	ksft_print_header();
	ksft_set_plan(NR_TESTS);
	ksft_print_msg("seed %u\n", seed);
	sigaction(SIGUSR1, &kick, NULL);
	forged = mmap(NULL, sizeof(*forged), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(forged != MAP_FAILED, "Insufficient Memory");

	create_target();
	ring_vm_create(&honest, dirty_ring_min_entries(), HONEST_PAGES, 1);
	test_exact();
	test_duel();
	test_storm();
	test_unlogged();
	test_churn();
	test_honest();
	ring_vm_free(&honest);
	ring_vm_free(&target);
	test_killed();
	test_closed();
	test_fresh();

	ksft_print_msg("seed %u: %lu entries forged\n", seed, *forged);
	TEST_ASSERT(*forged >= min_forged, "less than %lu entries forged",
		    min_forged);
	TEST_ASSERT(ksft_test_num() == NR_TESTS, "%u tests of %u have a result",
		    ksft_test_num(), NR_TESTS);
	ksft_exit(!ksft_get_fail_cnt());
}
