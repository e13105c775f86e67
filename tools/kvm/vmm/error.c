// SPDX-License-Identifier: GPL-2.0-only
/*
 * Error messages.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#include "internal.h"

static void __attribute__((cold, format(printf, 3, 0)))
format(char *text, int error, const char *fmt, va_list ap)
{
	int len = vsnprintf(text, VMM_ERROR_SIZE, fmt, ap);

	if (len < 0 || len >= VMM_ERROR_SIZE)
		return;
	/* Threads may not share strerror()'s buffer: %m has none. */
	errno = -error;
	snprintf(text + len, VMM_ERROR_SIZE - len, ": %m");
}

int error_text(char *text, int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	format(text, error, fmt, ap);
	va_end(ap);
	return error;
}

int vcpu_error(struct vcpu *vcpu, int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	format(vcpu->error, error, fmt, ap);
	va_end(ap);
	return error;
}

void vmm_fail(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("error: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

void vmm_skip(const char *fmt, ...)
{
	va_list ap;

	fputs("# skipped: ", stdout);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	exit(4);
}
