// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "qemu.h"
#include "util.h"

#define MAX_ARGS	40

struct args {
	const char *arg[MAX_ARGS];
	int n;
};

/* One option and its value, in which FORMAT may be NULL for none. */
static void add(struct args *a, const char *option, const char *format, ...)
{
	va_list values;
	char *value;

	if (a->n + 3 > MAX_ARGS)
		die("too many arguments");
	a->arg[a->n++] = option;
	if (!format)
		return;
	va_start(values, format);
	if (vasprintf(&value, format, values) < 0)
		die("out of memory");
	va_end(values);
	a->arg[a->n++] = value;
}

static void become_qemu(const struct qemu_options *o, const char *incoming,
			int qmp)
{
	struct args a = { .arg = { o->program }, .n = 1 };

	add(&a, "-nodefaults", NULL);
	add(&a, "-no-user-config", NULL);
	add(&a, "-machine", "pc");
	/* It would want an option ROM. */
	add(&a, "-global", "apic-common.vapic=off");
	if (o->ring)
		add(&a, "-accel", "kvm,dirty-ring-size=%s", o->ring);
	else
		add(&a, "-accel", "kvm");
	add(&a, "-m", "%u", o->memory);
	add(&a, "-bios", "%s", o->firmware);
	add(&a, "-fw_cfg", "name=opt/dirty,string=%s", o->job);
	add(&a, "-display", "none");
	add(&a, "-serial", "stdio");
	add(&a, "-chardev", "socket,id=qmp,fd=%d", qmp);
	add(&a, "-mon", "chardev=qmp,mode=control");
	if (incoming)
		add(&a, "-incoming", "%s", incoming);
	if (o->trace)
		add(&a, "-trace", "%s", o->trace);
	execv(a.arg[0], (char **)a.arg);
	die("%s: %m", a.arg[0]);
}

void qemu_start(struct qemu *q, const struct qemu_options *o,
		const char *incoming)
{
	int qmp[2], serial[2], null;

	memset(q, 0, sizeof(*q));
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, qmp) || pipe(serial))
		die("no pipes: %m");
	fflush(NULL);
	q->pid = fork();
	if (q->pid < 0)
		die("fork: %m");
	if (!q->pid) {
		at_death(NULL);
		null = open("/dev/null", O_RDONLY);
		dup2(null, STDIN_FILENO);
		dup2(serial[1], STDOUT_FILENO);
		close(qmp[0]);
		become_qemu(o, incoming, qmp[1]);
	}
	close(qmp[1]);
	close(serial[1]);
	q->qmp = qmp[0];
	q->serial = serial[0];
	/* The next QEMU must not hold this one's ends open. */
	fcntl(q->qmp, F_SETFD, FD_CLOEXEC);
	fcntl(q->serial, F_SETFD, FD_CLOEXEC);
	fcntl(q->serial, F_SETFL, O_NONBLOCK);
	qemu_send(q, "qmp_capabilities", "");
}

static bool is_event(const char *line, const char *name)
{
	char text[64];

	snprintf(text, sizeof(text), "\"event\": \"%s\"", name);
	return strstr(line, text);
}

static void handle_event(struct qemu *q, const char *line)
{
	if (is_event(line, "MIGRATION_PASS")) {
		q->passes++;
	} else if (is_event(line, "RESUME")) {
		q->resumed = true;
	} else if (is_event(line, "MIGRATION")) {
		if (strstr(line, "\"completed\""))
			q->migration = MIGRATION_COMPLETED;
		else if (strstr(line, "\"failed\""))
			q->migration = MIGRATION_FAILED;
	}
}

static void handle_line(void *to, char *line)
{
	struct qemu *q = to;

	if (!strncmp(line, "{\"QMP\"", 6))
		q->ready = true;
	else if (strstr(line, "\"event\": "))
		handle_event(q, line);
	else if (strstr(line, "\"error\": "))
		die("QEMU says: %s", line);
	else
		snprintf(q->reply, sizeof(q->reply), "%s", line);
}

void qemu_read(struct qemu *q)
{
	int code;

	if (!read_some(q->qmp, q->buf, &q->len, sizeof(q->buf))) {
		code = qemu_wait(q);
		if (q->ready || code != 128 + SIGABRT)
			die("QEMU ended with exit code %d", code);
		q->aborted = true;
		return;
	}
	each_line(q->buf, &q->len, handle_line, q);
}

void qemu_send(struct qemu *q, const char *name, const char *arguments)
{
	q->reply[0] = 0;
	if (dprintf(q->qmp, "{'execute': '%s', 'arguments': {%s}}", name, arguments) < 0)
		die("QEMU takes no command: %m");
}

unsigned long qemu_number(const struct qemu *q, const char *name)
{
	char text[64];
	const char *at;

	snprintf(text, sizeof(text), "\"%s\": ", name);
	at = strstr(q->reply, text);
	if (!at)
		die("no %s in QEMU's reply: %s", name, q->reply);
	return strtoul(at + strlen(text), NULL, 10);
}

int qemu_wait(struct qemu *q)
{
	int status;

	if (!q->pid || waitpid(q->pid, &status, 0) != q->pid)
		die("no QEMU to wait for");
	q->pid = 0;
	close(q->qmp);
	close(q->serial);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void qemu_kill(struct qemu *q)
{
	if (!q->pid)
		return;
	kill(q->pid, SIGKILL);
	qemu_wait(q);
}
