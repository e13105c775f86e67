// SPDX-License-Identifier: GPL-2.0-only
/*
 * A checkpoint of a running guest by dirty rings: live migration in miniature,
 * for authors of VMMs to read.
 *
 * The guest's vCPUs, each in a thread of its own, write random pages of their
 * memory. The main thread copies all of memory, then again and again the pages
 * that were reported meanwhile, each time that a ring has reached its watermark.
 * For the last pass it stops the vCPUs. Then the copy must equal the memory, and
 * the program checks that it does.
 *
 * What a VMM needs for dirty rings is in these functions, in this order:
 *
 *	enable_rings()		rings are enabled before there is a vCPU
 *	add_memory()		a memslot's flag says that it is tracked
 *	add_writer()		each vCPU has a ring, mapped before it runs
 *	set_watermark()		KVM says when it is time to harvest
 *	on_ring_full()		a vCPU with a full ring waits for a reset
 *	harvest_and_copy()	harvest, reset, and only then read memory
 *	last_pass()		the complete harvest, with all vCPUs stopped
 *
 * The rings are read by ring_reader.c. What every VMM needs, with rings or
 * without (VM, memory, vCPUs and their threads), is in tools/kvm/vmm/.
 *
 * Exit code: 0 if the copy equals the memory, 4 if there are no dirty rings
 * here, else 1.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ring_reader.h"
#include "vmm.h"

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
#define LOW_TABLES	0x2000ul
#define DATA_SLOT	1
#define DATA_GPA	GIB

/* The guest writes to this port when it has written TICK_PAGES pages more. */
#define TICK_PORT	0x80
#define TICK_PAGES	512

#define CODE_SIZE	128

#define MAX_VCPUS	8

/**
 * struct writer - a vCPU, which writes pages
 * @vcpu: the vCPU
 * @ring: its dirty ring, shared with KVM; only the main thread reads it
 * @ticks: how often the guest has written TICK_PAGES pages
 * @full: how often the ring was full
 */
struct writer {
	struct vcpu vcpu;
	struct dirty_ring ring;
	uint64_t ticks;
	uint64_t full;
};

/**
 * struct guest - a virtual machine, and the copy of its memory
 * @vm: the VM
 * @writers: its vCPUs, by number
 * @nr_writers: how many there are
 * @data: slot 1
 * @copy: what was copied from @data
 * @nr_pages: in @data
 * @dirty: pages of @data to copy in this pass, a byte for each
 * @drop: forget every @drop-th entry, to show that the check notices; 0: none
 * @harvested: how many entries were collected
 * @wake: an eventfd that is signalled when it is time to harvest
 * @watermark: whether KVM does that; else each tick of a guest does
 * @lock: protects what follows, and writer::ticks and writer::full
 * @changed: signalled when @resets or @stop changes
 * @resets: how often the rings were reset
 * @stop: the vCPUs are about to be stopped
 */
struct guest {
	struct vm vm;
	struct writer writers[MAX_VCPUS];
	unsigned int nr_writers;
	uint8_t *data;
	uint8_t *copy;
	uint64_t nr_pages;
	uint8_t *dirty;
	uint64_t drop;
	uint64_t harvested;
	int wake;
	bool watermark;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t resets;
	bool stop;
};

/*
 * What runs in the guest: rdi = first byte of its pages, rsi = number of the
 * last one, r8 = TICK_PAGES, rbx = state of the random numbers. The first word
 * of each page counts the writes to that page. Position-independent, as
 * CODE_SIZE bytes of it are copied into the guest.
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

/*
 * Building the VM
 */

/* Before the first vCPU, and for all of them: the kernel refuses it later. */
static void enable_rings(struct guest *guest, uint32_t entries)
{
	int max = dirty_rings_max(guest->vm.fd);
	int ret;

	if (max < 0)
		vmm_fail("KVM_CHECK_EXTENSION: %s", strerror(-max));
	if (!max)
		vmm_skip("this kernel has no dirty rings");
	ret = dirty_rings_enable(guest->vm.fd, entries);
	if (ret)
		vmm_fail("no dirty rings of %u entries: %s; the most is %d",
			 entries, strerror(-ret), max);
}

static void *allocate(size_t size)
{
	void *p = calloc(1, size);

	if (!p)
		vmm_fail("no %zu bytes of memory", size);
	return p;
}

static void add_memory(struct guest *guest)
{
	struct vm *vm = &guest->vm;
	struct page_tables tables = {
		.vm = vm,
		.gpa = LOW_TABLES,
		.size = LOW_SIZE - LOW_TABLES,
	};
	uint64_t size = guest->nr_pages * PAGE_SIZE;
	uint8_t *low;

	guest->copy = allocate(size);
	guest->dirty = allocate(guest->nr_pages);

	vm_must(vm, vm_add_memory(vm, LOW_SLOT, 0, 0, LOW_SIZE, &low));
	memcpy(low + LOW_CODE, (void *)guest_code, CODE_SIZE);
	vm_must(vm, page_tables_map(&tables, DATA_GPA, GIB));
	vm_must(vm, page_tables_map(&tables, 0, 2 * MIB));

	/*
	 * Tracked from the start. A VMM sets the flag, by another
	 * KVM_SET_USER_MEMORY_REGION, when it begins to migrate, and copies all
	 * of the memslot after that.
	 */
	vm_must(vm, vm_add_memory(vm, DATA_SLOT, KVM_MEM_LOG_DIRTY_PAGES,
				  DATA_GPA, size, &guest->data));
}

static void add_writer(struct guest *guest, uint32_t id, uint32_t entries)
{
	struct writer *writer = &guest->writers[id];
	struct vcpu *vcpu = &writer->vcpu;
	uint64_t share = guest->nr_pages / guest->nr_writers;
	struct kvm_regs regs = {
		.rip = LOW_CODE,
		.rflags = 2,
		.rdi = DATA_GPA + id * share * PAGE_SIZE,
		.rsi = share - 1,
		.r8 = TICK_PAGES,
		.rbx = id + 1,
	};
	int ret;

	vcpu_must(vcpu, vcpu_create(vcpu, &guest->vm, id));
	ret = dirty_ring_attach(&writer->ring, vcpu->fd, entries);
	if (ret)
		vmm_fail("dirty ring of vCPU %u: %s", id, strerror(-ret));
	vcpu_must(vcpu, vcpu_set_long_mode(vcpu, LOW_TABLES));
	vcpu_must(vcpu, VCPU_IOCTL(vcpu, KVM_SET_REGS, &regs));
}

/*
 * Early enough that no vCPU has to wait for a reset, which is at a quarter of its
 * ring. And no more than the guest writes if nobody harvests: half of its pages.
 */
static void set_watermark(struct guest *guest, uint32_t entries)
{
	uint64_t half = guest->nr_pages / guest->nr_writers / 2;
	uint32_t mark = entries / 4 < half ? entries / 4 : half;
	int ret;

	guest->wake = eventfd(0, EFD_CLOEXEC);
	if (guest->wake < 0)
		vmm_fail("eventfd: %s", strerror(errno));
	ret = dirty_rings_set_watermark(guest->vm.fd, guest->wake, mark);
	guest->watermark = !ret;
	printf("# watermark of %u entries: %s\n", mark,
	       ret ? strerror(-ret) : "set");
}

/*
 * In the threads of the vCPUs
 */

/* Wakes the main thread, or keeps it from waiting the next time. */
static void wake_main(struct guest *guest)
{
	if (eventfd_write(guest->wake, 1))
		vmm_fail("eventfd: %s", strerror(errno));
}

/* Wait for the next reset, which makes room, before the guest goes on. */
static int on_ring_full(struct vcpu *vcpu, const struct vm_access *access,
			void *opaque)
{
	struct guest *guest = opaque;
	uint64_t resets;

	pthread_mutex_lock(&guest->lock);
	guest->writers[vcpu->id].full++;
	wake_main(guest);
	resets = guest->resets;
	while (!guest->stop && guest->resets == resets)
		pthread_cond_wait(&guest->changed, &guest->lock);
	pthread_mutex_unlock(&guest->lock);

	return 0;
}

static int on_tick(struct vcpu *vcpu, const struct vm_access *access,
		   void *opaque)
{
	struct guest *guest = opaque;

	pthread_mutex_lock(&guest->lock);
	guest->writers[vcpu->id].ticks++;
	pthread_mutex_unlock(&guest->lock);
	if (!guest->watermark)
		wake_main(guest);

	return 0;
}

/* Without this, the main thread would wait for a dead vCPU. */
static void on_end(struct vcpu *vcpu, int ret)
{
	vcpu_must(vcpu, ret);
}

static void start_vm(struct guest *guest, uint32_t entries)
{
	struct vm *vm = &guest->vm;
	uint32_t id;

	if (vm_create(vm))
		vmm_skip("%s", vm->error);
	vm_must(vm, vm_set_rmode_pages(vm));
	enable_rings(guest, entries);
	add_memory(guest);
	vm_must(vm, vm_handle(vm, VM_PORT, TICK_PORT, 1, on_tick, guest));
	vm_must(vm, vm_handle(vm, VM_EXIT, KVM_EXIT_DIRTY_RING_FULL, 1,
			      on_ring_full, guest));
	for (id = 0; id < guest->nr_writers; id++)
		add_writer(guest, id, entries);
	set_watermark(guest, entries);
}

static void start_vcpus(struct guest *guest)
{
	unsigned int i;

	for (i = 0; i < guest->nr_writers; i++)
		vcpu_must(&guest->writers[i].vcpu,
			  vcpu_start(&guest->writers[i].vcpu, on_end));
}

/*
 * Have all vCPUs leave the guest and wait until they have. What the CPU has
 * logged by itself (PML) is in the rings when KVM_RUN has returned.
 */
static void stop_vcpus(struct guest *guest)
{
	unsigned int i;

	/* Wake those that wait for a reset. */
	pthread_mutex_lock(&guest->lock);
	guest->stop = true;
	pthread_cond_broadcast(&guest->changed);
	pthread_mutex_unlock(&guest->lock);

	for (i = 0; i < guest->nr_writers; i++)
		vcpu_stop(&guest->writers[i].vcpu);
	for (i = 0; i < guest->nr_writers; i++)
		vcpu_must(&guest->writers[i].vcpu,
			  vcpu_join(&guest->writers[i].vcpu));
}

/*
 * In the main thread
 *
 * Only this thread harvests and resets. So a ring never has two readers, and
 * the number of entries reset must be the number collected.
 */

static void note_page(uint32_t slot, uint64_t offset, void *data)
{
	struct guest *guest = data;

	if (slot != DATA_SLOT || offset >= guest->nr_pages)
		vmm_fail("page %#lx of slot %#x reported", (long)offset, slot);
	guest->harvested++;
	if (guest->drop && guest->harvested % guest->drop == 0)
		return;
	guest->dirty[offset] = 1;
}

static uint64_t copy_pages(struct guest *guest)
{
	uint64_t i, copied = 0;

	for (i = 0; i < guest->nr_pages; i++) {
		if (!guest->dirty[i])
			continue;
		memcpy(guest->copy + i * PAGE_SIZE,
		       guest->data + i * PAGE_SIZE, PAGE_SIZE);
		guest->dirty[i] = 0;
		copied++;
	}

	return copied;
}

/*
 * The order matters: harvest, reset, then read. What the guest writes to a page
 * between the last two is read now. If memory were read before the reset, a
 * write in between would neither be read nor reported again.
 *
 * Return: how many pages were copied; @entries: how many were reported.
 */
static uint64_t harvest_and_copy(struct guest *guest, uint32_t *entries)
{
	struct dirty_ring *ring;
	unsigned int i;
	int reset;

	*entries = 0;
	for (i = 0; i < guest->nr_writers; i++) {
		ring = &guest->writers[i].ring;
		*entries += dirty_ring_harvest(ring, ring->entries, note_page,
					       guest);
	}
	reset = dirty_rings_reset(guest->vm.fd);
	if (reset < 0)
		vmm_fail("KVM_RESET_DIRTY_RINGS: %s", strerror(-reset));
	if ((uint32_t)reset != *entries)
		vmm_fail("%u entries collected, %d reset", *entries, reset);

	return copy_pages(guest);
}

/* Before the harvest: what comes during it makes the next one. */
static void wait_for_ring(struct guest *guest)
{
	eventfd_t count;

	if (eventfd_read(guest->wake, &count))
		vmm_fail("eventfd: %s", strerror(errno));
}

/* A pass while the vCPUs run. Those whose ring was full go on after it. */
static void live_pass(struct guest *guest, unsigned int pass)
{
	uint32_t entries;
	uint64_t copied;

	copied = harvest_and_copy(guest, &entries);

	pthread_mutex_lock(&guest->lock);
	guest->resets++;
	pthread_cond_broadcast(&guest->changed);
	pthread_mutex_unlock(&guest->lock);
	printf("# pass %u: %u entries, %lu pages\n", pass, entries,
	       (long)copied);
}

/* All vCPUs have left the guest, so this pass gets all that is missing. */
static void last_pass(struct guest *guest)
{
	uint32_t entries;
	uint64_t copied;

	stop_vcpus(guest);
	copied = harvest_and_copy(guest, &entries);
	printf("# last pass: %u entries, %lu pages\n", entries, (long)copied);
}

static uint64_t count_differences(struct guest *guest)
{
	uint64_t i, count = 0;

	for (i = 0; i < guest->nr_pages; i++)
		count += !!memcmp(guest->copy + i * PAGE_SIZE,
				  guest->data + i * PAGE_SIZE, PAGE_SIZE);
	return count;
}

static void checkpoint(struct guest *guest, unsigned int passes)
{
	unsigned int pass;

	/* The guest has not begun: all that it writes will be reported. */
	memcpy(guest->copy, guest->data, guest->nr_pages * PAGE_SIZE);
	start_vcpus(guest);
	for (pass = 1; pass <= passes; pass++) {
		wait_for_ring(guest);
		live_pass(guest, pass);
	}
	wait_for_ring(guest);
	last_pass(guest);
}

/* Return: whether the copy equals the memory, and entries were collected. */
static bool report(struct guest *guest)
{
	uint64_t differences = count_differences(guest);
	struct writer *writer;

	for (writer = guest->writers;
	     writer < guest->writers + guest->nr_writers; writer++)
		printf("# vCPU %u: wrote over %lu pages, ring full %lu times\n",
		       writer->vcpu.id, (long)writer->ticks * TICK_PAGES,
		       (long)writer->full);
	if (differences) {
		printf("%lu pages of %lu differ in the copy\n",
		       (long)differences, (long)guest->nr_pages);
		return false;
	}
	printf("the copy of %lu pages equals the memory, by %lu entries\n",
	       (long)guest->nr_pages, (long)guest->harvested);
	return guest->harvested;
}

static void destroy_vm(struct guest *guest)
{
	struct writer *writer;

	for (writer = guest->writers;
	     writer < guest->writers + guest->nr_writers; writer++) {
		dirty_ring_detach(&writer->ring);
		vcpu_destroy(&writer->vcpu);
	}
	vm_destroy(&guest->vm);
	close(guest->wake);
	free(guest->copy);
	free(guest->dirty);
}

static void __attribute__((noreturn)) usage(const char *name, int code)
{
	fprintf(code ? stderr : stdout,
		"usage: %s [options]\n"
		" -c: entries of each dirty ring, a power of two (1024)\n"
		" -v: vCPUs, a power of two up to %u (2)\n"
		" -m: MiB of memory, a power of two up to 1024 (16)\n"
		" -p: passes before the last one (16)\n"
		" -d: drop every n-th entry, so that the copy is wrong\n",
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
		vmm_fail("-%c takes a number from %lu to %lu, not '%s'", opt,
			 low, high, optarg);
	if (power && n & (n - 1))
		vmm_fail("-%c takes a power of two, not '%s'", opt, optarg);
	return n;
}

int main(int argc, char *argv[])
{
	static struct guest guest = {
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
		.nr_writers = 2,
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
			guest.nr_writers = parse_number(opt, 1, MAX_VCPUS,
							true);
			break;
		case 'm':
			guest.nr_pages = parse_number(opt, 1, GIB / MIB, true) *
				       MIB / PAGE_SIZE;
			break;
		case 'p':
			passes = parse_number(opt, 0, 1000000, false);
			break;
		case 'd':
			guest.drop = parse_number(opt, 0, ~0ul, false);
			break;
		case 'h':
			usage(argv[0], EXIT_SUCCESS);
		default:
			usage(argv[0], EXIT_FAILURE);
		}
	}
	if (optind < argc)
		usage(argv[0], EXIT_FAILURE);

	start_vm(&guest, entries);
	checkpoint(&guest, passes);
	ok = report(&guest);
	destroy_vm(&guest);

	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
