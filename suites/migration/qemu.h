/* SPDX-License-Identifier: GPL-2.0 */
/* A QEMU process: started, spoken to by QMP, listened to, ended. */
#ifndef MIGRATE_QEMU_H
#define MIGRATE_QEMU_H

#include <stdbool.h>
#include <sys/types.h>

struct qemu_options {
	const char *program;
	const char *firmware;
	const char *job;		/* what the guest is to do */
	unsigned int memory;		/* MiB */
	const char *ring;		/* entries of a dirty ring; NULL: a bitmap */
	const char *trace;		/* pattern of trace events; NULL: none */
};

enum migration { MIGRATION_NONE, MIGRATION_COMPLETED, MIGRATION_FAILED };

struct qemu {
	pid_t pid;
	int qmp;
	int serial;			/* does not block */
	char buf[1 << 14];
	size_t len;
	char reply[1 << 13];		/* to the last command; empty: none yet */
	bool ready;			/* it has greeted */
	bool aborted;			/* before it did */
	bool resumed;			/* an incoming migration has ended, it runs */
	unsigned int passes;		/* of its outgoing migration */
	enum migration migration;
};

/* Start QEMU. With INCOMING, it waits for a migration at this address. */
void qemu_start(struct qemu *q, const struct qemu_options *o,
		const char *incoming);

/* Handle what came on q->qmp, which must be readable. */
void qemu_read(struct qemu *q);

/*
 * Send a command of QMP, with its arguments as the inside of a JSON object, which
 * may be empty. The reply comes by qemu_read().
 */
void qemu_send(struct qemu *q, const char *name, const char *arguments);

/* A number of the last reply, by its name there. */
unsigned long qemu_number(const struct qemu *q, const char *name);

/* Wait for the process to end; its exit code. */
int qemu_wait(struct qemu *q);

/* End it now. */
void qemu_kill(struct qemu *q);

#endif /* MIGRATE_QEMU_H */
