// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util.h"

static void (*last_act)(void);

void at_death(void (*function)(void))
{
	last_act = function;
}

void die(const char *format, ...)
{
	void (*act)(void) = last_act;
	va_list args;

	fflush(stdout);
	fputs("FAIL: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	last_act = NULL;
	if (act)
		act();
	exit(1);
}

int read_some(int fd, char *buf, size_t *len, size_t size)
{
	ssize_t n;

	if (*len == size)
		die("a line of more than %zu bytes: %.100s", size, buf);
	n = read(fd, buf + *len, size - *len);
	if (n < 0) {
		if (errno == EAGAIN || errno == EINTR)
			return 1;
		if (errno == ECONNRESET)
			return 0;
		die("read: %m");
	}
	*len += n;
	return n > 0;
}

void each_line(char *buf, size_t *len, void (*handle)(void *to, char *line),
	       void *to)
{
	char *line = buf, *end;

	while ((end = memchr(line, '\n', *len - (line - buf)))) {
		*end = 0;
		if (end > line && end[-1] == '\r')
			end[-1] = 0;
		handle(to, line);
		line = end + 1;
	}
	*len -= line - buf;
	memmove(buf, line, *len);
}
