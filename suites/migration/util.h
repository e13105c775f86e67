/* SPDX-License-Identifier: GPL-2.0 */
#ifndef MIGRATE_UTIL_H
#define MIGRATE_UTIL_H

#include <stddef.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* Say why this test fails, stop all that runs, and exit with 1. */
void die(const char *format, ...)
	__attribute__((noreturn, format(printf, 1, 2)));

/* Be called by die() before it exits; one function at most. */
void at_death(void (*function)(void));

/*
 * Read what is there from FD, which does not block, to the end of BUF, which holds
 * *LEN of SIZE bytes. Returns 0 at the end of the file.
 */
int read_some(int fd, char *buf, size_t *len, size_t size);

/* Call HANDLE with each whole line of BUF, without its end, and remove them. */
void each_line(char *buf, size_t *len, void (*handle)(void *to, char *line),
	       void *to);

#endif /* MIGRATE_UTIL_H */
