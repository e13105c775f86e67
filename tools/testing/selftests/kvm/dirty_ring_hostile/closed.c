// SPDX-License-Identifier: GPL-2.0
/*
 * dirty_ring_hostile_test: the VM's fd, the vCPU's and the mapping of its ring
 * end in each order. Here without the library, which has an order of its own.
 */
#define _GNU_SOURCE /* for vmsplice() */
#include <sched.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <linux/compiler.h>
#include <linux/kernel.h>

#include "test_thread.h"
#include "hostile.h"

static bool stop;

enum part { PART_VM, PART_VCPU, PART_RING, NR_PARTS };

static const enum part orders[][NR_PARTS] = {
	{ PART_VM, PART_VCPU, PART_RING }, { PART_VM, PART_RING, PART_VCPU },
	{ PART_VCPU, PART_VM, PART_RING }, { PART_VCPU, PART_RING, PART_VM },
	{ PART_RING, PART_VM, PART_VCPU }, { PART_RING, PART_VCPU, PART_VM },
};

/**
 * struct parts - a VM without guest
 * @vm: its fd, or -1
 * @vcpu: its vCPU's fd, or -1
 * @ring: its ring; no entries if it is not mapped
 * @mem: its memory
 * @page: the next page to write
 * @pushed: entries pushed and not reset
 * @flagged: how many of them are collected
 * @used: posted by each thread for each thing that it does
 */
struct parts {
	int vm;
	int vcpu;
	struct dirty_ring ring;
	void *mem;
	uint64_t page;
	uint32_t pushed;
	uint32_t flagged;
	sem_t used;
};

static void make_parts(struct parts *p)
{
	const uint32_t entries = dirty_ring_min_entries();
	const size_t size = entries * sizeof(*p->ring.gfns);
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_DIRTY_LOG_RING, .args[0] = size,
	};
	struct kvm_userspace_memory_region region = {
		.slot = RING_VM_SLOT, .flags = KVM_MEM_LOG_DIRTY_PAGES,
		.guest_phys_addr = RING_VM_MEM,
		.memory_size = CHURN_PAGES * RING_VM_PAGE_SIZE,
	};
	int kvm = open("/dev/kvm", O_RDWR);

	memset(p, 0, sizeof(*p));
	p->mem = map_memory(region.memory_size);
	region.userspace_addr = (uintptr_t)p->mem;
	p->vm = ioctl(kvm, KVM_CREATE_VM, 0);
	TEST_ASSERT(!ioctl(p->vm, KVM_ENABLE_CAP, &cap) &&
		    !ioctl(p->vm, KVM_SET_USER_MEMORY_REGION, &region),
		    "no VM, errno: %i", errno);
	p->vcpu = ioctl(p->vm, KVM_CREATE_VCPU, 0);
	p->ring.gfns = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			    p->vcpu, KVM_DIRTY_LOG_PAGE_OFFSET * getpagesize());
	TEST_ASSERT(p->vcpu >= 0 && p->ring.gfns != MAP_FAILED,
		    "no vCPU, errno: %i", errno);
	p->ring.entries = entries;
	sem_init(&p->used, 0, 0);
	close(kvm);
}

static void end_part(struct parts *p, enum part which)
{
	switch (which) {
	case PART_VM:
		close(p->vm);
		p->vm = -1;
		break;
	case PART_VCPU:
		close(p->vcpu);
		p->vcpu = -1;
		break;
	default:
		munmap(p->ring.gfns, p->ring.entries * sizeof(*p->ring.gfns));
		p->ring.entries = 0;
	}
}

/* Use what is not closed yet: it works as before. */
static void use_parts(struct parts *p)
{
	const uint32_t count = 3;
	int ret;

	if (p->vcpu >= 0) {
		ret = vcpu_write_clocks(p->vcpu, RING_VM_MEM +
					p->page * RING_VM_PAGE_SIZE, count);
		TEST_ASSERT(ret == count, "KVM_SET_MSRS returned %i, errno: %i",
			    ret, errno);
		p->page += count;
		p->pushed += count;
	}
	if (p->ring.entries) {
		flag_ring(&p->ring, KVM_DIRTY_GFN_F_RESET);
		p->flagged = p->pushed;
	}
	if (p->vm >= 0) {
		ret = ioctl(p->vm, KVM_RESET_DIRTY_RINGS);
		TEST_ASSERT(ret == p->flagged,
			    "%i entries reset, not %u, errno: %i", ret,
			    p->flagged, errno);
		p->pushed -= p->flagged;
		p->flagged = 0;
	}
}

/* A pipe holds a page of the ring, for longer than anything else does. */
static void hold_page(struct parts *p, int fd)
{
	struct iovec iov = {
		.iov_base = p->ring.gfns, .iov_len = getpagesize(),
	};

	TEST_ASSERT(vmsplice(fd, &iov, 1, 0) == iov.iov_len,
		    "vmsplice failed, errno: %i", errno);
}

static void check_held_page(int fd)
{
	char page[getpagesize()];
	struct kvm_dirty_gfn *gfns = (void *)page;

	test_read(fd, page, sizeof(page));
	TEST_ASSERT(gfns[0].slot == RING_VM_SLOT && gfns[1].offset == 1,
		    "a page of the ring changed when the VM was gone");
}

static void test_order(const enum part *order)
{
	int i, fds[2];
	struct parts p;

	TEST_ASSERT(!pipe(fds), "no pipe, errno: %i", errno);
	make_parts(&p);
	use_parts(&p);
	hold_page(&p, fds[1]);
	for (i = 0; i < NR_PARTS; i++) {
		end_part(&p, order[i]);
		use_parts(&p);
	}
	munmap(p.mem, CHURN_PAGES * RING_VM_PAGE_SIZE);
	check_held_page(fds[0]);
	close(fds[0]);
	close(fds[1]);
}

static void *use_vm(void *data)
{
	struct parts *p = data;

	while (ioctl(p->vm, KVM_RESET_DIRTY_RINGS) >= 0)
		sem_post(&p->used);
	TEST_ASSERT(errno == EBADF, "a reset failed, errno: %i", errno);
	return NULL;
}

static void *use_vcpu(void *data)
{
	struct parts *p = data;

	do {
		errno = 0;
		vcpu_write_clocks(p->vcpu, RING_VM_MEM, 64);
		sem_post(&p->used);
	} while (errno != EBADF);
	return NULL;
}

static void *use_ring(void *data)
{
	struct parts *p = data;

	while (!READ_ONCE(stop)) {
		flag_ring(&p->ring, ~0u);
		sem_post(&p->used);
		sched_yield();
	}
	end_part(p, PART_RING);
	return NULL;
}

/* The same while a thread is at work with each of them. */
static void test_order_in_use(const enum part *order)
{
	void *(*const users[])(void *) = { use_vm, use_vcpu, use_ring };
	static const char * const names[] = { "VM", "vCPU", "ring" };
	struct test_thread threads[NR_PARTS];
	struct parts p;
	int i, j;

	make_parts(&p);
	stop = false;
	for (i = 0; i < NR_PARTS; i++)
		test_thread_start(&threads[i], names[i], users[i], &p);
	for (i = 0; i < NR_PARTS; i++) {
		for (j = 0; j < 50; j++)
			test_sem_wait(&p.used, "a use of VM, vCPU or ring");
		if (order[i] == PART_RING)
			WRITE_ONCE(stop, true);
		else
			end_part(&p, order[i]);
		test_thread_join(&threads[order[i]]);
	}
	munmap(p.mem, CHURN_PAGES * RING_VM_PAGE_SIZE);
}

void test_closed(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(orders); i++) {
		test_order(orders[i]);
		test_order_in_use(orders[i]);
	}
	test_passed("VM, vCPU and ring closed in %zu orders, idle and in use\n",
		    ARRAY_SIZE(orders));
}
