// SPDX-License-Identifier: GPL-2.0-only
/*
 * What was tried, and what went wrong.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "generated_states.h"

#define MAX_COUNTS	128

static struct {
	const char *what;
	unsigned long accepted, refused;
} counts[MAX_COUNTS];
static unsigned int nr_counts, nr_problems;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void count(const char *what, bool accepted)
{
	unsigned int i;

	if (verbose)
		printf("#  %s %s\n", what, accepted ? "accepted" : "refused");
	pthread_mutex_lock(&lock);
	for (i = 0; i < nr_counts && strcmp(counts[i].what, what); i++)
		;
	if (i < MAX_COUNTS) {
		if (i == nr_counts)
			counts[nr_counts++].what = what;
		if (accepted)
			counts[i].accepted++;
		else
			counts[i].refused++;
	}
	pthread_mutex_unlock(&lock);
}

void print_counts(const char *mode)
{
	unsigned long all = 0;
	unsigned int i;

	pthread_mutex_lock(&lock);
	for (i = 0; i < nr_counts; i++) {
		printf("#   %-24s %7lu accepted %7lu refused\n", counts[i].what,
		       counts[i].accepted, counts[i].refused);
		all += counts[i].accepted + counts[i].refused;
	}
	printf("# %s: %lu states\n", mode, all);
	memset(counts, 0, sizeof(counts));
	nr_counts = 0;
	pthread_mutex_unlock(&lock);
	fflush(stdout);
}

/* A wrong answer of KVM's: the first ones are worth a line each. */
void problem(const char *format, ...)
{
	va_list args;

	pthread_mutex_lock(&lock);
	if (nr_problems++ < 20) {
		va_start(args, format);
		printf("# wrong: ");
		vprintf(format, args);
		printf("\n");
		va_end(args);
		fflush(stdout);
	}
	pthread_mutex_unlock(&lock);
}

unsigned int problems(void)
{
	unsigned int nr;

	pthread_mutex_lock(&lock);
	nr = nr_problems;
	nr_problems = 0;
	pthread_mutex_unlock(&lock);
	return nr;
}
