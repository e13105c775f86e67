// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty rings and allocations that fail.
 *
 * A VM with a ring is set up in three calls: KVM_ENABLE_CAP, KVM_CREATE_VCPU
 * and the first KVM_RUN. For each of them: in a new VM, the first allocation
 * that the call makes fails; in another VM the second, and so on, until the
 * call makes no allocation that has not failed once. See "fail-nth" in
 * Documentation/fault-injection/fault-injection.rst.
 *
 * The call may then fail, or do without. It fails with ENOMEM, with EFAULT
 * where it looked for guest memory, or with ENOSPC where it mapped some for
 * itself. In either case the VM must work afterwards as if nothing had
 * happened, and report the pages that its guest writes, each once.
 *
 * KASAN and kmemleak watch small objects, but not whole pages. So
 * KVM_CREATE_VCPU, which allocates pages, is made to fail often, and the
 * host's account of its memory must not show it.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <linux/compiler.h>
#include <linux/kernel.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "kvm_trace.h"
#include "dirty_ring.h"
#include "options.h"

#define VCPU_ID			0

#define TEST_SLOT		1
#define TEST_PAGES		16ul
#define TEST_MEM		0x10000000ul

/* More allocations than a call makes. */
#define MAX_ALLOCATIONS		1024
/*
 * KVM_CREATE_VCPU fails ROUNDS times at each allocation. One that leaks loses
 * a page each time. The host's account varies by a few pages anyway, with
 * KASAN on VT-x by 40: KVM makes memslots for each vCPU there, and if no
 * contiguous pages are free for them, it takes virtual addresses.
 */
#define ROUNDS			64
#define TRY_ALL_ROUNDS		4
#define LOST_PAGES		56
#define TRIES			3
#define MAX_VCPUS		256

static struct kvm_vm *vm;
static struct dirty_ring ring;
static uint32_t ring_entries;
static int fail_nth_fd;

/* The library does not know the vCPUs whose creation fails. */
static uint32_t next_vcpu_id;
static int vcpu_fd;

static void guest_code(void)
{
	uint64_t i;

	for (;;) {
		for (i = 0; i < TEST_PAGES; i++)
			WRITE_ONCE(*(uint64_t *)(TEST_MEM + i * 4096), i);
		GUEST_SYNC(0);
	}
}

/*
 * Failing the allocations of a call.
 */

struct knob {
	const char *file;
	const char *value;
};

/* As they come, hardly any of KVM's allocations can be made to fail. */
static const struct knob knobs[] = {
	{ "/sys/kernel/debug/failslab/ignore-gfp-wait",		"N" },
	{ "/sys/kernel/debug/failslab/verbose",			"0" },
	{ "/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait",	"N" },
	{ "/sys/kernel/debug/fail_page_alloc/ignore-gfp-highmem", "N" },
	{ "/sys/kernel/debug/fail_page_alloc/verbose",		"0" },
	/* Count free pages as such: no CPU may keep them to itself. */
	{ "/proc/sys/vm/percpu_pagelist_fraction",		"65536" },
};

/*
 * Small objects and pages fail separately: which small object needs a new page
 * differs each time.
 */
struct source {
	const char *name;
	struct knob knobs[2];
};

static const struct source sources[] = {
	{ "objects", {
		{ "/sys/kernel/debug/failslab/cache-filter",		"N" },
		{ "/sys/kernel/debug/fail_page_alloc/min-order",	"99" },
	} },
	{ "pages", {
		{ "/sys/kernel/debug/failslab/cache-filter",		"Y" },
		{ "/sys/kernel/debug/fail_page_alloc/min-order",	"0" },
	} },
};

static void skip_without(const char *path)
{
	print_skip("no %s: allocations cannot be made to fail", path);
	exit(KSFT_SKIP);
}

static void turn(const struct knob *knob)
{
	if (access(knob->file, F_OK))
		skip_without(knob->file);
	TEST_ASSERT(write_text(knob->file, knob->value),
		    "cannot write %s, errno: %i", knob->file, errno);
}

static void set_source(const struct source *source)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(source->knobs); i++)
		turn(&source->knobs[i]);
}

static void set_up_faults(void)
{
	const char *nth = "/proc/self/fail-nth";
	int i;

	fail_nth_fd = open(nth, O_RDWR);
	if (fail_nth_fd < 0)
		skip_without(nth);

	for (i = 0; i < ARRAY_SIZE(knobs); i++)
		turn(&knobs[i]);
}

/* Let this thread's allocation number @n fail, counted from now; 0: none. */
static void arm(uint32_t n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", n);

	TEST_ASSERT(pwrite(fail_nth_fd, text, len, 0) == len,
		    "cannot write fail-nth, errno: %i", errno);
}

/* Return: whether there were so many allocations, so that one has failed. */
static bool disarm(void)
{
	char text[16] = {};

	TEST_ASSERT(pread(fail_nth_fd, text, sizeof(text) - 1, 0) > 0,
		    "cannot read fail-nth, errno: %i", errno);
	arm(0);
	return !atoi(text);
}

/*
 * The host's account of its memory.
 */

/* @name: a line of /proc/meminfo. Return: pages. */
static long account(const char *text, const char *name)
{
	const char *line = strstr(text, name);

	TEST_ASSERT(line, "/proc/meminfo does not tell %s", name);
	return atol(line + strlen(name)) * 1024 / getpagesize();
}

static void read_meminfo(char *text, size_t size)
{
	int fd = open("/proc/sys/vm/stat_refresh", O_RDONLY);
	ssize_t len;

	/* Each CPU keeps a part of the count to itself. */
	read(fd, text, size);
	close(fd);

	fd = open("/proc/meminfo", O_RDONLY);
	len = read(fd, text, size - 1);
	TEST_ASSERT(len > 0, "cannot read /proc/meminfo, errno: %i", errno);
	text[len] = 0;
	close(fd);
}

/* Pages that back the kernel's virtual mappings: dirty rings are such. */
static long vmalloc_pages(void)
{
	char text[4096];

	read_meminfo(text, sizeof(text));
	return account(text, "VmallocUsed:");
}

/* Pages in use that nothing in /proc/meminfo accounts for. */
static long other_pages(void)
{
	static const char * const accounts[] = {
		"MemFree:", "Buffers:", "\nCached:", "AnonPages:", "Slab:",
		"KernelStack:", "PageTables:", "VmallocUsed:", "Percpu:",
	};
	char text[4096];
	long pages;
	int i;

	read_meminfo(text, sizeof(text));
	pages = account(text, "MemTotal:");
	for (i = 0; i < ARRAY_SIZE(accounts); i++)
		pages -= account(text, accounts[i]);
	return pages;
}

/*
 * The steps of a VM's life.
 */

static void new_vm(void)
{
	next_vcpu_id = VCPU_ID + 1;
	vm = vm_create_with_rings(VM_MODE_DEFAULT, 2 * DEFAULT_GUEST_PHY_PAGES,
				  0);
	vm_add_logged_slot(vm, TEST_SLOT, TEST_MEM, TEST_PAGES);
}

static int enable_ring(void)
{
	return _vm_enable_dirty_ring(vm, KVM_CAP_DIRTY_LOG_RING,
				     ring_entries * sizeof(*ring.gfns));
}

static void new_ring_vm(void)
{
	new_vm();
	TEST_ASSERT(!enable_ring(), "no dirty ring, errno: %i", errno);
}

static void add_vcpu(void)
{
	vcpu_add_with_ring(vm, VCPU_ID, guest_code, &ring, ring_entries);
}

static void new_ready_vm(void)
{
	new_ring_vm();
	add_vcpu();
}

static void free_vm(void)
{
	kvm_vm_free(vm);
}

static void free_ready_vm(void)
{
	dirty_ring_unmap(&ring);
	free_vm();
}

/* Not vcpu_run(), which makes other system calls too. */
static int run_vcpu(void)
{
	return ioctl(vcpu_get_fd(vm, VCPU_ID), KVM_RUN, NULL);
}

static void check_sync(void)
{
	uint32_t reason = vcpu_state(vm, VCPU_ID)->exit_reason;

	TEST_ASSERT(get_ucall(vm, VCPU_ID, NULL) == UCALL_SYNC,
		    "the guest does not get through, exit reason: %u (%s)",
		    reason, exit_reason_str(reason));
}

/* The guest has written its pages, and the vCPU must have reported them. */
static void check_pages(void)
{
	unsigned long seen = 0;
	struct reported_pages pages = {
		.slot = TEST_SLOT, .npages = TEST_PAGES, .bits = &seen,
	};
	uint32_t count;

	dirty_ring_harvest(&ring, ring.entries, add_reported_page, &pages);
	TEST_ASSERT(seen == (1ul << TEST_PAGES) - 1 && !pages.again,
		    "pages reported: %#lx, %u of them again", seen,
		    pages.again);
	count = vm_reset_dirty_rings(vm);
	TEST_ASSERT(count == TEST_PAGES, "reset of %u entries", count);
}

static void check_round(void)
{
	TEST_ASSERT(!run_vcpu(), "KVM_RUN failed, errno: %i", errno);
	check_sync();
	check_pages();
}

/*
 * The calls, in the order of a VM's life.
 */

static int create_vcpu(void)
{
	vcpu_fd = ioctl(vm_get_fd(vm), KVM_CREATE_VCPU, next_vcpu_id);
	if (vcpu_fd < 0)
		return -1;

	next_vcpu_id++;
	return 0;
}

static void after_enable(void)
{
	add_vcpu();
	check_round();
	check_round();
	free_ready_vm();
}

/* The vCPU has a ring of its own, with nothing in it. */
static void after_create(void)
{
	size_t size = ring_entries * sizeof(*ring.gfns);
	struct kvm_dirty_gfn *gfns;
	uint32_t i;

	gfns = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
		    vcpu_fd, KVM_DIRTY_LOG_PAGE_OFFSET * getpagesize());
	TEST_ASSERT(gfns != MAP_FAILED, "mmap of dirty ring failed, errno: %i",
		    errno);
	for (i = 0; i < ring_entries; i++)
		TEST_ASSERT(!gfns[i].flags, "entry %u is in use", i);
	munmap(gfns, size);
	close(vcpu_fd);

	after_enable();
}

static void after_create_without_ring(void)
{
	close(vcpu_fd);
	free_vm();
}

/* The rounds begin with what the first KVM_RUN has reported. */
static void after_run(void)
{
	check_sync();
	check_pages();
	check_round();
	free_ready_vm();
}

/**
 * struct call - a call whose allocations are to fail
 * @name: how it is named in messages
 * @prepare: make a new VM, in which the call is next
 * @attempt: a single system call; 0, or -1 with errno
 * @complete: after a successful attempt, check that all is well, and free the VM
 * @pages: an account that must not grow while KVM_CREATE_VCPU fails, or NULL
 */
struct call {
	const char *name;
	void (*prepare)(void);
	int (*attempt)(void);
	void (*complete)(void);
	long (*pages)(void);
};

/*
 * With KASAN, virtual addresses take further pages, which are freed some time
 * later. A ring has virtual addresses, so the account of other pages is
 * checked without one.
 */
static const struct call calls[] = {
	{ "KVM_ENABLE_CAP", new_vm, enable_ring, after_enable },
	{ "KVM_CREATE_VCPU", new_ring_vm, create_vcpu, after_create,
	  vmalloc_pages },
	{ "KVM_RUN", new_ready_vm, run_vcpu, after_run },
	{ "KVM_CREATE_VCPU, no ring", new_vm, create_vcpu,
	  after_create_without_ring, other_pages },
};

/* The allocations whose failure fails the call. */
static bool fatal[MAX_ALLOCATIONS];

/*
 * Have allocation number @n of a call fail, counted from 1.
 *
 * Return: whether there was one.
 */
static bool fail_one(const struct call *call, uint32_t n)
{
	bool injected;
	int ret, err;

	call->prepare();
	arm(n);
	ret = call->attempt();
	err = errno;
	injected = disarm();

	fatal[n] = ret;
	if (ret) {
		TEST_ASSERT(injected, "%s fails without cause, errno: %i",
			    call->name, err);
		TEST_ASSERT(err == ENOMEM || err == EFAULT || err == ENOSPC,
			    "%s, allocation %u: errno: %i", call->name, n, err);
		ret = call->attempt();
		TEST_ASSERT(!ret, "%s, after allocation %u failed: errno: %i",
			    call->name, n, errno);
	}

	call->complete();
	return injected;
}

/*
 * In a new VM, let each of the first @max allocations of KVM_CREATE_VCPU fail,
 * @rounds times or as often as there is room for vCPUs: the call may succeed. What
 * was freed before decides where memory comes from, so the allocations change their
 * numbers. The first rounds try all, the others those that were fatal.
 *
 * Return: how often it has failed.
 */
static uint32_t fail_often(const struct call *call, uint32_t max, int rounds)
{
	uint32_t n, failed = 0;
	int i, ret;

	call->prepare();
	for (i = 0; i < rounds && next_vcpu_id + max < MAX_VCPUS; i++) {
		for (n = 1; n <= max; n++) {
			if (i >= TRY_ALL_ROUNDS && !fatal[n])
				continue;
			arm(n);
			ret = call->attempt();
			disarm();
			if (ret) {
				fatal[n] = true;
				failed++;
			} else {
				close(vcpu_fd);
			}
		}
	}
	free_vm();
	return failed;
}

static void check_account(const struct call *call, uint32_t max)
{
	uint32_t failed;
	long pages;
	int tries;

	fail_often(call, max, 1);
	for (tries = 0; tries < TRIES; tries++) {
		pages = -call->pages();
		failed = fail_often(call, max, ROUNDS);
		pages += call->pages();
		pr_info("%s: failed %u more times, which cost %ld pages\n",
			call->name, failed, pages);
		if (pages < LOST_PAGES)
			return;
	}
	TEST_FAIL("%s loses memory when it fails", call->name);
}

static void fail_each(const struct call *call, const struct source *source)
{
	uint32_t n = 0, failed = 0;

	set_source(source);
	while (fail_one(call, n + 1)) {
		failed += fatal[++n];
		TEST_ASSERT(n + 1 < MAX_ALLOCATIONS, "no end of allocations");
	}
	pr_info("%s: %u allocations of %s failed, each in turn: the call failed of %u and did without %u\n",
		call->name, n, source->name, failed, n - failed);

	if (call->pages)
		check_account(call, n);
}

static void help(const char *name)
{
	printf("usage: %s [-h] [-e entries]\n"
	       " -e: size of the rings (default: the smallest there is)\n",
	       name);
}

int main(int argc, char *argv[])
{
	int i, j, opt;

	setbuf(stdout, NULL);
	ring_entries = dirty_ring_min_entries();
	while ((opt = getopt(argc, argv, "he:")) != -1) {
		switch (opt) {
		case 'e':
			ring_entries = parse_number(opt, 1, UINT_MAX);
			break;
		default:
			help(argv[0]);
			exit(opt != 'h');
		}
	}

	if (!dirty_ring_max_entries()) {
		print_skip("this kernel has no dirty rings");
		exit(KSFT_SKIP);
	}
	set_up_faults();

	for (i = 0; i < ARRAY_SIZE(calls); i++)
		for (j = 0; j < ARRAY_SIZE(sources); j++)
			fail_each(&calls[i], &sources[j]);
	return 0;
}
