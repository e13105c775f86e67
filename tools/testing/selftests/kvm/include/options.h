/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Options of a test's command line. A bad one gives a line on stderr, and the
 * test ends with KSFT_FAIL before it has done anything.
 */
#ifndef SELFTEST_KVM_OPTIONS_H
#define SELFTEST_KVM_OPTIONS_H

#include <stdint.h>

void usage_error(const char *fmt, ...)
	__attribute__((noreturn, format(printf, 1, 2)));
uint64_t parse_number(int opt, uint64_t low, uint64_t high);

#endif /* SELFTEST_KVM_OPTIONS_H */
