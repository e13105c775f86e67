/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the guest says on its serial port, across all machines that it has been on:
 * one text, in which each tick follows the last.
 */
#ifndef MIGRATE_GUEST_LOG_H
#define MIGRATE_GUEST_LOG_H

struct guest_log {
	char buf[4096];
	size_t len;
	unsigned int starts;		/* how often it has started */
	unsigned long ticks;		/* sweeps over all its pages */
	unsigned long writes;		/* pages written until the last tick */
	unsigned long bad;		/* pages it found to be wrong */
};

/*
 * Read what is in FD, which does not block. Anything that is wrong, be it with the
 * guest's memory or with the order of ticks, is the end: die().
 * Returns 0 at the end of the file.
 */
int guest_log_read(struct guest_log *log, int fd);

#endif /* MIGRATE_GUEST_LOG_H */
