// SPDX-License-Identifier: GPL-2.0
/*
 * Migrate a running guest from one QEMU to another on this host, again and again,
 * and see that nothing is lost: the guest verifies its memory itself (guest/), its
 * text on the serial port goes on where it stopped, and the kernel has nothing to
 * say. Exits with 0 if so, with 1 and the reason if not.
 *
 *	migrate [options] QEMU FIRMWARE
 *
 *	-j JOB	what the guest is to do: SHIFT:STRIDE:RANDOM:PAUSE:VERIFY, see
 *		struct job in guest/guest.c
 *	-r N	dirty rings of N entries (a bitmap)
 *	-m MIB	the guest's memory (64)
 *	-b MIB	a second, the bandwidth (32)
 *	-d MS	the limit of the downtime (400)
 *	-n N	this many migrations (1)
 *	-s N	do not let it end before N passes over memory
 *	-f N	nor before N exits for a full ring
 *	-l MIB	a second: before that, measure how fast the guest dirties memory,
 *		and see QEMU slow it down to this (calc-dirty-rate by the ring,
 *		set-vcpu-dirty-limit)
 *	-a	account for what tracking costs the host: lines that begin with
 *		"csv,", see print_account()
 *	-x TEXT	QEMU must refuse to start, and say TEXT
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <syslog.h>
#include <unistd.h>

#include "guest_log.h"
#include "qemu.h"
#include "trace.h"
#include "util.h"

#define ADDRESS		"unix:/tmp/migrate.socket"
#define ERRORS		"/tmp/qemu.errors"

/*
 * While it is not to end: time for a few pages. With 0 QEMU would look for dirty
 * pages once, and end.
 */
#define NEVER_MS	1
/* When it may: what lets it end at once. */
#define SOON_MS		300000
#define SOON_MIB	65536

static struct qemu_options qemu_options = { .job = "10:1:0:0:8", .memory = 64 };
static unsigned int bandwidth = 32, downtime = 400, migrations = 1;
static unsigned int min_passes, min_full, rate_limit;
static bool accounting;
static const char *refusal;

/* The two QEMUs change roles with each migration. */
static struct qemu qemus[2];
static struct qemu *from = &qemus[0], *to = &qemus[1];
static struct guest_log guest;
static struct account account;
static int kernel_log;

static void kill_all(void)
{
	qemu_kill(from);
	qemu_kill(to);
}

/* Wait until something happens, and handle it. The guest is in FROM. */
static void pump(void)
{
	struct pollfd fds[] = {
		{ .fd = from->pid ? from->qmp : -1, .events = POLLIN },
		{ .fd = to->pid ? to->qmp : -1, .events = POLLIN },
		{ .fd = from->pid ? from->serial : -1, .events = POLLIN },
	};

	/* The trace is looked at now and then; its own wake-ups would be in it. */
	if (poll(fds, 3, 100) < 0 && errno != EINTR)
		die("poll: %m");
	if (fds[0].revents)
		qemu_read(from);
	if (fds[1].revents)
		qemu_read(to);
	if (fds[2].revents)
		guest_log_read(&guest, from->serial);
	trace_read(&account);
}

static void command(struct qemu *q, const char *name, const char *arguments)
{
	qemu_send(q, name, arguments);
	while (!q->reply[0])
		pump();
}

static bool try_to_launch(struct qemu *q, const char *incoming)
{
	qemu_start(q, &qemu_options, incoming);
	while (!q->aborted && (!q->ready || !q->reply[0]))
		pump();
	return !q->aborted;
}

/*
 * QEMU 7.2 has a thread that harvests rings once a second, whether their vCPUs are
 * there yet or not. On a slow host they may not be: it finds no ring, and aborts.
 */
static void launch(struct qemu *q, const char *incoming)
{
	if (try_to_launch(q, incoming))
		return;
	if (!qemu_options.ring)
		die("QEMU aborted at its start");
	printf("QEMU aborted at its start, before there was a ring: started again\n");
	if (!try_to_launch(q, incoming))
		die("QEMU aborted at its start twice");
}

/* Let the guest sweep over its memory: the one that it is at, and N whole ones. */
static void wait_for_sweeps(unsigned int n)
{
	unsigned long until = guest.ticks + n + 1;

	while (guest.ticks < until)
		pump();
}

static void set_limits(unsigned int mib, unsigned int ms)
{
	char text[256];

	snprintf(text, sizeof(text), "'max-bandwidth': %lu, 'downtime-limit': %u",
		 (unsigned long)mib << 20, ms);
	command(from, "migrate-set-parameters", text);
}

static void move_guest(void)
{
	from->passes = 0;
	from->migration = MIGRATION_NONE;
	command(from, "migrate-set-capabilities",
		"'capabilities': [{'capability': 'events', 'state': true}]");
	set_limits(bandwidth, min_passes || min_full ? NEVER_MS : downtime);
	command(from, "migrate", "'uri': '" ADDRESS "'");
	if (min_passes || min_full) {
		while (!from->migration && (from->passes < min_passes ||
					    account.full_exits < min_full))
			pump();
		if (!from->migration)
			set_limits(SOON_MIB, SOON_MS);
	}
	while (!from->migration)
		pump();
	if (from->migration == MIGRATION_FAILED)
		die("the migration failed");
	if (from->passes < min_passes || account.full_exits < min_full)
		die("it ended after %u passes and %lu full exits",
		    from->passes, account.full_exits);
	/* All that the guest said here, before anything that it says there. */
	while (poll(&(struct pollfd){ .fd = from->serial, .events = POLLIN }, 1, 0) > 0)
		guest_log_read(&guest, from->serial);
	while (!to->resumed)
		pump();
}

/*
 * csv,sync,MIGRATION,SYNC,PAGES,TICKS,KERNEL_TICKS,IOCTLS for each sync, and
 * csv,migration,MIGRATION,TOTAL_MS,DOWNTIME_MS,SYNCS,BYTES,PAGES,SYNC_TICKS,
 * KERNEL_TICKS,REAP_TICKS,CLEAR_TICKS,FULL_EXITS
 */
static void print_account(unsigned int n)
{
	struct sync sum = { 0 };
	unsigned int i;

	for (i = 0; i < account.syncs; i++) {
		struct sync *s = &account.sync[i];

		printf("csv,sync,%u,%u,%lu,%lu,%lu,%u\n", n, i + 1, s->pages,
		       s->ticks, s->kernel_ticks, s->ioctls);
		sum.pages += s->pages;
		sum.ticks += s->ticks;
		sum.kernel_ticks += s->kernel_ticks;
	}
	printf("csv,migration,%u,%lu,%lu,%lu,%lu,%lu,%lu,%lu,%lu,%lu,%lu\n", n,
	       qemu_number(from, "total-time"), qemu_number(from, "downtime"),
	       qemu_number(from, "dirty-sync-count"),
	       qemu_number(from, "transferred"), sum.pages, sum.ticks,
	       sum.kernel_ticks, account.reap_ticks, account.clear_ticks,
	       account.full_exits);
}

static void print_migration(unsigned int n)
{
	/* It says "completed" before it knows how long it took. */
	do
		command(from, "query-migrate", "");
	while (!qemu_number(from, "total-time"));
	printf("migration %u: %lu ms, downtime %lu ms, %lu syncs, %lu KiB, %lu full exits\n",
	       n, qemu_number(from, "total-time"), qemu_number(from, "downtime"),
	       qemu_number(from, "dirty-sync-count"),
	       qemu_number(from, "transferred") >> 10, account.full_exits);
	if (accounting)
		print_account(n);
}

/* Ask again and again, as the answer takes QEMU a second or more. */
static void ask(const char *name)
{
	usleep(200000);
	command(from, name, "");
}

static void measure_rate(void)
{
	command(from, "calc-dirty-rate", "'calc-time': 1, 'mode': 'dirty-ring'");
	do
		ask("query-dirty-rate");
	while (!strstr(from->reply, "\"measured\""));
	printf("dirty rate: %lu MiB/s\n", qemu_number(from, "dirty-rate"));
	if (qemu_number(from, "dirty-rate") <= 2 * rate_limit)
		die("the guest is too slow to be slowed down to %u MiB/s",
		    rate_limit);
}

/* QEMU comes close to a limit, and calls that enough. */
static void limit_rate(void)
{
	unsigned long rate;
	char text[64];

	snprintf(text, sizeof(text), "'dirty-rate': %u", rate_limit);
	command(from, "set-vcpu-dirty-limit", text);
	do {
		ask("query-vcpu-dirty-limit");
		rate = qemu_number(from, "current-rate");
	} while (!rate || rate > rate_limit + rate_limit / 2);
	printf("dirty rate: %lu MiB/s, limited to %u MiB/s\n", rate, rate_limit);
	command(from, "cancel-vcpu-dirty-limit", "");
	if (!account.full_exits)
		die("no ring was full");
}

static void end(struct qemu *q)
{
	int code;

	qemu_send(q, "quit", "");
	code = qemu_wait(q);
	if (code)
		die("QEMU quit with exit code %d", code);
}

static void migrate_once(unsigned int n)
{
	struct qemu *tmp;

	memset(&account, 0, sizeof(account));
	launch(to, ADDRESS);
	wait_for_sweeps(1);
	if (rate_limit) {
		measure_rate();
		limit_rate();
	}
	move_guest();
	print_migration(n);
	end(from);
	tmp = from;
	from = to;
	to = tmp;
	wait_for_sweeps(1);
}

static void open_kernel_log(void)
{
	kernel_log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	if (kernel_log < 0 || lseek(kernel_log, 0, SEEK_END) < 0)
		die("/dev/kmsg: %m");
}

/*
 * Words by which the kernel complains of the emulator's clocks, with dirty rings
 * and without: a busy computer makes them stumble.
 */
static const char * const harmless[] = {
	"TSC", "set_tsc_khz:", "clocksource:", "sched_clock:", "hrtimer:", ";CE: ",
};

/* A line of /dev/kmsg is "LEVEL,NUMBER,TIME,FLAGS;TEXT". */
static bool is_complaint(const char *line)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(harmless); i++)
		if (strstr(line, harmless[i]))
			return false;
	return (atoi(line) & 7) <= LOG_WARNING;
}

static void check_kernel_log(void)
{
	char line[8192];
	ssize_t n;

	while ((n = read(kernel_log, line, sizeof(line) - 1)) > 0) {
		line[n] = 0;
		line[strcspn(line, "\n")] = 0;
		if (is_complaint(line))
			die("the kernel said: %s", line);
	}
	if (errno != EAGAIN)
		die("/dev/kmsg: %m");
}

/*
 * A host that has just booted makes QEMU wait for random numbers, some 10^9
 * instructions. Nothing here needs good ones.
 */
static void seed_random(void)
{
	struct {
		struct rand_pool_info info;
		char bytes[64];
	} seed = {
		.info = { .entropy_count = 512, .buf_size = sizeof(seed.bytes) },
	};
	int fd = open("/dev/random", O_WRONLY);

	if (fd < 0 || ioctl(fd, RNDADDENTROPY, &seed))
		die("/dev/random: %m");
	close(fd);
}

static void check_refusal(void)
{
	static char text[4096];
	size_t len = 0;
	int code, fd, stderr_before = dup(STDERR_FILENO);

	fd = open(ERRORS, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || stderr_before < 0)
		die("%s: %m", ERRORS);
	dup2(fd, STDERR_FILENO);
	qemu_start(from, &qemu_options, NULL);
	code = qemu_wait(from);
	dup2(stderr_before, STDERR_FILENO);
	lseek(fd, 0, SEEK_SET);
	read_some(fd, text, &len, sizeof(text) - 1);
	printf("QEMU: exit code %d: %s", code, text);
	if (code != 1)
		die("QEMU's exit code is %d", code);
	if (!strstr(text, refusal))
		die("QEMU did not say: %s", refusal);
}

static void misused(void)
{
	die("usage: migrate [options] QEMU FIRMWARE, see migrate.c");
}

static unsigned int number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (end == text || *end || n > 1000000)
		misused();
	return n;
}

static void parse(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "j:r:m:b:d:n:s:f:l:ax:")) > 0) {
		switch (option) {
		case 'j':
			qemu_options.job = optarg;
			break;
		case 'r':
			qemu_options.ring = optarg;
			break;
		case 'm':
			qemu_options.memory = number(optarg);
			break;
		case 'b':
			bandwidth = number(optarg);
			break;
		case 'd':
			downtime = number(optarg);
			break;
		case 'n':
			migrations = number(optarg);
			break;
		case 's':
			min_passes = number(optarg);
			break;
		case 'f':
			min_full = number(optarg);
			break;
		case 'l':
			rate_limit = number(optarg);
			break;
		case 'a':
			accounting = true;
			qemu_options.trace = "events=" TRACE_QEMU_EVENTS;
			break;
		case 'x':
			refusal = optarg;
			break;
		default:
			misused();
		}
	}
	if (argc - optind != 2)
		misused();
	qemu_options.program = argv[optind];
	qemu_options.firmware = argv[optind + 1];
}

int main(int argc, char **argv)
{
	unsigned int n;

	setvbuf(stdout, NULL, _IOLBF, 0);
	parse(argc, argv);
	at_death(kill_all);
	seed_random();
	if (refusal) {
		check_refusal();
		return 0;
	}
	open_kernel_log();
	if (accounting)
		trace_start();
	launch(from, NULL);
	for (n = 1; n <= migrations; n++)
		migrate_once(n);
	end(from);
	check_kernel_log();
	printf("%u migrations, %lu pages written, verified %lu times, none lost\n",
	       migrations, guest.writes, guest.ticks);
	return 0;
}
