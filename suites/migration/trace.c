// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "trace.h"
#include "util.h"

#define TRACING		"/sys/kernel/tracing/"
#define FULL_EXITS	"/sys/kernel/debug/kvm/dirty_ring_full_exit"
#define RESET_RINGS	_IO(KVMIO, 0xc7)	/* KVM_RESET_DIRTY_RINGS */

/* QEMU's period for its count of dirty pages; see sync_ends(). */
#define PERIOD_MS	1000

/* A thread of QEMU that does tracking, and what it is at. */
struct thread {
	int pid;
	bool sync;		/* in a sync of the migration */
	bool reap;		/* harvesting rings, outside of a sync */
	bool ioctl_next;	/* its next ioctl is one of dirty tracking */
	bool ioctl;		/* in one */
};

static struct thread threads[64];
static unsigned int n_threads;

static int trace_pipe = -1;
static char buf[1 << 16];
static size_t len;

static int running;			/* the pid on the CPU */
static unsigned long now;		/* the time of the last event */
static struct sync current;

/* QEMU's count of dirty pages goes on until its period ends. */
static unsigned long pages_before, period_began;

static unsigned long ticks_per_ms;

/* What tracing itself adds to an ioctl: its mark, and the kernel's events. */
static unsigned long mark_cost, ioctl_cost;

static void put(const char *file, const char *text)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), TRACING "%s", file);
	fd = open(path, O_WRONLY | O_TRUNC);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		die("%s: %m", path);
	close(fd);
}

static void write_qemu_events(void)
{
	FILE *f = fopen(TRACE_QEMU_EVENTS, "w");

	if (!f || fputs("migration_bitmap_sync_start\n"
			"migration_bitmap_sync_end\n"
			"kvm_vm_ioctl\n"
			"kvm_dirty_ring_full\n"
			"kvm_dirty_ring_reap\n"
			"kvm_dirty_ring_reaper\n", f) < 0 || fclose(f))
		die("%s: %m", TRACE_QEMU_EVENTS);
}

static unsigned long ns_of(const struct timespec *t)
{
	return t->tv_sec * 1000000000ul + t->tv_nsec;
}

/* QEMU's milliseconds are those of this clock. */
static void measure_ticks(void)
{
	struct timespec begin, end;
	unsigned long first, last;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	first = __rdtsc();
	do {
		clock_gettime(CLOCK_MONOTONIC, &end);
		last = __rdtsc();
	} while (ns_of(&end) - ns_of(&begin) < 20000000);
	ticks_per_ms = (last - first) * 1000000 / (ns_of(&end) - ns_of(&begin));
}

static void mark_like_qemu(void)
{
	static int marker = -1;
	char text[64];
	int n;

	if (marker < 0)
		marker = open(TRACING "trace_marker", O_WRONLY | O_CLOEXEC);
	n = snprintf(text, sizeof(text), "cost type 0x%x, arg %p\n", 1, text);
	if (write(marker, text, n) != n)
		die("trace_marker: %m");
}

static void call_ioctl(void)
{
	ioctl(-1, KVM_RUN);
}

static unsigned long cost_of(void (*what)(void))
{
	unsigned long first;
	int n = 256;

	what();
	first = __rdtsc();
	while (n--)
		what();
	return (__rdtsc() - first) / 256;
}

void trace_start(void)
{
	put("trace_clock", "x86-tsc");
	put("buffer_size_kb", "8192");
	measure_ticks();
	ioctl_cost = -cost_of(call_ioctl);
	write_qemu_events();
	put("events/raw_syscalls/sys_enter/filter", "id == 16");
	put("events/raw_syscalls/sys_exit/filter", "id == 16");
	put("events/raw_syscalls/enable", "1");
	ioctl_cost += cost_of(call_ioctl);
	mark_cost = cost_of(mark_like_qemu);
	put("events/sched/sched_switch/enable", "1");
	trace_pipe = open(TRACING "trace_pipe", O_RDONLY | O_NONBLOCK);
	if (trace_pipe < 0)
		die("trace_pipe: %m");
}

static struct thread *thread_of(int pid, bool add)
{
	unsigned int i;

	for (i = 0; i < n_threads; i++)
		if (threads[i].pid == pid)
			return &threads[i];
	if (!add)
		return NULL;
	if (n_threads == ARRAY_SIZE(threads))
		n_threads = 0;	/* those of long ago */
	threads[n_threads] = (struct thread){ .pid = pid };
	return &threads[n_threads++];
}

/* The thread that runs had TICKS: what for? */
static void charge(struct account *a, unsigned long ticks)
{
	struct thread *t = thread_of(running, false);

	if (!t)
		return;
	if (t->sync) {
		current.ticks += ticks;
		if (t->ioctl)
			current.kernel_ticks += ticks;
	} else if (t->reap) {
		a->reap_ticks += ticks;
	} else if (t->ioctl) {
		a->clear_ticks += ticks;
	}
}

/*
 * QEMU says how many dirty pages its period had so far. The period ends with the
 * first sync that is more than a second after its begin.
 */
static void sync_ends(struct account *a, unsigned long pages)
{
	if (pages < pages_before)
		pages_before = 0;
	current.pages = pages - pages_before;
	pages_before = pages;
	if (now - period_began > PERIOD_MS * ticks_per_ms) {
		period_began = now;
		pages_before = 0;
	}
	if (a->syncs < MAX_SYNCS)
		a->sync[a->syncs++] = current;
}

static void sync_begins(struct account *a)
{
	current = (struct sync){ 0 };
	if (!a->syncs) {
		pages_before = 0;
		period_began = now;
	}
}

static bool is_tracking(unsigned long ioctl)
{
	return ioctl == KVM_GET_DIRTY_LOG || ioctl == KVM_CLEAR_DIRTY_LOG ||
	       ioctl == RESET_RINGS;
}

/* A line that QEMU wrote: the name of its event, and what this tells. */
static void handle_mark(struct account *a, struct thread *t, const char *text)
{
	unsigned long n;

	if (sscanf(text, "kvm_vm_ioctl type %lx", &n) == 1) {
		t->ioctl_next = is_tracking(n);
	} else if (!strncmp(text, "migration_bitmap_sync_start", 27)) {
		sync_begins(a);
		t->sync = true;
	} else if (sscanf(text, "migration_bitmap_sync_end dirty_pages %lu", &n) == 1) {
		current.ticks -= current.ioctls * (mark_cost + ioctl_cost);
		sync_ends(a, n);
		t->sync = false;
	} else if (!strncmp(text, "kvm_dirty_ring_full", 19) ||
		   !strncmp(text, "kvm_dirty_ring_reaper wakeup", 28)) {
		t->reap = true;
	} else if (!strncmp(text, "kvm_dirty_ring_reap ", 20) ||
		   !strncmp(text, "kvm_dirty_ring_reaper wait", 26)) {
		t->reap = false;
	}
}

static void handle_event(struct account *a, int pid, const char *text)
{
	struct thread *t = thread_of(pid, false);
	const char *next;

	if (!strncmp(text, "sched_switch: ", 14)) {
		next = strstr(text, "next_pid=");
		running = next ? atoi(next + 9) : 0;
	} else if (!strncmp(text, "tracing_mark_write: ", 20)) {
		handle_mark(a, thread_of(pid, true), text + 20);
	} else if (!strncmp(text, "sys_enter: ", 11) && t) {
		t->ioctl = t->ioctl_next;
		t->ioctl_next = false;
		if (t->sync && t->ioctl)
			current.ioctls++;
		/* Nothing was left to reap: the vCPU goes on. */
		if (!t->ioctl)
			t->reap = false;
	} else if (!strncmp(text, "sys_exit: ", 10) && t) {
		t->ioctl = false;
	}
}

/* COMMAND-PID [CPU] FLAGS TIME: EVENT, where COMMAND may have blanks. */
static void handle_line(void *to, char *line)
{
	char *cpu = strstr(line, " ["), *dash, *colon;
	struct account *a = to;
	unsigned long time;
	int pid;

	if (strstr(line, "LOST") && strstr(line, "EVENTS"))
		die("the trace is too slow: %s", line);
	if (!cpu)
		return;
	*cpu = 0;
	dash = strrchr(line, '-');
	if (!dash || sscanf(cpu + 1, "[%*d] %*s %lu: ", &time) != 1)
		die("the trace has a line without a time: %s", cpu + 1);
	pid = atoi(dash + 1);
	colon = strstr(cpu + 1, ": ");
	running = pid;
	if (now)
		charge(a, time - now);
	now = time;
	handle_event(a, pid, colon + 2);
}

/* Of all VMs, but only the source's vCPUs have any. */
static unsigned long read_full_exits(void)
{
	FILE *f = fopen(FULL_EXITS, "r");
	unsigned long n;

	if (!f && errno == ENOENT)
		return 0;	/* a kernel without rings */
	if (!f || fscanf(f, "%lu", &n) != 1)
		die("%s: %m", FULL_EXITS);
	fclose(f);
	return n;
}

void trace_read(struct account *account)
{
	struct pollfd pipe = { .fd = trace_pipe, .events = POLLIN };

	account->full_exits = read_full_exits();
	if (trace_pipe < 0)
		return;
	/* It gives a page at a time. */
	while (poll(&pipe, 1, 0) > 0 &&
	       read_some(trace_pipe, buf, &len, sizeof(buf)))
		each_line(buf, &len, handle_line, account);
}
