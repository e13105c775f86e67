// SPDX-License-Identifier: GPL-2.0-only
/*
 * A checkpoint of a running guest by dirty rings: live migration in miniature,
 * for authors of VMMs to read.
 *
 * The guest's vCPUs write random pages of their memory. One thread runs each
 * vCPU. Another harvests: it copies all of memory, then again and again the
 * pages that were reported meanwhile, and for the last pass it stops the vCPUs.
 * Then the copy must equal the memory, and the program checks that it does.
 *
 * To read it for what a VMM needs:
 *
 *	start_vm()		rings are enabled before there is a vCPU
 *	vcpu_thread()		full rings, and being kicked out of the guest
 *	harvest_and_copy()	harvest, reset, and then read memory
 *	last_pass()		the complete harvest, with all vCPUs stopped
 *
 * Exit code: 0 if the copy equals the memory, 4 if there are no dirty rings
 * here, else 1.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "long_mode.h"
#include "ring_reader.h"

#define EXIT_SKIP	4

#define PAGE_SIZE	4096ul
#define MIB		(1ul << 20)
#define GIB		(1ul << 30)

/*
 * Slot 0 is for code and page tables and is not tracked. The memory to copy is
 * slot 1; each vCPU writes its own share of it.
 */
#define LOW_SLOT	0
#define LOW_SIZE	0x10000ul
#define LOW_CODE	0x1000ul
#define LOW_PML4	0x2000ul
#define LOW_PDPT	0x3000ul
#define LOW_PD		0x4000ul	/* two of them */
#define DATA_SLOT	1
#define DATA_GPA	GIB

/* Where Intel's CPUs without unrestricted guests keep what real mode needs. */
#define IDENTITY_MAP	0xfffbc000ul
#define TSS_ADDR	0xfffbd000ul

/* The guest says at this port that it has written some more pages. */
#define TICK_PORT	0x80
#define TICK_PAGES	512

#define CODE_SIZE	128

#define MAX_VCPUS	8

#define SIG_KICK	SIGUSR1

struct vmm;

/**
 * struct vcpu - a vCPU and its thread
 * @vmm: what it belongs to
 * @fd: the vCPU
 * @run: shared with KVM
 * @ring: shared with KVM; the harvesting thread's
 * @thread: runs it
 * @ticks: how often the guest has written TICK_PAGES pages
 * @full: how often the ring was full
 */
struct vcpu {
	struct vmm *vmm;
	int fd;
	struct kvm_run *run;
	struct dirty_ring ring;
	pthread_t thread;
	uint64_t ticks;
	uint64_t full;
};

/**
 * struct vmm - a virtual machine, and the copy of its memory
 * @kvm: /dev/kvm
 * @fd: the VM
 * @vcpus: its vCPUs
 * @nr_vcpus: how many there are
 * @low: slot 0
 * @data: slot 1
 * @copy: what was copied from @data
 * @nr_pages: in @data
 * @dirty: pages of @data to copy in this pass, a byte for each
 * @drop: forget each so manieth entry, to see that it is noticed
 * @harvested: entries collected, in all
 * @lock: protects what follows, and what the vCPUs count
 * @changed: something of it has changed
 * @events: ticks and full rings so far
 * @resets: how often the rings were reset
 * @stop: vCPUs shall leave the guest for good
 */
struct vmm {
	int kvm;
	int fd;
	struct vcpu vcpus[MAX_VCPUS];
	unsigned int nr_vcpus;
	uint8_t *low;
	uint8_t *data;
	uint8_t *copy;
	uint64_t nr_pages;
	uint8_t *dirty;
	uint64_t drop;
	uint64_t harvested;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t events;
	uint64_t resets;
	bool stop;
};

static void __attribute__((noreturn, format(printf, 1, 2)))
fail(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("error: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(EXIT_FAILURE);
}

static void __attribute__((noreturn)) skip(const char *why)
{
	printf("# skipped: %s\n", why);
	exit(EXIT_SKIP);
}

/* ioctl() that must not fail. */
static int call(int fd, unsigned long request, void *arg, const char *name)
{
	int ret = ioctl(fd, request, arg);

	if (ret < 0)
		fail("%s: %s", name, strerror(errno));
	return ret;
}

#define CALL(fd, request, arg) \
	call(fd, request, (void *)(unsigned long)(arg), #request)

static void *map(size_t size, int flags, int fd)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (p == MAP_FAILED)
		fail("mmap of %zu bytes: %s", size, strerror(errno));
	return p;
}

/*
 * The guest: rdi = first byte of its pages, rsi = their number less one, r8 =
 * TICK_PAGES, rbx = state of the random numbers. It counts in the first word of
 * each page how often it wrote to it. Position-independent, and copied whole.
 */
static void __attribute__((naked)) guest_code(void)
{
	asm("0:	mov	%r8, %rcx\n"
	    "	mov	$6364136223846793005, %r9\n"
	    "1:	imul	%r9, %rbx\n"
	    "	add	$1442695041, %rbx\n"
	    "	mov	%rbx, %rdx\n"
	    "	shr	$33, %rdx\n"
	    "	and	%rsi, %rdx\n"
	    "	shl	$12, %rdx\n"
	    "	incq	(%rdi, %rdx)\n"
	    "	mov	%rbx, 8(%rdi, %rdx)\n"
	    "	dec	%rcx\n"
	    "	jnz	1b\n"
	    "	out	%al, $0x80\n"	/* TICK_PORT */
	    "	jmp	0b\n"
	    "2:	.skip	128 - (2b - 0b)\n");	/* CODE_SIZE */
}

static void set_slot(struct vmm *vmm, uint32_t slot, uint32_t flags,
		     uint64_t gpa, void *hva, uint64_t size)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (unsigned long)hva,
	};

	CALL(vmm->fd, KVM_SET_USER_MEMORY_REGION, &region);
}

/* The first 2 GiB, 1:1, in pages of 2 MiB. */
static void build_tables(struct vmm *vmm)
{
	uint64_t *pml4 = (uint64_t *)(vmm->low + LOW_PML4);
	uint64_t *pdpt = (uint64_t *)(vmm->low + LOW_PDPT);
	uint64_t *pd = (uint64_t *)(vmm->low + LOW_PD);
	uint64_t i;

	pml4[0] = LOW_PDPT | 3;
	pdpt[0] = LOW_PD | 3;
	pdpt[1] = (LOW_PD + PAGE_SIZE) | 3;
	for (i = 0; i < 2 * 512; i++)
		pd[i] = i << 21 | 0x83;
}

static void add_memory(struct vmm *vmm)
{
	uint64_t size = vmm->nr_pages * PAGE_SIZE;

	vmm->low = map(LOW_SIZE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	/* Populated: the first copy would map zero pages, to be replaced later. */
	vmm->data = map(size, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1);
	vmm->copy = map(size, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1);
	vmm->dirty = map(vmm->nr_pages, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	memcpy(vmm->low + LOW_CODE, (void *)guest_code, CODE_SIZE);
	build_tables(vmm);
	set_slot(vmm, LOW_SLOT, 0, 0, vmm->low, LOW_SIZE);
	/* Tracked from the start. A VMM would set the flag when it migrates. */
	set_slot(vmm, DATA_SLOT, KVM_MEM_LOG_DIRTY_PAGES, DATA_GPA, vmm->data,
		 size);
}

static void set_registers(struct vmm *vmm, struct vcpu *vcpu)
{
	uint64_t share = vmm->nr_pages / vmm->nr_vcpus;
	uint64_t id = vcpu - vmm->vcpus;
	struct kvm_regs regs = {
		.rip = LOW_CODE,
		.rflags = 0x202,	/* IF: the host can interrupt it */
		.rdi = DATA_GPA + id * share * PAGE_SIZE,
		.rsi = share - 1,
		.r8 = TICK_PAGES,
		.rbx = id + 1,
	};

	CALL(vcpu->fd, KVM_SET_REGS, &regs);
}

static void add_vcpu(struct vmm *vmm, uint32_t id, uint32_t entries)
{
	int size = CALL(vmm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	struct vcpu *vcpu = &vmm->vcpus[id];
	int ret;

	vcpu->vmm = vmm;
	vcpu->fd = CALL(vmm->fd, KVM_CREATE_VCPU, id);
	vcpu->run = map(size, MAP_SHARED, vcpu->fd);
	ret = dirty_ring_attach(&vcpu->ring, vcpu->fd, entries);
	if (ret)
		fail("dirty ring of vCPU %u: %s", id, strerror(-ret));
	ret = long_mode_enter(vmm->kvm, vcpu->fd, LOW_PML4);
	if (ret)
		fail("vCPU %u in 64-bit mode: %s", id, strerror(-ret));
	set_registers(vmm, vcpu);
}

static void start_vm(struct vmm *vmm, uint32_t entries)
{
	uint64_t identity_map = IDENTITY_MAP;
	uint32_t id;
	int max, ret;

	vmm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vmm->kvm < 0)
		skip("/dev/kvm cannot be opened");
	vmm->fd = CALL(vmm->kvm, KVM_CREATE_VM, 0);
	CALL(vmm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
	CALL(vmm->fd, KVM_SET_TSS_ADDR, TSS_ADDR);

	max = dirty_rings_max(vmm->fd);
	if (max < 0)
		fail("KVM_CHECK_EXTENSION: %s", strerror(-max));
	if (!max)
		skip("this kernel has no dirty rings");
	ret = dirty_rings_enable(vmm->fd, entries);
	if (ret)
		fail("no dirty rings of %u entries: %s; the most is %d",
		     entries, strerror(-ret), max);

	add_memory(vmm);
	for (id = 0; id < vmm->nr_vcpus; id++)
		add_vcpu(vmm, id, entries);
}

/*
 * Running vCPUs, and stopping them
 */

static __thread struct kvm_run *my_run;

/*
 * Makes KVM_RUN return at once, now or the next time. Without the flag, a
 * signal that comes between a look at vmm::stop and KVM_RUN would be lost.
 */
static void on_kick(int sig)
{
	if (my_run)
		__atomic_store_n(&my_run->immediate_exit, 1, __ATOMIC_RELAXED);
}

/* Something has happened that the harvesting thread may wait for. */
static void note_event(struct vmm *vmm)
{
	vmm->events++;
	pthread_cond_broadcast(&vmm->changed);
}

/* Wait for the harvesting thread, which makes room for more entries. */
static void wait_for_reset(struct vmm *vmm)
{
	uint64_t resets = vmm->resets;

	while (!vmm->stop && vmm->resets == resets)
		pthread_cond_wait(&vmm->changed, &vmm->lock);
}

static void handle_exit(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_DIRTY_RING_FULL:
		vcpu->full++;
		note_event(vcpu->vmm);
		wait_for_reset(vcpu->vmm);
		break;
	case KVM_EXIT_IO:
		if (run->io.port != TICK_PORT)
			fail("guest uses port %#x", run->io.port);
		vcpu->ticks++;
		note_event(vcpu->vmm);
		break;
	default:
		fail("guest left with exit reason %u", run->exit_reason);
	}
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	struct vmm *vmm = vcpu->vmm;
	int ret;

	my_run = vcpu->run;
	pthread_mutex_lock(&vmm->lock);
	while (!vmm->stop) {
		pthread_mutex_unlock(&vmm->lock);
		ret = ioctl(vcpu->fd, KVM_RUN, 0);
		if (ret < 0 && errno != EINTR)
			fail("KVM_RUN: %s", strerror(errno));
		/* Before the next look at vmm::stop. */
		__atomic_store_n(&vcpu->run->immediate_exit, 0,
				 __ATOMIC_RELAXED);
		pthread_mutex_lock(&vmm->lock);
		if (!ret)
			handle_exit(vcpu);
	}
	pthread_mutex_unlock(&vmm->lock);

	return NULL;
}

static void start_vcpus(struct vmm *vmm)
{
	struct sigaction kick = { .sa_handler = on_kick };
	unsigned int i;

	/* No SA_RESTART: KVM_RUN has to return. */
	sigaction(SIG_KICK, &kick, NULL);
	for (i = 0; i < vmm->nr_vcpus; i++)
		if (pthread_create(&vmm->vcpus[i].thread, NULL, vcpu_thread,
				   &vmm->vcpus[i]))
			fail("no thread");
}

/*
 * Kick all vCPUs and wait until they are out. What the CPU has logged by itself
 * (PML) is in the rings when KVM_RUN has returned.
 */
static void stop_vcpus(struct vmm *vmm)
{
	unsigned int i;

	pthread_mutex_lock(&vmm->lock);
	vmm->stop = true;
	pthread_cond_broadcast(&vmm->changed);
	pthread_mutex_unlock(&vmm->lock);

	for (i = 0; i < vmm->nr_vcpus; i++)
		pthread_kill(vmm->vcpus[i].thread, SIG_KICK);
	for (i = 0; i < vmm->nr_vcpus; i++)
		pthread_join(vmm->vcpus[i].thread, NULL);
}

/*
 * Harvesting; all of it in one thread
 */

static void note_page(uint32_t slot, uint64_t offset, void *data)
{
	struct vmm *vmm = data;

	if (slot != DATA_SLOT || offset >= vmm->nr_pages)
		fail("page %#lx of slot %#x reported", (long)offset, slot);
	vmm->harvested++;
	if (vmm->drop && vmm->harvested % vmm->drop == 0)
		return;
	vmm->dirty[offset] = 1;
}

static uint64_t copy_pages(struct vmm *vmm)
{
	uint64_t i, copied = 0;

	for (i = 0; i < vmm->nr_pages; i++) {
		if (!vmm->dirty[i])
			continue;
		memcpy(vmm->copy + i * PAGE_SIZE, vmm->data + i * PAGE_SIZE,
		       PAGE_SIZE);
		vmm->dirty[i] = 0;
		copied++;
	}

	return copied;
}

/*
 * The order matters: collect, reset, then read. What the guest writes to a page
 * between the last two is read now. If memory were read before the reset, a
 * write in between would neither be read nor reported again.
 */
static uint64_t harvest_and_copy(struct vmm *vmm, uint32_t *entries)
{
	unsigned int i;
	int reset;

	*entries = 0;
	for (i = 0; i < vmm->nr_vcpus; i++)
		*entries += dirty_ring_harvest(&vmm->vcpus[i].ring,
					       vmm->vcpus[i].ring.entries,
					       note_page, vmm);
	reset = dirty_rings_reset(vmm->fd);
	if (reset < 0)
		fail("KVM_RESET_DIRTY_RINGS: %s", strerror(-reset));
	if ((uint32_t)reset != *entries)
		fail("%u entries collected, %d reset", *entries, reset);

	return copy_pages(vmm);
}

/* Wait until there were more events than @seen. */
static void wait_for_event(struct vmm *vmm, uint64_t seen)
{
	pthread_mutex_lock(&vmm->lock);
	while (vmm->events == seen)
		pthread_cond_wait(&vmm->changed, &vmm->lock);
	pthread_mutex_unlock(&vmm->lock);
}

/*
 * A pass beside the running vCPUs. Those whose ring was full go on then, so
 * there will be more events than there were. Return: how many there were.
 */
static uint64_t live_pass(struct vmm *vmm, unsigned int pass)
{
	uint64_t copied, events;
	uint32_t entries;

	copied = harvest_and_copy(vmm, &entries);

	pthread_mutex_lock(&vmm->lock);
	vmm->resets++;
	events = vmm->events;
	pthread_cond_broadcast(&vmm->changed);
	pthread_mutex_unlock(&vmm->lock);
	printf("# pass %u: %u entries, %lu pages\n", pass, entries,
	       (long)copied);

	return events;
}

/* The pass after which nothing is missing. */
static void last_pass(struct vmm *vmm)
{
	uint32_t entries;
	uint64_t copied;

	stop_vcpus(vmm);
	copied = harvest_and_copy(vmm, &entries);
	printf("# last pass: %u entries, %lu pages\n", entries, (long)copied);
}

static uint64_t count_differences(struct vmm *vmm)
{
	uint64_t i, count = 0;

	for (i = 0; i < vmm->nr_pages; i++)
		count += !!memcmp(vmm->copy + i * PAGE_SIZE,
				  vmm->data + i * PAGE_SIZE, PAGE_SIZE);
	return count;
}

static void checkpoint(struct vmm *vmm, unsigned int passes)
{
	uint64_t events = 0;
	unsigned int pass;

	/* The guest has not begun: it will report whatever comes after this. */
	memcpy(vmm->copy, vmm->data, vmm->nr_pages * PAGE_SIZE);
	start_vcpus(vmm);
	for (pass = 1; pass <= passes; pass++) {
		wait_for_event(vmm, events);
		events = live_pass(vmm, pass);
	}
	wait_for_event(vmm, events);
	last_pass(vmm);
}

/* Return: whether all is well. */
static bool report(struct vmm *vmm)
{
	uint64_t differences = count_differences(vmm);
	struct vcpu *vcpu;

	for (vcpu = vmm->vcpus; vcpu < vmm->vcpus + vmm->nr_vcpus; vcpu++)
		printf("# vCPU %ld: wrote over %lu pages, ring full %lu times\n",
		       (long)(vcpu - vmm->vcpus),
		       (long)vcpu->ticks * TICK_PAGES, (long)vcpu->full);
	if (differences) {
		printf("%lu pages of %lu differ in the copy\n",
		       (long)differences, (long)vmm->nr_pages);
		return false;
	}
	printf("the copy of %lu pages equals the guest's memory, by %lu entries\n",
	       (long)vmm->nr_pages, (long)vmm->harvested);
	return vmm->harvested;
}

static void stop_vm(struct vmm *vmm)
{
	int size = CALL(vmm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	struct vcpu *vcpu;

	for (vcpu = vmm->vcpus; vcpu < vmm->vcpus + vmm->nr_vcpus; vcpu++) {
		dirty_ring_detach(&vcpu->ring);
		munmap(vcpu->run, size);
		close(vcpu->fd);
	}
	close(vmm->fd);
	close(vmm->kvm);
}

static void __attribute__((noreturn)) usage(const char *name, int code)
{
	fprintf(code ? stderr : stdout,
		"usage: %s [-h] [-c entries] [-v vcpus] [-m MiB] [-p passes] [-d n]\n"
		" -c: entries of each dirty ring, a power of two (1024)\n"
		" -v: vCPUs, a power of two up to %u (2)\n"
		" -m: MiB of memory, a power of two up to 1024 (16)\n"
		" -p: passes before the last one (16)\n"
		" -d: drop every n-th entry, to see that the copy is wrong then (0: none)\n",
		name, MAX_VCPUS);
	exit(code);
}

static unsigned long parse_number(int opt, unsigned long low,
				  unsigned long high, bool power)
{
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(optarg, &end, 0);
	if (errno || end == optarg || *end || n < low || n > high)
		fail("-%c takes a number from %lu to %lu, not '%s'", opt, low,
		     high, optarg);
	if (power && n & (n - 1))
		fail("-%c takes a power of two, not '%s'", opt, optarg);
	return n;
}

int main(int argc, char *argv[])
{
	static struct vmm vmm = {
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
		.nr_vcpus = 2,
		.nr_pages = 16 * MIB / PAGE_SIZE,
	};
	unsigned int passes = 16;
	uint32_t entries = 1024;
	bool ok;
	int opt;

	setbuf(stdout, NULL);
	while ((opt = getopt(argc, argv, "hc:v:m:p:d:")) != -1) {
		switch (opt) {
		case 'c':
			/* The kernel says which sizes it takes. */
			entries = parse_number(opt, 1, 1ul << 31, false);
			break;
		case 'v':
			vmm.nr_vcpus = parse_number(opt, 1, MAX_VCPUS, true);
			break;
		case 'm':
			vmm.nr_pages = parse_number(opt, 1, GIB / MIB, true) *
				       MIB / PAGE_SIZE;
			break;
		case 'p':
			passes = parse_number(opt, 0, 1000000, false);
			break;
		case 'd':
			vmm.drop = parse_number(opt, 0, ~0ul, false);
			break;
		case 'h':
			usage(argv[0], EXIT_SUCCESS);
		default:
			usage(argv[0], EXIT_FAILURE);
		}
	}
	if (optind < argc)
		usage(argv[0], EXIT_FAILURE);

	start_vm(&vmm, entries);
	checkpoint(&vmm, passes);
	ok = report(&vmm);
	stop_vm(&vmm);

	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
