// SPDX-License-Identifier: GPL-2.0
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "guest_log.h"
#include "util.h"

static void handle_tick(struct guest_log *log, const char *line)
{
	unsigned long tick, writes, bad;
	int end = 0;

	if (sscanf(line, "tick %lu writes %lu bad %lu%n",
		   &tick, &writes, &bad, &end) != 3 || line[end])
		die("the guest's text is broken: %s", line);
	if (tick != log->ticks)
		die("the guest did not go on where it stopped: tick %lu after %lu ticks",
		    tick, log->ticks);
	if (writes <= log->writes)
		die("the guest's writes went from %lu to %lu", log->writes, writes);
	if (bad)
		die("the guest found %lu bad pages in its sweep %lu", bad, tick);
	log->ticks++;
	log->writes = writes;
}

static void handle_line(void *to, char *line)
{
	struct guest_log *log = to;

	if (!strncmp(line, "start: ", 7)) {
		printf("guest: %s\n", line);
		if (log->starts++)
			die("the guest started again");
	} else if (!strncmp(line, "page ", 5)) {
		/* Its tick will tell how many these are. */
		printf("guest: %s\n", line);
	} else {
		handle_tick(log, line);
	}
}

int guest_log_read(struct guest_log *log, int fd)
{
	int open = read_some(fd, log->buf, &log->len, sizeof(log->buf));

	each_line(log->buf, &log->len, handle_line, log);
	return open;
}
