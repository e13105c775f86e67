// SPDX-License-Identifier: GPL-2.0-only
/*
 * Options of a test's command line.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kselftest.h"
#include "options.h"

/**
 * usage_error() - say what is wrong with the command line, and exit
 * @fmt: as for printf(), without a newline
 *
 * Does not return; the exit code is KSFT_FAIL.
 */
void usage_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("error: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputs("\n", stderr);
	va_end(ap);
	exit(KSFT_FAIL);
}

/**
 * parse_number() - the number that getopt() has found as an option's argument
 * @opt: the option's letter
 * @low: the least that it may be
 * @high: the most
 *
 * Decimal, or as in C with 0x or 0 in front. Anything else is a usage error.
 *
 * Return: the number.
 */
uint64_t parse_number(int opt, uint64_t low, uint64_t high)
{
	uint64_t n;
	char *end;

	errno = 0;
	n = strtoull(optarg, &end, 0);
	if (errno || end == optarg || *end || n < low || n > high)
		usage_error("-%c takes a number from %lu to %lu, not '%s'", opt,
			    low, high, optarg);
	return n;
}
