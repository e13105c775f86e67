// SPDX-License-Identifier: GPL-2.0-only
/*
 * The watermark of dirty rings: what is refused and with which errno, and when the
 * eventfd is signalled. KVM gives the signal by an interrupt of this CPU, so it has
 * come when the ioctl returns that has filled the ring.
 */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/compiler.h>
#include <linux/kernel.h>

#include <asm/kvm_para.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "dirty_ring_vm.h"
#include "test_thread.h"

#define CAP	KVM_CAP_DIRTY_LOG_RING_WATERMARK
#define PAGES	4096ul
#define MARK	100u

#define check(cond, fmt, ...) \
	ksft_test_result(cond, fmt "\n", ##__VA_ARGS__)

static int new_eventfd(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	TEST_ASSERT(fd >= 0, "eventfd failed, errno: %i", errno);
	return fd;
}

/* Return: how many signals came since the last look. */
static int signals(int fd)
{
	uint64_t count = 0;

	if (read(fd, &count, sizeof(count)) != sizeof(count))
		TEST_ASSERT(errno == EAGAIN, "read failed, errno: %i", errno);
	return count;
}

static int enable(struct kvm_vm *vm, uint32_t flags, uint64_t fd,
		  uint64_t entries, uint64_t arg2, uint64_t arg3)
{
	struct kvm_enable_cap cap = {
		.cap = CAP, .flags = flags, .args = { fd, entries, arg2, arg3 },
	};

	return ioctl(vm_get_fd(vm), KVM_ENABLE_CAP, &cap) ? errno : 0;
}

static void set_watermark(struct ring_vm *r, int fd, uint32_t entries)
{
	int err = enable(r->vm, 0, fd, entries, 0, 0);

	TEST_ASSERT(!err, "no watermark of %u entries, errno: %i", entries, err);
}

static void new_vm(struct ring_vm *r, uint32_t nr_vcpus)
{
	ring_vm_create(r, 2 * dirty_ring_min_entries(), PAGES, nr_vcpus);
}

/* Pages that were not written since the last reset, one after the other. */
static uint64_t next_page;

/* KVM writes pages itself, without entering the guest: one entry for each. */
static void fill(struct ring_vm *r, uint32_t vcpuid, uint32_t count)
{
	for (; count; count--, next_page++)
		TEST_ASSERT(vcpu_write_clocks(vcpu_get_fd(r->vm, vcpuid),
					      RING_VM_MEM + next_page % PAGES *
					      RING_VM_PAGE_SIZE, 1) == 1,
			    "KVM_SET_MSRS failed, errno: %i", errno);
}

static void ignore(uint32_t slot, uint64_t offset, void *data)
{
}

static void harvest(struct ring_vm *r, uint32_t max)
{
	uint32_t i, count = 0;

	for (i = 0; i < r->nr_vcpus; i++)
		count += dirty_ring_harvest(&r->vcpus[i].ring, max, ignore,
					    NULL);
	TEST_ASSERT(vm_reset_dirty_rings(r->vm) == count,
		    "not all of %u entries were reset", count);
}

static void check_errno(struct ring_vm *r, int want, uint32_t flags, uint64_t fd,
			uint64_t entries, uint64_t arg2, uint64_t arg3,
			const char *what)
{
	int err = enable(r->vm, flags, fd, entries, arg2, arg3);

	if (err != want)
		ksft_print_msg("errno %i, not %i\n", err, want);
	check(err == want, "%s", what);
}

static void test_errors(void)
{
	struct kvm_vm *bare = vm_create(VM_MODE_DEFAULT, 0, O_RDWR);
	int null = open("/dev/null", O_RDWR), fd = new_eventfd();
	const int bad = 1000;
	struct ring_vm r;
	uint32_t limit;

	check(kvm_check_cap(CAP) == 1, "offered by /dev/kvm");
	check(ioctl(vm_get_fd(bare), KVM_CHECK_EXTENSION, CAP) == 1,
	      "offered by a VM");
	check(enable(bare, 0, fd, 1, 0, 0) == EINVAL, "no rings");
	check(enable(bare, 0, -1, 0, 0, 0) == EINVAL, "none, but no rings");
	kvm_vm_free(bare);

	new_vm(&r, 1);
	limit = dirty_ring_soft_limit(r.entries);
	set_watermark(&r, fd, MARK);
	check_errno(&r, EINVAL, 1, fd, 1, 0, 0, "flags");
	check_errno(&r, EINVAL, 0, fd, 1, 1, 0, "args[2]");
	check_errno(&r, EINVAL, 0, fd, 1, 0, 1ull << 32, "args[3]");
	check_errno(&r, EINVAL, 0, -1, 0, 1, 0, "none, but args[2]");
	check_errno(&r, EINVAL, 0, fd, 0, 0, 0, "no entries");
	check_errno(&r, EINVAL, 0, fd, limit + 1, 0, 0, "above the soft limit");
	check_errno(&r, EINVAL, 0, fd, (1ull << 32) + 1, 0, 0,
		    "a good number in the lower 32 bits");
	check_errno(&r, EBADF, 0, bad, 1, 0, 0, "no such file");
	check_errno(&r, EBADF, 0, 1ull << 32 | fd, 1, 0, 0,
		    "a good file in the lower 32 bits");
	check_errno(&r, EBADF, 0, -2, 1, 0, 0, "a negative file");
	check_errno(&r, EINVAL, 0, null, 1, 0, 0, "a file that is no eventfd");
	fill(&r, 0, MARK - 1);
	check(!signals(fd), "no error has set a lower watermark");
	fill(&r, 0, 1);
	check(signals(fd) == 1, "no error has taken the watermark away");
	check_errno(&r, 0, 0, fd, limit, 0, 0, "the soft limit");
	check_errno(&r, 0, 0, -1, 0, 0, 0, "none");
	check_errno(&r, 0, 0, (uint32_t)-1, MARK, 0, 0,
		    "none twice, in 32 bits, with a number");
	ring_vm_free(&r);
	close(null);
	close(fd);
}

static void test_crossing(void)
{
	int fd = new_eventfd();
	struct ring_vm r;

	new_vm(&r, 1);
	set_watermark(&r, fd, MARK);
	fill(&r, 0, MARK - 1);
	check(!signals(fd), "one entry less: no signal");
	fill(&r, 0, 1);
	check(signals(fd) == 1, "the watermark is reached: a signal");
	fill(&r, 0, MARK / 2);
	check(!signals(fd), "and no other one beyond it");
	vm_reset_dirty_rings(r.vm);
	fill(&r, 0, 1);
	check(!signals(fd), "nor after a reset that frees nothing");
	harvest(&r, 10);
	check(signals(fd) == 1, "a reset leaves more than that: a signal");
	harvest(&r, r.entries);
	check(!signals(fd), "a reset leaves nothing: no signal");
	fill(&r, 0, MARK);
	check(signals(fd) == 1, "reached again: a signal");
	harvest(&r, 1);
	fill(&r, 0, 1);
	check(signals(fd) == 1, "reached from just below: a signal");
	ring_vm_free(&r);
	close(fd);
}

/* The guest writes the first pages, in one run. */
static void write_pages(struct ring_vm *r, uint64_t count)
{
	ring_vm_job(r, 0, 0, count, 1);
	while (ring_vm_run(r, 0) != RING_VM_DONE)
		;
}

static void test_guest(void)
{
	int fd = new_eventfd();
	struct ring_vm r;

	new_vm(&r, 1);
	set_watermark(&r, fd, MARK);
	write_pages(&r, MARK - 1);
	check(!signals(fd), "the guest writes one page less: no signal");
	ring_vm_harvest(&r);
	write_pages(&r, MARK);
	check(signals(fd) == 1, "the guest reaches the watermark: a signal");
	ring_vm_harvest(&r);
	set_watermark(&r, fd, dirty_ring_soft_limit(r.entries));
	write_pages(&r, dirty_ring_soft_limit(r.entries) - 1);
	check(!signals(fd), "one page below the soft limit: no signal");
	ring_vm_harvest(&r);
	ring_vm_job(&r, 0, 0, PAGES, 1);
	check(ring_vm_run(&r, 0) == RING_VM_FULL && signals(fd) == 1,
	      "the soft limit: a signal, and a full exit");
	ring_vm_free(&r);
	close(fd);
}

static void test_replace(void)
{
	int old = new_eventfd(), fd = new_eventfd();
	struct ring_vm r;

	new_vm(&r, 1);
	set_watermark(&r, old, MARK);
	set_watermark(&r, fd, MARK / 2);
	fill(&r, 0, MARK);
	check(!signals(old) && signals(fd) == 1, "replaced: the new one alone");
	set_watermark(&r, old, MARK);
	check(signals(old) == 1, "set where it is reached: a signal at once");
	set_watermark(&r, old, MARK + 1);
	check(!signals(old), "raised: none yet");
	fill(&r, 0, 1);
	check(signals(old) == 1, "until it is reached");
	set_watermark(&r, -1, 0);
	harvest(&r, r.entries);
	fill(&r, 0, MARK + 1);
	check(!signals(old) && !signals(fd), "taken away: no signal");
	set_watermark(&r, fd, MARK + 2);
	close(fd);
	fill(&r, 0, 2);
	check(!signals(old), "the eventfd is closed: nothing happens");
	ring_vm_free(&r);
	close(old);
}

static void test_vcpus(void)
{
	int fd = new_eventfd();
	struct ring_vm r;

	new_vm(&r, 2);
	fill(&r, 0, 2 * MARK);
	set_watermark(&r, fd, MARK);
	check(signals(fd) == 1, "one ring of two is beyond it: a signal");
	fill(&r, 1, MARK);
	check(signals(fd) == 1, "the other one reaches it: a signal");
	ring_vm_add_vcpu(&r);
	fill(&r, 2, MARK - 1);
	check(!signals(fd), "a vCPU is added: no signal");
	fill(&r, 2, 1);
	check(signals(fd) == 1, "its ring reaches it: a signal");
	ring_vm_free(&r);
	close(fd);
}

/* In a child: this process holds nothing of the VM, the eventfd apart. */
static void die_armed(int fd)
{
	struct ring_vm r;

	new_vm(&r, 1);
	set_watermark(&r, fd, MARK);
	fill(&r, 0, MARK);
	harvest(&r, r.entries);
	fill(&r, 0, MARK - 1);
	kill(getpid(), SIGKILL);
}

static void test_death(void)
{
	int i, status, fd = new_eventfd();
	int died = 0, signalled = 0;
	pid_t pid;

	for (i = 0; i < 8; i++) {
		pid = fork();
		TEST_ASSERT(pid >= 0, "fork failed, errno: %i", errno);
		if (!pid)
			die_armed(fd);
		TEST_ASSERT(waitpid(pid, &status, 0) == pid,
			    "no child, errno: %i", errno);
		died += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
		signalled += signals(fd);
	}
	check(died == 8 && signalled == 8,
	      "a VMM dies with it: one signal each, from before (%i of %i)",
	      signalled, died);
	close(fd);
}

/*
 * A vCPU is scheduled out, which reports its page of steal time with the lock of
 * the run queue held: it must not wait for this lock to wake who waits for the
 * signal. This needs a reset while the vCPU runs, so it comes about on two CPUs,
 * or by luck. The guest writes nothing, or its own pages would take the signal.
 */

#define STEAL_SIGNALS	200

static bool stop;
static int steal_fd, steal_signals;

static void *wait_for_signals(void *data)
{
	struct pollfd pollfd = { .fd = steal_fd, .events = POLLIN };

	while (!READ_ONCE(stop))
		if (poll(&pollfd, 1, 100) > 0)
			WRITE_ONCE(steal_signals,
				   steal_signals + signals(steal_fd));
	return NULL;
}

static void *run_vcpu(void *data)
{
	struct ring_vm *r = data;

	while (!READ_ONCE(stop))
		ring_vm_run(r, 0);
	return NULL;
}

static void *compete(void *data)
{
	while (!READ_ONCE(stop))
		sched_yield();
	return NULL;
}

static void test_steal_time(void)
{
	struct test_thread vcpu, rival, waiter;
	struct ring_vm r;

	new_vm(&r, 1);
	vcpu_set_msr(r.vm, 0, MSR_KVM_STEAL_TIME, RING_VM_MEM | KVM_MSR_ENABLED);
	steal_fd = new_eventfd();
	set_watermark(&r, steal_fd, 1);
	ring_vm_job(&r, 0, 0, 0, 1);
	r.vcpus[0].job->endless = 1;
	test_thread_start(&rival, "rival", compete, NULL);
	test_thread_start(&waiter, "waiter", wait_for_signals, NULL);
	test_thread_start(&vcpu, "vCPU", run_vcpu, &r);
	while (READ_ONCE(steal_signals) < STEAL_SIGNALS)
		harvest(&r, r.entries);
	WRITE_ONCE(stop, true);
	WRITE_ONCE(r.vcpus[0].job->endless, 0);
	test_thread_join(&vcpu);
	test_thread_join(&waiter);
	test_thread_join(&rival);
	check(true, "a vCPU that is scheduled out: %i signals", steal_signals);
	ring_vm_free(&r);
	close(steal_fd);
}

int main(int argc, char *argv[])
{
	setbuf(stdout, NULL);
	if (!dirty_ring_max_entries())
		ksft_exit_skip("this kernel has no dirty rings\n");

	ksft_print_header();
	ksft_set_plan(44);
	test_errors();
	test_crossing();
	test_guest();
	test_replace();
	test_vcpus();
	test_death();
	test_steal_time();
	ksft_exit(!ksft_get_fail_cnt());
}
