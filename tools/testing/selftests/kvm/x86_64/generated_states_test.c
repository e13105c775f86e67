// SPDX-License-Identifier: GPL-2.0-only
/*
 * States that user space and guests hand to KVM, generated from a seed: valid
 * ones that are broken in a field or two. The VM may die of them, the host may
 * not, and KVM must say no to what no vCPU can have.
 *
 * What KVM warns about is in the kernel's log only: read it after a run.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "generated_states/generated_states.h"

#define MAX_THREADS	4

static const struct mode modes[] = {
	{ "set", "each KVM_SET_* of a vCPU and a VM", set_round },
	{ "run", "kvm_run, changed while KVM_RUN uses it", run_round },
	{ "nested", "control blocks of an L1", nested_round, true },
	{ "tables", "page tables that user space rewrites, memslots", tables_round },
	{ "ops", "operations of a guest", ops_round },
};

static void help(const char *name)
{
	unsigned int i;

	printf("usage: %s [-s SEED] [-m MODE] [-r ROUNDS] [-n STATES] [-v]\n"
	       "  [-t THREADS] [-f FIRST ROUND] [-o ONLY THREAD]\n"
	       "  a round has a VM a thread, and STATES states for it\n", name);
	for (i = 0; i < ARRAY_LEN(modes); i++)
		printf("  %-8s %s\n", modes[i].name, modes[i].says);
	exit(1);
}

/* After all that, a new VM must work. */
static void check_new_vm(const struct task *task)
{
	struct rng rng = task_rng(task, -2ull);
	struct gvm *vm = gvm_create(&rng, 1, true);

	gvm_sane(&vm->vcpus[0], rnd(&rng));
	gvm_free(vm);
}

int main(int argc, char *argv[])
{
	unsigned int rounds = 20, states = 300, threads = 2, first = 0, only_thread = ~0u;
	const char *only = NULL;
	unsigned int i, round, t, failed = 0;
	uint64_t seed = 1;
	int opt;

	while ((opt = getopt(argc, argv, "s:m:r:n:t:f:o:vh")) != -1) {
		switch (opt) {
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'm':
			only = optarg;
			break;
		case 'r':
			rounds = strtoul(optarg, NULL, 0);
			break;
		case 'n':
			states = strtoul(optarg, NULL, 0);
			break;
		case 't':
			threads = strtoul(optarg, NULL, 0);
			break;
		case 'f':
			first = strtoul(optarg, NULL, 0);
			break;
		case 'o':
			only_thread = strtoul(optarg, NULL, 0);
			break;
		case 'v':
			verbose = true;
			break;
		default:
			help(argv[0]);
		}
	}
	if (!threads || threads > MAX_THREADS)
		help(argv[0]);
	setbuf(stdout, NULL);
	kvm_fd = open("/dev/kvm", O_RDWR);
	if (kvm_fd < 0) {
		printf("1..0 # SKIP no /dev/kvm\n");
		return 4;
	}
	get_capabilities();
	kicker_start();
	printf("# seed %lu, %u rounds of %u states in %u threads\n", seed,
	       rounds, states, threads);
	printf("TAP version 13\n1..%zu\n", only ? 1 : ARRAY_LEN(modes));

	for (i = 0; i < ARRAY_LEN(modes); i++) {
		struct task task = { .seed = seed, .mode = i, .states = states };
		struct helper drivers[MAX_THREADS];
		unsigned int wrong;

		if (only && strcmp(only, modes[i].name))
			continue;
		for (round = first; round < first + rounds; round++) {
			task.round = round;
			for (t = 0; t < threads; t++)
				if (only_thread == ~0u || only_thread == t)
					helper_start(&drivers[t], &task, t,
						     modes[i].round);
			for (t = 0; t < threads; t++)
				if (only_thread == ~0u || only_thread == t)
					pthread_join(drivers[t].thread, NULL);
		}
		check_new_vm(&task);
		print_counts(modes[i].name);
		wrong = problems();
		if (wrong)
			printf("# %u wrong\n", wrong);
		printf("%sok %u - %s\n", wrong ? "not " : "",
		       only ? 1 : i + 1, modes[i].name);
		failed += !!wrong;
	}
	return failed ? 1 : 0;
}
